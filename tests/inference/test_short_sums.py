"""Tests of sums of taps under "hac" noise in few rows, against dense matrices."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support import dense
from support.coverage import red
from support.ordering import covariance_of

SPEC = cs.ConvSpec(4)
LENGTHS, CHUNKS = (45, 35, 45), Tuning(held_numbers=1, chunk_numbers=40)
pytestmark = [
    pytest.mark.filterwarnings("ignore:the test of .* sums? of taps under"),
    pytest.mark.filterwarnings("ignore:the residuals of output .* are correlated"),
]


def case(name: str) -> tuple[cs.Problem, np.ndarray, np.ndarray, np.ndarray]:
    """A problem of three records and two outputs, and its dense matrices: A, N and Y.

    Records of one length are stacked in memory, and stay in order in chunks.
    """
    rng = np.random.default_rng(1)
    x, y = [red(rng, n + 3, 2) for n in LENGTHS], [red(rng, n, 2) + 5.0 for n in LENGTHS]
    flags, weights = [np.ones(n, bool) for n in LENGTHS], [np.ones(n) for n in LENGTHS]
    options: dict[str, Any] = {"drift": 1} if name == "drift" else {"bias": True}
    if name == "gaps":
        flags[0][20:29] = flags[0][40] = flags[1][7] = False
        options["mask"] = flags
    if name == "weights":
        options["weights"] = weights = [rng.uniform(0.5, 2, n) for n in LENGTHS]
    nuisance = np.ones((sum(LENGTHS), 1))
    if name == "drift":
        lines = [np.stack([np.ones(n), np.arange(n)], axis=1) for n in LENGTHS]
        nuisance = scipy.linalg.block_diag(*lines)
    roots, used = np.sqrt(np.concatenate(weights))[:, None], np.concatenate(flags)
    rows = dense.design_matrix(x, SPEC)[0], nuisance, np.concatenate(y)
    return cs.Problem(x, y, spec=SPEC, **options), *((roots * values)[used] for values in rows)


@pytest.mark.parametrize(
    ("name", "chunked"), [("bias", False), ("drift", False), ("gaps", True), ("weights", True)]
)
def test_the_variance_of_one_sum_comes_from_four_cosines(name: str, chunked: bool) -> None:
    problem, a, n, y = case(name)
    fit = cs.solve(problem, noise="hac", limits=CHUNKS if chunked else Tuning())
    contrast = np.random.default_rng(1).uniform(0.5, 1, 8)
    given: dict[str, Any] = {"contrast": contrast.reshape(4, 2)[::-1], "value": 0.1}
    test, rows, used = fit.test(**given), len(a), a.shape[1] + n.shape[1]
    a, y = (v - n @ np.linalg.lstsq(n, v)[0] for v in (a, y))
    w, u = np.linalg.lstsq(a, y)[0], a @ np.linalg.inv(a.T @ a) @ contrast
    j, t = np.arange(1, 5)[:, None], np.arange(rows) + 0.5
    cosines = (np.cos(np.pi * j * t / rows) * u) @ (y - a @ w)
    variance = np.square(cosines).sum(0) / 2 * rows / (rows - used)
    np.testing.assert_allclose(test.standard_error, np.sqrt(variance), rtol=1e-9)
    statistic = (contrast @ w - 0.1) ** 2 / variance
    np.testing.assert_allclose(test.statistic, statistic, rtol=1e-8)
    np.testing.assert_array_equal(test.dof[1], 4)
    np.testing.assert_allclose(test.pvalue, scipy.stats.f.sf(statistic, 1, 4), rtol=1e-8)
    # The share of the residual sum of squares is that of least squares, whatever the noise.
    np.testing.assert_allclose(
        test.partial_r2, cs.solve(problem).test(**given).partial_r2, rtol=1e-9
    )


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("rows", "sums", "words"),
    [
        (1999, 2, "the test of 2 sums of taps under .* tests at a level of 5 % rejected in 4 to"),
        (2000, 2, ""),
        (599, 1, "fewer than 600 rows, here 599, simulated intervals"),
        (600, 1, ""),
    ],
)
def test_tests_in_few_rows_warn(rows: int, sums: int, words: str) -> None:
    rng = np.random.default_rng(4)
    fit = cs.solve(cs.Problem(red(rng, rows + 3, 1), red(rng, rows, 1), kernel_size=4), noise="hac")
    contrast = np.kron(np.eye(2), [1.0, 1.0])[:sums, :, None]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit.test(0, lags=(-1, -1))  # a single tap has its standard error
        assert not said
        fit.test(contrast=contrast)
    assert [w.filename for w in said] == [__file__] * bool(words)
    assert all(re.search(words, str(w.message)) for w in said)


def test_single_taps_and_long_records_have_the_variance_of_bartlett() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal(5_002)
    y = x[2:] + red(rng, 5_000, 1)[:, 0]
    one, both = np.array([1.0, 0, 0])[:, None], np.ones((3, 1))
    for rows, contrast in ((5_000, one), (5_000, both), (300, one)):
        fit = cs.solve(cs.Problem(x[: rows + 2], y[:rows], kernel_size=3), noise="hac")
        error = math.sqrt(contrast[:, 0] @ covariance_of(fit) @ contrast[:, 0])
        t = float((contrast * fit.kernel[..., 0]).sum()) / error
        test = fit.test(contrast=contrast[::-1])
        np.testing.assert_allclose(test.statistic, t**2)
        np.testing.assert_allclose(test.dof[1], fit.noise.dof)
