"""Degrees of freedom, residuals, criteria and evidence of every penalty, by brute force."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import numpy as np
import pytest
import scipy.linalg

import convsolve as cs
from support import dense
from support.geometry import NAMED, Geometry
from support.penalties import PENALTIES, matrix, penalty_for

GRID = np.geomspace(0.01, 1e3, 5)[:, None]
WIDE = {
    "wide, ragged": Geometry(cs.ConvSpec(6), ((14,), (3,), (12,), (14,)), 7, 2, bias=True),
    "wide, stride": Geometry(cs.ConvSpec(7, 2, dilation=3), ((70,),), 8, 2),
    "wide, groups": Geometry(cs.ConvSpec(9, groups=2), ((24,), (20,)), 12, 4, bias=True),
}
GEOMETRIES = ["bias", "groups", "wide, bias", "stride", "ragged", "short"]
CRITERIA = ("gcv", "evidence", "aicc", "bic")


class Brute:
    """One group by dense matrices: A and y without their means, and D of the penalty."""

    def __init__(self, a: np.ndarray, y: np.ndarray, d: np.ndarray, bias: bool) -> None:
        self.n = len(a)
        # An orthonormal basis of the complement of the constant.
        q = scipy.linalg.null_space(np.ones((1, self.n))) if bias else np.eye(self.n)
        self.a, self.y, self.d, self.bias = q.T @ a, q.T @ y, d, int(bias)
        free = self.a @ scipy.linalg.null_space(d) if len(d) else self.a
        self.free = np.linalg.matrix_rank(free) if free.size else 0
        # And of the complement of the coordinates that are not penalized.
        self.rest = scipy.linalg.null_space(free.T) if self.free else np.eye(len(self.a))

    def fit(self, strength: float) -> tuple[np.ndarray, float]:
        """Residuals and the trace of the matrix that makes predictions of y."""
        rows = np.concatenate([self.a, np.sqrt(strength) * self.d])
        inverse = np.linalg.pinv(rows)[:, : len(self.a)]
        hat = self.a @ inverse
        return self.y - hat @ self.y, float(np.trace(hat))

    def covariance(self, strength: float) -> np.ndarray:
        """Of y over the noise variance, a priori, in the rows of ``rest``."""
        kernel = np.linalg.pinv(self.d.T @ self.d)
        return (
            np.eye(len(self.rest.T))
            + self.rest.T @ self.a @ kernel @ self.a.T @ self.rest / strength
        )

    def score(self, criterion: str, strength: float) -> np.ndarray:
        r, freedom = self.fit(strength)
        squares, m = (r**2).sum(0), self.n - self.bias
        if criterion == "gcv":
            return m * squares / (m - freedom) ** 2
        if criterion == "evidence":
            covariance, y, m = self.covariance(strength), self.rest.T @ self.y, len(self.rest.T)
            s = np.einsum("nq,nq->q", y, np.linalg.solve(covariance, y))
            return m * np.log(2 * np.pi * s / m) + m + np.linalg.slogdet(covariance)[1]
        k = freedom + self.bias + 1
        if criterion == "bic":
            return self.n * np.log(squares / self.n) + k * np.log(self.n)
        if self.n - k - 1 <= 0:
            return np.full(len(squares), np.inf)
        penalty = 2 * k + 2 * k * (k + 1) / (self.n - k - 1)
        return self.n * np.log(squares / self.n) + penalty


def brute(
    made: Geometry, problem: cs.Problem, x: list, y: list, penalty: cs.extend.Penalty
) -> list[Brute]:
    d = matrix(penalty, problem)
    pairs = zip(
        dense.design_matrix(x, made.spec).astype(float),
        dense.by_group(y, made.spec.groups).astype(float),
        strict=True,
    )
    return [Brute(a, b, d, made.bias) for a, b in pairs]


PAIRS = [*zip(PENALTIES, cycle(GEOMETRIES)), ("tc", "groups"), ("first differences", "wide, bias")]
PAIRS += [*zip(["ridge", "tc", "first differences"], WIDE)]
# Every pair with two criteria.
ROWS = [(*pair, CRITERIA[(i + j) % 4]) for i, pair in enumerate(PAIRS) for j in (0, 1)]


@pytest.mark.parametrize(("name", "geometry", "criterion"), ROWS)
def test_scores_and_degrees_of_freedom(name: str, geometry: str, criterion: str) -> None:
    made = (NAMED | WIDE)[geometry]
    x, y = made.noise()
    problem = cs.Problem(x, y, spec=made.spec, bias=made.bias)
    penalty = penalty_for(name, problem)
    parts = brute(made, problem, x, y, penalty)
    assert all(p.n - p.bias - p.free > 1 for p in parts)
    fit = cs.solve(problem, penalty=penalty, grid=GRID, select=criterion)
    found = fit.regularization
    assert fit.status == "solved"
    np.testing.assert_allclose(found.path.strengths, np.broadcast_to(GRID, found.path.scores.shape))
    for i, strength in enumerate(GRID[:, 0]):
        freedom = np.concatenate([np.full(p.y.shape[1], p.fit(strength)[1]) for p in parts])
        np.testing.assert_allclose(found.path.effective_dof[i], freedom, rtol=1e-7, atol=1e-9)
        wanted = np.concatenate([p.score(criterion, strength) for p in parts])
        np.testing.assert_allclose(found.path.scores[i], wanted, rtol=1e-6)
    scores = np.nan_to_num(found.path.scores, nan=np.inf)
    np.testing.assert_array_equal(found.strength, GRID[np.argmin(scores, axis=0), 0])
    np.testing.assert_array_equal(found.at_edge, np.isin(found.strength, GRID[[0, -1]]))


@pytest.mark.parametrize(
    ("name", "geometry", "criterion"),
    [("ridge", "stride", "gcv"), ("tc", "bias", "evidence"), ("first differences", "bias", "aicc")],
)
def test_the_search_finds_the_best_strength(name: str, geometry: str, criterion: str) -> None:
    """No strength of a fine grid is better."""
    made = NAMED[geometry]
    x, y = (list(records) for records in made.noise())
    kernel = 0.7 ** np.arange(made.spec.kernel_size[0])[:, None, None]
    kernel = kernel * np.ones((1, made.channels, made.outputs))
    y = [b + a for a, b in zip(cs.convolve(x, kernel, made.spec), y, strict=True)]
    problem = cs.Problem(x, y, spec=made.spec, bias=made.bias)
    penalty = penalty_for(name, problem)
    method = {"penalty": penalty, "select": criterion}
    found = cs.solve(problem, **method).regularization
    fine = np.geomspace(found.path.strengths[1], found.path.strengths[-2], 1000)
    every = cs.solve(problem, **method, grid=fine).regularization
    # A single strength is not scored.
    own = found.strength * np.array([[1.0], [2.0]])
    best = cs.solve(problem, **method, grid=own).regularization
    inner = ~found.at_edge
    # All but gcv are logarithms of likelihoods, which may be about zero.
    slack = 1e-5 * np.abs(every.path.scores).min(0) + (0.0 if criterion == "gcv" else 1e-4)
    assert (best.path.scores[0] <= every.path.scores.min(0) + slack)[inner].all()


def similar_levels() -> cs.Problem:
    """Two channels with a large offset and no bias.

    Their levels are free under first differences, and explain nearly all of y.
    """
    rng, spec = np.random.default_rng(3), cs.ConvSpec(6)
    x = rng.standard_normal((100, 2)) + 1e3
    y = cs.convolve(x, rng.standard_normal((6, 2, 1)), spec)
    return cs.Problem(x, y + 0.3 * rng.standard_normal(y.shape), spec=spec)


def random_walks() -> cs.Problem:
    """31 rows and 60 unknowns, where rounding could make a false minimum."""
    rng, spec = np.random.default_rng(0), cs.ConvSpec(20)
    x = np.cumsum(rng.standard_normal((50, 3)), axis=0)
    y = cs.convolve(x, rng.standard_normal((20, 3, 1)), spec)
    return cs.Problem(x, y + y.std() * rng.standard_normal(y.shape), spec=spec, bias=True)


@pytest.mark.parametrize("criterion", ["gcv", "evidence"])
@pytest.mark.parametrize("made", [similar_levels, random_walks])
def test_nearly_dependent_columns(made: Callable[[], cs.Problem], criterion: str) -> None:
    problem, penalty = made(), cs.Smooth(order=1)
    a = dense.design_matrix([*problem.x], problem.spec).astype(float)[0]
    exact = Brute(a, problem.y[0], matrix(penalty, problem), problem.bias)
    found = cs.solve(problem, penalty=penalty, grid=GRID, select=criterion).regularization
    wanted = [exact.score(criterion, strength) for strength in GRID[:, 0]]
    np.testing.assert_allclose(found.path.scores, wanted, rtol=1e-6)
    chosen = cs.solve(problem, penalty=penalty, select=criterion).regularization
    own = exact.score(criterion, chosen.strength[0])[0]
    least = np.min(wanted)
    assert own <= least + 1e-3 * abs(least)
