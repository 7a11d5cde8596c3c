"""Rows used in the fit, their weights and the terms fitted to every record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .confounds import Terms
from .rows import Rows, Span, Weights


class Adjustments(NamedTuple):
    """The rows that are used, their weights, and the terms fitted to records.

    Attributes:
        kept: the rows used in the fit, for all outputs, or the rows of the mask with fewest.
        weights: the weights of the rows, or None.
        terms: the columns that are fitted to every record.
    """

    kept: Rows
    weights: Weights | None = None
    terms: Terms = Terms()

    def weight(self, spans: Sequence[Span]) -> float:
        """Return the sum of the weights of the rows that are used in some spans."""
        if self.weights is None:
            return float(sum(map(self.kept.rows_of, spans)))
        found = 0.0
        for i, a, b in spans:
            used = self.kept.flags_of(i)
            roots = np.broadcast_to(self.weights.roots[i], used.shape)
            found += float(np.square(roots[a:b][used[a:b]]).sum())
        return found
