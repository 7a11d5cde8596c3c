"""Routines of LAPACK and BLAS: Cholesky, solves with a triangle, singular values."""

from __future__ import annotations

from typing import Any

import numpy as np

from .threads import one_blas_thread


def cholesky(gram: np.ndarray) -> np.ndarray | None:
    """R (P, P) with RᵀR = ``gram``, which is overwritten; None if that is not positive definite."""
    from scipy.linalg.lapack import dpotrf, spotrf

    # LAPACK counts by columns: what is its lower triangle is the upper one here.
    potrf = spotrf if gram.dtype == np.float32 else dpotrf
    found, info = potrf(gram.T, lower=1, overwrite_a=1)
    return found.T if info == 0 else None


def solve_triangular(r: np.ndarray, b: np.ndarray, transposed: bool = False) -> np.ndarray:
    """R⁻¹ b, or R⁻ᵀ b, for b (P,) or (P, Q)."""
    # Its import takes a tenth of a second, which identify and descent need not spend. LAPACK's own
    # solver wakes the threads of BLAS for a handful of numbers, which costs milliseconds.
    from scipy.linalg.blas import dtrsm, strsm

    columns = b if b.ndim == 2 else b[:, None]
    trsm = strsm if r.dtype == np.float32 else dtrsm
    found = trsm(1.0, r.T, columns, lower=1, trans_a=0 if transposed else 1)
    return np.ascontiguousarray(found, np.float64).reshape(b.shape)


def least_square(r: np.ndarray) -> float:
    """About the least eigenvalue of RᵀR, from above, by three steps of inverse iteration."""
    v: Any = np.random.default_rng(0).standard_normal(r.shape[0])
    for _ in range(3):
        v = solve_triangular(r, solve_triangular(r, v / np.linalg.norm(v), transposed=True))
    return 1 / float(np.linalg.norm(v))


def inverse_row_norms(r: np.ndarray) -> np.ndarray:
    """√diag((RᵀR)⁻¹), the norms of the rows of R⁻¹ (P,)."""
    from scipy.linalg.lapack import dtrtri

    inverse, info = dtrtri(r)
    assert info == 0
    # dtrtri leaves what stands below the diagonal, which here are zeros.
    return np.linalg.norm(inverse, axis=1)


def singular_values(a: np.ndarray) -> np.ndarray:
    """Those of any matrix, descending."""
    with one_blas_thread():
        return np.linalg.svd(a, compute_uv=False)


def svd(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Economical u (n, k), s (k,) descending and vt (k, P) of a (n, P)."""
    with one_blas_thread():
        u, s, vt = np.linalg.svd(a, full_matrices=False)
    return u, s, vt


def graded_singular_values(r: np.ndarray) -> np.ndarray:
    """By one-sided Jacobi rotations, which keep the digits of columns of very different size."""
    return _by_rotations(r, joba=0, jobv=3)[0]


def graded_svd(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values and right vectors (columns), to digits that no large row hides."""
    return _by_rotations(a, joba=2, jobv=0)


def _by_rotations(a: np.ndarray, joba: int, jobv: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg.lapack import dgejsv

    with one_blas_thread():
        values, _, v, work, _, info = dgejsv(a, joba=joba, jobu=3, jobv=jobv, jobr=0)
    assert info == 0
    return values * (work[0] / work[1]), v


def extreme_singular_values(r: np.ndarray, missing: Any = 0.0) -> tuple[float, float]:
    """The largest and the smallest of a non-singular triangle, by Lanczos on RᵀR and its inverse.

    O(P²) a step and a hundred to some thousand steps, where the whole spectrum takes O(P³).
    ``missing`` (P,), what a diagonal was short of when R was made, is made up for to first order.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    start = np.random.default_rng(0).standard_normal(r.shape[0])

    def top(product: Any) -> tuple[float, np.ndarray]:
        operator = LinearOperator(r.shape, matvec=product, dtype=r.dtype)
        # The error of an eigenvalue is the square of its residual's over the gap.
        value, vector = eigsh(operator, k=1, ncv=120, v0=start, maxiter=10, tol=1e-8)
        return float(value[0]), vector[:, 0]

    def inverse(v: np.ndarray) -> np.ndarray:
        return solve_triangular(r, solve_triangular(r, v, transposed=True))

    try:
        (largest, first), (least, last) = top(lambda v: r.T @ (r @ v)), top(inverse)
        squares = [(largest, first), (1 / least, last)]
    except ArpackNoConvergence:  # values so close together need the whole spectrum
        _, values, vt = svd(r)
        squares = [(values[0] ** 2, vt[0]), (values[-1] ** 2, vt[-1])]
    found = [float(np.sqrt(value + missing * v @ v)) for value, v in squares]
    return found[0], found[1]
