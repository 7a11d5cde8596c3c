"""Residual sums of squares and held-out scores of every window of lags."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import SolveError
from ..leastsquares.penalty import RIDGE
from ..linalg.threads import one_blas_thread
from ..progress import tracked
from .held_rows import HeldOut, Part
from .select import Scoring
from .spectrum import ROUNDING
from .sums import Normal

# A Cholesky factor of columns of norm one with smaller pivots has too few digits for scores.
LEAST_PIVOT = 1e-5
UNDETERMINED = (
    "the data do not determine all of the lags, or only with a condition number above 1e5, so the "
    "windows cannot be compared; use fewer lags, or solve with a prior that decays, penalty='tc'"
)


class Start:
    """The windows of one group that start with one lag, by a Cholesky factor UᵀU of their Gram.

    The first elements of c = U⁻ᵀAᵀy belong to the shorter windows, which end at ``ends``.
    """

    def __init__(self, normal: Normal, lag: int, taps: int) -> None:
        gram, cross, _ = normal
        channels = len(gram) // taps
        # Columns in ascending order of lags; the first tap has the largest lag.
        self.own = np.arange(len(gram)).reshape(taps, -1)[::-1].reshape(-1)[lag * channels :]
        self.ends = slice(channels - 1, None, channels)
        square = gram[np.ix_(self.own, self.own)]
        self._scale = 1 / np.sqrt(np.where(np.diagonal(square) > 0, np.diagonal(square), 1.0))
        try:
            self.u = np.linalg.cholesky(square * self._scale * self._scale[:, None]).T
        except np.linalg.LinAlgError as error:
            raise SolveError(UNDETERMINED) from error
        if np.diagonal(self.u).min() < LEAST_PIVOT:
            raise SolveError(UNDETERMINED)
        self.c = self.whitened(cross[self.own])

    def whitened(self, a: np.ndarray) -> np.ndarray:
        """Return U⁻ᵀ a."""
        from scipy.linalg import solve_triangular

        scaled = a * self._scale[:, None]
        found = solve_triangular(self.u, scaled, trans="T", check_finite=False)
        return np.asarray(found)

    def scores(self, score: str, held: Part) -> np.ndarray:
        """Return the scores (windows, Q) of held-out rows."""
        own, c = self.own, self.c
        b = self.whitened(self.whitened(held.own.gram[np.ix_(own, own)]).T)
        inner = 2 * c * (np.tril(b, -1) @ c) + np.diagonal(b)[:, None] * c**2
        joint, means = (
            self.whitened(held.own.cross[own]) * c,
            self.whitened(held.off[own, None]) * c,
        )
        spread, joint, means = (np.cumsum(a, axis=0)[self.ends] for a in (inner, joint, means))
        return held.scored(score, spread, joint, held.y_off - means)


def _starts(normal: Normal, taps: int) -> Iterator[tuple[int, Start]]:
    with one_blas_thread():
        for i in tracked(range(taps), "windows of lags", taps):
            yield i, Start(normal, i, taps)


def window_squares(scoring: Scoring) -> np.ndarray:
    """Return the residual sum of squares of every window of lags.

    Returns:
        RSS (taps, taps, G, Q) of the lags i to j in ascending order, NaN where j < i.
    """
    taps = scoring.design.spec.kernel_size[0]
    found = np.full((taps, taps, *scoring.varies.shape), np.nan)
    for g, (normal, *_) in enumerate(scoring.groups(RIDGE)):
        for i, start in _starts(normal, taps):
            left = normal[2] - np.cumsum(start.c**2, axis=0)[start.ends]
            # Windows that explain y exactly have equal sums.
            found[i, i:, g] = np.maximum(left, ROUNDING * normal[2])
    return found


def window_scores(scoring: Scoring, score: str) -> np.ndarray:
    """Return held-out scores (folds, taps, taps, G, Q) of every window, NaN where j < i."""
    taps, groups = scoring.design.spec.kernel_size[0], scoring.groups(RIDGE)
    folds = len(groups[0].folds)
    found = np.full((folds, taps, taps, *scoring.varies.shape), np.nan)
    for g, group in enumerate(groups):
        several = tracked(group.folds, "windows of lags, by fold", folds)
        for k, (normal, _, held) in enumerate(several):
            assert isinstance(held, HeldOut)
            for i, start in _starts(normal, taps):
                parts = [start.scores(score, own) for own in held.parts]
                found[k, i, i:, g] = np.mean(parts, axis=0)
    return found
