"""Times of many small problems solved together, and of one small problem.

Ten thousand groups of 64 samples and 8 taps are compared with a loop over `numpy.linalg.lstsq`,
whose matrices are cut from x all at once. As many problems by `fit_kernel` under `jax.vmap` are
compared with the loop and with `NormalEquations`. Eight records of 4 096 samples are compared with
MNE's TimeDelayingRidge. All are measured in turns. With ``--before TREE`` the convsolve of another
tree takes its turn as well.

Run: python -m benchmarks.small --before TREE
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import workloads
from benchmarks.machine import ROOT, load, now, process, report, stamp, summary

RESULT = ROOT / "benchmarks" / "results" / "small.json"
PACKAGES = ("convsolve", "numpy", "scipy", "jax", "mne", "threadpoolctl")
SHORT = "8 × 4 096, 1 → 1, 40 taps"
# Times of NormalEquations, and of MNE.
MOST_OF_NORMAL, MOST_OF_MNE = 2.0, 1.0
# Times faster than the loop, where so much is promised: of groups as they are, with a bias each,
# and with some that are deficient.
LEAST_OF_LOOP = {"": 3.0, "a bias each": 2.5, "3 % deficient": 1.0}
SAMPLES, TAPS = 64, 8
# Samples, taps, problems and the deficient ones among them under `jax.vmap`, and times faster than
# the loop.
MAPPED = ((64, 8, 10_000, 0, 8.0), (64, 8, 10_000, 10, 8.0), (512, 40, 50, 0, 1.0))

# convsolve comes from ``tree``, this module from here.
CHILD = """
import json, sys
from benchmarks import small
sys.path.insert(0, {tree!r})
print(json.dumps(small.{call}))
"""


def rounded(value: float) -> float:
    return float(f"{value:.3g}")


def in_turns(fits: dict[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Seconds of each, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in fits}
    for turn in range(runs + 1):
        for name, fit in fits.items():
            begun = time.perf_counter()
            fit()
            if turn:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def data(samples: int, taps: int, count: int, deficient: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of problems. Of ``deficient`` ones, the first is of zeros, the others are tones."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, samples))
    few = np.arange(deficient) * count // max(1, deficient)
    x[few] = np.sin(np.outer(0.5 + few / count, np.arange(samples)))
    x[few[:1]] = 0.0
    return x, rng.standard_normal((count, samples - taps + 1))


def groups(count: int, deficient: int, bias: bool, runs: int) -> dict[str, Any]:
    """Groups in one `Problem` beside the loop over lstsq."""
    import convsolve as cs

    x, y = (np.ascontiguousarray(a.T) for a in data(SAMPLES, TAPS, count, deficient))

    def loop() -> np.ndarray:
        rows = np.lib.stride_tricks.sliding_window_view(x, TAPS, 0).transpose(1, 0, 2)
        rows = np.concatenate([rows, np.ones((*rows.shape[:2], int(bias)))], axis=2)
        pairs = zip(rows, np.ascontiguousarray(y.T), strict=True)
        return np.stack([np.linalg.lstsq(a, b, rcond=None)[0] for a, b in pairs])

    def solve() -> cs.Solution:
        with warnings.catch_warnings():  # of more channels than samples, and what is deficient
            warnings.simplefilter("ignore")
            problem = cs.Problem(x, y, kernel_size=TAPS, groups=count, bias=bias)
            return cs.solve(problem)

    fit, exact = solve(), loop()[:, :TAPS].T
    seconds = in_turns({"loop over lstsq": loop, "convsolve": solve}, runs)
    times = {name: summary(several) for name, several in seconds.items()}
    ratio = times["loop over lstsq"]["median"] / times["convsolve"]["median"]
    off = np.linalg.norm(fit.kernel[:, 0] - exact) / np.linalg.norm(exact)
    return {
        "seconds": times,
        "times_faster": rounded(ratio),
        "status": fit.status,
        "certificate_eps": rounded(fit.backward_error / np.finfo(float).eps),
        "off_lstsq": rounded(float(off)),
    }


def mapped(samples: int, taps: int, count: int, deficient: int, runs: int) -> dict[str, Any]:
    """`fit_kernel` under `jax.vmap` by its default, by `NormalEquations`, and the loop."""
    import jax

    import convsolve as cs

    x, y = data(samples, taps, count, deficient)
    rows = np.lib.stride_tricks.sliding_window_view(x, taps, 1)
    exact = (np.linalg.pinv(rows, rcond=1e-12) @ y[..., None])[..., 0]
    spec = cs.ConvSpec(taps)

    def by(solver: str | None) -> Callable[[], np.ndarray]:
        def one(x: Any, y: Any) -> Any:
            return cs.fit_kernel(x, y, spec, solver)[0][:, 0, 0]

        several = jax.jit(jax.vmap(one))

        def fit() -> np.ndarray:
            with jax.enable_x64(True):
                return np.asarray(several(x, y).block_until_ready())

        return fit

    def loop() -> np.ndarray:
        pairs = zip(rows, y, strict=True)
        return np.stack([np.linalg.lstsq(a, b, rcond=None)[0] for a, b in pairs])

    fits = {"default": by(None), "NormalEquations": by("normal")}
    size = np.linalg.norm(exact)
    off = {name: rounded(np.linalg.norm(fit() - exact) / size) for name, fit in fits.items()}
    seconds = in_turns(fits | {"loop over lstsq": loop}, runs)

    def times(name: str) -> float:
        pairs = zip(seconds[name], seconds["default"], strict=True)
        return statistics.median(a / b for a, b in pairs)

    return {
        "problems": count,
        "deficient": deficient,
        "samples": samples,
        "taps": taps,
        "seconds": {name: summary(several) for name, several in seconds.items()},
        "times_of_normal_equations": rounded(1 / times("NormalEquations")),
        "times_faster": rounded(times("loop over lstsq")),
        "off_lstsq": off,
    }


def short(method: str, runs: int) -> dict[str, Any]:
    """Seconds of one process that fits the short recording by ``method`` again and again."""
    w, _ = workloads.WORKLOADS[SHORT]
    x, y = workloads.make(w)
    fit = {"convsolve": workloads.certified, "MNE": workloads.mne}[method](w, x, y)
    for _ in range(min(runs, 20)):
        found = fit()
    kernel = getattr(found, "impulse_response", found)
    exact = workloads.exact(w, x, y)[0]
    off = np.linalg.norm(np.reshape(kernel, exact.shape) - exact) / np.linalg.norm(exact)
    row = {"seconds": in_turns({method: fit}, runs)[method], "off_exact": rounded(float(off))}
    if method == "convsolve":
        row |= {"status": found.status, "certificate_eps": rounded(found.backward_error / 2**-52)}
    return row


def child(tree: Path, call: str) -> dict[str, Any]:
    """What a call of this module gives in a fresh process with the convsolve of a tree."""
    return json.loads(process(CHILD.format(tree=str(tree), call=call))[1].splitlines()[-1])


def short_in_turns(trees: dict[str, Path], rounds: int, runs: int) -> dict[str, Any]:
    """A process each, in turns, several times over; of every process its median."""
    methods = {name: (tree, "convsolve") for name, tree in trees.items()}
    if find_spec("mne") is not None:
        methods["MNE"] = (ROOT, "MNE")
    medians: dict[str, list[float]] = {name: [] for name in methods}
    rows: dict[str, Any] = {}
    for _ in range(rounds):
        for name, (tree, method) in methods.items():
            rows[name] = child(tree, f"short({method!r}, {runs})")
            medians[name].append(statistics.median(rows[name]["seconds"]))
    found = {name: row | {"seconds": summary(medians[name])} for name, row in rows.items()}
    if "MNE" in found:
        pairs = zip(medians["convsolve"], medians["MNE"], strict=True)
        found["times_of_mne"] = rounded(statistics.median(ours / mne for ours, mne in pairs))
    return found


def measured(trees: dict[str, Path], quick: bool) -> dict[str, Any]:
    many, some, runs = (200, 50, 1) if quick else (10_000, 1_000, 9)
    problems = {
        f"{many} groups": f"groups({many}, 0, False, {runs})",
        f"{many} groups, a bias each": f"groups({many}, 0, True, {runs})",
        f"{many} groups, 3 % deficient": f"groups({many}, {many * 3 // 100}, False, {runs})",
        f"{some} groups, one of zeros": f"groups({some}, 1, False, {runs})",
        f"{some} groups, all deficient": f"groups({some}, {some}, False, {runs})",
    }
    of_groups = []
    for name, call in problems.items():
        row: dict[str, Any] = {"problem": name}
        row |= {tree: child(path, call) for tree, path in trees.items()}
        of_groups.append(row)
        print(json.dumps(row), flush=True)
    of_vmap = []
    for samples, taps, several, bad, _ in MAPPED:
        call = f"mapped({samples}, {taps}, {10 if quick else several}, {bad}, {2 * runs})"
        of_vmap.append({tree: child(path, call) for tree, path in trees.items()})
        print(json.dumps(of_vmap[-1]), flush=True)
    of_short = short_in_turns(trees, 1 if quick else 5, 5 if quick else 100)
    print(json.dumps(of_short), flush=True)
    return {"groups": of_groups, "vmap": of_vmap, "short": {"problem": SHORT} | of_short}


def checked(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The promises about these figures."""
    checks = []
    for row in result["groups"]:
        least = LEAST_OF_LOOP.get(row["problem"].partition(", ")[2])
        if least is not None:
            times = row["convsolve"]["times_faster"]
            promise = f"{row['problem']}: {least:g} times faster than the loop"
            checks.append({"promise": promise, "passed": times >= least, "figures": times})
    for row in result["groups"]:
        eps = row["convsolve"]["certificate_eps"]
        promise = f"{row['problem']}: certificate at most 30 eps"
        checks.append({"promise": promise, "passed": eps <= 30, "figures": eps})
    for row, (*_, least) in zip(result["vmap"], MAPPED, strict=True):
        found = row["convsolve"]
        times = found["times_of_normal_equations"]
        problem = "{samples} samples, {taps} taps under vmap, {deficient} deficient".format(**found)
        promise = f"{problem}: at most {MOST_OF_NORMAL:g} times NormalEquations"
        checks.append({"promise": promise, "passed": times <= MOST_OF_NORMAL, "figures": times})
        times = found["times_faster"]
        promise = f"{problem}: {least:g} times faster than the loop"
        checks.append({"promise": promise, "passed": times >= least, "figures": times})
    times = result["short"].get("times_of_mne")
    if times is not None:
        promise = f"{SHORT}: ahead of MNE"
        checks.append({"promise": promise, "passed": times < MOST_OF_MNE, "figures": times})
    return checks


def sentence(result: dict[str, Any]) -> str:
    """Describe the times of many small problems and of short records."""
    ours = result["groups"][0]["convsolve"]
    loop = ours["seconds"]["loop over lstsq"]["median"]
    short = {
        name: 1e3 * result["short"][name]["seconds"]["median"] for name in ("convsolve", "MNE")
    }
    return (
        "Ten thousand problems of 64 samples and 8 taps are solved as groups of one problem in\n"
        f"{1e3 * ours['seconds']['convsolve']['median']:.0f} ms. This includes verdicts and "
        f"certificates (at most {ours['certificate_eps']:.1f} eps). A loop over "
        f"`numpy.linalg.lstsq` takes {1e3 * loop:.0f} ms.\nEight records of 4 096 samples, one "
        f"channel and 40 taps take {short['convsolve']:.1f} ms, and {short['MNE']:.1f} ms with "
        "MNE (measured in turns)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--before", type=Path, help="another tree of convsolve to measure as well")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    trees = {"convsolve": ROOT} | ({"before": args.before} if args.before else {})
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    result |= measured(trees, args.quick)
    result["checks"] = checked(result)
    report(result, args.out)


if __name__ == "__main__":
    main()
