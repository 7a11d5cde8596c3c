"""How often bands hold the true kernel, under noise of several colours and models of it.

    python -m benchmarks.coverage                     # six minutes; writes results/coverage.json
    python -m benchmarks.coverage --quick --out FILE  # tiny, to see whether it works
    python -m benchmarks.coverage --costs             # the last part alone, into the result file
    python -m benchmarks.coverage --table             # from the result file: Markdown

x is AR(0.9), y its response by 40 taps (20 of 300 samples) and a bias, with noise added: white,
AR(0.9), ARMA(1,1) of pole 0.9 and zero −0.6, or 1/f. Bands of nominal 95 % by the white formula, by
"ar" and by "hac": of single taps, of the sum of the kernel, and of all taps at once (max-t). A cell
draws x 60 times, and noise 12 times for each, as outputs of one problem; its
Monte-Carlo error is the standard error of the mean over draws of x.

And what errors cost: the seconds of a solve and its standard errors, of 4 × 15 000 samples, 16 → 32
channels and 40 taps, on as many cores as there are.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter
from threadpoolctl import threadpool_limits

import convsolve as cs

from .machine import ROOT, load, now, stamp, summary

RESULT = ROOT / "benchmarks" / "results" / "coverage.json"
PACKAGES = ("convsolve", "numpy", "scipy")
LENGTHS, QUICK_LENGTHS = (300, 2_000, 20_000), (300, 2_000)
# Draws of x, and outputs of each.
DRAWS, OUTPUTS, QUICK_DRAWS, QUICK_OUTPUTS = 60, 12, 2, 3
LEVEL, METHODS, PARTS = 0.95, ("white", "ar", "hac"), ("taps", "sum", "all at once")
# Where bands by "ar" are promised to lie, of this many samples or more.
HELD, FROM = (0.92, 0.98), 2_000
# Samples of a recursion that are thrown away, and how much longer 1/f noise is made than used.
START, LONGER = 500, 4

Maker = Callable[[np.random.Generator, int, int], np.ndarray]


def recursion(zeros: list[float], poles: list[float]) -> Maker:
    def made(rng: np.random.Generator, samples: int, columns: int) -> np.ndarray:
        e = rng.standard_normal((samples + START, columns))
        return np.asarray(lfilter(zeros, poles, e, axis=0)[START:])

    return made


def one_over_f(rng: np.random.Generator, samples: int, columns: int) -> np.ndarray:
    """Noise whose power falls as 1/f, a stretch of a period ``LONGER`` times as long."""
    period = LONGER * samples
    spectrum = np.fft.rfft(rng.standard_normal((period, columns)), axis=0)
    spectrum[0] = 0.0
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)) / len(spectrum))[:, None]
    return np.fft.irfft(spectrum, period, axis=0)[:samples]


RED = recursion([1.0], [1.0, -0.9])
NOISES: dict[str, Maker] = {
    "white": recursion([1.0], [1.0]),
    "AR(0.9)": RED,
    "ARMA(1,1)": recursion([1.0, 0.6], [1.0, -0.9]),
    "1/f": one_over_f,
}


def held(fit: cs.Solution, w: np.ndarray) -> tuple[float, ...]:
    """Shares of outputs whose bands hold the truth (K, 1, 1): single taps, the sum, all taps."""

    def within(simultaneous: bool) -> np.ndarray:
        low, high = fit.confidence_band(LEVEL, simultaneous)
        return (low <= w) & (w <= high)

    total = fit.test(contrast=np.ones((len(w), 1)), value=w.sum()).p > 1 - LEVEL
    return float(within(False).mean()), float(total.mean()), float(within(True).all(0).mean())


def cell(samples: int, name: str, draws: int, outputs: int) -> dict[str, Any]:
    """Coverages of one length and one noise, the mean over draws of x and its standard error."""
    taps = 20 if samples == 300 else 40
    w = np.exp(-np.arange(taps) / 8)[:, None, None]
    rng = np.random.default_rng([samples, list(NOISES).index(name)])
    found: dict[str, list[tuple[float, ...]]] = {method: [] for method in METHODS}
    orders = []
    for _ in range(draws):
        x = RED(rng, samples + taps - 1, 1)
        noise = NOISES[name](rng, samples, outputs)
        y = cs.convolve(x, w, cs.ConvSpec(taps)) + noise / noise.std() + 1
        problem = cs.Problem(x, y, kernel_size=(taps,), bias=True)
        for method in METHODS:
            fit = cs.solve(problem, noise=method)
            found[method].append(held(fit, w))
            if method == "ar":
                orders += fit.noise.order.tolist()
    row: dict[str, Any] = {"samples": samples, "taps": taps, "noise": name}
    row |= {"repetitions": draws * outputs, "median order": float(np.median(orders))}
    for method, each in found.items():
        mean, error = np.mean(each, axis=0), np.std(each, axis=0, ddof=1) / np.sqrt(draws)
        row[method] = {
            part: {"coverage": round(float(m), 4), "standard error": round(float(e), 4)}
            for part, m, e in zip(PARTS, mean, error, strict=True)
        }
    return row


def costs(samples: int, runs: int) -> dict[str, dict[str, float]]:
    """Seconds of a solve and its standard errors, by noise, of four records, 16 → 32 channels."""
    rng, spec = np.random.default_rng(0), cs.ConvSpec(40)
    x = [RED(rng, samples, 16) for _ in range(4)]
    w = rng.standard_normal((40, 16, 32))
    y = [clean + RED(rng, len(clean), 32) for clean in cs.convolve(x, w, spec)]
    found: dict[str, list[float]] = {noise: [] for noise in (*METHODS, "cluster")}
    for _ in range(runs):
        for noise, seconds in found.items():
            problem = cs.Problem(x, y, spec=spec, bias=True)
            begun = time.perf_counter()
            assert np.isfinite(cs.solve(problem, noise=noise).standard_error).all()
            seconds.append(time.perf_counter() - begun)
    return {noise: summary(seconds) for noise, seconds in found.items()}


def judged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whether "ar" keeps its promise in every cell that it is made for."""
    low, high = HELD
    return [
        {
            "promise": f'{part} by "ar" within {low} and {high}: {row["samples"]}, {row["noise"]}',
            "passed": low <= row["ar"][part]["coverage"] <= high,
            "figures": row["ar"][part],
        }
        for row in rows
        if row["samples"] >= FROM
        for part in PARTS
    ]


def table(result: dict[str, Any]) -> str:
    """Coverages in per cent as Markdown: single taps, the sum, all taps at once."""
    heads = [f"{'`white`' if m == 'white' else f'`{m}`'}: {', '.join(PARTS)}" for m in METHODS]
    lines = ["| samples, noise | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for row in result["rows"]:
        cells = [
            ", ".join(f"{100 * row[method][part]['coverage']:.1f}" for part in PARTS)
            for method in METHODS
        ]
        lines.append(f"| {row['samples']}, {row['noise']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sentence(result: dict[str, Any]) -> str:
    """What the README says below the table."""
    errors = [row[m][p]["standard error"] for row in result["rows"] for m in METHODS for p in PARTS]
    missed = [check for check in result["checks"] if not check["passed"]]
    low, high = HELD
    cost = {noise: seconds["median"] for noise, seconds in result["costs"].items()}
    words = "all" if not missed else f"all but {len(missed)} of {len(result['checks'])}"
    return (
        f"{result['rows'][0]['repetitions']} repetitions a cell, Monte-Carlo errors of at most "
        f"{100 * max(errors):.1f}; from {FROM} samples on {words} cells of `ar` lie within\n"
        f"{100 * low:.0f} and {100 * high:.0f} %. A solve and its standard errors, of 4 × 15 000 "
        "samples, 16 → 32 channels and 40 taps, take\n"
        + ", ".join(f"{cost[noise]:.2g} s by `{noise}`" for noise in cost)
        + ". `python -m benchmarks.coverage` measures this anew."
    )


def write(result: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--costs", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    if args.table:
        result = json.loads(args.out.read_text(encoding="utf-8"))
        print(f"{table(result)}\n\n{sentence(result)}")
        return
    # The white formula is asked for where it fails.
    warnings.filterwarnings("ignore", "the residuals of output .* are correlated")
    if args.costs:
        result = json.loads(args.out.read_text(encoding="utf-8"))
        result |= {"load of the costs": load(), "costs": costs(15_000, 3)}
        write(result, args.out)
        return
    lengths = QUICK_LENGTHS if args.quick else LENGTHS
    sizes = (QUICK_DRAWS, QUICK_OUTPUTS) if args.quick else (DRAWS, OUTPUTS)
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    begun = time.perf_counter()
    with threadpool_limits(1):
        result["rows"] = [cell(n, name, *sizes) for n in lengths for name in NOISES]
    result["seconds of the coverages"] = round(time.perf_counter() - begun, 1)
    result["load of the costs"] = load()
    result["costs"] = costs(600, 1) if args.quick else costs(15_000, 3)
    result["checks"] = judged(result["rows"])
    write(result, args.out)
    for check in result["checks"]:
        print("PASS" if check["passed"] else "FAIL", check["promise"], check["figures"])


if __name__ == "__main__":
    main()
