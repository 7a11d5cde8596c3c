"""Gradient descent: the iterates, the stopping rules, and compilations."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import convsolve as cs

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 30, 2))
W = RNG.standard_normal((4, 2, 3))
SPEC = cs.ConvSpec(4)
Y = cs.convolve(X, W, SPEC) + 0.1 * RNG.standard_normal((2, 27, 3))
PROBLEM = cs.Problem(X, Y, spec=SPEC)
A = np.stack([r[t : t + 4].reshape(-1) for r in X for t in range(27)])
B = Y.reshape(-1, 3)
# One object, so that it is compiled once.
SGD = optax.sgd(0.1)


LOSSES: dict[str, Any] = {
    "squared": "squared", "absolute": "absolute", "huber": cs.HuberLoss(1.0, scale=0.5)
}  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "start"),
    [("squared", "zeros"), ("absolute", W), pytest.param("huber", W, marks=pytest.mark.slow)],
    ids=["squared", "absolute", "huber"],
)
def test_plain_descent_makes_the_textbook_steps(loss: str, start: Any) -> None:
    """The gradient is that of the mean loss over rows and outputs; the bias starts at zero."""
    w, b = np.broadcast_to(0.0 if start is not W else W, W.shape).reshape(8, 3).copy(), np.zeros(3)
    for _ in range(30):
        r = A @ w + b - B
        pull = {"squared": 2 * r, "absolute": np.sign(r), "huber": np.clip(r, -0.5, 0.5)}[loss]
        w, b = w - 0.1 * A.T @ pull / r.size, b - 0.1 * pull.sum(0) / r.size
    problem = cs.Problem(X, Y, spec=SPEC, bias=True)
    solver = cs.GradientDescent(SGD, steps=30, init=start)
    fit = cs.solve(problem, solver, loss=LOSSES[loss])
    np.testing.assert_allclose(fit.kernel.reshape(8, 3), w, rtol=1e-12)
    np.testing.assert_allclose(fit.bias, b, rtol=1e-12)
    assert (fit.status, fit.stats["steps"]) == ("max steps", 30)
    assert fit.stats["loss"]["kind"].lower() == f"{loss}loss"


@pytest.mark.slow
def test_starts_are_uniform_in_the_bounds_of_glorot_and_bengio() -> None:
    limit = np.sqrt(6 / (4 * (2 + 3)))
    seeds = [*range(20), 0]
    draws = [cs.solve(PROBLEM, cs.GradientDescent(steps=0, seed=k)).kernel for k in seeds]
    assert 0.95 * limit < np.abs(draws).max() <= limit
    assert not np.array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[-1])


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
    best = cs.solve(problem, cs.GradientDescent(seed=1, restarts=12, **options), loss=wells)
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


@pytest.mark.parametrize(
    ("loss", "options", "status"),
    [
        ("absolute", {"steps": 3000}, "stagnated"),
        ("squared", {"optimizer": optax.sgd(50.0), "steps": 2000}, "diverged"),
    ],
)
def test_the_status_names_why_a_run_ended(loss: str, options: Any, status: str) -> None:
    warned = pytest.warns(UserWarning, match="use a smaller learning_rate=")
    with warned if status == "diverged" else nullcontext():
        fit = cs.solve(PROBLEM, cs.GradientDescent(**options), loss=loss)
    assert fit.status == status
    assert np.isfinite(fit.kernel).all()


@pytest.mark.parametrize(("steps", "least"), [(10_000, 500), (100, 100)])
def test_ctrl_c_returns_the_kernel_so_far(
    ctrl_c: None, at_every_step: Any, steps: int, least: int
) -> None:
    """Also in the last chunk of steps."""
    pressed: list[int] = []

    def press(stage: str, step: int, note: str) -> None:
        if stage == "steps of gradient descent" and step >= least:
            pressed.append(step)
            signal.raise_signal(signal.SIGINT)

    solver = cs.GradientDescent(SGD, steps=steps, tol=1e-300)
    at_every_step(press)
    fit = cs.solve(PROBLEM, solver, progress=True)
    assert fit.status == "interrupted"
    assert [fit.stats["steps"]] == pressed
    assert fit.kernel.any()


@pytest.mark.parametrize(("loss", "offset"), [("squared", 1e3), ("absolute", 1e6)])
def test_an_offset_does_not_pass_for_a_small_residual(offset: float, loss: str) -> None:
    x = np.random.default_rng(1).standard_normal(200)
    problem = cs.Problem(x, 2 * x + offset, kernel_size=1, bias=True)
    solver = cs.GradientDescent(optax.sgd(0.25), steps=2000, tol=1e-4)
    fit = cs.solve(problem, solver, loss=loss)
    assert fit.converged == (np.abs(fit.kernel - 2).max() < 1e-3) == (loss == "squared")


@pytest.mark.parametrize(
    "optimizer",
    ["adam", pytest.param(optax.lbfgs(), marks=pytest.mark.slow)],
    ids=["adam", "lbfgs"],
)
def test_the_second_run_compiles_nothing(optimizer: object, compiled: list[str]) -> None:
    solver = cs.GradientDescent(optimizer, steps=100)
    cs.solve(PROBLEM, solver)
    compiled.clear()
    other = cs.Problem(X[:, ::-1].copy(), Y[:, ::-1].copy(), spec=SPEC)
    cs.solve(other, cs.GradientDescent(solver.optimizer, steps=37, seed=5, tol=1e-3))
    assert compiled == []


def test_batches_are_rows_that_are_used() -> None:
    """The rows that a mask leaves are those of one kernel, with and without a basis."""
    mask = np.random.default_rng(1).random((2, 27)) < 0.7
    y = np.where(mask[..., None], cs.convolve(X, W, SPEC), 1e3)
    problem = cs.Problem(X, y, spec=SPEC, mask=mask)
    fit = cs.solve(problem, cs.GradientDescent(optax.sgd(0.3), batch_size=16, steps=2000))
    np.testing.assert_allclose(fit.kernel, W, atol=1e-5)
    solver = cs.GradientDescent(init=W, steps=0)
    lagged = {"lags": (0, 3), "basis": cs.Basis(np.eye(4))}
    same = cs.solve(cs.Problem(X, np.pad(y, ((0, 0), (3, 0), (0, 0))), **lagged), solver)
    np.testing.assert_allclose(same.kernel, W, rtol=1e-12)


def test_losses_and_optimizers_of_the_user() -> None:
    x, noise = np.random.default_rng(5).standard_normal((2, 200))
    problem = cs.Problem(x, x + noise, lags=(0, 3))
    wanted = cs.solve(problem, cs.GradientDescent(optax.adam(0.01), steps=20)).kernel
    for loss in (lambda p, y: (p - y) ** 2, lambda p, y: ((p - y) ** 2).sum(1)):
        found = cs.solve(problem, cs.GradientDescent(optax.adam(0.01), steps=20), loss=loss)
        np.testing.assert_allclose(found.kernel, wanted, rtol=1e-12)
    assert cs.solve(problem, optax.sgd(0.5)).status == "solved"
    with pytest.raises(TypeError, match=r"must compute by jax\.numpy instead of numpy"):
        cs.solve(problem, "adam", loss=lambda p, y: np.square(np.asarray(p) - y))
    with pytest.raises(ValueError, match=r"returns the shape \(3,\); it must return a number"):
        cs.solve(problem, "adam", loss=lambda p, y: jnp.ones(3))
