"""Robust fits beside what others use for them: how fast, and how near to the least loss.

    pip install -e '.[bench]'
    python -m benchmarks.robust                     # five minutes
    python -m benchmarks.robust --quick --out FILE  # tiny sizes, to see whether it works

Recordings of white channels, a white kernel, and noise of Student's t with two degrees of freedom,
of which errors of a hundred deviations are common. *Least absolute deviations*: `"absolute"`
beside HiGHS, by SciPy's `linprog` on the bounded dual, the form that suits it best: its dual
simplex and its interior point method, of which the faster counts. *Huber*: beside `RLM` of
statsmodels as it comes; and the two kernels and covariances at the scale of an RLM that has
converged.

convsolve begins with the recording, the peers with the lag matrix. One thread for all, medians
after a warm-up, taken in turns in one process.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import convsolve as cs

from .machine import ROOT, load, now, report, stamp, summary

RESULT = ROOT / "benchmarks" / "results" / "robust.json"
PACKAGES = ("convsolve", "numpy", "scipy", "statsmodels")
# Rows, channels and taps.
SIZES = [(5_000, 4, 20), (60_000, 1, 40)]
QUICK_SHARE = 20
# Runs of each after the warm-up.
RUNS = 5
# What is promised.
LARGEST_GAP, AGREEMENT, TIMES_FASTER = 1e-8, 1e-10, 5


def recording(rows: int, channels: int, taps: int) -> tuple[np.ndarray, np.ndarray]:
    """x (samples, channels) and y (rows,)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows + taps - 1, channels))
    w = rng.standard_normal((taps, channels, 1))
    return x, cs.convolve(x, w, cs.ConvSpec(taps))[:, 0] + rng.standard_t(2, rows)


def lag_matrix(x: np.ndarray, taps: int) -> np.ndarray:
    """(rows, taps·channels), columns in the order of a kernel."""
    windows = np.lib.stride_tricks.sliding_window_view(x, taps, axis=0)
    return np.ascontiguousarray(windows.transpose(0, 2, 1)).reshape(len(windows), -1)


def in_turns(calls: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Seconds of each call after a warm-up, taken in turns, and what they found."""
    found = {name: call() for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(RUNS):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begun)
    return {name: summary(each) for name, each in seconds.items()}, found


def ours(
    x: np.ndarray, y: np.ndarray, taps: int, loss: str | cs.HuberLoss
) -> Callable[[], cs.Solution]:
    return lambda: cs.solve(cs.Problem(x, y, kernel_size=(taps,)), loss=loss)


def rounded(value: float) -> float:
    return float(f"{value:.3g}")


def largest_share(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference as a share of the largest number."""
    return rounded(np.abs(found - wanted).max() / np.abs(wanted).max())


def least_absolute(x: np.ndarray, y: np.ndarray, taps: int) -> dict[str, Any]:
    """By convsolve and by HiGHS."""
    from scipy.optimize import linprog

    a = lag_matrix(x, taps)
    dual = {"c": -y, "A_eq": a.T, "b_eq": np.zeros(a.shape[1]), "bounds": (-1, 1)}
    calls: dict[str, Callable[[], Any]] = {"convsolve": ours(x, y, taps, "absolute")}
    calls["HiGHS, dual simplex"] = lambda: linprog(**dual, method="highs-ds")
    calls["HiGHS, interior point"] = lambda: linprog(**dual, method="highs-ipm")
    seconds, found = in_turns(calls)
    fit = found.pop("convsolve")
    loss = np.abs(y - a @ fit.kernel.reshape(-1)).sum()
    fastest = min(seconds[name]["median"] for name in found)
    return {
        "gap": rounded(fit.duality_gap),
        "times_faster": rounded(fastest / seconds["convsolve"]["median"]),
        "loss_above_ours": {k: rounded(float(-v.fun / loss - 1)) for k, v in found.items()},
        "stats": _steps(fit),
        "seconds": seconds,
    }


def huber(x: np.ndarray, y: np.ndarray, taps: int) -> dict[str, Any]:
    """By convsolve and, where it is installed, by statsmodels."""
    a = lag_matrix(x, taps)
    calls: dict[str, Callable[[], Any]] = {"convsolve": ours(x, y, taps, cs.HuberLoss())}
    theirs = find_spec("statsmodels") is not None
    if theirs:
        import statsmodels.api as sm

        calls["RLM"] = lambda: sm.RLM(y, a).fit()
    seconds, found = in_turns(calls)
    fit = found["convsolve"]
    row = {"gap": rounded(fit.duality_gap), "stats": _steps(fit), "seconds": seconds}
    if not theirs:
        return row
    row["times_faster"] = rounded(seconds["RLM"]["median"] / seconds["convsolve"]["median"])
    row["off_RLM_as_it_comes"] = largest_share(fit.kernel.reshape(-1), found["RLM"].params)
    exact = sm.RLM(y, a).fit(conv="coefs", tol=1e-12, maxiter=500)
    at_scale = ours(x, y, taps, cs.HuberLoss(scale=exact.scale))()
    row["gap_at_the_scale_of_RLM"] = rounded(at_scale.duality_gap)
    row["off_RLM"] = largest_share(at_scale.kernel.reshape(-1), exact.params)
    # The covariance is in ascending lags, the columns of RLM are in the order of a layer.
    order = np.arange(a.shape[1]).reshape(taps, -1)[::-1].reshape(-1)
    covariance = at_scale.covariance()[np.ix_(order, order)]
    row["covariance_off_RLM"] = largest_share(covariance, exact.cov_params())
    return row


def _steps(fit: cs.Solution) -> dict[str, Any]:
    return {k: v for k, v in fit.stats.items() if k.endswith("steps")}


def checked(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The promises about these figures."""
    checks: list[dict[str, Any]] = []

    def check(promise: str, passed: bool, figure: float) -> None:
        checks.append({"promise": promise, "passed": bool(passed), "figures": figure})

    for row in result["rows"]:
        size = "{rows} × {channels} × {taps}".format(**row)
        for name, peer in (("AbsoluteLoss", "HiGHS"), ("HuberLoss", "RLM")):
            found = row[name]
            gap, times = found["gap"], found.get("times_faster")
            check(f"{size}, {name}: gap at most {LARGEST_GAP:g}", gap <= LARGEST_GAP, gap)
            if times is not None:
                promise = f"{size}, {name}: {TIMES_FASTER} times faster than {peer}"
                check(promise, times >= TIMES_FASTER, times)
        for what in ("off_RLM", "covariance_off_RLM"):
            if what in row["HuberLoss"]:
                off = row["HuberLoss"][what]
                check(f"{size}, HuberLoss: {what} at most {AGREEMENT:g}", off <= AGREEMENT, off)
    return checks


def table(result: dict[str, Any]) -> str:
    """Times and gaps as Markdown."""
    lines = [
        "| rows × channels × taps | `absolute` | gap | HiGHS | times faster "
        "| `huber` | gap | RLM | times faster |",
        "| --- |" + " ---: |" * 8,
    ]
    for row in result["rows"]:
        cells = ["{rows:,} × {channels} × {taps}".format(**row).replace(",", " ")]
        for name in ("AbsoluteLoss", "HuberLoss"):
            part = row[name]
            own = part["seconds"]["convsolve"]["median"]
            cells += [f"{1000 * own:.0f} ms", f"{part['gap']:.0e}"]
            cells += [f"{own * part['times_faster']:.2f} s", f"{part['times_faster']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    result["rows"] = []
    import scipy.linalg.blas  # noqa: F401  # loaded before its threads are limited

    with threadpool_limits(1):
        for rows, channels, taps in SIZES:
            rows = rows // QUICK_SHARE if args.quick else rows
            x, y = recording(rows, channels, taps)
            row: dict[str, Any] = {"rows": rows, "channels": channels, "taps": taps}
            row["AbsoluteLoss"] = least_absolute(x, y, taps)
            row["HuberLoss"] = huber(x, y, taps)
            result["rows"].append(row)
            print(json.dumps(row), flush=True)
    result["checks"] = checked(result)
    report(result, args.out)


if __name__ == "__main__":
    main()
