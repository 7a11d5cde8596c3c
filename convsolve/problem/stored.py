"""Records that are not in memory, read slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..lazy_jax import is_jax_array, on_device
from ..progress import tracked

# Numbers that are read at a time if all of a record are checked: 8 MiB, or a chunk of the source of
# up to 256 MiB.
BLOCK_NUMBERS, MOST_NUMBERS = 2**20, 2**25


def is_stored(value: Any) -> bool:
    """Return whether a value is an array that is not in memory.

    It has a shape, a dtype and slices, such as an `h5py.Dataset`, a zarr array, a dask array, or
    an array of jax on an accelerator.
    Data frames and series have labels and do not count.
    """
    if isinstance(value, (np.ndarray, np.generic)) or is_jax_array(value):
        return on_device(value)
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    sliced = hasattr(value, "__getitem__") and not hasattr(value, "iloc")
    return isinstance(shape, tuple) and isinstance(dtype, np.dtype) and sliced


def is_away(record: Any) -> bool:
    """Return whether a record is part of an array of jax on a device."""
    return isinstance(record, Stored) and on_device(record.source)


@dataclass(frozen=True, eq=False)
class Stored:
    """A record (*W, C) whose slices are read on demand; `numpy.asarray` reads all of it.

    Attributes:
        source: the array that is read.
        where: index of the record in a batch, if the source is a batch, and a slice per axis of W.
        channels: the channels; None if the source has no axis of channels.
        dtype: type of the numbers.
        filled: whether NaN is read as zero.
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

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (*W, C) of the record."""
        spans = [s for s in self.where if isinstance(s, slice)]
        return (*(s.stop - s.start for s in spans), len(self.channels or (0,)))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

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
        label = "check of what is stored"
        for start in tracked(starts, label, len(self), size=lambda start: step):
            yield start, np.asarray(self[start : start + step])
