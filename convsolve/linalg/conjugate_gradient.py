"""Preconditioned conjugate gradients on several systems at once, and what their course proves."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Map = Callable[[np.ndarray], np.ndarray]

# A random vector that shrinks to this had no share in any eigenvector that CG has not seen, with
# odds of 2e-7 against.
VANISHED = 1e-7


class Conjugate:
    """H x = g for g (P, Q), a step at a time; H and M, by ``precondition`` M⁻¹, positive definite.

    ``x`` is the iterate, from zero, ``r`` = g − H x and ``squares`` = rᵀM⁻¹r by column. Every
    column goes its own way, with its own lengths.

    Source: G. H. Golub and C. F. Van Loan, Matrix Computations, 2013, section 11.5.
    """

    def __init__(self, product: Map, precondition: Map, g: np.ndarray, least: float = 0.0) -> None:
        self._product, self._precondition, self._least = product, precondition, least
        self.x, self.r = np.zeros_like(g), g.copy()
        self._direction = precondition(g)
        self.squares = np.einsum("pq,pq->q", self.r, self._direction)

    def step(self, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step of the ``active`` columns (Q,); its lengths α and the ratios β of squares.

        A column whose direction p has a curvature pᵀHp of no more than ``least``·‖p‖² stays where
        it is, α = 0: where H has none but that of its rounding, x would grow without end.
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
    """Upper bounds (Q,) on gᵀH⁻¹g by column, from CG and Gauss–Radau quadrature.

    ``node`` (Q,) is at most the least eigenvalue of M⁻¹H. CG sums the Gauss rule, a lower bound, by
    its lengths; with the weight that is left put on the node it becomes an upper one. It ends where
    a bound is below ``enough``, or within twice the lower one.

    Source: G. H. Golub and G. Meurant, Matrices, Moments and Quadrature with Applications,
    Princeton 2010, chapter 6; G. Meurant and P. Tichý, Numer. Algorithms 62 (2013) 163.
    """
    run = Conjugate(product, precondition, g)
    lower, rest = np.zeros(g.shape[1]), 1 / node
    bound = run.squares * rest
    for _ in range(steps):
        active = (bound > enough) & (bound > 2 * lower)
        if not active.any():
            break
        before = run.squares
        length, ratio = run.step(active)
        lower = lower + length * before
        more = rest - length
        active &= (length > 0) & (more > 0)
        if not active.any():
            break
        rest = np.where(active, more / np.where(active, node * more + ratio, 1.0), rest)
        bound = np.where(active, np.minimum(bound, lower + rest * run.squares), bound)
    return bound


class Evidence:
    """A bound from below on the least eigenvalue of M⁻¹H, from CG on one random vector.

    After k steps the residual's share in an eigenvector of eigenvalue λ is p_k(λ) times what it was
    at first, and with the Ritz values θ_j, the roots of p_k, p_k(λ) ≥ 1 − λ Σ 1/θ_j below all of
    them. So once the residual of a vector of covariance at least M has shrunk to `VANISHED`, an
    eigenvalue below ``least`` = 1/(2 Σ 1/θ_j) would have had a share below twice that from the
    start: a standard normal number is so small with a probability of 2e-7.
    """

    def __init__(self) -> None:
        self.slope = 0.0  # Σ 1/θ_j = −p_k'(0)
        self._inner, self._ratio = 0.0, 0.0

    def add(self, length: float, ratio: float) -> None:
        """Take note of a step."""
        self._inner = 1.0 + self._ratio * self._inner
        self.slope += length * self._inner
        self._ratio = ratio

    @property
    def least(self) -> float:
        """What the least eigenvalue exceeds, should the residual vanish now."""
        return 1 / (2 * self.slope) if self.slope else math.inf
