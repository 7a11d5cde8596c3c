"""The windows of a signal: the design matrix, as a whole or in blocks of rows.

Every padding is first brought to one normal form, ``x'[i] = x[i - lo]`` cut to the samples that
windows read. The other functions therefore only handle stride and dilation. `normal_form`,
`silenced`, `design_matrix` and `gram_rows` also accept jax arrays and tracers. The other functions
run on the host.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ..problem.sizes import DEFAULT_TUNING
from ..problem.spec import ConvSpec


def _axis(array: Any, axis: int, start: int, stop: int) -> Any:
    return array[(slice(None),) * axis + (slice(start, stop),)]


def normal_form(x: Any, spec: ConvSpec) -> Any:
    """Return x ``(N, *W, C)`` padded, cropped or wrapped to ``(N, *spec._extent(W), C)``."""
    return _formed(x, spec, x.shape[1:-1], 0)


def _formed(x: Any, spec: ConvSpec, shape: Sequence[int], first: int) -> Any:
    """Return the normal form along the axes of W from ``first`` on, for records of shape W."""
    xp = x.__array_namespace__()
    axes = zip(shape, spec._offset(shape), spec._extent(shape), strict=True)
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
    # Same as np.pad, whose argument handling takes longer than the padding.
    found = np.zeros([a + n + b for n, (a, b) in zip(x.shape, pads, strict=True)], x.dtype)
    found[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, pads, strict=True))] = x
    return found


@dataclass(eq=False, slots=True)
class NormalForm:
    """A record (*W, C) in normal form, of which a range of samples is read on demand.

    Slices along the first axis are such records again, and `numpy.asarray` reads the samples.

    Attributes:
        record: the record (*W, C).
        lengths: its lengths (*W).
        spec: geometry of the convolution.
        start, stop: range of samples along the first axis of the normal form.
    """

    record: Any
    lengths: tuple[int, ...]
    spec: ConvSpec
    start: int
    stop: int

    @classmethod
    def of_rows(cls, record: Any, spec: ConvSpec, first: int, last: int) -> NormalForm:
        """Return the samples that the rows ``first`` to ``last`` along the first axis read."""
        stride, lengths = spec.stride[0], record.shape[:-1]
        return cls(record, lengths, spec, first * stride, (last - 1) * stride + spec._span[0])

    @property
    def is_whole(self) -> bool:
        """Whether this is all of a record in memory."""
        whole = self.start == 0 and self.stop == self.spec._extent(self.lengths)[0]
        return whole and isinstance(self.record, np.ndarray)

    @property
    def kind(self) -> tuple[Any, ...]:
        """The range, and the type and lengths of the record."""
        return self.start, self.stop, self.lengths, type(self.record)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (*E, C)."""
        others = self.spec._extent(self.lengths)[1:] if len(self.lengths) > 1 else ()
        return (self.stop - self.start, *others, self.record.shape[-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples."""
        found: np.dtype[Any] = self.record.dtype
        return found

    def __getitem__(self, key: Any) -> NormalForm:
        """Return a range of the samples along the first axis, without reading them."""
        start, stop, _ = (key[0] if isinstance(key, tuple) else key).indices(self.stop - self.start)
        return replace(self, start=self.start + start, stop=self.start + max(start, stop))

    @property
    def _in_record(self) -> tuple[int, int, int]:
        """Start and end of the range in the record, and the length of the record."""
        lo = self.spec._offset(self.lengths)[0]
        return self.start - lo, self.stop - lo, self.lengths[0]

    @property
    def selections(self) -> list[Any]:
        """Slices of the record that are read: one, or several if circular padding wraps around."""
        first, last, w = self._in_record
        if self.spec.padding != "circular":
            a, b = (min(max(at, 0), w) for at in (first, last))
            return [self.record[a:b]]
        starts = [first, *range((first // w + 1) * w, last, w)]
        ends = [*starts[1:], last]
        return [self.record[a % w : a % w + b - a] for a, b in zip(starts, ends, strict=True)]

    @property
    def hollow(self) -> Self:
        """The same range without the record."""
        return replace(self, record=None)

    def assembled(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return the samples as an array, given the `selections` as arrays."""
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
    lengths: tuple[int, ...],
    spec: ConvSpec,
    first: int = 0,
    last: int | None = None,
) -> np.ndarray:
    """Return flags (*E) of the samples of a record in normal form that are not padding.

    The record has ``lengths`` (*W). Only samples that rows ``first`` to ``last`` along the first
    axis read are included. With circular padding, flags of one turn are returned, because a trend
    does not continue from one turn to the next.
    """
    last = spec.output_shape(lengths)[0] if last is None else last
    found = np.ones((), bool)
    axes = zip(lengths, spec._offset(lengths), spec._extent(lengths), strict=True)
    for axis, (length, lo, extent) in enumerate(axes):
        turns = (np.arange(extent) - lo) // max(length, 1)
        longest = 0
        if spec.padding == "circular" and extent:
            values, counts = np.unique(turns, return_counts=True)
            longest = values[np.argmax(counts)]
        flags = turns == longest
        if axis == 0:
            flags = flags[first * spec.stride[0] : (last - 1) * spec.stride[0] + spec._span[0]]
        found = found[..., None] & flags
    return found


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


def windows(x: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Return a view ``(N, *T, *K, C)`` of the windows of x ``(N, *E, C)`` in normal form."""
    n, *space, c = x.strides
    counts = spec._normal.output_shape(x.shape[1:-1])
    # The stride of an axis of length one is never used, but its size in bytes may overflow.
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
    """Return windows ``(..., *K, C)`` as design matrices ``(groups, rows, P)``."""
    taps, channels = math.prod(spec.kernel_size), view.shape[-1]
    per_group = channels // spec.groups
    flat = view.reshape(-1, taps, spec.groups, per_group)
    return flat.transpose(2, 0, 1, 3).reshape(spec.groups, -1, taps * per_group)


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
    return as_rows(x.transpose(order), spec)


def gram_rows(x: Any, common: Any) -> list[Any]:
    """Return the rows G[k, k:] of AᵀA for one channel x (L, ...), in NumPy or jax.

    With K taps and T ≥ K rows, G[k, k+m] = Σ_{u=k}^{T+k-1} x[u]x[u+m]. ``common`` (K, ...) are the
    terms from K-1 to T-1, which all shifts k share. The terms at both ends are added. Nothing is
    subtracted.
    """
    taps = len(common)
    rows, head, tail = len(x) - taps + 1, 0 * common, 0 * common
    found = [common[: taps - k] for k in range(taps)]
    for k in range(taps - 2, -1, -1):
        head = head + x[k] * x[k : k + taps]
        found[k] = found[k] + head[: taps - k]
    for k in range(1, taps):
        tail = tail[: taps - k] + x[rows + k - 1] * x[rows + k - 1 : rows + taps - 1]
        found[k] = found[k] + tail
    return found


def row_blocks(
    x: np.ndarray,
    spec: ConvSpec,
    numbers: int = DEFAULT_TUNING.block_numbers,
    flags: np.ndarray | None = None,
) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Yield the design matrix of x ``(N, *E, C)`` in blocks of about ``numbers`` elements.

    x is in normal form. Each item is the (record, first-axis) slices that select the same rows in
    y ``(N, *T, Cout)``, and the block ``(groups, rows, P)``. With ``flags`` (N, *T), a block
    contains only the rows whose flag is True.
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
                # Overlapping windows are a view, for which NumPy uses BLAS slowly or not at all.
                yield part, np.ascontiguousarray(as_rows(some, spec))


def forward_records(
    records: Sequence[np.ndarray], kernel: np.ndarray, bias: np.ndarray, spec: ConvSpec
) -> list[np.ndarray]:
    """Return y ``(*T, Cout)`` of each record ``(*W, Cin)``, in the kernel's precision, on the host.

    The design matrix is multiplied in row blocks. No compilation is needed for records of any
    length. In float64 with several channels this is about five times faster than XLA's convolution
    on a CPU.
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
