"""BLAS on one thread wherever products are many and small, and as before afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import convsolve as cs
from convsolve.linalg import threads
from convsolve.operators import gram as toeplitz
from convsolve.operators import toeplitz as circulant


def blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


@pytest.mark.parametrize("solver", [cs.NormalEquations(), cs.ConjugateGradient()])
def test_small_products_wake_no_thread_of_blas(
    monkeypatch: pytest.MonkeyPatch, solver: cs.Solver
) -> None:
    """Whatever the columns of a factor: beside other work the threads of BLAS stall."""
    seen: list[set[int]] = []

    def noting(of: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            seen.append(blas_threads())
            return of(*args)

        return noted

    x, y = np.random.default_rng(0).standard_normal((2, 3000, 8))
    cs.solve(cs.Problem(x[:, :1], y[:, :1], kernel_size=20, padding="causal"), solver)
    monkeypatch.setattr(threads, "FEW_COLUMNS", 0)
    monkeypatch.setattr(toeplitz, "_correlated", noting(toeplitz._correlated))
    monkeypatch.setattr(circulant, "times", noting(circulant.times))
    with threadpool_limits(2, user_api="blas"):
        problem = cs.Problem(x, y, kernel_size=20, padding="causal")
        assert cs.identify(problem).unique
        assert cs.solve(problem, solver).ok
        assert blas_threads() == {2}
    assert len(seen) > 1
    assert all(each == {1} for each in seen)
