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
from sklearn.metrics import explained_variance_score, r2_score
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


@pytest.mark.parametrize("form", ["list", "groups", "one output"])
def test_lags_end_with_their_trial(form: str) -> None:
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


def test_windows_and_bases_are_those_of_a_problem() -> None:
    given = {"lags": {0: (-1, 3), 1: (0, 5), 2: (0, 2)}, "basis": {1: cs.BSplines(4)}}
    ours = clone(ConvRegressor(**given)).fit(TRIALS, TARGETS)
    fit = cs.solve(cs.Problem(TRIALS, TARGETS, edges="zeros", bias=True, **given))
    np.testing.assert_array_equal(ours.coef_, fit.kernel[::-1].transpose(2, 1, 0))
    assert not ours.coef_[:, 0, 5:].any()
    for found, wanted in zip(ours.predict(TRIALS), map(fit.predict, TRIALS), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_without_lags_it_is_linear_regression_and_dropped_edges_are_not_fitted() -> None:
    theirs = LinearRegression().fit(X, Y)
    np.testing.assert_allclose(ConvRegressor().fit(X, Y).coef_[:, :, 0], theirs.coef_, atol=1e-12)
    inner = np.concatenate([lagged(x)[3:-1] for x in TRIALS]).reshape(-1, 15)
    theirs = LinearRegression().fit(inner, np.concatenate([y[3:-1] for y in TARGETS]))
    ours = ConvRegressor((-1, 3), edges="drop").fit(TRIALS, TARGETS)
    np.testing.assert_allclose(ours.coef_.reshape(2, -1), theirs.coef_, atol=1e-12)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-12)
    found = np.concatenate(ours.predict(TRIALS))
    np.testing.assert_allclose(found, theirs.predict(ROWS), atol=1e-12)


def test_trials_of_one_length_are_an_array_of_three_axes() -> None:
    x, y = np.stack([a[:60] for a in TRIALS]), np.stack([b[:60, 0] for b in TARGETS])
    fit, listed = ConvRegressor((0, 2)).fit(x, y), ConvRegressor((0, 2)).fit([*x], [*y])
    np.testing.assert_array_equal(fit.coef_, listed.coef_)
    np.testing.assert_array_equal(fit.predict(x), np.stack(listed.predict([*x])))
    assert fit.score(x, y) == listed.score([*x], [*y])


def test_weights_count_samples_or_trials() -> None:
    of_trials = [1.0, 0.0, 2.0, 1.0, 0.5, 3.0]
    of_samples = np.repeat(of_trials, LENGTHS)
    theirs = LinearRegression().fit(ROWS, Y, of_samples)
    listed = ConvRegressor((-1, 3)).fit(TRIALS, TARGETS, of_trials)
    sampled = ConvRegressor((-1, 3)).fit(X, Y, of_samples, GROUPS)
    rows = [np.full(n, w) for n, w in zip(LENGTHS, of_trials, strict=True)]
    each = ConvRegressor((-1, 3)).fit(TRIALS, TARGETS, rows)
    columns = ConvRegressor((-1, 3)).fit(TRIALS, TARGETS, [w[:, None] for w in rows])
    for ours in (listed, sampled, each, columns):
        np.testing.assert_allclose(ours.coef_.reshape(2, -1), theirs.coef_, atol=1e-12)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-12)
    wanted = r2_score(Y, theirs.predict(ROWS), sample_weight=of_samples)
    assert listed.score(TRIALS, TARGETS, of_trials) == pytest.approx(wanted, abs=1e-12)
    assert sampled.score(X, Y, of_samples, GROUPS) == pytest.approx(wanted, abs=1e-12)


def test_lags_in_seconds_and_names_of_columns() -> None:
    x, y = (pd.DataFrame(a, columns=n) for a, n in ((X, ["Fz", "Cz", "Pz"]), (Y, ["l", "r"])))
    for fit in (ConvRegressor(tmin=-0.01, tmax=0.03, fs=100).fit(*given) for given in (
        (x, y), ([x, x], [y, y])
    )):  # fmt: skip
        assert fit.times_ == pytest.approx([-0.01, 0, 0.01, 0.02, 0.03])
        assert fit.feature_names_in_.tolist() == ["Fz", "Cz", "Pz"]
        names = fit.solution_._names
        assert (names.channels, names.outputs) == (("Fz", "Cz", "Pz"), ("l", "r"))
    with pytest.raises(ValueError, match="feature names should match"):
        fit.predict(x[["Cz", "Fz", "Pz"]])


METHODS: list[dict[str, Any]] = [
    {"solver": "qr", "ridge": [1.0, 2.0]},
    {"penalty": "smooth", "select": "bic"},
    {
        "penalty": "ridge",
        "select": cs.CrossValidation(score=explained_variance_score),
    },
    {"penalty": "ridge", "select": cs.CrossValidation(3, average="records")},
    {"penalty": cs.Smooth(order=2), "grid": [1.0, 10.0], "select": cs.CrossValidation()},
    {"loss": cs.HuberLoss(2.0)},
    {"solver": "normal", "penalty": cs.Ridge(2.0), "noise": cs.ARNoise(1)},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: " ".join(method))
def test_a_method_is_that_of_solve(method: dict[str, Any]) -> None:
    """The parameters have the names of `solve`, can be set later, are cloned and pickled."""
    problem = cs.Problem(TRIALS, TARGETS, lags=(-1, 3), edges="zeros", bias=True)
    wanted = cs.solve(problem, **method)
    given = ConvRegressor((-1, 3), **method).fit(TRIALS, TARGETS)
    assert clone(given).get_params() == given.get_params()
    assert not hasattr(clone(given), "coef_")
    later = ConvRegressor((-1, 3)).set_params(**method).fit(TRIALS, TARGETS)
    for ours in (given, later, pickle.loads(pickle.dumps(given))):
        np.testing.assert_array_equal(ours.solution_.kernel, wanted.kernel)
        assert ours.solution_.stats["call"] == wanted.stats["call"]


def test_a_search_varies_bases_and_the_settings_of_objects() -> None:
    bases = [cs.BSplines(4), cs.BSplines(6), None]
    pipe = make_pipeline(StandardScaler(), ConvRegressor((-1, 5), basis=bases[0]))
    for model, before in ((pipe[1], ""), (pipe, "convregressor__")):
        grids = [{"basis": bases[:2]}, {"basis__n": [4, 6]}]
        found = [
            GridSearchCV(model, {before + k: v for k, v in grid.items()}, cv=3).fit(X, Y)
            for grid in grids
        ]
        scores = [search.cv_results_["mean_test_score"] for search in found]
        np.testing.assert_array_equal(*scores)
        assert scores[0][0] != scores[0][1]
    assert pipe[1].basis == bases[0]
    both = {"basis__n": 7, "basis__degree": 2, "penalty__strength": 3.0, "fs": 10.0}
    changed = ConvRegressor(basis=cs.BSplines(4), penalty=cs.Ridge(1.0)).set_params(**both)
    assert changed.basis == cs.BSplines(7, degree=2)
    assert (changed.penalty, changed.fs) == (cs.Ridge(3.0), 10.0)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (
            {"basis__n": 3},
            ValueError,
            r"basis__n needs an object .* is 'bsplines8'",
        ),
        ({"penalty__strength": 3}, ValueError, "penalty__strength needs .* penalty is None"),
        ({"solver__tol": 3}, ValueError, "needs an object .* is <class"),
        ({"bases__n": 3}, ValueError, "Invalid parameter 'bases'"),
    ],
)
def test_settings_that_no_object_has(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    model = ConvRegressor(
        (0, 9), basis="bsplines8", loss=cs.HuberLoss(1.0), solver=cs.GradientDescent
    )
    with pytest.raises(error, match=words):
        model.set_params(**given)


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


NAN = np.nan
TYPE, VALUE = TypeError, ValueError
MISTAKES: list[tuple[dict[str, Any], tuple[Any, ...], type[Exception], str]] = [
    ({"lags": (0, 1), "tmin": 0, "tmax": 1, "fs": 10}, (X, Y), TYPE, "either lags="),
    ({"ridge": 1.0, "penalty": "smooth"}, (X, Y), TYPE, "give ridge= or penalty=, not both"),
    ({}, (TRIALS, TARGETS, None, GROUPS), VALUE, "separate trials"),
    ({}, (X, Y, None, GROUPS[:-1]), VALUE, "inconsistent numbers of samples"),
    ({}, ([*TRIALS[:-1], TRIALS[-1] * NAN], TARGETS), VALUE, "contains NaN"),
    ({}, (np.ma.masked_greater(X, 2), Y), TYPE, "^X is a masked array"),
    ({}, (TRIALS, [*TARGETS[:-1], np.ma.masked_greater(TARGETS[-1], 2)]), TYPE, r"^y\[5\] is a m"),
    (
        {}, (X, Y, None, pd.Series(GROUPS, dtype="Int64").where(GROUPS != 2)), VALUE,
        "missing labels",
    ),
    ({}, (X, Y, -np.ones(len(X))), VALUE, "not negative"),
]  # fmt: skip


def test_mistakes_are_named() -> None:
    for options, given, error, words in MISTAKES:
        with pytest.raises(error, match=words):
            ConvRegressor(**options).fit(*given)
    fit = ConvRegressor((-1, 3)).fit(TRIALS, TARGETS)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit.score([TRIALS[0], TRIALS[1]], [TARGETS[1], TARGETS[0]])
    with pytest.raises(ValueError, match="separate trials"):
        fit.predict(TRIALS, groups=GROUPS)
    with pytest.raises(TypeError, match="masked array"):
        fit.predict(np.ma.masked_greater(X, 2))
