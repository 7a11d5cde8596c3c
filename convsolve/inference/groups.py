"""Group lasso from moments by block coordinate descent, and the duality gap of sparse kernels."""

from __future__ import annotations

import numpy as np

from ..leastsquares.certificate import EXACT_GAP
from ..linalg.rank import EPS
from ..progress import tracked
from .plq import Losses

# Largest number of sweeps over all groups, and of sweeps between checks of the duality gap, which
# is to be at most the third number.
SWEEPS, A_CHECK, ENOUGH = 5000, 5, EXACT_GAP / 100
# Largest number of Newton steps for the norm of one group.
NEWTON_STEPS = 50


def duality_gap(
    w: np.ndarray, pull: np.ndarray, smooth: float, strength: float, labels: np.ndarray
) -> float:
    """Return the relative duality gap for ½‖y − Aw‖² + strength·Σ‖w_k‖·√size + ½ridge·‖w‖².

    The sum of squares is one row of the losses, and so is every group. The dual point is the
    residual, multiplied by a factor that makes it feasible.

    Args:
        w: kernel (P,).
        pull: Aᵀr − ridge·w (P,).
        smooth: ‖r‖² + ridge·‖w‖².
        strength: strength of the penalty.
        labels: (P,), the group of every column, from zero.
    """
    sizes, pulls = (np.sqrt(np.bincount(labels, v**2)) for v in (w, pull))
    along = np.bincount(labels, w * pull) / np.where(sizes > 0, sizes, 1.0)
    limits, root = strength * np.sqrt(np.bincount(labels)), smooth**0.5
    losses = Losses(np.append(1.0, 0 * limits), np.append(np.inf, limits))
    r, d = np.append(root, sizes), np.append(root, along) / max(1.0, (pulls / limits).max())
    whole = losses.of(r)
    return losses.gap(r, d) / whole if whole else 0.0


class Blocks:
    """A Gram matrix in blocks of groups, with the eigenvectors of every block."""

    def __init__(self, gram: np.ndarray, labels: np.ndarray) -> None:
        self.gram, self.labels = gram, labels
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self._blocks = [(k, *np.linalg.eigh(gram[np.ix_(k, k)])) for k in members]

    def solve(
        self, cross: np.ndarray, squares: float, strength: float, w: np.ndarray
    ) -> np.ndarray:
        """Minimize ½wᵀG w − crossᵀw + strength·Σ‖w_k‖·√size from a kernel ``w`` (P,).

        Every block is minimized exactly. With G_kk = V D Vᵀ and h = ‖w_k‖, Vᵀw_k is
        c/(d + strength/h), where h is the root of Σ c²/(d h + strength)² = 1. ``squares`` is Σy².

        Source: Z. Qin, K. Scheinberg and D. Goldfarb, Math. Prog. Comp. 5 (2013) 143.
        """
        w, pull = w.copy(), cross - self.gram @ w
        for sweep in tracked(range(SWEEPS), "sweeps over the groups", SWEEPS):
            smooth = max(squares - float(w @ (cross + pull)), 0.0)
            given = w, pull, smooth, strength, self.labels
            if sweep % A_CHECK == 0 and duality_gap(*given) <= ENOUGH:
                break
            for k, d, v in self._blocks:
                old = w[k]
                c = v.T @ pull[k] + d * (v.T @ old)
                w[k] = v @ _shrunk(c, np.maximum(d, 0.0), strength * len(k) ** 0.5)
                pull -= self.gram[:, k] @ (w[k] - old)
        return w


def _shrunk(c: np.ndarray, d: np.ndarray, strength: float) -> np.ndarray:
    """Return argmin ½zᵀD z − cᵀz + strength·‖z‖ (P,)."""
    if np.linalg.norm(c) <= strength:
        return np.zeros_like(c)
    # With p = c/(d h + strength), 1/‖p‖ is concave in h and nearly linear, so that Newton's steps
    # from below end at the root of ‖p‖ = 1 after a few.
    h = 0.0
    for _ in range(NEWTON_STEPS):
        below = d * h + strength
        p = c / below
        size = float(np.linalg.norm(p))
        slope = float((p * p * d / below).sum())
        if not slope > 0 or size <= 1 + 4 * EPS:
            break
        h += (size - 1) * size**2 / slope
    return c * h / (d * h + strength)
