"""Gradient descent: the iterates, the stopping rules, and what does not compile twice."""

from __future__ import annotations

import signal
from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import convsolve as cs
from convsolve.solvers import gradient_descent as gradient_module
from support.slow import some

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 30, 2))
W = RNG.standard_normal((4, 2, 3))
SPEC = cs.ConvSpec(4)
Y = cs.convolve(X, W, SPEC) + 0.1 * RNG.standard_normal((2, 27, 3))
PROBLEM = cs.Problem(X, Y, spec=SPEC)
A = np.stack([r[t : t + 4].reshape(-1) for r in X for t in range(27)])
B = Y.reshape(-1, 3)


def gradient(loss: str, w: np.ndarray, delta: float = 0.5) -> np.ndarray:
    """The derivative of the mean loss over rows and outputs, by hand."""
    r = A @ w - B
    pull = {"squared": 2 * r, "absolute": np.sign(r), "huber": np.clip(r, -delta, delta)}[loss]
    return A.T @ pull / r.size


LOSSES: dict[str, Any] = {
    "squared": "squared", "absolute": "absolute", "huber": cs.HuberLoss(1.0, scale=0.5)
}  # fmt: skip


@pytest.mark.parametrize("loss", some(LOSSES, "absolute"))
def test_plain_descent_makes_the_textbook_steps(loss: str, rng: np.random.Generator) -> None:
    start = rng.standard_normal((8, 3))
    w = start.copy()
    for _ in range(50):
        w -= 0.1 * gradient(loss, w)
    solver = cs.GradientDescent(optax.sgd(0.1), steps=50, init=start.reshape(4, 2, 3))
    fit = cs.solve(PROBLEM, solver, loss=LOSSES[loss])
    np.testing.assert_allclose(fit.kernel.reshape(8, 3), w, rtol=1e-12)
    assert fit.stats["steps"] == 50
    assert fit.stats["loss"]["kind"].lower() == f"{loss}loss"


def test_bias_descends_too_and_starts_at_zero() -> None:
    start = np.zeros((4, 2, 3))
    w, b = start.reshape(8, 3).copy(), np.zeros(3)
    for _ in range(20):
        r = A @ w + b - B
        w, b = w - 0.2 * A.T @ r / r.size, b - 0.2 * r.sum(0) / r.size
    problem = cs.Problem(X, Y, spec=SPEC, bias=True)
    fit = cs.solve(problem, cs.GradientDescent(optax.sgd(0.1), steps=20, init="zeros"))
    np.testing.assert_allclose(fit.kernel.reshape(8, 3), w, rtol=1e-12)
    np.testing.assert_allclose(fit.bias, b, rtol=1e-12)


@pytest.mark.slow
def test_the_number_of_looks_does_not_change_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are a matter of the host: 7 + 13 steps drawn by step number are 20 steps."""
    solver = cs.GradientDescent(steps=20, batch_size=4, seed=3)
    kernels, looks = [], []
    for number in (1, 4, 20):
        monkeypatch.setattr(gradient_module, "LOOKS", number)
        fit = cs.solve(PROBLEM, solver)
        kernels.append(fit.kernel)
        looks.append(len(fit.trace.steps))
        assert fit.trace.steps[-1] == 20
    assert looks == [2, 5, 21]
    assert np.array_equal(kernels[0], kernels[1])
    assert np.array_equal(kernels[0], kernels[2])


@pytest.mark.slow
def test_glorot_bounds_and_keys() -> None:
    limit = np.sqrt(6 / (4 * (2 + 3)))
    draws = [cs.solve(PROBLEM, cs.GradientDescent(steps=0, seed=k)).kernel for k in range(20)]
    sizes = np.abs(draws)
    assert 0.95 * limit < sizes.max() <= limit
    assert not np.array_equal(draws[0], draws[1])
    again = cs.solve(PROBLEM, cs.GradientDescent(steps=0, seed=0)).kernel
    assert np.array_equal(draws[0], again)


def test_the_best_restart_wins() -> None:
    """Two wells in w: starts on the wrong side of the hill stay in the higher one."""
    x = np.ones(8)
    problem = cs.Problem(x, np.ones(8), kernel_size=(1,))

    def wells(prediction: jnp.ndarray, target: jnp.ndarray) -> jnp.ndarray:
        return (prediction**2 - target) ** 2 + 0.3 * (1 - prediction)

    options = {"optimizer": optax.sgd(0.02), "steps": 500}
    ends = [
        cs.solve(problem, cs.GradientDescent(seed=k, **options), loss=wells).kernel.item()
        for k in range(5)
    ]
    assert min(ends) < 0 < max(ends)
    for key in range(4):
        solver = cs.GradientDescent(seed=key, restarts=12, **options)
        best = cs.solve(problem, solver, loss=wells)
        assert best.kernel.item() == pytest.approx(max(ends), abs=1e-6)


@pytest.mark.slow
def test_solved_is_decided_by_the_gradient() -> None:
    fit = cs.solve(PROBLEM, cs.GradientDescent(optax.sgd(0.3, momentum=0.9), steps=5000))
    assert fit.status == "solved"
    assert fit.stats["steps"] < 5000
    scale = 2.0 ** np.frexp(np.linalg.norm(A, axis=0))[1]
    a = A / scale
    r = B - A @ fit.kernel.reshape(8, 3)
    g = np.linalg.norm(a.T @ r, axis=0)
    assert (g <= 1e-6 * np.linalg.norm(a) * np.linalg.norm(r, axis=0)).all()
    rough = cs.solve(PROBLEM, cs.GradientDescent(optax.sgd(0.01), steps=100))
    assert rough.status == "max steps"
    assert not rough.converged


@pytest.mark.slow
@pytest.mark.parametrize("via", some(["convolution", "moments"], "convolution"))
@pytest.mark.parametrize("bias", some([False, True], True))
def test_an_output_of_zeros_has_a_kernel_of_zeros(via: str, bias: bool) -> None:
    y = Y.copy()
    y[..., 1] = 0
    problem = cs.Problem(X, y, spec=SPEC, bias=bias)
    solver = cs.GradientDescent(optax.sgd(0.3, momentum=0.9), steps=5000, via=via)
    fit = cs.solve(problem, solver)
    assert fit.status == "solved"
    assert not fit.kernel[..., 1].any()
    assert not fit.bias[1]
    exact = cs.solve(problem)
    np.testing.assert_allclose(fit.kernel, exact.kernel, atol=1e-4)
    nothing = cs.solve(cs.Problem(X, 0 * Y, spec=SPEC, bias=bias), cs.GradientDescent(via=via))
    assert (nothing.status, nothing.stats["steps"]) == ("solved", 0)
    assert not nothing.kernel.any()


def test_a_start_of_ones_own_is_kept_for_zeros_too() -> None:
    problem = cs.Problem(X, 0 * Y, spec=SPEC)
    solver = cs.GradientDescent(optax.sgd(0.1), init=W, steps=1)
    w = W.reshape(8, 3)
    expected = w - 0.1 * 2 * A.T @ (A @ w) / B.size
    fit = cs.solve(problem, solver)
    assert fit.status == "max steps"
    np.testing.assert_allclose(fit.kernel.reshape(8, 3), expected, rtol=1e-12)


def test_a_loss_of_ones_own_may_be_lowest_elsewhere() -> None:
    def away(prediction: jnp.ndarray, target: jnp.ndarray) -> jnp.ndarray:
        return (prediction - target - 1) ** 2

    problem = cs.Problem(np.ones(8), np.zeros(8), kernel_size=1)
    fit = cs.solve(problem, cs.GradientDescent(optax.sgd(0.4), steps=100), loss=away)
    assert fit.kernel.item() == pytest.approx(1)
    assert not fit.converged


def test_a_loss_that_no_longer_falls_is_stagnated() -> None:
    fit = cs.solve(PROBLEM, cs.GradientDescent(steps=3000), loss="absolute")
    assert fit.status == "stagnated"
    assert fit.backward_error is None


def test_divergence_keeps_the_last_finite_kernel() -> None:
    fit = cs.solve(PROBLEM, cs.GradientDescent(optax.sgd(50.0), steps=2000))
    assert fit.status == "diverged"
    assert np.isfinite(fit.kernel).all()
    assert fit.stats["steps"] < 2000


def test_ctrl_c_returns_what_there_is(ctrl_c: None) -> None:
    pressed: list[int] = []

    def press(stage: str, step: int, total: int, note: str) -> None:
        if stage == "steps of gradient descent" and note and step >= 300:
            pressed.append(step)
            signal.raise_signal(signal.SIGINT)

    solver = cs.GradientDescent(optax.sgd(1e-3), steps=10_000)
    fit = cs.solve(PROBLEM, solver, progress=press)
    assert fit.status == "interrupted"
    assert [fit.stats["steps"]] == pressed
    assert pressed[0] < 10_000
    assert fit.kernel.any()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_the_last_chunk_is_no_exception(ctrl_c: None) -> None:
    def press(stage: str, step: int, total: int, note: str) -> None:
        if stage == "steps of gradient descent" and note and step == total:
            signal.raise_signal(signal.SIGINT)

    fit = cs.solve(PROBLEM, cs.GradientDescent(optax.sgd(1e-3), steps=100), progress=press)
    assert (fit.status, fit.stats["steps"]) == ("interrupted", 100)


OFFSETS = list(product(["squared", "absolute"], [0.0, 1e3, 1e6]))


@pytest.mark.parametrize(("loss", "offset"), some(OFFSETS, ("squared", 1e3), ("absolute", 1e6)))
def test_an_offset_does_not_pass_for_a_small_residual(offset: float, loss: str) -> None:
    x = np.random.default_rng(1).standard_normal(200)
    problem = cs.Problem(x, 2 * x + offset, kernel_size=1, bias=True)
    solver = cs.GradientDescent(optax.sgd(0.25), steps=2000, tol=1e-4)
    fit = cs.solve(problem, solver, loss=loss)
    assert fit.converged == (np.abs(fit.kernel - 2).max() < 1e-3)
    assert fit.converged == (loss == "squared")


def test_a_run_from_near_the_answer_has_not_diverged() -> None:
    clean = cs.Problem(X, cs.convolve(X, W, SPEC), spec=SPEC)
    fit = cs.solve(clean, cs.GradientDescent(init=W + 1e-5, steps=30))
    assert fit.status == "stagnated"


def test_a_second_ctrl_c_ends_the_program(ctrl_c: None) -> None:
    def press(stage: str, step: int, total: int, note: str) -> None:
        if stage != "steps of gradient descent":
            return
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        cs.solve(PROBLEM, cs.GradientDescent(steps=1000), progress=press)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(None, id="adam"),
        pytest.param(optax.lbfgs(), id="lbfgs", marks=pytest.mark.slow),
        pytest.param(optax.scale(-0.1), id="bare"),
    ],
)
def test_the_second_run_compiles_nothing(optimizer: object, compiled: list[str]) -> None:
    solver = cs.GradientDescent(optimizer, steps=100)
    cs.solve(PROBLEM, solver)
    compiled.clear()
    other = cs.Problem(X[:, ::-1].copy(), Y[:, ::-1].copy(), spec=SPEC)
    cs.solve(other, solver)
    cs.solve(PROBLEM, cs.GradientDescent(optimizer or solver.optimizer, steps=37, seed=5, tol=1e-3))
    assert compiled == []


NOISY = Y + 0.3 * RNG.standard_t(3, Y.shape)
ROW_WEIGHTS = RNG.uniform(0.2, 3.0, Y.shape[:2])
ADJUSTED: dict[str, dict[str, Any]] = {
    "weights of rows": {"weights": ROW_WEIGHTS},
    "weights of records, bias": {"weights": ROW_WEIGHTS[:, 0], "bias": True},
    "intercepts": {"confounds": "intercept", "mask": ROW_WEIGHTS > 0.3},
    "weights and drift": {"weights": ROW_WEIGHTS, "confounds": 1},
    "columns and bias": {"confounds": RNG.standard_normal((*Y.shape[:2], 2)) + 1, "bias": True},
}


@pytest.mark.parametrize(
    ("adjusted", "loss"),
    some(
        product(ADJUSTED, ["squared", "huber", "absolute", "moments"]),
        ("weights and drift", "squared"),
        ("columns and bias", "huber"),
        ("weights of rows", "moments"),
    ),
)
def test_weights_and_confounds_as_in_the_exact_methods(adjusted: str, loss: str) -> None:
    """Not only the kernel, also the fit of the confounds, which the residuals show."""
    problem = cs.Problem(X, NOISY, spec=SPEC, **ADJUSTED[adjusted])
    momentum, falling = optax.sgd(0.1, 0.9), optax.adam(optax.exponential_decay(5e-2, 1000, 0.3))
    huber = cs.HuberLoss(delta=0.5, scale=1.0)
    solver, wanted, most = {
        "squared": (cs.GradientDescent(momentum, tol=1e-10), {"solver": "svd"}, 1e-9),
        "moments": (
            cs.GradientDescent(momentum, via="moments", tol=1e-10), {"solver": "svd"}, 1e-9
        ),
        "huber": (
            cs.GradientDescent(momentum, steps=3000, tol=1e-10), {"loss": huber}, 1e-8
        ),
        "absolute": (cs.GradientDescent(falling, steps=10_000), {"loss": "absolute"}, 1e-3),
    }[loss]  # fmt: skip
    found = cs.solve(problem, solver, loss=wanted.get("loss", "squared"))
    exact = cs.solve(problem, **wanted)
    assert found.status == "solved" or loss == "absolute"
    np.testing.assert_allclose(found.kernel, exact.kernel, rtol=0, atol=most)
    np.testing.assert_allclose(found.bias, exact.bias, rtol=0, atol=most)
    np.testing.assert_allclose(found.residuals(), exact.residuals(), rtol=0, atol=10 * most)


def test_batches_of_weighted_rows_beside_confounds() -> None:
    """Without noise, steps on any rows converge."""
    y = cs.convolve(X, W, SPEC) + np.linspace(-1, 2, Y.shape[1])[:, None]
    problem = cs.Problem(X, y, spec=SPEC, **ADJUSTED["weights and drift"])
    found = cs.solve(problem, cs.GradientDescent(batch_size=16, steps=4000))
    np.testing.assert_allclose(found.kernel, W, rtol=0, atol=1e-5)
