"""Rows of the design matrix: which samples of y are used, their indices in y, cuts at gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..cached import cached_property
from .spec import ConvSpec

# A record, and the first and the end row along the first axis of y.
Span = tuple[int, int, int]


@dataclass(frozen=True)
class Rows:
    """The outputs (*T) of every record that are used in the fit.

    The rows are ordered by record, and in C order within a record.

    Attributes:
        shapes: (*T) of every record. A record that is too short for a window has a 0 in it.
        starts: index of the first row in the user's y, along each axis.
        flags: (*T) of every record, True for outputs used in the fit; None if all are used.
    """

    shapes: tuple[tuple[int, ...], ...]
    starts: tuple[int, ...]
    flags: tuple[np.ndarray, ...] | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls,
        spec: ConvSpec,
        lengths: Iterable[tuple[int, ...]],
        starts: tuple[int, ...] = (),
    ) -> Rows:
        """Return the rows of records of some ``lengths`` (*W)."""
        lengths = tuple(lengths)
        known = {length: spec.output_shape(length) for length in set(lengths)}
        return cls(tuple(known[length] for length in lengths), starts or (0,) * spec.ndim)

    @cached_property
    def sizes(self) -> list[int]:
        """Number of rows of every record."""
        if self.flags is None:
            return [*map(math.prod, self.shapes)]
        return [int(np.count_nonzero(flags)) for flags in self.flags]

    @cached_property
    def count(self) -> int:
        """Number of rows, which is the number of equations per output channel."""
        return sum(self.sizes)

    @property
    def dropped(self) -> int:
        """Number of outputs that are excluded."""
        return sum(map(math.prod, self.shapes)) - self.count

    @cached_property
    def used(self) -> list[int]:
        """The records that have rows."""
        return [i for i, size in enumerate(self.sizes) if size]

    @cached_property
    def lengths(self) -> list[int]:
        """Length along the first axis of every record that has rows; 0 for the others."""
        return [
            shape[0] if size else 0 for shape, size in zip(self.shapes, self.sizes, strict=True)
        ]

    @property
    def in_y(self) -> list[tuple[np.ndarray, ...]]:
        """Indices of the outputs of every record in the user's y, along each axis."""
        return [
            tuple(start + np.arange(n) for start, n in zip(self.starts, shape, strict=True))
            for shape in self.shapes
        ]

    def flags_of(self, record: int) -> np.ndarray:
        """Return the flags (*T) of a record, True for outputs used in the fit."""
        return np.ones(self.shapes[record], bool) if self.flags is None else self.flags[record]

    def flagged(self, flags: tuple[np.ndarray, ...]) -> Rows:
        """Return the rows with other flags."""
        return replace(self, flags=None if all(f.all() for f in flags) else flags)

    def of_span(self, span: Span) -> np.ndarray | None:
        """Return the flags of the outputs of a span; None if all are used."""
        i, start, stop = span
        flags = None if self.flags is None else self.flags[i][start:stop]
        return None if flags is None or flags.all() else flags

    def rows_of(self, span: Span) -> int:
        """Return the number of rows of a span."""
        i, start, stop = span
        if self.flags is None:
            return (stop - start) * math.prod(self.shapes[i][1:])
        return int(np.count_nonzero(self.flags[i][start:stop]))

    def select(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the rows (n, …) used in the fit of arrays (*T, …), one array per record.

        The arrays are returned unchanged if all rows are used.
        """
        if self.flags is None:
            return [*arrays]
        return [a[flags] for a, flags in zip(arrays, self.flags, strict=True)]

    def some(self, spans: Sequence[Span]) -> list[np.ndarray] | None:
        """Return the flags of some spans; None if all rows are used."""
        if self.flags is None:
            return None
        return [self.flags[i][start:stop] for i, start, stop in spans]

    def pieces(self, gap: int) -> list[Span]:
        """Return the spans of the records that have rows, cut at gaps and trimmed at both ends.

        A gap is a run of ``gap`` or more excluded outputs along the first axis.
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
    """Return flags (*T) of the rows of a record of ``lengths`` (*W) that read no padding zeros."""
    found = np.ones(spec.output_shape(lengths), bool)
    axes = zip(lengths, spec._offset(lengths), spec.stride, spec._span, strict=True)
    for axis, (length, lo, stride, span) in enumerate(axes):
        first = np.arange(found.shape[axis]) * stride - lo
        inside = (first >= 0) & (first + span <= length)
        found &= inside.reshape([-1 if i == axis else 1 for i in range(found.ndim)])
    return found


def rows_reading(samples: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Return flags (*T) of the rows of a record that read any of the flagged ``samples`` (*W)."""
    found, lengths = samples, samples.shape
    axes = zip(lengths, spec._offset(lengths), spec._extent(lengths), strict=True)
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
    """Return, for each position, whether any of ``several`` flags, ``apart`` apart, is True."""
    found, reach = line, 1
    while reach < several:
        step = min(reach, several - reach)
        found = found[: len(found) - step * apart] | found[step * apart :]
        reach += step
    return found


def samples_read(rows: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Return flags (*E) of the samples that any of the flagged ``rows`` (*T) read.

    The record is in normal form.
    """
    found = rows
    axes = enumerate(zip(spec.kernel_size, spec.stride, spec.dilation, strict=True))
    for axis, (k, s, d) in axes:
        moved = np.moveaxis(found, axis, 0)
        # A sample is read by rows whose first sample is it, or up to K − 1 steps of d before it.
        before, extent = (k - 1) * d, (len(moved) - 1) * s + 1
        line = np.zeros((extent + 2 * before, *moved.shape[1:]), bool)
        line[before : before + extent : s] = moved
        found = np.moveaxis(_any_of(line, k, d), 0, axis)
    return found
