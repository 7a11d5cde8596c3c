"""Gradient descent on the moments: the iterates of the convolution at a cost without a length."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import optax
import pytest

import convsolve as cs
from convsolve.leastsquares.analysis import analyse
from convsolve.leastsquares.penalty import RIDGE
from convsolve.leastsquares.regression import Regression
from convsolve.solvers import gradient_descent as gradient_module
from convsolve.solvers.descent_kernels import Rows
from support.cases import from_svd
from support.geometry import NAMED
from support.slow import some

OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(1e-2),
    "lbfgs": optax.lbfgs(),
}
GEOMETRIES = (
    "blocks", "dilation", "groups", "ragged", "image", "circular", "cropped", "wide, bias",
)  # fmt: skip
NEVER = 1e-300  # a tolerance that stops nothing


def stated(name: str, dtype: type = float) -> cs.Problem:
    """Noise as x and as y."""
    geometry = NAMED[name]
    return geometry.problem(*geometry.noise(dtype), bias=geometry.bias)


def both(problem: cs.Problem, optimizer: Any, **options: Any) -> list[cs.Solution]:
    """The run through the convolution, and the one on the moments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        return [
            cs.solve(problem, cs.GradientDescent(optimizer, via=via, **options))
            for via in ("convolution", "moments")
        ]


def white(samples: int, bias: bool = True, noise: float = 0.1, offset: float = 0.0) -> cs.Problem:
    """Two channels, three taps, two outputs."""
    rng = np.random.default_rng(samples)
    x, w = rng.standard_normal((samples, 2)), rng.standard_normal((3, 2, 2))
    y = cs.convolve(x, w, cs.ConvSpec(3))
    y = y + noise * rng.standard_normal(y.shape) + offset
    return cs.Problem(x, y, kernel_size=3, bias=bias)


PAIRS = [(n, o) for n in GEOMETRIES for o in OPTIMIZERS if o == "adam" or n in ("ragged", "image")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "optimizer"), some(PAIRS, ("groups", "adam")))
def test_the_iterates_are_those_of_the_convolution(name: str, optimizer: str) -> None:
    one, other = both(stated(name), OPTIMIZERS[optimizer], steps=50, tol=NEVER)
    close = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)
    close(other.kernel, one.kernel)
    close(other.bias, one.bias)
    assert other.stats["steps"] == one.stats["steps"] == 50
    assert np.array_equal(one.trace.steps, other.trace.steps)
    close(other.trace.losses, one.trace.losses)
    assert list(one.trace.kernels) == list(other.trace.kernels)
    for step, kernel in one.trace.kernels.items():
        close(other.trace.kernels[step], kernel)


@pytest.mark.slow
def test_float32_rows_keep_the_condition_of_the_data() -> None:
    """The normal equations rounded to float32, solved exactly, are wrong by 5e-4 here."""
    rng = np.random.default_rng(0)
    a = from_svd(200, 6, 1e3, rng).astype(np.float32)
    y = (a @ rng.standard_normal((6, 1))).astype(np.float32)
    gram, rhs = ((a.T.astype(float) @ m).astype(np.float32).astype(float) for m in (a, y))
    problem = cs.Problem(a, y, kernel_size=(1,))
    solver = cs.GradientDescent(OPTIMIZERS["lbfgs"], via="moments", steps=500, tol=NEVER)
    exact = cs.solve(problem).kernel.reshape(6, 1)
    size = np.linalg.norm(exact)
    assert np.linalg.norm(np.linalg.solve(gram, rhs) - exact) > 1e-4 * size
    assert np.linalg.norm(cs.solve(problem, solver).kernel.reshape(6, 1) - exact) < 1e-5 * size


@pytest.mark.parametrize("offset", some([0.0, 1e3, 1e6], 1e6))
def test_an_offset_of_y_costs_nothing(offset: float) -> None:
    problem = white(500, noise=0.0, offset=offset)
    fit = cs.solve(problem, cs.GradientDescent(optax.sgd(0.5), via="moments", steps=3000))
    exact = cs.solve(problem)
    assert fit.converged
    np.testing.assert_allclose(fit.kernel, exact.kernel, atol=1e-5)
    np.testing.assert_allclose(fit.bias, exact.bias, atol=1e-5)


@pytest.mark.slow
def test_an_offset_of_x_costs_no_more_than_through_the_convolution() -> None:
    """The iterates of the user's own coordinates, slow as an offset makes them."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((200, 2)) + 1e6, rng.standard_normal((198, 1)) + 1e6
    problem = cs.Problem(x, y, kernel_size=3, bias=True)
    one, other = both(problem, optax.sgd(1e-14), steps=100, tol=NEVER)
    np.testing.assert_allclose(other.kernel, one.kernel, rtol=1e-12)
    assert one.stats["final_loss"] == pytest.approx(other.stats["final_loss"], rel=1e-8)
    rows = Rows.of(analyse(problem).regression(RIDGE, 0.0), problem._dtype)
    w, b = cs.solve(problem).kernel, cs.solve(problem).bias
    error = rows.a[0] @ w.reshape(6, 1) + rows.ones[:, None] * b - rows.y
    loss = float((cs.solve(problem).residuals() ** 2).mean())
    assert (error**2).mean() == pytest.approx(loss, rel=1e-9)


def test_the_loss_of_a_perfect_fit_is_known_to_the_rounding_of_y() -> None:
    problem = white(2000, noise=0.0)
    solver = cs.GradientDescent(optax.sgd(0.5), via="moments", steps=5000, tol=1e-10)
    fit = cs.solve(problem, solver)
    x, y = problem.x[0], fit.predict() + fit.residuals()
    # How many steps pass between two looks depends on how long they take: what is promised is this.
    size = np.sqrt(3 * np.square(x).sum()) * np.linalg.norm(fit.kernel) + np.linalg.norm(y)
    assert np.linalg.norm(fit.residuals()) <= 1e-10 * size
    assert fit.stats["final_loss"] < 1e-14
    # The moments may not tell it from a residual of √eps; the data do, at the last step at latest.
    assert fit.status == "solved"


@pytest.mark.parametrize("noise", some([0.0, 0.1], 0.1))
def test_solved_is_decided_from_the_data(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = white(300, noise=noise)
    solver = cs.GradientDescent(OPTIMIZERS["momentum"], via="moments", steps=5000)
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


@pytest.mark.parametrize("bias", [False, True])
def test_measures_of_the_rows_are_those_of_the_data(bias: bool) -> None:
    """At a kernel that is far off."""
    problem = white(400, bias)
    regression = analyse(problem).regression(RIDGE, 0.0)
    w, b = np.ones(problem.kernel_shape), np.full(2, 0.5 if bias else 0.0)
    anew = gradient_module._measured_anew(regression, w, b)
    r = cs.convolve(problem.x[0], w, problem.spec, b) - problem.y[0]
    units = np.ldexp(1.0, regression.y_exponents.reshape(-1))
    np.testing.assert_allclose(anew.residual[0] * units, np.linalg.norm(r, axis=0), rtol=1e-12)
    rows = Rows.of(regression, problem._dtype)
    few = rows.a[0] @ w.reshape(6, 2) + rows.ones[:, None] * b - rows.y
    weight = np.sqrt(len(rows.y) / problem.n_equations)
    np.testing.assert_allclose(
        np.linalg.norm(few, axis=0) / weight, np.linalg.norm(r, axis=0), rtol=1e-12
    )


@pytest.mark.parametrize("name", some(["adam", "lbfgs"], "adam"))
def test_neither_length_nor_geometry_compiles_again(name: str, compiled: list[str]) -> None:
    def run(problem: cs.Problem, steps: int) -> None:
        cs.solve(problem, cs.GradientDescent(OPTIMIZERS[name], via="moments", steps=steps))

    run(white(100), 30)
    x, y = np.random.default_rng(0).standard_normal((2, 5000, 2))
    compiled.clear()
    run(white(101), 40)
    run(white(20_000), 20)
    run(cs.Problem([x, x[:37]], [y, y[:37]], kernel_size=3, padding="causal", bias=True), 20)
    run(cs.Problem(x, y[:2500], kernel_size=3, padding="same", stride=2, bias=True), 20)
    assert compiled == []
