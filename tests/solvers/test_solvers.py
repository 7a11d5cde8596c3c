"""Every solver on the cases of its table, the default solver, and solving from the signals."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

import convsolve as cs
from convsolve.components import CLASSES
from convsolve.leastsquares.analysis import analyse
from convsolve.method import Method
from convsolve.problem.sizes import Tuning
from convsolve.solvers.base import Objective
from convsolve.solvers.direct import choose
from support import dense
from support.cases import CASES, CLAIMED, EPS, TABLE, Case
from support.coloured import coloured, convolved
from support.ordering import taps_of
from support.slow import some


def solved(case: Case, method: dict[str, Any]) -> cs.Solution:
    """The answer; a warning exactly where the case is not of full rank."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = cs.solve(case.problem, **method)
    kinds = [w.category for w in caught]
    assert kinds == ([] if case.full_rank else [cs.IdentifiabilityWarning])
    return fit


# A closed form is cheap, a descent compiles for every shape: one of them is quick.
QUICK = [pair for pair in CLAIMED if TABLE[pair[0]].exact]
QUICK += [next(pair for pair in CLAIMED if not TABLE[pair[0]].exact)]


@pytest.mark.parametrize(("solver", "name"), some(CLAIMED, *QUICK, every=4))
def test_claimed_case_is_solved(solver: str, name: str) -> None:
    row, case = TABLE[solver], CASES[name]
    fit = solved(case, row.method)
    assert fit.status == "solved"
    error = np.linalg.norm(case.kernel(fit) - case.truth) / np.linalg.norm(case.truth)
    if row.exact:
        certificate = fit.duality_gap if fit.backward_error is None else fit.backward_error
        assert certificate <= 30 * EPS
        assert error <= case.error_bound()
    elif case.full_rank:
        # ‖g‖ ≤ tol‖A‖‖r‖ or ‖r‖ ≤ tol(‖A‖‖w‖ + ‖y‖), with κ at most 20.
        assert error <= 1e-6 * 20**2 * 10


def test_the_table_covers_every_solver_and_loss() -> None:
    methods = [Method.of(**row.method) for row in TABLE.values()]
    for kind in ("solver", "loss"):
        used = {type(getattr(method, kind)) for method in methods}
        assert used >= {one for one in CLASSES[kind].values() if isinstance(one, type)}


def test_fft_is_approximate_with_noise_or_without_full_padding() -> None:
    for name in ("convolution-circular-noisy", "convolution-full-noisy", "tall-channels-1e+01"):
        fit = cs.solve(CASES[name].problem, "fft")
        assert fit.status == "approximate"
        assert fit.backward_error > 30 * EPS


def test_normal_equations_use_a_qr_only_for_ill_conditioned_data() -> None:
    routes = {
        c: cs.solve(CASES[f"tall-strided-{c:.0e}"].problem, "normal").stats["route"]
        for c in (1e1, 1e12)
    }
    assert routes == {1e1: "Cholesky of the Gram matrix", 1e12: "QR of the design matrix"}


def test_a_matrix_above_the_memory_limit_is_not_formed() -> None:
    rng, limits = np.random.default_rng(11), Tuning(factor_bytes=1000)
    white, ramp = (
        cs.Problem(x, rng.standard_normal(491), kernel_size=10)
        for x in (rng.standard_normal(500), np.arange(500.0))
    )
    with pytest.raises(ValueError, match=r"more than Limits.memory=. allows; use solver=.cg"):
        cs.solve(white, "svd", limits=limits)
    assert cs.solve(white, "normal", limits=limits).converged
    tiny = Tuning(factor_bytes=100, gram_bytes=100, small_numbers=0, row_numbers=0)
    text = " ".join(str(cs.identify(white, limits=tiny)).split())
    assert "Rank 10 of 10, proved by conjugate gradients on a random vector" in text
    assert cs.identify(ramp, limits=limits).verdict == "undecided"
    with pytest.raises(ValueError, match=r"cannot decide the rank .* give a ridge, or fewer taps"):
        cs.solve(ramp, "normal", limits=limits)
    assert cs.solve(ramp, "normal", ridge=1.0, limits=limits).converged


def test_fft_is_approximate_if_a_bin_is_empty_even_if_x_determines_the_kernel() -> None:
    bins = np.fft.rfft(np.random.default_rng(0).standard_normal(32))
    bins[5] = 0
    x, w = np.fft.irfft(bins, 32), np.arange(1.0, 6)[:, None, None]
    y = cs.convolve(x[:, None], w, cs.ConvSpec(5, padding="circular"))
    problem = cs.Problem(x, y, kernel_size=5, padding="circular")
    assert cs.identify(problem).unique
    assert cs.solve(problem, "fft").status == "approximate"


def test_the_rule_of_the_default_solver() -> None:
    x, small = np.random.default_rng(1).standard_normal((2, 60_000))
    assert cs.solve(cs.Problem(x, x[19:], kernel_size=20)).stats["solver"] == "NormalEquations"
    assert cs.solve(cs.Problem(x[:40], small[:39], kernel_size=2)).stats["solver"] == "QR"

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
    wide, limits = cs.Problem(x[:12], x[:5], kernel_size=8), Tuning(factor_bytes=100)
    assert cs.solve(wide, ridge=1.0, limits=limits).stats["solver"] == "NormalEquations"


# --- from the signals

# No matrix is so small that rows, or a QR, take over.
FROM_SIGNALS = Tuning(small_numbers=0, row_numbers=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("times", "noise", "outputs", "solver"),
    [
        (0, 0.1, 3, "normal"),
        (2, 0.0, 1, "auto"),
        (4, 1e-6, 3, "normal"),
        (6, 0.1, 1, "auto"),
        (9, 0.0, 3, "normal"),
    ],
)
def test_the_kernel_is_as_accurate_as_that_of_a_qr(
    times: int, noise: float, outputs: int, solver: str
) -> None:
    """At every condition number."""
    rng = np.random.default_rng([times, outputs])
    x = rng.standard_normal((3000, 1))
    for _ in range(times):
        x = lfilter([1.0], [1.0, -0.9], x, axis=0)
    problem, _ = convolved(rng, x / np.abs(x).max(), 20, outputs, noise)
    assert analyse(problem, FROM_SIGNALS).design.matrix.by_fft
    fit = cs.solve(problem, solver, limits=FROM_SIGNALS)
    (a,), y = dense.design_matrix([*problem.x], problem.spec), problem.y[0]
    kappa = np.linalg.cond(a)
    assert kappa > 10**times
    exact = np.linalg.lstsq(a, y, rcond=None)[0]
    rho = np.linalg.norm(y - a @ exact) / (np.linalg.norm(a) * np.linalg.norm(exact))
    error = np.linalg.norm(fit.kernel[:, 0] - exact) / np.linalg.norm(exact)
    assert (fit.status, fit.stats["solver"]) == ("solved", "NormalEquations")
    assert fit.backward_error <= 30 * EPS
    # lstsq is itself no better than this.
    assert error <= 200 * EPS * (kappa + kappa**2 * rho)


def test_noise_gains_are_accurate_where_a_shifted_factor_proves_full_rank() -> None:
    """The proof shifts the Gram matrix, and noise gains are computed without the shift."""
    x = coloured(np.random.default_rng(7), 3000, times=4)
    limits = replace(FROM_SIGNALS, spectrum_columns=10)
    report = cs.identify(cs.Problem(x, kernel_size=20), limits=limits)
    assert "(proved by Cholesky of the Gram matrix)" in " ".join(str(report).split())
    a = np.lib.stride_tricks.sliding_window_view(x[:, 0], 20)
    exact = np.sqrt(np.diag(np.linalg.inv(a.T @ a)))
    np.testing.assert_allclose(taps_of(report, "noise_gain").ravel(), exact, rtol=1e-6)


def test_predictions_of_long_kernels_are_those_of_rows() -> None:
    rng = np.random.default_rng(9)
    x, spec = rng.standard_normal((40_000, 4)), cs.ConvSpec(300, 2, "causal", 3, groups=2)
    w, b = rng.standard_normal((300, 2, 2)), rng.standard_normal(2)
    padded, wanted = np.pad(x, ((897, 0), (0, 0))), np.tile(b, (20_000, 1))
    for k in range(300):
        rows = padded[3 * k : 3 * k + 40_000 : 2].reshape(-1, 2, 2)
        wanted += np.einsum("tgc,cg->tg", rows, w[k])
    found = cs.convolve(x, w, spec, b)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
