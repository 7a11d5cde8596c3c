"""Autoregressive noise with masks, weights, penalties, confounds and chunks.

Each fit is compared with least squares of dense filtered rows, given the estimated filter.
"""

from __future__ import annotations

from typing import Any

import dask.array
import numpy as np
import pytest
import scipy.signal

import convsolve as cs
from convsolve import Limits
from support import dense

TAPS, CHANNELS, OUTPUTS = 4, 2, 2
LENGTHS = (260, 220, 3)
RNG = np.random.default_rng(3)
X = [RNG.standard_normal((n, CHANNELS)).cumsum(0) / 9 + off for n, off in zip(LENGTHS, (0, 50, 0))]
W = RNG.standard_normal((TAPS, CHANNELS, OUTPUTS))
CHUNKS = Limits(held_numbers=0, chunk_numbers=200)


def outputs(spec: cs.ConvSpec) -> list[np.ndarray]:
    rng, found = np.random.default_rng(4), []
    for x in X:
        clean = cs.convolve(x, W, spec)
        noise = scipy.signal.lfilter([1], [1, -0.7], rng.standard_normal(clean.shape), axis=0)
        found.append(clean + noise + 100)
    return found


CASES: dict[str, dict[str, Any]] = {
    "mask": {"mask": 0.05},
    "mask of every output": {"mask": "each"},
    "mask, drift": {"mask": 0.05, "confounds": 2},
    "weights": {"weights": [1.0, 3.0, 0.5], "bias": True},
    "weights, mask, intercepts": {"weights": [2.0, 0.3, 1.0], "mask": 0.1, "confounds": 0},
    "motion, bias": {"confounds": "motion", "bias": True},
    "motion, mask": {"confounds": "motion", "mask": 0.05},
    "zeros, bias, mask": {"padding": "causal", "bias": True, "mask": 0.05},
    "stride 2, mask": {"stride": 2, "mask": 0.05, "bias": True},
    "ridge": {"ridge": 7.0, "bias": True},
    "ridge, mask, weights": {"ridge": 7.0, "mask": 0.1, "weights": [1.0, 2.0, 3.0]},
}
ROUTES: dict[str, tuple[Any, Limits]] = {
    "memory": (lambda a: a, Limits()),
    "chunks": (lambda a: a, CHUNKS),
    "dask": (lambda a: dask.array.from_array(a, chunks=(70, 1)), CHUNKS),
}


def flags(case: dict[str, Any], y: list[np.ndarray]) -> list[np.ndarray]:
    """Return flags (T, OUTPUTS) of the rows that are used."""
    rng, share = np.random.default_rng(5), case.get("mask", 0.0)
    if share == "each":
        return [rng.random(b.shape) > 0.05 for b in y]
    return [np.repeat(rng.random((len(b), 1)) > share, OUTPUTS, 1) for b in y]


def columns(case: dict[str, Any], y: list[np.ndarray]) -> list[np.ndarray]:
    """Return the nuisance columns of every record, without a bias."""
    given = case.get("confounds")
    if given is None:
        return [np.zeros((len(b), 0)) for b in y]
    if given == "motion":
        rng = np.random.default_rng(6)
        return [rng.standard_normal((len(b), 1)) + 1 for b in y]
    return [np.linspace(-1, 1, len(b))[:, None] ** np.arange(given + 1) for b in y]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", CASES)
def test_it_is_least_squares_of_dense_filtered_rows(name: str, route: str) -> None:
    case, (store, limits) = CASES[name], ROUTES[route]
    spec = cs.ConvSpec(TAPS, case.get("stride", 1), case.get("padding", "valid"))
    y, bias, ridge = outputs(spec), case.get("bias", False), case.get("ridge", 0.0)
    used, own, weights = flags(case, y), columns(case, y), case.get("weights")
    given = {"bias": bias, "weights": weights}
    if "mask" in case:
        each = case["mask"] == "each"
        given["mask"] = [f if each else f[:, 0] for f in used]
    if "confounds" in case:
        given["confounds"] = own if case["confounds"] == "motion" else case["confounds"]
    problem = cs.Problem([*map(store, X)], [*map(store, y)], spec=spec, **given)
    fit = cs.solve(problem, cs.NormalEquations(ridge) if ridge else None, noise="ar", limits=limits)
    assert fit.ok
    assert fit.noise.kind == "ar"
    for o in range(OUTPUTS):
        check(fit, o, spec, y, used, own, weights, bias, ridge)


def check(
    fit: cs.Solution,
    o: int,
    spec: cs.ConvSpec,
    y: list[np.ndarray],
    used: list[np.ndarray],
    own: list[np.ndarray],
    weights: Any,
    bias: bool,
    ridge: float,
) -> None:
    order = int(fit.noise.order[o])
    taken = np.r_[1.0, -fit.noise.coefficients[o, :order]]
    width, size = own[0].shape[1], TAPS * CHANNELS
    rows, values = [], []
    for r, (x, b, c, f) in enumerate(zip(X, y, own, used, strict=True)):
        if len(b) <= order:
            continue
        both = np.zeros((len(b), size + len(X) * width + bias))
        both[:, :size] = dense.design_matrix([x], spec)[0]
        both[:, size + r * width : size + (r + 1) * width] = c
        both[:, both.shape[1] - bias :] = 1.0
        root = 1.0 if weights is None else np.sqrt(weights[r])
        kept = np.convolve(~f[:, o], np.ones(order + 1))[order : len(b)] == 0
        rows.append(root * scipy.signal.lfilter(taken, [1], both, axis=0)[order:][kept])
        values.append(root * scipy.signal.lfilter(taken, [1], b[:, o])[order:][kept])
    whole, z = np.concatenate(rows), np.concatenate(values)
    whole = whole[:, np.abs(whole).any(0)]
    penalty = np.zeros((size, whole.shape[1]))
    np.fill_diagonal(penalty, np.sqrt(ridge))
    tall, zeros = np.concatenate([whole, penalty]), np.zeros(size)
    best = np.linalg.lstsq(tall, np.concatenate([z, zeros]), rcond=None)[0]
    close = {"rtol": 1e-7, "atol": 1e-9}
    np.testing.assert_allclose(fit.kernel[..., o].reshape(-1), best[:size], **close)
    if bias:
        np.testing.assert_allclose(fit.bias[o], best[-1], rtol=1e-7)
    if ridge:
        return
    left = z - whole @ best
    dof = len(z) - np.linalg.matrix_rank(whole)
    variances = np.diagonal(np.linalg.pinv(whole.T @ whole))[:size] * (left @ left) / dof
    np.testing.assert_allclose(fit.dof[o], dof)
    np.testing.assert_allclose(
        fit.standard_error[..., o].reshape(-1), np.sqrt(variances), rtol=1e-6
    )


def test_data_that_do_not_determine_the_kernel_have_a_solution_of_minimum_norm() -> None:
    twice = [np.repeat(x[:, :1], 2, axis=1) for x in X]
    problem = cs.Problem(twice, outputs(cs.ConvSpec(TAPS)), kernel_size=TAPS)
    with pytest.warns(cs.IdentifiabilityWarning, match="rank-deficient"):
        fit = cs.solve(problem, noise="ar(2)")
    np.testing.assert_allclose(fit.kernel[:, 0], fit.kernel[:, 1], rtol=1e-6)
    with pytest.raises(cs.IdentifiabilityError):
        cs.solve(problem, noise="ar(2)", strict=True)


def test_weights_of_single_rows_are_refused() -> None:
    y = outputs(cs.ConvSpec(TAPS))
    weights = [np.linspace(1, 2, len(b)) for b in y]
    problem = cs.Problem(X, y, kernel_size=TAPS, weights=weights)
    with pytest.raises(ValueError, match="filters rows of equal weight"):
        cs.solve(problem, noise="ar")


def test_a_chosen_strength_is_that_of_the_filtered_problem() -> None:
    y = outputs(cs.ConvSpec(TAPS))
    fit = cs.solve(cs.Problem(X, y, kernel_size=TAPS, bias=True), cs.Regularized(), noise="ar")
    assert fit.ok
    assert fit.regularization is not None
    assert fit.regularization.strength.shape == (OUTPUTS,)
    assert np.isfinite(fit.standard_error).all()
