"""convsolve beside what others fit kernels with: time, memory, and the error of the kernel.

    pip install -e '.[bench]'
    python -m benchmarks.peers                       # half an hour; writes results/peers.json
    python -m benchmarks.peers --only image          # the workloads whose name says so, to look at
    python -m benchmarks.peers --quick --out FILE    # tiny sizes, to see whether it works
    python -m benchmarks.peers --table --picture     # from the result file: Markdown; peers.png

Every measurement is a fresh process that loads the same arrays and fits: once cold, from the start
of the process, imports included and loading excepted; then warm. Those of one workload follow one
another. Nobody draws a bar of progress. A ridge is summed for everybody: mTRFpy and ffTRF average
over records, so theirs is divided by the number of records. mTRFpy cannot leave out the intercept
and is judged by the exact answer with one. ffTRF and `solve_toeplitz` answer another question: lags
without bound, rows without edges.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import resource
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import workloads as fits
from .machine import ROOT, load, now, process, stamp, summary
from .workloads import GROWTH, QUICK, QUICK_GROWTH, WORKLOADS, Fit, Goal, Workload, exact, make

RESULT = ROOT / "benchmarks" / "results" / "peers.json"
PACKAGES = (
    "convsolve",
    "numpy",
    "scipy",
    "jax",
    "jaxlib",
    "mne",
    "mtrf",
    "fftrf",
    "numba",
    "scikit-learn",
)
EXACT = 1e-8  # the largest relative error of a kernel that counts as the same answer
LIMIT = 30  # s, one fit
MEMORY = 16 * 10**9  # bytes of addresses, for peers
MATRIX = 4.0  # GB, the largest lag matrix that is tried


class Method(NamedTuple):
    prepare: Callable[[Workload, np.ndarray, np.ndarray], Fit]
    applies: Callable[[Workload], bool]
    package: str | None = None
    lagged: bool = False  # builds the lag matrix
    intercept: bool = False


OURS = ("convsolve", "convsolve, groups", "convsolve, vmap")
DATA, FFT = "the data alone", "one FFT of x and y"
METHODS = {
    "convsolve": Method(fits.certified, lambda w: not w.apart),
    "convsolve, groups": Method(fits.grouped, lambda w: w.apart),
    "convsolve, vmap": Method(fits.mapped, lambda w: w.apart),
    "MNE": Method(fits.mne, lambda w: w.padded, "mne"),
    "mTRFpy": Method(fits.mtrf, lambda w: w.padded, "mtrf", lagged=True, intercept=True),
    "ffTRF": Method(fits.fftrf, lambda w: w.padded, "fftrf"),
    "scikit-learn": Method(fits.sklearn_ridge, lambda w: not w.apart, "sklearn", lagged=True),
    "scipy lstsq": Method(fits.scipy_lstsq, lambda w: not w.apart, lagged=True),
    "lsqr": Method(fits.scipy_lsqr, lambda w: w.padded and w.outputs <= 2),  # one output at a time
    "solve_toeplitz": Method(fits.toeplitz, lambda w: w.padded and w.inputs == 1),
    "numpy lstsq, a loop": Method(fits.one_by_one, lambda w: w.apart),
    FFT: Method(fits.transforms, lambda w: True),
    DATA: Method(lambda *_: lambda: None, lambda w: True),
}
PEERS = [name for name in METHODS if name not in (*OURS, FFT, DATA)]
ALONG = ("convsolve", "MNE", "mTRFpy")  # the methods whose growth is measured

CHILD = """
from pathlib import Path
from benchmarks import peers
from benchmarks.workloads import Workload
print(peers.{call}(Path({folder!r}), {workload!r}, *{arguments}))
"""


def write_data(folder: Path, w: Workload) -> None:
    x, y = make(w)
    plain, intercept = exact(w, x, y)
    for name, array in {"x": x, "y": y, "plain": plain, "intercept": intercept}.items():
        np.save(folder / f"{name}.npy", array)


def timed_fits(folder: Path, w: Workload, name: str, begun: float, runs: int) -> str:
    """What a measured process does; it ends itself where a fit takes too long."""
    method = METHODS[name]
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    if name in PEERS:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    start = time.perf_counter()
    x, y = (np.load(folder / f"{array}.npy") for array in "xy")
    loading = time.perf_counter() - start
    fit = method.prepare(w, x, y)
    row: dict[str, Any] = {"status": "ok", "before_mb": peak_mb()}
    found = fit()
    row["cold"] = float(f"{time.time() - begun - loading:.4g}")
    kernel = getattr(found, "impulse_response", found)
    ours = kernel is not found
    if ours:
        row |= {"solver": found.stats["solver"], "solved": found.status == "solved"}
        row["certificate"] = found.backward_error
    del found
    warm: list[float] = []
    while len(warm) < runs or (runs > 1 and sum(warm) < 1 and len(warm) < 25):
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        start = time.perf_counter()
        fit()
        warm.append(time.perf_counter() - start)
        if warm[-1] > LIMIT / 6:
            break
    row |= {"warm": summary(warm), "peak_mb": peak_mb()}
    if ours:
        row["parts"] = parts(fit)
    if kernel is not None:
        reference = np.load(folder / f"{'intercept' if method.intercept else 'plain'}.npy")
        kernel = kernel.T if w.apart and kernel.shape[0] != w.records else kernel
        difference = kernel.reshape(reference.shape) - reference
        error = np.linalg.norm(difference) / np.linalg.norm(reference)
        row |= {"kernel_error": float(f"{error:.3g}"), "exact": bool(error <= EXACT)}
    return json.dumps(row)


def parts(fit: Fit) -> dict[str, float]:
    """Seconds of a fit of ours: what is shared with a report, the solver's own (steps and passes
    over the data, the certificate's among them), and the rest (reading, scaling, packing).
    """
    from convsolve.leastsquares.analysis import analyse

    start = time.perf_counter()
    found = fit()
    total = time.perf_counter() - start
    shared = analyse(found.identifiability.problem).design.clock.seconds
    spent = shared | {"the solver": found.stats["run_seconds"]}
    spent["the rest"] = total - sum(spent.values())
    return {name: float(f"{value:.3g}") for name, value in spent.items()}


def peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def measure(folder: str, w: Workload, name: str, runs: int) -> dict[str, Any] | None:
    """One row of the result; None for a peer that is not installed."""
    method = METHODS[name]
    if method.lagged and w.matrix_gb > MATRIX:
        return {"status": f"not run: the lag matrix takes {w.matrix_gb:.1f} GB"}
    if method.package is not None and find_spec(method.package) is None:
        return None
    arguments = (name, time.time(), runs)
    code = CHILD.format(call="timed_fits", folder=folder, workload=w, arguments=arguments)
    try:
        row = json.loads(process(code)[1].splitlines()[-1])
    except RuntimeError as error:
        said = str(error).split(code)[-1].split("\n")
        if any(line.startswith("Timeout (") for line in said):
            return {"status": f"more than {LIMIT} s"}
        last = next((line for line in reversed(said) if line), "it was killed")
        return {"status": "out of memory" if "emory" in last else f"failed: {last}"}
    return row | ({"with_intercept": True} if method.intercept else {})


def compare(w: Workload, names: list[str], runs: int) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        process(CHILD.format(call="write_data", folder=folder, workload=w, arguments=()))
        for name in names:
            if METHODS[name].applies(w):
                rows[name] = measure(folder, w, name, runs)
                print(f"  {name:20} {told(rows[name])}", flush=True)
    return rows


def told(row: dict[str, Any] | None) -> str:
    if row is None or row["status"] != "ok":
        return "not installed" if row is None else row["status"]
    error = f"   error {row['kernel_error']:.0e}" if "kernel_error" in row else ""
    times = f"{row['warm']['median']:10.4g} s warm, {row['cold']:7.3g} s cold"
    return f"{times}, {row['peak_mb']:6} MB{error}"


def figure(rows: dict[str, Any], name: str, cold: bool = False) -> float:
    return rows[name]["cold"] if cold else rows[name]["warm"]["median"]


def fastest(rows: dict[str, Any], among: Any, cold: bool = False) -> str | None:
    """The fastest exact method, by name; None where there is none."""
    fit = [n for n in among if (rows.get(n) or {}).get("exact")]
    return min(fit, key=lambda n: figure(rows, n, cold), default=None)


def check_goal(name: str, goal: Goal, rows: dict[str, Any]) -> dict[str, Any]:
    """Whether an exact fit of ours reaches a goal; None where there is nothing to compare with."""
    cold = goal.figure.endswith("cold")
    ours = fastest(rows, OURS, cold)
    found = None
    if goal.figure.startswith("times"):
        peer = goal.peer or fastest(rows, PEERS, cold)
        than = f"than {goal.peer or 'the fastest exact peer'}" + ", cold" * cold
        text = f"{goal.target:g} times faster {than}" if goal.target > 1 else f"faster {than}"
        if ours and "warm" in (rows.get(peer) or {}):
            found = figure(rows, peer, cold) / figure(rows, ours, cold)
        passed = found >= goal.target if found else None if ours else False
    else:
        text = f"at most {goal.target:g} {goal.figure}"
        if ours:
            found = rows[ours]["peak_mb"] if "MB" in goal.figure else figure(rows, ours)
        passed = found is not None and found <= goal.target
    found = found and float(f"{found:.3g}")
    return {"workload": name, "goal": text, "target": goal.target, "found": found, "passed": passed}


def grow(table: dict[str, dict[int, Workload]], runs: int) -> dict[str, Any]:
    """Time along each axis, of a peer as long as the next size will not take much more than 20 s"""
    result: dict[str, Any] = {}
    for axis, sizes in table.items():
        result[axis], names = {}, list(ALONG)
        for size, w in sizes.items():
            print(f"{size} {axis}")
            result[axis][size] = rows = compare(w, names, runs)
            names = [n for n in names if n in OURS or (rows[n] or {}).get("cold", LIMIT) < 6]
    return result


def run(quick: bool, only: str | None) -> dict[str, Any]:
    runs = 1 if quick else 3
    result: dict[str, Any] = {
        "command": "python -m benchmarks.peers" + " --quick" * quick,
        "date": now(),
        "machine": stamp(PACKAGES),
        "load_before": load(),
        "workloads": {},
        "goals": [],
    }
    for name, (w, goals) in (QUICK if quick else WORKLOADS).items():
        if only and only not in name:
            continue
        print(name)
        rows = compare(w, list(METHODS), runs)
        ours, peer = fastest(rows, OURS), fastest(rows, PEERS)
        result["workloads"][name] = {
            **w._asdict(),
            "lag_matrix_gb": round(w.matrix_gb, 3),
            "fastest_exact_peer": peer,
            "times_the_fft": ours and round(figure(rows, ours) / figure(rows, FFT), 2),
            "methods": rows,
        }
        result["goals"] += [check_goal(name, goal, rows) for goal in goals]
    if not only or only == "growth":
        result["growth"] = grow(QUICK_GROWTH if quick else GROWTH, runs)
    return result | {"load_after": load()}


def table(result: dict[str, Any]) -> str:
    """The workloads as Markdown."""
    heads = "workload | convsolve | fastest exact peer | times faster | peak MB | kernel error"
    lines = [f"| {heads} |", "|" + " --- |" * 6]
    for name, workload in result["workloads"].items():
        rows, peer, gb = (workload[k] for k in ("methods", "fastest_exact_peer", "lag_matrix_gb"))
        ours = fastest(rows, OURS)
        cells = [name, "no exact answer", "none", "", "", ""]
        if peer:
            cells[2] = f"{peer} {seconds(figure(rows, peer))}"
        elif gb > MATRIX:
            cells[2] = f"none; the lag matrix takes {gb:.1f} GB"
        if ours:
            cells[1] = seconds(figure(rows, ours))
            cells[4:] = [str(rows[ours]["peak_mb"]), f"{rows[ours]['kernel_error']:.0e}"]
        if ours and peer:
            cells[3] = f"{figure(rows, peer) / figure(rows, ours):.3g}"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def draw(result: dict[str, Any], path: Path) -> None:
    """Bars of every workload, those of inexact answers hatched, and the lines of growth."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    names = [name for name in METHODS if name not in (DATA, FFT)]
    palette = ("#c1272d", "#c1272d", "#ea8f92", *(f"C{i}" for i in (0, 2, 1, 4, 5, 8, 9, 7)))
    colours = dict(zip(names, palette, strict=True))
    figure = Figure(figsize=(13, 14), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
    axes = left.subplots()
    place, ticks, seen = 0, {}, set()
    for name, workload in result["workloads"].items():
        rows = {n: r for n, r in workload["methods"].items() if n in names and r and "warm" in r}
        ticks[place + (len(rows) - 1) / 2] = name.replace(", ", ",\n", 1)
        for method, row in rows.items():
            style = {} if row["exact"] else {"alpha": 0.35, "hatch": "////"}
            axes.barh(place, row["warm"]["median"], 0.85, color=colours[method], **style)
            place += 1
        seen |= set(rows)
        place += 1
    axes.set(xscale="log", xlabel="seconds, warm", ylim=(place - 1, -1))
    axes.set_yticks(list(ticks), list(ticks.values()))
    shown = [Patch(color=colours[n], label=n) for n in names if n in seen]
    inexact = Patch(facecolor="0.8", edgecolor="0.4", hatch="////", label="another answer")
    left.legend(handles=[*shown, inexact], loc="outside upper center", ncols=4, frameon=False)
    growth = result.get("growth", {})
    panels = right.subplots(max(1, len(growth)), 1, squeeze=False)[:, 0]
    for panel, (axis, sizes) in zip(panels, growth.items(), strict=False):
        for method in ALONG:
            rows = {int(s): r[method] for s, r in sizes.items() if "warm" in (r.get(method) or {})}
            times = [row["warm"]["median"] for row in rows.values()]
            panel.plot(list(rows), times, marker="o", color=colours[method], label=method)
        panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="seconds, warm")
        panel.set_xticks([], minor=True)
        panel.set_xticks([int(s) for s in sizes], [f"{int(s):,}".replace(",", " ") for s in sizes])
        panel.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one run, peers optional")
    parser.add_argument("--only", help="part of the name of a workload, or growth")
    parser.add_argument("--out", type=Path, help="the result file, by default of a full run only")
    parser.add_argument("--table", action="store_true", help="print the result file as Markdown")
    parser.add_argument("--picture", action="store_true", help="draw the result file")
    given = parser.parse_args()
    if given.table or given.picture:
        result = json.loads((given.out or RESULT).read_text(encoding="utf-8"))
        if given.table:
            print(table(result))
        if given.picture:
            draw(result, (given.out or RESULT).with_suffix(".png"))
        return
    result = run(given.quick, given.only)
    for goal in result["goals"]:
        said = {True: "passed", False: "FAILED", None: "open"}[goal["passed"]]
        print(said, goal["workload"], "|", goal["goal"], "|", goal["found"])
    out = given.out or (None if given.quick or given.only else RESULT)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
