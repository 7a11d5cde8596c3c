"""Fits of every kind, in turns with another tree of convsolve: CPU, wall time, page faults, memory.

Each tree has a process that stays, and the two take turns, so that both meet the same machine.

Run: python -m benchmarks.sums --before TREE, a checkout (git worktree add TREE COMMIT)
"""

from __future__ import annotations

import argparse
import inspect
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import workloads
from benchmarks.machine import ROOT, load, now, report, stamp, summary
from benchmarks.small import rounded

RESULT = ROOT / "benchmarks" / "results" / "sums.json"
PACKAGES = ("convsolve", "numpy", "scipy", "threadpoolctl")
# Seconds of measured runs from which on no further turn is taken.
ENOUGH = 12.0
# Seconds that a turn takes at least, of several fits if one is shorter.
SHORT_TURN = 0.1
# Largest ratios to the other tree of the least CPU time and of the largest memory, and those of the
# rows for which a faster method was given up.
MOST = (1.15, 1.1)
MOST_OF = {
    "stride 3, dilation 2": (8.0, 1.1),
    "400 000 samples, 4 000 taps": (2.0, 1.1),
    "60 000 samples, 128 → 1, 40 taps": (1.15, 1.4),
    "200 000 samples, 1 → 1, 4 000 taps, ridge 1e-9": (2.0, 1.1),
    "480 000 samples, 1 → 1, 16 000 taps, ridge 1e-9": (2.0, 1.1),
}
# Workloads of `peers`.
LONGER = tuple(name for name, (w, _) in workloads.WORKLOADS.items() if not w.apart)
QUICK = ("2 × 500, 3 → 2, 8 taps", "100 samples", "50 epochs, intercepts", "AR, 2 outputs")

# convsolve comes from ``tree``, this module from here.
CHILD = """
import sys
from benchmarks import sums
sys.path.insert(0, {tree!r})
sums.serve({name!r})
"""


def of_lags(
    shape: tuple[int, int, int], taps: int, records: int = 0, **given: Any
) -> Callable[[], Any]:
    """Return what makes a problem of noise, for (samples, channels, outputs)."""
    import convsolve as cs

    n, channels, outputs = shape
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((max(records, 1), n, c)) for c in (channels, outputs))
    data = ([*x], [*y]) if records else (x[0], y[0])
    return lambda: cs.Problem(*data, lags=(0, taps - 1), **given)


def of_layer(
    shape: Sequence[int], outputs: int, kernel_size: tuple[int, ...], **given: Any
) -> Callable[[], Any]:
    """Return what makes a problem of noise, for (*samples, channels) and whole windows."""
    import convsolve as cs

    rng = np.random.default_rng(0)
    spec = cs.ConvSpec(kernel_size, **given)
    x = rng.standard_normal(shape)
    y = rng.standard_normal((*spec.output_shape(tuple(shape[:-1])), outputs))
    return lambda: cs.Problem(x, y, spec=spec, bias=False)


def solved(make: Callable[[], Any], **given: Any) -> Callable[[], Any]:
    """Return a fit of a new problem, with its standard errors if a noise model is given."""
    import convsolve as cs

    def fit() -> Any:
        found = cs.solve(make(), **given)
        if "noise" in given:
            _ = found.standard_error
        return found

    return fit


def with_objects(make: Callable[[], Any], given: Callable[[Any], Any]) -> Callable[[], Any]:
    """Return a fit by arguments that a function of the measured convsolve returns."""
    import convsolve as cs

    return solved(make, **given(cs))


def in_chunks(make: Callable[[], Any]) -> Callable[[], Any]:
    """Return a fit whose rows are read in chunks."""
    from convsolve.problem import sizes

    # Before convsolve had Tuning, Limits had all thresholds.
    return solved(make, limits=getattr(sizes, "Tuning", sizes.Limits)(held_numbers=0))


def drift(degree: int) -> dict[str, Any]:
    """Return the argument of a problem for a polynomial per record, in either tree."""
    import convsolve as cs

    known = "drift" in inspect.signature(cs.Problem).parameters
    return {"drift": degree} if known else {"confounds": degree or "intercept"}


def kept(share: float, count: int = 60_000) -> np.ndarray:
    """Return a mask of rows."""
    return np.random.default_rng(1).random(count) < share


def weights(count: int) -> np.ndarray:
    """Return positive weights."""
    return 0.1 + np.random.default_rng(2).random(count)


LONG = (60_000, 4, 1)
CASES: dict[str, Callable[[], Callable[[], Any]]] = {
    "60 samples": lambda: solved(of_lags((60, 1, 1), 5)),
    "1 000 samples": lambda: solved(of_lags((1000, 1, 1), 20)),
    "1 000 samples, bias": lambda: solved(of_lags((1000, 2, 1), 20, bias=True)),
    "60 000 × 4": lambda: solved(of_lags(LONG, 40)),
    "padded, bias": lambda: solved(of_lags(LONG, 40, edges="zeros", bias=True)),
    "300 records, 1 000 to 3 000 samples": lambda: solved(ragged()),
    "10 000 epochs": lambda: solved(of_lags((300, 1, 1), 30, 10_000)),
    "1 000 epochs, intercepts": lambda: solved(of_lags((600, 2, 1), 30, 1000, **drift(0))),
    "20 records, drifts": lambda: solved(of_lags((3000, 4, 1), 40, 20, **drift(2))),
    "6 confounds": lambda: solved(
        of_lags(LONG, 40, confounds=np.random.default_rng(3).standard_normal((60_000, 6)))
    ),
    "1 % of the rows masked": lambda: solved(of_lags(LONG, 40, mask=kept(0.99))),
    "30 % of the rows masked": lambda: solved(of_lags(LONG, 40, mask=kept(0.7))),
    "weights per row": lambda: solved(of_lags(LONG, 40, weights=weights(60_000))),
    "weights per record, bias": lambda: solved(
        of_lags((3000, 4, 1), 40, 20, weights=[*map(float, weights(20))], bias=True)
    ),
    "stride 3, dilation 2": lambda: solved(of_layer((180_000, 4), 1, (40,), stride=3, dilation=2)),
    "image of 512², 15 × 15 taps": lambda: solved(of_layer((512, 512, 1), 1, (15, 15))),
    "10 000 groups": lambda: solved(of_layer((200, 10_000), 10_000, (10,), groups=10_000)),
    "400 000 samples, 4 000 taps": lambda: solved(of_lags((400_000, 1, 1), 4000)),
    "stable spline": lambda: with_objects(
        of_lags(LONG, 40), lambda cs: {"penalty": cs.StableSpline(1.0, decay=0.9)}
    ),
    "generalized cross-validation": lambda: solved(of_lags((60_000, 4, 2), 40), penalty="ridge"),
    "cross-validation": lambda: with_objects(
        of_lags((30_000, 4, 2), 40),
        lambda cs: {"penalty": "ridge", "select": cs.CrossValidation(5)},
    ),
    "Huber": lambda: solved(of_lags((20_000, 2, 1), 20, bias=True), loss="huber"),
    "least absolute": lambda: solved(of_lags((5000, 2, 1), 10, bias=True), loss="absolute"),
    "HAC": lambda: solved(of_lags((20_000, 2, 1), 20), noise="hac"),
    "clusters": lambda: solved(of_lags((600, 2, 2), 20, 100), noise="cluster"),
    "AR, 1 output": lambda: solved(of_lags((20_000, 1, 1), 100), noise="ar"),
    "AR, 8 outputs": lambda: solved(of_lags((20_000, 4, 8), 20), noise="ar"),
    "AR, 32 outputs": lambda: solved(of_lags((20_000, 4, 32), 100), noise="ar"),
    "AR, 128 outputs": lambda: solved(of_lags((20_000, 1, 128), 30), noise="ar"),
    "chunks, 400 000 × 16": lambda: in_chunks(of_lags((400_000, 16, 1), 40)),
    "chunks, drifts": lambda: in_chunks(of_lags((200_000, 8, 1), 40, 2, **drift(2))),
    "chunks, 2 000 epochs, intercepts": lambda: in_chunks(
        of_lags((300, 2, 1), 30, 2000, **drift(0))
    ),
}
SMALL_CASES: dict[str, Callable[[], Callable[[], Any]]] = {
    "100 samples": lambda: solved(of_lags((100, 1, 1), 5)),
    "50 epochs, intercepts": lambda: solved(of_lags((60, 1, 1), 5, 50, **drift(0))),
    "AR, 2 outputs": lambda: solved(of_lags((500, 1, 2), 5), noise="ar"),
}


def ragged() -> Callable[[], Any]:
    """Return what makes a problem of 300 records of unequal length."""
    import convsolve as cs

    rng = np.random.default_rng(0)
    x = [rng.standard_normal((n, 4)) for n in rng.integers(1000, 3000, 300)]
    y = [rng.standard_normal((len(record), 1)) for record in x]
    return lambda: cs.Problem(x, y, lags=(0, 39))


def fit_of(name: str) -> Callable[[], Any]:
    """Return the certified fit of a name."""
    cases = CASES | SMALL_CASES
    if name in cases:
        return cases[name]()
    w, _ = (workloads.WORKLOADS | workloads.QUICK)[name]
    return workloads.certified(w, *workloads.make(w))


def serve(name: str) -> None:
    """Print what a first fit says of itself; then, for every line read, what another turn takes.

    A turn has several fits if they are short.
    """
    import resource

    fit = fit_of(name)
    said = described(fit())
    begun = time.perf_counter()
    fit()
    several = max(1, round(SHORT_TURN / (time.perf_counter() - begun)))
    said["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    print(json.dumps(said), flush=True)
    for _ in sys.stdin:
        before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        for _ in range(several):
            fit()
        wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        faults = after.ru_minflt - before.ru_minflt
        costs = {"cpu": cpu, "wall": wall, "faults": faults}
        print(json.dumps({kind: cost / several for kind, cost in costs.items()}), flush=True)


def described(found: Any) -> dict[str, Any]:
    """Return solver, status and certificate of a solution."""
    said = {"solver": found.stats["solver"], "status": found.status}
    certificate = None if found.backward_error is None else rounded(found.backward_error / 2**-52)
    return said | {"certificate_eps": certificate}


def in_turns(trees: dict[str, Path], name: str, runs: int) -> dict[str, Any]:
    """Return the figures of every tree, and the ratio of this tree's to the other's."""
    with ExitStack() as stack:
        row: dict[str, Any] = {"problem": name}
        children = {}
        for tree, path in trees.items():
            command = [sys.executable, "-c", CHILD.format(tree=str(path.resolve()), name=name)]
            child = subprocess.Popen(
                command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            children[tree] = stack.enter_context(child)
            row[tree] = answer(child)
        taken: dict[str, list[dict[str, float]]] = {tree: [] for tree in trees}
        begun = time.perf_counter()
        for turn in range(runs):
            if turn >= 3 and time.perf_counter() - begun > ENOUGH:
                break
            for tree, child in children.items():
                assert child.stdin is not None
                print(file=child.stdin, flush=True)
                taken[tree].append(answer(child))
    for tree, several in taken.items():
        for kind in ("cpu", "wall"):
            row[tree][f"{kind}_seconds"] = summary([one[kind] for one in several])
        row[tree]["page_faults"] = statistics.median(one["faults"] for one in several)
    for kind in ("cpu", "wall"):
        pairs = zip(taken["convsolve"], taken["before"], strict=True)
        row[f"median_{kind}_ratio"] = rounded(
            statistics.median(a[kind] / b[kind] for a, b in pairs)
        )
        least = (row[tree][f"{kind}_seconds"]["min"] for tree in ("convsolve", "before"))
        row[f"least_{kind}_ratio"] = rounded(next(least) / next(least))
    row["peak_mb_ratio"] = rounded(row["convsolve"]["peak_mb"] / row["before"]["peak_mb"])
    return row


def answer(child: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the next line of a child. A child that has failed has none."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError("a measured process failed")
    return json.loads(line)


def commit(tree: Path) -> str:
    """Return the commit of a checkout, and its summary."""
    command = ["git", "-C", str(tree), "log", "-1", "--format=%h %s"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def checked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the promises about these figures."""
    checks = []
    for row in rows:
        # Other processes only add to the least time of either tree.
        kinds = "least_cpu_ratio", "peak_mb_ratio"
        for kind, most in zip(kinds, MOST_OF.get(row["problem"], MOST), strict=True):
            promise = f"{row['problem']}: {kind} at most {most}"
            checks.append({"promise": promise, "passed": row[kind] <= most, "figures": row[kind]})
        eps = row["convsolve"]["certificate_eps"]
        if eps is not None:
            promise = f"{row['problem']}: certificate at most 30 eps"
            checks.append({"promise": promise, "passed": eps <= 30, "figures": eps})
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="tiny ones, by default beside itself")
    parser.add_argument("--before", type=Path, help="the other tree, a checkout")
    parser.add_argument("--only", nargs="*", help="the names of some fits; by default all")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", type=Path, help="the result file, by default of all fits only")
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    if args.before is None and not args.quick:
        parser.error("--before TREE: which tree to measure beside this one")
    result["before"] = None if args.before is None else commit(args.before)
    result["rows"] = []
    trees = {"before": args.before or ROOT, "convsolve": ROOT}
    names = QUICK if args.quick else args.only or (*CASES, *LONGER)
    for name in names:
        result["rows"].append(row := in_turns(trees, name, 2 if args.quick else args.runs))
        ratios = {kind: value for kind, value in row.items() if kind.endswith("ratio")}
        print(f"{name:45} {ratios}", flush=True)
    result["checks"] = checked(result["rows"])
    out = args.out or (None if args.only or args.quick else RESULT)
    if out is not None:
        report(result, out)


if __name__ == "__main__":
    main()
