"""Standard errors, bands and tests against statsmodels, dense formulas and simulation."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

import convsolve as cs
from support.ordering import band_of, covariance_of, errors_of

# y is noise.
pytestmark = pytest.mark.filterwarnings("ignore:standard errors explain")
DATA = Path(__file__).parent / "data" / "statsmodels.json"
KNOWN = json.loads(DATA.read_text(encoding="utf-8"))


def known(bias: bool) -> tuple[cs.Problem, dict[str, np.ndarray]]:
    """The problem of the reference file, and the values of statsmodels, outputs last."""
    rows = KNOWN["bias" if bias else "plain"]
    said = {key: np.stack([np.array(row[key], float) for row in rows], -1) for key in rows[0]}
    x, y = np.array(KNOWN["x"]), np.array(KNOWN["y"])
    return cs.Problem(x, y, kernel_size=5, bias=bias), said


@pytest.mark.parametrize(
    ("solver", "bias", "kind"),
    [("qr", True, ""), ("normal", False, ""), ("cg", True, ""), ("auto", False, "wls ")],
)
def test_errors_bands_and_tests_are_those_of_statsmodels(
    solver: str, bias: bool, kind: str
) -> None:
    """Of OLS, and of WLS with a weight per row."""
    problem, said = known(bias)
    if kind:
        x, y, weights = (np.array(KNOWN[key]) for key in ("x", "y", "weights"))
        problem = cs.Problem(x, y, kernel_size=5, bias=bias, weights=weights)
        said = {key: said[f"wls {key}"] for key in said if f"wls {key}" in said}
    fit = cs.solve(problem, solver)

    def same(found: Any, key: str) -> None:
        np.testing.assert_allclose(np.reshape(found, said[key].shape), said[key], rtol=1e-10)

    same(fit.kernel, "kernel")
    same(errors_of(fit), "standard_error")
    same(fit.noise.dof, "dof")
    same(fit.noise.variance, "variance")
    covariance = np.stack([covariance_of(fit, q) for q in range(2)], axis=-1)
    scale = np.abs(said["covariance"]).max()
    np.testing.assert_allclose(covariance, said["covariance"], atol=1e-11 * scale)
    band = np.stack([end.reshape(10, 2) for end in band_of(fit, 0.9)], axis=1)
    np.testing.assert_allclose(band, said["band"], rtol=1e-10, atol=1e-11)
    contrast = said["contrast"][..., 0].reshape(3, 5, 2)[:, ::-1]
    tests = [fit.test(1), fit.test(contrast=contrast, value=said["value"][:, 0])]
    for i, test in enumerate(tests):
        np.testing.assert_allclose(test.statistic, said["statistic"][i], rtol=1e-10)
        np.testing.assert_allclose(test.pvalue, said["p"][i], rtol=1e-7)
    assert [test.dof[0] for test in tests] == [5, 3]


def as_records(problem: cs.Problem, lengths: list[int]) -> cs.Problem:
    """The same rows as records of so many, which overlap in x."""
    ends = np.cumsum(lengths)
    parts = [(end - n, end) for n, end in zip(lengths, ends, strict=True)]
    x = [problem.x[0][a : b + 4] for a, b in parts]
    y = [problem.y[0][a:b] for a, b in parts]
    return cs.Problem(x, y, kernel_size=5, bias=problem.bias)


def of_unequal_records(lengths: list[int]) -> tuple[float, float]:
    """Mean of the sum of squares of s − (Σs) lengths/Σlengths, and its degrees of freedom.

    The sums s of the records are independent, with variances proportional to the lengths.
    """
    shares = np.array(lengths) / sum(lengths)
    residual = np.eye(len(shares)) - np.outer(shares, np.ones(len(shares)))
    root = np.diag(np.sqrt(shares))
    form = root @ residual.T @ residual @ root
    return np.trace(form), np.trace(form) ** 2 / np.trace(form @ form)


@pytest.mark.filterwarnings("ignore:the test of 2 sums")
@pytest.mark.parametrize(("kind", "bias"), [("hac", True), ("cluster", False), ("cluster", True)])
def test_errors_under_dependent_noise_are_those_of_statsmodels(kind: str, bias: bool) -> None:
    problem, said = known(bias)
    if kind == "cluster":
        problem = as_records(problem, [20, 16, 14, 26])
    white, fit = cs.solve(problem), cs.solve(problem, noise=kind)
    np.testing.assert_array_equal(fit.kernel, white.kernel)
    covariance = np.stack([covariance_of(fit, q) for q in range(2)], axis=-1)
    wanted = said[f"{kind} covariance"]
    np.testing.assert_allclose(covariance, wanted, atol=1e-10 * np.abs(wanted).max())
    errors = np.sqrt(np.einsum("ppq->pq", wanted)).reshape(5, 2, 2)
    np.testing.assert_allclose(errors_of(fit), errors, rtol=1e-10)
    contrast = np.eye(10)[1::2][:2].reshape(2, 5, 2)[:, ::-1]
    test = fit.test(contrast=contrast)
    rows = problem.n_equations
    mean, dof = of_unequal_records([20, 16, 14, 26])
    if kind == "hac":
        mean, dof = 0.75, 1.5 * rows / int(1.3 * math.sqrt(rows))
    np.testing.assert_allclose(fit.noise.dof, dof)
    # Hotelling's T² allows for an estimated covariance, unlike Wald's statistic of statsmodels.
    hotelling = np.array(said[f"{kind} statistic"]) * (dof - 1) / dof * (mean / (1 - 1 / 4))
    np.testing.assert_allclose(test.statistic, hotelling, rtol=1e-10)
    np.testing.assert_allclose(test.dof[1], dof - 1)
    np.testing.assert_allclose(test.pvalue, scipy.stats.f.sf(hotelling, 2, dof - 1), rtol=1e-8)
    low, high = band_of(fit, 0.9)
    reach = scipy.stats.t.ppf(0.95, dof) * errors
    np.testing.assert_allclose((high - low) / 2, reach, rtol=1e-9)
    wide = np.subtract(*band_of(fit, 0.9, simultaneous=True)[::-1]) / 2
    assert (wide > reach).all()
    assert fit.noise.kind == fit.stats["noise"] == kind
    np.testing.assert_allclose(fit.noise.variance, white.noise.variance)


def test_a_bandwidth_of_all_rows_is_refused() -> None:
    problem, _ = known(True)
    mask = np.ones(problem.y[0].shape, bool)
    mask[:20, 1] = False
    problem = cs.Problem(problem.x[0], problem.y[0], kernel_size=5, bias=True, mask=mask)
    with pytest.raises(ValueError, match="'hac56' needs more than 56 rows in every output, got 56"):
        cs.solve(problem, noise="hac56")
    assert np.isfinite(cs.solve(problem, noise="hac55").standard_error).all()


def test_errors_with_a_chosen_penalty_use_the_strength_of_each_output() -> None:
    """Errors with a given strength are compared with extended precision elsewhere."""
    problem, _ = known(True)
    fit = cs.solve(problem, penalty="ridge")
    chosen = fit.regularization
    np.testing.assert_allclose(fit.noise.dof, problem.n_equations - 1 - chosen.effective_dof)
    np.testing.assert_allclose(fit.noise.variance, chosen.noise_variance, rtol=1e-9)
    for q in range(2):
        alone = cs.solve(problem, "normal", ridge=chosen.strength[q]).standard_error
        np.testing.assert_allclose(fit.standard_error[..., q], alone[..., q], rtol=1e-6)


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
def test_undetermined_taps_have_infinite_errors_or_none_with_a_penalty() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 3))[:, [0, 1, 1]], rng.standard_normal((58, 1))
    fit = cs.solve(cs.Problem(x, y, kernel_size=3))
    error = errors_of(fit)[..., 0]
    assert np.isinf(error[:, 1:]).all()
    alone = cs.solve(cs.Problem(x[:, :2], y, kernel_size=3))
    np.testing.assert_allclose(error[:, 0], errors_of(alone)[:, 0, 0], rtol=1e-9)
    np.testing.assert_allclose(fit.noise.dof, 58 - 6)
    partly = cs.Ridge([0.0, 1.0], channel_groups=(0, 1))
    wide = cs.solve(cs.Problem(x[:8, :2], y[:8], lags=(0, 10), edges="zeros"), penalty=partly)
    for asked in (fit.covariance, lambda: wide.standard_error):
        with pytest.raises(ValueError, match="do not determine every tap"):
            asked()


def test_coverage_of_white_noise() -> None:
    """Nominal 95 %, of single taps and of all at once; 400 data sets as outputs of one problem."""
    rng = np.random.default_rng(0)
    x = np.convolve(rng.standard_normal(340), 0.9 ** np.arange(30), "valid")
    w = rng.standard_normal((12, 1, 1))
    clean = cs.convolve(x, w, cs.ConvSpec(12))
    fit = cs.solve(cs.Problem(x, clean + rng.standard_normal((300, 400)), kernel_size=12))

    def held(**options: Any) -> np.ndarray:
        low, high = band_of(fit, **options)
        return (low <= w) & (w <= high)

    assert abs(held().mean() - 0.95) < 0.01
    assert held().all((0, 1)).mean() < 0.85
    assert abs(held(simultaneous=True).all((0, 1)).mean() - 0.95) < 0.03
    p = fit.test(contrast=np.ones((12, 1)), value=w.sum()).pvalue
    assert abs((p < 0.05).mean() - 0.05) < 0.03


@pytest.mark.parametrize("records", [3, 4])
def test_the_simultaneous_band_of_clusters_is_that_of_bonferroni(records: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, records, 40, 2))
    fit = cs.solve(cs.Problem(x, y, kernel_size=1, bias=True), noise="cluster")
    with pytest.warns(UserWarning, match="very wide") if records < 4 else nullcontext():
        low, high = fit.confidence_band(0.9, simultaneous=True)
    reach = scipy.stats.t.ppf(1 - 0.1 / (2 * 2), records - 1) * fit.standard_error
    np.testing.assert_allclose(high - low, 2 * reach, rtol=1e-9)
    np.testing.assert_allclose((high + low) / 2, fit.kernel, atol=1e-12)


@pytest.mark.parametrize(("noise", "size"), [("white", 1), ("hac", 0), ("cluster", 0)])
def test_errors_and_tests_of_an_exact_output(noise: str, size: float) -> None:
    """They do not affect other outputs. An output of zeros is exact under all noise."""
    x, e = np.random.default_rng(0).standard_normal((2, 5, 500, 1))
    exact, given = 2 * x + np.roll(x, 1, 1) + 5, {"lags": (0, 1), "bias": True}
    both, alone = (
        cs.solve(cs.Problem(x, y, **given), noise=noise)
        for y in (np.concatenate([size * exact, exact + e], 2), exact + e)
    )
    assert not both.standard_error[..., 0].any()
    assert not both.noise.variance[0]
    test, expected = (fit.test(0, lags=(0, 0)) for fit in (both, alone))
    np.testing.assert_allclose(test.statistic[1], expected.statistic[0], rtol=1e-10)
    if size:
        assert (test.statistic[0], test.pvalue[0], test.partial_r2[0]) == (np.inf, 0, 1)
        assert np.isnan(both.test(contrast=np.ones((2, 1)), value=3.0).statistic[0])
    (low, high), expected = (fit.confidence_band(simultaneous=True) for fit in (both, alone))
    assert (low[..., 0] == high[..., 0]).all()
    np.testing.assert_allclose(np.stack([low, high])[..., 1], np.array(expected), rtol=1e-10)


@pytest.mark.parametrize(
    ("noise", "lengths", "taps", "words"),
    [
        ("white", (9,), 5, "5 rows leave no degrees of freedom with 5 unknowns"),
        ("hac", (9,), 5, "5 rows leave no degrees of freedom with 5 unknowns"),
        ("cluster", (60, 60, 60, 60), 5, "3 degrees of freedom, too few for a test of 5 sums"),
        ("cluster", (60, 23), 2, "has 1 degrees of freedom, too few for a test of 2 sums"),
        ("hac", (60,), 30, "degrees of freedom, too few for a test of 30 sums"),
    ],
)
def test_too_few_degrees_of_freedom(
    noise: str, lengths: tuple[int, ...], taps: int, words: str
) -> None:
    """No warning says that the test is approximate. Two records have one degree of freedom."""
    rng = np.random.default_rng(0)
    x, y = ([rng.standard_normal(n) for n in lengths] for _ in range(2))
    fit = cs.solve(cs.Problem(x, y, lags=(0, taps - 1)), noise=noise)
    with pytest.raises(ValueError, match=words):
        fit.test(channels=0)


def test_records_of_very_different_length_warn_in_tests_of_sums() -> None:
    rng = np.random.default_rng(0)
    x, y = ([rng.standard_normal((n, 1)) for n in (600, 60, 60, 60, 60)] for _ in range(2))
    fit = cs.solve(cs.Problem(x, y, lags=(0, 4)), noise="cluster")
    mean, dof = of_unequal_records([596, 56, 56, 56, 56])
    np.testing.assert_allclose(fit.noise.dof, dof)
    with pytest.warns(UserWarning, match="the records differ in their number of rows"):
        test = fit.test(lags=(2, 2))
    statistic = (fit.kernel[2, 0, 0] / errors_of(fit)[2, 0, 0]) ** 2 * mean / (1 - 1 / 5)
    np.testing.assert_allclose(test.statistic, statistic)
    np.testing.assert_allclose(test.pvalue, scipy.stats.f.sf(statistic, 1, dof))
