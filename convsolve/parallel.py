"""Work on all cores, by tasks that are spent in NumPy, which releases the interpreter's lock."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from functools import cache, partial
from itertools import chain, pairwise
from typing import Any, TypeVar

# Every thread needs the memory of some batches.
MOST_THREADS = 8

_S = TypeVar("_S")
_T = TypeVar("_T")


class cached_property(functools.cached_property[_T]):
    """As in `functools`, but without the lock of all instances that it has up to Python 3.11.

    A task on another thread may need the same property of another object.
    """

    lock: Any = property(lambda self: nullcontext(), lambda self, lock: None)


@cache
def cores() -> int:
    """Return the number of cores that this process may use, at most `MOST_THREADS`."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed or 1, MOST_THREADS)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Return the threads besides the caller's, for each process: a fork does not copy threads."""
    return ThreadPoolExecutor(cores() - 1, "convsolve")


def in_order(task: Callable[[_S], _T], several: Sequence[_S]) -> Iterator[_T]:
    """Yield the results of ``task`` for all items in their order, on all cores.

    One task more than cores runs or waits, so that no core is idle. After an exception, and after
    the generator is closed, no other task begins.

    The calling thread runs tasks too while it would wait for others. If it slept instead, the other
    threads would often start on the same core, and tasks of a few milliseconds would gain nothing.
    """
    if len(several) == 1 or cores() == 1:
        yield from map(task, several)
        return
    pool, waiting = _pool(os.getpid()), deque[tuple[Callable[[], _T], Future[_T]]]()
    try:
        for one in several:
            if len(waiting) > cores():
                yield _first(waiting)
            # NumPy's handling of overflow is stored in the context.
            call: Any = partial(copy_context().run, task, one)
            waiting.append((call, pool.submit(call)))
        while waiting:
            yield _first(waiting)
    finally:
        for _, future in waiting:
            future.cancel()


def _first(waiting: deque[tuple[Callable[[], _T], Future[_T]]]) -> _T:
    """Remove the first task and return its result. Until it has ended, run other tasks."""
    for i, (call, future) in enumerate(waiting):
        if waiting[0][1].done():
            break
        if future.cancel():  # no thread has begun the task
            ended = Future[_T]()
            ended.set_result(call())
            waiting[i] = call, ended
    return waiting.popleft()[1].result()


def ahead(read: Callable[[_S], _T], several: Iterable[_S]) -> Generator[_T]:
    """Yield ``read`` of each item. A thread reads the next item, in order, while one is used.

    After an exception, and after the generator is closed, no other item is read.
    """
    pool = ThreadPoolExecutor(1, "convsolve reads")
    begun = (pool.submit(read, one) for one in several)
    try:
        for first, _ in pairwise(chain(begun, [Future[_T]()])):
            yield first.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
