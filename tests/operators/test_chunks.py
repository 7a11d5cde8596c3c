"""The design matrix as a sum over chunks: their rows and units, and how often data are read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dask.array
import numpy as np
import pytest

import convsolve as cs
from convsolve.operators.chunk import span_lots
from convsolve.operators.moments import Moments, Units
from convsolve.problem.rows import Rows
from convsolve.problem.sizes import Tuning
from support.slow import few_seeds
from support.stored import Decoded, Slices

CHUNKS = Tuning(held_numbers=0, chunk_numbers=100)
EPS = float(np.finfo(float).eps)


@few_seeds(30, 300)
def test_every_used_row_is_in_one_chunk(seeds: range) -> None:
    """A chunk has at most a given number of rows."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        shapes = [(int(n),) for n in rng.integers(0, 40, rng.integers(1, 6))]
        flags = tuple(rng.random(shape) < rng.choice([0.05, 0.5, 1.0]) for shape in shapes)
        kept, step = Rows(tuple(shapes), (0,), flags), int(rng.integers(1, 50))
        lots = span_lots(kept, kept.pieces(int(rng.integers(1, 10))), step)
        counted = [np.zeros(shape, int) for shape in shapes]
        for lot in lots:
            assert sum(stop - start for _, start, stop in lot) <= step
            for i, start, stop in lot:
                counted[i][start:stop] += 1
        for times, flag in zip(counted, flags):
            assert times.max(initial=0) <= 1
            assert times[flag].all()


def solved(x: np.ndarray, y: np.ndarray, taps: int, limits: Tuning, bias: bool) -> cs.Solution:
    return cs.solve(cs.Problem(x, y, kernel_size=taps, bias=bias), limits=limits)


@pytest.mark.parametrize(("of", "bias"), [("x", False), ("y", True)])
def test_a_channel_that_is_silent_at_first_has_its_own_unit(of: str, bias: bool) -> None:
    """The first chunks, where it is zero, do not determine its unit."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((400, 2)), rng.standard_normal((5, 2, 2))
    y = cs.convolve(x, w, cs.ConvSpec(5)) + 0.1 * rng.standard_normal((396, 2))
    (x if of == "x" else y)[:150, 1] = 0
    plain = solved(x, y, 5, Tuning(), bias)
    unit = np.array([2.0**170, 2.0**-660])
    far = (x * unit, y) if of == "x" else (x, y * unit)
    fit = solved(*far, 5, CHUNKS, bias)
    kernel = fit.kernel * unit[:, None] if of == "x" else fit.kernel / unit
    assert fit.identifiability.verdict == "overdetermined"
    assert fit.backward_error <= 30 * EPS
    np.testing.assert_allclose(kernel, plain.kernel, rtol=1e-12, atol=1e-13)


def test_sums_of_zeros_are_neutral_in_any_unit() -> None:
    rng = np.random.default_rng(1)
    a, y = rng.standard_normal((1, 9, 2)), rng.standard_normal((1, 9, 1))
    shape = 1, 2, 1
    live = Moments.from_rows(a, y, Units.of(shape, -900, 0.0, -900))
    none = Moments.from_rows(0 * a, 0 * y, Units.of(shape, 900, 0.0, 900))
    for both in (live + none, none + live, none + live + none):
        np.testing.assert_array_equal(both.gram, live.gram)
        np.testing.assert_array_equal(both.rhs, live.rhs)
        np.testing.assert_array_equal(both.units.exponents, -900)
        np.testing.assert_array_equal(both.units.out_exponents, -900)
    assert both.n == 27
    constant = Moments.from_rows(0 * a, 0 * y, Units.of(shape, 900, 1.0))
    assert ((live + constant).units.exponents == 900).all()


@pytest.mark.parametrize("padding", ["valid", "full"])
def test_the_offset_of_the_first_chunk_costs_no_digits(padding: str) -> None:
    """If it is far from that of others, sums are computed again about the means."""
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((2000, 2)), rng.standard_normal((4, 2, 1))
    x[10:] += 1e7
    y = cs.convolve(x, w, cs.ConvSpec(4, padding=padding)) + 3
    y += 0.1 * rng.standard_normal(y.shape)
    problem = cs.Problem(x, y, kernel_size=4, padding=padding, bias=True)
    fit = cs.solve(problem, limits=replace(CHUNKS, chunk_numbers=30))
    whole = cs.solve(problem)
    assert fit.backward_error <= 30 * EPS
    np.testing.assert_allclose(fit.kernel, whole.kernel, rtol=1e-7)
    np.testing.assert_allclose(fit.bias, whole.bias, rtol=1e-7, atol=1e-6)


def test_a_solve_reads_all_data_three_times_in_small_parts() -> None:
    """To check them, to form the sums, and for the residuals."""
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal((2**20, 2)), rng.standard_normal((6, 2, 1))
    y = cs.convolve(x, w, cs.ConvSpec(6))
    y += 0.1 * rng.standard_normal(y.shape)
    read_x, read_y = Slices(x), Slices(y)
    problem = cs.Problem(read_x, read_y, kernel_size=6, bias=True)
    assert (read_x.times == 1).all()
    assert (read_y.times == 1).all()
    fit = cs.solve(problem, limits=Tuning(held_numbers=2**20, chunk_numbers=2**18))
    assert fit.converged
    assert (read_y.times == 3).all()
    # A chunk reads a kernel's length of the next.
    assert read_x.times.mean() < 3.01
    assert max(read_x.largest, read_y.largest) <= 2**20 < x.size
    np.testing.assert_allclose(fit.kernel, w, atol=1e-3)


@pytest.mark.parametrize(("kind", "length"), [("slices", 90), ("slices", 900), ("dask", 900)])
def test_a_pass_over_aligned_blocks_decodes_a_chunk_at_most_twice(kind: str, length: int) -> None:
    """A block of whole chunks, about 900 samples, also reads the end of the chunk before it."""
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((9000, 2)), rng.standard_normal((9000, 1))
    sources = Decoded(x, (length, 2)), Decoded(y, (length, 1))
    given: list[Any] = [*sources]
    if kind == "dask":
        given = [dask.array.from_array(s, chunks=s.chunks, asarray=False) for s in sources]
    limits = Tuning(held_numbers=1000, chunk_numbers=2700)
    problem = cs.Problem(*given, lags=(0, 9), edges="zeros", bias=True)
    assert [s.counted() for s in sources] == [1, 1]
    fit = cs.solve(problem, limits=limits)
    of_x, of_y = (s.counted() for s in sources)
    assert (of_x <= 4, of_y) == (True, 2)
    plain = cs.solve(cs.Problem(x, y, lags=(0, 9), edges="zeros", bias=True))
    np.testing.assert_allclose(fit.kernel, plain.kernel, rtol=1e-12, atol=1e-14)
