"""Numerical rank: which singular values count, and the band in which none can say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Band:
    """Numerical rank of a spectrum: the tolerance, the band around it, and the rank at each.

    With m rows, P columns and s₁ the largest singular value of the equilibrated matrix,
    ``tolerance = max(m, P, 10√P)·eps·s₁`` and the band is ``[min(tol/2, 10√P·eps·s₁), 10·tol]``:
    exact dependencies leave 0.4 to 3 eps for any m, while computed phases leave up to m·eps. For
    several spectra (n, k), every attribute but ``columns`` is an array (n,).
    """

    columns: int
    tolerance: Any
    low: Any
    high: Any
    rank: Any
    rank_at_low: Any
    rank_at_high: Any

    @property
    def verdict(self) -> Any:
        """Whether the smallest value is above the band ("full"), in it ("ambiguous") or below."""
        below = np.where(self.rank_at_low < self.columns, "deficient", "ambiguous")
        return np.where(self.rank_at_high == self.columns, "full", below).tolist()


def tolerance_of(rows: int, columns: int) -> float:
    """Return the tolerance of `Band` in units of s₁."""
    return max(rows, columns, 10 * math.sqrt(columns)) * EPS


def least_share(rows: int, columns: int, loss: Any = 1.0) -> Any:
    """Return the square of a singular value, in units of s₁², that the rounding of a Gram allows.

    It is above the `Band`, so that the singular values of A lead to the same verdict. ``loss`` is
    the rounding error of the Gram, in units of that of products of columns of norm one.
    """
    return np.maximum(10 * columns * EPS * loss, (10 * tolerance_of(rows, columns)) ** 2)


def least_certified(columns: int) -> float:
    """Return a lower bound of the singular values if a Gram matrix proved full rank.

    Its columns have norms of 1/2 to 1.
    """
    return math.sqrt(10 * columns * EPS) / 2


def null_threshold(values: np.ndarray, rank: int, columns: int) -> float:
    """Return clip(10√P·eps·s₁/σ_r, 1e-12, 1e-3): null-space rows below it in norm are rounding."""
    if not rank:
        return 1e-12
    return float(np.clip(10 * math.sqrt(columns) * EPS * values[0] / values[rank - 1], 1e-12, 1e-3))


def band_of(values: np.ndarray, rows: int, columns: int) -> Band:
    """Return the `Band` of ``values`` (..., k), of which k < ``columns`` if rows are too few."""
    largest = values.max(-1, initial=0.0)
    tolerance = tolerance_of(rows, columns) * largest
    low = np.minimum(tolerance / 2, 10 * math.sqrt(columns) * EPS * largest)
    ends = tolerance, low, 10 * tolerance
    ranks = (np.count_nonzero(values > np.asarray(end)[..., None], axis=-1) for end in ends)
    # Numbers, not arrays, for a single spectrum.
    numbers = [v if np.ndim(v) else v.item() for v in (*ends, *ranks)]
    return Band(columns, *numbers)
