"""Early stopping compared with a ridge, least squares and boosting, by the error of predictions.

    python -m benchmarks.early_stopping                     # two minutes; writes the result file
    python -m benchmarks.early_stopping --quick --out FILE  # few draws, to check that it works
    python -m benchmarks.early_stopping --table             # the result file as Markdown

A draw is a response of 60 taps, 600 rows of y, and white noise. The response is a damped
oscillation with a random delay, decay, period and phase. x is white, AR(0.9), band-limited to a
fifth of the Nyquist frequency with a white part of 1 % of its variance, or 1/f. The error is the
mean square of predicted minus noise-free y in a new record, relative to noise-free y. It is the
median over draws. "Best possible" is the smallest error of 60 strengths or numbers of steps, which
only the truth can select. Boosting is coordinate descent with fixed steps of 0.005 standard
deviations. It stops where the error of the last quarter of the rows is smallest (S. V. David, N.
Mesgarani and S. A. Shamma, Network 18 (2007) 191). Coverage is the share of taps that are inside of
their 95 % band.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import firwin, lfilter
from threadpoolctl import threadpool_limits

import convsolve as cs
from benchmarks.machine import ROOT, load, now, report, stamp

RESULT = ROOT / "benchmarks" / "results" / "early_stopping.json"
PACKAGES = ("convsolve", "numpy", "scipy")
TAPS, ROWS, NEW_ROWS = 60, 600, 5_000
DRAWS, QUICK_DRAWS, SEED = 200, 3, 7_000
INPUTS = ("white", "AR(0.9)", "band", "1/f")
RATIOS = (0.1, 1.0)
# Initial samples of a recursion that are dropped.
START = 500
# Steps of boosting in standard deviations, and how many may pass without a smaller held-out error.
STEP, PATIENCE = 0.005, 200
NUMBERS_OF_STEPS = np.unique(np.geomspace(1, 1e5, 60).astype(int))
METHODS = (
    "least squares",
    "ridge, GCV",
    "ridge, best possible",
    "early stopping, GCV",
    "early stopping, best possible",
    "boosting, held-out quarter",
)


def signal(kind: str, samples: int, rng: np.random.Generator) -> np.ndarray:
    """One record of x with a variance of about one."""
    white = rng.standard_normal(samples + START)
    if kind == "AR(0.9)":
        return lfilter([(1 - 0.9**2) ** 0.5], [1, -0.9], white)[START:]
    if kind == "band":
        low = lfilter(firwin(101, 0.2), [1.0], white)[START:]
        return low / low.std() + 0.1 * rng.standard_normal(samples)
    if kind == "1/f":
        spectrum = np.fft.rfft(white)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        spectrum[0] = 0.0
        pink = np.fft.irfft(spectrum, len(white))[START:]
        return pink / pink.std()
    return white[START:]


def response(rng: np.random.Generator) -> np.ndarray:
    """A damped oscillation (taps,)."""
    delay, decay, period = rng.integers(0, 10), rng.uniform(4, 15), rng.uniform(10, 40)
    lags = np.arange(TAPS) - delay
    wave = np.exp(-lags / decay) * np.cos(2 * np.pi * lags / period + rng.uniform(0, 2 * np.pi))
    return np.where(lags >= 0, wave, 0.0)


def lagged(x: np.ndarray) -> np.ndarray:
    """The columns (rows, taps) of x at lags from 0 on."""
    return np.lib.stride_tricks.sliding_window_view(x, TAPS)[:, ::-1]


def boosted(a: np.ndarray, y: np.ndarray, step: float) -> np.ndarray:
    """The kernel (taps,) of coordinate descent that stops by the last quarter of the rows."""
    train = slice(None, 3 * len(y) // 4)
    held = slice(3 * len(y) // 4, None)
    gram, gradient = a[train].T @ a[train], a[train].T @ y[train]
    held_gram, held_gradient = a[held].T @ a[held], a[held].T @ y[held]
    half_curvature = step * np.diagonal(gram) / 2

    w, best, waited = np.zeros(a.shape[1]), np.zeros(a.shape[1]), 0
    # Half the sum of squares of the held-out rows, relative to that of w = 0.
    loss = least = 0.0
    while waited < PATIENCE:
        gains = np.abs(gradient) - half_curvature
        tap = int(gains.argmax())
        if gains[tap] <= 0:
            break
        change = step * np.sign(gradient[tap])
        loss += change**2 * held_gram[tap, tap] / 2 - change * held_gradient[tap]
        w[tap] += change
        gradient = gradient - change * gram[tap]
        held_gradient = held_gradient - change * held_gram[tap]
        waited += 1
        if loss < least:
            least, best, waited = loss, w.copy(), 0
    return best


def drawn(kind: str, ratio: float, seed: int) -> dict[str, float]:
    """Errors of all methods, degrees of freedom and coverages of one draw."""
    rng = np.random.default_rng(seed)
    w = response(rng)
    x, new = (signal(kind, rows + TAPS - 1, rng) for rows in (ROWS, NEW_ROWS))
    a, new_a = lagged(x), lagged(new)
    clean, new_clean = a @ w, new_a @ w
    noise = np.sqrt(np.mean(clean**2) / ratio) * rng.standard_normal(ROWS)
    y = np.concatenate([np.zeros(TAPS - 1), clean + noise])
    problem = cs.Problem(x, y, lags=(0, TAPS - 1))

    def error(kernels: np.ndarray) -> float:
        """The smallest error of kernels (taps, n)."""
        off = new_a @ (kernels.reshape(TAPS, -1) - w[:, None])
        return float(np.square(off).mean(0).min() / np.mean(new_clean**2))

    # The same y as many outputs, each at a strength or number of steps of its own.
    largest = float(np.linalg.norm(a, 2) ** 2)
    strengths = largest * np.geomspace(1e-6, 10, len(NUMBERS_OF_STEPS))
    many = cs.Problem(x, np.tile(y[:, None], len(strengths)), lags=(0, TAPS - 1))
    fits = {
        "least squares": cs.solve(problem),
        "ridge, GCV": cs.solve(problem, penalty="ridge"),
        "ridge, best possible": cs.solve(many, penalty=cs.Ridge(strengths)),
        "early stopping, GCV": cs.solve(problem, penalty="early_stopping"),
        "early stopping, best possible": cs.solve(many, penalty=cs.EarlyStopping(NUMBERS_OF_STEPS)),
    }
    found = {name: error(fit.impulse_response) for name, fit in fits.items()}
    step = STEP * float(y[TAPS - 1 :].std() / x.std())
    found["boosting, held-out quarter"] = error(boosted(a, y[TAPS - 1 :], step))
    for name in ("ridge, GCV", "early stopping, GCV"):
        low, high = fits[name].confidence_band(0.95)
        found[f"coverage of {name}"] = float(((low <= w) & (w <= high)).mean())
        found[f"width of {name}"] = float(np.mean(high - low) / np.linalg.norm(w))
    found["steps"] = float(fits["early stopping, GCV"].regularization.strength[0])
    return found


def measured(draws: int) -> list[dict[str, Any]]:
    """Medians of the errors over draws, and means of the coverages, of every input and ratio."""
    rows = []
    for i, kind in enumerate(INPUTS):
        for j, ratio in enumerate(RATIOS):
            first = SEED + 10_000 * (2 * i + j)
            several = [drawn(kind, ratio, first + draw) for draw in range(draws)]
            row: dict[str, Any] = {"input": kind, "ratio": ratio, "draws": draws}
            for name in (*METHODS, "steps"):
                row[name] = float(f"{np.median([one[name] for one in several]):.4g}")
            for name in ("ridge, GCV", "early stopping, GCV"):
                covered = np.array([one[f"coverage of {name}"] for one in several])
                row[f"coverage of {name}"] = float(f"{covered.mean():.4f}")
                spread = covered.std() / draws**0.5
                row[f"error of the coverage of {name}"] = float(f"{spread:.2g}")
                widths = [one[f"width of {name}"] for one in several]
                row[f"width of {name}"] = float(f"{np.median(widths):.3g}")
            better = [one["early stopping, GCV"] < one["ridge, GCV"] for one in several]
            row["share of draws in which early stopping is better"] = float(np.mean(better))
            print(row, flush=True)
            rows.append(row)
    return rows


def checked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The promises about these figures."""
    coloured = [row for row in rows if row["input"] != "white"]
    ratios = [round(row["early stopping, GCV"] / row["ridge, GCV"], 3) for row in coloured]
    gains = [round(row["early stopping, GCV"] / row["least squares"], 3) for row in rows]
    coverages = [row["coverage of early stopping, GCV"] for row in rows]
    kept = [
        ("coloured inputs: error of at most 1.1 times that of a ridge", max(ratios) <= 1.1, ratios),
        ("a smaller error than least squares", max(gains) < 1, gains),
        ("bands of 95 % contain 93 to 99.5 % of the taps", _within(coverages), coverages),
    ]
    return [{"promise": p, "passed": bool(passed), "figures": f} for p, passed, f in kept]


def _within(coverages: list[float]) -> bool:
    return min(coverages) >= 0.93 and max(coverages) <= 0.995


def table(result: dict[str, Any]) -> str:
    """Errors and coverages as Markdown."""
    lines = [
        "| input, signal-to-noise ratio | least squares | ridge, GCV (best possible) "
        "| early stopping, GCV (best possible) | boosting | coverage of bands: ridge "
        "| early stopping |",
        "| --- |" + " ---: |" * 6,
    ]
    for row in result["rows"]:
        ridge, stopped = (
            f"{row[f'{name}, GCV']:.3g} ({row[f'{name}, best possible']:.3g})"
            for name in ("ridge", "early stopping")
        )
        coverages = [100 * row[f"coverage of {n}, GCV"] for n in ("ridge", "early stopping")]
        cells = [
            f"{row['input']}, {row['ratio']:g}",
            f"{row['least squares']:.3g}",
            ridge,
            stopped,
            f"{row['boosting, held-out quarter']:.3g}",
            *(f"{coverage:.1f} %" for coverage in coverages),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(RESULT.read_text(encoding="utf-8"))))
        return
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    begun = time.perf_counter()
    with threadpool_limits(1), warnings.catch_warnings():
        # Residuals of a strong penalty can be correlated.
        warnings.simplefilter("ignore")
        result["rows"] = measured(QUICK_DRAWS if args.quick else DRAWS)
    result["seconds"] = round(time.perf_counter() - begun)
    result["checks"] = checked(result["rows"])
    report(result, args.out)


if __name__ == "__main__":
    main()
