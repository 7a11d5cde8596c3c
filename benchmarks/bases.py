"""Kernels in a basis on the lags, compared with convolving x with the functions first: in turns.

NeMoS, nilearn and Unfold convolve every channel with every function of a basis and solve least
squares on the columns. Here this is done with FFTs, a Gram matrix, a Cholesky factor, and a
residual pass over the columns, as convsolve does for its certificate. Another way is the Gram
matrix of all taps, which the basis is then applied to.

Run: python -m benchmarks.bases
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.signal import fftconvolve

import convsolve as cs
from benchmarks.machine import ROOT, load, now, report, stamp, summary
from benchmarks.small import in_turns, rounded

RESULT = ROOT / "benchmarks" / "results" / "bases.json"
PACKAGES = ("convsolve", "numpy", "scipy", "threadpoolctl")
# The largest difference of the kernels. Taps up to which the Gram matrix of all taps is tried.
MOST_OFF, MOST_TAPS = 1e-10, 4000


class Case(NamedTuple):
    """Samples, channels, taps of a kernel and functions of the basis.

    ``faster`` is the smallest ratio of the times of the columns and of convsolve.
    """

    samples: int
    channels: int
    taps: int
    functions: int
    faster: float

    @property
    def name(self) -> str:
        """The sizes in words."""
        sizes = f"{self.samples} samples, {self.channels} × {self.taps} taps"
        return f"{sizes} to {self.channels} × {self.functions}"

    @property
    def basis(self) -> cs.RaisedCosines:
        """The basis of every channel."""
        return cs.RaisedCosines(self.functions)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x, white noise, and y: responses in the basis, and noise."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.samples, self.channels))
        y = rng.standard_normal(self.samples)
        functions = self.basis.functions(np.arange(self.taps))
        for channel in x.T:
            kernel = functions @ rng.standard_normal(self.functions)
            y += fftconvolve(channel, kernel)[: self.samples]
        return x, y


CASES = (
    Case(200_000, 1, 2000, 20, 2.0),
    Case(200_000, 1, 16_000, 20, 2.0),
    Case(200_000, 16, 100, 8, 2.0),
    Case(200_000, 16, 1000, 10, 2.0),
    Case(50_000, 64, 60, 6, 1.0),
)
QUICK = (Case(5000, 2, 60, 6, 0.0), Case(8000, 1, 900, 5, 0.0))


def by_columns(case: Case, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return kernels (taps, channels) from the columns of x convolved with the functions."""
    functions = case.basis.functions(np.arange(case.taps))
    several = (fftconvolve(channel[:, None], functions, axes=0) for channel in x.T)
    a = np.concatenate([columns[: len(y)] for columns in several], axis=1)
    z = cho_solve(cho_factor(a.T @ a, lower=True), a.T @ y)
    r = y - a @ z
    _ = r @ r, a.T @ r
    return functions @ z.reshape(case.channels, -1).T


def by_taps(case: Case, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return kernels (taps, channels) from the Gram matrix of all taps."""
    functions = case.basis.functions(np.arange(case.taps))
    moments = cs.Problem(x, y, lags=(0, case.taps - 1), edges="zeros")
    gram, cross = _normal(moments)
    shape = case.taps, case.channels, case.functions * case.channels
    t = np.zeros(shape)
    for c in range(case.channels):
        t[::-1, c, c * case.functions : (c + 1) * case.functions] = functions
    t = t.reshape(-1, shape[2])
    z = cho_solve(cho_factor(t.T @ gram @ t, lower=True), t.T @ cross)
    return functions @ z.reshape(case.channels, -1).T


def _normal(problem: cs.Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return AᵀA and Aᵀy in the units of the user."""
    from convsolve.leastsquares.analysis import analyse

    analysis = analyse(problem)
    matrix, targets = analysis.design.matrix, analysis.targets
    scale = np.ldexp(1.0, matrix.exponents[0])
    gram = matrix.gram()[0] * scale * scale[:, None]
    cross = matrix.rhs(targets)[0, :, 0] * scale * np.ldexp(1.0, targets.exponents[0])
    return gram, cross


def by_convsolve(case: Case, x: np.ndarray, y: np.ndarray) -> cs.Solution:
    """Return the fit."""
    problem = cs.Problem(x, y, lags=(0, case.taps - 1), edges="zeros", basis=case.basis)
    return cs.solve(problem)


def measured(case: Case, runs: int) -> dict[str, Any]:
    """Return times in turns, and the difference of the kernels."""
    x, y = case.data()
    methods = {"convsolve": by_convsolve, "columns": by_columns}
    if case.taps * case.channels <= MOST_TAPS:
        methods["all taps"] = by_taps
    fits = {name: lambda of=of: of(case, x, y) for name, of in methods.items()}
    found = {name: fit() for name, fit in fits.items()}
    fit = found.pop("convsolve")
    kernel = fit.impulse_response.reshape(case.taps, -1)
    off = max(np.abs(kernel - other).max() for other in found.values()) / np.abs(kernel).max()
    seconds = in_turns(fits, runs)

    def ratio(name: str) -> float:
        pairs = zip(seconds[name], seconds["convsolve"], strict=True)
        return rounded(float(np.median([a / b for a, b in pairs])))

    return {
        "problem": case.name,
        "status": fit.status,
        "certificate_eps": rounded(fit.backward_error / 2**-52),
        "off_exact": rounded(float(off)),
        "seconds": {name: summary(several) for name, several in seconds.items()},
        "times_faster": {name: ratio(name) for name in found},
    }


def checked(case: Case, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the promises about a case."""
    found = {
        f"at least {case.faster:g} times faster": row["times_faster"]["columns"] >= case.faster,
        "certificate at most 30 eps": row["certificate_eps"] <= 30,
        f"within {MOST_OFF:g} of the kernel of the columns": row["off_exact"] <= MOST_OFF,
    }
    return [{"promise": f"{row['problem']}: {k}", "passed": bool(v)} for k, v in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="small problems, once")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": stamp(PACKAGES), "date": now(), "load": load()}
    result["rows"], result["checks"] = [], []
    for case in QUICK if args.quick else CASES:
        row = measured(case, 1 if args.quick else args.runs)
        print(json.dumps(row, ensure_ascii=False), flush=True)
        result["rows"].append(row)
        result["checks"] += checked(case, row)
    report(result, args.out)


if __name__ == "__main__":
    main()
