"""Identifiability of kernels in a basis, in windows of lags and on some taps."""

from __future__ import annotations

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
    flat, t = kernels[:, ::-1].reshape(2, -1), TAPS.reshape(-1, 12)
    # They have no output, and lie in the span.
    np.testing.assert_allclose(flat @ t @ t.T, flat, rtol=0, atol=1e-13)
    assert np.abs(a @ t.T @ flat.T).max() < 1e-10
    null = np.linalg.svd(a)[2][10:]
    determined = np.linalg.norm(t @ null.T, axis=1) < 1e-8
    found = taps_of(report, "identifiable")[::-1, :, 0]
    np.testing.assert_array_equal(found, determined.reshape(K, 2))
    count = int((determined & t.any(1)).sum())
    assert f"{20 - count} of 20 taps (" in str(report)
    assert report.collinear == ["2 independent changes of the kernel without effect on y"]
    assert "channel 0: only 2 of 4 coefficients excited" in str(report)
    with pytest.warns(cs.IdentifiabilityWarning, match="rank 10 of 12 unknowns"):
        fit = cs.solve(cs.Problem(x, y, lags=WINDOWS, basis=BASIS))
    assert np.isinf(fit.standard_error).sum() == 20 - count


def test_a_window_removes_a_deficit() -> None:
    """Twin channels are told apart if they have no lag in common."""
    twins = np.repeat(X[:, :1], 2, axis=1)
    assert cs.identify(cs.Problem(twins, lags=(0, 5))).rank == 6
    report = cs.identify(cs.Problem(twins, lags={0: (0, 2), 1: (3, 5)}))
    assert (report.rank, report.unique) == (6, True)


@pytest.mark.parametrize("basis", [cs.Fourier(2), cs.Fourier(4), cs.Tents(8, spacing="even")])
@pytest.mark.parametrize("period", [8, 10, 12, 12.012, 16, 24, 40])
def test_functions_that_a_tone_nearly_cancels_are_no_rank(
    period: float, basis: cs.extend.LagBasis
) -> None:
    x = np.sin(2 * np.pi * np.arange(200) / period)
    report = cs.identify(cs.Problem(x, lags=(0, 11), basis=basis))
    assert (report.verdict, report.rank) == ("rank-deficient", 2)
