"""Orthonormal bases of a few columns."""

from __future__ import annotations

import numpy as np

from .polynomials import EPS, Polynomials, used_range

# Inner products of normalized columns with a condition number below this cost no digit.
WELL_CONDITIONED = 10.0
# Above this condition number of the inner products, extended precision loses the digits of a span.
NEARLY_COLLINEAR = 1e5


def orthonormal(columns: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis (n, q) of the span of columns (n, J), in extended precision.

    The rows of the columns are first multiplied by the ``root`` (n,). In float64,
    the span of nearly collinear columns would have an error of their condition number times the
    rounding error. The same error would be in the part of a constant that they do not span.
    """
    # First scale the columns by powers of two, so that their squares stay within float64.
    columns = np.ldexp(columns, -np.frexp(np.abs(columns).max(axis=0, initial=0.0))[1])
    wide = columns.astype(np.longdouble) * root[:, None]
    norms = np.linalg.norm(wide.astype(float), axis=0)
    wide = wide / np.where(norms > 0, norms, 1.0)
    values = np.linalg.svd(wide.astype(float), compute_uv=False)
    rank = int(np.count_nonzero(values > 10 * max(columns.shape) * EPS * values.max(initial=0.0)))
    # Pivoted Gram–Schmidt, applied twice.
    left, found = wide, np.zeros((len(wide), rank), wide.dtype)
    for j in range(rank):
        one = left[:, np.argmax(np.square(left).sum(0))]
        for _ in range(2):
            one = one - found[:, :j] @ (found[:, :j].T @ one)
            one = one / np.sqrt(one @ one)
        found[:, j] = one
        left = left - np.outer(one, one @ left)
    return found


def polynomial_basis(flags: np.ndarray, degree: int, root: np.ndarray, few: bool) -> np.ndarray:
    """Return an orthonormal basis (n, q) of polynomials in the flagged samples (*T).

    The basis is computed in working precision if the polynomials are far from collinear, by two
    rounds of the Cholesky factor of their inner products (Yamamoto et al., ETNA 44 (2015) 306).
    It is always in extended precision for ``few`` rows.
    """
    part = used_range(flags)
    trend = Polynomials.of(flags[part].shape, degree).some(flags[part])
    found = trend.columns * root[:, None]
    norms = np.linalg.norm(found, axis=0)
    found = found / np.where(norms > 0, norms, 1.0)
    condition = np.linalg.cond(found.T @ found)
    if few or condition > WELL_CONDITIONED:
        wide = condition < NEARLY_COLLINEAR
        return orthonormal(trend.wide, root) if wide else trend.orthonormal(root)
    for _ in range(2):
        gram = found.T @ found
        if np.abs(gram - np.eye(len(gram))).max() > EPS:
            found = found @ np.linalg.inv(np.linalg.cholesky(gram).T)
    return found
