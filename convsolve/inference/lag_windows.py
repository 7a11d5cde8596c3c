"""Residual sums of squares and held-out scores of every window of lags, from one factor of all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE
from ..leastsquares.regression import QR_STEPS, Regression
from ..linalg.factor import Factor
from ..linalg.factors import Factors
from ..linalg.qr import tree_qr, with_rows
from ..linalg.threads import one_blas_thread
from ..progress import tracked
from .folds import CrossValidation, HeldOut, check_varying, varying
from .moments import moments
from .strength_path import ROUNDING
from .sums import fold_sums

UNDETERMINED = (
    "the data do not determine all of the lags, so the windows cannot be compared; use fewer lags, "
    "or solve with a prior that decays, {}"
)

# If the smallest pivot is less than this share of the largest, scores of folds have fewer than five
# correct digits.
LOST = 1e-5
ILL_CONDITIONED = (
    "without a fold, the columns of the lags are so nearly dependent that scores would be rounding "
    "errors; select by 'bic' or 'aicc', or use fewer lags"
)


def window_squares(analysis: Analysis) -> tuple[np.ndarray, np.ndarray]:
    """Return the residual sum of squares of every window of lags, for the outputs that vary.

    The sum of all lags is computed from the data. For a window, the squares of the later rows of
    z = Qᵀy are added, in the QR of the lags from the i-th on. Nothing is subtracted.

    Returns:
        RSS (taps, taps, Q) of the lags i to j in ascending order, NaN where j < i, and exponents
        (Q,): the sums are divided by 4**exponents.
    """
    regression = analysis.regression(RIDGE, 0.0)
    factors = _factors(regression)
    w, _ = regression.refine(regression.first(factors), factors, QR_STEPS)
    squares = regression.residual(w)[0] ** 2
    taps, parts = analysis.design.spec.kernel_size[0], []
    for g, factor in enumerate(factors):
        order = _ascending(factor.columns, taps)
        joint = np.hstack([factor.r[:, order], _rotated(regression, g, factor)])
        found = _squares(joint, taps) + squares[g]
        # A smaller sum is rounding, and windows that explain y exactly should have equal sums.
        parts.append(np.maximum(found, ROUNDING * regression.y_norms[g] ** 2))
    varies = _varying(analysis).reshape(-1)
    exponents = regression.y_exponents.reshape(-1)
    return np.concatenate(parts, axis=-1)[..., varies], exponents[varies]


def _varying(analysis: Analysis) -> np.ndarray:
    """Return which outputs (G, Q) vary.

    Raises:
        ValueError: If none of them varies.
    """
    design = analysis.design
    found = varying(moments(design))
    if not found.any():
        raise ValueError("y does not vary, so that no lags can be chosen by it")
    return found


def _ascending(columns: int, taps: int) -> np.ndarray:
    """Return the columns in ascending order of lags; the first tap has the largest lag."""
    return np.arange(columns).reshape(taps, -1)[::-1].reshape(-1)


def _factors(regression: Regression) -> Factors:
    system = regression.system
    found = system.by_gram if system.by_gram.complete else system.qr_factors()
    if found is None:
        sizes = system.design.sizes
        raise SolveError(f"a QR of {sizes.unknowns} unknowns needs {sizes.factor_excess}")
    if not found.full_rank:
        raise SolveError(UNDETERMINED.format("penalty='tc'"))
    return found


def _rotated(regression: Regression, group: int, factor: Factor) -> np.ndarray:
    """Return Qᵀy (P, Q)."""
    if factor.source == "qr":
        return regression.system.rotated(regression.targets)[group]
    from scipy.linalg import solve_triangular

    right = regression.scaling.divided(regression.cross)[group]
    found: np.ndarray = solve_triangular(factor.r, right, trans="T", check_finite=False)
    return found


def _squares(joint: np.ndarray, taps: int) -> np.ndarray:
    """Return the sums of one group from [R z] (P, P + Q), with R in ascending order of lags."""
    columns, width = joint.shape
    channels, outputs = columns // taps, width - columns
    found = np.full((taps, taps, outputs), np.nan)
    with one_blas_thread():
        whole = np.zeros((width, width))
        whole[:columns] = tree_qr([joint[None]])[0]
        for i in tracked(range(taps), "windows of lags", taps):
            of_z = whole[:, -outputs:] ** 2
            below = np.cumsum(np.vstack([of_z, np.zeros((1, outputs))])[::-1], axis=0)[::-1]
            found[i, i:] = below[channels : channels * (taps - i) + 1 : channels]
            if i == taps - 1:
                break
            # Remove the first lag: append its rows to the others, and restore the triangle.
            whole = with_rows(whole[channels:, channels:], whole[:channels, channels:])
    return found


def window_errors(analysis: Analysis, select: CrossValidation) -> np.ndarray:
    """Return held-out scores of every window of lags, for the outputs that vary.

    All windows that start with one lag are computed together. Let U be the Cholesky factor of the
    other rows, c = U⁻ᵀAᵀy, and B = U⁻ᵀ(AᵀA of the fold)U⁻¹. Then the first elements of c are the
    solutions of the shorter windows.

    Returns:
        Mean squared errors, R² or correlations (folds, taps, taps, Q), NaN where j < i. Errors are
        divided by 4**e, where e is the largest exponent of an output.
    """
    design = analysis.design
    assert analysis.targets is not None
    if reason := design.sizes.gram_reason():
        raise SolveError(reason)
    spans = select.spans(design.kept)
    sums = fold_sums(design, analysis.targets, spans)
    varies, found = _varying(analysis), []
    check_varying(sums.folds, varies, select)
    out_exponents = analysis.targets.grouped(analysis.targets.exponents)
    highest = int(out_exponents.max())
    groups = zip(*map(sums.held_out, range(design.spec.groups)), strict=True)
    pairs = zip(sums.beside, groups, strict=True)
    for rest, held in tracked(pairs, "windows of lags, by fold", len(sums.folds)):
        normal = zip(*rest.eliminated(), strict=True)
        taps = design.spec.kernel_size[0]
        scores = []
        for each, h in zip(normal, held, strict=True):
            parts = (_Prefixes(*each, part, taps).scores(select.score) for part in h.parts)
            scores.append(np.mean([np.stack(list(p)) for p in parts], axis=0))
        if select.score == "mse":
            powers = zip(scores, out_exponents, strict=True)
            scores = [np.ldexp(s, 2 * (e - highest)) for s, e in powers]
        found.append(np.concatenate(scores, axis=-1)[..., varies.reshape(-1)])
    return np.stack(found)


class _Prefixes:
    """The windows of one group, trained on normal equations and scored on ``held`` rows."""

    def __init__(
        self, gram: np.ndarray, cross: np.ndarray, squares: np.ndarray, held: HeldOut, taps: int
    ) -> None:
        order = _ascending(len(gram), taps)
        square = np.ix_(order, order)
        self._gram, self._cross, self._held = gram[square], cross[order], held
        self._held_gram, self._held_cross = held.gram[square], held.cross[order]
        self._off = held.off[order, None]
        self._taps, self._channels = taps, len(order) // taps

    def scores(self, score: str) -> Iterator[np.ndarray]:
        """Yield the scores (taps, Q) of the windows that start with each lag."""
        from scipy.linalg import solve_triangular

        for i in tracked(range(self._taps), "windows of lags", self._taps):
            own = slice(i * self._channels, None)
            try:
                u = np.linalg.cholesky(self._gram[own, own]).T
            except np.linalg.LinAlgError as error:
                raise SolveError(UNDETERMINED.format("penalty='tc'")) from error
            pivots = np.diagonal(u)
            if pivots.min() < LOST * pivots.max():
                raise SolveError(ILL_CONDITIONED)
            c, held_c, means = (
                solve_triangular(u, v, trans="T", check_finite=False)
                for v in (self._cross[own], self._held_cross[own], self._off[own])
            )
            half = solve_triangular(u, self._held_gram[own, own], trans="T", check_finite=False)
            b = solve_triangular(u, half.T, trans="T", check_finite=False)
            inner = 2 * c * (np.tril(b, -1) @ c) + np.diagonal(b)[:, None] * c**2
            ends = slice(self._channels - 1, None, self._channels)
            spread, joint = np.cumsum(inner, 0)[ends], np.cumsum(held_c * c, 0)[ends]
            off = self._held.y_off - np.cumsum(means * c, 0)[ends]
            found = np.full((self._taps, c.shape[1]), np.nan)
            found[i:] = self._held.scored(score, spread, joint, off)
            yield found
