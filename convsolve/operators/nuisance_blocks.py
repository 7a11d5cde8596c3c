"""Orthonormal nuisance columns N of confounds, in pieces of records with equal own columns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..problem.confounds import Confounds
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

    def columns(self, piece: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices (k,) of the columns of a piece, shared one as -1, and the columns."""
        if self.ones is None:
            return self.places[piece], self.basis
        columns = np.column_stack([self.basis, self.scales[piece] * self.ones])
        return np.append(self.places[piece], -1), columns


def nuisance_blocks(confounds: Confounds, spans: Sequence[Span]) -> list[NuisanceBlock]:
    """Return N in some rows of records, with one block per run of records of equal layout."""
    keys = [(confounds.which[i], start, stop) for i, start, stop in spans]
    several = itertools.groupby(range(len(spans)), keys.__getitem__)
    return [_block(confounds, [spans[j] for j in group]) for _, group in several]


def columns_of(confounds: Confounds, span: Span) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices (k,) and the values (n, k) of the columns of some rows of a record."""
    places, columns = _block(confounds, [span]).columns(0)
    places = places % confounds.count if confounds.count else places
    return places, columns.astype(float, copy=False)


def _block(confounds: Confounds, spans: Sequence[Span]) -> NuisanceBlock:
    """Return N in some rows of records that have the same layout and the same rows."""
    i, start, stop = spans[0]
    layout = confounds.layouts[confounds.which[i]]
    some = slice(*(confounds.kept.rows_of((i, 0, end)) for end in (start, stop)))
    records = np.array([record for record, _, _ in spans])
    ones = layout.ones[some] / confounds.size if confounds.shared else None
    scales = confounds.scales[records]
    return NuisanceBlock(confounds.places(records), layout.basis[some], ones, scales)
