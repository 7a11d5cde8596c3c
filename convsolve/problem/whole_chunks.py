"""Sources that are decoded chunk by chunk, read so that one pass decodes no chunk twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..text import argument

# Neighbouring chunks of more bytes than this (256 MiB) are not kept from one slice to the next.
MOST_KEPT_BYTES = 2**28
# About this many bytes are decoded at a time, or a single chunk if it is larger. This limits the
# memory of temporary arrays of the source.
AT_ONCE_BYTES = 2**23


class _Kept(NamedTuple):
    """The samples that were read last.

    Attributes:
        others: the slices along the other axes.
        first: index of the first sample.
        block: the samples.
    """

    others: tuple[Any, ...]
    first: int
    block: np.ndarray

    @property
    def stop(self) -> int:
        return self.first + len(self.block)


NOTHING = _Kept((), 0, np.empty(0))


class WholeChunks:
    """A source that is read in one pass along an axis, in whole chunks.

    The last block is kept, because the next slice usually starts in it. Threads may share the
    object, but they then decode chunks again.
    """

    def __init__(self, source: Any, axis: int, length: int) -> None:
        self.shape, self.dtype = source.shape, source.dtype
        self._source, self._axis, self._length = source, axis, length
        self._kept = NOTHING

    def __repr__(self) -> str:
        return repr(self._source)

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        start, stop = key[self._axis].start, key[self._axis].stop
        if start >= stop:
            return plain(self._source[key])
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
        self._kept = NOTHING  # so that memory holds one block less while the next is read
        each = math.prod(block.shape[1:]) * block.itemsize
        step = max(1, AT_ONCE_BYTES // max(1, each * self._length)) * self._length
        for a in range(first, end, step):
            b = min(a + step, end)
            found, out = plain(self._source[self._along(key, a, b)]), block[a - begin : b - begin]
            check_slice(found, found.shape == out.shape, out.shape, out.dtype)
            out[...] = found
        self._kept = _Kept(others, begin, block)
        return block[start - begin : stop - begin]

    def _along(self, key: tuple[Any, ...], start: int, stop: int) -> tuple[Any, ...]:
        """Return a key for samples ``start`` to ``stop``, and the other axes of a key."""
        return (*key[: self._axis], slice(start, stop), *key[self._axis + 1 :])


def in_whole_chunks(source: Any, axis: int) -> Any:
    """Return a source for one pass along an axis: as `WholeChunks` if it is decoded by chunks.

    The source itself is returned if neighbouring chunks are too large to be kept.
    """
    length = _chunk_length(source, axis)
    row = math.prod(source.shape[axis + 1 :]) * source.dtype.itemsize
    if length is None or length * row > MOST_KEPT_BYTES:
        return source
    return WholeChunks(source, axis, length)


def _chunk_length(source: Any, axis: int) -> int | None:
    """Return the length of the chunks of a source along an axis; None if it is not known."""
    try:
        chunks: Any = getattr(source, "chunks", None)
    except NotImplementedError:  # zarr, for chunks of several lengths
        return None
    regular = isinstance(chunks, tuple) and len(chunks) == len(source.shape)
    if not regular or not all(isinstance(n, int) and n > 0 for n in chunks):
        return None
    return min(chunks[axis], max(1, source.shape[axis]))


def _selected(key: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a slice."""
    wanted = [
        len(range(*k.indices(n))) for k, n in zip(key, shape, strict=False) if isinstance(k, slice)
    ]
    return (*wanted, *shape[len(key) :])


def plain(part: Any) -> np.ndarray:
    """Return a slice of a source as an array, without a mask."""
    if isinstance(part, np.ma.MaskedArray) and part.mask.any():
        raise TypeError(
            "a slice came as a masked array; store NaN where values are missing, and leave them "
            f"out by {argument('missing', 'drop')}"
        )
    return np.asarray(part)


def check_slice(
    found: np.ndarray, right_shape: bool, wanted: Sequence[int], dtype: np.dtype[Any]
) -> None:
    """Raise an error if a slice does not have the shape or the type that its source states.

    Integers must keep their values in ``dtype``, and floating-point numbers their digits.
    """
    if not right_shape:
        raise ValueError(
            f"a slice of {' × '.join(map(str, wanted))} samples came in shape {found.shape}: "
            "what is stored has another shape than it says, or has changed"
        )
    if not np.can_cast(found.dtype, dtype, "safe" if dtype.kind in "iu" else "same_kind"):
        raise TypeError(
            f"a slice came in {found.dtype}, where numbers of {dtype} were to be read: "
            "what is stored is of another kind than it says"
        )
