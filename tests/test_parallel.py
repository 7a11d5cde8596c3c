"""Tests of tasks on all cores."""

import os
import threading

import numpy as np
import pytest

from convsolve import parallel
from convsolve.parallel import at_once, in_order


@pytest.fixture
def three_cores(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 3)
    parallel._pool.cache_clear()
    yield
    parallel._pool(os.getpid()).shutdown()
    parallel._pool.cache_clear()


@pytest.mark.parametrize("count", [1, 2, 40])
def test_results_have_the_order_of_the_tasks_which_begin_within_a_window(three_cores, count):
    lock, begun, ended = threading.Lock(), [], set()

    def task(number):
        with lock:
            assert all(i in ended for i in range(number - at_once() + 1))
            begun.append(number)
        np.sort(np.random.default_rng(number).random(10**4))
        with lock:
            ended.add(number)
        return number

    assert [*in_order(task, range(count))] == [*range(count)]
    assert sorted(begun) == [*range(count)]


def test_the_caller_runs_the_tasks_if_all_other_threads_are_busy(three_cores):
    free, pool = threading.Event(), parallel._pool(os.getpid())
    busy = [pool.submit(free.wait) for _ in range(2)]
    try:
        threads = [*in_order(lambda _: threading.get_ident(), range(9))]
    finally:
        free.set()
    assert set(threads) == {threading.get_ident()}
    assert all(future.result() for future in busy)


def test_errors_of_tasks_and_the_handling_of_overflow(three_cores):
    with np.errstate(over="raise"), pytest.raises(FloatingPointError, match="overflow"):
        [*in_order(lambda a: np.exp(np.array([a])), [1.0, 2.0, 3.0, 1e4, 5.0])]
    with np.errstate(over="ignore"):
        assert np.isinf([*in_order(lambda _: np.exp(np.array([1e4])), range(9))]).all()
