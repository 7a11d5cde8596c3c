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


def check_windows(spec: ConvSpec, window: LagWindow | None, x: Records, rows: Rows) -> None:
    """Raise a ValueError unless windows fit into x, at the same lags in all records."""
    if rows.count == 0:
        raise _no_window(spec, window, x)
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


def _no_window(spec: ConvSpec, window: LagWindow | None, x: Records) -> ValueError:
    longest = max((a.shape[:-1] for a in x.arrays), key=math.prod)
    exchanged = spec.ndim == 1 and x.channels >= spec._span[0]
    hint = "; if its channels come first, transpose x: channels come last" if exchanged else ""
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


def check_output(spec: ConvSpec, x: Records, y: Records, rows: Rows) -> None:
    """Raise a ValueError unless y has a sample per row."""
    check_trials(x, y, rows.shapes[0])
    if len(y.arrays) != len(x.arrays):
        raise ValueError(
            f"x has {count(len(x.arrays), 'record')}, y {count(len(y.arrays), 'record')}"
        )
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
    if spec.ndim == 1 and y.form == x.form and (y.channels,) == spec.output_shape(a.shape[:-1]):
        return "channels come last: transpose y"
    return f"if y is as long as x, use {keyword('lags')} instead of {keyword('kernel_size')}"


def check_lengths(x: Records, y: Records) -> None:
    """Raise a ValueError unless y, for a geometry stated by lags, is as long as x."""
    check_trials(x, y, x.arrays[0].shape[:-1])
    if len(x.arrays) != len(y.arrays):
        return  # the number of records is checked later
    for i, (a, b) in enumerate(zip(x.arrays, y.arrays, strict=True)):
        if a.shape[:-1] != b.shape[:-1]:
            which = f"[{i}]" if len(x.arrays) > 1 else ""
            if a.ndim == b.ndim == 2 and a.shape[0] == b.shape[-1]:
                raise ValueError(
                    f"x{which} has {count(a.shape[0], 'sample')}, y {count(b.shape[0], 'sample')} "
                    f"of {count(b.shape[1], 'channel')}; channels come last: transpose y"
                )
            if a.shape[-1] == b.shape[0] and a.ndim == 2:
                size = f"{count(a.shape[0], 'sample')} of {count(a.shape[1], 'channel')}"
                raise ValueError(
                    f"x{which} has {size}, y {count(b.shape[0], 'sample')}; channels come last: "
                    "transpose x"
                )
            raise ValueError(
                f"y{which} has {_times(b.shape[:-1])} samples but x{which} has "
                f"{_times(a.shape[:-1])}. With {keyword('lags')}, y must have the same length as "
                f"x; use {keyword('kernel_size')} if y is the output of a convolution layer"
            )


def check_trials(x: Records, y: Records, wanted: tuple[int, ...]) -> None:
    """Refuse y of shape (trials, time) for a batch x, because y would be read as one record."""
    first = y.arrays[0].shape
    alike = y.form == "record" and y.channel_axis and first[0] == len(x.arrays)
    if x.form == "batch" and alike and first[:-1] != wanted:
        raise ValueError(
            f"y of shape {first} is read as one record, x as {count(len(x.arrays), 'record')}; "
            "if its first axis is trials it needs a channel axis (in NumPy, y[..., None])"
        )


def doubts(spec: ConvSpec, x: Records) -> list[str]:
    """Describe how x was read, if its axes look exchanged."""
    if spec.ndim > 1 or any(a.shape[1] <= a.shape[0] for a in x.arrays):
        return []
    return [
        f"x was read as {x.describe(1)}: more channels than samples. Channels come last; "
        "transpose x if they are first, add a channel axis (x[..., None]) if they are trials, "
        "or give kernel_size one entry per axis for images (in Python, kernel_size=(K,) or "
        "lags=[(a, b)] states this reading)"
    ]
