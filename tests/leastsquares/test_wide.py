"""More unknowns than rows, channels in different units, and singular values near the tolerance."""

from __future__ import annotations

import copy
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from support.cases import CLOSED, EPS, as_channels
from support.dense import exact_least_squares
from support.ordering import null_kernels, taps_of

pytestmark = pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")

M, P, Q = 6, 14, 2
# Powers of two of the columns.
UNITS = {
    "alike": np.zeros(P, int),
    "two": np.where(np.arange(P) % 3 == 0, 30, 0),
    "few large": np.where(np.arange(P) < 3, 30, 0),
    "three": np.array([-50, 0, 50])[np.arange(P) % 3],
}


def data(unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Integers times powers of two: A (M, P) and y (M, Q)."""
    rng = np.random.default_rng(0)
    a = rng.integers(-9, 10, (M, P)).astype(float)
    return np.ldexp(a, UNITS[unit]), rng.integers(-9, 10, (M, Q)).astype(float)


def close(fit: cs.Solution, truth: np.ndarray) -> None:
    """In the user's units."""
    kernel = np.asarray(fit.kernel).reshape(truth.shape)
    assert fit.converged
    assert np.linalg.norm(kernel - truth) <= 1e-13 * np.linalg.norm(truth)


@pytest.mark.parametrize(("unit", "solver"), [*zip(UNITS, CLOSED)])
def test_minimum_norm(unit: str, solver: str) -> None:
    a, y = data(unit)
    with pytest.warns(cs.IdentifiabilityWarning, match="minimum norm"):
        fit = cs.solve(as_channels(a, y), solver)
    close(fit, exact_least_squares(a, y))
    assert fit.backward_error <= 30 * EPS


@pytest.mark.parametrize("ridge", [2.0**-60, 2.0**-10, 2.0**40])
@pytest.mark.parametrize("unit", UNITS)
def test_a_ridge(unit: str, ridge: float) -> None:
    a, y = data(unit)
    close(cs.solve(as_channels(a, y), ridge=ridge), exact_least_squares(a, y, ridge))


@pytest.mark.parametrize(("solver", "power"), [*zip(CLOSED, (-30, -67, -300, 40))])
def test_a_determined_channel_in_another_unit_is_accurate(solver: str, power: int) -> None:
    """A channel is given twice, the second time in a large unit, and a third one in another."""
    rng, unit = np.random.default_rng(0), 2.0**power
    n, m = rng.integers(-9, 10, (2, 40)).astype(float)
    problem = cs.Problem(np.stack([n, 1024 * n, unit * m], axis=-1), n + m, kernel_size=(1,))
    fit = cs.solve(problem, solver)
    assert (fit.identifiability.rank, fit.identifiability.verdict) == (2, "rank-deficient")
    scaled = fit.kernel.ravel() * [1, 1024, unit] * [1 + 2.0**20, 1 + 2.0**-20, 1]
    np.testing.assert_allclose(scaled, 1.0, rtol=1e-13)
    assert taps_of(fit.identifiability, "identifiable").ravel().tolist() == [False, False, True]
    null = np.abs(null_kernels(fit.identifiability)[0].ravel())
    assert (null > 1e-16 * unit).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("shape", "ridge"), [((300, 40), 1e-14), ((100, 400), 1e-24), ((100, 400), 1e-10)]
)
def test_a_spectrum_without_a_gap(shape: tuple[int, int], ridge: float) -> None:
    """Singular values of a smooth input are near every tolerance, and none may be cut off."""
    rows, taps = shape
    rng = np.random.default_rng(9)
    smooth = np.exp(-0.5 * (np.arange(-60, 61) / 4) ** 2)
    x = np.convolve(rng.standard_normal(rows + taps + 119), smooth, "valid")
    problem = cs.Problem(x, rng.standard_normal(rows), kernel_size=taps)
    assert cs.solve(problem, ridge=ridge).converged


def peak(work: Callable[[], object]) -> int:
    """Bytes that NumPy holds at most while ``work()`` runs."""
    tracemalloc.start()
    work()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize(
    ("units", "ridge", "bias"),
    [((1.0,), 0.0, True), ((1.0, 2.0**30), 1e-12, False), ((1.0, 2.0**30), 1.0, True)],
)
def test_memory_grows_with_rows_times_unknowns(units: Any, ridge: float, bias: bool) -> None:
    rows, taps = 30, 3000 // len(units)
    rng = np.random.default_rng(5)
    x = rng.standard_normal((rows + taps - 1, len(units))) * units
    problem = cs.Problem(x, rng.standard_normal(rows), kernel_size=(taps,), bias=bias)
    cs.solve(problem, ridge=1.0)  # what is imported or compiled is not counted
    for solver in ("auto", "normal"):
        fresh = copy.copy(problem)  # of which nothing is known yet
        held = peak(partial(cs.solve, fresh, solver, ridge=ridge))
        assert held < 12 * 8 * rows * taps * len(units)
