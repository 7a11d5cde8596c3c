"""Reductions of long arrays, channel by channel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def by_channel(
    reduce: np.ufunc, a: np.ndarray, of: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """``reduce`` over all axes but the last, (C,), of a or of a function of its entries.

    Some at a time, so that nothing as long as ``a`` is made, and many short rows as one, since
    NumPy is slow on them.
    """
    flat = a.reshape(-1, a.shape[-1])
    rows, channels = flat.shape
    fold = max(1, 1024 // max(1, channels))
    whole = rows // fold * fold
    found = []
    for start in range(0, whole, 128 * fold):
        part = flat[start : min(start + 128 * fold, whole)]
        part = part if of is None else of(part)
        found.append(reduce.reduce(part.reshape(-1, fold * channels)))
    last = flat[whole:] if of is None else of(flat[whole:])
    if found:
        last = np.concatenate([reduce.reduce(np.stack(found)).reshape(fold, channels), last])
    return reduce.reduce(last)
