"""Solutions, reports and texts do not depend on earlier calls."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import optax
import pytest

import convsolve as cs
from contract.checks import is_documented
from convsolve.problem.sizes import Tuning
from support.slow import some

SGD = optax.sgd(1e-3)
METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "qr": {"solver": "qr"},
    "small ridge": {"ridge": 1e-13},
    "descent": {"solver": cs.GradientDescent(SGD, steps=3)},
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


PAIRS = [(name, method) for name in PROBLEMS for method in METHODS][::5]


def queries(problem: cs.Problem, report: cs.Identifiability) -> dict[str, Callable[[], Any]]:
    """Return all calls of a report and its problem."""
    found: dict[str, Callable[[], Any]] = {
        name: lambda owner=owner, name=name: getattr(owner, name)
        for owner in (report, report._diagnosis)
        for name in dir(owner)
        if not name.startswith("_")
    }
    kernel = np.ones(problem.kernel_shape)
    found |= {f"solve, {name}": lambda m=m: cs.solve(problem, **m) for name, m in METHODS.items()}
    return found | {
        "print": lambda: str(report),
        "print the solution": lambda: str(cs.solve(problem)),
        "to_dict": report.to_dict,
        "descent()": report.descent,
        "null_part()": lambda: report._diagnosis.null_part(kernel),
        "ridge_for()": lambda: report.ridge_for(1e3),
        "compare": lambda: cs.compare(problem, METHODS),
        "repr": lambda: repr(report),
        "pickle": lambda: pickle.loads(pickle.dumps((problem, report))),
        "other limits": lambda: cs.solve(problem, limits=Tuning(small_numbers=0, row_numbers=0)),
    }


def everything(problem: cs.Problem, method: dict[str, Any]) -> dict[str, Any]:
    """Return the results of a solve to the last bit, without the seconds."""
    fit = cs.solve(problem, **method)
    stats = {name: v for name, v in fit.stats.items() if not name.endswith("_seconds")}
    return {
        "kernel": np.asarray(fit.kernel).tobytes(),
        "bias": np.asarray(fit.bias).tobytes(),
        "certificate": fit._certificate,
        "status": fit.status,
        "stats": stats,
        "report": str(fit.identifiability),
        "numbers": fit.identifiability.to_dict(),
    }


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize(("name", "method"), some(PAIRS, *PAIRS[::5]))
def test_a_solution_does_not_depend_on_earlier_calls(name: str, method: str) -> None:
    fresh = everything(PROBLEMS[name](), METHODS[method])
    rng = np.random.default_rng(list(f"{name} {method}".encode()))
    for _ in range(2):
        problem = PROBLEMS[name]()
        report = cs.identify(problem)
        asked = queries(problem, report)
        order = rng.permutation(sorted(asked))[: rng.integers(1, 12)]
        for each in order:
            try:
                asked[each]()
            except ValueError as error:  # not every problem has all of them
                if not is_documented(error):
                    raise
        assert everything(problem, METHODS[method]) == fresh, order.tolist()


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
