"""Random arguments have a solution that keeps its guarantees, or a documented error."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from hypothesis import given

import convsolve as cs
from contract.checks import is_documented
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


def check_exact(problem: cs.Problem, report: cs.Identifiability) -> None:
    """The guarantees of the default solver hold."""
    fit, caught = observe(lambda: cs.solve(problem))
    if isinstance(fit, Exception):
        assert type(fit) is cs.SolveError, repr(fit)
        return
    check_solution(problem, fit)
    named = [w for w in caught if w.category is cs.IdentifiabilityWarning]
    assert len(caught) == len(named) == (not report.unique)
    strict, _ = observe(lambda: cs.solve(problem, strict=True))
    assert (type(strict) is cs.IdentifiabilityError) == bool(named)
    assert 0 <= fit.backward_error < math.inf
    assert fit.status == ("solved" if fit.backward_error <= 30 * EPS else "approximate")
    assert fit.converged, fit


@given(statements())
def test_the_only_errors_are_the_documented_ones(statement: Statement) -> None:
    before = fingerprint((statement.x, statement.y))
    problem, _ = observe(statement.problem)
    if not isinstance(problem, Exception):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            report = check_report(problem)
        if problem.y is not None:
            check_exact(problem, report)
    assert fingerprint((statement.x, statement.y)) == before
