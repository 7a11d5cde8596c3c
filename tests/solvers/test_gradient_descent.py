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
from support.slow import some

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


@pytest.mark.parametrize("gradient", ["convolution", "sums"])
def test_plain_descent_makes_the_textbook_steps(gradient: str) -> None:
    """The gradient is that of the mean square over rows and outputs; the bias is fitted exactly."""
    a, y = A - A.mean(0), B - B.mean(0)
    w = np.zeros((8, 3))
    for _ in range(30):
        w = w - 0.1 * 2 * a.T @ (a @ w - y) / y.size
    problem = cs.Problem(X, Y, spec=SPEC, bias=True)
    fit = cs.solve(problem, cs.GradientDescent(SGD, steps=30, gradient=gradient))
    np.testing.assert_allclose(fit.kernel.reshape(8, 3), w, rtol=1e-12)
    np.testing.assert_allclose(fit.bias, B.mean(0) - A.mean(0) @ w, rtol=1e-12)
    assert (fit.status, fit.stats["steps"]) == ("max steps", 30)


@pytest.mark.parametrize(
    ("loss", "start"),
    [("absolute", W), pytest.param("huber", W, marks=pytest.mark.slow)],
    ids=["absolute", "huber"],
)
def test_other_losses_make_the_textbook_steps(loss: str, start: Any) -> None:
    """A constant is an unknown of centred columns, and starts at the mean of y."""
    a, y = A - A.mean(0), B - B.mean(0)
    w, level = W.reshape(8, 3).copy(), np.zeros(3)
    for _ in range(30):
        r = a @ w + level - y
        pull = {"absolute": np.sign(r), "huber": np.clip(r, -0.5, 0.5)}[loss]
        w, level = w - 0.1 * a.T @ pull / r.size, level - 0.1 * pull.sum(0) / r.size
    problem = cs.Problem(X, Y, spec=SPEC, bias=True)
    fit = cs.solve(problem, cs.GradientDescent(SGD, steps=30, init=start), loss=LOSSES[loss])
    np.testing.assert_allclose(fit.kernel.reshape(8, 3), w, rtol=1e-11)
    np.testing.assert_allclose(fit.bias, B.mean(0) - A.mean(0) @ w + level, rtol=1e-11)
    assert fit.stats["loss"]["kind"].lower() == f"{loss}loss"


# Adjustments of a problem of 200 samples and 6 lags, and a penalty.
NOISE = np.random.default_rng(3).standard_normal((200, 2))
COMPOSED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bias": ({"bias": True}, {}),
    "drift": ({"drift": 1}, {}),
    "confounds": ({"confounds": NOISE.cumsum(0)}, {}),
    "weights": ({"weights": np.random.default_rng(4).uniform(0.5, 2, 200), "bias": True}, {}),
    "mask": ({"mask": NOISE > -1, "bias": True}, {}),
    "basis": ({"basis": cs.BSplines(4)}, {}),
    "windows": ({"lags": {0: (0, 5), 1: (1, 3)}}, {}),
    "ridge": ({"bias": True}, {"penalty": cs.Ridge(30.0)}),
    "strengths": ({}, {"penalty": cs.Ridge([30.0, 3.0])}),
    "smooth": ({"edges": "zeros"}, {"penalty": cs.Smooth(30.0)}),
    "selected": ({}, {"penalty": "ridge"}),
    "autoregression": ({}, {"noise": "ar1"}),
}  # fmt: skip


def composed(name: str, scale: float = 1.0) -> tuple[cs.Problem, dict[str, Any]]:
    options, method = COMPOSED[name]
    x = NOISE + 0.7 * np.roll(NOISE, 1, axis=0) + 0.5
    y = x @ [[1.0, 0.3], [-0.5, 2.0]] + np.roll(x, 2, axis=0) + NOISE[:, ::-1].cumsum(0) * 0.02
    y = y + np.random.default_rng(5).standard_normal((200, 2))
    return cs.Problem(scale * x, y / scale, **{"lags": (0, 5)} | options), method


# The contract table has more cases. Each compiles its own steps.
QUICK = [(name, "sums") for name in COMPOSED] + [("weights", "convolution")]


@pytest.mark.parametrize(
    ("name", "gradient"),
    some([(name, form) for name in COMPOSED for form in ("sums", "convolution")], *QUICK),
)
def test_a_long_run_ends_at_the_exact_kernel(name: str, gradient: str) -> None:
    problem, method = composed(name)
    exact = cs.solve(problem, **method)
    solver = cs.GradientDescent("nesterov", gradient=gradient, steps=5000)
    fit = cs.solve(problem, solver, **method)
    assert fit.status == "solved"
    size = np.linalg.norm(exact.kernel)
    assert np.linalg.norm(fit.kernel - exact.kernel) <= 1e-6 * size
    np.testing.assert_allclose(fit.bias, exact.bias, atol=1e-5)
    if name != "autoregression":
        np.testing.assert_allclose(fit.residuals(), exact.residuals(), atol=1e-4)


@pytest.mark.parametrize("name", some(["bias", "drift", "weights"], "weights"))
def test_confounds_have_the_loss_of_the_kernel(name: str) -> None:
    problem, _ = composed(name)
    loss = cs.HuberLoss(1.0, scale=1.0)
    exact = cs.solve(problem, loss=loss)
    fit = cs.solve(problem, cs.GradientDescent("nesterov", tol=1e-8, steps=5000), loss=loss)
    assert fit.status == "solved"
    np.testing.assert_allclose(fit.kernel, exact.kernel, atol=1e-6)
    np.testing.assert_allclose(fit.bias, exact.bias, atol=1e-6)
    np.testing.assert_allclose(fit.residuals(), exact.residuals(), atol=1e-5)


@pytest.mark.parametrize("loss", [cs.HuberLoss(1.0, scale=1.0), "absolute"], ids=["huber", "abs"])
def test_a_penalty_has_the_weight_of_the_exact_methods(loss: Any) -> None:
    problem, _ = composed("bias")
    exact = cs.solve(problem, loss=loss, ridge=30.0)
    rough = cs.GradientDescent("adam", steps=4000)
    fit = cs.solve(problem, rough, loss=loss, ridge=30.0)
    np.testing.assert_allclose(fit.kernel, exact.kernel, atol=2e-3)


def test_the_gradient_from_sums_has_the_same_iterates() -> None:
    problem, _ = composed("weights")
    for optimizer in ("adam", optax.sgd(0.02)):
        ends = [
            cs.solve(problem, cs.GradientDescent(optimizer, steps=100, gradient=gradient)).trace
            for gradient in ("convolution", "sums")
        ]
        for step, kernel in ends[0].kernels.items():
            np.testing.assert_allclose(ends[1].kernels[step], kernel, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", some(["sgd", "nesterov", "adam", "lbfgs"], "sgd", "adam"))
def test_defaults_do_not_depend_on_units(optimizer: str) -> None:
    """Powers of two, so that steps differ by rounding only."""
    solver = cs.GradientDescent(optimizer, steps=20)
    problem, other = composed("bias")[0], composed("bias", 2.0**20)[0]
    one, two = cs.solve(problem, solver), cs.solve(other, solver)
    np.testing.assert_allclose(two.kernel * 2.0**40, one.kernel, rtol=1e-6)
    assert one.trace.ratios[-1] < one.trace.ratios[0]


def test_looks_have_the_excess_over_the_statistical_error() -> None:
    trace = cs.solve(PROBLEM, cs.GradientDescent("sgd", steps=30)).trace
    assert trace.steps.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 18, 24, 30]
    exact, *_ = np.linalg.lstsq(A, B)
    residuals = B - A @ exact
    variance = np.square(residuals).sum(0) / (len(A) - 8)
    assert trace.statistical_error == pytest.approx(8 * variance.sum() / B.size, rel=1e-12)
    for excess, kernel, loss in zip(trace.excess, trace.kernels.values(), trace.losses):
        difference = A @ (kernel.reshape(8, 3) - exact)
        assert excess == pytest.approx(np.square(difference).mean(), rel=1e-11)
        assert loss == pytest.approx(np.square(residuals).mean() + excess, rel=1e-12)
    assert trace.ratios[0] > 1 > trace.ratios[-1]
    assert (np.diff(trace.seconds) > 0).all()


def test_a_callback_sees_the_kernel_and_stops_the_run() -> None:
    seen = []

    def watch(step: int, kernel: np.ndarray, loss: float) -> bool:
        seen.append((step, kernel.shape, loss))
        return step >= 5

    fit = cs.solve(PROBLEM, cs.GradientDescent("sgd", callback=watch))
    assert (fit.status, fit.stats["steps"]) == ("stopped", 5)
    assert [step for step, *_ in seen] == [0, 1, 2, 3, 4, 5]
    assert seen[-1][1:] == (W.shape, pytest.approx(fit.trace.losses[-1]))


def test_the_advice_says_what_to_set() -> None:
    with pytest.warns(UserWarning, match=r"diverged: the rate 50 is above 2/L = "):
        fit = cs.solve(PROBLEM, cs.GradientDescent("sgd", learning_rate=50.0))
    assert fit.status == "diverged"
    assert np.isfinite(fit.kernel).all()
    largest = np.linalg.eigvalsh(A.T @ A)[-1] * 2 / B.size
    assert f"{2 / largest:.3g}" in fit.stats["advice"]
    short = cs.solve(PROBLEM, cs.GradientDescent("sgd", steps=1))
    assert "times the statistical error: increase steps=" in " ".join(str(short).split())


def test_schedules_and_chains_of_optax() -> None:
    schedule = optax.cosine_decay_schedule(0.3, 40)
    named = cs.GradientDescent("sgd", learning_rate=schedule, steps=40)
    given = cs.GradientDescent(optax.sgd(schedule), steps=40)
    one, two = cs.solve(PROBLEM, named), cs.solve(PROBLEM, given)
    np.testing.assert_allclose(one.kernel, two.kernel, rtol=1e-12)
    clipped = optax.chain(optax.clip(0.1), optax.sgd(0.3))
    table = cs.compare(PROBLEM, {"clipped": clipped, "exact": "qr"})
    assert table.rows[0]["status"] == "solved"
    assert "clipped reaches the statistical error in " in table.conclusion


@pytest.mark.slow
def test_starts_are_uniform_in_the_bounds_of_glorot_and_bengio() -> None:
    limit = np.sqrt(6 / (4 * (2 + 3)))
    seeds = [*range(20), 0]
    starts = [cs.GradientDescent(init="glorot_uniform", steps=0, seed=k) for k in seeds]
    draws = [cs.solve(PROBLEM, start).kernel for start in starts]
    assert 0.95 * limit < np.abs(draws).max() <= limit
    assert not np.array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[-1])


def test_the_best_restart_wins() -> None:
    """Two wells in w: starts on the wrong side of the hill stay in the higher one."""
    x = np.ones(8)
    problem = cs.Problem(x, np.ones(8), kernel_size=(1,))

    def wells(prediction: jnp.ndarray, target: jnp.ndarray) -> jnp.ndarray:
        return (prediction**2 - target) ** 2 + 0.3 * (1 - prediction)

    options = {"optimizer": optax.sgd(0.02), "steps": 500, "init": "glorot_uniform"}
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
        ("absolute", {"steps": 3000, "learning_rate": 0.05}, "stagnated"),
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


def test_a_start_near_the_exact_kernel_does_not_diverge() -> None:
    """The first loss is then far below that of the zero kernel."""
    x = np.random.default_rng(6).standard_normal(300)
    y = np.convolve(x, [1.0, 0.8, 0.6])[:300] + 1e-4 * np.random.default_rng(7).standard_normal(300)
    problem = cs.Problem(x, y, lags=(0, 2))
    exact = cs.solve(problem).kernel
    fit = cs.solve(problem, cs.GradientDescent("adam", init=exact * (1 + 1e-4)))
    assert fit.status == "solved"


def test_names_of_optimizers_and_losses_of_the_user() -> None:
    assert cs.GradientDescent("L-BFGS").optimizer == cs.GradientDescent("Lbfgs").optimizer
    fit = cs.solve(PROBLEM, cs.GradientDescent("lbfgs"), loss=lambda p, y: (p - y) ** 2)
    assert fit.status == "solved"
    np.testing.assert_allclose(fit.kernel, cs.solve(PROBLEM).kernel, rtol=1e-5)
