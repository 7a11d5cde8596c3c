"""The problems of the notebook, which are the first acceptance cases."""

from __future__ import annotations

import numpy as np
import optax
import pytest

import convsolve as cs
from support.notebook import FILTERS_W, FILTERS_Y, PAIR_W, PAIR_X, PAIR_Y, TOY_W, TOY_X, TOY_Y

ADAM = optax.adam(5e-2)
PROBLEMS = {
    "toy": (TOY_X, TOY_Y, TOY_W, "overdetermined"),
    "two channels": (PAIR_X, PAIR_Y, PAIR_W, "exactly determined"),
    "two filters": (TOY_X, FILTERS_Y, FILTERS_W, "overdetermined"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_closed_forms_find_the_kernels(name: str) -> None:
    x, y, w, verdict = PROBLEMS[name]
    problem = cs.Problem(x, y, kernel_size=len(w))
    assert cs.identify(problem).verdict == verdict
    for solver in ("svd", "qr", "normal", None):
        fit = cs.solve(problem, solver)
        assert fit.converged
        np.testing.assert_allclose(fit.kernel, w, rtol=0, atol=1e-12)


def test_adam_comes_near_the_kernels() -> None:
    """Rate 5e-2 on the mean absolute error, from Glorot-uniform starts, as in the notebook."""
    problem = cs.Problem(PAIR_X, PAIR_Y, kernel_size=3)
    fit = cs.solve(problem, cs.GradientDescent(ADAM, steps=1000), loss="absolute")
    assert np.abs(fit.kernel - PAIR_W).max() < 0.2


def test_a_shorter_record_does_not_determine_the_kernel() -> None:
    pair, short = (cs.Problem(PAIR_X[:, :n], PAIR_Y[:, : n - 2], kernel_size=3) for n in (8, 7))
    assert cs.identify(pair).condition_number == pytest.approx(51.6, abs=0.05)
    found = cs.identify(short)
    assert (found.verdict, found.rank, found.n_unknowns) == ("underdetermined", 5, 6)
    assert str(found.suggestions[0]).startswith("1 more row of y is needed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::convsolve.IdentifiabilityWarning")
def test_descent_from_zero_ends_at_the_minimum_norm_and_adam_does_not() -> None:
    problem = cs.Problem(PAIR_X[:, :7], PAIR_Y[:, :5], kernel_size=3)
    step = 5 / 2 / cs.identify(problem).singular_values[0][0] ** 2
    momentum = optax.sgd(step, momentum=0.95, nesterov=True)
    shortest = cs.solve(problem, "svd").kernel
    for optimizer, steps in ((momentum, 3000), (optax.lbfgs(), 200), (ADAM, 10_000)):
        fit = cs.solve(problem, cs.GradientDescent(optimizer, init="zeros", steps=steps))
        assert np.mean(np.square(fit.residuals())) < 1e-6
        off = np.linalg.norm(fit.kernel - shortest) / np.linalg.norm(shortest)
        assert off > 0.1 if optimizer is ADAM else off < 1e-3
