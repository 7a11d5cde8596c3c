"""The Gram matrix as an operator on kernels, without its P² numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
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
    """Spectra of kernels: FFTs along the taps, padded with zeros to at least 2K - 1.

    Vectors are (P, Q), with the taps × channels ``columns`` of a polyphase component. Spectra are
    (F, C, Q).
    """

    def __init__(self, taps: int, channels: int, columns: np.ndarray) -> None:
        from scipy.fft import next_fast_len

        self.taps, self.channels = taps, channels
        self.size = next_fast_len(2 * taps - 1, real=True)
        self.step = self.size - taps + 1
        whole = np.array_equal(columns, np.arange(taps * channels))
        self.columns = None if whole else columns

    def forward(self, a: np.ndarray) -> np.ndarray:
        """Return spectra (F, I, Q) of a (≤ size, I, Q)."""
        from scipy.fft import rfft

        return rfft(a, self.size, 0, workers=-1 if a.size > PARALLEL_NUMBERS else None)

    def backward(self, s: np.ndarray) -> np.ndarray:
        """Return (size, I, Q) of spectra (F, I, Q), which may be overwritten."""
        from scipy.fft import irfft

        workers = -1 if s.size > PARALLEL_NUMBERS else None
        return irfft(s, self.size, 0, overwrite_x=True, workers=workers)

    def whole(self, v: np.ndarray) -> np.ndarray:
        """Return a vector (P, Q) with zeros for the other columns of a component, (K·C, Q)."""
        if self.columns is None:
            return v
        found = np.zeros((self.taps * self.channels, v.shape[1]))
        found[self.columns] = v
        return found

    def part(self, v: np.ndarray) -> np.ndarray:
        """Return the inverse of `whole`."""
        return v if self.columns is None else v[self.columns]

    def spectrum(self, v: np.ndarray) -> np.ndarray:
        """Return the spectrum (F, C, Q) of a vector of all columns."""
        return self.forward(v.reshape(self.taps, self.channels, -1))

    def vector(self, s: np.ndarray) -> np.ndarray:
        """Return the values (K·C, Q) of a spectrum (F, C, Q) at the taps. May overwrite it."""
        return self.backward(s)[: self.taps].reshape(-1, s.shape[-1])

    def symbol(self, lags: np.ndarray) -> np.ndarray:
        """Return the spectrum (F, C, C) of lags (2K-1, C, C): 0 to K - 1, then 1 - K to -1."""
        whole = np.zeros((self.size, *lags.shape[-2:]))
        whole[: self.taps], whole[self.step :] = lags[: self.taps], lags[self.taps :]
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


def autocorrelation(parts: Iterable[Series], taps: int) -> np.ndarray:
    """Return Σ x[u+m] x[u]ᵀ (2K-1, C, C) over all samples of records (N, L, C), zero outside.

    Lags m are 0 to K - 1 and then 1 - K to -1, as in an FFT. Records are processed in batches, so
    that memory does not depend on their length.
    """
    from scipy.fft import irfft, rfft

    total: Any = 0.0
    for x in parts:
        _, length, channels = x.data.shape
        several = batches(x.data.shape, length, taps, 2 * channels)

        def crossed(batch: Batch, x: Series = x) -> Any:
            ahead, here = (
                rfft(batch.pieces(x, samples), axis=1) for samples in (batch.size, batch.step)
            )
            return (_crossed(ahead, here),)

        (spectrum,) = summed(crossed, several)
        total = total + irfft(spectrum, several[0].size, axis=0)[:taps]
    # R[-m] = R[m]ᵀ gives the other half.
    return np.concatenate([total, total[:0:-1].swapaxes(-1, -2)])


def _crossed(a: np.ndarray, b: np.ndarray) -> np.ndarray | Product:
    """Return Σ a bᴴ (f, C, C) over pieces (n, f, C). b is overwritten."""
    np.conj(b, out=b)
    if a.shape[-1] == 1:
        return np.einsum("nfc,nfc->fc", a, b)[..., None]
    return Product(a.transpose(1, 2, 0), b.swapaxes(0, 1))


class Gram:
    """The linear map v ↦ (AᵀA − ssᵀ/n + ridge) v for kernels v (P, Q) of one group, by FFTs.

    For records padded with zeros, the Gram matrix of all windows, also of those that overlap an
    end, is block Toeplitz, with the blocks of `autocorrelation`. A has only the inner windows, so
    that AᵀA v = T v − EᵀE v, where E are the windows at the ends that are not zero. A product
    takes a few FFTs of twice the length of the kernel.

    Args:
        parts: records (N, L, C) in normal form, see `series`.
        taps: taps K of their windows.
        columns: the columns (P,) of the windows that are used.
        squares: squared norms (P,) of the columns.
        sums: s/√n (P,) if means are projected out.
        ridge: (P,) or 0, on the diagonal, equal for all taps of a channel.

    Attributes:
        grid: spectra of kernels.
        lags: blocks of `autocorrelation`.
        symbol: their spectrum.
        toeplitz: whether the product is worthwhile: the ends are less work than the inner windows,
            and do not have nearly all of the power.
    """

    def __init__(
        self,
        parts: Sequence[Series],
        taps: int,
        columns: np.ndarray,
        squares: np.ndarray,
        sums: np.ndarray | None = None,
        ridge: np.ndarray | float = 0.0,
    ) -> None:
        channels = parts[0].data.shape[-1]
        self.grid = Grid(taps, channels, columns)
        self.ridge, self._of_channel = ridge, columns % channels
        self.lags, self.sums = autocorrelation(parts, taps), sums
        self.symbol = self.grid.symbol(self.lags)
        self.windows, self.mask = self._ends(parts)
        shapes = [x.data.shape for x in parts]
        inner = sum(n * -(-(length - taps + 1) // self.grid.step) for n, length, _ in shapes)
        diagonal = np.diagonal(self.lags[0])[self._of_channel]
        drowned = bool((squares < DROWNED * diagonal).any())
        self.toeplitz = self.windows.shape[1] < inner and not drowned

    @property
    def channel_ridge(self) -> np.ndarray:
        """Ridge (C,) of every channel of the polyphase components."""
        found = np.zeros(self.grid.channels)
        found[self._of_channel] = self.ridge
        return found

    def _ends(self, parts: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
        """Return spectra (F, B, C) of the samples of all windows that overlap an end of a record.

        Records of zeros there are left out. The second result is where their windows are in a
        product, (size, B, 1) bool.
        """
        grid, count = self.grid, self.grid.taps - 1
        cells, masks = (
            [np.zeros((grid.size, 0, grid.channels))],
            [np.zeros((grid.size, 0, 1), bool)],
        )
        for x in parts:
            length = x.data.shape[1]
            for start in (-count, length - count):
                first, last = max(start, 0), min(start + 2 * count, length)
                piece = np.zeros((grid.size, len(x.data), grid.channels))
                piece[first - start : last - start] = x.part(first, last).swapaxes(0, 1)
                piece = piece[:, piece.any((0, 2))]
                inside = np.arange(grid.size)[:, None, None] < count
                cells.append(piece)
                masks.append(np.broadcast_to(inside, (grid.size, piece.shape[1], 1)))
        return grid.forward(np.concatenate(cells, 1)), np.concatenate(masks, 1)

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """Return the product with v (P, Q)."""
        grid = self.grid
        spectrum = grid.spectrum(grid.whole(v))
        found = times(self.symbol, spectrum)
        if self.windows.shape[1]:
            # This is a correlation with the windows, with the conjugate of the FFT of v.
            out = grid.backward(times(self.windows, spectrum.conj()))
            out *= self.mask
            found = found - times(self.windows.swapaxes(1, 2), grid.forward(out).conj())
        product = grid.part(grid.vector(found))
        if self.sums is not None:
            product -= self.sums[:, None] * (self.sums @ v)
        return product + np.reshape(self.ridge, (-1, 1)) * v
