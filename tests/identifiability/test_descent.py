"""The forecast of gradient descent compared with the Hessian written out, and with runs."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import optax
import pytest

import convsolve as cs
from support import dense
from support.slow import some

RNG = np.random.default_rng(0)
NOISE = RNG.standard_normal((60, 2))
SMOOTH = np.stack([np.convolve(n, [0.25, 0.5, 0.25], "same") for n in NOISE.T], axis=-1)
TONE = np.cos(np.pi / 3 * np.arange(60))[:, None]
# x (N, *W, Cin), the geometry, outputs, bias
CASES: dict[str, tuple[np.ndarray, dict[str, Any], int, bool]] = {
    "smooth": (SMOOTH[None], {"kernel_size": (4,)}, 1, False),
    "bias": (NOISE[None] + [1, -2], {"kernel_size": (3,), "padding": "causal"}, 2, True),
    "trials": (NOISE.reshape(3, 20, 2), {"kernel_size": (3,), "stride": 2}, 1, True),
    "groups": (NOISE[None] * [1, 3], {"kernel_size": (3,), "groups": 2}, 4, False),
    "groups, bias": (NOISE[None] * [1, 3], {"kernel_size": (3,), "groups": 2}, 2, True),
    "image": (RNG.standard_normal((1, 8, 9, 1)), {"kernel_size": (3, 2)}, 1, False),
    "tone": (np.concatenate([NOISE[:, :1], TONE], 1)[None], {"kernel_size": (4,)}, 1, False),
}


def problem_of(name: str, noise: float = 0.1) -> cs.Problem:
    x, geometry, outputs, bias = CASES[name]
    spec = cs.ConvSpec(**geometry)
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((*spec.kernel_size, x.shape[-1] // spec.groups, outputs))
    y = cs.convolve(x, truth, spec) + 0.5 * bias
    return cs.Problem(x, y + noise * rng.standard_normal(y.shape), spec=spec, bias=bias)


def matrices(name: str) -> list[np.ndarray]:
    """[A 1] of every group."""
    x, geometry, _, bias = CASES[name]
    found = dense.design_matrix(x, cs.ConvSpec(**geometry))
    return [np.concatenate([a, np.ones((len(a), int(bias)))], axis=1) for a in found]


@pytest.mark.parametrize("name", CASES)
def test_the_spectrum_of_the_hessian(name: str) -> None:
    outputs = CASES[name][2]
    found = cs.identify(problem_of(name)).descent()
    known = []
    for g, a in enumerate(matrices(name)):
        hessian = 2 / (len(a) * outputs) * a.T @ a
        values = np.linalg.eigvalsh(hessian)
        null = a.shape[1] - np.linalg.matrix_rank(a)
        np.testing.assert_allclose(found.curvatures[g], values[null:], rtol=1e-11)
        known += values[null:].tolist()
    largest, least = max(known), min(known)
    assert found.largest_step == pytest.approx(2 / largest, rel=1e-12)
    assert found.best_step == pytest.approx(2 / (largest + least), rel=1e-12)
    assert found.rate == pytest.approx((largest - least) / (largest + least), rel=1e-11)
    assert found.rate**found.steps <= 1e-6 * (1 + 1e-9)
    assert found.rate ** (found.steps - 1) > 1e-6


@pytest.mark.filterwarnings("ignore:the descent diverged")
@pytest.mark.parametrize("name", some(["groups, bias", "trials", "smooth"], "smooth"))
def test_descent_converges_as_forecast(name: str) -> None:
    problem = problem_of(name)
    found, end = cs.identify(problem).descent(tol=1e-3), cs.solve(problem)
    init = np.random.default_rng(2).standard_normal(problem.kernel_shape)

    def off(steps: int, step: float) -> float:
        solver = cs.GradientDescent(optax.sgd(step), steps=steps, init=init, tol=1e-300)
        fit = cs.solve(problem, solver)
        errors = fit.kernel - end.kernel, fit.bias - end.bias
        return float(np.hypot(*map(np.linalg.norm, errors)))

    begin = float(np.hypot(np.linalg.norm(init - end.kernel), np.linalg.norm(end.bias)))
    assert off(found.steps, found.best_step) <= 1e-3 * begin * (1 + 1e-9)
    # The slowest direction decays by the rate.
    late = off(2 * found.steps, found.best_step) / off(found.steps, found.best_step)
    np.testing.assert_allclose(late, found.rate**found.steps, rtol=0.1)
    assert off(300, 1.1 * found.largest_step) > begin


@pytest.mark.parametrize(
    ("unit", "offset", "bias"), [(1.0, 1e6, True), (1e6, 0.0, False), (1e6, 1e3, True)]
)
def test_offsets_and_units_keep_their_digits(unit: float, offset: float, bias: bool) -> None:
    """Curvatures 1e-24 of the largest, against a Hessian of 60 digits."""
    x = np.round(NOISE[:20] * 2**20) / 2**20 * [1, unit] + offset
    found = cs.identify(cs.Problem(x, kernel_size=(2,), bias=bias)).descent()
    a = np.concatenate([x[:-1], x[1:], np.ones((19, int(bias)))], axis=1)
    with mpmath.workdps(60):
        exact = mpmath.matrix(a.tolist())
        values = mpmath.eigsy(exact.T * exact * 2 / 19, eigvals_only=True)
        expected = [float(v) for v in values]
    np.testing.assert_allclose(found.curvatures[0], sorted(expected), rtol=1e-9)


def test_the_text_and_a_silent_group() -> None:
    x = np.stack([np.zeros(60), NOISE[:, 0]], axis=-1)
    report = cs.identify(cs.Problem(x, kernel_size=(3,), groups=2, bias=True))
    assert [len(c) for c in report.descent().curvatures] == [1, 4]
    found = cs.identify(cs.Problem(x, kernel_size=(3,), groups=2)).descent()
    assert [len(c) for c in found.curvatures] == [0, 3]
    assert f"needs {found.steps:,} steps of {found.best_step:.4g} (above " in str(found)
