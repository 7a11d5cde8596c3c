"""Permutation tests and the jackknife against solves of resampled data, and by simulation."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import scipy.stats

import convsolve as cs
from support import dense
from support.coverage import red
from support.geometry import NAMED
from support.ordering import kernel_shaped


def problem_of(name: str) -> cs.Problem:
    made = NAMED[name]
    x, y = made.noise()
    return cs.Problem([*x], [*y], spec=made.spec, bias=made.bias)


def r2_of(problem: cs.Problem, y: list[np.ndarray]) -> np.ndarray:
    """R² of a solve with other outputs."""
    x = [*problem.x]
    return cs.solve(cs.Problem(x, y, spec=problem.spec, bias=problem.bias)).score().r2


def check_p(found: Any) -> None:
    """A constant output has none."""
    larger = (found.null_distribution >= found.statistic).sum(0)
    wanted = (1 + larger) / (1 + len(found.null_distribution))
    wanted[np.isnan(found.statistic)] = np.nan
    np.testing.assert_allclose(found.pvalue, wanted)


@pytest.mark.parametrize("name", ["groups", "stride", "ragged"])
def test_a_shift_is_a_solve_of_shifted_outputs(name: str) -> None:
    """Each record has a shift of its own, and zero is not excluded."""
    problem = problem_of(name)
    found = cs.solve(problem).permutation_test(draws=50, seed=3)
    lengths = problem._kept.lengths
    shifts = np.random.default_rng(3).integers(0, lengths, (51, len(lengths)))[1:]
    assert found.null_distribution.shape == (50, problem.n_outputs)
    np.testing.assert_allclose(found.statistic, r2_of(problem, [*problem.y]), atol=1e-12)
    for i in (0, 49):
        y = [np.roll(a, -s, axis=0) for a, s in zip(problem.y, shifts[i])]
        np.testing.assert_allclose(found.null_distribution[i], r2_of(problem, y), atol=1e-12)
    check_p(found)


def test_masked_rows_are_left_out_of_shifts_per_output() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((2, 60, 1)), rng.standard_normal((2, 60, 2))
    good = rng.random(y.shape) > 0.1
    spec = cs.ConvSpec(3, padding="causal")
    found = cs.solve(cs.Problem(x, y, spec=spec, mask=good)).permutation_test(draws=30, seed=5)
    for o in range(2):
        kept = good[..., o]
        shifts = np.random.default_rng(5).integers(0, kept.sum(1), (31, 2))[30]
        turned = y[..., o].copy()
        for values, flags, shift in zip(turned, kept, shifts, strict=True):
            values[flags] = np.roll(values[flags], -shift)
        last = cs.solve(cs.Problem(x, turned[..., None], spec=spec, mask=kept)).score().r2
        np.testing.assert_allclose(found.null_distribution[-1, o], last[0], atol=1e-12)


def test_few_shifts_and_permutations_are_all_tested() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal(64), np.stack([rng.standard_normal(62), np.full(62, 3.0)], axis=1)
    problem = cs.Problem(x, y, kernel_size=3, bias=True)
    found = cs.solve(problem).permutation_test()
    wanted = [r2_of(problem, [np.roll(y, -s, axis=0)]) for s in range(1, 62)]
    np.testing.assert_allclose(found.null_distribution, wanted, atol=1e-12)
    check_p(found)
    assert np.isnan(found.statistic[1])
    x, y = rng.standard_normal((9, 30, 2)), rng.standard_normal((9, 28, 2))
    few, many = (cs.Problem(x[:n], y[:n], kernel_size=3, bias=True) for n in (4, 9))
    found = cs.solve(few).permutation_test("records")
    wanted = [r2_of(few, [y[i] for i in order]) for order in itertools.permutations(range(4))]
    np.testing.assert_allclose(found.null_distribution, wanted[1:], atol=1e-12)
    check_p(found)
    found = cs.solve(many).permutation_test("records", draws=40, seed=2)
    order = np.random.default_rng(2).permuted(np.tile(np.arange(9), (40, 1)), axis=1)
    wanted = r2_of(many, [y[i] for i in order[-1]])
    np.testing.assert_allclose(found.null_distribution[-1], wanted, atol=1e-12)


@pytest.mark.parametrize("kind", ["circular_shift", "records"])
def test_correlated_noise_is_rejected_at_the_level(kind: str) -> None:
    """Nominal 5 %; an F test for white noise rejects a third."""
    rng, rejected = np.random.default_rng(2), []
    for _ in range(20):
        x, y = red(rng, 67 * 6, 1).reshape(6, 67, 1), red(rng, 60, 60).reshape(60, 6, 10)
        fit = cs.solve(cs.Problem(x, y.swapaxes(0, 1), kernel_size=8, bias=True))
        rejected.append(fit.permutation_test(kind, draws=99).pvalue <= 0.05)
    assert 0.02 < np.mean(rejected) < 0.09


def test_short_records_of_slow_noise_warn() -> None:
    """A single record has no p value."""
    rng = np.random.default_rng(0)
    x, y = np.cumsum(rng.standard_normal((2, 200)), axis=1)
    y = np.stack([y, rng.standard_normal(200)], axis=1)
    fit = cs.solve(cs.Problem(x, y, lags=(0, 2)))
    with pytest.warns(UserWarning, match="a test by circular shifts needs 20, so pvalue is NaN"):
        found = fit.permutation_test()
    assert np.isnan(found.pvalue[0])
    assert 0 < found.pvalue[1] <= 1
    rng = np.random.default_rng(0)
    x, y = [red(rng, 62, 1) for _ in range(3)], [red(rng, 60, 1) for _ in range(3)]
    fit = cs.solve(cs.Problem(x, y, kernel_size=3))
    with pytest.warns(UserWarning, match="may reject in 7 % at 5 %; use more records"):
        assert np.isfinite(fit.permutation_test().pvalue).all()


@pytest.mark.parametrize(
    ("name", "method", "kind", "message"),
    [
        ("image", {}, "circular_shift", "needs one axis, time"),
        ("ragged", {}, "records", "records of one length, got 5 to 33 rows"),
        ("blocks", {"loss": "huber"}, "records", "permutation_test needs plain least squares"),
        ("blocks", {"noise": "ar"}, "records", "permutation_test needs plain least squares"),
    ],
)
def test_refused_tests(name: str, method: dict[str, Any], kind: str, message: str) -> None:
    fit = cs.solve(problem_of(name), **method)
    with pytest.raises(ValueError, match=message):
        fit.permutation_test(kind)


# --- the jackknife


@pytest.mark.parametrize("weights", [None, "records", "rows"])
@pytest.mark.parametrize("name", ["groups", "ragged", "image"])
def test_the_jackknife_is_a_solve_without_each_record(name: str, weights: str | None) -> None:
    made, rng = NAMED[name], np.random.default_rng(1)
    x, y = made.noise()
    each: Any = [rng.uniform(0.2, 1.2, b.shape[:-1] if weights == "rows" else None) for b in y]
    stated: dict[str, Any] = {"spec": made.spec, "bias": made.bias}

    def problem_without(left_out: int | None) -> cs.Problem:
        kept = [i for i in range(len(y)) if i != left_out]
        of = [[values[i] for i in kept] for values in (x, y, each)]
        return cs.Problem(*of[:2], **stated, weights=of[2] if weights else None)

    problem = problem_without(None)
    fit = cs.solve(problem, noise="white" if weights else "cluster")
    found, used = fit.jackknife(), problem._kept.used
    assert found.dof == len(used) - 1
    for left_out, kernel in zip(used, found.kernels, strict=True):
        alone = cs.solve(problem_without(left_out))
        np.testing.assert_allclose(kernel, alone.kernel, atol=1e-11)
    spread = np.square(found.kernels - found.kernels.mean(0)).sum(0)
    error = np.sqrt(spread * (len(used) - 1) / len(used))
    np.testing.assert_allclose(kernel_shaped(found.standard_error, error.shape), error, rtol=1e-10)
    low, high = found.confidence_band(0.9)
    np.testing.assert_allclose((low + high) / 2, fit.impulse_response, atol=1e-12)
    reach = scipy.stats.t.ppf(0.95, found.dof) * found.standard_error
    np.testing.assert_allclose((high - low) / 2, reach, rtol=1e-9)


def test_the_jackknife_of_ill_conditioned_records_uses_their_rows() -> None:
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((80, 1)) for _ in range(4)]
    for _ in range(5):
        x = [np.cumsum(a, axis=0) for a in x]
    y = [rng.standard_normal((75, 1)) for _ in x]
    found = cs.solve(cs.Problem(x, y, kernel_size=6, bias=True)).jackknife()
    for r, kernel in enumerate(found.kernels):
        keep = [i for i in range(4) if i != r]
        rows = dense.design_matrix([x[i] for i in keep], cs.ConvSpec(6))[0]
        rows = rows - rows.mean(0)
        right = np.concatenate([y[i] for i in keep])
        w, *_ = np.linalg.lstsq(rows, right - right.mean(), rcond=None)
        np.testing.assert_allclose(kernel[:, 0, 0], w[:, 0], atol=1e-6 * np.abs(w).max())


def test_every_part_must_determine_the_kernel() -> None:
    x = [np.ones(20), np.random.default_rng(0).standard_normal(20)]
    few = cs.solve(cs.Problem(x, [a[:18] for a in x], kernel_size=3, bias=True))
    with pytest.raises(ValueError, match="without record 1 the data do not determine every tap"):
        few.jackknife()
