"""Many groups of a few taps are solved together, as each group alone and by NumPy's lstsq."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.problem.sizes import Tuning

EPS = float(np.finfo(float).eps)
SAMPLES, TAPS = 40, 6

Data = tuple[np.ndarray, np.ndarray]


# Rows are read in blocks, and none is kept.
BLOCKS = Tuning(small_numbers=0, kept_numbers=0)


def solved(problem: cs.Problem, method: dict[str, Any], limits: Tuning) -> cs.Solution:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        return cs.solve(problem, **method, limits=limits)


@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
def test_thousands_of_groups_are_certified(bias: bool, rng: np.random.Generator) -> None:
    groups, samples, taps = 3000, 64, 8
    x = rng.standard_normal((samples, groups)) + 5.0 * bias
    y = rng.standard_normal((samples - taps + 1, groups))
    fit = cs.solve(cs.Problem(x, y, kernel_size=(taps,), groups=groups, bias=bias))
    assert fit.backward_error <= 30 * EPS
    assert fit.identifiability.verdict == "overdetermined"
    assert fit.stats["route"] == "Cholesky of the Gram matrix"
    rows = np.lib.stride_tricks.sliding_window_view(x, taps, 0).transpose(1, 0, 2)
    for group in range(0, groups, 100):
        a = np.hstack([rows[group], np.ones((len(y), int(bias)))])
        exact = np.linalg.lstsq(a, y[:, group], rcond=None)[0]
        np.testing.assert_allclose(fit.kernel[:, 0, group], exact[:taps], rtol=1e-10, atol=1e-11)


def some_deficient(count: int, every: int, rng: np.random.Generator) -> Data:
    """Noise, and for some groups in turn a tone, zeros, an impulse, or a tone with an offset."""
    x, y = rng.standard_normal((SAMPLES, count)), rng.standard_normal((SAMPLES - TAPS + 1, count))
    for i, group in enumerate(range(0, count, every)):
        tone = np.sin((0.2 + group / count) * np.arange(SAMPLES))
        impulse = np.eye(SAMPLES)[SAMPLES - 1] * 5
        x[:, group] = (tone, 0 * tone, impulse, 3 + tone)[i % 4]
    return x, y


@pytest.mark.parametrize(
    ("every", "bias", "limits"), [(1, False, BLOCKS), (7, True, Tuning(small_numbers=0))]
)
def test_deficient_groups_have_the_solution_of_minimum_norm(
    every: int, bias: bool, limits: Tuning, rng: np.random.Generator
) -> None:
    """Taps that no row reads are exactly zero."""
    count = 70
    x, y = some_deficient(count, every, rng)
    problem = cs.Problem(x, y, kernel_size=(TAPS,), groups=count, bias=bias)
    fit, report = solved(problem, {}, limits), cs.identify(problem, limits=limits)
    assert fit.converged
    assert fit.backward_error <= 30 * EPS
    assert "truncated SVD of R" in fit.stats["route"]
    rows = np.lib.stride_tricks.sliding_window_view(x, TAPS, 0).transpose(1, 0, 2)
    for group in range(count):
        a, b = rows[group], y[:, group]
        if bias:
            a, b = a - a.mean(0), b - b.mean()
        a = np.where(np.abs(a).max(0) > 1e-12, a, 0.0)
        exact, _, rank, _ = np.linalg.lstsq(a, b, rcond=1e-10)
        assert report._diagnosis.group_ranks[group] == rank + bias
        np.testing.assert_allclose(fit.kernel[:, 0, group], exact, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(fit.kernel[~a.any(0), 0, group], 0.0)
        assert (report._diagnosis.group_verdicts[group] == "overdetermined") == (rank == TAPS)
