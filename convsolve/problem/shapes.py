"""Checks that x, y and the geometry of a problem fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ..text import count
from .lags import LagWindow
from .records import Records
from .rows import Rows
from .spec import ConvSpec

# More zeros around the data, or more numbers in a kernel (2 GiB), are assumed to be a mistake.
MAX_ADDED, MAX_KERNEL = 2**28, 2**28


def check_windows(
    spec: ConvSpec, window: LagWindow | None, x: Records, y: Records | None, rows: Rows
) -> None:
    """Raise a ValueError unless windows fit into x, at the same lags in all records."""
    if rows.count == 0:
        raise _no_window(spec, window, x, y)
    own = sum(a.size for a in x.arrays)
    shapes = Counter(a.shape[:-1] for a in x.arrays)
    windows = x.channels * sum(n * math.prod(spec._extent(shape)) for shape, n in shapes.items())
    if windows > 2 * own + MAX_ADDED:
        raise ValueError(
            f"the windows would read {windows} numbers, x has {own}: kernel_size="
            f"{spec.kernel_size}, dilation={spec.dilation} and "
            f"padding={spec.padding!r} reach too far outside it"
        )
    if spec.padding == "same" and len(set(map(spec._offset, shapes))) > 1:
        raise ValueError(
            "padding='same' with stride > 1 places the kernel differently in "
            "records of different length, so that taps mean different lags; "
            "use 'causal' or explicit padding"
        )


def _no_window(
    spec: ConvSpec, window: LagWindow | None, x: Records, y: Records | None
) -> ValueError:
    longest = max((a.shape[:-1] for a in x.arrays), key=math.prod)
    if spec.ndim == 1 and x.channels >= spec._span[0] and (hint := _exchanged(x, y)):
        return ValueError(f"no window fits: {hint}")
    if window is None:
        return ValueError(
            f"no window fits: kernel_size={spec.kernel_size} with dilation={spec.dilation} "
            f"spans {spec._span} samples, x has {longest} and padding={spec.padding!r}"
        )
    reach = tuple(max(0, b) - min(0, a) + 1 for a, b in window.bounds)
    # As if they were given in milliseconds.
    seconds = spec.ndim == 1 and reach[0] > 10 * longest[0]
    use = "tmin= and tmax= are in seconds" if seconds else "use fewer lags or edges='zeros'"
    return ValueError(
        f"no window fits: lags {[*window.bounds]} take {reach} samples for a row, x has {longest}; "
        f"{use}"
    )


def check_kernel(shape: Sequence[int]) -> None:
    """Raise a ValueError if a kernel of this shape is too large."""
    if math.prod(shape) > MAX_KERNEL:
        raise ValueError(
            f"the kernel would have {' × '.join(map(str, shape))} numbers (taps × "
            "channels × outputs), more than memory holds; use fewer"
        )


def check_records(x: Records, y: Records) -> None:
    """Raise a ValueError unless y has as many records as x."""
    if len(y.arrays) != len(x.arrays):
        raise ValueError(
            f"x has {count(len(x.arrays), 'record')}, y {count(len(y.arrays), 'record')}; arrays "
            "(trials, time) need a channel axis, [..., None]"
        )


def check_output(spec: ConvSpec, x: Records, y: Records, rows: Rows) -> None:
    """Raise a ValueError unless y has a sample per row."""
    for i, (a, b, shape) in enumerate(zip(x.arrays, y.arrays, rows.shapes, strict=True)):
        if b.shape[:-1] != shape:
            hint = spec.ndim == 1 and (_transposed(x, y, i, spec) or _exchanged(x, y))
            raise ValueError(
                f"{f'y[{i}]' if len(x.arrays) > 1 else 'y'} has {_times(b.shape[:-1])} samples, "
                f"expected {_times(shape)}: padding={spec.padding!r} with "
                f"{_times(a.shape[:-1])} samples of x and kernel_size={spec.kernel_size}; "
                f"{hint or 'if y is as long as x, use lags= instead of kernel_size='}"
            )


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _transposed(x: Records, y: Records, record: int, spec: ConvSpec | None = None) -> str:
    """Return which of x and y to transpose so that their samples fit, or an empty string."""
    a, b = x.arrays[record].shape, y.arrays[record].shape
    if len(a) > 2 or len(b) > 2:
        return ""

    def rows(samples: int) -> int:
        return samples if spec is None else spec.output_shape((samples,))[0]

    which = "y" if y.channel_axis and rows(a[0]) == b[1] else ""
    which = which or ("x" if x.channel_axis and rows(a[1]) == b[0] else "")
    return f"channels come last: transpose {which}" if which else ""


def _exchanged(x: Records, y: Records | None = None) -> str:
    """Return how to exchange axes if x has more channels than samples, or an empty string."""
    if any(a.ndim > 2 or a.shape[1] <= a.shape[0] for a in x.arrays):
        return ""
    first = y is not None and all(b.shape[1] > b.shape[0] for b in y.arrays)
    which = "x and y" if first else "x"
    return (
        f"x was read as {x.describe(1)}. Channels come last: transpose {which} if they are first, "
        "or add a channel axis, x[..., None], if trials are first"
    )


def check_lengths(x: Records, y: Records) -> None:
    """Raise a ValueError unless y, for a geometry stated by lags, is as long as x."""
    for i, (a, b) in enumerate(zip(x.arrays, y.arrays, strict=True)):
        if a.shape[:-1] != b.shape[:-1]:
            which = f"[{i}]" if len(x.arrays) > 1 else ""
            hint = _transposed(x, y, i) or _exchanged(x, y)
            raise ValueError(
                f"y{which} has {_times(b.shape[:-1])} samples but x{which} has "
                f"{_times(a.shape[:-1])}. With lags=, y must have the same length as "
                f"x; {hint or 'use kernel_size= if y is the output of a convolution layer'}"
            )


def doubts(spec: ConvSpec, x: Records) -> list[str]:
    """Describe how x was read, if its axes look exchanged."""
    hint = _exchanged(x) if spec.ndim == 1 else ""
    return [f"{hint}; kernel_size=(K,) or lags=[(a, b)] states this reading"] if hint else []
