"""Solutions, reports and texts do not depend on earlier calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from support.slow import some

METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "qr": {"solver": "qr"},
    "small ridge": {"ridge": 1e-13},
    "descent": {"solver": cs.GradientDescent(steps=3)},
    "penalty by the data": {"penalty": "ridge"},
    "folds": {"penalty": "ridge", "grid": [[0.1], [10.0]], "select": cs.CrossValidation(3)},
    "lasso": {"penalty": cs.Lasso(5.0)},
    "early stopping": {"penalty": "early_stopping", "select": "aicc"},
    "huber": {"loss": cs.HuberLoss(scale=1.0)},
    "absolute": {"loss": "absolute"},
}


def stated(rows: int, taps: int, scales: list[float], bias: bool = False) -> cs.Problem:
    x = np.random.default_rng(1).standard_normal((rows + taps - 1, len(scales))) * scales
    y = np.random.default_rng(2).standard_normal((rows, 1))
    return cs.Problem(x, y, kernel_size=taps, bias=bias)


PROBLEMS: dict[str, Callable[[], cs.Problem]] = {
    "wide": lambda: stated(31, 120, [1.0, 1.0]),
    "unlike channels": lambda: stated(41, 20, [1e6, 1.0, 0.0]),
    "many": lambda: stated(2971, 30, [1.0, 1.0], bias=True),
}


def everything(problem: cs.Problem, method: dict[str, Any]) -> dict[str, Any]:
    """Return the results of a solve to the last bit, without the seconds."""
    fit = cs.solve(problem, **method)
    stats = {name: v for name, v in fit.stats.items() if not name.endswith("_seconds")}
    return {
        "kernel": np.asarray(fit.kernel).tobytes(),
        "bias": np.asarray(fit.bias).tobytes(),
        "certificate": (fit.backward_error, fit.duality_gap),
        "status": fit.status,
        "stats": stats,
        "report": str(fit.identifiability),
        "numbers": fit.identifiability.to_dict(),
    }


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize("name", some(PROBLEMS, "wide", "unlike channels"))
def test_a_solution_does_not_depend_on_earlier_calls(name: str) -> None:
    """All methods in two orders, each with the text and the numbers of its report."""
    fresh = {method: everything(PROBLEMS[name](), given) for method, given in METHODS.items()}
    for order in ([*METHODS], [*METHODS][::-1]):
        problem = PROBLEMS[name]()
        for method in order:
            assert everything(problem, METHODS[method]) == fresh[method], (order, method)


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize("name", some(["wide", "many"], "wide"))
def test_threads_that_share_a_problem_have_one_solution(name: str) -> None:
    """Each thread begins with another method, so that all cached values are shared."""
    closed = [method for label, method in METHODS.items() if label != "descent"]
    fresh = [everything(PROBLEMS[name](), method) for method in closed]
    problem, threads = PROBLEMS[name](), 4
    started = threading.Barrier(threads)

    def work(first: int) -> list[dict[str, Any]]:
        started.wait()
        order = closed[first:] + closed[:first]
        found = [everything(problem, method) for method in order]
        return found[len(closed) - first :] + found[: len(closed) - first]

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(work, range(threads)))
    assert all(answer == fresh for answer in answers)
