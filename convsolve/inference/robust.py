"""Huber's estimate: its scale by the median absolute residual, and the norm for its errors."""

from __future__ import annotations

import math

import numpy as np

from ..progress import tracked
from .plq import minimize
from .rows import DataRows

# The median absolute deviation of a standard normal distribution.
NORMAL_MAD = 0.6744897501960817
# Turns of a scale and its fit at most, of which the first ones take a step of the fit only.
TURNS, SHORT = 400, 100
# Relative change at which both have settled. Below the second number, a change that is not smaller
# than the previous one is rounding.
SETTLED, ROUNDED = 1e-13, 1e-8


def mad_scale(r: np.ndarray) -> float:
    """Return the median absolute residual divided by its value for the standard normal."""
    return float(np.median(np.abs(r))) / NORMAL_MAD


def scaled_fit(
    rows: DataRows, y: np.ndarray, z: np.ndarray, delta: float, unit: float
) -> tuple[np.ndarray, float, bool]:
    """Return Huber's fit z (k,) and its scale by MAD, and whether they have settled.

    The two are updated in turns. The update of z is the step Bᵀρ′(r), which is Newton's if all
    rows are within the threshold. As BᵀB = I, it takes two passes over the data and no Gram
    matrix. If these steps do not settle soon, or with a lasso, it is a complete fit.
    """
    dense, before = rows.dense, np.inf
    r = y - dense.forward(z)
    scale = mad_scale(r[: rows.rows])
    for turn in tracked(range(TURNS), "scale and fit in turn", TURNS):
        if scale <= rows.rounding(y, z) / math.sqrt(rows.rows):
            break
        losses = rows.losses(1.0, delta * scale, unit)
        pull = losses.derivative(r)
        whole = rows.taps or turn >= SHORT
        step = minimize(dense, y, losses, z).z - z if whole else dense.adjoint(pull)
        z = z + step
        r = y - dense.forward(z)
        last, scale = scale, mad_scale(r[: rows.rows])
        change = max(float(np.linalg.norm(step) / np.linalg.norm(pull)), abs(scale / last - 1))
        if change <= SETTLED or before <= change <= ROUNDED:
            return z, scale, True
        before = change
    return z, scale, False


def error_norm(d: np.ndarray, share: float, unknowns: int) -> float:
    """Return the number that replaces ‖r‖ in the standard errors of Huber's estimate.

    Its square, divided by the degrees of freedom, times (AᵀA)⁻¹ is the covariance called H1 by
    Huber. It is K/m·‖d‖, where d (n,) is ρ′(r), m is the ``share`` of rows within the threshold and
    K = 1 + (unknowns/n)·(1 − m)/m a correction for few rows. It is infinite if no row is within.

    Source: P. J. Huber, Robust Statistics, Wiley 1981, section 7.6.
    """
    if not share:
        return np.inf
    return (1 + unknowns / len(d) * (1 - share) / share) / share * float(np.linalg.norm(d))
