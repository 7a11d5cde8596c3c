"""Reading of arrays as records: kind, rank and values are checked before anything is computed."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..errors import warn
from ..lazy import default_float, is_jax_array, is_tracer, on_device, survey
from ..linalg.channels import extremes
from ..linalg.rank import EPS
from ..progress import tracked
from ..text import count, shown

# Numbers that are read at a time if all of a record are checked: 8 MiB, or a chunk of the source of
# up to 256 MiB.
BLOCK_NUMBERS, MOST_NUMBERS = 2**20, 2**25
# Numbers of short records that are read at once.
SHORT_NUMBERS = 2**17
# A step differs from the mean step, and a row of x from a row of y, by less than these shares of
# the step. The mean step differs from 1/fs by at most the last share.
GAP, SHIFT, RATE = 0.5, 0.1, 0.01


def is_stored(value: Any) -> bool:
    """Return whether a value is an array that is not in memory.

    It has a shape, a dtype and slices, such as an `h5py.Dataset`, a zarr array, a dask array, a
    `numpy.memmap`, or an array of jax on an accelerator.
    Data frames and series have labels and do not count.
    """
    if isinstance(value, (np.ndarray, np.generic)) or is_jax_array(value):
        return isinstance(value, np.memmap) or on_device(value)
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    sliced = hasattr(value, "__getitem__") and not hasattr(value, "iloc")
    return isinstance(shape, tuple) and isinstance(dtype, np.dtype) and sliced


def is_away(record: Any) -> bool:
    """Return whether a record is part of an array of jax on a device."""
    return isinstance(record, Stored) and on_device(record.source)


@dataclass(eq=False)
class Stored:
    """A record (*W, C) whose slices are read on demand; `numpy.asarray` reads all of it.

    Attributes:
        source: the array that is read.
        where: index of the record in a batch, if the source is a batch, and a slice per axis of W.
        channels: the channels; None if the source has no axis of channels.
        dtype: type of the numbers.
        filled: whether NaN is read as zero.
        shape: shape (*W, C) of the record, ``ndim`` its length and ``size`` its product.
    """

    source: Any
    where: tuple[Any, ...]
    channels: tuple[int, ...] | None
    dtype: np.dtype[Any]
    filled: bool = False

    @classmethod
    def of(cls, source: Any, ndim: int) -> list[Stored]:
        """Return the records of a source, for kernels of ``ndim`` axes."""
        shape, extra = source.shape, len(source.shape) - ndim
        spans = tuple(slice(0, n) for n in shape[extra == 2 :][:ndim])
        channels = tuple(range(shape[-1])) if extra else None
        batch = [(i,) for i in range(shape[0])] if extra == 2 else [()]
        return [cls(source, (*i, *spans), channels, source.dtype) for i in batch]

    def __post_init__(self) -> None:
        spans = (s.stop - s.start for s in self.where if isinstance(s, slice))
        self.shape = (*spans, len(self.channels or (0,)))
        self.ndim, self.size = len(self.shape), math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Stored:
        """Return some samples ``[a:b, …]`` or channels ``[..., channels]``, not read yet."""
        keys = key if isinstance(key, tuple) else (key,)
        if keys[0] is Ellipsis:
            if self.channels is None:
                return self
            chosen = np.array(self.channels)[keys[1]]
            return replace(self, channels=tuple(chosen.tolist()))
        where, first = [*self.where], len(self.where) - self.ndim + 1
        for axis, part in enumerate(keys):
            start, stop, _ = part.indices(self.shape[axis])
            offset = where[first + axis].start
            where[first + axis] = slice(offset + start, offset + max(start, stop))
        return replace(self, where=tuple(where))

    def astype(self, dtype: Any) -> Stored:
        """Return the record in another precision."""
        return replace(self, dtype=np.dtype(dtype))

    @property
    def chunk_length(self) -> int | None:
        """Length of the chunks of the source along the first axis; None if it has none."""
        chunks = getattr(self.source, "chunks", None)
        length = chunks and chunks[len(self.where) - self.ndim + 1]
        return length[0] if isinstance(length, tuple) else length

    @property
    def selection(self) -> Any:
        """The slice of the source that contains the record, not read yet for dask."""
        # An array of jax keeps its copy on the host.
        source = np.asarray(self.source) if is_jax_array(self.source) else self.source
        return source[self.where]

    def assembled(self, part: Any) -> np.ndarray:
        """Return the record, given its `selection` as an array.

        Raises:
            ValueError: If it does not have the shape or type that the source states.
        """
        found = np.asarray(part)
        found = found[..., None] if self.channels is None else found
        same = found.shape[:-1] == self.shape[:-1] and found.dtype.kind not in "cO"
        if not same or np.ma.is_masked(part):
            got = f"{type(part).__name__} of shape {found.shape}"
            raise ValueError(f"got {got}: the source has changed, or has masked values")
        if self.channels not in (None, tuple(range(found.shape[-1]))):
            found = found[..., [*self.channels]]
        found = np.ascontiguousarray(found, self.dtype)
        return np.where(np.isnan(found), found.dtype.type(0), found) if self.filled else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.assembled(self.selection).astype(dtype or self.dtype, copy=False)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield parts along the first axis, and the sample at which each begins."""
        each = max(1, self.size // max(1, len(self)))
        step, length = max(1, BLOCK_NUMBERS // each), self.chunk_length or 1
        if length * each <= MOST_NUMBERS:
            step = -(-step // length) * length
        starts = range(0, len(self), step)
        for start in tracked(starts, "check of stored data", len(self), size=lambda start: step):
            yield start, np.asarray(self[start : start + step])


class Records(NamedTuple):
    """Records ``(*space, channels)`` in the kind and form in which they were given.

    Attributes:
        arrays: the records. A `Stored` record is read slice by slice.
        form: "record", "batch" or "list".
        channel_axis: whether the arrays had an axis of channels.
        is_jax: whether all arrays were jax arrays.
        missing: flags of the missing values, which are zero in ``arrays``. None if no value is
            missing.
        largest, means: largest magnitude (channels,) and mean (channels,) of every channel, when
            the values were read. Parts of the records keep the magnitudes, but no mean, which
            samples outside of them may dominate. None if they are not known.
        names: names of the channels. None if the arrays had no names.
        dtypes: the types in which the arrays were given.
    """

    arrays: tuple[Any, ...]
    form: str
    channel_axis: bool
    is_jax: bool
    missing: tuple[np.ndarray, ...] | None = None
    largest: np.ndarray | None = None
    means: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    dtypes: frozenset[np.dtype[Any]] = frozenset()

    @property
    def channels(self) -> int:
        """Number of channels of every record."""
        return int(self.arrays[0].shape[-1])

    def each(self, of: Callable[[Any], Any]) -> Records:
        """Return the records and their missing flags after a function is applied to each."""
        missing = self.missing and tuple(map(of, self.missing))
        return self._replace(arrays=tuple(map(of, self.arrays)), missing=missing, means=None)

    def of_channels(self, some: Sequence[int]) -> Records:
        """Return the records with some of the channels."""
        which = [*some]
        largest, means = (None if a is None else a[which] for a in (self.largest, self.means))
        found = self.each(lambda a: a[..., which])._replace(largest=largest, means=means)
        return found.converted(self.arrays[0].dtype)

    def some(self, places: Sequence[tuple[int, Any]]) -> Records:
        """Return some samples along the first axes, as one record for each place."""
        missing = self.missing and tuple(self.missing[i][key] for i, key in places)
        arrays = tuple(self.arrays[i][key] for i, key in places)
        return self._replace(arrays=arrays, form="list", missing=missing, means=None)

    def converted(self, dtype: np.dtype[Any]) -> Records:
        """Return C-contiguous records of ``dtype`` in native byte order."""
        return self._replace(
            arrays=tuple(
                a.astype(dtype) if isinstance(a, Stored) else np.ascontiguousarray(a, dtype)
                for a in self.arrays
            )
        )

    def like(self, outputs: Sequence[np.ndarray], channel_axis: bool) -> Any:
        """Return one output per record in the form of these records."""
        parts = [np.asarray(o if channel_axis else o[..., 0]) for o in outputs]
        joined = np.stack(parts) if self.form == "batch" else parts[0]
        return parts if self.form == "list" else joined

    def describe(self) -> str:
        """Return the number of records and of samples."""
        shapes = sorted({a.shape[:-1] for a in self.arrays})
        samples = " to ".join(dict.fromkeys(" × ".join(map(str, shapes[i])) for i in (0, -1)))
        return f"{count(len(self.arrays), 'record')} × {samples} sample{'s' * (samples != '1')}"


# A record, flags of its missing values or None, and the largest magnitude (C,) and sum (C,).
_Read = tuple[Any, np.ndarray | None, np.ndarray, np.ndarray]


def read(value: Any, name: str, spec: Any, missing: bool = False) -> Records:
    """Read ``value`` as records for a kernel of ``spec.ndim`` = d axes, and all of its numbers.

    An array of rank d is a record of one channel. An array of rank d+1 is a record, and an array of
    rank d+2 is a batch. A list or tuple of arrays is a list of records of rank d or d+1. If values
    may be ``missing``, NaN becomes zero in a copy.

    Raises:
        TypeError: If the values are not real numbers, or an array type is not supported.
        ValueError: If the shapes do not fit, or a value is not finite.
    """
    d, is_list = spec.ndim, lists_arrays(value)
    items = [*value] if is_list else [value]
    labels = [f"{name}[{i}]" for i in range(len(items))] if is_list else [name]
    given = [*map(numbers, items, labels)]
    together = _read_together(given, d) if is_list else []
    found, forms = list[_Read](), set()
    for i, (array, label) in enumerate(zip(given, labels, strict=True)):
        shape, extra = array.shape, len(array.shape) - d
        if not 0 <= extra <= (1 if is_list else 2):
            words = "(*T) or (*T, channels)" + " or (records, *T, channels)" * (not is_list)
            axes = count(d, "axis", "axes")
            raise ValueError(f"{label} has shape {shape}; a kernel with {axes} takes {words}")
        # A record of x that is too short for a row has an empty record of y.
        if not all(shape[d:] if is_list and name != "x" else shape):
            raise ValueError(f"{label} has an empty axis: shape {shape}")
        parts = Stored.of(array, d) if is_stored(array) else [array if extra else array[..., None]]
        known = together[i : i + 1] or (on_device(array) and _surveyed(array, parts))
        found += known or [_checked(part, label, missing, len(shape)) for part in parts]
        forms.add((extra, parts[0].shape[-1]))
    if len(forms) > 1:
        raise ValueError(f"the records of {name} have different numbers of axes or channels")
    arrays, flags, largest, sums = map(list, zip(*found, strict=True))
    if any(f is not None for f in flags):
        pairs = zip(flags, arrays, strict=True)
        flags = [np.broadcast_to(False if f is None else f, a.shape) for f, a in pairs]
    means = np.add.reduce(sums) / max(1, sum(a.size for a in arrays) // arrays[0].shape[-1])
    if extra == 2 and isinstance(arrays[0], np.ndarray):
        arrays, flags = [*arrays[0]], [None] if flags[0] is None else [*flags[0]]
    return Records(
        tuple(arrays),
        "list" if is_list else "batch" if extra == 2 else "record",
        channel_axis=extra > 0,
        is_jax=all(map(is_jax_array, items)),
        missing=None if flags[0] is None else tuple(flags),
        largest=np.maximum.reduce(largest),
        means=np.where(np.isfinite(means), means, 0.0),
        names=_names(items, name, extra > 0) if extra or d == 1 else None,
        dtypes=frozenset(a.dtype for a in given),
    )


def _read_together(arrays: Sequence[Any], d: int) -> list[_Read]:
    """Return short records of NumPy for ``d`` axes, read some at once; the first has their sums.

    None are returned if there are others, or a value that is not finite.
    """
    alike = len({(type(a), a.dtype, a.shape[1:]) for a in arrays}) == 1 and not is_stored(arrays[0])
    step = SHORT_NUMBERS // max(1, *(a.size for a in arrays)) if alike else 0
    if step < 2:
        return []
    records, found = [a if a.ndim > d else a[..., None] for a in arrays], list[_Read]()
    with suppress(ValueError):
        for some in (records[i : i + step] for i in range(0, len(records), step)):
            largest, sums = _checked(np.concatenate(some), "y", False, 0)[2:]
            found += [(a, None, largest, sums * (a is some[0])) for a in some]
        return found
    return []


def numeric(value: Any, name: str, missing: bool = False) -> np.ndarray:
    """Return ``value`` as an array of real, finite numbers of its own type.

    NaN is allowed if values may be ``missing``.
    """
    array = np.asarray(numbers(value, name))
    _checked(np.atleast_1d(array)[..., None], name, missing, array.ndim)
    return array


def numbers(value: Any, name: str) -> Any:
    """Return ``value`` as an array of real numbers. Stored arrays are returned unchanged."""
    if type(value) is np.ndarray and value.dtype.kind in "biuf":
        return value
    if is_tracer(value):
        cure = "inside transformed code, use convsolve.fit_kernel(x, y, spec, solver)"
        raise TypeError(f"{name} is a tracer of jax.jit, vmap or grad; {cure}")
    if hasattr(value, "coords") and getattr(value, "chunks", None) is not None:
        value = value.data  # the dask array in an xarray
    kind = type(value)
    # A dask array has the kind of its chunks. MNE has channels first.
    masked = isinstance(getattr(value, "_meta", value), np.ma.MaskedArray)
    other = masked or hasattr(value, "toarray") or kind.__module__.startswith("mne")
    array = value if is_stored(value) else np.asarray(None if other else value)
    if array.dtype == object and hasattr(value, "select_dtypes"):
        if len(bad := value.select_dtypes(exclude=["number", "bool"]).columns):
            words = f"got a DataFrame with columns {[*bad]}; use pandas.get_dummies"
            raise TypeError(f"{name} must hold plain real numbers, {words}")
        array = value.to_numpy(float, na_value=np.nan)
    if other or _number_type(array.dtype) is None:
        words = kind.__name__ + f" of {array.dtype}" * (not other)
        words += "; use x.filled(np.nan) and missing='drop'" * masked
        raise TypeError(f"{name} must hold plain real numbers, got {words}")
    if any(n != n for n in array.shape):  # the shape of uncounted dask chunks is NaN
        raise ValueError(f"{name} has chunks of unknown size, shape {array.shape}")
    return array


@cache
def _number_type(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], float] | None:
    """Return the type in which numbers are solved, and their rounding unit, 0 for integers.

    None if a type, which may be bfloat16, does not hold real numbers.
    """
    if dtype.kind in "biu":
        return np.dtype(float), 0.0
    if np.issubdtype(dtype, np.floating):
        eps = np.finfo(dtype).eps
    elif dtype.type.__module__ == "ml_dtypes" and "float" in dtype.name:
        eps = sys.modules["ml_dtypes"].finfo(dtype).eps
    else:
        return None
    return np.dtype(np.float64 if dtype.itemsize > 4 else np.float32), max(float(eps), EPS)


def _surveyed(array: Any, parts: Sequence[Any]) -> list[_Read]:
    """Return the records of an array whose values a device reads; none if they need a message."""
    largest, means = survey(array if parts[0].channels else array[..., None])
    sums = means * (parts[0].size // len(means))
    return [(p, None, largest, sums) for p in parts] if np.isfinite(largest).all() else []


def _checked(record: Any, label: str, missing: bool, axes: int) -> _Read:
    """Read all numbers of a record, or a batch in one array.

    Args:
        record: the record.
        label: its name in messages.
        missing: whether NaN is allowed.
        axes: axes of an index in messages.

    Returns:
        The record in the type in which it is solved, with zeros where values are missing, flags of
        these, magnitudes and sums.

    Raises:
        ValueError: If a value is not finite.
    """
    stored, gaps = isinstance(record, Stored), None
    dtype, _ = _number_type(record.dtype) or (record.dtype, 0)
    largest, sums = np.zeros((2, record.shape[-1]))
    for start, given in record.blocks() if stored else [(0, record)] * bool(record.size):
        # Numbers beyond the type become Inf.
        with np.errstate(invalid="ignore", over="ignore"):
            block = np.ascontiguousarray(given, dtype)
            sizes, totals = extremes(block)
        # NaN and Inf are the largest.
        if not np.isfinite(sizes).all():
            nan = np.isnan(block)
            bad = ~np.isfinite(block) & ~(nan & missing)
            if bad.any():
                at = np.argwhere(bad)[0]
                place = record.where[: 1 - record.ndim] if stored else ()
                index = (*place, start + int(at[0]), *map(int, at[1:]))[:axes]
                word = "NaN" if nan[tuple(at)] else "Inf"
                way = "or use missing='drop'" if word == "NaN" else "or use NaN and missing='drop'"
                cut = f"; cut the record there, {way}" * (label[0] in "xy")
                raise ValueError(f"{label} has {word} at index {index}{cut}")
            block = np.where(nan, block.dtype.type(0), block)
            sizes, totals = extremes(block)
            gaps = np.zeros(record.shape, bool) if gaps is None else gaps
            # The rows that read a sample of x need all of its channels.
            nan = nan.any(-1, keepdims=True) if label[0] == "x" else nan
            gaps[start : start + len(block)] = nan
            record = replace(record, filled=True) if stored else record
        largest, sums = np.maximum(largest, sizes), sums + totals
    return record if stored or not record.size else block, gaps, largest, sums


def lists_arrays(value: Any) -> bool:
    """Return whether a value is a list of arrays, not of numbers."""
    return isinstance(value, (list, tuple)) and any(
        is_stored(v) or (hasattr(v, "__array__") and np.ndim(v) > 0) for v in value
    )


def _names(items: Sequence[Any], name: str, axis: bool) -> tuple[str, ...] | None:
    """Return the names of the channels; None if a record has no names.

    Raises:
        ValueError: If the records have different names on an ``axis`` of channels.
    """
    found = {*map(column_names, items)}
    if axis and len(found - {None}) > 1:
        raise ValueError(f"the records of {name} have different channels: {shown([*found])}")
    return None if None in found or len(found) > 1 else found.pop()


def column_names(item: Any) -> tuple[str, ...] | None:
    """Return the column names of a data frame or a series, or the last coordinates of an xarray."""
    columns = getattr(item, "columns", None)
    if columns is None and hasattr(item, "iloc"):
        columns = np.array([item.name])
    if columns is None and isinstance(coords := getattr(item, "coords", None), Mapping):
        columns = coords.get(item.dims[-1])
    # In other libraries, ``columns`` may be a method or a number.
    listed = np.asarray(columns).tolist() if hasattr(columns, "__array__") else []
    words = tuple(c for c in listed if isinstance(c, str)) if isinstance(listed, list) else ()
    return words if words and len(set(words)) == len(listed) else None


def precision(x: Records, y: Records | None) -> tuple[np.dtype[Any], float]:
    """Return the type in which x and y are solved, and the rounding unit of x.

    Integers are exact and become float64, or the default type of jax if all arrays are jax arrays.
    Half precision becomes float32. If x and y differ, the widest type and the coarsest rounding
    unit are used. The rounding unit of integers is 0. longdouble becomes float64 with a warning.
    """
    parts, types, units = [x] if y is None else [x, y], [], [0.0]
    for part in parts:
        for dtype in part.dtypes:
            solved, eps = _number_type(dtype) or (dtype, 0.0)
            types.append(solved if eps or not all(p.is_jax for p in parts) else default_float())
            if dtype.itemsize > 8:
                warn(f"{dtype} data are brought down to float64, the widest of the solvers")
            units += [eps] * (part is x)
    return max(types, key=lambda t: t.itemsize), max(units)


# --- time indexes


def check_time_indexes(
    given: Mapping[str, Any], fs: float | None, stride: int, every: bool
) -> None:
    """Raise a ValueError if time indexes contradict equal spacing, a rate or one another.

    Args:
        given: x, y, and further arguments with a row for every row of y, by name.
        fs: sampling rate of x in Hz, or None.
        stride: samples of x per row of y.
        every: whether rows of y are at the times of every ``stride``-th sample of x.
    """
    first: dict[int, tuple[str, np.ndarray]] = {}
    for name, value in given.items():
        if value is None or type(value) is np.ndarray:
            continue
        several = lists_arrays(value)
        for i, item in enumerate(value if several else [value]):
            batch = not several and getattr(item, "ndim", 0) == 3
            if type(item) is np.ndarray or (times := _times(item, batch)) is None:
                continue
            label, (seconds, has_unit) = f"{name}[{i}]" if several else name, times
            steps, mean = np.diff(seconds), float(seconds[-1] - seconds[0]) / (len(seconds) - 1)
            if not (np.abs(steps - mean) < GAP * mean).all():
                row = int(np.abs(steps - np.nanmedian(steps)).argmax()) + 1
                words = f"row {row} is {steps[row - 1]:.6g} after the row before"
                raise ValueError(f"the time index of {label} is not equally spaced: {words}")
            rate = fs if fs is None or name == "x" else fs / stride
            if rate is not None and has_unit and abs(mean * rate - 1) > RATE:
                words = f"has a step of {mean:.6g} s, that is {1 / mean:.6g} Hz, but fs={rate:.6g}"
                raise ValueError(f"the time index of {label} {words}")
            seconds = seconds[:: stride if name == "x" and every else 1]
            other, known = first.setdefault(i, (label, seconds))
            near = SHIFT * (known[-1] - known[0]) / max(len(known) - 1, 1)
            if len(known) == len(seconds) and not (np.abs(seconds - known) < near).all():
                raise ValueError(f"{other} and {label} have different time indexes")


def time_rate(value: Any) -> float | None:
    """Return the sampling rate in Hz of the time index of records; None without an index."""
    item = value[0] if lists_arrays(value) else value
    times, has_unit = _times(item, getattr(item, "ndim", 0) == 3, True) or (np.zeros(2), False)
    step = (times[-1] - times[0]) / (len(times) - 1)
    # To nine digits, since times are rounded.
    return float(f"{1 / step:.9g}") if has_unit and step > 0 else None


def _times(item: Any, batch: bool, relative: bool = False) -> tuple[np.ndarray, bool] | None:
    """Return the times (T,) of the rows of a record, or of all records of a ``batch``, in seconds.

    Dates are in seconds since 1970, or since the first if they are to be ``relative``. The second
    value is False for integers, which have no unit. None without an index, for an index of words,
    and for row numbers 0, 1, 2, and so on.
    """
    index = getattr(item, "index", None)
    if isinstance(dims := getattr(item, "dims", None), tuple):
        index = item.coords.get(dims[int(batch)]) if len(dims) > batch else None
    kind = getattr(getattr(index, "dtype", None), "kind", "O")
    # Times with a zone become UTC.
    times = np.asarray(index if kind in "iufmM" else (), "M8[ns]" if kind == "M" else None)
    numbers = kind in "iu" and np.array_equal(times, np.arange(len(times)))
    if times.ndim != 1 or len(times) < 2 or numbers:
        return None
    if kind in "mM":
        first = times[0] if relative else times.dtype.type(0, "ns")
        times = (times - first) / np.timedelta64(1, "s")
    return times.astype(float), kind not in "iu"
