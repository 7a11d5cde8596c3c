"""Arguments that are refused: a table of calls, errors and the part of the message that helps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import convsolve as cs

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 2)), RNG.standard_normal((38, 2))
FLAGS = np.ones(38, bool)
LINE = X[:, 0]
FULL = cs.Problem(X, Y, kernel_size=3)
ONES, GROUPS = np.ones((3, 2)), {"channel_groups": (0, 1)}
FIT, REPORT = cs.solve(FULL), cs.identify(FULL)
SILENT = cs.identify(cs.Problem(np.zeros(9), kernel_size=3))
ONE_ROW = cs.Problem(X[:3], Y[:1], kernel_size=3)
TWO_LENGTHS = cs.SquaredExponential(length=(1.0, 2.0))
OWN = cs.CrossValidation(score=lambda y, p: -np.abs(y - p).max())
RECORDS = cs.CrossValidation(average="records")


def no_score(y: np.ndarray, prediction: np.ndarray) -> float:
    """A function with a fault."""
    return np.nan


NO_SCORE = cs.CrossValidation(score=no_score)


def problem(**given: Any) -> cs.Problem:
    return cs.Problem(**{"x": X, "y": Y, "kernel_size": 3, **given})


def lagged(**given: Any) -> cs.Problem:
    return cs.Problem(**{"x": X, "lags": (0, 4), **given})


def chosen(folds: Any, *records: Any) -> cs.Solution:
    """A strength chosen by folds of a single record, or of records given."""
    made = cs.Problem(*(records or (X, Y)), kernel_size=3)
    return cs.solve(made, penalty="ridge", select=cs.CrossValidation(folds))


def solved(solver: Any = None, **options: Any) -> cs.Solution:
    return cs.solve(FULL, solver, **options)


def ridge(**options: Any) -> cs.Solution:
    """A ridge whose strength is selected."""
    return solved(penalty="ridge", **options)


def banded(**options: Any) -> cs.Solution:
    """A ridge whose strengths of two groups of channels are selected."""
    return solved(penalty=cs.Ridge(**GROUPS), **options)


def adjusted(name: str, given: Any) -> cs.Solution:
    """A function that scores rows with weights or confounds."""
    return cs.solve(problem(**{name: given}), penalty="ridge", select=OWN)


def constant_record(score: str) -> cs.Solution:
    """Folds of two records, of which one of the second fold has a constant y."""
    y = [Y, Y, Y, 0 * Y]
    select = cs.CrossValidation(2, score=score, average="records")
    return cs.solve(cs.Problem([X] * 4, y, kernel_size=3), penalty="ridge", select=select)


def spline(kind: str, correlation: float) -> cs.StableSpline:
    return cs.StableSpline(kind=kind, correlation=correlation)


def tikhonov(matrix: Any) -> cs.Tikhonov:
    return cs.Tikhonov(1.0, matrix=matrix)


Row = tuple[Callable[[], Any], type[Exception], str]

MASKS: list[Row] = [
    (lambda: problem(mask=np.ones(38)), TypeError, "mask must be boolean, got"),
    (lambda: problem(mask=FLAGS[1:]), ValueError, r"mask has shape \(37,\), y \(38, "),
    (lambda: problem(mask=~FLAGS), ValueError, "no row is left by the mask"),
    (lambda: problem(mask=np.ma.masked_array(FLAGS)), TypeError, "numbers, got MaskedArray"),
]
CONFOUNDS: list[Row] = [
    (lambda: problem(confounds=np.nan * Y), ValueError, "confounds has NaN in rows used"),
]
WEIGHTS: list[Row] = [
    (lambda: problem(weights=np.ones(37)), ValueError, r"weights has shape \(37,\), y \(38, 1\)"),
]
NAMES: list[Row] = [
    (lambda: lagged(fs=0), ValueError, "fs must be finite and above 0"),
    (lambda: lagged(y=X, outputs=["a", "a"]), ValueError, "outputs must be 2 different names"),
]
PENALTIES: list[Row] = [
    (lambda: spline("dc", -1.0), ValueError, "correlation must be finite and above -1"),
    (lambda: tikhonov(np.ones(3)), ValueError, r"matrix must be \(q, taps\), got shape"),
    (lambda: solved(penalty=TWO_LENGTHS), ValueError, "has 2 lengths, the kernel 1 axes"),
]
CHOICES: list[Row] = [
    (lambda: ridge(grid=ONES.T, select=cs.CrossValidation(3)), ValueError,
     r"expected \(n,\), or \(n, 2\) for a grid of every output"),
    (lambda: cs.solve(ONE_ROW, penalty="ridge"), cs.SolveError, "1 row of y: too few to select"),
]  # fmt: skip
FOLDS: list[Row] = [
    (lambda: cs.CrossValidation(1), ValueError, "folds must be at least 2"),
    (lambda: cs.cross_validate(ONE_ROW), ValueError, "1 row cannot be cut into 2 folds"),
    (lambda: chosen([[0], [1]], [X, X[:1]], [Y, Y[:0]]), ValueError, "a fold has no rows"),
    (lambda: chosen([[0], [1]]), ValueError, "folds names record 1, there are 1 record"),
    (lambda: cs.CrossValidation([[0, 1], [1]]), ValueError, "several lists of different records"),
    (lambda: ridge(select=OWN.score), TypeError, "must be a CrossValidation or one of"),
    (lambda: banded(select=OWN), ValueError, "a score that has a gradient"),
    (lambda: banded(select=RECORDS, grid=[1, 2]), TypeError, "grid= needs a penalty with one"),
    (lambda: banded(select="gcv"), ValueError, "by evidence or cross-validation"),
    *(
        (partial(solved, penalty=penalty, select=NO_SCORE), ValueError,
         r"fold 0 has no no_score\(\), because the function returned NaN")
        for penalty in ("ridge", "tc")
    ),
    (lambda: cs.choose_lags(FULL, OWN), ValueError, "choose_lags scores .*"),
    *(
        (partial(adjusted, name, given), ValueError, f"cannot be combined with .*{name}=")
        for name, given in {"weights": np.arange(1, 39), "drift": 1, "confounds": FULL.y[0]}.items()
    ),
    (lambda: constant_record("r2"), ValueError, "fold 1 has no r2, because y does not vary"),
]  # fmt: skip
LAGS: list[Row] = [
    (lambda: cs.cross_validate(FULL, 5), TypeError, "use folds=5"),
    (lambda: cs.choose_lags(cs.Problem(X, X[:, 1:], kernel_size=(1, 2))), ValueError,
     "choose_lags needs one axis"),
    (lambda: cs.choose_lags(cs.Problem(LINE[:30], LINE[:30], lags=(0, 12)),
                            cs.CrossValidation(2)), cs.SolveError, "do not determine all of the"),
]  # fmt: skip
SOLVERS: list[Row] = [
    (lambda: cs.choose_lags(FULL, limits=cs.Limits(memory=1)), cs.SolveError, "Limits.memory=. al"),
    (
        lambda: cs.solve(FULL, penalty="ridge", select="cv", limits=cs.Limits(memory=1)),
        cs.SolveError,
        "the Gram matrix needs .* more than",
    ),
    (
        lambda: cs.solve(
            cs.Problem([X, X], [Y, Y], kernel_size=3), "cg", limits=cs.Limits(memory=1)
        ).jackknife(),
        ValueError,
        "the Gram matrix needs 2.68e-07 GiB",
    ),
    (lambda: cs.Limits(data=np.nan), ValueError, "data must be finite and at least 0, got nan"),
    (lambda: FULL.times, ValueError, "there is no sampling rate"),
]
COMPARISONS: list[Row] = [
    (lambda: cs.compare(FULL, {}), TypeError, "methods must be names or dicts"),
]  # fmt: skip
ERRORS: list[Row] = [
    (lambda: FIT.test(contrast=np.full((3, 2), np.inf)), ValueError, "contrast must be finite"),
    (lambda: FIT.test(contrast=np.ones((2, 3, 2))), ValueError, "not independent"),
    (lambda: FIT.test(contrast=[ONES, 0 * ONES]), ValueError, "sums of taps with weights"),
    (lambda: FIT.confidence_band(95), ValueError, "level must lie between 0 and 1, got 95"),
    (lambda: FIT.permutation_test(draws=18), ValueError, "draws must be at least 19, got 18"),
    (
        lambda: FIT.permutation_test(),
        ValueError,
        "independent ways to resample y, and these records have 12",
    ),
]
REPORTS: list[Row] = [
    (lambda: REPORT.ridge_for(1.0), ValueError, "condition_number must be finite and above 1, go"),
    (lambda: REPORT.descent(tol=1.0), ValueError, "tol must lie between 0 and 1, got 1"),
    (lambda: REPORT.descent("adam"), ValueError, "Adam has no exact forecast: its steps depend on"),
    (lambda: SILENT.descent(), ValueError, "x is zero in every window, so descent does not"),
]
PICTURES: list[Row] = [
    (lambda: cs.plot(FIT, kind="penalty"), ValueError, "kind='penalty' has no panel here"),
    (lambda: cs.plot(X), TypeError, r"or fit\.regularization, got ndarray"),
]
LASSO: list[Row] = [
    (lambda: cs.Lasso(0), ValueError, "strength of a lasso must be positive"),
]
SETTINGS: list[Row] = [
    (lambda: cs.HuberLoss(scale="1"), ValueError, "scale='1' is unknown; choose 'mad' or a number"),
    (lambda: cs.StableSpline(decay=1), ValueError, "^decay must lie between 0 and 1, got "),
    *(
        (partial(cs.GradientDescent, **settings), error, words)
        for settings, error, words in (
            ({"steps": -1}, ValueError, "steps must be at least 0, got -1"),
            ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
            ({"optimizer": 1e-3}, TypeError, "optimizer must be an optax transformation, got 0.0"),
            ({"init": [np.nan]}, ValueError, "init has NaN at index"),
        )
    ),
]
DATA: list[Row] = [
    (lambda: FIT.score(y=Y), ValueError, "y was given without x"),
    (lambda: cs.solve(problem(y=None)), ValueError, "solve needs y"),
    (lambda: problem(fs=10, y=None, kernel_size=(2, 2)), ValueError, "fs is the rate of sampl"),
]
REFUSED = [
    *DATA, *MASKS, *CONFOUNDS, *WEIGHTS, *NAMES, *PENALTIES, *CHOICES, *FOLDS, *LAGS,
    *SETTINGS, *SOLVERS, *LASSO, *COMPARISONS, *ERRORS, *REPORTS, *PICTURES,
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), REFUSED, ids=[row[2] for row in REFUSED])
def test_the_error_names_the_argument(
    call: Callable[[], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call()
