"""The rows of a problem as chunks of stacks, in one unit for every channel.

Samples are not copied: they are scaled when a block of them is read into the buffer of an FFT, or
when rows are formed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import reduce
from operator import iadd
from typing import Any, NamedTuple

import numpy as np

from ..linalg.channels import by_channel, channelwise
from ..linalg.orthonormal import legendre
from ..linalg.rank import EPS
from ..parallel import ahead, cached_property
from ..problem.nuisance import Nuisance
from ..problem.records import Stored, is_away
from ..problem.rows import Rows, Span, samples_read
from ..problem.spec import ConvSpec
from ..progress import tracked
from .sums import combined
from .windows import Windows, formed, recorded, slices

FLOAT = np.dtype(float)
# The label of a pass over all chunks in progress reports.
PASS = "pass over the data"
# A survey of the means of chunked data with excluded rows reads so many chunks.
SURVEYED = 8
# A run of excluded rows of at least this many kernel lengths is not read.
GAP_KERNELS = 8
# Chunks of arrays in memory are longer by this factor, and those of dask shorter, because a worker
# holds several.
IN_MEMORY, ON_DASK = 4, 1 / 2
# Samples of records that are joined, which are copied in every pass.
LOT_SAMPLES = 2**19
# So many numbers are copied once, because that costs less than to read them again.
FEW = 2**17
# A chunk of storage that is longer than a chunk is read whole, if it is at most this factor longer.
MOST_STORED = 4


class Unit(NamedTuple):
    """Channels are read as ``2**-exponents * a - shift``, at most 2^15 in size.

    ``size`` and ``trend`` (C,) are the largest values in these units of everything that is
    subtracted, and of its part that is not constant.
    """

    exponents: np.ndarray
    shift: np.ndarray
    size: np.ndarray
    trend: np.ndarray


class Series(NamedTuple):
    """Samples (N, *L, C) that are read as ``scale * data - shift``, and as zero where ``dead``.

    None stands for a scale of one, for no shift and for no dead samples.
    """

    data: np.ndarray
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None
    dead: np.ndarray | None = None

    @property
    def is_plain(self) -> bool:
        """Whether samples are read as they are."""
        as_given = self.scale is None and self.shift is None and self.dead is None
        return as_given and self.data.dtype == FLOAT

    def read(self, part: np.ndarray, out: np.ndarray, dead: np.ndarray | None) -> np.ndarray:
        """Write a part of the data to ``out``."""
        if self.scale is None:
            out[...] = part
        else:
            with np.errstate(invalid="ignore", over="ignore"):  # in samples that no row reads
                channelwise(np.multiply, part, self.scale, out)
        if self.shift is not None:
            channelwise(np.subtract, out, self.shift, out)
        if dead is not None:
            out[dead] = 0.0
        return out

    def some(self, at: Any = ...) -> np.ndarray:
        """Return samples in float64, which may be a view."""
        part = self.data[at]
        if self.is_plain:
            return part
        return self.read(part, np.empty(part.shape), None if self.dead is None else self.dead[at])

    def moved(self, axis: int) -> Series:
        """Return samples with an axis of L as the first."""
        if not axis:
            return self
        dead = None if self.dead is None else np.moveaxis(self.dead, axis + 1, 1)
        return self._replace(data=np.moveaxis(self.data, axis + 1, 1), dead=dead)

    def part(self, at: Any) -> Series:
        """Return some of the samples, not read yet."""
        return self._replace(data=self.data[at], dead=None if self.dead is None else self.dead[at])

    def of_channels(self, some: slice) -> Series:
        """Return some of the channels."""
        scale, shift = (None if a is None else a[some] for a in self[1:3])
        return Series(self.data[..., some], scale, shift, self.dead)


class Trend(NamedTuple):
    """Polynomials (*L, J) as ``high + low``; products of high with few bits are exact."""

    high: np.ndarray
    low: np.ndarray
    bits: int

    @classmethod
    def of(cls, at: Sequence[np.ndarray], ends: Sequence[int], degree: int) -> Trend:
        """Return Legendre polynomials at places ``at`` of every axis, which has a length."""
        wide = legendre(at, ends, degree, exact=True)
        bits = (51 - wide.shape[-1].bit_length()) // 2
        high = np.rint(np.ldexp(wide.astype(float), bits)) * 2.0**-bits
        return cls(high, (wide - high).astype(float), bits)

    def subtract(self, a: np.ndarray, coefs: np.ndarray) -> None:
        """Subtract the polynomials with coefficients (N, J, C) from a (N, *L, C), exactly."""
        units = np.ldexp(1.0, np.frexp(np.abs(coefs).max(1, keepdims=True))[1] - self.bits)
        first = np.rint(coefs / units) * units
        # What is left may be as far below these as they are below the polynomials.
        units = np.ldexp(units, -self.bits)
        second = np.rint((coefs - first) / units) * units
        flat, terms = a.reshape(len(a), -1, a.shape[-1]), self.high.shape[-1]
        high, low = (v.reshape(-1, terms) for v in self[:2])
        both, rest = np.hstack([high, low]), np.concatenate([coefs - first - second, coefs], 1)
        step = max(1, 2**16 // max(1, flat[:, 0].size))
        for rows in (slice(i, i + step) for i in range(0, len(high), step)):
            flat[:, rows] -= high[rows] @ first
            flat[:, rows] -= high[rows] @ second
            flat[:, rows] -= both[rows] @ rest


class Stack(NamedTuple):
    """Spans of one shape: x (N, L, *L', C), y (N, T, *T', Q) and nuisance columns (N, T, *T', k).

    The axis of most taps is the first. y and the columns are zero in rows that are not ``used``,
    and times the ``root`` of weights. ``places`` (N, k) are the indices of the columns in N, and
    ``number`` is the number of the lot.
    """

    number: int
    records: np.ndarray
    x: Series
    y: Series
    own: Series
    places: np.ndarray
    used: np.ndarray | None
    root: np.ndarray | None

    @property
    def shared(self) -> bool:
        """Whether the records have the same nuisance columns."""
        return bool((self.places == self.places[0]).all())

    @property
    def wanted(self) -> np.ndarray:
        """Flags (N, T, *T') of the rows that are used."""
        return np.ones(self.own.data.shape[:-1], bool) if self.used is None else self.used

    def with_combinations(self, weights: np.ndarray) -> Stack:
        """Return the stack with combinations of the outputs, for weights (G, Q, s)."""
        (groups, each, _), (*shape, channels), off = weights.shape, self.y.data.shape, self.y.dead
        off = None if off is None else off.reshape(-1)
        flat = self.y._replace(data=self.y.data.reshape(-1, channels), dead=off)
        parts, rows = [], len(flat.data)
        step = max(1, rows) if flat.is_plain else max(2**6, 2**19 // max(1, channels))
        for first in range(0, rows, step):
            part = flat.some(slice(first, first + step))
            by_group = part.reshape(-1, groups, each).swapaxes(0, 1)
            found = np.stack([combined(a, w) for a, w in zip(by_group, weights, strict=True)], 1)
            parts.append(found.reshape(len(part), -1))
        return self._replace(y=Series(np.concatenate(parts).reshape(*shape, -1)))


class Lot(NamedTuple):
    """Rows ``first`` to ``last`` of records of one shape, and flags (N, T, *T') of those used."""

    number: int
    records: np.ndarray
    first: int
    last: int
    flags: np.ndarray | None

    @property
    def rows(self) -> int:
        """Number of rows along the first axis of all records."""
        return len(self.records) * (self.last - self.first)


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return arrays of one shape as one, a view of a single one."""
    if len(arrays) == 1:
        return np.ascontiguousarray(arrays[0])[None]
    return np.concatenate(arrays).reshape(len(arrays), *arrays[0].shape)


def cut(pieces: Sequence[Span], step: int | None) -> list[list[Span]]:
    """Return the spans of chunks of at most ``step`` rows."""
    if step is None:
        return [[*pieces]]
    found: list[list[Span]] = []
    room = 0
    for i, first, last in pieces:
        for start in range(first, last, step):
            stop = min(start + step, last)
            if stop - start > room:
                found.append([])
                room = step
            found[-1].append((i, start, stop))
            room -= stop - start
    return found


class Plan:
    """The rows of records, cut into chunks of lots, with their nuisance columns N and weights.

    N always has a constant of all records as its last column, unless the columns of every record
    span it. Attributes: ``fitted``, the number of columns of N that are projected out; ``count``,
    of all; ``degree`` of the polynomials that every record spans, or -1.
    """

    def __init__(
        self,
        lengths: Sequence[tuple[int, ...]],
        spec: ConvSpec,
        kept: Rows,
        nuisance: Nuisance,
        step: int | None = None,
        gap: int | None = None,
    ) -> None:
        """Store the rows; chunks have ``step`` rows, and are cut at gaps of ``gap`` rows."""
        self.lengths, self.spec, self.kept, self.rows = lengths, spec, kept, kept.count
        self.confounds, self.step = nuisance.confounds, step
        self.constant, self.degree, self.weights = self.confounds is None, -1, None
        self.count = 1
        if self.confounds is not None:
            self.count, self.constant = self.confounds.count, self.confounds.shared
            self.degree, self.weights = self.confounds.degree, self.confounds.weights
        self.fitted = nuisance.total
        #: Norm of a constant of all records, times the roots of the weights.
        self.norm = math.sqrt(self.rows) if self.confounds is None else self.confounds.size
        longest = max((s[0] for s in kept.shapes), default=0)
        pieces = kept.pieces(longest if gap is None else gap)
        self._count = 0
        self.chunks = [self._lots(spans) for spans in cut(pieces, step)]

    @property
    def centred(self) -> bool:
        """Whether a constant of all records is projected out."""
        return self.constant and self.fitted == self.count

    @property
    def lots(self) -> list[Lot]:
        """The lots of all chunks."""
        return [lot for chunk in self.chunks for lot in chunk]

    def _range(self, record: int) -> tuple[int, ...]:
        """Return the first used row of a record, and the shape of rows that polynomials span."""
        shape = self.kept.shapes[record]
        if self.kept.flags is None or self.degree < 0:
            return 0, *shape
        used = np.flatnonzero(self.kept.flags[record].reshape(shape[0], -1).any(1))
        return int(used[0]), int(used[-1] + 1 - used[0]), *shape[1:]

    def _lots(self, spans: Sequence[Span]) -> list[Lot]:
        alike, samples = dict[Any, list[int]](), 0
        for i, first, last in spans:
            own = 0 if self.confounds is None else self.confounds.own(i)
            samples += math.prod(self.lengths[i])
            key = self.lengths[i], first, last, self._range(i), own, samples // LOT_SAMPLES
            alike.setdefault(key, []).append(i)
        found: list[Lot] = []
        for (_, first, last, *_), records in alike.items():
            flags = None
            if self.kept.flags is not None:
                flags = joined([self.kept.flags[i][first:last] for i in records])
                if not flags.any():
                    continue
                flags = None if flags.all() else flags
            found.append(Lot(self._count + len(found), np.array(records), first, last, flags))
        self._count += len(found)
        return found

    def read_by(self, lot: Lot) -> np.ndarray | None:
        """Return flags (N, *E) of the samples that used rows read; None for all."""
        flags, spec = lot.flags, self.spec
        if flags is None and {*spec.stride, *spec.dilation} == {1}:
            return None
        if flags is None:
            shape = self.kept.shapes[lot.records[0]]
            flags = np.ones((1, lot.last - lot.first, *shape[1:]), bool)
        found = np.stack([samples_read(f, spec) for f in flags])
        return None if found.all() else np.broadcast_to(found, (len(lot.records), *found.shape[1:]))

    def trend(self, of_x: bool, lot: Lot) -> Trend:
        """Return the polynomials at the samples, or the outputs, of a lot."""
        start, *ends = self._range(lot.records[0])
        first, last, lengths = lot.first, lot.last, ends
        if of_x:
            spans = self.spec._span
            s, w = self.spec.stride[0], spans[0]
            lengths = [
                (n - 1) * s + w for n, s, w in zip(ends, self.spec.stride, spans, strict=True)
            ]
            start, first, last = start * s, first * s, (last - 1) * s + w
        at = [np.arange(first, last) - start, *map(np.arange, lengths[1:])]
        return Trend.of(at, lengths, self.degree)

    def columns(self, lot: Lot) -> tuple[np.ndarray, np.ndarray]:
        """Return the nuisance columns (N, T, *T', k) of a lot, and their indices (N, k)."""
        shape = len(lot.records), lot.last - lot.first, *self.kept.shapes[lot.records[0]][1:]
        if self.confounds is None:
            own = np.broadcast_to(np.float64(self.rows**-0.5), (*shape, 1))
            own = own if lot.flags is None else own * lot.flags[..., None]
            return own, np.zeros((shape[0], 1), int)
        c = self.confounds
        kinds, firsts, which = np.unique(
            c.which[lot.records], return_index=True, return_inverse=True
        )
        places = c.places(lot.records)
        own = np.zeros((len(kinds), *shape[1:], places.shape[1] + c.shared))
        for kind, j, out in zip(kinds, firsts, own, strict=True):
            layout, i = c.layouts[kind], int(lot.records[j])
            some = slice(*(self.kept.rows_of((i, 0, end)) for end in (lot.first, lot.last)))
            columns = layout.columns[some]
            if c.shared:
                columns = np.column_stack([columns, layout.ones[some] / c.size])
            out[np.ones(out.shape[:-1], bool) if lot.flags is None else lot.flags[j]] = columns
        own = own[which]
        if c.shared:
            own[..., -1] *= c.scales[lot.records].reshape(-1, *(1,) * (own.ndim - 2))
            places = np.column_stack([places, np.full(len(places), c.count - 1)])
        return own, places

    def roots(self, lot: Lot) -> np.ndarray | None:
        """Return the roots of the weights of a lot, (N, 1, …) for records or (N, T, *T', 1)."""
        if self.weights is None:
            return None
        several = [self.weights[i] for i in lot.records]
        if all(root.ndim == 0 for root in several):
            return np.stack(several).reshape(-1, *(1,) * (self.spec.ndim + 1))
        shape = self.kept.shapes[lot.records[0]]
        some = [np.broadcast_to(root, shape)[lot.first : lot.last] for root in several]
        found = np.stack(some) * (1 if lot.flags is None else lot.flags)
        return np.asarray(found[..., None])

    # --- the order of the rows

    @cached_property
    def positions(self) -> list[np.ndarray]:
        """Index among the rows of every output (*T) of every record; -1 if it has no row."""
        found, start, axis = [np.full(s, -1) for s in self.kept.shapes], 0, self.spec._long_axis + 1
        for lot in self.lots:
            shape = self.kept.shapes[lot.records[0]]
            used = lot.flags
            if used is None:
                used = np.ones((len(lot.records), lot.last - lot.first, *shape[1:]), bool)
            moved = np.moveaxis(used, axis, 1)
            numbers, count = np.full(moved.shape, -1), int(moved.sum())
            numbers[moved] = np.arange(start, start + count)
            start += count
            for i, values in zip(lot.records, np.moveaxis(numbers, 1, axis), strict=True):
                found[i][lot.first : lot.last] = values
        return found

    def places(self, spans: Iterable[Span]) -> np.ndarray:
        """Return the indices of the rows of some spans."""
        found = np.concatenate([self.positions[i][a:b].reshape(-1) for i, a, b in spans])
        return found[found >= 0]

    def by_record(self, values: np.ndarray) -> list[np.ndarray]:
        """Return values (groups, n) of the rows as (*T, groups) of each record, NaN elsewhere."""
        some = np.concatenate([values.T, np.full((1, len(values)), np.nan)])
        return [some[at] for at in self.positions]

    @property
    def in_time(self) -> np.ndarray:
        """Indices (n,) of the rows in the order of records and time."""
        return self.places((i, 0, shape[0]) for i, shape in enumerate(self.kept.shapes))


class Signal:
    """x or y of all records, in one unit.

    Args:
        plan: the rows.
        records: (*W, C) or (*T, Q) of every record.
        of_x: whether these are inputs, of which rows read windows.
        known: the largest magnitudes (C,) of all samples and their means (C,), or None.
        sparse: whether nothing may be subtracted, so that zeros stay zeros.
    """

    def __init__(
        self,
        plan: Plan,
        records: Sequence[Any],
        of_x: bool,
        known: tuple[np.ndarray, np.ndarray | None] | None = None,
        sparse: bool = False,
    ) -> None:
        self.plan, self.records, self.of_x, self._known = plan, records, of_x, known
        self.sparse, self._centred = sparse, plan.centred and not sparse
        self._kept: dict[int, Series] = {}

    def subtracted(self) -> Signal:
        """Return the signal less constants and polynomials, if it was read without."""
        return Signal(self.plan, self.records, self.of_x, self._known)

    def as_given(self) -> Signal:
        """Return the signal with its samples in the units in which they are given."""
        zeros = np.zeros(self.channels)
        vars(self)["_surveyed"] = Unit(zeros.astype(int), zeros, zeros, zeros), None
        return self

    @cached_property
    def unit(self) -> Unit:
        """The unit of every channel."""
        return self._surveyed[0]

    @property
    def trends(self) -> np.ndarray | None:
        """Coefficients (records, J, C) of the polynomials that are subtracted."""
        return self._surveyed[1]

    @cached_property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.records[0].shape[-1])

    @cached_property
    def few(self) -> bool:
        """Whether there are so few samples that they are kept."""
        return sum(a.size for a in self.records) <= FEW

    @property
    def on_device(self) -> bool:
        """Whether a device sums the samples, for equal weights of all rows and one constant."""
        plan = self.plan
        plain = plan.confounds is None and plan.kept.flags is None and not self.sparse
        return plain and all(map(is_away, self.records))

    @property
    def hollow(self) -> Signal:
        """The same units and trends without samples, for another process."""
        found = copy(self)
        _ = found._surveyed, found.channels
        found.records = ()
        return found

    def unread(self, lot: Lot) -> list[list[Any]]:
        """Return slices of the samples of every record of a lot, which are not read yet."""
        if not self.of_x:
            return [[self.records[i][lot.first : lot.last]] for i in lot.records]
        some = slices(self.plan.lengths[lot.records[0]], self.plan.spec, lot.first, lot.last)
        return [[self.records[i][part] for part in some] for i in lot.records]

    def _raw(self, lot: Lot, parts: list[list[Any]]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the samples of a lot, and flags of those that used rows read."""
        each = [several[0] if len(several) == 1 else np.concatenate(several) for several in parts]
        a = joined(each)
        if not self.of_x:
            return a, lot.flags
        lengths = self.plan.lengths[lot.records[0]]
        return formed(a, lengths, self.plan.spec, lot.first, lot.last), self.plan.read_by(lot)

    def loaded(self, lot: Lot) -> Series:
        """Return the samples of a lot, which are kept if they are few."""
        found = self._kept.get(lot.number)
        if found is None:
            found = self.load(lot, self.unread(lot))
            if self.few:
                self._kept[lot.number] = found
        return found

    def load(self, lot: Lot, parts: list[list[Any]]) -> Series:
        """Return the samples of a lot, given its slices."""
        a, read = self._raw(lot, parts)
        unit, dead = self.unit, None if read is None else ~read
        scale = np.ldexp(1.0, -unit.exponents) if unit.exponents.any() else None
        found = Series(a, scale, unit.shift if self._centred else None, dead)
        if self.trends is None:
            return found
        a = found.read(a, np.empty(a.shape), dead)
        self.plan.trend(self.of_x, lot).subtract(a, self.trends[lot.records])
        return Series(a, dead=dead)

    # --- the survey

    def _seen(self, lot: Lot) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the samples of a lot, and flags (N, *L) of those that are read and no padding."""
        plan, shape = self.plan, self.plan.lengths[lot.records[0]]
        whole = lot.flags is None and lot.last - lot.first == plan.kept.shapes[lot.records[0]][0]
        reads_all = not self.of_x or plan.spec._reads_all(shape)
        if self.of_x and whole and plan.degree < 0 and reads_all:
            return joined([np.asarray(self.records[i]) for i in lot.records]), None
        a, read = self._raw(lot, self.unread(lot))
        if self.of_x:
            own = recorded(shape, plan.spec, lot.first, lot.last)
            read = np.broadcast_to(own, a.shape[:-1]) if read is None else read & own
        return a, read

    @cached_property
    def _surveyed(self) -> tuple[Unit, np.ndarray | None]:
        """Units in which the largest sample is one within 2^17, and the trends of records."""
        size, mean = self._known or (None, None)
        read = self._centred and not self.on_device
        if size is None or (read and (mean is None or self._reads_part)):
            size, mean = self._largest_and_means(size)
        # Most samples are in units of one, which take no time.
        exponents = np.maximum((np.frexp(size)[1] + 16) // 32 * 32, -1020)
        mean = np.zeros(self.channels) if mean is None else mean * self._centred
        shift = np.ldexp(mean, -exponents)
        unit = Unit(exponents, shift, np.abs(shift), 0 * shift)
        none = self.plan.degree < 0 or not self.channels or self.sparse
        return (unit, None) if none else self._trended(unit)

    @property
    def _reads_part(self) -> bool:
        """Whether rows do not read all samples. Means of artefacts would cost digits."""
        plan, of_x = self.plan, self.of_x
        lengths = {*plan.lengths} if of_x else ()
        return plan.kept.flags is not None or not all(map(plan.spec._reads_all, lengths))

    def _largest_and_means(self, known: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the largest magnitudes, if they are not ``known``, and means of what rows read."""
        plan, channels, lots = self.plan, self.channels, self.plan.lots
        size, total, count = np.zeros(channels) if known is None else known, np.zeros(channels), 0
        if known is not None and plan.step is not None:
            lots = _evenly(lots, SURVEYED)
        for lot in lots if channels else ():
            a, used = self._seen(lot)
            a = a.reshape(-1, channels) if used is None else a[used]
            step = max(1, 2**17 // channels)
            for part in (a[i : i + step] for i in range(0, len(a), step)):  # in the cache
                if known is None:
                    size = np.maximum(size, by_channel(np.maximum, part, np.abs).astype(float))
                total = total + np.full(len(part), 1.0 / plan.rows) @ part
            count += len(a)
        return size, total * (plan.rows / max(count, 1))

    def _trended(self, unit: Unit) -> tuple[Unit, np.ndarray]:
        """Return the unit, and polynomials fitted to every record by least squares."""
        plan, lots = self.plan, self.plan.lots
        terms = plan.trend(self.of_x, lots[0]).high.shape[-1]
        gram = np.zeros((len(plan.lengths), terms, terms))
        cross = np.zeros((len(plan.lengths), terms, self.channels))
        for lot in lots:
            a, read = self._seen(lot)
            v = plan.trend(self.of_x, lot).high.reshape(-1, terms)
            flat, seen = a.reshape(len(a), -1, a.shape[-1]), v / len(v)  # so that no sum overflows
            if read is not None:
                read = read.reshape(len(a), -1, 1)
                flat, seen = np.where(read, flat, 0.0), seen * read
            seen = seen.swapaxes(-1, -2)
            gram[lot.records] += seen @ v * len(v)
            cross[lot.records] += np.ldexp(seen @ flat, -unit.exponents) * len(v)
        coefs = np.linalg.pinv(gram, terms * EPS, hermitian=True) @ cross
        each = np.abs(coefs)
        return unit._replace(trend=each[:, 1:].sum(1).max(0), size=each.sum(1).max(0)), coefs


def _evenly(lots: Sequence[Lot], most: int) -> list[Lot]:
    """Return at most some of the lots, evenly spaced."""
    return [lots[i] for i in np.unique(np.linspace(0, len(lots) - 1, most).astype(int))]


class Data:
    """The rows of x, and of any outputs y, as chunks of stacks.

    Attributes:
        plan: the rows.
        x: the input.
        windows: the windows of the input.
        groups, rows, columns, channels: numbers of groups, rows, and of columns and channels of a
            group.
    """

    def __init__(self, plan: Plan, x: Signal, label: str = PASS) -> None:
        """Store the rows and the input; passes over them are reported with a label."""
        self.plan, self.x, self._label, spec = plan, x, label, plan.spec
        self.groups, self.rows = spec.groups, plan.rows
        self.channels = x.channels // spec.groups
        self.windows = Windows(spec, self.channels)
        self.columns = self.channels * math.prod(spec.kernel_size)
        #: By number of a stack: the nonzero samples of a sparse x, and rows if they are few.
        self.events: dict[int, Any] = {}
        self.kept: dict[int, Any] = {}
        self._stacks: dict[int, Stack] = {}

    @property
    def whole(self) -> bool:
        """Whether all rows are one chunk, which is kept in memory."""
        return self.plan.step is None

    def _of_x(self, lot: Lot) -> Stack:
        """Return a stack without outputs, which is kept unless it has a copy of many samples."""
        if (found := self._stacks.get(lot.number)) is None:
            x = self.x.load(lot, self.x.unread(lot))
            if self.x.few and not x.is_plain:  # which is read several times
                x = Series(x.some())
            found = stacked(self.plan, lot, x)
            if self.whole and (self.x.few or len(lot.records) == 1):
                self._stacks[lot.number] = found
        return found

    def sample(self, most: int) -> list[Stack]:
        """Return all stacks of x, or those of some chunks, evenly spaced."""
        lots = self.plan.lots
        return [*map(self._of_x, lots if self.whole else _evenly(lots, most))]

    def each(self, y: Signal) -> Iterator[Stack]:
        """Yield the stacks, with outputs y."""
        plan = self.plan
        if self.whole:
            for lot in plan.lots:
                yield with_outputs(plan, lot, self._of_x(lot), y.loaded(lot))
            return
        for lot, x, y_parts in self._read(y):
            stack = stacked(plan, lot, self.x.load(lot, x))
            yield with_outputs(plan, lot, stack, y.load(lot, y_parts))

    def _read(self, y: Signal) -> Iterator[tuple[Lot, Any, Any]]:
        """Yield lots with their slices in memory. The next is read while one is used."""
        lots = self.plan.lots

        def read(lot: Lot) -> tuple[Lot, Any, Any]:
            of_x, of_y = (
                [[*map(np.asarray, parts)] for parts in s.unread(lot)] for s in (self.x, y)
            )
            return lot, of_x, of_y

        stored = any(not isinstance(a, np.ndarray) for a in (*self.x.records, *y.records))
        several = ahead(read, lots) if stored else map(read, lots)
        return tracked(several, self._label, sum(lot.rows for lot in lots), size=lot_rows)

    def sum(self, task: Any, y: Signal) -> Any:
        """Return the sum of ``task(stack)`` over the stacks, by dask for its own arrays."""
        if not self.whole and any(map(on_dask, (*self.x.records, *y.records))):
            return self._with_dask(task, y)
        return reduce(iadd, map(task, self.each(y)))

    def _with_dask(self, task: Any, y: Signal) -> Any:
        """Return the sum by dask: a call for every lot, and a tree of sums."""
        from dask.delayed import delayed

        call, plus = delayed(_on_worker, pure=False), delayed(iadd, pure=False)
        of = delayed((task, self.plan, self.x.hollow, y.hollow), pure=False)
        parts = [
            call(of, lot, *([[*map(_apart, p)] for p in s.unread(lot)] for s in (self.x, y)))
            for lot in self.plan.lots
        ]
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=False)
            parts = [*(plus(a, b) for a, b in pairs), *parts[len(parts) - len(parts) % 2 :]]
        return parts[0].compute()


def stacked(plan: Plan, lot: Lot, x: Series) -> Stack:
    """Return the rows of a lot without outputs: x as it is, unless weights multiply it."""
    own, places = plan.columns(lot)
    root, roots = None, plan.roots(lot)
    if roots is not None and roots.size == len(roots):
        x = Series(x.some() * roots)
    elif roots is not None:
        root = np.moveaxis(roots, plan.spec._long_axis + 1, 1)
    used = None if lot.flags is None else np.moveaxis(lot.flags, plan.spec._long_axis + 1, 1)
    of_x, of_n = (s.moved(plan.spec._long_axis) for s in (x, Series(own)))
    none = Series(np.empty((*of_n.data.shape[:-1], 0)))
    return Stack(lot.number, lot.records, of_x, none, of_n, places, used, root)


def with_outputs(plan: Plan, lot: Lot, stack: Stack, y: Series) -> Stack:
    """Return a stack with outputs."""
    roots = plan.roots(lot)
    y = y if roots is None else Series(y.some() * roots)
    return stack._replace(y=y.moved(plan.spec._long_axis))


def nuisance_rows(stack: Stack, at: tuple[np.ndarray, ...], count: int) -> Any:
    """Return the nuisance columns (n, q) at some rows of a stack, sparse unless all share them."""
    own, k = stack.own.data[at], stack.own.data.shape[-1]
    if k == count and stack.shared:
        return own
    from scipy.sparse import csr_array

    starts = k * np.arange(len(own) + 1)
    return csr_array((own.reshape(-1), stack.places[at[0]].reshape(-1), starts), (len(own), count))


def lot_rows(read: tuple[Lot, Any, Any]) -> int:
    """Return the number of rows of a lot that was read."""
    return read[0].rows


def on_dask(record: Any) -> bool:
    """Return whether the source of a record is a dask array."""
    # An xarray, which may hold an array of dask, has no blocks.
    return hasattr(getattr(record, "source", None), "numblocks")


def _apart(part: Any) -> Any:
    """Return a slice of a record as a pair of an object without samples and what dask reads."""
    return (replace(part, source=None), part.selection) if isinstance(part, Stored) else part


def _together(apart: Any) -> np.ndarray:
    return apart[0].assembled(apart[1]) if isinstance(apart, tuple | list) else apart


def _on_worker(of: Any, lot: Lot, x_parts: Any, y_parts: Any) -> Any:
    task, plan, x, y = of
    given = ([[*map(_together, p)] for p in parts] for parts in (x_parts, y_parts))
    of_x, of_y = (s.load(lot, parts) for s, parts in zip((x, y), given, strict=True))
    return task(with_outputs(plan, lot, stacked(plan, lot, of_x), of_y))


def chunk_rows(
    x: Sequence[Any], y: Sequence[Any] | None, spec: ConvSpec, numbers: int, least: int
) -> tuple[int, int]:
    """Return the rows of a chunk of some numbers, and the excluded rows at which it is cut.

    The numbers are those for data in files, and the ``least``. A chunk reaches a kernel, as most
    samples would be read twice otherwise, and whole chunks of the source if these are not much
    longer.
    """
    several = [*x, *(y or ())]
    stored = [a for a in several if isinstance(a, Stored)]
    share = ON_DASK if any(map(on_dask, several)) else 1 if stored else IN_MEMORY
    a_row = max(a.size // max(1, len(a)) for a in x) * spec.stride[0]
    a_row += 0 if y is None else max(b.size // max(1, len(b)) for b in y)
    step = max(1, max(int(numbers * share), least) // max(1, a_row))
    lengths = {a.chunk_length for a in x if isinstance(a, Stored)}
    length = (lengths.pop() or 0) if len(lengths) == 1 else 0
    aligned = length // spec.stride[0] if length % spec.stride[0] == 0 else 0
    if 0 < aligned <= MOST_STORED * step:
        step = max(1, round(step / aligned)) * aligned
    return max(step, spec._span[0]), GAP_KERNELS * spec._span[0]
