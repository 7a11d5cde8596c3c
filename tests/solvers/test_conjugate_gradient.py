"""Conjugate gradients: accuracy, the status and its bound, proofs of full rank, and steps."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.analysis import analyse
from convsolve.leastsquares.certificate import EXACT
from convsolve.leastsquares.normal_operator import Normal
from convsolve.leastsquares.penalty import RIDGE
from convsolve.leastsquares.system import System
from support import dense
from support.coloured import coloured, convolved
from support.true_error import backward_error

pytestmark = pytest.mark.filterwarnings(
    "ignore::convsolve.IdentifiabilityWarning", "ignore:standard errors explain"
)


@pytest.mark.slow
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
    assert (fit.status == "solved") == (fit.backward_error <= EXACT)
    if fit.status == "solved":
        error = np.linalg.norm(fit.kernel - reference.kernel) / np.linalg.norm(reference.kernel)
        assert error <= 1e-13 * reference.identifiability.condition_number
    if times <= 3:
        assert fit.status == "solved"
        assert fit.stats["steps"] <= 25


@pytest.mark.parametrize(
    ("times", "noise", "tol"),
    [(3, 0.1, 1e-3), (3, 0.1, 1e-9), (4, 1e-9, 1e-8), (5, 0.3, None)],
)
def test_solved_means_a_backward_error_below_the_tolerance(times, noise, tol):
    """The bound without a factor is at least the backward error in extended precision."""
    rng = np.random.default_rng(5)
    problem, _ = convolved(rng, coloured(rng, 400, 1, 0.9, times), 8, 2, noise, "drop")
    fit = cs.solve(problem, cs.ConjugateGradient(tol=tol))
    (a,) = dense.design_matrix([*problem.x], problem.spec)
    found = backward_error(a, problem.y[0], fit.kernel.reshape(8, 2))
    assert found * (1 - 1e-3) - np.finfo(float).eps <= fit.backward_error
    assert fit.backward_error <= max(10 * found, tol or EXACT)
    assert (fit.status == "solved") == (fit.backward_error <= (tol or EXACT))
    if tol:
        assert fit.status == "solved"
        assert found > EXACT


@pytest.mark.parametrize(("times", "noise"), [(1, 0.0), (3, 1e-4), (5, 0.0), (5, 0.3)])
def test_the_backward_error_of_an_unfinished_run_is_bounded(times, noise):
    rng = np.random.default_rng(5)
    problem, _ = convolved(rng, coloured(rng, 120, 1, 0.9, times), 12, 1, noise)
    (a,) = dense.design_matrix([*problem.x], problem.spec)
    for steps in (1, 2, 4):
        fit = cs.solve(problem, cs.ConjugateGradient(steps=steps))
        found = backward_error(a, problem.y[0], fit.kernel.reshape(12, 1))
        assert fit.status == "max steps"
        assert found * (1 - 1e-3) <= fit.backward_error <= 10 * found


# --- steps


@pytest.mark.parametrize(
    ("pole", "times", "channels", "records", "taps"),
    [
        (-0.9, 1, 1, 1, 24),
        (0.99, 2, 1, 5, 80),
        (0.9, 4, 3, 1, 24),
        (0.9, 1, 2, 2, 130),
        (0.99, 2, 1, 1, 130),
    ],
)
@pytest.mark.parametrize("edges", ["drop", "zeros"])
def test_any_spectrum_takes_few_steps(pole, times, channels, records, taps, edges):
    rng = np.random.default_rng(1)
    x = np.split(coloured(rng, 4000, channels, pole, times), records)
    y = [a[:, :1] + rng.standard_normal((len(a), 1)) for a in x]
    problem = cs.Problem(x, y, lags=(0, taps - 1), edges=edges, bias=edges == "zeros")
    ridge = 1e-8 * np.square(x).sum()
    fit, exact = (cs.solve(problem, solver, ridge=ridge) for solver in ("cg", "qr"))
    assert fit.converged
    assert fit.stats["steps"] <= 30
    np.testing.assert_allclose(fit.kernel, exact.kernel, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("pole", "times", "channels", "taps", "order"),
    [(0.0, 1, 1, 20, 20), (0.9, 1, 1, 130, 8), (0.5, 1, 2, 130, 8), (0.99, 2, 1, 130, 130)],
)
def test_the_preconditioner_is_the_shortest_predictor_that_whitens(
    pole, times, channels, taps, order
):
    """Its random vector has its covariance, and its bound on eigenvalues is sharp."""
    x = coloured(np.random.default_rng(4), 4000, channels, pole, times)
    system = analyse(cs.Problem(x, lags=(0, taps - 1))).system(RIDGE, 0.0)
    made = Normal(system, 0).inverse
    assert made.definite
    assert made.order == order
    inverse = made(np.eye(taps * channels))
    assert 0.3 < made.low * np.linalg.eigvalsh(inverse)[-1] <= 1
    square = (made.draw.T @ inverse @ made.draw).item()
    assert abs(square - len(inverse)) < 4 * np.sqrt(2 * len(inverse))


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


def test_trace_and_progress_contain_the_loss(at_every_step):
    rng = np.random.default_rng(10)
    problem, _ = convolved(rng, coloured(rng, 2000), 30, 2)
    seen = []
    at_every_step(lambda *at: seen.append(at))
    fit = cs.solve(problem, "cg", progress=True)
    steps = [at for at in seen if at[0] == "steps of conjugate gradients"]
    assert [step for _, step, _ in steps] == list(range(1, fit.stats["steps"] + 1))
    assert steps[0][2] == f"loss {fit.trace.losses[1]:.3g}"
    assert fit.trace.losses[0] == pytest.approx(np.mean(problem.y[0] ** 2))
    assert fit.trace.losses[-1] == pytest.approx(np.mean(fit.residuals() ** 2), rel=1e-10)
    assert (np.diff(fit.trace.losses) <= 1e-12 * fit.trace.losses[0]).all()


def test_ctrl_c_returns_the_best_kernel(ctrl_c: None, at_every_step: Any) -> None:
    rng = np.random.default_rng(11)
    problem, _ = convolved(rng, coloured(rng, 2000), 30)

    def press(stage, step, note):
        if stage == "steps of conjugate gradients" and step == 3:
            signal.raise_signal(signal.SIGINT)

    at_every_step(press)
    fit = cs.solve(problem, "cg", progress=True)
    assert fit.status == "interrupted"
    assert fit.stats["steps"] == 3
    assert fit.score().r2 > 0.9


# --- the default solver


def test_where_steps_do_not_converge_a_factor_takes_over():
    """A condition number of 1e11, and the same solution as without the attempt."""
    rng = np.random.default_rng(22)
    problem, _ = convolved(rng, coloured(rng, 5000, 1, 0.95, 7), 900, edges="drop")
    fit, direct = cs.solve(problem), cs.solve(problem, "normal")
    assert fit.stats["choice"].endswith("then NormalEquations")
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


# --- full rank, proved


def problem_of(x: Any, taps: int, groups: int = 1, **options: Any) -> cs.Problem:
    rows = -(-len(x) // options.get("stride", 1))
    y = np.random.default_rng(0).standard_normal((rows, groups))
    return cs.Problem(x, y, lags=(0, taps - 1), groups=groups, **options)


def proved(problem: cs.Problem) -> bool:
    """Whether steps prove full rank, which a QR must confirm."""
    fit, report = cs.solve(problem, cs.ConjugateGradient(steps=1)), cs.identify(problem)
    found = fit.stats["evidence"] == "conjugate gradients on a random vector"
    assert report.verdict == "overdetermined" or not found
    return found


NOISE = np.random.default_rng(18).standard_normal((3000, 3))
ONE, LOW = NOISE[:, :1], np.fft.rfft(NOISE[:, 0]) * (np.arange(1501) < 700)
ZEROS: dict[str, Any] = {"edges": "zeros"}
# x, taps, other arguments and whether full rank is proved.
RANKS: dict[str, tuple[Any, int, dict[str, Any], bool]] = {
    "three channels": (coloured(np.random.default_rng(17), 3000, 3), 40, {}, True),
    "bias": (coloured(np.random.default_rng(17), 3000, 1, 0.9, 2), 40, {"bias": True}, True),
    "groups": (NOISE[:500, :2], 5, {"groups": 2}, True),
    "a group of twins": (NOISE[:500, [0, 1, 2, 2]], 5, {"groups": 2}, False),
    "near twins": (ONE + [0, 1e-9] * NOISE[:, 1:], 40, {}, False),
    "twins a little apart": (ONE + [0, 1e-6] * NOISE[:, 1:], 40, {}, False),
    "constant channel": (ONE * [1, 0] + [0, 1], 40, {}, False),
    "zero channel": (ONE * [1, 0], 40, {}, False),
    "delayed channel": (np.hstack([ONE, np.roll(ONE, 3, 0)]), 40, {}, False),
    "band-limited": (np.fft.irfft(LOW, 3000)[:, None], 40, {}, False),
    "tones": (np.sin(np.outer(np.arange(3000), [0.3, 1.1])).sum(1), 40, {}, False),
    "period": (np.tile(ONE[:25], (120, 1)), 40, {}, False),
    "impulses": (np.eye(80, 2), 20, ZEROS, False),
    "impulses, stride": (np.eye(96, 2), 8, ZEROS | {"stride": 2}, False),
    "constants": (np.full((80, 2), 3.0), 20, ZEROS, False),
}  # fmt: skip


@pytest.mark.parametrize("name", RANKS)
def test_full_rank_is_proved_up_to_the_condition_of_a_gram(name: str) -> None:
    x, taps, options, expected = RANKS[name]
    assert proved(problem_of(x, taps, **options)) == expected


def random_spectrum(rng, samples, decades):
    """Noise with a random smooth spectrum of so many decades, and sometimes a stop band."""
    at = np.linspace(0, 1, samples // 2 + 1)
    log = np.interp(at, np.linspace(0, 1, 9), rng.uniform(-decades, 0, 9))
    gain = 10 ** (log / 2)
    if rng.random() < 0.5:
        gain[at > rng.uniform(0.2, 0.7)] *= rng.choice([0.0, 1e-8, 1e-5])
    return np.fft.irfft(gain * np.fft.rfft(rng.standard_normal(samples)), samples)


@pytest.mark.slow
def test_no_proof_of_full_rank_is_wrong():
    """Problems of 1 to 13 decades."""
    rng, found = np.random.default_rng(30), []
    for _ in range(200):
        taps = int(rng.integers(20, 160))
        x = random_spectrum(rng, int(rng.integers(8, 30)) * taps, rng.uniform(1, 13))
        found.append(proved(problem_of(x, taps, edges=str(rng.choice(["drop", "zeros"])))))
    assert 0.2 < np.mean(found) < 0.9


def test_the_rounding_of_coarse_data_prevents_a_proof():
    problem = problem_of(ONE + [0, 1e-3] * NOISE[:, 1:], 4)
    assert proved(problem)
    assert not proved(problem._replace(_data_eps=1e-2))


# --- extreme data


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
    fit = cs.solve(cs.Problem(x, y, kernel_size=14, stride=stride), "cg")
    assert not fit.kernel[:, 1].any()
    exact = np.linalg.lstsq(a, y, rcond=None)[0]
    np.testing.assert_allclose(fit.kernel[:, 0, 0], exact, rtol=1e-9)


def test_a_burst_at_an_edge_costs_few_steps_and_no_digits():
    """A product reads the data, as the burst drowns the other columns."""
    x = ONE[:2000].copy()
    x[0] = 1e8
    problem = problem_of(x, 30)
    fit, exact = (cs.solve(problem, solver) for solver in ("cg", "qr"))
    assert fit.converged
    assert fit.stats["steps"] < 60
    np.testing.assert_allclose(fit.kernel, exact.kernel, rtol=0, atol=1e-14)
