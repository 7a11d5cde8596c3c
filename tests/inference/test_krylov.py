"""Cross-validation without a Gram against that by the spectrum of every fold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.penalty import Bands
from convsolve.problem.sizes import Limits

EPS = float(np.finfo(float).eps)
# As if thirty unknowns were too many for a spectrum.
MANY = Limits(spectrum_columns=5)
GRID = np.geomspace(0.1, 1e4, 6)[:, None]
PENALTIES = {
    "ridge": cs.Ridge(),
    "tc": cs.StableSpline(kind="tc", decay=0.8),
    "squared exponential": cs.SquaredExponential(length=2.0),
    "second differences": cs.Smooth(order=2),
    "banded ridge": Bands(None, (0, 1, 1), (2.0, 1.5)),
    "a free channel": Bands(None, (0, 1, 2), (1.0, 0.0, 3.0)),
}


def records() -> tuple[list, list]:
    """Channels of unlike size, and two outputs."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((90, 3)) * [1, 30, 0.2] for _ in range(4)]
    w = rng.standard_normal((10, 3, 2))
    y = [cs.convolve(np.pad(a, ((9, 0), (0, 0))), w, cs.ConvSpec(10)) for a in x]
    return x, [b + 3 * rng.standard_normal((90, 2)) for b in y]


@pytest.mark.parametrize(
    ("name", "edges", "bias", "folds", "score"),
    [
        ("tc", "zeros", True, None, "mse"),
        ("ridge", "drop", True, 3, "r2"),
        ("squared exponential", "zeros", False, [[0, 1], [3]], "correlation"),
        ("second differences", "zeros", True, 3, "mse"),
        ("banded ridge", "drop", False, None, "r2"),
        ("a free channel", "drop", True, [[0, 1], [3]], "correlation"),
    ],
)
def test_scores_are_those_of_the_spectrum(
    name: str, edges: str, bias: bool, folds: Any, score: str
) -> None:
    x, y = records()
    problem = cs.Problem(x, y, lags=(0, 9), edges=edges, bias=bias)
    select = cs.CrossValidation(folds, score=score)
    method = {"penalty": PENALTIES[name], "grid": GRID, "select": select}
    fit, plain = cs.solve(problem, **method, limits=MANY), cs.solve(problem, **method)
    found, wanted = fit.regularization, plain.regularization
    assert fit.status == "solved"
    assert fit.backward_error <= 30 * EPS
    assert np.isnan(found.effective_dof).all()
    assert "nan" not in str(found)
    np.testing.assert_allclose(found.path.scores_by_fold, wanted.path.scores_by_fold, rtol=1e-6)
    np.testing.assert_array_equal(found.strength, wanted.strength)
    np.testing.assert_array_equal(found.at_edge, wanted.at_edge)
    np.testing.assert_allclose(fit.kernel, plain.kernel, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fit.bias, plain.bias, atol=1e-9)


def test_a_grid_of_its_own_holds_the_best_strength() -> None:
    x, y = records()
    problem = cs.Problem(x, y, lags=(0, 9), edges="zeros")
    method = {"penalty": "ridge", "select": "cv"}
    found = cs.solve(problem, **method, limits=MANY).regularization
    wanted = cs.solve(problem, **method).regularization
    assert not found.at_edge.any()
    # Half a step of the grid, two a decade.
    assert (np.abs(np.log10(found.strength / wanted.strength)) < 0.26).all()


@pytest.mark.parametrize(("name", "bias"), [("ridge", False), ("second differences", True)])
def test_groups_have_strengths_of_their_own(name: str, bias: bool) -> None:
    """In units far from each other, with two outputs per group, each with its own grid."""
    rng = np.random.default_rng(4)
    size = np.array([1.0, 30.0, 1e4, 2e4])
    x = [rng.standard_normal((120, 4)) * size for _ in range(3)]
    w, spec = rng.standard_normal((8, 2, 4)) / 1e4, cs.ConvSpec(8, groups=2)
    y = [cs.convolve(a, w, spec) for a in x]
    y = [b + b.std(0) * rng.standard_normal(b.shape) + 5 * bias for b in y]
    problem = cs.Problem(x, y, spec=spec, bias=bias)
    grid = GRID * np.array([[1.0, 3.0, 1e8, 2e8]])
    method = {"penalty": PENALTIES[name], "select": "cv"}
    fit, plain = (cs.solve(problem, **method, grid=grid, limits=m) for m in (MANY, Limits()))
    found, wanted = fit.regularization, plain.regularization
    np.testing.assert_allclose(found.path.scores_by_fold, wanted.path.scores_by_fold, rtol=1e-6)
    np.testing.assert_array_equal(found.strength, wanted.strength)
    np.testing.assert_allclose(fit.bias, plain.bias, atol=1e-9)
    chosen = cs.solve(problem, **method, limits=MANY).regularization
    assert not chosen.at_edge.any()
    own = cs.solve(problem, **method).regularization
    assert (chosen.path.scores.min(0) <= 1.02 * own.path.scores.min(0)).all()
