"""The text of a solution: the weights in ascending lags, in few lines and columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.kernel_text import MAX_NAME, Weights, shape_sentence, shortened
from convsolve.problem.names import Names
from convsolve.solvers.base import Objective, SolverResult

LINES, COLUMNS, MARGIN = 16, 88, 12
LABELS = (
    "Kernel", "Status", "Cause", "Suggestion", "Caution", "R²", "Largest", "Bias", "Errors",
    "Penalty", "Rows", "Adjusted", "Numerics", "Computed",
)  # fmt: skip


def weights(
    kernel: Any, lags: list[list[int]], groups: int = 1, names: Names | None = None
) -> Weights:
    """The weights of a kernel in kernel order."""
    return Weights(np.asarray(kernel), tuple(map(np.array, lags)), groups, names or Names())


def table(
    kernel: Any,
    lags: list[list[int]],
    groups: int = 1,
    names: Names | None = None,
    error: Any = None,
) -> list[str]:
    found = weights(kernel, lags, groups, names).table(error, LINES)
    assert found is not None
    return found


def response(
    channels: int = 1,
    outputs: int = 1,
    /,
    lags: tuple[int, int] = (0, 2),
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
    w = rng.standard_normal((lags[1] - lags[0] + 1, channels // groups, outputs))
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
    """The lines of a text, which is short and has its labels in one order."""
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


def test_the_shape_in_words() -> None:
    assert shape_sentence((2, 3, 4), 1) == "2 lags × 3 channels × 4 outputs"
    assert shape_sentence((1, 1, 1), 1) == "1 lag × 1 channel × 1 output"
    assert shape_sentence((3, 5, 1, 4), 2) == "3 × 5 lags × 1 channel × 4 outputs in 2 groups"


@pytest.mark.parametrize(
    ("shape", "lags", "groups", "names", "wanted"),
    [
        ((2, 3, 4), [[1, 0]], 1, Names(), "3 channels to 4 outputs, 2 lags from 0 to 1 samples"),
        ((1, 3, 4), [[-5]], 2, Names(),
         "6 channels to 4 outputs in 2 groups, 1 lag at -5 samples"),
        ((3, 1, 1), [[1, 0, -1]], 1, Names(fs=128),
         "1 channel to 1 output, 3 lags from -7.81 to 7.81 ms"),
        ((2, 1, 1), [[1, 0]], 1, Names(fs=2), "1 channel to 1 output, 2 lags from 0 to 0.5 s"),
        ((2, 2, 1), [[1, 0]], 1, Names(None, ("Fz", "Cz"), ("eog",)),
         "2 channels (Fz, Cz) to 1 output (eog), 2 lags from 0 to 1 samples"),
        ((2, 3, 1, 1), [[1, 0], [1, 0, -1]], 1, Names(),
         "1 channel to 1 output, 2 lags from 0 to 1 × 3 lags from -1 to 1 samples"),
        ((1, 40, 1), [[0]], 1, Names(None, tuple(f"mel {i:02}" for i in range(40))),
         "40 channels (mel 00, mel 01, mel 02, mel 03, …) to 1 output, 1 lag at 0 samples"),
    ],
)  # fmt: skip
def test_channels_outputs_and_lags_in_words(
    shape: tuple[int, ...], lags: list[list[int]], groups: int, names: Names, wanted: str
) -> None:
    assert weights(np.ones(shape), lags, groups, names).sentence() == wanted


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    assert shortened("x" * MAX_NAME) == "x" * MAX_NAME
    assert shortened("mel spectrogram band 12") == "mel spec…band 12"
    assert len(shortened("y" * 200)) == MAX_NAME


def test_lags_ascend_and_weights_are_aligned() -> None:
    """In kernel order lags descend."""
    kernel = np.array([3.0, -12.5, 0.0]).reshape(3, 1, 1)
    assert table(kernel, [[1, 0, -1]]) == [
        "lag  weight",
        " -1    0.00",
        "  0  -12.50",
        "  1    3.00",
    ]
    assert table(kernel, [[1, 0, -1]], names=Names(fs=100)) == [
        " ms  weight",
        "-10    0.00",
        "  0  -12.50",
        " 10    3.00",
    ]


def test_every_output_and_channel_has_a_column() -> None:
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 1, 2)
    assert table(kernel, [[10, 9]]) == [
        "lag  output 0  output 1",
        "  9     3.000     4.000",
        " 10     1.000     2.000",
    ]
    both = np.arange(4.0).reshape(1, 2, 2)
    assert table(both, [[0]]) == [
        "lag  channel 0, output 0  channel 1, output 0  channel 0, output 1  channel 1, output 1",
        "  0                0.000                2.000                1.000                3.000",
    ]
    assert table(both, [[0]], names=Names(None, ("Fz", "Cz"), ("a", "b"))) == [
        "lag  Fz, a  Cz, a  Fz, b  Cz, b",
        "  0  0.000  2.000  1.000  3.000",
    ]


def test_channels_are_numbered_as_in_x() -> None:
    """A group of outputs uses some channels only."""
    kernel = np.array([5.0, 6.0]).reshape(1, 1, 2)
    assert table(kernel, [[0]], 2) == [
        "lag  channel 0, output 0  channel 1, output 1",
        "  0                5.000                6.000",
    ]
    large = np.zeros((40, 2, 4))
    large[39, 1, 3], large[0, 0, 0] = 9.0, -7.0
    found = weights(large, [list(range(39, -1, -1))], 2)
    assert found.largest(None)[:2] == [
        "9.000 at lag 0 of channel 3, output 3",
        "-7.000 at lag 39 of channel 0, output 0",
    ]
    assert found.peak(3, None) == ("9.000", "0, 3")


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((123456.0, 0.5), ("123456", "0")),  # as many decimals for all
        ((1234567.0, -0.5), ("1.235e+06", "-5.000e-01")),
        ((1.5e-4, 0.0), ("0.0001500", "0.0000000")),
        ((1.5e-5, 0.0), ("1.500e-05", "0.000e+00")),
        ((1.0, -1e-9), ("1.000", "0.000")),  # no sign for what shows as zero
        ((5e-324, 0.0), ("4.941e-324", "0.000e+00")),
        ((1.7e308, 1.0), ("1.700e+308", "1.000e+00")),
        ((0.0, 0.0), ("0.000", "0.000")),
        ((np.nan, 1.0), ("nan", "1.000")),
        ((-np.inf, 1.0), ("-inf", "1.000")),
    ],
)
def test_numbers_have_four_digits_of_the_largest(
    values: tuple[float, float], texts: tuple[str, str]
) -> None:
    lines = table(np.array(values).reshape(2, 1, 1), [[0, -1]])
    assert [row.split()[1] for row in lines[1:]] == [texts[1], texts[0]]


def test_errors_follow_their_weights() -> None:
    kernel = np.array([3.0, -12.5, 0.0]).reshape(3, 1, 1)
    error = np.array([0.25, np.inf, 1e-5]).reshape(3, 1, 1)
    assert table(kernel, [[1, 0, -1]], error=error) == [
        "lag        weight",
        " -1   0.00 ± 0.25",
        "  0       -12.50*",
        "  1  3.00 ± 1e-05   (* not determined)",
    ]
    # Errors of zero, for data without noise, are not shown.
    assert table(kernel, [[1, 0, -1]], error=np.zeros_like(kernel))[1] == " -1    0.00"


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


@pytest.mark.parametrize(
    ("shape", "whole"),
    [((5, 1, 1), True), ((6, 1, 1), False), ((5, 6, 1), True), ((5, 7, 1), False),
     ((1, 1, 6), True), ((2, 2, 1, 1), False)],
)  # fmt: skip
def test_a_small_kernel_is_shown_whole(shape: tuple[int, ...], whole: bool) -> None:
    lags = [list(range(size)) for size in shape[:-2]]
    found = weights(np.ones(shape), lags).table(None, LINES)
    assert (found is not None) == whole
    # A table that has too few lines left, or is too wide, is not begun.
    assert weights(np.ones((5, 1, 1)), [[*range(5)]]).table(None, 5) is None
    names = Names(None, tuple(f"a rather long name {i}" for i in range(6)))
    assert weights(np.ones((1, 6, 1)), [[0]], names=names).table(None, LINES) is None


# --- the text of a solution


def test_the_text_of_a_small_kernel() -> None:
    x = np.random.default_rng(1).standard_normal(50)
    y = 2 * x + 3 * np.r_[0, x[:-1]] - np.r_[x[1:], 0]
    fit = cs.solve(cs.Problem(x, y, lags=(-1, 1)))
    lines = check(fit)
    assert lines[:7] == [
        "Kernel      1 channel to 1 output, 3 lags from -1 to 1 samples",
        "Status      solved; the data determine all 3 taps",
        "R²          1.000 ± 0.000 (training), correlation 1.000",
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


def test_a_kernel_that_is_not_unique() -> None:
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(collinear())
    check(fit)
    assert entry(fit, "Status") == (
        "solved, NOT UNIQUE: the data determine 0 of 6 taps; the kernel of minimum norm is shown"
    )
    assert "collinear" in entry(fit, "Cause")
    assert re.match(r"ridge=\S+ shrinks the kernel towards zero", entry(fit, "Suggestion"))
    assert "condition number infinite" in entry(fit, "Numerics")
    unique = cs.solve(collinear(), ridge=1.0)
    check(unique)
    assert entry(unique, "Status") == (
        "solved; unique with the penalty (the data alone determine 0 of 6 taps)"
    )


def test_a_suggestion_stands_even_where_its_cause_is_too_long() -> None:
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(collinear(channels=LONG["channels"], bias=True))
    check(fit)
    assert entry(fit, "Cause") == ""
    assert entry(fit, "Suggestion").startswith("ridge=")


def test_weights_that_are_not_determined_are_marked() -> None:
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(collinear(1.0))
    assert check(fit)[-5].endswith("(* not determined)")
    assert entry(fit, "Errors") == "infinite: the data determine no tap"
    with pytest.warns(cs.IdentifiabilityWarning):
        partly = cs.solve(collinear(1.0, copies=(1, 0)))
    check(partly)
    assert "the data determine 2 of 4 taps" in entry(partly, "Status")
    assert "per determined tap" in entry(partly, "Errors")
    assert [row.count("0.000*") for row in str(partly).splitlines() if "*" in row] == [1, 1]


def test_a_penalty_is_named_with_its_strength() -> None:
    given = cs.solve(response(), ridge=2.0)
    assert entry(given, "Penalty").startswith("ridge, strength 2, as given; ")
    assert "per tap (posterior), for white noise" in entry(given, "Errors")
    assert "Penalty" not in entry(given, "Rows")
    chosen = cs.solve(response(1, 3), penalty="ridge")
    assert ", by GCV; " in entry(chosen, "Penalty")
    strengths = chosen.regularization.strength
    assert f"{strengths.min():.3g}" in entry(chosen, "Penalty")
    lasso = cs.solve(response(lags=(0, 20)), penalty=cs.Lasso(3.0))
    check(lasso)
    assert entry(lasso, "Penalty").startswith("lasso, strength 3, as given")
    assert entry(lasso, "Errors").startswith("none: only least squares")
    assert "relative duality gap" in entry(lasso, "Numerics")


def test_why_there_are_no_errors() -> None:
    rough = cs.solve(response(), cs.GradientDescent(steps=1))
    assert entry(rough, "Errors") == (
        "none: the status is 'max steps'; standard errors need an exact solution"
    )
    assert entry(rough, "Status").startswith("max steps (backward error ")
    square = cs.solve(cs.Problem(np.random.default_rng(0).standard_normal(5), [1, 5, 2],
                                 kernel_size=3))  # fmt: skip
    assert "no row is left to estimate the noise (3 rows, rank 3)" in entry(square, "Errors")


@dataclass(frozen=True)
class Stopped(cs.Solver):
    """Zeros, as after Ctrl-C."""

    def run(self, analysis: Any, objective: Objective) -> SolverResult:
        shape = analysis.design.kernel_shape
        return SolverResult(np.zeros(shape), np.zeros(shape[-1]), strength=objective.strength,
                            status="interrupted")  # fmt: skip


def test_after_an_interruption_no_rank_is_decided() -> None:
    fit = cs.solve(response(), Stopped())
    check(fit)
    assert re.fullmatch(
        r"interrupted \(backward error [\d.]+\); "
        "whether the data determine the kernel was not decided",
        entry(fit, "Status"),
    )
    assert "condition number" not in str(fit)
    assert entry(fit, "Errors").startswith("none: ")


def loaded(fit: cs.Solution, folder: Path) -> cs.Solution:
    fit.save(folder / "fit.npz")
    return cs.load(folder / "fit.npz")


def test_a_loaded_solution_has_what_was_saved(tmp_path: Path) -> None:
    mask = np.ones(300, bool)
    mask[5:30] = False
    fit = cs.solve(response(mask=mask, weights=np.linspace(1, 2, 300), confounds=1), ridge=2.0)
    again = loaded(fit, tmp_path)
    check(again)
    same = ("Kernel", "Errors", "Penalty", "Computed")
    assert [entry(again, label) for label in same] == [entry(fit, label) for label in same]
    assert entry(fit, "Adjusted") == "weighted, an intercept and a drift of degree 1 per record"
    assert entry(again, "Rows") == f"{entry(fit, 'Rows')}, {entry(fit, 'Adjusted')}"
    assert entry(again, "Status") == "solved; data: overdetermined"
    rows = [row for row in str(fit).splitlines() if "±" in row and row[:3].strip().isdigit()]
    assert len(rows) == 3
    assert all(row in str(again) for row in rows)


def test_a_loaded_kernel_that_is_not_unique(tmp_path: Path) -> None:
    problem = response(rows=10, lags=(0, 8), edges="drop")
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(problem)
    again = loaded(fit, tmp_path)
    check(again)
    assert entry(again, "Status") == (
        "solved, NOT UNIQUE (data: underdetermined); the kernel of minimum norm is shown"
    )
    assert entry(again, "Errors") == "none: they were not saved, and need the training data"


def image(outputs: int = 1, noise: float = 0.5, **given: Any) -> cs.Problem:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((20, 20, 2)), rng.standard_normal((3, 3, 2, outputs))
    y = cs.convolve(x, w, cs.ConvSpec((3, 3)))
    return cs.Problem(x, y + noise * rng.standard_normal(y.shape), kernel_size=(3, 3), **given)


LONG = {"channels": ["Fz" * 30, "Cz" * 40, "Pz" * 20], "outputs": ["a" * 99, "b " * 40 + "b"]}
WIDE = {"channels": [f"channel of the left hemisphere {i}" for i in range(3)],
        "outputs": [f"electrode of the temporal lobe {i}" for i in range(12)]}  # fmt: skip


def drifting() -> np.ndarray:
    return np.cumsum(np.cumsum(np.random.default_rng(0).standard_normal((400, 1)), 0), 0)


CASES: dict[str, Callable[[], cs.Solution]] = {
    **{
        f"{c} to {o}": lambda c=c, o=o: cs.solve(response(c, o, bias=True))
        for c in (1, 2, 3, 8)
        for o in (1, 2, 3, 6, 7, 40)
    },
    "one tap": lambda: cs.solve(response(lags=(0, 0))),
    "one lag in ms": lambda: cs.solve(response(2, 2, lags=(5, 5), fs=100)),
    "groups": lambda: cs.solve(response(6, 4, groups=2)),
    "a channel per group": lambda: cs.solve(response(3, 3, groups=3, bias=True)),
    "milliseconds": lambda: cs.solve(response(3, 3, lags=(-3, 60), fs=128)),
    "seconds": lambda: cs.solve(response(2, 1, lags=(-3, 6), fs=0.7)),
    "long names": lambda: cs.solve(response(3, 2, fs=128, **LONG)),
    "long names and errors": lambda: cs.solve(response(3, 12, fs=128, bias=True, **WIDE)),
    "long names, tiny": lambda: cs.solve(response(3, 12, units=(1e150, 1e-100), **WIDE)),
    "long names, one output": lambda: cs.solve(
        response(3, 1, lags=(0, 30), channels=LONG["channels"], outputs=["a" * 99])
    ),
    "tiny": lambda: cs.solve(response(units=(1e200, 1e-100))),
    "huge": lambda: cs.solve(response(3, 3, units=(1e-200, 1e100))),
    "no noise": lambda: cs.solve(response(noise=0.0)),
    "little noise": lambda: cs.solve(response(noise=1e-9)),
    "little noise, outputs": lambda: cs.solve(response(3, 7, noise=1e-9)),
    "zero": lambda: cs.solve(response(2, 2, units=(1.0, 0.0))),
    "image": lambda: cs.solve(image()),
    "image, outputs": lambda: cs.solve(image(8, bias=True)),
    "image, no noise": lambda: cs.solve(image(noise=0.0)),
    "ridge": lambda: cs.solve(response(2, 2), ridge=1.0),
    "strengths": lambda: cs.solve(response(3, 40, lags=(0, 9), bias=True), penalty="ridge"),
    "evidence": lambda: cs.solve(response(lags=(0, 20)), penalty="tc"),
    "lasso": lambda: cs.solve(response(2, 1, lags=(0, 20)), penalty="lasso"),
    "huber": lambda: cs.solve(response(2, 1, bias=True), loss="huber"),
    "huber, given": lambda: cs.solve(response(), loss=cs.HuberLoss(2.0, scale=0.3)),
    "absolute": lambda: cs.solve(response(2, 1), loss="absolute"),
    "ar": lambda: cs.solve(response(2, 1), noise="ar"),
    "hac": lambda: cs.solve(response(2, 1), noise="hac"),
    "descent": lambda: cs.solve(response(3, 8), cs.GradientDescent(steps=3)),
    "cg": lambda: cs.solve(response(lags=(0, 20)), "cg"),
    "fft": lambda: cs.solve(response(lags=(0, 20), edges="circular"), "fft"),
    "weights and a drift": lambda: cs.solve(
        response(2, 3, weights=np.linspace(1, 2, 300), confounds=3,
                 mask=np.arange(300) % 7 > 0), penalty="ridge"
    ),
    "interrupted": lambda: cs.solve(response(8, 7), Stopped()),
    "few rows": lambda: cs.solve(response(rows=20, lags=(0, 29), edges="zeros")),
    "few rows, outputs": lambda: cs.solve(response(2, 9, rows=20, lags=(0, 29), edges="zeros",
                                                   bias=True)),
    "no rows to spare": lambda: cs.solve(response(rows=5)),
    "collinear": lambda: cs.solve(collinear()),
    "collinear, bias": lambda: cs.solve(collinear(bias=True, channels=LONG["channels"])),
    "collinear, ridge": lambda: cs.solve(collinear(bias=True), ridge=1.0),
    "smooth": lambda: cs.solve(cs.Problem(drifting(), drifting(), lags=(0, 20), bias=True)),
    "smooth, outputs": lambda: cs.solve(
        cs.Problem(drifting(), np.tile(drifting(), 8), lags=(0, 20), bias=True)
    ),
    "single precision": lambda: cs.solve(response(2, 2, dtype=np.float32)),
    "masks": lambda: cs.solve(response(2, 3, mask=np.arange(900).reshape(300, 3) % 7 > 0)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_every_text_is_short(name: str, tmp_path: Path) -> None:
    """16 lines and 88 columns, whatever is solved, and of a file too."""
    fit = CASES[name]()
    check(fit)
    assert "Numerics" in str(fit)
    assert len(repr(fit)) <= COLUMNS
    again = loaded(fit, tmp_path)
    check(again)
    assert entry(again, "Kernel") == entry(fit, "Kernel")
    assert repr(again) == repr(fit)
