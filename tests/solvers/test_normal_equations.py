"""Solving from the signals: every condition, transients, offsets; no length compiles anything."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

import convsolve as cs
from convsolve.leastsquares.analysis import analyse
from convsolve.leastsquares.penalty import RIDGE
from convsolve.operators.prediction import predicted
from convsolve.operators.windows import forward_records
from convsolve.problem.sizes import Limits
from support.slow import some

EPS = float(np.finfo(float).eps)


# No matrix is so small that rows, or a QR, take over; or all are.
FROM_SIGNALS = Limits(small_numbers=0, row_numbers=0)
FROM_ROWS = Limits(small_numbers=0, row_numbers=2**40)


def solve(problem: cs.Problem, solver: cs.Solver | None = None) -> cs.Solution:
    return cs.solve(problem, solver, limits=FROM_SIGNALS)


def by_rows(problem: cs.Problem, solver: cs.Solver | None = None) -> cs.Solution:
    """The same, moments and residuals from rows of the matrix."""
    return cs.solve(problem, solver, limits=FROM_ROWS)


def goes_by_fourier(problem: cs.Problem) -> bool:
    return analyse(problem, FROM_SIGNALS).design.matrix.by_fft


def coloured(samples: int, times: int, seed: int) -> np.ndarray:
    """White noise through a recursion of pole 0.9, so many times: κ is about 19 to that power."""
    x = np.random.default_rng(seed).standard_normal(samples)
    for _ in range(times):
        x = lfilter([1.0], [1.0, -0.9], x)
    return x / np.abs(x).max()


@pytest.mark.slow
@pytest.mark.parametrize("solver", [cs.NormalEquations(), cs.AutoSolver()])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("noise", [0.0, 1e-6, 0.1])
@pytest.mark.parametrize("times", some([0, 1, 2, 3, 4, 6, 8, 9], 0, 2, 4, 9))
def test_the_answer_is_as_good_as_that_of_a_qr(
    times: int, noise: float, outputs: int, solver: cs.Solver
) -> None:
    rng = np.random.default_rng([times, outputs])
    x, taps = coloured(3000, times, times), 20
    w = rng.standard_normal((taps, 1, outputs))
    spec = cs.ConvSpec(taps, padding="causal")
    y = cs.convolve(x[:, None], w, spec)
    y = y + noise * y.std() * rng.standard_normal(y.shape)
    problem = cs.Problem(x, y, spec=spec)
    assert goes_by_fourier(problem)
    fit = solve(problem, solver)
    a = np.stack([np.r_[np.zeros(k), x[: 3000 - k]] for k in range(taps - 1, -1, -1)], axis=1)
    values = np.linalg.svd(a, compute_uv=False)
    kappa = values[0] / values[-1]
    assert kappa > 10**times
    exact, _, _, _ = np.linalg.lstsq(a, y, rcond=None)
    rho = np.linalg.norm(y - a @ exact) / (np.linalg.norm(a) * np.linalg.norm(exact))
    error = np.linalg.norm(fit.kernel[:, 0] - exact) / np.linalg.norm(exact)
    assert fit.status == "solved"
    assert fit.stats["solver"] == "NormalEquations"
    assert fit.certificate <= 30 * EPS
    # lstsq is itself no better than this.
    assert error <= 200 * EPS * (kappa + kappa**2 * rho)


@pytest.mark.parametrize("where", ["head", "tail", "unread", "middle"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_burst_costs_no_digits(where: str, bias: bool) -> None:
    """A million times the rest: at an edge it reaches some columns only, and FFTs would spread it.

    A kernel of stride 3 reads two samples of three; what it skips must not be felt at all.
    """
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(600), rng.standard_normal((200, 2))
    spec = cs.ConvSpec(5) if where != "unread" else cs.ConvSpec(2, stride=3)
    at = {"head": 1, "tail": -2, "unread": slice(2, None, 3), "middle": 300}[where]
    quiet = cs.Problem(x, y if where == "unread" else np.resize(y, (596, 2)), spec=spec, bias=bias)
    x = x.copy()
    x[at] *= 1e6
    problem = cs.Problem(x, quiet.y[0], spec=spec, bias=bias)
    structured = goes_by_fourier(problem)
    assert structured == (where in ("unread", "middle"))
    fit, exact = solve(problem, cs.NormalEquations()), by_rows(problem)
    assert fit.certificate <= 30 * EPS
    np.testing.assert_allclose(fit.kernel, exact.kernel, rtol=1e-9, atol=1e-22)
    if where == "unread":
        np.testing.assert_allclose(fit.kernel, solve(quiet).kernel, rtol=1e-10)


@pytest.mark.parametrize("padding", ["valid", "full"])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e4, 1e9])
def test_an_offset_beside_a_bias_costs_no_digits(offset: float, padding: str) -> None:
    """Two channels, one far from zero; with zero-padded rows too, where the offset is a signal."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 2))
    x[:, 1] += offset
    spec = cs.ConvSpec(6, padding=padding)
    y = rng.standard_normal((*spec.output_shape((500,)), 2)) + offset
    problem = cs.Problem(x, y, spec=spec, bias=True)
    fit, exact = solve(problem, cs.NormalEquations()), by_rows(problem)
    assert fit.certificate <= 30 * EPS
    size = np.abs(exact.kernel).max((0, 2), keepdims=True)
    np.testing.assert_allclose(fit.kernel / size, exact.kernel / size, rtol=0, atol=1e-8)
    np.testing.assert_allclose(fit.bias, exact.bias, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("taps", "stride", "dilation"), [(13, 3, 1), (13, 2, 1), (13, 4, 3)])
def test_an_offset_costs_no_digits_where_strides_leave_taps_over(
    taps: int, stride: int, dilation: int
) -> None:
    rng = np.random.default_rng(10)
    x, spec = rng.standard_normal(6000), cs.ConvSpec(taps, stride, dilation=dilation)
    y = cs.convolve(x, np.sin(np.arange(taps) + 1.0), spec)
    y = y + 0.1 * rng.standard_normal(y.shape)
    plain = solve(cs.Problem(x, y, spec=spec, bias=True))
    fit = solve(cs.Problem(x + 2.0**30, y, spec=spec, bias=True), cs.NormalEquations())
    assert fit.stats["route"] == "Cholesky of the Gram matrix"
    assert fit.certificate <= 5 * EPS
    np.testing.assert_allclose(fit.kernel, plain.kernel, rtol=0, atol=1e-6)


def test_float32_is_solved_in_float64_and_rounded() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 900)).astype(np.float32)
    spec = cs.ConvSpec(9, padding="causal")
    fit = solve(cs.Problem(x, y, spec=spec), cs.NormalEquations())
    exact = solve(cs.Problem(x.astype(float), y.astype(float), spec=spec))
    assert fit.kernel.dtype == np.float32
    np.testing.assert_array_equal(fit.kernel, exact.kernel.astype(np.float32))


@pytest.mark.parametrize(
    "solver",
    [cs.NormalEquations(1e-3), cs.NormalEquations(), cs.AutoSolver(), cs.ConjugateGradient()],
)
def test_another_length_compiles_nothing(compiled: list[str], solver: cs.Solver) -> None:
    rng = np.random.default_rng(3)

    def run(samples: int) -> None:
        x, y = rng.standard_normal((samples, 2)), rng.standard_normal((samples, 3))
        fit = solve(cs.Problem.from_lags(x, y, lags=(0, 9), edges="zeros", bias=True), solver)
        assert fit.ok
        report = cs.identify(cs.Problem.from_lags(x, y, lags=(0, 9), edges="zeros", bias=True))
        assert report.condition < 10

    run(700)
    compiled.clear()
    for samples in (701, 1000, 5000):
        run(samples)
    assert not compiled


@pytest.mark.parametrize("ridge", [1e-7, 1e-3, 1.0, 1e3])
def test_a_factor_in_float32_loses_nothing(ridge: float) -> None:
    """Whether the ridge dwarfs the rounding of float32, so that one is made, or does not."""
    limits = replace(FROM_SIGNALS, spectrum_columns=10)
    x = coloured(3000, 3, 5)
    y = np.convolve(x, np.arange(20.0), "valid") + 0.1 * np.random.default_rng(6).standard_normal(
        2981
    )
    problem = cs.Problem(x, y, kernel_size=20)
    made = analyse(problem, limits).system(RIDGE, ridge)
    assert made.single_precision
    factors = made.gram_factors(single=True)
    assert factors is None or not factors.proves
    fit, exact = (
        cs.solve(problem, solver, limits=limits)
        for solver in (cs.NormalEquations(ridge), cs.LeastSquares(ridge=ridge))
    )
    assert fit.certificate <= 30 * EPS
    np.testing.assert_allclose(
        fit.kernel, exact.kernel, rtol=1e-6, atol=1e-9 * np.abs(exact.kernel).max()
    )


def test_a_shift_that_would_be_felt_is_taken_back() -> None:
    """Of many unknowns one factor proves full rank; standard errors come from a true one."""
    limits = replace(FROM_SIGNALS, spectrum_columns=10)
    a = np.lib.stride_tricks.sliding_window_view(coloured(3000, 4, 7), 20)
    report = cs.identify(cs.Problem(coloured(3000, 4, 7), kernel_size=20), limits=limits)
    assert "Gram" in report.method
    gains = np.sqrt(np.diag(np.linalg.inv(a.T @ a)))
    np.testing.assert_allclose(report.noise_gain.ravel(), gains, rtol=1e-4)


def test_several_records_groups_and_images_agree_with_rows() -> None:
    rng = np.random.default_rng(4)
    for shape, options in (
        ((6, 200, 4), {"kernel_size": 7, "groups": 2, "padding": "same"}),
        ((3, 300, 2), {"kernel_size": 9, "stride": 2, "dilation": 3}),
        ((2, 40, 50, 2), {"kernel_size": (5, 7), "stride": (1, 2), "padding": "full"}),
        ((2, 12, 14, 16, 1), {"kernel_size": (2, 3, 4), "dilation": (1, 2, 1)}),
    ):
        x = rng.standard_normal(shape)
        spec = cs.ConvSpec(**options)
        counts = spec.output_shape(shape[1:-1])
        counts = counts if isinstance(counts, tuple) else (counts,)
        y = rng.standard_normal((shape[0], *counts, 2))
        for bias in (False, True):
            problem = cs.Problem(x, y, spec=spec, bias=bias)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                fit = solve(problem, cs.NormalEquations())
                exact = by_rows(problem, cs.LeastSquares("qr"))
            assert goes_by_fourier(problem)
            assert fit.certificate <= 30 * EPS
            np.testing.assert_allclose(fit.kernel, exact.kernel, rtol=0, atol=1e-12)
            np.testing.assert_allclose(fit.bias, exact.bias, rtol=0, atol=1e-12)


def test_full_rank_is_proved_where_no_factor_fits() -> None:
    """By conjugate gradients on a random vector, which never prove the contrary."""
    limits = replace(FROM_SIGNALS, factor_bytes=1000, gram_bytes=1000)
    x = coloured(3000, 1, 8)
    report = cs.identify(cs.Problem(x, kernel_size=40), limits=limits)
    assert (report.verdict, report.rank, report.unique) == ("overdetermined", 40, True)
    assert "random vector" in report.method
    assert "overdetermined" in str(report)
    tone = cs.identify(cs.Problem(np.sin(np.arange(3000.0)), kernel_size=40), limits=limits)
    assert tone.verdict == "undecided"
    with pytest.raises(ValueError, match=r"undecided: .* exceeds the memory limit"):
        _ = tone.rank


@pytest.mark.parametrize("unit", some([1.0, 2.0**1000, 2.0**-1000], 2.0**1000))
@pytest.mark.parametrize("bias", some([False, True], True))
def test_predictions_of_long_kernels_are_those_of_rows(bias: bool, unit: float) -> None:
    rng = np.random.default_rng(9)
    x, spec = unit * rng.standard_normal((40_000, 4)), cs.ConvSpec(300, 2, "causal", 3, groups=2)
    w, b = rng.standard_normal((300, 2, 2)), bias * unit * rng.standard_normal(2)
    (found,), (rows,) = (f([x], w, b, spec) for f in (predicted, forward_records))
    assert rows.size * w[..., 0].size > 2**24
    np.testing.assert_allclose(found, rows, rtol=0, atol=1e-12 * np.abs(rows).max())
