"""`convsolve.interop.mtrf` compared with mTRFpy itself."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsolve as cs

mtrf = pytest.importorskip("mtrf")

from convsolve.interop.mtrf import from_mtrf, penalty_of, to_mtrf  # noqa: E402

pytestmark = pytest.mark.slow

FS, TRIALS = 64, 4
RNG = np.random.default_rng(0)
X = [RNG.standard_normal((300, 3)) for _ in range(TRIALS)]
Y = [RNG.standard_normal((300, 2)) + 3 for _ in range(TRIALS)]
WINDOW = (-2 / FS, 5 / FS)
STATED: dict[str, Any] = {"lags": (-2, 5), "edges": "zeros", "bias": True, "fs": FS}


def trained(x: list = X, regularization: Any = 0.1, method: str = "ridge", **more: Any) -> Any:
    trf = mtrf.TRF(method=method)
    # It turns trials of one feature into columns in the very list it is given.
    trf.train([*x], [*Y], FS, *WINDOW, regularization, verbose=False, **more)
    return trf


def same(found: Any, wanted: Any) -> None:
    assert np.shape(found) == np.shape(wanted)
    off = np.linalg.norm(np.asarray(found) - wanted) / np.linalg.norm(wanted)
    assert off < 1e-12


def one_feature(x: list = X) -> list:
    return [a[:, :1] for a in x]


@pytest.mark.parametrize(
    ("x", "given"),
    [
        (X, {"regularization": 0.0}),
        (one_feature(), {"regularization": 2.0, "method": "tikhonov"}),
        (X, {"regularization": [0.1, 5.0], "method": "banded", "bands": [1, 2]}),
        (X, {"regularization": [0.1, 1.0, 10.0]}),
    ],
    ids=["none", "tikhonov", "banded", "chosen"],
)
def test_penalty_of_reproduces_a_regularization(x: list, given: dict[str, Any]) -> None:
    trf = trained(x, **given)
    fit = cs.solve(cs.Problem(x, Y, **STATED), penalty=penalty_of(trf, TRIALS))
    assert fit.converged
    theirs = from_mtrf(trf)
    same(fit.kernel, theirs.kernel)
    same(fit.bias, theirs.bias)
    np.testing.assert_array_equal(fit.lags, theirs.lags)


@pytest.mark.parametrize(
    ("x", "penalty", "method"),
    [(X, cs.Ridge(40.0), "ridge"), (one_feature(), cs.Smooth(40.0, order=1), "tikhonov")],
)
def test_to_mtrf_reproduces_a_penalty(x: list, penalty: Any, method: str) -> None:
    made = to_mtrf(cs.solve(cs.Problem(x, Y, **STATED), "qr", penalty=penalty))
    assert made.method == method
    again = trained(x, made.regularization, method)
    same(made.weights, again.weights)
    same(made.bias, again.bias)
    assert penalty_of(made, TRIALS).form == penalty.form
    assert penalty_of(made, TRIALS).strength == pytest.approx(40.0, rel=1e-14)


@pytest.mark.parametrize(
    ("groups", "lags", "edges"),
    [(1, (-2, 5), "zeros"), (2, (3, 9), "drop"), (1, (-9, -4), "drop"), (2, (-9, -4), "zeros")],
)
def test_predictions_of_mtrf_are_those_of_the_fit(groups: int, lags: Any, edges: str) -> None:
    x = [np.column_stack([a, b[:, :1]]) for a, b in zip(X, Y, strict=True)]
    problem = cs.Problem(x, Y, **(STATED | {"lags": lags, "edges": edges, "groups": groups}))
    fit = cs.solve(problem)
    predictions = to_mtrf(fit).predict([*x])
    for ours, theirs in zip(fit.predict(x), predictions, strict=True):
        used = np.isfinite(ours)
        assert used.all() or edges == "drop"
        same(theirs[used], ours[used])


@pytest.mark.parametrize("fs", [44_100, 100, 0.7])
def test_times_are_converted_to_the_same_lags(fs: float) -> None:
    """mTRFpy itself rounds some times to other lags: 29 samples at 100 Hz are 28 to 29."""
    x = RNG.standard_normal((400, 1))
    for first in (*range(-60, 60, 9), 29):
        problem = cs.Problem(x, x, lags=(first, first + 1), edges="zeros", fs=fs)
        fit = cs.solve(problem)
        trf = to_mtrf(fit)
        np.testing.assert_allclose(trf.times, fit.times, rtol=1e-15)
        np.testing.assert_allclose(trf.predict(x)[0], fit.predict(x), atol=1e-12)


def test_a_trained_trf_becomes_a_solution(tmp_path: Path) -> None:
    trf = trained()
    fit = from_mtrf(trf)
    for ours, theirs in zip(fit.predict(X), trf.predict([*X]), strict=True):
        same(ours, theirs)
    assert (fit.status, fit.converged, fit.backward_error) == ("approximate", False, None)
    assert "computed by another library" in " ".join(str(fit).split())
    assert "Penalty     mTRFpy's own, strength 0.1\n" in str(fit)
    fit.save(tmp_path / "fit.npz")
    same(cs.load(tmp_path / "fit.npz").predict(X[0]), trf.predict([X[0]])[0])
    back = to_mtrf(fit)
    same(back.weights, trf.weights)
    same(back.bias, trf.bias)
    np.testing.assert_allclose(back.times, trf.times, rtol=1e-14)
    assert (back.fs, back.regularization) == (FS, None)


def test_a_decoder_predicts_the_stimulus_from_the_response() -> None:
    trf = mtrf.TRF(direction=-1)
    trf.train([*X], [*Y], FS, 0.0, 5 / FS, 0.5, verbose=False)
    fit = from_mtrf(trf)
    assert fit.lags.tolist() == [*range(-5, 1)]
    problem = cs.Problem(Y, X, **(STATED | {"lags": (-5, 0)}))
    again = cs.solve(problem, penalty=penalty_of(trf, TRIALS))
    same(again.kernel, fit.kernel)
    back = to_mtrf(again, direction=-1)
    same(back.predict(response=[*Y])[1], trf.predict(response=[*Y])[1])


MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "no TRF": (lambda: from_mtrf({}), TypeError, "expected a TRF of mTRFpy, got a dict"),
    "untrained": (lambda: from_mtrf(mtrf.TRF()), ValueError, "not trained: it has no weights"),
    "no regularization": (
        lambda: penalty_of(to_mtrf(from_mtrf(trained())), TRIALS), ValueError,
        "this TRF has no regularization; set it, 0.0 for none",
    ),
    "across features": (
        lambda: penalty_of(trained(method="tikhonov"), TRIALS), ValueError,
        "of 3 features penalizes differences between features, not between lags",
    ),
    "direction": (lambda: to_mtrf(from_mtrf(trained()), direction=0), ValueError, "1 or -1, got 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_refused_conversions(name: str) -> None:
    call, error, words = MISTAKES[name]
    with pytest.raises(error, match=words):
        call()


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
