"""Signals for block FFTs: scaled, without stride and dilation, in batches.

x is (N, *L, C) and y (N, *T, Q) with L = T + K - 1 along every axis. Row (n, t) of the design
matrix is x[n, t : t + K], and its columns are those of (*K, C).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..linalg.channels import channelwise
from ..linalg.threads import one_blas_thread
from ..parallel import at_once, cores, in_order
from ..problem.spec import ConvSpec
from ..progress import tracked

# Numbers that are transformed at once (8 MiB, which fits into the cache). Longer records take more
# batches, not more memory.
CHUNK_NUMBERS = 2**20

# With fewer numbers than this, one thread is used.
ALONE_NUMBERS = 2**18

# Numbers of a product that are computed at a time (1 MiB of complex numbers).
PRODUCT_NUMBERS = 2**16

_S = TypeVar("_S")
_T = TypeVar("_T")


class Series(NamedTuple):
    """Records (N, *L, C) of any dtype, used as ``scale * data - shift`` for every channel."""

    data: np.ndarray
    scale: np.ndarray
    shift: np.ndarray

    @property
    def contiguous(self) -> Series:
        """The same series with its data in contiguous memory."""
        return self._replace(data=np.ascontiguousarray(self.data))

    def scaled(self, part: np.ndarray, out: np.ndarray) -> None:
        """Write a part of the data, scaled and shifted, to ``out``."""
        channelwise(np.multiply, part, self.scale, out)
        if self.shift.any():
            channelwise(np.subtract, out, self.shift, out)

    def part(self, start: int, stop: int) -> np.ndarray:
        """Return samples (N, stop - start, *L', C) of all records in float64."""
        part = self.data[:, start:stop]
        out = np.empty(part.shape)
        self.scaled(part, out)
        return out

    def records(self, which: slice) -> Series:
        """Return some of the records."""
        return self._replace(data=self.data[which])

    def first(self, axis: int) -> Series:
        """Return the series with this axis of L as the first."""
        return self._replace(data=np.moveaxis(self.data, axis + 1, 1))

    def channels(self, which: slice | np.ndarray) -> Series:
        """Return some of the channels."""
        return Series(self.data[..., which], self.scale[which], self.shift[which])


@lru_cache(maxsize=64)
def component_taps(spec: ConvSpec) -> tuple[int, ...]:
    """Return the taps of a polyphase component along each axis: ⌈K·gcd(s, d)/s⌉."""
    axes = zip(spec.kernel_size, spec.stride, spec.dilation, strict=True)
    return tuple(-(-k // (s // math.gcd(s, d))) for k, s, d in axes)


@lru_cache(maxsize=64)
def component_columns(spec: ConvSpec, channels: int) -> np.ndarray:
    """Return the column (P,) of a component's design matrix for every tap (*K, channels)."""
    taps, phases = component_taps(spec), _phases(spec)
    index = np.arange(math.prod(taps) * math.prod(phases) * channels)
    index = index.reshape(*taps, *phases, channels)
    d = len(taps)
    order = [axis for pair in zip(range(d), range(d, 2 * d), strict=True) for axis in pair]
    whole = index.transpose(*order, 2 * d).reshape(
        *(k * p for k, p in zip(taps, phases, strict=True)), channels
    )
    found = whole[tuple(map(slice, spec.kernel_size))].reshape(-1)
    found.flags.writeable = False  # it is kept for other calls
    return found


def columns_of_components(spec: ConvSpec) -> int:
    """Return the columns per channel of a polyphase component's design matrix."""
    return math.prod(component_taps(spec)) * math.prod(_phases(spec))


def by_fft(spec: ConvSpec) -> bool:
    """Return whether FFTs are useful.

    They are not for a single tap, or if a stride leaves most columns of a component without a tap.
    """
    taps = math.prod(spec.kernel_size)
    return taps > 1 and columns_of_components(spec) <= 4 * taps


def _phases(spec: ConvSpec) -> tuple[int, ...]:
    return tuple(s // math.gcd(s, d) for s, d in zip(spec.stride, spec.dilation, strict=True))


def polyphase(
    x: Series, y: np.ndarray | None, spec: ConvSpec
) -> Iterator[tuple[Series, np.ndarray | None]]:
    """Yield polyphase components of x (N, *E, C) in normal form, and the outputs of their windows.

    With dilation d, every tap reads samples of one residue class modulo d. Each class is a
    component and becomes a separate record. Components of equal length are records of one array if
    a view is possible. With a stride, the phases of a component become channels, some of which have
    no tap: see `component_columns`.

    Yields:
        A series (N', *L, phases·C) without stride and dilation, and a view (N', *T', Q) of
        y (N, *T, Q).
    """
    if {*spec.stride, *spec.dilation} == {1}:
        yield x, y
        return
    common = [math.gcd(s, d) for s, d in zip(spec.stride, spec.dilation, strict=True)]
    taps, phases = component_taps(spec), _phases(spec)
    dilation = [d // g for d, g in zip(spec.dilation, common, strict=True)]
    read = x.data[(slice(None), *(slice(None, None, g) for g in common))]
    counts = spec._normal.output_shape(x.data.shape[1:-1])
    repeated = math.prod(phases)
    scale, shift = np.tile(x.scale, repeated), np.tile(x.shift, repeated)
    for runs in itertools.product(*map(_runs, dilation, counts)):
        starts, windows = zip(*runs, strict=True)
        # Up to the last sample that a tap reads. Later phases are not in any window.
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
                # Fill with the value that is read as zero, so that an offset has no step.
                part = _by_phase(part, lengths, phases, x.shift / x.scale)
            yield Series(part, scale, shift), out


def _runs(dilation: int, count: int) -> list[tuple[range, int]]:
    """Return starts of components of ``count`` outputs with equal length, and that length."""
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
    """Yield views a[:, start·step :: dilation][:, :length] for every start along every axis.

    The longest axis of records and starts is the first axis of the views.
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
    """Return x as (N, *lengths, phases·C), padded to lengths·phases with ``nothing`` (C,)."""
    d = len(lengths)
    whole = np.empty((len(x), *(n * s for n, s in zip(lengths, phases, strict=True)), x.shape[-1]))
    whole[...] = nothing
    whole[tuple(map(slice, x.shape))] = x
    split = [size for pair in zip(lengths, phases, strict=True) for size in pair]
    whole = whole.reshape(x.shape[0], *split, x.shape[-1])
    order = [0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2), 2 * d + 1]
    return whole.transpose(order).reshape(x.shape[0], *lengths, -1)


def fft_size(taps: int, rows: int) -> int:
    """Return the number of samples of one FFT: the power of two with the smallest cost.

    The cost of S samples for T = ``rows`` windows is ⌈T/(S - K + 1)⌉·S·log S. For 1 to 128 channels
    and 40 to 4 000 taps, the measured time of moments and of products is at most a tenth above the
    smallest.
    """

    def cost(bits: int) -> int:
        size = 1 << bits
        return -(-rows // (size - taps + 1)) * size * bits

    least, most = taps.bit_length(), (rows + taps - 2).bit_length()
    return 1 << min(range(max(least, 1), max(most, least, 1) + 1), key=cost)


class Batch(NamedTuple):
    """The blocks of one call of an FFT.

    Attributes:
        records: a slice of the records.
        start: first output.
        blocks: number of blocks of a record.
        step: outputs of a block.
        size: samples of an FFT.
    """

    records: slice
    start: int
    blocks: int
    step: int
    size: int

    def pieces(self, series: Series, length: int) -> np.ndarray:
        """Return pieces (n·blocks, size, *L', C) of ``length`` samples, padded with zeros.

        Samples beyond the end of a record are zero, too.
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
        """Set outputs of ``pieces`` beyond the first ``rows`` of a record to zero."""
        missing = self.start + self.blocks * self.step - rows
        if missing > 0:
            pieces[self.blocks - 1 :: self.blocks, self.step - missing : self.step] = 0.0

    def skip(self, pieces: np.ndarray, samples: int) -> None:
        """Set the first ``samples`` of every record in ``pieces`` to zero."""
        by_record = pieces.reshape(-1, self.blocks, *pieces.shape[1:])
        for i in range(min(self.blocks, -(-max(0, samples - self.start) // self.step))):
            by_record[:, i, : samples - self.start - i * self.step] = 0.0


@cache
def keep_freed_memory() -> None:
    """Make glibc keep freed memory. With other C libraries, this has no effect.

    glibc maps every large block again, and page faults then take a third of the time of
    a fit. Freeing a mapped block of up to 32 MiB increases the size from which blocks
    are large to its size, and the memory that is kept to twice its size.
    """
    np.empty(2**22 - 2**12)


def batches(shape: Sequence[int], rows: int, taps: int, width: int) -> list[Batch]:
    """Return batches of all rows of records (N, L, *L', C), with ``width`` numbers per sample."""
    keep_freed_memory()
    records = shape[0]
    channels = math.prod(shape[2:])
    size = fft_size(taps, rows)
    step = size - taps + 1
    blocks = -(-rows // step)
    # With many channels, a batch has many blocks, because adding products is slow.
    fit = CHUNK_NUMBERS / (size * width)
    together = max(1, int(fit), min(channels // 4, int(8 * fit)))
    # A few numbers take less time than starting other threads.
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
    """Return the results of ``task`` for all items, on all cores."""
    # Not in the generator: after an exception, its traceback may keep it open.
    with one_blas_thread():
        return [*tracked(in_order(task, several), "batches on all cores", len(several))]


class Product(NamedTuple):
    """A product of matrices a (f, …, i, n) and b (f, …, n, j), to be added to a sum."""

    a: np.ndarray
    b: np.ndarray

    def added_to(self, total: np.ndarray | None) -> np.ndarray:
        """Return ``total`` plus a @ b, computed for some frequencies at a time.

        Page faults of an array for the whole product can take longer than the product.
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
    """Return the sums over all batches of the arrays and products that ``task`` returns.

    A thread adds its results to one of a few totals. The number of the batch decides which, so that
    sums do not depend on the timing of threads.
    """
    totals: list[list[Any]] = [[] for _ in several[: at_once()]]

    def add(number: int) -> None:
        found = task(several[number])
        which = number % len(totals)  # no other batch that `in_order` runs now has the same
        before = totals[which] or [None] * len(found)
        totals[which] = [*map(_plus, before, found)]

    side_by_side(add, range(len(several)))
    found, *others = totals
    for more in others:
        found = [*map(_plus, found, more)]
    return found


def _plus(total: np.ndarray | None, more: np.ndarray | Product) -> np.ndarray:
    """Return the sum, in the memory of ``total``."""
    if isinstance(more, Product):
        return more.added_to(total)
    if total is None:
        return more
    total += more
    return total


def windows(found: np.ndarray, taps: Sequence[int]) -> np.ndarray:
    """Return (a, n, *L', C) with windows of the axes L' as channels, (a, n·∏T', ∏K'·C)."""
    d, channels = len(taps), math.prod(taps) * found.shape[-1]
    if taps:
        axes = tuple(range(2, 2 + d))
        found = np.lib.stride_tricks.sliding_window_view(found, tuple(taps), axes)
        found = np.moveaxis(found, 2 + d, -1)
    return found.reshape(found.shape[0], math.prod(found.shape[1 : -1 - d]), channels)
