"""Sums over rows of a design matrix A, outputs Y and nuisance columns N.

Combinations of outputs replace many outputs in a pass over the data. Outputs are combined with
their neighbours, so that a combination costs as much for thousands of outputs as for a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg.blas import dgemm

from ..parallel import in_order

# For fewer columns, the groups are multiplied in one call.
FEW = 64
# Number of outputs that are combined with each other.
TOGETHER = 128


class Sums(NamedTuple):
    """Sums over rows; ``+=`` adds other rows in the memory of the first.

    Attributes:
        gram: AᵀA (G, P, P), or its diagonal (G, P).
        rhs: AᵀY (G, P, Q).
        of_x: NᵀA (G, q, P).
        of_y: NᵀY (G, q, Q).
        squares: Σy² (G, Q).
        whole: (G, P), the diagonal of AᵀA before excluded rows were subtracted.
    """

    gram: np.ndarray
    rhs: np.ndarray
    of_x: np.ndarray
    of_y: np.ndarray
    squares: np.ndarray
    whole: np.ndarray

    def __iadd__(self, other: Any) -> Sums:  # type: ignore[misc]
        return Sums(*map(plus, self, other))

    @property
    def diagonal(self) -> np.ndarray:
        """The diagonal (G, P) of AᵀA."""
        return self.gram if self.gram.ndim == 2 else self.gram.diagonal(0, 1, 2)

    def projected(self, fitted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return AᵀMA, in the memory of ``gram``, AᵀMY and the squares (G, Q) of M Y.

        M = I − NNᵀ, for the first ``fitted`` columns of N.
        """
        of_x, of_y = self.of_x[:, :fitted], self.of_y[:, :fitted]
        gram = self.gram
        if gram.ndim == 2:
            gram = np.maximum(gram - np.square(of_x).sum(1), 0.0)
        elif gram.shape[1] < FEW:
            gram -= of_x.swapaxes(1, 2) @ of_x
        else:
            for g, c in zip(gram, of_x, strict=True):
                less(g, c)
        squares = np.maximum(self.squares - np.square(of_y).sum(1), 0.0)
        return gram, self.rhs - of_x.swapaxes(1, 2) @ of_y, squares


class Residuals(NamedTuple):
    """‖r‖² (G, Q), Aᵀr (G, P, Q) and Nᵀr (G, q, Q) of residuals r, with ``+=`` as `Sums`."""

    squares: np.ndarray
    gradient: np.ndarray
    of_n: np.ndarray

    def __iadd__(self, other: Any) -> Residuals:  # type: ignore[misc]
        return Residuals(*map(plus, self, other))


def less(gram: np.ndarray, a: np.ndarray) -> None:
    """Subtract aᵀa from a symmetric matrix in C order, in its memory."""
    if len(a):
        found = dgemm(-1.0, a.T, a.T, 1.0, gram.T, trans_b=True, overwrite_c=True)
        assert np.may_share_memory(found, gram)


def plus(total: np.ndarray | None, more: Any) -> np.ndarray:
    """Add an array, or the product of two, to a total: some frequencies at a time, in the cache."""
    if not isinstance(more, tuple):
        return more if total is None else np.add(total, more, out=total)
    a, b = more
    of_two = np.multiply if a.shape[-1] == 1 else np.matmul  # which is slow for 1 × 1
    if total is None:
        return np.asarray(of_two(a, b))
    step = max(1, 2**16 // max(1, total[0].size))
    for first in range(0, len(total), step):
        some = slice(first, first + step)
        total[some] += of_two(a[some], b[some])
    return total


def spread(places: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Add values (N, k, …) of records to a sum (count, …)."""
    total = np.zeros((count, *values.shape[2:]))
    np.add.at(total, places, values)
    return total


def moved(a: np.ndarray, source: int, target: int) -> np.ndarray:
    """Return `numpy.moveaxis` of one axis, in a fraction of its time."""
    axes = [*range(a.ndim)]
    axes.insert(target % a.ndim, axes.pop(source))
    return a.transpose(axes)


def cut(a: np.ndarray, taps: Sequence[int], first: int, last: int | None) -> np.ndarray:
    """Return some places along the first of the last ``len(taps)`` axes before the channels."""
    return a[(..., slice(first, last), *(slice(None),) * len(taps))]


def gram(u: np.ndarray, v: np.ndarray, taps: Sequence[int], first: Any = None) -> np.ndarray:
    """Return Σ uᵀv (F, *K, C, *K, C') over the windows of u (F, …, *L, C) and v (F, …, *L, C').

    A step along the diagonal of an axis drops the samples at one end, and adds those at the other,
    which are products of windows of the other axes. ``first``: products (F, K, *K', C, *K', C') of
    the windows of u at tap 0 of the first axis, and of those of v, if they are known.
    """
    if not taps:
        found = u.swapaxes(-1, -2) @ v
        return found if found.ndim == 3 else found.sum(tuple(range(1, found.ndim - 2)))
    (k, *others), d = taps, len(taps)
    rows = u.shape[-1 - d] - k + 1
    if first is None:
        top, side = (cut(a, taps, 0, rows) for a in (u, v))
        first = (
            np.stack([gram(top, cut(v, taps, j, j + rows), others) for j in range(k)], 1),
            np.stack([gram(cut(u, taps, j, j + rows), side, others) for j in range(k)], 1),
        )
    (f, _, *o, c), c2 = first[0].shape[: d + 2], first[0].shape[-1]
    found = np.empty((f, k, *o, c, k, *o, c2), first[0].dtype)
    by_tap = moved(found, d + 2, 2)  # (F, K, K, …)
    by_tap[:, 0], by_tap[:, :, 0] = first
    ends = [
        np.concatenate([sign * cut(a, taps, 0, k - 1), cut(a, taps, rows, None)], 1)
        for sign, a in ((1, u), (-1, v))
    ]
    left, right = (moved(a, -1 - d, -2) for a in ends)
    right = right.reshape(*right.shape[:-2], -1)
    step = max(1, 2**18 // max(1, f * c * right.shape[-1] * max(1, int(np.prod(o))) ** 2))
    for i in range(0, k - 1, step):
        some = left[..., i : i + step, :]
        n = some.shape[-2]
        more = gram(some.reshape(*some.shape[:-2], n * c), right, others)
        more = more.reshape(f, *o, n, c, *o, k - 1, c2)
        more = moved(moved(more, d, 1), 2 * d + 1, 2)
        for j in range(n):
            np.add(by_tap[:, i + j, :-1], more[:, j], out=by_tap[:, i + j + 1, 1:])
    return found


def blocks(outputs: int) -> list[slice]:
    """Return slices of the outputs that are combined with each other."""
    return [slice(first, first + TOGETHER) for first in range(0, outputs, TOGETHER)]


def combined(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return combinations (..., B·s) of values (..., Q), for B blocks and weights (..., Q, s)."""
    parts = blocks(values.shape[-1])
    several = [*in_order(lambda some: values[..., some] @ weights[..., some, :], parts)]
    return several[0] if len(several) == 1 else np.concatenate(several, axis=-1)
