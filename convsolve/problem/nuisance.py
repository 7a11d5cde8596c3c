"""Columns that are fitted in addition to the kernel, and are not part of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from .confounds import Confounds
from .rows import Rows


@dataclass(frozen=True)
class Nuisance:
    """The nuisance columns N (n, q) of a problem, which are projected out of A and y.

    Attributes:
        constant: whether N is one column of ones over all records, for a bias.
        confounds: other columns, which also contain a constant if there is a bias.
    """

    constant: bool = False
    confounds: Confounds | None = field(default=None, compare=False)

    @property
    def count(self) -> int:
        """Number of columns of ones: 1 with a ``constant``, else 0."""
        return int(self.constant)

    @property
    def shared(self) -> bool:
        """Whether a constant of all records is among the columns."""
        return self.constant or (self.confounds is not None and self.confounds.shared)

    def records_left(self, kept: Rows) -> list[int]:
        """Return the records that have more rows than confounds of their own."""
        if self.confounds is None:
            return kept.used
        return [i for i in kept.used if kept.sizes[i] > self.confounds.own(i)]

    @property
    def total(self) -> int:
        """Number q of all columns, which the degrees of freedom are reduced by."""
        return self.count + (0 if self.confounds is None else self.confounds.count)
