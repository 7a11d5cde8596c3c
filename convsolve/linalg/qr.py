"""QR of tall matrices, in a tree over blocks of their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..problem.sizes import DEFAULT_LIMITS, tree_rows
from .threads import blas_threads

# Rows of a tall QR are taken together up to so many numbers (8 MiB), which caches hold.
CACHED_NUMBERS = 2**20


def _gathered(blocks: Iterable[np.ndarray], numbers: int) -> Iterator[np.ndarray]:
    parts: list[np.ndarray] = []
    held = 0
    for block in blocks:
        height = tree_rows(block.shape[1], numbers)
        while held + len(block) >= height:
            yield np.concatenate([*parts, block[: height - held]])
            block, parts, held = block[height - held :], [], 0
        parts.append(block)
        held += len(block)
    if held:
        yield np.concatenate(parts)


def _qr(block: np.ndarray) -> np.ndarray:
    r: Any = np.linalg.qr(block, mode="r")
    return r


def tree_qr(blocks: Iterable[np.ndarray], numbers: int = DEFAULT_LIMITS.tree_numbers) -> np.ndarray:
    """R (min(m, c), c) of all the rows of ``blocks``, each (n, c), of which none is kept.

    Householder QR of row blocks of about ``numbers`` each, their triangles joined pairwise: errors
    grow with the depth of the tree, where a chain of blocks would add them up. Memory is
    O(c²·log m), whatever the rows m.

    Source: J. Demmel, L. Grigori, M. Hoemmen and J. Langou, SIAM J. Sci. Comput. 34 (2012) A206.
    """
    pending: list[np.ndarray] = []
    for i, block in enumerate(_gathered(blocks, numbers), start=1):
        r = _qr(block)
        # The trailing zeros of the count say how many pending triangles have the size of this one.
        while i % 2 == 0:
            r, i = _qr(np.concatenate([pending.pop(), r])), i // 2
        pending.append(r)
    r = pending.pop()
    while pending:
        r = _qr(np.concatenate([pending.pop(), r]))
    return r


def tall_qr(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q (n, k), orthonormal, and R (k, k) of a tall ``a`` (n, k), by blocks of its rows.

    As stable as the QR of the whole, of which LAPACK reads every column from memory k times.
    """
    rows, columns = a.shape
    height = max(CACHED_NUMBERS // max(columns, 1), 2 * columns)
    if rows < 2 * height:
        q, r = np.linalg.qr(a)
        return q, r
    with blas_threads(columns):
        parts = [np.linalg.qr(block) for block in np.array_split(a, rows // height)]
    joint, r = tall_qr(np.concatenate([top for _, top in parts]))
    turns = np.split(joint, len(parts))
    return np.concatenate([q @ turn for (q, _), turn in zip(parts, turns, strict=True)]), r


def tall_svd(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Economical u (n, k), s (k,) descending and vt (k, k) of a tall ``a`` (n, k)."""
    q, r = tall_qr(a)
    u, s, vt = np.linalg.svd(r)
    return q @ u, s, vt
