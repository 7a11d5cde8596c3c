"""QR of tall matrices, in a tree over blocks of their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ..problem.sizes import DEFAULT_LIMITS, tree_height
from .lapack import svd
from .threads import one_blas_thread

# Columns that a QR eliminates together: the fastest or nearly so from 20 to 2 000 columns.
PANEL = 64
# Numbers in a block of rows of a tall QR (8 MiB), which caches hold.
CACHED_NUMBERS = 2**20


def _gathered(blocks: Iterable[np.ndarray], rows: int) -> Iterator[list[np.ndarray]]:
    """``blocks`` in parts that are to be joined."""
    parts: list[np.ndarray] = []
    held = 0
    for block in blocks:
        height = tree_height(block.shape[1], rows)
        while held + len(block) >= height:
            yield [*parts, block[: height - held]]
            block, parts, held = block[height - held :], [], 0
        parts.append(block)
        held += len(block)
    if held:
        yield parts


def _triangle(parts: Sequence[np.ndarray]) -> np.ndarray:
    """R (min(n, c), c) of rows (n, c) below one another; what stands below its diagonal is not 0.

    LAPACK's QR of recursive panels, in place, is up to three times as fast as NumPy's.
    """
    from scipy.linalg.lapack import dgeqrt

    rows, columns = sum(map(len, parts)), parts[0].shape[1]
    whole = np.empty((rows, columns), order="F")
    np.concatenate(parts, out=whole)
    r: np.ndarray = dgeqrt(min(PANEL, rows, columns), whole, overwrite_a=1)[0]
    return np.asfortranarray(r[:columns])


def _merged(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """R of the triangle ``upper`` (c, c) upon ``lower`` (n, c), n ≤ c, both overwritten: a QR that
    leaves their zeros alone, in a quarter of the time.
    """
    from scipy.linalg.lapack import dtpqrt

    rows, columns = lower.shape
    r: np.ndarray = dtpqrt(rows, min(PANEL, columns), upper, lower, overwrite_a=1, overwrite_b=1)[0]
    return r


def with_rows(upper: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """R (c, c) of the triangle ``upper`` (c, c) upon ``rows`` (n, c), at O(n·c²)."""
    from scipy.linalg.lapack import dtpqrt

    columns = len(upper)
    r = dtpqrt(0, min(PANEL, columns), np.asfortranarray(upper), np.asfortranarray(rows))[0]
    return np.triu(r)


def tree_qr(blocks: Iterable[np.ndarray], rows: int = DEFAULT_LIMITS.tree_rows) -> np.ndarray:
    """R (min(m, c), c) of all the rows of ``blocks``, each (n, c), of which none is kept.

    Householder QR of blocks of ``rows`` rows, or of twice the columns if that is more, their
    triangles joined pairwise: errors grow with the depth of the tree, where a chain of blocks would
    add them up. Memory is O(c²·log m), whatever the rows m.

    Source: J. Demmel, L. Grigori, M. Hoemmen and J. Langou, SIAM J. Sci. Comput. 34 (2012) A206.
    """
    with one_blas_thread():
        r = joined_in_tree(map(_triangle, _gathered(blocks, rows)), _merged)
    return np.triu(np.ascontiguousarray(r))


def joined_in_tree(
    triangles: Iterable[np.ndarray], merged: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """R of all rows, from the triangles of some of them each, joined pairwise by ``merged``."""
    pending: list[np.ndarray] = []
    for i, r in enumerate(triangles, start=1):
        # Trailing zeros of the count: how many pending triangles have the size of this one.
        while i % 2 == 0:
            r, i = merged(pending.pop(), r), i // 2
        pending.append(r)
    r = pending.pop()
    while pending:
        r = merged(pending.pop(), r)
    return r


def without_dust(r: np.ndarray) -> np.ndarray:
    """R (..., q, c) of a QR, with zeros for entries below eps² of their column's largest.

    They are rounding of rounding. Where columns are equal it goes on, rounding by rounding, to
    subnormal numbers, of which an SVD takes more than ten times as long.
    """
    size = np.abs(r)
    dust = size <= np.finfo(r.dtype).eps ** 2 * size.max(axis=-2, keepdims=True, initial=0.0)
    return np.where(dust, 0.0, r)


def tall_qr(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q (n, k), orthonormal, and R (k, k) of a tall ``a`` (n, k), by blocks of its rows.

    As stable as the QR of the whole, of which LAPACK reads every column from memory k times.
    """
    rows, columns = a.shape
    height = max(CACHED_NUMBERS // max(columns, 1), 2 * columns)
    with one_blas_thread():
        if rows < 2 * height:
            q, r = np.linalg.qr(a)
            return q, r
        parts = [np.linalg.qr(block) for block in np.array_split(a, rows // height)]
    joint, r = tall_qr(np.concatenate([top for _, top in parts]))
    tops = np.split(joint, len(parts))
    return np.concatenate([q @ top for (q, _), top in zip(parts, tops, strict=True)]), r


def tall_svd(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Economical u (n, k), s (k,) descending and vt (k, k) of a tall ``a`` (n, k)."""
    q, r = tall_qr(a)
    u, s, vt = svd(r)
    return q @ u, s, vt
