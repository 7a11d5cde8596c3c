"""Orthonormal nuisance columns N: their products with rows, and their fits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..problem.confounds import Confounds
from ..problem.nuisance import Nuisance
from ..problem.rows import Span


@dataclass(frozen=True)
class NuisanceBlock:
    """Nuisance columns N in N_p pieces of records that have the same own columns.

    Attributes:
        places: (N_p, k), indices in N of the own columns of each piece.
        basis: (n, k), the own columns in each piece.
        ones: (n,), the last column of N, shared by all records, before it is multiplied by
            ``scales``. None if there is no shared column.
        scales: (N_p,), factor of ``ones`` in each piece.
    """

    places: np.ndarray
    basis: np.ndarray
    ones: np.ndarray | None
    scales: np.ndarray

    @property
    def rows(self) -> int:
        """Number of rows of all pieces."""
        return len(self.places) * len(self.basis)

    def some(self, pieces: slice) -> NuisanceBlock:
        """Return the block of some of the pieces."""
        return NuisanceBlock(self.places[pieces], self.basis, self.ones, self.scales[pieces])

    def some_rows(self, rows: slice) -> NuisanceBlock:
        """Return the block of some rows of each piece."""
        ones = None if self.ones is None else self.ones[rows]
        return NuisanceBlock(self.places, self.basis[rows], ones, self.scales)

    def add_products(self, values: np.ndarray, total: np.ndarray) -> None:
        """Add Nᵀv of values v (N_p, n, Q) to a total (q, Q)."""
        total[self.places] += self.basis.T @ values
        if self.ones is not None:
            total[-1] += self.scales @ (self.ones @ values)

    def fit(self, coefficients: np.ndarray) -> np.ndarray:
        """Return N c (N_p, n, Q) for coefficients c (q, Q), in the precision of the basis."""
        found = self.basis @ coefficients[self.places]
        if self.ones is not None:
            found += self.scales[:, None, None] * np.outer(self.ones, coefficients[-1])
        return np.asarray(found)


def nuisance_blocks(confounds: Confounds, spans: Sequence[Span]) -> list[NuisanceBlock]:
    """Return N in some rows of records, with one block per run of records of equal layout."""
    keys = [(confounds.which[i], start, stop) for i, start, stop in spans]
    several = itertools.groupby(range(len(spans)), keys.__getitem__)
    return [_block(confounds, [spans[j] for j in group]) for _, group in several]


def _block(confounds: Confounds, spans: Sequence[Span]) -> NuisanceBlock:
    """Return N in some rows of records that have the same layout and the same rows."""
    i, start, stop = spans[0]
    layout = confounds.layouts[confounds.which[i]]
    some = slice(*(confounds.kept.rows_of((i, 0, end)) for end in (start, stop)))
    records = np.array([record for record, _, _ in spans])
    ones = layout.ones[some] / confounds.size if confounds.shared else None
    scales = confounds.scales[records]
    return NuisanceBlock(confounds.places(records), layout.basis[some], ones, scales)


class NuisanceColumns:
    """Columns N (n, k) as blocks, in the order of the rows."""

    def __init__(self, blocks: Sequence[NuisanceBlock], count: int) -> None:
        self._blocks, self.count = blocks, count
        self._ends = np.cumsum([block.rows for block in blocks])

    def products(self, values: np.ndarray, first: int = 0) -> np.ndarray:
        """Return Nᵀv (k, K) for rows v (m, K), which start at row ``first``."""
        total = np.zeros((self.count, values.shape[1]))
        self.add_products(values, first, total)
        return total

    def add_products(self, values: np.ndarray, first: int, total: np.ndarray) -> None:
        """Add Nᵀv of rows v (m, K), which start at row ``first``, to a total (k, K)."""
        for block, inner, at in self._overlapping(first, first + len(values)):
            if inner == slice(0, block.rows):
                whole = values[at : at + block.rows]
            else:
                whole = np.zeros((block.rows, values.shape[1]))
                whole[inner] = values[at : at + inner.stop - inner.start]
            pieces = len(block.places), len(block.basis), values.shape[1]
            block.add_products(whole.reshape(pieces), total)

    def fit(self, coefficients: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return rows ``first`` to ``last`` of N c (m, K) for coefficients c (k, K)."""
        found = []
        for block, inner, _ in self._overlapping(first, last):
            found.append(block.fit(coefficients).reshape(-1, coefficients.shape[1])[inner])
        return np.concatenate(found) if found else np.zeros((last - first, coefficients.shape[1]))

    def rows_without(self, a: np.ndarray, first: int, *fits: np.ndarray) -> np.ndarray:
        """Subtract N c (G, m, P) from rows (G, m, P), for several coefficients c (k, G·P).

        The first of the rows is row ``first``.
        """
        groups, rows, columns = a.shape
        for each in fits:
            fit = self.fit(each, first, first + rows).reshape(rows, groups, columns)
            a = a - fit.swapaxes(0, 1)
        return a.astype(float, copy=False)

    def _overlapping(self, first: int, last: int) -> Iterator[tuple[NuisanceBlock, slice, int]]:
        """Yield the pieces that have rows in a range.

        Yields:
            The pieces, which of their rows are in the range, and the place of the first in it.
        """
        for i in range(int(np.searchsorted(self._ends, first, "right")), len(self._ends)):
            block, start = self._blocks[i], int(self._ends[i]) - self._blocks[i].rows
            if start >= last:
                return
            begin, end = max(first - start, 0), min(last - start, block.rows)
            each = len(block.basis)
            pieces = slice(begin // each, -(-end // each))
            skipped = pieces.start * each
            part, inner = block.some(pieces), slice(begin - skipped, end - skipped)
            if len(part.places) == 1:  # the other rows of a long record are not needed
                part, inner = part.some_rows(inner), slice(0, end - begin)
            yield part, inner, start + begin - first


def orthonormal_columns(nuisance: Nuisance, spans: Sequence[Span], rows: int) -> NuisanceColumns:
    """Return all nuisance columns in some rows, a constant included."""
    confounds = nuisance.confounds
    if confounds is not None:
        blocks = nuisance_blocks(confounds, spans) if confounds.count else []
        return NuisanceColumns(blocks, confounds.count)
    if not nuisance.constant:
        return NuisanceColumns([], 0)
    ones = np.full((rows, 1), 1 / math.sqrt(rows))
    block = NuisanceBlock(np.zeros((1, 1), int), ones, None, np.ones(1))
    return NuisanceColumns([block], 1)
