"""How often intervals contain the truth, and how often tests reject, under noise of several kinds.

    python -m benchmarks.coverage                     # ten minutes; writes results/coverage.json
    python -m benchmarks.coverage --quick --out FILE  # tiny sizes, to check that it works
    python -m benchmarks.coverage --part costs        # one part alone, into the result file
    python -m benchmarks.coverage --table             # the result file as Markdown

Bands: x is AR(0.9), y its response by 40 taps (20 of 300 samples) and a bias, with noise added:
white, AR(0.9), ARMA(1,1) of pole 0.9 and zero −0.6, or 1/f. Bands have a nominal coverage of 95 %,
by the white formula, by "ar" and by "hac": of single taps, of the sum of the kernel, and of all
taps at once (max-t). A cell draws x 60 times, and noise 12 times for each, as outputs of one
problem. Its Monte Carlo error is the standard error of the mean over draws of x.

Other intervals and tests, in the same way: `Score.r2_interval` for a known kernel of 8 taps, with
720 draws of x, simultaneous bands under noise="cluster", all bands for records of unequal length,
`permutation_test` without and with an effect, one or several sums of taps under noise="hac" in
short records, the sum of a kernel of 8 taps under noise="ar" in records with gaps, intercepts or
drifts, `CrossValidationScores.permutation_test` of held-out correlations without and with a
response (20 lags, ridge 1000, x the size of 1/f noise), and bands of the patterns of a decoder by
the jackknife. Kernels in a basis have two channels with cosines and splines. Posterior bands are
those of penalties, for kernels of white noise with a decay (as of a room) and for damped
oscillations. For groups, kernels of subjects differ from 25 taps by a squared exponential of length
2. Subjects have 150 to 900 rows of white x, and different noise.

Costs: seconds of a solve and its standard errors, for 4 × 15 000 samples, 16 → 32 channels and 40
taps, on all cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.signal import lfilter
from scipy.special import stdtrit
from threadpoolctl import threadpool_limits

import convsolve as cs

from .machine import ROOT, load, now, stamp, summary

RESULT = ROOT / "benchmarks" / "results" / "coverage.json"
PACKAGES = ("convsolve", "numpy", "scipy")
LENGTHS, QUICK_LENGTHS = (300, 2_000, 20_000), (300, 2_000)
# Draws of x, and outputs of each.
DRAWS, OUTPUTS, QUICK_DRAWS, QUICK_OUTPUTS = 60, 12, 2, 3
LEVEL, METHODS, PARTS = 0.95, ("white", "ar", "hac"), ("taps", "sum", "all at once")
# Range of coverages that is promised, for bands by "ar" from this many samples on, and of levels.
HELD, LEVELS, FROM = (0.92, 0.98), (0.03, 0.07), 2_000
# Initial samples of a recursion that are dropped, and how much longer 1/f noise is made than used.
START, LONGER = 500, 4
# Cells of the other intervals and tests.
SCORED = {"100": (100,), "200": (200,), "300": (300,), "2000": (2_000,), "6 × 100": (100,) * 6}
SCORES, SCORED_NOISES = (0.1, 0.5, 0.9), ("white", "AR(0.9)", "1/f")
CLUSTERS, CLUSTER_TAPS, CLUSTER_ROWS = (4, 6, 10, 20), (8, 40), 150
UNEQUAL = {
    "300 + 4 × 60": (300, *(60,) * 4),
    "600 + 5 × 60": (600, *(60,) * 5),
    "600 + 19 × 60": (600, *(60,) * 19),
}
RESAMPLED = (
    ((60,) * 3, "AR(0.9)"),
    ((60,) * 5, "AR(0.9)"),
    ((60,) * 10, "AR(0.9)"),
    ((100,) * 5, "AR(0.9)"),
    ((60,) * 5, "1/f"),
    ((300,), "white"),
    ((300,), "AR(0.9)"),
)
# Fewer rows than this, and several sums of taps, have a warning under noise="hac".
SHORT_FROM = 600
KINDS = ("circular_shift", "records")
SHORT_SUMS = ((150, 10), (300, 20), (600, 20), (2_000, 40))
NUMBERS, SEVERAL = (2, 5), (300, 20)
# Records, rows, degree of a drift, share of rows that are left out, and coefficients of the noise.
RECORDS: dict[str, tuple[int, int, int | None, float, list[float]]] = {
    "100 × 30, drifts": (100, 30, 1, 0.0, [0.9]),
    "100 × 30, intercepts": (100, 30, 0, 0.0, [0.9]),
    "200 × 60, drifts": (200, 60, 1, 0.0, [0.9]),
    "100 × 30, drifts, order 2": (100, 30, 1, 0.0, [1.2, -0.4]),
    "3000, 30 % left out": (1, 3_000, None, 0.3, [0.9]),
    "400 × 20": (400, 20, None, 0.0, [0.9]),
    "4 × 180, drifts, 15 % left out": (4, 180, 2, 0.15, [0.5]),
}
REJECTED = (0.03, 0.08)
# Held-out correlations: records, least and most rows, noise, signal to noise, size of a trend.
HELD_OUT: dict[str, tuple[int, int, int, str, float, float]] = {
    "5 × 600, AR(0.9)": (5, 600, 600, "AR(0.9)", 0.0, 0.0),
    "10 × 600, AR(0.9)": (10, 600, 600, "AR(0.9)", 0.0, 0.0),
    "20 × 600, AR(0.9)": (20, 600, 600, "AR(0.9)", 0.0, 0.0),
    "10 × 600, 1/f": (10, 600, 600, "1/f", 0.0, 0.0),
    "10 × 600, white": (10, 600, 600, "white", 0.0, 0.0),
    "10 × 300 to 840, AR(0.9)": (10, 300, 840, "AR(0.9)", 0.0, 0.0),
    "10 × 600, common trend": (10, 600, 600, "AR(0.9)", 0.0, 3.0),
    "1 × 2000, AR(0.9)": (1, 2_000, 2_000, "AR(0.9)", 0.0, 0.0),
    "10 × 600, SNR 0.02": (10, 600, 600, "AR(0.9)", 0.02, 0.0),
    "10 × 600, SNR 0.05": (10, 600, 600, "AR(0.9)", 0.05, 0.0),
}
MAXIMUM, HELD_OUT_TAPS, HELD_OUT_RIDGE, EXCHANGES = "10 × 600, maximum of 8", 20, 1000.0, 999
HELD_OUT[MAXIMUM] = HELD_OUT["10 × 600, AR(0.9)"]
# Records and ridges of decoders; rows of a record; taps, sensors and sources; size of the noise.
DECODERS, PATTERN_ROWS = tuple(itertools.product((8, 12, 24), (0.0, 1000.0))), 300
PATTERN_SHAPE, SENSOR_NOISE = (6, 4, 2), 1.0
# Bases of the two channels, noise and noise model by name, and what is covered.
IN_BASES = {"cosines": cs.RaisedCosines(6), "splines": cs.BSplines(7)}
BASES = {"white": ("white", "white"), "AR(0.9) by ar": ("AR(0.9)", "ar"),
         "AR(0.9) by hac": ("AR(0.9)", "hac")}  # fmt: skip
BASIS_PARTS, BASIS_ROWS, BASIS_TAPS = ("taps", "all at once", "coefficients"), (1000, 4000), 40
SUBJECTS, GROUP_TAPS, DIFFERENCE = (4, 8, 16), 25, 0.3
PRIORS = {
    "ridge": cs.Ridge(), "squared exponential": cs.SquaredExponential(length=2),
}  # fmt: skip
# Penalties whose posterior bands are measured, and kernels (K,) that they assume or not.
DECAYING, ROOM_ROWS, ROOM_TAPS = ("ridge", "dc", "tc", "ss"), 2_000, 100
ROOM_NOISES, ROOM_DRAWS = (0.1, 1.0, 3.0), 10
ROOMS = {
    "rough": lambda rng, k: rng.standard_normal(k.size) * np.exp(-k / 20),
    "smooth": lambda rng, k: np.sin(k / rng.uniform(4, 8) + rng.uniform(0, 6)) * np.exp(-k / 20),
}  # fmt: skip
# Amplitude of the effect whose power is measured, and resampled y per test.
EFFECT, RESAMPLES = 0.35, 199

Maker = Callable[[np.random.Generator, int, int], np.ndarray]


# Noise, ratio of the powers of signal and noise, whether the system has a zero, and the method.
RESPONSE_TAPS, RESPONSE_ROWS = 60, 2_000
RESPONSES: dict[str, tuple[str, float, bool, dict[str, str]]] = {
    "white": ("white", 4.0, False, {}),
    "AR(0.9) by ar": ("AR(0.9)", 4.0, False, {"noise": "ar"}),
    "AR(0.9) by hac": ("AR(0.9)", 4.0, False, {"noise": "hac"}),
    "AR(0.9) as white": ("AR(0.9)", 4.0, False, {}),
    "white, with a zero": ("white", 4.0, True, {}),
    "white, with a zero, SNR 0.25": ("white", 0.25, True, {}),
    "white, ridge": ("white", 4.0, False, {"penalty": "ridge"}),
    "white, ridge, SNR 0.25": ("white", 0.25, False, {"penalty": "ridge"}),
    "white, tc": ("white", 4.0, False, {"penalty": "tc"}),
    "white, tc, SNR 0.25": ("white", 0.25, False, {"penalty": "tc"}),
}


def recursion(zeros: list[float], poles: list[float]) -> Maker:
    def made(rng: np.random.Generator, samples: int, columns: int) -> np.ndarray:
        e = rng.standard_normal((samples + START, columns))
        return np.asarray(lfilter(zeros, poles, e, axis=0)[START:])

    return made


def one_over_f(rng: np.random.Generator, samples: int, columns: int) -> np.ndarray:
    """Make noise whose power falls as 1/f: a part of a period that is ``LONGER`` times as long."""
    period = LONGER * samples
    spectrum = np.fft.rfft(rng.standard_normal((period, columns)), axis=0)
    spectrum[0] = 0.0
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)) / len(spectrum))[:, None]
    return np.fft.irfft(spectrum, period, axis=0)[:samples]


RED = recursion([1.0], [1.0, -0.9])
FILTERS = {
    "white": ([1.0], [1.0]),
    "AR(0.9)": ([1.0], [1.0, -0.9]),
    "ARMA(1,1)": ([1.0, 0.6], [1.0, -0.9]),
}
NOISES: dict[str, Maker] = {name: recursion(*pair) for name, pair in FILTERS.items()}
NOISES["1/f"] = one_over_f


def variance(name: str, samples: int, w: np.ndarray | None = None) -> float:
    """Return the variance of a noise, of white noise filtered by w as well if it is given."""
    if name == "1/f":
        period = LONGER * samples
        powers = 1 / np.arange(1, period // 2 + 1)
        return float((2 * powers.sum() - powers[-1]) * (period // 2 + 1) / period)
    pulse = np.zeros(START)
    pulse[0] = 1.0
    response = lfilter(*FILTERS[name], pulse)
    return float(np.square(response if w is None else np.convolve(response, w)).sum())


def decaying(taps: int) -> np.ndarray:
    """Make a kernel (taps, 1, 1)."""
    return np.exp(-np.arange(taps) / 8)[:, None, None]


def rate(found: Any, given: Any = None) -> dict[str, float]:
    """Return the ratio of sums over draws of x, of ones by default, and its standard error."""
    of = np.ones(len(found)) if given is None else given
    if not of.any():
        return {"rate": 0.0, "standard error": 0.0}
    ratio = np.sum(found) / of.sum()
    error = np.std(np.array(found) - ratio * of, ddof=1) * np.sqrt(len(of)) / of.sum()
    return {"rate": round(float(ratio), 4), "standard error": round(float(error), 4)}


def held(fit: cs.Solution, w: np.ndarray) -> tuple[float, ...]:
    """Return shares of outputs whose bands contain w (K, 1, 1): single taps, the sum, all taps."""

    def within(simultaneous: bool) -> np.ndarray:
        low, high = fit.confidence_band(LEVEL, simultaneous=simultaneous)
        return (low <= w[::-1, :, 0]) & (w[::-1, :, 0] <= high)

    total = fit.test(contrast=np.ones((len(w), 1)), value=w.sum()).pvalue > 1 - LEVEL
    return float(within(False).mean()), float(total.mean()), float(within(True).all(0).mean())


def cell(samples: int, name: str, draws: int, outputs: int) -> dict[str, Any]:
    """Measure coverages of one length and one noise, and their standard errors over draws of x."""
    taps = 20 if samples == 300 else 40
    w = decaying(taps)
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


def r2_intervals(data: str, name: str, repetitions: int) -> list[dict[str, Any]]:
    """Measure coverages of `r2_interval` for each true R²; the kernel is known."""
    lengths, w, spec = SCORED[data], decaying(8), cs.ConvSpec(8)
    rng = np.random.default_rng([*lengths, list(NOISES).index(name)])
    x = RED(rng, 200, 1)
    fit = cs.solve(cs.Problem(x, cs.convolve(x, w, spec), spec=spec))
    signal, noise = variance("AR(0.9)", 0, w[:, 0, 0]), variance(name, lengths[0])
    held, given = np.zeros((2, len(SCORES), repetitions))
    for i in range(repetitions):
        x = [RED(rng, n + 7, 1) for n in lengths]
        pairs = [(cs.convolve(a, w, spec), NOISES[name](rng, len(a) - 7, 1)) for a in x]
        for j, r2 in enumerate(SCORES):
            scale = np.sqrt(signal * (1 - r2) / r2 / noise)
            (low,), (high,) = fit.score(x, [a + scale * e for a, e in pairs]).r2_interval(LEVEL)
            held[j, i], given[j, i] = low <= r2 <= high, not np.isnan(low)
    return [
        {"rows": data, "noise": name, "r2": r2, "given": round(float(mine.mean()), 4)}
        | rate(found, mine)
        for r2, found, mine in zip(SCORES, held, given, strict=True)
    ]


def cluster_band(records: int, taps: int, draws: int, outputs: int) -> dict[str, Any]:
    """Measure the coverage of simultaneous bands under noise="cluster"."""
    rng, w = np.random.default_rng([records, taps]), decaying(taps)
    found, reach = [], []
    for _ in range(draws):
        x = [RED(rng, CLUSTER_ROWS + taps - 1, 1) for _ in range(records)]
        y = [cs.convolve(a, w, cs.ConvSpec(taps)) + RED(rng, CLUSTER_ROWS, outputs) for a in x]
        fit = cs.solve(cs.Problem(x, y, kernel_size=(taps,), bias=True), noise="cluster")
        low, high = fit.confidence_band(LEVEL, simultaneous=True)
        truth = w[::-1, :, 0]
        found.append(float(((low <= truth) & (truth <= high)).all(0).mean()))
        reach.append(float(((high - low) / fit.standard_error).mean() / 2))
    row = {"records": records, "taps": taps, "half width": round(float(np.mean(reach)), 2)}
    return row | rate(found)


def unequal_records(records: str, draws: int, outputs: int) -> dict[str, Any]:
    """Measure coverages under noise="cluster" for records of unequal length."""
    rng, w, found = np.random.default_rng(UNEQUAL[records]), decaying(8), []
    for _ in range(draws):
        x = [RED(rng, n + 7, 1) for n in UNEQUAL[records]]
        y = [cs.convolve(a, w, cs.ConvSpec(8)) + RED(rng, len(a) - 7, outputs) for a in x]
        problem = cs.Problem(x, y, kernel_size=8, drift=0)
        found.append(held(cs.solve(problem, noise="cluster"), w))
    return {"records": records} | {
        part: rate(list(each)) for part, each in zip(PARTS, zip(*found, strict=True), strict=True)
    }


def rejections(lengths: tuple[int, ...], name: str, draws: int, outputs: int) -> dict[str, Any]:
    """Measure how often `permutation_test` rejects at 5 %, without and with an effect."""
    rng = np.random.default_rng([*lengths, list(NOISES).index(name)])
    few = len(lengths) < 4
    kinds = [kind for kind in KINDS if not (few and kind == "records")]
    found: dict[str, dict[str, list[float]]] = {k: {"level": [], "power": []} for k in kinds}
    w = decaying(8)
    scale = EFFECT / np.sqrt(variance("AR(0.9)", 0, w[:, 0, 0]))
    for _ in range(draws):
        x = [RED(rng, n + 7, 1) for n in lengths]
        noise = [NOISES[name](rng, n, outputs) for n in lengths]
        size = np.sqrt(variance(name, lengths[0]))
        pairs = zip(x, noise, strict=True)
        effect = [e / size + scale * cs.convolve(a, w, cs.ConvSpec(8)) for a, e in pairs]
        for part, y in (("level", noise), ("power", effect)):
            fit = cs.solve(cs.Problem(x, y, kernel_size=8, bias=True))
            for kind in kinds:
                p = fit.permutation_test(kind, draws=RESAMPLES).pvalue
                found[kind][part].append(float((p <= 1 - LEVEL).mean()))
    several = {k: {part: rate(rates) for part, rates in both.items()} for k, both in found.items()}
    many, label = len(lengths), str(lengths[0])
    return {"rows": f"{many} × {label}" if many > 1 else label, "noise": name} | several


def short_sum(samples: int, taps: int, name: str, draws: int, outputs: int) -> dict[str, Any]:
    """Measure the coverage of the sum of a kernel under noise="hac", and the width of its band.

    The width is relative to the band from the covariance matrix, which has no correction for short
    records.
    """
    rng = np.random.default_rng([samples, taps, list(NOISES).index(name)])
    w, found, widths = decaying(taps), [], []
    for _ in range(draws):
        x = RED(rng, samples + taps - 1, 1)
        noise = NOISES[name](rng, samples, outputs)
        y = cs.convolve(x, w, cs.ConvSpec(taps)) + noise / noise.std() + 1
        fit = cs.solve(cs.Problem(x, y, kernel_size=(taps,), bias=True), noise="hac")
        test = fit.test(contrast=np.ones((taps, 1)), value=w.sum())
        found.append(float((test.pvalue > 1 - LEVEL).mean()))
        off = np.abs(fit.kernel.sum((0, 1)) - w.sum())
        corrected = off / np.sqrt(test.statistic) * stdtrit(test.dof[1], (1 + LEVEL) / 2)
        plain = [np.sqrt(fit.covariance(o).sum()) for o in range(outputs)]
        widths.append(np.sum(corrected) / np.sum(plain * stdtrit(fit.noise.dof, (1 + LEVEL) / 2)))
    row = {"samples": samples, "taps": taps, "noise": name}
    return row | {"width": round(float(np.mean(widths)), 2)} | rate(found)


def costs(samples: int, runs: int) -> dict[str, dict[str, float]]:
    """Measure seconds of a solve and its standard errors by noise: 4 records, 16 → 32 channels."""
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


def several_sums(number: int, name: str, draws: int, outputs: int) -> dict[str, Any]:
    """Measure how often a test of several sums of taps under noise="hac" rejects at 5 %."""
    samples, taps = SEVERAL
    rng, found = np.random.default_rng([number, list(NOISES).index(name)]), []
    contrast = np.repeat(np.eye(number), taps // number, axis=1)[..., None]
    for _ in range(draws):
        x, y = RED(rng, samples + taps - 1, 1), NOISES[name](rng, samples, outputs)
        fit = cs.solve(cs.Problem(x, y, kernel_size=(taps,), bias=True), noise="hac")
        found.append(float((fit.test(contrast=contrast).pvalue <= 1 - LEVEL).mean()))
    return {"sums": number, "noise": name} | rate(found)


def record_sum(case: str, draws: int, outputs: int) -> dict[str, Any]:
    """Measure how often the test of a sum under noise="ar" rejects at 5 %, in many records."""
    records, rows, degree, share, rho = RECORDS[case]
    rng, w, found = np.random.default_rng([*RECORDS].index(case)), decaying(8), []
    noise, coefficients = recursion([1.0], [1.0, *(-np.array(rho)).tolist()]), []
    for _ in range(draws):
        x = [RED(rng, rows + 7, 1) for _ in range(records)]
        y = [cs.convolve(a, w, cs.ConvSpec(8)) + noise(rng, rows, outputs) for a in x]
        mask = [rng.random(rows) >= share for _ in range(records)] if share else None
        fit = cs.solve(cs.Problem(x, y, kernel_size=8, drift=degree, mask=mask), noise="ar")
        test = fit.test(contrast=np.ones((8, 1)), value=w.sum())
        found.append(float((test.pvalue <= 1 - LEVEL).mean()))
        coefficients += fit.noise.coefficients.sum(1).tolist()
    row = {"records": case, "true": round(sum(rho), 3)}
    row["coefficients"] = round(float(np.median(coefficients)), 3)
    return row | rate(found)


def held_out(case: str, draws: int, outputs: int) -> dict[str, Any]:
    """Measure how often the test of held-out correlations rejects at 5 %.

    For the maximum over 8 outputs, a draw of x has one test.
    """
    records, least, most, name, snr, trend = HELD_OUT[case]
    rng, w, found = np.random.default_rng([*HELD_OUT].index(case)), decaying(HELD_OUT_TAPS), []
    if joint := case == MAXIMUM:
        draws, outputs = draws * outputs // 2, 8
    for _ in range(draws):
        lengths = rng.integers(least, most + 1, records)
        x = [np.abs(one_over_f(rng, n, 1)) for n in lengths]
        x = [a / a.std() for a in x]
        y = [NOISES[name](rng, n, outputs) / np.sqrt(variance(name, n)) for n in lengths]
        if snr:
            clean = [lfilter(w[:, 0, 0], 1.0, a, axis=0) for a in x]
            y = [b + np.sqrt(snr) * c / c.std() for b, c in zip(y, clean, strict=True)]
        x, y = ([a + trend * np.arange(len(a))[:, None] / len(a) for a in both] for both in (x, y))
        problem = cs.Problem(x, y, lags=(0, HELD_OUT_TAPS - 1), drift=0)
        test = cs.cross_validate(problem, ridge=HELD_OUT_RIDGE).permutation_test(EXCHANGES)
        p = test.joint_pvalue if joint else test.pvalue
        found.append(float(np.mean(p <= 1 - LEVEL)))
    return {"records": case, "snr": snr} | rate(found)


def lagged_covariance(kernels: np.ndarray, taps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance (P, P) of lagged sensors, and (P, Q) with the sources at lag 0.

    Sensors are AR(0.9) sources times ``kernels`` (K, sensors, sources) in the past, and noise of
    the same kind. Columns are ordered by lead of 0 to ``taps`` − 1 samples, then by sensor.
    """
    most, sensors, sources = kernels.shape
    correlation = 0.9 ** np.abs(np.subtract.outer(np.arange(taps + most), np.arange(taps + most)))
    response = np.zeros((taps, sensors, sources, taps + most))
    for lead, k in np.ndindex(taps, most):
        response[lead, :, :, lead - k + most] = kernels[k]
    flat = response.reshape(taps * sensors, sources, -1)
    scale = variance("AR(0.9)", 0)
    noise = np.kron(correlation[:taps, :taps], SENSOR_NOISE**2 * np.eye(sensors))
    whole = np.einsum("pst,tu,qsu->pq", flat, correlation, flat) + noise
    return scale * whole, scale * (flat @ correlation[:, most])


def decoder_patterns(records: int, ridge: float, draws: int) -> dict[str, Any]:
    """Measure coverages of bands by the jackknife for joint patterns of two outputs.

    The true patterns are those of the decoder that covariances of the population give, at the same
    ridge per row.
    """
    taps, sensors, sources = PATTERN_SHAPE
    rng = np.random.default_rng([records, int(ridge)])
    k = np.arange(6)[:, None, None]
    kernels = np.exp(-k / 2) * np.random.default_rng(0).standard_normal((1, sensors, sources))
    covariance, joint = lagged_covariance(kernels, taps)
    rows = records * PATTERN_ROWS
    w = np.linalg.solve(covariance + ridge / rows * np.eye(len(covariance)), joint)
    true = covariance @ w @ np.linalg.inv(w.T @ covariance @ w)
    true = true.reshape(taps, sensors, sources)[::-1]
    found = []
    for _ in range(draws):
        y = [RED(rng, PATTERN_ROWS + taps - 1 + len(k), sources) for _ in range(records)]
        x = [
            sum(b[len(k) - i : len(b) - i] @ h.T for i, h in enumerate(kernels))
            + SENSOR_NOISE * RED(rng, PATTERN_ROWS + taps - 1, sensors)
            for b in y
        ]
        y = [b[len(k) :] for b in y]
        fit = cs.solve(cs.Problem(x, y, lags=(1 - taps, 0), bias=True), ridge=ridge)
        low, high = fit.jackknife(patterns="predicted").confidence_band(LEVEL)
        found.append(float(((low <= true) & (true <= high)).mean()))
    return {"records": records, "ridge": ridge} | rate(found)


def group_intervals(subjects: int, draws: int, outputs: int) -> dict[str, Any]:
    """Measure the coverage of the kernel of a group by each prior, and by all data together."""
    rng, w, lags = np.random.default_rng(subjects), decaying(GROUP_TAPS), np.arange(GROUP_TAPS)
    values, vectors = np.linalg.eigh(np.exp(-(((lags[:, None] - lags) / 2) ** 2) / 2))
    root = DIFFERENCE * vectors * np.sqrt(np.maximum(values, 0))
    found: dict[str, list[float]] = {name: [] for name in (*PRIORS, "pooled")}
    for _ in range(draws):
        problems, records = {}, []
        for i in range(subjects):
            own = w + (root @ rng.standard_normal((GROUP_TAPS, outputs)))[:, None]
            x = rng.standard_normal((int(rng.integers(150, 900)) + GROUP_TAPS - 1, 1))
            clean = cs.convolve(x, own, cs.ConvSpec(GROUP_TAPS))
            y = clean + rng.uniform(1, 3) * rng.standard_normal(clean.shape) + 1
            records.append((x, y))
            problems[f"{i}"] = cs.Problem(x, y, kernel_size=(GROUP_TAPS,), bias=True)
        fits: dict[str, Any] = {n: cs.solve_group(problems, p) for n, p in PRIORS.items()}
        together = cs.Problem(
            *map(list, zip(*records, strict=True)), kernel_size=GROUP_TAPS, bias=True
        )
        fits["pooled"] = cs.solve(together)
        for name, fit in fits.items():
            low, high = fit.confidence_band(LEVEL)
            found[name].append(float(((low <= w[::-1, :, 0]) & (w[::-1, :, 0] <= high)).mean()))
    return {"subjects": subjects} | {name: rate(each) for name, each in found.items()}


def basis_intervals(samples: int, case: str, draws: int, outputs: int) -> dict[str, Any]:
    """Measure coverages of bands of kernels in a basis, and of intervals of their coefficients."""
    name, method = BASES[case]
    rng, quantile = np.random.default_rng([samples, [*BASES].index(case)]), (1 + LEVEL) / 2
    functions = [basis.functions(np.arange(BASIS_TAPS)) for basis in IN_BASES.values()]
    found: dict[str, list[float]] = {part: [] for part in BASIS_PARTS}
    for _ in range(draws):
        z = [rng.standard_normal((f.shape[1], outputs)) for f in functions]
        w = np.stack([f @ own for f, own in zip(functions, z, strict=True)], axis=1)
        x = RED(rng, samples + BASIS_TAPS - 1, len(functions))
        y = cs.convolve(x, w[::-1], cs.ConvSpec(BASIS_TAPS))
        y = y + 3 * NOISES[name](rng, samples, outputs) + 1
        problem = cs.Problem(
            x, y, kernel_size=BASIS_TAPS, padding=((0, 0),), bias=True,
            channels=[*IN_BASES], basis=IN_BASES,
        )  # fmt: skip
        fit, truth = cs.solve(problem, noise=method), np.concatenate(z)
        for part in BASIS_PARTS[:2]:
            low, high = fit.confidence_band(LEVEL, simultaneous=part == "all at once")
            inside = (low <= w) & (w <= high)
            inside = inside.all((0, 1)) if part == "all at once" else inside
            found[part].append(float(inside.mean()))
        reach = stdtrit(fit.noise.dof, quantile) * fit.coefficient_error
        inside = np.abs(fit.coefficients - truth) <= reach
        found["coefficients"].append(float(inside.mean()))
    return {"samples": samples, "case": case} | {part: rate(each) for part, each in found.items()}


def posterior_bands(kernel: str, noise: float, outputs: int) -> dict[str, Any]:
    """Measure coverages of the taps of decaying kernels by the posterior of several penalties."""
    rng, k = np.random.default_rng([*ROOMS].index(kernel)), np.arange(ROOM_TAPS)
    found: dict[str, list[float]] = {penalty: [] for penalty in DECAYING}
    for _ in range(ROOM_DRAWS):
        w = np.stack([ROOMS[kernel](rng, k) for _ in range(outputs)], axis=-1)
        x = rng.standard_normal(ROOM_ROWS)
        y = np.stack([lfilter(taps, 1.0, x) for taps in w.T], axis=-1)
        y = y + noise * y.std(0) * rng.standard_normal(y.shape)
        problem = cs.Problem(x, y, lags=(0, ROOM_TAPS - 1), edges="zeros")
        for penalty in DECAYING:
            low, high = cs.solve(problem, penalty=penalty).confidence_band(LEVEL)
            found[penalty].append(float(((low <= w) & (w <= high)).mean()))
    row = {"kernel": kernel, "noise": noise}
    return row | {penalty: rate(each) for penalty, each in found.items()}


def system(zero: bool) -> np.ndarray:
    """Return a resonance at 12 Hz after 5 samples at 100 Hz, and with a zero at 25 Hz."""
    k = np.arange(RESPONSE_TAPS - 5)
    decay = np.exp(-0.12 * 2 * np.pi * 0.12 * k) * np.sin(
        2 * np.pi * 0.12 * np.sqrt(1 - 0.12**2) * k
    )
    h = np.r_[np.zeros(5), decay]
    return lfilter([0.5, 0.0, 0.5], 1.0, h) if zero else h


def response_bands(case: str, draws: int) -> dict[str, Any]:
    """Measure coverages of the bands of frequency and step responses, and of the delay."""
    noise, snr, zero, method = RESPONSES[case]
    rng, h = np.random.default_rng([*RESPONSES].index(case)), system(zero)
    waves = np.exp(-2j * np.pi * np.outer(np.linspace(0, 0.5, 512), np.arange(RESPONSE_TAPS)))
    true, step, found = waves @ h, h.cumsum(), defaultdict(list)
    for _ in range(draws):
        x = lfilter([1.0], [1.0, -0.5], rng.standard_normal(RESPONSE_ROWS + START))[START:]
        clean = lfilter(h, 1.0, x)
        e = NOISES[noise](rng, len(x), 1)[:, 0]
        problem = cs.Problem(
            x, clean + e / e.std() * clean.std() / np.sqrt(snr), lags=(0, RESPONSE_TAPS - 1)
        )
        fit = cs.solve(problem, **method)
        for name in ("each", "all")[: 1 if "penalty" in method else 2]:
            wide = {"simultaneous": name == "all"}
            bands, steps = fit.frequency_response(**wide), fit.step_response(**wide)
            off = np.abs(np.angle(true * np.exp(-1j * np.mean(bands.phase_band, axis=0))))
            low, high = bands.magnitude_band
            inside = [
                (low <= np.abs(true)) & (np.abs(true) <= high),
                ~(off > np.diff(bands.phase_band, axis=0)[0] / 2),
            ]
            low, high = steps.band
            inside.append((low <= step) & (step <= high))
            for part, hits in zip(("magnitude", "phase", "step"), inside, strict=True):
                found[part if name == "each" else f"{part} at once"].append(
                    hits.mean() if name == "each" else hits.all()
                )
        low, high = fit.delay().peak_range
        found["peak"].append(low <= np.abs(h).argmax() <= high)
    return {"case": case} | {name: rate(each) for name, each in found.items()}


def judged(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Check whether every cell that is promised lies in its range."""
    # A part of the result may have been measured alone.
    result = defaultdict(list, result)
    cells = [
        (f'{part} by "ar": {row["samples"]}, {row["noise"]}', row["ar"][part], HELD)
        for row in result["rows"]
        if row["samples"] >= FROM
        for part in PARTS
    ]
    cells += [
        (f"R² of {row['r2']}: {row['rows']} rows, {row['noise']}", row, HELD)
        for row in result["r2 intervals"]
    ]
    cells += [
        (f'{row["taps"]} taps at once by "cluster": {row["records"]} records', row, HELD)
        for row in result["cluster bands"]
    ]
    cells += [
        (f'{part} by "cluster": records of {row["records"]} rows', row[part], HELD)
        for row in result["unequal records"]
        for part in PARTS
    ]
    cells += [
        (f'permutation by "{kind}": {row["rows"]}, {row["noise"]}', row[kind]["level"], LEVELS)
        for row in result["permutation tests"]
        for kind in KINDS
        if kind in row
    ]
    cells += [
        (f'sum of {row["taps"]} taps by "hac": {row["samples"]}, {row["noise"]}', row, HELD)
        for row in result["short sums"]
        if row["samples"] >= SHORT_FROM
    ]
    cells += [
        (f'sum of 8 taps by "ar" in records: {row["records"]}', row, REJECTED)
        for row in result["sums in records"]
    ]
    cells += [
        (f"held-out correlation: {row['records']}", row, REJECTED)
        for row in result["held-out tests"]
        if not row["snr"]
    ]
    cells += [
        (f"patterns: {row['records']} records, ridge {row['ridge']:g}", row, HELD)
        for row in result["patterns"]
    ]
    cells += [
        (f"{part} in a basis: {row['samples']}, {row['case']}", row[part], HELD)
        for row in result["bases"]
        for part in BASIS_PARTS
    ]
    cells += [
        (f"group of {row['subjects']} subjects, {name}", row[name], HELD)
        for row in result["groups of subjects"]
        for name in PRIORS
    ]
    # "tc" and "ss" assume that neighbouring taps are alike, "ss" also that the kernel is smooth.
    cells += [
        (f"{row['kernel']} kernel, noise {row['noise']:g}, by {penalty!r}", row[penalty], HELD)
        for row in result["posterior bands"]
        for penalty in (DECAYING[:3] if row["kernel"] == "smooth" else DECAYING[:2])
    ]
    cells += [
        (f"{part} of a response: {row['case']}", row[part], HELD)
        for row in result["responses"]
        for part in ("magnitude", "phase", "step")
        if "as white" not in row["case"]
    ]
    checks = []
    for name, cell, (low, high) in cells:
        value = cell.get("coverage", cell.get("rate"))
        figures = {"rate": value, "standard error": cell["standard error"]}
        promise = f"{name} within {low} and {high}"
        checks.append({"promise": promise, "passed": low <= value <= high, "figures": figures})
    return checks


def percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " --- |" * (len(heads) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def bands_table(result: dict[str, Any]) -> str:
    """Format coverages of bands: single taps, the sum, all taps at once."""
    rows = [
        [f"{row['samples']}, {row['noise']}"]
        + [", ".join(percent(row[m][p]["coverage"]) for p in PARTS) for m in METHODS]
        for row in result["rows"]
    ]
    return markdown(["samples, noise", *(f"`{m}`: {', '.join(PARTS)}" for m in METHODS)], rows)


def r2_table(result: dict[str, Any]) -> str:
    """Format coverages of intervals of R² for each true value, and how many are given."""
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["r2 intervals"]:
        cells.setdefault((row["rows"], row["noise"]), []).append(row)
    rows = [
        [
            data,
            noise,
            ", ".join(percent(row["rate"]) for row in found),
            ", ".join(f"{100 * row['given']:.0f}" for row in found),
        ]
        for (data, noise), found in cells.items()
    ]
    return markdown(["rows", "noise", "R² 0.1, 0.5, 0.9", "given"], rows)


def cluster_table(result: dict[str, Any]) -> str:
    """Format coverages of simultaneous bands, and their half widths in standard errors."""
    rows = []
    for taps, found in itertools.groupby(result["cluster bands"], lambda row: row["taps"]):
        shown = [f"{percent(row['rate'])} (± {row['half width']:.1f})" for row in found]
        rows.append([str(taps), *shown])
    counts = sorted({row["records"] for row in result["cluster bands"]})
    return markdown(["taps", *(f"{count} records" for count in counts)], rows)


def unequal_table(result: dict[str, Any]) -> str:
    """Format coverages of bands for records of unequal length."""
    rows = [
        [row["records"], *(percent(row[part]["rate"]) for part in PARTS)]
        for row in result["unequal records"]
    ]
    return markdown(["rows of the records", *PARTS], rows)


def permutation_table(result: dict[str, Any]) -> str:
    """Format levels and powers of permutation tests."""
    rows = [
        [f"{row['rows']}, {row['noise']}"]
        + [
            f"{percent(row[k]['level']['rate'])}, {100 * row[k]['power']['rate']:.0f}"
            if k in row
            else "–"
            for k in KINDS
        ]
        for row in result["permutation tests"]
    ]
    return markdown(["rows, noise", *(f"`{kind}`: level, power" for kind in KINDS)], rows)


def sums_table(result: dict[str, Any]) -> str:
    """Format coverages of sums of taps in short records, and their widths."""
    rows = []
    for samples, found in itertools.groupby(result["short sums"], lambda row: row["samples"]):
        shown = [f"{percent(row['rate'])} ({row['width']:.1f})" for row in found]
        rows.append([str(samples), *shown])
    return markdown(["samples", *NOISES], rows)


def several_table(result: dict[str, Any]) -> str:
    """Format levels of tests of several sums of taps."""
    rows = []
    for number, found in itertools.groupby(result["several sums"], lambda row: row["sums"]):
        rows.append([str(number), *(percent(row["rate"]) for row in found)])
    return markdown(["sums", *NOISES], rows)


def records_table(result: dict[str, Any]) -> str:
    """Format rejections in records with gaps, intercepts or drifts."""
    rows = [
        [row["records"], f"{row['coefficients']} ({row['true']})", percent(row["rate"])]
        for row in result["sums in records"]
    ]
    return markdown(["records", "coefficients (true)", "rejections"], rows)


def held_out_table(result: dict[str, Any]) -> str:
    """Format rejections by the test of held-out correlations."""
    rows = [[row["records"], percent(row["rate"])] for row in result["held-out tests"]]
    return markdown(["records × samples, noise", "rejections"], rows)


def patterns_table(result: dict[str, Any]) -> str:
    """Format coverages of bands of patterns."""
    rows = []
    for ridge in dict.fromkeys(row["ridge"] for row in result["patterns"]):
        shown = [percent(row["rate"]) for row in result["patterns"] if row["ridge"] == ridge]
        rows.append([f"{ridge:g}", *shown])
    counts = dict.fromkeys(row["records"] for row in result["patterns"])
    return markdown(["ridge", *(f"{count} records" for count in counts)], rows)


def group_table(result: dict[str, Any]) -> str:
    """Format coverages of the kernel of a group."""
    names = [*PRIORS, "pooled"]
    rows = [
        [str(row["subjects"]), *(percent(row[name]["rate"]) for name in names)]
        for row in result["groups of subjects"]
    ]
    return markdown(["subjects", *names], rows)


def bases_table(result: dict[str, Any]) -> str:
    """Format coverages of kernels in a basis and of their coefficients."""
    rows = [
        [str(row["samples"]), row["case"], *(percent(row[part]["rate"]) for part in BASIS_PARTS)]
        for row in result["bases"]
    ]
    return markdown(["samples", "noise and model", *BASIS_PARTS], rows)


def posterior_table(result: dict[str, Any]) -> str:
    """Format coverages of kernels by the posterior of penalties."""
    rows = [
        [row["kernel"], f"{row['noise']:g}", *(percent(row[name]["rate"]) for name in DECAYING)]
        for row in result["posterior bands"]
    ]
    return markdown(["kernel", "noise", *(f"`{name}`" for name in DECAYING)], rows)


def responses_table(result: dict[str, Any]) -> str:
    """Format coverages of frequency and step responses."""
    parts = (
        "magnitude",
        "phase",
        "step",
        "magnitude at once",
        "phase at once",
        "step at once",
        "peak",
    )
    rows = [
        [row["case"], *(percent(row[part]["rate"]) if part in row else "–" for part in parts)]
        for row in result["responses"]
    ]
    return markdown(["noise and model", *parts], rows)


def table(result: dict[str, Any]) -> str:
    """Format all coverages and levels, in per cent, as Markdown."""
    result = defaultdict(list, result)
    return "\n\n".join(
        [
            bands_table(result),
            "Intervals of R² on new data, and the share of data sets that have one:",
            r2_table(result),
            'Bands of all taps at once under `"cluster"`, and half widths in standard errors, '
            f"from records of {CLUSTER_ROWS} rows with AR(0.9) noise:",
            cluster_table(result),
            'Bands under `"cluster"` with an intercept per record, for 8 taps and AR(0.9) noise:',
            unequal_table(result),
            "Rejections by `permutation_test` at a level of 5 %, without and with an effect:",
            permutation_table(result),
            'Sums of taps under `"hac"`, and their width relative to that of Newey and West:',
            sums_table(result),
            f'Rejections of several sums of taps under `"hac"` at 5 %, from {SEVERAL[0]} samples:',
            several_table(result),
            'Rejections of the sum of 8 taps under `"ar"` at 5 %, and median sums of coefficients '
            "of the noise:",
            records_table(result),
            "Rejections by `permutation_test` of held-out correlations at a level of 5 %, by "
            f"refits to {EXCHANGES} exchanges or shifts of y. Noise is AR(0.9) unless given, from "
            "360 data sets (180 for the maximum):",
            held_out_table(result),
            "Bands of the joint patterns of two outputs by `jackknife`, from records of "
            f"{PATTERN_ROWS} rows with AR(0.9) sources and noise:",
            patterns_table(result),
            f"Kernels of {BASIS_TAPS} taps in a basis, and their coefficients:",
            bases_table(result),
            "Bands of single taps by the posterior of a penalty, from "
            f"{ROOM_DRAWS * OUTPUTS} kernels of {ROOM_TAPS} decaying taps and {ROOM_ROWS} rows. "
            "The noise is given in standard deviations of the response:",
            posterior_table(result),
            f"Frequency and step responses of a resonant system, from {RESPONSE_ROWS} rows and "
            f"{RESPONSE_TAPS} taps:",
            responses_table(result),
            "The kernel of a group by `solve_group` with two priors, and by least squares of all "
            f"data together, for {GROUP_TAPS} taps:",
            group_table(result),
        ]
    )


def sentence(result: dict[str, Any]) -> str:
    """Describe the tables: repetitions, errors, cells outside their range, and costs."""
    errors = [row[m][p]["standard error"] for row in result["rows"] for m in METHODS for p in PARTS]
    errors += [check["figures"]["standard error"] for check in result["checks"]]
    missed = [check for check in result["checks"] if not check["passed"]]
    cost = {noise: seconds["median"] for noise, seconds in result["costs"].items()}
    listed = "\n".join(
        f"- {check['promise']}: {percent(check['figures']['rate'])}" for check in missed
    )
    low, high = (100 * end for end in HELD)
    least, most = (100 * end for end in LEVELS)
    return (
        f"Each cell has {result['rows'][0]['repetitions']} repetitions. Monte Carlo errors are at "
        f"most {100 * max(errors):.1f} points.\n"
        f"The cells of `ar` from {FROM} samples on, and all other intervals and tests, are "
        f"checked.\nCells in which a test under `hac` warns are not checked. Coverages should be "
        f"{low:.0f} to {high:.0f} %.\nLevels should be {least:.0f} to {most:.0f} %, or to "
        f"{100 * REJECTED[1]:.0f} % for the sum in records and for held-out correlations.\n"
        f"{len(missed)} of {len(result['checks'])} cells are outside this range:\n\n"
        f"{listed}\n\n"
        "Times are for 4 × 15 000 samples, 16 → 32 channels and 40 taps. A solve and its standard "
        "errors take\n" + ", ".join(f"{cost[noise]:.2g} s by `{noise}`" for noise in cost) + "."
    )


def write(result: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", choices=[*MEASURED, "costs"])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    if args.table:
        result = json.loads(args.out.read_text(encoding="utf-8"))
        print(f"{table(result)}\n\n{sentence(result)}")
        return
    # The white formula is used where it fails, and short records are tested on purpose.
    for words in (
        "the residuals of output .* are",
        "R² of output .* has no",
        "the records? (is|are|differ)",
        "standard errors explain",
        "the test of .* under noise='hac' is approximate",
    ):
        warnings.filterwarnings("ignore", words)
    if args.part:
        result = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
        result |= part(args.part, args.quick)
    else:
        result = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
        begun = time.perf_counter()
        for name in MEASURED:
            result |= part(name, args.quick)
        result["seconds of the coverages"] = round(time.perf_counter() - begun, 1)
        result |= part("costs", args.quick)
    result["checks"] = judged(result)
    write(result, args.out)
    for check in result["checks"]:
        print("PASS" if check["passed"] else "FAIL", check["promise"], check["figures"])


class Size(NamedTuple):
    """Lengths of records, and the draws of x and the outputs of each."""

    lengths: Sequence[int]
    draws: int
    outputs: int

    @property
    def each(self) -> tuple[int, int]:
        """Draws and outputs."""
        return self.draws, self.outputs


FULL, QUICK = Size(LENGTHS, DRAWS, OUTPUTS), Size(QUICK_LENGTHS, QUICK_DRAWS, QUICK_OUTPUTS)

# The parts of the result.
MEASURED: dict[str, Callable[[Size], list[dict[str, Any]]]] = {
    "rows": lambda size: [cell(n, name, *size.each) for n in size.lengths for name in NOISES],
    "r2 intervals": lambda size: [
        row
        for pair in itertools.product(SCORED, SCORED_NOISES)
        for row in r2_intervals(*pair, size.draws * size.outputs)
    ],
    "cluster bands": lambda size: [
        cluster_band(records, taps, *size.each) for taps in CLUSTER_TAPS for records in CLUSTERS
    ],
    "unequal records": lambda size: [unequal_records(name, *size.each) for name in UNEQUAL],
    "permutation tests": lambda size: [rejections(*case, *size.each) for case in RESAMPLED],
    "several sums": lambda size: [
        several_sums(q, name, *size.each) for q in NUMBERS for name in NOISES
    ],
    "short sums": lambda size: [
        short_sum(*case, name, *size.each) for case in SHORT_SUMS for name in NOISES
    ],
    "sums in records": lambda size: [record_sum(case, *size.each) for case in RECORDS],
    "held-out tests": lambda size: [
        held_out(case, max(2, size.draws // 2), size.outputs) for case in HELD_OUT
    ],
    "patterns": lambda size: [
        decoder_patterns(*case, size.draws * size.outputs) for case in DECODERS
    ],
    "bases": lambda size: [
        basis_intervals(samples, case, *size.each) for samples in BASIS_ROWS for case in BASES
    ],
    "posterior bands": lambda size: [
        posterior_bands(*case, size.outputs) for case in itertools.product(ROOMS, ROOM_NOISES)
    ],
    "responses": lambda size: [response_bands(case, 5 * size.draws) for case in RESPONSES],
    "groups of subjects": lambda size: [group_intervals(n, *size.each) for n in SUBJECTS],
}


def part(name: str, quick: bool) -> dict[str, Any]:
    """Measure one part of the result."""
    if name == "costs":
        found = costs(600, 1) if quick else costs(15_000, 3)
        return {"load of the costs": load(), "costs": found}
    with threadpool_limits(1):
        return {name: MEASURED[name](QUICK if quick else FULL)}


if __name__ == "__main__":
    main()
