"""The windows of a signal: samples in normal form, and the design matrix.

Every padding is first brought to one normal form, ``x'[i] = x[i - lo]`` cut to the samples that
windows read. The other functions therefore only handle stride and dilation. `normal_form`,
`silenced` and `design_matrix` also accept jax arrays and tracers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..parallel import cached_property
from ..problem.spec import ConvSpec


@dataclass(frozen=True)
class Windows:
    """The windows of samples in normal form, with the axis of most taps first.

    Attributes:
        spec: geometry of the convolution.
        channels: number of channels of a group.
    """

    spec: ConvSpec
    channels: int

    @cached_property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Taps, strides and dilations."""
        spec, axis = self.spec, self.spec._long_axis
        of = spec.kernel_size, spec.stride, spec.dilation
        return tuple((v[axis], *v[:axis], *v[axis + 1 :]) for v in of)

    @cached_property
    def taps(self) -> tuple[int, ...]:
        """Taps of the phases of a stride."""
        return tuple(-(-k // s) for k, s in zip(*self.sizes[:2], strict=True))

    @property
    def numbers(self) -> int:
        """Number of samples of a row of all groups."""
        return math.prod(self.sizes[0]) * self.channels * self.spec.groups

    @cached_property
    def by_fft(self) -> bool:
        """Whether FFTs are worthwhile, and support the strides and dilations."""
        k, s, d = self.sizes
        waste = math.prod(self.taps) * math.prod(s) <= 4 * math.prod(k)
        return k[0] > 1 and waste and all(1 in pair for pair in zip(s, d, strict=True))

    def view(self, a: np.ndarray) -> np.ndarray:
        """Return windows (N, *T, *K, C) of samples a (N, *L, C)."""
        taps, strides, dilations = self.sizes
        first, *each, last = a.strides
        axes = zip(a.shape[1:], taps, strides, dilations, strict=False)
        counts = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in axes]
        # The size of a step that is not taken may leave 64 bits.
        rows = (b * s if t > 1 else b for b, s, t in zip(each, strides, counts, strict=True))
        windows = (b * d if k > 1 else b for b, d, k in zip(each, dilations, taps, strict=True))
        shape, steps = (len(a), *counts, *taps, a.shape[-1]), (first, *rows, *windows, last)
        return np.lib.stride_tricks.as_strided(a, shape, steps, writeable=False)

    @cached_property
    def places(self) -> np.ndarray:
        """Where the columns of a kernel are among (*taps, *phases, C), the last phase first."""
        k, s, _ = self.sizes
        shape = *self.taps, *s[::-1], self.channels
        taps = np.ix_(*map(np.arange, k))
        pairs = [*zip(taps, s, strict=True)]
        at = *(t // n for t, n in pairs), *[t % n for t, n in pairs][::-1]
        found = np.arange(math.prod(shape)).reshape(shape)[at]
        return np.moveaxis(found, 0, self.spec._long_axis).reshape(-1)


def _in_normal_form(
    lengths: tuple[int, ...], spec: ConvSpec, first: int, last: int
) -> list[tuple[int, int]]:
    """Return the samples of every axis in normal form that rows along the first axis read."""
    bounds = [(0, e) for e in spec._extent(lengths)]
    return [(first * spec.stride[0], (last - 1) * spec.stride[0] + spec._span[0]), *bounds[1:]]


def slices(lengths: tuple[int, ...], spec: ConvSpec, first: int, last: int) -> list[slice]:
    """Return the slices along the first axis of a record that its rows ``first`` to ``last`` read.

    There are several if circular padding wraps around.
    """
    w, lo = lengths[0], spec._offset(lengths)[0]
    start, stop = (at - lo for at in _in_normal_form(lengths, spec, first, last)[0])
    if spec.padding != "circular":
        start, stop = (min(max(at, 0), w) for at in (start, stop))
        return [slice(start, stop)]
    starts = [start, *range((start // w + 1) * w, stop, w)]
    ends = [*starts[1:], stop]
    return [slice(a % w, a % w + b - a) for a, b in zip(starts, ends, strict=True)]


def formed(
    a: np.ndarray, lengths: tuple[int, ...], spec: ConvSpec, first: int, last: int
) -> np.ndarray:
    """Return samples (N, *E, C) in normal form that some rows read, given their `slices`."""
    bounds, pads = _in_normal_form(lengths, spec, first, last), [(0, 0)]
    axes = zip(lengths, spec._offset(lengths), bounds, strict=True)
    for axis, (w, lo, (start, stop)) in enumerate(axes, 1):
        if spec.padding == "circular":
            pads.append((0, 0))
            if axis > 1:
                a = np.take(a, (np.arange(start, stop) - lo) % w, axis)
            continue
        inside = [min(max(at - lo, 0), w) for at in (start, stop)]
        if axis > 1 and inside != [0, w]:
            a = a[(slice(None),) * axis + (slice(*inside),)]
        before = min(max(lo - start, 0), stop - start)
        pads.append((before, stop - start - before - (inside[1] - inside[0])))
    if not any(map(any, pads)):
        return a
    shape = [n + sum(pad) for n, pad in zip(a.shape, pads, strict=False)]
    whole = np.zeros((*shape, a.shape[-1]), a.dtype)
    whole[tuple(slice(b, b + n) for n, (b, _) in zip(a.shape, pads, strict=False))] = a
    return whole


def recorded(lengths: tuple[int, ...], spec: ConvSpec, first: int, last: int) -> np.ndarray:
    """Return flags (*E) of the samples that some rows read and that are not padding.

    With circular padding these are the samples of one turn, because a trend does not continue from
    one turn to the next.
    """
    found, bounds = np.ones((), bool), _in_normal_form(lengths, spec, first, last)
    for w, lo, b in zip(lengths, spec._offset(lengths), bounds, strict=True):
        turn, most = (np.arange(*b) - lo) // max(w, 1), 0
        if spec.padding == "circular":
            values, counts = np.unique(turn, return_counts=True)
            most = values[np.argmax(counts)]
        found = found[..., None] & (turn == most)
    return found


@dataclass(frozen=True, eq=False)
class NormalForm:
    """A record (W, C) of one axis in normal form, of which a range of samples is read on demand."""

    record: Any
    sample: ConvSpec
    start: int
    stop: int

    @classmethod
    def of(cls, record: Any, spec: ConvSpec) -> NormalForm:
        """Return all samples that the windows of a record read."""
        (w,), (lo,), (e,) = (f(record.shape[:1]) for f in (tuple, spec._offset, spec._extent))
        if spec.padding == "circular":
            return cls(record, ConvSpec((1,), padding="circular", lo=(lo,)), 0, e)
        return cls(record, ConvSpec((1,), padding=((lo, e - lo - w),)), 0, e)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n, C)."""
        return self.stop - self.start, self.record.shape[-1]

    def __getitem__(self, key: slice) -> NormalForm:
        """Return a range of the samples, without reading them."""
        start, stop, _ = key.indices(self.stop - self.start)
        return replace(self, start=self.start + start, stop=self.start + max(start, stop))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        given = self.record.shape[:1], self.sample, self.start, self.stop
        several = [np.asarray(self.record[part]) for part in slices(*given)]
        found = formed(np.concatenate(several)[None], *given)[0]
        return found if dtype is None else found.astype(dtype, copy=False)


def normal_form(x: Any, spec: ConvSpec) -> Any:
    """Return x ``(N, *W, C)`` padded, cropped or wrapped to ``(N, *spec._extent(W), C)``."""
    xp, shape, pads = x.__array_namespace__(), x.shape[1:-1], [(0, 0)]
    axes = zip(shape, spec._offset(shape), spec._extent(shape), strict=True)
    for axis, (w, lo, e) in enumerate(axes, start=1):
        if spec.padding == "circular":
            x = xp.take(x, (np.arange(e) - lo) % w, axis=axis)
            pads.append((0, 0))
        else:
            start, stop = min(max(lo, 0), e), min(max(lo + w, 0), e)
            inside = slice(max(start - lo, 0), max(stop - lo, 0))
            x = x[(slice(None),) * axis + (inside,)]
            pads.append((start, e - max(stop, start)))
    return xp.pad(x, [*pads, (0, 0)]) if any(map(any, pads)) else x


def silenced(x: Any, spec: ConvSpec) -> Any:
    """Return x ``(N, *E, C)`` in normal form, with zeros at samples that no window reads.

    Strides can leave such samples between windows.
    """
    counts = spec._normal.output_shape(x.shape[1:-1])
    axes = zip(counts, spec.kernel_size, spec.stride, spec.dilation, strict=True)
    for axis, (t, k, s, d) in enumerate(axes, start=1):
        if s == 1 and d <= t:  # the first tap reads all samples between two windows
            continue
        read = np.zeros(x.shape[axis], bool)
        # The tap ``period`` taps after the first reads the samples of the first, ``later`` windows
        # on.
        period, later = s // math.gcd(s, d), d // math.gcd(s, d)
        period = period if later <= t else k
        for first in range(min(k, period)):
            last = first + (k - 1 - first) // period * period
            read[first * d : last * d + (t - 1) * s + 1 : s] = True
        if not read.all():
            xp = x.__array_namespace__()
            x = xp.where(read.reshape(-1, *(1,) * (x.ndim - 1 - axis)), x, 0)
    return x


def design_matrix(x: Any, spec: ConvSpec) -> Any:
    """Return the Toeplitz matrix A ``(groups, rows, P)`` of x ``(N, *W, C)``, P = ∏K·C/groups.

    Rows have the order of y and columns the order of the kernel: ``A[g] @ w[g]`` with w ``(P,
    Cout/groups)`` is the convolution. The matrix is gathered axis by axis, so that jax can
    differentiate it with respect to x.
    """
    x = normal_form(x, spec)
    counts = spec._normal.output_shape(x.shape[1:-1])
    d = spec.ndim
    for a in range(d):
        starts = np.arange(counts[a])[:, None] * spec.stride[a]
        index = starts + np.arange(spec.kernel_size[a]) * spec.dilation[a]
        # Each axis processed before has become a pair (T, K), so axis a is at 1 + 2a.
        x = x[(slice(None),) * (1 + 2 * a) + (index,)]
    order = (0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2), 2 * d + 1)
    taps, per_group = math.prod(spec.kernel_size), x.shape[-1] // spec.groups
    flat = x.transpose(order).reshape(-1, taps, spec.groups, per_group)
    return flat.transpose(2, 0, 1, 3).reshape(spec.groups, -1, taps * per_group)
