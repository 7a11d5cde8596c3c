"""Nuisance columns N partialled out of A and y: the one place where anything is centred."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Projection:
    """M = I − N(NᵀN)⁻¹Nᵀ, applied to what sums over rows have made of A (n, P), y (n, Q) and N.

    Least squares of y on [A N] has the kernel of M y on M A (Frisch and Waugh, Econometrica 1
    (1933) 387; Lovell, J. Am. Stat. Assoc. 58 (1963) 993). All it takes of the rows is AᵀN, NᵀY
    and NᵀN, of A and y less any constants that N spans.

    ``gram`` (q, q) is NᵀN and ``products`` (G, P, q) is AᵀN of every group.
    """

    gram: np.ndarray
    products: np.ndarray

    @property
    def trivial(self) -> bool:
        """Whether there is no nuisance column."""
        return not self.gram.size

    def solved(self, right: np.ndarray) -> np.ndarray:
        """(NᵀN)⁻¹ right, for right (..., q, k)."""
        if len(self.gram) == 1:  # a bias: as exact as a division
            return right / self.gram
        return np.linalg.solve(self.gram, right)

    @property
    def means(self) -> np.ndarray:
        """(NᵀN)⁻¹NᵀA (G, q, P): for a bias the column means."""
        return self.solved(self.products.swapaxes(1, 2))

    def squares(self, of_columns: np.ndarray) -> np.ndarray:
        """Squared norms (G, P) of the columns of M A, from those of A."""
        if self.trivial:
            return of_columns
        return of_columns - np.einsum("gpq,gqp->gp", self.products, self.means)

    def inner(self, gram: np.ndarray, group: int, rows: np.ndarray | slice) -> np.ndarray:
        """Some rows (k, P) of AᵀMA of one group, from those of AᵀA."""
        if self.trivial:
            return gram
        return gram - self.products[group, rows] @ self.means[group]

    def cross(self, right: np.ndarray, of_outputs: np.ndarray) -> np.ndarray:
        """AᵀM y (G, P, Q), from Aᵀy and NᵀY (G, q, Q)."""
        return right if self.trivial else right - self.products @ self.solved(of_outputs)

    def output_squares(self, of_outputs: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """Squared norms (G, Q) of M y, from those of y and NᵀY (G, q, Q)."""
        if self.trivial:
            return of_outputs
        return np.maximum(of_outputs - np.einsum("gkq,gkq->gq", sums, self.solved(sums)), 0.0)

    def coefficients(self, of_outputs: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Those of N (G, q, Q) that fit best beside w (G, P, Q)."""
        return self.solved(of_outputs) - self.means @ w

    def gradient(self, g: np.ndarray, of_residuals: np.ndarray) -> np.ndarray:
        """AᵀM r (G, P, Q), from Aᵀr and Nᵀr (G, q, Q)."""
        return self.cross(g, of_residuals)

    def rows(self, a: np.ndarray, block: np.ndarray) -> np.ndarray:
        """Some rows (G, k, P) of M A, from those of A and of N (k, q)."""
        return a if self.trivial else a - block @ self.means
