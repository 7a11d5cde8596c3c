"""Fewer rows than unknowns, where strengths are chosen within the row space."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from convsolve.problem.sizes import Limits
from support import dense
from support.penalties import matrix

EPS = float(np.finfo(float).eps)
# Beside the largest eigenvalue.


def test_a_gram_that_does_not_fit_is_not_needed() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((139, 50))
    y = cs.convolve(x, rng.standard_normal((40, 50, 1)), cs.ConvSpec(40))
    problem = cs.Problem(x, y + rng.standard_normal(y.shape), kernel_size=40, bias=True)
    limits = Limits(gram_bytes=2**22)
    for select in ("gcv", "evidence", cs.CrossValidation(5)):
        method = {"penalty": "ridge", "select": select}
        fit, wanted = cs.solve(problem, **method, limits=limits), cs.solve(problem, **method)
        assert fit.status == "solved"
        assert fit.backward_error <= 30 * EPS
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
@pytest.mark.parametrize(("rows", "padding"), [(3, "same"), (40, "valid")])
def test_a_constant_channel_with_a_bias_has_a_small_kernel(rows: int, padding: str) -> None:
    """The sum of the taps of a constant channel is the bias, so its column is only rounding.

    A division by the rounding would be 1e16. The least objective is that of a dense matrix.
    """
    rng = np.random.default_rng(1)
    x = np.stack([np.ones(rows + 5), rng.standard_normal(rows + 5)], axis=1)
    spec = cs.ConvSpec(6, padding=padding)
    y = rng.standard_normal((spec.output_shape((rows + 5,))[0], 1))
    problem = cs.Problem(x, y, spec=spec, bias=True)
    for select in ("gcv", "evidence"):
        fit = cs.solve(problem, penalty="smooth", select=select)
        assert fit.status == "solved"
        assert np.abs(fit.kernel).max() < 1e3
        a = dense.design_matrix([x], spec)[0]
        d = matrix(cs.Smooth(order=1), problem)
        strength = float(fit.regularization.strength[0])
        a, right = a - a.mean(0), y - y.mean()
        whole = np.concatenate([a, np.sqrt(strength) * d])
        w = np.linalg.lstsq(whole, np.pad(right, ((0, len(d)), (0, 0))))[0]
        found, least = (
            np.square(right - a @ v).sum() + strength * np.square(d @ v).sum()
            for v in (fit.kernel.reshape(-1, 1), w)
        )
        assert found <= least * (1 + 1e-9) + 1e-20
