"""compare: one common loss, excess losses, errors and shared work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.components import parse

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 2))
W = RNG.standard_normal((3, 2, 1))
Y = cs.convolve(X, W, cs.ConvSpec(3)) + 0.1 * RNG.standard_normal((48, 1))
PROBLEM = cs.Problem(X, Y, kernel_size=(3,))


def test_every_number_by_its_definition() -> None:
    huber = {"solver": cs.GradientDescent(steps=300), "loss": cs.HuberLoss(1.0, scale=1.0)}
    table = cs.compare(PROBLEM, ["svd", huber, "fft"], truth=W)
    exact, rough, fft = table.rows
    assert [r["method"] for r in table.rows] == list(table.solutions)
    for row, fit in zip(table.rows, table.solutions.values(), strict=True):
        loss = ((Y - cs.convolve(X, fit.kernel, PROBLEM.spec)) ** 2).mean()
        assert row["loss"] == pytest.approx(loss, rel=1e-9)
        error = np.linalg.norm(fit.kernel - W) / np.linalg.norm(W)
        assert row["kernel_error"] == pytest.approx(error, rel=1e-9)
        assert row["excess_loss"] == pytest.approx(row["loss"] - exact["loss"], abs=1e-15)
    assert exact["excess_loss"] < 1e-25 < fft["excess_loss"]
    assert (fft["status"], rough["backward_error"], rough["steps"]) == ("approximate", None, 300)
    assert rough["compile_seconds"] > 0


# Arguments, methods that run, and methods that do not.
DEFAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "squared": ({}, "svd qr normal cg nesterov adam ridge tc", "fft"),
    "named": ({"methods": ["fft", "qr"]}, "qr", "fft"),
    "smooth": ({"penalty": "smooth"}, "qr svd normal nesterov adam", "cg fft"),
    "absolute": ({"loss": "absolute"}, "auto adam", ""),
    "huber": ({"loss": "huber"}, "auto", "adam"),
    "lasso": ({"penalty": "lasso"}, "auto", "adam"),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_methods_that_do_not_support_a_problem_are_skipped_with_a_reason(name: str) -> None:
    given, wanted, skipped = DEFAULTS[name]
    table = cs.compare(cs.Problem(X, Y[:24], kernel_size=(3,), stride=2), **given)
    assert ({*table.solutions}, {*table.skipped}) == ({*wanted.split()}, {*skipped.split()})
    assert all(row["kernel_error"] is None for row in table.rows)
    assert [line.split()[0] for line in str(table).splitlines()[1:]][: len(table.rows)] == [
        *table.solutions
    ]
    if "fft" in table.skipped:
        assert "Not run     fft: stride > 1" in str(table) or name == "smooth"
    found = table.to_dict()
    assert (found["verdict"], found["unique"]) == ("overdetermined", True)
    assert (found["skipped"], len(found["rows"])) == (table.skipped, len(table.rows))


def test_the_null_component_is_the_part_in_the_null_space(rng: np.random.Generator) -> None:
    start = rng.standard_normal((3, 2, 1))
    zero = cs.GradientDescent(init=start, steps=0)
    table = cs.compare(cs.Problem(X[:7], Y[:5], kernel_size=(3,)), {"zero": {"solver": zero}})
    a = np.stack([X[t : t + 3].reshape(-1) for t in range(5)])
    part = np.linalg.svd(a)[2][5] @ start.ravel()
    assert table.rows[0]["null_component"] == pytest.approx(abs(part), rel=1e-9)


DESCENT = {"solver": cs.GradientDescent(steps=200)}
# Loss, another object of the same loss, and its value. A scale that is estimated, and a function
# have no common loss: residuals are compared by squares.
LOSSES: dict[str, tuple[Any, Any, Any]] = {
    "absolute": (parse("loss", "absolute"), "absolute", np.abs),
    "huber": (
        cs.HuberLoss(2.0, scale=0.25), cs.HuberLoss(0.5, scale=1.0),
        lambda r: np.where(np.abs(r) <= 0.5, r**2 / 2, 0.5 * (np.abs(r) - 0.25)),
    ),
    "open scale": ("huber", cs.HuberLoss(), np.square),
    "function": (lambda p, t: abs(p - t), lambda p, t: abs(p - t), np.square),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_the_excess_of_a_loss_is_that_over_the_smallest_of_the_table(name: str) -> None:
    y = Y + np.random.default_rng(3).standard_t(2, Y.shape)
    problem = cs.Problem(X, y, kernel_size=(3,), bias=True)
    loss, same, value = LOSSES[name]
    several = {"function": [DESCENT], "open scale": ["auto"]}.get(name, [DESCENT, "auto"])
    table = cs.compare(problem, several, loss=loss)
    for row, fit in zip(table.rows, table.solutions.values(), strict=True):
        wanted = value(y - cs.convolve(X, fit.kernel, problem.spec, fit.bias)).mean()
        assert row["loss"] == pytest.approx(wanted, rel=1e-12)
    assert ("Loss  " in str(table)) == (len(several) == 2)
    if len(several) == 2:
        rough, best = table.rows
        assert best["duality_gap"] <= 1e-13
        excess = rough["loss"] - best["loss"]
        assert rough["excess_loss"] == pytest.approx(excess, rel=1e-6)
        assert abs(best["excess_loss"]) < 1e-12
        methods = {"descent": DESCENT | {"loss": same}, "exact": {"loss": loss}}
        mixed = cs.compare(problem, methods | {"squares": "normal"})
        assert mixed.rows[2]["excess_loss"] < 1e-25 < mixed.rows[1]["excess_loss"]


def test_a_ratio_is_the_excess_over_the_statistical_error() -> None:
    y = np.column_stack([Y, 3 * Y[::-1] + 0.2 * RNG.standard_normal(Y.shape)])
    mask = np.random.default_rng(7).random(y.shape) < 0.8
    problem = cs.Problem(X, y, kernel_size=(3,), mask=mask, bias=True)
    table = cs.compare(problem, ["qr", "sgd", {"ridge": 20.0}], truth=np.zeros((3, 2, 2)))
    a = np.lib.stride_tricks.sliding_window_view(X, 3, axis=0).swapaxes(1, 2).reshape(48, 6)
    exact, statistical = table.solutions["qr"].kernel.reshape(6, 2), 0.0
    for o in range(2):
        rows = np.column_stack([a, np.ones(48)])[mask[:, o]]
        residual = y[mask[:, o], o] - rows @ np.linalg.lstsq(rows, y[mask[:, o], o])[0]
        statistical += 6 * np.square(residual).sum() / (len(rows) - 7)
    for row, fit in zip(table.rows, table.solutions.values(), strict=True):
        excess = 0.0
        for o in range(2):
            centred = a[mask[:, o]] - a[mask[:, o]].mean(0)
            excess += np.square(centred @ (fit.kernel.reshape(6, 2) - exact)[:, o]).sum()
        assert row["ratio"] == pytest.approx(excess / statistical, rel=1e-9, abs=1e-20)


def test_the_curve_of_a_descent_and_the_conclusion() -> None:
    table = cs.compare(PROBLEM, ["qr", "sgd", cs.GradientDescent("adam", steps=2)])
    assert [*table.solutions] == ["qr", "sgd", "adam, steps=2"]
    curve, row = table.curves["sgd"], table.rows[1]
    trace = table.solutions["sgd"].trace
    np.testing.assert_allclose(curve.ratios, trace.ratios, rtol=1e-9)
    first = int(np.flatnonzero(curve.ratios <= 1)[0])
    assert row["steps_to_error"] == curve.steps[first]
    assert row["seconds_to_error"] == curve.seconds[first]
    assert table.rows[2]["steps_to_error"] is None
    assert table.conclusion.startswith("sgd reaches the statistical error in ")
    assert table.conclusion.endswith(f"to compile); the exact solution takes {exact_time(table)}")
    assert str(table).splitlines()[0].split("  ")[0] == "method"
    assert "excess / error" in str(table)
    few = cs.compare(PROBLEM, [cs.GradientDescent("adam", steps=2)]).conclusion
    assert "no descent reaches the statistical error: adam, steps=2 ends with a ratio of" in few


def exact_time(table: Any) -> str:
    seconds = table.exact_seconds
    return f"{1000 * seconds:.2g} ms" if seconds < 0.1 else f"{seconds:.2g} s"


def test_ratios_without_noise_and_of_other_losses() -> None:
    clean = cs.Problem(X, cs.convolve(X, W, PROBLEM.spec), kernel_size=(3,))
    table = cs.compare(clean, ["qr", "nesterov"])
    assert "excess / power" in str(table)
    start = table.curves["nesterov"].ratios[0]
    assert start == pytest.approx(1.0, rel=1e-9)
    assert "1 % of the power of y in " in table.conclusion
    other = cs.compare(PROBLEM, ["auto", "adam"], loss="absolute")
    exact, rough = (row["loss"] for row in other.rows)
    assert other.rows[1]["ratio"] == pytest.approx(rough / exact - 1, rel=1e-9)
    assert "excess / exact" in str(other)


def test_a_diverged_run_is_a_cross_at_the_edge() -> None:
    wild = cs.GradientDescent("sgd", learning_rate=1e4)
    table = cs.compare(PROBLEM, {"wild": wild, "sgd": "sgd", "qr": "qr"})
    assert table.rows[0]["status"] == "diverged"
    assert "wild diverged: the rate 1e+04 is above 2/L = " in str(table)
    figure = table.plot()
    figure.draw_without_rendering()
    ax = next(ax for ax in figure.axes if ax.get_title() == "Descent by steps")
    crosses = [line for line in ax.get_lines() if line.get_marker() == "x"]
    assert [line.get_ydata()[0] for line in crosses] == [ax.get_ylim()[1]]
    assert np.isfinite(ax.get_ylim()).all()


def test_a_missing_course_has_a_reason() -> None:
    y = np.column_stack([Y, Y[::-1]])
    several = cs.Problem(X, y, kernel_size=(3,), mask=np.arange(96).reshape(48, 2) > 2)
    words = cs.compare(several, "nesterov").conclusion
    assert words == "no course of a descent: outputs have rows, filters or strengths of their own"
    table = cs.compare(PROBLEM, "adam", loss=lambda p, t: (p - t) ** 2)
    assert table.conclusion == "no ratio: there is no exact solution with this loss"
    with pytest.raises(TypeError, match="'steps' is no argument of solve"):
        cs.compare(PROBLEM, [{"solver": "adam", "steps": 10}])
