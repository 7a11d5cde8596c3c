"""The design matrix by block FFTs: moments, residuals and gradients without its rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..cached import cached_property
from ..problem.nuisance import Nuisance
from ..problem.sizes import Limits
from ..problem.spec import ConvSpec
from . import gram, products
from .base import Block, DesignOperator
from .moments import Moments
from .overlap_save import Series, component_columns, component_taps, polyphase
from .records import Inputs, Targets
from .rows import RowOperator
from .windows import forward_records, normal_form

# Where the columns of one channel differ more than this in norm, a transient stands at an edge.
EVEN = 4.0
# A centred square below this share of the plain one has lost its digits.
KEPT_SHARE = 0.01
# Up to this many columns the Gram is formed at once; beyond, norms are had without it.
GRAM_FIRST = 800

Stack = tuple[np.ndarray, np.ndarray | None]
# A group, its part of x, and that of y beside it.
Part = tuple[int, Series, Series | None]


class FourierOperator(DesignOperator):
    """A by block FFTs of its records as polyphase components, without stride and dilation.

    Every window reads whole samples of the normal form, zeros of a padding included, so that taking
    a constant off a channel shifts its columns by it: N takes that up. The Gram, which costs one
    pass over x, is formed together with Aᵀy of the ``targets`` given, and once; other targets take
    a pass of their own.
    """

    def __init__(
        self, inputs: Inputs, nuisance: Nuisance, limits: Limits, targets: Targets | None = None
    ) -> None:
        self.inputs, self.nuisance, self.targets = inputs, nuisance, targets
        self.exponents = inputs.column_exponents
        self.groups, self.columns = self.exponents.shape
        self.rows = inputs.rows
        self._rows = RowOperator(inputs, nuisance, limits, targets)
        self.taps = component_taps(inputs.spec)
        self.channels = inputs.exponents.size // self.groups
        # Which columns of a component's design matrix are those of the kernel.
        self.places = component_columns(inputs.spec, self.channels)

    @cached_property
    def x_shift(self) -> np.ndarray:
        """A constant (Cin,) for each channel: the mean of what its columns hold, since padding and
        what windows skip count less, or not at all.
        """
        if not self.nuisance.constant:
            return np.zeros(self.inputs.exponents.size)
        plain = self._parts(np.zeros(self.inputs.exponents.size), None)
        sums = self._column_sums(plain, squares=False)
        return sums.reshape(self.groups, -1, self.channels).mean(1).reshape(-1) / self.rows

    @cached_property
    def shift(self) -> np.ndarray:
        """(G, P), that of every channel at all its taps."""
        taps = self.columns // self.channels
        repeated = np.tile(self.x_shift.reshape(self.groups, 1, -1), (1, taps, 1))
        return repeated.reshape(self.groups, -1)

    @cached_property
    def means(self) -> np.ndarray:
        """Column means (G, P)."""
        return self.shift + self.column_totals / self.rows

    @cached_property
    def parts(self) -> list[Part]:
        """Group, x and y of every polyphase component, with the targets given."""
        return self._parts(self.x_shift, self.targets)

    def parts_with(self, targets: Targets | None) -> list[Part]:
        """The same with any targets."""
        return self.parts if targets is self.targets else self._parts(self.x_shift, targets)

    def _parts(self, shift: np.ndarray, targets: Targets | None) -> list[Part]:
        spec, scale = self.inputs.spec, self.inputs.scale
        if targets is None:
            stacks: list[Stack] = [(x, None) for x in self.inputs.stacks]
            return [*_parts(stacks, spec, (scale, np.ones(spec.groups)), (shift, np.zeros(0)))]
        stacks = list(zip(self.inputs.stacks, targets.stacks, strict=True))
        return [*_parts(stacks, spec, (scale, targets.scale), (shift, targets.shift))]

    def _column_sums(self, parts: Sequence[Part], squares: bool) -> np.ndarray:
        total = np.zeros((self.groups, self.columns))
        for g, x, _ in parts:
            total[g] += gram.column_sums(x, self.taps, squares).reshape(-1)[self.places]
        return total

    @cached_property
    def sums(self) -> list[gram.Sums]:
        """`gram.Sums` of each group, with the targets given."""
        return self._gathered(self.parts)

    def _gathered(self, parts: Sequence[Part]) -> list[gram.Sums]:
        by_group: list[list[gram.Part]] = [[] for _ in range(self.groups)]
        for g, x, y in parts:
            by_group[g].append((x, y))
        found = [gram.moments(each, self.taps) for each in by_group]
        whole = np.array_equal(self.places, np.arange(len(found[0].gram)))
        return found if whole else [sums.of(self.places) for sums in found]

    @cached_property
    def products(self) -> np.ndarray:
        """AᵀN (G, P, q)."""
        return self.column_totals[:, :, None][:, :, : self.nuisance.count]

    @cached_property
    def column_totals(self) -> np.ndarray:
        """Sums (G, P) of the columns less their shift."""
        return self._column_sums(self.parts, squares=False)

    @cached_property
    def _column_squares(self) -> np.ndarray:
        if self.columns <= GRAM_FIRST:
            return np.stack([np.diagonal(s.gram) for s in self.sums])
        return self._column_sums(self.parts, squares=True)

    def _keeps_digits(self, centred: np.ndarray) -> bool:
        """Whether centring left its share of every column, or there was nothing in it."""
        squares = self._column_squares
        return bool(((centred > KEPT_SHARE * squares) | (squares == 0)).all())

    @cached_property
    def _centred_squares(self) -> np.ndarray:
        return self.projection.squares(self._column_squares)

    @cached_property
    def exact(self) -> bool:
        """Whether FFTs lose no digits here: the centred columns of every channel are alike in norm,
        and centring them cancels little.
        """
        centred = self._centred_squares
        by_tap = centred.reshape(self.groups, -1, self.channels)
        alike = by_tap.max(1) <= EVEN**2 * by_tap.min(1)
        return bool(alike.all()) and self._keeps_digits(centred)

    @cached_property
    def column_norms(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A."""
        return np.sqrt(self._centred_squares)

    @cached_property
    def spreads(self) -> np.ndarray:
        """Norms (G, P) of the columns less their means."""
        if self.nuisance.constant:
            return self.column_norms
        centred = self._column_squares - self.column_totals**2 / self.rows
        return np.sqrt(centred) if self._keeps_digits(centred) else self._rows.spreads

    def moments(self, targets: Targets | None) -> Moments:
        """Sums over the rows of A and Y, each less its shift."""
        outputs = 0 if targets is None else targets.outputs
        if targets is self.targets:
            sums, grams = self.sums, [s.gram for s in self.sums]
        else:
            sums, grams = self._gathered(self.parts_with(targets)), [s.gram for s in self.sums]
        zeros = np.zeros((self.groups, outputs))
        return Moments(
            grams[0][None] if self.groups == 1 else np.stack(grams),
            np.stack([s.rhs for s in sums]).reshape(self.groups, self.columns, outputs),
            self.column_totals,
            np.stack([s.outputs for s in sums]).reshape(zeros.shape),
            np.stack([s.squares for s in sums]).reshape(zeros.shape),
            self.rows,
            self.exponents,
            self.shift,
            zeros.astype(int) if targets is None else targets.grouped(targets.exponents),
            zeros if targets is None else targets.grouped(targets.shift),
        )

    def residual(self, w: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """‖r‖² (G, Q) and AᵀM r (G, P, Q) of r = M(y − A w)."""
        squares, g = np.zeros((len(w), w.shape[2])), np.zeros_like(w)
        sums = np.zeros((self.groups, self.nuisance.count, w.shape[2]))
        offset = np.zeros(squares.shape)
        if self.nuisance.constant:
            offset = self.projection.coefficients(self.output_sums(targets)[0], w)[:, 0]
        for i, x, y in self.parts_with(targets):
            assert y is not None
            found = products.misfit(x, y, self._in_component(w[i], x), offset[i])
            squares[i] += found.squares
            g[i] += found.gradient.reshape(-1, w.shape[2])[self.places]
            sums[i] += found.sums
        return squares, self.projection.gradient(g, sums)

    def output_sums(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """NᵀY (G, q, Q) and Σy² (G, Q), Y less its shift; of the targets given as they passed."""
        if targets is not self.targets or self.columns > GRAM_FIRST:
            return super().output_sums(targets)
        sums, squares = (np.stack([s[i] for s in self.sums]) for i in (2, 3))
        return sums[:, None][:, : self.nuisance.count], squares

    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """M A w (n, Q) of one group, for w (P, Q)."""
        outputs = w.shape[1]
        stacks = [self._rows_of(x, outputs) for x in self.inputs.stacks]
        for x, out in self._parts_of(group, stacks):
            out.data[...] = products.forward(x, self._in_component(w, x))
        mine = slice(group * outputs, (group + 1) * outputs)
        found = np.concatenate([y[..., mine].reshape(-1, outputs) for y in stacks])
        if self.nuisance.constant:
            found -= self.projection.means[group, 0] @ w
        return found

    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """AᵀM r (P, Q) of one group, for rows r (n, Q)."""
        outputs, first, stacks = r.shape[1], 0, []
        mine = slice(group * outputs, (group + 1) * outputs)
        for x in self.inputs.stacks:
            y = self._rows_of(x, outputs)
            last = first + math.prod(y.shape[:-1])
            y[..., mine] = r[first:last].reshape(*y.shape[:-1], outputs)
            stacks.append(y)
            first = last
        total = np.zeros((self.columns, outputs))
        for x, out in self._parts_of(group, stacks):
            total += products.adjoint(x, out, self.taps).reshape(-1, outputs)[self.places]
        if self.nuisance.constant:
            total -= self.projection.means[group].T * r.sum(0)
        return total

    def _rows_of(self, x: np.ndarray, outputs: int) -> np.ndarray:
        """Room (N, *T, groups·outputs) for the rows of a stack, ``outputs`` of each group."""
        rows = self.inputs.spec.normal.output_shape(x.shape[1:-1])
        return np.empty((len(x), *rows, self.groups * outputs))

    def _parts_of(
        self, group: int, stacks: Sequence[np.ndarray]
    ) -> Iterator[tuple[Series, Series]]:
        """x and outputs of every polyphase component of one group, the latter views of stacks."""
        outputs = stacks[0].shape[-1]
        scales = self.inputs.scale, np.ones(outputs)
        pairs = list(zip(self.inputs.stacks, stacks, strict=True))
        for g, x, out in _parts(pairs, self.inputs.spec, scales, (self.x_shift, np.zeros(outputs))):
            if g == group:
                assert out is not None
                yield x, out

    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """(M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q)."""
        offset = self.projection.means[group, 0] @ w if self.nuisance.constant else 0.0
        total = np.zeros((w.shape[1], w.shape[1]))
        for i, x, _ in self.parts:
            if i == group:
                total += products.gram_of_products(x, self._in_component(w, x), offset)
        return total

    def row_blocks(self, targets: Targets | None = None) -> Iterator[Block]:
        """Blocks of rows of M A (G, k, P) and of M y (G, k, Q), formed from the records."""
        return self._rows.row_blocks(targets)

    def _in_component(self, w: np.ndarray, x: Series) -> np.ndarray:
        return _in_component(w, x, self.taps, self.places)


def _in_component(
    w: np.ndarray, x: Series, taps: tuple[int, ...], columns: np.ndarray
) -> np.ndarray:
    """w (P, Q) as the kernel (*K, C, Q) of a component, zero at the taps that it has besides."""
    whole = np.zeros((*taps, x.scale.size, w.shape[-1]))
    whole.reshape(-1, w.shape[-1])[columns] = w
    return whole


def predicted(
    records: Sequence[np.ndarray], kernel: np.ndarray, bias: np.ndarray, spec: ConvSpec
) -> list[np.ndarray]:
    """y ``(*T, Cout)`` of each record, as `forward_records`; by FFTs where kernels are long.

    In float64, from 64 taps and 2²⁴ numbers of the design matrix on; good to rounding beside the
    largest samples within a kernel's reach.
    """
    outputs = []
    for x in records:
        rows = spec.rows(x.shape[:-1])
        long = math.prod(spec.kernel_size) >= 64 and rows * kernel[..., 0].size > 2**24
        if not long or kernel.dtype != np.float64:
            outputs += forward_records([x], kernel, bias, spec)
            continue
        y = np.empty((1, *spec.output_shape(x.shape[:-1]), kernel.shape[-1]))
        # Powers of two against the sums of an FFT, which leave float64 before y does.
        high, size = (int(np.frexp(np.abs(a).max())[1]) for a in (x, kernel))
        inputs, outs = x.shape[-1], kernel.shape[-1]
        scales = np.full(inputs, np.ldexp(1.0, -max(high, -1020))), np.ones(outs)
        taps, columns = component_taps(spec), component_columns(spec, kernel.shape[-2])
        flat = np.ldexp(kernel, -size).reshape(-1, spec.groups, outs // spec.groups)
        stack = (normal_form(x[None], spec), y)
        for g, part, out in _parts([stack], spec, scales, (np.zeros(inputs), np.zeros(outs))):
            assert out is not None
            out.data[...] = products.forward(part, _in_component(flat[:, g], part, taps, columns))
        outputs.append(np.ldexp(y[0], max(high, -1020) + size) + bias)
    return outputs


def _parts(
    stacks: Sequence[Stack],
    spec: ConvSpec,
    scales: tuple[np.ndarray, np.ndarray],
    shifts: tuple[np.ndarray, np.ndarray],
) -> Iterator[tuple[int, Series, Series | None]]:
    """(group, x, y) of every polyphase component, read in those scales less those shifts."""
    inputs, outputs = (s.size // spec.groups for s in scales)
    for x, y in stacks:
        for seen, out in polyphase(Series(x, scales[0], shifts[0]), y, spec):
            phases = seen.scale.size // scales[0].size
            given = None if out is None else Series(out, scales[1], shifts[1])
            for g in range(spec.groups):
                mine: slice | np.ndarray = slice(g * inputs, (g + 1) * inputs)
                if phases > 1:
                    own = np.arange(phases)[:, None] * scales[0].size + g * inputs
                    mine = (own + np.arange(inputs)).reshape(-1)
                of_group = slice(g * outputs, (g + 1) * outputs)
                yield g, seen.channels(mine), None if given is None else given.channels(of_group)
