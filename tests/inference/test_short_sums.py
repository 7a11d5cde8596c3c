"""Tests of sums of taps under "hac" noise in few rows, against dense matrices."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support import dense
from support.coverage import one_over_f, red
from support.ordering import covariance_of, errors_of
from support.slow import some

SPEC = cs.ConvSpec(4)
LENGTHS, CHUNKS = (45, 35, 45), Tuning(held_numbers=1, chunk_numbers=40)
pytestmark = [
    pytest.mark.filterwarnings("ignore:the test of .* sums? of taps .*under"),
    pytest.mark.filterwarnings("ignore:the residuals of output .* are correlated"),
]


class Case:
    """A problem of three records and two outputs, and its dense matrices.

    Records of one length are stacked in memory, and stay in order in chunks.
    """

    def __init__(self, name: str) -> None:
        rng = np.random.default_rng(1)
        self.x = [red(rng, n + 3, 2) for n in LENGTHS]
        self.y = [red(rng, n, 2) + 5.0 for n in LENGTHS]
        flags = [np.ones(n, bool) for n in LENGTHS]
        weights = [np.ones(n) for n in LENGTHS]
        options: dict[str, Any] = {"drift": 1} if name == "drift" else {"bias": True}
        if name == "gaps":
            flags[0][20:29] = flags[0][40] = flags[1][7] = False
            options["mask"] = flags
        if name == "weights":
            options["weights"] = weights = [rng.uniform(0.5, 2, n) for n in LENGTHS]
        self.problem = cs.Problem(self.x, self.y, spec=SPEC, **options)
        ones = [np.ones((n, 1)) for n in LENGTHS]
        nuisance = np.concatenate(ones)
        if name == "drift":
            lines = [np.hstack([one, np.arange(len(one))[:, None]]) for one in ones]
            nuisance = scipy.linalg.block_diag(*lines)
        rows = dense.design_matrix(self.x, SPEC)[0], nuisance, np.concatenate(self.y)
        roots, used = np.sqrt(np.concatenate(weights))[:, None], np.concatenate(flags)
        self.a, n, self.right = ((roots * values)[used] for values in rows)
        self.columns = np.hstack([self.a, n])
        w, *_ = np.linalg.lstsq(self.columns, self.right, rcond=None)
        self.w, self.e = w[: self.a.shape[1]], self.right - self.columns @ w
        left, *_ = np.linalg.lstsq(n, self.a, rcond=None)
        self.a = self.a - n @ left


CASES = ["bias", "drift", "gaps", "weights"]


@pytest.mark.parametrize(
    ("name", "chunked"),
    some(zip(CASES, (False, False, True, True)), ("bias", False), ("gaps", True)),
)
def test_the_variance_of_one_sum_comes_from_four_cosines(name: str, chunked: bool) -> None:
    case = Case(name)
    fit = cs.solve(case.problem, noise="hac", limits=CHUNKS if chunked else Tuning())
    contrast = np.random.default_rng(1).uniform(0.5, 1, 8)
    test = fit.test(contrast=contrast.reshape(4, 2)[::-1], value=0.1)
    u, rows = case.a @ np.linalg.inv(case.a.T @ case.a) @ contrast, len(case.a)
    t, variance = np.arange(rows) + 0.5, np.zeros(2)
    for j in range(1, 5):
        variance += (np.cos(np.pi * j * t / rows) * u @ case.e) ** 2 / 2
    variance *= rows / (rows - case.columns.shape[1])
    np.testing.assert_allclose(test.standard_error, np.sqrt(variance), rtol=1e-9)
    statistic = (contrast @ case.w - 0.1) ** 2 / variance
    np.testing.assert_allclose(test.statistic, statistic, rtol=1e-8)
    np.testing.assert_array_equal(test.dof[1], 4)
    np.testing.assert_allclose(test.pvalue, scipy.stats.f.sf(statistic, 1, 4), rtol=1e-8)
    # The share of the residual sum of squares is that of least squares, whatever the noise.
    white = cs.solve(case.problem).test(contrast=contrast.reshape(4, 2)[::-1], value=0.1)
    np.testing.assert_allclose(test.partial_r2, white.partial_r2, rtol=1e-9)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("rows", "sums", "words"),
    [
        (1999, 2, "the test of 2 sums of taps at once .* tests at a level of 5 % rejected in 4 to"),
        (2000, 2, ""),
        (599, 1, "fewer than 600 rows, here 599, simulated intervals"),
        (600, 1, ""),
    ],
)
def test_tests_in_few_rows_warn(rows: int, sums: int, words: str) -> None:
    rng = np.random.default_rng(4)
    fit = cs.solve(cs.Problem(red(rng, rows + 3, 1), red(rng, rows, 1), kernel_size=4), noise="hac")
    contrast = np.kron(np.eye(2), [1.0, 1.0])[:sums, :, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit.test(0, lags=(-1, -1))  # a single tap has its standard error
        if not words:
            fit.test(contrast=contrast)
    if words:
        with pytest.warns(UserWarning, match=words) as said:
            fit.test(contrast=contrast)
        assert [w.filename for w in said] == [__file__]


def test_single_taps_and_long_records_have_the_variance_of_bartlett() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal(5_002)
    fit = cs.solve(cs.Problem(x, x[2:] + red(rng, 5_000, 1)[:, 0], kernel_size=3), noise="hac")
    one, both = np.array([1.0, 0, 0])[:, None], np.ones((3, 1))
    for contrast in (one, both):
        error = math.sqrt(contrast[:, 0] @ covariance_of(fit) @ contrast[:, 0])
        t = float((contrast * fit.kernel[..., 0]).sum()) / error
        np.testing.assert_allclose(fit.test(contrast=contrast[::-1]).statistic, t**2)
    short = cs.solve(
        cs.Problem(x[:302], x[2:302] + red(rng, 300, 1)[:, 0], kernel_size=3), noise="hac"
    )
    test = short.test(contrast=one[::-1])
    t = short.kernel[0, 0, 0] / errors_of(short)[0, 0, 0]
    np.testing.assert_allclose(test.statistic, t**2)
    np.testing.assert_allclose(test.dof[1], short.noise.dof)


@pytest.mark.parametrize("made", [red, one_over_f])
def test_the_level_of_sums_of_a_kernel_in_short_records(made: Any) -> None:
    """Nominal 95 %; with a window of lags it would be 77 to 84 %."""
    rng, held = np.random.default_rng(5), []
    for _ in range(20):
        x = red(rng, 619, 1)
        fit = cs.solve(cs.Problem(x, made(rng, 600, 10), kernel_size=20, bias=True), noise="hac")
        held.append(fit.test(contrast=np.ones((20, 1))).pvalue > 0.05)
    assert 0.87 <= np.mean(held) <= 0.98
