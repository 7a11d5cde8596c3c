"""Sums over the rows of many groups of one channel and few taps, without forming rows.

Every sum over rows is written as sums of shifted samples, for all groups at once. Groups are the
last axis, as in x. Rows would be many times as large as x, and BLAS would be called per group.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..problem.spec import ConvSpec
from .by_rows import MANY_GROUPS, adjoint, norms, own_units, product, product_gram
from .chunk import LoadedChunk
from .moments import Moments, ResidualSums
from .windows import gram_rows

__all__ = ["adjoint", "misfit", "moments", "norms", "own_units", "product", "product_gram"]

# With more taps BLAS is faster. Sums of more rows would have larger rounding errors than BLAS.
MOST_TAPS, MOST_ROWS = 16, 1024
# Groups whose samples are processed together, so that they stay in the cache of a core.
AT_ONCE = 512


def suits(chunk: LoadedChunk) -> bool:
    """Return whether a chunk has one record of many groups of one channel, output and few taps."""
    taps, form = chunk.columns, chunk.form
    if chunk.groups < MANY_GROUPS or taps > MOST_TAPS or len(chunk.spans) > 1 or form.constant:
        return False
    (stack,) = chunk.stacks
    whole = stack.flags is None and stack.roots is None and not chunk.blocks
    plain = form.spec == ConvSpec((taps,), groups=chunk.groups) and chunk.outputs == 1
    return whole and plain and taps <= chunk.rows <= MOST_ROWS


def _signals(chunk: LoadedChunk) -> Iterator[tuple[np.ndarray, np.ndarray, slice]]:
    """Yield x (L, n) and y (T, n) of some groups after others, in the units of a chunk."""
    (stack,) = chunk.stacks
    x, y = np.asarray(stack.x)[0], np.asarray(stack.y)[0]
    for first in range(0, chunk.groups, AT_ONCE):
        some = slice(first, first + AT_ONCE)
        yield x[:, some] * chunk.scale[some], y[:, some] * chunk.out_scale[some], some


def _windows(x: np.ndarray, rows: int) -> np.ndarray:
    """Return a view (K, T, n) of Aᵀ of x (L, n), for T rows."""
    step, along = x.strides
    shape = len(x) - rows + 1, rows, x.shape[1]
    return np.lib.stride_tricks.as_strided(x, shape, (step, step, along), writeable=False)


def _adjoint(x: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return Aᵀr (K, n) of r (T, n)."""
    return np.einsum("ktn,tn->kn", _windows(x, len(r)), r)


def moments(chunk: LoadedChunk) -> Moments:
    """Return sums over the rows of A and Y in own units."""
    groups, taps = chunk.groups, chunk.columns
    gram, rhs = np.empty((groups, taps, taps)), np.empty((groups, taps, 1))
    sums, (out_sums, squares) = np.empty((groups, taps)), np.empty((2, groups, 1))
    for x, y, some in _signals(chunk):
        gram[some] = _gram(x, taps).transpose(2, 0, 1)
        rhs[some, :, 0] = _adjoint(x, y).T
        sums[some] = np.einsum("ktn->kn", _windows(x, len(y))).T
        out_sums[some, 0] = y.sum(0)
        squares[some, 0] = np.einsum("tn,tn->n", y, y)
    return Moments(gram, rhs, sums, out_sums, squares, chunk.rows, own_units(chunk))


def _gram(x: np.ndarray, taps: int) -> np.ndarray:
    """Return AᵀA (K, K, n) of x (L, n), for at least K rows."""
    common = _adjoint(x[taps - 1 :], x[taps - 1 : len(x) - taps + 1])
    gram = np.empty((taps, *common.shape))
    for k, row in enumerate(gram_rows(x, common)):
        gram[k, k:] = gram[k:, k] = row
    return gram


def misfit(chunk: LoadedChunk, w: np.ndarray, offset: np.ndarray) -> ResidualSums:
    """Return the sums of r = y − A w − offset, for w (G, P, 1) and offset (G, 1), in own units."""
    found = ResidualSums.empty(w)
    for x, r, some in _signals(chunk):
        r -= np.einsum("ktn,kn->tn", _windows(x, len(r)), w[some, :, 0].T.copy())
        if offset.any():
            r -= offset[some, 0]
        found.squares[some, 0] = np.einsum("tn,tn->n", r, r)
        found.sums[some, 0] = r.sum(0)
        found.gradient[some, :, 0] = _adjoint(x, r).T
    return found
