"""Huber's loss and absolute values with masks, weights, confounds and chunks, by their definitions.

The rows of the fit are dense, [A N] times the roots of their weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from support.adjusted import OUTPUTS, ROUTES, Adjusted
from support.ordering import errors_of
from support.robust import least_absolute
from support.slow import some

ALL: dict[str, Any] = {"weights": [2.0, 0.3, 1.0], "confounds": True}
CASES: dict[str, dict[str, Any]] = {
    "mask of every output, intercepts": {"mask": "each", "drift": 0},
    "weights, bias": {"weights": [1.0, 3.0, 0.05], "bias": True},
    "weights, mask, motion, drift": ALL | {"mask": 0.1, "drift": 1},
    "motion, bias, mask of every output": {"confounds": True, "bias": True, "mask": "each"},
    "stride 2, zeros, weights, motion": ALL | {"stride": 2, "padding": "causal", "bias": True},
}


def with_outliers(rng: np.random.Generator, shape: Any) -> np.ndarray:
    return rng.standard_normal(shape) + 40 * (rng.random(shape) < 0.05)


def outputs_of(made: Adjusted, fit: cs.Solution) -> Iterator[tuple[Any, ...]]:
    """Yield index, rows, y, residuals and taps of every output; y − r is in the span of the rows.

    The taps and the bias are the coefficients of this fit. Rows are multiplied by the roots.
    """
    for o in range(OUTPUTS):
        parts = [
            (root * a[used], root * y[used], root * left[used, o])
            for (root, used, a, y), left in zip(made.rows(o), fit.residuals(), strict=True)
        ]
        a, y, r = (np.concatenate(several) for several in zip(*parts))
        w = np.asarray(fit.kernel)[..., o].reshape(-1)
        known = a[:, : len(w)] @ w + a[:, -1] * fit.bias[o]
        own = a[:, len(w) : a.shape[1] - made.bias]
        c = np.linalg.lstsq(own, y - r - known, rcond=None)[0]
        np.testing.assert_allclose(y - r, known + own @ c, rtol=0, atol=1e-9)
        yield o, a, y, r, w


ROWS = [*zip(CASES, cycle(["chunks", "memory", "dask"]), cycle(["mad", 0.8]))]
ROWS += [(name, "chunks", 0.8) for name in CASES]


@pytest.mark.parametrize(("name", "route", "scale"), some(ROWS, *ROWS[:4]))
def test_losses_are_minimized(name: str, route: str, scale: Any) -> None:
    made, (store, limits) = Adjusted(CASES[name], with_outliers), ROUTES[route]
    problem = made.problem(store)
    fit = cs.solve(problem, loss=cs.HuberLoss(scale=scale), limits=limits)
    assert fit.duality_gap < 1e-11
    for o, a, _, r, w in outputs_of(made, fit):
        threshold = 1.345 * fit.stats["scale"][o]
        pull = np.clip(r, -threshold, threshold)
        assert (np.abs(a.T @ pull) <= 1e-9 * (np.abs(a).T @ np.abs(pull))).all()
        if scale == "mad":
            mad = np.median(np.abs(r)) / 0.6744897501960817
            np.testing.assert_allclose(fit.stats["scale"][o], mad, rtol=1e-9)
        # Huber's H1, with the rank of the whole matrix.
        rank, inside = np.linalg.matrix_rank(a), np.mean(np.abs(r) <= threshold)
        few = 1 + rank / len(r) * (1 - inside) / inside
        variance = (few / inside) ** 2 * (pull @ pull) / (len(r) - rank)
        inverse = np.diagonal(np.linalg.pinv(a.T @ a))[: len(w)]
        with warnings.catch_warnings():
            # Without a bias, the offset of y is in the residuals of some cases.
            warnings.filterwarnings("ignore", message="the residuals of output")
            errors = errors_of(fit)[..., o].reshape(-1)
        np.testing.assert_allclose(errors, np.sqrt(variance * inverse), rtol=1e-8)
    fit = cs.solve(problem, loss="absolute", limits=limits)
    assert fit.duality_gap < 1e-11
    for _, a, y, r, w in outputs_of(made, fit):
        least, best, _ = least_absolute(a, y)
        np.testing.assert_allclose(np.abs(r).sum(), least, rtol=1e-9)
        np.testing.assert_allclose(w, best[: len(w)], rtol=1e-6, atol=1e-8)
