"""Oracles for losses that are not squares: dense, and without anything of convsolve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse
from scipy.optimize import linprog

import convsolve as cs
from support import dense


def dense_outputs(
    problem: cs.Problem, fit: cs.Solution
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """[A 1] (n, k), y (n,) and the answer (k,) of every output; without 1 if there is no bias."""
    spec = problem.spec
    a = dense.design_matrix([np.asarray(x, float) for x in problem.x], spec)
    y = dense.by_group([np.asarray(v, float) for v in problem.y], spec.groups)
    w = dense.by_group(np.asarray(fit.kernel, float), spec.groups)
    b = np.asarray(fit.bias, float).reshape(spec.groups, -1)
    for g, rows in enumerate(a):
        whole = np.column_stack([rows, np.ones(len(rows))]) if problem.bias else rows
        for q in range(y.shape[2]):
            yield whole, y[g][:, q], np.append(w[g][:, q], b[g, q])[: whole.shape[1]]


def least_absolute(a: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The least Σ|y − a w|, such a w, and the multipliers of its rows, by the simplex method."""
    n, k = a.shape
    eye = scipy.sparse.identity(n)
    found = linprog(
        np.r_[np.zeros(k), np.ones(2 * n)],
        A_eq=scipy.sparse.hstack([a, eye, -eye]).tocsc(),
        b_eq=y,
        bounds=[(None, None)] * k + [(0, None)] * (2 * n),
        method="highs",
    )
    assert found.status == 0
    return float(found.fun), found.x[:k], found.eqlin.marginals


def huber_loss(r: np.ndarray, threshold: float) -> Any:
    """Σρ(r) in long double."""
    r = np.abs(r.astype(np.longdouble))
    return np.where(r <= threshold, r**2 / 2, threshold * (r - threshold / 2)).sum()


def dual_point(a: np.ndarray, d: np.ndarray, limit: float) -> np.ndarray:
    """The part of d that the columns of a are orthogonal to, shrunk until no entry is above."""
    d = d - a @ np.linalg.lstsq(a, d)[0]
    d = d - a @ np.linalg.lstsq(a, d)[0]
    return d * min(1.0, limit / np.abs(d).max(initial=limit))
