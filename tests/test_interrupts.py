"""Ctrl-C ends work at once or at a safe point, and is never lost."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve import api
from convsolve.interrupts import interruptible, sigint_handled, uninterrupted

X = np.random.default_rng(0).standard_normal(60)
PROBLEM = cs.Problem(X, np.convolve(X, [1.0, 2.0, 3.0], "valid"), kernel_size=3)

pytestmark = pytest.mark.usefixtures("ctrl_c")


def press() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def ignored(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A Ctrl-C in a finalizer, where Python ignores what is raised."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)

    class Dying:
        def __del__(self) -> None:
            press()

    def pressed() -> None:
        Dying()

    return pressed


def ends(work: Callable[[], None]) -> bool:
    """Whether KeyboardInterrupt comes out of ``work``; Python's own handler is there again."""
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return False


def test_uninterrupted_functions_run_to_their_end() -> None:
    reached = []

    @uninterrupted
    def whole() -> None:
        press()
        press()
        reached.append("end")

    def work() -> None:
        with sigint_handled():
            with sigint_handled():
                whole()
                reached.append("with")
            reached.append("beyond")

    assert ends(work)
    assert reached == ["end", "with"]


def test_an_ignored_interrupt_is_raised_at_the_end(ignored: Callable[[], None]) -> None:
    reached = []

    def work() -> None:
        with sigint_handled():
            ignored()
            reached.append("end")

    def wrong() -> None:
        with sigint_handled():
            ignored()
            raise ValueError

    def right() -> None:
        with sigint_handled():
            pass

    assert ends(work)
    assert reached == ["end"]
    assert ends(wrong)
    assert not ends(right)


def test_the_second_interrupt_ends_a_loop() -> None:
    def once() -> None:
        with interruptible() as ctrl_c:
            assert not ctrl_c.pressed
            with sigint_handled():
                press()
            assert ctrl_c.pressed
        assert ctrl_c.pressed

    def twice() -> None:
        with interruptible():
            press()
            press()

    def never() -> None:
        with interruptible() as ctrl_c:
            pass
        assert not ctrl_c.pressed

    assert not ends(once)
    assert ends(twice)
    assert not ends(never)


def test_two_interrupts_of_uninterrupted_work_end_a_loop() -> None:
    @uninterrupted
    def whole() -> None:
        press()
        press()

    def work() -> None:
        with interruptible():
            with sigint_handled():
                whole()
            raise AssertionError

    assert ends(work)


def test_other_handlers_and_other_threads_are_left_alone() -> None:
    seen = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    own = signal.getsignal(signal.SIGINT)
    with sigint_handled(), interruptible() as ctrl_c:
        press()
        assert not ctrl_c.pressed
    assert seen == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is own
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def elsewhere() -> None:
        with sigint_handled(), interruptible():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen[1:] == [signal.default_int_handler]


# Interrupted solvers


def test_a_closed_form_raises_an_ignored_interrupt(
    monkeypatch: pytest.MonkeyPatch, ignored: Callable[[], None]
) -> None:
    pack = api._pack

    def interrupted(*args: Any) -> Any:
        ignored()
        return pack(*args)

    monkeypatch.setattr(api, "_pack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cs.solve(PROBLEM)


def test_an_interrupt_after_the_last_step_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    solved, steps = cs.GradientDescent.solved, [0]

    def pressed(self: cs.GradientDescent, *args: Any) -> bool:
        if steps[-1] == 10:
            press()
        return solved(self, *args)

    monkeypatch.setattr(cs.GradientDescent, "solved", pressed)
    fit = cs.solve(
        PROBLEM,
        cs.GradientDescent(steps=10),
        loss="absolute",
        progress=lambda stage, step, total, note: steps.append(step if note else 0),
    )
    assert (fit.status, fit.stats["steps"]) == ("interrupted", 10)
