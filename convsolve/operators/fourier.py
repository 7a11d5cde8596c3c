"""Signals: moments, residuals and gradients of a problem without its design matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from ..problem.channels import by_channel
from ..problem.spec import ConvSpec
from . import gram as toeplitz
from . import products
from .gram import Sums
from .moments import Moments
from .overlap_save import Series, comb_columns, comb_taps, combs
from .windows import forward_records, normal_form

# Where the columns of one channel differ more than this in norm, a burst stands at an edge.
EVEN = 4.0
# A centred square below this share of the plain one has lost its digits.
KEPT_SHARE = 0.01
# Up to so many columns the Gram is formed at once; beyond, norms are had without it.
GRAM_FIRST = 800

Stack = tuple[np.ndarray, np.ndarray | None]


class Signals:
    """The records of a problem as combs without stride and dilation, channel means taken off.

    Every window reads whole samples of the normal form, zeros of a padding included, so that taking
    a mean off a channel shifts its columns by it and changes nothing but the bias. Made from stacks
    x (N, *E, Cin) and y (N, *T, Cout), read in units of ``x_scale`` and ``y_scale``. Arrays of
    columns are (groups, P), those of outputs (groups, Q).
    """

    def __init__(
        self,
        stacks: Sequence[Stack],
        spec: ConvSpec,
        x_scale: np.ndarray,
        y_scale: np.ndarray,
        bias: bool,
    ) -> None:
        self.bias = bias
        self.groups, self.taps = spec.groups, comb_taps(spec)
        inputs, self.outputs = x_scale.size // spec.groups, y_scale.size // spec.groups
        self.columns = comb_columns(spec, inputs)
        self.n = sum(math.prod(spec.normal.output_shape(x.shape[1:-1])) * len(x) for x, _ in stacks)
        scales, plain = (x_scale, y_scale), (np.zeros(x_scale.size), np.zeros(y_scale.size))
        # (group, x, y) of every comb; y None where there is none.
        self.parts = [*_parts(stacks, spec, scales, plain)]
        self.x_mean, self.y_mean = plain
        if bias:
            # Of what columns hold, since padding and what windows skip count less, or not at all.
            means = self._column_sums(squares=False).reshape(self.groups, -1, inputs).mean(1)
            self.x_mean = means.reshape(-1) / self.n
            ys = [y for _, y in stacks if y is not None]
            if ys:
                totals = [by_channel(np.add, y, lambda part: part * y_scale) for y in ys]
                self.y_mean = np.sum(totals, axis=0) / self.n
            self.parts = [*_parts(stacks, spec, scales, (self.x_mean, self.y_mean))]

    @cached_property
    def sums(self) -> list[Sums]:
        """`toeplitz.Sums` of each group."""
        by_group: list[list[toeplitz.Part]] = [[] for _ in range(self.groups)]
        for g, x, y in self.parts:
            by_group[g].append((x, y))
        found = [toeplitz.moments(parts, self.taps) for parts in by_group]
        whole = np.array_equal(self.columns, np.arange(len(found[0].gram)))
        return found if whole else [sums.of(self.columns) for sums in found]

    @property
    def _gram_first(self) -> bool:
        return self.columns.size <= GRAM_FIRST

    def _column_sums(self, squares: bool) -> np.ndarray:
        total = np.zeros((self.groups, self.columns.size))
        for g, x, _ in self.parts:
            total[g] += toeplitz.column_sums(x, self.taps, squares).reshape(-1)[self.columns]
        return total

    @cached_property
    def _column_totals(self) -> np.ndarray:
        return self._column_sums(squares=False)

    @cached_property
    def _column_squares(self) -> np.ndarray:
        if self._gram_first:
            return np.stack([np.diagonal(s.gram) for s in self.sums])
        return self._column_sums(squares=True)

    @cached_property
    def _outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums and sums of squares of the outputs."""
        if self.parts[0][2] is None:
            return np.zeros((self.groups, self.outputs)), np.zeros((self.groups, self.outputs))
        if self._gram_first:
            found = [(s.outputs, s.squares) for s in self.sums]
            sums, squares = (np.stack(each) for each in zip(*found, strict=True))
            return sums, squares
        sums, squares = np.zeros((2, self.groups, self.outputs))
        for g, _, y in self.parts:
            if y is not None:
                out = y.part(0, y.data.shape[1])
                sums[g] += by_channel(np.add, out)
                squares[g] += by_channel(np.add, out, np.square)
        return sums, squares

    def _centred_squares(self) -> np.ndarray:
        return self._column_squares - self._column_totals**2 / self.n

    def _keeps_digits(self, centred: np.ndarray) -> bool:
        """Whether centring left its share of every column, or there was nothing in it."""
        squares = self._column_squares
        return bool(((centred > KEPT_SHARE * squares) | (squares == 0)).all())

    @property
    def even(self) -> bool:
        """Whether the centred columns of every channel are alike in norm, and no digit was lost."""
        centred = self._centred_squares() if self.bias else self._column_squares
        by_tap = centred.reshape(self.groups, -1, self.x_mean.size // self.groups)
        alike = by_tap.max(1) <= EVEN**2 * by_tap.min(1)
        return bool(alike.all()) and self._keeps_digits(centred)

    @cached_property
    def column_norms(self) -> np.ndarray:
        """Norms (groups, P) of the columns, centred if there is a bias."""
        return np.sqrt(self._centred_squares() if self.bias else self._column_squares)

    def spreads(self) -> np.ndarray | None:
        """Norms (groups, P) of the columns less their means; None where that would cancel."""
        centred = self._centred_squares()
        return np.sqrt(centred) if self._keeps_digits(centred) else None

    @property
    def output_norms(self) -> np.ndarray:
        """Norms (groups, Q) of the outputs, centred if there is a bias."""
        sums, squares = self._outputs
        return np.sqrt(np.maximum(squares - sums**2 / self.n, 0.0) if self.bias else squares)

    @property
    def centre(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Column means of A and of y, each as what was taken off and what that leaves over."""
        taps = self.columns.size // (self.x_mean.size // self.groups)
        a_mean = np.tile(self.x_mean.reshape(self.groups, 1, -1), (1, taps, 1))
        found = a_mean.reshape(self.groups, -1), self.y_mean.reshape(self.groups, -1)
        rests = self._column_totals / self.n, self._outputs[0] / self.n
        return found[0], rests[0], found[1], rests[1]

    def moments(self, exponents: np.ndarray, out_exponents: np.ndarray) -> Moments:
        """The moments of the rows less their channel means."""
        rhs = [s.rhs if s.rhs.size else np.zeros((len(s.rhs), self.outputs)) for s in self.sums]
        grams = [s.gram for s in self.sums]
        gram = grams[0][None] if self.groups == 1 else np.stack(grams)
        a_mean, _, y_mean, _ = self.centre
        return Moments(
            gram,
            np.stack(rhs),
            self._column_totals,
            *self._outputs,
            self.n,
            exponents,
            a_mean,
            out_exponents,
            y_mean,
        )

    def misfit(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σr² (groups, Q) and Aᵀr (groups, P, Q) of r = y - A w, centred if there is a bias."""
        squares, g = np.zeros((len(w), w.shape[2])), np.zeros_like(w)
        offset = np.zeros(squares.shape)
        if self.bias:
            _, a_rest, _, y_rest = self.centre
            offset = y_rest - np.einsum("gp,gpq->gq", a_rest, w)
        for i, x, y in self.parts:
            assert y is not None
            found = products.misfit(x, y, self._on_comb(w[i], x), offset[i])
            squares[i] += found.squares
            g[i] += found.gradient.reshape(-1, w.shape[2])[self.columns]
            if self.bias:
                g[i] -= np.outer(a_rest[i], found.sums)
        return squares, g

    def gram_of_products(self, group: int, w: np.ndarray) -> np.ndarray:
        """(A w)ᵀ(A w) (Q, Q) of one group for w (P, Q), centred if there is a bias."""
        offset = self.centre[1][group] @ w if self.bias else 0.0
        total = np.zeros((w.shape[1], w.shape[1]))
        for i, x, _ in self.parts:
            if i == group:
                total += products.gram_of_products(x, self._on_comb(w, x), offset)
        return total

    def _on_comb(self, w: np.ndarray, x: Series) -> np.ndarray:
        return _on_comb(w, x, self.taps, self.columns)


def _on_comb(w: np.ndarray, x: Series, taps: tuple[int, ...], columns: np.ndarray) -> np.ndarray:
    """w (P, Q) as the kernel (*K, C, Q) of a comb, zero at taps that it has besides."""
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
        taps, columns = comb_taps(spec), comb_columns(spec, kernel.shape[-2])
        flat = np.ldexp(kernel, -size).reshape(-1, spec.groups, outs // spec.groups)
        stack = (normal_form(x[None], spec), y)
        for g, part, out in _parts([stack], spec, scales, (np.zeros(inputs), np.zeros(outs))):
            assert out is not None
            out.data[...] = products.forward(part, _on_comb(flat[:, g], part, taps, columns))
        outputs.append(np.ldexp(y[0], max(high, -1020) + size) + bias)
    return outputs


def _parts(
    stacks: Sequence[Stack],
    spec: ConvSpec,
    scales: tuple[np.ndarray, np.ndarray],
    shifts: tuple[np.ndarray, np.ndarray],
) -> Iterator[tuple[int, Series, Series | None]]:
    """(group, x, y) of every comb of every stack, read in those scales less those shifts."""
    inputs, outputs = (s.size // spec.groups for s in scales)
    for x, y in stacks:
        for seen, out in combs(Series(x, scales[0], shifts[0]), y, spec):
            phases = seen.scale.size // scales[0].size
            given = None if out is None else Series(out, scales[1], shifts[1])
            for g in range(spec.groups):
                mine: slice | np.ndarray = slice(g * inputs, (g + 1) * inputs)
                if phases > 1:
                    own = np.arange(phases)[:, None] * scales[0].size + g * inputs
                    mine = (own + np.arange(inputs)).reshape(-1)
                of_group = slice(g * outputs, (g + 1) * outputs)
                yield g, seen.channels(mine), None if given is None else given.channels(of_group)
