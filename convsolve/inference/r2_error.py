"""Standard error and confidence interval of R², for rows that are correlated in time."""

from __future__ import annotations

import numpy as np

from ..linalg.rank import EPS
from .effective_rows import BinMeans
from .errors import COSINES, cosine_columns, t_quantile

# Intervals are widened by 1 + FEW_ROWS/effective rows. The number was chosen by simulation: cosines
# of short series are correlated.
FEW_ROWS = 8
# A residual below this share of the variation of y is rounding.
ROUNDING = 100 * EPS


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
        self._projections = np.zeros((COSINES, 2, outputs))
        self._bins = BinMeans(rows, (3, outputs))

    def add(self, c: np.ndarray, e: np.ndarray) -> None:
        """Add the next rows (k, Q)."""
        squares = np.square(np.stack([c, e], axis=1))
        self.squares += squares.sum(0)
        if self._in_time:
            stop = self._first + len(c)
            cosines = cosine_columns(self._first, stop, self._rows)
            self._projections += np.tensordot(cosines, squares, (0, 0))
            self._bins.add(np.stack([c, e, c - e], axis=1))
            self._first = stop

    def log_error(self) -> np.ndarray:
        """Return the standard error (Q,) of log(Σe²/Σc²), the mean of e²/Σe² − c²/Σc² per row."""
        if not self._in_time:
            return np.full(self.squares.shape[1], np.nan)
        shares = self._projections / np.where(self.squares > 0, self.squares, 1.0)
        return np.asarray(np.sqrt(2 * np.square(shares[:, 1] - shares[:, 0]).mean(0)))

    def effective_rows(self) -> np.ndarray:
        """Return the fewest effective rows (Q,) of y, e and ŷ."""
        if not self._in_time:
            return np.full(self.squares.shape[1], np.nan)
        return self._bins.effective_rows(ROUNDING**2 * self.squares[0] / self._rows).min(0)
