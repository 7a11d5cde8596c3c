"""Patterns of a decoder against dense matrices in extended precision, and their jackknife."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import block_diag

import convsolve as cs
from convsolve.sklearn import ConvRegressor
from support import dense
from support.geometry import NAMED
from support.ordering import kernel_shaped

RNG = np.random.default_rng(0)
LENGTHS = (90, 120, 100, 110)
X = [RNG.standard_normal((n, 3)) + 2 for n in LENGTHS]
SOURCES = [a @ RNG.standard_normal((3, 2)) + RNG.standard_normal((len(a), 2)) for a in X]
Y = [s + 0.5 * np.roll(s, 1, axis=1) + 1 for s in SOURCES]
LAGS = (-2, 1)


def solved(m: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The solution of a small positive definite system in the precision of its numbers."""
    m, right = m.copy(), right.copy()
    for i in range(len(m)):
        right[i], m[i] = right[i] / m[i, i], m[i] / m[i, i]
        for j in {*range(len(m))} - {i}:
            right[j], m[j] = right[j] - m[j, i] * right[i], m[j] - m[j, i] * m[i]
    return right


def without(a: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The rows a (n, P) with columns (n, q) projected out, in extended precision."""
    columns = columns.astype(np.longdouble)
    return a - columns @ solved(columns.T @ columns, columns.T @ a)


def wanted(
    a: np.ndarray, w: np.ndarray, y: np.ndarray | None = None, nuisance: np.ndarray | None = None
) -> np.ndarray:
    """Patterns (P, Q) of w (P, Q), given rows a (n, P), y (n, Q) and nuisance columns (n, q)."""
    ones = np.ones((len(a), 1))
    a = without(a.astype(np.longdouble), ones if nuisance is None else nuisance)
    predicted = a @ w
    right = predicted if y is None else without(y.astype(np.longdouble), ones)
    return np.asarray(solved(right.T @ right, (a.T @ predicted).T).T, float)


def check(found: Any, kernel: np.ndarray, expected: list[np.ndarray], digits: float) -> None:
    """Values shaped as an impulse response are (P, Q) of every group."""
    kernel = np.asarray(kernel)
    shaped = dense.as_kernel(np.stack(expected), kernel.shape[:-2])
    found = kernel_shaped(found, kernel.shape)
    np.testing.assert_allclose(found, shaped, rtol=0, atol=digits * np.abs(shaped).max())


def rows(x: list[np.ndarray]) -> np.ndarray:
    """The lag matrix (n, P) of records, with the lags of the problems here and edges "drop"."""
    return dense.design_matrix(x, cs.ConvSpec(LAGS[1] - LAGS[0] + 1))[0]


def inner(y: list[np.ndarray]) -> list[np.ndarray]:
    """The rows of y that are used."""
    return [b[LAGS[1] : len(b) + LAGS[0]] for b in y]


def flat(w: Any) -> np.ndarray:
    return np.asarray(w, float).reshape(-1, np.shape(w)[-1])


METHODS: dict[str, dict[str, Any]] = {
    "least squares": {},
    "a strength per output": {"penalty": "ridge"},
    "smooth": {"penalty": cs.Smooth(5.0, order=2)},
    "lasso": {"penalty": cs.Lasso(5.0)},
    "huber": {"loss": "huber"},
    "hac": {"noise": "hac"},
}


@pytest.mark.parametrize("of", ["predicted", "outputs"])
@pytest.mark.parametrize("name", ["groups", "stride", "both", "circular", "ragged", "image"])
def test_patterns_are_covariances_in_any_geometry(name: str, of: str) -> None:
    made = NAMED[name]
    x, y = made.noise()
    fit = cs.solve(cs.Problem([*x], [*y], spec=made.spec, bias=made.bias))
    groups = made.spec.groups
    parts = dense.design_matrix([*x], made.spec), *(dense.by_group(v, groups) for v in ([*y],))
    w = dense.by_group(fit.kernel.reshape(-1, fit.kernel.shape[-1]), groups)
    right = parts[1] if of == "outputs" else [None] * groups
    expected = [wanted(a, k, b) for a, k, b in zip(parts[0], w, right, strict=True)]
    found = fit.patterns(of)
    assert found.shape == fit.impulse_response.shape
    check(found, fit.kernel, expected, 1e-12)


@pytest.mark.parametrize(
    ("name", "bias"), [*zip(METHODS, cycle([True, False])), ("least squares", False)]
)
def test_patterns_of_any_estimate_are_about_the_means(name: str, bias: bool) -> None:
    problem = cs.Problem(X, Y, lags=LAGS, bias=bias)
    fit = cs.solve(problem, **METHODS[name])
    check(fit.patterns(), fit.kernel, [wanted(rows(X), flat(fit.kernel))], 1e-11)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "make", [np.float32, partial(jnp.asarray, dtype="float32"), partial(np.add, 1e6)]
)
def test_types_and_offsets_cost_no_digits(make: Any, bias: bool) -> None:
    x = [make(a) for a in X]
    fit = cs.solve(cs.Problem(x, [b.astype(x[0].dtype) for b in Y], lags=LAGS, bias=bias), ridge=3)
    assert isinstance(fit.patterns(), np.ndarray)
    expected = [wanted(rows([*map(np.asarray, x)]), flat(fit.kernel))]
    check(fit.patterns(), fit.kernel, expected, 1e-11)


MASKS = [np.stack([np.arange(len(b)) % 5 > 0, np.arange(len(b)) % 3 > 0], 1) for b in Y]
ADJUSTED: dict[str, dict[str, Any]] = {
    "mask": {"mask": [np.arange(len(b)) % 7 > 1 for b in Y], "bias": True},
    "confounds": {"confounds": [np.linspace(0, 1, len(b))[:, None] ** 2 for b in Y]},
    "drift of each record": {"drift": 1},
}  # fmt: skip


@pytest.mark.parametrize("of", ["predicted", "outputs"])
@pytest.mark.parametrize("name", ADJUSTED)
def test_masked_rows_and_confounds_are_excluded(name: str, of: str) -> None:
    fit = cs.solve(cs.Problem(X, Y, lags=LAGS, **ADJUSTED[name]), ridge=3.0)
    y, given = np.concatenate(inner(Y)), ADJUSTED[name]
    used, nuisance = np.ones(len(y), bool), np.ones((len(y), 1))
    if "mask" in given:
        used = np.concatenate(inner(given["mask"]))
    elif "drift" in given:
        nuisance = block_diag(*(np.vander(np.linspace(-1, 1, len(b)), 2) for b in inner(Y)))
    else:
        nuisance = np.hstack([nuisance, block_diag(*inner(given["confounds"]))])
    a, nuisance = rows(X)[used], nuisance[used]
    right = None if of == "predicted" else np.asarray(without(y[used], nuisance), float)
    check(fit.patterns(of), fit.kernel, [wanted(a, flat(fit.kernel), right, nuisance)], 1e-11)


def test_outputs_of_one_group_share_their_rows() -> None:
    x = [np.hstack([a, a[::-1, :1]]) for a in X]
    spec, mask = cs.ConvSpec(3, groups=2), [m[2:] for m in MASKS]
    fit = cs.solve(cs.Problem(x, [b[2:] for b in Y], spec=spec, mask=mask, bias=True))
    used, kernels = np.concatenate(mask).T, dense.by_group(flat(fit.kernel), 2)
    each = zip(dense.design_matrix(x, spec), used, kernels, strict=True)
    check(fit.patterns(), fit.kernel, [wanted(a[u], w) for a, u, w in each], 1e-11)


def test_patterns_of_the_estimator() -> None:
    for y in (Y, [b[:, 0] for b in Y]):
        model = ConvRegressor(lags=LAGS, ridge=3.0).fit(X, y)
        found, fit = model.patterns_, model.solution_
        assert found.shape == model.coef_.shape
        expected = fit.patterns().reshape(len(fit.lags), 3, -1).transpose(2, 1, 0)
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)


# --- the jackknife

JACKKNIFED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ridge": ({"bias": True}, {"ridge": 20.0}),
    "strengths": ({"bias": True}, {"penalty": cs.Ridge([5.0, 50.0])}),
    "bands": ({}, {"penalty": cs.Ridge([5.0, 50.0], channel_groups=[0, 1, 1])}),
    "confounds": ({"drift": 1}, {"ridge": 20.0}),
    # Patterns also exist outside of the windows of lags.
    "windows": ({"lags": {0: LAGS, 1: (-1, 1), 2: (-2, 0)}}, {"ridge": 20.0}),
}


@pytest.mark.parametrize("of", ["predicted", "outputs"])
@pytest.mark.parametrize("name", JACKKNIFED)
def test_the_jackknife_is_a_decoder_without_each_record(name: str, of: str) -> None:
    given, method = JACKKNIFED[name]
    fit = cs.solve(cs.Problem(X, Y, **({"lags": LAGS} | given)), **method)
    found = fit.jackknife(patterns=of)
    each = []
    for r in range(len(X)):
        rest = ([a for i, a in enumerate(values) if i != r] for values in (X, Y))
        each.append(cs.solve(cs.Problem(*rest, **({"lags": LAGS} | given)), **method).patterns(of))
    shape = fit.kernel.shape
    expected = np.stack([kernel_shaped(one, shape) for one in each])
    np.testing.assert_allclose(found.kernels, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(kernel_shaped(fit.patterns(of), shape), found.kernel)
    error = np.sqrt(np.square(expected - expected.mean(0)).sum(0) * 3 / 4)
    np.testing.assert_allclose(kernel_shaped(found.standard_error, shape), error, rtol=1e-11)


# --- refused patterns

DEPENDENT = [np.column_stack([b, b[:, 0] * b[:, 1], 2 * b[:, 0] + b[:, 1] / 2 - 3]) for b in Y]
OUTPUTS: dict[str, Any] = {"y": DEPENDENT, "bias": True, "outputs": ["a", "b", "c", "sum"]}
SMOOTH: dict[str, Any] = {"bias": True, "x": [a - 2 for a in X]}
for _ in range(5):
    SMOOTH["x"] = [np.cumsum(a, axis=0) for a in SMOOTH["x"]]
FEW = {"limits": cs.Limits(memory=600), "ridge": 1.0, "solver": "cg"}
CALLS: dict[str, Callable[[cs.Solution], Any]] = {
    "patterns": lambda fit: fit.patterns(),
    "inputs": lambda fit: fit.patterns("inputs"),
    "jackknife": lambda fit: fit.jackknife(patterns="predicted"),
    "kernels": lambda fit: fit.jackknife(),
}
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("patterns", {"weights": [1.0, 2.0, 1.0, 1.0]}, {}, "patterns cannot be computed with weights"),
    ("patterns", {"lags": (0, 1)}, {"noise": "ar"}, "outputs have rows of their own"),
    ("patterns", {}, {"penalty": cs.Lasso(1e6)}, "of the outputs 0, which are constant"),
    ("patterns", {}, FEW, "Gram matrix"),
    ("patterns", {"mask": MASKS}, {}, "outputs have rows of their own"),
    ("inputs", {}, {}, "choose 'predicted' or 'outputs'"),
    ("patterns", OUTPUTS, {}, "of the outputs a, b, sum, which are"),
    ("jackknife", OUTPUTS, {}, "of the outputs a, b, sum, which are"),
    ("patterns", SMOOTH, {}, "small differences of large terms; use a ridge"),
    ("jackknife", SMOOTH, {}, "small differences of large terms; use a ridge"),
    ("jackknife", {}, {"penalty": cs.Lasso(1.0)}, "standard errors are of least squares"),
    ("kernels", {}, {"ridge": 1.0}, "needs plain least squares"),
]


@pytest.mark.parametrize(("call", "given", "method", "message"), REFUSED)
def test_refused(call: str, given: dict[str, Any], method: dict[str, Any], message: str) -> None:
    fit = cs.solve(cs.Problem(**({"x": X, "y": Y, "lags": LAGS} | given)), **method)
    with pytest.raises(ValueError, match=message):
        CALLS[call](fit)
