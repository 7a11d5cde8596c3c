"""QR of tall matrices, in a tree over blocks of their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from .lapack import svd
from .threads import one_blas_thread

# Columns that a QR eliminates together: the fastest or nearly so from 20 to 2 000 columns.
PANEL = 64
# Numbers in a block of rows of a tall QR (8 MiB), which caches hold.
CACHED_NUMBERS = 2**20
# Rows of the blocks in a QR by a tree.
TREE_ROWS = 2048


def tree_height(columns: int, rows: int = TREE_ROWS) -> int:
    """Return the rows of one QR: at least twice the columns, so that joining triangles is cheap."""
    return max(rows, 2 * columns)


def _gathered(blocks: Iterable[np.ndarray], rows: int) -> Iterator[list[np.ndarray]]:
    """Yield blocks of equal height, each as a list of its parts."""
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
    """Return R (min(n, c), c) of rows (n, c) below one another, with any values below the diagonal.

    LAPACK's QR of recursive panels, in place, is up to three times as fast as NumPy's.
    """
    from scipy.linalg.lapack import dgeqrt

    rows, columns = sum(map(len, parts)), parts[0].shape[1]
    whole = np.empty((rows, columns), order="F")
    np.concatenate(parts, out=whole)
    r: np.ndarray = dgeqrt(min(PANEL, rows, columns), whole, overwrite_a=1)[0]
    return np.asfortranarray(r[:columns])


def _merged(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Return R of the triangles ``upper`` (c, c) above ``lower`` (n, c), n ≤ c, both overwritten.

    Their zeros are not computed, which takes a quarter of the time.
    """
    from scipy.linalg.lapack import dtpqrt

    rows, columns = lower.shape
    r: np.ndarray = dtpqrt(rows, min(PANEL, columns), upper, lower, overwrite_a=1, overwrite_b=1)[0]
    return r


def with_rows(upper: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return R (c, c) of the triangle ``upper`` (c, c) above ``rows`` (n, c), in O(n·c²)."""
    from scipy.linalg.lapack import dtpqrt

    columns = len(upper)
    r = dtpqrt(0, min(PANEL, columns), np.asfortranarray(upper), np.asfortranarray(rows))[0]
    return np.triu(r)


def tree_qr(blocks: Iterable[np.ndarray], rows: int = TREE_ROWS) -> np.ndarray:
    """Return R (..., min(m, c), c) of all the rows of ``blocks`` (..., n, c), which are not kept.

    Householder QR of blocks of ``rows`` rows, or of twice the columns if that is more. Their
    triangles are joined pairwise. Errors grow with the depth of the tree, while a chain of blocks
    would add them up. Memory is O(c²·log m) for m rows. The blocks of several matrices are not
    divided.

    Source: J. Demmel, L. Grigori, M. Hoemmen and J. Langou, SIAM J. Sci. Comput. 34 (2012) A206.
    """
    several = iter(blocks)
    first = next(several)
    several = chain([first], several)
    if first.ndim > 2 and len(first) > 1:
        return _joined_in_tree(map(_triangles, several), _triangles)
    if first.ndim > 2:
        return tree_qr((block[0] for block in several), rows)[None]
    with one_blas_thread():
        r = _joined_in_tree(map(_triangle, _gathered(several, rows)), _merged)
    for column in range(r.shape[1]):  # faster than np.triu
        r[column + 1 :, column] = 0.0
    return np.ascontiguousarray(r)


def _triangles(*parts: np.ndarray) -> np.ndarray:
    """Return R (G, min(n, c), c) of the rows (G, n, c) of several matrices."""
    return np.asarray(np.linalg.qr(np.concatenate(parts, axis=1), mode="r"))


def _joined_in_tree(
    triangles: Iterable[np.ndarray], merged: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return R of all rows, from the triangles of blocks, joined pairwise by ``merged``."""
    pending: list[np.ndarray] = []
    for i, r in enumerate(triangles, start=1):
        # The trailing zeros of the count are the number of pending triangles of this size.
        while i % 2 == 0:
            r, i = merged(pending.pop(), r), i // 2
        pending.append(r)
    r = pending.pop()
    while pending:
        r = merged(pending.pop(), r)
    return r


def without_dust(r: np.ndarray) -> np.ndarray:
    """Return R (..., q, c) with zeros for entries below eps² of the largest of their column.

    They are the rounding errors of rounding errors. Equal columns lead to subnormal numbers, for
    which an SVD takes more than ten times as long.
    """
    size = np.abs(r)
    dust = size <= np.finfo(r.dtype).eps ** 2 * size.max(axis=-2, keepdims=True, initial=0.0)
    return np.where(dust, 0.0, r)


def tall_qr(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return orthonormal Q (..., n, k) and R (..., k, k) of tall ``a`` (..., n, k).

    A single matrix is factored by blocks of its rows. This is as stable as a QR of the whole, in
    which LAPACK reads every column from memory k times.
    """
    rows, columns = a.shape[-2:]
    height = max(CACHED_NUMBERS // max(columns, 1), 2 * columns)
    with one_blas_thread():
        if a.ndim > 2 or rows < 2 * height:
            q, r = np.linalg.qr(a)
            return q, r
        parts = [np.linalg.qr(block) for block in np.array_split(a, rows // height)]
    joint, r = tall_qr(np.concatenate([top for _, top in parts]))
    tops = np.split(joint, len(parts))
    return np.concatenate([q @ top for (q, _), top in zip(parts, tops, strict=True)]), r


def tall_svd(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return u (..., n, k), s (..., k) descending and vt (..., k, k) of tall ``a`` (..., n, k)."""
    q, r = tall_qr(a)
    u, s, vt = svd(r)
    return q @ u, s, vt
