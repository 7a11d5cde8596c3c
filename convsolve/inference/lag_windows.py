"""Scores of every window of lags, from a Cholesky factor per first lag."""

from __future__ import annotations

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE
from ..linalg.lapack import cholesky, solve_triangular
from ..linalg.threads import one_blas_thread
from ..progress import tracked
from .folds import CrossValidation
from .select import Scoring
from .spectrum import ROUNDING, Fit, criterion, in_user_units
from .sums import Normal, Sums, check_scored, scored

# A Cholesky factor of columns of norm one with smaller pivots has too few digits for scores.
LEAST_PIVOT = 1e-5


def window_scores(analysis: Analysis, select: str | CrossValidation) -> np.ndarray:
    """Return scores (taps, taps, Q) of the lags i to j in ascending order, NaN where j < i.

    They are in the user's units, averaged over folds, for the outputs that vary.

    Raises:
        ValueError: If no output varies.
        SolveError: If the data do not determine all lags.
    """
    sizes, nuisance = analysis.design.sizes, analysis.design.nuisance.total
    if reason := sizes.gram_reason():
        raise SolveError(reason)
    scoring = Scoring(analysis, select)
    varies, taps = scoring.varies, analysis.design.spec.kernel_size[0]
    if not varies.any():
        raise ValueError("y does not vary, so that no lags can be chosen by it")
    name, several = (select, []) if isinstance(select, str) else (select.score, [])
    for group in scoring.groups(RIDGE):
        folds = [(normal, held.parts) for normal, held in group.folds] or [(group.whole, [])]
        each = tracked(folds, "windows of lags, by fold", len(folds))
        with one_blas_thread():
            several.append([_scores(*fold, taps, name) for fold in each])
    by_fold = np.stack(several, axis=3)[..., varies]
    scores, i = by_fold.mean(0), np.arange(taps)
    if isinstance(select, CrossValidation):
        check_scored(select, by_fold[:, 0], varies[varies])
    nan, freedom = np.array(np.nan), (i - i[:, None] + 1.0)[..., None] * (sizes.columns // taps)
    fit = Fit(scores, nan, freedom, nan, nan, sizes.rows, nuisance, sizes.rows)
    scores = criterion(select, fit) if isinstance(select, str) else scores
    return in_user_units(scores, name, fit, scoring.units.outputs[varies])


def _scores(normal: Normal, parts: list[Sums], taps: int, score: str) -> np.ndarray:
    """Return mean scores (taps, taps, Q) of held-out rows, or residual sums without ``parts``.

    The windows with one first lag share a Cholesky factor UᵀU of their Gram matrix. The first
    elements of c = U⁻ᵀAᵀy belong to the shorter windows.
    """
    gram, cross, squares = normal
    found, channels = np.full((taps, taps, len(squares)), np.nan), len(gram) // taps
    # Columns in ascending order of lags; the first tap has the largest lag.
    order = np.arange(len(gram)).reshape(taps, -1)[::-1].reshape(-1)
    norms = np.sqrt(np.diagonal(gram)[order, None])

    def ordered(a: np.ndarray) -> np.ndarray:
        return a[order] / np.where(norms > 0, norms, 1.0)

    gram, cross = ordered(ordered(gram).T), ordered(cross)
    held = [(ordered(ordered(own.gram).T), ordered(np.c_[own.cross, own.means])) for own in parts]
    for first in tracked(range(taps), "windows of lags", taps):
        start, ends = first * channels, slice(channels - 1, None, channels)
        u = cholesky(gram[start:, start:].copy())
        if u is None or np.diagonal(u).min() < LEAST_PIVOT:
            raise SolveError(
                "the data do not determine all of the lags, or only with a condition number above "
                "1e5; use fewer lags, or a prior that decays, penalty='tc'"
            )
        c = solve_triangular(u, cross[start:], transposed=True)
        if not parts:  # equal for windows that are exact
            left = squares - np.cumsum(c**2, axis=0)[ends]
            found[first, first:] = np.maximum(left, ROUNDING * squares)
            continue
        each = []
        for own, (of_x, rest) in zip(parts, held, strict=True):
            b = solve_triangular(u, of_x[start:, start:], transposed=True)
            b = solve_triangular(u, b.T, transposed=True)
            rest = solve_triangular(u, rest[start:], transposed=True)
            spread = 2 * c * (np.tril(b, -1) @ c) + np.diagonal(b)[:, None] * c**2
            several = spread, rest[:, :-1] * c, rest[:, -1:] * c
            spread, joint, means = (np.cumsum(a, axis=0)[ends] for a in several)
            each.append(scored(own, score, spread, joint, own.out_means - means))
        found[first, first:] = np.mean(each, axis=0)
    return found
