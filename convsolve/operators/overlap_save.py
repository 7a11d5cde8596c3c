"""Signals as block FFTs want them: scaled on the way, without stride and dilation, batch by batch.

Windows of K samples side by side are the one form: x is (N, *L, C) and y (N, *T, Q) with
L = T + K - 1 along every axis. Row (n, t) of the design matrix holds x[n, t : t + K], and its
columns are those of (*K, C).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..linalg.threads import one_blas_thread
from ..parallel import at_once, cores, in_order
from ..problem.spec import ConvSpec
from ..progress import tracked

# Numbers that are transformed at once (8 MiB, within cache): longer records take more batches, not
# more memory.
CHUNK_NUMBERS = 2**20

# Fewer numbers than this are transformed by one thread.
ALONE_NUMBERS = 2**18

# With this many channels a row is long.
MANY_CHANNELS = 64

# Numbers of a product that are made at a time (1 MiB of complex ones).
PRODUCT_NUMBERS = 2**16

_S = TypeVar("_S")
_T = TypeVar("_T")


def channelwise(of: np.ufunc, a: np.ndarray, values: np.ndarray, out: np.ndarray) -> None:
    """``of`` a (..., L, C) and values (C,) into ``out``; a few channels of samples that follow each
    other in memory as one, since NumPy is slow on short rows.
    """
    samples, channels = a.shape[-2:]
    joined = (channels * a.itemsize, a.itemsize), (channels * out.itemsize, out.itemsize)
    if 1 < channels < MANY_CHANNELS and (a.strides[-2:], out.strides[-2:]) == joined:
        shape = (*a.shape[:-2], samples * channels)
        a, out, values = a.reshape(shape), out.reshape(shape), np.tile(values, samples)
    of(a, values, out=out)


class Series(NamedTuple):
    """Records (N, *L, C) of any kind of number, read as ``scale * data - shift`` by channel."""

    data: np.ndarray
    scale: np.ndarray
    shift: np.ndarray

    def scaled(self, part: np.ndarray, out: np.ndarray) -> None:
        """Some of the data, read into ``out``."""
        channelwise(np.multiply, part, self.scale, out)
        if self.shift.any():
            channelwise(np.subtract, out, self.shift, out)

    def part(self, start: int, stop: int) -> np.ndarray:
        """float64 (N, stop - start, *L', C) of all records."""
        part = self.data[:, start:stop]
        out = np.empty(part.shape)
        self.scaled(part, out)
        return out

    def records(self, which: slice) -> Series:
        """Some of the records."""
        return self._replace(data=self.data[which])

    def first(self, axis: int) -> Series:
        """The same with that axis of L first."""
        return self._replace(data=np.moveaxis(self.data, axis + 1, 1))

    def channels(self, which: slice | np.ndarray) -> Series:
        """Some of the channels."""
        return Series(self.data[..., which], self.scale[which], self.shift[which])


def component_taps(spec: ConvSpec) -> tuple[int, ...]:
    """Taps of a polyphase component along each axis: those of the kernel over the stride left."""
    axes = zip(spec.kernel_size, spec.stride, spec.dilation, strict=True)
    return tuple(-(-k // (s // math.gcd(s, d))) for k, s, d in axes)


def component_columns(spec: ConvSpec, channels: int) -> np.ndarray:
    """Which column of a component's design matrix (P,) is that of a tap (*K, channels)."""
    taps, phases = component_taps(spec), _phases(spec)
    index = np.arange(math.prod(taps) * math.prod(phases) * channels)
    index = index.reshape(*taps, *phases, channels)
    d = len(taps)
    order = [axis for pair in zip(range(d), range(d, 2 * d), strict=True) for axis in pair]
    whole = index.transpose(*order, 2 * d).reshape(
        *(k * p for k, p in zip(taps, phases, strict=True)), channels
    )
    return whole[tuple(map(slice, spec.kernel_size))].reshape(-1)


def columns_of_components(spec: ConvSpec) -> int:
    """Columns a channel of a polyphase component's design matrix."""
    return math.prod(component_taps(spec)) * math.prod(_phases(spec))


def by_fft(spec: ConvSpec) -> bool:
    """Whether FFTs are worth it: not for a single tap, nor where a stride leaves most columns of a
    polyphase component to no tap.
    """
    taps = math.prod(spec.kernel_size)
    return taps > 1 and columns_of_components(spec) <= 4 * taps


def _phases(spec: ConvSpec) -> tuple[int, ...]:
    return tuple(s // math.gcd(s, d) for s, d in zip(spec.stride, spec.dilation, strict=True))


def polyphase(
    x: Series, y: np.ndarray | None, spec: ConvSpec
) -> Iterator[tuple[Series, np.ndarray | None]]:
    """x (N, *E, C) in normal form without stride and dilation, (N', *L, phases·C), and the view
    (N', *T', Q) of y (N, *T, Q) that its windows give.

    Of a dilation d every tap reads samples of one residue class modulo d, a polyphase component,
    which is a record of its own: those of one length are records of one array, as far as a view
    can be had. A strided kernel reads the phases of a component as
    channels, the last of which the kernel may not reach: see `component_columns`.
    """
    if {*spec.stride, *spec.dilation} == {1}:
        yield x, y
        return
    common = [math.gcd(s, d) for s, d in zip(spec.stride, spec.dilation, strict=True)]
    taps, phases = component_taps(spec), _phases(spec)
    dilation = [d // g for d, g in zip(spec.dilation, common, strict=True)]
    read = x.data[(slice(None), *(slice(None, None, g) for g in common))]
    counts = spec.normal.output_shape(x.data.shape[1:-1])
    repeated = math.prod(phases)
    scale, shift = np.tile(x.scale, repeated), np.tile(x.shift, repeated)
    for runs in itertools.product(*map(_runs, dilation, counts)):
        starts, windows = zip(*runs, strict=True)
        # Up to the last sample that a tap reads: other phases of it belong to no window.
        samples = [
            (n - 1) * s + k for n, s, k in zip(windows, phases, spec.kernel_size, strict=True)
        ]
        lengths = [n + k - 1 for n, k in zip(windows, taps, strict=True)]
        parts = _interleaved(read, starts, phases, dilation, samples)
        outputs: Iterable[np.ndarray | None] = itertools.repeat(None)
        if y is not None:
            outputs = _interleaved(y, starts, (1,) * len(starts), dilation, windows)
        for part, out in zip(parts, outputs, strict=False):
            if repeated > 1:
                # What is read as zero: beside an offset a sample of zero would be a transient.
                part = _by_phase(part, lengths, phases, x.shift / x.scale)
            yield Series(part, scale, shift), out


def _runs(dilation: int, count: int) -> list[tuple[range, int]]:
    """The starts of the components of ``count`` outputs, those of one length together, and it."""
    each, more = divmod(count, dilation)
    found = [(range(more), each + 1), (range(more, dilation), each)]
    return [(starts, length) for starts, length in found if starts and length]


def _interleaved(
    a: np.ndarray,
    starts: Sequence[range],
    steps: Sequence[int],
    dilation: Sequence[int],
    lengths: Sequence[int],
) -> Iterator[np.ndarray]:
    """a[:, start·step :: dilation][:, :length] of every start along every axis, as views: of
    records and starts those of the longest axis together.
    """
    d = len(starts)
    spans = [(n - 1) * apart + 1 for n, apart in zip(lengths, dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(
        a, spans, tuple(range(1, 1 + d)), writeable=True
    )
    first = [slice(r[0] * s, r[-1] * s + 1, s) for r, s in zip(starts, steps, strict=True)]
    view = view[:, *first, :, *(slice(None, None, apart) for apart in dilation)]
    view = np.moveaxis(view, 1 + d, -1)
    view = np.moveaxis(view, int(np.argmax(view.shape[: 1 + d])), 0)
    for others in np.ndindex(view.shape[1 : 1 + d]):
        yield view[:, *others]


def _by_phase(
    x: np.ndarray, lengths: Sequence[int], phases: Sequence[int], nothing: np.ndarray
) -> np.ndarray:
    """(N, *lengths·phases, C), filled to that with ``nothing`` (C,), as (N, *lengths, phases·C)."""
    d = len(lengths)
    whole = np.empty((len(x), *(n * s for n, s in zip(lengths, phases, strict=True)), x.shape[-1]))
    whole[...] = nothing
    whole[tuple(map(slice, x.shape))] = x
    split = [size for pair in zip(lengths, phases, strict=True) for size in pair]
    whole = whole.reshape(x.shape[0], *split, x.shape[-1])
    order = [0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2), 2 * d + 1]
    return whole.transpose(order).reshape(x.shape[0], *lengths, -1)


def fft_size(taps: int, rows: int) -> int:
    """Samples of one FFT: the power of two by which blocks of T = ``rows`` windows cost least.

    That is ⌈T/(S - K + 1)⌉·S·log S for S samples. Measured from 1 to 128 channels and 40 to 4 000
    taps, it is within a tenth of the fastest for moments and for products alike.
    """

    def cost(bits: int) -> int:
        size = 1 << bits
        return -(-rows // (size - taps + 1)) * size * bits

    least, most = taps.bit_length(), (rows + taps - 2).bit_length()
    return 1 << min(range(max(least, 1), max(most, least, 1) + 1), key=cost)


class Batch(NamedTuple):
    """What one call of an FFT takes: ``blocks`` of ``step`` outputs each of a slice of records,
    beginning at output ``start``.
    """

    records: slice
    start: int
    blocks: int
    step: int
    size: int

    def pieces(self, series: Series, length: int) -> np.ndarray:
        """(n·blocks, size, *L', C) pieces of ``length`` samples, zero-filled to ``size``.

        Zero beyond the end of a record too.
        """
        data = series.data[self.records, self.start :]
        n, samples, *rest = data.shape
        out = np.empty((n, self.blocks, self.size, *rest))
        out[:, :, length:] = 0.0
        whole = min(self.blocks, max(0, (samples - length) // self.step + 1))
        if whole:
            a, b, *c = data.strides
            shape, strides = (n, whole, length, *rest), (a, b * self.step, b, *c)
            view = np.lib.stride_tricks.as_strided(data, shape, strides, writeable=False)
            series.scaled(view, out[:, :whole, :length])
        for i in range(whole, self.blocks):
            part = data[:, i * self.step : i * self.step + length]
            series.scaled(part, out[:, i, : part.shape[1]])
            out[:, i, part.shape[1] : length] = 0.0
        return out.reshape(n * self.blocks, self.size, *rest)

    def cut(self, pieces: np.ndarray, rows: int) -> None:
        """Zero in ``pieces`` what stands beyond so many outputs of a record."""
        missing = self.start + self.blocks * self.step - rows
        if missing > 0:
            pieces[self.blocks - 1 :: self.blocks, self.step - missing : self.step] = 0.0

    def skip(self, pieces: np.ndarray, samples: int) -> None:
        """Zero in ``pieces`` what is among the first ``samples`` of a record."""
        by_record = pieces.reshape(-1, self.blocks, *pieces.shape[1:])
        for i in range(min(self.blocks, -(-max(0, samples - self.start) // self.step))):
            by_record[:, i, : samples - self.start - i * self.step] = 0.0


@cache
def _keep_freed_memory() -> None:
    """Let the C library keep what is freed, where it is glibc's; elsewhere this does nothing.

    It maps blocks above a threshold anew each time, so that the pages of every array have to be
    faulted in again: measured, a third of the time of a fit. The threshold rises to the size of a
    mapped block that is freed, up to 32 MiB, and with it what is kept, to twice that.
    """
    np.empty(2**22 - 2**12)


def batches(
    shape: Sequence[int], rows: int, taps: int, width: int, step: int | None = None
) -> list[Batch]:
    """Batches that cover all rows of (N, L, *L', C), with ``width`` numbers a sample; blocks of
    ``step`` rows, by default as many as suit an FFT.
    """
    _keep_freed_memory()
    records = shape[0]
    channels = math.prod(shape[2:])
    size = fft_size(taps, rows) if step is None else step + taps - 1
    step = size - taps + 1
    blocks = -(-rows // step)
    # Many channels want many blocks, or adding up products would cost more than the products.
    fit = CHUNK_NUMBERS / (size * width)
    together = max(1, int(fit), min(channels // 4, int(8 * fit)))
    # Few numbers are done before other threads have woken up.
    if records * blocks * size * width > ALONE_NUMBERS:
        together = min(together, -(-records * blocks // cores()))
    many = min(records, max(1, together // blocks))
    per = min(blocks, max(1, together // many))
    return [
        Batch(slice(i, i + many), j * step, min(per, blocks - j), step, size)
        for i in range(0, records, many)
        for j in range(0, blocks, per)
    ]


def side_by_side(task: Callable[[_S], _T], several: Sequence[_S]) -> list[_T]:
    """``task`` of each, on all cores."""
    # Not within the generator, whose end an exception may delay as long as its traceback is kept.
    with one_blas_thread():
        return [*tracked(in_order(task, several), "batches on all cores", len(several))]


class Product(NamedTuple):
    """Matrices a (f, …, i, n) times b (f, …, n, j), where only a sum of such products is wanted."""

    a: np.ndarray
    b: np.ndarray

    def added_to(self, total: np.ndarray | None) -> np.ndarray:
        """``total`` plus a @ b, some frequencies at a time: an array for all of the product would
        be new memory for every batch, and faulting it in can take longer than the product.
        """
        if total is None:
            total = np.zeros((*self.a.shape[:-1], self.b.shape[-1]), self.a.dtype)
        step = max(1, PRODUCT_NUMBERS // max(1, total[0].size))
        for first in range(0, len(total), step):
            some = slice(first, first + step)
            total[some] += self.a[some] @ self.b[some]
        return total


def summed(
    task: Callable[[Batch], tuple[np.ndarray | Product, ...]], several: Sequence[Batch]
) -> list[Any]:
    """The arrays and products that ``task`` makes of a batch, added up over all of them.

    Where they are made they are added to one of a few totals, which the number of the batch
    decides, so that no answer depends on which thread is faster.
    """
    totals: list[list[Any]] = [[] for _ in several[: at_once()]]

    def add(number: int) -> None:
        found = task(several[number])
        which = number % len(totals)  # of those that `in_order` runs now, no other has this one
        before = totals[which] or [None] * len(found)
        totals[which] = [*map(_plus, before, found)]

    side_by_side(add, range(len(several)))
    found, *others = totals
    for more in others:
        found = [*map(_plus, found, more)]
    return found


def _plus(total: np.ndarray | None, more: np.ndarray | Product) -> np.ndarray:
    """Their sum, in the memory of ``total``."""
    if isinstance(more, Product):
        return more.added_to(total)
    if total is None:
        return more
    total += more
    return total


def windows(found: np.ndarray, taps: Sequence[int]) -> np.ndarray:
    """(a, n, *L', C) with the windows of the axes L' as channels, (a, n·∏T', ∏K'·C)."""
    d, channels = len(taps), math.prod(taps) * found.shape[-1]
    if taps:
        axes = tuple(range(2, 2 + d))
        found = np.lib.stride_tricks.sliding_window_view(found, tuple(taps), axes)
        found = np.moveaxis(found, 2 + d, -1)
    return found.reshape(found.shape[0], math.prod(found.shape[1 : -1 - d]), channels)
