"""Every solver on the cases of its table: kernel, certificate and status."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve import registry
from convsolve.method import Method
from convsolve.problem.sizes import Tuning
from support.cases import CASES, CLAIMED, EPS, TABLE, Case
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
        used = {type(getattr(method, kind)).__name__ for method in methods}
        assert used >= {entry.class_name for entry in registry.of_kind(kind)}


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
