"""Sums of filtered rows whose outputs share x, compared with explicit filtered rows."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.signal

import convsolve as cs
from convsolve.inference.autoregression import Autoregression
from convsolve.inference.filtered_problem import FilteredPart, filtered_parts
from convsolve.leastsquares.analysis import Analysis
from convsolve.operators import chunk_sums
from convsolve.operators.chunk import LoadedChunk
from convsolve.operators.design_matrix import DesignMatrix
from convsolve.problem.sizes import Tuning

FILTERS = [[0.5, -0.2], [-0.7, 0.1], [0.3, 0.3]]
TAPS = 7


def made(rng: np.random.Generator, **given: Any) -> FilteredPart:
    """A problem of three outputs, in two records, filtered by filters of order 2."""
    x = [rng.standard_normal((n, 2)) * [1.0, 1e-3] + 5 for n in (300, 211)]
    y = [rng.standard_normal((len(a) - TAPS + 1, 3)) + 2 for a in x]
    if given.pop("mask", False):
        given["mask"] = [rng.random(len(b)) > 0.02 for b in y]
    problem = cs.Problem(x, y, kernel_size=TAPS, **given)
    (part,) = filtered_parts(problem, Autoregression.of(FILTERS), Tuning(row_numbers=0))
    return part


def loaded(part: FilteredPart) -> tuple[DesignMatrix, LoadedChunk]:
    matrix = Analysis.of(part.problem, Tuning(row_numbers=0)).design.matrix
    assert matrix.targets is not None
    return matrix, matrix.chunks.loaded(matrix.targets)


@pytest.mark.parametrize(("bias", "mask"), [(True, False), (False, True)])
def test_sums_are_those_of_rows(bias: bool, mask: bool) -> None:
    rng = np.random.default_rng(0)
    matrix, chunk = loaded(made(rng, bias=bias, mask=mask))
    assert chunk.unfiltered is not None
    form, rows = chunk.form, chunk.decided(True)
    units = chunk_sums.backend(chunk).own_units(chunk)
    groups, columns, outputs = matrix.groups, matrix.columns, chunk.outputs
    w, r = rng.standard_normal((groups, columns, outputs)), rng.standard_normal((chunk.rows, 2))
    offset = rng.standard_normal((groups, outputs))
    found, wanted = (chunk_sums.totals(c, form, False, units) for c in (chunk, rows))
    assert found.by_rows == (False,)
    for name in ("gram", "sums", "rhs", "out_sums", "out_squares"):
        a, b = (getattr(m, name) for m in (found, wanted))
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11 * chunk.rows)
    sums = (chunk_sums.misfit(c, form, units, w, offset)[:3] for c in (chunk, rows))
    for a, b in zip(*sums, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    for g in range(groups):
        for task, value in ((chunk_sums.product, w[g]), (chunk_sums.adjoint, r)):
            rest = (None,) if task is chunk_sums.product else ()
            found, wanted = (task(c, units, g, value, *rest) for c in (chunk, rows))
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10)
        given = units, g, w[g], offset[g], None
        found, wanted = (chunk_sums.product_grams(c, form, *given) for c in (chunk, rows))
        np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_x_is_filtered_if_sums_before_the_filter_would_lose_digits() -> None:
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.standard_normal((2000, 1)), axis=0) + 1e6
    y = np.cumsum(rng.standard_normal((2000 - TAPS + 1, 2)), axis=0)
    problem = cs.Problem(x, y, kernel_size=TAPS, bias=True)
    (part,) = filtered_parts(problem, Autoregression.of([[0.999]] * 2), Tuning(row_numbers=0))
    _, chunk = loaded(part)
    assert chunk.unfiltered is None
    fit = cs.solve(part.problem)
    assert fit.converged
    for o in range(2):
        a, b = (v[1:] - 0.999 * v[:-1] for v in (_windows(x), y[:, o].astype(np.longdouble)))
        a, b = a - a.mean(0), b - b.mean()
        gram, cross = (a.T @ a).astype(float), (a.T @ b).astype(float)
        kernel = fit.kernel[:, 0, o]
        np.testing.assert_allclose(gram @ kernel, cross, atol=1e-10 * np.abs(cross).max())


def _windows(x: np.ndarray) -> np.ndarray:
    found = np.lib.stride_tricks.sliding_window_view(x[:, 0], TAPS).astype(np.longdouble)
    return found - found.mean()


def test_a_solution_of_many_outputs_holds_no_copy_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5000, 2)), rng.standard_normal((5000, 40))
    problem = cs.Problem(x, y, lags=(0, 9))
    few = cs.Problem(x, y[:, :2], lags=(0, 9))
    # What is imported or computed once does not count.
    assert cs.solve(problem).converged
    assert np.isfinite(cs.solve(few, noise="ar2").standard_error).all()
    gc.collect()
    tracemalloc.start()
    try:
        fit = cs.solve(problem, noise="ar2")
        assert np.isfinite(fit.standard_error).all()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < y.nbytes / 2


@pytest.mark.parametrize("limits", [Tuning(), Tuning(held_numbers=20_000)], ids=str)
def test_a_transient_that_the_filter_amplifies(limits: Tuning) -> None:
    """Its sums are formed from rows."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((8000, 1))
    x[3] = 700
    y = cs.convolve(x, rng.standard_normal((10, 1, 2)), cs.ConvSpec(10))
    y = y + scipy.signal.lfilter([1], [1, -1.6, 0.8], rng.standard_normal(y.shape), axis=0)
    fit = cs.solve(cs.Problem(x, y, kernel_size=10), noise="ar2", limits=limits)
    assert fit.converged
    for q in range(2):
        alone = cs.solve(cs.Problem(x, y[:, q], kernel_size=10), noise="ar2")
        np.testing.assert_allclose(fit.kernel[..., q], alone.kernel[..., 0], rtol=1e-9)
        np.testing.assert_allclose(fit.noise.variance[q], alone.noise.variance[0], rtol=1e-9)
        np.testing.assert_allclose(fit.standard_error[:, q], alone.standard_error, rtol=1e-8)
