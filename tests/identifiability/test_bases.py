"""Identifiability of kernels in a basis, in windows of lags and on some taps."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import convsolve as cs
from support.ordering import null_kernels, taps_of

RNG = np.random.default_rng(5)
K, SAMPLES = 12, 150
FUNCTIONS = np.linalg.qr(RNG.standard_normal((K, 4)))[0]
X = RNG.standard_normal((SAMPLES, 2)).cumsum(0)
WINDOWS = {0: (0, 11), 1: (2, 9)}
BASIS = {0: cs.Basis(FUNCTIONS)}
# (taps, channels, unknowns), in ascending lags.
TAPS = np.zeros((K, 2, 12))
TAPS[:, 0, :4], TAPS[2:10, 1, 4:] = FUNCTIONS, np.eye(8)


def columns(x: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """A T (rows, unknowns), from windows of x."""
    lagged = np.stack([x[K - 1 - k : len(x) - k] for k in range(K)], axis=1)
    return np.einsum("nkc,kcr->nr", lagged, taps)


def test_rank_condition_and_gains() -> None:
    problem = cs.Problem(X, lags=WINDOWS, basis=BASIS)
    report, a = cs.identify(problem), columns(X, TAPS)
    assert (report.rank, report.n_unknowns, report.unique) == (12, 12, True)
    np.testing.assert_allclose(report.condition_number, np.linalg.cond(a), rtol=1e-13)
    np.testing.assert_allclose(report.singular_values[0], np.linalg.svd(a)[1], rtol=1e-13)
    t, inverse = TAPS.reshape(-1, 12), np.linalg.inv(a.T @ a)
    gains = np.sqrt(np.einsum("pi,ij,pj->p", t, inverse, t)).reshape(K, 2)
    possible = TAPS.any(2)
    np.testing.assert_allclose(
        report.noise_gain.reshape(K, 2)[possible], gains[possible], rtol=1e-12
    )
    assert np.isnan(report.noise_gain.reshape(K, 2)[~possible]).all()
    assert "all 20 identifiable" in str(report)
    assert "for 12 unknowns" in str(report)


def test_a_kernel_of_which_the_data_determine_some_coefficients() -> None:
    """A sinusoid excites two functions of the first channel."""
    x = np.stack([np.cos(0.7 * np.arange(SAMPLES)), X[:, 1]], axis=1)
    y = RNG.standard_normal(SAMPLES)
    problem = cs.Problem(x, lags=WINDOWS, basis=BASIS)
    report, a = cs.identify(problem), columns(x, TAPS)
    assert report.rank == np.linalg.matrix_rank(a) == 10
    assert report.verdict == "rank-deficient"
    (kernels,) = null_kernels(report)
    flat = kernels[:, ::-1].reshape(2, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(2), rtol=0, atol=1e-13)
    # They have no output, and lie in the span.
    t = TAPS.reshape(-1, 12)
    np.testing.assert_allclose(flat @ t @ t.T, flat, rtol=0, atol=1e-13)
    assert np.abs(a @ t.T @ flat.T).max() < 1e-10
    null = np.linalg.svd(a)[2][10:]
    determined = np.linalg.norm(t @ null.T, axis=1) < 1e-8
    found = taps_of(report, "identifiable")[::-1, :, 0]
    np.testing.assert_array_equal(found, determined.reshape(K, 2))
    count = int((determined & t.any(1)).sum())
    assert f"{count} of 20 identifiable" in str(report)
    assert "2 independent changes of the kernel in its basis do not change y" in str(report)
    assert "excites only 2 of its 4 coefficients" in str(report)
    with pytest.warns(cs.IdentifiabilityWarning, match="rank 10 of 12 unknowns"):
        fit = cs.solve(cs.Problem(x, y, lags=WINDOWS, basis=BASIS))
    # The solution of minimum norm.
    z = np.linalg.pinv(a, 1e-8) @ y[K - 1 :]
    np.testing.assert_allclose(fit.coefficients[:, 0], z, rtol=0, atol=1e-13)
    assert np.isinf(fit.standard_error).sum() == 20 - count


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
def test_lags_at_which_all_functions_are_zero_are_known() -> None:
    """Their taps are zero for all kernels of the basis, and no rounding error of a kernel."""
    x, y = np.cos(0.7 * np.arange(SAMPLES)), RNG.standard_normal(SAMPLES)
    functions = np.pad(RNG.standard_normal((7, 3)), ((2, 3), (0, 0)))
    fit = cs.solve(cs.Problem(x, y, lags=(0, 11), basis=cs.Basis(functions)))
    zero = ~functions.any(1)
    assert fit.identifiability.rank == 2
    np.testing.assert_array_equal(np.ravel(fit.identifiability.identifiable), zero)
    assert not fit.impulse_response[zero].any()
    np.testing.assert_array_equal(np.ravel(fit.standard_error), np.where(zero, 0, np.inf))


def test_taps_that_are_determined_only_by_padding() -> None:
    """All rows that read the first lags of channel 0 contain padding."""
    x = np.zeros((40, 2))
    x[-3:, 0], x[:, 1] = RNG.standard_normal(3), RNG.standard_normal(40)
    inside = cs.identify(cs.Problem(x, lags={0: (0, 2), 1: (0, 4)}, edges="zeros"))
    assert inside.padding_dependent.shape == (5, 2)
    assert not inside.padding_dependent[3:, 0].any()
    other = cs.identify(cs.Problem(x[:, :1], lags=(0, 2), edges="zeros"))
    np.testing.assert_array_equal(inside.padding_dependent[:3, 0], other.padding_dependent)


def test_a_window_removes_a_deficit() -> None:
    """Twin channels are told apart if they have no lag in common."""
    twins = np.repeat(X[:, :1], 2, axis=1)
    assert cs.identify(cs.Problem(twins, lags=(0, 5))).rank == 6
    report = cs.identify(cs.Problem(twins, lags={0: (0, 2), 1: (3, 5)}))
    assert (report.rank, report.unique) == (6, True)


@pytest.mark.parametrize("solver", ["qr", "svd", "normal", "auto"])
def test_the_kernel_does_not_depend_on_the_condition_of_the_basis(solver: str) -> None:
    """Twenty raised cosines on 100 lags have a condition number of 1e8."""
    x, y = RNG.standard_normal((2, 2000))
    functions = cs.RaisedCosines(20).functions(range(100))
    spread = np.linalg.svd(functions, compute_uv=False)
    assert spread[0] > 1e7 * spread[-1]
    problem = cs.Problem(x, y, lags=(0, 99), basis="raised_cosines20")
    fit = cs.solve(problem, solver)
    assert fit.identifiability.condition_number < 3
    v = np.linalg.svd(functions, full_matrices=False)[0]
    lagged = np.stack([x[99 - k : 2000 - k] for k in range(100)], axis=1)
    expected = v @ np.linalg.lstsq(lagged @ v, y[99:], rcond=None)[0]
    size = np.abs(expected).max()
    np.testing.assert_allclose(fit.impulse_response, expected, rtol=0, atol=1e-13 * size)
    kernel = functions @ fit.coefficients[:, 0]
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-7 * size)


@pytest.mark.parametrize("basis", [cs.Fourier(2), cs.Fourier(4), cs.Tents(8, spacing="even")])
@pytest.mark.parametrize("period", [8, 10, 12, 12.012, 16, 24, 40])
def test_functions_that_a_tone_nearly_cancels_are_no_rank(
    period: float, basis: cs.extend.LagBasis
) -> None:
    rng = np.random.default_rng(0)
    x, y = np.sin(2 * np.pi * np.arange(200) / period), rng.standard_normal(200)
    problem = cs.Problem(x, y, lags=(0, 11), basis=basis)
    report = cs.identify(problem)
    assert (report.verdict, report.rank) == ("rank-deficient", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        fit = cs.solve(problem)
    a = np.lib.stride_tricks.sliding_window_view(x, 12)[:, ::-1] @ basis.functions(range(12))
    u, s, _ = np.linalg.svd(a, full_matrices=False)
    assert s[2] < 1e-12 * s[0]
    fitted = u[:, :2] @ (u[:, :2].T @ y[11:])
    assert np.abs(fit.predict()[11:] - fitted).max() < 1e-11
