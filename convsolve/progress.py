"""Stages of long computations: progress bars, the log named "convsolve", and Ctrl-C.

Loops that can take long report here, so that no argument is passed down to them. Nothing is printed
by default. With ``progress=True``, every stage of more than half a second has a bar on stderr,
which tqdm draws. ``logging.getLogger("convsolve")`` logs every request and its result at INFO, and
every stage of more than half a second at DEBUG.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from .text import shown

LOG = logging.getLogger("convsolve")
LOG.addHandler(logging.NullHandler())

# Stages that take less have no bar, and no line in the log.
SECONDS = 0.5

_T = TypeVar("_T")
# What makes a bar, or None instead. Tasks on other threads have that of their caller.
_bars: ContextVar[Any] = ContextVar("bars", default=lambda **stage: nullcontext())


@contextmanager
def following(progress: Any) -> Iterator[None]:
    """Show bars in the block if an argument ``progress`` is True. False keeps bars of a caller.

    Raises:
        TypeError: If ``progress`` is not True or False.
        ImportError: If bars are requested and tqdm is not installed.
    """
    if progress not in (True, False):
        raise TypeError(f"progress must be True or False, got {shown(progress)}")
    bars = _bars.get()
    if progress:
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise ImportError("progress=True needs tqdm: pip install 'convsolve[cli]'") from error
        bars = partial(tqdm, delay=SECONDS, leave=False, dynamic_ncols=True)
    before = _bars.set(bars)
    try:
        yield
    finally:
        _bars.reset(before)


@contextmanager
def stage(name: str, total: int) -> Iterator[Callable[..., None]]:
    """Begin a stage of the work, and yield a function that reports its progress.

    The function takes the part of ``total`` that is done, and optionally a note.
    """
    begun = time.perf_counter()
    with _bars.get()(desc=name, total=total) as bar:

        def report(done: int, note: str = "") -> None:
            if bar is not None:
                bar.set_postfix_str(note, refresh=False)
                bar.update(min(done, total) - bar.n)

        yield report
    if (took := time.perf_counter() - begun) >= SECONDS:
        LOG.debug("%s: %.1f s", name, took)


def tracked(
    several: Iterable[_T], name: str, total: int, *, size: Callable[[_T], int] = lambda one: 1
) -> Iterator[_T]:
    """Iterate over ``several`` as a stage of the work.

    An item is done when the next one is requested. Items count one each, or their ``size``.
    """
    with stage(name, total) as report:
        done = 0
        for one in several:
            report(done)
            yield one
            done += size(one)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C was pressed, for a loop that then ends early.

    A second Ctrl-C raises KeyboardInterrupt. Handlers other than Python's own are not replaced, and
    neither is the handler in other threads than the main thread.
    """
    pressed, default = threading.Event(), signal.default_int_handler

    def handle(number: int, frame: Any) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, default)

    main = threading.current_thread() is threading.main_thread()
    if own := main and signal.getsignal(signal.SIGINT) is default:
        signal.signal(signal.SIGINT, handle)
    try:
        yield pressed.is_set
    finally:
        if own:
            signal.signal(signal.SIGINT, default)
