"""Rows used in the fit, their weights and confounds, for a problem and for parts of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .records import Records
from .rows import Rows, Span
from .weights import Weights


class Adjustments(NamedTuple):
    """The rows that are used, their weights, and the confounds.

    Attributes:
        kept: the rows used in the fit, for all outputs, or the rows of the mask with fewest.
        weights: the weights of the rows, or None.
        confounds: the degree of a polynomial, or columns of every record, or None.
        by_mask: outputs and their rows, for outputs that use different rows.
    """

    kept: Rows
    weights: Weights | None = None
    confounds: int | Records | None = None
    by_mask: tuple[tuple[tuple[int, ...], Rows], ...] = ()

    def of(self, spans: Sequence[Span]) -> dict[str, Any]:
        """Return them as arguments of a `Problem` whose records are some spans of these."""
        return {
            "mask": self._mask(spans),
            "weights": None if self.weights is None else self._weights(spans),
            "confounds": self._confounds(spans),
        }

    def _mask(self, spans: Sequence[Span]) -> list[np.ndarray] | None:
        if len(self.by_mask) <= 1:
            return self.kept.some(spans)
        found = []
        for i, start, stop in spans:
            count = sum(len(outputs) for outputs, _ in self.by_mask)
            mask = np.empty((stop - start, *self.kept.shapes[i][1:], count), bool)
            for outputs, rows in self.by_mask:
                mask[..., list(outputs)] = rows.flags_of(i)[start:stop, ..., None]
            found.append(mask)
        return found

    def _weights(self, spans: Sequence[Span]) -> list[Any]:
        assert self.weights is not None
        shapes = [(b - a, *self.kept.shapes[i][1:]) for i, a, b in spans]
        roots = [self.weights.roots[i] for i, _, _ in spans]
        parts = zip(roots, spans, shapes, strict=True)
        return [np.broadcast_to(r if r.ndim == 0 else r[a:b], n) ** 2 for r, (_, a, b), n in parts]

    def _confounds(self, spans: Sequence[Span]) -> Any:
        # Polynomials over a record are polynomials over each of its spans.
        given = self.confounds
        if isinstance(given, Records):
            return [given.arrays[i][a:b] for i, a, b in spans]
        return given
