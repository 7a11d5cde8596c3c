"""Group lasso from moments by block coordinate descent, and duality gaps of sparse kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..linalg.rank import EPS
from ..progress import tracked

# Largest number of sweeps over all groups.
SWEEPS = 5000
# Largest number of Newton steps for the norm of one group.
NEWTON_STEPS = 50


def duality_gap(
    w: np.ndarray, pull: np.ndarray, smooth: Any, strength: Any, labels: np.ndarray
) -> np.ndarray:
    """Return relative duality gaps (Q,) for ½‖y − Aw‖² + strength·Σ‖w_k‖·√size + ½ridge·‖w‖².

    The dual point is the residual, multiplied by the largest t ≤ 1 that makes it feasible. The gap
    is a sum of terms that are not negative.

    Args:
        w: kernels (P, Q).
        pull: Aᵀr − ridge·w (P, Q).
        smooth: ‖r‖² + ridge·‖w‖² (Q,).
        strength: strengths (Q,) of the penalty.
        labels: (P,), the group of every column, from zero.
    """
    members = 1.0 * (np.arange(labels.max() + 1)[:, None] == labels)
    sizes, pulls = (np.sqrt(members @ v**2) for v in (w, pull))
    limits = np.sqrt(members.sum(1))[:, None] * strength
    t = 1 / np.maximum(1.0, (pulls / limits).max(0))
    terms = np.maximum(limits * sizes - t * (members @ (w * pull)), 0.0)
    whole = smooth / 2 + (limits * sizes).sum(0)
    return ((1 - t) ** 2 * smooth / 2 + terms.sum(0)) / np.where(whole > 0, whole, 1.0)


class Blocks:
    """A Gram matrix in blocks of groups, with the eigenvectors of every block."""

    def __init__(self, gram: np.ndarray, labels: np.ndarray) -> None:
        self.gram, self.labels = gram, labels
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        parts = [(k, *np.linalg.eigh(gram[np.ix_(k, k)])) for k in members]
        self._blocks = [(k, np.maximum(d, 0.0), v) for k, d, v in parts]

    def solve(
        self, cross: np.ndarray, strength: float, w: np.ndarray, squares: float, enough: float
    ) -> np.ndarray:
        """Minimize ½wᵀG w − crossᵀw + strength·Σ‖w_k‖·√size from a kernel ``w`` (P,).

        Every block is minimized exactly. With G_kk = V D Vᵀ and h = ‖w_k‖, Vᵀw_k is
        c/(d + strength/h), where h is the root of Σ c²/(d h + strength)² = 1. ``squares`` is Σy².
        The descent ends at a relative duality gap of ``enough``.

        Source: Z. Qin, K. Scheinberg and D. Goldfarb, Math. Prog. Comp. 5 (2013) 143.
        """
        w, pull = w.copy(), cross - self.gram @ w
        for _ in tracked(range(SWEEPS), "sweeps over the groups", SWEEPS):
            smooth = max(squares - float(w @ (cross + pull)), 0.0)
            gap = duality_gap(w[:, None], pull[:, None], smooth, strength, self.labels)
            if gap.max() <= enough:
                break
            for k, d, v in self._blocks:
                old = w[k]
                c = v.T @ pull[k] + d * (v.T @ old)
                w[k] = v @ _shrunk(c, d, strength * len(k) ** 0.5, float(old @ old) ** 0.5)
                pull -= self.gram[:, k] @ (w[k] - old)
        return w


def _shrunk(c: np.ndarray, d: np.ndarray, strength: float, h: float) -> np.ndarray:
    """Return argmin ½zᵀD z − cᵀz + strength·‖z‖ (P,), given an estimate h of its norm."""
    if c @ c <= strength**2:
        return np.zeros_like(c)
    # With p = c/(d h + strength), 1/‖p‖ is concave in h and nearly linear, so that Newton's steps
    # lead below the root of ‖p‖ = 1, and end there after a few.
    for step in range(NEWTON_STEPS):
        below = d * h + strength
        p = c / below
        size = float(p @ p) ** 0.5
        slope = float(p * p @ (d / below))
        if not slope > 0 or (step and size <= 1 + 4 * EPS):
            break
        h = max(0.0, h + (size - 1) * size**2 / slope)
    return c * h / (d * h + strength)
