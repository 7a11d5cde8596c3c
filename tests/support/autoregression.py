"""Autoregressions of residuals of records with nuisance columns, from dense matrices."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.signal


def autocorrelations(rho: np.ndarray, count: int) -> np.ndarray:
    """Autocorrelations (count,) of an autoregression, by its response to a pulse."""
    pulse = (np.arange(20_000) == 0).astype(float)
    response = scipy.signal.lfilter([1.0], np.r_[1.0, -rho], pulse)
    found = np.array([response[lag:] @ response[: len(response) - lag] for lag in range(count)])
    return found / found[0]


def lag_sums(e: np.ndarray, most: int) -> np.ndarray:
    """Sums of e[t]·e[t + l] at lags 0 to ``most``."""
    return np.array([e[lag:] @ e[: max(len(e) - lag, 0)] for lag in range(most + 1)])


def residual_maker(flags: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The matrix (T, T) that maps the noise of a record to its residuals in the rows used."""
    used = np.diag(flags.astype(float))
    n = used @ columns
    return used - n @ np.linalg.pinv(n)


def expected_sums(maker: np.ndarray, gamma: np.ndarray, most: int) -> np.ndarray:
    """Expected sums at lags 0 to ``most`` of residuals of noise with autocovariances ``gamma``."""
    covariance = maker @ scipy.linalg.toeplitz(gamma[: len(maker)]) @ maker.T
    return np.array([np.trace(covariance, offset=lag) for lag in range(most + 1)])


def model_of(
    residuals: list[np.ndarray], flags: list[np.ndarray], columns: list[np.ndarray], order: int
) -> np.ndarray:
    """The autoregression (order,) whose expected sums are those of residuals, by iteration."""
    makers = [residual_maker(f, c) for f, c in zip(flags, columns)]
    sums = np.sum([lag_sums(e, order) for e in residuals], axis=0)
    pairs = np.sum([lag_sums(f.astype(float), order) for f in flags], axis=0)
    rho = scipy.linalg.solve_toeplitz((sums / pairs)[:-1], (sums / pairs)[1:])
    for _ in range(12):
        gamma = autocorrelations(rho, max(map(len, flags)) + order)
        expected = np.sum([expected_sums(m, gamma, order) for m in makers], axis=0)
        scale = sums[0] / expected[0]
        found = (sums - scale * expected) / pairs + scale * gamma[: order + 1]
        rho = scipy.linalg.solve_toeplitz(found[:-1], found[1:])
    return np.asarray(rho)
