"""Work on all cores, by tasks that are spent in NumPy, which releases the interpreter's lock."""

from __future__ import annotations

import atexit
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import cache, partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar, cast

# Every thread needs the memory of some batches.
MOST_THREADS = 8

_S = TypeVar("_S")
_T = TypeVar("_T")


@cache
def cores() -> int:
    """Return the number of cores that this process may use, at most `MOST_THREADS`."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed or 1, MOST_THREADS)


class _Task(Generic[_T]):
    """A call for the first thread that claims it.

    The lock and the queue are implemented in C. A KeyboardInterrupt can leave those implemented in
    Python, which `concurrent.futures` uses, in a state in which other threads wait forever.
    """

    def __init__(self, call: Callable[[], _T]) -> None:
        self._call, self._claimed = call, Lock()
        self._found: SimpleQueue[Any] = SimpleQueue()

    def claim(self) -> bool:
        """Return True to the first caller, and False to all others."""
        return self._claimed.acquire(blocking=False)

    def run(self) -> bool:
        """Run the task unless it is claimed, and return whether it was run."""
        if not self.claim():
            return False
        try:
            self._found.put((self._call(), None))
        except BaseException as error:
            self._found.put((None, error))
            if not isinstance(error, Exception):  # Ctrl-C
                raise
        return True

    @property
    def ended(self) -> bool:
        """Whether `result` returns at once."""
        return not self._found.empty()

    def result(self) -> _T:
        """Return the result of the call, or raise its exception, as soon as it has ended."""
        found, error = self._found.get()
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback has this frame
        return cast(_T, found)


def _serve(tasks: SimpleQueue[_Task[Any] | None]) -> None:
    while (task := tasks.get()) is not None:
        with suppress(BaseException):  # the caller raises it
            task.run()
        del task  # it has large arrays, and the next one may be far off


def _end(tasks: SimpleQueue[_Task[Any] | None], threads: Sequence[Thread]) -> None:
    for _ in threads:
        tasks.put(None)
    for thread in threads:
        thread.join()


@cache
def _shared(process: int) -> SimpleQueue[_Task[Any] | None]:
    """Return the tasks of the threads besides the caller's, for each process.

    A fork does not copy threads.
    """
    tasks: SimpleQueue[_Task[Any] | None] = SimpleQueue()
    arguments: Any = {"target": _serve, "args": (tasks,), "name": "convsolve", "daemon": True}
    threads = [Thread(**arguments) for _ in range(cores() - 1)]
    for thread in threads:
        thread.start()
    # Python ends a daemon thread in the middle of a function in C++ by an abort of the process.
    atexit.register(_end, tasks, threads)
    return tasks


def at_once() -> int:
    """Return how many tasks of `in_order` run or wait: one more than cores, so none is idle."""
    return cores() + 1


def in_order(task: Callable[[_S], _T], several: Sequence[_S]) -> Iterator[_T]:
    """Yield the results of ``task`` for all items in their order, on all cores.

    A task does not begin before the one `at_once` places earlier has ended. After an exception, and
    after the generator is closed, no other task begins.

    The calling thread runs tasks too while it would wait for others. If it slept instead, the other
    threads would often start on the same core, and tasks of a few milliseconds would gain nothing.
    """
    if len(several) == 1 or cores() == 1:
        yield from map(task, several)
        return
    shared, most = _shared(os.getpid()), at_once()
    waiting: deque[_Task[_T]] = deque()

    def add(one: _S) -> None:
        # NumPy's handling of overflow is stored in the context.
        waiting.append(_Task(partial(copy_context().run, task, one)))
        shared.put(waiting[-1])

    try:
        for one in several[:most]:
            add(one)
        for one in several[most:]:
            yield _first(waiting)
            add(one)
        while waiting:
            yield _first(waiting)
    finally:
        for left in waiting:
            left.claim()


def ahead(read: Callable[[_S], _T], several: Iterable[_S]) -> Generator[_T]:
    """Yield ``read`` of each item. A thread reads the next item, in order, while one is used.

    After an exception, and after the generator is closed, no other item is read.
    """
    reads: SimpleQueue[_Task[Any] | None] = SimpleQueue()
    waiting: deque[_Task[_T]] = deque()
    try:
        Thread(target=_serve, args=(reads,), name="convsolve reads").start()
        for one in several:
            waiting.append(_Task(partial(read, one)))
            reads.put(waiting[-1])
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        reads.put(None)
        for left in waiting:
            left.claim()


def _first(waiting: deque[_Task[_T]]) -> _T:
    """Remove the first task and return its result. Until it has ended, run other tasks."""
    while not waiting[0].ended and any(map(_Task.run, waiting)):
        pass
    return waiting.popleft().result()
