"""Degrees of freedom, criteria and evidence of every penalty by brute force; and their choices."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.signal

import convsolve as cs
from convsolve.leastsquares.penalty import Bands
from convsolve.problem.sizes import Tuning
from support import dense
from support.geometry import NAMED, Geometry
from support.penalties import PENALTIES, matrix, penalty_for

EPS = float(np.finfo(float).eps)
GRID = np.geomspace(0.01, 1e3, 5)[:, None]
WIDE = {
    "wide, ragged": Geometry(cs.ConvSpec(6), ((14,), (3,), (12,), (14,)), 7, 2, bias=True),
    "wide, stride": Geometry(cs.ConvSpec(7, 2, dilation=3), ((70,),), 8, 2),
    "wide, groups": Geometry(cs.ConvSpec(9, groups=2), ((24,), (20,)), 12, 4, bias=True),
}
GEOMETRIES = ["bias", "groups", "wide, bias", "stride", "ragged", "short"]
CRITERIA = ("gcv", "evidence", "aicc", "bic")


def problem_of(name: str) -> cs.Problem:
    """White noise in a geometry, or data with nearly dependent columns."""
    if name in NAMED | WIDE:
        made = (NAMED | WIDE)[name]
        return cs.Problem(*made.noise(), spec=made.spec, bias=made.bias)
    rng, bias = np.random.default_rng(3), name == "random walks"
    if bias:  # 31 rows and 60 unknowns, where rounding could make a false minimum
        x, taps, noise = np.cumsum(rng.standard_normal((50, 3)), axis=0), 20, 10.0
    else:  # levels are free under first differences, and explain nearly all of y
        x, taps, noise = rng.standard_normal((100, 2)) + 1e3, 6, 0.3
    y = cs.convolve(x, rng.standard_normal((taps, x.shape[1], 1)), cs.ConvSpec(taps))
    return cs.Problem(x, y + noise * rng.standard_normal(y.shape), kernel_size=taps, bias=bias)


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
        # That of DᵀD would take its rounding for an eigenvalue on some machines.
        root = np.linalg.pinv(self.d)
        kernel = root @ root.T
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


PAIRS = [*zip(PENALTIES, cycle(GEOMETRIES)), ("tc", "groups"), ("first differences", "wide, bias")]
PAIRS += [*zip(["ridge", "tc", "first differences"], WIDE)]
# Every pair with two criteria.
ROWS = [(*pair, CRITERIA[(i + j) % 4]) for i, pair in enumerate(PAIRS) for j in (0, 1)]
for _made in ("similar levels", "random walks"):
    ROWS += [("first differences", _made, criterion) for criterion in ("gcv", "evidence")]


@pytest.mark.parametrize(("name", "geometry", "criterion"), ROWS)
def test_scores_and_degrees_of_freedom(name: str, geometry: str, criterion: str) -> None:
    problem = problem_of(geometry)
    penalty, groups = penalty_for(name, problem), problem.spec.groups
    d, x, y = matrix(penalty, problem), [*problem.x], [*problem.y]
    pairs = zip(dense.design_matrix(x, problem.spec).astype(float), dense.by_group(y, groups))
    parts = [Brute(a, b, d, problem.bias) for a, b in pairs]
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
    [
        ("ridge", "stride", "gcv"),
        ("tc", "bias", "evidence"),
        ("first differences", "bias", "aicc"),
        ("first differences", "random walks", "evidence"),
    ],
)
def test_the_search_finds_the_best_strength(name: str, geometry: str, criterion: str) -> None:
    """No strength of a fine grid is better."""
    problem = problem_of(geometry)
    size = problem.spec.kernel_size[0]
    kernel = np.broadcast_to(0.7 ** np.arange(size)[:, None, None], problem.kernel_shape)
    clean = cs.convolve([*problem.x], kernel, problem.spec)
    y = [a + b for a, b in zip(clean, problem.y, strict=True)]
    problem = cs.Problem([*problem.x], y, spec=problem.spec, bias=problem.bias)
    method = {"penalty": penalty_for(name, problem), "select": criterion}
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


# --- hyperparameters


def ringing(taps: int, outputs: int = 1) -> tuple[cs.Problem, np.ndarray]:
    """Responses that ring and decay from lag 0 on, and what is measured of them."""
    rng, k = np.random.default_rng(0), np.arange(taps)
    h = np.stack([0.9**k * np.sin((k + 1) / (3 + q)) for q in range(outputs)], axis=1)
    x = rng.standard_normal(200)
    y = np.stack([np.convolve(x, h[:, q])[:200] for q in range(outputs)], axis=1)
    y = y + 0.5 * y.std() * rng.standard_normal(y.shape)
    return cs.Problem(x, y, lags=(0, taps - 1)), h


@pytest.mark.parametrize("kind", ["tc", "dc"])
def test_a_decaying_prior_is_more_accurate_than_least_squares_and_ridge(kind: str) -> None:
    problem, h = ringing(70)
    fits = [cs.solve(problem, penalty=penalty) for penalty in (None, "ridge", kind)]
    plain, ridge, decaying = (
        1 - np.linalg.norm(fit.impulse_response.reshape(h.shape) - h) / np.linalg.norm(h - h.mean())
        for fit in fits
    )
    assert plain < ridge < 0.65 < 0.8 < decaying
    found = fits[-1].regularization
    assert found.criterion == "evidence"
    assert set(found.hyperparameters) == ({"decay", "correlation"} if kind == "dc" else {"decay"})
    assert 5 < found.effective_dof[0] < 30
    assert not found.at_edge.any()


@pytest.mark.parametrize(
    ("penalty", "select"), [("tc", "aicc"), ("ss", "evidence"), ("squared_exponential", "gcv")]
)
def test_hyperparameters_are_the_best_of_a_fine_grid(penalty: str, select: str) -> None:
    """The score is that of two outputs together, each at its own strength."""
    problem, _ = ringing(40, outputs=2)
    found = cs.solve(problem, penalty=penalty, select=select).regularization
    log = np.log if select == "gcv" else np.asarray

    def loss(at: cs.extend.Penalty) -> float:
        strength = cs.solve(problem, penalty=at, select=select).regularization.strength
        # A single strength is not scored.
        grid = strength * np.array([[1.0], [2.0]])
        best = cs.solve(problem, penalty=at, grid=grid, select=select).regularization
        return float(log(best.path.scores[0]).sum())

    def prior(step: float) -> cs.extend.Penalty:
        """The memory -1/log(decay), or the length, times ``step``."""
        if name == "decay":
            return cs.StableSpline(kind=penalty, decay=chosen ** (1 / step))
        return cs.SquaredExponential(length=chosen * step)

    (name, chosen), *_ = found.hyperparameters.items()
    others = [loss(prior(step)) for step in np.geomspace(0.2, 5, 11)]
    assert loss(prior(1.0)) <= min(others) + 1e-3


def test_two_hyperparameters_are_a_minimum() -> None:
    """The valley of this evidence is narrow and oblique."""
    rng, k = np.random.default_rng(0), np.arange(200)
    x = scipy.signal.lfilter([1], [1, -0.9], rng.standard_normal(20_000))
    y = np.convolve(x, rng.standard_normal(200) * np.exp(-7 * k / 200))[:20_000]
    problem = cs.Problem(x, y + 0.1 * y.std() * rng.standard_normal(20_000), lags=(0, 199))

    def fitted(**given: Any) -> cs.Regularization:
        return cs.solve(problem, penalty=cs.StableSpline(kind="dc", **given)).regularization

    found = fitted()
    decay, correlation = found.hyperparameters.values()
    for power, step in ((1.05, 0.0), (1 / 1.05, 0.0), (1.0, 0.05), (1.0, -0.05)):
        other = fitted(decay=decay**power, correlation=correlation + step)
        assert found.path.scores.min() < other.path.scores.min() - 0.1


@pytest.mark.parametrize("kind", ["tc", "dc", "ss"])
def test_roots_are_exact_to_rounding(kind: str) -> None:
    """L Lᵀ against the covariance in 60 digits, at lags on both sides of zero.

    L⁻¹ K L⁻ᵀ shows the accuracy of all directions, also of those with a small variance.
    """
    lags = np.arange(-5, 12)[::-1]
    for alpha in (0.05, 0.9, 0.999, 1 - 1e-8):
        rho = 0.7 if kind == "dc" else None
        prior = cs.StableSpline(kind=kind, decay=alpha, correlation=rho)
        ((root, _),) = prior.bases([lags])
        with mpmath.workdps(60):
            a = mpmath.mpf(alpha)

            def entry(i: int, j: int, a: mpmath.mpf = a) -> mpmath.mpf:
                m, size = abs(i - j), abs(i) + abs(j)
                if kind == "ss":
                    bent = 3 * a ** (mpmath.mpf(m) / 2) - a ** (3 * mpmath.mpf(m) / 2)
                    return a ** (3 * mpmath.mpf(size) / 2) * bent / 2
                near = a ** (mpmath.mpf(m) / 2) if kind == "tc" else mpmath.mpf(0.7) ** m
                return a ** (mpmath.mpf(size) / 2) * near

            exact = mpmath.matrix([[entry(int(i), int(j)) for j in lags] for i in lags])
            wanted = np.array(exact.tolist(), float)
            inverse = mpmath.matrix(root.tolist()) ** -1
            unit = np.array((inverse * exact * inverse.T).tolist(), float)
        # L is rounded, and its columns become small as alpha comes near 1.
        rounding = 20 * EPS / (1 - alpha) ** 1.5
        assert np.abs(unit - np.eye(len(lags))).max() <= rounding
        scale = np.sqrt(np.outer(np.diagonal(wanted), np.diagonal(wanted)))
        assert np.abs(root @ root.T - wanted).max() <= 1e-14
        assert (np.abs(root @ root.T - wanted) / scale).max() <= 1e-12


# --- small and large strengths, and large matrices


@pytest.mark.parametrize(
    ("penalty", "taps"),
    [
        (cs.Smooth(order=2), 2),
        (cs.Tikhonov(matrix=np.zeros((2, 3))), 3),
        (Bands(channel_groups=(0,), weights=(0.0,)), 3),
    ],
)
def test_a_penalty_of_nothing_is_least_squares(penalty: cs.extend.Penalty, taps: int) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 300))
    problem = cs.Problem(x, x + y, lags=(0, taps - 1))
    fit = cs.solve(problem, penalty=penalty)
    np.testing.assert_allclose(fit.kernel, cs.solve(problem).kernel, rtol=1e-9)
    assert fit.regularization.effective_dof[0] == taps


@pytest.mark.parametrize("select", ["gcv", "evidence", cs.CrossValidation(3)], ids=str)
def test_small_strengths_are_solved_from_the_data(select: Any) -> None:
    """AᵀA of an input that is summed three times is a thousand million times the strength."""
    rng = np.random.default_rng(1)
    x = np.cumsum(np.cumsum(np.cumsum(rng.standard_normal(1200))))
    problem = cs.Problem(x, rng.standard_normal(1141), kernel_size=60)
    fit = cs.solve(problem, penalty="ridge", grid=[0.1, 10.0], select=select)
    assert fit.status == "solved"
    wanted = cs.solve(problem, "qr", ridge=fit.regularization.strength[0])
    np.testing.assert_allclose(fit.kernel, wanted.kernel, atol=1e-6 * np.abs(wanted.kernel).max())


@pytest.mark.parametrize("select", ["gcv", "evidence", cs.CrossValidation(5)], ids=str)
def test_a_gram_that_does_not_fit_is_not_needed(select: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((139, 50))
    problem = cs.Problem(x, x[39:, :1] + rng.standard_normal((100, 1)), kernel_size=40, bias=True)
    method = {"penalty": "ridge", "select": select}
    fit, wanted = (cs.solve(problem, **method, limits=n) for n in (Tuning(gram_bytes=2**22), None))
    assert fit.status == "solved"
    assert fit.backward_error <= 30 * EPS
    np.testing.assert_allclose(fit.kernel, wanted.kernel, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rows", [20, 200])
def test_with_a_strength_far_above_the_data_nothing_is_explained(rows: int) -> None:
    """Also if y is fitted almost exactly with a small strength."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows + 7, 4))
    y = cs.convolve(x, rng.standard_normal((8, 4, 2)), cs.ConvSpec(8))
    y += 1e-5 * rng.standard_normal(y.shape)
    grid, parts = np.geomspace(1e-3, 1e25, 8)[:, None], np.split(np.arange(rows), 4)
    errors = [np.square(y[p] - np.delete(y, p, 0).mean(0)).mean(0) for p in parts]
    wanted = {"gcv": np.square(y - y.mean(0)).sum(0) / (rows - 1), "cv": np.mean(errors, axis=0)}
    for name, select in (("gcv", "gcv"), ("cv", cs.CrossValidation(4))):
        problem = cs.Problem(x, y, kernel_size=8, bias=True)
        fit = cs.solve(problem, penalty="ridge", grid=grid, select=select)
        scores = fit.regularization.path.scores[-3:]
        np.testing.assert_allclose(scores, [wanted[name]] * 3, rtol=1e-6)


ALL_CRITERIA = [*CRITERIA, "cv", cs.CrossValidation(score="r2")]
PRIOR = cs.SquaredExponential(length=2.0)


@pytest.mark.parametrize("select", ALL_CRITERIA, ids=map(str, ALL_CRITERIA))
@pytest.mark.parametrize("penalty", ["ridge", "smooth", PRIOR], ids=["ridge", "smooth", "prior"])
def test_one_strength_minimizes_the_sum_over_outputs(penalty: Any, select: Any) -> None:
    """Of logarithms for gcv and mse, so that units of outputs do not matter."""
    rng = np.random.default_rng(5)
    x, e = rng.standard_normal((4, 200, 1)), rng.standard_normal((4, 200, 3))
    y = [scipy.signal.lfilter(0.8 ** np.arange(9), 1, a, axis=0) * [0.1, 1, 300] for a in x]
    problem = cs.Problem(
        [*x], [a + b * [1, 2, 100] for a, b in zip(y, e, strict=True)], lags=(0, 9)
    )
    grid = np.geomspace(1e-1, 1e5, 25)
    given = {"penalty": penalty, "select": select, "grid": grid}
    path = cs.solve(problem, **given).regularization.path
    scores = np.log(path.scores) if select in ("gcv", "cv") else path.scores
    best = grid[(scores * (-1 if select == ALL_CRITERIA[-1] else 1)).sum(1).argmin()]
    fit = cs.solve(problem, **given, one_strength=True)
    np.testing.assert_allclose(fit.regularization.strength, best)
    searched = cs.solve(problem, penalty=penalty, select=select, one_strength=True)
    assert len(set(searched.regularization.strength)) == 1
    assert 0.3 < searched.regularization.strength[0] / best < 3


def test_one_strength_of_bands_and_of_a_lasso_is_that_of_all_outputs() -> None:
    rng = np.random.default_rng(6)
    x, e = rng.standard_normal((300, 2)), rng.standard_normal((300, 3))
    y = scipy.signal.lfilter(0.8 ** np.arange(9), 1, x[:, :1], axis=0) * [0.3, 1, 3] + e
    problem = cs.Problem(x, y, lags=(0, 5), channels=["env", "word"])
    fit = cs.solve(problem, penalty=cs.Ridge(channel_groups="channels"), one_strength=True)
    strength = fit.regularization.strength
    np.testing.assert_array_equal(strength, np.repeat(strength[:, :1], 3, axis=1))
    assert strength[1, 0] > strength[0, 0]
    lasso = cs.solve(problem, penalty="lasso", one_strength=True).regularization.strength
    np.testing.assert_allclose(lasso, lasso[0], rtol=1e-12)


def test_strengths_of_channels_are_given_by_name() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((2, 200, 2))
    problem = cs.Problem(x, y, lags=(0, 3), channels=["word", "env"])
    wanted = cs.solve(problem, penalty=cs.Ridge([100.0, 10.0], channel_groups=(0, 1)))
    by_label = cs.Ridge({"env": 10.0, "word": 100.0}, channel_groups=["word", "env"])
    for method in ({"ridge": {"env": 10, "word": 100}}, {"penalty": by_label}):
        np.testing.assert_array_equal(cs.solve(problem, **method).kernel, wanted.kernel)
    with pytest.raises(ValueError, match="strength has the labels env"):
        cs.solve(problem, ridge={"env": 10})


def test_one_strength_is_for_outputs_that_share_their_rows() -> None:
    x, y = np.random.default_rng(8).standard_normal((2, 200, 2))
    with pytest.raises(ValueError, match="one_strength=True is not for"):
        cs.solve(cs.Problem(x, y, lags=(0, 3)), penalty="ridge", noise="ar", one_strength=True)
    with pytest.raises(TypeError, match="one_strength= needs a penalty"):
        cs.solve(cs.Problem(x, y, lags=(0, 3)), ridge=1.0, one_strength=True)
