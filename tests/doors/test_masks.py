"""Masked rows and missing samples, compared with problems of the other rows alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support import dense
from support.ordering import band_of, covariance_of, errors_of, kernel_shaped

# Every matrix counts as large, and every gap as long: records are cut at gaps.
CUT = Tuning(row_numbers=0, small_numbers=0, gap_products=0)


def records(seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((n, 2)) + 3 for n in (300, 260)]
    w = rng.standard_normal((6, 2, 3))
    y = [cs.convolve(a, w, cs.ConvSpec(6)) for a in x]
    return x, [b + rng.standard_normal(b.shape) for b in y]


def gaps(x: list, y: list) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """NaN in x and in y of single outputs."""
    x, y = [a.copy() for a in x], [b.copy() for b in y]
    x[0][100:103, 1] = x[1][0] = np.nan
    y[0][50, 0] = y[0][51, 2] = y[1][200:220, 1] = np.nan
    return x, y


# Results with the outputs along the last axis.
OF_OUTPUTS: dict[str, Callable[[cs.Problem], np.ndarray]] = {
    "covariance": lambda p: np.stack([cs.solve(p).covariance(q) for q in range(p.n_outputs)], -1),
    "band": lambda p: np.stack(band_of(cs.solve(p))),
    "test": lambda p: cs.solve(p).test(channels=1).statistic,
    "score": lambda p: np.stack([*vars(cs.solve(p).score()).values()][:3]),
    "jackknife": lambda p: cs.solve(p).jackknife().kernels,
    "errors of the jackknife": lambda p: kernel_shaped(
        cs.solve(p).jackknife().standard_error, p.kernel_shape
    ),
    "held-out scores": lambda p: np.stack([*vars(cs.cross_validate(p)).values()][:3]),
}


@pytest.mark.parametrize("name", OF_OUTPUTS)
def test_outputs_with_different_rows_are_solved_separately(name: str) -> None:
    x, y = gaps(*records())
    even = [*OF_OUTPUTS].index(name) % 2 == 0
    given: dict[str, Any] = {"kernel_size": 6, "missing": "drop"}
    given |= {"bias": True} if even else {"drift": 1}
    found = OF_OUTPUTS[name](cs.Problem(x, y, **given))
    for q in range(3):
        wanted = OF_OUTPUTS[name](cs.Problem(x, [b[:, [q]] for b in y], **given))
        np.testing.assert_allclose(found[..., q], wanted[..., 0], rtol=1e-8, atol=1e-10)


def test_criteria_of_lags_are_summed_over_outputs_with_different_rows() -> None:
    x, y = gaps(*records())
    given = {"kernel_size": 6, "missing": "drop"}
    found = cs.choose_lags(cs.Problem(x, y, **given)).scores
    of_outputs = (cs.Problem(x, [b[:, [q]] for b in y], **given) for q in range(3))
    total = sum(cs.choose_lags(problem).scores for problem in of_outputs)
    np.testing.assert_allclose(found, total, rtol=1e-9)


def test_a_mask_may_be_of_records_or_a_batch() -> None:
    x, y = records()
    mask = np.arange(len(y[0])) % 7 > 0
    wanted = cs.solve(cs.Problem(x[0], y[0], kernel_size=6, mask=mask)).kernel
    twice = np.stack([x[0]] * 2), np.stack([y[0]] * 2)
    for several in ([mask] * 2, np.stack([mask] * 2)):
        fit = cs.solve(cs.Problem(*twice, kernel_size=6, mask=several))
        np.testing.assert_allclose(fit.kernel, wanted, rtol=1e-12)


def test_a_report_counts_the_excluded_rows() -> None:
    x, y = gaps(*records())
    assert cs.Problem(x, y, kernel_size=6, missing="drop").n_equations == 521
    x, y = records()
    wide = np.ones((295, 3), bool)
    wide[8:, 1] = False
    problem = cs.Problem(x[0], y[0], kernel_size=6, mask=wide, missing="drop")
    assert cs.identify(problem).verdict == "underdetermined"
    with pytest.warns(cs.IdentifiabilityWarning, match="4 more rows of y are needed"):
        assert cs.solve(problem).converged


@pytest.mark.parametrize(("noise", "limits"), [("hac", Tuning()), ("hac", CUT), ("cluster", CUT)])
def test_errors_for_dependent_noise_are_those_of_rows_of_zeros(noise: str, limits: Tuning) -> None:
    """Masked rows are zero, so that the others keep their distances in time."""
    x, y = records()
    x, y = [*x, x[0][::-1]], [*y, y[0][::-1]]
    flags = [np.random.default_rng(i).random(len(b)) > 0.1 for i, b in enumerate(y)]
    for f in flags:
        f[100:120] = False
    problem = cs.Problem(x, y, kernel_size=6, bias=True, mask=flags)
    fit = cs.solve(problem, noise=noise, limits=limits)
    used, z = np.concatenate(flags), np.concatenate(y)[:, 0]
    a = np.concatenate([dense.design_matrix([b], cs.ConvSpec(6))[0] for b in x])
    a = np.hstack([a, np.ones((len(a), 1))]) * used[:, None]
    inverse = np.linalg.inv(a.T @ a)
    parts = a * (z - a @ (inverse @ a.T @ (z * used)))[:, None]
    record, n, p = np.repeat(np.arange(3), [len(f) for f in flags]), used.sum(), a.shape[1]
    weights = np.equal.outer(record, record).astype(float)
    factor = 3 / 2 * (n - 1) / (n - p)
    if noise == "hac":
        time = np.arange(len(record))
        window, factor = 1 + int(1.3 * np.sqrt(n)), n / (n - p)
        weights *= np.maximum(1 - abs(np.subtract.outer(time, time)) / window, 0)
    wanted = factor * (inverse @ (parts.T @ weights @ parts) @ inverse)[:-1, :-1]
    np.testing.assert_allclose(covariance_of(fit), wanted, rtol=1e-8, atol=1e-12)
    found = errors_of(fit)[..., 0].reshape(-1)
    np.testing.assert_allclose(found, np.sqrt(np.diagonal(wanted)), rtol=1e-9)


def test_an_output_without_rows_in_a_fold_has_no_score_there() -> None:
    rng = np.random.default_rng(0)
    x = [rng.standard_normal(50) for _ in range(4)]
    y = [rng.standard_normal((50, 2)) for _ in x]
    flags = [np.ones((50, 2), bool) for _ in x]
    flags[0][:, 1] = False
    found = cs.cross_validate(cs.Problem(x, y, lags=(0, 2), mask=flags))
    np.testing.assert_array_equal(np.argwhere(np.isnan(found.mse)), [[0, 1]])


def test_an_output_is_reported_in_its_own_rows_and_group() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 2)), rng.standard_normal((200, 2))
    flags = np.zeros((200, 2), bool)
    x[:100, 1] = 1.0
    flags[:90, 0] = flags[100:, 1] = True
    problem = cs.Problem(x, y, lags=(0, 4), mask=flags, groups=2)
    fit = cs.solve(problem, strict=True)
    assert cs.identify(problem).unique
    low, high = fit.confidence_band(simultaneous=True)
    assert (low < high).all()
    test = fit.test(channels=0)
    assert np.isnan(test.statistic[1])
    alone = cs.Problem(x[:, 0], y[:, 0], lags=(0, 4), mask=flags[:, 0])
    np.testing.assert_allclose(test.pvalue[0], cs.solve(alone).test(channels=0).pvalue[0])


def test_a_penalty_is_selected_from_the_rows_that_are_used() -> None:
    """With one tap, the rows are those of records without the masked samples."""
    x, y = records()
    flags, y = [np.arange(len(a)) % 4 > 0 for a in x], [np.resize(b, (len(b) + 5, 3)) for b in y]
    masked = cs.Problem(x, y, kernel_size=1, mask=flags, bias=True)
    parts = ([a[f] for a, f in zip(arrays, flags)] for arrays in (x, y))
    cut = cs.Problem(*parts, kernel_size=1, bias=True)
    for select in ("gcv", "evidence", "cv"):
        one, other = (cs.solve(p, penalty="ridge", select=select) for p in (masked, cut))
        inner = ~one.regularization.at_edge  # the ends of a search depend on rounding
        strengths = (fit.regularization.strength[inner] for fit in (one, other))
        np.testing.assert_allclose(*strengths, rtol=1e-6)
        np.testing.assert_allclose(one.kernel, other.kernel, rtol=1e-8)
    held, wanted = (cs.cross_validate(p) for p in (masked, cut))
    np.testing.assert_allclose(held.mse, wanted.mse, rtol=1e-9)
    np.testing.assert_allclose(held.r2, wanted.r2, rtol=1e-9)
    assert cs.choose_lags(cs.Problem(x, y, kernel_size=1, mask=flags)).lags == (0, 0)


def test_new_data_may_have_gaps_if_missing_samples_were_dropped(tmp_path: Any) -> None:
    x, y = gaps(*records())
    fit = cs.solve(cs.Problem(x, y, kernel_size=6, missing="drop"))
    fit.save(tmp_path / "fit.npz")
    for each in (fit, cs.load(tmp_path / "fit.npz")):
        found = each.predict(x[0])
        assert np.isnan(found).any(1).sum() == 8
        np.testing.assert_array_equal(np.isnan(found).any(1), np.isnan(found).all(1))
    strict = cs.solve(cs.Problem(*records(), kernel_size=6))
    with pytest.raises(ValueError, match="missing='drop'"):
        strict.predict(x[0])


X, Y = np.ones((30, 1)), np.ones((28, 2))


def test_masked_samples_may_be_missing() -> None:
    rng = np.random.default_rng(0)
    x, y, confounds = rng.standard_normal((30, 1)), Y.copy(), rng.standard_normal((28, 1))
    flags = np.arange(28) < 20
    wanted = cs.solve(cs.Problem(x, y, kernel_size=3, mask=flags, confounds=confounds))
    x[25:], y[~flags], confounds[~flags] = np.nan, np.nan, np.nan
    found = cs.solve(cs.Problem(x, y, kernel_size=3, mask=flags, confounds=confounds))
    np.testing.assert_allclose(found.kernel, wanted.kernel, rtol=1e-12)
    flags[21] = True
    with pytest.raises(ValueError, match="NaN in rows that the mask keeps"):
        cs.Problem(x, y, kernel_size=3, mask=flags)
    confounds[3] = np.nan
    with pytest.raises(ValueError, match="confounds has NaN in rows used in the fit"):
        cs.Problem(X, Y, kernel_size=3, mask=flags, confounds=confounds)
