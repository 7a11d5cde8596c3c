"""Strengths of mTRFpy, by its formula."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import convsolve as cs

TAPS, TRIALS, FS = 9, 4, 64.0


def trials() -> tuple[list, list, list]:
    """x, y and the lag matrix of each trial, zero-padded, its columns by descending lag."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((80, 1)) for _ in range(TRIALS)]
    y = [rng.standard_normal((80, 2)) + 3 for _ in range(TRIALS)]
    padded = [np.pad(a[:, 0], (TAPS - 1, 0)) for a in x]
    return x, y, [sliding_window_view(a, TAPS) for a in padded]


def mtrf(matrices: list, y: list, penalty: np.ndarray) -> np.ndarray:
    """mTRFpy's weights: covariances averaged over trials, a column of ones that is free, and all
    over the sampling interval.
    """
    delta = 1 / FS
    with_ones = [np.hstack([np.ones((len(a), 1)), a]) for a in matrices]
    xx = np.mean([a.T @ a for a in with_ones], axis=0)
    xy = np.mean([a.T @ b for a, b in zip(with_ones, y, strict=True)], axis=0)
    free = np.zeros((TAPS + 1, TAPS + 1))
    free[1:, 1:] = penalty / delta
    return np.linalg.solve(xx + free, xy) / delta


D = np.diff(np.eye(TAPS), axis=0)


@pytest.mark.parametrize(
    ("penalty", "matrix"),
    [
        (cs.Ridge(0.1 * FS * TRIALS), 0.1 * np.eye(TAPS)),
        (cs.Smooth(0.5 * 2.0 * FS * TRIALS, order=1), 2.0 * 0.5 * D.T @ D),
    ],
    ids=["ridge", "tikhonov"],
)
def test_penalties_of_mtrf(penalty: cs.extend.Penalty, matrix: np.ndarray) -> None:
    x, y, matrices = trials()
    problem = cs.Problem(x, y, lags=(0, TAPS - 1), edges="zeros", bias=True)
    fit, theirs = cs.solve(problem, "qr", penalty=penalty), mtrf(matrices, y, matrix)
    np.testing.assert_allclose(fit.kernel[:, 0], theirs[1:] / FS, rtol=1e-8)
    np.testing.assert_allclose(fit.bias, theirs[0] / FS, rtol=1e-8)
