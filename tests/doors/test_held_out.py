"""Scores of held-out rows, and of windows of lags, are those of separate problems."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs


def records(channels: int, outputs: int) -> tuple[list, list]:
    """Three records with offsets of their own, whose response has the lags 4 to 9."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((n, channels)) + n for n in (150, 90, 120)]
    w = rng.standard_normal((6, channels, outputs))
    y = [sum(np.roll(a, lag, 0) @ w[lag - 4] for lag in range(4, 10)) for a in x]
    return x, [b + 1.5 * rng.standard_normal(b.shape) for b in y]


METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "gcv": {"penalty": "ridge"},
    "tc": {"penalty": "tc"},
    "nested": {"penalty": "ridge", "select": "cv"},
}


@pytest.mark.parametrize(("name", "edges"), [*zip(METHODS, ("drop", "zeros") * 2)])
def test_folds_are_problems_without_the_held_out_record(edges: str, name: str) -> None:
    x, y = records(2, 2)
    options: dict[str, Any] = {"lags": (0, 4), "edges": edges, "bias": True}
    found = cs.cross_validate(cs.Problem(x, y, **options), **METHODS[name])
    assert found.mse.shape == found.r2.shape == (3, 2)
    for i in range(3):
        rest = cs.Problem(x[:i] + x[i + 1 :], y[:i] + y[i + 1 :], **options)
        fit = cs.solve(rest, **METHODS[name])
        np.testing.assert_allclose(found.solutions[i].kernel, fit.kernel, rtol=1e-6, atol=1e-9)
        score, residuals = fit.score(x[i], y[i]), fit.residuals(x[i], y[i])
        np.testing.assert_allclose(found.r2[i], score.r2, rtol=1e-6)
        np.testing.assert_allclose(found.correlation[i], score.correlation, rtol=1e-6)
        np.testing.assert_allclose(found.mse[i], np.nanmean(residuals**2, 0), rtol=1e-6)
    for o, line in enumerate(str(found).splitlines()[3:]):
        means = [float(word) for word in line.split()[1::3]]
        assert means[:2] == pytest.approx(
            [found.r2[:, o].mean(), found.correlation[:, o].mean()], abs=5e-4
        )


def test_records_in_no_fold_are_in_all_training_sets() -> None:
    x, y = records(2, 1)
    found = cs.cross_validate(cs.Problem(x, y, lags=(0, 4)), folds=[[0], [1]])
    rest = cs.Problem([x[0], x[2]], [y[0], y[2]], lags=(0, 4))
    np.testing.assert_allclose(found.solutions[1].kernel, cs.solve(rest).kernel, rtol=1e-10)


@pytest.mark.parametrize("stated", [{"lags": (-1, 3)}, {"kernel_size": 5, "padding": "same"}])
def test_the_solution_without_a_fold_reads_data_as_the_problem_does(stated: Any) -> None:
    """Also if y has no channel axis, and channels have names."""
    x, y = records(2, 1)
    problem = cs.Problem(x, [b[:, 0] for b in y], channels=["a", "b"], fs=10, **stated)
    for i, fit in enumerate(cs.cross_validate(problem).solutions):
        rest = x[:i] + x[i + 1 :], [b[:, 0] for b in y[:i] + y[i + 1 :]]
        whole = cs.solve(cs.Problem(*rest, fs=10, **stated))
        np.testing.assert_allclose(
            fit.predict(x[i], edges="drop"), whole.predict(x[i], edges="drop"), rtol=1e-9
        )
        assert fit.predict(x[i], edges="drop").ndim == 1
        assert (fit.channels, *fit.lags) == (["a", "b"], *problem.lags)


# --- windows of lags


def information(fit: cs.Solution, select: str, bias: bool) -> float:
    """BIC or AICc of a solution, summed over outputs."""
    r = np.concatenate(fit.residuals())
    r = r[np.isfinite(r).all(1)]
    n, k = len(r), fit.kernel[..., 0].size + bias + 1
    extra = k * np.log(n) if select == "bic" else 2 * k + 2 * k * (k + 1) / (n - k - 1)
    return float((n * np.log((r**2).sum(0) / n) + extra).sum())


@pytest.mark.parametrize(
    ("channels", "edges", "bias"),
    [(1, "drop", True), (1, "zeros", False), (2, "circular", True), (2, "drop", False)],
)
def test_bic_and_aicc_are_those_of_problems_of_every_window(
    channels: int, edges: str, bias: bool
) -> None:
    x, y = records(channels, 2)
    x, y = ([a - a.mean(0) for a in several] for several in (x, y))
    problem = cs.Problem(x, y, lags=(-1, 12), edges=edges, bias=bias)
    for select in ("bic", "aicc"):
        found = cs.choose_lags(problem, select)
        assert np.isnan(found.scores[np.tril_indices(14, -1)]).all()
        for i, j in ((0, 0), (0, 13), (13, 13), (5, 9), (2, 12)):
            fit = cs.solve(problem._narrowed(i, j))
            assert found.scores[i, j] == pytest.approx(information(fit, select, bias), rel=1e-11)
    chosen = cs.choose_lags(problem)
    assert (chosen.lags, str(chosen)) == ((4, 9), "lags 4 … 9 of -1 … 12, by BIC")
    fit, plain = cs.solve(chosen.problem), cs.solve(cs.Problem(x, y, lags=(4, 9), edges=edges))
    np.testing.assert_array_equal(fit.lags, np.arange(4, 10))
    assert chosen.problem.n_equations == problem.n_equations
    for a, b in zip(chosen.problem.y, problem.y, strict=True):
        np.testing.assert_array_equal(a, b)
    # New data are as long as x, as of any problem of lags.
    np.testing.assert_allclose(fit.score(x, y).r2, plain.score(x, y).r2, rtol=1e-2)


@pytest.mark.parametrize(
    ("bias", "score", "folds"), [(True, "mse", [[0], [2]]), (False, "correlation", 3)]
)
def test_held_out_scores_are_those_of_refits(bias: bool, score: str, folds: Any) -> None:
    x, y = records(2, 2)
    problem = cs.Problem(x, y, lags=(0, 11), bias=bias)
    found = cs.choose_lags(problem, cs.CrossValidation(folds, score=score))
    for i, j in ((0, 0), (0, 11), (4, 9)):
        wanted = cs.cross_validate(problem._narrowed(i, j), folds=folds)
        assert found.scores[i, j] == pytest.approx(getattr(wanted, score).mean(), rel=1e-9)
    best = np.nanargmin if score == "mse" else np.nanargmax
    assert found.lags == divmod(int(best(found.scores)), 12)
