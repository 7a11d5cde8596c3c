"""Banded ridge: a strength for every group of channels, by the evidence or by cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..leastsquares.penalty import RIDGE, Bands, Penalty, Ridge
from ..linalg.threads import one_blas_thread
from ..progress import tracked
from .folds import CrossValidation
from .regularization import Regularization, joined, of_outputs
from .scorers import Held, Normal, Scoring
from .selection import COARSE, choose_strengths
from .strength_path import ROUNDING

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

    Returns:
        The selection, with a path along the ratios of each output, and the penalty and strength of
        every output.
    """
    units, outputs = scoring.units, scoring.varies.shape[1]
    parts, pairs = list[Regularization](), list[tuple[Penalty, float]]()
    for i, (strengths, edge) in enumerate(_searched(scoring, ridge)):
        form, mean = _form(ridge, strengths)
        g, q = divmod(i, outputs)
        scorer = scoring.scorers(form)[g].only(np.array([q]))
        along = replace(
            choose_strengths(scorer, None, COARSE),
            strengths=np.array([mean]),
            at_edge=np.array([edge]),
        )
        found = of_outputs(units, units.outputs[g, [q]], form, scorer, along)
        parts.append(found._replace(strength=units.to_user(strengths[:, None])))
        pairs.append((form, float(units.to_user(along.strengths)[0])))
    return joined(parts)._replace(penalty=ridge.title), pairs


def _form(ridge: Ridge, strengths: np.ndarray) -> tuple[Bands, float]:
    """Return the form with the ratios of some strengths, and their geometric mean."""
    mean = float(np.exp(np.log(strengths).mean()))
    weights = tuple((strengths / mean).tolist())
    return Bands(channel_groups=ridge.channel_groups, weights=weights), mean


def _searched(scoring: Scoring, ridge: Ridge) -> list[tuple[np.ndarray, bool]]:
    """Return the strengths (bands,) of least loss of every output, and whether one is at a bound.

    The search starts from one strength for all bands, the best of a plain ridge. A start with bands
    switched off would not work, because the derivative vanishes there.
    """
    assert ridge.channel_groups is not None
    found: list[tuple[np.ndarray, bool]] = []
    design, coordinates = scoring.design, scoring.design.coordinates(RIDGE)
    plain, folds = scoring.scorers(RIDGE), scoring.folds(coordinates)
    labels = np.array(ridge.channel_groups)[[*scoring.design.selection.channels]]
    bands = np.searchsorted(ridge.labels, labels).reshape(len(plain), -1)
    channel = coordinates.basis.channel_of(design.matrix.columns, bands.shape[1])
    for g, normal in enumerate(scoring.normal_equations(coordinates)):
        start = choose_strengths(plain[g], None, COARSE).strengths
        band = bands[g][channel]
        names, band = np.unique(band, return_inverse=True)
        power = np.bincount(band, np.diagonal(normal[0])) / np.bincount(band)
        rows = plain[g].path.rows - plain[g].path.nuisance
        of_group = [(rest[g], held[g]) for rest, held in folds]
        for q in tracked(range(len(start)), "outputs", len(start)):
            strengths, edge = np.full(len(ridge.labels), start[q]), True
            if plain[g].varies[q]:
                begin = _starts(float(start[q]), power)
                flat = FLAT if folds else FLAT * rows
                loss = _loss(scoring.select, (normal, of_group), q, band, rows)
                strengths[names], edge = _best(loss, begin, flat)
            found.append((strengths, edge))
    return found


def _loss(
    select: str | CrossValidation,
    sums: tuple[Normal, Sequence[tuple[Normal, Held]]],
    q: int,
    band: np.ndarray,
    rows: int,
) -> Loss:
    """Return the loss of one output, given the sums of all rows and of every fold."""
    (gram, cross, squares), folds = sums
    if isinstance(select, str):
        return partial(evidence_loss, gram, cross[:, q], float(squares[q]), band, rows)
    one = np.array([q])
    several = [(rest[0], rest[1][:, q], held.only(one)) for rest, held in folds]
    return partial(held_out_loss, several, band, select.score)


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
    with one_blas_thread():
        for begin in starts:
            bounds = np.stack([begin - REACH, begin + REACH], axis=1)
            result = minimize(
                loss,
                begin,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                # The loss may be a mean over rows, so that a good step changes it by little.
                options={"maxiter": MOST_STEPS, "gtol": flat, "ftol": 0.0},
            )
            found.append((float(result.fun), result.x, bounds))
        least, t, bounds = min(found, key=lambda each: each[0])
        # The loss is flat where a band is switched off, and the search stops before the bound.
        for band, bound in np.ndindex(bounds.shape):
            moved = t.copy()
            moved[band] = bounds[band, bound]
            if (value := loss(moved)[0]) < least:
                least, t = value, moved
    return np.exp(-t), bool((np.abs(t[:, None] - bounds) < 1e-6 * REACH).any())


def evidence_loss(
    gram: np.ndarray, r: np.ndarray, squares: float, band: np.ndarray, rows: int, t: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return rows·log S + log det B and its derivative Σ_b(1 − (B⁻¹)_jj) − rows/S·Σ_b z².

    Here D = diag(exp(t/2)), B = I + D G D, z = B⁻¹ D r and S = y² − rᵀ D z.
    """
    from scipy.linalg.lapack import dpotri

    d = np.exp(t / 2)[band]
    factor = _factor(gram, d)
    if factor is None:
        return LOST, np.zeros(len(t))
    z = _solved(factor, d * r)
    s = max(squares - float((d * r) @ z), ROUNDING * squares)
    loss = rows * np.log(s) + 2 * np.log(np.diagonal(factor)).sum()
    inverse = np.diagonal(dpotri(factor, lower=1)[0])
    by_column = (1 - inverse) - rows / s * z**2
    return float(loss), np.bincount(band, by_column, len(t))


def held_out_loss(
    folds: Sequence[tuple[np.ndarray, np.ndarray, Any]],
    band: np.ndarray,
    score: str,
    t: np.ndarray,
) -> tuple[float, np.ndarray]:
    """Return the log of the mean held-out square, or minus the mean score, and its derivative.

    In every fold, z = B⁻¹ D r of the training rows, and the kernel is w = D z. With the derivative
    f of the score with respect to w, the derivative of the score is Σ_b z·(B⁻¹ D f).

    Args:
        folds: AᵀA and Aᵀy of the training rows of one output, and the held-out rows, of every fold.
        band: the band of every column.
        score: "mse", "r2" or "correlation".
        t: −log λ of every band.
    """
    d, scores, derivative = np.exp(t / 2)[band], [], np.zeros(len(t))
    for gram, r, held in folds:
        factor = _factor(gram, d)
        if factor is None:
            return LOST, np.zeros(len(t))
        z = _solved(factor, d * r)
        w = (d * z)[:, None]
        scores.append(held.scores(score, w[None])[0, 0])
        slope = _solved(factor, d * held.gradient(score, w)[:, 0])
        derivative += np.bincount(band, z * slope, len(t)) / len(folds)
    mean = float(np.mean(scores))
    if not np.isfinite(mean):
        return LOST, np.zeros(len(t))
    if score != "mse":
        return -mean, -derivative
    mean = max(mean, float(np.finfo(float).tiny))
    return float(np.log(mean)), derivative / mean


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
