"""Numerical rank: which singular values count, and the band in which none can say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Band:
    """Numerical rank of a spectrum: the tolerance, the band around it, and the rank at each.

    With m rows, P columns and s₁ the largest singular value of the equilibrated matrix,
    ``tolerance = max(m, P, 10√P)·eps·s₁`` and the band is ``[min(tol/2, 10√P·eps·s₁), 10·tol]``:
    exact dependencies leave 0.4 to 3 eps whatever m, while computed phases leave up to m·eps.
    """

    tolerance: float
    low: float
    high: float
    rank: int
    rank_at_low: int
    rank_at_high: int
    columns: int

    @property
    def verdict(self) -> str:
        """Whether the smallest value is above the band ("full"), in it ("ambiguous") or below."""
        if self.rank_at_high == self.columns:
            return "full"
        return "deficient" if self.rank_at_low < self.columns else "ambiguous"


def tolerance_of(rows: int, columns: int) -> float:
    """The tolerance of `Band` in units of s₁."""
    return max(rows, columns, 10 * math.sqrt(columns)) * EPS


def least_certified(columns: int) -> float:
    """What the smallest singular value exceeds where a Gram of columns of norm 1/2 to 1 decided."""
    return math.sqrt(10 * columns * EPS) / 2


class Bands:
    """The `Band` of each of several spectra (n, k)."""

    def __init__(self, values: np.ndarray, rows: int, columns: int) -> None:
        largest = values.max(1, keepdims=True, initial=0.0)
        tolerance = tolerance_of(rows, columns) * largest
        low = np.minimum(tolerance / 2, 10 * math.sqrt(columns) * EPS * largest)
        self._ends = np.concatenate([tolerance, low, 10 * tolerance], axis=1)
        self._ranks = np.count_nonzero(values[:, None] > self._ends[:, :, None], axis=2)
        self._columns = columns

    @property
    def rank(self) -> np.ndarray:
        """Numerical ranks (n,) at the tolerance."""
        return self._ranks[:, 0]

    def of(self, place: int) -> Band:
        """That of one of them."""
        tolerance, low, high = self._ends[place].tolist()
        rank, at_low, at_high = self._ranks[place].tolist()
        return Band(tolerance, low, high, rank, at_low, at_high, self._columns)


def band_of(values: np.ndarray, rows: int, columns: int) -> Band:
    """The `Band` of descending ``values``, fewer than ``columns`` where rows are too few."""
    return Bands(values[None], rows, columns).of(0)
