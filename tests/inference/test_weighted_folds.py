"""Cross-validation and the jackknife with a bias and weights, compared with dense matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs

TAPS, RECORDS, FOLDS = 5, 8, 4
RNG = np.random.default_rng(1)
X = [RNG.standard_normal((40 + i, 2)) + 3 for i in range(RECORDS)]
KERNEL = RNG.standard_normal((TAPS, 2, 1))
Y = [
    cs.convolve(np.pad(x, ((TAPS - 1, 0), (0, 0))), KERNEL, cs.ConvSpec(TAPS))
    + RNG.standard_normal((len(x), 1))
    + 2
    for x in X
]
WEIGHTS: dict[str, Any] = {
    "records": [*(RNG.random(RECORDS) + 0.2)],
    "rows": [RNG.random(len(x)) + 0.2 for x in X],
}
every_kind = pytest.mark.parametrize("kind", WEIGHTS)


def problem(kind: str) -> cs.Problem:
    return cs.Problem(X, Y, lags=(0, TAPS - 1), bias=True, weights=WEIGHTS[kind])


def held_out(kind: str, held: Any, ridge: float = 0.0) -> tuple[np.ndarray, float]:
    """Return the kernel without some records, and the mean squared error of a prediction of them.

    Rows [A 1] and y are multiplied by the roots of their weights.
    """
    parts = []
    for records in (np.setdiff1d(np.arange(RECORDS), held), held):
        found = []
        for i in records:
            root = np.sqrt(np.broadcast_to(WEIGHTS[kind][i], len(X[i])))[TAPS - 1 :, None]
            view = np.lib.stride_tricks.sliding_window_view(X[i], TAPS, axis=0).swapaxes(1, 2)
            a = view.reshape(len(view), -1)
            found.append(root * np.hstack([a, np.ones((len(a), 1)), Y[i][TAPS - 1 :]]))
        parts.append(np.concatenate(found))
    a, y = parts[0][:, :-1], parts[0][:, -1]
    penalty = np.diag([ridge] * (a.shape[1] - 1) + [0.0])
    w = np.linalg.solve(a.T @ a + penalty, a.T @ y)
    left = parts[1][:, -1] - parts[1][:, :-1] @ w
    return w[:-1], float(np.square(left).sum() / np.square(parts[1][:, -2]).sum())


@every_kind
def test_scores_are_those_of_folds_that_are_left_out(kind: str) -> None:
    """The window with every lag has the score of the strength 0."""
    grid, parts = [0.1, 10.0, 100.0], np.array_split(np.arange(RECORDS), FOLDS)
    select = cs.CrossValidation(FOLDS, score="mse")
    fit = cs.solve(problem(kind), penalty="ridge", grid=grid, select=select)
    found = [*fit.regularization.path.scores.ravel()]
    found.append(cs.choose_lags(problem(kind), select=select).scores[0, -1])
    wanted = [np.mean([held_out(kind, part, s)[1] for part in parts]) for s in (*grid, 0.0)]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@every_kind
def test_kernels_without_one_record(kind: str) -> None:
    found = cs.solve(problem(kind)).jackknife().kernels
    wanted = [held_out(kind, [i])[0] for i in range(RECORDS)]
    np.testing.assert_allclose(found.reshape(RECORDS, -1), wanted, rtol=1e-9)


SLOPE = [np.linspace(0, 1, 50)[:, None] for _ in range(4)]
BY_RECORD = [1.0, 2.0, 3.0, 0.1]
ADJUSTED: dict[str, dict[str, Any]] = {
    "weights of rows, bias": {"weights": "rows", "bias": True},
    "weights of records": {"weights": BY_RECORD},
    "slope, weights": {"confounds": SLOPE, "weights": BY_RECORD},
    "slope, bias": {"confounds": SLOPE, "bias": True},
    "intercepts": {"drift": 0},
}


@pytest.mark.parametrize(
    ("name", "score"),
    [*zip(ADJUSTED, ["r2", "correlation", "mse", "r2", "r2"]), ("slope, bias", "mse")],
)
def test_scores_of_folds_are_those_of_cross_validation(name: str, score: str) -> None:
    """R² is about a constant, whether the model has one or not."""
    rng, given = np.random.default_rng(0), dict(ADJUSTED[name])
    x = [rng.standard_normal(50) for _ in range(4)]
    y = [a + 3 + rng.standard_normal(50) for a in x]
    if given.get("weights") == "rows":
        given["weights"] = [rng.random(50) * 3 + 0.1 for _ in x]
    problem = cs.Problem(x, y, lags=(0, 1), **given)
    select = cs.CrossValidation(score=score)
    fit = cs.solve(problem, penalty="ridge", grid=[1e-9, 1e-8], select=select)
    wanted = getattr(cs.cross_validate(problem, "normal", ridge=1e-9), score)
    np.testing.assert_allclose(fit.regularization.path.scores_by_fold[:, 0], wanted, rtol=1e-9)
