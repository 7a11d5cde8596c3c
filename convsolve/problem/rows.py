"""Rows of the design matrix: which samples of y are used, their weights, cuts at gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np

from ..cached import cached_property
from ..text import shown
from .records import Records, by_rows
from .spec import ConvSpec, Shape

# A record, and the first and the end row along the first axis of y.
Span = tuple[int, int, int]
# Flags (*T, 1 or Cout) of every record.
Flags = Sequence[np.ndarray]


@dataclass(frozen=True)
class Rows:
    """The outputs (*T) of every record that are used in the fit.

    The rows are ordered by record, and in C order within a record.

    Attributes:
        shapes: (*T) of every record. A record that is too short for a window has a 0 in it.
        starts: index of the first row in the user's y, along each axis.
        flags: (*T) of every record, True for outputs used in the fit; None if all are used.
    """

    shapes: tuple[Shape, ...]
    starts: Shape
    flags: tuple[np.ndarray, ...] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, spec: ConvSpec, lengths: Iterable[Shape], starts: Shape = ()) -> Rows:
        """Return the rows of records of some ``lengths`` (*W)."""
        return cls(tuple(map(spec.output_shape, lengths)), starts or (0,) * spec.ndim)

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

    @property
    def lengths(self) -> list[int]:
        """Length along the first axis of every record that has rows; 0 for the others."""
        return [s[0] if size else 0 for s, size in zip(self.shapes, self.sizes, strict=True)]

    def first_axis(self, record: int) -> np.ndarray:
        """Return the indices of the rows of a record in the user's y, along the first axis."""
        return self.starts[0] + np.arange(self.shapes[record][0])

    def of_y(self, values: Sequence[Any]) -> list[Any]:
        """Return the rows of values (*W, …) laid out as y; a number per record is unchanged."""
        several = (zip(self.starts, shape, strict=True) for shape in self.shapes)
        keys = (tuple(slice(start, start + n) for start, n in axes) for axes in several)
        return [v[key] if np.ndim(v) else v for v, key in zip(values, keys, strict=True)]

    def flags_of(self, record: int) -> np.ndarray:
        """Return the flags (*T) of a record, True for outputs used in the fit."""
        # No copy, which may not fit into memory.
        return np.broadcast_to(
            True if self.flags is None else self.flags[record], self.shapes[record]
        )

    def flagged(self, flags: Sequence[np.ndarray]) -> Rows:
        """Return the rows with other flags."""
        if all(map(np.all, flags)):
            return replace(self, flags=None)
        pairs = zip(flags, self.shapes, strict=True)
        return replace(self, flags=tuple(np.broadcast_to(f, s) for f, s in pairs))

    def of_span(self, span: Span) -> np.ndarray:
        """Return the flags of the outputs of a span."""
        return self.flags_of(span[0])[span[1] : span[2]]

    def rows_of(self, span: Span) -> int:
        """Return the number of rows of a span."""
        return int(np.count_nonzero(self.of_span(span)))

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


# Groups of outputs that use the same rows, each with its rows.
ByOutputs = tuple[tuple[tuple[int, ...], Rows], ...]


def used_rows(
    rows: Rows, like: Sequence[Shape], x: Records, y: Records | None, spec: ConvSpec,
    given: tuple[Any, Any], missing: str, outputs: int,
) -> tuple[ByOutputs, Weights | None]:  # fmt: skip
    """Return groups of outputs that use the same rows, with their rows, and the weights.

    Rows that the mask excludes, that have zero weight or that read missing samples are excluded.
    A mask and weights are ``given`` for records of y of shapes ``like``, or None. Outputs of
    several groups are listed together only if all outputs use the same rows.

    Raises:
        TypeError, ValueError: If the mask or the weights are not valid. If a row that they include
            has a missing sample, unless ``missing`` is "drop".
    """
    (mask, weights), roots = given, None
    stated: list[Flags] = [] if mask is None else [rows.of_y(_read_mask(mask, like, outputs))]
    if weights is not None:
        values = rows.of_y(_read_weights(weights, like))
        roots = None if all((w == 1).all() for w in values) else Weights.of_squares(values)
        if not all((w > 0).all() for w in values):
            pairs = zip(values, rows.shapes, strict=True)
            stated.append([np.broadcast_to(w > 0, shape)[..., None] for w, shape in pairs])
    read = known_rows(x, spec, rows.shapes)
    known: list[Flags] = [] if read is None else [read]
    if y is not None and y.missing is not None:
        known.append([~gaps for gaps in y.missing])
    if missing == "raise" and stated and known:
        both = zip(_all(stated), _all(known), strict=True)
        if any((wanted & ~there).any() for wanted, there in both):
            raise ValueError("x or y has NaN in rows that the mask keeps; use missing='drop'")
    left = _all([*stated, *known] or [[np.ones((1,) * (spec.ndim + 1), bool)] * len(like)])
    alike = all((flags == flags[..., :1]).all() for flags in left)
    found: dict[Any, list[int]] = {}
    for q in range(outputs):
        own = () if alike else (f[..., q % f.shape[-1]].tobytes() for f in left)
        found.setdefault(alike or (q // (outputs // spec.groups), *own), []).append(q)
    several = ((q, [f[..., q[0] % f.shape[-1]] for f in left]) for q in found.values())
    return tuple((tuple(some), rows.flagged(flags)) for some, flags in several), roots


def _all(several: Sequence[Flags]) -> list[np.ndarray]:
    """Return where all of several flags are True, for every record."""
    return [reduce(np.logical_and, flags) for flags in zip(*several, strict=True)]


def _read_mask(mask: Any, like: Sequence[Shape], outputs: int) -> list[np.ndarray]:
    """Return a mask as flags (*T, 1 or Cout) of every record, for records of y of shapes ``like``.

    Raises:
        TypeError, ValueError: If the mask is not boolean, or is not shaped as y.
    """
    found = []
    for name, flags, shape in by_rows(mask, "mask", like):
        if flags.dtype != bool:
            raise TypeError(f"{name} must be boolean, got {shown(flags)} of type {flags.dtype}")
        flags = flags[..., None] if flags.shape == shape else flags
        if flags.shape not in ((*shape, 1), (*shape, outputs)):
            raise ValueError(f"{name} has shape {flags.shape}, y {(*shape, outputs)}")
        found.append(flags)
    return found


@dataclass(frozen=True)
class Weights:
    """Square roots of the weights of all records.

    Attributes:
        roots: the root of the weight of every record, (), or the roots of the weights of its rows,
            (*T).
    """

    roots: tuple[np.ndarray, ...]

    @classmethod
    def of_squares(cls, weights: Sequence[np.ndarray]) -> Weights:
        """Return the roots of weights, () or (*T) per record. Equal weights of rows become one."""
        alike = (w.ravel()[0] if w.size and (w == w.ravel()[0]).all() else w for w in weights)
        return cls(tuple(np.sqrt(w) for w in alike))

    def some(self, places: Iterable[tuple[int, slice]]) -> Weights:
        """Return the weights of some rows along the first axis, one record for each place."""
        pairs = ((self.roots[i], key) for i, key in places)
        return Weights(tuple(root[key] if root.ndim else root for root, key in pairs))

    @property
    def by_record(self) -> bool:
        """Whether all rows of a record have the same weight."""
        return all(root.ndim == 0 for root in self.roots)

    def of_rows(self, record: int, flags: np.ndarray) -> np.ndarray:
        """Return the roots (n,) of the rows of a record that are used in the fit."""
        return np.asarray(np.broadcast_to(self.roots[record], flags.shape)[flags])


def _read_weights(weights: Any, like: Sequence[Shape]) -> list[np.ndarray]:
    """Return weights as arrays, () per record or (*T), for records of y of shapes ``like``.

    Raises:
        TypeError: If the weights are not real numbers.
        ValueError: If a weight is negative or not finite. If the shapes are neither those of
            records nor those of rows.
    """
    weights = weights if isinstance(weights, (list, tuple)) or np.ndim(weights) else [weights]
    alone = len(weights) == len(like) and all(np.ndim(w) == 0 for w in weights)
    given = [("weights", w, ()) for w in weights] if alone else by_rows(weights, "weights", like)
    found = []
    for name, rows, shape in given:
        own = np.asarray(rows)
        if own.dtype.kind not in "biuf":
            raise TypeError(f"{name} must be real numbers, got {shown(rows)}")
        if own.shape not in (shape, (*shape, 1)):
            raise ValueError(f"{name} has shape {own.shape}, one channel of y {shape}")
        if not (np.isfinite(own).all() and (own >= 0).all()):
            raise ValueError(f"{name} must be finite and not negative")
        found.append(own.reshape(shape).astype(float))
    return found


def whole_rows(spec: ConvSpec, lengths: Shape) -> np.ndarray:
    """Return flags (*T) of the rows of a record of ``lengths`` (*W) that read no padding zeros."""
    layout = spec.output_shape(lengths), spec._offset(lengths), spec.stride, spec._span
    inside = []
    for w, rows, lo, stride, span in zip(lengths, *layout, strict=True):
        first = np.arange(rows) * stride - lo
        inside.append((first >= 0) & (first + span <= w) | (spec.padding == "circular"))
    return np.asarray(reduce(np.logical_and.outer, inside))


def known_rows(x: Records, spec: ConvSpec, shapes: Sequence[Shape]) -> Flags | None:
    """Return flags (*T, 1) of rows that read no missing sample of x; None if none is missing."""
    if x.missing is None:
        return None
    gaps = (np.asarray(missing.any(-1)) for missing in x.missing)
    # A record that is too short has no rows.
    return [
        ~rows_reading(gap, spec)[..., None] if gap.any() and all(s) else np.ones((*s, 1), bool)
        for gap, s in zip(gaps, shapes, strict=True)
    ]


def rows_reading(samples: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Return flags (*T) of the rows of a record that read any of the flagged ``samples`` (*W)."""
    found, lengths = samples, samples.shape
    axes = zip(lengths, spec._offset(lengths), spec._extent(lengths), strict=True)
    for axis, (length, lo, extent) in enumerate(axes):
        at = np.arange(extent) - lo
        inside = (at >= 0) & (at < length) | (spec.padding == "circular")
        line = np.moveaxis(found, axis, 0)[at % max(length, 1)]
        line[~inside] = False
        line = _any_of(line, spec.kernel_size[axis], spec.dilation[axis])
        found = np.moveaxis(line[:: spec.stride[axis]], 0, axis)
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
