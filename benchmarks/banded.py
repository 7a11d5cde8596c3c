"""Banded ridge by cross-validation, compared with the random search of himalaya.

Five records of 1 000 samples, three groups of channels with 120 unknowns, and six outputs. Each
record is a fold. himalaya tries random ratios of the strengths, each with ten strengths. convsolve
searches by a gradient. All are measured in turns in one process, with one thread of BLAS. The error
of new data is the mean square above the noise.

Run: pip install himalaya && python -m benchmarks.banded
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import convsolve as cs
from benchmarks.machine import ROOT, load, now, report, stamp, summary
from benchmarks.small import in_turns, rounded

RESULT = ROOT / "benchmarks" / "results" / "banded.json"
PACKAGES = ("convsolve", "numpy", "scipy", "himalaya", "scikit-learn", "threadpoolctl")
RECORDS, TAPS, LABELS = 5, 10, np.repeat([0, 1, 2], [1, 3, 8])
SIZES, NOISE, GRID = np.array([1.0, 0.3, 0.05]), 4.0, np.logspace(-1, 5, 10)
# Times faster than himalaya.
LEAST_OF_HIMALAYA = 20.0


def recordings(samples: int, records: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """x of three groups of channels, smoothed in time, and y without noise."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((TAPS, len(LABELS), 6)) * SIZES[LABELS][:, None]
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((samples + 4, len(LABELS))) for _ in range(records)]
    x = [sum(a[i : i + samples] for i in range(5)) / 5**0.5 for a in x]
    return x, [cs.convolve(a, kernel, cs.ConvSpec(TAPS)) for a in x]


def himalaya(x: list[np.ndarray], y: list[np.ndarray], candidates: int) -> np.ndarray:
    """Scores (candidates, outputs) of himalaya, each at its best strength."""
    from himalaya.ridge import solve_group_ridge_random_search
    from numpy.lib.stride_tricks import sliding_window_view
    from sklearn.model_selection import PredefinedSplit

    windows = [sliding_window_view(a, TAPS, axis=0) for a in x]
    groups = [
        np.concatenate([w[:, label == LABELS].reshape(len(w), -1) for w in windows])
        for label in range(3)
    ]
    scores: np.ndarray = solve_group_ridge_random_search(
        groups,
        np.concatenate(y),
        n_iter=candidates,
        random_state=0,
        alphas=GRID,
        fit_intercept=True,
        cv=PredefinedSplit(np.repeat(np.arange(len(x)), len(y[0]))),
        progress_bar=False,
    )[2]
    return scores


def measured(quick: bool) -> dict[str, Any]:
    """Times, errors of new data, and differences of scores."""
    samples, candidates, runs = (100, 3, 1) if quick else (1000, 10, 3)
    x, clean = recordings(samples, RECORDS, 1)
    rng = np.random.default_rng(2)
    y = [b + NOISE * rng.standard_normal(b.shape) for b in clean]
    new_x, new_y = recordings(4 * samples, 1, 3)
    ridge = cs.Ridge(channel_groups=LABELS.tolist())
    methods: dict[str, dict[str, Any]] = {
        "one strength": {"penalty": "ridge", "select": "cv"},
        "gradient": {"penalty": ridge, "select": "cv"},
        "evidence": {"penalty": ridge},
    }

    def by(method: dict[str, Any]) -> Callable[[], cs.Solution]:
        return lambda: cs.solve(cs.Problem(x, y, kernel_size=TAPS, bias=True), **method)

    calls: dict[str, Callable[[], Any]] = {name: by(method) for name, method in methods.items()}
    found: dict[str, Any] = {
        "samples": RECORDS * samples,
        "unknowns": TAPS * len(LABELS),
        "candidates": candidates,
        "strengths": len(GRID),
    }
    with threadpool_limits(1):
        for name, call in calls.items():
            fit = call()
            square = np.square(fit.predict(new_x[0]) - new_y[0]).mean()
            found[name] = {
                "error": rounded(float(square)),
                "score": rounded(float(fit.regularization.score.mean())),
                "certificate_eps": rounded(fit.backward_error / np.finfo(float).eps),
            }
        if find_spec("himalaya") is not None:
            calls["himalaya"] = lambda: himalaya(x, y, candidates)
            best = -calls["himalaya"]().max(0)
            found["himalaya"] = {"score": rounded(float(best.mean()))}
        seconds = in_turns(calls, runs)
    for name, several in seconds.items():
        found[name]["seconds"] = summary(several)
    if "himalaya" in found:
        ratio = found["himalaya"]["seconds"]["median"] / found["gradient"]["seconds"]["median"]
        found["times_faster_than_himalaya"] = rounded(ratio)
    print(json.dumps(found), flush=True)
    return found


def checked(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The promises about these figures."""
    worst = max(found[name]["certificate_eps"] for name in ("gradient", "evidence"))
    errors = [found[name]["error"] for name in ("gradient", "one strength")]
    rows: list[tuple[str, bool, Any]] = [
        ("banded ridge: certificate at most 30 eps", worst <= 30, worst),
        ("the gradient predicts better than one strength", errors[0] < errors[1], errors),
    ]
    if "himalaya" in found:
        times = found["times_faster_than_himalaya"]
        scores = [found[name]["score"] for name in ("gradient", "himalaya")]
        rows.append(("the gradient scores at least as well", scores[0] <= scores[1], scores))
        promise = f"{LEAST_OF_HIMALAYA:g} times faster than himalaya"
        rows.append((promise, times >= LEAST_OF_HIMALAYA, times))
    return [{"promise": p, "passed": bool(passed), "figures": f} for p, passed, f in rows]


def sentence(result: dict[str, Any]) -> str:
    """Describe the errors, and the time compared with himalaya."""
    found = result["banded"]
    errors = [found[name]["error"] for name in ("one strength", "gradient", "evidence")]
    return (
        "The data have {samples} samples, {unknowns} unknowns in three groups of channels, and six "
        "outputs. A search by the gradient\nof the score takes 1/{times:.0f} of the time of "
        "himalaya. There, {candidates} random ratios have {strengths} strengths each (numpy,\n"
        "one thread). The squared error of new data above the noise is {} with one strength. It "
        "is {} with\nthe gradient of the score, and {} with the evidence."
    ).format(
        *errors,
        times=found["times_faster_than_himalaya"],
        **{name: found[name] for name in ("unknowns", "samples", "candidates", "strengths")},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    result["banded"] = measured(args.quick)
    result["checks"] = checked(result["banded"])
    report(result, args.out)


if __name__ == "__main__":
    main()
