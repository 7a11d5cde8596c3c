"""Work on all cores: tasks of NumPy's, which leave Python alone while they run."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import TypeVar

# Every thread holds some batches' worth of memory.
MOST_THREADS = 8

_S = TypeVar("_S")
_T = TypeVar("_T")


@cache
def cores() -> int:
    """Threads that are worth having: the cores that this process may use, up to `MOST_THREADS`."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed or 1, MOST_THREADS)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """One for each process: a fork does not take the threads along."""
    return ThreadPoolExecutor(cores(), "convsolve")


def at_once() -> int:
    """Tasks that `in_order` has running or waiting: one more than cores, so that nobody waits."""
    return cores() + 1


def in_order(task: Callable[[_S], _T], several: Sequence[_S]) -> Iterator[_T]:
    """``task`` of each, in order, as many at a time as there are cores; no task may call this.

    None begins before that which came `at_once` earlier has ended.
    """
    if len(several) == 1:
        yield task(several[0])
        return
    pool, ahead = _pool(os.getpid()), at_once()

    def submit(one: _S) -> Future[_T]:
        # What NumPy is to do about overflow is said in a context.
        return pool.submit(copy_context().run, task, one)

    waiting = deque(map(submit, several[:ahead]))
    for one in several[ahead:]:
        yield waiting.popleft().result()
        waiting.append(submit(one))
    while waiting:
        yield waiting.popleft().result()
