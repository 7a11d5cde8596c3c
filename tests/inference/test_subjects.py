"""`solve_group`: kernels of subjects and their group, compared with dense mixed models."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.optimize import minimize

import convsolve as cs
from convsolve.inference import random_effects
from support.penalties import covariance

TAPS, SUBJECTS = 6, 5
LAGS = {"lags": (-1, TAPS - 2), "edges": "zeros"}

Rows = tuple[np.ndarray, np.ndarray]


def lagged(x: np.ndarray) -> np.ndarray:
    """Rows with x[t − lag], by ascending lag, then channel."""
    padded = np.pad(x, ((TAPS, TAPS), (0, 0)))
    first = LAGS["lags"][0]
    return np.concatenate(
        [padded[TAPS - lag : TAPS - lag + len(x)] for lag in range(first, first + TAPS)], axis=1
    )


class Recording:
    """Data of a subject: two records with a mask, weights and a drift, for one output."""

    def __init__(self, seed: int, channels: int, adjusted: bool, scale: float = 0.4) -> None:
        rng = np.random.default_rng([3, seed])
        lengths = rng.integers(30, 70, 2)
        self.x = [rng.standard_normal((n, channels)) for n in lengths]
        shape = np.exp(-np.arange(TAPS) / 2)[:, None] * [1.0, -0.5][:channels]
        kernel = shape + scale * np.cumsum(rng.standard_normal(shape.shape), 0)
        noise = [rng.standard_normal(n) * (1 + seed / 3) for n in lengths]
        self.y = [lagged(x) @ kernel.ravel() + e for x, e in zip(self.x, noise)]
        self.mask = [rng.random(n) < 0.8 for n in lengths]
        self.weights = [rng.uniform(0.5, 2, n) for n in lengths]
        self.adjusted = adjusted

    @property
    def problem(self) -> cs.Problem:
        more: dict[str, Any] = {}
        if self.adjusted:
            more = {"mask": self.mask, "weights": self.weights, "drift": 1}
        return cs.Problem(self.x, self.y, **(LAGS | more))

    def rows(self) -> Rows:
        """Weighted rows of A and y, projected on the complement of the drift of every record."""
        found = []
        for x, y, mask, weight in zip(self.x, self.y, self.mask, self.weights):
            a = lagged(x)
            if self.adjusted:
                drift = np.vander(np.linspace(-1, 1, len(x)), 2)
                root = np.sqrt(weight[mask])[:, None]
                left = null_space((root * drift[mask]).T).T @ (root * np.eye(len(x))[mask])
                a, y = left @ a, left @ y
            found.append((a, y))
        return np.concatenate([a for a, _ in found]), np.concatenate([y for _, y in found])


class Dense:
    """The mixed model by matrices over rows, given the parts of S and their variances."""

    def __init__(self, rows: list[Rows], parts: list[np.ndarray]) -> None:
        self.rows, self.parts = rows, parts

    def solve(self, variances: np.ndarray, noise: np.ndarray) -> tuple[Any, ...]:
        s = sum(v * part for v, part in zip(variances, self.parts))
        inverses = [
            np.linalg.inv(v * np.eye(len(a)) + a @ s @ a.T) for (a, _), v in zip(self.rows, noise)
        ]
        information = sum(a.T @ v @ a for (a, _), v in zip(self.rows, inverses))
        right = sum(a.T @ v @ y for (a, y), v in zip(self.rows, inverses))
        mean = np.linalg.solve(information, right)
        each, log = [], np.linalg.slogdet(information)[1]
        for (a, y), v in zip(self.rows, inverses):
            off = y - a @ mean
            each.append(mean + s @ a.T @ v @ off)
            log += off @ v @ off - np.linalg.slogdet(v)[1]
        return mean, np.linalg.inv(information), np.array(each), -log / 2

    def best(self, variances: np.ndarray, noise: np.ndarray) -> float:
        """The largest restricted likelihood near some variances."""
        start = np.log(np.concatenate([variances, noise]))

        def loss(t: np.ndarray) -> float:
            found: float = -self.solve(np.exp(t[: len(variances)]), np.exp(t[len(variances) :]))[3]
            return found

        return -float(minimize(loss, start, method="BFGS").fun)


def smooth_parts() -> list[np.ndarray]:
    """Covariances of `Smooth`: pseudo-inverse of the differences, and of constant kernels."""
    d = np.diff(np.eye(TAPS), axis=0)
    return [np.linalg.pinv(d.T @ d), np.full((TAPS, TAPS), 1 / TAPS)]


SQUARED = cs.SquaredExponential(length=1.5)
# Some directions vary less than rounding.
LONG = cs.SquaredExponential(length=60.0)
# Prior, its parts for one channel, number of channels, and whether data are adjusted.
MODELS: dict[str, tuple[Any, Callable[[], list[np.ndarray]], int, bool]] = {
    "ridge": (cs.Ridge(), lambda: [np.eye(TAPS)], 1, False),
    "adjusted": ("ridge", lambda: [np.eye(TAPS)], 2, True),
    "smooth": (cs.Smooth(), smooth_parts, 2, True),
    "squared exponential": (SQUARED, lambda: [covariance(SQUARED, np.arange(TAPS))], 1, True),
    "long squared exponential": (LONG, lambda: [covariance(LONG, np.arange(TAPS))], 1, True),
    "silent channel": (cs.Ridge(), lambda: [np.eye(TAPS)], 2, False),
    "one variance": (
        cs.Ridge(channel_groups=(0, 0)), lambda: [np.eye(TAPS)], 2, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_estimates_are_those_of_the_dense_mixed_model(name: str) -> None:
    prior, parts, channels, adjusted = MODELS[name]
    data = [Recording(i, channels, adjusted) for i in range(SUBJECTS)]
    if name == "silent channel":
        data[1].x = [x * [1.0, 0.0] for x in data[1].x]
    group = cs.solve_group({f"s{i}": each.problem for i, each in enumerate(data)}, prior)
    # The variances, from the standard deviation of every tap.
    shape = (TAPS, channels)
    squares = np.square(group.subject_deviation.reshape(shape))
    diagonals = np.stack([np.diagonal(part) for part in parts()], axis=1)
    variances = np.linalg.lstsq(diagonals, squares)[0]  # (parts, channels)
    np.testing.assert_allclose(diagonals @ variances, squares, rtol=1e-13)
    of_channels = [np.diag(one) for one in np.eye(channels)]
    if name == "one variance":
        np.testing.assert_allclose(variances[:, 0], variances[:, 1])
        of_channels, variances = [np.eye(channels)], variances[:, :1]
    own = [np.kron(part, channel) for channel in of_channels for part in parts()]
    dense, noise = Dense([each.rows() for each in data], own), group.noise_variance[:, 0]
    given = variances.T.ravel(), noise
    mean, cov, each, log = dense.solve(*given)
    close = 1e-9 if prior is LONG else 1e-12
    np.testing.assert_allclose(group.impulse_response.ravel(), mean, rtol=close, atol=0.1 * close)
    np.testing.assert_allclose(group.standard_error.ravel(), np.sqrt(np.diagonal(cov)), rtol=close)
    found = np.stack([one.ravel() for one in group.impulse_responses.values()])
    np.testing.assert_allclose(found, each, rtol=close, atol=0.1 * close)
    assert group.converged
    assert (np.diff(group.log_likelihoods[0]) > -1e-9).all()
    assert dense.best(*given) < log + 1e-3


def test_outputs_with_masks_of_their_own_and_groups_are_solved_one_by_one() -> None:
    rng = np.random.default_rng(0)
    problems: dict[str, dict[str, cs.Problem]] = {"all": {}, "first": {}, "second": {}}
    for i in range(4):
        x, y = rng.standard_normal((80, 2)), rng.standard_normal((80, 2))
        y[:, 0] += x[:, 0]
        mask = rng.random((80, 2)) < 0.9
        given: dict[str, Any] = {"lags": (0, 2), "bias": True}
        problems["all"][f"{i}"] = cs.Problem(x, y, groups=2, mask=mask, **given)
        for q, name in enumerate(("first", "second")):
            one = cs.Problem(x[:, q], y[:, q], mask=mask[:, q], **given)
            problems[name][f"{i}"] = one
    group, *single = (cs.solve_group(each) for each in problems.values())
    for q, one in enumerate(single):
        for name in ("kernel", "standard_error", "subject_deviation", "noise_variance"):
            own = getattr(group, name)[..., q].ravel()
            np.testing.assert_allclose(own, getattr(one, name).ravel(), rtol=1e-7)
        np.testing.assert_allclose(group.kernels["2"][..., q], one.kernels["2"][..., 0], rtol=1e-7)


def test_a_search_that_does_not_converge_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_effects, "MOST_STEPS", 1)
    with pytest.warns(UserWarning, match="did not converge"):
        group = cs.solve_group({i: Recording(i, 1, False).problem for i in range(SUBJECTS)})
    assert not group.converged


def test_bands_and_a_dict_of_the_result() -> None:
    data = [Recording(i, 2, False) for i in range(SUBJECTS)]
    group = cs.solve_group({f"s{i}": cs.Problem(d.x, d.y, **LAGS) for i, d in enumerate(data)})
    found = group.to_dict()
    assert found["subjects"] == group.subjects == [f"s{i}" for i in range(5)]
    np.testing.assert_array_equal(found["impulse_responses"]["s1"], group.impulse_responses["s1"])
    low, high = group.confidence_band(0.9)
    np.testing.assert_allclose((high - low) / group.standard_error, 2 * 1.6448536, rtol=1e-7)


RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 60))
ONE = cs.Problem(X, Y, lags=(0, 2))
TWO = {"a": ONE, "b": ONE}
PAIRS = [("a", 1), ("b", 2)]
FLAT = {k: cs.Problem(np.ones(60), Y, lags=(0, 2)) for k in "ab"}
EXACT = {k: cs.Problem(X, np.convolve(X, [1, 2])[:60], lags=(0, 2)) for k in "ab"}
SHORT = {k: cs.Problem(X[:5], Y[:5], lags=(0, 2), drift=2) for k in "ab"}
WINDOWS = {k: cs.Problem(np.stack([X, X**2], 1), Y, lags={0: (0, 2), 1: (0, n)}) for k, n in PAIRS}
MISTAKES: list[tuple[Any, Any, type[Exception], str]] = [
    ([ONE, ONE], None, TypeError, "problems must be a dict {name: problem}"),
    ({"a": ONE}, None, ValueError, "problems has 1 subject (a)"),
    ({"a": ONE, "b": cs.Problem(X, lags=(0, 2))}, None, ValueError, "solve_group needs y"),
    ({"a": ONE, "b": cs.Problem(X, Y, lags=(1, 3))}, None, ValueError, "subject b has other names"),
    (WINDOWS, None, ValueError, "supports no basis and no windows of lags per channel"),
    (TWO, cs.Ridge(1.0), ValueError, "prior must be quadratic, with all values but a strength"),
    (TWO, "tc", ValueError, "all values but a strength, got StableSpline"),
    (EXACT, None, cs.SolveError, "y of subject a has almost no noise"),
    (FLAT, None, cs.SolveError, "do not determine the kernel of the group"),
    (SHORT, None, cs.SolveError, "as many columns of bias and confounds as rows"),
]


@pytest.mark.parametrize(("problems", "prior", "error", "words"), MISTAKES)
def test_mistakes_are_named(problems: Any, prior: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        cs.solve_group(problems, prior or "ridge")
