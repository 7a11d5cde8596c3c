"""The certificate of many outputs from random combinations: wrong sums, exact fits, figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

import convsolve as cs
from convsolve.leastsquares.analysis import analyse
from convsolve.leastsquares.certificate import COMBINATIONS, FACTOR, frobenius_bounds
from convsolve.leastsquares.penalty import RIDGE
from convsolve.operators.combinations import TOGETHER
from convsolve.operators.design_matrix import DesignMatrix
from convsolve.operators.moments import Moments

EPS = float(np.finfo(float).eps)
TAPS, CHANNELS, OUTPUTS, ROWS = 6, 3, 40, 2500
SERVED = "combinations of the outputs"


def data(noise: float, outputs: int = OUTPUTS) -> tuple[np.ndarray, np.ndarray]:
    """x, and the response of a random kernel with noise relative to its standard deviation."""
    rng = np.random.default_rng(12)
    x = rng.standard_normal((ROWS, CHANNELS))
    spec = cs.ConvSpec(TAPS, padding="causal")
    clean = cs.convolve(x, rng.standard_normal((TAPS, CHANNELS, outputs)), spec)
    return x, clean + noise * clean.std() * rng.standard_normal(clean.shape) + 3.0


def problem(noise: float = 1.0, outputs: int = OUTPUTS) -> cs.Problem:
    return cs.Problem(*data(noise, outputs), lags=(0, TAPS - 1), bias=True)


def test_the_factor_is_a_quantile_of_the_estimate() -> None:
    for blocks in (1, 8, 391):
        factor = FACTOR * blocks ** (1 / COMBINATIONS)
        assert chi2.cdf(COMBINATIONS / factor**2, COMBINATIONS) <= 5e-7 / blocks
    rng = np.random.default_rng(1)
    singular = np.array([[1.0, 0.0, 0.0], [1.0, 1e-3, 0.0], [1.0, 1.0, 1.0]])
    for values in singular:
        z = rng.standard_normal((2000, len(values), COMBINATIONS))
        bounds = np.array([frobenius_bounds(values[:, None] * one, 3)[0] for one in z])
        assert (bounds >= np.linalg.norm(values)).all()
        assert np.median(bounds) <= 1.1 * FACTOR * np.linalg.norm(values)


@pytest.mark.parametrize("outputs", [OUTPUTS, 300])
@pytest.mark.parametrize("ridge", [0.0, 30.0])
def test_combinations_bound_the_error_of_every_gradient(ridge: float, outputs: int) -> None:
    analysis = analyse(problem(1.0, outputs))
    regression = analysis.regression(RIDGE, ridge)
    factors = regression.system.gram_factors()
    w = regression.by_gram(factors)
    squares, g = regression.by_moments(w)
    r_norm, exact = regression.residual(w)
    np.testing.assert_allclose(np.sqrt(squares), r_norm, rtol=1e-12)
    off, terms = regression.combined_error(w, squares, g)
    assert off.shape == (1, TAPS * CHANNELS, -(-outputs // TOGETHER) * COMBINATIONS)
    assert (np.linalg.norm(g - exact, axis=1) <= frobenius_bounds(off, outputs) * terms).all()
    bound = regression.from_combinations(w, factors)
    assert regression.certify(w).value <= bound.value <= 30 * EPS


# Changes of sums by 1e-9: of a product of x and y, of two columns, and of all of a channel.
def _of_outputs(m: Moments) -> Moments:
    changed = m.rhs.copy()
    changed[0, 4, 7] *= 1 + 1e-9
    return replace(m, rhs=changed)


def _of_columns(m: Moments) -> Moments:
    changed = m.gram.copy()
    changed[0, 3, 3] *= 1 + 1e-9
    return replace(m, gram=changed)


def _of_scale(m: Moments) -> Moments:
    scale = np.where(np.arange(TAPS * CHANNELS) % CHANNELS == 1, 1 + 1e-9, 1.0)
    gram = m.gram * scale * scale[:, None]
    return replace(m, gram=gram, rhs=m.rhs * scale[:, None], sums=m.sums * scale)


@pytest.mark.parametrize("damage", [_of_outputs, _of_columns, _of_scale])
@pytest.mark.parametrize("penalty", [None, "ridge"])
def test_wrong_sums_are_noticed(
    damage: Callable[[Moments], Moments], penalty: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {} if penalty is None else {"penalty": cs.Ridge(np.geomspace(1, 9, OUTPUTS))}
    solver = {"solver": "normal"} if penalty is None else {}
    right = cs.solve(problem(), **solver, **given)
    assert penalty is not None or right.stats["route"].endswith(SERVED)
    correct, passes, residual = DesignMatrix.moments, [], DesignMatrix.residual

    def damaged(self: DesignMatrix, *targets: object) -> Moments:
        return damage(correct(self, *targets))

    def counted(self: DesignMatrix, w: np.ndarray, *others: object) -> object:
        passes.append(w.shape[2])
        return residual(self, w, *others)

    monkeypatch.setattr(DesignMatrix, "moments", damaged)
    monkeypatch.setattr(DesignMatrix, "residual", counted)
    found = cs.solve(problem(), **solver, **given)
    assert passes[:2] == [COMBINATIONS, OUTPUTS]
    assert SERVED not in found.stats.get("route", "")
    assert found.status == "solved"
    np.testing.assert_allclose(found.kernel, right.kernel, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("given", "served"),
    [
        ({"noise": 1.0}, True),
        ({"noise": 0.01}, True),
        ({"noise": 1e-6}, False),
        ({"noise": 0.0}, False),
        ({"noise": 1.0, "outputs": 20}, False),
    ],
)
def test_residuals_without_digits_and_few_outputs_need_a_full_pass(
    given: dict[str, float], served: bool
) -> None:
    x, y = data(given["noise"])
    y = y[:, : int(given.get("outputs", OUTPUTS))]
    fit = cs.solve(cs.Problem(x, y, lags=(0, TAPS - 1), bias=True), "normal")
    assert fit.stats["route"].endswith(SERVED) == served
    assert fit.status == "solved"
    assert fit.backward_error <= 30 * EPS


@pytest.mark.parametrize("value", [0.0, 5.0])
@pytest.mark.parametrize("given", [{}, {"ridge": 30.0}])
def test_an_output_that_is_constant(value: float, given: dict[str, Any]) -> None:
    x, y = data(1.0)
    y[:, 3] = value
    fit = cs.solve(cs.Problem(x, y, lags=(0, TAPS - 1), bias=True), "normal", **given)
    assert fit.stats["route"].endswith(SERVED)
    assert fit.status == "solved"
    assert not fit.kernel[..., 3].any()
    assert fit.bias[3] == value


@pytest.mark.parametrize("noise", [1.0, 0.01])
@pytest.mark.parametrize("given", [{}, {"ridge": 20.0}])
def test_figures_are_those_of_the_full_pass(noise: float, given: dict[str, float]) -> None:
    fit, full = (cs.solve(problem(noise), solver, **given) for solver in ("normal", "qr"))
    assert fit.stats["route"].endswith(SERVED)
    assert fit.stats["certificate_kind"] == "upper bound"
    assert "backward error at most" in str(fit)
    pairs = {
        "kernel": (fit.kernel, full.kernel),
        "R²": (fit.score().r2, full.score().r2),
        "noise": (fit.noise.variance, full.noise.variance),
        "standard errors": (fit.standard_error, full.standard_error),
    }
    for name, (ours, theirs) in pairs.items():
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13, err_msg=name)
