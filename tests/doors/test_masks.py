"""Rows that do not count, and samples that are missing, against the rows of the dense matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import optax
import pytest

import convsolve as cs
from convsolve.problem.sizes import Limits
from support import dense
from support.ordering import band_of, covariance_of, errors_of, kernel_shaped

# As if every matrix were large.
BLOCKS = Limits(row_numbers=0, small_numbers=0)
# And every gap were long, at which records are cut.
CUT = replace(BLOCKS, gap_products=0)


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


def test_missing_samples_drop_the_rows_that_read_them() -> None:
    """Predictions and residuals are NaN in these rows, which differ from output to output."""
    x, y = gaps(*records())
    fit = cs.solve(cs.Problem(x, y, kernel_size=6, bias=True, missing="drop"))
    read = [np.isnan(dense.design_matrix([a], cs.ConvSpec(6))[0]).any(1) for a in x]
    for values in (fit.residuals(), fit.predict()):
        for found, lost, b in zip(values, read, y, strict=True):
            np.testing.assert_array_equal(np.isnan(found), np.isnan(b) | lost[:, None])


# Results with the outputs along the last axis.
OF_OUTPUTS: dict[str, Callable[[cs.Problem], np.ndarray]] = {
    "kernel": lambda p: cs.solve(p).kernel,
    "covariance": lambda p: np.stack([cs.solve(p).covariance(q) for q in range(p.n_outputs)], -1),
    "noise": lambda p: cs.solve(p).noise.variance,
    "band": lambda p: np.stack(band_of(cs.solve(p))),
    "test": lambda p: cs.solve(p).test(channels=1).statistic,
    "score": lambda p: np.stack(cs.solve(p).score()[:3]),
    "score of y as it is": lambda p: cs.solve(p).score().r2_total,
    "residuals": lambda p: np.concatenate(cs.solve(p).residuals()),
    "jackknife": lambda p: cs.solve(p).jackknife().kernels,
    "errors of the jackknife": lambda p: kernel_shaped(
        cs.solve(p).jackknife().standard_error, p.kernel_shape
    ),
    "scale": lambda p: np.array(cs.solve(p, loss="huber").stats["scale"]),
    "kernel of a prior": lambda p: cs.solve(p, penalty="tc").kernel,
    "strength of a prior": lambda p: cs.solve(p, penalty="tc").regularization.strength,
    "held-out scores": lambda p: np.stack(cs.cross_validate(p)[:3]),
}


@pytest.mark.parametrize("given", [{"bias": True}, {"confounds": 1}], ids=str)
@pytest.mark.parametrize("name", OF_OUTPUTS)
def test_outputs_with_different_rows_are_solved_apart(name: str, given: dict[str, Any]) -> None:
    x, y = gaps(*records())
    given = {"kernel_size": 6, "missing": "drop", **given}
    found = OF_OUTPUTS[name](cs.Problem(x, y, **given))
    for q in range(3):
        wanted = OF_OUTPUTS[name](cs.Problem(x, [b[:, [q]] for b in y], **given))
        np.testing.assert_allclose(found[..., q], wanted[..., 0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("select", ["bic", cs.CrossValidation(score="mse")], ids=str)
def test_lags_are_chosen_for_outputs_with_different_rows(select: Any) -> None:
    """Criteria are summed over the outputs, and held-out scores averaged."""
    x, y = gaps(*records())
    given = {"kernel_size": 6, "missing": "drop"}
    choice = cs.choose_lags(cs.Problem(x, y, **given), select)
    alone = [
        cs.choose_lags(cs.Problem(x, [b[:, [q]] for b in y], **given), select).scores
        for q in range(3)
    ]
    total = np.sum(alone, axis=0) / (1 if isinstance(select, str) else 3)
    np.testing.assert_allclose(choice.scores, total, rtol=1e-9)


def test_a_comparison_of_outputs_with_different_rows() -> None:
    x, y = gaps(*records())
    problem = cs.Problem(x, y, kernel_size=6, missing="drop")
    table = cs.compare(problem, ["qr", "normal"])
    for row, fit in zip(table.rows, table.solutions.values(), strict=True):
        left = np.concatenate([a.reshape(-1) for a in fit._weighted_residuals()])
        np.testing.assert_allclose(row["loss"], np.square(left).mean(), rtol=1e-12)


def test_a_mask_is_shaped_as_y_or_as_one_channel_of_it() -> None:
    x, y = records()
    flags = [np.arange(len(b)) % 7 > 0 for b in y]
    one = cs.solve(cs.Problem(x, y, kernel_size=6, mask=flags))
    wide = [np.repeat(f[:, None], 3, 1) for f in flags]
    np.testing.assert_array_equal(
        cs.solve(cs.Problem(x, y, kernel_size=6, mask=wide)).kernel, one.kernel
    )
    both = cs.Problem(
        np.stack([x[0]] * 2), np.stack([y[0]] * 2), kernel_size=6, mask=[flags[0]] * 2
    )
    batch = cs.Problem(
        np.stack([x[0]] * 2), np.stack([y[0]] * 2), kernel_size=6, mask=np.stack([flags[0]] * 2)
    )
    assert both.n_equations == batch.n_equations == 2 * flags[0].sum()
    single = cs.Problem(x[0], y[0], kernel_size=6, mask=flags[0])
    np.testing.assert_allclose(cs.solve(batch).kernel, cs.solve(single).kernel, rtol=1e-12)


def test_a_missing_pixel_takes_a_whole_window() -> None:
    rng = np.random.default_rng(5)
    image, w = rng.standard_normal((40, 50)), rng.standard_normal((3, 3, 1, 1))
    y = cs.convolve(image, w[..., 0, 0], cs.ConvSpec((3, 3)))
    broken = image.copy()
    broken[10, 20] = np.nan
    problem = cs.Problem(broken, y, kernel_size=(3, 3), missing="drop")
    assert problem._kept.dropped == 9
    np.testing.assert_allclose(cs.solve(problem).kernel, w, rtol=1e-12)


def test_a_report_says_what_was_lost() -> None:
    x, y = gaps(*records())
    report = cs.identify(cs.Problem(x, y, kernel_size=6, missing="drop"))
    words = "rows excluded: 9 with missing samples of x, 20 by missing y or the mask"
    text = " ".join(str(report).split())
    assert f"Equations 521 per output for 12 unknowns (6 lags × 2 channels); {words}" in text
    text = " ".join(str(report.problem).split())
    assert f"Rows 521 of 550 rows; {words.removeprefix('rows ')}" in text
    (x, y), few = records(), np.zeros(295, bool)
    few[:8] = True
    assert cs.identify(cs.Problem(x[0], kernel_size=6, mask=few)).verdict == "underdetermined"
    wide = np.ones((295, 3), bool)
    wide[8:, 1] = False
    problem = cs.Problem(x[0], y[0], kernel_size=6, mask=wide, missing="drop")
    report = cs.identify(problem)
    assert report.verdict == "underdetermined"
    with pytest.warns(
        cs.IdentifiabilityWarning,
        match="^output number 1: .* 4 more rows of y are needed: exclude fewer rows",
    ) as warned:
        fit = cs.solve(problem)
    assert [w.filename for w in warned] == [__file__]
    assert fit.converged
    with pytest.raises(ValueError, match="no degrees of freedom"):
        str(fit.standard_error)


@pytest.mark.parametrize("limits", [Limits(), CUT], ids=["whole", "cut"])
@pytest.mark.parametrize("noise", ["hac", "cluster"])
def test_errors_under_dependent_noise(noise: str, limits: Limits) -> None:
    """By whichever route: rows depend on those near in time, zeros standing in the gaps."""
    x, y = records()
    x, y = [*x, x[0][::-1]], [*y, y[0][::-1]]
    rng = np.random.default_rng(4)
    flags = [rng.random(len(b)) > 0.1 for b in y]
    for f in flags:
        f[100:120] = False
    problem = cs.Problem(x, y, kernel_size=6, bias=True, mask=flags)
    fit = cs.solve(problem, noise=noise, limits=limits)
    a = [dense.design_matrix([b], cs.ConvSpec(6))[0] for b in x]
    parts = [np.hstack([m, np.ones((len(m), 1))])[f] for m, f in zip(a, flags)]
    outputs = [b[f][:, 0] for b, f in zip(y, flags)]
    whole, z = np.concatenate(parts), np.concatenate(outputs)
    inverse = np.linalg.inv(whole.T @ whole)
    left = z - whole @ (inverse @ whole.T @ z)
    ends = np.cumsum([len(p) for p in parts])[:-1]
    pieces = np.split(whole * left[:, None], ends)
    n, p = whole.shape
    if noise == "cluster":
        sums = np.array([m.sum(0) for m in pieces])
        middle, correction = sums.T @ sums, 3 / 2 * (n - 1) / (n - p)
    else:
        window = 1 + int(1.3 * np.sqrt(n))
        whole_records = []
        for m, f in zip(pieces, flags):
            wide = np.zeros((len(f), p))
            wide[f] = m
            whole_records.append(wide)
        pieces = whole_records
        middle = np.zeros((p, p))
        for m in pieces:
            sums = np.cumsum(np.vstack([np.zeros((window, p)), m, np.zeros((window - 1, p))]), 0)
            moving = sums[window:] - sums[:-window]
            middle += moving.T @ moving / window
        correction = n / (n - p)
    wanted = correction * inverse @ middle @ inverse
    np.testing.assert_allclose(covariance_of(fit), wanted[:-1, :-1], rtol=1e-8, atol=1e-12)
    errors = np.sqrt(np.diagonal(wanted)[:-1])
    np.testing.assert_allclose(errors_of(fit)[..., 0].reshape(-1), errors, rtol=1e-9)


def test_an_output_without_rows_in_a_fold_has_no_score_there() -> None:
    rng = np.random.default_rng(0)
    x = [rng.standard_normal(50) for _ in range(4)]
    y = [rng.standard_normal((50, 2)) for _ in x]
    flags = [np.ones((50, 2), bool) for _ in x]
    flags[0][:, 1] = False
    found = cs.cross_validate(cs.Problem(x, y, lags=(0, 2), mask=flags))
    np.testing.assert_array_equal(np.argwhere(np.isnan(found.mse)), [[0, 1]])


def test_an_output_is_judged_in_its_own_rows_and_group() -> None:
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


def test_a_penalty_is_chosen_from_the_rows_that_count() -> None:
    """As from records that hold only these: cut at the gaps, of kernels of one tap."""
    x, y = records()
    flags = [np.arange(len(a)) % 4 > 0 for a in x]
    y = [np.concatenate([b, np.zeros((5, 3))]) for b in y]
    masked_one = cs.Problem(x, y, kernel_size=1, mask=flags, bias=True)
    cut = cs.Problem(
        [a[f] for a, f in zip(x, flags)], [b[f] for b, f in zip(y, flags)], kernel_size=1, bias=True
    )
    for select in (
        "gcv",
        "evidence",
        "cv",
        cs.CrossValidation([[0], [1]]),
    ):
        method: dict[str, Any] = {"penalty": "ridge", "select": select}
        one, other = cs.solve(masked_one, **method), cs.solve(cut, **method)
        np.testing.assert_allclose(
            one.regularization.strength, other.regularization.strength, rtol=1e-6
        )
        np.testing.assert_allclose(one.kernel, other.kernel, rtol=1e-8)
    held, wanted = (cs.cross_validate(p) for p in (masked_one, cut))
    np.testing.assert_allclose(held.mse, wanted.mse, rtol=1e-9)
    np.testing.assert_allclose(held.r2, wanted.r2, rtol=1e-9)
    assert cs.choose_lags(cs.Problem(x, y, kernel_size=1, mask=flags)).lags == (0, 0)


LABELS, STRENGTHS = (0, 0, 1, 2), (1.0, 20.0, 300.0)


def grouped_masks() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two groups of two channels and two outputs each; every output has a mask of its own."""
    rng = np.random.default_rng(4)
    x, mask = rng.standard_normal((160, 4)), rng.random((160, 4)) > 0.1
    y = rng.standard_normal((160, 4)) + np.repeat(x[:, [1, 2]], 2, axis=1)
    return x, y, mask


def test_reports_of_masks_per_output_take_penalties_by_channel() -> None:
    x, y, mask = grouped_masks()
    report = cs.identify(cs.Problem(x, y, kernel_size=5, groups=2, padding="same", mask=mask))
    penalty = cs.Ridge(STRENGTHS, channel_groups=LABELS)
    (form, strength), *_ = penalty.terms(4)
    assert report._diagnosis.unique_with(strength, form)
    output = int(np.argmin(mask.sum(0)))  # the report describes the output with the fewest rows
    own = slice(0, 2) if output < 2 else slice(2, 4)
    alone = cs.identify(cs.Problem(x[:, own], kernel_size=5, padding="same", mask=mask[:, output]))
    labels = LABELS[own]
    given = cs.Ridge({label: STRENGTHS[label] for label in labels}, channel_groups=labels)
    np.testing.assert_allclose(
        report.resolution(penalty=penalty), alone.resolution(penalty=given), rtol=1e-12
    )
    short = cs.Ridge(1.0, channel_groups=(0, 1))
    with pytest.raises(ValueError, match="2 labels, x has 4 channels"):
        report.resolution(penalty=short)
    (form, strength), *_ = short.terms(4)
    with pytest.raises(ValueError, match="2 labels, x has 4 channels"):
        report._diagnosis.unique_with(strength, form)


def test_a_start_of_descent_is_that_of_the_outputs_of_each_mask() -> None:
    x, y, mask = grouped_masks()
    init = np.random.default_rng(0).standard_normal((5, 4, 2))
    two = cs.Problem(x, y[:, :2], kernel_size=5, padding="same", mask=mask[:, :2])
    alone = cs.Problem(x, y[:, 1], kernel_size=5, padding="same", mask=mask[:, 1])
    moved, wanted = (
        cs.solve(stated, cs.GradientDescent(optax.sgd(0.1), steps=1, init=start)).kernel
        for stated, start in ((two, init), (alone, init[..., [1]]))
    )
    np.testing.assert_allclose(moved[..., [1]], wanted, rtol=1e-12)


def test_new_data_may_have_gaps_if_the_training_data_might(tmp_path: Any) -> None:
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


def test_a_mask_that_keeps_all_is_none() -> None:
    x, y = records()
    whole = [np.ones(len(b), bool) for b in y]
    problem = cs.Problem(x, y, kernel_size=6, mask=whole, missing="drop")
    assert problem._kept.flags is None
    assert cs.solve(problem, "cg").converged


def test_what_a_mask_leaves_out_may_be_missing() -> None:
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


def test_infinite_values_are_not_missing() -> None:
    x = X.copy()
    x[3] = np.inf
    with pytest.raises(ValueError, match=r"the first \(Inf\) at index \(3, 0\)"):
        cs.Problem(x, Y, kernel_size=3, missing="drop")
    x[3] = np.nan
    with pytest.raises(ValueError, match="fill short gaps of x, or use fewer taps"):
        cs.Problem(
            x, np.where(np.arange(28)[:, None] % 3 > 3, Y, np.nan), kernel_size=3, missing="drop"
        )
    assert replace(cs.Problem(X, Y, kernel_size=3)._kept).flags is None
