"""The backward error of a least-squares answer, whoever gave it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg as sla

from .factor import EPS, Factor

# An answer certified to this many units of rounding keeps every promise made of "exact".
EXACT = 30 * EPS


class Certificate(NamedTuple):
    """``value`` is the largest backward error over outputs, ``kind`` "value" or "upper bound"."""

    value: float
    kind: str

    @property
    def exact(self) -> bool:
        """At most 30 eps."""
        return self.value <= EXACT


def backward_error(
    w: np.ndarray,
    r_norm: np.ndarray,
    g: np.ndarray,
    a_norm: float,
    y_norm: np.ndarray,
    factor_of: Callable[[], Factor | None],
) -> Certificate:
    """Smallest relative change of A alone that makes each column of w an exact least-squares
    answer.

    The Karlson–Waldén estimate η = ‖(‖w‖²AᵀA + ‖r‖²I)^(−1/2) g‖ / ‖A‖_F, with w (P, Q), r_norm (Q,)
    the norm of r = y − Aw and g = Aᵀr (P, Q) *recomputed from the data*; it lies within 0.76 to 1
    of the true optimum. ``factor_of`` is asked for R only where the bounds without it are too
    large. The free upper bound min(‖g‖/‖r‖, ‖R⁻ᵀg‖/‖w‖, ‖r‖/‖w‖) is given where it suffices.

    Source: R. Karlson and B. Waldén, BIT 37 (1997) 862; Gratton, Jiránek and Titley-Peloquin, SIAM
    J. Matrix Anal. Appl. 33 (2012) 822.
    """
    if a_norm == 0.0:
        return Certificate(0.0, "value")
    w_norm, g_norm = np.linalg.norm(w, axis=0), np.linalg.norm(g, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = np.minimum(g_norm / r_norm, r_norm / w_norm)
        bound = np.where(w_norm == 0, g_norm / y_norm, bound) / a_norm
    done = (g_norm == 0) | (r_norm == 0)
    bound = np.where(done, 0.0, bound)
    if bound.max() <= EXACT:
        return Certificate(float(bound.max()), "upper bound")
    factor = factor_of()
    if factor is None:
        return Certificate(float(bound.max()), "upper bound")
    if factor.square:
        half = sla.solve_triangular(factor.r, g, trans="T", check_finite=False)
        with np.errstate(divide="ignore", invalid="ignore"):
            finer = np.minimum(bound, np.linalg.norm(half, axis=0) / (w_norm * a_norm))
        bound = np.where(done | (w_norm == 0), bound, finer)
        if bound.max() <= EXACT:
            return Certificate(float(bound.max()), "upper bound")
    _, s, vt = factor.svd
    spectrum = np.zeros(vt.shape[0])
    spectrum[: s.size] = s
    weights = np.sqrt((w_norm * spectrum[:, None]) ** 2 + r_norm**2)
    open_ = ~done & (w_norm > 0)
    values = bound.copy()
    values[open_] = np.linalg.norm((vt @ g[:, open_]) / weights[:, open_], axis=0) / a_norm
    return Certificate(float(np.minimum(values, bound).max()), "value")
