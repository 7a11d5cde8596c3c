"""Sums over chunks of rows, computed in this process in order or by dask."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from ..parallel import ahead
from ..problem.stored import Stored, is_dask
from ..progress import stage, tracked
from .chunk import Chunk, LoadedChunk
from .windows import NormalForm

# The label of a sum over all chunks in progress reports.
PASS = "pass over the data"


class Summand(Protocol):
    """The result of a task for one chunk, which can be added to other results."""

    def __add__(self, other: Self) -> Self: ...


_S = TypeVar("_S", bound=Summand)

# Number of arrays that dask computes at a time if one process collects the results.
AT_ONCE = 8

# A function that sums the results of a task over chunks in order: ``total(task, chunks, *others)``.
Total = Callable[..., Any]


def total_of(records: Iterable[Any]) -> Total:
    """Return the function that sums over chunks of some records."""
    return with_dask if any(map(on_dask, records)) else one_by_one


def one_by_one(task: Callable[..., _S], chunks: Sequence[Chunk | LoadedChunk], *others: Any) -> _S:
    """Return the sum over chunks of ``task(chunk, *others)``, computed in this process in order."""
    if len(chunks) == 1:
        return task(chunks[0], *others)
    found: _S | None = None
    with closing(read_ahead(chunks)) as ahead:
        for chunk in tracked(ahead, PASS, len(chunks)):
            part = task(chunk, *others)
            found = part if found is None else found + part
    assert found is not None
    return found


def read_ahead(chunks: Iterable[Chunk | LoadedChunk]) -> Generator[Chunk | LoadedChunk]:
    """Yield chunks with their arrays in memory. The next chunk is read while one is used.

    Close the generator explicitly: an exception in its garbage collection would be ignored.
    """
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
        tasks = [call(task, *_apart(array), shared) for array in batch]
        yield from compute(*tasks)


def _stored(array: Any) -> bool:
    """Return whether an array is read from storage."""
    return isinstance(array.record if isinstance(array, NormalForm) else array, Stored)


def _of_array(
    task: Callable[..., np.ndarray], plan: Plan, sources: Sequence[Any], others: tuple[Any, ...]
) -> np.ndarray:
    return task(plan.array(iter([np.asarray(source) for source in sources])), *others)


def with_dask(task: Callable[..., _S], chunks: Sequence[Chunk], *others: Any) -> _S:
    """Return the same sum, computed by dask: one task per chunk and a tree of sums."""
    from dask.delayed import delayed

    shared = delayed(others, pure=False)
    call, parts = delayed(_on_worker, pure=False), []
    for chunk in chunks:
        apart = [_apart(a) for a in (*chunk.x, *(chunk.y or ()))]
        plans = [plan for plan, _ in apart]
        sources = [source for _, few in apart for source in few]
        bare = chunk._replace(x=(None,) * len(chunk.x), y=chunk.y and (None,) * len(chunk.y))
        parts.append(call(task, bare, plans, sources, shared))
    add = delayed(_sum, pure=False)
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        parts = [*(add(a, b) for a, b in pairs), *parts[len(parts) - len(parts) % 2 :]]
    with stage(f"{PASS}, by dask", 1):
        found: _S = parts[0].compute()
    return found


class Plan(NamedTuple):
    """A plan to assemble an array from its sources.

    ``form`` joins the arrays of ``parts``. If it is None, the source itself is the array.
    """

    form: Any
    parts: tuple[Plan, ...] = ()

    def array(self, sources: Iterator[np.ndarray]) -> np.ndarray:
        """Return the array, given its sources in order."""
        if self.form is None:
            return next(sources)
        return self.form.assembled([part.array(sources) for part in self.parts])


def _apart(array: Any) -> tuple[Plan, list[Any]]:
    """Return a plan without data, and its sources, which are sliced but not read."""
    if not hasattr(array, "selections"):
        return Plan(None), [array]
    several = [_apart(part) for part in array.selections]
    plan = Plan(array.hollow, tuple(plan for plan, _ in several))
    return plan, [source for _, sources in several for source in sources]


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
    task: Callable[..., _S],
    bare: Chunk,
    plans: Sequence[Plan],
    sources: Sequence[np.ndarray],
    others: tuple[Any, ...],
) -> _S:
    left = iter([np.asarray(source) for source in sources])
    arrays = [plan.array(left) for plan in plans]
    x = tuple(arrays[: len(bare.x)])
    return task(bare._replace(x=x, y=bare.y and tuple(arrays[len(x) :])), *others)


def _sum(a: _S, b: _S) -> _S:
    return a + b
