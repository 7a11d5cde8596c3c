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
    "huber": {"loss": cs.HuberLoss(scale=1.0)},
    "absolute": {"loss": "absolute"},
}


def band_limited(taps: int, rows: int, seed: int = 0) -> np.ndarray:
    """Noise without the upper three fifths of the frequencies."""
    rng, n = np.random.default_rng(seed), taps + rows - 1
    bins = np.fft.rfft(rng.standard_normal(n))
    return np.fft.irfft(np.where(np.arange(len(bins)) < 0.4 * len(bins), bins, 0), n)


def white(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape)


def outputs(rows: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((rows, channels))


PROBLEMS: dict[str, Callable[[], cs.Problem]] = {
    "band-limited": lambda: cs.Problem(band_limited(250, 1000), outputs(1000), kernel_size=250),
    "wide": lambda: cs.Problem(white(150, 2), outputs(31), kernel_size=120),
    "unlike channels": lambda: cs.Problem(
        white(60, 3) * [1e6, 1.0, 0.0], outputs(41), kernel_size=20
    ),
    "many": lambda: cs.Problem(white(3000, 2), outputs(2971), kernel_size=30, bias=True),
    "steep": lambda: cs.Problem(
        np.cumsum(np.cumsum(np.cumsum(white(1200)))), outputs(1141), kernel_size=60
    ),
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
@pytest.mark.parametrize("name", some(["wide", "many", "steep"], "wide"))
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
