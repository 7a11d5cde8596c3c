"""Properties of every penalty, compared with a stacked least-squares problem."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import convsolve as cs
from convsolve import registry
from convsolve.leastsquares.penalty import Penalty, Ridge
from convsolve.leastsquares.smooth import Smooth
from convsolve.solvers import linear
from convsolve.solvers.base import Objective
from support import dense
from support.derivatives import check_gradients
from support.geometry import NAMED, Geometry
from support.penalties import PENALTIES, matrix, penalty_for, with_strength
from support.slow import some


def exact(
    geometry: Geometry, x: list, y: list, penalty: Penalty, ridge: float
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Per group [M A; √ridge D], [M y; 0] and the answer, by SciPy's least squares."""
    problem = cs.Problem(x, y, spec=geometry.spec)
    found = []
    for a, b in zip(
        dense.design_matrix(x, geometry.spec).astype(float),
        dense.by_group(y, geometry.spec.groups).astype(float),
        strict=True,
    ):
        if geometry.bias:
            a, b = dense.centred(a), dense.centred(b)
        d = np.sqrt(ridge) * matrix(penalty, problem)
        rows, right = np.concatenate([a, d]), np.pad(b, ((0, len(d)), (0, 0)))
        found.append((rows, right, scipy.linalg.lstsq(rows, right)[0]))
    return found


def test_taps_that_neither_penalty_nor_data_determine_are_reported() -> None:
    """Differences and data of mean zero leave a constant kernel open; a ridge does not."""
    x = np.tile([1.0, 2.0, -3.0], 20)  # every three taps sum to zero
    y = np.random.default_rng(0).standard_normal(58)
    problem = cs.Problem(x, y, kernel_size=3)
    with pytest.warns(cs.IdentifiabilityWarning, match="rank-deficient: rank 2 of 3"):
        cs.solve(problem, "qr", penalty=Smooth(1.0))
    assert cs.solve(problem, "qr", ridge=1.0).converged
    report, wide = cs.identify(problem), cs.identify(cs.Problem(x[:12], kernel_size=8))
    for name in PENALTIES:
        penalty = penalty_for(name, problem)
        differences = name in ("first differences", "second differences")
        assert report._diagnosis.unique_with(1.0, penalty) == (not differences)
        assert not wide._diagnosis.unique_with(0.0, Ridge())


TRACED = ["bias", "groups", "stride", "image", "wide", "wide, bias"]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("name", "geometry", "solver"),
    some(
        itertools.product(PENALTIES, TRACED, ("svd", "qr", "normal")),
        ("first differences", "wide, bias", "normal"),
        every=23,
    ),
)
def test_fit_kernel_has_the_same_solution(name: str, geometry: str, solver: str) -> None:
    made, ridge = NAMED[geometry], 3.0
    x, y = made.noise()
    penalty = penalty_for(name, cs.Problem(x, y, spec=made.spec))
    given = with_strength(penalty, ridge)
    found, _ = cs.fit_kernel(x, y, made.spec, solver, penalty=given, bias=made.bias)
    kernel = dense.by_group(np.asarray(found), made.spec.groups)
    for w, (_, _, wanted) in zip(kernel, exact(made, x, y, penalty, ridge), strict=True):
        np.testing.assert_allclose(w, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@pytest.mark.usefixtures("double")
def test_derivatives_in_x_y_and_the_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "FORMED_NUMBERS", 0)
    made, rng = NAMED["groups"], np.random.default_rng(4)
    x, y = made.noise()
    dx, dy = rng.standard_normal(x.shape), rng.standard_normal(y.shape)

    def loss(t: jax.Array) -> jax.Array:
        objective = Objective(penalty=Smooth(), strength=2.0 + t)
        w, b = registry.component("solver", "normal").traced(
            x + t * dx, y + t * dy, None, made.spec, True, objective
        )
        return jnp.sum(jnp.sin(w)) + jnp.sum(b**2)

    check_gradients(loss)


@pytest.mark.parametrize(("solver", "bits"), [("qr", -40), ("normal", -36)])
def test_a_column_that_nearly_cancels_is_kept(solver: str, bits: int) -> None:
    """x alternates. The sum of its windows, which the penalty leaves free, is far smaller."""
    rng = np.random.default_rng(0)
    x = (-1.0) ** np.arange(400) + 2.0**bits * rng.integers(-9, 10, 400)
    y = np.lib.stride_tricks.sliding_window_view(x, 4).sum(1)
    fit = cs.solve(cs.Problem(x, y, kernel_size=4), solver, penalty=Smooth(1e-3))
    np.testing.assert_allclose(fit.kernel, 1.0, rtol=1e-3)


def test_freedom_of_a_smooth_kernel_in_a_basis() -> None:
    taps, strengths = 100, (1e-3, 4e-3)
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal(900), rng.standard_normal((900, 2))
    problem = cs.Problem(x, y, lags=(0, taps - 1), basis=cs.BSplines(8))
    b = cs.BSplines(8).functions(range(taps))[::-1]
    d = np.diff(np.eye(taps), 2, axis=0)
    form = Smooth(strengths, order=2)
    a = np.lib.stride_tricks.sliding_window_view(x, taps) @ b
    for solver in ("auto", "qr"):
        fit = cs.solve(problem, solver, penalty=form)
        for strength, dof in zip(strengths, fit.regularization.effective_dof, strict=True):
            # The trace of the hat matrix: squares of the part of Q that belongs to A B.
            q = scipy.linalg.qr(np.vstack([a, np.sqrt(strength) * d @ b]), mode="economic")[0]
            np.testing.assert_allclose(dof, (q[: len(a)] ** 2).sum(), rtol=1e-9)
