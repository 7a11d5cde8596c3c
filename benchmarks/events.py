"""Designs of events, compared with a sparse lag matrix of SciPy: times in turns, and memory.

One design has the shape of an EEG recording with overlapping events, the other one the shape of an
fMRI recording. SciPy builds the lag matrix, the Gram matrix and its Cholesky factor, solves, and
computes the residuals and their product with the lag matrix, as convsolve does for its certificate.
The peak memory of a new process is compared with its memory before the fit.

Run: python -m benchmarks.events
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

import convsolve as cs
from benchmarks.machine import ROOT, load, now, process, report, stamp, summary
from benchmarks.small import in_turns, rounded

RESULT = ROOT / "benchmarks" / "results" / "events.json"
PACKAGES = ("convsolve", "numpy", "scipy", "threadpoolctl")
# The largest difference of the kernels, and the largest memory in addition to x and y, as a share
# of them and in MB.
MOST_OFF, MOST_SHARE, MOST_MB = 1e-10, 0.25, 200

CHILD = """
from benchmarks import events
print(events.peaks({name!r}, {method!r}))
"""


class Design(NamedTuple):
    """Samples, channels and outputs, lags, number of events, and channels that an event sets.

    ``faster`` is the smallest ratio of the times.
    """

    samples: int
    channels: int
    outputs: int
    lags: tuple[int, int]
    events: int
    each: int
    faster: float

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y: a response to the events, and noise."""
        rng = np.random.default_rng(0)
        x = np.zeros((self.samples, self.channels))
        at = rng.choice(self.samples, self.events, replace=False)
        first = rng.integers(self.channels, size=(self.events, 1))
        values = rng.standard_normal((self.events, self.each))
        values[:, 0] = 1.0
        x[at[:, None], (first + np.arange(self.each)) % self.channels] = values
        y = rng.standard_normal((self.samples, self.outputs))
        a = lag_matrix(x, self.lags)
        w = rng.standard_normal((a.shape[1], self.outputs))
        for i in range(0, self.samples, 256):
            y[i : i + 256] += a[i : i + 256] @ w
        return x, y


DESIGNS = {
    "EEG: 239 522 × 10, 121 lags, 128 outputs, 3 600 events": Design(
        239_522, 10, 128, (-20, 100), 3600, 5, 2.0
    ),
    "fMRI: 3 360 × 6, 15 lags, 50 000 outputs, 600 events": Design(
        3360, 6, 50_000, (0, 14), 600, 1, 1.0
    ),
}
QUICK = {
    "EEG, short": Design(20_000, 10, 4, (-20, 100), 300, 5, 2.0),
    "fMRI, few voxels": Design(1000, 6, 50, (0, 14), 180, 1, 0.0),
}


def lag_matrix(x: np.ndarray, lags: tuple[int, int]) -> csr_array:
    """Return the sparse matrix whose columns are those of (lag, channel)."""
    (sample, channel), (samples, channels) = np.nonzero(x), x.shape
    lag = np.arange(lags[0], lags[1] + 1)[:, None]
    rows, columns = sample + lag, channel + channels * (lag - lags[0])
    values = np.broadcast_to(x[sample, channel], rows.shape)
    used = (rows >= 0) & (rows < samples)
    shape = samples, channels * len(lag)
    return csr_array((values[used], (rows[used], columns[used])), shape)


def by_scipy(x: np.ndarray, y: np.ndarray, lags: tuple[int, int]) -> np.ndarray:
    """Return the kernel (lags·channels, outputs) from the normal equations, and its residuals."""
    a = lag_matrix(x, lags)
    transposed = a.T.tocsr()
    factor = cho_factor((transposed @ a).toarray(), lower=True, overwrite_a=True)
    w = cho_solve(factor, transposed @ y)
    r = a @ w
    np.subtract(y, r, out=r)
    np.einsum("tq,tq->q", r, r)
    _ = transposed @ r
    return w


def by_convsolve(x: np.ndarray, y: np.ndarray, lags: tuple[int, int]) -> cs.Solution:
    """Return the fit."""
    return cs.solve(cs.Problem(x, y, lags=lags, edges="zeros"))


METHODS: dict[str, Callable[..., Any]] = {"convsolve": by_convsolve, "scipy.sparse": by_scipy}


def peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def peaks(name: str, method: str) -> str:
    """Return the peak memory of this process before and after a fit, in MB."""
    design = (DESIGNS | QUICK)[name]
    data = design.data()
    before = peak_mb()
    METHODS[method](*data, design.lags)
    return json.dumps({"before_mb": before, "peak_mb": peak_mb()})


def measured(name: str, runs: int) -> dict[str, Any]:
    """Times in turns, memory, and the difference of the kernels."""
    design = (DESIGNS | QUICK)[name]
    # A new process starts with the peak memory of this one, which has no data yet.
    memory = {m: json.loads(process(CHILD.format(name=name, method=m))[1]) for m in METHODS}
    x, y = design.data()
    fit, w = (METHODS[method](x, y, design.lags) for method in METHODS)
    off = np.abs(fit.impulse_response.reshape(w.shape) - w).max() / np.abs(w).max()
    fits = {method: lambda of=of: of(x, y, design.lags) for method, of in METHODS.items()}
    seconds = in_turns(fits, runs)
    pairs = zip(seconds["scipy.sparse"], seconds["convsolve"], strict=True)
    found = {
        "problem": name,
        "status": fit.status,
        "certificate_eps": rounded(fit.backward_error / 2**-52),
        "off_exact": rounded(float(off)),
        "data_mb": round((x.nbytes + y.nbytes) / 1e6),
        "seconds": {method: summary(several) for method, several in seconds.items()},
        "times_faster": rounded(float(np.median([a / b for a, b in pairs]))),
    }
    return found | {"memory": memory}


def checked(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the promises about a design."""
    ours = row["memory"]["convsolve"]
    more = ours["peak_mb"] - ours["before_mb"]
    most = round(MOST_SHARE * row["data_mb"] + MOST_MB)
    faster = (DESIGNS | QUICK)[row["problem"]].faster
    found = {
        f"at least {faster:g} times faster": row["times_faster"] >= faster,
        f"at most {most} MB in addition to x and y": more <= most,
        "certificate at most 30 eps": row["certificate_eps"] <= 30,
        f"within {MOST_OFF:g} of SciPy's kernel": row["off_exact"] <= MOST_OFF,
    }
    return [{"promise": f"{row['problem']}: {k}", "passed": v} for k, v in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="small designs, once")
    parser.add_argument("--only", nargs="*", help="the names of some designs")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    result["rows"], result["checks"] = [], []
    for name in args.only or (QUICK if args.quick else DESIGNS):
        row = measured(name, 1 if args.quick else args.runs)
        print(json.dumps(row, ensure_ascii=False), flush=True)
        result["rows"].append(row)
        result["checks"] += checked(row)
    report(result, args.out)


if __name__ == "__main__":
    main()
