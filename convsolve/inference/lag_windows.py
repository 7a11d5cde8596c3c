"""Scores of every window of lags, from a Cholesky factor per first lag."""

from __future__ import annotations

from typing import cast

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE
from ..linalg.threads import one_blas_thread
from ..progress import tracked
from .criteria import criterion, in_user_units
from .folds import CrossValidation
from .held_rows import HeldOut, Part
from .select import Scoring
from .spectrum import ROUNDING, Fit
from .sums import Normal

# A Cholesky factor of columns of norm one with smaller pivots has too few digits for scores.
LEAST_PIVOT = 1e-5


class Start:
    """The windows of one group that start with one lag, by a Cholesky factor UᵀU of their Gram.

    The first elements of c = U⁻ᵀAᵀy belong to the shorter windows, which end at ``ends``.
    """

    def __init__(self, normal: Normal, lag: int, taps: int) -> None:
        gram, cross, self._squares = normal
        channels = len(gram) // taps
        # Columns in ascending order of lags; the first tap has the largest lag.
        self._own = np.arange(len(gram)).reshape(taps, -1)[::-1].reshape(-1)[lag * channels :]
        self._ends = slice(channels - 1, None, channels)
        square = gram[np.ix_(self._own, self._own)]
        self._scale = 1 / np.sqrt(np.where(np.diagonal(square) > 0, np.diagonal(square), 1.0))
        try:
            self._u = np.linalg.cholesky(square * self._scale * self._scale[:, None]).T
        except np.linalg.LinAlgError:
            self._u = np.zeros_like(square)
        if np.diagonal(self._u).min() < LEAST_PIVOT:
            raise SolveError(
                "the data do not determine all of the lags, or only with a condition number above "
                "1e5, so the windows cannot be compared; use fewer lags, or solve with a prior "
                "that decays, penalty='tc'"
            )
        self._c = self._whitened(cross[self._own])

    def _whitened(self, a: np.ndarray) -> np.ndarray:
        """Return U⁻ᵀ a."""
        from scipy.linalg import solve_triangular

        scaled = a * self._scale[:, None]
        return np.asarray(solve_triangular(self._u, scaled, trans="T", check_finite=False))

    def squares(self) -> np.ndarray:
        """Return residual sums of squares (windows, Q), equal for windows that are exact."""
        left = self._squares - np.cumsum(self._c**2, axis=0)[self._ends]
        return np.maximum(left, ROUNDING * self._squares)

    def scores(self, score: str, held: Part) -> np.ndarray:
        """Return the scores (windows, Q) of held-out rows."""
        own, c = self._own, self._c
        b = self._whitened(self._whitened(held.own.gram[np.ix_(own, own)]).T)
        spread = 2 * c * (np.tril(b, -1) @ c) + np.diagonal(b)[:, None] * c**2
        joint = self._whitened(held.own.cross[own]) * c
        means = self._whitened(held.off[own, None]) * c
        spread, joint, means = (np.cumsum(a, axis=0)[self._ends] for a in (spread, joint, means))
        return held.scored(score, spread, joint, held.y_off - means)


def window_scores(analysis: Analysis, select: str | CrossValidation) -> np.ndarray:
    """Return scores (taps, taps, Q) of the lags i to j in ascending order, NaN where j < i.

    They are in the user's units, averaged over folds, for the outputs that vary.

    Raises:
        ValueError: If no output varies.
        SolveError: If the data do not determine all lags.
    """
    sizes = analysis.design.sizes
    if reason := sizes.gram_reason():
        raise SolveError(reason)
    scoring = Scoring(analysis, select)
    varies, taps = scoring.varies, analysis.design.spec.kernel_size[0]
    if not varies.any():
        raise ValueError("y does not vary, so that no lags can be chosen by it")
    found = np.zeros((taps, taps, *varies.shape))
    found[np.tril_indices(taps, -1)] = np.nan
    name = select if isinstance(select, str) else select.score
    for g, group in enumerate(scoring.groups(RIDGE)):
        folds = [(n, cast(HeldOut, held).parts) for n, _, held in group.folds]
        folds = folds or [(group.whole, [])]
        for normal, parts in tracked(folds, "windows of lags, by fold", len(folds)):
            with one_blas_thread():
                for first in tracked(range(taps), "windows of lags", taps):
                    start = Start(normal, first, taps)
                    own = [start.scores(name, part) for part in parts] or [start.squares()]
                    found[first, first:, g] += np.mean(own, axis=0) / len(folds)
    i, nan, nuisance = np.arange(taps), np.array(np.nan), analysis.design.nuisance.total
    freedom = (i - i[:, None] + 1.0)[..., None] * (sizes.columns // taps)
    scores = found[..., varies]
    fit = Fit(scores, nan, freedom, nan, nan, sizes.rows, nuisance, sizes.rows)
    scores = criterion(select, fit) if isinstance(select, str) else scores
    return in_user_units(scores, name, fit, scoring.units.outputs[varies])
