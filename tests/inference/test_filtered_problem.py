"""Autoregressive noise with masks, weights, penalties, confounds and chunks.

Each fit is compared with least squares of dense filtered rows, given the estimated filter.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.signal

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support.adjusted import CHANNELS, OUTPUTS, ROUTES, TAPS, Adjusted
from support.ordering import errors_of
from support.slow import some


def autoregressive(rng: np.random.Generator, shape: Any) -> np.ndarray:
    return scipy.signal.lfilter([1], [1, -0.7], rng.standard_normal(shape), axis=0)


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


@pytest.mark.parametrize(
    ("name", "route"),
    some(
        itertools.product(CASES, ROUTES),
        *zip(CASES, itertools.cycle(("chunks", "memory", "dask"))),
        every=4,
    ),
)
def test_it_is_least_squares_of_dense_filtered_rows(name: str, route: str) -> None:
    case, (store, limits) = CASES[name], ROUTES[route]
    made, ridge = Adjusted(case, autoregressive), case.get("ridge", 0.0)
    method = {"solver": "normal", "ridge": ridge} if ridge else {}
    fit = cs.solve(made.problem(store), **method, noise="ar", limits=limits)
    assert fit.converged
    assert fit.noise.kind == "ar"
    for o in range(OUTPUTS):
        check(fit, o, made, ridge)


def check(fit: cs.Solution, o: int, made: Adjusted, ridge: float) -> None:
    order = int(fit.noise.order[o])
    taken = np.r_[1.0, -fit.noise.coefficients[o, :order]]
    rows, values, size = [], [], TAPS * CHANNELS
    for root, used, both, y in made.rows(o):
        if len(y) <= order:
            continue
        kept = np.convolve(~used, np.ones(order + 1))[order : len(y)] == 0
        rows.append(root * scipy.signal.lfilter(taken, [1], both, axis=0)[order:][kept])
        values.append(root * scipy.signal.lfilter(taken, [1], y)[order:][kept])
    whole, z = np.concatenate(rows), np.concatenate(values)
    whole = whole[:, np.abs(whole).any(0)]
    penalty = np.zeros((size, whole.shape[1]))
    np.fill_diagonal(penalty, np.sqrt(ridge))
    tall, zeros = np.concatenate([whole, penalty]), np.zeros(size)
    best = np.linalg.lstsq(tall, np.concatenate([z, zeros]), rcond=None)[0]
    close = {"rtol": 1e-7, "atol": 1e-9}
    np.testing.assert_allclose(fit.kernel[..., o].reshape(-1), best[:size], **close)
    if made.bias:
        np.testing.assert_allclose(fit.bias[o], best[-1], rtol=1e-7)
    if ridge:
        return
    left = z - whole @ best
    dof = len(z) - np.linalg.matrix_rank(whole)
    variances = np.diagonal(np.linalg.pinv(whole.T @ whole))[:size] * (left @ left) / dof
    np.testing.assert_allclose(fit.noise.dof[o], dof)
    np.testing.assert_allclose(errors_of(fit)[..., o].reshape(-1), np.sqrt(variances), rtol=1e-6)


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
    "grid": lambda o: {"penalty": "ridge", "grid": np.array([[3.0, 100.0], [30.0, 1e3]])[:, o]},
}


@pytest.mark.parametrize(
    ("name", "mask", "held"),
    [("ridge", 0.05, 1500), ("bands", 0.05, 1500), ("grid", 0.05, 1500), ("lasso", "each", 10**6)],
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


def records_of(lengths: tuple[int, ...]) -> cs.Problem:
    rng = np.random.default_rng(6)
    x = [rng.standard_normal((n, 1)) for n in lengths]
    y = [a + autoregressive(rng, a.shape) for a in x]
    return cs.Problem(x, y, lags=(0, 2))


def test_folds_without_rows_after_the_filter_are_refused() -> None:
    method = {"penalty": "ridge", "select": cs.CrossValidation([[0], [1]]), "noise": "ar8"}
    with pytest.raises(ValueError, match="a fold has no rows used in the fit"):
        cs.solve(records_of((200, 9)), **method)


@pytest.mark.parametrize(
    ("lengths", "noise", "folds"),
    [((60,), "ar2", 5), ((200, 9), "ar8", 5), ((200, 9, 150, 180), "ar8", 3)],
)
def test_default_folds_are_the_records_with_rows_or_blocks_of_one(
    lengths: tuple[int, ...], noise: str, folds: int
) -> None:
    fit = cs.solve(records_of(lengths), penalty="ridge", select="cv", noise=noise)
    assert fit.converged
    assert len(fit.regularization.path.scores_by_fold) == folds
