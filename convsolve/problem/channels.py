"""Reductions of long arrays, channel by channel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Numbers of a row that NumPy reduces at full speed, and of what is reduced at a time (1 MiB).
ROW_NUMBERS, PART_NUMBERS = 2**10, 2**17


def by_channel(
    reduce: np.ufunc, a: np.ndarray, of: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """``reduce`` over all axes but the last, (C,), of a or of a function of its entries.

    Some at a time, so that nothing as long as ``a`` is made, and many short rows as one, since
    NumPy is slow on them; a single channel is one row.
    """
    flat = a.reshape(-1, a.shape[-1])
    rows, channels = flat.shape
    if channels == 1 and rows <= PART_NUMBERS:
        whole = flat[:, 0] if of is None else of(flat)[:, 0]
        return np.asarray(reduce.reduce(whole, keepdims=True))
    fold = max(1, ROW_NUMBERS // max(1, channels))
    folded, step = rows // fold * fold, PART_NUMBERS // ROW_NUMBERS * fold
    found = []
    for start in range(0, folded, step):
        part = flat[start : min(start + step, folded)]
        part = part if of is None else of(part)
        found.append(reduce.reduce(part.reshape(-1, fold * channels)))
    last = flat[folded:] if of is None else of(flat[folded:])
    if found:
        last = np.concatenate([reduce.reduce(np.stack(found)).reshape(fold, channels), last])
    return reduce.reduce(last)


def largest(a: np.ndarray) -> np.ndarray:
    """The largest magnitude (C,) in every channel."""
    if a.dtype.kind != "f":
        return by_channel(np.maximum, a, np.abs)
    # Both ends without an array of magnitudes.
    return np.maximum(by_channel(np.maximum, a), -by_channel(np.minimum, a))
