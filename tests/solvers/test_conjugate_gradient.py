"""Conjugate gradients: answers against a QR, honest words, and the way they take."""

from __future__ import annotations

import signal

import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.analysis import analyse
from convsolve.leastsquares.certificate import EXACT
from convsolve.leastsquares.normal_operator import Normal
from convsolve.leastsquares.penalty import RIDGE
from convsolve.leastsquares.system import System
from convsolve.problem.sizes import Limits
from support.coloured import coloured, convolved
from support.slow import some

# Fewer unknowns than here have their whole spectrum computed for the words of a solution.
FEW = Limits(spectrum_columns=800)


@pytest.mark.slow
@pytest.mark.parametrize("edges", ["zeros", "drop"])
@pytest.mark.parametrize(("noise", "outputs"), [(0.0, 1), (1e-6, 1), (0.1, 3)])
@pytest.mark.parametrize(
    ("pole", "times", "channels"), [(0.9, 1, 1), (0.9, 2, 2), (0.99, 2, 1), (0.9, 4, 1)]
)
def test_solved_up_to_steep_spectra_in_few_steps(edges, noise, outputs, pole, times, channels):
    """Conditions of 2e1 to 2e5, by the same dozen of steps."""
    rng = np.random.default_rng(4)
    x = coloured(rng, 6000, channels, pole, times)
    problem, _ = convolved(rng, x, 60, outputs, noise, edges)
    fit = cs.solve(problem, "cg")
    reference = cs.solve(problem, "qr")
    assert fit.status == "solved"
    assert fit.backward_error <= EXACT
    assert fit.stats["steps"] <= 25
    error = np.linalg.norm(fit.kernel - reference.kernel) / np.linalg.norm(reference.kernel)
    assert error <= 1e-13 * reference.identifiability.condition_number


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize("times", some(range(1, 9), 1, 4, 8))
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("noise", [0.0, 1e-6, 0.1])
def test_the_word_is_true_at_any_condition(times, noise, outputs):
    """1e2 to 1e12: "solved" where the backward error says so, and else not."""
    rng = np.random.default_rng(5)
    problem, _ = convolved(rng, coloured(rng, 3000, 1, 0.95, times), 40, outputs, noise, "drop")
    fit = cs.solve(problem, "cg")
    regression = analyse(problem).regression(RIDGE, 0.0)
    certificate = regression.certify(regression.from_user(fit.kernel))
    assert (fit.status == "solved") == (fit.backward_error <= EXACT)
    assert certificate.kind == "upper bound" or fit.backward_error >= certificate.value * (1 - 1e-6)
    if fit.status == "solved":
        assert certificate.exact
    assert fit.status == "solved" or times > 3


def test_units_of_channels_and_of_outputs_do_not_matter():
    rng = np.random.default_rng(7)
    problem, _ = convolved(rng, coloured(rng, 4000, 2), 50, 2)
    plain = cs.solve(problem, "cg")
    x = problem.x[0] * np.ldexp(1.0, [-300, 400])
    y = problem.y[0] * np.ldexp(1.0, [200, -250])
    fit = cs.solve(cs.Problem(x, y, spec=problem.spec), "cg")
    exponents = np.array([[300, 300], [-400, -400]]) + np.array([200, -250])
    assert np.array_equal(fit.kernel, np.ldexp(plain.kernel, exponents))
    assert fit.backward_error == plain.backward_error


def test_first_iterate_is_deconvolution_and_the_second_call_the_same():
    rng = np.random.default_rng(8)
    problem, _ = convolved(rng, coloured(rng, 3000), 40)
    first = cs.solve(problem, cs.ConjugateGradient(steps=1))
    assert first.status == "max steps"
    regression = analyse(problem).regression(RIDGE, 0.0)
    normal = Normal(regression.system, 0)
    _, g = regression.residual(np.zeros((1, 40, 1)))
    direction = (normal.stretch * normal.precondition(normal.stretch * g[0]))[:, 0]
    found = regression.from_user(first.kernel)[0, :, 0]
    cosine = direction @ found / np.linalg.norm(direction) / np.linalg.norm(found)
    assert cosine == pytest.approx(1.0, abs=1e-14)
    a, b = (cs.solve(problem, "cg") for _ in range(2))
    assert np.array_equal(a.kernel, b.kernel)
    assert first.backward_error > 1e3 * a.backward_error


def test_trace_and_progress_tell_the_loss():
    rng = np.random.default_rng(10)
    problem, _ = convolved(rng, coloured(rng, 2000), 30, 2)
    seen = []
    fit = cs.solve(problem, "cg", progress=lambda *at: seen.append(at))
    steps = [at for at in seen if at[0] == "steps of conjugate gradients"]
    assert [step for _, step, _, note in steps if note] == list(range(1, fit.stats["steps"] + 1))
    assert {total for _, _, total, _ in steps} == {1000}
    assert steps[0][1:] == (0, 1000, "")
    assert steps[1][3] == f"loss {fit.trace.losses[1]:.3g}"
    assert fit.trace.losses[-1] == pytest.approx(np.mean(fit.residuals() ** 2), rel=1e-10)
    assert (np.diff(fit.trace.losses) <= 1e-12 * fit.trace.losses[0]).all()
    assert fit.trace.losses[0] == pytest.approx(np.mean(problem.y[0] ** 2))


def test_ctrl_c_keeps_the_best(ctrl_c: None) -> None:
    rng = np.random.default_rng(11)
    problem, _ = convolved(rng, coloured(rng, 2000), 30)

    def press(stage, step, total, note):
        if stage == "steps of conjugate gradients" and step == 1:
            signal.raise_signal(signal.SIGINT)

    fit = cs.solve(problem, "cg", progress=press)
    assert fit.status == "interrupted"
    assert fit.stats["steps"] == 1
    assert fit.score().r2 > 0.9


@pytest.mark.parametrize(("unit", "ridge"), [(1.0, 1e30), (1e-15, 1.0), (1e-8, 1e14)])
def test_a_ridge_that_dwarfs_all_else_leaves_a_kernel(unit, ridge):
    rng = np.random.default_rng(15)
    problem, _ = convolved(rng, coloured(rng, 2000), 30)
    problem = cs.Problem(unit * problem.x[0], problem.y[0], spec=problem.spec)
    fit, exact = (cs.solve(problem, s, ridge=ridge) for s in ("cg", "normal"))
    np.testing.assert_allclose(fit.kernel, exact.kernel, rtol=1e-9)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_silent_channel_gets_no_kernel(stride):
    rng = np.random.default_rng(16)
    x = np.hstack([coloured(rng, 6000), np.zeros((6000, 1))])
    a = np.lib.stride_tricks.sliding_window_view(x[:, 0], 14)[::stride]
    y = a @ np.sin(np.arange(14.0)) + 0.1 * rng.standard_normal(len(a))
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(cs.Problem(x, y, kernel_size=14, stride=stride), "cg")
    assert not fit.kernel[:, 1].any()
    exact = np.linalg.lstsq(a, y, rcond=None)[0]
    np.testing.assert_allclose(fit.kernel[:, 0, 0], exact, rtol=1e-9)


@pytest.mark.parametrize(
    "given",
    [
        {"bias": True, "mask": "one row"},
        {"bias": True, "weights": "one row"},
        {"confounds": 1},
    ],
    ids=str,
)
def test_an_offset_beside_zero_padding_takes_few_steps(given):
    """The samples of the padding are far from the mean, and dominate the autocorrelation."""
    rng, n = np.random.default_rng(0), 6000
    x = rng.standard_normal((n, 3)) + 1e3
    y = rng.standard_normal((n, 2)) + x[:, :1]
    one = np.arange(n) == n // 2
    options = dict(given)
    if "mask" in given:
        options["mask"] = ~one
    if "weights" in given:
        options["weights"] = 1.0 + one
    problem = cs.Problem(x, y, lags=(-2, 9), edges="zeros", **options)
    fit = cs.solve(problem, "cg")
    assert fit.converged
    assert fit.stats["steps"] < 20
    np.testing.assert_allclose(fit.kernel, cs.solve(problem).kernel, rtol=1e-9, atol=1e-12)


def test_a_quiet_start_of_chunks_takes_few_steps():
    rng, n = np.random.default_rng(0), 4000
    x = rng.standard_normal((n, 2))
    x[:900] *= 1e-6
    y = np.convolve(x[:, 0], [1, 0.5, 0.2])[:n] + rng.standard_normal(n)
    problem = cs.Problem(x, y, lags=(0, 9), edges="zeros", confounds=1)
    chunks = cs.Limits(held_numbers=0, chunk_numbers=800)
    fit = cs.solve(problem, "cg", ridge=1.0, limits=chunks)
    assert fit.converged
    assert fit.stats["steps"] < 20


def test_what_it_cannot_do_it_says():
    rng = np.random.default_rng(13)
    wide = cs.Problem(rng.standard_normal(20), rng.standard_normal(6), kernel_size=15)
    with pytest.raises(
        cs.SolveError, match="6 equations do not determine 15 unknowns; give a ridge"
    ):
        cs.solve(wide, "cg")
    assert cs.solve(wide, "cg", ridge=0.1).converged
    spec = cs.ConvSpec(3)
    with pytest.raises(TypeError, match="runs on the host only"):
        cs.fit_kernel(rng.standard_normal(9), rng.standard_normal(7), spec, "cg")


def test_stats_say_what_was_proved():
    rng = np.random.default_rng(23)
    problem, _ = convolved(rng, coloured(rng, 2000), 30)
    assert "random vector" in cs.solve(problem, "cg").stats["evidence"]
    ridge = cs.solve(problem, "cg", ridge=1e6)
    assert ridge.stats["evidence"] == "the ridge alone"


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
@pytest.mark.parametrize("times", [5, 7])
def test_where_steps_do_not_end_a_factor_takes_over(times):
    """Conditions of 1e8 and 1e11; the same answer as without the attempt."""
    rng = np.random.default_rng(22)
    problem, _ = convolved(rng, coloured(rng, 5000, 1, 0.95, times), 900, edges="drop")
    fit, direct = cs.solve(problem), cs.solve(problem, "normal")
    assert fit.stats["choice"].endswith("then NormalEquations")
    assert fit.stats["solver"] == "NormalEquations"
    assert (fit.status, fit.backward_error) == (direct.status, direct.backward_error)
    np.testing.assert_array_equal(fit.kernel, direct.kernel)


def test_what_came_before_changes_neither_solver_nor_answer(monkeypatch):
    """Nor is a factor made where steps prove all that is said."""
    rng = np.random.default_rng(23)
    problem, _ = convolved(rng, coloured(rng, 6000), 900, edges="drop")
    alone = cs.solve(cs.Problem(problem.x, problem.y, spec=problem.spec))
    monkeypatch.setattr(System, "factor", lambda *_: pytest.fail("a factor was made"))
    report = cs.identify(problem)
    assert (report.verdict, report.rank, report.nullity) == ("overdetermined", 900, 0)
    fit = cs.solve(problem)
    assert fit.stats["solver"] == alone.stats["solver"] == "ConjugateGradient"
    assert fit.stats["evidence"] == "conjugate gradients on a random vector"
    np.testing.assert_array_equal(fit.kernel, alone.kernel)
    assert "solved; the data determine all 900 taps\n" in str(cs.solve(problem, limits=FEW))
