"""What sums over long records take, beside another tree of convsolve: CPU, wall time, page faults.

Certified fits of three workloads, and a Problem alone, which checks that all values are finite.
Each tree has a process that stays, and the two take turns, so that both meet the same machine.

Run: python -m benchmarks.sums --before TREE, a checkout (git worktree add TREE COMMIT)
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import workloads
from benchmarks.machine import ROOT, load, now, report, stamp, summary
from benchmarks.small import rounded

RESULT = ROOT / "benchmarks" / "results" / "sums.json"
PACKAGES = ("convsolve", "numpy", "scipy", "threadpoolctl")
SIZES = (
    "60 000 samples, 16 → 32, 40 taps",
    "400 000 samples, 16 → 128, 40 taps",
    "60 000 samples, 128 → 1, 40 taps",
)
QUICK = ("2 × 500, 3 → 2, 8 taps", "1 000 samples, 1 → 1, 30 taps")
CHECKED = "check of "

# convsolve comes from ``tree``, this module from here.
CHILD = """
import sys
from benchmarks import sums
sys.path.insert(0, {tree!r})
sums.serve({name!r})
"""


def fit_of(name: str) -> Callable[[], Any]:
    """A certified fit, or the check of a problem."""
    import convsolve as cs

    w, _ = (workloads.WORKLOADS | workloads.QUICK)[name.removeprefix(CHECKED)]
    x, y = workloads.make(w)
    if not name.startswith(CHECKED):
        return workloads.certified(w, x, y)
    return lambda: cs.Problem.from_lags(x, y, lags=(0, w.taps[0] - 1), edges="zeros")


def serve(name: str) -> None:
    """Print what a run says of itself, then for every line read what another one takes."""
    import resource

    fit = fit_of(name)
    print(json.dumps(described(fit())), flush=True)
    for _ in sys.stdin:
        before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        fit()
        wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        faults = after.ru_minflt - before.ru_minflt
        print(json.dumps({"cpu": cpu, "wall": wall, "faults": faults}), flush=True)


def described(found: Any) -> dict[str, Any]:
    """Solver, status and certificate of a solution."""
    if not hasattr(found, "certificate"):
        return {}
    return {
        "solver": found.stats["solver"],
        "status": found.status,
        "certificate_eps": rounded(found.certificate / 2**-52),
    }


def in_turns(trees: dict[str, Path], name: str, runs: int) -> dict[str, Any]:
    """Every tree's figures, and what it took before over what it takes now."""
    with ExitStack() as stack:
        found: dict[str, Any] = {}
        children = {}
        for tree, path in trees.items():
            command = [sys.executable, "-c", CHILD.format(tree=str(path.resolve()), name=name)]
            child = subprocess.Popen(
                command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            children[tree] = stack.enter_context(child)
            found[tree] = answer(child)
        taken: dict[str, list[dict[str, float]]] = {tree: [] for tree in trees}
        for _ in range(runs):
            for tree, child in children.items():
                assert child.stdin is not None
                print(file=child.stdin, flush=True)
                taken[tree].append(answer(child))
    row: dict[str, Any] = {"problem": name}
    for tree, several in taken.items():
        costs = {kind: [one[kind] for one in several] for kind in several[0]}
        found[tree] |= {f"{kind}_seconds": summary(costs[kind]) for kind in ("cpu", "wall")}
        found[tree]["page_faults"] = statistics.median(costs["faults"])
        row[tree] = found[tree]
    for kind in ("cpu", "wall"):
        pairs = zip(taken["before"], taken["convsolve"], strict=True)
        row[f"before_over_now_{kind}"] = rounded(
            statistics.median(a[kind] / b[kind] for a, b in pairs)
        )
        least = (row[tree][f"{kind}_seconds"]["min"] for tree in ("before", "convsolve"))
        row[f"least_before_over_least_now_{kind}"] = rounded(next(least) / next(least))
    return row


def answer(child: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of a child, which has failed where there is none."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError("a measured process failed")
    return json.loads(line)


def commit(tree: Path) -> str:
    """Which commit a checkout is at, and what it says."""
    command = ["git", "-C", str(tree), "log", "-1", "--format=%h %s"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def checked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The promises about these figures."""
    checks = []
    for row in rows:
        ratio = row["least_before_over_least_now_cpu"]  # what else runs can only add to either
        promise = f"{row['problem']}: no more CPU time than before"
        checks.append({"promise": promise, "passed": ratio >= 1, "figures": ratio})
        if "certificate_eps" in row["convsolve"]:
            eps = row["convsolve"]["certificate_eps"]
            promise = f"{row['problem']}: certificate at most 30 eps"
            checks.append({"promise": promise, "passed": eps <= 30, "figures": eps})
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="tiny ones, by default beside itself")
    parser.add_argument("--before", type=Path, help="the other tree, a checkout")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    if args.before is None and not args.quick:
        parser.error("--before TREE: which tree to measure beside this one")
    result["before"] = None if args.before is None else commit(args.before)
    result["rows"] = []
    trees = {"before": args.before or ROOT, "convsolve": ROOT}
    sizes, runs = (QUICK, 2) if args.quick else (SIZES, args.runs)
    for name in (*sizes, CHECKED + sizes[1]):
        result["rows"].append(in_turns(trees, name, runs))
        print(json.dumps(result["rows"][-1], ensure_ascii=False), flush=True)
    result["checks"] = checked(result["rows"])
    report(result, args.out)


if __name__ == "__main__":
    main()
