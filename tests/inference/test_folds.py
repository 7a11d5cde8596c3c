"""Cross-validation from moments against folds that are solved and predicted one by one."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support import dense
from support.geometry import NAMED, Geometry
from support.penalties import matrix, penalty_for

GRID = np.geomspace(0.1, 100, 3)[:, None]
FOLDS: dict[str, Any] = {"records": None, "rows": 4, "listed": [[1], [0, 2]]}
# Fewer rows than unknowns.
WIDE = Geometry(cs.ConvSpec(12), ((16,),) * 3, 2, 2, bias=True)


def spans(made: Geometry, folds: Any) -> list[np.ndarray]:
    """The rows of the design matrix of each fold, records one after the other."""
    ends = np.cumsum([math.prod(rows) for rows in made.counts])
    if isinstance(folds, int):
        cuts = np.linspace(0, ends[-1], folds + 1).round().astype(int)
        return [np.arange(a, b) for a, b in pairwise(cuts)]
    starts = np.r_[0, ends[:-1]]
    records = [np.arange(a, b) for a, b in zip(starts, ends, strict=True)]
    listed = [[i] for i in range(len(records))] if folds is None else folds
    return [np.concatenate([records[i] for i in part]) for part in listed]


def predicted(
    a: np.ndarray, y: np.ndarray, d: np.ndarray, strength: float, bias: bool, held: np.ndarray
) -> np.ndarray:
    """The rows ``held`` as a fit of the others predicts them."""
    rest = np.setdiff1d(np.arange(len(a)), held)
    x_mean, y_mean = (v[rest].mean(0) if bias else np.zeros(v.shape[1]) for v in (a, y))
    rows = np.concatenate([a[rest] - x_mean, np.sqrt(strength) * d])
    right = np.pad(y[rest] - y_mean, ((0, len(d)), (0, 0)))
    return (a[held] - x_mean) @ scipy.linalg.lstsq(rows, right)[0] + y_mean


def scored(score: Any, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The score of every output."""
    if score == "mse":
        return ((y - p) ** 2).mean(0)
    if score == "r2":
        return 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    of_one = score if callable(score) else lambda u, v: np.corrcoef(u, v)[0, 1]
    return np.array([of_one(u, v) for u, v in zip(y.T, p.T, strict=True)])


def largest_error(y: np.ndarray, prediction: np.ndarray) -> float:
    """A score of the user's; larger is better."""
    return -float(np.abs(y - prediction).max())


SCORED = [
    ("rows", "ridge", "blocks", "rows", "r2"),
    ("rows", "tc", "stride", "rows", "r2"),
    ("rows", "first differences", "circular", "records", "mse"),
    ("rows", "first differences", "groups", "records", "r2"),
    ("rows", "tc", "wide, bias", "rows", "r2"),
    ("rows", "squared exponential", "stride", "rows", "correlation"),
    ("rows", "banded", "circular", "records", "r2"),
    # A function scores every record, whatever the average.
    ("rows", "ridge", "groups", "records", largest_error),
    ("rows", "ridge", "image", "records", largest_error),
    ("records", "ridge", "ragged", "listed", "mse"),
    ("records", "tc", "short", "listed", "correlation"),
    ("records", "first differences", "wide records", "listed", "r2"),
    ("records", "tc", "stride", "records", largest_error),
]


@pytest.mark.parametrize(("average", "name", "geometry", "folds", "score"), SCORED)
def test_scores_are_those_of_refits(
    average: str, name: str, geometry: str, folds: str, score: Any
) -> None:
    made = WIDE if geometry == "wide records" else NAMED[geometry]
    x, y = made.noise()
    problem = cs.Problem(x, y, spec=made.spec, bias=made.bias)
    penalty = penalty_for(name, problem)
    select = cs.CrossValidation(FOLDS[folds], score=score, average=average)
    fit = cs.solve(problem, penalty=penalty, grid=GRID, select=select)
    found, d = fit.regularization, matrix(penalty, problem)
    assert fit.status == "solved"
    assert found.criterion == ("largest_error()" if callable(score) else score)
    matrices, targets = dense.design_matrix(x, made.spec), dense.by_group(y, made.spec.groups)
    of_record = np.repeat(np.arange(len(made.shapes)), [math.prod(rows) for rows in made.counts])
    parts = spans(made, FOLDS[folds])
    assert found.path.scores_by_fold.shape == (len(parts), 3, made.outputs)
    for i, held in enumerate(parts):
        ends = np.flatnonzero(np.diff(of_record[held])) + 1
        if average == "rows" and not callable(score):
            ends = ends[:0]
        for j, strength in enumerate(GRID[:, 0]):
            wanted = []
            for a, b in zip(matrices, targets, strict=True):
                p = np.split(predicted(a, b, d, strength, made.bias, held), ends)
                pairs = zip(np.split(b[held], ends), p, strict=True)
                wanted.append(np.mean([scored(score, u, v) for u, v in pairs], axis=0))
            np.testing.assert_allclose(
                found.path.scores_by_fold[i, j],
                np.concatenate(wanted),
                rtol=1e-8,
                atol=1e-10,
            )
    np.testing.assert_allclose(found.path.scores, found.path.scores_by_fold.mean(0), rtol=1e-14)
    best = np.argmin if score == "mse" else np.argmax
    np.testing.assert_array_equal(found.strength, GRID[best(found.path.scores, axis=0), 0])


SAME: dict[str, dict[str, Any]] = {
    "masks of outputs": {"penalty": "smooth", "grid": [1.0, 10.0]},
    "autoregression": {"penalty": "ridge", "grid": [1.0, 10.0], "noise": "ar2"},
    "lasso": {"penalty": "lasso"},
    "lasso of groups": {"penalty": cs.Lasso(channel_groups=(0, 1, 1))},
}


@pytest.mark.parametrize("name", SAME)
def test_a_function_and_sums_have_the_same_mean_squares(name: str) -> None:
    """With offsets and a bias, whose rounding the means of the held-out rows contain."""
    rng = np.random.default_rng(2)
    x = [rng.standard_normal((n, 3)) + 50 for n in (60, 70, 50, 80)]
    y = [a[3:, :2] + 7 + rng.standard_normal((len(a) - 3, 2)) for a in x]
    mask = [rng.random(b.shape) > 0.1 for b in y] if name == "masks of outputs" else None
    problem = cs.Problem(x, y, kernel_size=4, bias=True, mask=mask)
    paths = []
    for given in ({"average": "records"}, {"score": lambda y, p: -np.mean((y - p) ** 2)}):
        select = cs.CrossValidation([[0, 3], [1, 2]], **given)
        paths.append(cs.solve(problem, **SAME[name], select=select).regularization.path)
    one, other = (path.scores_by_fold for path in paths)
    np.testing.assert_allclose(one, -other, rtol=1e-11)


def test_a_record_of_large_values_costs_the_others_no_digits() -> None:
    """The total minus the fold would be wrong by thousands of per cent."""
    rng = np.random.default_rng(3)
    x = [rng.standard_normal(200) * (1e8 if i == 1 else 1.0) for i in range(3)]
    y = [np.convolve(a, [1.0, 0.5, -0.3])[:200] + rng.standard_normal(200) for a in x]
    problem = cs.Problem(x, y, lags=(0, 5), edges="zeros")
    found = cs.solve(problem, penalty="ridge", grid=[1.0, 3.0], select="cv").regularization
    alone = cs.Problem([x[0], x[2]], [y[0], y[2]], lags=(0, 5), edges="zeros")
    for i, strength in enumerate((1.0, 3.0)):
        fit = cs.solve(alone, "qr", ridge=strength)
        loud = fit.residuals(x[1], y[1])
        assert found.path.scores_by_fold[1, i, 0] == pytest.approx(np.mean(loud**2), rel=1e-9)


@pytest.mark.parametrize("method", [{"penalty": "lasso"}, {"penalty": "ridge", "select": "cv"}])
def test_outputs_with_rows_in_different_records_have_their_own_folds(
    method: dict[str, Any],
) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((3, 80, 1)), rng.standard_normal((3, 77, 2))
    flags = np.ones((3, 77, 2), bool)
    flags[0, :, 1] = False
    problem = cs.Problem(x, y, kernel_size=4, mask=flags)
    path = cs.solve(problem, **method).regularization.path
    assert np.isfinite(path.scores).all()
    assert np.isfinite(path.scores_by_fold[:2]).all()
    assert np.isnan(path.scores_by_fold[2, :, 1]).all()


@pytest.mark.parametrize("held", [2**25, 0])
def test_folds_in_time_have_equally_many_used_rows(held: int) -> None:
    """A long gap does not leave a fold empty."""
    x, y = np.random.default_rng(0).standard_normal((2, 60))
    used = abs(np.arange(60) - 30) > 10
    problem = cs.Problem(x, y, lags=(0, 1), edges="zeros", mask=used)
    limits, select = Tuning(held_numbers=held), cs.CrossValidation(3)
    rows = np.stack([x, np.concatenate([[0.0], x[:-1]])], axis=1)[used]
    errors, shares = [], []
    for fold in np.array_split(np.arange(len(rows)), 3):
        a, b = np.delete(rows, fold, axis=0), np.delete(y[used], fold)
        w = np.linalg.solve(a.T @ a + 2 * np.eye(2), a.T @ b)
        errors.append(np.mean((y[used][fold] - rows[fold] @ w) ** 2))
        shares.append(1 - errors[-1] / y[used][fold].var())
    found = cs.solve(problem, penalty="ridge", grid=[1.0, 2.0], select=select, limits=limits)
    np.testing.assert_allclose(found.regularization.path.scores_by_fold[:, 1, 0], errors)
    held_out = cs.cross_validate(problem, ridge=2.0, folds=3, limits=limits)
    np.testing.assert_allclose(held_out.r2[:, 0], shares)
    assert np.isfinite(cs.choose_lags(problem, select, limits=limits).scores[0, 1])


@pytest.mark.parametrize("method", [{"penalty": "lasso"}, {"penalty": "ridge", "select": "cv"}])
def test_a_strength_is_selected_within_the_folds_of_a_record_with_confounds(
    method: dict[str, Any],
) -> None:
    """The training rows of such a record have a gap as long as a fold of the selection."""
    x, noise = np.random.default_rng(0).standard_normal((2, 300))
    problem = cs.Problem(x, x + 0.1 * noise, lags=(0, 2), drift=0)
    assert (cs.cross_validate(problem, **method).r2 > 0.95).all()


def test_strengths_without_a_score_are_not_selected() -> None:
    x, noise = np.random.default_rng(0).standard_normal((2, 200))
    problem = cs.Problem(x, x + noise, lags=(0, 3))

    def score(y: np.ndarray, prediction: np.ndarray) -> float:
        return float(np.nan if prediction.std() > 0.5 else prediction.std())

    found = cs.solve(
        problem, penalty="ridge", grid=np.logspace(-2, 4, 7), select=cs.CrossValidation(score=score)
    ).regularization
    assert np.isnan(found.path.scores).sum() == 5
    assert found.strength[0] == found.path.strengths[np.nanargmax(found.path.scores)][0]
