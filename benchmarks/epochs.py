"""Many short records with nuisance columns of their own: time by the number of records.

Epochs of 60 samples, 20 taps, with an intercept or a drift per epoch, or a bias and a weight per
epoch, compared with the same epochs without them; and with the means of all epochs subtracted
before `numpy.linalg.lstsq` on the design matrix. The last case is one record with as many samples
as all epochs. The fits are measured in turns.

Run: python -m benchmarks.epochs
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import convsolve as cs
from benchmarks.machine import ROOT, load, now, report, stamp, summary
from benchmarks.small import in_turns, rounded

RESULT = ROOT / "benchmarks" / "results" / "epochs.json"
PACKAGES = ("convsolve", "numpy", "scipy", "threadpoolctl")
TAPS = 20
# Numbers of epochs, and of samples in each.
SIZES = ((1000, 60), (2000, 60), (4000, 60), (10_000, 60), (1, 600_000))
QUICK_SIZES = ((50, 60), (100, 60))
# The largest allowed ratio of the times with and without an intercept per epoch.
MOST_OF_PLAIN = 3.0
PLAIN, INTERCEPT = "nothing", "an intercept per epoch"


def subtracted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Solve by `numpy.linalg.lstsq` with the means of all columns of every epoch subtracted."""
    rows = np.lib.stride_tricks.sliding_window_view(x[..., 0], TAPS, 1)[..., ::-1]
    rows = rows - rows.mean(1, keepdims=True)
    wanted = y[:, TAPS - 1 :] - y[:, TAPS - 1 :].mean(1, keepdims=True)
    found = np.linalg.lstsq(rows.reshape(-1, TAPS), wanted.reshape(-1, 1), rcond=None)
    return found[0]


def fits(x: np.ndarray, y: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The problems by what is fitted in addition to the kernel."""
    weights = np.linspace(0.5, 2, len(x))

    def solve(penalty: Any = None, noise: str = "white", **given: Any) -> cs.Solution:
        problem = cs.Problem(x, y, lags=(0, TAPS - 1), **given)
        return cs.solve(problem, penalty=penalty, noise=noise)

    return {
        PLAIN: solve,
        INTERCEPT: lambda: solve(drift=0),
        "a drift of degree 2 per epoch": lambda: solve(drift=2),
        "a bias and a weight per epoch": lambda: solve(bias=True, weights=weights),
        "AR(2) noise": lambda: solve(noise="ar2"),
        "an intercept per epoch, AR(2) noise": lambda: solve(drift=0, noise="ar2"),
        "an intercept per epoch, Lasso": lambda: solve("lasso", drift=0),
        "means subtracted, lstsq": lambda: subtracted(x, y),
    }


def measured(count: int, samples: int, runs: int) -> dict[str, Any]:
    """Times of one number of epochs, and the difference from lstsq."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, count, samples, 1))
    x = x + rng.standard_normal((count, 1, 1))
    every = fits(x, y)
    off = every[INTERCEPT]().impulse_response.reshape(-1, 1) - subtracted(x, y)
    seconds = {name: summary(times) for name, times in in_turns(every, runs).items()}
    plain = seconds[PLAIN]["median"]
    return {
        "epochs": count,
        "samples": samples,
        "seconds": seconds,
        "times_of_plain": {name: rounded(s["median"] / plain) for name, s in seconds.items()},
        "off_lstsq": rounded(float(np.abs(off).max())),
    }


def checked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the documentation states about these figures."""
    found = []
    for row in rows:
        times = row["times_of_plain"][INTERCEPT]
        size = f"{row['epochs']} epochs of {row['samples']} samples"
        promise = f"{size}: {INTERCEPT} takes at most {MOST_OF_PLAIN:g} times"
        found.append({"promise": promise, "passed": times <= MOST_OF_PLAIN, "figures": times})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="few epochs, once")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    rows = []
    for count, samples in QUICK_SIZES if args.quick else SIZES:
        rows.append(measured(count, samples, 1 if args.quick else 5))
        print(json.dumps(rows[-1]), flush=True)
    result |= {"taps": TAPS, "rows": rows, "checks": checked(rows)}
    report(result, args.out)


if __name__ == "__main__":
    main()
