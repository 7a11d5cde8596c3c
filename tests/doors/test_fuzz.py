"""Random arguments have a solution that keeps its guarantees, or a documented error."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convsolve as cs
from contract.checks import is_documented
from convsolve.method import Method
from support.ordering import null_kernels, taps_of
from support.strategies import Statement, statements

EPS = float(np.finfo(float).eps)


def fingerprint(value: Any) -> Any:
    """Return every bit of the arguments, with the memory between the elements of a view."""
    if isinstance(value, (list, tuple)):
        return [fingerprint(v) for v in value]
    if isinstance(value, np.ma.MaskedArray):
        return [fingerprint(np.asarray(value)), fingerprint(np.ma.getmaskarray(value))]
    if isinstance(value, (np.ndarray, jax.Array)):
        base = getattr(value, "base", None)
        memory = np.asarray(value if base is None else base).tobytes()
        return type(value), value.shape, str(value.dtype), repr(value), memory
    return repr(value)


def observe(call: Callable[[], Any]) -> tuple[Any, list[Any]]:
    """Return the result or the documented error of a call, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            return call(), caught
        except (TypeError, ValueError) as error:
            check_error(error)
            return error, caught


def check_error(error: Exception) -> None:
    """The error is a statement of the package in one sentence."""
    assert is_documented(error), repr(error)
    assert len(str(error).split()) >= 4, repr(error)
    assert "\n" not in str(error), repr(error)


def check_report(problem: cs.Problem) -> cs.Identifiability:
    """All public properties can be computed, and agree with each other."""
    report = cs.identify(problem)
    for name in dir(report):
        if not name.startswith("_"):
            getattr(report, name)  # a property is computed when first asked for
    columns = problem.n_unknowns - problem.bias
    assert report.unique == (report.verdict in ("overdetermined", "exactly determined"))
    assert report.unique == (report.suggestions == [])
    assert 0 <= report.rank <= min(report.n_equations, problem.n_unknowns)
    assert report.unique <= (report.rank == problem.n_unknowns)
    assert report.condition_number >= 1
    high, low = report._diagnosis.rank_band
    assert high <= report.rank <= low
    for values in report.singular_values:
        assert (values[1:] <= values[:-1]).all()
        assert (values >= 0).all()
    assert taps_of(report, "identifiable").shape == problem.kernel_shape
    for rank, null in zip(report._diagnosis.kernel_ranks, null_kernels(report)):
        flat = null.reshape(columns - rank, columns)
        np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-13)
    if report.unique:
        assert report.identifiable.all()
        assert report.bias_identifiable
    elif report.verdict != "ambiguous":
        assert report.rank < problem.n_unknowns
        assert not (report.identifiable.all() and report.bias_identifiable)
    json.dumps(report.to_dict(), allow_nan=False)
    assert report.verdict in str(report)
    return report


def parts(values: Any) -> list[np.ndarray]:
    return [np.asarray(v) for v in (values if isinstance(values, list) else [values])]


def exponent(arrays: Any) -> int:
    return int(max(np.frexp(np.abs(a).max(initial=0))[1] for a in arrays))


def check_solution(problem: cs.Problem, fit: cs.Solution) -> None:
    """Arrays are finite, and have the right type and shape."""
    kernel, bias = np.asarray(fit.kernel), np.asarray(fit.bias)
    assert kernel.shape == problem.kernel_shape
    assert bias.shape == (problem.n_outputs,)
    assert kernel.dtype == bias.dtype == problem._dtype
    assert np.isfinite(kernel).all()
    assert np.isfinite(bias).all()
    assert isinstance(fit.kernel, jax.Array) == problem._returns_jax
    outputs, residuals = parts(fit.predict()), parts(fit.residuals())
    if problem._geometry.edges == "drop":
        # Rows whose window exceeds the record are NaN.
        outputs, residuals = ([v[~np.isnan(v)] for v in some] for some in (outputs, residuals))
        assert sum(v.size for v in outputs) == problem.n_equations * problem.n_outputs
    assert sum(v.size for v in outputs) == sum(v.size for v in residuals)
    # A product of a sample and a tap may exceed the range of the type.
    top = [exponent(problem.x) + exponent([kernel]), exponent(problem.y)]
    if max(top) < np.finfo(problem._dtype).maxexp - 10:
        assert all(np.isfinite(v).all() for v in outputs + residuals)
        # R² is a square: it is infinite if a prediction is 2^500 times y.
        if exponent(outputs) - exponent(problem.y) < 500:
            assert not any(np.isinf(v).any() for v in fit.score())
    assert fit.status in str(fit)


def check_exact(problem: cs.Problem, report: cs.Identifiability, method: dict[str, Any]) -> None:
    """The guarantees of a closed form hold."""
    fit, caught = observe(lambda: cs.solve(problem, **method))
    if isinstance(fit, Exception):
        assert type(fit) is cs.SolveError, repr(fit)
        return
    check_solution(problem, fit)
    named = [w for w in caught if w.category is cs.IdentifiabilityWarning]
    assert len(caught) == len(named) <= (not report.unique)
    if "ridge" not in method:
        assert len(named) == (not report.unique)
    strict, _ = observe(lambda: cs.solve(problem, **method, strict=True))
    assert (type(strict) is cs.IdentifiabilityError) == bool(named)
    assert 0 <= fit.backward_error < math.inf
    assert fit.status == ("solved" if fit.backward_error <= 30 * EPS else "approximate")
    if method.get("solver") == "fft":
        return
    assert fit.converged, fit


AUTO: dict[str, Any] = {}
PLAIN: list[dict[str, Any]] = [{"solver": s} for s in ("svd", "qr", "normal", "fft")]
RIDGED: list[dict[str, Any]] = [
    {"solver": solver, "ridge": ridge}
    for solver, ridge in (("svd", 1e-12), ("normal", 1e-12), ("normal", 1e100), ("fft", 1.0))
]


def check(statement: Statement, *methods: dict[str, Any]) -> None:
    before = fingerprint((statement.x, statement.y))
    problem, _ = observe(statement.problem)
    if not isinstance(problem, Exception):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            report = check_report(problem)
        able = [
            method
            for method in methods
            if problem.y is not None
            and Method.of(**method).supports(problem._sizes(), problem.spec) is None
        ]
        for method in able:
            check_exact(problem, report, method)
        if len(able) > 1:
            table, _ = observe(lambda: cs.compare(problem, able))
            if not isinstance(table, Exception):
                assert len(str(table).splitlines()) > len(able)
                numbers = [v for row in table.to_dict() for v in row.values()]
                assert not any(isinstance(v, float) and math.isnan(v) for v in numbers)
    assert fingerprint((statement.x, statement.y)) == before


@given(statements(sound=False))
def test_the_only_errors_are_the_documented_ones(statement: Statement) -> None:
    check(statement, AUTO)


@given(statements(), st.sampled_from(PLAIN), st.sampled_from(RIDGED))
def test_every_accepted_problem_is_solved(
    statement: Statement, plain: dict[str, Any], ridged: dict[str, Any]
) -> None:
    check(statement, AUTO, plain, ridged)


N = np.random.default_rng(0).standard_normal(20)
GROUPED = np.zeros((4, 6))
GROUPED[[2, 3, 0, 1, 2, 3], [0, 0, 3, 3, 2, 3]] = [-2, 1, -1, -1, 1, -2]
FOUND = {
    "beyond float64": (np.full(5, np.finfo(np.longdouble).max), None, {"kernel_size": 2}),
    "below float64": (np.full(5, np.finfo(np.longdouble).tiny), None, {"kernel_size": 2}),
    "half and integer records": (
        [np.ones(4, ml_dtypes.bfloat16), np.arange(4)], None, {"kernel_size": 2},
    ),
    "outputs an array": (N, N[1:], {"kernel_size": 2, "n_outputs": np.array([1, 2])}),
    "a spec and an array": (N, None, {"spec": cs.ConvSpec(2), "stride": np.array([1, 2])}),
    "steps beyond bytes": (
        np.ones((6, 6)), None, {"kernel_size": (2, 3), "stride": 2**59, "padding": "causal"},
    ),
    "integers and no row": (np.arange(3), np.arange(3), {"lags": (1, 5)}),
    "an output that nothing explains": (
        np.array([[1, 2, 1, 2]]).T * np.ones(3), [[2, -5], [4, 8], [2, -7], [4, -2]],
        {"kernel_size": (1,)},
    ),
    "a small ridge over twins": (
        [np.full(5, 65504.0), np.zeros(5), np.full(5, 65504.0)],
        [np.zeros((2, 2))] * 2 + [np.full((2, 2), [1.052734375, 1.7763671875])],
        {"kernel_size": 2, "padding": ((0, -2),), "bias": True},
    ),
    "a tap below float64": (
        np.stack([N[:10], 2.0**500 * N[10:]], 1), 2.0**-600 * (N[:10] + N[10:]),
        {"kernel_size": (1,)},
    ),
    "groups of unequal rank": (
        GROUPED, None, {"lags": (-3, -1), "edges": "zeros", "groups": 3, "bias": True},
    ),
    "the top of float64": (1.7e308 * np.sign(N), 1.7e308 * np.sign(N[1:]), {"kernel_size": 2}),
    "flat and huge": (np.full(6, 1e200), N[:5], {"kernel_size": 2}),
    "a ridge far above the data": (1e-300 * N, N[1:], {"kernel_size": 2}),
    "a constant of large unit": (
        np.stack([np.ones(5), 2.0**-60 * N[:5]], 1), N[5:8], {"kernel_size": (3,)},
    ),
    "a tap that reads zeros alone": (
        np.ldexp(N.reshape(2, 2, 5)[..., :2], [0, -60]), N[:6].reshape(2, 3, 1),
        {"kernel_size": (4,), "padding": ((3, -1),)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_problems_of_former_faults(name: str) -> None:
    check(Statement(*FOUND[name]), AUTO, *PLAIN, *RIDGED)
