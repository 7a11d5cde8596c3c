"""Whether two answers are one, to the conditioning of the problem."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import convsolve as cs
from convsolve.operators.layout import to_columns
from convsolve.problem.confounds import Confounds
from support import dense

EPS = float(np.finfo(float).eps)
UNIQUE = ("exactly determined", "overdetermined")


def matrices(problem: cs.Problem) -> tuple[np.ndarray, np.ndarray, float]:
    """Rows (groups, n, P) that count, and their outputs (groups, n, Q), less means with a bias;
    powers of two taken off every channel. And how many times as large columns were before
    confounds were taken off, whose rounding is left.
    """
    assert problem.y is not None
    x, y = ([np.asarray(a, float) for a in records] for records in (problem.x, problem.y))
    x, y = ([np.ldexp(a, -_exponents(records)) for a in records] for records in (x, y))
    kept = np.concatenate([problem.kept.flags_of(i).reshape(-1) for i in range(len(x))])
    confounds = problem.nuisance.confounds
    if confounds is not None:
        return _without(confounds, problem, x, y)
    used = [i for i, shape in enumerate(problem.kept.shapes) if all(shape)]
    a = dense.design_matrix([x[i] for i in used], problem.spec)[:, kept]
    b = dense.by_group([y[i] for i in used], problem.spec.groups)[:, kept]
    if problem.bias:
        a, b = dense.centred(a), dense.centred(b)
    return a, b, 1.0


def _without(
    confounds: Confounds, problem: cs.Problem, x: list[np.ndarray], y: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Rows times roots of weights, with confounds projected out."""
    groups, spec, shapes = problem.spec.groups, problem.spec, problem.kept.shapes
    rows = []
    for record, shape in zip(x, shapes):
        a = np.zeros((groups, 0, spec.unknowns(problem.in_channels)))
        rows.append(dense.design_matrix(record[None], spec) if all(shape) else a)
    left, lost = [], 1.0
    for g in range(groups):
        parts = [a[g].reshape(*shape, a.shape[-1]) for a, shape in zip(rows, shapes)]
        left.append(np.concatenate(confounds.without(parts)[0]))
        lost = max(lost, _loss(left[-1], parts))
    outputs = np.concatenate(confounds.without(y)[0])
    return np.stack(left), dense.by_group(outputs, groups), max(lost, _loss(outputs, y))


def _loss(left: np.ndarray, whole: list[np.ndarray]) -> float:
    before = np.sqrt(sum((np.square(a.reshape(-1, a.shape[-1])).sum(0) for a in whole), 0.0))
    norms = np.linalg.norm(left, axis=0)
    return float((before / np.maximum(norms, 1e-12 * before + 1e-300)).max())


def _exponents(records: list[np.ndarray]) -> np.ndarray:
    flat = np.concatenate([a.reshape(-1, a.shape[-1]) for a in records])
    return np.frexp(np.abs(flat).max(0))[1]


def bound_and_error(
    problem: cs.Problem, one: cs.Solution, other: cs.Solution
) -> tuple[float, float, float]:
    """100·eps·(κ + κ²ρ) of the worst group, how far two kernels are apart, every tap in the unit of
    its column and relative to the whole, and the largest κ.
    """
    a, y, lost = matrices(problem)
    groups = problem.spec.groups
    assert problem.y is not None
    units = [_exponents([np.asarray(r, float) for r in s]) for s in (problem.x, problem.y)]
    of_x = np.tile(units[0].reshape(groups, 1, -1), (1, int(np.prod(problem.spec.kernel_size)), 1))
    powers = of_x.reshape(groups, -1, 1) - units[1].reshape(groups, 1, -1)
    kernels = [
        np.ldexp(to_columns(np.asarray(fit.kernel, float), groups), powers) for fit in (one, other)
    ]
    bound = error = worst = 0.0
    for g in range(groups):
        norms = np.linalg.norm(a[g], axis=0)
        scaled = a[g] / np.where(norms > 0, norms, 1)
        values = np.linalg.svd(scaled, compute_uv=False)
        kappa = values[0] / values[-1] if values[-1] > 0 else np.inf
        worst = max(worst, kappa)
        w, v = (k[g] * norms[:, None] for k in kernels)
        size = np.linalg.norm(w) + 1e-300
        rho = np.linalg.norm(y[g] - scaled @ w) / (np.linalg.norm(scaled) * size)
        bound = max(bound, 100 * EPS * (kappa + kappa**2 * rho))
        error = max(error, float(np.linalg.norm(w - v) / size))
    return lost * bound, error, worst


def solved(problem: cs.Problem, *args: Any, **options: Any) -> cs.Solution:
    """An answer, unique or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        return cs.solve(problem, *args, **options)


def assert_agree(problem: cs.Problem, one: cs.Solution, other: cs.Solution) -> float:
    """Kernels, verdicts, certificates, scores and errors of two answers of a problem, which is in
    memory. Returns the bound on kernels.
    """
    verdict = one.identifiability.verdict
    assert other.identifiability.verdict == verdict
    assert other.identifiability.rank == one.identifiability.rank
    for fit in (one, other):
        assert (fit.status, fit.certificate <= 30 * EPS) == ("solved", True), fit.certificate
    rounding = 4 * float(np.finfo(problem.dtype).eps)
    if verdict not in UNIQUE:
        return np.inf
    bound, error, kappa = bound_and_error(problem, one, other)
    assert error <= 2 * bound + rounding
    loose = min(1e3 * (bound + rounding), 0.1)
    for mine, others in zip(one.score(), other.score()):
        np.testing.assert_allclose(mine, others, rtol=loose, atol=100 * loose)
    if (problem.n_equations > problem.n_unknowns) and loose < 1e-3:
        # Of a Gram the diagonal of its inverse is known to eps·κ², however well y is explained.
        loose = max(loose, 10 * EPS * kappa**2)
        errors = [fit.standard_error for fit in (one, other)]
        np.testing.assert_allclose(*errors, rtol=loose, atol=loose * errors[0].max())
    return bound
