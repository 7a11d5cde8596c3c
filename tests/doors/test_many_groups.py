"""Many groups of a few taps are solved together, as each group alone and by NumPy's lstsq."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from convsolve.problem.sizes import Tuning

EPS = float(np.finfo(float).eps)
SAMPLES, TAPS = 40, 6
# Rows are read in blocks, and none is kept.
BLOCKS = Tuning(small_numbers=0, kept_numbers=0)


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize(
    ("count", "deficient", "bias", "limits", "route"),
    [
        (3000, range(0), False, Tuning(), "Cholesky of the Gram matrix"),
        (3000, range(0), True, Tuning(), "Cholesky of the Gram matrix"),
        (70, range(70), False, BLOCKS, "truncated SVD of R"),
        (70, range(0, 70, 7), True, Tuning(small_numbers=0), "truncated SVD of R"),
    ],
)
def test_every_group_has_the_solution_of_minimum_norm(
    count: int, deficient: range, bias: bool, limits: Tuning, route: str, rng: np.random.Generator
) -> None:
    """Deficient groups are in turn a tone, zeros, an impulse, and a tone with an offset."""
    x = rng.standard_normal((SAMPLES, count)) + 5.0 * bias
    y = rng.standard_normal((SAMPLES - TAPS + 1, count))
    for i, group in enumerate(deficient):
        tone = np.sin((0.2 + group / count) * np.arange(SAMPLES))
        impulse = np.eye(SAMPLES)[SAMPLES - 1] * 5
        x[:, group] = (tone, 0 * tone, impulse, 3 + tone)[i % 4]
    problem = cs.Problem(x, y, kernel_size=(TAPS,), groups=count, bias=bias)
    fit = cs.solve(problem, limits=limits)
    assert fit.converged
    assert fit.backward_error <= 30 * EPS
    assert route in fit.stats["route"]
    rows = np.lib.stride_tricks.sliding_window_view(x, TAPS, 0).transpose(1, 0, 2)
    ranks = []
    for group in range(count):
        a, b = rows[group], y[:, group]
        if bias:
            a, b = a - a.mean(0), b - b.mean()
        a = np.where(np.abs(a).max(0) > 1e-12, a, 0.0)
        exact, _, rank, _ = np.linalg.lstsq(a, b, rcond=1e-10)
        np.testing.assert_allclose(fit.kernel[:, 0, group], exact, rtol=1e-9, atol=1e-12)
        # Taps that no row reads are exactly zero.
        np.testing.assert_array_equal(fit.kernel[~a.any(0), 0, group], 0.0)
        ranks.append(rank + bias)
    report = cs.identify(problem, limits=limits)
    assert report.rank == min(ranks)
    assert report.verdict == ("rank-deficient" if deficient else "overdetermined")
