"""Tests of held-out correlations compared with refits from explicit lag matrices."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats

import convsolve as cs

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 60, 2)) + 3
Y = RNG.standard_normal((6, 60, 3)) * [1.0, 1e-3, 1e4] + 0.2 * X[..., :1]
NAMES = {"channels": ["envelope", "word"], "outputs": ["a", "b", "c"]}


def explicit(x: Any, y: Any, taps: int, ridge: float, centred: bool) -> Any:
    """Mean held-out correlation (outputs,) of records that are held out one by one."""
    a = [np.hstack([b[taps - 1 - i : len(b) - i] for i in range(taps)]) for b in x]
    y = [b[taps - 1 :] for b in y]
    if centred:
        a, y = ([b - b.mean(0) for b in both] for both in (a, y))
    found = []
    for k in range(len(a)):
        rest = (np.concatenate(both[:k] + both[k + 1 :]) for both in (a, y))
        rows, out = (b - b.mean(0) for b in rest)
        h = np.linalg.solve(rows.T @ rows + ridge * np.eye(rows.shape[1]), rows.T @ out)
        pairs = zip((a[k] @ h).T, y[k].T, strict=True)
        found.append([np.corrcoef(*pair)[0, 1] for pair in pairs])
    return np.mean(found, axis=0)


@pytest.mark.parametrize("constant", [{"bias": True}, {"drift": 0}])
def test_y_of_all_orders_of_the_records_is_refitted(constant: Any) -> None:
    x, y = X[:4], Y[:4] * np.array([1, 8, 0.1, 3])[:, None, None]
    cv = cs.cross_validate(cs.Problem(x, y, lags=(0, 3), **NAMES, **constant), ridge=50.0)
    test = cv.permutation_test()
    orders = [*itertools.permutations(range(4))]
    wanted = [explicit(x, y[[*order]], 4, 50.0, "drift" in constant) for order in orders]
    np.testing.assert_allclose(test.statistic, wanted[0], atol=1e-10)
    np.testing.assert_allclose(test.statistic, cv.correlation.mean(0), atol=1e-10)
    np.testing.assert_allclose(test.null_distribution, wanted[1:], atol=1e-10)
    larger = np.array(wanted) >= wanted[0] - 1e-9
    np.testing.assert_allclose(test.pvalue, larger.mean(0))
    largest = np.max(wanted, axis=1)
    assert test.joint_pvalue == pytest.approx((largest >= largest[0] - 1e-9).mean())
    assert test.joint_statistic == test.statistic.max()
    assert str(test).splitlines()[2].split()[:3] == ["maximum", "of", "3"]


METHODS: tuple[dict[str, Any], ...] = (
    {"ridge": [1.0, 10.0, 100.0]},
    {"penalty": "smooth"},
    {"penalty": "tc", "select": "evidence"},
    {"penalty": cs.Tikhonov(3.0, matrix=np.diff(np.eye(4), axis=0))},
    {"penalty": cs.Ridge({0: 1.0, 1: 30.0}, channel_groups=(0, 1))},
    {},
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("stated", "folds"), [({"drift": 1}, None), ({"edges": "zeros"}, 3), ({}, [[0], [4, 2]])]
)
def test_y_itself_has_the_scores_of_cross_validation(method: Any, stated: Any, folds: Any) -> None:
    cv = cs.cross_validate(cs.Problem(X, Y, lags=(0, 3), **stated), folds=folds, **method)
    found = cv.permutation_test(draws=19).statistic
    np.testing.assert_allclose(found, cv.correlation.mean(0), rtol=1e-7, atol=1e-10)


def test_records_are_cut_to_the_shortest_and_groups_are_separate() -> None:
    x, y = [a[: 60 - i] for i, a in enumerate(X)], [a[: 60 - i, :2] for i, a in enumerate(Y)]
    cut = X[:, :55], Y[:, :55, :2]
    stated: dict[str, Any] = {"lags": (-1, 2), "groups": 2, "bias": True}
    found, wanted = (
        cs.cross_validate(cs.Problem(*data, **stated), ridge=9.0).permutation_test(50, seed=3)
        for data in ((x, y), cut)
    )
    np.testing.assert_allclose(found.null_distribution, wanted.null_distribution, rtol=1e-9)


def test_y_of_one_record_is_shifted() -> None:
    x, y = X[0], Y[0, :, :2]

    def score(y: Any) -> Any:
        stated: dict[str, Any] = {"lags": (-1, 0), "edges": "zeros", "bias": True}
        return cs.cross_validate(cs.Problem(x, y, **stated), ridge=9.0)

    test = score(y).permutation_test()
    assert test.null_distribution.shape == (59, 2)
    for shift in (0, 1, 30, 59):
        found = [test.statistic, *test.null_distribution][shift]
        wanted = score(np.roll(y, shift, axis=0)).correlation.mean(0)
        np.testing.assert_allclose(found, wanted, atol=1e-10)


def scores(x: Any = X, y: Any = Y, stated: Any = (), **method: Any) -> Any:
    return cs.cross_validate(cs.Problem(x, y, lags=(0, 3), **dict(stated)), **method)


GAPS = {"mask": np.arange(60) < np.full((6, 1), 50)}
REFUSED: dict[str, Callable[[], Any]] = {
    "p below 5 % needs 4 whole records or more, or one, got 3": lambda: scores(X[:3], Y[:3]),
    "4 whole records or more, or one, got 4": lambda: scores(X[:4], Y[:4], folds=5),
    "all records have the same x": lambda: scores(X[[0] * 6]),
    "rows have a mask": lambda: scores(stated=GAPS),
    "weights or confounds": lambda: scores(stated={"weights": range(1, 7)}),
    "or confounds": lambda: scores(stated={"confounds": X[..., :1] ** 2}),
    "channels have several strengths": lambda: scores(
        penalty=cs.Ridge([[1, 2, 3], [3, 2, 2]], channel_groups=(0, 1))
    ),
    "needs exact least squares, or a quadratic penalty": lambda: scores(penalty=cs.Lasso(1.0)),
    "or a quadratic penalty": lambda: scores(noise="ar"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_exchanged_is_refused(words: str) -> None:
    cv = REFUSED[words]()
    with pytest.raises(ValueError, match=words):
        cv.permutation_test()


def test_signs_of_differences_are_flipped() -> None:
    problem = cs.Problem(X, Y, lags=(0, 3), **NAMES)
    whole = cs.cross_validate(problem, ridge=5.0)
    less = cs.cross_validate(problem.without("envelope"), ridge=5.0)
    test, d = whole.compare(less), whole.correlation - less.correlation
    for found, own in zip([test.joint_pvalue, *test.pvalue], [d.mean(1), *d.T], strict=True):
        how: Any = {"permutation_type": "samples", "alternative": "greater", "n_resamples": 64}
        assert found == pytest.approx(scipy.stats.permutation_test((own,), np.mean, **how).pvalue)
    np.testing.assert_allclose(test.statistic, d.mean(0))
    assert "4 to 6 times the power" in " ".join(str(test).split())
    many = [scores(np.tile(X, (3, 1, 1))[:n], np.tile(Y, (3, 1, 1))[:n]) for n in (13, 4, 5)]
    assert many[0].compare(many[0]).pvalue.tolist() == [1.0] * 3
    few = (many[1], many[1]), (scores(X[0], Y[0]),) * 2
    for pair, words in ((few[0], "5 folds"), (few[1], "whole"), (many[1:], "the same records")):
        with pytest.raises(ValueError, match=words):
            pair[0].compare(pair[1])


def test_a_problem_of_some_channels_keeps_rows_windows_and_bases() -> None:
    x = np.random.default_rng(1).standard_normal((90, 3))
    lags = {"a": (0, 9), "b": (-2, 3), "c": (0, 5)}
    given: dict[str, Any] = {"basis": {"a": "bsplines4"}, "channels": [*lags], "lags": lags}
    problem = cs.Problem(x, x[:, :1] + x[:, 1:2], **given)
    found, same = problem.without("b"), problem.only([0, "c"])
    assert (found.channels, same.channels) == (["a", "c"],) * 2
    assert found.n_equations == problem.n_equations
    assert found.coefficient_names == [n for n in problem.coefficient_names if n[0] != "b"]
    # The same as with coefficients of a window that is zero outside.
    rows, y = x[:, [0, 2]], x[:, :1] + x[:, 1:2]
    wanted = cs.Problem(
        rows, y, channels=["a", "c"], basis={"a": "bsplines4"}, edges="drop",
        lags={"a": (0, 9), "c": (0, 5)}, mask=(np.arange(90) < 88),
    )  # fmt: skip
    for solved in (cs.solve(found, ridge=2.0), cs.solve(same, penalty=cs.Ridge([2.0]))):
        np.testing.assert_allclose(solved.kernel[:10], cs.solve(wanted, ridge=2.0).kernel)
    for call, words in (
        (lambda: problem.without([*lags]), "no channel is left"),
        (lambda: problem.only("d"), "there is no channel 'd'"),
        (lambda: problem.only(3), "at most 2"),
        (lambda: cs.Problem(x, y[:, [0] * 3], lags=(0, 1), groups=3).only(0), "of several groups"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_the_mean_over_outputs_is_printed_with_its_standard_error() -> None:
    cv = scores()
    line = str(cv).splitlines()[2].split()
    mean = cv.correlation.mean(1)
    assert line[:3] == ["mean", "of", "3"]
    assert float(line[6]) == pytest.approx(mean.mean(), abs=5e-4)
    assert float(line[8]) == pytest.approx(mean.std(ddof=1) / np.sqrt(6), abs=5e-4)


def test_an_output_that_does_not_vary_and_a_short_record() -> None:
    rng = np.random.default_rng(3)
    x, noise = rng.standard_normal((2, 6, 200, 1))
    y = np.concatenate([x + noise, 0 * x, noise], axis=2)
    scores = cs.cross_validate(cs.Problem(x, y, lags=(0, 2)), ridge=1.0)
    mean = scores.r2[:, [0, 2]].mean()
    assert f"mean of 3   {mean:.3f}" in str(scores)
    other = cs.cross_validate(cs.Problem(x, y, lags=(0, 1)), ridge=1.0)
    compared = scores.compare(other)
    assert np.isnan(compared.pvalue).tolist() == [False, True, False]
    assert compared.joint_statistic == pytest.approx(np.nanmean(compared.statistic))
    ragged = cs.Problem([*x[:5], x[5, :90]], [*y[:5], y[5, :90]], lags=(0, 2))
    found = cs.cross_validate(ragged, ridge=1.0).permutation_test(draws=19)
    assert "records of up to 200 samples are cut to 90" in str(found)
