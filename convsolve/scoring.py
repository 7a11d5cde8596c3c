"""Goodness of fit of predictions, computed from blocks of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .errors import warn
from .facts import Fact, Reported, by_output, of_fields
from .inference.r2 import Deviations, interval
from .operators.design_matrix import without_confounds
from .problem.checks import fraction
from .problem.nuisance import Confounds, Terms
from .problem.problem import Problem
from .problem.rows import Rows, Span
from .progress import tracked
from .text import pm

# Predictions (T', *T, Cout) of some rows of a record.
Blocks = Iterable[tuple[Span, np.ndarray]]

# Rows of a block once confounds are projected out.
BLOCK_ROWS = 2**14
# With fewer effective rows, R² has no interval. The limit is low, because whether there are so few
# is itself estimated: intervals of the data sets above a high limit are too narrow.
FEWEST_EFFECTIVE = 5.0
# With fewer effective rows, simulated 95 % intervals contain the truth in 86 to 99 % of data sets.
FEW_EFFECTIVE = 15.0


@dataclass(frozen=True, repr=False, eq=False)
class Score(Reported):
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
        output             R²  correlation  fit (%)
        0       0.621 ± 0.050        0.789     38.4

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
        level = fraction(level, "level")
        fewest = np.nanmin(self.effective_rows, initial=np.inf)
        if fewest < FEW_EFFECTIVE:
            output = int(np.flatnonzero(self.effective_rows == fewest)[0])
            rows = f"the rows of output {self.outputs[output]} are worth {fewest:.3g} independent"
            warn(f"{rows}: an interval of R² needs 5, and is inaccurate below 15")
        enough = self.effective_rows >= FEWEST_EFFECTIVE
        effective = np.where(enough, self.effective_rows, np.nan)
        return interval(self.r2, self.r2_standard_error, effective, level)

    def mean(self) -> Score:
        """Return the means over outputs, as the score of one output without a standard error.

        Returns:
            A `Score` of one output, "mean".

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500, 1))
            >>> fit = cs.solve(cs.Problem(x, x + noise * [[1.0, 2.0]], lags=(0, 3)))
            >>> fit.score().mean().r2.round(2)
            array([0.39])
        """
        names = [name for name in vars(self) if name not in ("outputs", "r2_standard_error")]
        found = {name: np.nanmean(getattr(self, name), keepdims=True) for name in names}
        return replace(self, **found, r2_standard_error=np.array([np.nan]), outputs=("mean",))

    @property
    def _r2(self) -> list[str]:
        """R² with its standard error, in as many decimals as the error needs, at most six."""
        found = []
        for r2, error in zip(self.r2, self.r2_standard_error, strict=True):
            digits = next((n for n in range(3, 6) if not error < 0.5 * 10.0**-n), 6)
            found.append(pm(r2, error, f".{digits}f"))
        return found

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield a row for every output, and all fields."""
        few = self.effective_rows < FEWEST_EFFECTIVE
        columns = {
            "R²": [word + "*" * bool(mark) for word, mark in zip(self._r2, few, strict=True)],
            "correlation": [f"{value:.3f}" for value in self.correlation],
            "fit (%)": [f"{value:.1f}" for value in self.fit_percent],
        }
        means = dict(zip(columns, (self.r2, self.correlation, self.fit_percent), strict=True))
        note = "* fewer than 5 effective rows: no interval" * bool(few.any())
        yield Fact("", "", by_output(self.outputs, columns, means, note))
        yield from of_fields(self)


def scored(
    problem: Problem,
    outputs: Sequence[int],
    rows: Rows,
    predictions: Blocks,
    added: np.ndarray | None = None,
) -> Score:
    """Score some outputs in the rows used.

    With confounds, these are projected out, and rows have their weights. Coefficients of confounds
    that are ``added`` to those of least squares are fitted too.
    """
    if problem._nuisance.confounds is not None:
        return _without_confounds(problem, [*outputs], rows, predictions, added)
    sums, some, records = Deviations(rows.count, len(outputs)), [*outputs], problem.y
    assert records is not None
    total, label = sum(map(len, records)), "rows that are scored"
    for span, block in tracked(predictions, label, total, size=lambda pair: len(pair[1])):
        measured, flags = np.asarray(records[span[0]][span[1] : span[2]]), rows.of_span(span)
        y, p = (np.asarray(a[flags][:, some], float) for a in (measured, block))
        sums.add(y, y - p, p)
    return _score_of(sums, problem.spec.ndim == 1)


def _score_of(sums: Deviations, in_time: bool) -> Score:
    """Return the score of all rows. Only rows along one axis have a standard error."""
    ratio, correlation, mse = sums.fit()
    r2, error, effective = 1 - ratio**2, *np.full((2, len(ratio)), np.nan)
    if in_time:
        error = ratio**2 * sums.log_error()
        effective = np.where(np.isnan(ratio), np.nan, sums.effective_rows())
    return Score(r2, correlation, 100 * (1 - ratio), error, r2, effective, mse)


def _without_confounds(
    problem: Problem,
    some: list[int],
    rows: Rows,
    predictions: Blocks,
    added: np.ndarray | None,
) -> Score:
    """Score all rows at once, with the confounds projected out of y and its prediction.

    R² is about the mean of y. A constant that is not among the confounds is projected out of y for
    this mean only, and the residual keeps it.
    """
    assert problem.y is not None
    truth = [np.asarray(a)[..., some] for a in problem.y]
    found = [np.zeros(a.shape) for a in truth]
    for (i, start, stop), p in predictions:
        found[i][start:stop] = p[..., some]
    own, centred, constant = (
        Confounds(terms, bias, rows, problem._weights)
        for terms, bias in ((problem._terms, False), (problem._terms, True), (Terms(), True))
    )
    joint = [np.concatenate(pair, axis=-1) for pair in zip(truth, found, strict=True)]
    y, fitted = np.split(without_confounds(centred, joint), 2, axis=1)
    left = without_confounds(own, [a - b for a, b in zip(truth, found, strict=True)], added)
    sums = Deviations(rows.count, len(some), centre=False)
    for first in range(0, len(y), BLOCK_ROWS):
        here = slice(first, first + BLOCK_ROWS)
        sums.add(y[here], left[here], fitted[here])
    score = _score_of(sums, problem.spec.ndim == 1)
    # For R² of kernel and confounds together, only a constant is subtracted from y.
    spread = without_confounds(constant, truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.linalg.norm(left, axis=0) / np.linalg.norm(spread, axis=0)
    mse = score.mse * rows.count / own.total_weight
    return replace(score, r2_total=1 - ratio**2, mse=mse)
