"""Tests of tasks on all cores, and of reading ahead."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from convsolve import parallel
from convsolve.parallel import ahead, in_order


@pytest.fixture
def three_cores(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 3)
    parallel._pool.cache_clear()
    yield
    parallel._pool.cache_clear()


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


def test_tasks_have_tasks_and_none_begins_after_an_error(three_cores):
    begun = []

    def task(number):
        begun.append(number)
        return sum(in_order(abs, range(9))) / (number - 3)

    with pytest.raises(ZeroDivisionError):
        [*in_order(task, range(90))]
    assert max(begun) <= 3 + 4


def test_items_are_read_in_order_while_others_are_used():
    """The second item is read before the first is used."""
    read, second = [], threading.Event()

    def of(number):
        read.append(number)
        if number == 1:
            second.set()
        return number

    items = ahead(of, range(5))
    assert next(items) == 0
    assert second.wait(60)
    assert [*items] == [1, 2, 3, 4]
    assert read == [*range(5)]


FORK = """
import os
from convsolve import parallel

parallel.cores = lambda: 3


def total():
    return sum(parallel.in_order(abs, range(9)))


assert total() == 36
child = os.fork()
if not child:
    os._exit(total())
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 36
assert total() == 36
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_has_threads_of_its_own():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=300)


def test_tasks_have_the_handling_of_overflow_of_the_caller(three_cores):
    """Every thread runs one of the tasks, which wait for each other."""
    together = threading.Barrier(3, timeout=60)

    def task(_):
        together.wait()
        return np.geterr()["over"]

    for over in ("raise", "ignore"):
        with np.errstate(over=over):
            assert [*in_order(task, range(3))] == [over] * 3
