"""Rows used in the fit, their weights and confounds, for a problem and for parts of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .confounds import Terms
from .rows import Rows, Span
from .weights import Weights


class Adjustments(NamedTuple):
    """The rows that are used, their weights, and the confounds.

    Attributes:
        kept: the rows used in the fit, for all outputs, or the rows of the mask with fewest.
        weights: the weights of the rows, or None.
        terms: the columns that are fitted to every record.
        by_mask: outputs and their rows, for outputs that use different rows.
    """

    kept: Rows
    weights: Weights | None = None
    terms: Terms = Terms()
    by_mask: tuple[tuple[tuple[int, ...], Rows], ...] = ()

    def of(self, spans: Sequence[Span]) -> dict[str, Any]:
        """Return them as arguments of a `Problem` whose records are some spans of these."""
        weights: Any = None
        if self.weights is not None:
            roots = ((self.weights.roots[i], a, b) for i, a, b in spans)
            weights = [np.square(root[a:b] if root.ndim else root) for root, a, b in roots]
        given = {"mask": self._mask(spans), "weights": weights}
        if self.terms.degree >= 0:
            # Polynomials over a record are polynomials over each of its spans.
            given["drift"] = self.terms.degree
        if self.terms.columns is not None:
            given["confounds"] = [self.terms.columns.arrays[i][a:b] for i, a, b in spans]
        return given

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

    def _mask(self, spans: Sequence[Span]) -> list[np.ndarray] | None:
        if len(self.by_mask) <= 1:
            return self.kept.some(spans)
        pairs = sorted((o, rows) for outputs, rows in self.by_mask for o in outputs)
        several = [rows for _, rows in pairs]
        return [np.stack([r.flags_of(i)[a:b] for r in several], axis=-1) for i, a, b in spans]
