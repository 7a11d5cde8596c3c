"""How well predictions agree with what was measured, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from typing import NamedTuple

import numpy as np

from .linalg.rank import EPS
from .operators.prediction import row_spans, rows_of
from .operators.totals import each
from .problem.checks import fraction
from .problem.confounds import Confounds
from .problem.problem import Problem
from .problem.rows import Rows, Span
from .problem.stored import for_one_pass
from .progress import tracked

# Predictions (T', *T, Cout) of some rows of a record.
Blocks = Iterable[tuple[Span, np.ndarray]]


class Score(NamedTuple):
    """Goodness of fit per output channel, over all rows; NaN for an output that does not vary.

    ``r2`` = 1 − ‖y − ŷ‖²/‖y − ȳ‖², ``correlation`` Pearson's, ``nrmse_fit`` = 100·(1 − ‖y − ŷ‖/‖y −
    ȳ‖) in per cent, as MATLAB's ``compare`` has it. ``r2_error`` is the standard error of r2 on
    data that the kernel has not seen; NaN in more than one dimension.

    Where confounds are fitted, these are of y and ŷ with the confounds taken off both: how much of
    what they leave the kernel explains. To new data an intercept or a drift is fitted anew, other
    confounds are not known there. ``r2_total`` is that of kernel and confounds together, of
    all of y; it is near one wherever a drift is large, whatever the kernel.
    """

    r2: np.ndarray
    correlation: np.ndarray
    nrmse_fit: np.ndarray
    r2_error: np.ndarray
    r2_total: np.ndarray

    def r2_interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Ends of an interval that holds the R² of an endless recording, each (outputs,).

        It allows for rows that depend on those before them, in y and in the residuals. On the
        training data it speaks of these alone: R² is too high there.
        """
        from scipy.special import ndtri

        reach = ndtri((1 + fraction(level, "level")) / 2) * self.r2_error
        return self.r2 - reach, np.minimum(self.r2 + reach, 1.0)


class Level(NamedTuple):
    """Of outputs (Q,) the ``exponents`` that bring them to one at most, and their means so scaled
    over some ``rows``.
    """

    rows: int
    exponents: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray]) -> Level:
        """That of blocks (k, Q)."""
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
    """Sums over predictions p beside what was measured, in units of their own: correlation has
    none.
    """

    def __init__(self, centre: bool) -> None:
        self._centre, self._exponents = centre, np.zeros(0, int)
        self._shift = self._sums = self._squares = self._cross = np.zeros(0)
        self._rows = 0

    def add(self, p: np.ndarray, c: np.ndarray) -> None:
        """Predictions (k, Q), and what was measured less its mean."""
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
        """Pearson's, for measured values of a ``spread`` ‖y − ȳ‖ (Q,)."""
        squares = self._squares - self._centre * self._sums**2 / self._rows
        joint = spread * np.sqrt(np.maximum(squares, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(joint > 0, self._cross / joint, np.nan))


def score_of(
    truth: Iterable[np.ndarray],
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    lengths: Sequence[int] | None,
    centre: bool = True,
) -> tuple[Score, np.ndarray]:
    """Of what was measured, in blocks (k, Q), and the same beside what is predicted, and the mean
    squares (Q,) of what is left; the means taken off both, unless they are already.

    ``lengths`` are the rows of every record, which follow each other in time; None where they do
    not.
    """
    from .inference.sandwich import bandwidth, moving_pairs

    level = Level.of(truth)
    predictions = _Predictions(centre)
    spread, error = np.zeros((2, level.means.size))

    def squares() -> Iterator[list[np.ndarray]]:
        nonlocal spread, error
        for y, p in pairs:
            scaled = np.ldexp(y, -level.exponents)
            c = scaled - centre * level.means
            left = scaled - np.ldexp(p, -level.exponents)
            predictions.add(p, c)
            found = np.square(c), np.square(left)
            spread, error = (a + b.sum(0) for a, b in zip((spread, error), found, strict=True))
            yield [a.T for a in found]

    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if lengths is None:
            moving = np.full((3, level.means.size), np.nan)
            for _ in squares():
                pass
        else:
            moving = moving_pairs(squares(), lengths, 1 + bandwidth(level.rows))
        of_rounding = 4 * EPS * np.sqrt(spread + centre * level.rows * level.means**2)
        norms, errors = np.sqrt(spread), np.sqrt(error)
        # What the rounding of a mean leaves of a constant is no variation.
        norms = np.where(norms > of_rounding, norms, 0.0)
        mean_squares = np.ldexp(error / level.rows, 2 * level.exponents)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(norms > 0, errors / norms, np.nan)
        # How much every row moves R²: (ratio²·c² − r²)/‖y − ȳ‖².
        both, mixed, left = moving
        moves = ratio**4 * both - 2 * ratio**2 * mixed + left
        r2_error = np.sqrt(np.maximum(moves, 0.0)) / norms**2
    r2 = 1 - ratio**2
    return Score(r2, predictions.correlation(norms), 100 * (1 - ratio), r2_error, r2), mean_squares


def scored(
    problem: Problem, outputs: Sequence[int], rows: Rows, predictions: Blocks
) -> tuple[Score, np.ndarray]:
    """Of some outputs in the rows that count, each as its weight says, beside what confounds them;
    and the mean squares of what is left of them.
    """
    if problem.nuisance.confounds is not None:
        return _without_confounds(problem, outputs, rows, predictions)

    def measured() -> Iterator[tuple[Span, np.ndarray]]:
        assert problem.y is not None
        records = [*map(for_one_pass, problem.y)]
        spans, again = tee(row_spans(problem.x, problem.out_channels, problem.spec))
        read = each(np.asarray, (records[i][a:b] for i, a, b in again))
        pairs = zip(spans, read, strict=True)
        return tracked(pairs, "rows that are scored", sum(map(len, problem.y)), size=rows_of)

    truth = (_counted(rows, span, y, outputs) for span, y in measured())
    pairs = (
        (_counted(rows, span, y, outputs), _counted(rows, span, p, outputs))
        for (span, y), (_, p) in zip(measured(), predictions, strict=True)
    )
    lengths = rows.sizes if problem.spec.ndim == 1 else None
    return score_of(truth, pairs, lengths)


def _counted(rows: Rows, span: Span, values: np.ndarray, outputs: Sequence[int]) -> np.ndarray:
    """Some outputs (k, Q) of the rows of a span that count."""
    flags = rows.of_span(span)
    kept = values.reshape(-1, values.shape[-1]) if flags is None else values[flags]
    whole = [*outputs] == [*range(kept.shape[1])]
    return np.asarray(kept if whole else kept[:, [*outputs]], float)


def _without_confounds(
    problem: Problem, outputs: Sequence[int], rows: Rows, predictions: Blocks
) -> tuple[Score, np.ndarray]:
    """The same, all rows at once, with the confounds taken off y and its prediction."""
    assert problem.y is not None
    some = [*outputs]
    truth = [np.asarray(a)[..., some] for a in problem.y]
    found = [np.zeros(a.shape) for a in truth]
    for (i, start, stop), p in predictions:
        found[i][start:stop] = p[..., some]
    confounds = Confounds.with_constant(problem.confounds, rows, problem.weights)
    y, fitted = (confounds.without(each).rows for each in (truth, found))
    lengths = [len(a) for a in y] if problem.spec.ndim == 1 else None
    score, mean_squares = score_of(y, zip(y, fitted, strict=True), lengths, centre=False)
    left = np.concatenate([a - b for a, b in zip(y, fitted, strict=True)])
    # All of y about one constant, whatever confounds say.
    whole_y = Confounds.of(None, True, rows, problem.weights).without(truth)
    spread = np.concatenate(whole_y.rows)
    exponent = np.frexp(np.abs(spread).max(0))[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = (np.square(np.ldexp(v, -exponent)).sum(0) for v in (left, spread))
        total = 1 - next(squares) / next(squares)
    return score._replace(r2_total=total), mean_squares
