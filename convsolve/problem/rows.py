"""Rows of the design matrix: which samples of y are used, their weights, cuts at gaps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from ..text import count, shown
from .records import Records, lists_arrays, numbers
from .spec import ConvSpec, Shape

# A record, and the first and the end row along the first axis of y.
Span = tuple[int, int, int]
# Flags (*T, 1 or Cout) of every record.
Flags = Sequence[np.ndarray]


class Rows:
    """The outputs (*T) of every record that are used in the fit.

    The rows are ordered by record, and in C order within a record.

    Attributes:
        shapes: (*T) of every record. A record that is too short for a window has a 0 in it.
        flags: (*T) of every record, True for outputs used in the fit; None if all are used.
        sizes: number of rows of every record.
        count: number of rows, which is the number of equations per output channel.
        used: the records that have rows.
    """

    def __init__(
        self, shapes: tuple[Shape, ...], flags: tuple[np.ndarray, ...] | None = None
    ) -> None:
        self.shapes, self.flags = shapes, flags
        counts = map(math.prod, shapes) if flags is None else map(np.count_nonzero, flags)
        self.sizes = [*map(int, counts)]
        self.count = sum(self.sizes)
        self.used = [i for i, size in enumerate(self.sizes) if size]

    @classmethod
    def of(cls, spec: ConvSpec, lengths: Sequence[Shape]) -> Rows:
        """Return the rows of records of some ``lengths`` (*W)."""
        shapes = {shape: spec.output_shape(shape) for shape in {*lengths}}
        return cls(tuple(shapes[shape] for shape in lengths))

    @property
    def dropped(self) -> int:
        """Number of outputs that are excluded."""
        return sum(map(math.prod, self.shapes)) - self.count

    @property
    def lengths(self) -> list[int]:
        """Length along the first axis of every record that has rows; 0 for the others."""
        return [s[0] if size else 0 for s, size in zip(self.shapes, self.sizes, strict=True)]

    def flags_of(self, record: int) -> np.ndarray:
        """Return the flags (*T) of a record, True for outputs used in the fit."""
        # No copy, which may not fit into memory.
        flags = True if self.flags is None else self.flags[record]
        return np.broadcast_to(flags, self.shapes[record])

    def flagged(self, flags: Sequence[np.ndarray]) -> Rows:
        """Return the rows with other flags."""
        whole = all(f.all() for f in flags)
        return Rows(self.shapes, None if whole else tuple(map(np.broadcast_to, flags, self.shapes)))

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
        found: list[Span] = []
        for i in self.used:
            places = np.flatnonzero(self.flags[i].reshape(len(self.flags[i]), -1).any(1))
            parts = np.split(places, np.flatnonzero(np.diff(places) > gap) + 1)
            found += [(i, int(part[0]), int(part[-1]) + 1) for part in parts]
        return found


# Groups of outputs that use the same rows, each with its rows.
ByOutputs = tuple[tuple[tuple[int, ...], Rows], ...]
# Square roots of the weights of every record, () or, if its rows differ in weight, (*T).
Roots = tuple[np.ndarray, ...]


def root_of_rows(root: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Return the roots (n,) of the weights of the flagged rows (*T) of a record."""
    return np.asarray(np.broadcast_to(root, flags.shape)[flags])


def used_rows(
    rows: Rows, like: Sequence[Shape], cut: Callable[[Any], list[np.ndarray]],
    data: tuple[Records, Records | None, Records | None], spec: ConvSpec,
    given: tuple[Any, Any], missing: str, outputs: int,
) -> tuple[ByOutputs, Roots | None]:  # fmt: skip
    """Return groups of outputs that use the same rows, with their rows, and the weights.

    Rows that the mask excludes, that have zero weight or that read missing samples of the ``data``,
    which are x, y and confounds, are excluded.
    A mask and weights are ``given`` for records of y of shapes ``like``, or None. ``cut`` returns
    the rows of such values. Outputs of several groups are listed together only if all outputs use
    the same rows.

    Raises:
        TypeError, ValueError: If the mask or the weights are not valid. If a row that they include
            has a missing sample, unless ``missing`` is "drop".
    """
    (mask, weights), roots = given, None
    stated: list[Flags] = []
    if mask is not None:
        stated.append(cut(_per_row(mask, "mask", like, "b", (1, outputs))))
    if weights is not None:
        values = cut(_read_weights(weights, like))
        if not all((w == 1).all() for w in values):
            alike = (w.ravel()[0] if w.size and (w == w.ravel()[0]).all() else w for w in values)
            roots = tuple(np.sqrt(w) for w in alike)
        if not all((w > 0).all() for w in values):
            pairs = zip(values, rows.shapes, strict=True)
            stated.append([np.broadcast_to(w > 0, shape)[..., None] for w, shape in pairs])
    known = _known(*data, spec, missing)
    if not (stated or known):
        return ((tuple(range(outputs)), rows),), roots
    if missing == "raise" and stated and known:
        both = zip(_all(stated), _all(known), strict=True)
        if any((wanted & ~there).any() for wanted, there in both):
            raise ValueError("x or y has NaN in rows that the mask keeps; use missing='drop'")
    return _by_outputs(rows, _all([*stated, *known]), outputs, spec.groups), roots


def _known(
    x: Records, y: Records | None, confounds: Records | None, spec: ConvSpec, missing: str
) -> list[Flags]:
    """Return flags of the rows that read no missing sample, for each of the records with any."""
    known: list[Flags] = []
    if x.missing is not None:
        known.append([~rows_reading(gaps.any(-1), spec)[..., None] for gaps in x.missing])
    if y is not None and y.missing is not None:
        known.append([~gaps for gaps in y.missing])
    if missing == "drop" and confounds is not None and confounds.missing is not None:
        known.append([~gaps.any(-1, keepdims=True) for gaps in confounds.missing])
    return known


def _by_outputs(rows: Rows, left: Flags, outputs: int, groups: int) -> ByOutputs:
    """Return groups of outputs that use the same rows, for flags of the rows that are left."""
    alike = all((flags == flags[..., :1]).all() for flags in left)
    found: dict[Any, list[int]] = {}
    for q in range(outputs):
        own = () if alike else (f[..., q % f.shape[-1]].tobytes() for f in left)
        found.setdefault(alike or (q // (outputs // groups), *own), []).append(q)
    several = ((q, [f[..., q[0] % f.shape[-1]] for f in left]) for q in found.values())
    return tuple((tuple(some), rows.flagged(flags)) for some, flags in several)


def _all(several: Sequence[Flags]) -> list[np.ndarray]:
    """Return where all of several flags are True, for every record."""
    return [reduce(np.logical_and, flags) for flags in zip(*several, strict=True)]


def _read_weights(weights: Any, like: Sequence[Shape]) -> list[np.ndarray]:
    """Return weights, () per record or (*T), for records of y of shapes ``like``."""
    weights = weights if isinstance(weights, (list, tuple)) or np.ndim(weights) else [weights]
    alone = len(weights) == len(like) and all(np.ndim(w) == 0 for w in weights)
    shapes = [()] * len(like) if alone else like
    found = [w[..., 0] for w in _per_row(weights, "weights", shapes, "biuf", (1,))]
    if not all((np.isfinite(w) & (w >= 0)).all() for w in found):
        raise ValueError("weights must be finite and not negative")
    return [w.astype(float) for w in found]


def _per_row(
    value: Any, name: str, like: Sequence[Shape], kinds: str, widths: tuple[int, ...]
) -> list[np.ndarray]:
    """Return an array (*T, 1 or more) for each record of y, of shapes ``like``.

    Args:
        value: a list of arrays, a batch, or the array of a single record.
        name: name of the argument for error messages.
        like: shapes (*T) of the records of y.
        kinds: kinds of the types that are allowed.
        widths: lengths of the last axis that are allowed.

    Raises:
        TypeError: If an array is of another type.
        ValueError: If there are more or fewer arrays than records, or shapes do not fit.
    """
    given = lists_arrays(value)
    several = [np.asarray(numbers(v, name)) for v in (value if given else [value])]
    if not given and several[0].shape[: 1 + len(like[0])] == (len(like), *like[0]):
        several = [*several[0]]
    if len(several) != len(like):
        records = count(len(several), "record")
        raise ValueError(f"{name} has {records}, y {count(len(like), 'record')}")
    found = []
    for i, (a, shape) in enumerate(zip(several, like, strict=True)):
        label = f"{name}[{i}]" if len(like) > 1 else name
        if a.dtype.kind not in kinds:
            wanted = "boolean" if kinds == "b" else "real numbers"
            raise TypeError(f"{label} must be {wanted}, got {shown(a)} of type {a.dtype}")
        if a.shape != shape and (a.shape[:-1] != shape or a.shape[-1] not in widths):
            raise ValueError(f"{label} has shape {a.shape}, y {(*shape, widths[-1])}")
        found.append(a[..., None] if a.shape == shape else a)
    return found


def rows_reading(samples: np.ndarray, spec: ConvSpec, *, padding: bool = False) -> np.ndarray:
    """Return flags (*T) of the rows of a record that read any of the flagged ``samples`` (*W).

    The flag of samples outside is ``padding``.
    """
    found, lengths = samples, samples.shape
    if not all(spec.output_shape(lengths)):
        return np.zeros(spec.output_shape(lengths), bool)
    axes = zip(lengths, spec._offset(lengths), spec._extent(lengths), strict=True)
    for axis, (length, lo, extent) in enumerate(axes):
        at = np.arange(extent) - lo
        line = np.moveaxis(found, axis, 0)[at % length]
        if spec.padding != "circular":
            line[(at < 0) | (at >= length)] = padding
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
