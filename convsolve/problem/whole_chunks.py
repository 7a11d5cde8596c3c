"""Sources that are decoded chunk by chunk, read so that a pass over them decodes none twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# Beyond these 256 MiB, chunks that lie side by side are not kept from one reading to the next.
MOST_KEPT_BYTES = 2**28


class _Kept(NamedTuple):
    """What was decoded last: ``block`` has the samples from ``first`` on, of what ``others``, the
    rest of the key, selects.
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
            return plain(self._source[key])
        others, kept = (*key[: self._axis], *key[self._axis + 1 :]), self._kept
        if kept.others != others or not kept.first <= start < kept.stop:
            kept = _Kept(others, start // self._length * self._length, np.empty(0))
        first, head = kept.stop, kept.block[start - kept.first :]
        if stop <= first:
            return head[: stop - start]
        # What is not needed any more makes room for what is read.
        head, kept, self._kept = head.copy(), NOTHING, NOTHING
        end = min(math.ceil(stop / self._length) * self._length, self.shape[self._axis])
        found = self._read(key, first, end)
        last = (end - 1) // self._length * self._length - first
        self._kept = _Kept(others, first + last, found[last:].copy() if last else found)
        found = found[max(start - first, 0) : stop - first]
        return np.concatenate([head, found]) if len(head) else found

    def _read(self, key: tuple[Any, ...], start: int, stop: int) -> np.ndarray:
        """The samples from ``start`` to ``stop``, and of the other axes what a key says."""
        whole = (*key[: self._axis], slice(start, stop), *key[self._axis + 1 :])
        found = plain(self._source[whole])
        parts = zip(whole, self.shape, strict=False)
        wanted = [len(range(*k.indices(n))) for k, n in parts if isinstance(k, slice)]
        if found.shape != (*wanted, *self.shape[len(key) :]):
            raise another_shape(found, wanted)
        return found


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
