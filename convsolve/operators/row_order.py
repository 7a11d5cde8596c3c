"""The order of the rows of a design matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..cached import cached_property
from ..problem.rows import Rows, Span


@dataclass(frozen=True)
class RowOrder:
    """The order of the rows of a design matrix.

    Attributes:
        kept: the rows of every record.
        spans: spans of records, in the order of their rows.
    """

    kept: Rows
    spans: tuple[Span, ...]

    @cached_property
    def counts(self) -> list[int]:
        """Number of rows of every span."""
        return [*map(self.kept.rows_of, self.spans)]

    @cached_property
    def positions(self) -> list[np.ndarray]:
        """Row of the design matrix for each output (*T) of every record; -1 if it has no row."""
        found = [np.full(shape, -1) for shape in self.kept.shapes]
        start = 0
        for (i, first, last), count in zip(self.spans, self.counts, strict=True):
            flags = self.kept.flags_of(i)[first:last]
            found[i][first:last][flags] = np.arange(start, start + count)
            start += count
        return found

    def places(self, spans: Iterable[Span]) -> np.ndarray:
        """Return the indices in the design matrix of the rows of some spans."""
        found = [self.positions[i][first:last].reshape(-1) for i, first, last in spans]
        places = np.concatenate(found)
        return places[places >= 0]

    def by_record(self, values: np.ndarray) -> list[np.ndarray]:
        """Return row-wise values (groups, n) as ``(*T, groups)`` of each record.

        Outputs without a row are NaN.
        """
        found = [np.full((*shape, len(values)), np.nan) for shape in self.kept.shapes]
        at = 0
        for span, count in zip(self.spans, self.counts, strict=True):
            (i, first, last), flags = span, self.kept.of_span(span)
            rows, part = values[:, at : at + count].T, found[i][first:last]
            if flags is None:
                part[...] = rows.reshape(part.shape)
            else:
                part[flags] = rows
            at += count
        return found
