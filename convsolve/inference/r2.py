"""R², its standard error and its interval, for rows that are correlated in time."""

from __future__ import annotations

import numpy as np

from ..cached import cached_property
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
    """Sums over rows of y, its residual e and its prediction ŷ, added in the order of time.

    They are about the means of the first rows, so that a large mean takes no digits.

    Args:
        rows: number of rows.
        outputs: number of outputs.
        in_time: whether the rows have an order in time, which a standard error needs.
        centre: whether means are subtracted from y and ŷ.
    """

    def __init__(self, rows: int, outputs: int, in_time: bool, centre: bool = True) -> None:
        self._rows, self._first, self._in_time = rows, 0, in_time
        self._centred = np.array([centre, False, centre])[:, None]
        self._sums, self._squares = np.zeros((2, 3, outputs))
        self._cross, self._exponents = np.zeros(outputs), np.zeros(outputs, int)
        # Cosine transforms of the squares of y and e, and of y itself.
        self._cosines, self._of_y = np.zeros((COSINES, 2, outputs)), np.zeros((COSINES, outputs))
        self._width = -(-rows // MOST_BINS)
        self._bins = np.zeros((-(-rows // self._width), 3, outputs))

    def add(self, y: np.ndarray, residual: np.ndarray, prediction: np.ndarray) -> None:
        """Add the next rows (k, Q)."""
        if not len(y):
            return
        if not self._first:
            self._exponents = np.frexp(np.abs(y).max(0))[1]
        values = np.ldexp(np.stack([y, residual, prediction], axis=1), -self._exponents)
        if not self._first:
            self._origin = values.mean(0) * self._centred  # digits of large means are kept
        values -= self._origin
        squares, end = np.square(values), self._first + len(y)
        self._sums += values.sum(0)
        self._squares += squares.sum(0)
        self._cross += (values[:, 0] * values[:, 2]).sum(0)
        if self._in_time:
            cosines = cosine_columns(self._first, end, self._rows)
            self._cosines += np.tensordot(cosines, squares[:, :2], (0, 0))
            self._of_y += cosines.T @ values[:, 0]
            bins = np.arange(self._first, end) // self._width
            starts = np.flatnonzero(np.diff(bins, prepend=-1))
            self._bins[bins[starts]] += np.add.reduceat(values, starts, axis=0)
        self._first = end

    @cached_property
    def _means(self) -> np.ndarray:
        """Means (3, Q), which are subtracted from y and ŷ after the origin."""
        return self._centred * self._sums / self._rows

    @cached_property
    def squares(self) -> np.ndarray:
        """Sums of squares (3, Q) of y − ȳ, e and ŷ less its mean."""
        return np.maximum(self._squares - self._rows * self._means**2, 0.0)

    @property
    def mean_squares(self) -> np.ndarray:
        """Mean squares (Q,) of e, in the square of the unit of y."""
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(np.ldexp(self.squares[1] / self._rows, 2 * self._exponents))

    @property
    def unexplained(self) -> np.ndarray:
        """‖e‖/‖y − ȳ‖ (Q,), NaN for an output that is constant to rounding."""
        norms, errors = np.sqrt(self.squares[:2])
        means = self._origin[0] + self._means[0]
        of_rounding = 4 * EPS * np.hypot(norms, np.sqrt(self._rows) * means)
        return np.where(norms > of_rounding, errors / norms, np.nan)

    @property
    def correlation(self) -> np.ndarray:
        """Pearson's correlation (Q,) of y and ŷ, NaN if ŷ is constant to rounding."""
        y, _, fitted = self.squares
        cross = self._cross - self._rows * self._means[0] * self._means[2]
        return np.where(fitted > 8 * EPS * self._squares[2], cross / np.sqrt(y * fitted), np.nan)

    def log_error(self) -> np.ndarray:
        """Return the standard error (Q,) of log(Σe²/Σc²), the mean of e²/Σe² − c²/Σc² per row.

        c is y − ȳ. The cosines are orthogonal to a constant.
        """
        if not self._in_time:
            return np.full(self._cross.shape, np.nan)
        sums = self._cosines.copy()
        sums[:, 0] -= 2 * self._means[0] * self._of_y
        shares = sums / np.where(self.squares[:2] > 0, self.squares[:2], 1.0)
        return np.asarray(np.sqrt(2 * np.square(shares[:, 1] - shares[:, 0]).mean(0)))

    def effective_rows(self) -> np.ndarray:
        """Return the fewest effective rows (Q,) of y, e and ŷ, n/(1 + 2·Σρ²).

        ρ are the autocorrelations up to the first that is below 2/√n. Their squares are the
        autocorrelations of the squares of a Gaussian series. A series of rounding is not used.
        """
        from scipy.fft import irfft, next_fast_len, rfft

        if not self._in_time:
            return np.full(self._cross.shape, np.nan)
        rows, width, count = self._rows, self._width, len(self._bins)
        mean, mean_square = self._sums / rows, self._squares / rows
        variance, least = mean_square - mean**2, ROUNDING**2 * self.squares[0] / rows
        real = variance > np.maximum(least, 8 * EPS * mean_square)
        sizes = np.diff(np.append(np.arange(count) * width, rows))[:, None, None]
        length = next_fast_len(2 * count, real=True)
        spectrum = rfft((self._bins - sizes * mean) / width, length, axis=0)
        products = irfft(np.square(np.abs(spectrum)), length, axis=0)[1:count]
        rho = products * width / rows / np.where(real, variance, 1.0)
        below = np.logical_or.accumulate(rho < 2 / np.sqrt(rows))
        found = rows / width / (1 + 2 * np.where(below, 0.0, rho**2).sum(0))
        return np.asarray(np.where(real, found, np.inf).min(0))
