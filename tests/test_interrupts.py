"""The first Ctrl-C ends a loop, and the second one raises."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest

import convsolve as cs
from convsolve.interrupts import interruptible

pytestmark = pytest.mark.usefixtures("ctrl_c")


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_the_second_interrupt_ends_a_loop() -> None:
    with interruptible() as ctrl_c:
        assert not ctrl_c.pressed
        press()
        assert ctrl_c.pressed

    def twice() -> None:
        with interruptible():
            press()
            press()

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_handlers_and_other_threads_are_left_alone() -> None:
    seen = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    own = signal.getsignal(signal.SIGINT)
    with interruptible() as ctrl_c:
        press()
        assert not ctrl_c.pressed
    assert seen == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is own
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def elsewhere() -> None:
        with interruptible():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen[1:] == [signal.default_int_handler]


def test_a_closed_form_raises_an_interrupt() -> None:
    x = np.ones(60)
    x[3] = 2
    problem = cs.Problem(x, x, kernel_size=3, padding="same")
    with pytest.raises(KeyboardInterrupt):
        cs.solve(problem, progress=lambda *stage: press())
