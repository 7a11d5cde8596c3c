"""Banded ridge: a strength for every group of channels, selected by the evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..leastsquares.penalty import RIDGE, Bands, Penalty, Ridge
from ..linalg.threads import one_blas_thread
from ..progress import tracked
from .regularization import Regularization, joined, of_outputs
from .scorers import Scoring
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


def choose_bands(
    scoring: Scoring, ridge: Ridge
) -> tuple[Regularization, list[tuple[Penalty, float]]]:
    """Select the bands of largest evidence, separately for each output.

    The search starts from one strength for all bands, the best of a plain ridge. A start with bands
    switched off would not work, because the derivative vanishes there.

    Returns:
        The selection, and the penalty and strength of every output.
    """
    found: list[tuple[Penalty, float]] = []
    selections = []
    plain = scoring.scorers(RIDGE)
    assert ridge.channel_groups is not None
    labels = np.array(ridge.channel_groups)[[*scoring.design.selection.channels]]
    bands = np.searchsorted(ridge.labels, labels).reshape(len(plain), -1)
    for g, (gram, cross, squares) in enumerate(scoring.normal_equations()):
        start = choose_strengths(plain[g], None, COARSE).strengths
        band = np.tile(bands[g], len(gram) // bands.shape[1])
        left = plain[g].path.rows - plain[g].path.nuisance
        names, band = np.unique(band, return_inverse=True)
        for q in tracked(range(len(squares)), "outputs", len(squares)):
            strengths, edge = np.full(len(ridge.labels), start[q]), True
            if plain[g].varies[q]:
                given = cross[:, q], float(squares[q]), band, left
                strengths[names], edge = _best(gram, *given, start[q])
            mean = float(np.exp(np.log(strengths).mean()))
            weights = tuple((strengths / mean).tolist())
            penalty = Bands(None, ridge.channel_groups, weights)
            scorer = scoring.scorers(penalty)[g].only(np.array([q]))
            along = choose_strengths(scorer, None, COARSE)
            here = replace(along, strengths=np.array([mean]), at_edge=np.array([edge]))
            units = scoring.units
            one = of_outputs(units, units.outputs[g, [q]], penalty, scorer, here)
            found.append((penalty, float(one.strength[0])))
            selections.append(one._replace(strength=units.to_user(strengths[:, None])))
    return joined(selections)._replace(penalty=ridge.title), found


def _best(
    gram: np.ndarray, r: np.ndarray, squares: float, band: np.ndarray, rows: int, start: float
) -> tuple[np.ndarray, bool]:
    """Return the strengths (bands,) of one output, and whether one is at its bound.

    The objective is rows·log S + log det B in t = −log λ_b. Here D = diag(exp(t/2)),
    B = I + D G D, z = B⁻¹ D r and S = y² − rᵀ D z. The derivative of the objective is
    Σ_b(1 − (B⁻¹)_jj) − rows/S·Σ_b z².
    The search starts from equal strengths, and from strengths proportional to the power of the
    bands.
    """
    from scipy.optimize import minimize

    power = np.bincount(band, np.diagonal(gram)) / np.bincount(band)
    largest = power.max() or 1.0
    even = np.full(len(power), -np.log(start))
    found = []
    with one_blas_thread():
        for begin in (even, even - np.log(np.maximum(power / largest, TINY))):
            result = minimize(
                _loss,
                begin,
                args=(gram, r, squares, band, rows),
                jac=True,
                method="L-BFGS-B",
                bounds=[(t - REACH, t + REACH) for t in begin],
                options={"maxiter": MOST_STEPS, "gtol": FLAT * rows},
            )
            edge = bool((np.abs(result.x - begin) > REACH * (1 - 1e-6)).any())
            found.append((float(result.fun), result.x, edge))
            if power.min() > SIMILAR * largest:
                break  # the two starts are nearly the same
    _, t, edge = min(found, key=lambda each: each[0])
    return np.exp(-t), edge


def _loss(
    t: np.ndarray, gram: np.ndarray, r: np.ndarray, squares: float, band: np.ndarray, rows: int
) -> tuple[float, np.ndarray]:
    from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

    d = np.exp(t / 2)[band]
    b = gram * np.outer(d, d)
    b.flat[:: len(b) + 1] += 1.0
    factor, failed = dpotrf(b, lower=1, overwrite_a=1)
    if failed:  # strengths so small that B consists of rounding
        return LOST, np.zeros(len(t))
    z = dpotrs(factor, d * r, lower=1)[0]
    s = max(squares - float((d * r) @ z), ROUNDING * squares)
    loss = rows * np.log(s) + 2 * np.log(np.diagonal(factor)).sum()
    inverse = np.diagonal(dpotri(factor, lower=1)[0])
    by_column = (1 - inverse) - rows / s * z**2
    return float(loss), np.bincount(band, by_column, len(t))
