"""Fast operations on long arrays (..., C) with few channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..parallel import in_order

# Numbers of a row that NumPy processes at full speed, numbers that are processed at a time (1 MiB),
# and number of channels with which NumPy is fast on one row.
ROW_NUMBERS, PART_NUMBERS, MANY_CHANNELS = 2**10, 2**17, 64


def by_channel(
    reduce: np.ufunc, a: np.ndarray, of: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """Return ``reduce`` (C,) over all axes but the last, of ``a`` or of a function of its entries.

    The array is processed in parts, so that no array as long as ``a`` is created. Many short rows
    are processed as one long row, because NumPy is slow on short rows.
    """
    flat = a.reshape(-1, a.shape[-1])
    rows, channels = flat.shape
    if channels == 1 and (of is None or rows <= PART_NUMBERS):
        whole = flat[:, 0] if of is None else of(flat)[:, 0]
        return np.asarray(reduce.reduce(whole, keepdims=True))
    fold = max(1, ROW_NUMBERS // max(1, channels))
    folded, step = rows // fold * fold, max(1, PART_NUMBERS // max(ROW_NUMBERS, channels)) * fold
    total = None
    for start in range(0, folded, step):
        part = flat[start : min(start + step, folded)]
        part = part if of is None else of(part)
        found = reduce.reduce(part.reshape(-1, fold * channels))
        total = found if total is None else reduce(total, found, out=total)
    last = flat[folded:] if of is None else of(flat[folded:])
    if total is not None:
        last = np.concatenate([total.reshape(fold, channels), last])
    # The order of a sum, and therefore its last bits, do not depend on the memory layout.
    return reduce.reduce(np.ascontiguousarray(last))


def channelwise(of: np.ufunc, a: np.ndarray, values: np.ndarray, out: np.ndarray) -> None:
    """Apply ``of`` to a (..., L, C) and values (C,), and write the result to ``out``.

    NumPy is slow on short rows, so that contiguous samples of a few channels are joined to one row.
    """
    samples, channels = a.shape[-2:]
    joined = (channels * a.itemsize, a.itemsize), (channels * out.itemsize, out.itemsize)
    if 1 < channels < MANY_CHANNELS and (a.strides[-2:], out.strides[-2:]) == joined:
        shape = (*a.shape[:-2], samples * channels)
        a, out, values = a.reshape(shape), out.reshape(shape), np.tile(values, samples)
    of(a, values, out=out)


def extremes(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest magnitude (C,) and the sum (C,) of every channel, on all cores.

    A sum may overflow. It does not depend on the layout in memory.
    """
    step, of = max(1, 8 * PART_NUMBERS // max(1, a[:1].size)), (np.maximum, np.minimum, np.add)
    if len(a) <= step:
        high, low, total = (by_channel(f, a) for f in of)
    else:
        parts = [a[i : i + step] for i in range(0, len(a), step)]
        found = in_order(lambda part: [by_channel(f, part) for f in of], parts)
        high, low, total = map(np.ufunc.reduce, of, zip(*found, strict=True))
    return np.maximum(high, -low), total
