"""Routines of LAPACK and BLAS: Cholesky, triangles, singular values, eigenvectors."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from ..parallel import cached_property
from .threads import one_blas_thread

# The eigenvectors of fewer columns than this are formed, which then takes less time.
FEW = 200


def diagonals(a: np.ndarray) -> np.ndarray:
    """Return a writable view (n, P) of the diagonals of matrices (n, P, P)."""
    return np.einsum("npp->np", a)


def frobenius(a: np.ndarray) -> np.ndarray:
    """Return the Frobenius norms (...) of matrices (..., P, Q)."""
    return np.asarray(np.sqrt(np.einsum("...pq,...pq->...", a, a)))


def cholesky(gram: np.ndarray) -> np.ndarray | None:
    """Return R (P, P) with RᵀR = ``gram``, or None if it is not positive definite.

    The matrix is overwritten.
    """
    from scipy.linalg.lapack import dpotrf

    # LAPACK stores columns, so that its lower triangle is the upper one here.
    found, info = dpotrf(gram.T, lower=1, overwrite_a=1)
    return found.T if info == 0 else None


def choleskys(grams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which matrices (G, P, P) are positive definite, and R (n, P, P) of these.

    The matrices are overwritten.
    """
    if len(grams) > 1:
        with suppress(np.linalg.LinAlgError):  # if any matrix is not positive definite
            return np.ones(len(grams), bool), np.linalg.cholesky(grams).mT
    several = [*map(cholesky, grams)]
    found = [r[None] for r in several if r is not None]
    return np.array([r is not None for r in several]), np.concatenate([*found, grams[:0]])


def solve_triangular(r: np.ndarray, b: np.ndarray, transposed: bool = False) -> np.ndarray:
    """Return R⁻¹ b, or R⁻ᵀ b, for R (..., P, P) and b (..., P, Q), or b (P,) of one matrix."""
    if r.ndim > 2:
        return np.linalg.solve(r.mT if transposed else r, b)
    # The import takes a tenth of a second, which identify and descent do not need. LAPACK's own
    # solver starts the threads of BLAS for a few numbers, which costs milliseconds.
    from scipy.linalg.blas import dtrsm

    columns = b if b.ndim == 2 else b[:, None]
    if columns.shape[1] > len(r):  # bᵀ, which LAPACK reads without a transposed copy of b
        found = dtrsm(1.0, r.T, columns.T, side=1, lower=1, trans_a=int(transposed)).T
    else:
        found = dtrsm(1.0, r.T, columns, lower=1, trans_a=0 if transposed else 1)
    return np.ascontiguousarray(found).reshape(b.shape)


def inverse(r: np.ndarray) -> np.ndarray:
    """Return R⁻¹ (..., P, P) of one triangle by LAPACK, or of several (G, P, P).

    Several are inverted by halves, which takes a third of the time of LAPACK, matrix by matrix.
    """
    if r.ndim == 2:
        from scipy.linalg.lapack import dtrtri

        return np.asarray(dtrtri(r)[0])
    if len(r) == 1:
        return inverse(r[0])[None]
    half = r.shape[-1] // 2
    if not half:
        return 1 / r
    found = np.zeros(r.shape)
    upper = found[:, :half, :half] = inverse(r[:, :half, :half])
    lower = found[:, half:, half:] = inverse(r[:, half:, half:])
    np.negative(upper @ (r[:, :half, half:] @ lower), out=found[:, :half, half:])
    return found


def singular_values(a: np.ndarray) -> np.ndarray:
    """Return the singular values (..., k) of matrices, descending."""
    with one_blas_thread():
        wide = a.shape[-2] < a.shape[-1]
        return np.linalg.svd(np.linalg.qr(a.mT, mode="r") if wide else a, compute_uv=False)


def graded_singular_values(a: np.ndarray, rows: bool = False) -> np.ndarray:
    """Return singular values, accurate also for columns, or rows, of very different size.

    One-sided Jacobi rotations are used.
    """
    from scipy.linalg.lapack import dgejsv

    with one_blas_thread():
        joba, jobv = (2, 0) if rows else (0, 3)
        values, *_, work, _, _ = dgejsv(a, joba=joba, jobu=3, jobv=jobv, jobr=0)
    return np.asarray(values * (work[0] / work[1]))


def extreme_singular_values(r: np.ndarray) -> tuple[float, float]:
    """Return the extreme singular values of a non-singular triangle, by Lanczos iterations.

    They are applied to RᵀR and its inverse, with up to some thousand steps of O(P²) operations. The
    whole spectrum takes O(P³).
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    start = np.random.default_rng(0).standard_normal(len(r))

    def top(product: Any) -> float:
        operator = LinearOperator(r.shape, matvec=product, dtype=float)
        # The error of an eigenvalue is the square of its residual's over the gap.
        return float(eigsh(operator, k=1, ncv=120, v0=start, maxiter=10, tol=1e-8)[0][0] ** 0.5)

    try:
        return top(lambda v: r.T @ (r @ v)), 1 / top(
            lambda v: solve_triangular(r, solve_triangular(r, v, transposed=True))
        )
    except ArpackNoConvergence:  # values so close together need the whole spectrum
        values = singular_values(r)
        return float(values[0]), float(values[-1])


class Eigenvectors:
    """V of a symmetric matrix V D Vᵀ, as V = Q W for its tridiagonal form Qᵀ V D Vᵀ Q = W D Wᵀ.

    Q is a product of reflectors. For few vectors, a product with Q takes less time than Q W.

    Attributes:
        values: eigenvalues (r,) in ascending order.
    """

    def __init__(self, matrix: np.ndarray) -> None:
        from scipy.linalg import eigh, eigh_tridiagonal
        from scipy.linalg.lapack import dsytrd, dsytrd_lwork

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
        return self._v @ z if self._many(z) else self._turned(self._w @ z, "N")

    def adjoint(self, a: np.ndarray) -> np.ndarray:
        """Return Vᵀ a (r, k)."""
        return self._v.T @ a if self._many(a) else np.asarray(self._w.T @ self._turned(a, "T"))

    def _many(self, a: np.ndarray) -> bool:
        return a.shape[1] >= len(a) or "_v" in vars(self)

    @cached_property
    def _v(self) -> np.ndarray:
        return self._turned(self._w, "N")

    def _turned(self, a: np.ndarray, trans: str) -> np.ndarray:
        """Return Q a, or Qᵀ a."""
        from scipy.linalg.lapack import dormqr

        if self._reflectors is None:
            return a
        rest, given = np.array(a[1:], order="F"), ("L", trans, self._reflectors, self._tau)
        work = int(dormqr(*given, rest, -1)[1][0])
        return np.vstack([a[:1], dormqr(*given, rest, work, overwrite_c=1)[0]])
