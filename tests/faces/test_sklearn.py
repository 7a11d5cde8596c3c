"""`convsolve.sklearn.ConvRegressor` where scikit-learn's tools use it."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import convsolve as cs
from convsolve.sklearn import ConvRegressor

RNG = np.random.default_rng(0)
LENGTHS = (60, 75, 60, 90, 66, 70)
TRIALS = [RNG.standard_normal((n, 3)) for n in LENGTHS]
TRUE = RNG.standard_normal((2, 3, 5))
GROUPS = np.repeat(np.arange(6), LENGTHS)


def lagged(x: np.ndarray, lags: Any = range(-1, 4)) -> np.ndarray:
    """The lag matrix (T, features, lags) by hand."""
    found = np.zeros((*x.shape, len(lags)))
    for j, lag in enumerate(lags):
        for t in range(len(x)):
            if 0 <= t - lag < len(x):
                found[t, :, j] = x[t - lag]
    return found


TARGETS = [
    np.einsum("tcl,qcl->tq", lagged(x), TRUE) + 1 + 0.5 * RNG.standard_normal((len(x), 2))
    for x in TRIALS
]
X, Y = np.concatenate(TRIALS), np.concatenate(TARGETS)
ROWS = np.concatenate([lagged(x) for x in TRIALS]).reshape(len(X), -1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning", "ignore:SCIPY_ARRAY_API")
def test_it_passes_the_checks_of_scikit_learn() -> None:
    results = check_estimator(ConvRegressor(), on_skip=None)
    assert {r["status"] for r in results} <= {"passed", "skipped"}
    assert sum(r["status"] == "passed" for r in results) > 50


def test_without_lags_it_is_linear_regression() -> None:
    ours, theirs = ConvRegressor().fit(X, Y), LinearRegression().fit(X, Y)
    np.testing.assert_allclose(ours.coef_[:, :, 0], theirs.coef_, atol=1e-12)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-12)
    assert ours.score(X, Y) == pytest.approx(theirs.score(X, Y), abs=1e-12)


@pytest.mark.parametrize("form", ["list", "groups", "one output"])
def test_trials_are_apart(form: str) -> None:
    """As ridge regression on the lag matrix of every trial by hand."""
    y = Y[:, 0] if form == "one output" else Y
    theirs = Ridge(3.0).fit(ROWS, y)
    ours = ConvRegressor((-1, 3), ridge=3.0)
    if form == "list":
        ours.fit(TRIALS, TARGETS)
        found = ours.predict(TRIALS)
        assert [len(part) for part in found] == [*LENGTHS]
        found, score = np.concatenate(found), ours.score(TRIALS, TARGETS)
    else:
        ours.fit(X, y, groups=GROUPS)
        found, score = ours.predict(X, groups=GROUPS), ours.score(X, y, groups=GROUPS)
    np.testing.assert_allclose(ours.coef_.reshape(theirs.coef_.shape), theirs.coef_, atol=1e-12)
    np.testing.assert_allclose(found, theirs.predict(ROWS), atol=1e-12)
    assert found.shape == y.shape
    assert score == pytest.approx(theirs.score(ROWS, y), abs=1e-12)
    assert ours.lags_.tolist() == [-1, 0, 1, 2, 3]
    assert ours.times_ is None


def test_trials_of_one_length_are_an_array_of_three_axes() -> None:
    x, y = np.stack([a[:60] for a in TRIALS]), np.stack([b[:60, 0] for b in TARGETS])
    fit = ConvRegressor((0, 2)).fit(x, y)
    listed = ConvRegressor((0, 2)).fit([*x], [*y])
    np.testing.assert_array_equal(fit.coef_, listed.coef_)
    found = fit.predict(x)
    assert found.shape == (6, 60)
    np.testing.assert_array_equal(found, np.stack(listed.predict([*x])))
    assert fit.score(x, y) == listed.score([*x], [*y])
    scores = cross_val_score(ConvRegressor((0, 2)), x, y, cv=3)
    for score, (train, test) in zip(scores, KFold(3).split(x), strict=True):
        assert score == ConvRegressor((0, 2)).fit(x[train], y[train]).score(x[test], y[test])


def test_weights_count_samples_or_trials() -> None:
    of_trials = [1.0, 0.0, 2.0, 1.0, 0.5, 3.0]
    of_samples = np.repeat(of_trials, LENGTHS)
    theirs = LinearRegression().fit(ROWS, Y, of_samples)
    listed = ConvRegressor((-1, 3)).fit(TRIALS, TARGETS, of_trials)
    sampled = ConvRegressor((-1, 3)).fit(X, Y, of_samples, GROUPS)
    rows = [np.full(n, w) for n, w in zip(LENGTHS, of_trials, strict=True)]
    each = ConvRegressor((-1, 3)).fit(TRIALS, TARGETS, rows)
    for ours in (listed, sampled, each):
        np.testing.assert_allclose(ours.coef_.reshape(2, -1), theirs.coef_, atol=1e-12)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-12)
    wanted = r2_score(Y, theirs.predict(ROWS), sample_weight=of_samples)
    assert listed.score(TRIALS, TARGETS, of_trials) == pytest.approx(wanted, abs=1e-12)
    assert sampled.score(X, Y, of_samples, GROUPS) == pytest.approx(wanted, abs=1e-12)


def test_edges_that_are_dropped_are_left_out_of_the_fit_alone() -> None:
    rows = np.concatenate([lagged(x)[3:-1] for x in TRIALS]).reshape(-1, 15)
    theirs = LinearRegression().fit(rows, np.concatenate([y[3:-1] for y in TARGETS]))
    ours = ConvRegressor((-1, 3), edges="drop").fit(TRIALS, TARGETS)
    np.testing.assert_allclose(ours.coef_.reshape(2, -1), theirs.coef_, atol=1e-12)
    np.testing.assert_allclose(
        np.concatenate(ours.predict(TRIALS)), theirs.predict(ROWS), atol=1e-12
    )


def test_lags_in_seconds_and_names_of_columns() -> None:
    frame = pd.DataFrame(X, columns=["Fz", "Cz", "Pz"])
    fit = ConvRegressor(tmin=-0.01, tmax=0.03, fs=100).fit(frame, Y[:, 0])
    assert fit.times_ == pytest.approx([-0.01, 0, 0.01, 0.02, 0.03])
    assert fit.feature_names_in_.tolist() == ["Fz", "Cz", "Pz"]
    assert fit.solution_._names.channels == ("Fz", "Cz", "Pz")
    assert isinstance(fit.solution_, cs.Solution)
    with pytest.raises(ValueError, match="feature names should match"):
        fit.predict(frame[["Cz", "Fz", "Pz"]])


def test_nested_cross_validation_over_trials_is_a_loop_by_hand() -> None:
    """Outer folds of trials, the ridge by inner folds of those that are left."""
    strengths = [0.1, 10.0, 1000.0]
    search = GridSearchCV(ConvRegressor((-1, 3)), {"ridge": strengths}, cv=KFold(2))
    scores = cross_val_score(search, TRIALS, TARGETS, cv=KFold(3))

    def score(train: Any, test: Any, ridge: float) -> float:
        rows, y = ([lagged(x).reshape(-1, 15) for x in TRIALS], TARGETS)
        a, b = (np.concatenate([part[i] for i in train]) for part in (rows, y))
        fit = Ridge(ridge).fit(a, b)
        a, b = (np.concatenate([part[i] for i in test]) for part in (rows, y))
        return r2_score(b, fit.predict(a))

    for found, (train, test) in zip(scores, KFold(3).split(TRIALS), strict=True):
        inner = [(train[a], train[b]) for a, b in KFold(2).split(train)]
        means = [np.mean([score(a, b, s) for a, b in inner]) for s in strengths]
        best = strengths[int(np.argmax(means))]
        assert found == pytest.approx(score(train, test, best), abs=1e-12)


def test_groups_go_where_metadata_are_routed() -> None:
    """To the splitter, which keeps trials whole, and to the regressor, whose lags end with them."""
    with config_context(enable_metadata_routing=True):
        ours = ConvRegressor((-1, 3)).set_fit_request(groups=True).set_score_request(groups=True)
        pipe = make_pipeline(StandardScaler(), ours)
        scores = cross_val_score(pipe, X, Y, cv=GroupKFold(3), params={"groups": GROUPS})
    for found, (train, test) in zip(scores, GroupKFold(3).split(X, Y, GROUPS), strict=True):
        scaler = StandardScaler().fit(X[train])
        fit = ConvRegressor((-1, 3)).fit(scaler.transform(X[train]), Y[train], groups=GROUPS[train])
        wanted = fit.score(scaler.transform(X[test]), Y[test], groups=GROUPS[test])
        assert found == pytest.approx(wanted, abs=1e-12)


def test_it_is_cloned_and_pickled() -> None:
    method = {"solver": cs.NormalEquations(), "penalty": cs.Ridge(2.0), "noise": cs.ARNoise(1)}
    fit = ConvRegressor((-1, 3), edges="drop", **method).fit(TRIALS, TARGETS)
    again = clone(fit)
    assert again.get_params() == fit.get_params()
    assert not hasattr(again, "coef_")
    kept = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(kept.predict(X), fit.predict(X))
    assert kept.solution_.status == fit.solution_.status


METHODS: dict[str, dict[str, Any]] = {
    "ridge": {"ridge": 3.0},
    "solver": {"solver": "qr", "ridge": [1.0, 2.0]},
    "penalty": {"penalty": "smooth", "select": "bic"},
    "grid": {"penalty": cs.Smooth(order=2), "grid": [1.0, 10.0], "select": cs.CrossValidation()},
    "loss": {"loss": cs.HuberLoss(2.0)},
    "noise": {"noise": "ar2"},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_that_of_solve(name: str) -> None:
    """The parameters have the names of `solve`, and can be set later."""
    problem = cs.Problem(TRIALS, TARGETS, lags=(-1, 3), edges="zeros", bias=True)
    wanted = cs.solve(problem, **METHODS[name])
    given = ConvRegressor((-1, 3), **METHODS[name])
    later = clone(ConvRegressor((-1, 3)).set_params(**METHODS[name]))
    for ours in (given.fit(TRIALS, TARGETS), later.fit(TRIALS, TARGETS)):
        np.testing.assert_array_equal(ours.solution_.kernel, wanted.kernel)
        assert ours.solution_.stats["call"] == wanted.stats["call"]


def test_a_search_chooses_among_penalties_and_losses() -> None:
    choices = {"penalty": [None, cs.Smooth(0.1), cs.Ridge(1e6)], "loss": ["squared"]}
    grid = [choices, {"loss": ["huber", "absolute"]}]
    search = GridSearchCV(ConvRegressor((-1, 3)), grid, cv=KFold(3)).fit(TRIALS, TARGETS)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert np.argmin(scores) == 2
    for found, options in zip(scores, search.cv_results_["params"], strict=True):
        wanted = cross_val_score(ConvRegressor((-1, 3), **options), TRIALS, TARGETS, cv=KFold(3))
        assert found == wanted.mean()


def test_scores_and_predictions_are_as_strict_as_fits() -> None:
    fit = ConvRegressor((-1, 3)).fit(TRIALS, TARGETS)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit.score([TRIALS[0], TRIALS[1]], [TARGETS[1], TARGETS[0]])
    with pytest.raises(ValueError, match="separate trials"):
        fit.predict(TRIALS, groups=GROUPS)
    with pytest.raises(TypeError, match="masked array"):
        fit.predict(np.ma.masked_greater(X, 2))
    columns = [np.full((n, 1), i + 1.0) for i, n in enumerate(LENGTHS)]
    again = ConvRegressor((-1, 3)).fit(TRIALS, TARGETS, columns)
    plain = ConvRegressor((-1, 3)).fit(TRIALS, TARGETS, [*range(1, 7)])
    np.testing.assert_allclose(again.coef_, plain.coef_, rtol=1e-10)
    assert again.score(TRIALS, TARGETS, columns) == pytest.approx(
        plain.score(TRIALS, TARGETS, [*range(1, 7)]), abs=1e-12
    )


def test_the_lines_of_the_documentation_run() -> None:
    text = (Path(__file__).parents[2] / "docs/coming_from.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```\{testcode\}\n(from convsolve\.sklearn .*?)```", text, re.DOTALL)
    x = np.random.default_rng(0).standard_normal((960, 1))
    given: dict[str, Any] = {"np": np, "fs": 64, "x": x, "y": x[:, 0]}
    exec(code, given)
    assert (given["scores"] > 0.9).all()


MISTAKES: dict[str, tuple[dict[str, Any], tuple[Any, ...], type[Exception], str]] = {
    "edges": ({"edges": "wrap"}, (X, Y), ValueError, "edges='wrap' .* 'zeros' .* 'drop'"),
    "both lags": (
        {"lags": (0, 1), "tmin": 0, "tmax": 1, "fs": 10}, (X, Y), TypeError, "either lags=",
    ),
    "no rate": ({"tmin": 0, "tmax": 1}, (X, Y), TypeError, "need all of tmin=, tmax= and fs="),
    "two penalties": (
        {"ridge": 1.0, "penalty": "smooth"}, (X, Y), TypeError, "give ridge= or penalty=, not both",
    ),
    "a penalty as solver": (
        {"solver": cs.Smooth()}, (X, Y), TypeError, r"not a solver: use penalty=Smooth\(",
    ),
    "a name of no penalty": ({"penalty": "rigde"}, (X, Y), ValueError, "did you mean 'ridge'"),
    "a choice of nothing": ({"select": "gcv"}, (X, Y), TypeError, "give penalty="),
    "groups of trials": ({}, (TRIALS, TARGETS, None, GROUPS), ValueError, "separate trials"),
    "few groups": ({}, (X, Y, None, GROUPS[:-1]), ValueError, "inconsistent numbers of samples"),
    "few targets": ({}, (TRIALS, TARGETS[:-1]), ValueError, "inconsistent numbers of samples"),
    "short target": (
        {}, (TRIALS, [*TARGETS[:-1], TARGETS[-1][:-1]]), ValueError, "inconsistent numbers",
    ),
    "features": ({}, ([*TRIALS[:-1], TRIALS[-1][:, :2]], TARGETS), ValueError, "has 2 features"),
    "nan": ({}, ([*TRIALS[:-1], TRIALS[-1] * np.nan], TARGETS), ValueError, "contains NaN"),
    "nan in y": ({}, (TRIALS, [*TARGETS[:-1], TARGETS[-1] * np.nan]), ValueError, "y contains NaN"),
    "masked": ({}, (np.ma.masked_greater(X, 2), Y), TypeError, "^X is a masked array"),
    "masked y": ({}, (X, np.ma.masked_greater(Y, 2)), TypeError, "^y is a masked array"),
    "masked trial": (
        {}, (TRIALS, [*TARGETS[:-1], np.ma.masked_greater(TARGETS[-1], 2)]), TypeError,
        r"^y\[5\] is a masked array",
    ),
    "flat trials": (
        {}, ([x[:, 0] for x in TRIALS], [y[:, 0] for y in TARGETS]), ValueError,
        r"as \(samples, 1\)",
    ),
    "missing labels": (
        {}, (X, Y, None, np.where(GROUPS == 2, np.nan, GROUPS)), ValueError, "missing labels",
    ),
    "missing words": (
        {}, (X, Y, None, pd.Series(GROUPS, dtype="Int64").where(GROUPS != 2)), ValueError,
        "missing labels",
    ),
    "negative": ({}, (X, Y, -np.ones(len(X))), ValueError, "not negative"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str) -> None:
    options, given, error, words = MISTAKES[name]
    with pytest.raises(error, match=words):
        ConvRegressor(**options).fit(*given)


def test_outputs_are_called_as_the_columns_of_y() -> None:
    x = pd.DataFrame(np.random.default_rng(0).standard_normal((60, 1)), columns=["env"])
    y = pd.DataFrame(np.random.default_rng(1).standard_normal((60, 2)), columns=["Cz", "Pz"])
    for found in (ConvRegressor((0, 2)).fit(x, y), ConvRegressor((0, 2)).fit([x, x], [y, y])):
        assert found.solution_._names.outputs == ("Cz", "Pz")
        assert found.solution_._names.channels == ("env",)
