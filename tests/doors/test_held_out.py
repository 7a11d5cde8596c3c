"""Scores of held-out rows, nested if the strength is selected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs


def records(outputs: int = 2) -> tuple[list, list]:
    rng = np.random.default_rng(1)
    x = [rng.standard_normal((n, 2)) for n in (80, 60, 70, 50)]
    w = rng.standard_normal((5, 2, outputs))
    y = [cs.convolve(np.pad(a, ((4, 0), (0, 0))), w, cs.ConvSpec(5)) for a in x]
    return x, [b + rng.standard_normal(b.shape) for b in y]


METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "gcv": {"penalty": "ridge"},
    "tc": {"penalty": "tc"},
    "nested": {"penalty": "ridge", "select": "cv"},
}


@pytest.mark.parametrize(("name", "edges"), [*zip(METHODS, ("drop", "zeros") * 2)])
def test_folds_are_problems_without_the_held_out_record(edges: str, name: str) -> None:
    x, y = records()
    options: dict[str, Any] = {"lags": (0, 4), "edges": edges, "bias": True}
    found = cs.cross_validate(cs.Problem(x, y, **options), **METHODS[name])
    assert found.mse.shape == found.r2.shape == (4, 2)
    for i in range(4):
        rest = cs.Problem(x[:i] + x[i + 1 :], y[:i] + y[i + 1 :], **options)
        fit = cs.solve(rest, **METHODS[name])
        np.testing.assert_allclose(found.solutions[i].kernel, fit.kernel, rtol=1e-6, atol=1e-9)
        score, residuals = fit.score(x[i], y[i]), fit.residuals(x[i], y[i])
        np.testing.assert_allclose(found.r2[i], score.r2, rtol=1e-6)
        np.testing.assert_allclose(found.correlation[i], score.correlation, rtol=1e-6)
        np.testing.assert_allclose(found.mse[i], np.nanmean(residuals**2, 0), rtol=1e-6)
        predicted = found.solutions[i].predict(x[i])
        np.testing.assert_allclose(predicted, fit.predict(x[i]), rtol=1e-6, atol=1e-9)


def test_records_in_no_fold_are_in_all_training_sets() -> None:
    x, y = records(1)
    problem = cs.Problem(x, y, lags=(0, 4))
    found = cs.cross_validate(problem, folds=[[0], [1, 2]])
    rest = cs.Problem([x[0], x[3]], [y[0], y[3]], lags=(0, 4))
    np.testing.assert_allclose(found.solutions[1].kernel, cs.solve(rest).kernel, rtol=1e-10)


@pytest.mark.parametrize("stated", [{"lags": (-1, 3)}, {"kernel_size": 5, "padding": "same"}])
def test_the_solution_without_a_fold_reads_data_as_the_problem_does(stated: Any) -> None:
    """Also if y has no channel axis, and channels have names."""
    x, y = records(1)
    problem = cs.Problem(x, [b[:, 0] for b in y], channels=["a", "b"], fs=10, **stated)
    for i, fit in enumerate(cs.cross_validate(problem).solutions):
        rest = x[:i] + x[i + 1 :], [b[:, 0] for b in y[:i] + y[i + 1 :]]
        whole = cs.solve(cs.Problem(*rest, fs=10, **stated))
        np.testing.assert_allclose(fit.predict(x[i]), whole.predict(x[i]), rtol=1e-10, atol=1e-12)
        assert fit.predict(x[i]).ndim == 1
        assert (fit.channels, *fit.lags) == (["a", "b"], *problem.lags)
