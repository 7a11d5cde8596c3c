"""Systems of a symmetric matrix plus any multiple of the identity, by its tridiagonal form."""

from __future__ import annotations

import numpy as np

from ..cached import cached_property
from .rank import EPS
from .threads import on_blas_threads


class Tridiagonal:
    """B = Q T Qᵀ (r, r), positive semidefinite, with T tridiagonal and Q orthogonal.

    Q is never formed. The cost is a third of the cost of all eigenvectors. Then (B + λ I)⁻¹ costs
    O(r) per right-hand side for every λ.

    Source: LAPACK's sytrd, ormqr, pttrf and sterf; L. Eldén, BIT 17 (1977) 134, for the use.
    """

    def __init__(self, matrix: np.ndarray, scale: float = 0.0) -> None:
        """Reduce the matrix. ``scale`` is the size of its terms, if B is a difference of them."""
        self.size = self._blas_columns = len(matrix)
        self._scale = scale
        self._reduce(matrix)

    @on_blas_threads
    def _reduce(self, matrix: np.ndarray) -> None:
        if self.size < 3:  # is tridiagonal already
            self._reflectors, self._tau = None, None
            self.diagonal = np.diagonal(matrix).copy()
            self.beside = np.diagonal(matrix, -1).copy()
            return
        from scipy.linalg.lapack import dsytrd, dsytrd_lwork

        work = int(dsytrd_lwork(self.size, lower=1)[0])
        whole, self.diagonal, self.beside, self._tau, _ = dsytrd(
            np.array(matrix, order="F"), lower=1, lwork=work, overwrite_a=1
        )
        # In the layout of a QR. The reflectors do not act on the first row.
        self._reflectors = np.asfortranarray(whole[1:, :-1])

    @on_blas_threads
    def rotate(self, right: np.ndarray, back: bool = False) -> np.ndarray:
        """Return Qᵀ right (r, Q), or Q right for the way ``back``."""
        if self._reflectors is None or not right.size:
            return right.copy()
        from scipy.linalg.lapack import dormqr

        rest = np.array(right[1:], order="F")
        args = "L", "N" if back else "T", self._reflectors, self._tau
        work = int(dormqr(*args, rest, -1)[1][0])
        return np.vstack([right[:1], dormqr(*args, rest, work, overwrite_c=1)[0]])

    @cached_property
    def _computed(self) -> np.ndarray:
        """Eigenvalues (r,), ascending. Some may be rounding."""
        from scipy.linalg.lapack import dsterf

        return dsterf(self.diagonal, self.beside)[0] if self.size > 1 else self.diagonal

    @cached_property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues (r,), ascending. Values within the rounding error of B are 0."""
        return np.where(self._computed > self.resolution, self._computed, 0.0)

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self._computed.max(initial=0.0))

    @cached_property
    def resolution(self) -> float:
        """Size of λ below which it is rounding of B. No eigenvalue is below −½ times it."""
        scale = max(self.largest, self._scale)
        return max(4 * self.size * EPS * scale, -2 * float(self._computed.min(initial=0.0)))

    def solve(self, shift: float, right: np.ndarray) -> np.ndarray:
        """Return (T + shift·I)⁻¹ right (r, Q), with a shift of at least `resolution`."""
        diagonal = self.diagonal + max(shift, self.resolution)
        if self.size < 2:
            return right / diagonal[:, None]
        from scipy.linalg.lapack import dpttrf, dpttrs

        d, e, failed = dpttrf(diagonal, self.beside)
        if failed:
            raise np.linalg.LinAlgError("the tridiagonal matrix is not positive definite")
        found: np.ndarray = dpttrs(d, e, right)[0]
        return found

    def product(self, u: np.ndarray) -> np.ndarray:
        """Return T u (r, Q)."""
        found = self.diagonal[:, None] * u
        found[1:] += self.beside[:, None] * u[:-1]
        found[:-1] += self.beside[:, None] * u[1:]
        return found
