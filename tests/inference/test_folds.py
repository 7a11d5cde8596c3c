"""Cross-validation from moments against folds that are solved and predicted one by one."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.linalg

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support import dense
from support.geometry import NAMED, Geometry
from support.penalties import matrix, penalty_for


class Rows(NamedTuple):
    """Dense rows a (n, P) and y (n, Q) of a group, their records and weights."""

    a: np.ndarray
    y: np.ndarray
    record: np.ndarray
    weights: np.ndarray
    bias: bool


def predicted(rows: Rows, d: np.ndarray, held: np.ndarray) -> np.ndarray:
    """The rows ``held`` as a fit of the others with the penalty ‖d w‖² predicts them."""
    rest = np.setdiff1d(np.arange(len(rows.a)), held)
    w = rows.weights[rest]
    x_mean, y_mean = (np.average(v[rest], 0, w) * rows.bias for v in (rows.a, rows.y))
    root = np.sqrt(w)[:, None]
    whole = np.concatenate([root * (rows.a[rest] - x_mean), d])
    right = np.pad(root * (rows.y[rest] - y_mean), ((0, len(d)), (0, 0)))
    return (rows.a[held] - x_mean) @ scipy.linalg.lstsq(whole, right)[0] + y_mean


def scored(score: Any, y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The score of every output."""
    if score == "mse":
        return np.average((y - p) ** 2, 0, weights)
    if score == "r2":
        return 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    of_one = score if callable(score) else lambda u, v: np.corrcoef(u, v)[0, 1]
    return np.array([of_one(u, v) for u, v in zip(y.T, p.T, strict=True)])


def refit(rows: Rows, d: np.ndarray, held: np.ndarray, score: Any, average: str) -> np.ndarray:
    """The score of the held-out rows together, or its mean over their records."""
    ends = np.flatnonzero(np.diff(rows.record[held])) + 1
    ends = ends[:0] if average == "rows" and not callable(score) else ends
    several = (rows.y[held], predicted(rows, d, held), rows.weights[held])
    parts = zip(*(np.split(v, ends) for v in several), strict=True)
    return np.mean([scored(score, *part) for part in parts], axis=0)


def largest_error(y: np.ndarray, prediction: np.ndarray) -> float:
    """A score of the user's; larger is better."""
    return -float(np.abs(y - prediction).max())


GRID = np.geomspace(0.1, 100, 3)[:, None]
FOLDS: dict[str, Any] = {"records": None, "rows": 4, "listed": [[1], [0, 2]]}
# Fewer rows than unknowns.
WIDE = {"wide records": Geometry(cs.ConvSpec(12), ((16,),) * 3, 2, 2, bias=True)}


def spans(made: Geometry, folds: Any) -> list[np.ndarray]:
    """The rows of the design matrix of each fold, records one after the other."""
    ends = np.cumsum([math.prod(rows) for rows in made.counts])
    if isinstance(folds, int):
        cuts = np.linspace(0, ends[-1], folds + 1).round().astype(int)
        return [np.arange(a, b) for a, b in pairwise(cuts)]
    records = [np.arange(a, b) for a, b in pairwise([0, *ends])]
    listed = [[i] for i in range(len(records))] if folds is None else folds
    return [np.concatenate([records[i] for i in part]) for part in listed]


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
    ("rows", "ridge", "ragged", "listed", "weighted mse"),
    ("rows", "ridge", "short", "records", "weighted mse"),
]


@pytest.mark.parametrize(("average", "name", "geometry", "folds", "score"), SCORED)
def test_scores_are_those_of_refits(
    average: str, name: str, geometry: str, folds: str, score: Any
) -> None:
    made = (NAMED | WIDE)[geometry]
    x, y = made.noise()
    each: Any = [np.ones(rows) for rows in made.counts]
    if score == "weighted mse":
        score, rng = "mse", np.random.default_rng(1)
        each = [rng.uniform(0.2, 1.2, len(rows)) for rows in each]
    weights = np.concatenate([rows.ravel() for rows in each])
    each = None if (weights == 1).all() else each
    problem = cs.Problem([*x], [*y], spec=made.spec, bias=made.bias, weights=each)
    penalty = penalty_for(name, problem)
    select = cs.CrossValidation(FOLDS[folds], score=score, average=average)
    fit = cs.solve(problem, penalty=penalty, grid=GRID, select=select)
    found, d = fit.regularization, matrix(penalty, problem)
    assert fit.status == "solved"
    assert found.criterion == ("largest_error()" if callable(score) else score)
    record = np.repeat(np.arange(len(made.shapes)), [math.prod(rows) for rows in made.counts])
    pairs = zip(dense.design_matrix(x, made.spec), dense.by_group(y, made.spec.groups))
    groups = [Rows(a, b, record, weights, made.bias) for a, b in pairs]
    wanted = [
        [
            np.concatenate([refit(g, strength**0.5 * d, held, score, average) for g in groups])
            for strength in GRID[:, 0]
        ]
        for held in spans(made, FOLDS[folds])
    ]
    np.testing.assert_allclose(found.path.scores_by_fold, wanted, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.path.scores, found.path.scores_by_fold.mean(0), rtol=1e-14)
    best = np.argmin if score == "mse" else np.argmax
    np.testing.assert_array_equal(found.strength, GRID[best(found.path.scores, axis=0), 0])


SLOPE = [np.linspace(0, 1, 50)[:, None] for _ in range(4)]
BY_RECORD = [1.0, 2.0, 3.0, 0.1]
ADJUSTED: dict[str, tuple[str, dict[str, Any]]] = {
    "weights of rows, bias": ("r2", {"weights": [a[:, 0] + 0.1 for a in SLOPE], "bias": True}),
    "weights of records": ("correlation", {"weights": BY_RECORD}),
    "slope, weights": ("mse", {"confounds": SLOPE, "weights": BY_RECORD}),
    "slope, bias": ("r2", {"confounds": SLOPE, "bias": True}),
    "slope, bias, mse": ("mse", {"confounds": SLOPE, "bias": True}),
    "intercepts": ("r2", {"drift": 0}),
}


@pytest.mark.parametrize("name", ADJUSTED)
def test_scores_of_folds_are_those_of_cross_validation(name: str) -> None:
    """R² is about a constant, whether the model has one or not."""
    rng, (score, given) = np.random.default_rng(0), ADJUSTED[name]
    x = [rng.standard_normal(50) for _ in range(4)]
    y = [a + 3 + rng.standard_normal(50) for a in x]
    problem = cs.Problem(x, y, lags=(0, 1), **given)
    select = cs.CrossValidation(score=score)
    fit = cs.solve(problem, penalty="ridge", grid=[1e-9, 1e-8], select=select)
    wanted = getattr(cs.cross_validate(problem, "normal", ridge=1e-9), score)
    np.testing.assert_allclose(fit.regularization.path.scores_by_fold[:, 0], wanted, rtol=1e-9)
    if "confounds" not in given and "drift" not in given:
        whole = cs.choose_lags(problem, select=select).scores[0, -1]
        np.testing.assert_allclose(whole, wanted.mean(), rtol=1e-7)


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
        loud = cs.solve(alone, "qr", ridge=strength).residuals(x[1], y[1])
        assert found.path.scores_by_fold[1, i, 0] == pytest.approx(np.mean(loud**2), rel=1e-9)


@pytest.mark.parametrize("method", [{"penalty": "lasso"}, {"penalty": "ridge", "select": "cv"}])
def test_folds_of_masked_outputs_and_of_records_with_confounds(method: dict[str, Any]) -> None:
    """Outputs with rows in different records have their own folds."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((3, 80, 1)), rng.standard_normal((3, 77, 2))
    flags = np.ones((3, 77, 2), bool)
    flags[0, :, 1] = False
    path = cs.solve(cs.Problem(x, y, kernel_size=4, mask=flags), **method).regularization.path
    assert np.isfinite(path.scores).all()
    assert np.isfinite(path.scores_by_fold[:2]).all()
    assert np.isnan(path.scores_by_fold[2, :, 1]).all()
    # Without a fold, one record has a gap as long as a fold of the selection.
    x, noise = rng.standard_normal((2, 300))
    problem = cs.Problem(x, x + 0.1 * noise, lags=(0, 2), drift=0)
    assert (cs.cross_validate(problem, **method).r2 > 0.95).all()


@pytest.mark.parametrize("held", [2**25, 0])
def test_folds_in_time_have_equally_many_used_rows(held: int) -> None:
    """A long gap does not leave a fold empty."""
    x, y = np.random.default_rng(0).standard_normal((2, 60))
    used = abs(np.arange(60) - 30) > 10
    problem = cs.Problem(x, y, lags=(0, 1), edges="zeros", mask=used)
    limits, select = Tuning(held_numbers=held), cs.CrossValidation(3)
    a = np.stack([x, np.concatenate([[0.0], x[:-1]])], axis=1)[used]
    n = len(a)
    rows = Rows(a, y[used, None], np.zeros(n), np.ones(n), False)
    wanted = {
        score: [
            refit(rows, 2**0.5 * np.eye(2), held, score, "rows")[0]
            for held in np.array_split(np.arange(n), 3)
        ]
        for score in ("mse", "r2")
    }
    found = cs.solve(problem, penalty="ridge", grid=[1.0, 2.0], select=select, limits=limits)
    np.testing.assert_allclose(found.regularization.path.scores_by_fold[:, 1, 0], wanted["mse"])
    held_out = cs.cross_validate(problem, ridge=2.0, folds=3, limits=limits)
    np.testing.assert_allclose(held_out.r2[:, 0], wanted["r2"])
    assert np.isfinite(cs.choose_lags(problem, select, limits=limits).scores[0, 1])


@pytest.mark.parametrize(
    ("lengths", "method", "folds"),
    [
        ((30,), {"penalty": "lasso"}, 5),
        ((30,) * 2, {"penalty": "lasso"}, 2),
        ((30,) * 11, {"penalty": "lasso"}, 10),
        # Records that are shorter than the filter have no rows.
        ((60,), {"penalty": "ridge", "select": "cv", "noise": "ar2"}, 5),
        ((200, 9), {"penalty": "ridge", "select": "cv", "noise": "ar8"}, 5),
        ((200, 9, 150, 180), {"penalty": "ridge", "select": "cv", "noise": "ar8"}, 3),
    ],
)
def test_default_folds_are_the_records_with_rows_or_blocks_of_one(
    lengths: tuple[int, ...], method: dict[str, Any], folds: int
) -> None:
    rng = np.random.default_rng(6)
    x, y = ([rng.standard_normal((n, 1)) for n in lengths] for _ in range(2))
    problem = cs.Problem(x, y, lags=(0, 2))
    assert len(cs.solve(problem, **method).regularization.path.scores_by_fold) == folds
    if lengths == (200, 9):
        with pytest.raises(ValueError, match="a fold has no rows used in the fit"):
            cs.solve(problem, **method | {"select": cs.CrossValidation([[0], [1]])})


# --- banded ridge

LENGTHS, TAPS, LABELS = (90, 70, 80, 60, 75, 85), 6, (0, 1, 1)
PARTS = ([0, 1], [2, 3], [4, 5])
_RNG = np.random.default_rng(0)
X = [_RNG.standard_normal((n, 3)) + 2 for n in LENGTHS]
# A loud and two weak channels.
KERNEL = _RNG.standard_normal((TAPS, 3, 2)) * np.array([1.0, 0.2, 0.2])[:, None]
Y = [cs.convolve(a, KERNEL, cs.ConvSpec(TAPS)) + 3 for a in X]
Y = [b + 2 * _RNG.standard_normal(b.shape) for b in Y]
PROBLEM, BANDED = cs.Problem(X, Y, kernel_size=TAPS, bias=True), cs.Ridge(channel_groups=LABELS)


@pytest.mark.parametrize("score", ["mse", "r2", "correlation"])
@pytest.mark.parametrize("average", ["rows", "records"])
def test_strengths_of_groups_have_the_best_held_out_score(score: str, average: str) -> None:
    """No strengths nearby are better, and one strength for both groups is worse."""
    select = cs.CrossValidation(PARTS, score=score, average=average)
    fit = cs.solve(PROBLEM, penalty=BANDED, select=select)
    found, sign = fit.regularization, 1 if score == "mse" else -1
    assert (fit.status, found.criterion) == ("solved", score)
    plain = cs.solve(PROBLEM, penalty="ridge", select=select).regularization
    assert (sign * found.score < sign * plain.score).all()
    a, y = dense.design_matrix(X, PROBLEM.spec)[0], np.concatenate(Y)
    record = np.repeat(np.arange(len(Y)), [len(b) for b in Y])
    rows = Rows(a, y, record, np.ones(len(a)), True)
    parts = [np.flatnonzero(np.isin(record, part)) for part in PARTS]

    def loss(strengths: np.ndarray, q: int) -> float:
        d = np.diag(np.sqrt(strengths[np.tile(LABELS, TAPS)]))
        return sign * np.mean([refit(rows, d, held, score, average)[q] for held in parts])

    for q in (0, 1):
        best = found.strength[:, q]
        assert sign * found.score[q] == pytest.approx(loss(best, q), rel=1e-10)
        for b in range(2):
            for factor in (0.8, 1.25):
                changed = best * np.where(np.arange(2) == b, factor, 1)
                assert loss(changed, q) > loss(best, q) - 1e-9
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


# --- scores of choices

CHOICES: dict[str, dict[str, Any]] = {
    "ridge": {"penalty": "ridge"},
    "folds": {"penalty": "smooth", "select": "cv"},
    "lasso": {"penalty": "lasso"},
    "bands, evidence": {"penalty": BANDED},
    "bands, r2": {"penalty": BANDED, "select": cs.CrossValidation(3, score="r2")},
    "function": {"penalty": "ridge", "select": cs.CrossValidation(3, score=largest_error)},
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_score_of_the_choice_is_in_the_path(name: str) -> None:
    found = cs.solve(PROBLEM, **CHOICES[name]).regularization
    best = (np.nanmax if name in ("bands, r2", "function") else np.nanmin)(found.path.scores, 0)
    np.testing.assert_allclose(found.score, best, rtol=1e-6)
    strength = np.exp(np.log(found.strength.reshape(-1, 2)).mean(0))
    for q in (0, 1):
        row = int(np.argmin(abs(np.log(found.path.strengths[:, q] / strength[q]))))
        assert found.path.strengths[row, q] == pytest.approx(strength[q], rel=1e-12)
        assert found.score[q] == found.path.scores[row, q]


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


@pytest.mark.parametrize(
    ("constant", "penalty", "select", "rtol"),
    [
        (0.0, "tc", "evidence", 1e-6),
        (2.0, "tc", cs.CrossValidation(4, score="r2"), 1e-9),
        (1.0, BANDED, cs.CrossValidation(PARTS, score="correlation"), 1e-12),
    ],
    ids=str,
)
def test_a_constant_output_does_not_influence_the_choice(
    constant: float, penalty: Any, select: Any, rtol: float
) -> None:
    method = {"penalty": penalty, "select": select}
    y = [np.column_stack([b[:, 0], np.full(len(b), constant)]) for b in Y]
    alone, both = (
        cs.solve(cs.Problem(X, z, kernel_size=TAPS, bias=constant != 0), **method)
        for z in ([b[:, :1] for b in y], y)
    )
    np.testing.assert_allclose(both.kernel[..., :1], alone.kernel, rtol=rtol)
    np.testing.assert_allclose(both.kernel[..., 1], 0, atol=1e-15)
    assert not np.isfinite(both.regularization.score[1])
    assert both.bias[1] == pytest.approx(constant)


@pytest.mark.parametrize("select", ["bic", cs.CrossValidation(3)], ids=str)
def test_a_constant_output_does_not_influence_the_choice_of_lags(select: Any) -> None:
    y = [b[:, :1] for b in Y]
    both = [b * [1, 0] for b in y]
    alone, beside = (
        cs.choose_lags(cs.Problem(X, z, lags=(0, 9)), select)
        for z in ([np.pad(b, ((5, 0), (0, 0))) for b in v] for v in (y, both))
    )
    assert beside.lags == alone.lags
    with pytest.raises(ValueError, match="y does not vary"):
        cs.choose_lags(cs.Problem(X, [0 * a[:, 0] for a in X], lags=(0, 9)), select)


@pytest.mark.parametrize("score", ["r2", "correlation"])
def test_a_fold_that_does_not_vary_has_no_score(score: str) -> None:
    y = [np.ones_like(b) if i == 2 else b for i, b in enumerate(Y)]
    problem, select = cs.Problem(X, y, kernel_size=TAPS), cs.CrossValidation(score=score)
    for penalty in ("ridge", "lasso"):
        with pytest.raises(ValueError, match=f"fold 2 has no {score}, because y does not vary"):
            cs.solve(problem, penalty=penalty, select=select)
    assert cs.solve(problem, penalty="ridge", select="cv").converged
