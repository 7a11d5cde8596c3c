"""Conjugate gradients: accuracy compared with a QR, the status, and the number of steps."""

from __future__ import annotations

import signal

import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.analysis import analyse
from convsolve.leastsquares.certificate import EXACT
from convsolve.leastsquares.penalty import RIDGE
from convsolve.leastsquares.system import System
from support import dense
from support.coloured import coloured, convolved
from support.true_error import backward_error


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize(
    ("times", "noise", "outputs", "edges"),
    [
        (1, 0.0, 3, "zeros"),
        (3, 0.1, 1, "drop"),
        (4, 1e-6, 1, "zeros"),
        (5, 0.1, 3, "drop"),
        (8, 1e-6, 3, "drop"),
    ],
)
def test_the_status_is_true_at_any_condition(times, noise, outputs, edges):
    """1e2 to 1e12: "solved" if and only if the backward error is small; few steps up to 1e5."""
    rng = np.random.default_rng(5)
    problem, _ = convolved(rng, coloured(rng, 3000, 1, 0.95, times), 40, outputs, noise, edges)
    fit, reference = cs.solve(problem, "cg"), cs.solve(problem, "qr")
    regression = analyse(problem).regression(RIDGE, 0.0)
    certificate = regression.certify(regression.from_kernel(fit.kernel))
    assert (fit.status == "solved") == (fit.backward_error <= EXACT)
    assert certificate.kind == "upper bound" or fit.backward_error >= certificate.value * (1 - 1e-6)
    if fit.status == "solved":
        assert certificate.exact
        error = np.linalg.norm(fit.kernel - reference.kernel) / np.linalg.norm(reference.kernel)
        assert error <= 1e-13 * reference.identifiability.condition_number
    if times <= 3:
        assert fit.status == "solved"
        assert fit.stats["steps"] <= 25


def test_trace_and_progress_contain_the_loss():
    rng = np.random.default_rng(10)
    problem, _ = convolved(rng, coloured(rng, 2000), 30, 2)
    seen = []
    fit = cs.solve(problem, "cg", progress=lambda *at: seen.append(at))
    steps = [at for at in seen if at[0] == "steps of conjugate gradients"]
    assert [step for _, step, _, note in steps if note] == list(range(1, fit.stats["steps"] + 1))
    assert steps[1][3] == f"loss {fit.trace.losses[1]:.3g}"
    assert fit.trace.losses[0] == pytest.approx(np.mean(problem.y[0] ** 2))
    assert fit.trace.losses[-1] == pytest.approx(np.mean(fit.residuals() ** 2), rel=1e-10)
    assert (np.diff(fit.trace.losses) <= 1e-12 * fit.trace.losses[0]).all()


def test_ctrl_c_returns_the_best_kernel(ctrl_c: None) -> None:
    rng = np.random.default_rng(11)
    problem, _ = convolved(rng, coloured(rng, 2000), 30)

    def press(stage, step, total, note):
        if stage == "steps of conjugate gradients" and step == 3:
            signal.raise_signal(signal.SIGINT)

    fit = cs.solve(problem, "cg", progress=press)
    assert fit.status == "interrupted"
    assert fit.stats["steps"] == 3
    assert fit.score().r2 > 0.9


def test_a_kernel_under_a_ridge_far_above_the_data():
    """A kernel of zeros has a small backward error then, too."""
    rng = np.random.default_rng(15)
    problem, _ = convolved(rng, coloured(rng, 2000), 30)
    fit, exact = (cs.solve(problem, solver, ridge=1e30) for solver in ("cg", "normal"))
    np.testing.assert_allclose(fit.kernel, exact.kernel, rtol=1e-9)


def test_a_channel_of_zeros_has_a_kernel_of_zeros():
    rng, stride = np.random.default_rng(16), 2
    x = np.hstack([coloured(rng, 6000), np.zeros((6000, 1))])
    a = np.lib.stride_tricks.sliding_window_view(x[:, 0], 14)[::stride]
    y = a @ np.sin(np.arange(14.0)) + 0.1 * rng.standard_normal(len(a))
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(cs.Problem(x, y, kernel_size=14, stride=stride), "cg")
    assert not fit.kernel[:, 1].any()
    exact = np.linalg.lstsq(a, y, rcond=None)[0]
    np.testing.assert_allclose(fit.kernel[:, 0, 0], exact, rtol=1e-9)


def test_an_offset_with_zero_padding_takes_few_steps():
    """The samples of the padding are far from the mean, and dominate the autocorrelation."""
    rng, n = np.random.default_rng(0), 6000
    x = rng.standard_normal((n, 3)) + 1e3
    y = rng.standard_normal((n, 2)) + x[:, :1]
    weights = 1.0 + (np.arange(n) == n // 2)
    problem = cs.Problem(x, y, lags=(-2, 9), edges="zeros", bias=True, weights=weights)
    fit = cs.solve(problem, "cg")
    assert fit.converged
    assert fit.stats["steps"] < 20
    np.testing.assert_allclose(fit.kernel, cs.solve(problem).kernel, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
def test_where_steps_do_not_converge_a_factor_takes_over():
    """A condition number of 1e11, and the same solution as without the attempt."""
    rng = np.random.default_rng(22)
    problem, _ = convolved(rng, coloured(rng, 5000, 1, 0.95, 7), 900, edges="drop")
    fit, direct = cs.solve(problem), cs.solve(problem, "normal")
    assert fit.stats["choice"].endswith("then NormalEquations")
    assert fit.stats["solver"] == "NormalEquations"
    assert (fit.status, fit.backward_error) == (direct.status, direct.backward_error)
    np.testing.assert_array_equal(fit.kernel, direct.kernel)


def test_a_report_before_changes_neither_solver_nor_kernel(monkeypatch):
    """Nor is a factor made where steps prove full rank."""
    rng = np.random.default_rng(23)
    problem, _ = convolved(rng, coloured(rng, 6000), 900, edges="drop")
    alone = cs.solve(cs.Problem(problem.x, problem.y, spec=problem.spec))
    monkeypatch.setattr(System, "factor", lambda *_: pytest.fail("a factor was made"))
    report = cs.identify(problem)
    assert (report.verdict, report.rank, report.n_unknowns) == ("overdetermined", 900, 900)
    fit = cs.solve(problem)
    assert fit.stats["solver"] == alone.stats["solver"] == "ConjugateGradient"
    assert fit.stats["evidence"] == "conjugate gradients on a random vector"
    np.testing.assert_array_equal(fit.kernel, alone.kernel)


def test_the_default_uses_steps_under_a_mask():
    """A step takes two passes over the data then, which is less than a factor of so many taps."""
    rng, n, taps = np.random.default_rng(25), 9000, 1700
    x = coloured(rng, n, pole=0.9)
    y = np.convolve(x[:, 0], [1.0, 0.5])[:n] + rng.standard_normal(n)
    problem = cs.Problem(x, y, lags=(0, taps - 1), edges="zeros", mask=rng.random(n) < 0.8)
    fit, exact = cs.solve(problem), cs.solve(problem, "normal")
    assert (fit.stats["solver"], fit.status) == ("ConjugateGradient", "solved")
    np.testing.assert_allclose(fit.kernel, exact.kernel, rtol=0, atol=1e-11)


@pytest.mark.parametrize("tol", [1e-3, 1e-9])
def test_solved_means_a_backward_error_below_the_tolerance(tol):
    rng = np.random.default_rng(5)
    problem, _ = convolved(rng, coloured(rng, 400, 1, 0.9, 3), 8, 2, 0.1, "drop")
    fit = cs.solve(problem, cs.ConjugateGradient(tol=tol))
    (a,) = dense.design_matrix([*problem.x], problem.spec)
    assert fit.status == "solved"
    found = backward_error(a, problem.y[0], fit.kernel.reshape(8, 2))
    assert 30 * np.finfo(float).eps < found <= tol
