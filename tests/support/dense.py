"""The oracle: convolution and least squares by brute force; nothing here knows convsolve.

    y[n, t, o] = sum_{k, c} x[n, t*stride + k*dilation - lo, g(o)*Cg + c] * w[k, c, o]

Of a spec only the plain numbers are read. Integers stay integers, and Fractions, in arrays of
objects, Fractions, so that equality can be exact.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

PADDINGS = ("valid", "same", "full", "causal", "circular")

# --- convolution


def axis_geometry(
    samples: int, taps: int, stride: int, dilation: int, padding: Any
) -> tuple[int, int]:
    """(lo, outputs) of one axis: windows are placed one after the other while they are wanted."""
    reach = (taps - 1) * dilation
    if padding in ("same", "causal", "circular"):  # one output for every stride-th sample
        outputs = len(range(0, samples, stride))
        missing = max((outputs - 1) * stride + reach + 1 - samples, 0)
        return {"same": missing // 2, "causal": reach, "circular": reach // 2}[padding], outputs
    lo, hi = {"valid": (0, 0), "full": (reach, reach)}.get(padding, padding)
    outputs = 0
    while outputs * stride + reach < lo + samples + hi:  # the last tap is still on the record
        outputs += 1
    return lo, outputs


def geometry(samples: Sequence[int], spec: Any) -> list[tuple[int, int]]:
    """`axis_geometry` of every axis; explicit padding is one (lo, hi) pair an axis."""
    pads = itertools.repeat(spec.padding) if isinstance(spec.padding, str) else spec.padding
    axes = zip(samples, spec.kernel_size, spec.stride, spec.dilation, pads)
    found = [axis_geometry(*axis) for axis in axes]
    if spec.lo is None:
        return found
    return [(lo, outputs) for lo, (_, outputs) in zip(spec.lo, found, strict=True)]


def counts(samples: Sequence[int], spec: Any) -> tuple[int, ...]:
    """The outputs along every axis."""
    return tuple(outputs for _, outputs in geometry(samples, spec))


def reads(
    samples: Sequence[int], spec: Any
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...] | None]]:
    """(t, k, sample) of every output t and tap k; sample is None where the tap lies outside."""
    axes = geometry(samples, spec)
    steps = [(s, d, lo) for s, d, (lo, _) in zip(spec.stride, spec.dilation, axes, strict=True)]
    for t in itertools.product(*(range(outputs) for _, outputs in axes)):
        for k in itertools.product(*map(range, spec.kernel_size)):
            at = tuple(a * s + b * d - lo for a, b, (s, d, lo) in zip(t, k, steps, strict=True))
            if spec.padding == "circular":
                at = tuple(i % w for i, w in zip(at, samples, strict=True))
            inside = all(0 <= i < w for i, w in zip(at, samples, strict=True))
            yield t, k, at if inside else None


def design_matrix(x: np.ndarray | list[np.ndarray], spec: Any) -> np.ndarray:
    """A ``(groups, rows, P)`` of x ``(N, *W, Cin)``, or of a list of records ``(*W, Cin)``.

    Rows are in the order of y, columns in that of (k, c).
    """
    if isinstance(x, list):
        return np.concatenate([design_matrix(record[None], spec) for record in x], axis=1)
    inputs = x.shape[-1] // spec.groups
    shape = (len(x), *counts(x.shape[1:-1], spec))
    a = np.zeros((spec.groups, *shape, *spec.kernel_size, inputs), x.dtype)
    for t, k, at in reads(x.shape[1:-1], spec):
        if at is None:
            continue
        for g in range(spec.groups):
            a[(g, slice(None), *t, *k)] = x[(slice(None), *at, slice(g * inputs, (g + 1) * inputs))]
    return a.reshape(spec.groups, math.prod(shape), math.prod(spec.kernel_size) * inputs)


# --- layouts


def by_group(values: np.ndarray | list[np.ndarray], groups: int) -> np.ndarray:
    """Outputs ``(..., Cout)``, of records if a list, or a kernel, as ``(groups, rows, Q)``."""
    if isinstance(values, list):
        values = np.concatenate([v.reshape(-1, v.shape[-1]) for v in values])
    return values.reshape(-1, groups, values.shape[-1] // groups).swapaxes(0, 1)


def as_kernel(w: np.ndarray, taps: tuple[int, ...]) -> np.ndarray:
    """w ``(groups, P, Q)`` as a kernel ``(*K, P/K, groups·Q)``."""
    groups, _, outputs = w.shape
    return w.swapaxes(0, 1).reshape(*taps, -1, groups * outputs)


def centred(a: np.ndarray) -> np.ndarray:
    """Every column of a ``(..., rows, P)`` less its mean."""
    return a - a.mean(-2, keepdims=True)


# --- least squares in float64


def least_squares(
    a: np.ndarray, y: np.ndarray, ridge: float = 0.0, bias: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """argmin ‖y − Aw − b‖² + ridge‖w‖², of minimum norm, by an SVD of every group's matrix.

    a ``(groups, rows, P)`` and y ``(groups, rows, Q)`` to w ``(groups, P, Q)`` and b ``(Cout,)``.
    """
    a_mean, y_mean = (v.mean(1, keepdims=True) * bias for v in (a, y))
    root = np.broadcast_to(math.sqrt(ridge) * np.eye(a.shape[2]), (len(a), *a.shape[2:] * 2))
    rows = np.concatenate([a - a_mean, root], axis=1)
    right = np.pad(y - y_mean, ((0, 0), (0, a.shape[2]), (0, 0)))
    w = np.stack([np.linalg.lstsq(*pair, rcond=1e-12)[0] for pair in zip(rows, right)])
    return w, (y_mean - a_mean @ w).reshape(-1)


# --- exact arithmetic


def exact(values: np.ndarray) -> np.ndarray:
    """Numbers as the exact rationals that they are, elementwise."""
    return np.vectorize(Fraction, otypes=[object])(values)


def exact_solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Gauss–Jordan elimination of a square system of Fractions."""
    n = len(a)
    m = np.hstack([a, b])
    for i in range(n):
        pivot = i + int(np.flatnonzero(m[i:, i])[0])
        m[[i, pivot]] = m[[pivot, i]]
        m[i] = m[i] / m[i, i]
        others = np.arange(n) != i
        m[others] = m[others] - np.outer(m[others, i], m[i])
    return m[:, n:]


def exact_least_squares(a: np.ndarray, y: np.ndarray, ridge: float = 0.0) -> np.ndarray:
    """argmin ‖y − Aw‖² + ridge‖w‖² in rational arithmetic; of minimum norm for full row rank."""
    tall = a.shape[0] >= a.shape[1]
    a, y = exact(a), exact(y)
    gram = a.T @ a if tall else a @ a.T
    gram = gram + Fraction(ridge) * np.eye(len(gram), dtype=int)
    w = exact_solve(gram, a.T @ y) if tall else a.T @ exact_solve(gram, y)
    return w.astype(float)


def integers(a: np.ndarray) -> np.ndarray:
    """The columns of a, each times the power of two that makes it whole, as Python integers.

    Every float is dyadic, and a column's scale changes neither rank nor what is determined.
    """
    columns = exact(a.T)
    scale = [max((v.denominator for v in column), default=1) for column in columns]
    whole = [[int(v * s) for v in column] for column, s in zip(columns, scale)]
    return np.array(whole, object).reshape(a.shape[1], a.shape[0]).T


def rank_and_mask(a: np.ndarray) -> tuple[int, np.ndarray]:
    """Rank of a, and which unknowns j its rows determine, that is, whose e_j they span.

    By fraction-free Gauss–Jordan elimination (Bareiss, Mathematics of Computation 22, 1968): every
    entry stays a minor of the matrix, and every division is exact. In the reduced form an unknown
    is determined iff its pivot row holds nothing else.
    """
    m, rank, last = integers(a), 0, 1
    mask = np.zeros(m.shape[1], bool)
    pivots = []
    for c in range(m.shape[1]):
        found = np.flatnonzero(m[rank:, c])
        if not found.size:
            continue
        m[[rank, rank + found[0]]] = m[[rank + found[0], rank]]
        row = m[rank].copy()
        m = (row[c] * m - np.outer(m[:, c], row)) // last
        m[rank], last = row, row[c]
        pivots.append(c)
        rank += 1
    mask[pivots] = (m[:rank] != 0).sum(1) == 1
    return rank, mask
