"""Autoregressive noise: statsmodels' GLSAR, dense filtered rows and simulation."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.signal

import convsolve as cs
from convsolve.inference.ar import Autoregression, filtered_parts
from convsolve.problem.sizes import Tuning
from support import dense
from support.adjusted import OUTPUTS, ROUTES, TAPS, Adjusted
from support.coverage import red
from support.geometry import NAMED
from support.ordering import band_of, covariance_of, errors_of
from support.slow import some

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
    noise = Autoregression(np.full(2, len(rho.T)), rho)
    ((outputs, part),) = filtered_parts(problem, noise, Tuning())
    assert outputs == (0, 1)
    for o, row in zip(outputs, rows, strict=True):
        fit = cs.solve(part._of_outputs((o,)))
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


# Root of the weight, flags of used rows, rows [A N] and y of a record.
Record = tuple[float, np.ndarray, np.ndarray, np.ndarray]


def filtered(records: list[Record], rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and y less what the rows before them foretell, where all of these are used."""
    order, taken, found = len(rho), np.r_[1.0, -rho], []
    for root, used, both, y in records:
        if len(y) > order:
            kept = np.convolve(~used, np.ones(order + 1))[order : len(y)] == 0
            whole = scipy.signal.lfilter(taken, [1], np.column_stack([both, y]), axis=0)
            found.append(root * whole[order:][kept])
    joined = np.concatenate(found)
    return joined[:, :-1], joined[:, -1]


def cochrane_orcutt(records: list[Record], order: int, bias: bool) -> np.ndarray:
    """Coefficients after two rounds."""
    whole, y = (np.concatenate([record[i] for record in records]) for i in (2, 3))
    w, ends = np.linalg.lstsq(whole, y)[0], np.cumsum([len(record[3]) for record in records])[:-1]
    for _ in range(2):
        left = y - whole @ w
        e = np.split(left - bias * left.mean(), ends)
        lags = [sum(a[i:] @ a[: max(len(a) - i, 0)] for a in e) for i in range(order + 1)]
        lags = np.array(lags) / [sum(max(len(a) - i, 0) for a in e) for i in range(order + 1)]
        rho = scipy.linalg.solve_toeplitz(lags[:-1], lags[1:])
        w = np.linalg.lstsq(*filtered(records, rho))[0]
    return rho


def check(fit: cs.Solution, o: int, records: list[Record], bias: bool, ridge: float = 0.0) -> None:
    """Least squares of the dense filtered rows, given the estimated filter."""
    size = fit.kernel[..., o].size
    whole, z = filtered(records, fit.noise.coefficients[o, : int(fit.noise.order[o])])
    whole = whole[:, np.abs(whole).any(0)]
    penalty = np.zeros((size, whole.shape[1]))
    np.fill_diagonal(penalty, np.sqrt(ridge))
    best = np.linalg.lstsq(np.concatenate([whole, penalty]), np.pad(z, (0, size)))[0]
    np.testing.assert_allclose(fit.kernel[..., o].reshape(-1), best[:size], rtol=1e-7, atol=1e-10)
    if bias:
        np.testing.assert_allclose(fit.bias[o], best[-1], rtol=1e-7)
    if ridge:
        return
    left, dof = z - whole @ best, len(z) - np.linalg.matrix_rank(whole)
    variance = left @ left / dof
    covariance = np.linalg.pinv(whole.T @ whole)[:size, :size] * variance
    np.testing.assert_allclose(fit.noise.dof[o], dof, rtol=1e-9)
    np.testing.assert_allclose(fit.noise.variance[o], variance, rtol=1e-9)
    np.testing.assert_allclose(
        covariance_of(fit, o), covariance, rtol=0, atol=1e-10 * covariance.max()
    )
    errors = np.sqrt(np.diagonal(covariance))
    np.testing.assert_allclose(errors_of(fit)[..., o].reshape(-1), errors, rtol=1e-6)


@pytest.mark.parametrize("name", ["groups", "dilation", "stride", "circular", "ragged", "short"])
def test_it_is_least_squares_of_dense_filtered_rows(name: str) -> None:
    made = NAMED[name]
    x, y = made.noise()
    order, problem = 1 if name == "short" else 2, cs.Problem(x, y, spec=made.spec, bias=made.bias)
    fit = cs.solve(problem, noise=f"ar{order}")
    assert fit.converged
    for o in range(problem.n_outputs):
        group, records = o * made.spec.groups // problem.n_outputs, []
        for a, b in zip(x, y, strict=True):
            if len(b):
                rows = dense.design_matrix(a[None], made.spec)[group]
                rows = np.hstack([rows, np.ones((len(rows), int(made.bias)))])
                records.append((1.0, np.ones(len(b), bool), rows, b[:, o]))
        rho = cochrane_orcutt(records, order, made.bias)
        np.testing.assert_allclose(fit.noise.coefficients[o], rho, rtol=1e-8)
        check(fit, o, records, made.bias)


CASES: dict[str, dict[str, Any]] = {
    "mask of every output": {"mask": "each"},
    "mask, drift": {"mask": 0.05, "drift": 2},
    "weights, mask, intercepts": {"weights": [2.0, 0.3, 1.0], "mask": 0.1, "drift": 0},
    "motion, drift": {"confounds": True, "drift": 1},
    "motion, bias": {"confounds": True, "bias": True},
    "motion, mask": {"confounds": True, "mask": 0.05},
    "zeros, bias, mask": {"padding": "causal", "bias": True, "mask": 0.05},
    "stride 2, mask": {"stride": 2, "mask": 0.05, "bias": True},
    "ridge, mask, weights": {"ridge": 7.0, "mask": 0.1, "weights": [1.0, 2.0, 3.0]},
}


def autoregressive(rng: np.random.Generator, shape: Any) -> np.ndarray:
    return scipy.signal.lfilter([1], [1, -0.7], rng.standard_normal(shape), axis=0)


@pytest.mark.parametrize(
    ("name", "route"),
    some(
        itertools.product(CASES, ROUTES),
        *zip(CASES, itertools.cycle(("chunks", "memory", "dask"))),
        every=4,
    ),
)
def test_masks_weights_confounds_and_chunks(name: str, route: str) -> None:
    case, (store, limits) = CASES[name], ROUTES[route]
    made, ridge = Adjusted(case, autoregressive), case.get("ridge", 0.0)
    method = {"solver": "normal", "ridge": ridge} if ridge else {}
    fit = cs.solve(made.problem(store), **method, noise="ar", limits=limits)
    assert fit.converged
    assert fit.noise.kind == "ar"
    for o in range(OUTPUTS):
        check(fit, o, [*made.rows(o)], made.bias, ridge)


def test_undetermined_kernels_have_minimum_norm() -> None:
    made = Adjusted({}, autoregressive)
    twice = [np.repeat(x[:, :1], 2, axis=1) for x in made.x]
    problem = cs.Problem(twice, made.y, kernel_size=TAPS)
    with pytest.warns(cs.IdentifiabilityWarning, match="rank-deficient"):
        fit = cs.solve(problem, noise="ar2")
    np.testing.assert_allclose(fit.kernel[:, 0], fit.kernel[:, 1], rtol=1e-6)
    with pytest.raises(cs.IdentifiabilityError):
        cs.solve(problem, noise="ar2", strict=True)


PER_OUTPUT: dict[str, Any] = {
    "ridge": lambda o: {"ridge": np.array([5.0, 300.0])[o]},
    "bands": lambda o: {
        "penalty": cs.Ridge(np.array([[3.0, 0.0], [70.0, 8.0]])[:, o], channel_groups=(0, 1))
    },
    "lasso": lambda o: {"penalty": cs.Lasso(np.array([2.0, 30.0])[o])},
    "early stopping": lambda o: {"penalty": cs.EarlyStopping(np.array([2, 30])[o])},
    "grid": lambda o: {"penalty": "ridge", "grid": np.array([[3.0, 100.0], [30.0, 1e3]])[:, o]},
}


@pytest.mark.parametrize(
    ("name", "mask", "held"),
    [
        ("ridge", 0.05, 1500),
        ("bands", 0.05, 1500),
        ("grid", 0.05, 1500),
        ("lasso", "each", 10**6),
        ("early stopping", "each", 10**6),
    ],
)
def test_every_output_has_its_own_strength(name: str, mask: Any, held: int) -> None:
    made = Adjusted({"mask": mask, "bias": True}, autoregressive)
    problem, few = made.problem(np.asarray), Tuning(held_numbers=held, chunk_numbers=held)
    fit = cs.solve(problem, **PER_OUTPUT[name](slice(None)), noise="ar2", limits=few)
    assert fit.converged
    for o in range(OUTPUTS):
        y, mask = [b[:, [o]] for b in made.y], [flags[:, o] for flags in made.used]
        alone = cs.Problem(made.x, y, kernel_size=TAPS, bias=True, mask=mask)
        one = cs.solve(alone, **PER_OUTPUT[name]([o]), noise="ar2")
        np.testing.assert_allclose(fit.kernel[..., [o]], one.kernel, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(fit.bias[o], one.bias[0], rtol=1e-7)
        # A single strength of zero is no penalty.
        strength = 0.0 if one.regularization is None else one.regularization.strength
        np.testing.assert_allclose(fit.regularization.strength[..., [o]], strength)


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
    rows = dense.design_matrix([x - level * bias], problem.spec)[0]
    record = 1.0, np.ones(len(rows), bool), rows, y[:, 0]
    a, b = (v - v.mean(0) * bias for v in filtered([record], fit.noise.coefficients[0]))
    np.testing.assert_allclose(fit.kernel[:, 0, 0], np.linalg.lstsq(a, b)[0], atol=1e-11)
    errors = np.linalg.norm(np.linalg.inv(np.linalg.qr(a)[1]), axis=1)
    errors = errors * np.sqrt(fit.noise.variance)
    np.testing.assert_allclose(errors_of(fit)[:, 0, 0], errors, rtol=1e-9)


def test_an_exact_fit_has_no_noise_to_estimate() -> None:
    x, w = np.random.default_rng(3).standard_normal((153, 2)), np.ones((4, 2, 2))
    for rows in (150, 8):
        y = cs.convolve(x[: rows + 3], w, cs.ConvSpec(4)) + 3.0 * (rows > 8)
        problem = cs.Problem(x[: rows + 3], y, kernel_size=4, bias=rows > 8)
        with pytest.raises(ValueError, match="output 0 is fitted up to rounding"):
            cs.solve(problem, noise="ar")


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


def test_many_outputs_share_filters_and_some_have_no_noise() -> None:
    rng = np.random.default_rng(11)
    x, noise = rng.standard_normal(300), rng.standard_normal((300, 70))
    y = x[:, None] + scipy.signal.lfilter([1.0], [1.0, -0.4], noise, axis=0)
    y[:, 3] = 0.0
    fit = cs.solve(cs.Problem(x, y, lags=(0, 4), drift=1), noise="ar1")
    found = fit.noise.coefficients[:, 0]
    assert found[3] == 0
    assert (fit.standard_error[:, 3] == 0).all()
    assert len(np.unique(found)) < 50
    for o in (0, 40, 69):
        alone = cs.solve(cs.Problem(x, y[:, o], lags=(0, 4), drift=1), noise="ar1")
        rho = alone.noise.coefficients[0, 0]
        # A tenth of the standard error of ρ, once per round.
        assert abs(np.arcsin(found[o]) - np.arcsin(rho)) < 0.2 / math.sqrt(296)
        off = (fit.impulse_response[:, o] - alone.impulse_response) / alone.standard_error
        assert np.abs(off).max() < 0.05
        np.testing.assert_allclose(fit.standard_error[:, o], alone.standard_error, rtol=0.02)
