"""Strengths here and elsewhere, as the README converts them: each by the other's formula."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import convsolve as cs
from convsolve.interop.mtrf import from_mtrf, penalty_of

TAPS, TRIALS, FS = 9, 4, 64.0


def trials() -> tuple[list, list, list]:
    """x, y and the lag matrix of each trial, zero-padded, its columns by descending lag."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((80, 1)) for _ in range(TRIALS)]
    y = [rng.standard_normal((80, 2)) + 3 for _ in range(TRIALS)]
    padded = [np.pad(a[:, 0], (TAPS - 1, 0)) for a in x]
    return x, y, [sliding_window_view(a, TAPS) for a in padded]


def stated(bias: bool) -> tuple[cs.Problem, list, list]:
    x, y, matrices = trials()
    problem = cs.Problem(x, y, lags=(0, TAPS - 1), edges="zeros", bias=bias)
    return problem, matrices, y


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


def as_trf(weights: np.ndarray, method: str, regularization: float) -> SimpleNamespace:
    """What mTRFpy keeps of a training, in ascending lags."""
    return SimpleNamespace(
        weights=weights[np.newaxis, :0:-1], bias=weights[:1], times=np.arange(TAPS) / FS, fs=FS,
        zeropad=True, method=method, regularization=regularization,
    )  # fmt: skip


def test_mtrf_ridge() -> None:
    (problem, matrices, y), regularization = stated(bias=True), 0.1
    fit = cs.solve(problem, "qr", ridge=regularization * FS * TRIALS)
    theirs = mtrf(matrices, y, regularization * np.eye(TAPS))
    np.testing.assert_allclose(fit.kernel[:, 0] * FS, theirs[1:], rtol=1e-9)
    np.testing.assert_allclose(fit.bias * FS, theirs[0], rtol=1e-9)
    trf = as_trf(theirs, "ridge", regularization)
    assert penalty_of(trf, TRIALS) == cs.Ridge(regularization * FS * TRIALS)
    np.testing.assert_allclose(from_mtrf(trf).kernel, fit.kernel, rtol=1e-9)
    np.testing.assert_allclose(from_mtrf(trf).bias, fit.bias, rtol=1e-9)
    np.testing.assert_array_equal(from_mtrf(trf).lags, fit.lags)


def test_mtrf_tikhonov_of_one_feature() -> None:
    problem, matrices, y = stated(bias=True)
    d = np.diff(np.eye(TAPS), axis=0)
    strength = 0.5 * 2.0 * FS * TRIALS
    fit = cs.solve(problem, "qr", penalty=cs.Smooth(strength, order=1))
    theirs = mtrf(matrices, y, 2.0 * 0.5 * d.T @ d)
    np.testing.assert_allclose(fit.kernel[:, 0] * FS, theirs[1:], rtol=1e-8)
    penalty = penalty_of(as_trf(theirs, "tikhonov", 2.0), TRIALS)
    assert penalty == cs.Smooth(strength, order=1)


def test_scikit_learn_ridge() -> None:
    """min ‖y − Xw‖² + alpha·‖w‖², the intercept free."""
    problem, matrices, y = stated(bias=True)
    a, b = np.concatenate(matrices), np.concatenate(y)
    a, b = a - a.mean(0), b - b.mean(0)
    theirs = np.linalg.solve(a.T @ a + 7.0 * np.eye(TAPS), a.T @ b)
    fit = cs.solve(problem, "qr", ridge=7.0)
    np.testing.assert_allclose(fit.kernel[:, 0], theirs, rtol=1e-10)


def test_scikit_learn_lasso() -> None:
    """min ‖y − Xw‖²/(2n) + alpha·‖w‖₁: its conditions at the answer of the converted strength."""
    problem, matrices, y = stated(bias=True)
    a, b = np.concatenate(matrices), np.concatenate(y)
    a, b = a - a.mean(0), b - b.mean(0)
    alpha, n = 0.02, len(a)
    w = cs.solve(problem, penalty=cs.Lasso(2 * n * alpha)).kernel[:, 0]
    pull = a.T @ (b - a @ w) / n
    assert (w != 0).any()
    assert (w == 0).any()
    np.testing.assert_allclose(pull[w != 0], alpha * np.sign(w[w != 0]), rtol=1e-9)
    assert (np.abs(pull[w == 0]) <= alpha).all()


def test_impulseest_tc() -> None:
    """Prior covariance c·alpha^max(i, j), noise variance s²: the strength is s²/c."""
    problem, matrices, y = stated(bias=False)
    a, b = np.concatenate(matrices), np.concatenate(y)
    alpha, c, noise = 0.8, 2.5, 0.7
    i = np.arange(TAPS)[::-1]  # lags in the order of the columns
    prior = c * alpha ** np.maximum.outer(i, i)
    theirs = prior @ a.T @ np.linalg.solve(a @ prior @ a.T + noise * np.eye(len(a)), b)
    penalty = cs.StableSpline(noise / c, kind="tc", decay=alpha)
    fit = cs.solve(problem, "qr", penalty=penalty)
    np.testing.assert_allclose(fit.kernel[:, 0], theirs, rtol=1e-8, atol=1e-12)
