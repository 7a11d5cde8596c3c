"""The geometry of a convolution in plain integers: as a layer, and as lags or times state it."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from operator import add
from typing import Any

import numpy as np

from ..parallel import cached_property
from ..text import shown
from .checks import choice, flag, integer, number, pairs, per_axis

PADDINGS = ("valid", "same", "full", "causal", "circular")
EDGES = ("drop", "zeros", "circular")
# A ratio of sampling rates is a whole number up to this share.
SAME_RATE = 1e-6
# The ways to state a geometry.
STATED = "one of lags=(first, last) in samples, tmin= and tmax= with fs=, kernel_size=, and spec="

Ints = int | Sequence[int]
Padding = str | int | Sequence[tuple[int, int]]
Shape = tuple[int, ...]


def smallest(enough: Callable[[int], bool]) -> int:
    """Return the smallest positive integer for which ``enough`` is True, and stays True."""
    high = 1
    while not enough(high):
        high *= 2
    return bisect_left(range(high), True, high // 2 + 1, key=enough)


@dataclass(frozen=True)
class ConvSpec:
    """Geometry of a convolution in one to three dimensions.

    The convolution is a *cross-correlation*, as in every deep-learning framework, channels last::

        y[n, t, o] = b[o] + sum_{k, c} x[n, t*stride + k*dilation - lo, g(o)*Cg + c] * w[k, c, o]

    Along an axis of W samples with K taps, stride s and dilation d, ``padding`` determines ``lo``
    and the number of outputs:

    ========== ======================================== ===================================
    padding    lo                                       outputs
    ========== ======================================== ===================================
    valid      0                                        max(0, floor((W-(K-1)d-1)/s) + 1)
    full       (K-1)d                                   floor((W+(K-1)d-1)/s) + 1
    causal     (K-1)d                                   T = ceil(W/s)
    same       floor(max((T-1)s+(K-1)d+1-W, 0)/2)       T = ceil(W/s)
    circular   floor((K-1)d/2), wraps                   T = ceil(W/s)
    ========== ======================================== ===================================

    Args:
        kernel_size: number of taps, an integer for one axis, or one per axis.
        stride: samples between outputs, an integer or one per axis. Default 1.
        padding: a name from the table, "valid" by default. ``((lo, hi), ...)``, one pair per axis,
            is the number of zeros added before and after the record. Negative numbers crop it. An
            integer is the number of zeros at all ends.
        dilation: samples between taps, an integer or one per axis. Default 1.
        groups: number of groups of channels that are convolved separately. Default 1.
        lo: for padding "circular" only, ``lo`` of every axis. None, the default, is ``lo`` of the
            table.

    Raises:
        TypeError: If a size is not an integer (bool is not one).
        ValueError: If a size is below 1, if the padding is unknown, or if a number of entries is
            not the number of axes.

    Examples:
        >>> import convsolve as cs
        >>> spec = cs.ConvSpec(kernel_size=3, padding="causal", dilation=2)
        >>> spec.lags((100,)), spec.output_shape((100,))
        (array([4, 2, 0]), (100,))

    See Also:
        `Problem`, which also takes lags instead.
    """

    kernel_size: Shape
    stride: Shape = 1  # type: ignore[assignment]  # an int is read as one per axis
    padding: str | tuple[tuple[int, int], ...] = "valid"
    dilation: Shape = 1  # type: ignore[assignment]
    groups: int = 1
    lo: Shape | None = None

    def __post_init__(self) -> None:
        given: Any = self.kernel_size
        size = given if isinstance(given, (tuple, list)) else (given,)
        if not 1 <= len(size) <= 3:
            raise ValueError(f"kernel_size={shown(size)} has {len(size)} axes, not 1 to 3")
        padding: Any = self.padding
        if isinstance(padding, str):
            padding = choice(padding.lower(), "padding", PADDINGS, " or ((lo, hi), ...)")
        else:
            each = isinstance(padding, (tuple, list))
            padding = pairs(padding if each else [(padding,) * 2] * len(size), "padding", len(size))
        if self.lo is not None and padding != "circular":
            raise ValueError(f"lo={shown(self.lo)} requires padding='circular'")
        lo = None if self.lo is None else per_axis(self.lo, "lo", len(size), -math.inf)
        own = {"kernel_size": size, "stride": self.stride, "dilation": self.dilation}
        sizes = {name: per_axis(value, name, len(size)) for name, value in own.items()}
        vars(self).update(sizes, padding=padding, groups=integer(self.groups, "groups"), lo=lo)

    @property
    def ndim(self) -> int:
        """Number of kernel axes."""
        return len(self.kernel_size)

    @cached_property
    def _long_axis(self) -> int:
        """The axis of most taps, which comes first in sums and in rows."""
        return self.kernel_size.index(max(self.kernel_size))

    @cached_property
    def _span(self) -> Shape:
        """Samples that one window covers along each axis, (K-1)·dilation + 1."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))

    def output_shape(self, shape: int | Sequence[int]) -> Shape:
        """Return outputs along each axis for a record of ``shape`` samples; 0 if no window fits."""
        return _layout(self, (shape,) if isinstance(shape, int) else tuple(shape))[0]

    def _offset(self, shape: Sequence[int]) -> Shape:
        """``lo`` of each axis: the zeros (or wrapped samples) in front of a record."""
        return _layout(self, tuple(shape))[1]

    def _extent(self, shape: Sequence[int]) -> Shape:
        """Return samples of each axis that windows read with padding: (T-1)·stride + span, or 0."""
        return _layout(self, tuple(shape))[2]

    def _ends(self, axis: int, samples: int) -> tuple[int, int]:
        """Return the zeros before and after a record along an axis; samples if it is circular."""
        reach, s = self._span[axis] - 1, self.stride[axis]
        if isinstance(self.padding, tuple):
            return self.padding[axis]
        if self.padding in ("valid", "full"):
            return (reach, reach) if self.padding == "full" else (0, 0)
        lo = reach
        if self.padding == "same":
            lo = max((-(-samples // s) - 1) * s + reach + 1 - samples, 0) // 2
        elif self.padding == "circular":
            lo = reach // 2 if self.lo is None else self.lo[axis]
        return lo, reach - lo

    @cached_property
    def _normal(self) -> ConvSpec:
        """The same windows over records already padded: padding "valid"."""
        return self if self.padding == "valid" else replace(self, padding="valid", lo=None)

    def _reads_all(self, shape: Sequence[int]) -> bool:
        """Return whether windows read every sample of a record.

        With a stride or a dilation, it is not examined and False is returned.
        """
        if {*self.stride, *self.dilation} != {1}:
            return False
        axes = zip(shape, self._offset(shape), self._extent(shape), strict=True)
        return all(0 <= lo <= lo + w <= e for w, lo, e in axes)

    def _unknowns(self, n_channels: int = 1) -> int:
        """Columns of the design matrix of one group: taps × input channels per group."""
        self._check_channels(n_channels)
        return math.prod(self.kernel_size) * (n_channels // self.groups)

    def _check_channels(self, n_channels: int) -> None:
        """Raise a ValueError unless ``groups`` divides the number of input channels."""
        if n_channels % self.groups:
            raise ValueError(f"groups={self.groups} does not divide the {n_channels} channels of x")

    def lags(self, shape: Sequence[int] | None = None) -> np.ndarray | tuple[np.ndarray, ...]:
        """Lag of every tap in kernel order, ``lo - k*dilation``; positive is the past.

        One integer array in one dimension, a tuple of them, one an axis, beyond. The record's
        ``shape`` is needed by ``padding="same"`` alone, where ``lo`` depends on it.
        """
        if shape is None and self.padding == "same":
            raise ValueError("padding='same' places the kernel by the record's shape; give it")
        lags = self._lags(self._span if shape is None else shape)
        return lags[0] if self.ndim == 1 else lags

    def _lags(self, shape: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Return the lag of every tap along each axis, in kernel order."""
        axes = zip(self._offset(shape), self.dilation, self.kernel_size, strict=True)
        return tuple(np.arange(lo, lo - d * k, -d) for lo, d, k in axes)

    def _in_taps(self, lags: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Return lags of every axis in units of the distance of two taps, given in samples."""
        return tuple(axis / d for axis, d in zip(lags, self.dilation, strict=True))

    def minimum_samples(
        self, n_channels: int = 1, *, n_records: int = 1, bias: bool = False
    ) -> int:
        """Return the length of the shortest record from which every tap can be determined.

        In two and three dimensions, it is the side of the smallest square or cube. No shorter x
        determines the kernel. White noise of this length does, unless there are fewer images than
        channels and they are not larger than the kernel. `identify` examines a given x.

        Args:
            n_channels: number of input channels.
            n_records: number of records of this length.
            bias: whether a bias is estimated too.

        Raises:
            TypeError, ValueError: If a count is not a positive integer, or ``bias`` is not a bool.
        """
        n_channels, n_records = integer(n_channels, "n_channels"), integer(n_records, "n_records")
        wanted = self._unknowns(n_channels) + flag(bias, "bias")
        share = Fraction(n_channels // self.groups, n_records)

        def counted(side: int) -> bool:
            return n_records * math.prod(self.output_shape((side,) * self.ndim)) >= wanted

        if self.padding == "circular":
            sizes = list(zip(self.kernel_size, self.dilation, strict=True))
            sides = itertools.count(smallest(counted))
            # Taps a whole turn apart read the same sample.
            return next(n for n in sides if all(n // math.gcd(n, d) >= k for k, d in sizes))
        if self.padding == "valid":
            return smallest(counted)
        return smallest(lambda side: counted(side) and self._rows_per_tap(side) >= share)

    def _rows_per_tap(self, side: int) -> Fraction:
        """Return the smallest number of rows per tap in which a box of taps reads the record.

        If it is smaller than the number of channels, these taps are not unique (Hall's theorem),
        even if there are enough rows in total, because in other rows these taps read zeros.
        """
        poorest = Fraction(1)
        outputs_and_lo = zip(*_layout(self, (side,) * self.ndim)[:2], strict=True)
        for axis, (outputs, lo) in enumerate(outputs_and_lo):
            k, s = self.kernel_size[axis], self.stride[axis]
            reads = np.arange(k) * self.dilation[axis] - lo
            first = np.maximum(-(reads // s), 0)
            last = np.minimum((side - 1 - reads) // s, outputs - 1)
            # Without a stride the fewest rows are linear in the taps.
            lengths = {1, k} if s == 1 else range(1, k + 1)
            rows = {n: int((last[: k - n + 1] - first[n - 1 :]).min()) + 1 for n in lengths}
            poorest *= max(min(Fraction(r, n) for n, r in rows.items()), Fraction(0))
        return poorest


@lru_cache(maxsize=1024)
def _layout(spec: ConvSpec, shape: Shape) -> tuple[Shape, ...]:
    """Return outputs, ``lo`` and extents of all axes, for records of ``shape`` samples."""
    if len(shape) != spec.ndim:
        raise ValueError(f"shape={shape} must have {spec.ndim} axes, as the kernel has")
    axes = []
    for axis, (w, s, span) in enumerate(zip(shape, spec.stride, spec._span, strict=True)):
        # Results are shared by equal shapes, so they are ints even if NumPy counted the samples.
        w = int(w)
        lo, hi = spec._ends(axis, w)
        outputs = max((w + lo + hi - span) // s + 1, 0)
        axes.append((outputs, lo, (outputs - 1) * s + span if outputs else 0))
    return tuple(zip(*axes, strict=True))


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
    consecutive = several and {b - a for a, b in itertools.pairwise(listed)} <= {1}
    return [listed[0], listed[-1]] if listed and consecutive else listed


def stride_of_rates(fs: Any, fs_y: Any, stride: Any) -> Any:
    """Return the samples of x per sample of y, which is the stride if y has no rate of its own.

    Raises:
        TypeError, ValueError: If the rate of x is not known, or is no multiple of the rate of y, or
            there is also a stride.
    """
    if fs_y is None:
        return stride
    if fs is None or stride != 1:
        raise TypeError("fs_y= needs fs=, the rate of x, and no stride=")
    ratio = number(fs, "fs") / number(fs_y, "fs_y")
    if not ratio > 0.5 or abs(ratio - round(ratio)) > SAME_RATE * ratio:
        raise ValueError(f"fs={fs:g} must be a whole multiple of fs_y={fs_y:g}, the rate of y")
    return round(ratio)


def lags_of_times(tmin: Any, tmax: Any, fs: Any) -> Any:
    """Return lags in samples for times in seconds: one window, or a dict of them by channel.

    ``tmin`` is 0 by default. If one end is a dict, the other may be one number for all channels.
    Each end is rounded to the nearest sample, half to even.

    Raises:
        TypeError: If ``tmax`` or ``fs`` is None, or one of the three is not a number.
        ValueError: If ``fs`` is not positive, ``tmin`` exceeds ``tmax``, or they are too close.
    """
    channels = dict.fromkeys(c for end in (tmin, tmax) if isinstance(end, Mapping) for c in end)
    if channels:
        ends = [e if isinstance(e, Mapping) else dict.fromkeys(channels, e) for e in (tmin, tmax)]
        return {c: lags_of_times(ends[0].get(c), ends[1].get(c), fs) for c in channels}
    if tmax is None or fs is None:
        raise TypeError("lags in seconds need tmax= and fs=")
    tmin = 0.0 if tmin is None else tmin
    rate = number(fs, "fs")
    first, last = number(tmin, "tmin", -np.inf) * rate, number(tmax, "tmax", -np.inf) * rate
    if first > last:
        raise ValueError(f"tmin={tmin:.3g} must not exceed tmax={tmax:.3g}")
    if first < last and last - first < 0.5:
        raise ValueError(f"tmin= to tmax= is less than half a sample at fs={rate:.3g} Hz")
    return round(first), round(last)
