"""The dual of a ridge: its solution within the row space of A, if A is wide or deficient."""

from __future__ import annotations

import numpy as np

from ..cached import cached_property
from .factor import Factor, Truncated
from .factors import triangular_factors
from .minimum_norm import Within, beyond, distances
from .rank import EPS, tolerance_of
from .threads import on_blas_threads


class RidgeDual(Factor):
    """[A; √ridge I] for the A of a ``plain`` factor, with m instead of P unknowns.

    Every ridge solution is Aᵀα in the user's units, with (AAᵀ + ridge I) α = y. With an orthonormal
    basis q of the rows in these units, w = q u, the m unknowns u solve a least-squares problem. The
    product AAᵀ is never formed.

    A small ridge, below 10·P·eps·s₁², would be dominated by the rounding error of A. If the
    spectrum of A has a gap, q then spans the numerical row space only. It also does so if A and the
    ridge together are deficient.
    """

    def __init__(self, plain: Truncated, root_ridge: np.ndarray, exponents: np.ndarray) -> None:
        """Set up the problem with √ridge (P,) in the units of ``exponents`` (P,)."""
        super().__init__(plain.r, exponents, plain.rows)
        self._plain = plain
        columns = self.columns
        self._rank, space = columns, plain.all_rows
        # s₁² is P at most, that of columns of norm one.
        if (root_ridge**2 < 10 * columns**2 * EPS).any():
            self._rank = _rank(plain, root_ridge, exponents)
            if plain.has_gap or self._rank < columns:
                space = plain.row_space
        # √ridge and A in the larger of their units.
        largest = int(np.argmax(root_ridge))
        root, power = np.frexp(root_ridge[largest])
        power = int(power + exponents[largest])
        unit = max(plain.unit, power)
        self._root = float(np.ldexp(root, power - unit))
        relative = space.exponents + (exponents - plain.exponents + plain.unit - unit)[:, None]
        seen = np.ldexp(space.seen, plain.unit - unit)
        self._within = Within(space.q, relative, seen, self._root)

    @property
    def rank(self) -> int:
        """Numerical rank of [A; √ridge I], which is not that of R, a factor of A alone."""
        return self._rank

    @cached_property
    @on_blas_threads
    def noise_gain(self) -> np.ndarray:
        """√diag((AᵀA + ridge I)⁻¹) (P,)."""
        within = self._within
        free = np.ldexp(distances(within.q) / self._root, within.exponents[:, 0])
        return np.hypot(within.noise_gain(), free)

    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """Return coordinates (n, m + P) of rows (n, P), with AᵀA + ridge I the identity."""
        g, within = rows.T, self._within
        free = beyond(within.q, np.ldexp(g, within.exponents)) / self._root
        return np.concatenate([within.whiten(g), free]).T

    def damped(
        self, g: np.ndarray, w_norm: np.ndarray, r_norm: np.ndarray
    ) -> tuple[np.ndarray, str]:
        """Return the value of A alone, an upper bound: the exact one needs a factor per output."""
        # No column is shorter with the ridge, except zeros, whose exponents are arbitrary.
        relative = np.maximum(self.exponents - self._plain.exponents, 0)[:, None]
        return self._plain.damped(np.ldexp(g, relative), w_norm, r_norm)[0], "upper bound"

    def null_share(self, w: np.ndarray, y_norm: np.ndarray) -> float:
        """Return the share of A alone if the ridge is too small to determine all taps, else 0."""
        if self.full_rank:
            return 0.0
        relative = (self._plain.exponents - self.exponents)[:, None]
        return self._plain.null_share(np.ldexp(w, relative), y_norm)

    def solve(self, z: np.ndarray) -> np.ndarray:
        """Return argmin ‖A w − y‖² + ridge·‖w‖² (P, Q), with the ridge in the user's units."""
        return self._within.solve(z)

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """Return (AᵀA + ridge I)⁻¹ g for g in the row space of A, except for rounding."""
        return self._within.solve_normal(g)


def _rank(plain: Truncated, root_ridge: np.ndarray, exponents: np.ndarray) -> int:
    """Return the numerical rank of [A; √ridge I]. If a ridge is too small, A alone decides."""
    columns = len(root_ridge)
    tolerance = tolerance_of(plain.rows + columns, columns)
    weak = root_ridge <= tolerance * max(float(plain.singular_values[0]), 1.0)
    if not weak.any():
        return columns
    left = triangular_factors(plain.r[None, :, weak], exponents[None, weak], plain.rows)
    return columns - int(weak.sum()) + left[0].rank
