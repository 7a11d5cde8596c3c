"""Sums over the rows of a chunk by block FFTs of its records, without forming rows.

Records are split into polyphase components without stride and dilation. Every window reads whole
samples of the normal form, including zeros of a padding. Subtracting a constant from a channel
therefore shifts its columns by this constant, which the columns N take up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..problem.spec import ConvSpec
from . import gram, products
from .chunk import LoadedChunk
from .moments import KEPT_SHARE, Moments, ResidualSums, Units
from .overlap_save import Series, component_columns, component_taps, polyphase
from .tap_basis import IDENTITY, TapBasis
from .windows import row_blocks

# If the norms of the columns of one channel differ by more than this, it has a transient at an
# edge.
EVEN = 4.0

# x of some records, their y, and factors of the rows, 0 for excluded rows (None if all are 1).
Records = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


class Part(NamedTuple):
    """One group of a polyphase component.

    Attributes:
        group: index of the group.
        x: its part of x.
        y: its part of y, or None.
        rows: factors (N, *T, 1), 1 for rows used in the fit and 0 for others, times the roots of
            weights; None if all are 1.
    """

    group: int
    x: Series
    y: Series | None
    rows: Series | None

    @property
    def contiguous(self) -> Part:
        """The same part with x and y copied to contiguous memory."""
        y = None if self.y is None else self.y.contiguous
        return self._replace(x=self.x.contiguous, y=y)


def taps_of(chunk: LoadedChunk) -> tuple[int, ...]:
    """Return the taps of a component."""
    return component_taps(chunk.spec)


def places_of(chunk: LoadedChunk) -> np.ndarray:
    """Return the indices of the columns of the kernel in the design matrix of a component."""
    return component_columns(chunk.spec, chunk.channels)


def own_units(chunk: LoadedChunk) -> Units:
    """Return the units of a chunk, with the mean of every channel as the shift of its columns."""
    return chunk.units(chunk.by_column(x_shift(chunk)))


def x_shift(chunk: LoadedChunk) -> np.ndarray:
    """Return a constant (Cin,) per channel: the mean of its columns, if N has a constant.

    It differs from the mean of the channel, because padding and samples skipped by windows have
    less weight or none.
    """
    return chunk.once("channel shift", lambda: _channel_means(chunk))


def _channel_means(chunk: LoadedChunk) -> np.ndarray:
    nothing = np.zeros(chunk.exponents.size)
    if not chunk.form.constant:
        return nothing
    plain = parts_with(chunk, nothing, [None] * len(chunk.stacks))
    sums = _column_sums(chunk, [*plain], squares=False)
    means = sums.reshape(chunk.groups, -1, chunk.channels).mean(1).reshape(-1)
    return np.asarray(means / chunk.windows)


def parts(chunk: LoadedChunk) -> list[Part]:
    """Return the parts of every polyphase component of x and y."""

    def made() -> list[Part]:
        found = parts_with(chunk, x_shift(chunk), [stack.y for stack in chunk.stacks])
        # The channels of a group are far apart in memory, which would make every pass slow.
        return [part.contiguous if chunk.groups > 1 else part for part in found]

    return chunk.once("parts", made, with_y=True)


def parts_with(
    chunk: LoadedChunk,
    shift: np.ndarray,
    y: Sequence[np.ndarray | None],
    group: int | None = None,
) -> Iterator[Part]:
    """Yield parts with outputs y of every stack, in the units of the chunk.

    If a ``group`` is given, y are outputs of this group alone, in their own units.
    """
    several = [(s.x, b, s.factors) for s, b in zip(chunk.stacks, y, strict=True)]
    out = chunk.out_scale, chunk.out_shift
    if group is not None or y[0] is None:
        outputs = chunk.groups if y[0] is None else y[0].shape[-1]
        out = np.ones(outputs), np.zeros(outputs)
    scales, shifts = (chunk.scale, out[0]), (shift, out[1])
    return component_parts(several, chunk.spec, scales, shifts, group)


def _column_sums(chunk: LoadedChunk, several: Sequence[Part], squares: bool) -> np.ndarray:
    total, taps, places = np.zeros((chunk.groups, chunk.columns)), taps_of(chunk), places_of(chunk)
    for part in several:
        found = gram.column_sums(part.x, taps, squares)
        total[part.group] += found.reshape(-1)[places]
    return total


def _left_out(chunk: LoadedChunk) -> Iterator[np.ndarray]:
    """Yield blocks (G, k, P) of the excluded rows minus their shift; y is zero there."""
    shift, numbers = chunk.by_column(x_shift(chunk)), chunk.form.limits.block_numbers
    for stack in chunk.stacks:
        if stack.flags is not None:
            for _, a in row_blocks(stack.x * chunk.scale, chunk.spec, numbers, ~stack.flags):
                yield a - shift[:, None]


def column_sums(chunk: LoadedChunk) -> np.ndarray:
    """Return the sums (G, P) of the columns in units of the chunk."""
    found = _column_sums(chunk, parts(chunk), squares=False)
    for a in _left_out(chunk):
        found -= a.sum(1)
    return found


def norms(chunk: LoadedChunk, certain: bool = False) -> Moments | None:
    """Return sums and squares of the columns, as moments of each column on its own.

    None if FFTs would lose digits, unless it is ``certain`` that the digits suffice.
    """
    sums, squares = (_column_sums(chunk, parts(chunk), squares) for squares in (False, True))
    whole = squares.copy()
    for a in _left_out(chunk):
        sums -= a.sum(1)
        squares -= np.einsum("gnp,gnp->gp", a, a)
    units = own_units(chunk)
    given = chunk.rows, units.column_exponents, units.shift, chunk.form.constant
    found = Moments.of_columns(sums, squares, *given)
    left = found.squares.reshape(whole.shape)
    return found if certain or exact(left, whole, chunk.channels) else None


def moments(
    chunk: LoadedChunk, basis: TapBasis = IDENTITY, certain: bool = False
) -> Moments | None:
    """Return sums over the rows of A T and Y in units of the chunk, without sums of A itself.

    None if FFTs would lose digits, unless it is ``certain`` that the digits suffice.
    """
    taps, places, groups = taps_of(chunk), places_of(chunk), chunk.groups
    if not basis.identity:
        if taps != chunk.spec.kernel_size:  # a stride, whose components have several columns a tap
            strided = moments(chunk, certain=certain)
            return None if strided is None else basis.of_moments(strided)
        certain = certain or norms(chunk) is not None
        if not certain:
            return None
    by_group: list[list[gram.Part]] = [[] for _ in range(groups)]
    for part in parts(chunk):
        by_group[part.group].append((part.x, part.y))
    found = [gram.moments(each, taps, basis) for each in by_group]
    if basis.identity and not np.array_equal(places, np.arange(len(found[0].gram))):
        found = [each.of(places) for each in found]
    sums = _column_sums(chunk, parts(chunk), squares=False)
    grams = found[0].gram[None] if groups == 1 else np.stack([each.gram for each in found])
    whole = np.linalg.diagonal(grams).copy()
    for a in _left_out(chunk):
        sums -= a.sum(1)
        for total, rows in zip(grams, basis.rows(a), strict=True):
            total -= rows.T @ rows  # one array with itself takes half the time in BLAS
    rhs, outputs, squares = (np.stack(each) for each in list(zip(*found, strict=True))[1:])
    if not chunk.outputs:
        rhs, outputs, squares = rhs[..., :0], outputs[..., :0], squares[..., :0]
    sums, units = basis.restrict(sums[:, :, None])[:, :, 0], basis.of_units(own_units(chunk))
    m = Moments(grams, rhs, sums, outputs, squares, chunk.rows, units, chunk.form.constant)
    return m if certain or exact(m.squares, whole, chunk.channels) else None


def exact(left: np.ndarray, whole: np.ndarray, channels: int) -> bool:
    """Return whether FFTs lose no digits.

    This is the case if the columns of every channel, about their means if N has a constant, have
    similar norms, and if excluded rows and means leave enough of every column.

    Args:
        left: sums of squares (G, P) of the columns.
        whole: sums of squares before means and excluded rows were subtracted.
        channels: number of channels.
    """
    by_tap = left.reshape(len(left), -1, channels)
    alike = by_tap.max(1) <= EVEN**2 * by_tap.min(1)
    return bool(alike.all() and ((left > KEPT_SHARE * whole) | (whole == 0)).all())


def misfit(chunk: LoadedChunk, w: np.ndarray, offset: np.ndarray) -> ResidualSums:
    """Return the sums of r = y − A w − offset, for w (G, P, Q) and offset (G, Q), in own units."""
    found, places = ResidualSums.empty(w), places_of(chunk)
    for i, x, y, rows in parts(chunk):
        assert y is not None
        part = products.misfit(x, y, _kernel(chunk, w[i], x), offset[i], rows)
        found.squares[i] += part.squares
        found.gradient[i] += part.gradient.reshape(-1, w.shape[2])[places]
        found.sums[i] += part.sums
    return found


def product(chunk: LoadedChunk, group: int, w: np.ndarray) -> np.ndarray:
    """Return A w (n, Q) of one group, for w (P, Q), in own units."""
    shapes = [(len(s.x), *chunk.spec.output_shape(s.x.shape[1:-1])) for s in chunk.stacks]
    stacks = [np.empty((*shape, w.shape[1])) for shape in shapes]
    for part in parts_with(chunk, x_shift(chunk), stacks, group):
        assert part.y is not None
        part.y.data[...] = products.forward(part.x, _kernel(chunk, w, part.x))
    pairs = zip(chunk.stacks, stacks, strict=True)
    return np.concatenate([s.used(y).reshape(-1, w.shape[1]) for s, y in pairs])


def adjoint(chunk: LoadedChunk, group: int, r: np.ndarray) -> np.ndarray:
    """Return Aᵀr (P, Q) of one group, for rows r (n, Q), in own units."""
    outputs, taps, places = r.shape[1], taps_of(chunk), places_of(chunk)
    total = np.zeros((chunk.columns, outputs))
    for part in parts_with(chunk, x_shift(chunk), chunk.by_stack(r), group):
        assert part.y is not None
        total += products.adjoint(part.x, part.y, taps).reshape(-1, outputs)[places]
    return total


def _kernel(chunk: LoadedChunk, w: np.ndarray, x: Series) -> np.ndarray:
    return in_component(w, x, taps_of(chunk), places_of(chunk))


def in_component(
    w: np.ndarray, x: Series, taps: tuple[int, ...], columns: np.ndarray
) -> np.ndarray:
    """Return w (P, Q) as the kernel (*K, C, Q) of a component, zero at its additional taps."""
    whole = np.zeros((*taps, x.scale.size, w.shape[-1]))
    whole.reshape(-1, w.shape[-1])[columns] = w
    return whole


def component_parts(
    several: Sequence[Records],
    spec: ConvSpec,
    scales: tuple[np.ndarray, np.ndarray],
    shifts: tuple[np.ndarray, np.ndarray],
    group: int | None = None,
) -> Iterator[Part]:
    """Yield the parts of every polyphase component, with these scales and shifts.

    If a ``group`` is given, y has the outputs of this group alone.
    """
    inputs, outputs = (s.size // spec.groups for s in scales)
    for x, y, flags in several:
        series = Series(x, scales[0], shifts[0])
        kept = None if flags is None else flags[..., None]
        of_rows = itertools.repeat((None, None)) if kept is None else polyphase(series, kept, spec)
        for (seen, out), (_, rows) in zip(polyphase(series, y, spec), of_rows, strict=False):
            phases = seen.scale.size // scales[0].size
            given = None if out is None else Series(out, scales[1], shifts[1])
            counted = None if rows is None else Series(rows, np.ones(1), np.zeros(1))
            for g in range(spec.groups) if group is None else (group,):
                mine: slice | np.ndarray = slice(g * inputs, (g + 1) * inputs)
                if phases > 1:
                    own = np.arange(phases)[:, None] * scales[0].size + g * inputs
                    mine = (own + np.arange(inputs)).reshape(-1)
                of_group = slice(g * outputs, (g + 1) * outputs) if group is None else slice(None)
                y_of_group = None if given is None else given.channels(of_group)
                yield Part(g, seen.channels(mine), y_of_group, counted)
