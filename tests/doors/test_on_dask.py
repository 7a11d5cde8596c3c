"""Sums where dask computes them: its schedulers, workers that die, chunks that fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
from distributed import Client, LocalCluster

import convsolve as cs
from support.agreement import assert_agree
from support.stored import DASK, SMALL

RNG = np.random.default_rng(6)
X = RNG.standard_normal((400, 2))
Y = cs.convolve(X, RNG.standard_normal((5, 2, 2)), cs.ConvSpec(5))
Y = Y + 0.3 * RNG.standard_normal(Y.shape)
# What the end of a worker or of a cluster may say; none of it is of this library.
QUIET = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:.*unclosed.*")


def stated(x: Any, y: Any = Y) -> cs.Problem:
    return cs.Problem(x, y, kernel_size=5, bias=True)


def chunked(array: np.ndarray, rows: int = 60) -> Any:
    return dask.array.from_array(array, chunks=(rows, array.shape[1]))


def assert_plain(x: Any, y: Any) -> None:
    plain = stated(X)
    fit = cs.solve(stated(x, y), limits=SMALL)
    assert_agree(plain, cs.solve(plain), fit)
    np.testing.assert_allclose(fit.predict(), cs.solve(plain).predict(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", DASK)
@pytest.mark.parametrize(
    "scheduler", ["synchronous", "threads", pytest.param("processes", marks=pytest.mark.slow)]
)
def test_schedulers_of_one_machine(scheduler: str, kind: str, tmp_path: Path) -> None:
    with dask.config.set(scheduler=scheduler, num_workers=2):
        assert_plain(DASK[kind](X, tmp_path), DASK[kind](Y, tmp_path))


def test_x_alone_may_be_of_dask() -> None:
    with dask.config.set(scheduler="synchronous"):
        assert_plain(chunked(X), Y)
        assert_plain(X, chunked(Y))


def test_a_chunk_that_fails() -> None:
    """Its own error comes through; in the check, and once that is past."""

    def fails(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info and block_info[0]["chunk-location"][0] == 6:
            raise OSError(5, "Input/output error")
        return block

    with dask.config.set(scheduler="synchronous"):
        x = chunked(X).map_blocks(fails, dtype=float)
        with pytest.raises(OSError, match="Input/output error"):
            stated(x)


def test_chunks_that_are_not_what_they_say() -> None:
    with dask.config.set(scheduler="synchronous"):
        short = chunked(X).map_blocks(lambda block: block[:-1], dtype=float, meta=X[:0])
        with pytest.raises(ValueError, match="has another shape than it says, or has changed"):
            cs.solve(stated(short), limits=SMALL)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_last_chunk_is_not_finite(value: float) -> None:
    x = X.copy()
    x[399, 1] = value
    with (
        dask.config.set(scheduler="threads"),
        pytest.raises(ValueError, match=r"x has 1 value .* at index \(399, 1\)"),
    ):
        stated(chunked(x))


def test_a_qr_is_refused_by_name() -> None:
    with dask.config.set(scheduler="synchronous"):
        problem = stated(chunked(X), chunked(Y))
        with pytest.raises(cs.SolveError, match=r"dask's chunks are not brought here .*compute"):
            cs.solve(problem, cs.LeastSquares("qr"), limits=SMALL)


# --- workers of their own


@pytest.fixture
def client() -> Iterator[Client]:
    """Two processes; one that dies is replaced, and what kills two of them is given up."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def ends(block: np.ndarray, path: str, once: bool, block_info: Any = None) -> np.ndarray:
    """The fourth chunk ends the process that computes it, the first time or every time."""
    if block_info and block_info[0]["chunk-location"][0] == 3:
        first = not Path(path).exists()
        Path(path).touch()
        if first or not once:
            os._exit(1)
    return block


@QUIET
@pytest.mark.slow
def test_workers_give_the_answer(client: Client) -> None:
    assert_plain(chunked(X), chunked(Y))


@QUIET
@pytest.mark.slow
def test_a_worker_that_dies_once_changes_nothing(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "died"
    x = chunked(X).map_blocks(ends, str(path), True, dtype=float, meta=X[:0])
    assert_plain(x, chunked(Y))
    assert path.exists()


@QUIET
@pytest.mark.slow
def test_a_chunk_that_kills_every_worker_is_an_error(client: Client, tmp_path: Path) -> None:
    """That of dask, and no wait for ever."""
    from distributed.scheduler import KilledWorker

    x = chunked(X).map_blocks(ends, str(tmp_path / "died"), False, dtype=float, meta=X[:0])
    with pytest.raises(KilledWorker, match="Attempted to run task"):
        stated(x)
