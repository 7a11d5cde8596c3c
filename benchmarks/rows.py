"""What masks, weights and confounds cost beside the same problem without them.

60 000 samples, 16 channels, 32 outputs and 40 taps: solved, certified, a fresh problem each time,
all variants in turn.

Run: python -m benchmarks.rows
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
from scipy.linalg import block_diag

import convsolve as cs
from benchmarks.machine import ROOT, load, now, report, stamp, summary

RESULT = ROOT / "benchmarks" / "results" / "rows.json"
# Of x, and of y beside it.
OFFSET, TREND = 1e6, 1e4
CHANNELS, OUTPUTS, TAPS = 16, 32, 40
# Times of a plain problem that a variant may take.
GOALS = {"1 % of rows left out at random": 3.0, "30 % of rows left out at random": 6.0}


def recording(samples: int, records: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """White channels and as much noise as signal."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((TAPS, CHANNELS, OUTPUTS))
    x = [rng.standard_normal((samples // records, CHANNELS)) for _ in range(records)]
    y = [cs.convolve(a, w, cs.ConvSpec(TAPS)) for a in x]
    return x, [b + b.std() * rng.standard_normal(b.shape) for b in y]


def variants(rows: int) -> dict[str, dict[str, Any]]:
    """Arguments of a `Problem` of one record, and the same of ten."""
    rng = np.random.default_rng(1)
    gaps = np.arange(rows) % 1000 >= 300
    return {
        "plain": {},
        "1 % of rows left out at random": {"mask": rng.random(rows) > 0.01},
        "30 % of rows left out at random": {"mask": rng.random(rows) > 0.3},
        "30 % of rows left out, 300 at a time": {"mask": gaps},
        "a weight for every row": {"weights": rng.uniform(0.5, 2, rows)},
        "ten records": {},
        "ten records, an intercept each": {"drift": 0, "bias": False},
        "ten records, a drift of degree 2 each": {"drift": 2, "bias": False},
        "ten records, a weight each": {"weights": rng.uniform(0.5, 2, 10)},
        "ten records, six confounds each": {
            "confounds": [rng.standard_normal((rows // 10, 6)) for _ in range(10)]
        },
    }


def measured(samples: int, runs: int) -> list[dict[str, Any]]:
    """Seconds of every variant, taken in turn."""
    one, ten = (recording(samples + records * (TAPS - 1), records) for records in (1, 10))
    given = variants(samples)
    seconds: dict[str, list[float]] = {name: [] for name in given}
    fits = {}
    for turn in range(runs + 1):
        for name, arguments in given.items():
            x, y = ten if name.startswith("ten") else (one[0][0], one[1][0])
            problem = cs.Problem(x, y, kernel_size=TAPS, **({"bias": True} | arguments))
            begun = time.perf_counter()
            fits[name] = cs.solve(problem)
            if turn:
                seconds[name].append(time.perf_counter() - begun)
    found = []
    for name, several in seconds.items():
        plain = "ten records" if name.startswith("ten") else "plain"
        ratio = float(np.median(np.array(several) / np.array(seconds[plain])))
        fit = fits[name]
        found.append(
            {
                "problem": name,
                "seconds": summary(several),
                "times_plain": float(f"{ratio:.3g}"),
                "status": fit.status,
                "certificate": fit.backward_error,
            }
        )
    return found


def digits() -> dict[str, float]:
    """Errors of the kernel beside a quadratic of every record, in data far from zero that drift:
    ours, and of lstsq on all columns together; from the normal equations in 60 digits.
    """
    rng = np.random.default_rng(1)
    x = [rng.standard_normal((n, 2)) for n in (220, 180)]
    w = rng.standard_normal((5, 2, 1))
    y = [cs.convolve(a, w, cs.ConvSpec(5)) for a in x]
    t = [np.linspace(-1, 1, len(a))[:, None] for a in x]
    x = [a + OFFSET + TREND * s for a, s in zip(x, t, strict=True)]
    y = [b + OFFSET + rng.standard_normal(b.shape) for b in y]
    fit = cs.solve(cs.Problem(x, y, kernel_size=5, drift=2))
    windows = [np.lib.stride_tricks.sliding_window_view(a, 5, 0) for a in x]
    a = np.concatenate([v.swapaxes(1, 2).reshape(len(v), -1) for v in windows])
    powers = [np.arange(float(len(b)))[:, None] ** np.arange(3) for b in y]
    both, right = np.hstack([a, block_diag(*powers)]), np.concatenate(y)
    with mp.workdps(60):
        rows = mp.matrix(both.tolist())
        exact = mp.lu_solve(rows.T * rows, rows.T * mp.matrix(right.tolist()))
    truth = np.array([float(v) for v in exact])[:10]
    together = np.linalg.lstsq(both, right, rcond=None)[0][:10, 0]
    errors = {"convsolve": fit.kernel.reshape(-1), "lstsq of all columns": together}
    size = np.linalg.norm(truth)
    return {k: float(f"{np.linalg.norm(v - truth) / size:.2g}") for k, v in errors.items()}


def sentence(result: dict[str, Any]) -> str:
    """Format the relative times as a table, and describe the accuracy."""
    ratio = {row["problem"]: row["times_plain"] for row in result["problems"]}
    ours, theirs = result["digits"].values()
    return (
        f"Times relative to the plain fit, for {result['samples'] // 1000} 000 rows, 16 channels, "
        "32 outputs and 40 taps:\n\n"
        "| problem | times plain |\n| --- | ---: |\n"
        + "\n".join(f"| {name} | {times:.1f} |" for name, times in ratio.items() if times != 1)
        + "\n\nWith an offset of 1e6 and a trend of 1e4 in x, the relative error of the kernel is "
        f"{ours:.0e}.\nLeast squares on all columns together has an error of {theirs:.0e}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    samples, runs = (6_000, 1) if args.quick else (60_000, 15)
    result: dict[str, Any] = {
        "machine": stamp(("convsolve", "numpy", "scipy")),
        "date": now(),
        "load": load(),
        "samples": samples,
        "problems": measured(samples, runs),
        "digits": digits(),
    }
    ratios = {row["problem"]: row["times_plain"] for row in result["problems"]}
    result["checks"] = [
        {"promise": f"{name}: at most {most:g} times", "passed": ratios[name] <= most}
        for name, most in GOALS.items()
    ]
    report(result, args.out)
    for row in result["problems"]:
        print(f"{row['problem']:40s} {row['seconds']['median']:.3f} s  {row['times_plain']:5.2f}")


if __name__ == "__main__":
    main()
