"""Data on which a choice could be wrong without a warning."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.leastsquares.penalty import Bands
from convsolve.problem.sizes import Tuning


def recording(seed: int = 0, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rows)
    return x, np.convolve(x, 0.8 ** np.arange(20))[:rows] + 0.3 * rng.standard_normal(rows)


# --- constant outputs


@pytest.mark.parametrize(
    ("constant", "select"), [(0.0, "evidence"), (2.0, cs.CrossValidation(4, score="r2"))], ids=str
)
def test_a_constant_output_does_not_influence_the_choice(constant: float, select: Any) -> None:
    x, y = recording()
    method = {"penalty": "tc", "select": select}
    alone, beside = (
        cs.solve(cs.Problem(x, v, lags=(0, 29), bias=constant != 0), **method)
        for v in (y, np.stack([y, np.full_like(y, constant)], axis=1))
    )
    np.testing.assert_allclose(beside.kernel[..., :1], alone.kernel, atol=1e-3)
    np.testing.assert_allclose(beside.kernel[..., 1], 0, atol=1e-15)
    assert beside.bias[1] == pytest.approx(constant)


@pytest.mark.parametrize("select", ["bic", cs.CrossValidation(3)], ids=str)
def test_a_constant_output_does_not_influence_the_choice_of_lags(select: Any) -> None:
    x, y = recording()
    both = np.stack([y, 0 * y], axis=1)
    alone, beside = (cs.choose_lags(cs.Problem(x, v, lags=(0, 24)), select) for v in (y, both))
    assert beside.lags == alone.lags
    with pytest.raises(ValueError, match="y does not vary, so that no lags can be chosen"):
        cs.choose_lags(cs.Problem(x, 0 * y, lags=(0, 9)), select)


@pytest.mark.parametrize("score", ["r2", "correlation"])
def test_a_fold_that_does_not_vary_has_no_score(score: str) -> None:
    rng = np.random.default_rng(1)
    x = [rng.standard_normal(60) for _ in range(4)]
    y = [np.convolve(a, [1, 0.5])[:60] + rng.standard_normal(60) for a in x]
    y[2] = np.ones(60)
    problem = cs.Problem(x, y, lags=(0, 4))
    select = cs.CrossValidation(score=score)
    calls = [partial(cs.solve, problem, penalty=p, select=select) for p in ("ridge", "lasso")]
    for call in (*calls, partial(cs.choose_lags, problem, select)):
        with pytest.raises(ValueError, match=f"fold 2 has no {score}, because y does not vary"):
            call()
    assert cs.solve(problem, penalty="ridge", select="cv").converged


def test_bic_of_wide_data_is_reported_at_the_edge() -> None:
    """The likelihood has no bound where a kernel fits all rows."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((50, 3)), rng.standard_normal(50)
        problem = cs.Problem(x, y, lags=(0, 19))
        found = cs.solve(problem, penalty="ridge", select="bic").regularization
        assert found.at_edge.all()
    assert "at the edge of what was searched" in str(found)


# --- small penalties


@pytest.mark.parametrize(
    ("penalty", "taps"),
    [
        (cs.Smooth(order=2), 2),
        (cs.Tikhonov(matrix=np.zeros((2, 3))), 3),
        (Bands(channel_groups=(0,), weights=(0.0,)), 3),
    ],
)
def test_a_penalty_of_nothing_is_least_squares(penalty: cs.extend.Penalty, taps: int) -> None:
    x, y = recording()
    problem = cs.Problem(x, y, lags=(0, taps - 1))
    fit = cs.solve(problem, penalty=penalty)
    np.testing.assert_allclose(fit.kernel, cs.solve(problem).kernel, rtol=1e-9)
    assert fit.regularization.effective_dof[0] == taps


@pytest.mark.parametrize("select", ["gcv", "evidence", cs.CrossValidation(3)], ids=str)
def test_small_strengths_are_solved_from_the_data(select: Any) -> None:
    """AᵀA of an input that is summed three times is a thousand million times the strength."""
    rng = np.random.default_rng(1)
    x = np.cumsum(np.cumsum(np.cumsum(rng.standard_normal(1200))))
    problem = cs.Problem(x, rng.standard_normal(1141), kernel_size=60)
    fit = cs.solve(problem, penalty="ridge", grid=[0.1, 10.0], select=select)
    assert fit.status == "solved"
    wanted = cs.solve(problem, "qr", ridge=fit.regularization.strength[0])
    np.testing.assert_allclose(fit.kernel, wanted.kernel, atol=1e-6 * np.abs(wanted.kernel).max())


# --- exact data and extreme units


def test_a_constant_prediction_has_no_correlation_and_is_never_chosen() -> None:
    rng = np.random.default_rng(3)
    x = [rng.standard_normal((8, 1)) + 1e3 for _ in range(3)]
    y = [rng.standard_normal((8, 1)) + 1e3 for _ in x]
    problem = cs.Problem(x, y, kernel_size=8, padding="circular")
    select = cs.CrossValidation(score="correlation")
    chosen = cs.solve(problem, penalty="smooth", select=select).regularization
    known = np.isfinite(chosen.path.scores_by_fold)
    assert (np.abs(chosen.path.scores_by_fold[known]) <= 1).all()
    assert not known.all()
    scores = chosen.path.scores[:, 0]
    assert chosen.strength[0] == chosen.path.strengths[np.nanargmax(scores), 0]


# --- fewer rows than unknowns


def test_a_gram_that_does_not_fit_is_not_needed() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((139, 50))
    y = cs.convolve(x, rng.standard_normal((40, 50, 1)), cs.ConvSpec(40))
    problem = cs.Problem(x, y + rng.standard_normal(y.shape), kernel_size=40, bias=True)
    limits = Tuning(gram_bytes=2**22)
    for select in ("gcv", "evidence", cs.CrossValidation(5)):
        method = {"penalty": "ridge", "select": select}
        fit, wanted = cs.solve(problem, **method, limits=limits), cs.solve(problem, **method)
        assert fit.status == "solved"
        assert fit.backward_error <= 30 * np.finfo(float).eps
        np.testing.assert_allclose(fit.kernel, wanted.kernel, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rows", [20, 200])
def test_with_a_strength_far_above_the_data_nothing_is_explained(rows: int) -> None:
    """Also if y is fitted almost exactly with a small strength."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows + 7, 4))
    y = cs.convolve(x, rng.standard_normal((8, 4, 2)), cs.ConvSpec(8))
    y += 1e-5 * rng.standard_normal(y.shape)
    grid, parts = np.geomspace(1e-3, 1e25, 8)[:, None], np.split(np.arange(rows), 4)
    errors = [np.square(y[p] - np.delete(y, p, 0).mean(0)).mean(0) for p in parts]
    wanted = {"gcv": np.square(y - y.mean(0)).sum(0) / (rows - 1), "cv": np.mean(errors, axis=0)}
    for name, select in (("gcv", "gcv"), ("cv", cs.CrossValidation(4))):
        problem = cs.Problem(x, y, kernel_size=8, bias=True)
        fit = cs.solve(problem, penalty="ridge", grid=grid, select=select)
        scores = fit.regularization.path.scores[-3:]
        np.testing.assert_allclose(scores, [wanted[name]] * 3, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
def test_a_fit_that_is_not_unique_with_its_penalty_has_no_standard_errors() -> None:
    rng = np.random.default_rng(0)
    problem = cs.Problem(
        rng.standard_normal((8, 2)), rng.standard_normal(8), kernel_size=11, padding="causal"
    )
    fit = cs.solve(problem, penalty=cs.Ridge([0.0, 1.0], channel_groups=(0, 1)))
    assert "standard error" not in str(fit)
    with pytest.raises(ValueError, match="do not determine every tap"):
        _ = fit.standard_error
