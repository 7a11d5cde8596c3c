"""Preconditioned conjugate gradients for several right-hand sides, and bounds from their steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Map = Callable[[np.ndarray], np.ndarray]

# A random vector that shrinks to this norm has no component along eigenvectors that CG has not
# found, except with a probability of 2e-7.
VANISHED = 1e-7


class Conjugate:
    """Conjugate gradients for H x = g (P, Q), step by step, with positive definite H and M.

    ``precondition`` multiplies by M⁻¹. ``x`` is the iterate, which starts at zero, ``r`` = g − H x,
    and ``squares`` = rᵀM⁻¹r per column. Every column has its own step lengths.

    Source: G. H. Golub and C. F. Van Loan, Matrix Computations, 2013, section 11.5.
    """

    def __init__(self, product: Map, precondition: Map, g: np.ndarray, least: float = 0.0) -> None:
        self._product, self._precondition, self._least = product, precondition, least
        self.x, self.r = np.zeros_like(g), g.copy()
        self._direction = precondition(g)
        self.squares = np.einsum("pq,pq->q", self.r, self._direction)

    def step(self, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take one step of the ``active`` columns (Q,).

        A column whose direction p has a curvature pᵀHp of at most ``least``·‖p‖² does not move.
        Such a curvature is rounding, and x would grow without end.

        Returns:
            The step lengths α, and the ratios β of squares.
        """
        seen = self._product(self._direction)
        curvature = np.einsum("pq,pq->q", self._direction, seen)
        size = np.einsum("pq,pq->q", self._direction, self._direction)
        active = active & (curvature > self._least * size) & (self.squares > 0)
        length = np.where(active, self.squares, 0.0) / np.where(active, curvature, 1.0)
        self.x += length * self._direction
        seen *= length
        self.r -= seen
        z = self._precondition(self.r)
        squares = np.einsum("pq,pq->q", self.r, z)
        ratio = np.where(active, squares, 0.0) / np.where(active, self.squares, 1.0)
        self.squares = np.where(active, squares, self.squares)
        self._direction *= ratio
        self._direction += z
        return length, ratio


def inverse_form(
    product: Map,
    precondition: Map,
    g: np.ndarray,
    node: np.ndarray,
    enough: np.ndarray,
    steps: int,
) -> np.ndarray:
    """Return upper bounds (Q,) on gᵀH⁻¹g per column, from CG and Gauss–Radau quadrature.

    ``node`` (Q,) is at most the smallest eigenvalue of M⁻¹H. The step lengths of CG give the Gauss
    rule, which is a lower bound. With the remaining weight at the node, it is an upper bound. The
    iteration ends if a bound is below ``enough``, or below twice the lower bound.

    Source: G. H. Golub and G. Meurant, Matrices, Moments and Quadrature with Applications,
    Princeton 2010, chapter 6; G. Meurant and P. Tichý, Numer. Algorithms 62 (2013) 163.
    """
    run = Conjugate(product, precondition, g)
    lower, rest = np.zeros(g.shape[1]), 1 / node
    # A preconditioner of rounding may be indefinite. Its squares bound nothing.
    bound = np.where(run.squares >= 0, run.squares * rest, np.inf)
    for _ in range(steps):
        active = (bound > enough) & (bound > 2 * lower)
        if not active.any():
            break
        before = run.squares
        length, ratio = run.step(active)
        lower = lower + length * before
        more = rest - length
        active &= (length > 0) & (more > 0) & (run.squares >= 0)
        if not active.any():
            break
        rest = np.where(active, more / np.where(active, node * more + ratio, 1.0), rest)
        bound = np.where(active, np.minimum(bound, lower + rest * run.squares), bound)
    return bound


class Evidence:
    """A lower bound of the smallest eigenvalue of M⁻¹H, from CG on one random vector.

    In k steps, the component of the residual along an eigenvector of eigenvalue λ is multiplied by
    p_k(λ). The Ritz values θ_j are the roots of p_k, and p_k(λ) ≥ 1 − λ Σ 1/θ_j below all of them.
    If the residual of a vector of covariance at least M has shrunk to `VANISHED`, an eigenvalue
    below ``least`` = 1/(2 Σ 1/θ_j) would have had a component below twice this value from the
    start. A standard normal number is so small with a probability of 2e-7.
    """

    def __init__(self) -> None:
        self.slope = 0.0  # Σ 1/θ_j = −p_k'(0)
        self._inner, self._ratio = 0.0, 0.0

    def add(self, length: float, ratio: float) -> None:
        """Record a step."""
        self._inner = 1.0 + self._ratio * self._inner
        self.slope += length * self._inner
        self._ratio = ratio

    @property
    def least(self) -> float:
        """Lower bound of the smallest eigenvalue if the residual vanishes now."""
        return 1 / (2 * self.slope) if self.slope else math.inf
