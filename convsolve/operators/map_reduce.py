"""Sums over chunks of rows, computed in this process in order or by dask."""

from __future__ import annotations

import operator
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import reduce
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from ..parallel import ahead
from ..problem.stored import Stored, is_dask
from ..progress import stage, tracked
from .chunk import Chunk
from .windows import NormalForm

# The label of a sum over all chunks in progress reports.
PASS = "pass over the data"

# Number of arrays that dask computes at a time if one process collects the results.
AT_ONCE = 8

_S = TypeVar("_S")


def total_of(records: Iterable[Any]) -> Callable[..., Any]:
    """Return the function that sums over chunks of some records."""
    return with_dask if any(map(on_dask, records)) else one_by_one


def one_by_one(task: Callable[..., _S], chunks: Sequence[Any], *others: Any) -> _S:
    """Return the sum over chunks of ``task(chunk, *others)``, computed in this process in order."""
    if len(chunks) == 1:
        return task(chunks[0], *others)
    several = tracked(read_ahead(chunks), PASS, len(chunks))
    return reduce(operator.add, (task(chunk, *others) for chunk in several))


def read_ahead(chunks: Iterable[Chunk]) -> Generator[Chunk]:
    """Yield chunks with their arrays in memory. The next chunk is read while one is used."""
    return ahead(lambda chunk: chunk.in_memory(), chunks)


def each(
    task: Callable[..., np.ndarray], arrays: Iterable[Any], *others: Any
) -> Iterator[np.ndarray]:
    """Yield ``task(array, *others)`` for arrays that are not read yet, in order.

    Dask arrays are computed by its scheduler, several at a time.
    """
    several = iter(arrays)
    while batch := [*islice(several, AT_ONCE)]:
        if not any(map(on_dask, batch)):
            read = ahead(np.asarray, batch) if any(map(_stored, batch)) else map(np.asarray, batch)
            yield from (task(array, *others) for array in read)
            continue
        from dask.base import compute
        from dask.delayed import delayed

        call, shared = delayed(_of_array, pure=False), delayed(others, pure=False)
        yield from compute(*(call(task, _apart(array), shared) for array in batch))


def _stored(array: Any) -> bool:
    """Return whether an array is read from storage."""
    return isinstance(array.record if isinstance(array, NormalForm) else array, Stored)


def _of_array(task: Callable[..., np.ndarray], apart: Any, others: tuple[Any, ...]) -> np.ndarray:
    return task(_joined(apart), *others)


def with_dask(task: Callable[..., _S], chunks: Sequence[Chunk], *others: Any) -> _S:
    """Return the same sum, computed by dask: one task per chunk and a tree of sums."""
    from dask.delayed import delayed

    shared = delayed(others, pure=False)
    call, parts = delayed(_on_worker, pure=False), []
    for chunk in chunks:
        bare = chunk._replace(x=(), y=None)
        x, y = ([*map(_apart, arrays)] for arrays in (chunk.x, chunk.y or ()))
        parts.append(call(task, bare, x, None if chunk.y is None else y, shared))
    add = delayed(operator.add, pure=False)
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        parts = [*(add(a, b) for a, b in pairs), *parts[len(parts) - len(parts) % 2 :]]
    with stage(f"{PASS}, by dask", 1):
        found: _S = parts[0].compute()
    return found


def _apart(array: Any) -> Any:
    """Return an array as slices of its sources, which are not read, in nested lists.

    A list holds an object without data and the parts that its method ``assembled`` joins.
    """
    if not hasattr(array, "selections"):
        return array
    return [array.hollow, [*map(_apart, array.selections)]]


def _joined(apart: Any) -> np.ndarray:
    """Return the array of `_apart`, whose slices have been read."""
    if not isinstance(apart, list):
        return np.asarray(apart)
    form, parts = apart
    found: np.ndarray = form.assembled([*map(_joined, parts)])
    return found


def chunk_rows(records: Sequence[Any], stride: int) -> int | None:
    """Return the rows per chunk of storage if the chunks of all records have one length.

    None if the lengths differ or the stride does not divide the length. So many rows read one chunk
    and the end of the previous chunk, instead of parts of two chunks.
    """
    lengths = {r.chunk_length if isinstance(r, Stored) else None for r in records}
    length = lengths.pop()
    return None if lengths or length is None or length % stride else length // stride


def on_dask(record: Any) -> bool:
    """Return whether the source of a record, after any number of slices, is a dask array."""
    while isinstance(record, (Stored, NormalForm)):
        record = record.source if isinstance(record, Stored) else record.record
    return is_dask(record)


def _on_worker(
    task: Callable[..., _S], bare: Chunk, x: list[Any], y: list[Any] | None, others: tuple[Any, ...]
) -> _S:
    read = None if y is None else tuple(map(_joined, y))
    return task(bare._replace(x=tuple(map(_joined, x)), y=read), *others)
