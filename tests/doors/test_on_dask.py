"""Sums over chunks that dask computes: schedulers, readings, and workers that end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import convsolve as cs
from support.stored import SMALL

EPS = 2.0**-52
# Far longer than any of these takes: what hangs ends as an error.
SECONDS = 300
CHUNKS = (100, 2)


def recordings() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Records, the shorter of which fit into one chunk; y beside offsets and noise."""
    rng = np.random.default_rng(5)
    w = rng.standard_normal((6, 2, 2))
    x = [rng.standard_normal((n, 2)) + 3 for n in (700, 40, 333)]
    y = [cs.convolve(a, w, cs.ConvSpec(6, padding="full")) for a in x]
    return x, [b + 0.3 * rng.standard_normal(b.shape) for b in y]


def on_dask(arrays: list[np.ndarray]) -> list[Any]:
    return [da.from_array(a, chunks=CHUNKS) for a in arrays]


def stated(x: Any, y: Any) -> cs.Problem:
    return cs.Problem(x, y, kernel_size=6, padding="full", bias=True)


def check_equal(fit: cs.Solution, expected: cs.Solution) -> None:
    assert fit.status == "solved"
    assert fit.backward_error is not None
    assert fit.backward_error <= 30 * EPS
    np.testing.assert_allclose(fit.kernel, expected.kernel, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(fit.bias, expected.bias, rtol=1e-11)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=60
    ) as made:
        yield made


@pytest.mark.parametrize(
    "scheduler",
    [
        "threads",
        pytest.param("cluster", marks=pytest.mark.slow),
    ],
)
def test_every_scheduler(scheduler: str, request: pytest.FixtureRequest) -> None:
    x, y = recordings()
    expected = cs.solve(stated(x, y))
    if scheduler == "cluster":
        context: Any = Client(request.getfixturevalue("cluster"), timeout=SECONDS)
        settings: Any = nullcontext()
    else:
        context, settings = nullcontext(), dask.config.set(scheduler=scheduler)
    with context, settings:
        fit = cs.solve(stated(on_dask(x), on_dask(y)), limits=SMALL)
        score = fit.score()
        error = fit.standard_error
    check_equal(fit, expected)
    np.testing.assert_allclose(error, expected.standard_error, rtol=1e-10)
    np.testing.assert_allclose(np.array(score), np.array(expected.score()), rtol=1e-9)
