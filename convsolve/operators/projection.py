"""Projection of the confounds of every record out of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from ..cached import cached_property
from ..problem.confounds import Confounds, NuisanceBlock, projected
from ..problem.trends import Subtracted, beyond_rounding
from .moments import CACHED_NUMBERS, scaled_columns
from .records import Inputs, Targets
from .windows import row_blocks

# The products of at most so many columns N with A are sums over all rows. Others are sums over the
# rows of each record, where only its own columns are not zero.
FEW_COLUMNS = 8


def beyond_subtracted(
    confounds: Confounds,
    sizes: tuple[np.ndarray, np.ndarray],
    exponents: np.ndarray,
    whole: np.ndarray,
    left: np.ndarray,
    rows: int,
) -> np.ndarray:
    """Return flags (G, P) of columns beyond the rounding error of everything subtracted.

    Args:
        confounds: the confounds that were subtracted.
        sizes: root mean square (Cin,) of everything subtracted, with and without constants.
        exponents: exponents (G, P) of the columns.
        whole: squared norms (G, P) of the columns before the projection.
        left: squared norms (G, P) after the projection.
        rows: number of rows.
    """
    size, trend = (scaled_columns(each, exponents) for each in sizes)
    subtracted = Subtracted(size, trend, confounds.degree > 0)
    return beyond_rounding(whole, left, subtracted, rows, confounds.total_weight)


class Confounded:
    """The orthonormal columns N of `Confounds`, in the row order of a design matrix."""

    def __init__(
        self,
        confounds: Confounds,
        inputs: Inputs,
        adjoint: Callable[[int, np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """``adjoint(group, r)`` returns Aᵀr (P, Q) of rows r (n, Q), if FFTs can be used."""
        self._confounds, self._inputs, self._adjoint = confounds, inputs, adjoint
        self.count = confounds.count
        #: Whether N spans a constant.
        self.spans_ones = confounds.spans_ones
        self._blocks = confounds.blocks(inputs.in_order)
        self._ends = np.cumsum([block.rows for block in self._blocks])

    @cached_property
    def of_ones(self) -> np.ndarray:
        """Nᵀ1 (q,)."""
        return self.products(np.ones((self._inputs.rows, 1)), 0)[:, 0]

    @cached_property
    def crossed(self) -> np.ndarray:
        """D = AᵀN (G, P, q)."""
        groups, columns = self._inputs.column_exponents.shape
        if self._adjoint is not None and self._confounds.count <= FEW_COLUMNS:
            dense = self.fit(np.eye(self._confounds.count), 0, self._inputs.rows)
            return np.stack([self._adjoint(group, dense) for group in range(groups)])
        found = np.zeros((self._confounds.count, groups, columns))
        several, inputs = iter(self._blocks), self._inputs
        for x, flags, roots in zip(inputs.stacks, inputs.flags, inputs.roots, strict=True):
            first = 0
            while first < len(x):
                block = next(several)
                last = first + len(block.places)
                # Equal pieces have the same flags, and the same weights if rows differ in weight.
                rows = [None if a is None else a[first] for a in (flags, roots)]
                self._add_products(x[first:last], block, rows, found)
                first = last
        return found.transpose(1, 2, 0)

    def _add_products(
        self,
        x: np.ndarray,
        block: NuisanceBlock,
        rows: list[np.ndarray | None],
        total: np.ndarray,
    ) -> None:
        """Add NᵀA of the pieces x (N_p, *E, Cin) of a block to a total (q, G, P).

        ``rows`` are the flags of the rows used in the fit and the roots of their weights (*T), or
        None.
        """
        scaled = x * self._inputs.scale
        if block.basis.size:
            total[block.places] += self._products(scaled, block.basis, rows)
        if block.ones is not None:
            joint = np.tensordot(block.scales, scaled, 1)[None]
            total[-1] += self._products(joint, block.ones[:, None], rows)[0, 0]

    def _products(
        self, x: np.ndarray, columns: np.ndarray, rows: list[np.ndarray | None]
    ) -> np.ndarray:
        """Return VᵀA (N_p, k, G, P) of each piece, for columns V (n, k) of its rows."""
        spec, (flags, roots) = self._inputs.spec, rows
        whole = np.zeros((*spec.normal.output_shape(x.shape[1:-1]), columns.shape[1]))
        whole[... if flags is None else flags] = columns.reshape(
            whole.shape if flags is None else columns.shape
        )
        if roots is not None:
            whole *= roots[..., None]
        groups, taps = self._inputs.column_exponents.shape
        found = np.zeros((groups, len(x), columns.shape[1], taps))

        for (pieces, slab), a in row_blocks(x, spec, CACHED_NUMBERS):
            part = whole[slab].reshape(-1, columns.shape[1])
            found[:, pieces] += part.T @ a.reshape(groups, -1, len(part), taps)
        return found.transpose(1, 2, 0, 3)

    def projected(self, rows: np.ndarray) -> np.ndarray:
        """Project N out of rows (n, Q)."""
        parts = np.split(rows, self._ends[:-1])
        values = [
            part.reshape(len(block.places), -1, rows.shape[1])
            for block, part in zip(self._blocks, parts, strict=True)
        ]
        left, _ = projected(self._blocks, values, self._confounds.count)
        return np.concatenate([part.reshape(-1, rows.shape[1]) for part in left])

    def rows_without(self, a: np.ndarray, first: int, *coefficients: np.ndarray) -> np.ndarray:
        """Subtract N c (G, k, P) for coefficients c (q, G·P) from rows (G, k, P) of A.

        The first of the rows is row ``first``.
        """
        groups, rows, columns = a.shape
        for each in coefficients:
            fit = self.fit(each, first, first + rows).reshape(rows, groups, columns)
            a = a - fit.swapaxes(0, 1)
        return a.astype(float, copy=False)

    @property
    def by_column(self) -> np.ndarray:
        """Coefficients (q, G·P) of N that fit the columns of A."""
        return self.crossed.transpose(2, 0, 1).reshape(-1, math.prod(self.crossed.shape[:2]))

    def products(self, values: np.ndarray, first: int) -> np.ndarray:
        """Return Nᵀv (q, K) for rows v (k, K), which start at row ``first``."""
        total = np.zeros((self._confounds.count, values.shape[1]))
        for block, inner, at in self._overlapping(first, first + len(values)):
            whole = np.zeros((block.rows, values.shape[1]))
            whole[inner] = values[at : at + inner.stop - inner.start]
            block.add_products(whole.reshape(len(block.places), -1, values.shape[1]), total)
        return total

    def fit(self, coefficients: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return rows ``first`` to ``last`` of N c (k, K) for coefficients c (q, K)."""
        found = []
        for block, inner, _ in self._overlapping(first, last):
            found.append(block.fit(coefficients).reshape(-1, coefficients.shape[1])[inner])
        return np.concatenate(found)

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

    @cached_property
    def offsets(self) -> np.ndarray:
        """Size (G, P) per row of everything subtracted from a column."""
        squares = np.square(self.crossed).sum(-1) / self._inputs.rows
        return np.hypot(np.sqrt(squares), self._by_column(self._inputs.size_off))

    def live(self, whole: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Return `beyond_rounding` of columns with sums of squares ``whole`` and ``left``."""
        inputs, sizes = self._inputs, (self._inputs.size_off, self._inputs.trend_size)
        exponents = inputs.column_exponents
        return beyond_subtracted(self._confounds, sizes, exponents, whole, left, inputs.rows)

    def _by_column(self, by_channel: np.ndarray) -> np.ndarray:
        return scaled_columns(by_channel, self._inputs.column_exponents)

    def constant_beside(self, targets: Targets, w: np.ndarray) -> np.ndarray | None:
        """Return the constant (G, Q) of the fit with the kernel w (G, P, Q).

        The constant is in the units of A and the targets. None if there is no bias.
        """
        if not self._confounds.shared:
            return None
        both = np.ldexp([targets.confounded[-1], targets.constant_off], -targets.exponents)
        of_y, of_x = targets.grouped(both[0]), np.einsum("gp,gpq->gq", self.crossed[:, :, -1], w)
        off = np.einsum("gp,gpq->gq", self._by_column(self._inputs.constant_off), w)
        return np.asarray((of_y - of_x) / self._confounds.size - off + targets.grouped(both[1]))
