"""The text of a solution: the weights in ascending lags, in few lines and columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.kernel_text import Weights
from convsolve.problem.names import Names
from convsolve.solvers.base import Objective, SolverResult

LINES, COLUMNS, MARGIN = 16, 88, 12
LABELS = (
    "Kernel", "Status", "Cause", "Suggestion", "Caution", "R²", "Largest", "Basis", "Windows",
    "Bias", "Errors",
    "Penalty", "Rows", "Adjusted", "Numerics", "Computed",
)  # fmt: skip


def weights(
    kernel: Any, lags: list[list[int]], groups: int = 1, names: Names | None = None
) -> Weights:
    """The weights of a kernel in kernel order."""
    return Weights(np.asarray(kernel), tuple(map(np.array, lags)), groups, names or Names())


def table(*given: Any, error: Any = None) -> list[str]:
    found = weights(*given).table(error, LINES)
    assert found is not None
    return found


def response(
    channels: int = 1,
    outputs: int = 1,
    /,
    lags: Any = (0, 2),
    rows: int = 300,
    noise: float = 0.5,
    units: tuple[float, float] = (1.0, 1.0),
    dtype: type = float,
    **given: Any,
) -> cs.Problem:
    """White noise through a kernel of random weights, in units of x and y."""
    rng = np.random.default_rng(channels + 10 * outputs)
    groups = given.get("groups", 1)
    x = rng.standard_normal((rows, channels))
    last, first = (max(lags[0]), 0) if isinstance(lags, dict) else (lags[1], lags[0])
    w = rng.standard_normal((last - first + 1, channels // groups, outputs))
    y = cs.convolve(x, w, cs.ConvSpec(len(w), padding="causal", groups=groups))
    y = y + noise * rng.standard_normal(y.shape)
    x, y = ((a * unit).astype(dtype) for a, unit in zip((x, y), units, strict=True))
    return cs.Problem(x, y, lags=lags, **given)


def entry(fit: cs.Solution, label: str) -> str:
    """The text of one label, its lines joined."""
    found: list[str] = []
    for row in str(fit).splitlines():
        if row.startswith(label.ljust(MARGIN)):
            found.append(row[MARGIN:])
        elif found and row.startswith(" " * MARGIN):
            found.append(row.strip())
        elif found:
            break
    return " ".join(found)


def check(fit: cs.Solution) -> list[str]:
    """The lines of a text, which must be short and have its labels in one order."""
    lines = str(fit).splitlines()
    assert len(lines) <= LINES, str(fit)
    assert max(map(len, lines)) <= COLUMNS, str(fit)
    assert all(row == row.rstrip() for row in lines)
    found = [row[:MARGIN].strip() for row in lines]
    order = [LABELS.index(label) for label in found if label in LABELS]
    assert order == sorted(order), found
    assert {"Kernel", "Status", "Errors", "Computed"} <= set(found)
    return lines


# --- the parts


RISE, PAIR = np.reshape([3.0, -12.5, 0.0], (3, 1, 1)), np.arange(4.0).reshape(1, 2, 2)


def test_tables_have_a_row_per_lag_and_a_column_per_channel_and_output() -> None:
    lines = ["lag  weight", " -1    0.00", "  0  -12.50", "  1    3.00"]
    assert table(RISE, [[1, 0, -1]]) == lines
    lines = ["lag  Fz, a  Cz, a  Fz, b  Cz, b", "  0  0.000  2.000  1.000  3.000"]
    assert table(PAIR, [[0]], 1, Names(None, ("Fz", "Cz"), ("a", "b"))) == lines
    head, row = table([[[5.0, 6.0]]], [[0]], 2)
    assert head == "lag  channel 0, output 0  channel 1, output 1"
    assert row.split() == ["0", "5.000", "6.000"]


def test_the_largest_weights_of_a_large_kernel() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.uniform(-1, 1, (40, 16, 32))
    # In kernel order the lag of tap k is 29 − k.
    kernel[0, 1, 2], kernel[39, 3, 4], kernel[20, 5, 6] = 7.25, -9.0, -3.0
    lags = [list(range(29, -11, -1))]
    found = weights(kernel, lags)
    assert found.table(None, LINES) is None
    assert found.largest(None) == [
        "-9.000 at lag -10 of channel 3, output 4",
        "7.250 at lag 29 of channel 1, output 2",
        "-3.000 at lag 9 of channel 5, output 6",
    ]
    assert found.peak(2, None) == ("7.250", "29, 1")
    # Group 1 has outputs 16 to 31 and channels 16 to 31.
    kernel[5, 15, 31] = 8.0
    grouped = weights(kernel, lags, 2)
    assert grouped.largest(None)[1] == "8.000 at lag 24 of channel 31, output 31"
    image = np.zeros((2, 3, 1, 1))
    image[0, 2, 0, 0] = 4.0
    assert weights(image, [[1, 0], [1, 0, -1]]).largest(None)[0] == "4.000 at lag (1, -1)"


# --- the text of a solution


def test_the_text_of_a_small_kernel() -> None:
    x = np.random.default_rng(1).standard_normal(50)
    y = 2 * x + 3 * np.r_[0, x[:-1]] - np.r_[x[1:], 0]
    fit = cs.solve(cs.Problem(x, y, lags=(-1, 1)))
    lines = check(fit)
    assert lines[:7] == [
        "Kernel      1 channel to 1 output, 3 lags from -1 to 1 samples",
        "Status      solved; the data determine all 3 taps",
        "R²          1.000000 (training), correlation 1.000",
        "lag  weight",
        " -1  -1.000",
        "  0   2.000",
        "  1   3.000",
    ]
    np.testing.assert_array_equal(fit.lags, [-1, 0, 1])
    np.testing.assert_allclose(fit.impulse_response, [-1, 2, 3])
    assert entry(fit, "Errors") == "0: y is fitted up to rounding"
    assert entry(fit, "Rows") == "48 of 50 samples; excluded: 2 at the edges. Penalty: none"
    assert repr(fit) == "<Solution solved: 3 lags × 1 channel × 1 output>"
    assert cs.__version__ in entry(fit, "Computed")


def test_numbers_are_those_of_the_solution() -> None:
    fit = cs.solve(response(2, 1, bias=True))
    rows = [row for row in check(fit) if "±" in row and row[:MARGIN].split()[0].isdigit()]
    found = np.array([re.findall(r"(-?[\d.]+) ± ([\d.]+)", row) for row in rows], float)
    decimals = 0.5 * 10.0 ** -len(re.findall(r"\.(\d+) ±", rows[0])[0]) * (1 + 1e-9)
    np.testing.assert_allclose(found[..., 0], fit.impulse_response, atol=decimals, rtol=0)
    np.testing.assert_allclose(found[..., 1], fit.standard_error, atol=decimals, rtol=0)
    assert entry(fit, "Bias") == f"{fit.bias[0]:.4g}"
    score, error = fit.score(), fit.standard_error
    assert entry(fit, "R²") == (
        f"{score.r2[0]:.3f} ± {score.r2_standard_error[0]:.3f} (training), "
        f"correlation {score.correlation[0]:.3f}"
    )
    assert entry(fit, "Errors") == (
        f"standard error {error.min():.2g} to {error.max():.2g} per tap, for white noise; "
        f"{fit.noise.dof[0]:.4g} d.o.f."
    )
    assert f"condition number {fit.identifiability.condition_number:.3g}" in str(fit)


def test_a_table_of_the_outputs_that_are_predicted_best() -> None:
    problem = response(2, 9, outputs=[f"site {i}" for i in range(9)], fs=100)
    fit = cs.solve(problem)
    lines = check(fit)
    head = lines.index("output  R² (training)  correlation  largest weight  at (ms, channel)")
    r2 = fit.score().r2
    best = sorted(np.argsort(-r2)[:6])
    assert [row[:6] for row in lines[head + 1 : head + 7]] == [f"site {i}" for i in best]
    assert lines[head + 7] == "and 3 more outputs with lower R²"
    for row, o in zip(lines[head + 1 :], best):
        k, c = np.unravel_index(np.abs(fit.impulse_response[..., o]).argmax(), (3, 2))
        assert f"{r2[o]:.3f} ± " in row
        assert f"{fit.impulse_response[k, c, o]:.3f} ± {fit.standard_error[k, c, o]:.3f}" in row
        assert row.endswith(f" {10 * k}, {c}")


def collinear(noise: float = 0.0, copies: tuple[float, ...] = (1, 1, 1), **given: Any) -> Any:
    """A channel with multiples of it, each of which could make y alone."""
    rng = np.random.default_rng(0)
    x, of_y = rng.standard_normal((2, 100, 1))
    return cs.Problem(x * np.array(copies), 3 * x + noise * of_y, lags=(0, 1), **given)


def test_weights_that_are_not_determined_are_marked() -> None:
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(collinear(1.0))
    (last,) = (line for line in check(fit) if line.startswith("  1 "))
    assert last.endswith("(* not determined)")
    assert entry(fit, "Errors") == "infinite: the data determine no tap"
    with pytest.warns(cs.IdentifiabilityWarning):
        partly = cs.solve(collinear(1.0, copies=(1, 0)))
    check(partly)
    assert "the data determine 2 of 4 taps" in entry(partly, "Status")
    assert "per determined tap" in entry(partly, "Errors")
    assert [row.count("0.000*") for row in str(partly).splitlines() if "*" in row] == [1, 1]


@dataclass(frozen=True)
class Stopped(cs.extend.Solver):
    """Zeros, as after Ctrl-C."""

    def run(self, analysis: Any, objective: Objective) -> SolverResult:
        shape = analysis.design.kernel_shape
        return SolverResult(np.zeros(shape), np.zeros(shape[-1]), status="interrupted")


def loaded(fit: cs.Solution, folder: Path) -> cs.Solution:
    fit.save(folder / "fit.npz")
    return cs.load(folder / "fit.npz")


def image() -> cs.Problem:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((20, 20, 2)), rng.standard_normal((3, 3, 2, 8))
    y = cs.convolve(x, w, cs.ConvSpec((3, 3)))
    return cs.Problem(x, y + rng.standard_normal(y.shape), kernel_size=(3, 3), bias=True)


WIDE = {"channels": [f"channel of the left hemisphere {i}" for i in range(3)],
        "outputs": [f"electrode of the temporal lobe {i}" for i in range(12)]}  # fmt: skip


RNG = np.random.default_rng(0)
DRIFT = RNG.standard_normal((400, 1)).cumsum(0).cumsum(0)
TONE = np.sin(2 * np.pi * np.arange(400) / 20)
FOURIER = cs.Fourier(2).functions(range(21))[:, :4]
DEPENDENT = cs.Basis(np.column_stack([FOURIER, FOURIER[:, 1] + FOURIER[:, 2]]))
FLAT = cs.Problem(RNG.standard_normal(5), [1, 5, 2], kernel_size=3)
MASKED = {"weights": np.linspace(1, 2, 300), "mask": np.arange(300) % 7 > 0}
# A problem, keywords of `solve`, and words of the text with single spaces.
CASES: dict[str, tuple[cs.Problem, dict[str, Any], str]] = {
    "8 to 40": (response(8, 40, bias=True), {}, ""),
    "groups": (response(6, 4, groups=2), {}, ""),
    "long names and errors": (response(3, 12, fs=128, bias=True, **WIDE), {}, ""),
    "long names, tiny": (response(3, 12, units=(1e9, 1e-9), **WIDE), {}, ""),
    "zero": (response(2, 2, units=(1.0, 0.0)), {}, ""),
    "image": (image(), {}, ""),
    "strengths": (response(3, 40, lags=(0, 9), bias=True), {"penalty": "ridge"}, ", by GCV; "),
    "ridge": (response(), {"ridge": 2.0}, "Penalty ridge, strength 2, as given; "),
    "lasso": (response(lags=(0, 20)), {"penalty": cs.Lasso(3.0)}, "Errors none: only least squar"),
    "huber": (response(2, 1, bias=True), {"loss": cs.HuberLoss(2.0, scale=0.3)}, ""),
    "descent": (
        response(), {"solver": cs.GradientDescent(steps=1)}, "Status max steps (backward error ",
    ),
    "interrupted": (
        response(8, 7), {"solver": Stopped()}, "whether the data determine the kernel was not dec",
    ),
    "weights and a drift": (response(2, 3, drift=3, **MASKED), {"penalty": "ridge"}, ""),
    "few rows": (response(2, 9, rows=20, lags=(0, 29), edges="zeros", bias=True), {}, ""),
    "no rows": (FLAT, {}, "no row is left to estimate the noise (3 rows, rank 3)"),
    "collinear": (collinear(), {}, "Suggestion ridge="),
    "collinear, ridge": (collinear(bias=True), {"ridge": 1.0}, "unique with the penalty (the data"),
    "smooth": (cs.Problem(DRIFT, np.tile(DRIFT, 8), lags=(0, 20), bias=True), {}, ""),
    "basis": (
        response(2, 7, lags=(-3, 20), basis={0: "bsplines6"}, fs=100, bias=True), {},
        "Basis channel 0: BSplines(6); channel 1: taps. 30 coefficients Bias",
    ),
    "windows": (
        response(2, 1, lags={0: (0, 3), 1: (0, 1)}), {},
        "Windows channel 0: taps at lags 0–3; channel 1: taps at lags 0, 1. 6 taps Errors",
    ),
    "dependent functions": (
        response(lags=(0, 20), basis=DEPENDENT), {}, "the functions are dependent: the kernel",
    ),
    "unstable": (response(lags=(0, 99), basis="raised_cosines20"), {}, "coefficients are unstable"),
    "tone, basis": (
        cs.Problem(TONE, TONE**2, lags=(0, 39), basis="fourier4"), {},
        "NOT UNIQUE: the data determine 0 of 40 taps and 2 of 9 coefficients; the kernel of",
    ),
    "masks": (response(2, 3, mask=np.arange(900).reshape(300, 3) % 7 > 0), {}, ""),
}  # fmt: skip
# Words of the text of the loaded solution.
LOADED = {
    "collinear": "Status solved, NOT UNIQUE (data: rank-deficient); the kernel of minimum norm is",
    "few rows": "Errors none: they were not saved, and need the training data",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_every_text_has_at_most_16_lines_and_88_columns(name: str, tmp_path: Path) -> None:
    problem, method, words = CASES[name]
    fit = cs.solve(problem, **method)
    check(fit)
    assert words in " ".join(str(fit).split())
    assert ("condition number" in str(fit)) == (name != "interrupted")
    assert (entry(fit, "Cause") != "") == (name in ("collinear", "few rows", "tone, basis"))
    assert len(repr(fit)) <= COLUMNS
    again = loaded(fit, tmp_path)
    check(again)
    assert LOADED.get(name, "Kernel") in " ".join(str(again).split())
    assert entry(again, "Kernel") == entry(fit, "Kernel")
    assert repr(again) == repr(fit)
