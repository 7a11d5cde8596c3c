"""Reading of arrays as records: kind, rank and values are checked before anything is computed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from ..lazy_jax import default_float, is_jax_array, is_tracer
from ..linalg.channels import largest
from ..text import count, shown
from .spec import ConvSpec
from .stored import Stored, in_blocks, is_dask, is_stored


@dataclass(frozen=True)
class Records:
    """Records ``(*space, channels)`` in the kind and form in which they were given.

    Attributes:
        arrays: the records. A `Stored` record is read slice by slice.
        form: "record", "batch" or "list".
        channel_axis: whether the arrays had an axis of channels.
        is_jax: whether all arrays were jax arrays.
        missing: flags of the missing values, which are zero in ``arrays``. None if no value is
            missing.
        largest: largest magnitude (channels,) per channel. None if it is not known.
        dtypes: the types in which the arrays were given.
        names: names of the channels. None if the arrays had no names.
    """

    arrays: tuple[Any, ...]
    form: str
    channel_axis: bool
    is_jax: bool
    missing: tuple[np.ndarray, ...] | None = None
    largest: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    dtypes: frozenset[np.dtype[Any]] = frozenset()

    @property
    def channels(self) -> int:
        """Number of channels of every record."""
        return int(self.arrays[0].shape[-1])

    def each(self, of: Callable[[Any], Any]) -> Records:
        """Return the records and their missing flags after a function is applied to each."""
        missing = None if self.missing is None else tuple(map(of, self.missing))
        return replace(self, arrays=tuple(map(of, self.arrays)), missing=missing, largest=None)

    def some(self, places: Iterable[tuple[int, slice]]) -> Records:
        """Return some samples along the first axis, as one record for each place."""
        found = [*places]
        missing = None if self.missing is None else tuple(self.missing[i][k] for i, k in found)
        arrays = tuple(self.arrays[i][key] for i, key in found)
        return replace(self, arrays=arrays, form="list", missing=missing, largest=None)

    def converted(self, dtype: np.dtype[Any]) -> Records:
        """Return C-contiguous records of ``dtype`` in native byte order."""
        return replace(self, arrays=tuple(_cast(a, dtype) for a in self.arrays))

    def like(self, outputs: Sequence[np.ndarray], channel_axis: bool) -> Any:
        """Return one output per record in the form of these records."""
        parts = [np.asarray(o if channel_axis else o[..., 0]) for o in outputs]
        if self.form == "list":
            return parts
        return np.stack(parts) if self.form == "batch" else parts[0]

    def describe(self, ndim: int) -> str:
        """Return a description of the shape: records × samples × channels."""
        shapes = sorted({a.shape[:-1] for a in self.arrays})
        if len(shapes) == 1:
            samples = " × ".join(map(str, shapes[0]))
        else:
            samples = "–".join("×".join(map(str, s)) for s in (shapes[0], shapes[-1]))
        return (
            f"{count(len(self.arrays), 'record')} × {samples} sample{'s' * (samples != '1')} "
            f"× {count(self.channels, 'channel')}"
        )


def _cast(array: Any, dtype: np.dtype[Any]) -> Any:
    return array.astype(dtype) if isinstance(array, Stored) else np.ascontiguousarray(array, dtype)


def reject_tracers(name: str, *values: Any, depth: int = 5) -> None:
    """Refuse values inside jit, vmap or grad, and name ``fit_kernel``. Lists are searched too."""
    for value in values:
        if isinstance(value, (list, tuple)) and depth:
            reject_tracers(name, *value, depth=depth - 1)
        elif is_tracer(value):
            raise TypeError(
                f"{name} is a tracer of jax.jit, vmap or grad, whose values cannot be checked; "
                "use convsolve.fit_kernel(x, y, spec, solver) inside transformed code"
            )


@cache
def _limits(dtype: np.dtype[Any]) -> Any:
    """Return ``finfo`` of a floating type, which may be bfloat16 or narrower; else None."""
    if np.issubdtype(dtype, np.floating):
        return np.finfo(dtype)
    if dtype.type.__module__ == "ml_dtypes" and "float" in dtype.name:
        return sys.modules["ml_dtypes"].finfo(dtype)
    return None


def numeric(value: Any, name: str, missing: bool = False) -> np.ndarray:
    """Return ``value`` as an array of real, finite numbers of its own type.

    NaN is allowed if values may be ``missing``.
    """
    array = np.asarray(_real(value, name))
    if _limits(array.dtype) is not None and _bad(array, missing).any():
        raise _not_finite(np.atleast_1d(array), name, missing, array.ndim)
    return array


def _real(value: Any, name: str) -> Any:
    """Return ``value`` as an array of real numbers. Stored arrays are returned unchanged."""
    array = value if type(value) is np.ndarray else _array_of(value, name)
    dtype = array.dtype
    if dtype.kind == "c":
        raise TypeError(f"{name} is complex ({dtype})")
    if not (_limits(dtype) is not None or dtype.kind in "biu"):
        raise TypeError(f"{name} must hold numbers, got dtype {dtype}")
    return array


def _array_of(value: Any, name: str) -> Any:
    """Return ``value`` as an array of any type. Stored arrays are returned unchanged."""
    if hasattr(value, "coords") and getattr(value, "chunks", None) is not None:
        value = value.data  # the dask array in an xarray
    kind = type(value)
    # A dask array has the kind of its chunks.
    masked = isinstance(getattr(value, "_meta", value), np.ma.MaskedArray)
    # MNE has channels first; a sparse matrix and a group of arrays would be read as objects.
    by_name = hasattr(value, "keys") and not hasattr(value, "shape")
    if masked or by_name or kind.__module__.startswith("mne") or hasattr(value, "toarray"):
        raise TypeError(f"{name} must be an array of numbers without a mask, or a list, got {kind}")
    array = value if is_stored(value) else _as_array(value, name)
    if any(n != n for n in array.shape):  # the shape of uncounted dask chunks is NaN
        raise ValueError(f"{name} has chunks of unknown size, shape {array.shape}")
    return array


def _bad(block: np.ndarray, missing: bool) -> np.ndarray:
    """Flag numbers that are not finite. NaN is not flagged if numbers may be missing."""
    return np.isinf(block) if missing else ~np.isfinite(block)


def _bad_numbers(record: Any, missing: bool) -> tuple[int, tuple[int, ...], Any]:
    """Return the number of non-finite values of a record, the first index and the first value."""
    if isinstance(record, Stored) and is_dask(record.source):  # counted where its chunks are
        source = record.selection
        flags = _bad(source, missing)
        flat = int(np.asarray(flags.ravel().argmax()))
        place = tuple(map(int, np.unravel_index(flat, flags.shape)))
        axis = (0,) if record.channels is None else ()
        return int(np.asarray(flags.sum())), (*place, *axis), np.asarray(source[place])
    total, value = 0, 0.0
    first: tuple[int, ...] = ()
    for start, block in in_blocks(record):
        bad = _bad(block, missing)
        if bad.any() and not total:
            found = np.argwhere(bad)[0]
            value = block[tuple(found)]
            offset = np.zeros(record.ndim, int)
            offset[: len(start)] = start
            offset[-len(found) :] += found
            first = tuple(map(int, offset))
        total += int(np.count_nonzero(bad))
    return total, first, value


def _not_finite(record: Any, name: str, missing: bool, axes: int) -> ValueError:
    """Return the error for a record with non-finite numbers.

    ``axes`` is the number of axes of an index in the array of the caller.
    """
    total, first, value = _bad_numbers(record, missing)
    what = "NaN" if np.isnan(value) else "Inf"
    first = record.index_of(first) if isinstance(record, Stored) else first[:axes]
    drop = ", or use missing='drop'" if what == "NaN" and name[:1] in "xy" and not missing else ""
    return ValueError(
        f"{name} has {count(total, 'value')} that {'is' if total == 1 else 'are'} not finite, the "
        f"first ({what}) at index {first}; cut the record there{drop}"
    )


def _as_array(value: Any, name: str) -> np.ndarray:
    reject_tracers(name, value)
    try:
        array = np.asarray(value)
    # Ragged lists, deleted jax arrays, lists within themselves, random keys.
    except (ValueError, RuntimeError, RecursionError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} must be an array of numbers, or a list of them: {error}") from None
    if not array.ndim and array.dtype.kind in "OSU":
        raise TypeError(f"{name} must hold numbers, got {shown(value)}")
    return array


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a type in native byte order: the same object, of which NumPy makes no other view."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def _largest(record: Any) -> np.ndarray:
    """Return the largest magnitude (C,) of every channel. NaN and Inf count as largest."""
    if isinstance(record, Stored):
        return record.largest
    with np.errstate(invalid="ignore"):
        return largest(record)


def _check_values(record: Any, name: str, missing: bool, axes: int) -> np.ndarray | None:
    """Check that all numbers are finite and in the range of normal numbers of their type.

    Returns:
        The largest magnitude (C,) per channel. None for integers and empty records.

    Raises:
        ValueError: If a value is not finite, or a channel is too small or too large.
    """
    dtype = _native(record.dtype)
    dtype = np.dtype(np.float64) if dtype.itemsize > 8 else dtype  # longdouble becomes float64
    limits = _limits(dtype)
    if not record.size or limits is None:
        return None
    sizes = _largest(record)
    tiny, most = float(limits.tiny), float(limits.max)
    if ((sizes == 0) | ((sizes >= tiny) & (sizes <= most))).all():
        return np.asarray(sizes, float)
    if not np.isfinite(sizes).all():
        raise _not_finite(record, name, missing, axes)
    wrong = int(np.argmax((sizes > most) | ((sizes > 0) & (sizes < tiny))))
    raise ValueError(
        f"{name} channel {wrong} has a largest magnitude of {float(sizes[wrong]):.1e}, beyond the "
        f"normal numbers of {dtype}: change its unit"
    )


def read(value: Any, name: str, spec: ConvSpec, missing: bool = False) -> Records:
    """Read ``value`` as records for a kernel of ``spec.ndim`` = d axes.

    An array of rank d is a record of one channel. An array of rank d+1 is a record, and an array of
    rank d+2 is a batch. A list or tuple of arrays is a list of records of rank d or d+1. If values
    may be ``missing``, NaN becomes zero in a copy.

    Raises:
        TypeError: If the values are not real numbers, or an array type is not supported.
        ValueError: If the shapes do not fit, or a value is not finite.
    """
    reject_tracers(name, value)
    d = spec.ndim
    is_list = lists_arrays(value)
    items = list(value) if is_list else [value]
    arrays: list[Any] = []
    gaps: list[np.ndarray] = []
    sizes: list[np.ndarray | None] = []
    ranks = set()
    for i, item in enumerate(items):
        label = f"{name}[{i}]" if is_list else name
        array = _real(item, label)
        shape = tuple(array.shape)
        if not d <= len(shape) <= d + (1 if is_list else 2):
            raise ValueError(_rank_message(label, shape, d, is_list))
        ranks.add(len(shape))
        # A record of x that is too short for a row has an empty record of y.
        if not all(shape[d:] if is_list and name != "x" else shape):
            raise ValueError(f"{label} has an empty axis: shape {shape}")
        for record in _parts(array, d):
            if missing:
                record, gap = _without_gaps(record, name != "x")
                gaps.append(gap)
            sizes.append(_check_values(record, label, missing, len(shape)))
            arrays.append(record)
    if len({(a.ndim, a.shape[-1]) for a in arrays}) > 1 or len(ranks) > 1:
        raise ValueError(f"the records of {name} have different numbers of axes or channels")
    rank = ranks.pop()
    form = "list" if is_list else "batch" if rank == d + 2 else "record"
    if form == "batch" and not isinstance(arrays[0], Stored):
        arrays, gaps = [*arrays[0]], [*gaps[0]] if missing else []
    return Records(
        tuple(arrays),
        form,
        channel_axis=rank > d,
        is_jax=all(map(is_jax_array, items)),
        missing=tuple(gaps) if missing and any(gap.any() for gap in gaps) else None,
        largest=_joined(sizes),
        names=_names(items, name) if rank > d else None,
        dtypes=frozenset(_native(a.dtype) for a in arrays),
    )


def lists_arrays(value: Any) -> bool:
    """Return whether a value is a list of arrays, not of numbers."""
    return isinstance(value, (list, tuple)) and any(
        is_stored(v) or (hasattr(v, "__array__") and np.ndim(v) > 0) for v in value
    )


def _joined(sizes: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the elementwise maximum of magnitudes (C,), or None if one is not known."""
    known = [s for s in sizes if s is not None]
    return np.maximum.reduce(known) if len(known) == len(sizes) else None


def _names(items: Sequence[Any], name: str) -> tuple[str, ...] | None:
    """Return the names of the channels; None if a record has no names.

    Raises:
        ValueError: If the records have different names.
    """
    found = [column_names(item) for item in items]
    for i, names in enumerate(found):
        if None not in (names, found[0]) and names != found[0]:
            raise ValueError(
                f"{name}[{i}] has channels {shown(names)}, {name}[0] {shown(found[0])}"
            )
    return None if None in found else found[0]


def column_names(item: Any) -> tuple[str, ...] | None:
    """Return the column names of a data frame, or the last coordinates of an xarray."""
    columns = getattr(item, "columns", None)
    if columns is None and isinstance(coords := getattr(item, "coords", None), Mapping):
        columns = coords.get(item.dims[-1])
    try:
        listed = [] if columns is None else [*np.asarray(columns).tolist()]
    except (TypeError, ValueError):
        # In other libraries, ``columns`` may be a method, a number or a ragged list.
        return None
    words = [*map(str, listed)] if all(isinstance(c, str) for c in listed) else []
    return tuple(words) if words and len(set(words)) == len(words) else None


def _parts(array: Any, ndim: int) -> list[Any]:
    """Return the array with an axis of channels. A stored array is split into its records."""
    if is_stored(array):
        return [*Stored.of(array, ndim)]
    return [array[..., None] if array.ndim == ndim else array]


def _without_gaps(array: Any, by_channel: bool) -> tuple[Any, np.ndarray]:
    """Return a record with zeros instead of NaN, and the flags of these values.

    The flags of a stored array are per sample unless ``by_channel`` is set.
    """
    floating = _limits(array.dtype) is not None
    if isinstance(array, Stored):
        gaps = array.gaps(by_channel) if floating else np.zeros(array.shape, bool)
        return (replace(array, filled=True) if gaps.any() else array), gaps
    gaps = np.isnan(array) if floating else np.zeros(array.shape, bool)
    return (np.where(gaps, array.dtype.type(0), array) if gaps.any() else array), gaps


def _rank_message(label: str, shape: tuple[int, ...], d: int, in_list: bool) -> str:
    forms = "(*T) or (*T, channels)" + " or (records, *T, channels)" * (not in_list)
    return f"{label} has shape {shape}; a kernel with {count(d, 'axis', 'axes')} takes {forms}"


def _beyond(record: Any) -> bool:
    """Return whether integers exceed 2**53, above which float64 is not exact."""
    if record.dtype.kind not in "iu" or not record.size:
        return False
    blocks = (block for _, block in in_blocks(record))
    return any(int(b.max()) > 2**53 or int(b.min()) < -(2**53) for b in blocks)


def precision(x: Records, y: Records | None) -> tuple[np.dtype[Any], float, list[str]]:
    """Return the type in which x and y are solved, the rounding unit of x, and warnings.

    Integers are exact and become float64, or the default type of jax if all arrays are jax arrays.
    Half precision becomes float32. If x and y differ, the widest type and the coarsest rounding
    unit are used. The rounding unit of integers is 0. longdouble becomes float64 with a warning,
    which the caller issues.
    """
    parts = [x] if y is None else [x, y]
    ambient = default_float() if all(p.is_jax for p in parts) else np.dtype(np.float64)
    types: list[np.dtype[Any]] = []
    unit, notes = 0.0, []
    for part in parts:
        for dtype in sorted(part.dtypes, key=lambda kind: kind.str):
            if _limits(dtype) is None:
                types.append(ambient)
                if any(a.dtype.itemsize > 4 and _beyond(a) for a in part.arrays):
                    notes.append("integers beyond 2**53 are rounded to float64")
                    unit = max(unit, float(np.finfo(np.float64).eps)) if part is x else unit
                continue
            if dtype.itemsize > 8:
                notes.append(f"{dtype} data are brought down to float64, the widest of the solvers")
                dtype = np.dtype(np.float64)
            if part is x:
                unit = max(unit, float(_limits(dtype).eps))
            types.append(np.dtype(np.float32) if dtype.itemsize < 4 else dtype)
    return max(types, key=lambda t: t.itemsize), unit, notes


def by_rows(
    value: Any, name: str, like: Sequence[tuple[int, ...]]
) -> list[tuple[str, np.ndarray, tuple[int, ...]]]:
    """Return a name, an array and the shape (*T) for each record of y.

    The arrays are a mask or weights, for example. The caller checks their types and shapes.

    Args:
        value: a list of arrays, a batch, or the array of a single record.
        name: name of the argument for error messages.
        like: shapes (*T) of the records of y.

    Raises:
        TypeError: If an array is a masked array.
        ValueError: If the number of arrays differs from the number of records.
    """
    given = lists_arrays(value)
    several = [_as_array(v, f"{name}[{i}]") for i, v in enumerate(value)] if given else []
    if not given:
        whole = _as_array(value, name)
        batch = whole.shape[: 1 + len(like[0])] == (len(like), *like[0])
        several = [*whole] if batch else [whole]
    masked = [value, *value] if given else [value]
    if any(isinstance(v, np.ma.MaskedArray) for v in masked):
        raise TypeError(f"{name} is a masked array, whose mask would be lost")
    if len(several) != len(like):
        raise ValueError(
            f"{name} has {count(len(several), 'record')}, y {count(len(like), 'record')}"
        )
    names = [f"{name}[{i}]" if len(like) > 1 else name for i in range(len(like))]
    return [*zip(names, several, like, strict=True)]
