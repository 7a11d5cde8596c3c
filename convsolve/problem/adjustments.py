"""Which rows count, how much, and what confounds them: cut to parts of a problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .records import Records
from .rows import Rows, Span
from .weights import Weights


class Adjustments(NamedTuple):
    """Rows that are ``kept``, their ``weights``, and ``confounds``: the degree of a polynomial, or
    columns of every record.
    """

    kept: Rows
    weights: Weights | None = None
    confounds: int | Records | None = None

    def of(self, spans: Sequence[Span]) -> dict[str, Any]:
        """As arguments of a `Problem` whose records are some spans of these."""
        return {
            "mask": self.kept.some(spans),
            "weights": None if self.weights is None else self._weights(spans),
            "confounds": self._confounds(spans),
        }

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
