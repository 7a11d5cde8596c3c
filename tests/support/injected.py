"""Exceptions at every point where Python runs signal handlers."""

from __future__ import annotations

import dis
import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


class Timeout(BaseException):
    """Exception of a handler that is not Python's own."""


def raised_at(point: int, work: Callable[[], Any], check: Callable[[], None]) -> bool:
    """Raise `Timeout` at a point of ``work`` and of the functions that it calls.

    Python runs signal handlers where a function begins, after a call and at the end of a loop's
    body. ``check`` runs while the exception is handled, when its traceback still exists. Return
    False if there are fewer points.
    """
    seen, previous = 0, dict[int, str]()

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal seen
        frame.f_trace_opcodes = True
        if event not in ("call", "opcode"):
            return trace
        # A frame as a key would keep its local variables alive.
        if event == "call" or previous[id(frame)].startswith(("CALL", "JUMP_BACKWARD")):
            seen += 1
            if seen == point:
                raise Timeout
        previous[id(frame)] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        return trace

    before = sys.gettrace()
    # Python ignores an exception in a callback of the garbage collector, and jax has one.
    gc.disable()
    try:
        sys.settrace(trace)
        work()
    except Timeout:
        sys.settrace(before)
        check()
        return True
    finally:
        sys.settrace(before)
        gc.enable()
    assert seen < point, f"the exception at point {point} was lost"
    return False
