"""The notebook's three problems: convsolve against Keras, warm and cold, and what a start costs.

    pip install -e '.[bench]'
    python -m benchmarks.notebook                       # minutes; writes results/notebook.json
    python -m benchmarks.notebook --quick --out FILE    # one problem, to see whether it works

Both run Adam at 5e-2 on the mean absolute error from a Glorot-uniform start: Keras on its JAX
backend and in its float32, convsolve on the notebook's integers and so in float64. Imports stand
in the functions that need them, so that a cold process pays for its own.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .machine import ROOT, load, now, process, stamp, summary


class Case(NamedTuple):
    """x (W, Cin), y (T, Cout), the kernel (K, Cin, Cout) behind them, and the steps of Adam."""

    x: np.ndarray
    y: np.ndarray
    kernel: np.ndarray
    steps: int

    def error(self, kernel: np.ndarray) -> float:
        assert kernel.shape == self.kernel.shape
        return float(np.abs(kernel - self.kernel).max())


ONE = [[0], [3], [4], [5]]
TWO = [[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]]
OF_TWO = [[14], [20], [14], [15], [10], [4]]
CASES = {
    name: Case(np.array(x), np.array(y), np.array(kernel), steps)
    for name, x, y, kernel, steps in (
        ("one filter", ONE, [[6], [11], [14]], [[[1]], [[2]]], 200),
        ("two channels", TWO, OF_TWO, [[[1], [0]], [[0], [1]], [[2], [0]]], 1000),
        ("two filters", ONE, [[6, 12], [11, 25], [14, 32]], [[[1, 3]], [[2, 4]]], 1000),
    )
}

# A method takes a case and returns what runs it: so many steps, from the start, to the kernel.
Run = Callable[[int], np.ndarray]


def descent(case: Case) -> Run:
    import optax

    import convsolve as cs

    optimizer = optax.adam(5e-2)  # one object: two of the same settings compile twice

    def run(steps: int) -> np.ndarray:
        problem = cs.Problem(case.x, case.y, kernel_size=len(case.kernel))
        solver = cs.GradientDescent(optimizer, steps=steps)
        return cs.solve(problem, solver, loss="absolute").kernel

    return run


def closed(case: Case, solver: str | None) -> Run:
    import convsolve as cs

    def run(_: int) -> np.ndarray:
        # The problem is stated anew each time, since it keeps what has been computed for it.
        return cs.solve(cs.Problem(case.x, case.y, kernel_size=len(case.kernel)), solver).kernel

    return run


def keras_fit(case: Case, at_once: bool) -> Run:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    x, y = case.x[None], case.y[None]
    taps, _, filters = case.kernel.shape
    start = keras.initializers.GlorotUniform(seed=0)
    layer = keras.layers.Conv1D(filters, taps, use_bias=False, kernel_initializer=start)
    model = keras.Sequential([keras.layers.Input(case.x.shape), layer])
    model.compile(optimizer=keras.optimizers.Adam(5e-2), loss="mae")
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    begin = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]

    def run(steps: int) -> np.ndarray:
        # A new model would compile again, so this one starts anew: microseconds beside the steps.
        for variable, value in zip(variables, begin, strict=True):
            variable.assign(value)
        for _ in range(1 if at_once else steps):
            model.fit(x, y, epochs=steps if at_once else 1, verbose=0)
        return layer.get_weights()[0]

    return run


ADAM, PER_STEP, ONE_FIT = "convsolve Adam", "Keras, a fit per step", "Keras, one fit"
METHODS: dict[str, Callable[[Case], Run]] = {
    ADAM: descent,
    PER_STEP: partial(keras_fit, at_once=False),  # as the notebook does it
    ONE_FIT: partial(keras_fit, at_once=True),  # as Keras does it best
    "convsolve default": partial(closed, solver=None),
    "SVD": partial(closed, solver="svd"),
    "QR": partial(closed, solver="qr"),
    "NormalEquations": partial(closed, solver="normal"),
}
KERAS = (PER_STEP, ONE_FIT)

COLD_RUN = """
from benchmarks.notebook import CASES, METHODS
case = CASES[{case!r}]
print(case.error(METHODS[{method!r}](case)(case.steps)))
"""
FIRST_SOLVE = """
import time
begun = time.perf_counter()
import jax, optax
imported = time.perf_counter()
import convsolve as cs
cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2){arguments})
print([imported - begun, time.perf_counter() - imported])
"""
ARGUMENTS = {
    "default": "",
    "descent": ", cs.GradientDescent(optax.adam(5e-2), steps=1000), loss='absolute'",
}
IMPORT = """
import sys, time
begun = time.perf_counter()
import convsolve
print([time.perf_counter() - begun, int('jax' in sys.modules)])
"""
COMMAND = "import sys; from convsolve.cli.main import main; sys.argv = {arguments}; main()"
COMMANDS = {"convsolve --help": 1.0, "convsolve demo": 10.0}  # and the seconds promised


def row(seconds: Sequence[float], error: float) -> dict[str, Any]:
    return {"seconds": summary(seconds), "kernel_error": float(f"{error:.3g}")}


def timed(run: Run, steps: int) -> tuple[float, np.ndarray]:
    begun = time.perf_counter()
    kernel = run(steps)  # NumPy: nothing is still running
    return time.perf_counter() - begun, kernel


def measure_cold(cases: dict[str, Case], methods: list[str], runs: int) -> dict[str, Any]:
    """Whole processes, compilation included; methods take turns, so that load hits them alike."""
    result: dict[str, Any] = {}
    for name in cases:
        codes = {method: COLD_RUN.format(case=name, method=method) for method in methods}
        filling, *turns = [{m: process(codes[m]) for m in methods} for _ in range(runs + 1)]
        # The first turn fills the disk's caches.
        result[name] = {m: row([t[m][0] for t in turns], float(filling[m][1])) for m in methods}
    return result


def measure_warm(cases: dict[str, Case], methods: list[str], runs: int) -> dict[str, Any]:
    """All methods in one process, in turns, after a first run of one step, which compiles."""
    import jax

    # Starting JAX and importing convsolve are no part of a first run.
    jax.numpy.zeros(1).block_until_ready()
    closed(CASES["one filter"], None)(1)
    result: dict[str, Any] = {}
    for name, case in cases.items():
        ready = {method: METHODS[method](case) for method in methods}
        times: dict[str, list[float]] = {method: [] for method in methods}
        error = dict.fromkeys(methods, 0.0)
        first = {method: timed(ready[method], 1)[0] for method in methods}
        for method in methods * runs:
            for _ in range(1 if method in KERAS else 5):
                took, kernel = timed(ready[method], case.steps)
                times[method].append(took)
            error[method] = case.error(kernel)
        result[name] = {m: row(times[m], error[m]) | {"first": round(first[m], 4)} for m in methods}
        for found in (result[name][method] for method in methods if method in (ADAM, *KERAS)):
            found["per_1000_steps"] = round(found["seconds"]["median"] * 1000 / case.steps, 5)
    return result


def measure_start(runs: int) -> dict[str, Any]:
    """What the imports and the first solve cost, the compilation read from a filled cache."""

    def repeat(code: str, **environment: str) -> list[tuple[float, str]]:
        return [process(code, **environment) for _ in range(runs + 1)][1:]

    def printed(code: str, **environment: str) -> np.ndarray:
        return np.array([json.loads(out) for _, out in repeat(code, **environment)]).T

    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as cache:
        kept = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        for name, arguments in ARGUMENTS.items():
            imported, added = printed(FIRST_SOLVE.format(arguments=arguments), **kept)
            result["import jax, optax"] = summary(imported)
            result[f"first solve, {name}: added"] = summary(added)
    seconds, loaded = printed(IMPORT)
    result["import convsolve"] = summary(seconds) | {"imports_jax": bool(loaded.any())}
    result["python"] = summary([wall for wall, _ in repeat("")])
    for command in COMMANDS:
        code = COMMAND.format(arguments=command.split())
        result[command] = summary([wall for wall, _ in repeat(code)])
    return result


def judge(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The promises about speed and their figures; ratios are the peer's time over convsolve's."""
    checks: list[dict[str, Any]] = []

    def check(promise: str, passed: bool, figures: Any = None) -> None:
        checks.append({"promise": promise, "passed": passed, "figures": figures})

    def ratios(part: str, peer: str) -> dict[str, float]:
        def median(case: str, method: str) -> float:
            return result[part][case][method]["seconds"]["median"]

        return {case: round(median(case, peer) / median(case, ADAM), 2) for case in result[part]}

    for peer in (m for m in KERAS if all(m in rows for rows in result["warm"].values())):
        found = ratios("warm", peer)
        of_1000 = [ratio for name, ratio in found.items() if CASES[name].steps == 1000]
        check(f"warm, 1000 steps 100 times faster than {peer}", min(of_1000) >= 100, found)
        found = ratios("cold", peer)
        check(f"cold, faster than {peer}", min(found.values()) > 1, found)
    start = {name: times["median"] for name, times in result["start"].items()}
    for name in ARGUMENTS:
        # Beside an import of the same run, since both are the disk's and the interpreter's speed.
        ratio = round(start[f"first solve, {name}: added"] / start["import jax, optax"], 2)
        check(f"first solve, {name}: adds at most 1.5 imports of jax", ratio <= 1.5, ratio)
    for name, limit in COMMANDS.items():
        check(f"{name}, at most {limit} s", start[name] <= limit, start[name])
    check("import convsolve imports no jax", not result["start"]["import convsolve"]["imports_jax"])
    return checks


def show(result: dict[str, Any]) -> None:
    titles = ("warm", "/1000 steps", "first", "cold", "kernel error")
    print(f"{'milliseconds, medians':26}" + "".join(f"{title:>13}" for title in titles))
    for name, rows in result["warm"].items():
        print(f"{name}, {CASES[name].steps} steps")
        for method, warm in rows.items():
            seconds = [warm["seconds"]["median"], warm.get("per_1000_steps"), warm["first"]]
            seconds.append(result["cold"][name][method]["seconds"]["median"])
            cells = "".join(f"{'' if t is None else format(t * 1e3, '.2f'):>13}" for t in seconds)
            print(f"  {method:24}{cells}{warm['kernel_error']:13.1e}")
    print("a fresh process")
    for name, times in result["start"].items():
        print(f"  {name:37}{times['median'] * 1e3:13.2f}")
    for check in result["checks"]:
        print("PASS" if check["passed"] else "FAIL", check["promise"], check["figures"] or "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notebook")
    parser.add_argument("--quick", action="store_true", help="one problem, one run, Keras optional")
    parser.add_argument("--out", type=Path, help="the result file; with --quick none by default")
    given = parser.parse_args()
    out = given.out or (None if given.quick else ROOT / "benchmarks/results/notebook.json")
    methods = [m for m in METHODS if m not in KERAS or find_spec("keras")]
    if len(methods) < len(METHODS) and not given.quick:
        parser.error("Keras is missing: pip install -e '.[bench]'")
    cases = {"two channels": CASES["two channels"]} if given.quick else CASES
    runs = 1 if given.quick else 5
    with tempfile.TemporaryDirectory() as home:
        os.environ["KERAS_HOME"] = home  # no settings of the user's, and nothing written there
        result: dict[str, Any] = {
            "command": "python -m benchmarks.notebook" + " --quick" * given.quick,
            "date": now(),
            "machine": stamp(("jax", "jaxlib", "numpy", "scipy", "optax", "keras")),
            "steps": {name: case.steps for name, case in cases.items()},
            "load_before": load(),  # others' work makes times longer
            "cold": measure_cold(cases, methods, runs),
            "start": measure_start(runs),
            "warm": measure_warm(cases, methods, runs),
            "load_after": load(),
        }
    result["checks"] = judge(result)
    show(result)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
