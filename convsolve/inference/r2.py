"""R², its standard error and its interval, for rows that are correlated in time."""

from __future__ import annotations

import numpy as np

from ..linalg.rank import EPS
from .errors import COSINES, cosine_columns, t_quantile

# Intervals are widened by 1 + FEW_ROWS/effective rows. The number was chosen by simulation: cosines
# of short series are correlated.
FEW_ROWS = 8
# A residual below this share of the variation of y is rounding.
ROUNDING = 100 * EPS
# A long series is summed in bins, so that its memory and time are bounded. The correlation within a
# bin then counts as one, and the number of effective rows is at most the number of bins.
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
    """Sums of y, its residual e and its prediction ŷ over rows, in bins of consecutive rows.

    They are about the means of the first rows, so that a large mean takes no digits.

    Args:
        rows: number of rows.
        outputs: number of outputs.
        centre: whether means are subtracted from y and ŷ.
    """

    def __init__(self, rows: int, outputs: int, centre: bool = True) -> None:
        self._rows, self._first, self._width = rows, 0, -(-rows // MOST_BINS)
        self._centred = np.array([centre, False, centre])[:, None]
        # Sums of y, e, ŷ, their squares and y·ŷ.
        self._bins = np.zeros((-(-rows // self._width), 7, outputs))

    def add(self, y: np.ndarray, residual: np.ndarray, prediction: np.ndarray) -> None:
        """Add the next rows (k, Q), in the order of time."""
        if not len(y):
            return
        if not self._first:
            self._exponents = np.frexp(np.abs(y).max(0))[1]
        values = np.ldexp(np.stack([y, residual, prediction], axis=1), -self._exponents)
        if not self._first:
            self._origin = values.mean(0) * self._centred
        values -= self._origin
        bins = np.arange(self._first, self._first + len(y)) // self._width
        starts = np.flatnonzero(np.diff(bins, prepend=-1))
        several = values, values**2, values[:, :1] * values[:, 2:]
        sums = [np.add.reduceat(a, starts, axis=0) for a in several]
        self._bins[bins[starts]] += np.concatenate(sums, axis=1)
        self._first += len(y)

    @np.errstate(all="ignore")
    def fit(self) -> tuple[np.ndarray, ...]:
        """Return ‖e‖/‖y − ȳ‖ (Q,), Pearson's correlation of y and ŷ, and the mean square of e.

        The mean square is in the square of the unit of y. The others are NaN for an output that is
        constant to rounding, and the correlation is also NaN if ŷ is.
        """
        means, off, (y, e, fitted) = self._moments
        varies = np.sqrt(y) > 4 * EPS * np.hypot(np.sqrt(y), self._origin[0] + off[0])
        both = varies & (fitted > 8 * EPS * means[5])
        correlation = np.where(both, (means[6] - off[0] * off[2]) / np.sqrt(y * fitted), np.nan)
        ratio = np.where(varies, np.sqrt(e / y), np.nan)
        return ratio, correlation, np.ldexp(e, 2 * self._exponents)

    @property
    def _moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means (7, Q) of all sums, the means (3, Q) that are subtracted, and variances (3, Q)."""
        means = self._bins.sum(0) / self._rows
        off = self._centred * means[:3]
        return means, off, np.maximum(means[3:6] - off**2, 0.0)

    @np.errstate(all="ignore")
    def log_error(self) -> np.ndarray:
        """Return the standard error (Q,) of log(Σe²/Σc²), the mean of e²/Σe² − c²/Σc² per row.

        c is y − ȳ. The cosines are orthogonal to a constant.
        """
        bins, (_, off, (y, e, _)) = self._bins, self._moments
        shares = bins[:, 4] / e - (bins[:, 3] - 2 * off[0] * bins[:, 0]) / y
        sums = cosine_columns(len(bins)).T @ np.where(e > 0, shares, 0.0)
        return np.asarray(np.sqrt(2 * np.square(sums / self._rows).mean(0)))

    def effective_rows(self) -> np.ndarray:
        """Return the fewest effective rows (Q,) of y, e and ŷ, n/(1 + 2·Σρ²).

        ρ are the autocorrelations up to the first that is below 2/√n. Their squares are the
        autocorrelations of the squares of a Gaussian series. A series of rounding is not used.
        """
        from scipy.fft import irfft, rfft

        (means, _, variances), rows, count = self._moments, self._rows, len(self._bins)
        variance = means[3:6] - means[:3] ** 2
        real = variance > np.maximum(ROUNDING**2 * variances[0], 8 * EPS * means[3:6])
        sizes = np.diff(np.append(np.arange(count) * self._width, rows))[:, None, None]
        spectrum = rfft(self._bins[:, :3] - sizes * means[:3], 2 * count, axis=0)
        products = irfft(np.square(np.abs(spectrum)), 2 * count, axis=0)[1:count]
        rho = products / (rows * self._width) / np.where(real, variance, 1.0)
        below = np.logical_or.accumulate(rho < 2 / np.sqrt(rows))
        found = rows / self._width / (1 + 2 * np.where(below, 0.0, rho**2).sum(0))
        return np.asarray(np.where(real, found, np.inf).min(0))
