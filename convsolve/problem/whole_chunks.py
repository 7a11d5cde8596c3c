"""Sources that are decoded chunk by chunk, read so that a pass over them decodes none twice."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

# Beyond these 256 MiB, chunks that lie side by side are not kept from one reading to the next.
MOST_KEPT_BYTES = 2**28
# About as much is decoded at a time: of many chunks, or of one that is larger. What a source makes
# of its own beside what is read into is no more than that.
AT_ONCE_BYTES = 2**23


class _Kept(NamedTuple):
    """What was read last: ``block`` has the samples from ``first`` on, of what ``others``, the rest
    of the key, selects.
    """

    others: tuple[Any, ...]
    first: int
    block: np.ndarray

    @property
    def stop(self) -> int:
        return self.first + len(self.block)


NOTHING = _Kept((), 0, np.empty(0))


class WholeChunks:
    """A source for one pass along an axis, in whole chunks: what was decoded last is kept, and what
    is read next begins there.

    Threads may share it: what one decodes is then kept for another in vain.
    """

    def __init__(self, source: Any, axis: int, length: int) -> None:
        self.shape, self.dtype = source.shape, source.dtype
        self._source, self._axis, self._length = source, axis, length
        self._kept = NOTHING

    def __repr__(self) -> str:
        return repr(self._source)

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        start, stop = key[self._axis].start, key[self._axis].stop
        if start >= stop:  # nothing to decode
            return read(self._source, key)
        others, kept = (*key[: self._axis], *key[self._axis + 1 :]), self._kept
        if kept.others != others or not kept.first <= start < kept.stop:
            kept = _Kept(others, start // self._length * self._length, np.empty(0))
        first, head = kept.stop, kept.block[start - kept.first :]
        if stop <= first:
            return head[: stop - start]
        end = min(math.ceil(stop / self._length) * self._length, self.shape[self._axis])
        begin = first - len(head)
        block = np.empty(_selected(self._along(key, begin, end), self.shape), self.dtype)
        if len(head):
            block[: len(head)] = head
        del kept, head
        self._kept = NOTHING  # before others are read: memory holds one block less
        each = math.prod(block.shape[1:]) * block.itemsize
        step = max(1, AT_ONCE_BYTES // max(1, each * self._length)) * self._length
        for a in range(first, end, step):
            b = min(a + step, end)
            read_into(block[a - begin : b - begin], self._source, self._along(key, a, b))
        self._kept = _Kept(others, begin, block)
        return block[start - begin : stop - begin]

    def _along(self, key: tuple[Any, ...], start: int, stop: int) -> tuple[Any, ...]:
        """The samples from ``start`` to ``stop``, and of the other axes what a key says."""
        return (*key[: self._axis], slice(start, stop), *key[self._axis + 1 :])


def in_whole_chunks(source: Any, axis: int) -> Any:
    """A source to be read in order along an axis, as `WholeChunks` where it says that it is decoded
    by chunks, and those that lie side by side are not too large to be kept.
    """
    length = _chunk_length(source, axis)
    row = math.prod(source.shape[axis + 1 :]) * source.dtype.itemsize
    if length is None or length * row > MOST_KEPT_BYTES:
        return source
    return WholeChunks(source, axis, length)


def _chunk_length(source: Any, axis: int) -> int | None:
    """That of all chunks along an axis; None where it is not known."""
    try:
        chunks: Any = getattr(source, "chunks", None)
    except NotImplementedError:  # of zarr, where they are of several lengths
        return None
    regular = isinstance(chunks, tuple) and len(chunks) == len(source.shape)
    if not regular or not all(isinstance(n, int) and n > 0 for n in chunks):
        return None
    return min(chunks[axis], max(1, source.shape[axis]))


def read(source: Any, key: tuple[Any, ...]) -> np.ndarray:
    """A slice of a source as an array."""
    if _reader(source) is None:
        return plain(source[key])
    found = np.empty(_selected(key, source.shape), source.dtype)
    read_into(found, source, key)
    return found


def read_into(out: np.ndarray, source: Any, key: tuple[Any, ...]) -> None:
    """A slice of a source, into an array of its shape and kind.

    Raises:
        ValueError, TypeError: it did not come in these.
    """
    reader = _reader(source)
    if reader is not None:
        if out.size:
            reader(out, key)
        return
    found = plain(source[key])
    if found.shape != out.shape:
        raise another_shape(found, out.shape)
    if not fits(found.dtype, out.dtype):
        raise another_kind(found, out.dtype)
    out[...] = found


def _reader(source: Any) -> Callable[[np.ndarray, tuple[Any, ...]], Any] | None:
    """How h5py and zarr read into an array that is there, which saves them one of their own, and
    the time in which its memory is cleared; None of others, what wraps or extends theirs among
    them: of these a slice is what they make of it.
    """
    if type(source) is _kind("h5py", "Dataset"):
        return source.read_direct
    if type(source) is not _kind("zarr", "Array"):
        return None

    def into(out: np.ndarray, key: tuple[Any, ...]) -> None:
        from zarr.buffer.cpu import NDBuffer

        source.get_basic_selection(key, out=NDBuffer.from_numpy_array(out))

    return into


def _kind(package: str, name: str) -> Any:
    """A type of a package, if that has been imported."""
    return getattr(sys.modules.get(package), name, object)


def fits(found: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Whether numbers of one kind are kept in another: in whole numbers wholly, else to the digits
    that it has.
    """
    return np.can_cast(found, wanted, "safe" if wanted.kind in "iu" else "same_kind")


def _selected(key: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a slice."""
    wanted = [
        len(range(*k.indices(n))) for k, n in zip(key, shape, strict=False) if isinstance(k, slice)
    ]
    return (*wanted, *shape[len(key) :])


def plain(part: Any) -> np.ndarray:
    """A slice of a source as an array."""
    if isinstance(part, np.ma.MaskedArray) and part.mask.any():
        raise TypeError(
            "a slice came as a masked array; store NaN where values are missing, and leave them "
            "out by missing='drop'"
        )
    return np.asarray(part)


def another_shape(found: np.ndarray, wanted: Sequence[int]) -> ValueError:
    """What to raise of a slice that did not come with the samples that were asked for."""
    return ValueError(
        f"a slice of {' × '.join(map(str, wanted))} samples came in shape {found.shape}: "
        "what is stored has another shape than it says, or has changed"
    )


def another_kind(found: np.ndarray, wanted: np.dtype[Any]) -> TypeError:
    """What to raise of a slice that came in numbers of another kind."""
    return TypeError(
        f"a slice came in {found.dtype}, where numbers of {wanted} were to be read: "
        "what is stored is of another kind than it says"
    )
