"""The forecast of gradient descent against the Hessian written out, and against runs."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import optax
import pytest

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support import dense
from support.ordering import null_kernels
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
    "few rows": (NOISE[None, :9], {"kernel_size": (4,)}, 2, False),
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


def flat(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([p.reshape(-1) for p in parts])


@pytest.mark.parametrize("name", CASES)
def test_the_spectrum_of_the_hessian(name: str) -> None:
    _, _, outputs, bias = CASES[name]
    report = cs.identify(problem_of(name))
    found = report.descent()
    known = []
    for g, a in enumerate(matrices(name)):
        hessian = 2 / (len(a) * outputs) * a.T @ a
        values = np.linalg.eigvalsh(hessian)
        null = a.shape[1] - np.linalg.matrix_rank(a)
        assert found.unmoved[g] == null
        np.testing.assert_allclose(found.curvatures[g], values[null:], rtol=1e-11)
        vectors = found.directions[g].reshape(len(found.directions[g]), -1)
        assert found.directions[g].shape[1:] == report.problem.kernel_shape[:-1]
        if bias:
            vectors = np.column_stack([vectors, found.biases[g]])
        else:
            assert not found.biases[g].any()
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(vectors)), atol=1e-13)
        moved = vectors @ hessian
        np.testing.assert_allclose(moved, found.curvatures[g][:, None] * vectors, atol=1e-12)
        known += values[null:].tolist()
    largest, least = max(known), min(known)
    assert found.largest_step == pytest.approx(2 / largest, rel=1e-12)
    assert found.best_step == pytest.approx(2 / (largest + least), rel=1e-12)
    assert found.rate == pytest.approx((largest - least) / (largest + least), rel=1e-11)
    assert found.rate**found.steps <= found.tol * (1 + 1e-9)
    assert found.rate ** (found.steps - 1) > found.tol
    assert max(flat(found.steps_along())) == found.steps
    assert np.array_equal(found.slowest[0], found.directions[0][: len(found.slowest[0])])
    half = found.largest_step / 2
    assert max(flat(found.error(1, half))) == pytest.approx(1 - least / largest, rel=1e-12)


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize("name", some(["groups, bias", "few rows", "tone"], "tone"))
def test_descent_converges_as_forecast(name: str) -> None:
    """The error along each direction shrinks as forecast, and nothing moves in the null space."""
    problem = problem_of(name)
    report, end = cs.identify(problem), cs.solve(problem)
    found, null = report.descent(), null_kernels(report)
    init = np.random.default_rng(2).standard_normal(problem.kernel_shape)
    each = problem.n_outputs // problem.spec.groups

    def along(kernel: np.ndarray, bias: np.ndarray, g: int) -> np.ndarray:
        own = slice(g * each, (g + 1) * each)
        off = np.tensordot(found.directions[g], (kernel - end.kernel)[..., own], 2)
        return off + np.multiply.outer(found.biases[g], (bias - end.bias)[own])

    for steps in (found.steps // 2, found.steps):
        solver = cs.GradientDescent(optax.sgd(found.best_step), steps=steps, init=init, tol=1e-300)
        fit = cs.solve(problem, solver)
        for g, left in enumerate(found.error(steps)):
            wanted = left[:, None] * along(init, 0 * end.bias, g)
            np.testing.assert_allclose(along(fit.kernel, fit.bias, g), wanted, atol=1e-11)
            moved = (fit.kernel - init)[..., g * each : (g + 1) * each]
            np.testing.assert_allclose(np.tensordot(null[g], moved, 2), 0, atol=1e-12)
    if name == "tone":
        assert "2 of 8 directions do not change y: descent does not move along them" in repr(found)


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


@pytest.mark.parametrize("power", [-300, 7])
def test_the_unit_of_x_changes_only_the_step(power: int) -> None:
    x = CASES["smooth"][0]
    plain = cs.identify(cs.Problem(x, kernel_size=(4,))).descent()
    scaled = cs.identify(cs.Problem(np.ldexp(x, power), kernel_size=(4,))).descent()
    assert scaled.best_step == math.ldexp(plain.best_step, -2 * power)
    assert (scaled.steps, scaled.rate) == (plain.steps, plain.rate)


@pytest.mark.parametrize(
    ("units", "bias"), [([1e200, 1e200], False), ([1, 1e-200], True), ([1e-200, 0], False)]
)
def test_steps_out_of_the_range_of_float64_are_refused(units: list[float], bias: bool) -> None:
    report = cs.identify(cs.Problem(NOISE * units, kernel_size=3, bias=bias))
    with pytest.raises(ValueError, match="descent leave the range of float64; bring x, and its"):
        report.descent()


def test_descent_fits_the_bias_of_a_silent_group() -> None:
    """Its kernel does not move."""
    x = np.stack([np.zeros(60), NOISE[:, 0]], axis=-1)
    found = cs.identify(cs.Problem(x, kernel_size=(3,), groups=2, bias=True)).descent()
    assert found.unmoved == (3, 0)
    assert np.abs(found.biases[0]).tolist() == [1.0]
    assert not found.directions[0].any()
    plain = cs.identify(cs.Problem(x, kernel_size=(3,), groups=2)).descent()
    assert plain.unmoved == (3, 0)
    assert [len(c) for c in plain.curvatures] == [0, 3]
    assert "3 of 6 directions" in repr(plain)


def test_the_text_advises_a_direct_solver() -> None:
    x = np.stack([np.convolve(NOISE[:, 0], [0.25, 0.5, 0.25], "same"), NOISE[:, 1]], axis=-1)
    found = cs.identify(cs.Problem(x, kernel_size=(6,), bias=True)).descent()
    text = str(found)
    assert max(map(len, text.splitlines())) <= 88
    assert f"best {found.best_step:.4g}; above {found.largest_step:.4g} it diverges" in text
    assert f"{found.steps:,} reduce the error to 1e-06 of its start" in text
    # The smooth channel determines least what alternates from tap to tap.
    assert "last       0.50 cycles per tap in channel 0 (" in text
    assert text.endswith("cs.solve(problem) computes the same kernel directly")


@pytest.mark.parametrize("name", ["bias", "few rows"])
def test_the_route_of_many_unknowns_agrees(name: str) -> None:
    rotations = cs.identify(problem_of(name)).descent()
    usual = cs.identify(problem_of(name), limits=Tuning(spectrum_columns=0)).descent()
    np.testing.assert_allclose(usual.curvatures[0], rotations.curvatures[0], rtol=1e-12)
    likeness = np.sum(usual.directions[0] * rotations.directions[0], axis=(1, 2))
    likeness += usual.biases[0] * rotations.biases[0]
    np.testing.assert_allclose(np.abs(likeness), 1, rtol=1e-12)
