"""compare: one common loss, excess losses, errors and shared work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve import registry

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 2))
W = RNG.standard_normal((3, 2, 1))
Y = cs.convolve(X, W, cs.ConvSpec(3)) + 0.1 * RNG.standard_normal((48, 1))


def test_every_number_by_its_definition() -> None:
    problem = cs.Problem(X, Y, kernel_size=(3,))
    huber = {"solver": cs.GradientDescent(steps=300), "loss": cs.HuberLoss(1.0, scale=1.0)}
    table = cs.compare(problem, ["svd", huber, "fft"], truth=W[::-1])
    exact, rough, fft = table.rows
    assert [r["method"] for r in table.rows] == list(table.solutions)
    for row, fit in zip(table.rows, table.solutions.values(), strict=True):
        loss = ((Y - cs.convolve(X, fit.kernel, problem.spec)) ** 2).mean()
        assert row["loss"] == pytest.approx(loss, rel=1e-9)
        error = np.linalg.norm(fit.kernel - W) / np.linalg.norm(W)
        assert row["kernel_error"] == pytest.approx(error, rel=1e-9)
        assert row["excess_loss"] == pytest.approx(row["loss"] - exact["loss"], abs=1e-15)
    assert exact["excess_loss"] == 0
    assert fft["status"] == "approximate"
    assert fft["excess_loss"] > 0
    assert rough["backward_error"] is None
    assert rough["steps"] == 300
    assert rough["compile_seconds"] > 0


def test_all_methods_run_by_default_and_others_are_skipped_with_a_reason() -> None:
    table = cs.compare(cs.Problem(X, Y[:24], kernel_size=(3,), stride=2))
    assert set(table.solutions) == {"svd", "qr", "normal", "cg", "adam", "ridge", "tc"}
    assert table.solutions["ridge"].regularization.criterion == "gcv"
    assert table.solutions["tc"].regularization.criterion == "evidence"
    assert "stride > 1" in table.skipped["fft"]
    assert "not run: fft: stride > 1" in str(table)
    named = cs.compare(table.identifiability.problem, ["fft", "qr"])
    assert ([*named.solutions], [*named.skipped]) == (["qr"], ["fft"])
    assert all(row["kernel_error"] is None for row in table.rows)
    assert repr(table) == str(table)


def test_the_null_component_is_the_part_in_the_null_space(rng: np.random.Generator) -> None:
    start = rng.standard_normal((3, 2, 1))
    zero = cs.GradientDescent(init=start, steps=0)
    table = cs.compare(cs.Problem(X[:7], Y[:5], kernel_size=(3,)), {"zero": {"solver": zero}})
    a = np.stack([X[t : t + 3].reshape(-1) for t in range(5)])
    part = np.linalg.svd(a)[2][5] @ start.ravel()
    assert table.rows[0]["null_component"] == pytest.approx(abs(part), rel=1e-9)


DESCENT = {"solver": cs.GradientDescent(steps=200)}
# A loss, and another object of the same loss.
ROBUST = {
    "absolute": (registry.component("loss", "absolute"), "absolute"),
    "huber": (cs.HuberLoss(2.0, scale=0.25), cs.HuberLoss(0.5, scale=1.0)),
}
LOSSES = {
    "absolute": np.abs,
    "huber": lambda r: np.where(np.abs(r) <= 0.5, r**2 / 2, 0.5 * (np.abs(r) - 0.25)),
}


@pytest.mark.parametrize("name", ROBUST)
def test_the_excess_of_a_loss_is_that_over_the_smallest_of_the_table(name: str) -> None:
    y = Y + np.random.default_rng(3).standard_t(2, Y.shape)
    problem = cs.Problem(X, y, kernel_size=(3,), bias=True)
    loss, same = ROBUST[name]
    both = cs.compare(problem, [DESCENT, "auto"], loss=loss)
    for row, fit in zip(both.rows, both.solutions.values(), strict=True):
        wanted = LOSSES[name](y - cs.convolve(X, fit.kernel, problem.spec, fit.bias)).mean()
        assert row["loss"] == pytest.approx(wanted, rel=1e-12)
    rough, best = both.rows
    assert best["excess_loss"] == 0
    assert best["duality_gap"] <= 1e-13
    assert rough["excess_loss"] == rough["loss"] - best["loss"] > 0
    assert f"loss: {loss.title}" in str(both)
    methods = {"descent": DESCENT | {"loss": same}, "exact": {"loss": loss}}
    mixed = cs.compare(problem, methods | {"squares": "normal"})
    assert mixed.rows[2]["excess_loss"] == 0 < mixed.rows[1]["excess_loss"]
    assert "loss: " not in str(mixed)


def test_a_callable_and_an_open_scale_are_compared_by_squares() -> None:
    problem = cs.Problem(X, Y, kernel_size=(3,))
    own = cs.compare(
        problem, [{"solver": cs.GradientDescent(steps=5)}], loss=lambda p, t: abs(p - t)
    )
    for table in (own, cs.compare(problem, ["auto"], loss="huber")):
        (row,), (fit,) = table.rows, table.solutions.values()
        assert row["loss"] == pytest.approx((fit.residuals() ** 2).mean(), rel=1e-12)
        assert "loss: " not in str(table)


DEFAULTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "smooth": ({"penalty": "smooth"}, {"qr", "svd", "normal"}),
    "absolute": ({"loss": "absolute"}, {"auto", "adam"}),
    "huber": ({"loss": "huber"}, {"auto"}),
    "lasso": ({"penalty": "lasso"}, {"auto"}),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_default_methods_support_the_loss_the_penalty_and_the_noise(name: str) -> None:
    given, wanted = DEFAULTS[name]
    table = cs.compare(cs.Problem(X, Y, kernel_size=(3,)), **given)
    assert set(table.solutions) == wanted
