"""Columns that are fitted beside the kernel, and are not part of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from .confounds import Confounds


@dataclass(frozen=True)
class Nuisance:
    """The columns N (n, q) of a problem that are partialled out of A and y.

    Its simplest case is a bias: ``constant``, one column of ones over all records. What else there
    is, `Confounds`, an operator takes off its rows before anything sees them.
    """

    constant: bool = False
    confounds: Confounds | None = field(default=None, compare=False)

    @property
    def count(self) -> int:
        """Columns q that operators leave in their sums."""
        return int(self.constant)

    @property
    def total(self) -> int:
        """All columns, which the degrees of freedom are less."""
        return self.count + (0 if self.confounds is None else self.confounds.count)
