"""Banded ridge: a strength for every group of channels, by the derivative of the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..leastsquares.penalty import RIDGE, Bands, Penalty, Ridge
from ..linalg.threads import one_blas_thread
from ..parts import join
from ..progress import tracked
from .folds import CrossValidation
from .regularization import Regularization, described
from .select import COARSE, Scoring, choose_strengths
from .spectrum import ROUNDING
from .sums import Normal

# Largest change of the logarithm of a strength from its start, in either direction.
REACH = 25.0
# Share of the power of another band below which a second start is used, and its lower limit.
SIMILAR, TINY = 0.1, 1e-30
# Loss of a step that is not finite.
LOST = 1e300
# Largest number of steps of L-BFGS-B for one output, and the gradient norm at which it stops.
MOST_STEPS, FLAT = 200, 1e-6

# The loss of strengths λ and its derivative, at t = −log λ.
Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]


def choose_bands(
    scoring: Scoring, ridge: Ridge
) -> tuple[Regularization, list[tuple[Penalty, float]]]:
    """Select the bands of largest evidence or best held-out score, separately for each output.

    The search starts from one strength for all bands, the best of a plain ridge. A start with bands
    switched off would not work, because the derivative vanishes there.

    Returns:
        The selection, with a path along the ratios of each output, and the penalty and strength of
        every output.
    """
    design, units = scoring.design, scoring.units
    assert ridge.channel_groups is not None
    labels = np.array(ridge.channel_groups)[[*design.selection.channels]]
    bands = np.searchsorted(ridge.labels, labels).reshape(len(scoring.varies), -1)
    channel = design.coordinates(RIDGE).basis.channel_of(design.sizes.columns, bands.shape[1])
    plain, groups = scoring.scorers(RIDGE), scoring.groups(RIDGE)
    starts = [choose_strengths(s, None, COARSE).strengths for s in plain]
    parts, pairs = list[Regularization](), list[tuple[Penalty, float]]()
    for g, q in tracked(np.ndindex(*scoring.varies.shape), "outputs", scoring.varies.size):
        names, band = np.unique(bands[g][channel], return_inverse=True)
        strengths, edge, one = np.full(len(ridge.labels), starts[g][q]), True, np.array([q])
        if scoring.varies[g, q]:
            gram, cross, squares = groups[g].whole
            power = np.bincount(band, np.diagonal(gram)) / np.bincount(band)
            folds = [(r[0], r[1][:, q], held.only(one)) for r, _, held in groups[g].folds]
            rows = plain[g].whole.rows - plain[g].whole.nuisance
            if isinstance(scoring.select, CrossValidation):
                loss, flat = _by_folds(folds, band, scoring.select.score), FLAT
            else:
                own = gram, cross[:, q], squares[q]
                loss, flat = _by_evidence(own, band, rows), FLAT * rows
            strengths[names], edge = _best(loss, _starts(float(starts[g][q]), power), flat)
        mean = float(np.exp(np.log(strengths).mean()))
        ratios = tuple((strengths / mean).tolist())
        form = Bands(channel_groups=ridge.channel_groups, weights=ratios)
        scorer = scoring.scorers(form)[g].only(one)
        along = choose_strengths(scorer, None, COARSE)._replace(
            strengths=np.array([mean]), at_edge=np.array([edge])
        )
        found = described(units.to_user, units.outputs[g, one], form, scorer, along)
        parts.append(found._replace(strength=units.to_user(strengths[:, None])))
        pairs.append((form, float(units.to_user(along.strengths)[0])))
    return join(parts)._replace(penalty=ridge.title), pairs


def _starts(start: float, power: np.ndarray) -> list[np.ndarray]:
    """Return equal strengths, and strengths proportional to the power of the bands."""
    largest = power.max() or 1.0
    even = np.full(len(power), -np.log(start))
    if power.min() > SIMILAR * largest:
        return [even]  # the two starts are nearly the same
    return [even, even - np.log(np.maximum(power / largest, TINY))]


def _best(loss: Loss, starts: Sequence[np.ndarray], flat: float) -> tuple[np.ndarray, bool]:
    """Return the strengths (bands,) of least loss, and whether one is at its bound."""
    from scipy.optimize import minimize

    found = []
    # The loss may be a mean over rows, so that a good step changes it by little.
    options = {"maxiter": MOST_STEPS, "gtol": flat, "ftol": 0.0}
    with one_blas_thread():
        for begin in starts:
            bounds = np.stack([begin - REACH, begin + REACH], axis=1)
            given = {"jac": True, "method": "L-BFGS-B", "bounds": bounds, "options": options}
            result = minimize(loss, begin, **given)
            found.append((float(result.fun), result.x, bounds))
        least, t, bounds = min(found, key=lambda each: each[0])
        # The loss is flat where a band is switched off, and the search stops before the bound.
        for band, bound in np.ndindex(bounds.shape):
            moved = t.copy()
            moved[band] = bounds[band, bound]
            if (value := loss(moved)[0]) < least:
                least, t = value, moved
    return np.exp(-t), bool((np.abs(t[:, None] - bounds) < 1e-6 * REACH).any())


def _by_evidence(normal: Normal, band: np.ndarray, rows: int) -> Loss:
    """Return rows·log S + log det B and its derivative Σ_b(1 − (B⁻¹)_jj) − rows/S·Σ_b z².

    Here D = diag(exp(t/2)), B = I + D G D, z = B⁻¹ D r and S = y² − rᵀ D z.
    """
    from scipy.linalg.lapack import dpotri

    gram, r, squares = normal

    def loss(t: np.ndarray) -> tuple[float, np.ndarray]:
        d = np.exp(t / 2)[band]
        if (factor := _factor(gram, d)) is None:
            return LOST, np.zeros(len(t))
        z = _solved(factor, d * r)
        s = max(float(squares) - float((d * r) @ z), ROUNDING * float(squares))
        inverse = np.diagonal(dpotri(factor, lower=1)[0])
        value = rows * np.log(s) + 2 * np.log(np.diagonal(factor)).sum()
        return float(value), np.bincount(band, 1 - inverse - rows / s * z**2, len(t))

    return loss


def _by_folds(
    folds: Sequence[tuple[np.ndarray, np.ndarray, Any]], band: np.ndarray, score: str
) -> Loss:
    """Return the log of the mean held-out square, or minus the mean score, and its derivative.

    In every fold, z = B⁻¹ D r of the training rows, and the kernel is w = D z. With the derivative
    f of the score with respect to w, the derivative of the score is Σ_b z·(B⁻¹ D f).

    Args:
        folds: AᵀA and Aᵀy of the training rows of one output, and the held-out rows, of every fold.
        band: the band of every column.
        score: "mse", "r2" or "correlation".
    """

    def loss(t: np.ndarray) -> tuple[float, np.ndarray]:
        d, mean, slope = np.exp(t / 2)[band], 0.0, np.zeros(len(t))
        for gram, r, held in folds:
            if (factor := _factor(gram, d)) is None:
                return LOST, np.zeros(len(t))
            z = _solved(factor, d * r)
            mean += float(held.scores(score, (d * z)[None, :, None])[0, 0]) / len(folds)
            back = _solved(factor, d * held.slope(score, d * z))
            slope += np.bincount(band, z * back, len(t)) / len(folds)
        if not np.isfinite(mean):
            return LOST, np.zeros(len(t))
        if score != "mse":
            return -mean, -slope
        mean = max(mean, float(np.finfo(float).tiny))
        return float(np.log(mean)), slope / mean

    return loss


def _factor(gram: np.ndarray, d: np.ndarray) -> np.ndarray | None:
    """Return the Cholesky factor of B = I + D G D.

    None if the strengths are so small that B consists of rounding.
    """
    from scipy.linalg.lapack import dpotrf

    b = gram * np.outer(d, d)
    b.flat[:: len(b) + 1] += 1.0
    factor, failed = dpotrf(b, lower=1, overwrite_a=1)
    return None if failed else np.asarray(factor)


def _solved(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    from scipy.linalg.lapack import dpotrs

    return np.asarray(dpotrs(factor, right, lower=1)[0])
