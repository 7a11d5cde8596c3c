"""`convsolve.sklearn.ConvRegressor` where scikit-learn's tools use it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import convsolve as cs
from convsolve.sklearn import ConvRegressor

RNG = np.random.default_rng(0)
LENGTHS = (60, 75, 60, 90, 66, 70)
TRIALS = [RNG.standard_normal((n, 3)) for n in LENGTHS]
TRUE = RNG.standard_normal((2, 3, 5))
GROUPS, STARTS = np.repeat(np.arange(6), LENGTHS), np.cumsum(LENGTHS)[:-1]


def lagged(x: np.ndarray) -> np.ndarray:
    """The lag matrix (T, features, lags) by hand, for lags -1 to 3."""
    whole = np.pad(x, ((3, 1), (0, 0)))
    return np.stack([whole[3 - lag : 3 - lag + len(x)] for lag in range(-1, 4)], axis=-1)


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


@pytest.mark.parametrize("form", ["list", "groups", "one output"])
def test_lags_end_with_their_trial(form: str) -> None:
    """As ridge regression on the lag matrix of every trial by hand."""
    y = Y[:, 0] if form == "one output" else Y
    theirs = Ridge(3.0).fit(ROWS, y)
    ours = ConvRegressor((-1, 3), ridge=3.0)
    data, groups = ((X, y), {"groups": GROUPS}) if form != "list" else ((TRIALS, TARGETS), {})
    found = ours.fit(*data, **groups).predict(data[0], **groups)
    found = found if groups else np.concatenate(found)
    np.testing.assert_allclose(ours.coef_.reshape(theirs.coef_.shape), theirs.coef_, atol=1e-12)
    np.testing.assert_allclose(found, theirs.predict(ROWS), atol=1e-12)
    assert found.shape == y.shape
    assert ours.score(*data, **groups) == pytest.approx(theirs.score(ROWS, y), abs=1e-12)
    assert ours.lags_.tolist() == [-1, 0, 1, 2, 3]
    assert ours.times_ is None


def test_dropped_edges_are_not_fitted_but_predicted() -> None:
    inner = np.concatenate([lagged(x)[3:-1] for x in TRIALS]).reshape(-1, 15)
    theirs = LinearRegression().fit(inner, np.concatenate([y[3:-1] for y in TARGETS]))
    ours = ConvRegressor((-1, 3), edges="drop").fit(TRIALS, TARGETS)
    np.testing.assert_allclose(ours.coef_.reshape(2, -1), theirs.coef_, atol=1e-12)
    found = np.concatenate(ours.predict(TRIALS))
    np.testing.assert_allclose(found, theirs.predict(ROWS), atol=1e-12)


def test_trials_of_one_length_are_an_array_of_three_axes() -> None:
    x, y = np.stack([a[:60] for a in TRIALS]), np.stack([b[:60, 0] for b in TARGETS])
    fit, listed = ConvRegressor((0, 2)).fit(x, y), ConvRegressor((0, 2)).fit([*x], [*y])
    np.testing.assert_array_equal(fit.predict(x), np.stack(listed.predict([*x])))
    assert fit.score(x, y) == listed.score([*x], [*y])


def test_weights_count_samples_or_trials() -> None:
    of_trials = [1.0, 0.0, 2.0, 1.0, 0.5, 3.0]
    of_samples = np.repeat(of_trials, LENGTHS)
    theirs = LinearRegression().fit(ROWS, Y, of_samples)
    listed = ConvRegressor((-1, 3)).fit(TRIALS, TARGETS, np.split(of_samples, STARTS))
    sampled = ConvRegressor((-1, 3)).fit(X, Y, of_samples, GROUPS)
    for ours in (listed, sampled):
        np.testing.assert_allclose(ours.coef_.reshape(2, -1), theirs.coef_, atol=1e-12)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-12)
    wanted = theirs.score(ROWS, Y, of_samples)
    assert listed.score(TRIALS, TARGETS, of_trials) == pytest.approx(wanted, abs=1e-12)
    assert sampled.score(X, Y, of_samples, GROUPS) == pytest.approx(wanted, abs=1e-12)


def test_lags_in_seconds_and_names_of_columns() -> None:
    x, y = (pd.DataFrame(a, columns=n) for a, n in ((X, ["Fz", "Cz", "Pz"]), (Y, ["l", "r"])))
    for given in ((x, y), ([x, x], [y, y])):
        fit = ConvRegressor(tmin=-0.01, tmax=0.03, fs=100).fit(*given)
        assert fit.times_ == pytest.approx([-0.01, 0, 0.01, 0.02, 0.03])
        assert fit.feature_names_in_.tolist() == fit.solution_.channels == ["Fz", "Cz", "Pz"]
        assert fit.solution_.outputs == ["l", "r"]
    with pytest.raises(ValueError, match="feature names should match"):
        fit.predict(x[["Cz", "Fz", "Pz"]])


CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"lags": {0: (-1, 3), 1: (0, 5), 2: (0, 2)}, "basis": {1: cs.BSplines(4)}}, {}),
    ({"lags": (-1, 3)}, {"solver": "qr", "ridge": [1.0, 2.0]}),
    ({"lags": (0, 1)}, {"penalty": "ridge", "select": cs.CrossValidation(score=r2_score)}),
    ({"lags": (-1, 3)}, {"solver": "normal", "penalty": cs.Ridge(2.0), "noise": cs.ARNoise(1)}),
]


@pytest.mark.parametrize(("geometry", "method"), CASES)
def test_parameters_are_those_of_problem_and_solve(geometry: Any, method: Any) -> None:
    """They can be cloned and pickled."""
    fit = cs.solve(cs.Problem(TRIALS, TARGETS, edges="zeros", bias=True, **geometry), **method)
    given = ConvRegressor(**geometry, **method).fit(TRIALS, TARGETS)
    assert clone(given).get_params() == given.get_params()
    for ours in (given, pickle.loads(pickle.dumps(given))):
        np.testing.assert_array_equal(ours.coef_, fit.kernel[::-1].transpose(2, 1, 0))
        assert ours.solution_.stats["call"] == fit.stats["call"]
        for found, x in zip(ours.predict(TRIALS), TRIALS, strict=True):
            np.testing.assert_allclose(found, fit.predict(x), atol=1e-12)


def test_a_search_varies_bases_and_the_settings_of_objects() -> None:
    pipe = make_pipeline(StandardScaler(), ConvRegressor((-1, 5), basis=cs.BSplines(4)))
    scores = []
    for name, values in ("basis", [cs.BSplines(4), cs.BSplines(6)]), ("basis__n", [4, 6]):
        search = GridSearchCV(pipe, {f"convregressor__{name}": values}, cv=3).fit(X, Y)
        scores.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*scores)
    assert scores[0][0] != scores[0][1]
    assert pipe[1].basis == cs.BSplines(4)
    with pytest.raises(ValueError, match=r"basis__n: basis=.* has no settings"):
        ConvRegressor(basis="bsplines8").set_params(basis__n=3)


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


NAN, TYPE, VALUE = np.nan, TypeError, ValueError
MISTAKES: list[tuple[dict[str, Any], tuple[Any, ...], type[Exception], str]] = [
    ({"lags": (0, 1), "tmin": 0, "tmax": 1, "fs": 10}, (X, Y), TYPE, "give one of lags="),
    ({}, (TRIALS, TARGETS, None, GROUPS), VALUE, "separate trials"),
    ({}, (TRIALS, TARGETS[::-1]), VALUE, "inconsistent numbers of samples"),
    ({}, ([x[:, 0] for x in TRIALS], TARGETS), VALUE, "Expected 2D array, got 1D array"),
    ({}, (X, Y, None, GROUPS[:-1]), VALUE, "inconsistent numbers of samples"),
    ({}, (X, Y, None, np.where(GROUPS == 2, NAN, GROUPS)), VALUE, "missing labels"),
]


def test_mistakes_are_named() -> None:
    for options, given, error, words in MISTAKES:
        with pytest.raises(error, match=words):
            ConvRegressor(**options).fit(*given)
    fit = ConvRegressor((-1, 3)).fit(TRIALS, TARGETS)
    with pytest.raises(ValueError, match="separate trials"):
        fit.predict(TRIALS, groups=GROUPS)
