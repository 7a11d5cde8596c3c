"""Ctrl-C in iterative solvers, which return the current iterate."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self


class interruptible:
    """Context manager of a loop that ends early once its attribute ``pressed`` is True.

    The first Ctrl-C sets ``pressed``, a second one raises KeyboardInterrupt. Handlers other than
    Python's own are not replaced, and neither is the handler in other threads than the main thread.
    """

    def __init__(self) -> None:
        self.pressed = self._replaced = False

    def __enter__(self) -> Self:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._replaced = True
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
