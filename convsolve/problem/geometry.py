"""The geometry of a problem: the same for lags, times and layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from operator import add
from typing import Any

import numpy as np

from ..text import shown
from .checks import choice, integer, number, pairs, per_axis
from .spec import ConvSpec, Shape

EDGES = ("drop", "zeros", "circular")
# The ways to state a geometry.
STATED = "one of lags=(first, last) in samples, tmin= and tmax= with fs=, kernel_size=, and spec="


@dataclass(frozen=True)
class Geometry:
    """Which samples of x every row reads, and at which lags.

    Attributes:
        spec: the rows as outputs of a layer.
        shift: the number added to the lags of the layer, per axis. It is the sample of x at
            the first row, if lags were stated.
        edges: "drop", "zeros" or "circular" if lags were stated. Then y has a sample for every
            ``stride`` samples of x. Empty for a layer, whose y has the rows alone.
        is_sure: whether the number of axes was stated, and does not follow from an integer.
        windows: first and last lag by channel, of which the lags are the union; or None.
    """

    spec: ConvSpec
    shift: Shape
    edges: str = ""
    is_sure: bool = True
    windows: Any = field(default=None, compare=False)

    @classmethod
    def of_lags(cls, lags: Any, edges: str = "drop", stride: Any = 1, groups: int = 1) -> Geometry:
        """Return the geometry of lags (first, last), of one such pair per axis, or by channel.

        Three or more consecutive integers are the lags along one axis.

        Raises:
            TypeError, ValueError: If they are not pairs of integers in ascending order, or the
                edges are unknown.
        """
        choice(edges, "edges", EDGES)
        if isinstance(lags, Mapping):
            several = [read_bounds(window)[0] for window in lags.values()]
            if {*map(len, several)} != {1}:
                raise ValueError(f"lags={shown(lags)} must have (first, last) of every channel")
            ends = [bounds[0] for bounds in several]
            union = min(a for a, _ in ends), max(b for _, b in ends)
            made = cls.of_lags([union], edges, stride, groups)
            return replace(made, windows=dict(zip(lags, ends, strict=True)))
        bounds, is_sure = read_bounds(lags)
        stride = per_axis(stride, "stride", len(bounds))
        return _of_bounds(bounds, edges, stride, integer(groups, "groups"), is_sure)

    @classmethod
    def stated(
        cls, lags: Any, tmin: Any, tmax: Any, fs: Any, edges: Any, size: Any, spec: Any, layer: Any
    ) -> Geometry:
        """Return the geometry of arguments of a problem; ``layer`` has arguments of a `ConvSpec`.

        Raises:
            TypeError, ValueError: If the geometry is given twice or not at all, or is not valid.
        """
        times = None if tmin is None and tmax is None else (tmin, tmax)
        ways = {"lags": lags, "tmin": times, "kernel_size": size, "spec": spec}
        given = [way for way, value in ways.items() if value is not None]
        if len(given) != 1:
            raise TypeError(f"give {STATED}" + f", not {'= and '.join(given)}=" * bool(given))
        used = {"spec": (), "kernel_size": (*layer,)}.get(given[0], ("edges", "stride", "groups"))
        for name, value in {**layer, "edges": edges}.items():
            usual = {"edges": "drop", "padding": "valid"}.get(name, 1)
            if name not in used and not (isinstance(value, (int, str)) and value == usual):
                raise TypeError(f"{name}= cannot be combined with {given[0]}=")
        if given[0] in ("spec", "kernel_size"):
            spec = ConvSpec(size, **layer) if spec is None else spec
            if not isinstance(spec, ConvSpec):
                raise TypeError(f"spec must be a ConvSpec, got {type(spec).__name__}")
            is_sure = size is None or isinstance(size, (tuple, list))
            return cls(spec, (0,) * spec.ndim, "", is_sure)
        lags = lags if times is None else lags_of_times(tmin, tmax, fs)
        return cls.of_lags(lags, edges, layer["stride"], layer["groups"])

    def lags(self, shape: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Return the lag of every tap along each axis, in kernel order, for records of a shape."""
        own = self.spec._lags(shape)
        pairs = zip(own, self.shift, strict=True)
        return tuple(lags + shift if shift else lags for lags, shift in pairs)

    def bounds(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        """Return the first and the last lag of every axis, for records of a shape."""
        return [(int(axis[-1]), int(axis[0])) for axis in self.lags(shape)]

    def in_rows(self, values: Sequence[Any], shapes: Sequence[Shape]) -> list[Any]:
        """Return the rows of values (*W, …) laid out as y; a number per record is unchanged."""
        if self.edges != "drop":
            return [*values]
        first = [s // stride for s, stride in zip(self.shift, self.spec.stride, strict=True)]
        keys = {shape: tuple(map(slice, first, map(add, first, shape))) for shape in {*shapes}}
        pairs = zip(values, shapes, strict=True)
        return [v[keys[shape]] if np.ndim(v) else v for v, shape in pairs]

    def y_shape(self, shape: Sequence[int]) -> Shape:
        """Return the samples of y along each axis for a record of x of ``shape`` samples."""
        if not self.edges:
            return self.spec.output_shape(shape)
        return tuple(-(-w // s) for w, s in zip(shape, self.spec.stride, strict=True))

    def around(self, first: int, last: int, shape: Sequence[int]) -> tuple[slice, int]:
        """Return samples of x along the first axis that some rows read, and their first row.

        As a record of their own, these samples have rows from this row on. Rows before ``first``
        and after ``last`` may read zeros instead of samples.
        """
        spec, samples, stride = self.spec, shape[0], self.spec.stride[0]
        if spec.padding == "circular" or (spec.padding == "same" and stride > 1):
            return slice(0, samples), 0
        lo, hi = spec._ends(0, samples)
        begin = min(max(first + min(-lo // stride, 0), 0), (samples - 1) // stride)
        end = (last - 1) * stride + spec._span[0] - lo - min(hi, 0)
        return slice(begin * stride, max(min(end, samples), begin * stride + 1)), begin

    def narrowed(self, first: int, last: int, shape: Sequence[int]) -> Geometry:
        """Return the geometry of the same rows, with the taps of some ascending lags only.

        The records have a ``shape`` with one axis. Samples that are no longer read are cropped.
        """
        spec, (d,), (lo, hi) = self.spec, self.spec.dilation, self.spec._ends(0, shape[0])
        # The largest lag is the first of a kernel.
        size, lo = (last - first + 1,), lo - (spec.kernel_size[0] - 1 - last) * d
        if spec.padding == "circular":
            spec = replace(spec, kernel_size=size, lo=(lo,))
        else:
            spec = replace(spec, kernel_size=size, padding=((lo, hi - first * d),))
        return replace(self, spec=spec, windows=None)


@lru_cache
def _of_bounds(
    bounds: tuple[tuple[int, int], ...], edges: str, stride: Shape, groups: int, is_sure: bool
) -> Geometry:
    """Return the geometry of the first and the last lag of every axis."""
    first, last = (tuple(ends) for ends in zip(*bounds, strict=True))
    size = tuple(b - a + 1 for a, b in bounds)
    shift, hi = (0,) * len(size), tuple(-a for a in first)
    if edges == "drop":
        # The first row whose window begins inside the record.
        shift = tuple(-(-max(0, b) // s) * s for b, s in zip(last, stride, strict=True))
        hi = tuple(-max(0, a) for a in first)
    lo = tuple(b - moved for b, moved in zip(last, shift, strict=True))
    if edges == "circular":
        spec = ConvSpec(size, stride, edges, groups=groups, lo=lo)
    else:
        spec = ConvSpec(size, stride, tuple(zip(lo, hi, strict=True)), groups=groups)
    return Geometry(spec, shift, edges, is_sure)


def read_bounds(lags: Any) -> tuple[tuple[tuple[int, int], ...], bool]:
    """Return the first and the last lag of every axis, and whether they were given per axis."""
    listed = lags.tolist() if isinstance(lags, np.ndarray) else lags
    if not isinstance(listed, (tuple, list, range)) or not listed:
        raise TypeError(f"lags must be (first, last) in samples, got {shown(lags)}")
    by_axis = all(isinstance(v, (tuple, list, range, np.ndarray)) for v in listed)
    several = [_ends(v) for v in (listed if by_axis else [listed])]
    if any(isinstance(v, (float, np.floating)) for axis in several for v in axis):
        raise TypeError(
            f"lags={shown(lags)} must be whole, in samples; tmin= and tmax= are in seconds"
        )
    bounds = pairs(several, "lags", len(several))
    if any(a > b for a, b in bounds):
        raise ValueError(f"lags={shown(lags)}: the first lag must not exceed the last")
    return bounds, by_axis


def _ends(given: Any) -> list[Any]:
    """Return the first and the last of consecutive integers; other values unchanged."""
    listed = [*given]
    several = isinstance(given, range) or len(listed) > 2
    consecutive = several and {b - a for a, b in pairwise(listed)} <= {1}
    return [listed[0], listed[-1]] if listed and consecutive else listed


def lags_of_times(tmin: Any, tmax: Any, fs: Any) -> Any:
    """Return lags in samples for times in seconds: one window, or a dict of them by channel.

    If one end is a dict, the other may be one number for all channels. Each end is rounded to the
    nearest sample, half to even.

    Raises:
        TypeError: If one of the three is None or is not a number.
        ValueError: If ``fs`` is not positive, or ``tmin`` exceeds ``tmax``.
    """
    channels = dict.fromkeys(c for end in (tmin, tmax) if isinstance(end, Mapping) for c in end)
    if channels:
        ends = [e if isinstance(e, Mapping) else dict.fromkeys(channels, e) for e in (tmin, tmax)]
        return {c: lags_of_times(ends[0].get(c), ends[1].get(c), fs) for c in channels}
    if any(given is None for given in (tmin, tmax, fs)):
        raise TypeError("lags in seconds need all of tmin=, tmax= and fs=")
    rate = number(fs, "fs")
    first, last = number(tmin, "tmin", -np.inf) * rate, number(tmax, "tmax", -np.inf) * rate
    if first > last:
        raise ValueError(f"tmin={tmin:.3g} must not exceed tmax={tmax:.3g}")
    return round(first), round(last)
