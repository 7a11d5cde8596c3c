"""Kernels in a basis: tests, bands, noise, losses, penalties and resampling.

A kernel in a basis is a kernel of one tap on more channels: x convolved with every function. Every
method must give the same for both. Tests of lags are compared with dense matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import convsolve as cs

RNG = np.random.default_rng(11)
NAMES, K = ["envelope", "word"], 14
WINDOWS = {"envelope": (-3, 8), "word": (0, 10)}
LAGS = np.arange(-3, 11)
BASIS = {"envelope": cs.BSplines(5)}
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


def record(samples: int) -> tuple[np.ndarray, np.ndarray]:
    x = RNG.standard_normal((samples, 2))
    noise = RNG.standard_normal((samples, 2))
    return x, convolved(x, [np.eye(K)] * 2) @ np.concatenate(KERNEL) + 0.5 * noise


RECORDS = [record(n) for n in (120,) * 4]
X, Y = [x for x, _ in RECORDS], [y for _, y in RECORDS]
# Rows whose window lies in the record.
INSIDE = [np.r_[np.zeros(10, bool), np.ones(len(x) - 13, bool), np.zeros(3, bool)] for x in X]
PROBLEM = cs.Problem(X, Y, lags=WINDOWS, basis=BASIS, channels=NAMES, bias=True)
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


def test_resampling_gives_the_results_of_one_tap() -> None:
    other = cs.solve(ONE_TAP)
    own, expected = FIT.jackknife(), other.jackknife()
    words = own.standard_error[3:, 1]
    np.testing.assert_array_equal(np.isnan(own.standard_error), np.isnan(FIT.standard_error))
    assert "nan" not in str(own)
    np.testing.assert_allclose(words, expected.standard_error.reshape(COUNT, 2)[5:], rtol=1e-12)
    scores = [cs.cross_validate(problem) for problem in (PROBLEM, ONE_TAP)]
    np.testing.assert_allclose(scores[0].r2, scores[1].r2, rtol=1e-9)
    pairs = [fit.permutation_test("records", seed=3) for fit in (FIT, other)]
    np.testing.assert_allclose(pairs[0].pvalue, pairs[1].pvalue, rtol=1e-9)


# --- tests of lags, compared with the covariance of the taps


ROWS = np.concatenate([a[i] for a, i in zip(EXPANDED, INSIDE, strict=True)])
A = np.column_stack([ROWS, np.ones(len(ROWS))])
OUT = np.concatenate([y[i] for y, i in zip(Y, INSIDE, strict=True)])
# Taps (K, channels) from coefficients.
TAPS = np.zeros((K, 2, COUNT))
TAPS[:, 0, :5], TAPS[:, 1, 5:] = FUNCTIONS
TAPS = TAPS.reshape(-1, COUNT)


def expected(rows: np.ndarray, value: Any) -> tuple[Any, ...]:
    """F (outputs,) of sums of coefficients (q, COUNT), their rank, the sums and their errors."""
    z, inverse = np.linalg.lstsq(A, OUT, rcond=None)[0], np.linalg.inv(A.T @ A)
    variance = ((OUT - A @ z) ** 2).sum(0) / (len(A) - A.shape[1])
    covariance = rows @ inverse[:COUNT, :COUNT] @ rows.T
    sums, rank = rows @ z[:COUNT], int(np.linalg.matrix_rank(rows))
    off = sums - np.broadcast_to(value, len(rows))[:, None]
    wald = np.einsum("iq,iq->q", off, np.linalg.pinv(covariance, 1e-10) @ off) / variance
    return wald / rank, rank, sums, np.sqrt(np.outer(np.diagonal(covariance), variance))


def taps(lags: Any, channel: int) -> np.ndarray:
    """Rows that select taps of a channel."""
    return np.eye(2 * K)[[2 * (lag + 3) + channel for lag in lags]]


SHAPE = (FUNCTIONS[0] @ np.arange(1, 6.0))[:12]
TESTS: dict[str, tuple[Callable[[], Any], np.ndarray, Any]] = {
    "channel in a basis": (lambda: FIT.test("envelope"), taps(range(-3, 9), 0), 0),
    "channel of taps": (lambda: FIT.test("word"), taps(range(11), 1), 0),
    "many lags": (lambda: FIT.test("envelope", lags=(0, 8)), taps(range(9), 0), 0),
    "all channels": (
        lambda: FIT.test(lags=(7, 10)), np.r_[taps((7, 8), 0), taps(range(7, 11), 1)], 0
    ),
    "differences": (
        lambda: FIT.test({"envelope": 1, "word": -1}),
        np.pad(taps(range(-3, 9), 0), ((0, 2), (0, 0)))
        - np.pad(taps(range(11), 1), ((3, 0), (0, 0))),
        0,
    ),
    "a shape": (lambda: FIT.test("envelope", value=SHAPE), taps(range(-3, 9), 0), SHAPE),
    "a sum": (
        lambda: FIT.test(contrast=taps(range(-3, 9), 0).sum(0).reshape(K, 2), value=1.5),
        taps(range(-3, 9), 0).sum(0)[None], 1.5,
    ),
    "sums of different sizes": (
        lambda: FIT.test(contrast=(taps((1, 4), 0) * [[1e-9], [1.0]]).reshape(2, K, 2)),
        taps((1, 4), 0), 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TESTS)
def test_sums_of_taps(name: str) -> None:
    call, contrast, value = TESTS[name]
    found, (statistic, rank, *_) = call(), expected(contrast @ TAPS, value)
    np.testing.assert_allclose(found.statistic, statistic, rtol=1e-13)
    assert found.dof[0] == rank
    np.testing.assert_allclose(
        found.pvalue, stats.f.sf(statistic, rank, len(A) - COUNT - 1), rtol=1e-10
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: FIT.test("word", lags=(-3, -1)), "sums of taps with weights"),
        *(
            (lambda off=off: FIT.test("envelope", value=SHAPE + off), "no kernel of the basis")
            for off in (np.arange(12) % 2, 1e-8 * (np.arange(12) % 2))
        ),
    ],
)
def test_sums_of_taps_that_are_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


# --- tests of coefficients by name


def weights(*rows: dict[int, float]) -> np.ndarray:
    """Rows (q, COUNT) with weights of some coefficients."""
    return np.array([[row.get(i, 0.0) for i in range(COUNT)] for row in rows])


# Arguments of `test`, the coefficients that they mean, and the value.
COEFFICIENTS: dict[str, tuple[Any, np.ndarray, Any]] = {
    "a tap": ("word lag 3", weights({8: 1}), 0),
    "a difference": ({"envelope[1]": 1, "envelope[4]": -1}, weights({1: 1, 4: -1}), 0),
    "over channels": ({"word lag 0": 0.5, "envelope[0]": 2}, weights({5: 0.5, 0: 2}), 1.0),
    "several": (
        ["word lag 10", "envelope[3]"], weights({15: 1}, {3: 1}), [0.1, 0.4]
    ),
    "all": ([f"envelope[{i}]" for i in range(5)], np.eye(COUNT)[:5], 0),
}  # fmt: skip


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_coefficients_by_name(name: str) -> None:
    given, rows, value = COEFFICIENTS[name]
    found, (statistic, rank, sums, errors) = FIT.test(given, value=value), expected(rows, value)
    single = len(rows) == 1
    assert found.dof[0] == rank == len(rows)
    np.testing.assert_allclose(found.statistic, statistic, rtol=1e-12)
    np.testing.assert_allclose(found.estimate, sums[0] if single else np.nan, rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, errors[0] if single else np.nan, rtol=1e-13)
    assert ("±" in str(found)) == single


@pytest.mark.parametrize("noise", ["white", "ar2", "hac", "cluster"])
def test_a_coefficient_has_the_errors_of_its_channel(noise: str) -> None:
    """In every noise model, F is the square of t."""
    fit, expected = (cs.solve(problem, noise=noise) for problem in (PROBLEM, ONE_TAP))
    found, other = fit.test("envelope[2]"), expected.test(2)
    np.testing.assert_allclose(found.estimate, fit.coefficients[2], rtol=1e-13)
    t = found.estimate / found.standard_error
    np.testing.assert_allclose(found.statistic, t**2, rtol=1e-13)
    np.testing.assert_allclose(other.standard_error, expected.standard_error[0, 2], rtol=1e-13)
    np.testing.assert_allclose(found.standard_error, fit.coefficient_error[2], rtol=1e-14)
    np.testing.assert_allclose(found.statistic, other.statistic, rtol=1e-13)
    np.testing.assert_allclose(found.dof[1], other.dof[1], rtol=1e-9)


def test_sums_of_taps_have_estimates_and_errors() -> None:
    row = taps((0, 1, 4), 1).sum(0)
    found = FIT.test(contrast=row.reshape(K, 2), value=0.5)
    covariance = np.stack([row @ FIT.covariance(o) @ row for o in range(2)])
    np.testing.assert_allclose(found.standard_error, np.sqrt(covariance), rtol=1e-10)
    sums = row @ FIT.impulse_response.reshape(-1, 2)
    np.testing.assert_allclose(found.estimate, sums, rtol=1e-13)
    # The taps of one function are one sum, and a contrast of several of them has no scale.
    one = cs.solve(cs.Problem(X, Y, lags=(0, 5), basis=cs.Basis(np.ones((6, 1)))))
    both = one.test(contrast=np.eye(12)[::2][:2].reshape(2, 6, 2))
    assert both.dof[0] == 1
    assert np.isnan(both.estimate).all()
    # In an exact fit, the error is zero.
    exact = cs.solve(cs.Problem([1.0, 2, 0, 1, 5], [2.0, 4, 0, 2, 10], lags=(0, 0))).test(0)
    assert (exact.estimate[0], exact.standard_error[0]) == (2.0, 0.0)


@pytest.mark.parametrize(
    ("tested", "of_coefficients"),
    [({"word": 1, "envelope": 0.5}, [0.5, 1]), ("word", [0, 1])],
)
def test_channels_with_one_function_have_the_sum_of_their_coefficients(
    tested: Any, of_coefficients: list[float]
) -> None:
    """Against least squares of x filtered by the function."""
    function = np.array([0.0, 1, 3, 2, -1, 0.5])
    problem = cs.Problem(X, Y, lags=(0, 5), basis=cs.Basis(function[:, None]), channels=NAMES)
    of_records = ([np.convolve(c, function)[5 : len(x)] for c in x.T] for x in X)
    a = np.concatenate([*of_records], axis=1).T
    b, row = np.concatenate([y[5:] for y in Y]), np.array(of_coefficients)
    z = np.linalg.lstsq(a, b, rcond=None)[0]
    variance = ((b - a @ z) ** 2).sum(0) / (len(a) - 2)
    errors = np.sqrt(row @ np.linalg.inv(a.T @ a) @ row * variance)
    for window in ({}, {"lags": (2, 5)}):
        found = cs.solve(problem).test(tested, **window)
        assert found.dof[0] == 1
        np.testing.assert_allclose(found.estimate, row @ z, rtol=1e-11)
        np.testing.assert_allclose(found.standard_error, errors, rtol=1e-11)
        np.testing.assert_allclose(found.statistic, (row @ z / errors) ** 2, rtol=1e-11)


def test_coefficients_of_groups() -> None:
    given: dict[str, Any] = {"lags": (0, 8), "basis": cs.BSplines(4), "channels": NAMES}
    groups = cs.solve(cs.Problem(X, Y, groups=2, **given))
    found = groups.test("word[2]")
    t = groups.coefficients[2] / groups.coefficient_error[2]
    np.testing.assert_allclose(found.statistic, [np.nan, t[1] ** 2], rtol=1e-13)
    with pytest.raises(ValueError, match="channels of one group"):
        groups.test({"envelope[1]": 1, "word[1]": -1})


DEPENDENT = cs.Basis(np.c_[np.eye(4), np.eye(4)[:, :1]][:, [0, 1, 4]])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["envelope[0]", "word"], r"\['envelope\[0\]', 'word'\] are not coefficients"),
        ("envelope[5]", r"there is no channel 'envelope\[5\]': there are envelope, word"),
        ({"envelope[0]": 0}, "sums of taps with weights"),
    ],
)
def test_coefficients_that_are_refused(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FIT.test(given)
    with pytest.raises(ValueError, match="there is no channel"):  # but by its lags
        FIT.test("envelope[0]", lags=(0, 3))


def test_coefficients_that_a_dependent_basis_does_not_determine_are_refused() -> None:
    fit = cs.solve(cs.Problem(X[0], Y[0], lags=(0, 3), basis=DEPENDENT))
    for name in ("0[0]", "1[2]"):
        with pytest.raises(ValueError, match="are not coefficients that the basis determines"):
            fit.test(name)
    t = fit.coefficients[1] / fit.coefficient_error[1]
    np.testing.assert_allclose(fit.test("0[1]").statistic, t**2, rtol=1e-10)


def test_bands() -> None:
    """Only the taps inside the windows count."""
    low, _ = FIT.confidence_band(0.9, simultaneous=True)
    assert np.array_equal(np.isnan(low), np.isnan(FIT.standard_error))
    low, high = FIT.confidence_band(0.9, simultaneous=True, method="bonferroni")
    t = stats.t.ppf(1 - 0.1 / (2 * (12 + 11)), FIT.noise.dof)
    np.testing.assert_allclose(high - low, 2 * t * FIT.standard_error, rtol=1e-9)
    # With one function, all taps have the same t, except for the draws of its quantile.
    basis = cs.Basis(np.arange(1, 9)[:, None])
    one = cs.solve(cs.Problem(X[0][:, :1], Y[0], lags=(0, 7), basis=basis))
    together = one.confidence_band(simultaneous=True)
    np.testing.assert_allclose(together, one.confidence_band(), rtol=2e-2)


def test_covariance_prediction_and_files(tmp_path: Path) -> None:
    variance = FIT.noise.variance[1]
    expected = TAPS @ np.linalg.inv(A.T @ A)[:COUNT, :COUNT] @ TAPS.T * variance
    np.testing.assert_allclose(FIT.covariance(1), expected, rtol=0, atol=1e-13 * expected.max())
    x_new = RNG.standard_normal((60, 2))
    inside = slice(10, 57)
    prediction = convolved(x_new, FUNCTIONS) @ FIT.coefficients + FIT.bias
    np.testing.assert_allclose(FIT.predict(x_new)[inside], prediction[inside], rtol=0, atol=1e-13)
    FIT.save(tmp_path / "fit.npz")
    again = cs.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(again.coefficients, FIT.coefficients)
    np.testing.assert_array_equal(again.predict(x_new), FIT.predict(x_new))
    assert again.coefficient_names == PROBLEM.coefficient_names == FIT.coefficient_names
    np.testing.assert_array_equal(again.coefficient_error, FIT.coefficient_error)
    assert again.to_dict()["coefficient_error"] == FIT.to_dict()["coefficient_error"]


def test_penalties_of_kernels_act_on_the_kernel() -> None:
    """Second differences of each channel on its own lags."""
    strength = 7.0
    d = np.zeros((19, COUNT))
    d[:10, :5] = np.diff(FUNCTIONS[0][:12], 2, axis=0)
    d[10:, 5:] = np.diff(np.eye(11), 2, axis=0)
    centred, out = ROWS - ROWS.mean(0), OUT - OUT.mean(0)
    z = np.linalg.solve(centred.T @ centred + strength * d.T @ d, centred.T @ out)
    fit = cs.solve(PROBLEM, penalty=cs.Smooth(strength, order=2))
    np.testing.assert_allclose(fit.coefficients, z, rtol=0, atol=1e-13)
    used = np.trace(np.linalg.solve(centred.T @ centred + strength * d.T @ d, centred.T @ centred))
    np.testing.assert_allclose(fit.noise.dof, len(A) - 1 - used, rtol=1e-10)
