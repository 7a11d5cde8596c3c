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


def blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def noting(seen: list[set[int]], of: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``of``: append the number of BLAS threads to ``seen`` before each call."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        seen.append(blas_threads())
        return of(*args, **kwargs)

    return noted


@pytest.mark.parametrize(
    ("method", "noted"),
    [
        ({"solver": "svd"}, [(qr, "_triangle"), (np.linalg, "svd")]),
        ({"solver": "normal"}, [(toeplitz, "_correlated")]),
        ({"solver": "cg"}, [(circulant, "times")]),
        ({"penalty": "ridge", "select": "gcv"}, [(lapack, "dsytrd"), (lapack, "dormqr")]),
    ],
    ids=["svd", "normal", "cg", "ridge"],
)
def test_small_matrices_use_one_thread_of_blas(
    monkeypatch: pytest.MonkeyPatch, method: dict[str, Any], noted: list[tuple[Any, str]]
) -> None:
    """On a busy machine the threads would wait for each other."""
    seen: list[set[int]] = []
    x, y = np.random.default_rng(0).standard_normal((2, 1500, 8))
    small = cs.Problem(x[:, :1], y[:, :1], kernel_size=20, padding="causal")
    cs.solve(small, **method)  # Imports may use more threads.
    if "solver" in method:
        monkeypatch.setattr(threads, "FEW_COLUMNS", 0)
    for owner, name in noted:
        monkeypatch.setattr(owner, name, noting(seen, getattr(owner, name)))
    with threadpool_limits(2, user_api="blas"):
        problem = cs.Problem(x, y, kernel_size=20, padding="causal")
        assert cs.solve(problem, **method).converged
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


@pytest.mark.parametrize("times", [1, 2, 1000])
def test_ctrl_c_at_any_point_restores_blas(
    monkeypatch: pytest.MonkeyPatch, ctrl_c: None, times: int
) -> None:
    blas = Blas()
    monkeypatch.setattr(threads, "_blas", lambda: (blas,))

    def twice() -> None:
        with one_blas_thread(), one_blas_thread():
            blas.work()

    points = 0
    while pressed_from(points + 1, times, twice):
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


def test_the_last_thread_to_leave_restores_blas() -> None:
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
toeplitz.moments = held(toeplitz.moments)
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
def test_a_child_can_be_forked_while_another_thread_computes() -> None:
    root = str(Path(cs.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": root}, timeout=600,
    )  # fmt: skip
    assert done.stdout == "the child ended with 0\n", done.stderr
