"""Where steps of FFTs are faster than a factor: what `convsolve.solvers.direct.choose` goes by.

    python -m benchmarks.choice                     # five minutes; writes the result file
    python -m benchmarks.choice --quick --out FILE  # tiny sizes, to see whether it works

NormalEquations and ConjugateGradient in one process, in turn, on the same data: channels of white
noise through a first-order recursion of pole 0.9, apart or mixed from a sixth as many sources (and
a tenth of power of their own), zero-padded. ``ratio`` is the time of the one over that of the
other, ``chosen`` what the rule takes, and a choice is wrong where the other is faster by half.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from .machine import ROOT, load, now, stamp, summary

RIDGE = 1e-3
SAMPLES, CHANNELS, UNKNOWNS, OUTPUTS = 60_000, (1, 8, 32, 128), (500, 1000, 2000, 5000), (1, 8, 32)
QUICK = 2_000, (1, 4), (40, 80), (1, 2)


def data(samples: int, channels: int, outputs: int, mixed: bool) -> tuple[np.ndarray, np.ndarray]:
    from scipy.signal import lfilter

    rng = np.random.default_rng(0)
    x = lfilter([1.0], [1.0, -0.9], rng.standard_normal((samples, channels)), axis=0)
    if mixed:
        sources = -(-channels // 6)
        own = np.sqrt(0.1 * sources) * x
        noise = rng.standard_normal((samples, sources))
        x = lfilter([1.0], [1.0, -0.9], noise, axis=0) @ rng.standard_normal((sources, channels))
        x += own
    y = x @ rng.standard_normal((channels, outputs)) + rng.standard_normal((samples, outputs))
    return x, y


def measured(
    samples: int, channels: int, unknowns: int, outputs: int, mixed: bool, runs: int
) -> dict[str, Any]:
    import convsolve as cs
    from convsolve.solvers.base import Objective
    from convsolve.solvers.direct import choose

    x, y = data(samples, channels, outputs, mixed)
    lags = (0, unknowns // channels - 1)

    def problem() -> cs.Problem:
        return cs.Problem(x, y, lags=lags, edges="zeros")

    solvers = {"NormalEquations": "normal", "ConjugateGradient": "cg"}
    seconds: dict[str, list[float]] = {name: [] for name in solvers}
    solved = True
    for run in range(runs + 1):
        for name, solver in solvers.items():
            begun = time.perf_counter()
            fit = cs.solve(problem(), solver, ridge=RIDGE)
            if run:
                seconds[name].append(time.perf_counter() - begun)
            solved &= fit.converged
    found = {name: summary(each) for name, each in seconds.items()}
    factor, steps = (found[name]["median"] for name in solvers)
    stated = problem()
    chosen = choose(stated._sizes(), stated.spec, Objective(strength=RIDGE))[0].name
    lost = {"NormalEquations": factor / steps, "ConjugateGradient": steps / factor}
    return {
        "channels": channels,
        "taps": unknowns // channels,
        "outputs": outputs,
        "mixed": mixed,
        "seconds": found,
        "ratio": float(f"{factor / steps:.3g}"),
        "both_solved": bool(solved),
        "chosen": chosen,
        "wrong": lost.get(chosen, 0.0) > 1.5,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one run each")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    out = args.out or ROOT / "benchmarks" / "results" / "choice.json"
    samples, *axes = QUICK if args.quick else (SAMPLES, CHANNELS, UNKNOWNS, OUTPUTS)
    result: dict[str, Any] = {
        "command": "python -m benchmarks.choice" + (" --quick" if args.quick else ""),
        "date": now(),
        "machine": stamp(["numpy", "scipy", "jax"]),
        "load_before": load(),
        "samples": samples,
        "ridge": RIDGE,
    }
    rows = result["rows"] = []
    for channels, unknowns, outputs in itertools.product(*axes):
        for mixed in (False, True)[: 1 + (channels > 1)]:
            sizes = channels, unknowns, outputs, mixed
            rows.append(measured(samples, *sizes, runs=1 if args.quick else 3))
            print(*(f"{name} {rows[-1][name]}" for name in rows[-1] if name != "seconds"), sep=", ")
    result["wrong"] = sum(row["wrong"] for row in rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{result['wrong']} of {len(rows)} choices are wrong")


if __name__ == "__main__":
    main()
