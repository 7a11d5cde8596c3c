"""How far long work has come: for whoever listens, and for the log named "convsolve".

Loops that can last say so here, and nobody carries an argument to them. Nothing is printed: a face
that draws bars listens (see ``progress_bars``), and ``logging.getLogger("convsolve")`` says at INFO
what was asked and how it ended, at DEBUG what took time on the way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

LOG = logging.getLogger("convsolve")
LOG.addHandler(logging.NullHandler())

# What took less has no line of its own in the log.
LOGGED_SECONDS = 0.5

_T = TypeVar("_T")


class Listener(Protocol):
    """Called with a stage of the work, how much of how much of it is done, and what is at hand.

    A stage begins with ``done`` 0 and ends with ``done`` = ``total``, also where it ends early.
    Stages begin within stages.
    """

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        """So much is done, of so much."""


# Of one thread: another one, with work of its own, has a listener of its own, or none.
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Within, what this thread does is reported to ``listener``; None is for silence."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def _unheard(done: int, note: str = "") -> None:
    """What nobody listens to."""


def _heard() -> bool:
    return _listener.get() is not None or LOG.isEnabledFor(logging.DEBUG)


@contextmanager
def stage(name: str, total: int) -> Iterator[Callable[..., None]]:
    """A part of the work, which calls what it is given with how much of ``total`` is done, and, if
    it wants, a few words on what is at hand.
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
    """The same, as a stage of the work: each counts as done once the next is asked for. They count
    one each, or their ``size``; ``note`` says which one is at hand.
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
