"""Fewer rows than unknowns: strengths chosen within the row space, as by the Gram and the dual."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.inference.strength_path import StrengthPath
from convsolve.inference.sums import FromMoments, FromRows, GroupSums, Sums
from convsolve.inference.units import CommonUnits
from convsolve.leastsquares.analysis import analyse
from convsolve.leastsquares.penalty import Bands
from convsolve.problem.sizes import Limits
from support import dense
from support.penalties import matrix
from support.slow import some

EPS = float(np.finfo(float).eps)
# Beside the largest eigenvalue.
STRENGTHS = np.geomspace(1e-4, 100, 4)[:, None]
GEOMETRIES: dict[str, tuple[list[tuple[int, ...]], int, dict[str, Any]]] = {
    "one record": ([(30,)], 9, {"kernel_size": 8, "bias": True}),
    "ragged": ([(14,), (3,), (12,), (14,)], 7, {"kernel_size": 6, "bias": True}),
    "padded": ([(11,), (9,)], 8, {"kernel_size": 5, "padding": "full"}),
    "stride": ([(70,)], 8, {"kernel_size": 7, "stride": 2, "dilation": 3}),
    "groups": ([(24,), (20,)], 12, {"kernel_size": 9, "groups": 2, "bias": True}),
    "image": ([(8, 7), (7, 9)], 9, {"kernel_size": (3, 4), "bias": True}),
}
PENALTIES: dict[str, Any] = {
    "ridge": cs.Ridge(),
    "differences": cs.Smooth(order=1),
    "tc": cs.StableSpline(kind="tc", decay=0.8),
    "bands": None,  # one of which is left free
}


def stated(name: str, outputs: int = 2) -> cs.Problem:
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


def judged(given: GroupSums, nuisance: int) -> tuple[Any, np.ndarray, list[np.ndarray]]:
    """The path of all rows, strengths, and squared errors on every fold."""

    def path(m: Any) -> StrengthPath:
        gram, cross, squares = m.eliminated()
        return StrengthPath(gram[0], cross[0], squares[0], given.weights, m.n, nuisance)

    sums: Sums = given.sums
    total = path(sums.total)
    at = STRENGTHS * total.tridiagonal.largest
    pairs = zip(sums.held_out(0), sums.beside, strict=True)
    errors = [h.scores("mse", path(r).coordinates(at)) * h.weight for h, r in pairs]
    return total, at, errors


@pytest.mark.parametrize("geometry", some(GEOMETRIES, "ragged", "groups"))
@pytest.mark.parametrize("name", PENALTIES)
def test_sums_within_the_row_space_are_those_of_the_gram(name: str, geometry: str) -> None:
    problem = stated(geometry)
    channels = problem.n_channels
    labels = tuple(i % 2 for i in range(channels))
    penalty = PENALTIES[name] or Bands(None, labels, (1.0, 0.05))
    analysis = analyse(problem)
    design, targets = analysis.design, analysis.targets
    assert design.sizes.wide
    assert targets is not None
    folds = cs.CrossValidation(3 if len(problem.x) < 3 else [[0], [2]])
    spans = folds.spans(problem._kept)
    units = CommonUnits(design.matrix.exponents, targets.grouped(targets.exponents))
    coordinates = penalty.coordinates(design.tap_lags, channels, problem.spec.groups)
    routes = [
        kind(design, targets, spans).within(coordinates, units) for kind in (FromRows, FromMoments)
    ]
    for rows, moments in zip(*routes, strict=True):
        assert rows.space is not None
        (path, at, errors), (wanted, others, expected) = (
            judged(s, design.nuisance.count) for s in (rows, moments)
        )
        np.testing.assert_allclose(at, others, rtol=1e-10)
        a, b = path.fits(at), wanted.fits(at)
        for field in ("freedom", "spare", "squares", "size", "log_determinant"):
            np.testing.assert_allclose(getattr(a, field), getattr(b, field), rtol=1e-6)
        whole = rows.space.expand(path.coordinates(at))
        scale = np.abs(whole).max()
        np.testing.assert_allclose(whole, wanted.coordinates(at), atol=1e-8 * scale)
        np.testing.assert_allclose(errors, expected, rtol=1e-5)
        g = np.random.default_rng(0).standard_normal((len(rows.space.free), 2))
        v = rows.space.expand(rows.space.restrict(g))
        assert np.isclose(np.vdot(g, v), np.vdot(*[rows.space.restrict(g)] * 2))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("geometry", some(GEOMETRIES, "stride", "image"))
def test_the_choice_of_gcv_is_that_of_the_dual(geometry: str, bias: bool) -> None:
    """The answer Aᵀ(AAᵀ + λ)⁻¹y and its score, from a dense matrix."""
    _, channels, options = GEOMETRIES[geometry]
    made = stated(geometry, 2)
    problem = cs.Problem([*made.x], [*made.y], **(options | {"bias": bias}))
    grid = np.geomspace(1e-3, 1e4, 8)[:, None] * max(float(a.std()) ** 2 for a in problem.x)
    fit = cs.solve(problem, penalty="ridge", grid=grid)
    assert fit.status == "solved"
    groups = problem.spec.groups
    per_group, outputs = channels // groups, problem.n_outputs // groups
    n, p = problem.n_equations, math.prod(problem.spec.kernel_size) * per_group
    for g in range(groups):
        a = np.zeros((n, p))
        for j in range(p):
            unit = np.zeros(p)
            unit[j] = 1
            kernel = unit.reshape(*problem.spec.kernel_size, per_group, 1)
            mine = [x[..., g * per_group : (g + 1) * per_group] for x in problem.x]
            spec = cs.ConvSpec(
                problem.spec.kernel_size,
                problem.spec.stride,
                problem.spec.padding,
                problem.spec.dilation,
            )
            columns = [np.asarray(cs.convolve(x, kernel, spec)).reshape(-1) for x in mine]
            a[:, j] = np.concatenate(columns)
        mine = slice(g * outputs, (g + 1) * outputs)
        y = np.concatenate([r.reshape(-1, r.shape[-1]) for r in problem.y])[:, mine]
        a, y = (v - v.mean(0) * bias for v in (a, y))
        values, u = np.linalg.eigh(a @ a.T)
        scores, kernels = [], []
        for strength in grid[:, 0]:
            left = strength / (np.maximum(values, 0) + strength)
            r = u @ (left[:, None] * (u.T @ y))
            m = n - bias
            scores.append(m * (r**2).sum(0) / (left.sum() - bias) ** 2)
            kernels.append(a.T @ r / strength)
        best = np.argmin(scores, axis=0)
        chosen = fit.regularization
        np.testing.assert_allclose(chosen.path.scores[:, mine], scores, rtol=1e-6)
        np.testing.assert_allclose(chosen.strength[mine], grid[best, 0])
        expected = np.stack([kernels[b][:, q] for q, b in enumerate(best)], axis=1)
        found = fit.kernel[..., mine].reshape(p, outputs)
        np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(expected).max())


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
def test_where_a_strength_dwarfs_the_data_nothing_is_explained(rows: int) -> None:
    """Scores about a fit that is all but exact, also where the answer is far from it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows + 7, 4))
    y = cs.convolve(x, rng.standard_normal((8, 4, 2)), cs.ConvSpec(8))
    y += 1e-5 * rng.standard_normal(y.shape)
    grid = np.geomspace(1e-3, 1e25, 8)[:, None]
    for select in ("gcv", cs.CrossValidation(4)):
        problem = cs.Problem(x, y, kernel_size=8, bias=True)
        fit = cs.solve(problem, penalty="ridge", grid=grid, select=select)
        scores = fit.regularization.path
        squares = np.square(y - y.mean(0)).sum(0) / (rows - 1)
        if select != "gcv":
            cuts = np.linspace(0, rows, 5).round().astype(int)
            parts = [np.arange(a, b) for a, b in pairwise(cuts)]
            means = [np.delete(y, part, 0).mean(0) for part in parts]
            squares = np.mean(
                [np.square(y[p] - m).mean(0) for p, m in zip(parts, means, strict=True)], axis=0
            )
        np.testing.assert_allclose(scores.scores[-3:], [squares] * 3, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("rows", [3, 40])
def test_what_is_free_and_seen_by_no_row_stays_small(rows: int, padding: str) -> None:
    """The sum of the taps of a constant channel is the bias: its column is rounding, and a division
    by that would be 1e16. The least objective is that of a dense matrix.
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
        found = fit.kernel.reshape(-1, 1)

        def loss(v: np.ndarray, a: Any = a, right: Any = right, d: Any = d, s: Any = strength):
            return float(np.square(right - a @ v).sum() + s * np.square(d @ v).sum())

        assert loss(found) <= loss(w) * (1 + 1e-9) + 1e-20
