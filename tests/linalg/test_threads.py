"""BLAS uses one thread for many small products, and the previous number afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits

import convsolve as cs
from convsolve.linalg import qr, threads
from convsolve.operators import fourier, toeplitz


def blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def noting(seen: list[set[int]], of: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``of``: append the number of BLAS threads to ``seen`` before each call."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        seen.append(blas_threads())
        return of(*args, **kwargs)

    return noted


@pytest.mark.parametrize(
    ("method", "noted"),
    [
        ({"solver": "svd"}, [(qr, "_triangle"), (np.linalg, "svd")]),
        ({"solver": "normal"}, [(fourier, "plus")]),
        ({"solver": "cg"}, [(toeplitz, "times")]),
        ({"penalty": "ridge", "select": "cv"}, [(scipy.linalg, "eigh")]),
    ],
    ids=["svd", "normal", "cg", "ridge"],
)
def test_small_matrices_use_one_thread_of_blas(
    monkeypatch: pytest.MonkeyPatch, method: dict[str, Any], noted: list[tuple[Any, str]]
) -> None:
    """On a busy machine the threads would wait for each other."""
    seen: list[set[int]] = []
    x, y = np.random.default_rng(0).standard_normal((2, 1500, 8))
    small = cs.Problem(x[:, :1], y[:, :1], kernel_size=20, padding="causal")
    cs.solve(small, **method)  # Imports may use more threads.
    if "solver" in method:
        monkeypatch.setattr(threads, "FEW_COLUMNS", 0)
    for owner, name in noted:
        monkeypatch.setattr(owner, name, noting(seen, getattr(owner, name)))
    with threadpool_limits(2, user_api="blas"):
        problem = cs.Problem(x, y, kernel_size=20, padding="causal")
        assert cs.solve(problem, **method).converged
        assert blas_threads() == {2}
    assert len(seen) > 1
    assert all(each == {1} for each in seen)
