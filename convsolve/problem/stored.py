"""Records that are not in memory, read slice by slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ..lazy_jax import is_jax_array
from ..linalg.channels import by_channel, largest
from ..progress import tracked

# Numbers that are read at a time if all of a record are checked: 8 MiB, or a chunk of the source of
# up to 256 MiB.
BLOCK_NUMBERS, MOST_NUMBERS = 2**20, 2**25

# First sample, and the end, along every axis.
Bounds = tuple[tuple[int, int], ...]


def is_stored(value: Any) -> bool:
    """Return whether a value is an array that is not in memory.

    It has a shape, a dtype and slices, such as an `h5py.Dataset`, a zarr array or a dask array.
    Data frames and series have labels and do not count.
    """
    if isinstance(value, (np.ndarray, np.generic)) or is_jax_array(value):
        return False
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    sliced = hasattr(value, "__getitem__") and not hasattr(value, "iloc")
    return isinstance(shape, tuple) and isinstance(dtype, np.dtype) and sliced


def is_dask(value: Any) -> bool:
    """Return whether a value is an array of dask. An xarray, which may hold one, is not."""
    return hasattr(value, "__dask_graph__") and hasattr(value, "numblocks")


@dataclass(frozen=True, eq=False)
class Stored:
    """A record (*W, C) whose slices are read on demand; `numpy.asarray` reads all of it.

    Attributes:
        source: the array that is read.
        record: index of the record in a batch; None for a single record.
        bounds: first sample, and the end, along every axis of W.
        channels: the channels; None if the source has no axis of channels.
        dtype: type of the numbers.
        filled: whether NaN is read as zero.
    """

    source: Any
    record: int | None
    bounds: Bounds
    channels: tuple[int, ...] | None
    dtype: np.dtype[Any]
    filled: bool = False

    @classmethod
    def of(cls, source: Any, ndim: int) -> list[Stored]:
        """Return the records of a source, for kernels of ``ndim`` axes."""
        shape, extra = source.shape, len(source.shape) - ndim
        channels = tuple(range(shape[-1])) if extra else None
        records: Sequence[int | None] = range(shape[0]) if extra == 2 else [None]
        bounds = tuple((0, n) for n in shape[extra == 2 :][:ndim])
        return [cls(source, i, bounds, channels, source.dtype) for i in records]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (*W, C) of the record."""
        channels = 1 if self.channels is None else len(self.channels)
        return (*(b - a for a, b in self.bounds), channels)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.bounds) + 1

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=object))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Stored:
        """Return some samples ``[a:b, …]`` or channels ``[..., channels]``, not read yet."""
        keys = key if isinstance(key, tuple) else (key,)
        if keys[0] is Ellipsis:
            every = range(self.shape[-1])
            chosen = [*every[keys[1]]] if isinstance(keys[1], slice) else keys[1]
            known = (0,) if self.channels is None else self.channels
            same = self.channels is None and [*chosen] == [0]
            return self if same else replace(self, channels=tuple(known[c] for c in chosen))
        bounds = [*self.bounds]
        for axis, part in enumerate(keys):
            start, stop, _ = part.indices(self.shape[axis])
            first = bounds[axis][0]
            bounds[axis] = first + start, first + max(start, stop)
        return replace(self, bounds=tuple(bounds))

    def astype(self, dtype: Any) -> Stored:
        """Return the record in another precision."""
        return replace(self, dtype=np.dtype(dtype))

    @property
    def chunk_length(self) -> int | None:
        """Length of the chunks of the source along the first axis; None if it is not known."""
        try:
            length = self.source.chunks[0 if self.record is None else 1]
        # A source without chunks, or an array of zarr with chunks of several lengths.
        except (AttributeError, IndexError, NotImplementedError, TypeError):
            return None
        length = length[0] if isinstance(length, tuple) else length
        return length if isinstance(length, int) and length > 0 else None

    @property
    def _key(self) -> tuple[Any, ...]:
        """Key of the slice of the source."""
        index = () if self.record is None else (self.record,)
        return (*index, *(slice(a, b) for a, b in self.bounds))

    @property
    def selection(self) -> Any:
        """Slice of the source that contains the record, not read yet for dask."""
        return self.source[self._key]

    @property
    def selections(self) -> list[Any]:
        """The `selection` alone."""
        return [self.selection]

    @property
    def hollow(self) -> Self:
        """The record without its source."""
        return replace(self, source=None)

    def assembled(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return the record, given its `selections` as arrays.

        Raises:
            ValueError, TypeError: If they do not have the shape or type that the source states.
        """
        (found,) = parts
        found = found[..., None] if self.channels is None else found
        wanted = self.shape[:-1]
        if found.shape[:-1] != wanted or found.shape[-1] <= max(self.channels or (0,)):
            raise ValueError(
                f"a slice of {' × '.join(map(str, wanted))} samples came in shape {found.shape}: "
                "what is stored has another shape than it says, or has changed"
            )
        if not np.can_cast(found.dtype, self.dtype, "same_kind"):
            raise TypeError(
                f"a slice came in {found.dtype}, where numbers of {self.dtype} were to be read: "
                "what is stored is of another kind than it says"
            )
        if self.channels is not None and self.channels != tuple(range(found.shape[-1])):
            found = found[..., [*self.channels]]
        found = np.ascontiguousarray(found, self.dtype)
        if self.filled and np.issubdtype(found.dtype, np.floating):
            gaps = np.isnan(found)
            found = np.where(gaps, found.dtype.type(0), found) if gaps.any() else found
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        with _reading(self.source):
            found = self.assembled([plain(self.selection)])
        return found if dtype is None else found.astype(dtype, copy=False)

    @property
    def largest(self) -> np.ndarray:
        """Largest magnitude (C,) of every channel. NaN and Inf count as largest."""
        if is_dask(self.source):  # computed where its chunks are
            part = self.selection
            part = np.where(np.isnan(part), 0, part) if self.filled else part
            found = _largest_of_dask(part, len(self.bounds))
            return found if self.channels is None else found[[*self.channels]]
        blocks = (block for _, block in in_blocks(self))
        with np.errstate(invalid="ignore"):
            return np.maximum.reduce([largest(block) for block in blocks])

    def gaps(self, by_channel: bool) -> np.ndarray:
        """Return flags (*W, C) of NaN, or, unless ``by_channel``, of samples with any NaN."""
        if not self.size:
            return np.zeros(self.shape, bool)
        if is_dask(self.source):
            flags = np.asarray(np.isnan(self.selection))
            return replace(self, dtype=np.dtype(bool)).assembled([flags])
        found = (np.isnan(block) for _, block in in_blocks(self))
        if by_channel:
            return np.concatenate([*found])
        samples = np.concatenate([f.any(-1, keepdims=True) for f in found])
        return np.broadcast_to(samples, self.shape)

    def index_of(self, place: Sequence[int]) -> tuple[int, ...]:
        """Return the index in the source of an element of the record (*W, C)."""
        record = () if self.record is None else (self.record,)
        channel = () if self.channels is None else (self.channels[place[-1]],)
        return (*record, *place[:-1], *channel)


def plain(part: Any) -> np.ndarray:
    """Return a slice of a source as an array, without a mask."""
    if isinstance(part, np.ma.MaskedArray) and part.mask.any():
        raise TypeError(
            "a slice came as a masked array; store NaN where values are missing, and leave them "
            "out by missing='drop'"
        )
    return np.asarray(part)


def _largest_of_dask(part: Any, axes: int) -> np.ndarray:
    """Return the largest magnitude (C,) of every channel, over the first ``axes`` of an array."""

    def of_chunk(chunk: np.ndarray) -> np.ndarray:
        alone = chunk[..., None] if chunk.ndim == axes else chunk
        with np.errstate(invalid="ignore"):
            sizes = by_channel(np.maximum, alone, np.abs)
        return sizes.reshape((1,) * axes + chunk.shape[axes:])

    ones = tuple((1,) * n for n in part.numblocks[:axes])
    given = {"chunks": ones + part.chunks[axes:], "dtype": part.dtype, "meta": part._meta}
    return np.asarray(part.map_blocks(of_chunk, **given).max(axis=tuple(range(axes)))).reshape(-1)


def in_memory(record: Any) -> np.ndarray:
    """Return all of a record that was found to be finite.

    Raises:
        ValueError: If a stored record is not finite any more.
    """
    found = np.asarray(record)
    if isinstance(record, Stored) and not np.isfinite(largest(found)).all():
        raise not_finite_any_more()
    return found


def not_finite_any_more() -> ValueError:
    """Return the error for numbers that were finite when they were checked, and are not now."""
    return ValueError(
        "x or y has values that are not finite, and had none when it was checked: what is stored "
        "has changed since"
    )


@contextmanager
def _reading(source: Any) -> Iterator[None]:
    """Add the source to errors, which do not name it, for example if a file has been closed."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while samples were read of {source!r}")
        raise


def in_blocks(
    record: Any, numbers: int = BLOCK_NUMBERS
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield parts of a record along its first axis, and the index at which each begins."""
    each = record.size // max(1, len(record))
    if isinstance(record, np.ndarray) and record.ndim > 1 and each > numbers:
        for i in range(len(record)):
            yield from (((i, *place), block) for place, block in in_blocks(record[i], numbers))
        return
    step = max(1, numbers // max(1, each))
    if isinstance(record, Stored) and (length := record.chunk_length or 1) * each <= MOST_NUMBERS:
        step = -(-step // length) * length
    starts: Iterable[int] = range(0, len(record), step)
    if isinstance(record, Stored):
        starts = tracked(starts, "check of what is stored", len(record), size=lambda start: step)
    for start in starts:
        yield (start,), np.asarray(record[start : start + step])
