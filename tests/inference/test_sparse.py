"""Lasso, elastic net and group lasso: optimality from the data, and choices of strengths."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import pytest
import scipy.signal

import convsolve as cs
from support import dense
from support.geometry import NAMED, Geometry

GEOMETRIES = ["bias", "groups", "wide, bias", "stride", "ragged", "image"]


def matrices(made: Geometry, x: list, y: list) -> list[tuple[np.ndarray, np.ndarray]]:
    """A and y of every group, the bias projected out of both."""
    pairs = zip(
        dense.design_matrix(x, made.spec).astype(float),
        dense.by_group(y, made.spec.groups).astype(float),
        strict=True,
    )
    return [(dense.centred(a), dense.centred(b)) if made.bias else (a, b) for a, b in pairs]


# Geometry, strength, ridge, and the labels of the channels of a group, or None for single taps.
CASES: list[tuple[str, float, float, Any]] = [
    *zip(GEOMETRIES, cycle([2.0, 20.0]), cycle([0.0, 0.0, 3.0]), cycle([None])),
    ("bias", 4.0, 0.0, "channels"),
    ("groups", 4.0, 0.0, (0,) * 6),
    ("image", 4.0, 0.0, "channels"),
]


@pytest.mark.parametrize(("geometry", "strength", "ridge", "labels"), CASES)
def test_taps_are_zero_or_at_the_threshold(
    geometry: str, strength: float, ridge: float, labels: Any
) -> None:
    """2·Aᵀr − 2·ridge·w is strength·√size·w/‖w‖ in groups that are not zero, else no more."""
    made = NAMED[geometry]
    x, y = made.noise()
    penalty = cs.Lasso(strength, ridge=ridge, channel_groups=labels)
    fit = cs.solve(made.problem(x, y, made.bias), penalty=penalty)
    assert fit.duality_gap <= 1e-8
    assert fit.regularization.strength.tolist() == [strength] * made.outputs
    kernel, each = dense.by_group(fit.kernel, made.spec.groups), made.channels // made.spec.groups
    for (a, b), w in zip(matrices(made, x, y), kernel, strict=True):
        pull, own = 2 * a.T @ (b - a @ w) - 2 * ridge * w, np.arange(len(w))
        if labels is not None:
            own = own % each * (labels == "channels")
        for label in np.unique(own):
            k = own == label
            limit, size = strength * np.sqrt(k.sum()), np.linalg.norm(w[k], axis=0)
            assert (np.linalg.norm(pull[k], axis=0)[size == 0] <= limit * (1 + 1e-9)).all()
            wanted = limit * w[k][:, size > 0] / size[size > 0]
            most = 1e-9 if labels is None else 1e-4
            np.testing.assert_allclose(pull[k][:, size > 0], wanted, rtol=0, atol=most * limit)


@pytest.mark.parametrize("strength", [1e-6, 1.0])
def test_small_strengths_of_groups_converge_for_smooth_inputs(
    strength: float, rng: np.random.Generator
) -> None:
    """2·Aᵀr is strength·√size·w/‖w‖ in every group that is not zero."""
    x = scipy.signal.lfilter([1], [1, -0.99], rng.standard_normal((2000, 4)), axis=0)
    problem = cs.Problem(x, rng.standard_normal((1981, 1)) + x[19:, :1], kernel_size=20)
    fit = cs.solve(problem, penalty=cs.Lasso(strength, channel_groups="channels"))
    assert fit.status == "solved"
    a, w = dense.design_matrix([x], problem.spec)[0].astype(float), fit.kernel[:, :, 0]
    pull = (2 * a.T @ fit.residuals()[:, 0]).reshape(w.shape)
    wanted = strength * np.sqrt(20) * w / np.linalg.norm(w, axis=0)
    np.testing.assert_allclose(pull, wanted, rtol=0, atol=1e-3 * strength + 1e-7)


def test_the_choice_keeps_the_taps_of_the_kernel_and_folds_are_refits() -> None:
    """Two channels of a few taps each, and the rest silent."""
    rng, w = np.random.default_rng(5), np.zeros((20, 4, 1))
    w[3, 0], w[4, 0], w[10, 1] = 1.0, -0.7, 0.8
    x = [rng.standard_normal((150, 4)) for _ in range(3)]
    y = [cs.convolve(a, w, cs.ConvSpec(20, padding="causal")) for a in x]
    y = [b + 0.5 * rng.standard_normal(b.shape) for b in y]
    stated: dict[str, Any] = {"lags": (0, 19), "edges": "zeros", "bias": True}
    problem = cs.Problem(x, y, **stated)
    for select, criterion in ("bic", "bic"), (cs.CrossValidation(4, score="r2"), "r2"):
        fit = cs.solve(problem, penalty="lasso", select=select)
        found = fit.regularization
        assert fit.converged
        assert fit.kernel[w != 0].all()
        assert (fit.kernel != 0).sum() == found.effective_dof[0] < 45
        assert (found.criterion, found.at_edge.any()) == (criterion, False)
    grid = [5.0, 20.0, 100.0]
    found = cs.solve(problem, penalty="lasso", grid=grid).regularization
    assert found.criterion == "mse"
    for i in range(3):
        train = cs.Problem(*([v[j] for j in range(3) if j != i] for v in (x, y)), **stated)
        for k, strength in enumerate(grid):
            fit = cs.solve(train, penalty=cs.Lasso(strength))
            wanted = np.mean(fit.residuals(x[i], y[i]) ** 2)
            assert found.path.scores_by_fold[i, k, 0] == pytest.approx(wanted, rel=1e-9)
