"""The first Ctrl-C ends a loop, and the second one raises."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest

import convsolve as cs
from convsolve.progress import interruptible

pytestmark = pytest.mark.usefixtures("ctrl_c")


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_the_second_interrupt_ends_a_loop() -> None:
    with interruptible() as pressed:
        assert not pressed()
        press()
        assert pressed()
        with pytest.raises(KeyboardInterrupt):
            press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_handlers_and_other_threads_are_left_alone() -> None:
    seen: list[object] = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    with interruptible() as pressed:
        press()
    assert (pressed(), seen) == (False, [signal.SIGINT])
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def elsewhere() -> None:
        with interruptible():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen[1:] == [signal.default_int_handler]


def test_a_closed_form_raises_an_interrupt(at_every_step: Callable[..., None]) -> None:
    x = np.random.default_rng(0).standard_normal(60)
    at_every_step(lambda *stage: press())
    with pytest.raises(KeyboardInterrupt):
        cs.solve(cs.Problem(x, x, kernel_size=3, padding="same"), progress=True)
