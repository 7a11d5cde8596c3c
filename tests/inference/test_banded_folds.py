"""Banded ridge by cross-validation, means over records and own scores, against dense refits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.signal

import convsolve as cs
from support import dense

LENGTHS, TAPS, LABELS = (90, 70, 80, 60, 75, 85), 6, (0, 1, 1)
FOLDS = ([0, 1], [2, 3], [4, 5])
Scored = Callable[[np.ndarray, np.ndarray], float]
SCORES: dict[str, Scored] = {
    "mse": lambda y, p: np.mean((y - p) ** 2),
    "r2": lambda y, p: 1 - np.sum((y - p) ** 2) / np.sum((y - y.mean()) ** 2),
    "correlation": lambda y, p: np.corrcoef(y, p)[0, 1],
}


def recording(seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """x with offsets, of a loud and two weak channels, and y of two outputs."""
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((n, 3)) + 2 for n in LENGTHS]
    w = rng.standard_normal((TAPS, 3, 2)) * np.array([1.0, 0.2, 0.2])[:, None]
    y = [cs.convolve(a, w, cs.ConvSpec(TAPS)) for a in x]
    return x, [b + 3 + 2 * rng.standard_normal(b.shape) for b in y]


X, Y = recording()
PROBLEM = cs.Problem(X, Y, kernel_size=TAPS, bias=True)
ROWS = [dense.design_matrix([a], PROBLEM.spec)[0] for a in X]


def predictions(
    a: Sequence[np.ndarray], y: Sequence[np.ndarray], d: np.ndarray, held: Sequence[int]
) -> list[np.ndarray]:
    """The held-out records, predicted by a fit of the others with penalties d (P,) and a bias."""
    rest = [i for i in range(len(a)) if i not in held]
    rows, right = (np.concatenate([v[i] for i in rest]) for v in (a, y))
    x_mean, y_mean = rows.mean(0), right.mean(0)
    rows = np.concatenate([rows - x_mean, np.diag(np.sqrt(d))])
    right = np.pad(right - y_mean, ((0, len(d)), (0, 0)))
    w = scipy.linalg.lstsq(rows, right)[0]
    return [(a[i] - x_mean) @ w + y_mean for i in held]


def by_hand(d: np.ndarray, score: Scored, average: str) -> np.ndarray:
    """Scores (folds, outputs) of penalties d (P,)."""
    found = []
    for held in FOLDS:
        p, y = predictions(ROWS, Y, d, held), [Y[i] for i in held]
        if average == "rows":
            p, y = [np.concatenate(p)], [np.concatenate(y)]
        pairs = [*zip(y, p, strict=True)]
        found.append([np.mean([score(b[:, q], c[:, q]) for b, c in pairs]) for q in (0, 1)])
    return np.array(found)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("average", ["rows", "records"])
def test_strengths_of_groups_have_the_best_held_out_score(score: str, average: str) -> None:
    """No strengths nearby are better, and one strength for both groups is worse."""
    select = cs.CrossValidation(FOLDS, score=score, average=average)
    fit = cs.solve(PROBLEM, penalty=cs.Ridge(channel_groups=LABELS), select=select)
    found, sign = fit.regularization, 1 if score == "mse" else -1
    assert (fit.status, found.criterion) == ("solved", score)
    plain = cs.solve(PROBLEM, penalty="ridge", select=select).regularization
    assert (sign * found.score < sign * plain.score).all()
    for q in (0, 1):

        def loss(strengths: np.ndarray, q: int = q) -> float:
            d = strengths[np.tile(LABELS, TAPS)]
            return float(sign * by_hand(d, SCORES[score], average)[:, q].mean())

        best = found.strength[:, q]
        assert sign * found.score[q] == pytest.approx(loss(best), rel=1e-10)
        for b in range(2):
            for factor in (0.8, 1.25):
                assert loss(best * np.where(np.arange(2) == b, factor, 1)) > loss(best) - 1e-9
    given = cs.solve(PROBLEM, penalty=cs.Ridge(found.strength, channel_groups=LABELS))
    np.testing.assert_allclose(fit.kernel, given.kernel, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("select", ["cv", "evidence", cs.CrossValidation(score="r2")], ids=str)
def test_a_group_of_channels_that_only_adds_noise_is_at_the_edge(select: Any) -> None:
    """The loss is nearly flat up to the bound of the search."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((60, 2)) for _ in range(4)]
    y = [np.convolve(a[:, 0], [1.0, 0.5])[:60] + rng.standard_normal(60) for a in x]
    problem = cs.Problem(x, y, lags=(0, 5))
    fit = cs.solve(problem, penalty=cs.Ridge(channel_groups=(0, 1)), select=select)
    found = fit.regularization
    assert fit.converged
    assert found.at_edge.all()
    assert found.strength[1, 0] > 1e8 > found.strength[0, 0]
    assert np.abs(fit.kernel[:, 1]).max() < 1e-6
    assert "the strength is at the edge of what was searched" in str(found)


BANDED = cs.Ridge(channel_groups=LABELS)
CHOICES: dict[str, dict[str, Any]] = {
    "ridge": {"penalty": "ridge"},
    "ridge, grid": {"penalty": "ridge", "grid": [0.1, 1.0, 10.0], "select": "bic"},
    "folds": {"penalty": "smooth", "select": "cv"},
    "lasso": {"penalty": "lasso"},
    "bands, evidence": {"penalty": BANDED},
    "bands, r2": {"penalty": BANDED, "select": cs.CrossValidation(3, score="r2")},
    "function": {
        "penalty": "ridge",
        "select": cs.CrossValidation(3, score=lambda y, p: -np.abs(y - p).mean()),
    },
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_score_of_the_choice_is_in_the_path(name: str) -> None:
    found = cs.solve(PROBLEM, **CHOICES[name]).regularization
    larger = found.criterion in ("r2", "score()")
    strength = np.exp(np.log(found.strength.reshape(-1, 2)).mean(0))
    for q in (0, 1):
        row = int(np.argmin(abs(np.log(found.path.strengths[:, q] / strength[q]))))
        assert found.path.strengths[row, q] == pytest.approx(strength[q], rel=1e-12)
        assert found.score[q] == found.path.scores[row, q]
        scores = found.path.scores[:, q]
        best = np.nanmax(scores) if larger else np.nanmin(scores)
        assert found.score[q] == pytest.approx(best, rel=1e-6)
    given = cs.solve(PROBLEM, penalty=cs.Ridge(found.strength.max(), channel_groups=LABELS))
    assert np.isnan(given.regularization.score).all()


def test_an_output_that_is_constant_has_no_score_and_a_kernel_of_zeros() -> None:
    """Nor does it change the choice of the other output."""
    y = [b * [1.0, 0.0] + 1 for b in Y]
    select = cs.CrossValidation(FOLDS, score="correlation")
    fit, alone = (
        cs.solve(cs.Problem(X, z, kernel_size=TAPS, bias=True), penalty=BANDED, select=select)
        for z in (y, [b[:, :1] for b in y])
    )
    assert np.abs(fit.kernel[..., 1]).max() < 1e-12
    assert np.isnan(fit.regularization.score[1])
    np.testing.assert_allclose(fit.kernel[..., :1], alone.kernel, rtol=1e-12)
