"""Checks that x, y and the geometry of a problem fit, with errors that suggest what would fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ..text import argument, count, keyword
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
            f"{argument('padding', spec.padding)} reach too far outside it"
        )
    if spec.padding == "same" and len(set(map(spec._offset, shapes))) > 1:
        raise ValueError(
            f"{argument('padding', 'same')} with stride > 1 places the kernel differently in "
            "records of different length, so that taps mean different lags; "
            "use 'causal' or explicit padding"
        )


def _no_window(
    spec: ConvSpec, window: LagWindow | None, x: Records, y: Records | None
) -> ValueError:
    longest = max((a.shape[:-1] for a in x.arrays), key=math.prod)
    exchanged = spec.ndim == 1 and x.channels >= spec._span[0]
    hint = f"; {advice}" if exchanged and (advice := _exchanged(x, y)) else ""
    if window is not None:
        reach = tuple(max(0, b) - min(0, a) + 1 for a, b in window.bounds)
        if spec.ndim == 1 and reach[0] > 10 * longest[0]:  # as if they were given in milliseconds
            hint += f"; {keyword('tmin')} and {keyword('tmax')} are in seconds"
        return ValueError(
            f"no window fits: lags {[*window.bounds]} take {reach} samples for a row, x has "
            f"{longest}; use fewer lags, longer records or "
            f"{argument('edges', 'zeros')}{hint}"
        )
    return ValueError(
        f"no window fits: kernel_size={spec.kernel_size} with dilation={spec.dilation} "
        f"spans {spec._span} samples, x has {longest} and {argument('padding', spec.padding)}; use "
        f"fewer taps, longer records or {argument('padding', 'full')}{hint}"
    )


def check_kernel(shape: Sequence[int]) -> None:
    """Raise a ValueError if a kernel of this shape is too large."""
    if math.prod(shape) > MAX_KERNEL:
        raise ValueError(
            f"the kernel would have {' × '.join(map(str, shape))} numbers (taps × "
            "channels × outputs), more than memory holds; use fewer"
        )


def check_records(x: Records, y: Records, wanted: tuple[int, ...]) -> None:
    """Raise a ValueError unless y, with ``wanted`` samples in its first record, has x's records.

    Arrays (trials, time) without a channel axis are read as one record.
    """
    for name, one, others in (("y", y, x), ("x", x, y)):
        first, number = one.arrays[0].shape, len(others.arrays)
        alike = one.form == "record" and one.channel_axis and first[0] == number
        fits = number == 1 and (one is x or first[:-1] == wanted)
        if others.form == "batch" and alike and not fits:
            raise ValueError(
                f"{name} of shape {first} is read as one record, {'x' if one is y else 'y'} as "
                f"{count(number, 'record')}; if its first axis is trials it needs a channel axis "
                f"(in NumPy, {name}[..., None])"
            )
    if len(y.arrays) != len(x.arrays):
        raise ValueError(
            f"x has {count(len(x.arrays), 'record')}, y {count(len(y.arrays), 'record')}"
        )


def check_output(spec: ConvSpec, x: Records, y: Records, rows: Rows) -> None:
    """Raise a ValueError unless y has a sample per row."""
    for i, (a, b, shape) in enumerate(zip(x.arrays, y.arrays, rows.shapes, strict=True)):
        if b.shape[:-1] != shape:
            raise ValueError(
                f"{f'y[{i}]' if len(x.arrays) > 1 else 'y'} has {_times(b.shape[:-1])} samples, "
                f"expected {_times(shape)}: {argument('padding', spec.padding)} with "
                f"{_times(a.shape[:-1])} samples of x and "
                f"{argument('kernel_size', _plain(spec.kernel_size))}; "
                f"{_what_fits(spec, x, y, i)}"
            )


def _plain(size: tuple[int, ...]) -> int | tuple[int, ...]:
    return size[0] if len(size) == 1 else size


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _what_fits(spec: ConvSpec, x: Records, y: Records, record: int) -> str:
    """Return what would make the samples of a record of y fit the record of x."""
    a, b = x.arrays[record], y.arrays[record]
    if spec.ndim == 1 and (hint := _transposed(x, y, record, spec) or _exchanged(x, y)):
        return hint
    fits = [
        argument("padding", p)
        for p in ("valid", "same", "full", "causal")
        if ConvSpec(spec.kernel_size, spec.stride, p, spec.dilation).output_shape(a.shape[:-1])
        == b.shape[:-1]
    ]
    if fits:
        return f"{' or '.join(fits)} would fit"
    if spec.ndim > 1 and x.form == y.form == "record" and a.shape[0] == b.shape[0]:
        return "if the first axis counts images, both need a channel axis, x[..., None]"
    return f"if y is as long as x, use {keyword('lags')} instead of {keyword('kernel_size')}"


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
    text = (
        f"x was read as {x.describe(1)}: more channels than samples. Channels come last: transpose "
        f"{'x and y' if first else 'x'} if they are first"
    )
    if x.form == "record" and (y is None or y.arrays[0].shape[0] == x.arrays[0].shape[0]):
        channels = f"(x[..., None]{', y[..., None]' if first else ''})"
        text += f", or add a channel axis {channels} if trials are first"
    return text


def check_lengths(x: Records, y: Records) -> None:
    """Raise a ValueError unless y, for a geometry stated by lags, is as long as x."""
    for i, (a, b) in enumerate(zip(x.arrays, y.arrays, strict=True)):
        if a.shape[:-1] != b.shape[:-1]:
            which = f"[{i}]" if len(x.arrays) > 1 else ""
            hint = _transposed(x, y, i) or _exchanged(x, y)
            otherwise = f"{keyword('kernel_size')} if y is the output of a convolution layer"
            raise ValueError(
                f"y{which} has {_times(b.shape[:-1])} samples but x{which} has "
                f"{_times(a.shape[:-1])}. With {keyword('lags')}, y must have the same length as "
                f"x; {hint or f'use {otherwise}'}"
            )


def doubts(spec: ConvSpec, x: Records) -> list[str]:
    """Describe how x was read, if its axes look exchanged."""
    hint = _exchanged(x) if spec.ndim == 1 else ""
    if not hint:
        return []
    return [
        f"{hint}, or give kernel_size one entry per axis for images "
        "(in Python, kernel_size=(K,) or lags=[(a, b)] states this reading)"
    ]
