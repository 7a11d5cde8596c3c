"""Sparse kernels from moments: single taps, groups of taps, their paths and duality gaps."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..leastsquares.certificate import EXACT_GAP
from ..linalg.rank import EPS
from ..progress import tracked
from .plq import Losses, Rows, minimize
from .spectrum import ROUNDING, Fit, inverse_root
from .sums import Normal

# Largest number of sweeps over all groups.
SWEEPS = 5000
# Largest number of Newton steps for the norm of one group.
NEWTON_STEPS = 50
# Duality gap that suffices to score a group lasso along its path.
ON_PATH = 1e-4


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


class Taps(Rows):
    """Rows [R; I] for a root R of a Gram matrix G = RᵀR (P, P) of columns of norm one."""

    def __init__(self, gram: np.ndarray) -> None:
        norms = np.sqrt(np.diagonal(gram))
        self._norms = np.where(norms > 0, norms, 1.0)
        self._gram = gram / self._norms / self._norms[:, None]
        self._half = inverse_root(self._gram)
        root = self._half.T @ self._gram
        super().__init__(np.concatenate([root, np.eye(len(gram))]), len(gram))

    def gram(self, weights: np.ndarray) -> np.ndarray:
        """Return RᵀR, with the weights of the taps."""
        return self._gram + np.diag(weights[-self.taps :])

    def solve(self, cross: np.ndarray, strength: float, w: np.ndarray, *_: float) -> np.ndarray:
        """Minimize ½wᵀG w − crossᵀw + strength·‖w‖₁ from a kernel ``w`` (P,)."""
        b = self._half.T @ (cross / self._norms)
        tau = np.append(np.full(len(b), np.inf), strength / self._norms)
        losses = Losses(np.repeat([1.0, 0.0], [len(b), self.taps]), tau)
        return minimize(self, np.append(b, 0 * cross), losses, w * self._norms).z / self._norms


class Path:
    """The kernels of one group at a grid of strengths (n, Q), from its moments.

    Strengths increase. Each starts from the kernel of the next larger one.
    """

    def __init__(self, normal: Normal, rows: int, nuisance: int, grid: np.ndarray, solver: Any):
        (self._gram, self._cross, self._squares), self._grid = normal, grid
        self._rows, self._nuisance, self._solver = rows, nuisance, solver
        self._kernels = np.zeros((len(grid), *self._cross.shape))
        for q, strengths in enumerate(grid.T.tolist()):
            cross, squares, w = self._cross[:, q], self._squares[q], self._kernels[0, :, q]
            for i in tracked(reversed(range(len(grid))), "strengths", len(grid)):
                w = self._kernels[i, :, q] = solver.solve(cross, strengths[i], w, squares, ON_PATH)

    def exact(self, strengths: np.ndarray) -> np.ndarray:
        """Return the kernels (P, Q) at strengths (Q,) of the grid, with groups up to rounding."""
        parts = self._cross.T, strengths, self.kernel(strengths[None])[0].T, self._squares
        each = [self._solver.solve(*one, EXACT_GAP / 100) for one in zip(*parts, strict=True)]
        return np.stack(each, axis=-1)

    def kernel(self, strengths: np.ndarray) -> np.ndarray:
        """Return the kernels (n, P, Q) at strengths (n, Q) of the grid."""
        places = (self._grid[:, None] == strengths).argmax(0)
        return np.take_along_axis(self._kernels, places[:, None], axis=0)

    def fit(self, strengths: np.ndarray) -> Fit:
        """Return the fits, whose freedom is the number of taps; NaN with groups."""
        v = self.kernel(strengths)
        freedom = np.where(isinstance(self._solver, Taps), (v != 0).sum(1), np.nan)
        rss = self._squares + np.einsum("npq,npq->nq", v, self._gram @ v - 2 * self._cross)
        rss, left = np.maximum(rss, ROUNDING * self._squares), self._rows - self._nuisance
        spare = np.maximum(left - freedom, 0.0)
        return Fit(rss, 0 * rss, freedom, spare, 0 * rss, self._rows, self._nuisance, left)
