"""Far more unknowns than rows: solutions, reports, and memory of the size of the matrix."""

from __future__ import annotations

import copy
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.linalg import factor
from support.cases import EPS, as_channels
from support.dense import exact_least_squares
from support.ordering import null_kernels

M, P, Q = 6, 14, 2
# Powers of two of the columns.
UNITS = {
    "alike": np.zeros(P, int),
    "two": np.where(np.arange(P) % 3 == 0, 30, 0),
    "few large": np.where(np.arange(P) < 3, 30, 0),
    "three": np.array([-50, 0, 50])[np.arange(P) % 3],
}
SOLVERS = ("qr", "svd", "normal", "auto")
every_unit = pytest.mark.parametrize("unit", UNITS)


def data(unit: str = "alike", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Integers times powers of two: A (M, P) and y (M, Q)."""
    rng = np.random.default_rng(seed)
    a = rng.integers(-9, 10, (M, P)).astype(float)
    return np.ldexp(a, UNITS[unit]), rng.integers(-9, 10, (M, Q)).astype(float)


def solved(problem: cs.Problem, **method: Any) -> cs.Solution:
    """The minimum-norm answer, whose warning is expected."""
    with pytest.warns(cs.IdentifiabilityWarning, match="minimum norm"):
        fit = cs.solve(problem, **method)
    assert fit.converged
    return fit


def close(fit: cs.Solution, truth: np.ndarray, tolerance: float = 1e-13) -> None:
    """In the user's units."""
    kernel = np.asarray(fit.kernel).reshape(truth.shape)
    assert np.linalg.norm(kernel - truth) <= tolerance * np.linalg.norm(truth)


# --- solutions


@pytest.mark.parametrize(("unit", "solver"), [*zip(UNITS, SOLVERS)])
def test_minimum_norm(unit: str, solver: str) -> None:
    a, y = data(unit)
    fit = solved(as_channels(a, y), solver=solver)
    close(fit, exact_least_squares(a, y))
    assert fit.backward_error <= 30 * EPS


@pytest.mark.parametrize("ridge", [2.0**-60, 2.0**-10, 2.0**40])
@every_unit
def test_a_ridge(unit: str, ridge: float) -> None:
    a, y = data(unit)
    fit = cs.solve(as_channels(a, y), ridge=ridge)
    assert fit.converged
    close(fit, exact_least_squares(a, y, ridge))


# --- a ridge and deficient data with enough rows


@pytest.mark.parametrize("ridge", [1e-20, 1e-8])
def test_a_tiny_ridge_and_a_constant_channel(ridge: float) -> None:
    rng = np.random.default_rng(2)
    x = np.stack([np.full(40, 65504.0), rng.standard_normal(40)], 1)
    y = rng.standard_normal(38)
    a = np.lib.stride_tricks.sliding_window_view(x, 3, axis=0).transpose(0, 2, 1).reshape(38, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        fit = cs.solve(cs.Problem(x, y, kernel_size=3), ridge=ridge)
    truth = exact_least_squares(a, y[:, None], ridge)
    assert fit.converged
    close(fit, truth, 1e-10)
    large = np.asarray(fit.kernel)[:, 0, 0]
    np.testing.assert_allclose(large, truth.reshape(3, 2)[:, 0], rtol=1e-8)


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        assert cs.solve(problem, ridge=ridge).converged


# --- reports


def test_reports_without_a_null_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = "three"
    a, y = data(unit)
    kernel = np.ldexp(np.random.default_rng(3).standard_normal(P), -UNITS[unit])
    kernel = kernel[None, :, None] * np.ones(Q)
    null = null_kernels(cs.identify(as_channels(a, y)))[0].reshape(-1, P)
    np.testing.assert_allclose(null @ null.T, np.eye(P - M), atol=1e-14)
    seen = np.abs(np.ldexp(null, UNITS[unit])).max()
    assert np.abs(null @ a.T).max() <= 1e-12 * max(seen, 1.0)
    monkeypatch.setattr(factor, "MAX_BYTES", 8 * P**2 - 1)
    report = cs.identify(as_channels(a, y))
    for owner, basis in ((report, "null_space"), (report._diagnosis, "_null_echelon")):
        with pytest.raises(ValueError, match=rf"null space of {P} unknowns needs"):
            getattr(owner, basis)
    np.testing.assert_allclose(
        report._diagnosis.null_part(kernel), np.linalg.norm(null @ kernel[0], axis=0), rtol=1e-12
    )
    assert report.n_unknowns - report.rank == P - M


# --- size


def peak(work: Callable[[], object]) -> int:
    """Bytes that NumPy holds at most while ``work()`` runs."""
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        work()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize(
    ("units", "ridge", "bias"),
    [((1.0,), 0.0, True), ((1.0, 2.0**30), 1e-12, False), ((1.0, 2.0**30), 1.0, True)],
)
def test_memory_grows_with_rows_times_unknowns(
    units: tuple[float, ...], ridge: float, bias: bool
) -> None:
    rows, taps = 30, 3000 // len(units)
    rng = np.random.default_rng(5)
    x = rng.standard_normal((rows + taps - 1, len(units))) * units
    problem = cs.Problem(x, rng.standard_normal(rows), kernel_size=(taps,), bias=bias)
    numbers = rows * taps * len(units)
    cs.solve(problem, ridge=1.0)  # what is imported or compiled is not counted
    for solver in ("auto", "normal"):
        fresh = copy.copy(problem)  # of which nothing is known yet
        held = peak(partial(cs.solve, fresh, solver, ridge=ridge))
        assert held < 12 * 8 * numbers
