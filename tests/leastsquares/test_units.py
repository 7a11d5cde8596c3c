"""Data in extreme units and sizes: accurate solutions, or an error with a remedy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import convsolve as cs
from convsolve.problem.sizes import Tuning
from convsolve.solvers.auto import choose
from convsolve.solvers.base import Objective
from support.cases import CLOSED, EPS, TABLE
from support.ordering import null_kernels, taps_of

RNG = np.random.default_rng(0)
N, M = RNG.integers(-9, 10, (2, 40)).astype(float)


@pytest.mark.parametrize(("solver", "power"), [*zip(CLOSED, (10, 40, -70, 20))])
def test_minimum_norm_is_in_the_users_units(solver: str, power: int) -> None:
    """Two copies of a signal in different units: the larger takes almost all the weight."""
    unit = 2.0**power
    problem = cs.Problem(np.stack([N, unit * N], axis=-1), 3.0 * N, kernel_size=(1,))
    with pytest.warns(cs.IdentifiabilityWarning, match="rank 1 of 2"):
        fit = cs.solve(problem, **TABLE[solver].method)
    expected = 3.0 * np.array([1, unit]) / (1 + unit**2)
    assert np.linalg.norm(fit.kernel.ravel() - expected) <= 8 * EPS * np.linalg.norm(expected)


@pytest.mark.parametrize(("solver", "power"), [*zip(CLOSED, (-30, -67, -300, -10))])
def test_a_determined_tap_in_a_small_unit_is_accurate(solver: str, power: int) -> None:
    """A channel is given twice, and a third one in another unit."""
    unit = 2.0**power
    problem = cs.Problem(np.stack([N, N, unit * M], axis=-1), N + M, kernel_size=(1,))
    with pytest.warns(cs.IdentifiabilityWarning, match="rank 2 of 3"):
        fit = cs.solve(problem, **TABLE[solver].method)
    scaled = fit.kernel.ravel() * [1, 1, unit]
    np.testing.assert_allclose(scaled, [0.5, 0.5, 1.0], rtol=1e-13)
    assert taps_of(fit.identifiability, "identifiable").ravel().tolist() == [False, False, True]
    null = np.abs(null_kernels(fit.identifiability)[0].ravel())
    assert (null > 1e-16 * unit).tolist() == [True, True, False]


def test_the_rule_of_the_default_solver() -> None:
    x = np.random.default_rng(1).standard_normal(60_000)
    long = cs.Problem(x, x[19:], kernel_size=20)
    assert cs.solve(long).stats["solver"] == "NormalEquations"
    assert cs.solve(cs.Problem(N, M[:39], kernel_size=2)).stats["solver"] == "QR"

    def chosen(taps: object, channels: int = 1, outputs: int = 1, **options: object) -> str:
        shape = (40_000,) if isinstance(taps, int) else (200, 200)
        x = np.zeros((*shape, channels))
        problem = cs.Problem(x, kernel_size=taps, n_outputs=outputs, **options)
        return choose(problem._sizes(), problem.spec, Objective())[0].name

    both = ["NormalEquations", "ConjugateGradient"]
    assert [chosen(k) for k in (849, 850)] == both
    assert [chosen(k, 5) for k in (185, 186)] == both
    assert [chosen(k, 1, 16) for k in (1299, 1300)] == both
    assert chosen(900, 8, 8, groups=4) == "ConjugateGradient"
    assert chosen((30, 30)) == "NormalEquations"
    assert chosen(39_900) == "QR"
    wide, limits = cs.Problem(N[:12], M[:5], kernel_size=8), Tuning(factor_bytes=100)
    fit = cs.solve(wide, ridge=1.0, limits=limits)
    assert fit.stats["solver"] == "NormalEquations"


def test_the_warning_of_ambiguous_data_names_the_truncation() -> None:
    x = np.stack([N, N * (1 + 200 * EPS * M / 9)], axis=-1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = cs.solve(cs.Problem(x, N, kernel_size=(1,)))
    full = fit.identifiability.rank == 2
    words = "with nothing truncated" if full else "truncated at the tolerance"
    assert words in str(caught[0].message)
    assert "Taps        ambiguous:" in str(fit.identifiability)
