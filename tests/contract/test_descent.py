"""Gradient descent on the cases of the contract table: its limit, and where it is stopped early."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs
from contract.cases import Case, penalty_of, statement
from contract.oracle import Oracle
from contract.routes import problem
from support.slow import some

CASES = {
    str(case): case
    for case in (
        Case("one record", "drop"),
        Case("one record", "zeros", ("bias", "offset 3")),
        Case("ragged", "drop", ("bias", "mask per output")),
        Case("ragged", "zeros", ("gaps in x", "gaps in y")),
        Case("ragged", "drop", ("offset 3", "weights per row", "bias")),
        Case("ragged", "drop", ("drifting by 10", "drift 2")),
        Case("ragged", "drop", ("motion", "weights per row", "bias", "mask 1 %")),
        Case("one record", "stride 3, dilation 2", ("bias",)),
        Case("batch", "groups", ("mask per output", "intercept")),
        Case("images", "image, strides", ("weights per row", "drift 1")),
        Case("one record", "drop", ("bias", "splines")),
        Case("ragged", "drop", ("offset 3", "weights per record", "intercept", "windows")),
        Case("one record", "drop", ("bias",), "ridge"),
        Case("batch", "groups", ("mask per output", "bias"), "banded"),
        Case("ragged", "zeros", ("motion", "weights per row", "gaps in x"), "first differences"),
        Case("one record", "drop", ("bias", "splines, cosines"), "ridge"),
        Case("ragged", "zeros", ("mask 30 %", "windows"), "second differences"),
    )
}  # fmt: skip
FEW = ("one record; zeros; bias; offset 3", "batch; groups; mask per output; bias; banded")
STOPPED = [name for name, case in CASES.items() if case.prior is None]


def method(case: Case) -> dict[str, Any]:
    prior = statement(case).prior
    return {} if prior is None else {"penalty": penalty_of(prior, prior.strength)}


@pytest.mark.parametrize("name", CASES)
def test_the_limit_of_the_sums_is_the_exact_kernel(name: str) -> None:
    check_limit(CASES[name], "sums")


@pytest.mark.parametrize("name", some(CASES, *FEW))
def test_the_limit_of_the_convolution_is_the_exact_kernel(name: str) -> None:
    check_limit(CASES[name], "convolution")


def check_limit(case: Case, gradient: str) -> None:
    made = statement(case)
    oracle = Oracle(made)
    solver = cs.GradientDescent("nesterov", gradient=gradient, steps=20_000)
    fit = cs.solve(problem(made), solver, **method(case))
    assert fit.status == "solved"
    for outputs, part in oracle.parts.items():
        assert (part.kernel_error(oracle.columns(fit.kernel, outputs)) <= 1.01e-6).all()


@pytest.mark.parametrize("steps", [1, 30])
@pytest.mark.parametrize("name", STOPPED)
def test_early_stopping_is_plain_descent_that_is_stopped(name: str, steps: int) -> None:
    stated = problem(statement(CASES[name]))
    solver = cs.GradientDescent("sgd", gradient="sums", steps=steps, tol=1e-300)
    descent = cs.solve(stated, solver)
    stopped = cs.solve(stated, penalty=cs.EarlyStopping(steps))
    size = np.abs(descent.kernel).max()
    np.testing.assert_allclose(stopped.kernel, descent.kernel, atol=1e-11 * size, rtol=1e-9)
    np.testing.assert_allclose(stopped.bias, descent.bias, atol=1e-9, rtol=1e-9)
