"""Checks of the time indexes that data frames and xarrays carry, because records are plain arrays.

Rows are paired by position, and are equally spaced. An index that contradicts this is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .records import lists_arrays

# A step differs from the typical step, and a row of x from a row of y, by less than these shares of
# the step; a step differs from 1/fs by at most the last share.
GAP, SHIFT, RATE = 0.5, 0.1, 0.01
# Rounded times differ from equally spaced ones by less than this share of a step. A missing row
# makes a difference of half a step.
ROUNDED = 0.45


class TimeIndex(NamedTuple):
    """Times of the rows of a record.

    Attributes:
        name: the record, for messages.
        times: (T,), integers, floats in seconds, datetime64 or timedelta64.
    """

    name: str
    times: np.ndarray

    @classmethod
    def of(cls, item: Any, name: str, batch: bool) -> TimeIndex | None:
        """Return the index of a record, or of all records of a ``batch``.

        None without an index, for an index of words, and for row numbers 0, 1, 2, and so on.
        """
        labelled = isinstance(getattr(item, "coords", None), Mapping) and len(item.dims) > batch
        axis = item.dims[int(batch)] if labelled else ""
        index: Any = item.coords.get(axis) if axis else getattr(item, "index", None)
        if hasattr(index, "to_timestamp"):  # periods, such as months
            index = index.to_timestamp()
        if getattr(index, "tz", None) is not None:
            index = index.tz_convert(None)  # times of several zones are compared in UTC
        times = np.asarray(index if hasattr(index, "dtype") else ())
        kind = times.dtype.kind
        if times.ndim != 1 or len(times) < 2 or kind not in "iufmM":
            return None
        if kind in "iu" and np.array_equal(times, np.arange(len(times))):
            return None
        wide = {"i": np.int64, "u": np.int64, "f": np.float64}.get(kind, times.dtype)
        return cls(name, times.astype(wide))

    @property
    def steps(self) -> np.ndarray:
        """Steps (T - 1,) between rows, in seconds or in the unit of a number."""
        with np.errstate(invalid="ignore"):  # infinite times
            return _seconds(np.diff(self.times))

    @property
    def step(self) -> float:
        """Mean step."""
        return float(_seconds(self.times[-1:] - self.times[:1])[0]) / (len(self.times) - 1)

    @property
    def _rounded(self) -> bool:
        """Whether increasing times are near equally spaced ones, as after rounding to 1 ms."""
        steps = self.steps
        off = np.cumsum(steps) - self.step * np.arange(1, len(self.times))
        return bool((steps > 0).all() and np.ptp(off) < 2 * ROUNDED * self.step)

    def check_spacing(self) -> None:
        """Raise a ValueError at the first step that is not like the others."""
        steps = self.steps
        known = steps[steps > 0]
        usual = float(np.median(known)) if known.size else 0.0
        even = (usual > 0) & (np.abs(steps - usual) < GAP * usual)
        if even.all() or self._rounded:
            return
        row = int(np.argmin(even)) + 1
        before, after = self.times[row - 1 : row + 1]
        where = f"goes from {before} in row {row - 1} to {after} in row {row}"
        raise ValueError(
            f"the time index of {self.name} is not equally spaced: it {where}; the median step is "
            f"{usual:.6g}"
        )

    def check_rate(self, fs: float | None) -> None:
        """Raise a ValueError if the step contradicts a sampling rate. Integers have no unit."""
        integers = self.times.dtype.kind == "i"
        if fs is not None and not integers and not abs(self.step * fs - 1) <= RATE:
            raise ValueError(
                f"the time index of {self.name} has a step of {self.step:.6g} s, that is "
                f"{1 / self.step:.6g} Hz, but fs={fs:.6g} is given"
            )

    def check_same(self, other: TimeIndex) -> None:
        """Raise a ValueError if another index of the same length has other times."""
        if len(other.times) != len(self.times):
            return
        comparable = (self.times.dtype.kind == "M") == (other.times.dtype.kind == "M")
        if not comparable or not self._near(other):
            raise ValueError(
                f"{self.name} and {other.name} have different time indexes, which begin at "
                f"{self.times[0]} and {other.times[0]}; rows are paired by position"
            )

    def _near(self, other: TimeIndex) -> bool:
        kinds = self.times.dtype.kind + other.times.dtype.kind
        if kinds in ("mm", "MM"):
            shift = _seconds(other.times - self.times)
        else:
            shift = _seconds(other.times) - _seconds(self.times)
        return bool((np.abs(shift) < SHIFT * self.step).all())


def _seconds(values: np.ndarray) -> np.ndarray:
    """Return durations in seconds as floats; numbers are returned unchanged."""
    if values.dtype.kind == "m":
        return np.asarray(values / np.timedelta64(1, "s"))
    return values.astype(float)


def check_time_indexes(given: Mapping[str, Any], rates: Mapping[str, float | None]) -> None:
    """Raise a ValueError if time indexes contradict equal spacing, a rate or one another.

    Args:
        given: x, y, and further arguments with a row for every row of y, by name.
        rates: sampling rates in Hz, or None, of the arguments whose spacing is checked, by name.
    """
    first: dict[int, TimeIndex] = {}
    for name, value in given.items():
        if value is None or type(value) is np.ndarray:
            continue
        several = lists_arrays(value)
        for i, item in enumerate(value if several else [value]):
            batch = not several and getattr(item, "ndim", 0) == 3
            index = TimeIndex.of(item, f"{name}[{i}]" if several else name, batch)
            if index is None:
                continue
            if name in rates:
                index.check_spacing()
                index.check_rate(rates[name])
            if i in first:
                first[i].check_same(index)
            else:
                first[i] = index
