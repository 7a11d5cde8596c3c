"""Gradient descent compared with closed forms, by the excess loss in units of the noise.

    pip install -e '.[bench]'
    python -m benchmarks.descent                     # a quarter of an hour; writes the result file
    python -m benchmarks.descent --quick --out FILE  # tiny sizes, to check that it works
    python -m benchmarks.descent --part loops        # measures one part of the file again
    python -m benchmarks.descent --table             # the result file as Markdown
    python -m benchmarks.descent --picture           # the figures, from the result file and a run

The ratio of a kernel is its excess loss over the statistical error of the exact kernel. At 1, the
kernel is as far from the exact kernel as the exact kernel is from the truth. Steps and seconds are
given at the first look with a ratio of at most 1, and of at most 0.01. Looks are eight per decade
of steps. Seconds are the least of three runs, or one run of more than three seconds. They exclude
compilation, which is reported separately. Seconds of descent by sums include the sums over rows.
The time of the exact solution is the least over fresh problems, in the same process after a first
solution, because other processes can use the machine. All inputs have white noise in y with the
variance of the response, see `descent_inputs.py`.

Parts: `runs` has every optimizer and closed form on eight inputs and four lengths. `defaults` has
all optimizers by name. `steps` has the times of a step, and of the exact solution. `iterates`
compares the iterates of both gradients. `loops` compares the convolution with a loop that is
written by hand. `comparison` compares the time of `cs.compare` with the times in its table. `peers`
has other packages.

The convolution of 16 → 32 channels takes seconds per step. Its runs have 6 000 samples and 20
steps, so that its schedules end there.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import convsolve as cs
from convsolve.components import OPTIMIZERS

from . import descent_peers as peers
from .descent_inputs import INPUTS, Data, Input, made, white
from .machine import ROOT, load, now, process, report, stamp, summary

RESULT = ROOT / "benchmarks" / "results" / "descent.json"
PICTURE = RESULT.with_suffix(".png")
EXAMPLE = ROOT / "examples" / "descent.png"
PACKAGES = (
    "convsolve", "numpy", "scipy", "jax", "jaxlib", "optax", "optimistix", "torch", "scikit-learn",
)  # fmt: skip

CLOSED = ("auto", "qr", "normal", "fft", "early_stopping")
NAMES = ("sgd", "momentum", "nesterov", "adam", "adam, constant rate", "adamw", "lbfgs")
FEW_NAMES = ("sgd", "nesterov", "adam", "lbfgs")
GRADIENTS = ("convolution", "sums")
STEPS = 1000
# Ratios of which steps and seconds are reported, and seconds of a run that is measured once.
GOALS = {"error": 1.0, "hundredth": 0.01}
LONG = 3.0
# Methods of the figure, and of the comparison of which the time is measured.
SIX = ["qr", "normal", "adam", "nesterov", "lbfgs", "sgd"]

SAMPLES = 20_000
# Other numbers of samples of white noise.
LENGTHS = (5_000, 100_000, 1_000_000)
IMAGE = 256
# Samples of the 16 → 32 channels, by gradient, and steps of the convolution.
MANY = {"sums": 60_000, "convolution": 6_000}
MANY_STEPS = 20
QUICK = 2_000

# Samples, taps, channels, outputs, and steps by the convolution.
STEP_SIZES = (
    (5_000, 40, 1, 1, 2000),
    (100_000, 40, 1, 1, 500),
    (50_000, 512, 1, 1, 200),
    (20_000, 40, 16, 8, 10),
    (60_000, 40, 16, 32, 2),
)
# Samples and taps of the loops that are written by hand.
LOOP_SIZES = ((20_000, 60), (5_000, 40))
LOOP_RUNS = 15
# A tolerance that no run reaches, so that all take the same number of steps.
NEVER = 1e-300
MOST_OVER_LOOP = 1.05
MOST_UNSTATED = 0.3
SAME_ITERATES = 1e-10
SAME_RATIO = 1e-6


def rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else float(f"{value:.{digits}g}")


def timed_exact(data: Data, method: str, runs: int) -> dict[str, float]:
    """Seconds of a closed form of fresh problems, after a first solution."""
    return timed_solution(data.problem, method, runs)


def timed_solution(stated: Callable[[], cs.Problem], method: str, runs: int) -> dict[str, float]:
    """Seconds of a closed form of problems that a function states, after a first solution."""
    words = {"penalty": method} if method == "early_stopping" else {"solver": method}
    seconds: list[float] = []
    cs.solve(stated(), **words)
    while len(seconds) < runs and sum(seconds) < 10:
        problem = stated()
        begun = time.perf_counter()
        cs.solve(problem, **words)
        seconds.append(time.perf_counter() - begun)
    return summary(seconds)


def seconds_of_sums(data: Data) -> float:
    """Seconds of the sums over rows of a fresh problem, on which the steps by sums depend."""
    table = cs.compare(data.problem(), ["normal"])
    return table.shared_seconds["moments"] + table.shared_seconds.get("scaling", 0.0)


def descents(data: Data, names: tuple[str, ...], gradient: str, steps: int) -> dict[str, Any]:
    """Arguments of `solve` by label."""
    methods: dict[str, Any] = {}
    for name in names:
        optimizer, _, constant = name.partition(", ")
        rate = data.adam_rate if constant else None
        methods[name] = cs.GradientDescent(
            optimizer, gradient=gradient, steps=steps, learning_rate=rate
        )
    return methods


def measured(
    name: str, data: Data, names: tuple[str, ...], gradients: dict[str, int], runs: int
) -> dict[str, Any]:
    """Closed forms and optimizers on one workload, with the steps of each gradient."""
    first = cs.compare(data.problem(), CLOSED)
    known = {row["method"]: row for row in first.rows}
    closed: dict[str, dict[str, Any]] = {
        method: {
            "status": row["status"],
            "ratio": rounded(row["ratio"], 3),
            "seconds": timed_exact(data, method, runs),
        }
        for method, row in known.items()
    }
    sums_seconds = min(seconds_of_sums(data) for _ in range(runs))

    rows = []
    problem = data.problem()
    # Once more before every gradient, so that a slower minute is one for all.
    exact_times = [closed["auto"]["seconds"]["min"]]
    for gradient, steps in gradients.items():
        before = sums_seconds if gradient == "sums" else 0.0
        methods = descents(data, names, gradient, steps)
        table = cs.compare(problem, methods)
        for entry in table.rows:
            fit = table.solutions[entry["method"]]
            fits = [fit]
            if fit.stats["run_seconds"] < LONG:
                fits += [cs.solve(problem, methods[entry["method"]]) for _ in range(2)]
            row = descent_row(entry, fits, before)
            rows.append({"gradient": gradient, "limit": steps} | row)
        exact_times.append(timed_exact(data, "auto", runs)["min"])
    exact = min(exact_times)
    for entry in closed.values():
        entry["over_exact"] = rounded(entry["seconds"]["min"] / exact, 3)
    for row in rows:
        for goal in GOALS:
            seconds = row[f"seconds_to_{goal}"]
            row[f"{goal}_over_exact"] = seconds and rounded(seconds / exact, 3)
    found = {
        "input": name,
        "samples": list(data.x.shape[:-1]),
        "taps": list(data.kind.taps),
        "channels": data.kind.channels,
        "outputs": data.kind.outputs,
        "condition": rounded(float(first.identifiability.condition_number) ** 2, 3),
        "exact_seconds": exact,
        "exact_seconds_of_the_table": rounded(first.exact_seconds),
        "sums_seconds": rounded(sums_seconds),
        "closed": closed,
        "not_run": first.skipped,
        "descents": rows,
    }
    print(name, found["samples"], f"exact {1000 * exact:.3g} ms", flush=True)
    for row in rows:
        figures = (row["steps_to_error"], row["error_over_exact"], row["ratio"], row["status"])
        print("  ", row["gradient"], row["method"], *figures, flush=True)
    return found


def descent_row(entry: dict[str, Any], fits: list[cs.Solution], before: float) -> dict[str, Any]:
    """What the result file keeps of a row of `cs.compare`.

    Seconds are the least over repeated fits, after some seconds before the steps.
    """
    row: dict[str, Any] = {"method": entry["method"], "status": entry["status"]}
    row["ratio"] = rounded(entry["ratio"], 3)
    row["steps"] = entry["steps"]
    for goal, ratio in GOALS.items():
        below = np.flatnonzero(fits[0].trace.ratios <= ratio)
        first = int(below[0]) if below.size else None
        seconds = None
        if first is not None:
            seconds = before + min(float(fit.trace.seconds[first]) for fit in fits)
        row[f"steps_to_{goal}"] = None if first is None else int(fits[0].trace.steps[first])
        row[f"seconds_to_{goal}"] = rounded(seconds)
    row["compile_seconds"] = rounded(entry["compile_seconds"], 3)
    row["run_seconds"] = rounded(min(fit.stats["run_seconds"] for fit in fits), 3)
    row["runs"] = len(fits)
    row["advice"] = fits[0].stats["advice"]
    return row


def workload(name: str, samples: int, gradient: str = "sums") -> Data:
    """The data of one of the inputs, of a length for series of one channel."""
    kind = INPUTS[name]
    if len(kind.taps) == 2:
        side = IMAGE if samples >= SAMPLES else 48
        return made(kind, (side, side))
    if kind.channels > 1:
        return made(kind, (MANY[gradient] if samples >= SAMPLES else QUICK,))
    return made(kind, (samples,))


def all_runs(quick: bool) -> list[dict[str, Any]]:
    """Every workload with all its methods."""
    samples, steps, repeats = (QUICK, 50, 1) if quick else (SAMPLES, STEPS, 5)
    names = ("nesterov", "lbfgs") if quick else NAMES
    kinds = ("sparse events",) if quick else INPUTS
    found = []
    for name in kinds:
        if INPUTS[name].channels > 1:
            for gradient in GRADIENTS:
                limits = {gradient: STEPS if gradient == "sums" else MANY_STEPS}
                some = NAMES if gradient == "sums" else FEW_NAMES
                data = workload(name, samples, gradient)
                found.append(measured(name, data, some, limits, repeats))
            continue
        gradients = dict.fromkeys(GRADIENTS, steps)
        found.append(measured(name, workload(name, samples), names, gradients, repeats))
    for length in () if quick else LENGTHS:
        gradients = dict.fromkeys(GRADIENTS, steps)
        found.append(measured("white", workload("white", length), FEW_NAMES, gradients, 3))
    return found


# --- defaults of all optimizers


def default_row(entry: dict[str, Any], table: cs.Comparison) -> dict[str, Any]:
    """The row of one optimizer and input."""
    ratios = table.curves[entry["method"]].ratios
    return {
        "optimizer": entry["method"],
        "status": entry["status"],
        "first_ratio": rounded(float(ratios[0]), 3),
        "largest_ratio": rounded(float(ratios.max()), 3),
        "ratio": rounded(entry["ratio"], 3),
        "steps_to_error": entry["steps_to_error"],
        "advice": table.solutions[entry["method"]].stats["advice"],
    }


def defaults(quick: bool) -> list[dict[str, Any]]:
    """Statuses and ratios of all optimizers by name, by their default rates, and the advice."""
    samples = QUICK if quick else SAMPLES
    names = ("lion",) if quick else (*OPTIMIZERS, "adam")
    kinds = ("speech envelope",) if quick else INPUTS
    found = []
    for kind in kinds:
        data = workload(kind, samples)
        table = cs.compare(data.problem(), descents(data, names, "sums", STEPS))
        found += [{"input": kind} | default_row(row, table) for row in table.rows]
        words = [f"{row['optimizer']} {row['ratio']}" for row in found if row["input"] == kind]
        print(f"defaults, {kind}: {', '.join(words)}", flush=True)
    return found


# --- times of steps


def step_times(quick: bool) -> list[dict[str, Any]]:
    """Seconds of a step of Adam by both gradients, and of the exact solution.

    Seconds of a run are divided by its evaluations of loss and gradient: one per step and look.
    """
    sizes = ((2_000, 20, 1, 1, 50),) if quick else STEP_SIZES
    found = []
    for samples, taps, channels, outputs, steps in sizes:
        kind = Input(white, (taps,), channels, outputs)
        data = made(kind, (samples,))
        exact = timed_exact(data, "auto", 1 if quick else 15)["min"]
        problem = data.problem()
        seconds = {}
        for gradient, limit in (("convolution", steps), ("sums", 2000)):
            solver = cs.GradientDescent("adam", gradient=gradient, steps=limit, tol=NEVER)
            repeats = 1 if limit < 50 else 3
            times = []
            for _ in range(repeats):
                fit = cs.solve(problem, solver)
                evaluations = fit.stats["steps"] + len(fit.trace.steps) - 1
                times.append(fit.stats["run_seconds"] / evaluations)
            seconds[gradient] = min(times)
        row = {
            "samples": samples,
            "taps": taps,
            "channels": channels,
            "outputs": outputs,
            "convolution": rounded(seconds["convolution"], 3),
            "sums": rounded(seconds["sums"], 3),
            "ratio": rounded(seconds["convolution"] / seconds["sums"], 3),
            "exact": rounded(exact, 3),
            "exact_in_steps": rounded(exact / seconds["convolution"], 2),
        }
        print("steps", row, flush=True)
        found.append(row)
    return found


def iterates(quick: bool) -> dict[str, Any]:
    """Largest relative difference between the kernels of both gradients, over 200 steps of Adam."""
    samples = QUICK if quick else SAMPLES
    found = {}
    for name in ("white", "AR(0.9)"):
        problem = workload(name, samples).problem()
        traces = [
            cs.solve(problem, cs.GradientDescent("adam", gradient=gradient, steps=200)).trace
            for gradient in GRADIENTS
        ]
        pairs = zip(*(list(trace.kernels.values())[1:] for trace in traces), strict=True)
        differences = [np.abs(a - b).max() / np.abs(b).max() for a, b in pairs]
        found[name] = rounded(float(max(differences)), 2)
    print("iterates", found, flush=True)
    return found


# --- a loop by hand


def loops(quick: bool) -> list[dict[str, Any]]:
    """Times of Adam through the convolution, and of a loop of optax that is written by hand."""
    import jax
    import jax.numpy as jnp
    import optax

    found = []
    for samples, taps in ((2_000, 20),) if quick else LOOP_SIZES:
        data = made(Input(white, (taps,)), (samples,))
        problem = data.problem()
        steps, runs = (100, 1) if quick else (STEPS, LOOP_RUNS)
        solver = cs.GradientDescent("adam", steps=steps, learning_rate=data.adam_rate, tol=NEVER)

        with jax.enable_x64(True):
            x = jnp.asarray(data.x[None])
            y = jnp.asarray(data.y[None, taps - 1 :])
            adam = optax.adam(data.adam_rate)

            def loss(kernel: Any, x: Any, y: Any) -> Any:
                layout = ("NWC", "WIO", "NWC")
                predicted = jax.lax.conv_general_dilated(
                    x, kernel, (1,), "VALID", dimension_numbers=layout
                )
                return jnp.mean((predicted - y) ** 2)

            @jax.jit
            def run(kernel: Any, x: Any, y: Any, adam: Any = adam, steps: int = steps) -> Any:
                def step(_: Any, state: Any) -> Any:
                    kernel, memory = state
                    _, gradient = jax.value_and_grad(loss)(kernel, x, y)
                    updates, memory = adam.update(gradient, memory, kernel)
                    return optax.apply_updates(kernel, updates), memory

                return jax.lax.fori_loop(0, steps, step, (kernel, adam.init(kernel)))[0]

            start = jnp.zeros((taps, 1, 1))
            by_hand: list[float] = []
            ours: list[float] = []
            looks = 0
            kernel = np.zeros(())
            for number in range(runs + 1):
                begun = time.perf_counter()
                kernel = np.asarray(jax.block_until_ready(run(start, x, y)))
                spent = time.perf_counter() - begun
                fit = cs.solve(problem, solver)
                if number:
                    by_hand.append(spent)
                    ours.append(fit.stats["run_seconds"])
                looks = len(fit.trace.steps) - 1
        difference = np.abs(fit.kernel - kernel).max() / np.abs(kernel).max()
        row = {
            "samples": samples,
            "taps": taps,
            "steps": fit.stats["steps"],
            "looks": looks,
            "convolution": summary(ours),
            "by_hand": summary(by_hand),
            "ratio": rounded(float(np.median(np.array(ours) / np.array(by_hand))), 4),
            "difference": rounded(float(difference), 2),
        }
        print("loops", row, flush=True)
        found.append(row)
    return found


# --- the time of a comparison

COMPARED = """
import json, time, warnings
import jax, optax
import convsolve as cs
from benchmarks.descent_inputs import INPUTS, made
warnings.simplefilter("ignore")
methods = {methods}
data = made(INPUTS["AR(0.9)"], ({samples},))
rows = []
for _ in range(2):
    problem = data.problem()
    begun = time.perf_counter()
    table = cs.compare(problem, methods)
    wall = time.perf_counter() - begun
    stated = table.exact_seconds + sum(
        (row["compile_seconds"] or 0) + (row["run_seconds"] or 0) for row in table.rows
    )
    rows.append({{"wall": round(wall, 3), "stated": round(stated, 3)}})
print(json.dumps(rows))
"""


def comparison(quick: bool) -> dict[str, Any]:
    """Wall time of six methods in a new process, and the sum of the seconds in their table."""
    samples = QUICK if quick else SAMPLES
    methods = ["normal", "adam"] if quick else SIX
    code = COMPARED.format(samples=samples, methods=methods)
    first, second = json.loads(process(code)[1].splitlines()[-1])
    found = {"first": first, "second": second}
    print("comparison", found, flush=True)
    return found


# --- peers


def all_peers(quick: bool) -> list[dict[str, Any]]:
    """Other packages on white and AR(0.9) noise, and PyTorch on 16 → 32 channels.

    The exact solution is measured before and after every package.
    """
    repeats = 1 if quick else 15
    found = []
    for name in ("AR(0.9)",) if quick else ("white", "AR(0.9)", "16 → 32 channels"):
        data = workload(name, QUICK if quick else SAMPLES, "convolution")
        measure = peers.Measure(data)
        rows = []
        runs = {}
        exact = timed_exact(data, "auto", repeats)["min"]
        for method, call in peer_calls(data, measure, quick).items():
            runs[method] = fastest(call)
            exact = min(exact, timed_exact(data, "auto", repeats)["min"])
        for method, run in runs.items():
            rows.append(run.row(method, exact))
            print("peers", name, rows[-1], flush=True)
        found.append(
            {
                "input": name,
                "samples": len(data.x),
                "exact_seconds": exact,
                "ratio_difference": checked_ratio(data, measure),
                "rows": rows,
            }
        )
    return found


def fastest(call: Callable[[], peers.Run]) -> peers.Run:
    """The fastest of three runs, or the only run if it takes long."""
    first = call()
    if first.seconds[-1] > LONG:
        return first
    return min([first, call(), call()], key=lambda run: run.seconds[-1])


def peer_calls(
    data: Data, measure: peers.Measure, quick: bool
) -> dict[str, Callable[[], peers.Run]]:
    """The runs of the packages that are installed."""
    calls: dict[str, Callable[[], peers.Run]] = {}
    series = data.kind.channels == 1
    limits = (1, 2) if quick else peers.LOOKS[:14]
    if find_spec("torch") is not None:
        steps = 20 if quick else STEPS if series else 50
        for threads in (1,) if quick else (1, 2):
            settings = (data, measure, data.adam_rate, steps, threads)
            name = f"PyTorch, Conv1d and Adam, {threads} thread" + "s" * (threads > 1)
            calls[name] = partial(peers.torch_adam, *settings)
    if not series:
        return calls
    if find_spec("sklearn") is not None:
        passes = 3 if quick else 50
        etas = (1e-3,) if quick else (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
        calls["scikit-learn, SGDRegressor"] = partial(peers.stochastic, measure, passes, None)
        best = f"scikit-learn, SGDRegressor, best of {len(etas)} rates"
        calls[best] = partial(peers.tuned, measure, passes, etas)
    if find_spec("optimistix") is not None:
        for solver in ("BFGS",) if quick else ("BFGS", "LBFGS"):
            calls[f"optimistix, {solver}"] = partial(
                peers.optimistix_run, data, measure, solver, limits
            )
    calls["SciPy, lsqr"] = partial(peers.lsqr, data, measure, limits)
    return calls


def checked_ratio(data: Data, measure: peers.Measure) -> float:
    """Relative difference between the ratio of a trace and the ratio by the lag matrix."""
    fit = cs.solve(data.problem(), cs.GradientDescent("sgd", gradient="sums", steps=5))
    kernel = fit.impulse_response.reshape(measure.kernel.shape)
    ratio = float(fit.trace.ratios[-1])
    return float(f"{abs(measure.ratio(kernel) / ratio - 1):.2g}")


# --- checks, tables and figures


def checked(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The promises about these figures."""
    checks: list[dict[str, Any]] = []

    def check(promise: str, passed: bool, figures: Any) -> None:
        checks.append({"promise": promise, "passed": bool(passed), "figures": figures})

    differences = [*result["iterates"].values()]
    check(
        f"iterates of both gradients differ by at most {SAME_ITERATES:g}",
        max(differences) <= SAME_ITERATES,
        differences,
    )
    differences = [entry["ratio_difference"] for entry in result["peers"]]
    check(
        f"ratios by the lag matrix are the same to {SAME_RATIO:g}",
        max(differences) <= SAME_RATIO,
        differences,
    )
    diverged = [
        (row["optimizer"], row["input"])
        for row in result["defaults"]
        if row["status"] == "diverged"
    ]
    check("no optimizer diverges by its default rate", not diverged, diverged)
    ratios = [row["ratio"] for row in result["loops"]]
    check(
        f"the convolution takes at most {MOST_OVER_LOOP:g} times a loop by hand",
        max(ratios) <= MOST_OVER_LOOP,
        ratios,
    )
    unstated = [round(one["wall"] - one["stated"], 3) for one in result["comparison"].values()]
    check(
        f"a comparison takes at most {MOST_UNSTATED:g} s more than its table states",
        max(unstated) <= MOST_UNSTATED,
        unstated,
    )
    return checks


def seconds_in_words(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{1e6 * seconds:.3g} µs"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ") if number >= 10_000 else str(number)


def size_of(run: dict[str, Any]) -> str:
    return " × ".join(grouped(n) for n in run["samples"])


def row_of(run: dict[str, Any], method: str, gradient: str) -> dict[str, Any] | None:
    rows = run["descents"]
    return next((r for r in rows if (r["method"], r["gradient"]) == (method, gradient)), None)


def over_exact(run: dict[str, Any], method: str, gradient: str) -> float:
    """Seconds to the statistical error, in units of the exact solution, or NaN."""
    row = row_of(run, method, gradient)
    if row is None or row["error_over_exact"] is None:
        return float("nan")
    return float(row["error_over_exact"])


def cell(run: dict[str, Any], method: str, gradient: str) -> str:
    """Steps to the statistical error, and seconds in units of the exact solution."""
    row = row_of(run, method, gradient)
    if row is None:
        return "–"
    if row["steps_to_error"] is None:
        return f"ratio {row['ratio']:.2g}"
    return f"{row['steps_to_error']}; {row['error_over_exact']:.2g}"


def table(result: dict[str, Any]) -> str:
    """Steps and relative seconds to the statistical error as Markdown."""
    names = {"sgd": "descent", "nesterov": "Nesterov", "adam": "Adam", "lbfgs": "L-BFGS"}
    lines = [
        "| input, samples | condition | exact | "
        + " | ".join(names.values())
        + " | L-BFGS, sums |",
        "| --- |" + " ---: |" * (len(names) + 3),
    ]
    for run in result["runs"]:
        cells = [f"{run['input']}, {size_of(run)}", f"{run['condition']:.2g}"]
        cells.append(seconds_in_words(run["exact_seconds"]))
        cells += [cell(run, name, "convolution") for name in names]
        cells.append(cell(run, "lbfgs", "sums"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def steps_table(result: dict[str, Any]) -> str:
    """Times of a step as Markdown."""
    lines = [
        "| samples, taps, channels → outputs | convolution | sums | ratio | exact solution |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in result["steps"]:
        size = f"{grouped(row['samples'])}, {row['taps']}, {row['channels']} → {row['outputs']}"
        exact = f"{seconds_in_words(row['exact'])} = {row['exact_in_steps']:.2g} steps"
        cells = [size, *(seconds_in_words(row[name]) for name in GRADIENTS)]
        cells += [f"{row['ratio']:.3g}", exact]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def faster_of_threads(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, of which PyTorch has only the faster number of threads."""
    threaded = [row for row in rows if "thread" in row["method"]]
    slower = sorted(threaded, key=lambda row: row["seconds"])[1:]
    return [row for row in rows if row not in slower]


def peers_table(result: dict[str, Any]) -> str:
    """Steps and times of other packages as Markdown."""
    lines = [
        "| input, samples: package | steps to 1 | times the exact solution | last ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    for entry in result["peers"]:
        for row in faster_of_threads(entry["rows"]):
            method = ", ".join(filter(None, [row["method"], row["settings"]]))
            name = f"{entry['input']}, {grouped(entry['samples'])}: {method}"
            reached = row["steps_to_error"] is not None
            steps = f"{row['steps_to_error']} {row['unit']}" if reached else "–"
            times = f"{row['error_over_exact']:.3g}" if reached else "–"
            lines.append(f"| {name} | {steps} | {times} | {row['ratio']:.2g} |")
    return "\n".join(lines)


def defaults_table(result: dict[str, Any]) -> str:
    """Inputs on which an optimizer does not reach the statistical error as Markdown."""
    rows = result["defaults"]
    inputs = list(dict.fromkeys(row["input"] for row in rows))
    lines = ["| optimizer | above a ratio of 1 after 1000 steps |", "| --- | --- |"]
    for optimizer in dict.fromkeys(row["optimizer"] for row in rows):
        missed = [
            row["input"]
            for row in rows
            if row["optimizer"] == optimizer and row["steps_to_error"] is None
        ]
        if missed:
            words = "all inputs" if len(missed) == len(inputs) else ", ".join(missed)
            lines.append(f"| `{optimizer}` | {words} |")
    return "\n".join(lines)


def sentence(result: dict[str, Any]) -> str:
    """Describe compilation, the default rates and the other parts."""
    # Later inputs of the same shape use the programs of the first.
    first = result["runs"][0]["descents"]
    compiled = [r["compile_seconds"] for r in first if r["gradient"] == "convolution"]
    rows = result["defaults"]
    inputs = len({row["input"] for row in rows})
    optimizers = len({row["optimizer"] for row in rows})
    diverged = sum(row["status"] == "diverged" for row in rows)
    loops = result["loops"]
    sizes = " and ".join(f"{grouped(row['samples'])} × {row['taps']}" for row in loops)
    ratios = " and ".join(f"{row['ratio']:.2f}" for row in loops)
    return (
        "A cell has the steps to a ratio of 1, and the seconds in units of the exact solution. A "
        "run that does\nnot reach it has its last ratio. Seconds by sums include the sums. The "
        f"convolution of 16 → 32 channels takes\n{MANY_STEPS} steps. "
        f"Compilation takes up to another {max(compiled):.1f} s per run.\n\n"
        f"{optimizers} optimizers by name were run on {inputs} inputs by their default rates. "
        f"{diverged or 'None'} of the runs diverged.\n\n"
        f"{defaults_table(result)}\n\n"
        "Seconds per step of Adam, by both gradients:\n\n"
        f"{steps_table(result)}\n\n"
        "The iterates of both gradients differ by at most "
        f"{max(result['iterates'].values()):.0e}. {STEPS} steps by the convolution, with "
        f"{loops[0]['looks']} looks,\nwere compared with a loop of optax that is written by hand. "
        f"They take {ratios} times as long,\nfor {sizes} samples and taps.\n\n"
        "Other packages on the same data. scikit-learn takes a step per row. SciPy's products are "
        "FFTs:\n\n"
        f"{peers_table(result)}"
    )


def draw(result: dict[str, Any]) -> None:
    """Draw the seconds to the statistical error of every input, in units of the exact solution."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    runs = [run for run in result["runs"] if run["samples"][0] in (SAMPLES, IMAGE)]
    runs += [run for run in result["runs"] if run["channels"] > 1 and run["samples"][0] > SAMPLES]
    names = ("sgd", "momentum", "nesterov", "adam", "lbfgs")
    figure, ax = plt.subplots(figsize=(7.0, 3.8), layout="constrained")
    for i, name in enumerate(names):
        for gradient, marker in zip(GRADIENTS, "os", strict=True):
            times = [over_exact(run, name, gradient) for run in runs]
            places = np.arange(len(runs)) + 0.12 * (i - 2)
            style = {"color": f"C{i}", "marker": marker, "linestyle": "", "markersize": 4}
            fill = f"C{i}" if gradient == "convolution" else "none"
            label = name if gradient == "convolution" else None
            ax.plot(times, places, markerfacecolor=fill, label=label, **style)
    ax.axvline(1.0, color="0.3", linestyle=":", label="exact solution")
    ax.plot([], [], "s", color="0.4", markerfacecolor="none", markersize=4, label="by sums")
    ax.set(xscale="log", yticks=range(len(runs)), yticklabels=[run["input"] for run in runs])
    ax.set_xlabel("seconds to the statistical error / seconds of the exact solution")
    ax.invert_yaxis()
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(PICTURE, dpi=140)


def draw_example() -> None:
    """Draw the figure of the README: four optimizers, and the times of two closed forms."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from .descent_inputs import example

    optimizers = [name for name in SIX if name in OPTIMIZERS or name == "adam"]
    # A first comparison compiles and loads what the second one measures.
    cs.compare(example(), optimizers)
    table = cs.compare(example(), optimizers)
    closed = [name for name in SIX if name not in optimizers]
    seconds = {name: timed_solution(example, name, 15)["min"] for name in closed}

    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.3), layout="constrained", sharey=True)
    for ax, kind in zip(axes, ("descent by steps", "descent by seconds"), strict=True):
        cs.plot(table, kind=kind, ax=ax)
    by_seconds = axes[1]
    by_seconds.set_ylabel("")
    for name, place in seconds.items():
        by_seconds.axvline(place, color="0.4", linestyle="--", linewidth=1)
        across = by_seconds.get_xaxis_transform()
        by_seconds.text(place, 0.03, name, transform=across, rotation=90, va="bottom", ha="right")
    figure.savefig(EXAMPLE, dpi=160)


PARTS = {
    "comparison": comparison,
    "loops": loops,
    "steps": step_times,
    "iterates": iterates,
    "runs": all_runs,
    "defaults": defaults,
    "peers": all_peers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", choices=PARTS, help="measure one part again")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--picture", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    if args.table or args.picture:
        result = json.loads(RESULT.read_text(encoding="utf-8"))
        if args.table:
            print(f"{table(result)}\n\n{sentence(result)}")
        if args.picture:
            draw(result)
            draw_example()
        return
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    if args.part:
        result = json.loads(args.out.read_text(encoding="utf-8")) | result
    with warnings.catch_warnings():
        # A nearly dependent input warns, and so does a descent that diverges.
        warnings.simplefilter("ignore", UserWarning)
        # Imports are not a part of the first run.
        cs.compare(workload("white", 200).problem(), ["normal", "adam"])
        for name in [args.part] if args.part else PARTS:
            result[name] = PARTS[name](args.quick)
    result["checks"] = checked(result)
    report(result, args.out)
    print(f"\n{table(result)}\n\n{sentence(result)}")


if __name__ == "__main__":
    main()
