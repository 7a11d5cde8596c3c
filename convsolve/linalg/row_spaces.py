"""Least squares within the row spaces of many small deficient matrices, in one array.

As `convsolve.linalg.factor.Truncated` of each, of which this is the arithmetic for all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .inverses import inverses
from .minimum_norm import exponents_of


class RowSpaces:
    """Row spaces of some ``groups`` (n,): of R (n, q, P), of one rank k, from its right singular
    vectors (n, k, P); answers are of minimum norm in the user's units.

    ``exponents`` (n, P) are those of the columns, by which units differ by a few powers of two. q
    (n, P, k), orthonormal, spans the rows in the user's units, R being seen qᵀ there.
    """

    def __init__(
        self,
        groups: np.ndarray,
        r: np.ndarray,
        exponents: np.ndarray,
        vt: np.ndarray,
        values: np.ndarray,
        verdicts: Sequence[str],
    ) -> None:
        """``values`` (n, min(q, P)) are all singular values, ``verdicts`` the words of their
        `Band`.
        """
        self.groups, self.values, self.verdicts = groups, values, verdicts
        self._units = (exponents - exponents.max(1, keepdims=True))[:, :, None]
        # What no row reads stays exactly zero.
        live = np.asarray(r.any(1))[:, :, None]
        basis = np.where(live, vt.swapaxes(1, 2), 0.0)
        self._q, seen = basis, r @ basis
        if self._units.any():
            q, t = np.linalg.qr(np.ldexp(basis, self._units))
            self._q, seen = np.where(live, q, 0.0), seen @ t.swapaxes(1, 2)
        self._size = np.linalg.norm(seen, axis=(1, 2))
        self._scale = exponents_of(np.abs(seen).max(1, initial=0.0))[:, :, None]
        self._top, triangle = np.linalg.qr(np.ldexp(seen, -self._scale.swapaxes(1, 2)))
        self._inverse = inverses(triangle)

    @property
    def rank(self) -> int:
        """k."""
        return int(self._q.shape[2])

    def _lift(self, u: np.ndarray) -> np.ndarray:
        return np.ldexp(self._q @ np.ldexp(u, -self._scale), self._units)

    def solve(self, z: np.ndarray) -> np.ndarray:
        """argmin ‖A w − y‖ (n, P, Q) for z = Qᵀy (n, q, Q)."""
        return self._lift(self._inverse @ (self._top.swapaxes(1, 2) @ z))

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """(AᵀA)⁺ g (n, P, Q)."""
        within = np.ldexp(self._q.swapaxes(1, 2) @ np.ldexp(g, self._units), -self._scale)
        return self._lift(self._inverse @ (self._inverse.swapaxes(1, 2) @ within))

    def null_shares(self, w: np.ndarray, y_norms: np.ndarray) -> np.ndarray:
        """‖N Nᵀw‖/‖w‖ (n, Q) in the user's units, 0 for a minimum norm.

        Where y is not explained, ‖y‖/‖A‖ stands for the norm of a w that is but rounding.
        """
        v = np.ldexp(w, -self._units)
        size = np.abs(v).max(1)
        size = np.where(size > 0, size, 1.0)
        v = v / size[:, None]
        known = self._size[:, None] > 0
        least = np.where(known, y_norms / np.where(known, self._size[:, None], 1.0), 1.0)
        parts = np.linalg.norm(v - self._q @ (self._q.swapaxes(1, 2) @ v), axis=1)
        norms = np.maximum(np.linalg.norm(v, axis=1), least / size)
        return np.asarray(parts / np.where(norms > 0, norms, 1.0))
