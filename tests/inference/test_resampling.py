"""Records left out and y shifted against x, beside the same done one by one, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import scipy.stats

import convsolve as cs
from support import dense
from support.geometry import NAMED
from support.slow import some


def red(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    e = rng.standard_normal((rows + 100, columns))
    return scipy.signal.lfilter([1.0], [1.0, -0.9], e, axis=0)[100:]


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
    used = problem.kept.used
    assert found.dof == len(used) - 1
    for left_out, kernel in zip(used, found.kernels, strict=True):
        keep = [i for i in used if i != left_out]
        rest = cs.Problem(
            [x[i] for i in keep], [y[i] for i in keep], spec=made.spec, bias=made.bias
        )
        np.testing.assert_allclose(kernel, cs.solve(rest).kernel, atol=1e-11)
    spread = np.square(found.kernels - found.kernels.mean(0)).sum(0)
    error = np.sqrt(spread * (len(used) - 1) / len(used))
    np.testing.assert_allclose(found.standard_error, error, rtol=1e-10)
    low, high = found.confidence_band(0.9)
    np.testing.assert_allclose((low + high) / 2, fit.kernel, atol=1e-12)
    reach = scipy.stats.t.ppf(0.95, found.dof) * error
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
        held.append((low <= w) & (w <= high))
    assert 0.92 < np.mean(held) < 0.98


# --- circular shifts


def r2_of(problem: cs.Problem, shift: int) -> np.ndarray:
    """By a solve of y shifted within every record."""
    y = [np.roll(v, -shift, axis=0) for v in problem.y]
    return cs.solve(cs.Problem([*problem.x], y, spec=problem.spec, bias=problem.bias)).score().r2


@pytest.mark.parametrize(
    "name",
    some(["blocks", "bias", "groups", "dilation", "stride", "both"], "bias", "groups", "stride"),
)
def test_a_shift_is_a_solve_of_shifted_outputs(name: str) -> None:
    made = NAMED[name]
    x, y = made.noise()
    problem = cs.Problem(x, y, spec=made.spec, bias=made.bias)
    found = cs.solve(problem).permutation_test()
    rows = problem.kept.lengths[0]
    apart = -(-made.spec.span[0] // made.spec.stride[0])
    assert len(found.null) == rows - 2 * apart + 1
    np.testing.assert_allclose(found.statistic, r2_of(problem, 0), atol=1e-12)
    for i in (0, len(found.null) // 2, len(found.null) - 1):
        np.testing.assert_allclose(found.null[i], r2_of(problem, apart + i), atol=1e-12)
    larger = (found.null >= found.statistic).sum(0)
    np.testing.assert_allclose(found.p, (1 + larger) / (1 + len(found.null)))


def test_shifts_tell_a_response_from_none_where_both_are_correlated() -> None:
    """Where an F test for white noise finds a response in a third of the outputs that have none."""
    rng = np.random.default_rng(2)
    rejected, white = [], []
    for _ in range(10):
        x, y = red(rng, 619, 1), red(rng, 600, 30)
        fit = cs.solve(cs.Problem(x, y, kernel_size=20))
        rejected.append(fit.permutation_test().p < 0.05)
        with pytest.warns(UserWarning, match="correlated in time"):
            white.append(fit.test(0).p < 0.05)
    assert np.mean(white) > 0.2
    assert np.mean(rejected) < 0.12
    y = y + 0.5 * cs.convolve(x, np.ones((20, 1, 1)), cs.ConvSpec(20))
    strong = cs.solve(cs.Problem(x, y, kernel_size=20)).permutation_test()
    assert (strong.p < 0.01).all()


def test_an_output_that_does_not_vary_has_no_p() -> None:
    x = np.random.default_rng(0).standard_normal(80)
    y = np.stack([x[:78], np.full(78, 3.0)], axis=1)
    found = cs.solve(cs.Problem(x, y, kernel_size=3, bias=True)).permutation_test()
    assert found.p[0] == 1 / 74
    assert np.isnan(found.statistic[1])
    assert np.isnan(found.p[1])


def test_what_cannot_be_resampled_says_why() -> None:
    fit = fit_of("ragged")
    with pytest.raises(ValueError, match="shifts all records alike, and they have 5 to 33 rows"):
        fit.permutation_test()
    with pytest.raises(ValueError, match="kind='rows' is unknown; choose 'circular_shift'"):
        fit.permutation_test("rows")
    with pytest.raises(ValueError, match="shifts along one axis, time"):
        fit_of("image").permutation_test()
    with pytest.raises(ValueError, match=r"records of 25 rows have 14 shifts beyond the 6 rows"):
        fit_of("circular").permutation_test()
    with pytest.raises(ValueError, match="jackknife needs two records or more"):
        fit_of("bias").jackknife()
    made = NAMED["blocks"]
    problem = cs.Problem(*made.noise(), spec=made.spec)
    huber = cs.solve(problem, cs.Huber())
    with pytest.raises(ValueError, match="no other loss"):
        huber.permutation_test()
    for refused in (
        huber,
        cs.solve(problem, cs.NormalEquations(1.0)),
        cs.solve(problem, noise="ar"),
    ):
        with pytest.raises(
            ValueError, match="jackknife is for least squares as it is: no other loss"
        ):
            refused.jackknife()
        with pytest.raises(ValueError, match="permutation_test is for least squares"):
            refused.permutation_test()
    x = [np.ones(20), np.random.default_rng(0).standard_normal(20)]
    few = cs.solve(cs.Problem(x, [a[:18] for a in x], kernel_size=3, bias=True))
    with pytest.raises(ValueError, match="without record 1 the data do not determine every tap"):
        few.jackknife()
