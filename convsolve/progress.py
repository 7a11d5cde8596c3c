"""Progress of long computations: for a listener, and for the log named "convsolve".

Loops that can take long report here, so that no argument is passed down to them. Nothing is printed
by default. A listener may draw bars (see ``progress_bars``). ``logging.getLogger("convsolve")``
logs every request and its result at INFO, and every stage of more than half a second at DEBUG. A
computation of more than five seconds that has no listener logs its route and an estimate of the
remaining time, once, at INFO.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

LOG = logging.getLogger("convsolve")
LOG.addHandler(logging.NullHandler())

# What took less has no line of its own in the log.
LOGGED_SECONDS = 0.5
# A computation without a listener logs an estimate after this time, or after twice as much if no
# stage has advanced by then.
ESTIMATE_SECONDS = 5.0

_T = TypeVar("_T")


class Listener(Protocol):
    """Callable that receives the stage of the work, its progress and a note.

    A stage begins with ``done`` 0 and ends with ``done`` = ``total``, also where it ends early.
    Stages begin within stages.
    """

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        """So much is done, of so much."""


# Each thread has its own listener, or none.
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Within, what this thread does is reported to ``listener``; None is for silence."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


class _Estimate:
    """A listener that logs the route of a task, and an estimate of its duration, once.

    Reports of other threads are ignored.
    """

    def __init__(self, task: str) -> None:
        self._task, self._begun, self._thread = task, time.perf_counter(), threading.get_ident()
        # When each open stage began, and how much of how much of it is done, outermost first.
        self._stages: dict[str, tuple[float, int, int]] = {}
        self._logged = False
        self.route = ""

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        """Follow the stages, and log when it is time."""
        if self._logged or threading.get_ident() != self._thread:
            return
        now = time.perf_counter()
        if done >= total:
            self._stages.pop(stage, None)
        else:
            begun = self._stages[stage][0] if stage in self._stages else now
            self._stages[stage] = begun, done, total
        share, took = self._share(), now - self._begun
        if self._stages and took >= ESTIMATE_SECONDS and (share or took >= 2 * ESTIMATE_SECONDS):
            self._logged = True
            self._log(took, share, now)

    def _share(self) -> float:
        """Return the share of the outermost stage that is done, with the stages within it."""
        share = 0.0
        for _, done, total in reversed(self._stages.values()):
            share = min((done + share) / total, 1.0)
        return share

    def _log(self, took: float, share: float, now: float) -> None:
        outermost, (begun, done, total) = next(iter(self._stages.items()))
        left = "no estimate of the time left"
        if share:
            left = f"about {(now - begun) * (1 - share) / share:.0f} s left for this stage"
        route = f"{self.route}; " if self.route else ""
        words = f"{route}{outermost}, {done} of {total}; {left}"
        LOG.info("%s has taken %.0f s: %s; progress=True shows a bar", self._task, took, words)


def estimated(task: str) -> AbstractContextManager[None]:
    """Log an estimate once if a task takes long, nothing listens, and the log is at INFO."""
    if _listener.get() is not None or not LOG.isEnabledFor(logging.INFO):
        return nullcontext()
    return listening(_Estimate(task))


def announce(route: str) -> None:
    """Record the method of a computation, which an estimate includes."""
    listener = _listener.get()
    if isinstance(listener, _Estimate):
        listener.route = route


def _unheard(done: int, note: str = "") -> None:
    """Do nothing: there is no listener."""


def _heard() -> bool:
    return _listener.get() is not None or LOG.isEnabledFor(logging.DEBUG)


@contextmanager
def stage(name: str, total: int) -> Iterator[Callable[..., None]]:
    """Announce a stage of the work, and yield a function that reports its progress.

    The function takes the part of ``total`` that is done, and optionally a note.
    """
    if not _heard():
        yield _unheard
        return
    listener, begun, before = _listener.get(), time.perf_counter(), -1

    def report(done: int, note: str = "") -> None:
        nonlocal before
        last, before = before, min(done, total)
        if listener is not None and last < total:  # the end is said once
            listener(name, before, total, note)

    report(0)
    try:
        yield report
    finally:
        report(total)
        took = time.perf_counter() - begun
        if took >= LOGGED_SECONDS:
            LOG.debug("%s: %.1f s", name, took)


def tracked(
    several: Iterable[_T],
    name: str,
    total: int,
    *,
    size: Callable[[_T], int] | None = None,
    note: Callable[[_T], Any] = lambda one: "",
) -> Iterator[_T]:
    """Iterate over ``several`` as a stage of the work.

    An item is done when the next one is requested. Items count one each, or their ``size``. The
    function ``note`` describes the current item.
    """
    if not _heard():
        return iter(several)
    return _reported(several, name, total, size, note)


def _reported(
    several: Iterable[_T],
    name: str,
    total: int,
    size: Callable[[_T], int] | None,
    note: Callable[[_T], Any],
) -> Iterator[_T]:
    with stage(name, total) as report:
        done = 0
        for one in several:
            report(done, note(one))
            yield one
            done += 1 if size is None else size(one)
