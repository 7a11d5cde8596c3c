"""Solving from the signals, at every condition number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

import convsolve as cs
from convsolve.leastsquares.analysis import analyse
from convsolve.problem.sizes import Tuning
from support.ordering import taps_of

EPS = float(np.finfo(float).eps)


# No matrix is so small that rows, or a QR, take over; or all are.
FROM_SIGNALS = Tuning(small_numbers=0, row_numbers=0)


def solve(problem: cs.Problem, **method: Any) -> cs.Solution:
    return cs.solve(problem, **method, limits=FROM_SIGNALS)


def coloured(samples: int, times: int, seed: int) -> np.ndarray:
    """White noise through a recursion of pole 0.9, so many times: κ is about 19 to that power."""
    x = np.random.default_rng(seed).standard_normal(samples)
    for _ in range(times):
        x = lfilter([1.0], [1.0, -0.9], x)
    return x / np.abs(x).max()


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
    rng = np.random.default_rng([times, outputs])
    x, taps = coloured(3000, times, times), 20
    w = rng.standard_normal((taps, 1, outputs))
    spec = cs.ConvSpec(taps, padding="causal")
    y = cs.convolve(x[:, None], w, spec)
    y = y + noise * y.std() * rng.standard_normal(y.shape)
    problem = cs.Problem(x, y, spec=spec)
    assert analyse(problem, FROM_SIGNALS).design.matrix.by_fft
    fit = solve(problem, solver=solver)
    a = np.stack([np.r_[np.zeros(k), x[: 3000 - k]] for k in range(taps - 1, -1, -1)], axis=1)
    values = np.linalg.svd(a, compute_uv=False)
    kappa = values[0] / values[-1]
    assert kappa > 10**times
    exact, _, _, _ = np.linalg.lstsq(a, y, rcond=None)
    rho = np.linalg.norm(y - a @ exact) / (np.linalg.norm(a) * np.linalg.norm(exact))
    error = np.linalg.norm(fit.kernel[:, 0] - exact) / np.linalg.norm(exact)
    assert fit.status == "solved"
    assert fit.stats["solver"] == "NormalEquations"
    assert fit.backward_error <= 30 * EPS
    # lstsq is itself no better than this.
    assert error <= 200 * EPS * (kappa + kappa**2 * rho)


def test_noise_gains_are_accurate_where_a_shifted_factor_proves_full_rank() -> None:
    """The proof shifts the Gram matrix, and noise gains are computed without the shift."""
    x, limits = coloured(3000, 4, 7), replace(FROM_SIGNALS, spectrum_columns=10)
    report = cs.identify(cs.Problem(x, kernel_size=20), limits=limits)
    assert "(proved by Cholesky of the Gram matrix)" in " ".join(str(report).split())
    a = np.lib.stride_tricks.sliding_window_view(x, 20)
    exact = np.sqrt(np.diag(np.linalg.inv(a.T @ a)))
    np.testing.assert_allclose(taps_of(report, "noise_gain").ravel(), exact, rtol=1e-6)


def test_predictions_of_long_kernels_are_those_of_rows() -> None:
    rng, unit = np.random.default_rng(9), 2.0**100
    x, spec = unit * rng.standard_normal((40_000, 4)), cs.ConvSpec(300, 2, "causal", 3, groups=2)
    w, b = rng.standard_normal((300, 2, 2)), unit * rng.standard_normal(2)
    padded, wanted = np.pad(x, ((897, 0), (0, 0))), np.tile(b, (20_000, 1))
    for k in range(300):
        rows = padded[3 * k : 3 * k + 40_000 : 2].reshape(-1, 2, 2)
        wanted += np.einsum("tgc,cg->tg", rows, w[k])
    found = cs.convolve(x, w, spec, b)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
