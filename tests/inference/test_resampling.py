"""The jackknife against solves without each record, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

import convsolve as cs
from support import dense
from support.coverage import red
from support.geometry import NAMED
from support.ordering import kernel_shaped
from support.slow import some


def fit_of(name: str) -> cs.Solution:
    made = NAMED[name]
    x, y = made.noise()
    return cs.solve(cs.Problem(x, y, spec=made.spec, bias=made.bias))


# --- the jackknife


@pytest.mark.parametrize(
    "name",
    some(["blocks", "groups", "stride", "ragged", "short", "image"], "groups", "ragged", "image"),
)
def test_the_jackknife_is_a_solve_without_each_record(name: str) -> None:
    made = NAMED[name]
    x, y = made.noise()
    problem = cs.Problem([*x], [*y], spec=made.spec, bias=made.bias)
    fit = cs.solve(problem, noise="cluster")
    found = fit.jackknife()
    used = problem._kept.used
    assert found.dof == len(used) - 1
    for left_out, kernel in zip(used, found.kernels, strict=True):
        keep = [i for i in used if i != left_out]
        rest = cs.Problem(
            [x[i] for i in keep], [y[i] for i in keep], spec=made.spec, bias=made.bias
        )
        np.testing.assert_allclose(kernel, cs.solve(rest).kernel, atol=1e-11)
    spread = np.square(found.kernels - found.kernels.mean(0)).sum(0)
    error = np.sqrt(spread * (len(used) - 1) / len(used))
    np.testing.assert_allclose(kernel_shaped(found.standard_error, error.shape), error, rtol=1e-10)
    low, high = found.confidence_band(0.9)
    np.testing.assert_allclose((low + high) / 2, fit.impulse_response, atol=1e-12)
    reach = scipy.stats.t.ppf(0.95, found.dof) * found.standard_error
    np.testing.assert_allclose((high - low) / 2, reach, rtol=1e-9)


@pytest.mark.parametrize(("integrals", "digits"), [(3, 1e-10), (5, 1e-6)])
def test_the_jackknife_of_ill_conditioned_records_is_by_their_rows(
    integrals: int, digits: float
) -> None:
    """Where a Gram matrix costs digits, or proves nothing, and in any units."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((80, 1)) for _ in range(4)]
    for _ in range(integrals):
        x = [np.cumsum(a, axis=0) for a in x]
    y = [rng.standard_normal((75, 1)) for _ in x]
    found = cs.solve(cs.Problem(x, y, kernel_size=6, bias=True)).jackknife()
    for r, kernel in enumerate(found.kernels):
        keep = [i for i in range(4) if i != r]
        rows = dense.design_matrix([x[i] for i in keep], cs.ConvSpec(6))[0]
        rows = rows - rows.mean(0)
        right = np.concatenate([y[i] for i in keep])
        w, *_ = np.linalg.lstsq(rows, right - right.mean(), rcond=None)
        np.testing.assert_allclose(kernel[:, 0, 0], w[:, 0], atol=digits * np.abs(w).max())
    scaled = cs.Problem([a * 1e-90 for a in x], [b * 1e90 for b in y], kernel_size=6, bias=True)
    errors = cs.solve(scaled).jackknife().standard_error
    np.testing.assert_allclose(errors * 1e-180, found.standard_error, rtol=digits)


def test_bands_of_the_jackknife_hold_under_noise_within_records() -> None:
    rng, w = np.random.default_rng(0), np.array([1.0, 2, -1])[:, None, None]
    held = []
    for _ in range(12):
        x = [red(rng, 122, 1) for _ in range(8)]
        clean = cs.convolve(x, w, cs.ConvSpec(3))
        y = [a + red(rng, 120, 20) for a in clean]
        found = cs.solve(cs.Problem(x, y, kernel_size=3)).jackknife()
        low, high = found.confidence_band()
        held.append((w[::-1, 0, 0] >= low.T) & (w[::-1, 0, 0] <= high.T))
    assert 0.92 < np.mean(held) < 0.98


def test_what_cannot_be_resampled_says_why() -> None:
    with pytest.raises(ValueError, match="jackknife needs two records or more"):
        fit_of("bias").jackknife()
    made = NAMED["blocks"]
    problem = cs.Problem(*made.noise(), spec=made.spec)
    for refused in (
        cs.solve(problem, loss="huber"),
        cs.solve(problem, "normal", ridge=1.0),
        cs.solve(problem, noise="ar"),
    ):
        with pytest.raises(
            ValueError, match="jackknife is for least squares as it is: no other loss"
        ):
            refused.jackknife()
    x = [np.ones(20), np.random.default_rng(0).standard_normal(20)]
    few = cs.solve(cs.Problem(x, [a[:18] for a in x], kernel_size=3, bias=True))
    with pytest.raises(ValueError, match="without record 1 the data do not determine every tap"):
        few.jackknife()
