"""The dual of a ridge: its answer within the rows of A, where A is wide or deficient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .factor import Factor
from .minimum_norm import Within, beyond, distances
from .rank import EPS, tolerance_of


@dataclass(frozen=True)
class Dual(Factor):
    """[A; √ridge I] of the A of a ``plain`` factor: m unknowns in the place of P.

    Every ridge answer is Aᵀα in the user's units, with (AAᵀ + ridge I) α = y. On an orthonormal
    basis q of the rows in these units, w = q u, it solves a least-squares problem of m unknowns u,
    and no product AAᵀ is formed. Columns are multiplied by ``2**-exponents``, where √ridge is
    ``diagonal``.

    What the rounding of A leaves in the place of a zero would outweigh a small ridge: where that is
    below 10·P·eps·s₁², and the spectrum of A falls off a cliff, q spans the numerical row space
    only; and so it does where A and ridge together are deficient.
    """

    plain: Factor
    counted: int
    root: float
    within: Within

    @classmethod
    def of(cls, plain: Factor, diagonal: np.ndarray, exponents: np.ndarray) -> Dual:
        """With ``diagonal`` √ridge in the units of ``exponents``, one per column."""
        columns = len(diagonal)
        counted, space = columns, plain.all_rows
        # s₁² is P at most, that of columns of norm one.
        if (diagonal**2 < 10 * columns**2 * EPS).any():
            counted = _rank(plain, diagonal, exponents)
            if plain.cliff or counted < columns:
                space = plain.row_space
        outputs = np.zeros((plain.r.shape[0], 0)) if plain.z is None else plain.z
        # √ridge and A in the larger of their units.
        largest = int(np.argmax(diagonal))
        root, power = np.frexp(diagonal[largest])
        power = int(power + exponents[largest])
        unit = max(plain.unit, power)
        root = float(np.ldexp(root, power - unit))
        turn = space.turn + (exponents - plain.exponents + plain.unit - unit)[:, None]
        seen = np.ldexp(space.seen, plain.unit - unit)
        within = Within.of(space.q, turn, seen, outputs, root)
        return cls(
            plain.r, plain.z, exponents, plain.rows, plain.source, plain, counted, root, within
        )

    @property
    def rank(self) -> int:
        """Numerical rank of [A; √ridge I]."""
        return self.counted

    @cached_property
    def full_rank(self) -> bool:
        """Whether A and ridge together leave no column out: R, that of A alone, does not tell."""
        return self.counted == len(self.exponents)

    @cached_property
    def noise_gain(self) -> np.ndarray:
        """√diag((AᵀA + ridge I)⁻¹) (P,)."""
        free = np.ldexp(distances(self.within.q) / self.root, self.within.turn[:, 0])
        return np.hypot(self.within.noise_gain(), free)

    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """Coordinates (n, m + P) of rows (n, P) in which AᵀA + ridge I is the identity."""
        g, q = rows.T, self.within.q
        free = beyond(q, np.ldexp(g, self.within.turn)) / self.root
        return np.concatenate([self.within.whiten(g), free]).T

    def damped(
        self, g: np.ndarray, w_norm: np.ndarray, r_norm: np.ndarray
    ) -> tuple[np.ndarray, str]:
        """That of A alone, which is no less: with the ridge every output takes its own factor."""
        # No column is shorter with the ridge, but for one of zeros, whose exponent there is any.
        turn = np.maximum(self.exponents - self.plain.exponents, 0)[:, None]
        return self.plain.damped(np.ldexp(g, turn), w_norm, r_norm)[0], "upper bound"

    def null_share(self, w: np.ndarray, y_norm: np.ndarray) -> float:
        """As that of A, where the ridge is too small to leave no null space."""
        if self.full_rank:
            return 0.0
        turn = (self.plain.exponents - self.exponents)[:, None]
        return self.plain.null_share(np.ldexp(w, turn), y_norm)

    def solve(self) -> np.ndarray:
        """argmin ‖A w − y‖² + ridge·‖w‖² (P, Q), the ridge in the user's units."""
        return self.within.solve()

    def solve_svd(self) -> np.ndarray:
        """The same: within the rows of A there is nothing left to truncate."""
        return self.within.solve()

    def solve_gram(self, g: np.ndarray) -> np.ndarray:
        """(AᵀA + ridge I)⁻¹ g within the rows of A, where g lies but for rounding."""
        return self.within.solve_gram(g)


def _rank(plain: Factor, diagonal: np.ndarray, exponents: np.ndarray) -> int:
    """Numerical rank of [A; √ridge I]: what the ridge leaves open, A itself must decide."""
    columns = len(diagonal)
    tolerance = tolerance_of(plain.rows + columns, columns)
    weak = diagonal <= tolerance * max(float(plain.singular_values[0]), 1.0)
    if not weak.any():
        return columns
    left = Factor(plain.r[:, weak], None, exponents[weak], plain.rows, "qr")
    return columns - int(weak.sum()) + left.rank
