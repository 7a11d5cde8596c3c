"""Automatic strengths of kernels with thousands of taps, compared with dense matrices.

Four synthetic inputs: the strings and the speech of `benchmarks.audio`, white noise, and noise
below 2 kHz of 16 kHz. y is x convolved with a response that decays like a room, plus noise 20 dB
below. A ridge is selected by GCV and by the evidence, "dc" with its decay by the
evidence. Times are CPU seconds of all threads, with one thread of BLAS, medians after a first run.

Up to `MOST_DENSE` taps, the minimum of each criterion is computed from the Gram matrix: from its
eigenvalues for a ridge, and for "dc" from Cholesky factors at the choice and next to it. The excess
is the criterion at the choice minus its minimum, in units of −2 log likelihood (rows·log GCV).

Run: python -m benchmarks.long_kernels
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import convsolve as cs
from benchmarks.audio import INPUTS as SOUNDS
from benchmarks.machine import ROOT, load, now, report, stamp, summary
from benchmarks.small import rounded

RESULT = ROOT / "benchmarks" / "results" / "long_kernels.json"
PACKAGES = ("convsolve", "numpy", "scipy", "threadpoolctl")
SIZES = ((160_000, (1024, 2048, 4096, 8192)), (480_000, (16_000,)))
QUICK_SIZES = ((24_000, (1100,)),)
MOST_DENSE = 2048
# Steps of log strength and log decay next to the choice.
STENCIL = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1))
STEP = 0.02
METHODS: dict[str, dict[str, Any]] = {
    "ridge, GCV": {"penalty": "ridge"},
    "ridge, evidence": {"penalty": "ridge", "select": "evidence"},
    "dc": {"penalty": "dc"},
}
# CPU seconds of 4 096 taps, and the largest excess.
MOST_SECONDS, MOST_EXCESS = {"ridge, GCV": 1.0, "dc": 2.0}, {"ridge, GCV": 0.1, "dc": 0.2}


def white(rng: np.random.Generator, samples: int) -> np.ndarray:
    return rng.standard_normal(samples)


def low_passed(rng: np.random.Generator, samples: int) -> np.ndarray:
    from scipy.signal import butter, sosfilt

    sections = butter(6, 2000, fs=16_000, output="sos")
    return np.asarray(sosfilt(sections, rng.standard_normal(samples)))


INPUTS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "speech": SOUNDS["speech"],
    "strings": SOUNDS["strings"],
    "white": white,
    "low-passed": low_passed,
}


def room(rng: np.random.Generator, taps: int) -> np.ndarray:
    """A direct sound, and noise that decays by 60 dB in 0.8 of the taps."""
    first, i = taps // 25, np.arange(taps)
    found = rng.standard_normal(taps) * 10 ** (-3 * (i - first) / (0.8 * taps)) * (i >= first)
    found[first] = 4.0
    return np.asarray(found / np.linalg.norm(found))


class Dense:
    """Criteria of whole windows from the Gram matrix, with ascending lags."""

    def __init__(self, x: np.ndarray, y: np.ndarray, taps: int) -> None:
        from scipy.fft import irfft, next_fast_len, rfft
        from scipy.linalg import toeplitz

        size, known = next_fast_len(2 * len(x), real=True), y[taps - 1 :]
        spectrum = rfft(x, size)
        lags = irfft(np.abs(spectrum) ** 2, size)[:taps]
        before = toeplitz(x[: taps - 1], np.zeros(taps))
        after = toeplitz(np.zeros(taps - 1), np.append(0.0, x[:-taps:-1]))
        self.gram = toeplitz(lags) - before.T @ before - after.T @ after
        cross = irfft(spectrum * rfft(known, size).conj(), size)
        self.cross, self.squares, self.rows = cross[:taps][::-1].copy(), known @ known, len(known)
        self.values, vectors = np.linalg.eigh(self.gram)
        self.inner = vectors.T @ self.cross

    def ridge(self, select: str, strength: float) -> float:
        """Return rows·log GCV, or −2 log evidence."""
        z, d = self.inner / (self.values + strength), np.maximum(self.values, 0.0)
        s, m = self.squares - self.inner @ z, self.rows
        if select == "evidence":
            return float(m * np.log(s / m) + np.log1p(d / strength).sum())
        freedom = (d / (d + strength)).sum()
        return float(m * (np.log((s - strength * z @ z) / m) - 2 * np.log1p(-freedom / m)))

    def best(self, select: str) -> tuple[float, float]:
        """Return the strength of least loss, and the loss."""
        from scipy.optimize import minimize_scalar

        def loss(t: float) -> float:
            return self.ridge(select, 10.0**t)

        grid = np.log10(np.trace(self.gram) / len(self.gram)) + np.arange(-10, 3, 0.25)
        at = int(np.argmin([loss(t) for t in grid]))
        found = minimize_scalar(loss, bounds=grid[[at - 1, at + 1]], options={"xatol": 1e-7})
        return 10.0 ** float(found.x), float(found.fun)

    def decaying(self, place: np.ndarray) -> float:
        """Return −2 log evidence of "dc" at log strength and log of minus log decay."""
        from scipy.linalg import cho_factor, cho_solve

        level = place[0] + np.exp(place[1]) * np.arange(len(self.gram))
        d = np.exp(-0.5 * np.minimum(level, 600.0))
        factor = cho_factor(np.eye(len(d)) + d[:, None] * self.gram * d, lower=True)
        s = self.squares - (d * self.cross) @ cho_solve(factor, d * self.cross)
        logdet = 2 * np.log(np.diagonal(factor[0])).sum()
        return float(self.rows * np.log(s / self.rows) + logdet)

    def excess(self, place: np.ndarray) -> float:
        """Return the evidence at a place over the minimum of a quadratic function."""
        v = {at: self.decaying(place + STEP * np.array(at)) for at in STENCIL}
        slope = np.array([v[1, 0] - v[-1, 0], v[0, 1] - v[0, -1]]) / 2
        bends = [v[1, 0] + v[-1, 0] - 2 * v[0, 0], v[0, 1] + v[0, -1] - 2 * v[0, 0]]
        mixed = v[1, 1] - v[1, 0] - v[0, 1] + v[0, 0]
        hessian = np.array([[bends[0], mixed], [mixed, bends[1]]])
        return float(slope @ np.linalg.solve(hessian, slope) / 2)


def measured(name: str, samples: int, taps: int, runs: int) -> dict[str, Any]:
    """Times, errors, and differences from the dense reference, of one problem."""
    from scipy.signal import fftconvolve

    rng = np.random.default_rng(1)
    x, h = INPUTS[name](rng, samples), room(rng, taps)
    clean = fftconvolve(x, h)[:samples]
    y = clean + 0.1 * clean.std() * rng.standard_normal(samples)
    new = INPUTS[name](rng, 80_000)
    truth, dense = fftconvolve(new, h), Dense(x, y, taps) if taps <= MOST_DENSE else None
    row: dict[str, Any] = {"input": name, "samples": samples, "taps": taps, "methods": {}}
    for method, given in METHODS.items():
        seconds = []
        for _ in range(runs + 1):
            problem, begun = cs.Problem(x, y, lags=(0, taps - 1)), time.process_time()
            fit = cs.solve(problem, **given)
            seconds.append(time.process_time() - begun)
        chosen, kernel = fit.regularization, np.ravel(fit.impulse_response)
        strength = float(chosen.strength[0])
        own: dict[str, Any] = {
            "cpu_seconds": summary(seconds[1:]),
            "solver": fit.stats["solver"],
            "certificate_eps": rounded(fit.backward_error / np.finfo(float).eps),
            "effective_dof": rounded(float(chosen.effective_dof[0])),
            "output_error": rounded(float(np.mean((fftconvolve(new, kernel) - truth) ** 2))),
        }
        if dense is not None and method == "dc":
            decay = chosen.hyperparameters["decay"]
            place = np.array([np.log(strength), np.log(-np.log(decay))])
            own["excess"] = rounded(dense.excess(place))
        elif dense is not None:
            best, least = dense.best(chosen.criterion)
            own["strength_of_exact"] = rounded(strength / best)
            own["excess"] = rounded(dense.ridge(chosen.criterion, strength) - least)
        row["methods"][method] = own
    return row


def checked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The promises about these figures."""
    found = []
    for row in rows:
        problem = "{input}, {samples} samples, {taps} taps".format(**row)
        for method, own in row["methods"].items():
            eps = own["certificate_eps"]
            promise = f"{problem}, {method}: certificate at most 30 eps"
            found.append({"promise": promise, "passed": eps <= 30, "figures": eps})
            most, excess = MOST_EXCESS.get(method), own.get("excess")
            if most is not None and excess is not None:
                promise = f"{problem}, {method}: excess at most {most:g}"
                found.append({"promise": promise, "passed": excess <= most, "figures": excess})
            limit, seconds = MOST_SECONDS.get(method), own["cpu_seconds"]["median"]
            if limit is not None and row["taps"] == 4096:
                promise = f"{problem}, {method}: at most {limit:g} s"
                found.append({"promise": promise, "passed": seconds <= limit, "figures": seconds})
    return found


def table(result: dict[str, Any]) -> str:
    """Return a Markdown table of CPU seconds, and of the excess where it is known."""
    header = ["input", "samples", "taps", "ridge, s", "excess", '`"dc"`, s', "excess", "error"]
    lines = [f"| {' | '.join(header)} |", "| --- | ---: | ---: " + "| ---: " * 5 + "|"]
    for row in result["rows"]:
        ridge, dc = (row["methods"][name] for name in ("ridge, GCV", "dc"))
        cells = [
            row["input"],
            *(f"{row[size]:,}".replace(",", " ") for size in ("samples", "taps")),
        ]
        for own in (ridge, dc):
            excess = own.get("excess")
            cells += [f"{own['cpu_seconds']['median']:.2f}"]
            cells += ["" if excess is None else f"{max(excess, 0.0):.3f}"]
        cells.append(f"{dc['output_error'] / ridge['output_error']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="one size, once")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="print the table of a result file")
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(args.out.read_text(encoding="utf-8"))))
        return
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    rows = []
    with threadpool_limits(1):
        for samples, several in QUICK_SIZES if args.quick else SIZES:
            for taps in several:
                for name in INPUTS:
                    rows.append(measured(name, samples, taps, 1 if args.quick else 3))
                    print(json.dumps(rows[-1]), flush=True)
    result |= {"rows": rows, "checks": checked(rows)}
    report(result, args.out)


if __name__ == "__main__":
    main()
