"""Records that are filtered in time when they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..problem.stored import Stored
from .windows import NormalForm


def filtered(a: np.ndarray, filters: np.ndarray, step: int = 1) -> np.ndarray:
    """Return Σ_i φ_i·a[t − i·step] (..., n, C) for φ (C or 1, p + 1), with zeros before a."""
    from scipy.ndimage import convolve1d

    spread = np.zeros((len(filters), (filters.shape[1] - 1) * step + 1))
    spread[:, ::step] = filters
    found, origin = np.empty(a.shape), -(spread.shape[1] // 2)
    # One call for all lags, since calls take most of the time for short records.
    several = (slice(c, c + 1) for c in range(a.shape[-1])) if len(filters) > 1 else [slice(None)]
    for some, taps in zip(several, spread, strict=True):
        convolve1d(a[..., some], taps, -2, found[..., some], "constant", origin=origin)
    return found


def autocovariances(records: Sequence[np.ndarray], most: int) -> np.ndarray:
    """Return autocovariances (1 + most, C) of records (T, C) at lags 0 to ``most``."""
    rows, found = sum(map(len, records)), np.zeros((1 + most, records[0].shape[1]))
    for e in records:
        for lag in range(min(most, len(e) - 1) + 1):
            found[lag] += np.einsum("tq,tq->q", e[lag:], e[: len(e) - lag])
    return found / rows


class Filter(NamedTuple):
    """Filters in time of some channels less a constant, one filter per group of channels.

    Attributes:
        channels: (G, C), the channels that are filtered. A channel can be in several groups.
        constants: (G, C), subtracted first, so that a large offset costs no digits.
        filters: φ (G, p + 1).
        step: number of samples between two coefficients of a filter.
    """

    channels: np.ndarray
    constants: np.ndarray
    filters: np.ndarray
    step: int = 1

    @property
    def lost(self) -> int:
        """Number of samples at the start of a record that are lost."""
        return (self.filters.shape[1] - 1) * self.step

    def of(self, samples: np.ndarray) -> np.ndarray:
        """Return filtered samples (..., n − lost, G·C) of samples (..., n, channels)."""
        less = samples[..., self.channels.reshape(-1)] - self.constants.reshape(-1)
        each = np.repeat(self.filters, self.channels.shape[1], axis=0)
        return filtered(less, each, self.step)[..., self.lost :, :]

    def of_all(self, records: Sequence[np.ndarray], formed: Callable[..., Any]) -> list[np.ndarray]:
        """Return filtered records. They have a normal form ``formed`` (N, n, channels).

        Records of one shape are filtered together, since a call takes longer than the filter of a
        short record.
        """
        lots: dict[tuple[int, ...], list[int]] = {}
        for i, record in enumerate(records):
            lots.setdefault(record.shape, []).append(i)
        found: dict[int, np.ndarray] = {}
        for lot in lots.values():
            found |= zip(lot, self.of(formed(np.stack([records[i] for i in lot]))), strict=True)
        return [found[i] for i in range(len(records))]

    def share(self, several: Sequence[np.ndarray], constant: bool) -> float:
        """Return the smallest share of the squares of its terms that a filtered channel keeps.

        Every group has all channels of the samples (N, n, C), about their means if a ``constant``
        is subtracted.
        """
        records = [record for a in several for record in a]
        if constant:
            mean = sum(a.sum(0) for a in records) / sum(map(len, records))
            records = [a - mean for a in records]
        lags = self.filters.shape[1]
        of_x = autocovariances(records, lags - 1)
        of_filters = autocovariances([self.filters.T], lags - 1) * lags
        of_filters[1:] *= 2  # each lag occurs before and after
        terms = np.outer(np.square(np.abs(self.filters).sum(1)), of_x[0])
        squares, live = of_filters.T @ of_x, terms > 0
        return float(np.min(squares[live] / terms[live], initial=1.0))


@dataclass(frozen=True, eq=False)
class FilteredRecord:
    """A record, or several records of one shape, that are filtered when they are read.

    Attributes:
        record: the samples (..., n, channels) before the filter, which may be read on demand.
        filter: the filter.
    """

    record: Any
    filter: Filter

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (..., n − lost, G·C)."""
        *several, samples, _ = self.record.shape
        return (*several, max(samples - self.filter.lost, 0), self.filter.channels.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples."""
        return np.dtype(float)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> FilteredRecord:
        """Return some samples of one record, not filtered yet: a slice of the first axis."""
        start, stop, _ = (key[0] if isinstance(key, tuple) else key).indices(len(self))
        some = self.record[start : max(stop, start) + self.filter.lost]
        return FilteredRecord(some, self.filter)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self.filter.of(np.asarray(self.record))
        return found if dtype is None else found.astype(dtype, copy=False)


def filtered_record(array: Any) -> FilteredRecord | None:
    """Return samples that are not read yet as a `FilteredRecord`; None if they are no such."""
    stored = array.record if isinstance(array, NormalForm) else array
    if not (isinstance(stored, Stored) and isinstance(stored.source, FilteredRecord)):
        return None
    if stored.channels != tuple(range(stored.source.shape[-1])):
        return None
    (stored,) = array.selections if isinstance(array, NormalForm) else (array,)
    (found,) = stored.selections
    return found if isinstance(found, FilteredRecord) else None
