"""The windows of a signal: the design matrix, whole or by blocks of rows.

Every padding is brought to one normal form first, ``x'[i] = x[i - lo]`` cut to the samples that
windows read, so that what follows sees stride and dilation only. `normal_form`, `silenced` and
`design_matrix` take arrays of jax too, and tracers; the rest is on the host.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ..problem.sizes import DEFAULT_LIMITS
from ..problem.spec import ConvSpec


def _axis(array: Any, axis: int, start: int, stop: int) -> Any:
    return array[(slice(None),) * axis + (slice(start, stop),)]


def normal_form(x: Any, spec: ConvSpec) -> Any:
    """x ``(N, *W, C)`` padded, cropped or wrapped to ``(N, *spec.extent(W), C)``."""
    return _formed(x, spec, x.shape[1:-1], 0)


def _formed(x: Any, spec: ConvSpec, shape: Sequence[int], first: int) -> Any:
    """The same along the axes of W from ``first`` on, for records of a ``shape`` W."""
    xp = x.__array_namespace__()
    axes = zip(shape, spec.offset(shape), spec.extent(shape), strict=True)
    pads = [(0, 0)] * (1 + first)
    for axis, (w, lo, e) in list(enumerate(axes, start=1))[first:]:
        if spec.padding == "circular":
            x = xp.take(x, (np.arange(e) - lo) % w, axis=axis)
            pads.append((0, 0))
        else:
            start, stop = min(max(lo, 0), e), min(max(lo + w, 0), e)
            x = _axis(x, axis, max(start - lo, 0), max(stop - lo, 0))
            pads.append((start, e - max(stop, start)))
    pads.append((0, 0))
    if not any(map(any, pads)):
        return x
    if xp is not np:
        return xp.pad(x, pads)
    # As np.pad, which takes longer to find out what to do than to do it.
    found = np.zeros([a + n + b for n, (a, b) in zip(x.shape, pads, strict=True)], x.dtype)
    found[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, pads, strict=True))] = x
    return found


@dataclass(frozen=True, eq=False)
class NormalForm:
    """A record (*W, C) in normal form, of which samples ``start`` to ``stop`` of the first axis are
    read when they are needed: slices along that axis are such records again, and `numpy.asarray`
    reads one. ``lengths`` are (*W).
    """

    record: Any
    lengths: tuple[int, ...]
    spec: ConvSpec
    start: int
    stop: int

    @classmethod
    def of_rows(cls, record: Any, spec: ConvSpec, first: int, last: int) -> NormalForm:
        """What the rows from ``first`` to ``last`` along the first axis read."""
        stride = spec.stride[0]
        lengths = tuple(record.shape[:-1])
        return cls(record, lengths, spec, first * stride, (last - 1) * stride + spec.span[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """(*E, C)."""
        others = self.spec.extent(self.lengths)[1:]
        return (self.stop - self.start, *others, self.record.shape[-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """In which its numbers come."""
        found: np.dtype[Any] = self.record.dtype
        return found

    def __getitem__(self, key: Any) -> NormalForm:
        """Some of its samples along the first axis, not read yet."""
        start, stop, _ = (key[0] if isinstance(key, tuple) else key).indices(self.stop - self.start)
        return replace(self, start=self.start + start, stop=self.start + max(start, stop))

    @property
    def _in_record(self) -> tuple[int, int, int]:
        """Where it starts and ends in the record, of whose length."""
        lo = self.spec.offset(self.lengths)[0]
        return self.start - lo, self.stop - lo, self.lengths[0]

    @property
    def selections(self) -> list[Any]:
        """What is read of the record: one slice of it, or as many as a circle has turns."""
        first, last, w = self._in_record
        if self.spec.padding != "circular":
            a, b = (min(max(at, 0), w) for at in (first, last))
            return [self.record[a:b]]
        starts = [first, *range((first // w + 1) * w, last, w)]
        ends = [*starts[1:], last]
        return [self.record[a % w : a % w + b - a] for a, b in zip(starts, ends, strict=True)]

    @property
    def hollow(self) -> Self:
        """The same without what it is read from."""
        return replace(self, record=None)

    def assembled(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The record, of its `selections` as arrays."""
        x = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self.spec.padding != "circular":
            first, last, w = self._in_record
            pads = max(min(last, 0) - first, 0), max(last - max(first, w), 0)
            x = np.pad(x, [pads, *[(0, 0)] * (x.ndim - 1)]) if any(pads) else x
        formed: np.ndarray = _formed(x[None], self.spec, self.lengths, 1)[0]
        return formed

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self.assembled([np.asarray(part) for part in self.selections])
        return found if dtype is None else found.astype(dtype, copy=False)


def recorded_samples(
    lengths: tuple[int, ...], spec: ConvSpec, first: int = 0, last: int | None = None
) -> np.ndarray:
    """Return which samples (*E) of a record of ``lengths`` (*W) in normal form are no padding.

    Only those that rows ``first`` to ``last`` along the first axis read are returned.
    """
    last = spec.output_shape(lengths)[0] if last is None else last
    ones = np.broadcast_to(np.ones(()), (*lengths, 1))
    return np.asarray(NormalForm.of_rows(ones, spec, first, last))[..., 0] > 0


def silenced(x: Any, spec: ConvSpec) -> Any:
    """x ``(N, *E, C)`` in normal form, zero where strides leave samples that no window reads."""
    counts = spec.normal.output_shape(x.shape[1:-1])
    axes = zip(counts, spec.kernel_size, spec.stride, spec.dilation, strict=True)
    for axis, (t, k, s, d) in enumerate(axes, start=1):
        if s == 1 and d <= t:  # the first tap reads all that lies between two
            continue
        read = np.zeros(x.shape[axis], bool)
        # The tap ``period`` after the first reads what the first reads ``later`` windows on.
        period, later = s // math.gcd(s, d), d // math.gcd(s, d)
        period = period if later <= t else k
        for first in range(min(k, period)):
            last = first + (k - 1 - first) // period * period
            read[first * d : last * d + (t - 1) * s + 1 : s] = True
        if not read.all():
            xp = x.__array_namespace__()
            x = xp.where(read.reshape(-1, *(1,) * (x.ndim - 1 - axis)), x, 0)
    return x


def windows(x: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """A view ``(N, *T, *K, C)`` of the windows of x ``(N, *E, C)`` in normal form, not copied."""
    n, *space, c = x.strides
    counts = spec.normal.output_shape(x.shape[1:-1])
    # A step that is never taken may be any size, and its bytes beyond an index.
    steps = [a * s if t > 1 else a for a, s, t in zip(space, spec.stride, counts, strict=True)]
    taps = [
        a * d if k > 1 else a
        for a, d, k in zip(space, spec.dilation, spec.kernel_size, strict=True)
    ]
    return np.lib.stride_tricks.as_strided(
        x,
        (x.shape[0], *counts, *spec.kernel_size, x.shape[-1]),
        (n, *steps, *taps, c),
        writeable=False,
    )


def as_rows(view: Any, spec: ConvSpec) -> Any:
    """Windows ``(..., *K, C)`` laid out as design matrices, ``(groups, rows, P)``."""
    taps, channels = math.prod(spec.kernel_size), view.shape[-1]
    per_group = channels // spec.groups
    flat = view.reshape(-1, taps, spec.groups, per_group)
    return flat.transpose(2, 0, 1, 3).reshape(spec.groups, -1, taps * per_group)


def design_matrix(x: Any, spec: ConvSpec) -> Any:
    """The Toeplitz matrix A ``(groups, rows, P)`` of x ``(N, *W, C)``, P = ∏K·C/groups.

    Row order is that of y, column order that of the kernel: ``A[g] @ w[g]`` with w ``(P,
    Cout/groups)`` is the convolution. Gathered axis by axis, so that it is differentiable in x
    under jax.
    """
    x = normal_form(x, spec)
    counts = spec.normal.output_shape(x.shape[1:-1])
    d = spec.ndim
    for a in range(d):
        starts = np.arange(counts[a])[:, None] * spec.stride[a]
        index = starts + np.arange(spec.kernel_size[a]) * spec.dilation[a]
        # Axes done so far are (T, K) pairs, so axis a stands at 1 + 2a.
        x = x[(slice(None),) * (1 + 2 * a) + (index,)]
    order = (0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2), 2 * d + 1)
    return as_rows(x.transpose(order), spec)


def row_blocks(
    x: np.ndarray,
    spec: ConvSpec,
    numbers: int = DEFAULT_LIMITS.block_numbers,
    flags: np.ndarray | None = None,
) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """The design matrix of x ``(N, *E, C)`` in normal form, about ``numbers`` of it at a time.

    Yields the (record, first-axis) slices that select the same rows in y ``(N, *T, Cout)``, and the
    block ``(groups, rows, P)``; of these only the rows whose ``flags`` (N, *T) are True.
    """
    view = windows(x, spec)
    n, t = view.shape[:2]
    per_slab = math.prod(view.shape[2:])
    records = max(1, numbers // (per_slab * t))
    slabs = t if records > 1 else max(1, numbers // per_slab)
    for i in range(0, n, records):
        for j in range(0, t, slabs):
            part = (slice(i, i + records), slice(j, j + slabs))
            some = view[part] if flags is None else view[part][flags[part]]
            if some.size:
                # Windows that overlap are a view, on which BLAS is slow or not called at all.
                yield part, np.ascontiguousarray(as_rows(some, spec))


def forward_records(
    records: Sequence[np.ndarray], kernel: np.ndarray, bias: np.ndarray, spec: ConvSpec
) -> list[np.ndarray]:
    """y ``(*T, Cout)`` of each record ``(*W, Cin)``, in the kernel's precision, on the host.

    By row blocks of the design matrix: records of any length compile nothing, and in float64 with
    several channels this is some five times faster than XLA's convolution on a CPU.
    """
    out = kernel.shape[-1]
    columns = kernel.reshape(-1, spec.groups, out // spec.groups).transpose(1, 0, 2)
    outputs = []
    for x in records:
        y = np.empty((1, *spec.output_shape(x.shape[:-1]), out), kernel.dtype)
        for part, a in row_blocks(normal_form(x[None], spec), spec) if y.size else ():
            y[part] = (a @ columns).transpose(1, 0, 2).reshape(y[part].shape)
        outputs.append(y[0] + bias)
    return outputs
