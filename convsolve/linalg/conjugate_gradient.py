"""Preconditioned conjugate gradients for several right-hand sides, and what their steps prove."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .rank import EPS

Map = Callable[[np.ndarray], np.ndarray]
Stop = Callable[[], bool]

# A random vector that shrinks to this norm has no component along eigenvectors that CG has not
# found, except with a probability of 2e-7.
VANISHED = 1e-7


class Conjugate:
    """Conjugate gradients for H x = g (P, Q), step by step, with positive definite H and M.

    ``inverse`` multiplies by M⁻¹. ``x`` is the iterate, which starts at zero, ``r`` = g − H x, and
    ``squares`` = rᵀM⁻¹r per column. Every column has its own step lengths. ``slope`` (Q,) is
    Σ 1/θ over the Ritz values θ of M⁻¹H.

    Source: G. H. Golub and C. F. Van Loan, Matrix Computations, 2013, section 11.5.
    """

    def __init__(self, product: Map, inverse: Map, g: np.ndarray, least: float = 0.0) -> None:
        self._product, self._inverse, self._least = product, inverse, least
        self.x, self.r = np.zeros_like(g), g.copy()
        self._direction = inverse(g)
        self.squares = np.einsum("pq,pq->q", self.r, self._direction)
        self.slope = self._inner = self._ratio = np.zeros(g.shape[1])

    def step(self, active: np.ndarray) -> np.ndarray:
        """Take one step of the ``active`` columns, and return the decrease (Q,) of xᵀHx − 2xᵀg.

        A column whose direction p has a curvature pᵀHp of at most ``least``·‖p‖² does not move.
        Such a curvature is rounding, and x would grow without end.
        """
        seen = self._product(self._direction)
        curvature = np.einsum("pq,pq->q", self._direction, seen)
        floor = self._least * np.square(self._direction).sum(0)
        active = active & (curvature > floor) & (self.squares > 0)
        length = np.where(active, self.squares, 0.0) / np.where(active, curvature, 1.0)
        self.x += length * self._direction
        self.r -= length * seen
        z = self._inverse(self.r)
        before, squares = self.squares, np.einsum("pq,pq->q", self.r, z)
        self._inner = 1.0 + self._ratio * self._inner
        self.slope = self.slope + length * self._inner
        self._ratio = np.where(active, squares, 0.0) / np.where(active, before, 1.0)
        self.squares = np.where(active, squares, before)
        self._direction = self._ratio * self._direction + z
        return np.asarray(length * before)


def least_eigenvalue(product: Map, inverse: Map, draw: np.ndarray, steps: int, stop: Stop) -> float:
    """Return a lower bound of the eigenvalues of M⁻¹H from CG on one vector; 0 if inconclusive.

    In k steps, the residual along an eigenvector of eigenvalue λ is multiplied by at least 1 − λ·Σ
    1/θ below all Ritz values θ. If the residual of a normal ``draw`` (P, 1) of covariance M or more
    has shrunk to `VANISHED`, an eigenvalue below 1/(2·Σ 1/θ) would have had a component below twice
    this value from the start. A standard normal number is so small with a probability of 2e-7.
    """
    run, one = Conjugate(product, inverse, draw), np.ones(1, bool)
    # With a steeper slope, rounding of all steps could hide a component that has not vanished.
    steepest = VANISHED / (10 * EPS * draw.size**0.5)
    for _ in range(steps):
        if run.slope[0] > steepest or stop():
            break
        if 0 <= run.squares[0] <= VANISHED**2:
            return float(1 / (2 * run.slope[0]))
        # Rounding makes M⁻¹ indefinite where M is nearly singular.
        if not run.step(one)[0] > 0:
            break
    return 0.0
