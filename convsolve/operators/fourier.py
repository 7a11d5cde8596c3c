"""The design matrix by block FFTs: moments, residuals and gradients without forming rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..cached import cached_property
from ..problem.nuisance import Nuisance
from ..problem.sizes import Limits
from ..problem.spec import ConvSpec
from . import gram, products
from .base import Block, DesignOperator
from .moments import Moments, NuisanceSums, ResidualSums
from .overlap_save import Series, component_columns, component_taps, polyphase
from .projection import Confounded
from .records import Inputs, Targets
from .rows import RowOperator, blocks_left_out, units_of

# If the norms of the columns of one channel differ by more than this, it has a transient at an
# edge.
EVEN = 4.0
# A centred square below this share of the square itself has lost its digits.
KEPT_SHARE = 0.01
# A difference of sums is used if it cancels at most this share of them.
MOST_CANCELLED = 0.5
# Up to this many columns the Gram is formed at once. Beyond, norms are computed without it.
GRAM_FIRST = 800

# x of some records, their y, and flags of the rows used in the fit (None for all).
Stack = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


class Part(NamedTuple):
    """One group of a polyphase component.

    Attributes:
        group: index of the group.
        x: its part of x.
        y: its part of y, or None.
        rows: (N, *T, 1), 1 for rows used in the fit and 0 for others; None if all are used.
    """

    group: int
    x: Series
    y: Series | None
    rows: Series | None


class FourierOperator(DesignOperator):
    """A by block FFTs of its records as polyphase components, without stride and dilation.

    Every window reads whole samples of the normal form, including zeros of a padding. Subtracting a
    constant from a channel therefore shifts its columns by this constant, and N takes up the shift.
    The Gram takes one pass over x. It is formed once, together with Aᵀy of the given ``targets``.
    Other targets take a separate pass.
    """

    def __init__(
        self, inputs: Inputs, nuisance: Nuisance, limits: Limits, targets: Targets | None = None
    ) -> None:
        self.inputs, self.nuisance, self.targets = inputs, nuisance, targets
        self.limits = limits
        self.exponents = inputs.column_exponents
        self.groups, self.columns = self.exponents.shape
        self.rows = inputs.rows
        self._rows = RowOperator(inputs, nuisance, limits, targets)
        self.taps = component_taps(inputs.spec)
        self.channels = inputs.exponents.size // self.groups
        # Indices of the columns of the kernel in the design matrix of a component.
        self.places = component_columns(inputs.spec, self.channels)
        self.masked = inputs.masked

    @cached_property
    def x_shift(self) -> np.ndarray:
        """A constant (Cin,) per channel: the mean of its columns.

        It differs from the mean of the channel, because padding and samples skipped by windows have
        less weight or none.
        """
        if not self.nuisance.constant:
            return np.zeros(self.inputs.exponents.size)
        plain = self._parts(np.zeros(self.inputs.exponents.size), None)
        sums = self._column_sums(plain, squares=False)
        return (
            sums.reshape(self.groups, -1, self.channels).mean(1).reshape(-1) / self.inputs.windows
        )

    @cached_property
    def shift(self) -> np.ndarray:
        """Shift (G, P): the shift of every channel at all its taps."""
        taps = self.columns // self.channels
        repeated = np.tile(self.x_shift.reshape(self.groups, 1, -1), (1, taps, 1))
        return repeated.reshape(self.groups, -1)

    @cached_property
    def means(self) -> np.ndarray:
        """Column means (G, P)."""
        if self.confounded is not None:
            return self._sums_left / self.rows
        return self.shift + self.column_totals / self.rows

    @cached_property
    def _sums_left(self) -> np.ndarray:
        """Sums (G, P) of the columns of M A."""
        assert self.confounded is not None
        if self.confounded.spans_ones:
            return np.zeros((self.groups, self.columns))
        return self.column_totals - self.confounded.of_ones @ self.products

    @cached_property
    def parts(self) -> list[Part]:
        """The parts of every polyphase component, with the given targets."""
        return self._parts(self.x_shift, self.targets)

    def parts_with(self, targets: Targets | None) -> list[Part]:
        """Return the parts of every polyphase component with any targets."""
        return self.parts if targets is self.targets else self._parts(self.x_shift, targets)

    def _parts(self, shift: np.ndarray, targets: Targets | None) -> list[Part]:
        spec, scale = self.inputs.spec, self.inputs.scale
        x, flags = self.inputs.stacks, self.inputs.flags
        if targets is None:
            stacks: list[Stack] = [(a, None, f) for a, f in zip(x, flags, strict=True)]
            return [
                *component_parts(stacks, spec, (scale, np.ones(spec.groups)), (shift, np.zeros(0)))
            ]
        stacks = list(zip(x, targets.stacks, flags, strict=True))
        return [*component_parts(stacks, spec, (scale, targets.scale), (shift, targets.shift))]

    def _left_out(self) -> Iterator[np.ndarray]:
        """Yield blocks (G, k, P) of the excluded rows minus their shift; y is zero there."""
        for a in blocks_left_out(self.inputs, self.limits.block_numbers):
            yield a - self.shift[:, None]

    @cached_property
    def _left_out_sums(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Sums and squares (G, P) of the columns over the excluded rows.

        The third item is AᵀA of these rows if it is formed at once, else None.
        """
        sums, squares = np.zeros((2, self.groups, self.columns))
        grams = None
        if self.columns <= GRAM_FIRST:
            grams = np.zeros((self.groups, self.columns, self.columns))
        for a in self._left_out():
            sums += a.sum(1)
            squares += np.einsum("gnp,gnp->gp", a, a)
            if grams is not None:
                _add_grams(grams, a)
        return sums, squares, grams

    @cached_property
    def _left_out_grams(self) -> np.ndarray:
        """AᵀA (G, P, P) of the excluded rows."""
        grams = self._left_out_sums[2]
        if grams is None:
            grams = np.zeros((self.groups, self.columns, self.columns))
            for a in self._left_out():
                _add_grams(grams, a)
        return grams

    def _column_sums(self, parts: Sequence[Part], squares: bool) -> np.ndarray:
        total = np.zeros((self.groups, self.columns))
        for part in parts:
            found = gram.column_sums(part.x, self.taps, squares)
            total[part.group] += found.reshape(-1)[self.places]
        return total

    @cached_property
    def sums(self) -> list[gram.Sums]:
        """`gram.Sums` of each group, with the given targets."""
        return self._gathered(self.parts)

    def _gathered(self, parts: Sequence[Part]) -> list[gram.Sums]:
        by_group: list[list[gram.Part]] = [[] for _ in range(self.groups)]
        for part in parts:
            by_group[part.group].append((part.x, part.y))
        found = [gram.moments(each, self.taps) for each in by_group]
        if not np.array_equal(self.places, np.arange(len(found[0].gram))):
            found = [sums.of(self.places) for sums in found]
        if self.masked:
            for sums, left_out in zip(found, self._left_out_grams, strict=True):
                sums.gram[...] -= left_out
        return found

    @cached_property
    def products(self) -> np.ndarray:
        """Products NᵀA (G, q, P)."""
        if self.confounded is not None:
            return self.confounded.crossed.swapaxes(1, 2)
        return self.column_totals[:, None][:, : self.nuisance.count]

    @cached_property
    def confounded(self) -> Confounded | None:
        """Orthonormal columns of N in the row order of A, if N is more than a constant."""
        confounds = self.nuisance.confounds
        if confounds is None or not confounds.count:
            return None
        return Confounded(confounds, self.inputs, self._adjoint)

    @cached_property
    def column_totals(self) -> np.ndarray:
        """Sums (G, P) of the columns minus their shift."""
        found = self._column_sums(self.parts, squares=False)
        return found - self._left_out_sums[0] if self.masked else found

    @cached_property
    def _column_squares(self) -> np.ndarray:
        if self.columns <= GRAM_FIRST:
            return np.stack([np.diagonal(s.gram) for s in self.sums])
        found = self._column_sums(self.parts, squares=True)
        return found - self._left_out_sums[1] if self.masked else found

    def _keeps_digits(self, centred: np.ndarray) -> bool:
        """Return whether enough of every column remains after subtracting means and excluded rows.

        Columns of zeros do not count.
        """
        squares = self._column_squares
        if self.masked:
            squares = squares + self._left_out_sums[1]
        return bool(((centred > KEPT_SHARE * squares) | (squares == 0)).all())

    @cached_property
    def _centred_squares(self) -> np.ndarray:
        return self.projection.squares(self._column_squares)

    @cached_property
    def exact(self) -> bool:
        """Whether FFTs lose no digits.

        This is the case if the centred columns of every channel have similar norms and centring
        them cancels little.
        """
        left, whole = self._centred_squares, self._column_squares
        by_tap = whole if self.confounded is not None else left
        by_tap = by_tap.reshape(self.groups, -1, self.channels)
        alike = by_tap.max(1) <= EVEN**2 * by_tap.min(1)
        if (
            self.confounded is not None
            and not (self.confounded.live(whole, left) | (whole == 0)).all()
        ):
            return False
        return bool(alike.all()) and self._keeps_digits(left)

    @cached_property
    def column_norms(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A."""
        return np.sqrt(self._centred_squares)

    @cached_property
    def spreads(self) -> np.ndarray:
        """Norms (G, P) of the columns minus their means."""
        if self.nuisance.constant:
            return self.column_norms
        centred = self._centred_squares - self.rows * (self.means - self.shift) ** 2
        return np.sqrt(centred) if self._keeps_digits(centred) else self._rows.spreads

    def moments(self, targets: Targets | None) -> Moments:
        """Return sums over the rows of A and Y, each minus its shift."""
        outputs = 0 if targets is None else targets.outputs
        grams = [s.gram for s in self.sums]
        sums = self.sums if targets is self.targets else self._gathered(self.parts_with(targets))
        zeros = np.zeros((self.groups, outputs))
        return Moments(
            grams[0][None] if self.groups == 1 else np.stack(grams),
            np.stack([s.rhs for s in sums]).reshape(self.groups, self.columns, outputs),
            self.column_totals,
            np.stack([s.outputs for s in sums]).reshape(zeros.shape),
            np.stack([s.squares for s in sums]).reshape(zeros.shape),
            self.rows,
            units_of(self.exponents[:, : self.channels], self.shift, targets),
            self.nuisance.constant,
            self._nuisance_sums(targets),
        )

    def _nuisance_sums(self, targets: Targets | None) -> tuple[NuisanceSums, ...]:
        """Return the products with orthonormal columns of N, which y is orthogonal to."""
        if self.confounded is None:
            return ()
        outputs = 0 if targets is None else targets.outputs
        count, none = self.confounded.count, np.zeros((self.groups, self.confounded.count, outputs))
        exponents = self.exponents[:, : self.channels]
        of_ones, out = self.confounded.of_ones, none[:, 0].astype(int)
        places = np.arange(count)
        return (NuisanceSums(places, count, self.products, none, of_ones, exponents, out),)

    def residual(self, w: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and AᵀM r (G, P, Q) for r = M(y − A w), in one pass over the data.

        Confounds are orthogonal to y, so that sums over the rows of y − A w need only a correction
        by NᵀA w. Rows are projected if the correction would cancel the sums.
        """
        if self.confounded is not None:
            return self._residual_beside(self.confounded, w, targets)
        offset = np.zeros((len(w), w.shape[2]))
        if self.nuisance.constant:
            offset = self.projection.coefficients(self.output_sums(targets)[0], w)[:, 0]
        squares, g, sums = self.misfit(w, targets, offset)
        return squares, self.projection.cross(g, sums[:, None][:, : self.nuisance.count])

    def _residual_beside(
        self, confounded: Confounded, w: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        squares, g = np.zeros((len(w), w.shape[2])), np.zeros_like(w)
        found, spanned = self.misfit(w, targets, squares), self.products @ w
        fit = np.square(spanned).sum(1)
        if (fit <= MOST_CANCELLED * found.squares).all():
            return found.squares - fit, found.gradient + self.products.swapaxes(1, 2) @ spanned
        for i in range(self.groups):
            r = confounded.projected(targets.rows(i) - self.product(i, w[i]))
            squares[i], g[i] = np.einsum("nq,nq->q", r, r), self._adjoint(i, r)
        return squares, g

    def misfit(self, w: np.ndarray, targets: Targets, offset: np.ndarray) -> ResidualSums:
        """Return the sums of r = y − A w − offset, for w (G, P, Q) and offset (G, Q)."""
        found = ResidualSums.empty(w)
        for i, x, y, rows in self.parts_with(targets):
            assert y is not None
            part = products.misfit(x, y, self._in_component(w[i], x), offset[i], rows)
            found.squares[i] += part.squares
            found.gradient[i] += part.gradient.reshape(-1, w.shape[2])[self.places]
            found.sums[i] += part.sums
        return found

    def output_sums(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return NᵀY (G, q, Q) and Σy² (G, Q) of shifted Y; reused for the given targets."""
        if self.confounded is not None:
            return np.zeros((self.groups, self.confounded.count, targets.outputs)), targets.squares
        if targets is not self.targets or self.columns > GRAM_FIRST:
            return super().output_sums(targets)
        sums, squares = (np.stack([s[i] for s in self.sums]) for i in (2, 3))
        return sums[:, None][:, : self.nuisance.count], squares

    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return M A w (n, Q) of one group, for w (P, Q)."""
        found = self.product(group, w)
        if self.nuisance.constant:
            found -= self.projection.means[group, 0] @ w
        return found if self.confounded is None else self.confounded.projected(found)

    def product(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return A w (n, Q) of one group, for w (P, Q) and A minus its shift."""
        outputs = w.shape[1]
        stacks = [self._rows_of(x, outputs) for x in self.inputs.stacks]
        for x, out in self._parts_of(group, stacks):
            out.data[...] = products.forward(x, self._in_component(w, x))
        mine = slice(group * outputs, (group + 1) * outputs)
        of_group = (y[..., mine] for y in stacks)
        pairs = zip(of_group, self.inputs.flags, strict=True)
        return np.concatenate([y.reshape(-1, outputs) if f is None else y[f] for y, f in pairs])

    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """Return AᵀM r (P, Q) of one group, for rows r (n, Q)."""
        if self.confounded is not None:
            return self._adjoint(group, self.confounded.projected(r))
        total = self._adjoint(group, r)
        if self.nuisance.constant:
            total -= self.projection.means[group].T * r.sum(0)
        return total

    def _adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """Return Aᵀr (P, Q) of one group, for rows r (n, Q) and A minus its shift."""
        outputs, first, stacks = r.shape[1], 0, []
        mine = slice(group * outputs, (group + 1) * outputs)
        for x, flags in zip(self.inputs.stacks, self.inputs.flags, strict=True):
            y = self._rows_of(x, outputs)
            last = first + (y[..., 0].size if flags is None else int(np.count_nonzero(flags)))
            if flags is None:
                y[..., mine] = r[first:last].reshape(*y.shape[:-1], outputs)
            else:
                y[..., mine] = 0.0
                y[flags, mine] = r[first:last]
            stacks.append(y)
            first = last
        total = np.zeros((self.columns, outputs))
        for x, out in self._parts_of(group, stacks):
            total += products.adjoint(x, out, self.taps).reshape(-1, outputs)[self.places]
        return total

    def _rows_of(self, x: np.ndarray, outputs: int) -> np.ndarray:
        """Return an empty array (N, *T, groups·outputs) for ``outputs`` per group of a stack."""
        rows = self.inputs.spec.normal.output_shape(x.shape[1:-1])
        return np.empty((len(x), *rows, self.groups * outputs))

    def _parts_of(
        self, group: int, stacks: Sequence[np.ndarray]
    ) -> Iterator[tuple[Series, Series]]:
        """Yield x and outputs of every component of one group; outputs are views of stacks."""
        outputs = stacks[0].shape[-1]
        scales = self.inputs.scale, np.ones(outputs)
        given = [(a, y, None) for a, y in zip(self.inputs.stacks, stacks, strict=True)]
        shifts = self.x_shift, np.zeros(outputs)
        for g, x, out, _ in component_parts(given, self.inputs.spec, scales, shifts):
            if g == group:
                assert out is not None
                yield x, out

    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return (M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q)."""
        if self.confounded is not None:
            seen = self.forward(group, w)
            return seen.T @ seen
        offset = self.projection.means[group, 0] @ w if self.nuisance.constant else 0.0
        total = np.zeros((w.shape[1], w.shape[1]))
        for i, x, _, rows in self.parts:
            if i == group:
                total += products.gram_of_products(x, self._in_component(w, x), offset, rows)
        return total

    def row_blocks(self, targets: Targets | None = None) -> Iterator[Block]:
        """Return blocks of rows of M A (G, k, P) and of M y (G, k, Q), formed from the records."""
        return self._rows.row_blocks(targets)

    def _in_component(self, w: np.ndarray, x: Series) -> np.ndarray:
        return in_component(w, x, self.taps, self.places)


def in_component(
    w: np.ndarray, x: Series, taps: tuple[int, ...], columns: np.ndarray
) -> np.ndarray:
    """Return w (P, Q) as the kernel (*K, C, Q) of a component, zero at its additional taps."""
    whole = np.zeros((*taps, x.scale.size, w.shape[-1]))
    whole.reshape(-1, w.shape[-1])[columns] = w
    return whole


def component_parts(
    stacks: Sequence[Stack],
    spec: ConvSpec,
    scales: tuple[np.ndarray, np.ndarray],
    shifts: tuple[np.ndarray, np.ndarray],
) -> Iterator[Part]:
    """Yield the parts of every polyphase component, with these scales and shifts."""
    inputs, outputs = (s.size // spec.groups for s in scales)
    for x, y, flags in stacks:
        series = Series(x, scales[0], shifts[0])
        kept = None if flags is None else flags[..., None]
        of_rows = itertools.repeat((None, None)) if kept is None else polyphase(series, kept, spec)
        for (seen, out), (_, rows) in zip(polyphase(series, y, spec), of_rows, strict=False):
            phases = seen.scale.size // scales[0].size
            given = None if out is None else Series(out, scales[1], shifts[1])
            counted = None if rows is None else Series(rows, np.ones(1), np.zeros(1))
            for g in range(spec.groups):
                mine: slice | np.ndarray = slice(g * inputs, (g + 1) * inputs)
                if phases > 1:
                    own = np.arange(phases)[:, None] * scales[0].size + g * inputs
                    mine = (own + np.arange(inputs)).reshape(-1)
                of_group = slice(g * outputs, (g + 1) * outputs)
                y_of_group = None if given is None else given.channels(of_group)
                yield Part(g, seen.channels(mine), y_of_group, counted)


def _add_grams(grams: np.ndarray, rows: np.ndarray) -> None:
    """Add AᵀA of some rows (G, k, P) to ``grams``."""
    for gram_of, a in zip(grams, rows, strict=True):
        gram_of += a.T @ a  # the product of one array with itself takes half the time in BLAS
