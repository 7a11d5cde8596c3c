"""Scores of windows of lags are those of separate problems, and the chosen problem is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs

EDGES = ("drop", "zeros", "circular")
SHAPES = [(1, 1), (1, 3), (2, 2)]


def records(channels: int, outputs: int, seed: int = 0) -> tuple[list, list]:
    """Three records whose response has the lags 4 to 9."""
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((n, channels)) for n in (150, 90, 120)]
    w = rng.standard_normal((6, channels, outputs))
    y = [sum(np.roll(a, lag, 0) @ w[lag - 4] for lag in range(4, 10)) for a in x]
    return x, [b + 1.5 * rng.standard_normal(b.shape) for b in y]


def information(fit: cs.Solution, select: str, bias: bool) -> float:
    """BIC or AICc of a solution, summed over outputs."""
    parts = [np.asarray(r).reshape(-1, fit.kernel.shape[-1]) for r in fit.residuals()]
    r = np.concatenate(parts)
    r = r[np.isfinite(r).all(1)]
    n, k = len(r), fit.kernel[..., 0].size + bias + 1
    extra = k * np.log(n) if select == "bic" else 2 * k + 2 * k * (k + 1) / (n - k - 1)
    return float((n * np.log((r**2).sum(0) / n) + extra).sum())


@pytest.mark.parametrize(
    ("shape", "edges", "bias"), [*zip(SHAPES, EDGES, (True, False, True)), ((2, 2), "drop", False)]
)
def test_bic_and_aicc_are_those_of_problems_of_every_window(
    shape: tuple[int, int], edges: str, bias: bool
) -> None:
    x, y = records(*shape)
    problem = cs.Problem(x, y, lags=(-1, 12), edges=edges, bias=bias)
    for select in ("bic", "aicc"):
        found = cs.choose_lags(problem, select)
        assert np.isnan(found.scores[np.tril_indices(14, -1)]).all()
        for i, j in ((0, 0), (0, 13), (13, 13), (5, 9), (2, 12)):
            fit = cs.solve(problem._narrowed(i, j))
            assert found.scores[i, j] == pytest.approx(information(fit, select, bias), rel=1e-11)
    assert cs.choose_lags(problem).lags == (4, 9)


@pytest.mark.parametrize(
    ("bias", "score", "folds"), [(True, "mse", [[0], [2]]), (False, "correlation", 4)]
)
def test_held_out_scores_are_those_of_refits(bias: bool, score: str, folds: Any) -> None:
    """The offsets of x and y differ between folds."""
    x, y = records(2, 2)
    x, y = ([a + 3 * i for i, a in enumerate(arrays, 1)] for arrays in (x, y))
    problem = cs.Problem(x, y, lags=(0, 11), bias=bias)
    found = cs.choose_lags(problem, cs.CrossValidation(folds, score=score))
    for i, j in ((0, 0), (0, 11), (4, 9)):
        wanted = cs.cross_validate(problem._narrowed(i, j), folds=folds)
        mean = getattr(wanted, score).mean()
        assert found.scores[i, j] == pytest.approx(mean, rel=1e-9)
    best = np.nanargmin if score == "mse" else np.nanargmax
    assert found.lags == divmod(int(best(found.scores)), 12)


@pytest.mark.parametrize("edges", EDGES)
def test_the_problem_has_the_same_rows_and_the_lags_that_were_chosen(edges: str) -> None:
    x, y = records(2, 1)
    problem = cs.Problem(x, y, lags=(-1, 12), edges=edges)
    found = cs.choose_lags(problem)
    fit = cs.solve(found.problem)
    np.testing.assert_array_equal(fit.lags, np.arange(4, 10))
    assert found.problem.n_equations == problem.n_equations
    for a, b in zip(found.problem.y, problem.y, strict=True):
        np.testing.assert_array_equal(a, b)
    # New data are as long as x, as of any problem of lags.
    plain = cs.solve(cs.Problem(x, y, lags=(4, 9), edges=edges))
    np.testing.assert_allclose(fit.score(x, y).r2, plain.score(x, y).r2, rtol=1e-2)
    assert str(found) == "lags 4 … 9 of -1 … 12, by BIC"
