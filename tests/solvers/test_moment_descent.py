"""Gradient descent on the moments has the iterates of the convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import optax
import pytest

import convsolve as cs
from convsolve.leastsquares.regression import Regression
from convsolve.solvers import gradient_descent as gradient_module
from support.cases import from_svd
from support.geometry import NAMED

NEVER = 1e-300  # a tolerance that stops nothing


def white(samples: int, noise: float = 0.1, offset: float = 0.0) -> cs.Problem:
    """Two channels, three taps, two outputs."""
    rng = np.random.default_rng(samples)
    x, w = rng.standard_normal((samples, 2)), rng.standard_normal((3, 2, 2))
    y = cs.convolve(x, w, cs.ConvSpec(3))
    y = y + noise * rng.standard_normal(y.shape) + offset
    return cs.Problem(x, y, kernel_size=3, bias=True)


# A geometry, an optimizer, and an offset of x and y.
PAIRS = [
    ("groups", optax.adam(1e-2), 0.0),
    ("ragged", optax.lbfgs(), 0.0),
    ("image", optax.sgd(0.1, momentum=0.9), 0.0),
    ("blocks", optax.sgd(1e-14), 1e6),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "optimizer", "offset"), PAIRS)
def test_the_iterates_are_those_of_the_convolution(
    name: str, optimizer: Any, offset: float
) -> None:
    """Also in the coordinates of the user, which an offset of x makes ill-conditioned."""
    geometry = NAMED[name]
    x, y = ([a + offset for a in records] for records in geometry.noise())
    problem = geometry.problem(x, y, bias=geometry.bias)
    one, other = (
        cs.solve(problem, cs.GradientDescent(optimizer, via=via, steps=50, tol=NEVER))
        for via in ("convolution", "moments")
    )
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(other.kernel, one.kernel, **close)
    np.testing.assert_allclose(other.bias, one.bias, **close)
    np.testing.assert_array_equal(one.trace.steps, other.trace.steps)
    losses = one.trace.losses
    np.testing.assert_allclose(other.trace.losses, losses, rtol=1e-9, atol=1e-12 * losses[0])


@pytest.mark.slow
def test_float32_rows_keep_the_condition_of_the_data() -> None:
    """The normal equations rounded to float32, solved exactly, are wrong by 5e-4 here."""
    rng = np.random.default_rng(0)
    a = from_svd(200, 6, 1e3, rng).astype(np.float32)
    y = (a @ rng.standard_normal((6, 1))).astype(np.float32)
    gram, rhs = ((a.T.astype(float) @ m).astype(np.float32).astype(float) for m in (a, y))
    problem = cs.Problem(a, y, kernel_size=(1,))
    solver = cs.GradientDescent(optax.lbfgs(), via="moments", steps=500, tol=NEVER)
    exact = cs.solve(problem).kernel.reshape(6, 1)
    size = np.linalg.norm(exact)
    assert np.linalg.norm(np.linalg.solve(gram, rhs) - exact) > 1e-4 * size
    assert np.linalg.norm(cs.solve(problem, solver).kernel.reshape(6, 1) - exact) < 1e-5 * size


def test_an_offset_of_y_changes_no_digit_of_the_kernel() -> None:
    problem = white(500, noise=0.0, offset=1e6)
    fit = cs.solve(problem, cs.GradientDescent(optax.sgd(0.5), via="moments", steps=3000))
    exact = cs.solve(problem)
    assert fit.converged
    np.testing.assert_allclose(fit.kernel, exact.kernel, atol=1e-5)
    np.testing.assert_allclose(fit.bias, exact.bias, atol=1e-5)


def test_the_loss_of_a_perfect_fit_is_computed_to_the_rounding_of_y() -> None:
    """The moments may not tell it from a residual of √eps, but the data do at the last step."""
    problem = white(2000, noise=0.0)
    solver = cs.GradientDescent(optax.sgd(0.5), via="moments", steps=5000, tol=1e-10)
    fit = cs.solve(problem, solver)
    x, y = problem.x[0], fit.predict() + fit.residuals()
    size = np.sqrt(3 * np.square(x).sum()) * np.linalg.norm(fit.kernel) + np.linalg.norm(y)
    assert np.linalg.norm(fit.residuals()) <= 1e-10 * size
    assert fit.stats["final_loss"] < 1e-14
    assert fit.status == "solved"


def test_solved_is_decided_from_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = white(300)
    solver = cs.GradientDescent(optax.sgd(0.1, momentum=0.9), via="moments", steps=5000)
    fit = cs.solve(problem, solver)
    assert fit.status == "solved"
    assert fit.backward_error < 1e-5
    exact = cs.solve(problem)
    np.testing.assert_allclose(fit.kernel, exact.kernel, atol=1e-4)

    def off(regression: Regression, w: np.ndarray, b: np.ndarray) -> Any:
        return measured(regression, w, b + 1.0)

    measured = gradient_module._measured_anew
    monkeypatch.setattr(gradient_module, "_measured_anew", off)
    assert cs.solve(problem, solver).status == "stagnated"


def test_neither_length_nor_geometry_compiles_again(compiled: list[str]) -> None:
    def run(problem: cs.Problem, steps: int) -> None:
        cs.solve(problem, cs.GradientDescent(via="moments", steps=steps))

    run(white(100), 30)
    x, y = np.random.default_rng(0).standard_normal((2, 5000, 2))
    compiled.clear()
    run(white(101), 40)
    run(white(20_000), 20)
    run(cs.Problem([x, x[:37]], [y, y[:37]], kernel_size=3, padding="causal", bias=True), 20)
    run(cs.Problem(x, y[:2500], kernel_size=3, padding="same", stride=2, bias=True), 20)
    assert compiled == []
