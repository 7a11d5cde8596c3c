"""QR of tall matrices, in a tree over blocks of their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .threads import one_blas_thread

# Columns that a QR eliminates together: the fastest or nearly so from 20 to 2 000 columns.
PANEL = 64
# Rows of the blocks in a QR by a tree.
TREE_ROWS = 2048


def tree_height(columns: int, rows: int = TREE_ROWS) -> int:
    """Return the rows of one QR: at least twice the columns, so that joining triangles is cheap."""
    return max(rows, 2 * columns)


def _gathered(blocks: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """Yield the rows of ``blocks`` in blocks of about the `tree_height`."""
    parts: list[np.ndarray] = []
    for block in blocks:
        height = tree_height(block.shape[2], rows)
        for first in range(0, block.shape[1], height):
            parts.append(block[:, first : first + height])
            if sum(part.shape[1] for part in parts) >= height:
                yield np.concatenate(parts, 1)
                parts = []
    if parts:
        yield np.concatenate(parts, 1)


def _triangle(a: np.ndarray) -> np.ndarray:
    """Return R (G, min(n, c), c) of rows (G, n, c).

    LAPACK's QR of recursive panels is up to three times as fast as NumPy's, and costs a call for
    every matrix.
    """
    if len(a) > 1:
        return np.asarray(np.linalg.qr(a, mode="r"))
    from scipy.linalg.lapack import dgeqrt

    n = min(a.shape[1:])
    return np.triu(dgeqrt(min(PANEL, n), a[0])[0][:n])[None]


def _merged(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Return R of the triangles ``upper`` (G, c, c) above ``lower`` (G, n, c), n ≤ c."""
    if len(upper) > 1 or upper.shape[1] < upper.shape[2]:
        return _triangle(np.concatenate([upper, lower], 1))
    return with_rows(upper[0], lower[0], lower.shape[1])[None]


def with_rows(upper: np.ndarray, rows: np.ndarray, triangle: int = 0) -> np.ndarray:
    """Return R (c, c) of the triangle ``upper`` (c, c) above ``rows`` (n, c), in O(n·c²).

    Zeros below the diagonal of the last ``triangle`` rows are not computed, which takes a quarter
    of the time.
    """
    from scipy.linalg.lapack import dtpqrt

    return np.triu(dtpqrt(triangle, min(PANEL, len(upper)), upper, rows)[0])


def tree_qr(blocks: Iterable[np.ndarray], rows: int = TREE_ROWS) -> np.ndarray:
    """Return R (G, min(m, c), c) of all the rows of ``blocks`` (G, n, c), which are not kept.

    Householder QR of blocks of ``rows`` rows, or of twice the columns if that is more. Their
    triangles are joined pairwise. Errors grow with the depth of the tree, while a chain of blocks
    would add them up. Memory is O(c²·log m) for m rows.

    Source: J. Demmel, L. Grigori, M. Hoemmen and J. Langou, SIAM J. Sci. Comput. 34 (2012) A206.
    """
    pending: list[np.ndarray] = []
    with one_blas_thread():
        for i, r in enumerate(map(_triangle, _gathered(blocks, rows)), start=1):
            # The trailing zeros of the count are the number of pending triangles of this size.
            while i % 2 == 0:
                r, i = _merged(pending.pop(), r), i // 2
            pending.append(r)
        r = pending.pop()
        while pending:
            r = _merged(pending.pop(), r)
    return r


def without_dust(r: np.ndarray) -> np.ndarray:
    """Return R (..., q, c) with zeros for entries below eps² of the largest of their column.

    They are the rounding errors of rounding errors. Equal columns lead to subnormal numbers, for
    which an SVD takes more than ten times as long.
    """
    size = np.abs(r)
    dust = size <= np.finfo(r.dtype).eps ** 2 * size.max(axis=-2, keepdims=True, initial=0.0)
    return np.where(dust, 0.0, r)
