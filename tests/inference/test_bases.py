"""Kernels in a basis: errors, bands, noise, losses, penalties and resampling.

A kernel in a basis is a kernel of one tap on more channels: x convolved with every function. Every
method must give the same for both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import convsolve as cs

RNG = np.random.default_rng(11)
NAMES, K = ["envelope", "word"], 14
WINDOWS = {"envelope": (-3, 8), "word": (0, 10)}
LAGS = np.arange(-3, 11)
# The functions of both channels (K, 5) and (K, 11), zero outside of their windows.
FUNCTIONS = [
    np.pad(cs.BSplines(5).functions(LAGS[:12]), ((0, 2), (0, 0))),
    np.eye(K)[:, 3:],
]
COUNT = 16
KERNEL = [FUNCTIONS[0] @ RNG.standard_normal((5, 2)), FUNCTIONS[1] @ RNG.standard_normal((11, 2))]


def convolved(x: np.ndarray, functions: list[np.ndarray]) -> np.ndarray:
    """Every channel convolved with its functions, zero outside of the record."""
    lagged = [np.roll(np.pad(x, ((K, K), (0, 0))), lag, 0)[K:-K] for lag in LAGS]
    parts = [np.stack(lagged, -1)[:, c] @ f for c, f in enumerate(functions)]
    return np.concatenate(parts, axis=1)


X, Y = [], []
for _ in range(4):
    x, noise = RNG.standard_normal((2, 120, 2))
    X.append(x)
    Y.append(convolved(x, [np.eye(K)] * 2) @ np.concatenate(KERNEL) + 0.5 * noise)
# Rows whose window lies in the record.
INSIDE = [np.r_[np.zeros(10, bool), np.ones(len(x) - 13, bool), np.zeros(3, bool)] for x in X]
PROBLEM = cs.Problem(
    X, Y, lags=WINDOWS, basis={"envelope": cs.BSplines(5)}, channels=NAMES, bias=True
)
EXPANDED = [convolved(x, FUNCTIONS) for x in X]
ONE_TAP = cs.Problem(EXPANDED, Y, lags=(0, 0), bias=True, mask=INSIDE)
FIT = cs.solve(PROBLEM)

METHODS: dict[str, dict[str, Any]] = {
    "white": {},
    "AR(2)": {"noise": "ar2"},
    "HAC": {"noise": cs.HACNoise(bandwidth=5)},
    "cluster": {"noise": "cluster"},
    "Huber": {"loss": "huber"},
    "absolute": {"loss": "absolute"},
    "ridge": {"ridge": 5.0},
    "ridge by GCV": {"penalty": "ridge"},
    "ridge by folds": {"penalty": "ridge", "select": cs.CrossValidation(4)},
    "lasso": {"penalty": cs.Lasso(20.0)},
    "lasso by folds": {"penalty": "lasso", "select": cs.CrossValidation(4)},
    "elastic net": {"penalty": cs.Lasso(10.0, ridge=3.0)},
}
# The errors of these are not computed.
WITHOUT_ERRORS = ("lasso", "elastic net", "absolute")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_gives_the_solution_of_one_tap(name: str) -> None:
    fit, expected = (cs.solve(p, **METHODS[name]) for p in (PROBLEM, ONE_TAP))
    # Estimates are of about one. Searches and the lasso end at slightly different places.
    kernel = expected.kernel[0]
    np.testing.assert_allclose(fit.coefficients, kernel, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fit.bias, expected.bias, rtol=0, atol=1e-11)
    whole = np.asarray(fit.impulse_response)
    for c, functions in enumerate(FUNCTIONS):
        own = kernel[5 * c : 5 + 11 * c]
        np.testing.assert_allclose(whole[:, c], functions @ own, rtol=0, atol=1e-9)
    if name.startswith(WITHOUT_ERRORS):
        return
    error = expected.standard_error.reshape(COUNT, 2)
    np.testing.assert_allclose(fit.coefficient_error, error, rtol=1e-9)
    np.testing.assert_allclose(fit.noise.dof, expected.noise.dof, rtol=1e-12)
    np.testing.assert_array_equal(
        np.isnan(fit.standard_error).any(-1), ~np.stack([f.any(1) for f in FUNCTIONS], 1)
    )
    np.testing.assert_allclose(fit.standard_error[3:, 1], error[5:], rtol=1e-11)
    if name.startswith("ridge"):
        return
    found, other = fit.test("envelope[2]"), expected.test(2)
    np.testing.assert_allclose(found.estimate, fit.coefficients[2], rtol=1e-13)
    np.testing.assert_allclose(found.standard_error, fit.coefficient_error[2], rtol=1e-14)
    t = found.estimate / found.standard_error
    np.testing.assert_allclose(found.statistic, t**2, rtol=1e-13)
    np.testing.assert_allclose(found.statistic, other.statistic, rtol=1e-13)
    np.testing.assert_allclose(found.dof[1], other.dof[1], rtol=1e-9)


def test_resampling_gives_the_results_of_one_tap() -> None:
    other = cs.solve(ONE_TAP)
    own, expected = FIT.jackknife(), other.jackknife()
    words = own.standard_error[3:, 1]
    np.testing.assert_array_equal(np.isnan(own.standard_error), np.isnan(FIT.standard_error))
    np.testing.assert_allclose(words, expected.standard_error.reshape(COUNT, 2)[5:], rtol=1e-12)
    scores = [cs.cross_validate(problem) for problem in (PROBLEM, ONE_TAP)]
    np.testing.assert_allclose(scores[0].r2, scores[1].r2, rtol=1e-9)
    pairs = [fit.permutation_test("records", seed=3) for fit in (FIT, other)]
    np.testing.assert_allclose(pairs[0].pvalue, pairs[1].pvalue, rtol=1e-9)


def test_bands_covariance_and_prediction() -> None:
    """Only the taps inside the windows count."""
    low, _ = FIT.confidence_band(0.9, simultaneous=True)
    assert np.array_equal(np.isnan(low), np.isnan(FIT.standard_error))
    clusters = cs.solve(PROBLEM, noise="cluster")  # Bonferroni's band
    low, high = clusters.confidence_band(0.9, simultaneous=True)
    t = stats.t.ppf(1 - 0.1 / (2 * (12 + 11)), clusters.noise.dof)
    np.testing.assert_allclose(high - low, 2 * t * clusters.standard_error, rtol=1e-9)
    # With one function, all taps have the same t, except for the draws of its quantile.
    basis = cs.Basis(np.arange(1, 9)[:, None])
    one = cs.solve(cs.Problem(X[0][:, :1], Y[0], lags=(0, 7), basis=basis))
    together = one.confidence_band(simultaneous=True)
    np.testing.assert_allclose(together, one.confidence_band(), rtol=2e-2)
    a = np.concatenate([np.c_[a, np.ones(120)][i] for a, i in zip(EXPANDED, INSIDE)])
    taps = np.zeros((K, 2, COUNT))
    taps[:, 0, :5], taps[:, 1, 5:] = FUNCTIONS
    taps = taps.reshape(-1, COUNT)
    expected = taps @ np.linalg.inv(a.T @ a)[:COUNT, :COUNT] @ taps.T * FIT.noise.variance[1]
    np.testing.assert_allclose(FIT.covariance(1), expected, rtol=0, atol=1e-13 * expected.max())
    x = RNG.standard_normal((60, 2))
    prediction = (convolved(x, FUNCTIONS) @ FIT.coefficients + FIT.bias)[10:57]
    np.testing.assert_allclose(FIT.predict(x, edges="drop")[10:57], prediction, rtol=0, atol=1e-13)
