"""Autoregressive noise: statsmodels' GLSAR, dense filtered rows, exact cases and simulation."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import scipy.stats

import convsolve as cs
from convsolve.inference.ar import Autoregression, filtered_parts
from convsolve.problem.sizes import Tuning
from support import dense
from support.coverage import red
from support.geometry import NAMED
from support.ordering import band_of, covariance_of, errors_of

DATA = Path(__file__).parent / "data" / "statsmodels.json"
KNOWN = json.loads(DATA.read_text(encoding="utf-8"))


# --- records with gaps, intercepts or drifts


# Records, rows, degree of a drift, share of rows that are left out, coefficients, and the standard
# deviation of their sum between data sets.
CORRECTED: dict[str, tuple[int, int, int | None, float, list[float], float]] = {
    "drifts": (100, 30, 1, 0.0, [0.9], 0.034),
    "intercepts": (100, 30, 0, 0.0, [0.9], 0.017),
    "long drifts": (200, 60, 1, 0.0, [0.9], 0.009),
    "drifts, order 2": (100, 30, 1, 0.0, [1.2, -0.4], 0.013),
    "gaps": (1, 3000, None, 0.3, [0.9], 0.026),
    "short": (400, 20, None, 0.0, [0.9], 0.006),
    "gaps and drifts": (4, 180, 2, 0.15, [0.5], 0.046),
}


@pytest.mark.parametrize("name", CORRECTED)
def test_coefficients_are_those_of_the_noise_in_records_with_gaps_and_drifts(name: str) -> None:
    """Without the correction, their sum is 0.05 to 0.27 too small."""
    records, rows, degree, share, rho, spread = CORRECTED[name]
    rng, outputs = np.random.default_rng(7), 8
    x, noise = rng.standard_normal((records, rows, 1)), []
    for _ in range(records):
        white = rng.standard_normal((rows + 300, outputs))
        noise.append(scipy.signal.lfilter([1.0], np.r_[1.0, -np.array(rho)], white, axis=0)[300:])
    mask = rng.random((records, rows)) >= share if share else None
    problem = cs.Problem(x, x + np.stack(noise), lags=(0, 0), mask=mask, drift=degree)
    found = cs.solve(problem, noise=cs.ARNoise(len(rho))).noise.coefficients.sum(1)
    assert abs(found.mean() - sum(rho)) < 3 * spread / math.sqrt(outputs)
    # The selected order is close to the true one.
    chosen = cs.solve(problem, noise="ar").noise
    assert np.median(chosen.order) <= len(rho) + 1
    assert abs(np.median(chosen.coefficients.sum(1)) - sum(rho)) < 3 * spread


def test_noise_that_no_stationary_model_describes_is_filtered_stably() -> None:
    """The runs are averages over trials, so products at lags of a trial do not decay."""
    events, bold = cs.datasets.event_related_fmri()
    runs = np.split(events, 12), np.split(bold, 12)
    problem = cs.Problem(*runs, fs=0.5, tmin=0, tmax=28, drift=2)
    white = cs.solve(problem).score().r2[0]
    for noise in ("ar", "ar21", "ar36"):
        fit = cs.solve(problem, noise=noise)
        assert abs(np.roots(np.r_[1, -fit.noise.coefficients[0]])).max() < 1
        assert fit.score().r2[0] > 0.85 * white


# --- kernels and errors


@pytest.mark.parametrize("bias", [False, True])
def test_given_its_coefficients_it_is_glsar_of_statsmodels(bias: bool) -> None:
    rows = KNOWN["bias" if bias else "plain"]
    x, y = np.array(KNOWN["x"]), np.array(KNOWN["y"])
    problem, rho = cs.Problem(x, y, kernel_size=5, bias=bias), np.array([KNOWN["rho"]] * 2)
    parts = filtered_parts(problem, Autoregression(np.full(2, len(rho.T)), rho), Tuning())
    for part, row in zip(parts, rows, strict=True):
        fit = cs.solve(part)
        constant = fit.bias / (1 - rho[0].sum())
        test = fit.test(contrast=np.eye(10)[1::2][:2].reshape(2, 5, 2)[:, ::-1])
        assert fit.converged
        found = [*fit.kernel.reshape(-1), *constant[[0] * bias]]
        np.testing.assert_allclose(found, row["ar params"], rtol=1e-10)
        covariance = np.array(row["ar covariance"])
        np.testing.assert_allclose(
            covariance_of(fit, 0), covariance, atol=1e-10 * np.abs(covariance).max()
        )
        deviations = np.sqrt(np.diagonal(covariance))
        np.testing.assert_allclose(errors_of(fit).reshape(-1), deviations, rtol=1e-10)
        np.testing.assert_allclose(fit.noise.variance[0], row["ar variance"], rtol=1e-10)
        assert fit.noise.dof[0] == row["ar dof"]
        np.testing.assert_allclose(test.statistic[0], row["ar statistic"], rtol=1e-10)


def whitened(v: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Rows of one record less what those before them foretell; none of a short record."""
    order = len(rho)
    foreknown = [c * v[order - i : len(v) - i] for i, c in enumerate(rho, 1)]
    return v[order:] - sum(foreknown) if len(v) > order else v[:0]


def by_hand(problem: cs.Problem, output: int, order: int) -> tuple[np.ndarray, ...]:
    """Two rounds of Cochrane and Orcutt, by dense filtered rows.

    Returns ρ, kernel and bias, their covariance, and variance and degrees of freedom of the noise.
    """
    group, q = divmod(output, problem.n_outputs // problem.spec.groups)
    rows = dense.design_matrix([*problem.x], problem.spec)[group].astype(float)
    rows = np.hstack([rows, np.ones((len(rows), int(problem.bias)))])
    kept = [n for (n,) in problem._kept.shapes if n]
    y = dense.by_group([*problem.y], problem.spec.groups)[group][:, q].astype(float)
    parts = [np.split(v, np.cumsum(kept)[:-1]) for v in (rows, y)]
    w, *_ = np.linalg.lstsq(rows, y, rcond=None)
    for _ in range(2):
        e = y - rows @ w
        e = np.split(e - problem.bias * e.mean(), np.cumsum(kept)[:-1])
        lags = [sum(a[i:] @ a[: max(len(a) - i, 0)] for a in e) for i in range(order + 1)]
        lags = np.array(lags) / [sum(max(n - i, 0) for n in kept) for i in range(order + 1)]
        rho = scipy.linalg.solve_toeplitz(lags[:-1], lags[1:])
        a, b = (np.concatenate([whitened(v, rho) for v in each]) for each in parts)
        w, *_ = np.linalg.lstsq(a, b, rcond=None)
    dof = len(a) - a.shape[1]
    variance = np.square(b - a @ w).sum() / dof
    return rho, w, np.linalg.inv(a.T @ a) * variance, np.array([variance, dof])


@pytest.mark.parametrize("name", ["groups", "dilation", "stride", "circular", "ragged", "short"])
def test_it_is_least_squares_of_dense_filtered_rows(name: str) -> None:
    geometry = NAMED[name]
    x, y = geometry.noise()
    problem = cs.Problem(x, y, spec=geometry.spec, bias=geometry.bias)
    order = 1 if name == "short" else 2
    fit = cs.solve(problem, noise=f"ar{order}")
    assert fit.converged
    for o in range(problem.n_outputs):
        rho, w, covariance, noise = by_hand(problem, o, order)
        np.testing.assert_allclose(fit.noise.coefficients[o], rho, rtol=1e-8)
        found = [*fit.kernel[..., o].reshape(-1), *fit.bias[[o] * geometry.bias]]
        np.testing.assert_allclose(found, w, atol=1e-10)
        np.testing.assert_allclose([fit.noise.variance[o], fit.noise.dof[o]], noise, rtol=1e-9)
        p, size = len(w) - geometry.bias, np.abs(covariance).max()
        taps = covariance_of(fit, o)
        np.testing.assert_allclose(taps, covariance[:p, :p], atol=1e-10 * size)


# --- digits


@pytest.mark.parametrize(("level", "bias"), [(1e4, True), (1e7, False)])
def test_a_random_walk_with_an_offset_keeps_its_digits(level: float, bias: bool) -> None:
    """Differences of x are a small share of x, so its Gram matrix has few digits of them."""
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.standard_normal((5000, 1)), axis=0) + level
    w = np.array([1.0, 2, 3, -1, 0.5])[:, None, None]
    y = cs.convolve(x, w, cs.ConvSpec(5)) + np.cumsum(rng.standard_normal((4996, 1)), axis=0)
    problem = cs.Problem(x, y, kernel_size=5, bias=bias)
    fit = cs.solve(problem, noise="ar1")
    assert fit.converged
    assert fit.noise.coefficients[0, 0] > 0.99
    rows = dense.design_matrix([problem.x[0] - level * bias], problem.spec)[0]
    a, b = (whitened(v, fit.noise.coefficients[0]) for v in (rows, problem.y[0]))
    a, b = a - a.mean(0) * bias, b - b.mean(0) * bias
    exact, *_ = np.linalg.lstsq(a, b, rcond=None)
    np.testing.assert_allclose(fit.kernel[:, 0], exact, atol=1e-11)
    errors = np.linalg.norm(np.linalg.inv(np.linalg.qr(a)[1]), axis=1)
    errors = errors * np.sqrt(fit.noise.variance)
    np.testing.assert_allclose(errors_of(fit)[:, 0, 0], errors, rtol=1e-9)


# --- saved and refused fits


def test_a_saved_fit_keeps_its_noise_and_an_exact_one_has_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x, noise = red(rng, 153, 2), red(rng, 150, 2, 0.8)
    y = cs.convolve(x, rng.standard_normal((4, 2, 2)), cs.ConvSpec(4))
    fit = cs.solve(cs.Problem(x, y + noise, kernel_size=4, bias=True), noise="ar3")
    fit.save(tmp_path / "fit.npz")
    for found in (cs.load(tmp_path / "fit.npz"), pickle.loads(pickle.dumps(fit))):
        np.testing.assert_array_equal(found.standard_error, fit.standard_error)
        for name in ("kind", "order", "coefficients", "variance", "dof"):
            np.testing.assert_array_equal(getattr(found.noise, name), getattr(fit.noise, name))
        np.testing.assert_array_equal(found.confidence_band(0.9), fit.confidence_band(0.9))
    assert "per tap, for autoregressive noise of order 3; " in " ".join(str(fit).split())
    for rows, values in ((150, y + 3), (8, y + noise)):
        given = cs.Problem(x[: rows + 3], values[:rows], kernel_size=4, bias=rows > 8)
        with pytest.raises(ValueError, match="output 0 is fitted up to rounding"):
            cs.solve(given, noise="ar")


# --- coverage


@pytest.mark.filterwarnings("ignore:the residuals of output .* are correlated")
def test_bands_contain_the_sum_of_a_kernel_under_correlated_noise() -> None:
    """The formula for white noise contains it in a third of the data sets."""
    rng, w = np.random.default_rng(0), np.exp(-np.arange(20) / 4)[:, None, None]
    held: dict[str, list[float]] = {"white": [], "ar": []}
    together = []
    for _ in range(6):
        x = red(rng, 819, 1)
        y = cs.convolve(x, w, cs.ConvSpec(20)) + red(rng, 800, 25)
        for kind, found in held.items():
            fit = cs.solve(cs.Problem(x, y, kernel_size=20), noise=kind)
            found += [*(fit.test(contrast=np.ones((20, 1)), value=w.sum()).pvalue > 0.05)]
        low, high = band_of(fit, simultaneous=True)
        together += [*((low <= w) & (w <= high)).all((0, 1))]
    assert np.mean(held["white"]) < 0.5
    assert 0.9 < np.mean(held["ar"]) < 0.99
    assert 0.9 < np.mean(together) < 0.99


def test_a_low_order_is_selected_for_oscillating_noise() -> None:
    """Products over pairs of rows are not positive definite, so large orders appear to fit."""
    rng = np.random.default_rng(0)
    x, white = rng.standard_normal((8, 100, 1)), rng.standard_normal((8, 600, 40))
    e = scipy.signal.lfilter([1], [1, -1.8 * math.cos(0.3), 0.81], white, axis=1)[:, 500:]
    order = cs.solve(cs.Problem(x, x + e, lags=(0, 0)), noise="ar").noise.order
    assert 2 <= np.median(order) <= order.max() < 15
