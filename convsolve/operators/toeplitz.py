"""The Gram matrix as an operator on kernels, without its P² numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..parallel import cores
from .overlap_save import Batch, Product, Series, batches, side_by_side, summed

# With fewer numbers than this in a transform, threads are slower than one.
PARALLEL_NUMBERS = 2**16
# If a squared column norm is less than this share of its value for padded records, subtracting the
# edges cancels too many digits.
DROWNED = 1e-2


class Grid:
    """Spectra of kernels: FFTs along all axes of taps, padded with zeros to at least 2K - 1.

    Vectors are (P, Q), with the taps × channels ``columns`` of a polyphase component. Spectra are
    (F, C, Q), with all frequencies in one axis.
    """

    def __init__(self, taps: Sequence[int], channels: int, columns: np.ndarray) -> None:
        from scipy.fft import next_fast_len

        self.taps, self.channels = tuple(taps), channels
        self.sizes = tuple(next_fast_len(2 * k - 1, real=i == 0) for i, k in enumerate(taps))
        self.step = tuple(n - k + 1 for n, k in zip(self.sizes, self.taps, strict=True))
        self.bins = (self.sizes[0] // 2 + 1, *self.sizes[1:])
        # The first axis is the last to be transformed, and thus the one that is halved.
        self.axes = (*range(1, len(self.taps)), 0)
        self.shape = tuple(self.sizes[a] for a in self.axes)
        everything = math.prod(self.taps) * channels
        whole = columns.size == everything and np.array_equal(columns, np.arange(everything))
        self.columns = None if whole else columns

    def forward(self, a: np.ndarray) -> np.ndarray:
        """Return spectra (F, I, Q) of a (≤ *sizes, I, Q)."""
        from scipy.fft import rfftn

        workers = -1 if a.size > PARALLEL_NUMBERS else None
        found = rfftn(a, self.shape, self.axes, workers=workers)
        return found.reshape(math.prod(self.bins), *a.shape[-2:])

    def backward(self, s: np.ndarray) -> np.ndarray:
        """Return (*sizes, I, Q) of spectra (F, I, Q), which may be overwritten."""
        from scipy.fft import irfftn

        full = s.reshape(*self.bins, *s.shape[-2:])
        workers = -1 if s.size > PARALLEL_NUMBERS else None
        return irfftn(full, self.shape, self.axes, overwrite_x=True, workers=workers)

    def whole(self, v: np.ndarray) -> np.ndarray:
        """Return a vector (P, Q) with zeros for the other columns of a component, (∏K·C, Q)."""
        if self.columns is None:
            return v
        found = np.zeros((math.prod(self.taps) * self.channels, v.shape[1]))
        found[self.columns] = v
        return found

    def part(self, v: np.ndarray) -> np.ndarray:
        """Return the inverse of `whole`."""
        return v if self.columns is None else v[self.columns]

    def spectrum(self, v: np.ndarray) -> np.ndarray:
        """Return the spectrum (F, C, Q) of a vector of all columns."""
        return self.forward(v.reshape(*self.taps, self.channels, -1))

    def vector(self, s: np.ndarray) -> np.ndarray:
        """Return the values (∏K·C, Q) of a spectrum (F, C, Q) at the taps. May overwrite it."""
        return self.backward(s)[tuple(map(slice, self.taps))].reshape(-1, s.shape[-1])

    def symbol(self, lags: np.ndarray) -> np.ndarray:
        """Return the spectrum (F, C, C) of lags (*2K-1, C, C): 0 to K - 1, then 1 - K to -1."""
        whole = np.zeros((*self.sizes, *lags.shape[-2:]))
        pairs = zip(self.taps, self.sizes, strict=True)
        whole[np.ix_(*(np.r_[0:k, n - k + 1 : n] for k, n in pairs))] = lags
        return self.forward(whole)


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a @ b (F, I, Q), faster than `matmul` for small matrices, on all cores if large."""
    if a.shape[-2:] == (1, 1):
        return a * b
    if a.size < PARALLEL_NUMBERS:
        return a @ b
    ends = np.linspace(0, len(a), cores() + 1).astype(int)
    parts = [slice(*pair) for pair in itertools.pairwise(ends)]
    return np.concatenate(side_by_side(lambda part: a[part] @ b[part], parts))


def autocorrelation(parts: Iterable[Series], taps: Sequence[int]) -> np.ndarray:
    """Return Σ x[u+m] x[u]ᵀ (*2K-1, C, C) over all samples of records (N, *L, C), zero outside.

    Lags m are 0 to K - 1 and then 1 - K to -1, as in an FFT. Records are processed in batches along
    the first axis, so that memory does not depend on its length.
    """
    from scipy.fft import irfftn, next_fast_len, rfftn

    total: Any = 0.0
    index = [np.arange(taps[0]), *(np.r_[0:k, 1 - k : 0] for k in taps[1:])]
    for x in parts:
        _, length, *between, channels = x.data.shape
        sizes = [next_fast_len(n + k - 1) for n, k in zip(between, taps[1:], strict=True)]
        # The first axis of taps is the last to be transformed, and thus the one that is halved.
        axes = (*range(2, 2 + len(between)), 1)
        several = batches(x.data.shape, length, taps[0], 2 * channels * math.prod(sizes))
        shape = (*sizes, several[0].size)

        def crossed(batch: Batch, x: Series = x, shape: Any = shape, axes: Any = axes) -> Any:
            ahead, here = (
                rfftn(batch.pieces(x, samples), shape, axes) for samples in (batch.size, batch.step)
            )
            return (_crossed(ahead, here),)

        (spectrum,) = summed(crossed, several)
        lags = irfftn(spectrum, shape, (*range(1, 1 + len(between)), 0))
        total = total + lags[np.ix_(*index)]
    # R[-m] = R[m]ᵀ gives the other half of the first axis.
    back = total[:0:-1]
    for axis, k in enumerate(taps[1:], start=1):
        back = np.take(back, -np.r_[0:k, 1 - k : 0], axis)
    return np.concatenate([total, back.swapaxes(-1, -2)])


def _crossed(a: np.ndarray, b: np.ndarray) -> np.ndarray | Product:
    """Return Σ a bᴴ (f, *F', C, C) over pieces (n, f, *F', C). b is overwritten."""
    np.conj(b, out=b)
    if a.shape[-1] == 1:
        return np.einsum("n...,n...->...", a, b)[..., None]
    a, b = (np.moveaxis(s, 0, -2) for s in (a, b))
    return Product(a.swapaxes(-1, -2), b)


def _edges(extent: Sequence[int], taps: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """Return boxes of windows that overlap an end of a record, by axis."""
    for axis, (n, k) in enumerate(zip(extent, taps, strict=True)):
        before = [(0, m - j + 1) for m, j in zip(extent[:axis], taps[:axis], strict=True)]
        after = [(1 - j, m) for m, j in zip(extent[axis + 1 :], taps[axis + 1 :], strict=True)]
        for ends in ((1 - k, 0), (n - k + 1, n)):
            yield [*before, ends, *after]


def _cells(
    x: Series, box: Sequence[tuple[int, int]], grid: Grid
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Yield cells of a box of windows: samples (N, *sizes, C), and windows along every axis.

    Samples outside a record, or outside of all windows of the cell, are zero.
    """
    starts = [range(a, b, s) for (a, b), s in zip(box, grid.step, strict=True)]
    extent = x.data.shape[1:-1]
    for start in itertools.product(*starts):
        counts = [min(s, b - at) for at, s, (_, b) in zip(start, grid.step, box, strict=True)]
        places = [
            (max(at, 0) - at, max(min(at + c + k - 1, n), 0) - at)
            for at, c, k, n in zip(start, counts, grid.taps, extent, strict=True)
        ]
        if start[1:] == tuple(r.start for r in starts[1:]):
            slab = x.part(*(start[0] + place for place in places[0]))
        piece = np.zeros((len(slab), *grid.sizes, slab.shape[-1]))
        read = (slice(at + a, at + b) for at, (a, b) in zip(start[1:], places[1:], strict=True))
        piece[(slice(None), *(slice(*p) for p in places))] = slab[:, :, *read]
        yield piece, counts


class Lags:
    """The block Toeplitz matrix of the autocorrelation of records, and a ridge.

    Args:
        parts: records (N, *L, C) in normal form, see `series`.
        taps: taps K of their windows.
        columns: the columns (P,) of the windows that are used.
        ridge: (P,) or 0, on the diagonal, equal for all taps of a channel.

    Attributes:
        grid: spectra of kernels.
        lags: blocks of `autocorrelation`.
    """

    def __init__(
        self,
        parts: Sequence[Series],
        taps: Sequence[int],
        columns: np.ndarray,
        ridge: np.ndarray | float = 0.0,
    ) -> None:
        channels = parts[0].data.shape[-1]
        self.grid = Grid(taps, channels, columns)
        self.ridge, self._of_channel = ridge, columns % channels
        self.lags = autocorrelation(parts, taps)

    @property
    def diagonal(self) -> np.ndarray:
        """The diagonal (P,) without the ridge."""
        return np.diagonal(self.lags[(0,) * len(self.grid.taps)])[self._of_channel]

    @property
    def channel_ridge(self) -> np.ndarray:
        """Ridge (C,) of every channel of the polyphase components."""
        found = np.zeros(self.grid.channels)
        found[self._of_channel] = self.ridge
        return found


class Gram(Lags):
    """The linear map v ↦ (AᵀA − ssᵀ/n + ridge) v for kernels v (P, Q) of one group.

    For records padded with zeros, the Gram matrix of all windows, also of those that overlap an
    end, is block Toeplitz, with the blocks of `autocorrelation`. A has only the inner windows, so
    that AᵀA v = T v − EᵀE v, where E are the windows at the edges that are not zero. If the edges
    are more work than the rest, or have nearly all of the power, AᵀA v is computed from the inner
    windows. In both cases a product takes a few FFTs of twice the length of the kernel.

    Args:
        parts, taps, columns, ridge: as for `Lags`.
        squares: squared norms (P,) of the columns.
        sums: s/√n (P,) if means are projected out.
    """

    def __init__(
        self,
        parts: Sequence[Series],
        taps: Sequence[int],
        columns: np.ndarray,
        squares: np.ndarray,
        sums: np.ndarray | None = None,
        ridge: np.ndarray | float = 0.0,
    ) -> None:
        super().__init__(parts, taps, columns, ridge)
        self.sums = sums
        self.symbol = self.grid.symbol(self.lags)
        extents = [x.data.shape[1:-1] for x in parts]
        inner = [[(0, n - k + 1) for n, k in zip(e, taps, strict=True)] for e in extents]
        cells = sum(len(x.data) * self._count(box) for x, box in zip(parts, inner, strict=True))
        self.windows, self.mask = self._windows(parts, [_edges(e, taps) for e in extents])
        self.toeplitz = (
            self.windows.shape[1] < cells and not (squares < DROWNED * self.diagonal).any()
        )
        if not self.toeplitz:
            self.windows, self.mask = self._windows(parts, [[box] for box in inner])

    def _count(self, box: Sequence[tuple[int, int]]) -> int:
        """Return the number of cells of a box of windows."""
        pairs = zip(box, self.grid.step, strict=True)
        return math.prod(-(-(b - a) // s) for (a, b), s in pairs)

    def _windows(
        self, parts: Sequence[Series], boxes: Sequence[Iterable[list[tuple[int, int]]]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return spectra (F, B, C) of the samples of all cells of ``boxes`` that are not zero.

        The second result is where their windows are in a product, (*sizes, B, 1) bool.
        """
        cells, masks = [], []
        for x, some in zip(parts, boxes, strict=True):
            for box in some:
                for piece, counts in _cells(x, box, self.grid):
                    piece = piece[piece.reshape(len(piece), -1).any(1)]
                    inside = np.zeros((*self.grid.sizes, 1, 1), bool)
                    inside[tuple(map(slice, counts))] = True
                    cells.append(np.moveaxis(piece, 0, -2))
                    masks.append(np.repeat(inside, len(piece), -2))
        joined = np.concatenate(cells, -2) if cells else np.zeros((*self.grid.sizes, 0, 1))
        mask = np.concatenate(masks, -2) if masks else np.zeros((*self.grid.sizes, 0, 1), bool)
        return self.grid.forward(joined), mask

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """Return the product with v (P, Q)."""
        grid = self.grid
        spectrum = grid.spectrum(grid.whole(v))
        found: Any = times(self.symbol, spectrum) if self.toeplitz else 0.0
        if self.windows.shape[1]:
            # This is a correlation with the windows, with the conjugate of the FFT of v.
            out = grid.backward(times(self.windows, spectrum.conj()))
            out *= self.mask
            back = times(self.windows.swapaxes(1, 2), grid.forward(out).conj())
            found = found - back if self.toeplitz else back
        product = grid.part(grid.vector(found))
        if self.sums is not None:
            product -= self.sums[:, None] * (self.sums @ v)
        return product + np.reshape(self.ridge, (-1, 1)) * v
