"""Orthonormal bases of a few columns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.polynomial.legendre import legvander

from .rank import EPS

# Highest degree of polynomials whose values at a million places are exact in extended precision,
# and the highest with exact values in float64, which is several times faster, for lengths of at
# most so many bits.
EXACT_DEGREE, FLOAT_DEGREE, FLOAT_BITS = 3, 2, 25
# Columns of a condition number below this have an accurate basis in working precision.
WELL_CONDITIONED = 10.0


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


def legendre(
    at: Sequence[np.ndarray],
    ends: Sequence[int],
    degree: int,
    exact: bool = False,
    dtype: type = np.longdouble,
) -> np.ndarray:
    """Return polynomials (*L, J) of at most a degree.

    They are products of Legendre polynomials at places ``at`` of every axis, which has a length.
    With ``exact``, polynomials of low degree have no rounding errors, but are more collinear.
    """
    if degree == 0:
        return np.ones((*map(len, at), 1))
    bits = [(n - 1).bit_length() for n in ends]
    exact &= degree <= EXACT_DEGREE
    if exact and degree <= FLOAT_DEGREE and max(bits) <= FLOAT_BITS:
        dtype = float
    each = []
    for places, n, b in zip(at, ends, bits, strict=True):
        unit = 1 << b if exact else max(n - 1, 1)
        each.append(legvander((2 * places.astype(dtype) - (n - 1)) / unit, degree))
    orders = itertools.product(range(degree + 1), repeat=len(each))
    columns = [
        reduce(np.multiply.outer, (v[:, k] for v, k in zip(each, order, strict=True)))
        for order in orders
        if sum(order) <= degree
    ]
    return np.stack(columns, -1)


def polynomial_basis(flags: np.ndarray, degree: int, root: np.ndarray, few: bool) -> np.ndarray:
    """Return an orthonormal basis (n, q) of polynomials in the flagged samples (*T).

    It is computed in extended precision for ``few`` rows, or if the polynomials are collinear.
    """
    used = np.flatnonzero(flags.reshape(len(flags), -1).any(1))
    part = flags[used[0] : used[-1] + 1]
    at, ends = [*map(np.arange, part.shape)], part.shape
    if not few:
        columns = legendre(at, ends, degree, dtype=float)[part] * root[:, None]
        norms = np.linalg.norm(columns, axis=0)
        columns = columns / np.where(norms > 0, norms, 1.0)
        if np.linalg.cond(columns.T @ columns) <= WELL_CONDITIONED**2:
            return np.asarray(np.linalg.qr(columns)[0])
    return orthonormal(legendre(at, ends, degree)[part], root)
