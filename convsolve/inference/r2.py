"""Standard error and confidence interval of R², for rows that are correlated in time."""

from __future__ import annotations

import numpy as np

from ..linalg.rank import EPS
from .errors import COSINES, cosine_columns, t_quantile

# Intervals are widened by 1 + FEW_ROWS/effective rows. The number was chosen by simulation: cosines
# of short series are correlated.
FEW_ROWS = 8
# A residual below this share of the variation of y is rounding.
ROUNDING = 100 * EPS
# A long series is averaged over bins, so that its memory and time are bounded. The correlation
# within a bin then counts as one, and the result is at most the number of bins.
MOST_BINS = 4096


def interval(
    r2: np.ndarray, error: np.ndarray, effective_rows: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of an interval of a ``level`` for R², symmetric in log(1 − R²)."""
    unexplained = 1 - r2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # The standard error of log(1 − R²); zero for a fit that is exact to rounding.
        of_log = np.where(unexplained > 0, error / unexplained, 0.0 * error)
        quantile = t_quantile(np.array(float(COSINES)), (1 + level) / 2)
        reach = quantile * (1 + FEW_ROWS / effective_rows) * of_log
        return 1 - unexplained * np.exp(reach), 1 - unexplained * np.exp(-reach)


class Deviations:
    """Sums over c = y − ȳ and e = y − ŷ, added in the order of time, for R² and its error."""

    def __init__(self, rows: int, outputs: int, in_time: bool) -> None:
        """``in_time`` is whether the rows have an order in time, which an error needs."""
        self.squares = np.zeros((2, outputs))
        self._rows, self._first, self._in_time = rows, 0, in_time
        self._projections, self._width = np.zeros((COSINES, 2, outputs)), -(-rows // MOST_BINS)
        # Sums of c, e and ŷ in every bin, and their sums of squares.
        self._bins = np.zeros((-(-rows // self._width), 3, outputs))
        self._squares = np.zeros((3, outputs))

    def add(self, c: np.ndarray, e: np.ndarray) -> None:
        """Add the next rows (k, Q)."""
        values = np.stack([c, e, c - e], axis=1)
        squares = np.square(values)
        self.squares += squares[:, :2].sum(0)
        if not self._in_time or not len(c):
            return
        self._squares += squares.sum(0)
        places = np.arange(self._first, self._first + len(c))
        cosines = cosine_columns(self._first, self._first + len(c), self._rows)
        self._projections += np.tensordot(cosines, squares[:, :2], (0, 0))
        starts = np.flatnonzero(np.diff(places // self._width, prepend=-1))
        sums = np.add.reduceat(values, starts, axis=0)
        self._bins[places[starts] // self._width] += sums
        self._first += len(c)

    def log_error(self) -> np.ndarray:
        """Return the standard error (Q,) of log(Σe²/Σc²), the mean of e²/Σe² − c²/Σc² per row."""
        if not self._in_time:
            return np.full(self.squares.shape[1], np.nan)
        shares = self._projections / np.where(self.squares > 0, self.squares, 1.0)
        return np.asarray(np.sqrt(2 * np.square(shares[:, 1] - shares[:, 0]).mean(0)))

    def effective_rows(self) -> np.ndarray:
        """Return the fewest effective rows (Q,) of y, e and ŷ, n/(1 + 2·Σρ²).

        ρ are the autocorrelations up to the first that is below 2/√n. Their squares are the
        autocorrelations of the squares of a Gaussian series. A series of rounding is not used.
        """
        from scipy.fft import irfft, next_fast_len, rfft

        if not self._in_time:
            return np.full(self.squares.shape[1], np.nan)
        rows, width, count = self._rows, self._width, len(self._bins)
        mean, mean_square = self._bins.sum(0) / rows, self._squares / rows
        variance, least = mean_square - mean**2, ROUNDING**2 * mean_square[0]
        real = variance > np.maximum(least, 8 * EPS * mean_square)
        sizes = np.diff(np.append(np.arange(count) * width, rows))[:, None, None]
        length = next_fast_len(2 * count, real=True)
        spectrum = rfft((self._bins - sizes * mean) / width, length, axis=0)
        products = irfft(np.square(np.abs(spectrum)), length, axis=0)[1:count]
        rho = products * width / rows / np.where(real, variance, 1.0)
        below = np.logical_or.accumulate(rho < 2 / np.sqrt(rows))
        found = rows / width / (1 + 2 * np.where(below, 0.0, rho**2).sum(0))
        return np.asarray(np.where(real, found, np.inf).min(0))
