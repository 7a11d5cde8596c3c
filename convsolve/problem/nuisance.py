"""Columns that are fitted beside the kernel, and are not part of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Nuisance:
    """The columns N (n, q) of a problem that are partialled out of A and y.

    Its simplest case is a bias: ``constant``, one column of ones over all records.
    """

    constant: bool = False

    @property
    def count(self) -> int:
        """Columns q."""
        return int(self.constant)

    def block(self, rows: int) -> np.ndarray:
        """Those columns (rows, q) of some consecutive rows."""
        return np.ones((rows, self.count))

    def gram(self, rows: int) -> np.ndarray:
        """NᵀN (q, q) over all ``rows`` of a problem."""
        return np.full((self.count, self.count), float(rows))
