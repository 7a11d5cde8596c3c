"""Ridges and cross-validation compared with mTRFpy itself."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

import convsolve as cs
from convsolve.interop import to_trf

mtrf = pytest.importorskip("mtrf")


pytestmark = pytest.mark.slow

FS, TRIALS = 64, 4
RNG = np.random.default_rng(0)
X = [RNG.standard_normal((300, 3)) for _ in range(TRIALS)]
Y = [RNG.standard_normal((300, 2)) + 3 for _ in range(TRIALS)]
WINDOW = (-2 / FS, 5 / FS)
STATED: dict[str, Any] = {"lags": (-2, 5), "edges": "zeros", "bias": True, "fs": FS}


def test_a_ridge_reproduces_a_regularization() -> None:
    trf = mtrf.TRF()
    trf.train([*X], [*Y], FS, *WINDOW, 0.1, verbose=False)
    fit = cs.solve(cs.Problem(X, Y, **STATED), ridge=0.1 * FS * TRIALS)
    np.testing.assert_allclose(to_trf(fit.kernel, fs=FS), trf.weights, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(fit.predict(X), trf.predict([*X]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("score", ["correlation", "mse"])
def test_means_over_the_trials_of_a_fold(score: str) -> None:
    """crossval of mTRFpy with the folds that it draws, for every output."""
    metric = mtrf.stats.pearsonr if score == "correlation" else mtrf.stats.neg_mse
    lengths, values = (300, 200, 260, 340, 280, 240), [0.1, 1.0, 10.0]
    x, y = ([RNG.standard_normal((n, k)) for n in lengths] for k in (3, 2))
    y = [a[:, :1] + b for a, b in zip(x, y, strict=True)]
    given = {"k": 3, "seed": 1, "average": False, "verbose": False}
    model = mtrf.TRF(metric=metric)
    wanted = [mtrf.stats.crossval(model, x, y, FS, *WINDOW, v, **given) for v in values]
    random.seed(1)
    order = np.arange(len(x))
    random.shuffle(order)
    select = cs.CrossValidation(np.split(order, 3), score=score, average="records")
    problem = cs.Problem(x, y, **STATED)
    grid = [FS * 4 * value for value in values]  # a fold is trained on 4 trials
    found = cs.solve(problem, penalty="ridge", grid=grid, select=select).regularization
    scores = -found.path.scores if score == "mse" else found.path.scores
    np.testing.assert_allclose(scores, wanted, rtol=1e-11)
    own = cs.CrossValidation(np.split(order, 3), score=metric)
    again = cs.solve(problem, penalty="ridge", grid=grid, select=own).regularization
    np.testing.assert_allclose(again.path.scores, wanted, rtol=1e-11)


def test_one_strength_for_all_outputs_is_the_choice_of_mtrfpy() -> None:
    """Folds differ by one row at an edge, so that choices are equal or neighbours on the grid."""
    rng, grid = np.random.default_rng(4), np.logspace(0, 7, 15)
    x = [rng.standard_normal((400, 1)) for _ in range(6)]
    gains = np.geomspace(0.03, 1.0, 8)
    y = [lfilter(0.8 ** np.arange(8), 1, a, axis=0) * gains for a in x]
    y = [a + 3 * rng.standard_normal(a.shape) for a in y]
    trf = mtrf.TRF()
    trf.train([*x], [*y], FS, *WINDOW, [*(grid / FS / 5)], k=-1, verbose=False)
    select = cs.CrossValidation(score="correlation")
    problem = cs.Problem(x, y, **STATED)
    fit = cs.solve(problem, penalty="ridge", select=select, grid=grid, one_strength=True)
    found = fit.regularization.strength
    assert (found == found[0]).all()
    assert abs(np.log10(found[0] / (trf.regularization * FS * 5))) < 0.51
