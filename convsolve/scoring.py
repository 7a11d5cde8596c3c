"""Goodness of fit of predictions, computed from blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .errors import warn
from .linalg.rank import EPS
from .operators.design_matrix import without_confounds
from .operators.prediction import row_spans
from .problem.checks import fraction
from .problem.nuisance import Confounds, Terms
from .problem.problem import Problem
from .problem.rows import Rows, Span
from .progress import tracked
from .text import aligned, plain

# Predictions (T', *T, Cout) of some rows of a record.
Blocks = Iterable[tuple[Span, np.ndarray]]

# Rows of a block once confounds are projected out.
BLOCK_ROWS = 2**14
# With fewer effective rows, R² has no interval. The limit is low, because whether there are so few
# is itself estimated: intervals of the data sets above a high limit are too narrow.
FEWEST_EFFECTIVE = 5.0
# With fewer effective rows, simulated 95 % intervals contain the truth in 86 to 99 % of data sets.
FEW_EFFECTIVE = 15.0


class Score(NamedTuple):
    """Goodness of fit per output, each array ``(outputs,)``; NaN for an output that is constant.

    If confounds are fitted, ``r2``, ``correlation`` and ``fit_percent`` compare y and ŷ after the
    confounds are projected out of both. For new data, an intercept or a drift is fitted again;
    other confounds are not available there.

    Attributes:
        r2: 1 − ‖y − ŷ‖²/‖y − ȳ‖².
        correlation: Pearson's correlation of y and ŷ.
        fit_percent: 100·(1 − ‖y − ŷ‖/‖y − ȳ‖) in per cent, as MATLAB's ``compare`` computes it.
        r2_standard_error: standard error of ``r2`` on data that were not used in the fit. It allows
            for correlation in time and has 4 degrees of freedom. NaN in more than one dimension.
        r2_total: R² of kernel and confounds together, about the mean of y. It is close to one if
            a drift is large, whatever the kernel.
        effective_rows: number of independent rows that carry as much information as the rows,
            which are correlated in time. At most 4096. NaN in more than one dimension.
        mse: mean square of y − ŷ, in the square of y's unit.
        outputs: names of the outputs, or their numbers.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 600))
        >>> y = np.convolve(x, [1.0, 0.5])[:600] + noise
        >>> fit = cs.solve(cs.Problem(x[:200], y[:200], lags=(0, 1)))
        >>> print(fit.score(x[200:], y[200:]))
        output 0: R² 0.6207 ± 0.05, correlation 0.7892, fit 38.4 %

    See Also:
        `Solution.score`, which returns it, and `cross_validate`.
    """

    r2: np.ndarray
    correlation: np.ndarray
    fit_percent: np.ndarray
    r2_standard_error: np.ndarray
    r2_total: np.ndarray
    effective_rows: np.ndarray
    mse: np.ndarray
    outputs: tuple[Any, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as lists, ready for JSON; None for values that are not finite.

        Examples:
            >>> import convsolve as cs
            >>> fit = cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2))
            >>> fit.score().to_dict()["outputs"]
            [0]
        """
        found: dict[str, Any] = plain(self._asdict())
        return found

    def r2_interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of a confidence interval for the R² of an endless recording.

        The interval allows for rows of y and of the residuals that are correlated in time. It is
        symmetric in log(1 − R²), and its upper end is below one. It is valid on data that were not
        used in the fit; on the training data, R² is too high.

        The variance is estimated from 4 cosine transforms, so the quantile is the one of Student's
        t with 4 degrees of freedom. A 95 % interval is 1.4 times as wide as a normal one with many
        effective rows, 2.0 times with 20, and 2.5 times with 10. With fewer than 5, there is no
        interval. For 1/f noise, R² of an endless recording depends on the lowest frequency. Records
        are joined in their order, and another order changes the width.

        Args:
            level: Probability that the interval contains the true R², between 0 and 1. Default
                0.95.

        Returns:
            Lower and upper end, each ``(outputs,)``. Both are NaN for an output with fewer than 5
            `effective_rows`, and in more than one dimension.

        Raises:
            TypeError: If ``level`` is not a number.
            ValueError: If ``level`` is not between 0 and 1.

        Warns:
            UserWarning: If an output has fewer than 5 effective rows, or fewer than 15, with which
                simulated 95 % intervals contain R² in 86 to 99 % of data sets.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 600))
            >>> y = np.convolve(x, [1.0, 0.5])[:600] + noise
            >>> fit = cs.solve(cs.Problem(x[:200], y[:200], lags=(0, 1)))
            >>> low, high = fit.score(x[200:], y[200:]).r2_interval()
            >>> print(f"{low[0]:.2f} to {high[0]:.2f}")
            0.45 to 0.74
        """
        from .inference.r2 import interval

        level = fraction(level, "level")
        fewest = np.nanmin(self.effective_rows, initial=np.inf)
        if fewest < FEW_EFFECTIVE:
            warn(self._few_rows(fewest))
        enough = self.effective_rows >= FEWEST_EFFECTIVE
        effective = np.where(enough, self.effective_rows, np.nan)
        return interval(self.r2, self.r2_standard_error, effective, level)

    def _few_rows(self, fewest: float) -> str:
        found = int(np.flatnonzero(self.effective_rows == fewest)[0])
        output = self.outputs[found] if self.outputs else found
        worth = (
            f"the rows of output {output} are correlated in time and are worth {fewest:.3g} "
            "independent rows"
        )
        if fewest < FEWEST_EFFECTIVE:
            return (
                f"R² of output {output} has no interval: {worth}, and an interval needs "
                f"{FEWEST_EFFECTIVE:.0f}; score a longer recording"
            )
        return (
            f"the interval of R² is approximate: {worth}; with fewer than {FEW_EFFECTIVE:.0f}, "
            "simulated 95 % intervals contain R² in 86 to 99 % of data sets"
        )

    def __str__(self) -> str:
        outputs = range(len(self.r2))
        names = [*map(str, self.outputs or outputs)]
        if len(names) == 1:
            return self._line(0, f"output {names[0]}" if names[0].isdecimal() else names[0])
        rows = [["output", "R²", "correlation", "fit (%)"]]
        rows += [[names[o], *self._cells(o)] for o in outputs]
        lines = aligned(rows, 1)
        if (self.effective_rows < FEWEST_EFFECTIVE).any():
            lines.append("* fewer than 5 effective rows: no interval")
        return "\n".join(lines)

    def _cells(self, o: int) -> list[str]:
        """Return R² with its standard error, correlation and fit of an output."""
        error = self.r2_standard_error[o]
        r2 = f"{self.r2[o]:.3f}" if abs(self.r2[o]) < 1e3 else f"{self.r2[o]:.3g}"
        r2 += "" if math.isnan(error) else f" ± {error:.3f}"
        r2 += "*" * bool(self.effective_rows[o] < FEWEST_EFFECTIVE)
        return [r2, f"{self.correlation[o]:.3f}", f"{self.fit_percent[o]:.1f}"]

    def _line(self, o: int, label: str) -> str:
        error = (
            "" if math.isnan(self.r2_standard_error[o]) else f" ± {self.r2_standard_error[o]:.2g}"
        )
        few = ""
        if self.effective_rows[o] < FEWEST_EFFECTIVE:
            few = f", no interval: {self.effective_rows[o]:.3g} effective rows"
        return (
            f"{label}: R² {self.r2[o]:.4g}{error}, correlation {self.correlation[o]:.4g}, "
            f"fit {self.fit_percent[o]:.3g} %{few}"
        )


class Level(NamedTuple):
    """Number of rows, scale and means of outputs.

    Attributes:
        rows: number of rows.
        exponents: (Q,), powers of two that scale the outputs to at most one.
        means: (Q,), means of the scaled outputs.
    """

    rows: int
    exponents: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray]) -> Level:
        """Compute the level of outputs from blocks (k, Q)."""
        rows, exponents, sums = 0, None, np.zeros(0)
        for block in blocks:
            here = np.frexp(np.abs(block).max(0, initial=0.0))[1]
            high = here if exponents is None else np.maximum(here, exponents)
            before = 0.0 if exponents is None else np.ldexp(sums, exponents - high)
            sums, exponents = before + np.ldexp(block, -high).sum(0), high
            rows += len(block)
        assert exponents is not None
        return cls(rows, exponents, sums / rows)


class _Predictions:
    """Sums over predictions p and measured values, for their correlation.

    Predictions have units of their own, since a correlation has none.
    """

    def __init__(self, centre: bool) -> None:
        self._centre, self._exponents = centre, np.zeros(0, int)
        self._shift = self._sums = self._squares = self._cross = np.zeros(0)
        self._rows = 0

    def add(self, p: np.ndarray, c: np.ndarray) -> None:
        """Add predictions p (k, Q) and measured values c (k, Q) less their mean."""
        if not len(p):
            return
        here = np.frexp(np.abs(p).max(0, initial=0.0))[1]
        if not self._rows:
            self._exponents = here
            scaled = np.ldexp(p, -here)
            self._shift = scaled.mean(0) * self._centre
            self._sums = self._squares = self._cross = np.zeros(p.shape[1])
        high = np.maximum(here, self._exponents)
        less = self._exponents - high
        scaled = np.ldexp(p, -high) - np.ldexp(self._shift, less)
        self._shift, self._exponents = np.ldexp(self._shift, less), high
        self._sums = np.ldexp(self._sums, less) + scaled.sum(0)
        self._squares = np.ldexp(self._squares, 2 * less) + np.square(scaled).sum(0)
        self._cross = np.ldexp(self._cross, less) + (c * scaled).sum(0)
        self._rows += len(p)

    def correlation(self, spread: np.ndarray) -> np.ndarray:
        """Return Pearson's correlation (Q,), given the ``spread`` ‖y − ȳ‖ (Q,)."""
        squares = self._squares - self._centre * self._sums**2 / self._rows
        joint = spread * np.sqrt(np.maximum(squares, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(joint > 0, self._cross / joint, np.nan))


def score_of(
    truth: Iterable[np.ndarray],
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    in_time: bool,
    centre: bool = True,
) -> tuple[Score, np.ndarray]:
    """Compute the score of predictions from two passes over blocks of rows.

    Args:
        truth: Measured values in blocks (k, Q).
        pairs: The same blocks, each with its predictions (k, Q).
        in_time: Whether rows, records one after the other, follow each other in time.
        centre: Whether means are subtracted; False if they are already.

    Returns:
        The score, and mean squares (Q,) of the residuals.
    """
    from .inference.r2 import Deviations

    level = Level.of(truth)
    predictions = _Predictions(centre)
    deviations = Deviations(level.rows, level.means.size, in_time)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for y, p in pairs:
            scaled = np.ldexp(y, -level.exponents)
            c = scaled - centre * level.means
            predictions.add(p, c)
            deviations.add(c, scaled - np.ldexp(p, -level.exponents))
        spread, error = deviations.squares
        of_rounding = 4 * EPS * np.sqrt(spread + centre * level.rows * level.means**2)
        norms, errors = np.sqrt(spread), np.sqrt(error)
        # The rounding of a mean leaves a constant with a small residual.
        norms = np.where(norms > of_rounding, norms, 0.0)
        mean_squares = np.ldexp(error / level.rows, 2 * level.exponents)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(norms > 0, errors / norms, np.nan)
        r2_standard_error = ratio**2 * deviations.log_error()
        effective = np.where(np.isnan(ratio), np.nan, deviations.effective_rows())
    r2, fit = 1 - ratio**2, 100 * (1 - ratio)
    correlation = predictions.correlation(norms)
    score = Score(r2, correlation, fit, r2_standard_error, r2, effective, mean_squares)
    return score, mean_squares


def scored(
    problem: Problem,
    outputs: Sequence[int],
    rows: Rows,
    predictions: Blocks,
    added: np.ndarray | None = None,
) -> tuple[Score, np.ndarray]:
    """Score some outputs in the rows used, and return the mean squares of their residuals.

    With confounds, these are projected out, and rows have their weights. Coefficients of confounds
    that are ``added`` to those of least squares are fitted too.
    """
    if problem._nuisance.confounds is not None:
        return _without_confounds(problem, outputs, rows, predictions, added)

    records = problem.y
    assert records is not None

    def measured() -> Iterator[tuple[Span, np.ndarray]]:
        spans = row_spans(problem.x, problem.n_outputs, problem.spec)
        read = ((span, np.asarray(records[span[0]][span[1] : span[2]])) for span in spans)
        rows = sum(map(len, records))
        return tracked(read, "rows that are scored", rows, size=lambda pair: len(pair[1]))

    truth = (_counted(rows, span, y, outputs) for span, y in measured())
    pairs = (
        (_counted(rows, span, y, outputs), _counted(rows, span, p, outputs))
        for (span, y), (_, p) in zip(measured(), predictions, strict=True)
    )
    return score_of(truth, pairs, problem.spec.ndim == 1)


def _counted(rows: Rows, span: Span, values: np.ndarray, outputs: Sequence[int]) -> np.ndarray:
    """Return some outputs (k, Q) of the rows used in a span."""
    kept = values[rows.of_span(span)]
    whole = [*outputs] == [*range(kept.shape[1])]
    return np.asarray(kept if whole else kept[:, [*outputs]], float)


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
    """Return rows (n, Q) in blocks."""
    return [rows[i : i + BLOCK_ROWS] for i in range(0, len(rows), BLOCK_ROWS)]


def _without_confounds(
    problem: Problem,
    outputs: Sequence[int],
    rows: Rows,
    predictions: Blocks,
    added: np.ndarray | None,
) -> tuple[Score, np.ndarray]:
    """Score all rows at once, with the confounds projected out of y and its prediction.

    R² is about the mean of y. A constant that is not among the confounds is projected out of y for
    this mean only, and the residual keeps it.
    """
    assert problem.y is not None
    some = [*outputs]
    truth = [np.asarray(a)[..., some] for a in problem.y]
    found = [np.zeros(a.shape) for a in truth]
    for (i, start, stop), p in predictions:
        found[i][start:stop] = p[..., some]
    own = centred = Confounds(problem._terms, False, rows, problem._weights)
    if own.degree < 0:
        centred = Confounds(problem._terms, True, rows, problem._weights)
    joint = [np.concatenate(pair, axis=-1) for pair in zip(truth, found, strict=True)]
    both = without_confounds(centred, joint)
    y, fitted = (_blocks(a) for a in np.split(both, 2, axis=1))
    in_time = problem.spec.ndim == 1
    score, mean_squares = score_of(y, zip(y, fitted, strict=True), in_time, centre=False)
    residuals = [a - b for a, b in zip(y, fitted, strict=True)]
    if centred.count > own.count or added is not None:
        left = without_confounds(own, [a - b for a, b in zip(truth, found, strict=True)], added)
        residuals, correlation = _blocks(left), score.correlation
        moved = zip(y, (a - r for a, r in zip(y, residuals, strict=True)), strict=True)
        score, mean_squares = score_of(y, moved, in_time, centre=False)
        score = score._replace(correlation=correlation)
    rest, mean_squares = np.concatenate(residuals), mean_squares * rows.count / own.total_weight
    # For R² of kernel and confounds together, only a constant is subtracted from y.
    constant = Confounds(Terms(), True, rows, problem._weights)
    spread = without_confounds(constant, truth)
    exponent = np.frexp(np.abs(spread).max(0))[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = (np.square(np.ldexp(v, -exponent)).sum(0) for v in (rest, spread))
        total = 1 - next(squares) / next(squares)
    return score._replace(r2_total=total, mse=mean_squares), mean_squares
