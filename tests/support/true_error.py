"""How wrong a least-squares answer is, in a hundred digits; nothing here knows convsolve."""

from __future__ import annotations

import mpmath as mp
import numpy as np

DIGITS = 100


def _exact(a: np.ndarray, bias: bool) -> np.ndarray:
    """The columns of a, less their means with a bias."""
    m = np.array([[mp.mpf(float(v)) for v in row] for row in a])
    return m - m.sum(0) / len(m) if bias else m


def _inverse_form(m: np.ndarray, g: np.ndarray) -> mp.mpf:
    """gᵀM⁻¹g of a positive definite M: less the Schur complement of M in [M g; gᵀ 0]."""
    n = len(g)
    whole = np.full((n + 1, n + 1), mp.mpf(0))
    whole[:n, :n], whole[:n, n], whole[n, :n] = m, g, g
    for j in range(n):
        rest = slice(j + 1, n + 1)
        whole[rest, rest] -= np.outer(whole[rest, j] / whole[j, j], whole[j, rest])
    return -whole[n, n]


def backward_error(
    a: np.ndarray, y: np.ndarray, w: np.ndarray, ridge: float = 0.0, bias: bool = False
) -> float:
    """Of w (P, Q) as the answer of min ‖y − Aw‖² + ridge·‖w‖², the largest over outputs.

    The Karlson–Waldén estimate √(gᵀ(‖w‖²AᵀA + ‖r‖²I)⁻¹g)/‖A‖_F, in which A stands for [A; √ridge I]
    with every column multiplied by the power of two that brings its norm into [1/2, 1).
    """
    with mp.workdps(DIGITS):
        a, y, ridge = _exact(a, bias), _exact(y, bias), mp.mpf(ridge)
        unit = np.eye(a.shape[1], dtype=int)
        gram = a.T @ a + ridge * unit
        scale = np.array([mp.ldexp(1, -mp.frexp(mp.sqrt(v))[1]) for v in np.diagonal(gram)])
        gram = scale[:, None] * gram * scale
        worst = mp.mpf(0)
        for q, kernel in enumerate(_exact(w, False).T):
            r = y[:, q] - a @ kernel
            g = scale * (a.T @ r - ridge * kernel)
            r_square, w_square = r @ r + ridge * (kernel @ kernel), ((kernel / scale) ** 2).sum()
            if r_square and g.any():
                form = _inverse_form(w_square * gram + r_square * unit, g)
                worst = max(worst, form / np.trace(gram))
        return float(mp.sqrt(worst))
