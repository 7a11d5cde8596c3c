"""Checks of the time indexes that data frames and xarrays carry, because records are plain arrays.

Rows are paired by position, and are equally spaced. An index that contradicts this is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .records import lists_arrays

# A step differs from the typical step, and a row of x from a row of y, by less than these shares of
# the step; a step differs from 1/fs by at most the last share.
GAP, SHIFT, RATE = 0.5, 0.1, 0.01
# Rounded times differ from equally spaced ones by less than this share of a step. A missing row
# makes a difference of half a step.
ROUNDED = 0.45


def check_time_indexes(
    given: Mapping[str, Any], rates: Mapping[str, float | None], stride: int = 1
) -> None:
    """Raise a ValueError if time indexes contradict equal spacing, a rate or one another.

    Args:
        given: x, y, and further arguments with a row for every row of y, by name.
        rates: sampling rates in Hz, or None, of the arguments whose spacing is checked, by name.
        stride: samples of x per row of y, which are at the time of the first of these samples.
    """
    first: dict[int, tuple[str, np.ndarray]] = {}
    for name, value in given.items():
        several = lists_arrays(value)
        for i, item in enumerate(value if several else [value]):
            times = _times(item, not several and getattr(item, "ndim", 0) == 3)
            if times is None:
                continue
            label, seconds = f"{name}[{i}]" if several else name, _seconds(times)
            if name in rates:
                # Integers have no unit.
                _check_steps(label, seconds, None if times.dtype.kind in "iu" else rates[name])
            seconds = seconds[:: stride if name == "x" else 1]
            other, known = first.setdefault(i, (label, seconds))
            near = SHIFT * (known[-1] - known[0]) / max(len(known) - 1, 1)
            if len(known) == len(seconds) and not (np.abs(seconds - known) < near).all():
                raise ValueError(
                    f"{other} and {label} have different time indexes; rows are paired by position"
                )


def _times(item: Any, batch: bool) -> np.ndarray | None:
    """Return the times (T,) of the rows of a record, or of all records of a ``batch``.

    None without an index, for an index of words, and for row numbers 0, 1, 2, and so on.
    """
    index = getattr(item, "index", None)
    if isinstance(coords := getattr(item, "coords", None), Mapping):
        index = coords.get(item.dims[int(batch)]) if len(item.dims) > batch else None
    kind = getattr(getattr(index, "dtype", None), "kind", "O")
    # Times with a zone become UTC.
    times = np.asarray(index if kind in "iufmM" else (), "M8[ns]" if kind == "M" else None)
    numbers = kind in "iu" and np.array_equal(times, np.arange(len(times)))
    return None if times.ndim != 1 or len(times) < 2 or numbers else times


def _seconds(times: np.ndarray) -> np.ndarray:
    """Return times in seconds, for dates since 1970; numbers are returned as floats."""
    if times.dtype.kind in "mM":
        return np.asarray(times - times.dtype.type(0, "ns")) / np.timedelta64(1, "s")
    return times.astype(float)


def _check_steps(name: str, seconds: np.ndarray, fs: float | None) -> None:
    """Raise a ValueError at the first step that is not like the others, or contradicts ``fs``."""
    steps, step = np.diff(seconds), float(seconds[-1] - seconds[0]) / (len(seconds) - 1)
    usual = float(np.nanmedian(steps))
    even = (usual > 0) & (np.abs(steps - usual) < GAP * usual)
    off = seconds - step * np.arange(len(seconds))
    if not even.all() and not ((steps > 0).all() and np.ptp(off) < 2 * ROUNDED * step):
        row = int(np.argmin(even)) + 1
        raise ValueError(
            f"the time index of {name} is not equally spaced: row {row} is {steps[row - 1]:.6g} "
            f"after the row before, and the median step is {usual:.6g}"
        )
    if fs is not None and abs(step * fs - 1) > RATE:
        raise ValueError(
            f"the time index of {name} has a step of {step:.6g} s, that is {1 / step:.6g} Hz, but "
            f"fs={fs:.6g} is given"
        )
