"""The text of a solution: what it says of the weights, their errors and the fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsolve as cs

COLUMNS, MARGIN = 88, 12


def response(
    channels: int = 1,
    outputs: int = 1,
    /,
    lags: Any = (0, 2),
    rows: int = 300,
    unit: float = 1.0,
    **given: Any,
) -> cs.Problem:
    """White noise through a kernel of random weights, in a unit of y."""
    rng = np.random.default_rng(channels + 10 * outputs)
    groups = given.get("groups", 1)
    x = rng.standard_normal((rows, channels))
    last, first = (max(lags[0]), 0) if isinstance(lags, dict) else (lags[1], lags[0])
    w = rng.standard_normal((last - first + 1, channels // groups, outputs))
    y = cs.convolve(x, w, cs.ConvSpec(len(w), padding="causal", groups=groups))
    y = y + 0.5 * rng.standard_normal(y.shape)
    return cs.Problem(x, y * unit, lags=lags, **given)


def entry(fit: cs.Solution, label: str) -> str:
    """The text of one label, its lines joined."""
    found = re.search(rf"^{label} +(.*(?:\n {{{MARGIN}}}.*)*)", str(fit), re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def words_of(fit: cs.Solution) -> str:
    """The text with single spaces. No line may be long."""
    assert max(map(len, str(fit).splitlines())) <= COLUMNS, str(fit)
    return " ".join(str(fit).split())


def test_the_text_of_a_small_kernel() -> None:
    x = np.random.default_rng(1).standard_normal(50)
    y = 2 * x + 3 * np.r_[0, x[:-1]] - np.r_[x[1:], 0]
    fit = cs.solve(cs.Problem(x, y, lags=(-1, 1)))
    assert str(fit).splitlines()[:7] == [
        "Kernel      1 channel to 1 output, 3 lags from -1 to 1 samples",
        "Status      solved; the data determine all 3 taps",
        "R²          1.000000 (training), correlation 1.000",
        "lag (samples)  weight",
        "           -1  -1.000",
        "            0   2.000",
        "            1   3.000",
    ]
    assert entry(fit, "Errors") == "0: y is fitted up to rounding"
    assert entry(fit, "Rows") == "48 of 50 samples; excluded: 2 at the edges"
    assert "Numerics" not in str(fit)
    assert cs.__version__ in fit._repr_html_() + fit.to_dict()["stats"]["version"]


def test_a_layer_has_its_taps_in_its_own_order() -> None:
    fit = cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2))
    np.testing.assert_allclose(fit.kernel.ravel(), [1, 2])
    assert "2 taps" in entry(fit, "Kernel")
    assert re.findall(r"^ +(\d) +(\d\.\d+)$", str(fit), re.M) == [("0", "1.000"), ("1", "2.000")]


def test_numbers_are_those_of_the_solution() -> None:
    fit = cs.solve(response(2, 1, bias=True))
    rows = [row for row in str(fit).splitlines() if "±" in row and row.split()[0].isdigit()]
    found = np.array([re.findall(r"(-?[\d.]+) ± ([\d.]+)", row) for row in rows], float)
    decimals = 0.5 * 10.0 ** -len(re.findall(r"\.(\d+) ±", rows[0])[0]) * (1 + 1e-9)
    np.testing.assert_allclose(found[..., 0], fit.impulse_response, atol=decimals, rtol=0)
    np.testing.assert_allclose(found[..., 1], fit.standard_error, atol=decimals, rtol=0)
    score, error = fit.score(), fit.standard_error
    assert entry(fit, "Bias") == f"{fit.bias[0]:.4g}"
    assert entry(fit, "R²").startswith(f"{score.r2[0]:.3f} ± {score.r2_standard_error[0]:.3f} ")
    errors = f"standard error {error.min():.2g} to {error.max():.2g} per tap, for white noise; "
    assert entry(fit, "Errors") == f"{errors}{fit.noise.dof[0]:.4g} d.o.f."


@pytest.mark.parametrize("outputs", [4, 9])
def test_outputs_have_a_row_each_and_many_their_mean(outputs: int) -> None:
    problem = response(2, outputs, outputs=[f"site {i}" for i in range(outputs)], fs=100)
    fit = cs.solve(problem)
    lines, r2 = words_of(fit) and str(fit).splitlines(), fit.score().r2
    best = np.argsort(-r2)[:5] if outputs > 6 else range(outputs)
    rows = [line for line in lines if line.startswith("site")]
    assert [row[:6] for row in rows] == [f"site {i}" for i in best]
    for row, o in zip(rows, best, strict=True):
        k, c = np.unravel_index(np.abs(fit.impulse_response[..., o]).argmax(), (3, 2))
        assert f"{r2[o]:.3f} ± " in row
        assert f"{fit.impulse_response[k, c, o]:.3f} ± {fit.standard_error[k, c, o]:.3f}" in row
        assert row.endswith(f" {10 * k}, {c}")
    assert (f"mean of 9 {r2.mean():.3f}" in words_of(fit)) == (outputs > 6)
    assert ("and 4 more outputs" in words_of(fit)) == (outputs > 6)


def collinear(noise: float = 0.0, copies: tuple[float, ...] = (1, 1, 1), **given: Any) -> Any:
    """A channel with multiples of it, each of which could make y alone."""
    rng = np.random.default_rng(0)
    x, of_y = rng.standard_normal((2, 100, 1))
    return cs.Problem(x * np.array(copies), 3 * x + noise * of_y, lags=(0, 1), **given)


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
def test_weights_that_are_not_determined_are_marked() -> None:
    fit, partly = (cs.solve(collinear(1.0, copies)) for copies in ((1, 1, 1), (1, 0)))
    assert "* not determined" in words_of(fit)
    assert entry(fit, "Errors") == "infinite: the data determine no tap"
    assert "the data determine 2 of 4 taps" in entry(partly, "Status")
    assert "per determined tap" in entry(partly, "Errors")
    assert [row.count("0.000*") for row in str(partly).splitlines() if "*" in row][:2] == [1, 1]


def image() -> cs.Problem:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((20, 20, 2)), rng.standard_normal((3, 3, 2, 8))
    y = cs.convolve(x, w, cs.ConvSpec((3, 3)))
    return cs.Problem(x, y + rng.standard_normal(y.shape), kernel_size=(3, 3), bias=True)


TONE = np.sin(2 * np.pi * np.arange(400) / 20)
FLAT = cs.Problem([1, 0, 2, 0, 1], [1, 5, 2], kernel_size=3)
MASKED = {"weights": np.linspace(1, 2, 300), "mask": np.arange(300) % 7 > 0}
# A problem, keywords of `solve`, and words of the text with single spaces.
CASES: dict[str, tuple[cs.Problem, dict[str, Any], str]] = {
    "groups": (response(6, 4, groups=2), {}, "6 channels to 4 outputs in 2 groups"),
    "long names": (response(1, outputs=["left superior temporal gyrus"]), {}, "(left sup…l gyrus)"),
    "tiny": (response(2, unit=1e-9), {}, "e-09 ± "),
    "zero": (response(2, 2, unit=0.0), {}, "0: y is fitted up to rounding"),
    "image": (image(), {}, "3 taps × 3 taps"),
    "ridge": (response(), {"ridge": 2.0}, "Penalty ridge, strength 2, as given; "),
    "lasso": (response(lags=(0, 20)), {"penalty": cs.Lasso(3.0)}, "Errors none: standard errors"),
    "huber": (response(2), {"loss": cs.HuberLoss(2.0, scale=0.3)}, "Huber's H1, for white noise"),
    "descent": (
        response(), {"solver": cs.GradientDescent(steps=1)},
        "condition number 1.04; backward error ",
    ),
    "drift": (response(2, 3, drift=3, **MASKED), {}, "; weighted, an intercept and a drift of"),
    "no rows": (FLAT, {}, "no row is left to estimate the noise"),
    "collinear": (collinear(), {}, "Suggestion ridge="),
    "unique": (collinear(bias=True), {"ridge": 1.0}, "unique with the penalty (the data alone"),
    "windows": (
        response(2, 1, lags={0: (0, 3), 1: (0, 1)}), {},
        "Windows channel 0: taps at lags 0–3; channel 1: taps at lags 0, 1. 6 taps Errors",
    ),
    "tone": (
        cs.Problem(TONE, TONE**2, lags=(0, 39), basis="fourier4"), {},
        "NOT UNIQUE: the data determine 2 of 9 coefficients; the kernel of",
    ),
    "masks": (response(2, 3, mask=np.arange(900).reshape(300, 3) % 7 > 0), {}, "255 of 300"),
}  # fmt: skip
# Words of the text of the loaded solution.
LOADED = {
    "collinear": "NOT UNIQUE: data: rank-deficient; the kernel of minimum norm is",
    "lasso": "Errors none: they were not saved, and need the training data",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_texts_of_solutions_and_of_their_files(name: str, tmp_path: Path) -> None:
    problem, method, words = CASES[name]
    fit = cs.solve(problem, **method)
    assert words in words_of(fit)
    assert ("Computed" in str(fit)) == (not fit.converged)
    assert (entry(fit, "Cause") != "") == (fit.stats.get("unique") is False)
    assert len(repr(fit)) <= 2 * COLUMNS
    fit.save(tmp_path / "fit.npz")
    again = cs.load(tmp_path / "fit.npz")
    assert LOADED.get(name, "Kernel") in words_of(again)
    assert (entry(again, "Kernel"), repr(again)) == (entry(fit, "Kernel"), repr(fit))
