"""The jackknife against solves without each record, and by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

import convsolve as cs
from support import dense
from support.coverage import red
from support.geometry import NAMED
from support.ordering import kernel_shaped


@pytest.mark.parametrize("name", ["groups", "ragged", "image"])
def test_the_jackknife_is_a_solve_without_each_record(name: str) -> None:
    made = NAMED[name]
    x, y = made.noise()
    problem = cs.Problem([*x], [*y], spec=made.spec, bias=made.bias)
    fit = cs.solve(problem, noise="cluster")
    found = fit.jackknife()
    used = problem._kept.used
    assert found.dof == len(used) - 1
    for left_out, kernel in zip(used, found.kernels, strict=True):
        rest = ([values[i] for i in used if i != left_out] for values in (x, y))
        alone = cs.solve(cs.Problem(*rest, spec=made.spec, bias=made.bias))
        np.testing.assert_allclose(kernel, alone.kernel, atol=1e-11)
    spread = np.square(found.kernels - found.kernels.mean(0)).sum(0)
    error = np.sqrt(spread * (len(used) - 1) / len(used))
    np.testing.assert_allclose(kernel_shaped(found.standard_error, error.shape), error, rtol=1e-10)
    low, high = found.confidence_band(0.9)
    np.testing.assert_allclose((low + high) / 2, fit.impulse_response, atol=1e-12)
    reach = scipy.stats.t.ppf(0.95, found.dof) * found.standard_error
    np.testing.assert_allclose((high - low) / 2, reach, rtol=1e-9)


@pytest.mark.parametrize(("integrals", "digits"), [(3, 1e-10), (5, 1e-6)])
def test_the_jackknife_of_ill_conditioned_records_uses_their_rows(
    integrals: int, digits: float
) -> None:
    """Also in units whose squares leave float64."""
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


def test_bands_of_the_jackknife_contain_the_kernel_under_noise_within_records() -> None:
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


@pytest.mark.parametrize(
    "method", [{"loss": "huber"}, {"noise": "ar"}, {"solver": "normal", "ridge": 1.0}], ids=str
)
def test_only_least_squares_is_resampled(method: dict[str, Any]) -> None:
    made = NAMED["blocks"]
    fit = cs.solve(cs.Problem(*made.noise(), spec=made.spec), **method)
    with pytest.raises(ValueError, match="jackknife is for least squares as it is: no other loss"):
        fit.jackknife()


def test_every_part_must_determine_the_kernel() -> None:
    x = [np.ones(20), np.random.default_rng(0).standard_normal(20)]
    few = cs.solve(cs.Problem(x, [a[:18] for a in x], kernel_size=3, bias=True))
    with pytest.raises(ValueError, match="without record 1 the data do not determine every tap"):
        few.jackknife()
