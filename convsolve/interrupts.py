"""Context managers that asynchronous exceptions cannot skip, and the handling of Ctrl-C.

Python runs signal handlers between two bytecodes of the main thread. A handler that raises can
therefore interrupt a ``finally`` block or an ``__exit__`` method before its first statement.
`Guarded` is a base class of context managers that restore their state in this case too.

Python's own handler of Ctrl-C also raises in finalizers and in callbacks of the garbage collector,
for example in those of jax, where exceptions are printed and ignored. Within `sigint_handled`, the
handler of this module replaces it. The handler counts every Ctrl-C and inspects the stack before it
raises. Other handlers are not replaced.
"""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import CodeType, FrameType, TracebackType
from typing import Any, Self, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])
_Exit = Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], None]

_uninterrupted: set[CodeType] = set()


def uninterrupted(function: _F) -> _F:
    """Delay a Ctrl-C in ``function`` until the enclosing `sigint_handled` block ends."""
    _uninterrupted.add(function.__code__)
    return function


class Guarded:
    """Context manager that restores its state after an exception at any bytecode.

    The ``with`` statement holds the only reference to the callable that `__exit__` returns. If the
    statement ends without a call, the callable is deallocated and a weak reference calls `_leave`.
    The traceback does not keep the callable alive, because no frame has it as a local variable.

    Subclasses define `_enter` and `_leave`. `_leave` must be correct after an incomplete `_enter`
    or `_leave`, and it must do nothing when it is called again.
    """

    _guard: weakref.ref[_Exit] | None = None

    def _enter(self) -> None:
        """Change the state."""

    def _leave(self, error: BaseException | None) -> None:
        """Restore the state. ``error`` is the exception that ended the block, if any."""

    @property
    def abandoned(self) -> bool:
        """Whether the ``with`` statement has ended."""
        return self._guard is None or self._guard() is None

    @uninterrupted
    def __enter__(self) -> Self:
        self._enter()
        return self

    @property
    def __exit__(self) -> _Exit:
        leave = partial(self._exit)
        if self.abandoned:
            self._guard = weakref.ref(leave, self._abandon)
        return leave

    @uninterrupted
    def _exit(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._leave(error)
        except BaseException as raised:
            self._leave(raised)
            raise
        self._guard = None

    @uninterrupted
    def _abandon(self, guard: weakref.ref[_Exit]) -> None:
        error = KeyboardInterrupt()
        # Python would print and ignore an exception; the one that ended the block propagates.
        with suppress(BaseException):
            self._exit(type(error), error, None)


class _State(threading.local):
    """State of the main thread. A child process forked from another thread starts with none."""

    def __init__(self) -> None:
        #: Blocks that have been entered and not left.
        self.entered: list[sigint_handled] = []
        #: Number of Ctrl-C that have not been handled.
        self.pressed = 0

    @property
    def loops(self) -> bool:
        """Whether one of the blocks is `interruptible`."""
        # Python ignores exceptions where it closes a generator, so `any` is not safe here.
        for block in self.entered:  # noqa: SIM110
            if isinstance(block, interruptible):
                return True
        return False


def _handle(number: int, frame: FrameType | None) -> None:
    _state.pressed += 1
    if _state.loops and _state.pressed == 1:
        return
    while frame is not None:
        if frame.f_code in _uninterrupted:
            return
        frame = frame.f_back
    raise KeyboardInterrupt


class sigint_handled(Guarded):
    """Context manager that raises KeyboardInterrupt at a Ctrl-C, at the latest at its end."""

    def _enter(self) -> None:
        _state.entered[:] = [block for block in _state.entered if not block.abandoned]
        if _state.entered:
            _state.entered.append(self)
        elif _replaceable():
            _state.pressed = 0
            _state.entered.append(self)
            signal.signal(signal.SIGINT, _handle)

    def _leave(self, error: BaseException | None) -> None:
        if self not in _state.entered:
            return
        if _state.entered == [self]:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _state.entered.remove(self)
        # An enclosing loop handles the first Ctrl-C.
        if _state.pressed > _state.loops:
            _state.pressed = 0
            if not isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt


def _replaceable() -> bool:
    """Whether this is the main thread and Ctrl-C has Python's own handler."""
    if threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _handle)


class interruptible(sigint_handled):
    """Context manager of a loop that ends early once its attribute ``pressed`` is True.

    The first Ctrl-C sets ``pressed``, a second one raises KeyboardInterrupt. Read ``pressed`` again
    after the block: a Ctrl-C that arrives later raises.
    """

    _pressed = False

    @property
    def pressed(self) -> bool:
        """Whether Ctrl-C was pressed in the loop, or before it and ignored."""
        return self._pressed or (self in _state.entered and _state.pressed > 0)

    def _leave(self, error: BaseException | None) -> None:
        if self in _state.entered and error is None:
            self._pressed = self.pressed
            _state.pressed -= self._pressed
        super()._leave(error)


_state = _State()
