"""Long kernels of sound: the default, Levinson's recursion, LSQR and MNE, measured in turns.

Three synthetic inputs: notes of plucked strings, whose partials decay; speech-like pulses and noise
through formants, with pauses; and a rising chirp with a noise floor. The condition numbers of their
design matrices are 1e3 to 1e7. y is x convolved with a decaying kernel, plus a tenth of noise.

Levinson's recursion (`scipy.linalg.solve_toeplitz` on correlations) assumes zeros beyond the ends
of the record. Its kernel is wrong where the record has no zeros there, and LSQR stops after
`LSQR_STEPS` steps. Both errors are recorded.

Run: python -m benchmarks.audio
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import convsolve as cs
from benchmarks.machine import ROOT, load, now, report, stamp, summary
from benchmarks.small import in_turns, rounded

RESULT = ROOT / "benchmarks" / "results" / "audio.json"
PACKAGES = ("convsolve", "numpy", "scipy", "mne", "threadpoolctl")
# Samples and taps of every input.
SIZES = (
    (50_000, (500,)),
    (160_000, (500, 1600, 4096, 8192)),
    (1_000_000, (4096, 16_000)),
    (5_000_000, (1600,)),
)
QUICK_SIZES = ((12_000, (60, 900)),)
# The most taps with a chirp, for which conjugate gradients give up.
MOST_TAPS_OF_CHIRP = 1600
# The most taps that LSQR and MNE get, and the most samples.
MOST_TAPS, MOST_SAMPLES = 4096, 160_000
LSQR_STEPS = 200
# The default takes at most so many times Levinson's time, or so many seconds.
MOST_OF_LEVINSON, MOST_SECONDS = 10.0, 0.5


def strings(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Plucked strings by the algorithm of Karplus and Strong: a note every 4 000 samples."""
    from scipy.signal import lfilter

    found = np.zeros(samples)
    for start in range(0, samples, 4000):
        period = int(535 / 2 ** (rng.integers(0, 30) / 12))
        last = min(start + 60_000, samples)
        pluck = np.zeros(last - start)
        pluck[:period] = rng.uniform(-1, 1, period)[: last - start]
        loop = np.zeros(period + 2)
        loop[[0, period, period + 1]] = 1.0, -0.498, -0.498
        found[start:last] += lfilter([1.0], loop, pluck)
    return found


def speech(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Syllables of pulses or noise through four formants, with pauses, at 16 kHz."""
    from scipy.signal import lfilter

    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < samples:
        length = int(rng.integers(800, 3200))
        source = 0.1 * rng.standard_normal(length)
        if rng.random() < 0.65:
            rate = rng.uniform(90, 220) / 16_000
            source = 0.1 * source + (np.arange(length) * rate % 1 < rate)
        for low, high in ((250, 800), (800, 2200), (2000, 3000), (3000, 3800)):
            angle, radius = 2 * np.pi * rng.uniform(low, high) / 16_000, np.exp(-np.pi / 200)
            source = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], source)
        source = lfilter([1.0], [1.0, -0.9], source) * np.hanning(length)
        pause = np.zeros(int(rng.integers(200, 2000) * (rng.random() < 0.2)))
        parts += [source / np.abs(source).max() * rng.uniform(0.1, 1), pause]
    return np.concatenate(parts)[:samples] + 1e-4 * rng.standard_normal(samples)


def chirp(rng: np.random.Generator, samples: int) -> np.ndarray:
    """A tone that rises through half of all frequencies, and noise 50 dB below."""
    phase = 0.5 * np.pi * np.arange(samples) ** 2 / (2 * samples)
    return np.sin(phase) + 2e-3 * rng.standard_normal(samples)


INPUTS = {"strings": strings, "speech": speech, "chirp": chirp}


def rounded_to_16_bits(x: np.ndarray) -> np.ndarray:
    return np.round(x / np.abs(x).max() * 32767) / 32768


def levinson(x: np.ndarray, y: np.ndarray, taps: int) -> np.ndarray:
    """Solve by correlations and Levinson's recursion."""
    from scipy.fft import irfft, next_fast_len, rfft
    from scipy.linalg import solve_toeplitz

    size = next_fast_len(len(x) + taps, real=True)
    a, b = rfft(x, size), rfft(y, size)
    lags, cross = (irfft(a.conj() * c, size)[:taps] for c in (a, b))
    return solve_toeplitz(lags, cross)


def lsqr(x: np.ndarray, y: np.ndarray, taps: int, edges: str) -> np.ndarray:
    """Solve by LSQR with products by FFTs."""
    from scipy.fft import irfft, next_fast_len, rfft
    from scipy.sparse.linalg import LinearOperator, lsqr as scipy_lsqr

    first, size = taps - 1 if edges == "drop" else 0, next_fast_len(len(x) + taps, real=True)
    spectrum = rfft(x, size)

    def forward(w: np.ndarray) -> np.ndarray:
        return irfft(spectrum * rfft(w.ravel(), size), size)[first : len(x)]

    def adjoint(r: np.ndarray) -> np.ndarray:
        whole = np.zeros(size)
        whole[first : len(x)] = r.ravel()
        return irfft(spectrum.conj() * rfft(whole), size)[:taps]

    shape = len(x) - first, taps
    a = LinearOperator(shape, matvec=forward, rmatvec=adjoint, dtype=float)
    return scipy_lsqr(a, y[first:], atol=1e-14, btol=1e-14, iter_lim=LSQR_STEPS)[0]


def mne(x: np.ndarray, y: np.ndarray, taps: int) -> np.ndarray:
    """Solve by MNE's ridge regression of strength 0, with zeros beyond the ends."""
    from mne import set_log_level
    from mne.decoding import TimeDelayingRidge

    set_log_level("error")
    model = TimeDelayingRidge(0, taps - 1, 1.0, alpha=0.0, fit_intercept=False)
    model.fit(x[:, None], y[:, None])
    return model.coef_.ravel()


def methods(x: np.ndarray, y: np.ndarray, taps: int, edges: str) -> dict[str, Callable[[], Any]]:
    from importlib.util import find_spec

    found: dict[str, Callable[[], Any]] = {
        "convsolve": lambda: cs.solve(cs.Problem(x, y, lags=(0, taps - 1), edges=edges)),
        "Levinson": lambda: levinson(x, y, taps),
    }
    if taps <= MOST_TAPS and len(x) <= MOST_SAMPLES:
        found["LSQR"] = lambda: lsqr(x, y, taps, edges)
        if edges == "zeros" and find_spec("mne") is not None:
            found["MNE"] = lambda: mne(x, y, taps)
    return found


def measured(name: str, samples: int, taps: int, edges: str, runs: int) -> dict[str, Any]:
    """Times and errors of one problem."""
    from scipy.signal import fftconvolve

    rng = np.random.default_rng(0)
    x = rounded_to_16_bits(INPUTS[name](rng, samples))
    kernel = rng.standard_normal(taps) * np.exp(-4 * np.arange(taps) / taps)
    y = fftconvolve(x, kernel)[:samples]
    y += 0.1 * y.std() * rng.standard_normal(samples)
    every = methods(x, y, taps, edges)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        fit = every["convsolve"]()
        seconds = {name: summary(times) for name, times in in_turns(every, runs).items()}
    exact, off = fit.impulse_response.ravel(), {}
    for method, solve in every.items():
        if method != "convsolve":
            off[method] = rounded(float(np.linalg.norm(solve() - exact) / np.linalg.norm(exact)))
    return {
        "input": name,
        "samples": samples,
        "taps": taps,
        "edges": edges,
        "seconds": seconds,
        "times_of_levinson": rounded(
            seconds["convsolve"]["median"] / seconds["Levinson"]["median"]
        ),
        "status": fit.status,
        "certificate_eps": rounded(fit.backward_error / np.finfo(float).eps),
        "solver": fit.stats["solver"],
        "steps": fit.stats.get("steps"),
        "choice": fit.stats["choice"],
        "difference": off,
    }


def checked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The promises about these figures."""
    found = []
    for row in rows:
        problem = "{input}, {samples} samples, {taps} taps, {edges}".format(**row)
        seconds, times = row["seconds"]["convsolve"]["median"], row["times_of_levinson"]
        promise = f"{problem}: at most {MOST_OF_LEVINSON:g} times Levinson or {MOST_SECONDS:g} s"
        passed = times <= MOST_OF_LEVINSON or seconds <= MOST_SECONDS
        found.append({"promise": promise, "passed": passed, "figures": [times, seconds]})
        promise, eps = f"{problem}: certificate at most 30 eps", row["certificate_eps"]
        found.append({"promise": promise, "passed": eps <= 30, "figures": eps})
    return found


def table(result: dict[str, Any]) -> str:
    """Return a Markdown table of the records with dropped edges, with times in milliseconds."""
    lines = ["| input | samples | taps | convsolve | steps | Levinson | LSQR |", "| --- " * 7 + "|"]
    for row in result["rows"]:
        if row["edges"] == "drop" and row["taps"] > SIZES[0][1][0]:
            taken = {name: f"{1e3 * s['median']:.0f} ms" for name, s in row["seconds"].items()}
            times = [taken.get(name, "") for name in ("convsolve", "Levinson", "LSQR")]
            times.insert(1, str(row["steps"] or "none, a factor"))
            sizes = [f"{row[size]:,}".replace(",", " ") for size in ("samples", "taps")]
            lines.append(f"| {' | '.join([row['input'], *sizes, *times])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="few samples, once")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    rows = []
    for samples, several in QUICK_SIZES if args.quick else SIZES:
        for name in INPUTS:
            for taps in several:
                if name == "chirp" and taps > MOST_TAPS_OF_CHIRP:
                    continue
                for edges in ("zeros", "drop"):
                    rows.append(measured(name, samples, taps, edges, 1 if args.quick else 3))
                    print(json.dumps(rows[-1]), flush=True)
    result |= {"rows": rows, "checks": checked(rows)}
    report(result, args.out)


if __name__ == "__main__":
    main()
