"""The design matrix in blocks of rows, which are kept in memory if the matrix is small."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..cached import cached_property
from ..problem.nuisance import Nuisance
from ..problem.sizes import Limits
from ..progress import tracked
from .base import Block, DesignOperator
from .moments import Moments, ResidualSums, Units, groups_at_once
from .projection import Confounded
from .records import Inputs, Targets
from .windows import row_blocks

# From this number of groups on, blocks of rows are larger by a factor, because BLAS is called per
# group: 8 times as large, 64 MiB by default, which is about 64 rows of ten thousand groups of 10
# columns.
MANY_GROUPS, LARGER = 100, 8


def raw_blocks(inputs: Inputs, targets: Targets | None, numbers: int) -> Iterator[Block]:
    """Yield blocks (G, k, P) of A and (G, k, Q) of Y in the units of their exponents.

    A block has about ``numbers`` elements.
    """
    several = zip(inputs.stacks, inputs.flags, inputs.roots, strict=True)
    for i, (x, flags, roots) in enumerate(several):
        # Scale before cutting into rows, which have many times as many elements.
        for part, a in row_blocks(x * inputs.scale, inputs.spec, numbers, flags):
            rows = None if flags is None else flags[part]
            if roots is not None:
                a = a * roots[part].reshape(-1)[... if rows is None else rows.reshape(-1), None]
            # If there are many groups, the outputs are far apart in memory.
            yield a, None if targets is None else np.ascontiguousarray(targets.block(i, part, rows))


def blocks_left_out(inputs: Inputs, numbers: int) -> Iterator[np.ndarray]:
    """Yield blocks of the excluded rows (G, k, P) within the pieces, as `raw_blocks` does."""
    for x, flags in zip(inputs.stacks, inputs.flags, strict=True):
        if flags is not None:
            for _, a in row_blocks(x * inputs.scale, inputs.spec, numbers, ~flags):
                yield a


def summed_moments(blocks: Iterable[Block], units: Units, constant: bool, outputs: int) -> Moments:
    """Sum the moments of blocks of rows of A and Y, which are in ``units``."""
    groups, columns = units.shift.shape
    total = replace(Moments.empty(groups, columns, outputs), units=units, constant=constant)
    for a, y in blocks:
        y = np.zeros((*a.shape[:2], 0)) if not outputs or y is None else y
        total += Moments.from_rows(a, y, units, constant)
    return total


def units_of(exponents: np.ndarray, shift: np.ndarray, targets: Targets | None) -> Units:
    """Return the units of columns, with exponents (G, C) and a shift (G, P), and of targets."""
    if targets is None:
        none = np.zeros((len(shift), 0))
        return Units(exponents, shift, none.astype(int), none)
    return Units(
        exponents, shift, targets.grouped(targets.exponents), targets.grouped(targets.shift)
    )


class RowOperator(DesignOperator):
    """A in blocks of rows, minus the column means if N contains a constant.

    It is used for small matrices, and if FFTs would lose digits. Large transients at the edge of a
    record make the columns of a channel very uneven. The rounding error of an FFT then exceeds the
    smaller columns.
    """

    def __init__(
        self, inputs: Inputs, nuisance: Nuisance, limits: Limits, targets: Targets | None = None
    ) -> None:
        self.inputs, self.nuisance, self.limits = inputs, nuisance, limits
        self.targets = targets
        self.exponents = inputs.column_exponents
        self.groups, self.columns = self.exponents.shape
        self.rows = inputs.rows
        larger = LARGER if self.groups >= MANY_GROUPS else 1
        self._block_numbers, self._most_kept = (
            larger * numbers for numbers in (limits.block_numbers, limits.kept_numbers)
        )

    @cached_property
    def shift(self) -> np.ndarray:
        """Column means (G, P), rounded. `products` includes the rounding error of their sum."""
        if not self.nuisance.constant:
            return np.zeros((self.groups, self.columns))
        return self._centred[0]

    @cached_property
    def _centred(self) -> tuple[np.ndarray, list[Block]]:
        """The shift if N contains a constant, and all shifted blocks, if they are few."""
        blocks = [*self.raw(self.targets)] if self._few else []
        shift = _column_sums(blocks or self.raw(None), self.exponents.shape) / self.rows
        return shift, [*self._less(shift, blocks, self.targets)]

    @cached_property
    def _totals(self) -> np.ndarray:
        """Sums (G, P) of the columns minus their shift."""
        return _column_sums(self._shifted(None), self.exponents.shape)

    @cached_property
    def means(self) -> np.ndarray:
        """Column means (G, P)."""
        return self.shift + self._totals / self.rows

    @cached_property
    def products(self) -> np.ndarray:
        """Products NᵀA (G, q, P)."""
        if not self.nuisance.count:
            return np.zeros((self.groups, 0, self.columns))
        return self._totals[:, None]

    def raw(self, targets: Targets | None) -> Iterator[Block]:
        """Yield blocks (G, k, P) and (G, k, Q) with confounds projected out, but not shifted."""
        blocks, first = raw_blocks(self.inputs, targets, self._block_numbers), 0
        for a, y in tracked(blocks, "rows of the design matrix", self.rows, size=_rows_of):
            if self.confounded is not None:
                live, rest = self._projected_once
                a = self.confounded.rows_without(a, first, self.confounded.by_column, rest)
                a, first = a * live[:, None], first + a.shape[1]
            yield a, y

    @cached_property
    def _projected_once(self) -> tuple[np.ndarray, np.ndarray]:
        """Which columns (G, P) are more than rounding without confounds, and NᵀA that is left.

        The products (q, G·P) are the rounding error of the first projection. Few rows, of which the
        confounds leave even fewer, would otherwise appear to have a higher rank.
        """
        assert self.confounded is not None
        confounded, first = self.confounded, 0
        squares, products = np.zeros((2, self.groups, self.columns)), np.zeros(())
        for a, _ in raw_blocks(self.inputs, None, self._block_numbers):
            left = confounded.rows_without(a, first, confounded.by_column)
            squares += [np.square(a).sum(1), np.square(left).sum(1)]
            by_row = left.swapaxes(0, 1).reshape(a.shape[1], -1)
            products = products + confounded.products(by_row, first)
            first += a.shape[1]
        return confounded.live(*squares), products

    @cached_property
    def confounded(self) -> Confounded | None:
        """Confounds in the row order of A, if there are any."""
        confounds = self.nuisance.confounds
        if confounds is None or not confounds.count:
            return None
        return Confounded(confounds, self.inputs)

    def _shifted(self, targets: Targets | None) -> Iterator[Block]:
        """Yield blocks minus the shift of every column and output; kept if they are few."""
        if targets is not None and targets is not self.targets:
            return self._less(self.shift, self.raw(targets), targets)
        if self._few:
            return iter(self._kept)
        return self._less(self.shift, self.raw(self.targets), self.targets)

    @property
    def _few(self) -> bool:
        """Whether all blocks are kept in memory."""
        width = self.columns + (0 if self.targets is None else self.targets.outputs)
        return self.rows * self.groups * width <= self._most_kept

    @cached_property
    def _kept(self) -> list[Block]:
        return self._centred[1] if self.nuisance.constant else [*self.raw(self.targets)]

    def _less(
        self, shift: np.ndarray, blocks: Iterable[Block], targets: Targets | None
    ) -> Iterator[Block]:
        """Yield blocks minus a shift (G, P) and the shift of the targets, if N has a constant."""
        constant = self.nuisance.constant
        for a, y in blocks:
            if constant:  # in place, unless the memory belongs to x
                a = np.subtract(a, shift[:, None], out=a if a.flags.writeable else None)
            if y is not None and targets is not None and constant:
                y = y - targets.grouped(targets.shift)[:, None]
            yield a, y

    def row_blocks(self, targets: Targets | None = None) -> Iterator[Block]:
        """Yield blocks of rows of M A (G, k, P) and of M y (G, k, Q)."""
        return (block for _, block in self._projected(targets, slice(None)))

    def _projected(
        self, targets: Targets | None = None, groups: slice | None = None
    ) -> Iterator[tuple[slice, Block]]:
        """Yield these blocks for ``groups``, by default in turn for groups that fit in a cache."""
        targets = self.targets if targets is None else targets
        mean, level = np.zeros((2, self.groups, 0, 0))
        if self.nuisance.count:  # N is a column of ones
            mean = self.projection.means
        if self.nuisance.count and targets is not None:
            level = self.output_sums(targets)[0] / self.projection.square
        for a, y in self._shifted(targets):
            for some in groups_at_once(a) if groups is None else [groups]:
                of_a = a[some] - mean[some] if mean.size else a[some]
                of_y = None if y is None else y[some] - level[some] if level.size else y[some]
                yield some, (of_a, of_y)

    @cached_property
    def column_norms(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A."""
        return self._norms(np.zeros((self.groups, self.columns)))

    @cached_property
    def spreads(self) -> np.ndarray:
        """Norms (G, P) of the columns minus their means."""
        if self.nuisance.constant:
            return self.column_norms
        return self._norms(self.means)

    def _norms(self, mean: np.ndarray) -> np.ndarray:
        """Return the norms (G, P) of the columns of `row_blocks` minus ``mean``."""
        squares, largest = np.zeros((2, self.groups, self.columns))

        def columns() -> Iterator[tuple[slice, np.ndarray]]:
            for some, (a, _) in self._projected():
                yield some, a - mean[some, None] if mean.any() else a

        for some, a in columns():
            squares[some] += np.einsum("gnp,gnp->gp", a, a)
        if squares.min() > 1e-200:
            return np.sqrt(squares)
        # The squares of a column far below the largest sample of its channel may have underflowed.
        for some, a in columns():
            largest[some] = np.maximum(largest[some], np.abs(a).max(1))
        high = np.where(largest > 0, np.frexp(largest)[1], 0)
        squares = np.zeros(squares.shape)
        for some, a in columns():
            scaled = np.ldexp(a, -high[some, None])
            squares[some] += np.einsum("gnp,gnp->gp", scaled, scaled)
        return np.ldexp(np.sqrt(squares), high)

    def moments(self, targets: Targets | None) -> Moments:
        """Return sums over the rows of A and Y, each minus its shift."""
        exponents = self.inputs.exponents.reshape(self.groups, -1)
        units = units_of(exponents, self.shift, targets)
        outputs = 0 if targets is None else targets.outputs
        return summed_moments(self._shifted(targets), units, self.nuisance.constant, outputs)

    def residual(self, w: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and AᵀM r (G, P, Q) for r = M(y − A w)."""
        squares, g = np.zeros((len(w), w.shape[2])), np.zeros_like(w)
        for some, (a, y) in self._projected(targets):
            assert y is not None
            r = a @ w[some]
            np.subtract(y, r, out=r)
            squares[some] += np.einsum("gnq,gnq->gq", r, r)
            g[some] += a.transpose(0, 2, 1) @ r
        return squares, g

    def misfit(self, w: np.ndarray, targets: Targets, offset: np.ndarray) -> ResidualSums:
        """Return the sums of r = y − A w − offset, for w (G, P, Q) and offset (G, Q)."""
        found = ResidualSums.empty(w)
        for a, y in self._shifted(targets):
            assert y is not None
            found += ResidualSums.of(a, y - a @ w - offset[:, None])
        return found

    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return M A w (n, Q) of one group, for w (P, Q)."""
        return np.concatenate([a[group] @ w for a, _ in self.row_blocks()])

    def product(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return A w (n, Q) of one group, for w (P, Q) and A minus its shift."""
        return np.concatenate([a[group] @ w for a, _ in self._shifted(None)])

    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """Return AᵀM r (P, Q) of one group, for rows r (n, Q)."""
        total, first = np.zeros((self.columns, r.shape[1])), 0
        for a, _ in self.row_blocks():
            last = first + a.shape[1]
            total += a[group].T @ r[first:last]
            first = last
        return total

    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return (M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q)."""
        pieces = (a[group] @ w for a, _ in self.row_blocks())
        return np.sum([seen.T @ seen for seen in pieces], axis=0)


def _rows_of(block: Block) -> int:
    return block[0].shape[1]


def _column_sums(blocks: Iterable[Block], shape: tuple[int, ...]) -> np.ndarray:
    """Return sums (G, P) over the rows of blocks."""
    total = np.zeros(shape)
    for a, _ in blocks:
        total += np.einsum("gnp->gp", a)
    return total
