"""Eigenvectors of a symmetric matrix that are applied to vectors without being formed."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh, eigh_tridiagonal
from scipy.linalg.lapack import dormqr, dsytrd, dsytrd_lwork

from ..cached import cached_property

# The eigenvectors of fewer columns than this are formed, which then takes less time.
FEW = 200


class Eigenvectors:
    """V of a symmetric matrix V D Vᵀ, as V = Q W for its tridiagonal form Qᵀ V D Vᵀ Q = W D Wᵀ.

    Q is a product of reflectors. For few vectors, a product with Q takes less time than Q W.

    Attributes:
        values: eigenvalues (r,) in ascending order.
    """

    def __init__(self, matrix: np.ndarray) -> None:
        self._reflectors, self._tau, size = None, None, len(matrix)
        if size < FEW:
            self.values, self._w = eigh(matrix, driver="evd", check_finite=False, overwrite_a=True)
            return
        work = int(dsytrd_lwork(size, lower=1)[0])
        whole, diagonal, beside, self._tau, _ = dsytrd(
            np.array(matrix, order="F"), lower=1, lwork=work, overwrite_a=1
        )
        # In the layout of a QR. The reflectors do not act on the first row.
        self._reflectors = np.asfortranarray(whole[1:, :-1])
        self.values, self._w = eigh_tridiagonal(
            diagonal, beside, lapack_driver="stevd", check_finite=False
        )

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Return V z (r, k)."""
        many = z.shape[1] >= len(z) or "_v" in vars(self)
        return self._v @ z if many else self._turned(self._w @ z, "N")

    def adjoint(self, a: np.ndarray) -> np.ndarray:
        """Return Vᵀ a (r, k)."""
        return np.asarray(self._w.T @ self._turned(a, "T"))

    @cached_property
    def _v(self) -> np.ndarray:
        return self._turned(self._w, "N")

    def _turned(self, a: np.ndarray, trans: str) -> np.ndarray:
        """Return Q a, or Qᵀ a."""
        if self._reflectors is None:
            return a
        rest, given = np.array(a[1:], order="F"), ("L", trans, self._reflectors, self._tau)
        work = int(dormqr(*given, rest, -1)[1][0])
        return np.vstack([a[:1], dormqr(*given, rest, work, overwrite_c=1)[0]])
