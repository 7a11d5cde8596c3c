"""Exact linear algebra over the integers; nothing here knows convsolve."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def integers(a: np.ndarray) -> np.ndarray:
    """The columns of a, each times the power of two that makes it whole, as Python integers.

    Every float is dyadic, and a column's scale changes neither rank nor what is determined.
    """
    exact = [[Fraction(v) for v in column] for column in np.asarray(a, float).T.tolist()]
    scale = [max((v.denominator for v in column), default=1) for column in exact]
    whole = [[int(v * s) for v in column] for column, s in zip(exact, scale)]
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
