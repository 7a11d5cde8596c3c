"""Work on all cores, by tasks that are spent in NumPy, which releases the interpreter's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import TypeVar

# Every thread needs the memory of some batches.
MOST_THREADS = 8

_S = TypeVar("_S")
_T = TypeVar("_T")


@cache
def cores() -> int:
    """Return the number of cores that this process may use, at most `MOST_THREADS`."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed or 1, MOST_THREADS)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Return the threads besides the caller's, for each process: a fork does not copy them."""
    return ThreadPoolExecutor(cores() - 1, "convsolve")


def at_once() -> int:
    """Return how many tasks of `in_order` run or wait: one more than cores, so none is idle."""
    return cores() + 1


def in_order(task: Callable[[_S], _T], several: Sequence[_S]) -> Iterator[_T]:
    """Yield the results of ``task`` for all items in their order, on all cores.

    A task does not begin before the one `at_once` places earlier has ended. No task may call this.

    The calling thread runs tasks too while it would wait for others. If it slept instead, the other
    threads would often start on the same core, and tasks of a few milliseconds would gain nothing.
    """
    if len(several) == 1 or cores() == 1:
        yield from map(task, several)
        return
    pool, ahead = _pool(os.getpid()), at_once()

    def submit(one: _S) -> tuple[_S, Future[_T]]:
        # NumPy's handling of overflow is stored in the context.
        return one, pool.submit(copy_context().run, task, one)

    waiting = deque(map(submit, several[:ahead]))
    for one in several[ahead:]:
        yield _first(task, waiting)
        waiting.append(submit(one))
    while waiting:
        yield _first(task, waiting)


def _first(task: Callable[[_S], _T], waiting: deque[tuple[_S, Future[_T]]]) -> _T:
    """Remove the first task and return its result. Until it has ended, run tasks not yet begun."""
    while not waiting[0][1].done():
        # A task that can be cancelled has not begun.
        mine = next((i for i, (_, future) in enumerate(waiting) if future.cancel()), None)
        if mine is None:
            break
        one, found = waiting[mine][0], Future[_T]()
        found.set_result(task(one))
        waiting[mine] = one, found
    return waiting.popleft()[1].result()
