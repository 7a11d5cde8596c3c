"""Records that are filtered in time when they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np


def filtered(a: np.ndarray, taps: np.ndarray, step: int = 1) -> np.ndarray:
    """Return Σ_i φ_i·a[t − i·step] (..., n, C) for φ (p + 1,), with zeros before a."""
    from scipy.ndimage import convolve1d

    spread = np.zeros((len(taps) - 1) * step + 1)
    spread[::step] = taps
    return np.asarray(convolve1d(a, spread, -2, None, "constant", origin=-(len(spread) // 2)))


def lag_sums(records: Sequence[np.ndarray], most: int) -> np.ndarray:
    """Return Σ a[t]·a[t + l] (1 + most, C) of records (T, C) for lags l of 0 to ``most``."""
    pairs = [[(e[lag:], e[: max(len(e) - lag, 0)]) for e in records] for lag in range(1 + most)]
    return np.stack([sum(np.einsum("tq,tq->q", *pair) for pair in each) for each in pairs])


def autocovariances(records: Sequence[np.ndarray], most: int) -> np.ndarray:
    """Return autocovariances (1 + most, C) of records (T, C) at lags 0 to ``most``."""
    return lag_sums(records, most) / sum(map(len, records))


class Filter(NamedTuple):
    """A filter in time of channels less a constant.

    Attributes:
        constants: (C,), subtracted first, so that a large offset costs no digits.
        taps: φ (p + 1,).
        step: number of samples between two coefficients of the filter.
    """

    constants: np.ndarray
    taps: np.ndarray
    step: int = 1

    @property
    def lost(self) -> int:
        """Number of samples at the start of a record that are lost."""
        return (len(self.taps) - 1) * self.step

    def of(self, samples: np.ndarray) -> np.ndarray:
        """Return filtered samples (..., n − lost, C) of samples (..., n, C)."""
        return filtered(samples - self.constants, self.taps, self.step)[..., self.lost :, :]

    def of_all(self, records: Sequence[np.ndarray], formed: Callable[..., Any]) -> list[np.ndarray]:
        """Return filtered records. They have a normal form ``formed`` (N, n, C).

        Records of one shape are filtered together, since a call takes longer than the filter of a
        short record.
        """
        found: dict[int, np.ndarray] = {}
        for shape in {record.shape for record in records}:
            lot = [i for i, record in enumerate(records) if record.shape == shape]
            found |= zip(lot, self.of(formed(np.stack([records[i] for i in lot]))), strict=True)
        return [found[i] for i in range(len(records))]


@dataclass(frozen=True, eq=False)
class FilteredRecord:
    """A record that is filtered when it is read; slices of its first axis are filtered later.

    Attributes:
        record: the samples (n, C) before the filter, which may be read on demand.
        filter: the filter.
    """

    record: Any
    filter: Filter
    dtype: ClassVar[np.dtype[Any]] = np.dtype(float)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n − lost, C)."""
        return max(self.record.shape[0] - self.filter.lost, 0), self.filter.constants.size

    def __getitem__(self, key: Any) -> FilteredRecord:
        start, stop, _ = (key[0] if isinstance(key, tuple) else key).indices(self.shape[0])
        return FilteredRecord(self.record[start : max(stop, start) + self.filter.lost], self.filter)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.filter.of(np.asarray(self.record)).astype(dtype or float, copy=False)
