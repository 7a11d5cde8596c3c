"""Records that are filtered in time when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..problem.records import Stored


def filtered(a: np.ndarray, taps: np.ndarray, step: int = 1) -> np.ndarray:
    """Return Σ_i φ_i·a[t − i·step] (n, C) for φ (p + 1,), with zeros before a."""
    from scipy.ndimage import convolve1d

    spread = np.zeros((len(taps) - 1) * step + 1)
    spread[::step] = taps
    return np.asarray(convolve1d(a, spread, 0, float, "constant", origin=-(len(spread) // 2)))


def lag_sums(records: Sequence[np.ndarray], most: int) -> np.ndarray:
    """Return Σ a[t]·a[t + l] (1 + most, C) of records (T, C) for lags l of 0 to ``most``."""
    pairs = [[(e[lag:], e[: max(len(e) - lag, 0)]) for e in records] for lag in range(1 + most)]
    return np.stack([sum(np.einsum("tq,tq->q", *pair) for pair in each) for each in pairs])


def autocovariances(records: Sequence[np.ndarray], most: int) -> np.ndarray:
    """Return autocovariances (1 + most, C) of records (T, C) at lags 0 to ``most``."""
    return lag_sums(records, most) / sum(map(len, records))


@dataclass(frozen=True, eq=False)
class FilteredRecord:
    """A record that is filtered when it is read; slices of its first axis are filtered later.

    Attributes:
        record: the samples (n, C) before the filter, which may be read on demand.
        taps: φ (p + 1,).
        step: number of samples between two coefficients of the filter.
    """

    record: Any
    taps: np.ndarray
    step: int
    dtype: ClassVar[np.dtype[Any]] = np.dtype(float)

    @property
    def lost(self) -> int:
        """Number of samples at the start of a record that are lost."""
        return (len(self.taps) - 1) * self.step

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n − lost, C)."""
        return max(self.record.shape[0] - self.lost, 0), self.record.shape[1]

    def __getitem__(self, key: Any) -> FilteredRecord:
        start, stop, _ = (key[0] if isinstance(key, tuple) else key).indices(self.shape[0])
        return replace(self, record=self.record[start : max(stop, start) + self.lost])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = filtered(np.asarray(self.record), self.taps, self.step)
        return found[self.lost :].astype(dtype or float, copy=False)


def filtered_records(
    records: Sequence[Any], taps: np.ndarray, step: int, on_demand: bool
) -> list[Any]:
    """Return filtered records (n − lost, C) for records (n, C), which are filtered ``on_demand``.

    Otherwise all are filtered at once, since a call takes longer than the filter of a short record.
    The first samples of a record, which would read the record before, are lost.
    """
    several = [FilteredRecord(a, taps, step) for a in records]
    if on_demand:
        return [Stored.of(a, 1)[0] for a in several]
    joined = np.concatenate([*map(np.asarray, records)])
    ends = np.cumsum([len(a) for a in records])
    parts = np.split(filtered(joined, taps, step), ends[:-1])
    return [part[a.lost :] for part, a in zip(parts, several, strict=True)]
