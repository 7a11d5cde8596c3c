"""Tests of tasks on all cores."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from convsolve import parallel
from convsolve.parallel import ahead, in_order
from support.injected import raised_at


@pytest.fixture
def three_cores(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 3)
    parallel._shared.cache_clear()
    yield
    for _ in range(2):
        parallel._shared(os.getpid()).put(None)
    parallel._shared.cache_clear()


def _all_threads() -> None:
    """Assert that all threads run tasks."""
    together = threading.Barrier(3)
    assert sorted(in_order(lambda _: together.wait(60), range(3))) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2, 40])
def test_results_have_the_order_of_the_tasks_which_begin_within_a_window(three_cores, count):
    """At most one more than three begin before the first of them ends."""
    lock, begun, ended = threading.Lock(), [], set()

    def task(number):
        with lock:
            assert all(i in ended for i in range(number - 3))
            begun.append(number)
        np.sort(np.random.default_rng(number).random(10**4))
        with lock:
            ended.add(number)
        return number

    assert [*in_order(task, range(count))] == [*range(count)]
    assert sorted(begun) == [*range(count)]


def test_tasks_of_tasks(three_cores):
    sums = in_order(lambda _: sum(in_order(abs, range(9))), range(20))
    assert [*sums] == [36] * 20


def test_the_caller_runs_the_tasks_if_all_other_threads_are_busy(three_cores):
    free, busy = threading.Event(), [parallel._Task(lambda: free.wait(60)) for _ in range(2)]
    for task in busy:
        parallel._shared(os.getpid()).put(task)
    try:
        threads = [*in_order(lambda _: threading.get_ident(), range(9))]
    finally:
        free.set()
    assert set(threads) == {threading.get_ident()}
    assert all(task.result() for task in busy)


def test_tasks_have_the_handling_of_overflow_of_the_caller(three_cores):
    """Every thread runs one of the tasks, which wait for each other."""
    together = threading.Barrier(3, timeout=60)

    def task(_):
        together.wait()
        return np.geterr()["over"]

    for over in ("raise", "ignore"):
        with np.errstate(over=over):
            assert [*in_order(task, range(3))] == [over] * 3


def test_an_error_of_a_task_is_raised(three_cores):
    with pytest.raises(ZeroDivisionError):
        [*in_order(lambda n: 1 / (n - 3), range(9))]


def test_the_exception_is_that_of_the_first_task_whichever_fails_first(three_cores):
    begun = threading.Barrier(3)

    def task(number):
        begun.wait(60)
        if number == 0:
            time.sleep(0.05)
        raise ValueError(f"task {number}")

    with pytest.raises(ValueError, match="task 0"):
        [*in_order(task, range(3))]


def test_no_task_begins_after_the_generator_is_closed(three_cores):
    busy, free, begun = threading.Barrier(3), threading.Event(), []

    def task(number):
        begun.append(number)
        if number in (1, 2):
            busy.wait(60)
            assert free.wait(60)

    tasks = in_order(task, range(9))
    with ThreadPoolExecutor(1) as alone:
        # The caller waits for task 0 alone, and the other threads are busy with tasks 1 and 2.
        waiting = alone.submit(busy.wait, 60)
        next(tasks)
        waiting.result()
        tasks.close()
    free.set()
    _all_threads()
    assert sorted(begun) == [0, 1, 2]


def test_threads_survive_an_exception_at_any_point(three_cores):
    points = 0
    while raised_at(points + 1, lambda: [*in_order(abs, range(6))], _all_threads):
        points += 1
    assert points > 50


def test_a_thread_that_exits_ends_neither_itself_nor_the_caller(three_cores):
    begun = threading.Barrier(3)

    def task(number):
        begun.wait(60)
        if threading.current_thread() is not threading.main_thread():
            raise SystemExit
        return number

    with pytest.raises(SystemExit):
        [*in_order(task, range(3))]
    _all_threads()


def test_items_are_read_in_order_while_others_are_used():
    """The second item is read before the first is used, and the last if all are asked for."""
    read, second = [], threading.Event()

    def of(number):
        read.append((number, threading.current_thread().name))
        if number == 1:
            second.set()
        return number

    items = ahead(of, range(5))
    assert next(items) == 0
    assert second.wait(60)
    assert [*items] == [1, 2, 3, 4]
    assert read == [(number, "convsolve reads") for number in range(5)]


def test_nothing_is_read_after_an_error_or_after_closing():
    read = []

    def of(number):
        read.append(number)
        return 1 / (number - 1)

    items = ahead(of, range(5))
    assert next(items) == -1
    with pytest.raises(ZeroDivisionError):
        next(items)
    assert set(read) <= {0, 1, 2}
    items = ahead(abs, range(5))
    next(items)
    items.close()
    for thread in threading.enumerate():
        if thread.name == "convsolve reads":
            thread.join(60)
    assert "convsolve reads" not in {thread.name for thread in threading.enumerate()}


PROGRAM = """
import multiprocessing, threading, time, warnings
import numpy as np, scipy.fft
from convsolve import parallel

parallel.cores = lambda: 3
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork while other threads exist


def total():
    return sum(parallel.in_order(abs, range(9)))


def work(number):
    begun.wait(60)
    if threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        scipy.fft.rfft(np.ones((20, 1000)))


if __name__ == "__main__":
    totals = [total()]
    for method in {"fork", "spawn"} & {*multiprocessing.get_all_start_methods()}:
        with multiprocessing.get_context(method).Pool(1) as pool:
            totals.append(pool.apply(total))
        totals.append(total())
    print(set(totals))
    begun = threading.Barrier(3)
    [*parallel.in_order(work, range(3))]
"""


def test_threads_of_child_processes_and_at_the_end_of_a_process(tmp_path):
    """Python ends a thread that returns from an FFT too late by SIGABRT."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    root = os.environ | {"PYTHONPATH": str(Path(parallel.__file__).parents[1])}
    command = [sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=root, timeout=600)
    assert done.stdout == "{36}\n", done.stderr
    assert done.stderr.endswith("\nKeyboardInterrupt\n")
