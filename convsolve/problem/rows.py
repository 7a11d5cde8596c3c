"""Which samples of y are rows of the design matrix: counted, found in y, cut at gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..cached import cached_property
from .spec import ConvSpec

# Rows start to stop, along the first axis of y, of a record.
Span = tuple[int, int, int]


@dataclass(frozen=True)
class Rows:
    """The outputs (*T) of every record that count, one record after the other, each in C order.

    ``shapes`` holds (*T) of every record, with a 0 in it where that is too short for a window, and
    ``starts`` which sample of the user's y is the first along each axis. ``flags`` (*T) of every
    record are True where an output counts; None where all do.
    """

    shapes: tuple[tuple[int, ...], ...]
    starts: tuple[int, ...]
    flags: tuple[np.ndarray, ...] | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls, spec: ConvSpec, lengths: Iterable[tuple[int, ...]], starts: tuple[int, ...] = ()
    ) -> Rows:
        """Those of records of some ``lengths`` (*W)."""
        lengths = tuple(lengths)
        known = {length: spec.output_shape(length) for length in set(lengths)}
        return cls(tuple(known[length] for length in lengths), starts or (0,) * spec.ndim)

    @cached_property
    def sizes(self) -> list[int]:
        """How many of every record count."""
        if self.flags is None:
            return [*map(math.prod, self.shapes)]
        return [int(np.count_nonzero(flags)) for flags in self.flags]

    @cached_property
    def count(self) -> int:
        """How many there are: the equations of an output channel."""
        return sum(self.sizes)

    @property
    def dropped(self) -> int:
        """Outputs that do not count."""
        return sum(map(math.prod, self.shapes)) - self.count

    @cached_property
    def used(self) -> list[int]:
        """The records that have any."""
        return [i for i, size in enumerate(self.sizes) if size]

    @cached_property
    def lengths(self) -> list[int]:
        """The length along the first axis of every record that has rows, 0 of the others."""
        return [
            shape[0] if size else 0 for shape, size in zip(self.shapes, self.sizes, strict=True)
        ]

    @property
    def in_y(self) -> list[tuple[np.ndarray, ...]]:
        """For every record the indices of its outputs in the user's y along each axis."""
        return [
            tuple(start + np.arange(n) for start, n in zip(self.starts, shape, strict=True))
            for shape in self.shapes
        ]

    def flags_of(self, record: int) -> np.ndarray:
        """Flags (*T) of a record, True where an output counts."""
        return np.ones(self.shapes[record], bool) if self.flags is None else self.flags[record]

    def of_span(self, span: Span) -> np.ndarray | None:
        """Which outputs of a span count, None where all do."""
        i, start, stop = span
        flags = None if self.flags is None else self.flags[i][start:stop]
        return None if flags is None or flags.all() else flags

    def select(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Of arrays (*T, …), one a record, the rows (n, …) that count; whole where all do."""
        if self.flags is None:
            return [*arrays]
        return [a[flags] for a, flags in zip(arrays, self.flags, strict=True)]

    def some(self, spans: Sequence[Span]) -> list[np.ndarray] | None:
        """The flags of some spans; None where all count."""
        if self.flags is None:
            return None
        return [self.flags[i][start:stop] for i, start, stop in spans]

    def pieces(self, gap: int) -> list[Span]:
        """The records that have rows, cut where ``gap`` outputs or more along the first axis do not
        count, and without those at either end.
        """
        if self.flags is None:
            return [(i, 0, self.shapes[i][0]) for i in self.used]
        return [span for i in self.used for span in _pieces(i, self.flags[i], gap)]


def _pieces(record: int, flags: np.ndarray, gap: int) -> Iterator[Span]:
    places = np.flatnonzero(flags.reshape(len(flags), -1).any(1))
    ends = np.flatnonzero(np.diff(places) > gap)
    for first, last in zip([0, *(ends + 1)], [*ends, len(places) - 1], strict=True):
        yield record, int(places[first]), int(places[last]) + 1


def whole_rows(spec: ConvSpec, lengths: tuple[int, ...]) -> np.ndarray:
    """Which rows (*T) of a record of these ``lengths`` (*W) read no zeros outside it."""
    found = np.ones(spec.output_shape(lengths), bool)
    axes = zip(lengths, spec.offset(lengths), spec.stride, spec.span, strict=True)
    for axis, (length, lo, stride, span) in enumerate(axes):
        first = np.arange(found.shape[axis]) * stride - lo
        inside = (first >= 0) & (first + span <= length)
        found &= inside.reshape([-1 if i == axis else 1 for i in range(found.ndim)])
    return found


def rows_reading(samples: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Which rows (*T) of a record read any of the ``samples`` (*W) that are True."""
    found, lengths = samples, samples.shape
    axes = zip(lengths, spec.offset(lengths), spec.extent(lengths), strict=True)
    counts = spec.output_shape(lengths)
    for axis, (length, lo, extent) in enumerate(axes):
        k, s, d = spec.kernel_size[axis], spec.stride[axis], spec.dilation[axis]
        moved = np.moveaxis(found, axis, 0)
        if spec.padding == "circular":
            line = moved[(np.arange(extent) - lo) % length]
        else:
            line = np.zeros((extent, *moved.shape[1:]), bool)
            first = max(lo, 0)
            last = max(first, min(lo + length, extent))
            line[first:last] = moved[first - lo : last - lo]
        found = np.moveaxis(_any_of(line, k, d)[::s][: counts[axis]], 0, axis)
    return found


def _any_of(line: np.ndarray, several: int, apart: int) -> np.ndarray:
    """Whether any of ``several`` flags, ``apart`` from each other, is True, from every one on."""
    found, reach = line, 1
    while reach < several:
        step = min(reach, several - reach)
        found = found[: len(found) - step * apart] | found[step * apart :]
        reach += step
    return found


def samples_read(rows: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Which samples (*E) of a record in normal form any of its ``rows`` (*T) that are True read."""
    found = rows
    for axis, (k, s, d) in enumerate(
        zip(spec.kernel_size, spec.stride, spec.dilation, strict=True)
    ):
        moved = np.moveaxis(found, axis, 0).astype(int)
        extent = (len(moved) - 1) * s + 1
        # A row reads from its first sample on, d apart, and K samples later no more.
        steps = np.zeros((extent + k * d, *moved.shape[1:]), int)
        steps[:extent:s] += moved
        steps[k * d :: s] -= moved
        read = _running(steps, d)[d : extent + k * d] > 0
        found = np.moveaxis(read, 0, axis)
    return found


def _running(line: np.ndarray, apart: int) -> np.ndarray:
    """Sums of the values before each, ``apart`` from each other, (n + apart, …) of (n, …)."""
    n = len(line)
    whole = np.zeros((-(-n // apart) * apart, *line.shape[1:]), int)
    whole[:n] = line
    sums = np.cumsum(whole.reshape(-1, apart, *line.shape[1:]), axis=0).reshape(whole.shape)
    return np.concatenate([np.zeros((apart, *line.shape[1:]), int), sums])[: n + apart]
