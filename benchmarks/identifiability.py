"""identify: its time and memory beside the solve's, and smooth inputs beside what others answer.

    pip install -e '.[bench]'
    python -m benchmarks.identifiability                    # minutes; writes the result file
    python -m benchmarks.identifiability --quick --out FILE # small sizes, to see whether it works

Every measurement of time or memory has a process of its own. The inputs of the first part are white
noise through a first-order recursion of pole 0.9; "long" is decided by the Gram matrix, "steep",
the same sent through the recursion six times, needs a QR of row blocks.
"""

from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .machine import ROOT, load, now, process, stamp, summary

SIZES = {"long": (2_000_000, 500, 1), "steep": (400_000, 200, 6)}
QUICK = {"long": (20_000, 20, 1), "steep": (20_000, 20, 6)}

# What one process does: make the data, then identify or solve, timed after the imports.
MEASURED = """
import json, resource, time, warnings
import numpy as np
from scipy.signal import lfilter
import convsolve as cs
from convsolve.identifiability.wording import method
rng = np.random.default_rng(0)
x = rng.standard_normal({samples})
for _ in range({times}):
    x = lfilter([1.0], [1.0, -0.9], x)
y = np.convolve(x, 0.9 ** np.arange({taps}), "valid") + rng.standard_normal({samples} - {taps} + 1)
cs.solve(cs.Problem(x[:2000], y[:1981], kernel_size=20), "normal")
begun = time.perf_counter()
problem = cs.Problem(x, y, kernel_size={taps})
if {identify}:
    report = cs.identify(problem)
    found = dict(verdict=report.verdict, rank=report.rank, condition=report.condition_number)
    found["method"] = method(report)
else:
    fit = cs.solve(problem)
    found = dict(status=fit.status, certificate=fit.backward_error, solver=fit.stats["solver"])
found["seconds"] = time.perf_counter() - begun
found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
print(json.dumps(found))
"""


def measure(samples: int, taps: int, times: int, identify: bool, runs: int) -> dict[str, Any]:
    code = MEASURED.format(samples=samples, taps=taps, times=times, identify=identify)
    found = [json.loads(process(code)[1]) for _ in range(runs)]
    seconds = summary([f.pop("seconds") for f in found])
    peak = max(f.pop("peak_mb") for f in found)
    return found[0] | {"seconds": seconds, "peak_mb": round(peak)}


def sizes(table: dict[str, tuple[int, int, int]], runs: int) -> dict[str, Any]:
    out = {}
    for name, (samples, taps, times) in table.items():
        rows = {
            "samples": samples,
            "taps": taps,
            "identify": measure(samples, taps, times, True, runs),
            "solve": measure(samples, taps, times, False, runs),
        }
        ratio = rows["identify"]["seconds"]["median"] / rows["solve"]["seconds"]["median"]
        out[name] = rows | {"ratio": round(ratio, 3)}
    return out


def band_limited(rng: np.random.Generator) -> np.ndarray:
    """1 000 samples of white noise, everything above 0.3 of Nyquist cut in the frequency domain."""
    spectrum = np.fft.rfft(rng.standard_normal(1000))
    spectrum[151:] = 0
    return np.fft.irfft(spectrum)


def low_passed(rng: np.random.Generator) -> np.ndarray:
    """1 000 samples of white noise through a window low-pass of 201 taps, twice."""
    n = np.arange(201) - 100
    low = 0.3 * np.sinc(0.3 * n) * np.hamming(201)
    noise = rng.standard_normal(1400)
    return np.convolve(np.convolve(noise, low, "valid"), low, "valid")


def smooth(which: str, seed: int = 1) -> dict[str, Any]:
    """A smooth input, 40 unit normal taps, noise of 0.1 in y: what each method answers."""
    import warnings

    import convsolve as cs

    rng = np.random.default_rng(seed)
    x = {"band-limited": band_limited, "low-passed": low_passed}[which](rng)
    kernel = rng.standard_normal(40)
    y = np.correlate(x, kernel, "valid") + 0.1 * rng.standard_normal(961)
    a = np.lib.stride_tricks.sliding_window_view(x, 40)
    values = np.linalg.svd(a, compute_uv=False)
    problem = cs.Problem(x, y, kernel_size=40)
    report = cs.identify(problem)
    ridge = report.ridge_for(1e3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = cs.solve(problem, ridge=ridge)
    gains = report.noise_gain[np.isfinite(report.noise_gain)]
    largest = {
        "truth": kernel,
        "convsolve, ridge_for(1e3)": fit.kernel,
        "numpy lstsq": np.linalg.lstsq(a, y, rcond=None)[0],
    }
    if find_spec("sklearn") is not None:
        from sklearn.linear_model import Ridge

        largest["scikit-learn Ridge(0)"] = Ridge(0.0, fit_intercept=False).fit(a, y).coef_
    return {
        "condition_of_the_matrix": float(values[0] / values[-1]),
        "verdict": report.verdict,
        "rank": report.rank,
        "rank_band": list(report._rank_band),
        "noise_gain": [float(gains.min()), float(gains.max())],
        "weakly_determined": int(report.weakly_determined.sum()),
        "ridge": ridge,
        "status": fit.status,
        "largest_tap": {name: float(np.abs(w).max()) for name, w in largest.items()},
    }


def checks(result: dict[str, Any]) -> list[dict[str, Any]]:
    long, steep = result["sizes"]["long"], result["sizes"]["steep"]
    limited, gentle = result["smooth"]["band-limited"], result["smooth"]["low-passed"]
    ours = "convsolve, ridge_for(1e3)"
    told = [
        ("long: overdetermined", long["identify"]["verdict"] == "overdetermined"),
        ("long: identify under 1 GB", long["identify"]["peak_mb"] < 1000),
        ("long: identify within twice the time of the solve", long["ratio"] <= 2),
        ("steep: identify within twice the time of the solve", steep["ratio"] <= 2),
        ("steep: decided by a QR", "QR" in steep["identify"]["method"]),
        ("band-limited: told", limited["verdict"] in ("rank-deficient", "ambiguous")),
        ("band-limited: the ridge bounds the answer", limited["largest_tap"][ours] < 10),
        ("low-passed: overdetermined", gentle["verdict"] == "overdetermined"),
        ("low-passed: weakly determined", gentle["weakly_determined"] == 40),
    ]
    return [{"promise": promise, "passed": bool(passed)} for promise, passed in told]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, one run each")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    out = args.out or ROOT / "benchmarks" / "results" / "identifiability.json"
    result: dict[str, Any] = {
        "command": "python -m benchmarks.identifiability" + (" --quick" if args.quick else ""),
        "date": now(),
        "machine": stamp(["numpy", "scipy", "jax", "scikit-learn"]),
        "load_before": load(),
        "sizes": sizes(QUICK, 1) if args.quick else sizes(SIZES, 3),
        "smooth": {which: smooth(which) for which in ("band-limited", "low-passed")},
    }
    result["checks"] = checks(result)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for check in result["checks"]:
        print("passed" if check["passed"] else "FAILED", check["promise"])


if __name__ == "__main__":
    main()
