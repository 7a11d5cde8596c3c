"""Number of independent rows that carry as much information as the correlated rows of a series."""

from __future__ import annotations

import numpy as np

from ..linalg.rank import EPS

# A long series is averaged over bins, so that its memory and time are bounded. The correlation
# within a bin then counts as one, and the result is at most the number of bins.
MOST_BINS = 4096


class BinMeans:
    """Means of a series (rows, ...) over bins of consecutive rows, accumulated block by block."""

    def __init__(self, rows: int, shape: tuple[int, ...]) -> None:
        self._rows, self._width = rows, -(-rows // MOST_BINS)
        self._sums = np.zeros((-(-rows // self._width), *shape))
        self._squares, self._first = np.zeros(shape), 0

    def add(self, values: np.ndarray) -> None:
        """Add the next rows (k, ...)."""
        if not len(values):
            return
        bins = np.arange(self._first, self._first + len(values)) // self._width
        starts = np.flatnonzero(np.diff(bins, prepend=-1))
        self._sums[bins[starts]] += np.add.reduceat(values, starts, axis=0)
        self._squares += np.einsum("t...,t...->...", values, values)
        self._first += len(values)

    def effective_rows(self, smallest_variance: np.ndarray) -> np.ndarray:
        """Return n/(1 + 2·Σρ²) (...) of a series; inf if its variance is below the smallest.

        ρ are the autocorrelations up to the first that is below 2/√n. Their squares are the
        autocorrelations of the squares of a Gaussian series.
        """
        from scipy.fft import irfft, next_fast_len, rfft

        rows, width, count = self._rows, self._width, len(self._sums)
        mean = self._sums.sum(0) / rows
        mean_square = self._squares / rows
        variance = mean_square - mean**2
        sizes = np.diff(np.append(np.arange(count) * width, rows))
        centred = (self._sums - np.multiply.outer(sizes, mean)) / width
        length = next_fast_len(2 * count, real=True)
        spectrum = rfft(centred, length, axis=0)
        products = irfft(np.square(np.abs(spectrum)), length, axis=0)[:count]
        real = variance > np.maximum(smallest_variance, 8 * EPS * mean_square)
        correlations = products * width / rows / np.where(real, variance, 1.0)
        below = correlations[1:] < 2 / np.sqrt(rows)
        squares = np.where(np.logical_or.accumulate(below), 0.0, correlations[1:] ** 2)
        found = rows / width / (1 + 2 * squares.sum(0))
        return np.asarray(np.where(real, found, np.inf))
