"""Fewer rows than unknowns: strengths are chosen within the row space, compared with the dual."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.problem.sizes import Limits
from support import dense
from support.penalties import matrix

EPS = float(np.finfo(float).eps)
# Beside the largest eigenvalue.


GEOMETRIES: dict[str, tuple[list[tuple[int, ...]], int, dict[str, Any]]] = {
    "one record": ([(30,)], 9, {"kernel_size": 8, "bias": True}),
    "ragged": ([(14,), (3,), (12,), (14,)], 7, {"kernel_size": 6, "bias": True}),
    "padded": ([(11,), (9,)], 8, {"kernel_size": 5, "padding": "full"}),
    "stride": ([(70,)], 8, {"kernel_size": 7, "stride": 2, "dilation": 3}),
    "groups": ([(24,), (20,)], 12, {"kernel_size": 9, "groups": 2, "bias": True}),
    "image": ([(8, 7), (7, 9)], 9, {"kernel_size": (3, 4), "bias": True}),
}


def stated(name: str, outputs: int) -> cs.Problem:
    shapes, channels, options = GEOMETRIES[name]
    rng = np.random.default_rng(3)
    units = np.geomspace(0.3, 3, channels)
    x = [(rng.standard_normal((*shape, channels)) + 2) * units for shape in shapes]
    if name == "groups":
        x = [np.concatenate([a[..., :-1], np.ones((*a.shape[:-1], 1))], axis=-1) for a in x]
    spec = cs.Problem(x, **options).spec
    counts = [spec.output_shape(shape) for shape in shapes]
    y = [rng.standard_normal((*count, outputs)) + 5 for count in counts]
    return cs.Problem(x, y, **options)


@pytest.mark.parametrize(("geometry", "bias"), [*zip(GEOMETRIES, cycle([True, False]))])
def test_the_choice_of_gcv_is_that_of_the_dual(geometry: str, bias: bool) -> None:
    """The kernel Aᵀ(AAᵀ + λ)⁻¹y and its score, from a dense matrix."""
    made = stated(geometry, 2)
    problem = cs.Problem([*made.x], [*made.y], **(GEOMETRIES[geometry][2] | {"bias": bias}))
    grid = np.geomspace(1e-3, 1e4, 8)[:, None] * max(float(a.std()) ** 2 for a in problem.x)
    fit = cs.solve(problem, penalty="ridge", grid=grid)
    assert fit.status == "solved"
    groups, n = problem.spec.groups, problem.n_equations
    outputs = problem.n_outputs // groups
    kernels = dense.by_group(fit.kernel, groups)
    for g, (a, y) in enumerate(
        zip(dense.design_matrix([*problem.x], problem.spec), dense.by_group([*problem.y], groups))
    ):
        a, y = (v - v.mean(0) * bias for v in (a, y))
        values, u = np.linalg.eigh(a @ a.T)
        scores, wanted = [], []
        for strength in grid[:, 0]:
            left = strength / (np.maximum(values, 0) + strength)
            r = u @ (left[:, None] * (u.T @ y))
            scores.append((n - bias) * (r**2).sum(0) / (left.sum() - bias) ** 2)
            wanted.append(a.T @ r / strength)
        best, chosen = np.argmin(scores, axis=0), fit.regularization
        mine = slice(g * outputs, (g + 1) * outputs)
        np.testing.assert_allclose(chosen.path.scores[:, mine], scores, rtol=1e-6)
        np.testing.assert_allclose(chosen.strength[mine], grid[best, 0])
        expected = np.stack([wanted[b][:, q] for q, b in enumerate(best)], axis=1)
        np.testing.assert_allclose(kernels[g], expected, atol=1e-8 * np.abs(expected).max())


def test_a_gram_that_does_not_fit_is_not_needed() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((139, 50))
    y = cs.convolve(x, rng.standard_normal((40, 50, 1)), cs.ConvSpec(40))
    problem = cs.Problem(x, y + rng.standard_normal(y.shape), kernel_size=40, bias=True)
    limits = Limits(gram_bytes=2**22)
    for select in ("gcv", "evidence", cs.CrossValidation(5)):
        method = {"penalty": "ridge", "select": select}
        fit, wanted = cs.solve(problem, **method, limits=limits), cs.solve(problem, **method)
        assert fit.status == "solved"
        assert fit.backward_error <= 30 * EPS
        np.testing.assert_allclose(fit.kernel, wanted.kernel, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rows", [20, 200])
def test_with_a_strength_far_above_the_data_nothing_is_explained(rows: int) -> None:
    """Also if y is fitted almost exactly with a small strength."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows + 7, 4))
    y = cs.convolve(x, rng.standard_normal((8, 4, 2)), cs.ConvSpec(8))
    y += 1e-5 * rng.standard_normal(y.shape)
    grid, parts = np.geomspace(1e-3, 1e25, 8)[:, None], np.split(np.arange(rows), 4)
    errors = [np.square(y[p] - np.delete(y, p, 0).mean(0)).mean(0) for p in parts]
    wanted = {"gcv": np.square(y - y.mean(0)).sum(0) / (rows - 1), "cv": np.mean(errors, axis=0)}
    for name, select in (("gcv", "gcv"), ("cv", cs.CrossValidation(4))):
        problem = cs.Problem(x, y, kernel_size=8, bias=True)
        fit = cs.solve(problem, penalty="ridge", grid=grid, select=select)
        scores = fit.regularization.path.scores[-3:]
        np.testing.assert_allclose(scores, [wanted[name]] * 3, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize(("rows", "padding"), [(3, "same"), (40, "valid")])
def test_a_constant_channel_with_a_bias_has_a_small_kernel(rows: int, padding: str) -> None:
    """The sum of the taps of a constant channel is the bias, so its column is only rounding.

    A division by the rounding would be 1e16. The least objective is that of a dense matrix.
    """
    rng = np.random.default_rng(1)
    x = np.stack([np.ones(rows + 5), rng.standard_normal(rows + 5)], axis=1)
    spec = cs.ConvSpec(6, padding=padding)
    y = rng.standard_normal((spec.output_shape((rows + 5,))[0], 1))
    problem = cs.Problem(x, y, spec=spec, bias=True)
    for select in ("gcv", "evidence"):
        fit = cs.solve(problem, penalty="smooth", select=select)
        assert fit.status == "solved"
        assert np.abs(fit.kernel).max() < 1e3
        a = dense.design_matrix([x], spec)[0]
        d = matrix(cs.Smooth(order=1), problem)
        strength = float(fit.regularization.strength[0])
        a, right = a - a.mean(0), y - y.mean()
        whole = np.concatenate([a, np.sqrt(strength) * d])
        w = np.linalg.lstsq(whole, np.pad(right, ((0, len(d)), (0, 0))))[0]
        found, least = (
            np.square(right - a @ v).sum() + strength * np.square(d @ v).sum()
            for v in (fit.kernel.reshape(-1, 1), w)
        )
        assert found <= least * (1 + 1e-9) + 1e-20
