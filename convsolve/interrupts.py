"""Ctrl-C in the main thread: it cuts no work in two, it ends a loop early, and none is lost.

Python raises KeyboardInterrupt wherever the main thread is. That may be before the first statement
of a ``finally`` or an ``__exit__``, which then puts nothing back; and it may be in a finalizer or a
callback of the garbage collector (jax has one), where exceptions are printed and ignored. So the
handler of this module counts every Ctrl-C, and looks at the stack before it raises.

It takes the place of Python's own handler only; all others are left alone.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any, Self, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])

_uninterrupted: set[CodeType] = set()


def uninterrupted(function: _F) -> _F:
    """Run ``function`` to its end: within `heard`, a Ctrl-C waits until a `heard` is left."""
    _uninterrupted.add(function.__code__)
    return function


class _State(threading.local):
    """Of the main thread; a child forked from another thread starts afresh."""

    depth = 0  # how many `heard` have been entered and not left
    loops = 0  # how many of them are `interruptible`
    pressed = 0  # how many Ctrl-C have not been answered


_state = _State()


def _handle(number: int, frame: FrameType | None) -> None:
    _state.pressed += 1
    if _state.loops and _state.pressed == 1:
        return
    while frame is not None:
        if frame.f_code in _uninterrupted:
            return
        frame = frame.f_back
    raise KeyboardInterrupt


class heard:
    """``with heard():`` is where Ctrl-C raises KeyboardInterrupt, if need be only at its end."""

    _active = False

    @uninterrupted
    def __enter__(self) -> Self:
        if _state.depth or self._takes_over():
            _state.depth += 1
            self._active = True
        return self

    @uninterrupted
    def _takes_over(self) -> bool:
        """Whether Ctrl-C is Python's own in this thread; then it is ours from here on."""
        if threading.current_thread() is not threading.main_thread():
            return False
        if signal.getsignal(signal.SIGINT) not in (signal.default_int_handler, _handle):
            return False
        _state.loops = _state.pressed = 0
        signal.signal(signal.SIGINT, _handle)
        return True

    @uninterrupted
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._active:
            return
        self._active = False
        _state.depth -= 1
        if not _state.depth:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        # A loop around this will look for the first one.
        if _state.pressed > bool(_state.loops):
            _state.pressed = 0
            if not isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt


class interruptible(heard):
    """``with interruptible() as ctrl_c:`` is for a loop that ends early once ``ctrl_c.pressed``.

    The first Ctrl-C raises nothing, a second one does. To miss none, ask once more after the loop
    has been left: what comes later raises.
    """

    _pressed = False

    @property
    def pressed(self) -> bool:
        """Whether Ctrl-C was pressed in the loop, or before it and ignored."""
        return self._pressed or (self._active and _state.pressed > 0)

    @uninterrupted
    def __enter__(self) -> Self:
        super().__enter__()
        _state.loops += self._active
        return self

    @uninterrupted
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._active:
            if error is None:
                self._pressed = self.pressed
                _state.pressed -= self._pressed
            _state.loops -= 1
        super().__exit__(kind, error, trace)
