"""Corrections by AR(1) reference noise, from dense matrices of the formulas."""

from __future__ import annotations

import numpy as np
import scipy.linalg

GRID = np.linspace(0.0, 0.98, 50)


def gammas(places: list[np.ndarray], grid: np.ndarray = GRID) -> np.ndarray:
    """ρ^|s − t| (len(grid), n, n) of rows at some ``places`` in time, zero between records."""
    apart = scipy.linalg.block_diag(*[np.abs(np.subtract.outer(p, p)) for p in places])
    same = scipy.linalg.block_diag(*[np.ones((len(p), len(p))) for p in places]) > 0
    return np.where(same, np.power(grid[:, None, None], apart), 0.0)


class Dense:
    """The formulas for a design matrix with its nuisance columns (n, K), and residuals e (n,)."""

    def __init__(self, columns: np.ndarray, places: list[np.ndarray], e: np.ndarray) -> None:
        q, _ = np.linalg.qr(columns)
        n = len(q)
        self.m, self.e, self.places = np.eye(n) - q @ q.T, e, places
        apart = [np.abs(np.subtract.outer(p, p)) == 1 for p in places]
        shift = np.triu(scipy.linalg.block_diag(*apart).astype(float))
        grid = [self.m @ g @ self.m for g in gammas(places)]
        expected = [np.trace(shift @ g) / np.trace(g) for g in grid]
        self.rho = np.interp(e @ shift @ e / (e @ e), expected, GRID)
        self.gamma = gammas(places, np.array([self.rho]))[0]

    def of_sum(self, u: np.ndarray) -> tuple[float, float]:
        """Variance of Σ u_t·ε_t, and its degrees of freedom."""
        t, n = np.arange(1, len(u) + 1), len(u)
        cosines = np.array([np.cos(np.pi * j * (t - 0.5) / n) for j in range(1, 5)]).T
        v = 0.5 * np.square(cosines.T @ (u * self.e)).sum()
        left = self.m @ (np.sqrt(2) * cosines * u[:, None])
        h = left.T @ self.gamma @ left / 4
        factor = u @ self.gamma @ u / np.trace(h)
        return factor * v, np.trace(h) ** 2 / np.trace(h @ h)

    def bartlett_factor(self, u: np.ndarray, window: int) -> float:
        """True over expected trace of Bartlett's estimate, for orthonormal u (n, q)."""
        apart = scipy.linalg.block_diag(*[np.abs(np.subtract.outer(p, p)) for p in self.places])
        same = scipy.linalg.block_diag(*[np.ones((len(p), len(p))) for p in self.places])
        weights = np.maximum(1 - apart / window, 0.0) * same
        of_residuals = self.m @ self.gamma @ self.m
        expected = sum(v @ (weights * of_residuals) @ v for v in u.T)
        return np.trace(u.T @ self.gamma @ u) / expected
