"""BLAS uses one thread for many small products, and the previous number afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from scipy.linalg import lapack
from threadpoolctl import threadpool_info, threadpool_limits

import convsolve as cs
from convsolve.interrupts import interruptible, sigint_handled
from convsolve.linalg import qr, threads
from convsolve.linalg.threads import one_blas_thread
from convsolve.operators import gram as toeplitz
from convsolve.operators import toeplitz as circulant
from support.injected import Timeout, raised_at
from support.slow import some


def blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def noting(seen: list[set[int]], of: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``of``: append the number of BLAS threads to ``seen`` before each call."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        seen.append(blas_threads())
        return of(*args, **kwargs)

    return noted


def test_a_qr_and_an_svd_wake_no_thread_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the threads would wait for each other at every column."""
    seen: list[set[int]] = []
    monkeypatch.setattr(threads, "FEW_COLUMNS", 0)
    monkeypatch.setattr(qr, "_triangle", noting(seen, qr._triangle))
    monkeypatch.setattr(np.linalg, "svd", noting(seen, np.linalg.svd))
    x = np.ones((3000, 8))
    with threadpool_limits(2, user_api="blas"):
        problem = cs.Problem(x, x[:, :1], kernel_size=20, padding="causal")
        with pytest.warns(cs.IdentifiabilityWarning, match="rank 20 of 160"):
            cs.solve(problem, "svd")
        assert blas_threads() == {2}
    assert len(seen) > 2
    assert all(each == {1} for each in seen)


def test_a_choice_of_strengths_wakes_no_thread_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a tridiagonal form on two threads takes many times as long."""
    seen: list[set[int]] = []
    for name in ("dsytrd", "dormqr"):
        monkeypatch.setattr(lapack, name, noting(seen, getattr(lapack, name)))
    x, y = np.random.default_rng(0).standard_normal((2, 900, 8))
    with threadpool_limits(2, user_api="blas"):
        problem = cs.Problem(x, y, kernel_size=20, padding="causal")
        for select in ("gcv", cs.CrossValidation(3)):
            assert cs.solve(problem, penalty="ridge", select=select).converged
        assert blas_threads() == {2}
    assert len(seen) > 4
    assert all(each == {1} for each in seen)


@pytest.mark.parametrize("solver", ["normal", "cg"])
def test_small_products_wake_no_thread_of_blas(
    monkeypatch: pytest.MonkeyPatch, solver: str
) -> None:
    """On a busy machine the threads of BLAS stall, for factors of any size."""
    seen: list[set[int]] = []
    x, y = np.random.default_rng(0).standard_normal((2, 1500, 8))
    cs.solve(cs.Problem(x[:, :1], y[:, :1], kernel_size=20, padding="causal"), solver)
    monkeypatch.setattr(threads, "FEW_COLUMNS", 0)
    monkeypatch.setattr(toeplitz, "_correlated", noting(seen, toeplitz._correlated))
    monkeypatch.setattr(circulant, "times", noting(seen, circulant.times))
    with threadpool_limits(2, user_api="blas"):
        problem = cs.Problem(x, y, kernel_size=20, padding="causal")
        assert cs.identify(problem).unique
        assert cs.solve(problem, solver).converged
        assert blas_threads() == {2}
    assert len(seen) > 1
    assert all(each == {1} for each in seen)


class Blas:
    """Fake BLAS that stores its number of threads."""

    def __init__(self) -> None:
        self.number = 2

    def get_num_threads(self) -> int:
        return self.number

    def set_num_threads(self, number: int) -> None:
        self.number = number

    def work(self) -> None:
        assert self.number == 1


def pressed_from(point: int, times: int, work: Callable[[], None]) -> bool:
    """Press Ctrl-C at a point of the functions that ``work`` calls, and at the next points.

    Python runs signal handlers where a function begins, after a call and at the end of a loop's
    body. False if there are fewer points.
    """
    seen, began = 0, False

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal seen, began
        if frame.f_code is not work.__code__ and event in ("call", "c_return"):
            seen += 1
            if point <= seen < point + times:
                began = True
                signal.raise_signal(signal.SIGINT)

    before = sys.getprofile()
    try:
        sys.setprofile(profile)
        work()
    except KeyboardInterrupt:
        assert began
        return True
    finally:
        sys.setprofile(before)
    assert not began, f"the Ctrl-C at point {point} was lost"
    return False


@pytest.mark.parametrize("times", [1, 2, 3, 1000])
@pytest.mark.parametrize("depth", [1, 2])
def test_ctrl_c_anywhere_leaves_blas_as_it_was(
    monkeypatch: pytest.MonkeyPatch, ctrl_c: None, times: int, depth: int
) -> None:
    blas = Blas()
    monkeypatch.setattr(threads, "_blas", lambda: (blas,))

    def once() -> None:
        with one_blas_thread():
            blas.work()

    def twice() -> None:
        with one_blas_thread(), one_blas_thread():
            blas.work()

    points = 0
    while pressed_from(points + 1, times, once if depth == 1 else twice):
        assert blas.number == 2
        assert threads._inside == {}
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        points += 1
    assert points > 20


@pytest.mark.parametrize("wrapper", [one_blas_thread, sigint_handled, interruptible])
def test_an_exception_at_any_point_restores_blas_and_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, ctrl_c: None, wrapper: Callable[[], Any]
) -> None:
    blas = Blas()
    monkeypatch.setattr(threads, "_blas", lambda: (blas,))

    def work() -> None:
        with wrapper(), one_blas_thread():
            blas.work()

    def check() -> None:
        assert blas.number == 2
        assert threads._inside == {}
        assert not threads._lock.locked()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    points = 0
    while raised_at(points + 1, work, check):
        points += 1
    assert points > 50


def test_the_next_block_restores_what_three_exceptions_left(
    monkeypatch: pytest.MonkeyPatch, ctrl_c: None
) -> None:
    blas = Blas()

    def interrupted(number: int) -> None:
        blas.number = number - 1
        raise Timeout

    monkeypatch.setattr(threads, "_blas", lambda: (blas,))
    with monkeypatch.context() as always:
        always.setattr(blas, "set_num_threads", interrupted)
        with pytest.raises(Timeout), one_blas_thread():
            blas.work()
    assert blas.number == 1
    with one_blas_thread():
        blas.work()
    assert blas.number == 2


def test_who_leaves_last_restores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if another thread entered first, and if Ctrl-C ends the second block."""
    blas = Blas()
    monkeypatch.setattr(threads, "_blas", lambda: (blas,))
    entered, leave = threading.Event(), threading.Event()

    def elsewhere() -> None:
        with one_blas_thread():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    entered.wait()
    with pytest.raises(KeyboardInterrupt), one_blas_thread():
        raise KeyboardInterrupt
    assert blas.number == 1
    with one_blas_thread():
        leave.set()
        thread.join()
        assert blas.number == 1
    assert blas.number == 2


def test_the_limit_holds_whichever_thread_comes_first_or_leaves_last() -> None:
    """threadpoolctl 3.8 ignores limits of all threads but the first one that sets a limit."""
    came, left = threading.Event(), threading.Event()

    def worker() -> set[int]:
        with one_blas_thread():
            came.set()
            assert left.wait(60)
            return blas_threads()

    with one_blas_thread():
        assert blas_threads() == {1}
    before = blas_threads()
    with ThreadPoolExecutor(1) as pool:
        alone = pool.submit(worker)
        assert came.wait(60)
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
        left.set()
        assert alone.result() == {1}
        assert blas_threads() == before


FORK = """
import os, signal, threading, traceback
import numpy as np
import scipy.linalg  # loads a second BLAS, which is then limited too
from threadpoolctl import threadpool_info, threadpool_limits
import convsolve as cs
from convsolve.operators import gram as toeplitz
from convsolve.operators import overlap_save as series

def held(of):
    def waiting(*args):
        if os.getpid() == parent and threading.current_thread() is not threading.main_thread():
            inside.set()
            leave.wait()
        return of(*args)
    return waiting

def check():
    fit = cs.solve(cs.Problem(x, x, kernel_size=20, padding="causal"))
    blas = {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}
    assert (fit.status, blas) == ("solved", {2}), (fit.status, blas)

threadpool_limits(2, user_api="blas")
series.ALONE_NUMBERS = 0  # so that there is work for several threads
x = np.random.default_rng(0).standard_normal((3000, 8))
check()
parent, inside, leave = os.getpid(), threading.Event(), threading.Event()
toeplitz.WHERE = held(toeplitz.WHERE)
thread = threading.Thread(target=cs.solve, args=(cs.Problem(x, x[19:], kernel_size=20),))
thread.start()
inside.wait()
child = os.fork()
if not child:
    signal.alarm(240)  # ends a child that hangs
    try:
        check()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
_, status = os.waitpid(child, 0)
leave.set()
thread.join()
check()
print("the child ended with", os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("where", some(["moments", "_correlated"], "moments"))
def test_a_child_forked_while_another_thread_is_inside(where: str) -> None:
    """The thread computes a cached property, or runs in a pool."""
    root = str(Path(cs.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", FORK.replace("WHERE", where)],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": root}, timeout=600,
    )  # fmt: skip
    assert done.stdout == "the child ended with 0\n", done.stderr
