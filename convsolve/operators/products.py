"""Products with a design matrix and its transpose, without the matrix, by block FFTs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..linalg.channels import by_channel, channelwise
from .moments import ResidualSums
from .overlap_save import Batch, Series, batches, summed


class _Operator:
    """A and its adjoint, batch by batch, by FFTs along every axis."""

    def __init__(self, x: Series, taps: Sequence[int], outputs: int) -> None:
        from scipy.fft import next_fast_len

        self.x, self.taps = x, tuple(taps)
        self.between = x.data.shape[2:-1]
        self.rows = tuple(n - k + 1 for n, k in zip(x.data.shape[1:-1], taps, strict=True))
        self.sizes = tuple(next_fast_len(n, real=False) for n in self.between)
        self.axes = (*range(2, 2 + len(self.between)), 1)
        width = math.prod(self.sizes) * (x.data.shape[-1] + outputs)
        self.batches = batches(x.data.shape, self.rows[0], taps[0], width)

    def spectra(self, pieces: np.ndarray, batch: Batch) -> np.ndarray:
        """Return spectra (f, *F', n, C) of pieces (n, size, *L', C)."""
        return np.moveaxis(_rfft(pieces, (*self.sizes, batch.size), self.axes), 0, -2)

    def of_kernel(self, w: np.ndarray) -> np.ndarray:
        """Return the conjugate spectrum (f, *F', C, Q) of w (*K, C, Q)."""
        axes = (*range(1, len(self.taps)), 0)
        return _rfft(w, (*self.sizes, self.batches[0].size), axes).conj()

    def product(self, spectrum: np.ndarray, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return the spectra of x and A w (n, step, *T', Q) of a batch."""
        seen = self.seen(batch)
        # Pieces are contiguous in memory, so that an FFT reads neighbouring numbers.
        found = np.empty((seen.shape[-2], *seen.shape[:-2], spectrum.shape[-1]), complex)
        # With one channel, matmul would be slow, since every product is of two numbers.
        times = np.multiply if seen.shape[-1] == 1 else np.matmul
        times(seen, spectrum, out=np.moveaxis(found, 0, -2))
        found = _irfft(found, (*self.sizes, batch.size), self.axes)
        return seen, found[(slice(None), *map(slice, (batch.step, *self.rows[1:])))]

    def seen(self, batch: Batch) -> np.ndarray:
        """Return the spectra of x of a batch."""
        return self.spectra(batch.pieces(self.x, batch.size), batch)

    def outputs(self, y: Series, batch: Batch) -> np.ndarray:
        """Return pieces (n, size, *L', Q) of outputs, which are zero from ``batch.step`` on."""
        return batch.pieces(y, batch.step)

    def crossed(self, seen: np.ndarray, y: np.ndarray, batch: Batch) -> np.ndarray:
        """Return the conjugate cross spectrum (f, *F', C, Q) of a batch, for pieces y.

        ``seen`` is overwritten.
        """
        back = self.spectra(y, batch)
        return np.conj(seen, out=seen).swapaxes(-1, -2) @ back

    def taps_of(self, total: np.ndarray) -> np.ndarray:
        """Return Aᵀy (*K, C, Q) of the sum of cross spectra over all batches."""
        axes = (*range(1, len(self.taps)), 0)
        found = _irfft(total.conj(), (*self.sizes, self.batches[0].size), axes)
        return found[tuple(map(slice, self.taps))]


def _rfft(a: np.ndarray, sizes: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """Return `scipy.fft.rfftn`, or `rfft` along a single axis, which has half the overhead."""
    from scipy.fft import rfft, rfftn

    return rfft(a, sizes[0], axes[0]) if len(axes) == 1 else rfftn(a, sizes, axes)


def _irfft(a: np.ndarray, sizes: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    from scipy.fft import irfft, irfftn

    return irfft(a, sizes[0], axes[0]) if len(axes) == 1 else irfftn(a, sizes, axes)


def forward(x: Series, w: np.ndarray) -> np.ndarray:
    """Return A w (N, *T, Q) for w (*K, C, Q)."""
    operator = _Operator(x, w.shape[:-2], w.shape[-1])
    given = operator.of_kernel(w)
    out = np.empty((len(x.data), *operator.rows, w.shape[-1]))

    def of(batch: Batch) -> tuple[np.ndarray, ...]:
        found = operator.product(given, batch)[1]
        part = out[batch.records, batch.start : batch.start + batch.blocks * batch.step]
        joined = found.reshape(len(part), batch.blocks * batch.step, *found.shape[2:])
        part[...] = joined[:, : part.shape[1]]
        return ()

    summed(of, operator.batches)
    return out


def adjoint(x: Series, y: Series, taps: Sequence[int]) -> np.ndarray:
    """Return Aᵀy (*K, C, Q) for outputs y (N, *T, Q)."""
    operator = _Operator(x, taps, y.data.shape[-1])

    def of(batch: Batch) -> tuple[np.ndarray, ...]:
        return (operator.crossed(operator.seen(batch), operator.outputs(y, batch), batch),)

    (cross,) = summed(of, operator.batches)
    return operator.taps_of(cross)


def misfit(
    x: Series, y: Series, w: np.ndarray, offset: np.ndarray, rows: Series | None = None
) -> ResidualSums:
    """Return the sums (Q,), (*K, C, Q) and (Q,) of r = y - A w - offset in one pass.

    w is (*K, C, Q) and offset (Q,). Residuals are zero in excluded ``rows``.
    """
    operator = _Operator(x, w.shape[:-2], w.shape[-1])
    given = operator.of_kernel(w)

    def of(batch: Batch) -> tuple[np.ndarray, ...]:
        seen, found = operator.product(given, batch)
        r = operator.outputs(y, batch)
        inner = r[:, : batch.step]
        inner -= found
        del found  # its memory, still in the cache, is reused for the next spectrum
        if offset.any():
            channelwise(np.subtract, inner, offset, inner)
        if rows is not None:
            inner *= _counted(rows, batch)
        batch.cut(r, operator.rows[0])
        sums = by_channel(np.add, r, np.square), by_channel(np.add, r)
        return operator.crossed(seen, r, batch), *sums

    gradient, squares, sums = summed(of, operator.batches)
    return ResidualSums(squares, operator.taps_of(gradient), sums)


def _counted(rows: Series, batch: Batch) -> np.ndarray:
    """Return 1 for the used rows of a batch and 0 for others, (n, step, *T', 1)."""
    return batch.pieces(rows, batch.step)[:, : batch.step]
