"""Confounds and weights against least squares on all columns, rows times the roots of weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve.linalg.polynomials import Polynomials
from convsolve.problem.sizes import Limits
from support import dense
from support.ordering import taps_of

# As if every matrix were large.
BLOCKS = Limits(row_numbers=0, small_numbers=0)
CHUNKS = Limits(held_numbers=1, chunk_numbers=100)


def recording(offset: float, trend: float) -> tuple[list, list]:
    """Two runs of two inputs and an output, far from zero and drifting."""
    rng = np.random.default_rng(1)
    x = [rng.standard_normal((n, 2)) for n in (220, 180)]
    w = rng.standard_normal((5, 2, 1))
    y = [cs.convolve(a, w, cs.ConvSpec(5)) for a in x]
    y = [b + rng.standard_normal(b.shape) for b in y]
    t = [np.linspace(-1, 1, len(a))[:, None] for a in x]
    x = [a + offset * (1 + i) + trend * s for i, (a, s) in enumerate(zip(x, t))]
    return x, [b + offset + trend * s[: len(b)] ** 2 for b, s in zip(y, t)]


def test_confounds_are_no_part_of_a_prediction_and_all_of_the_residuals() -> None:
    x, y = recording(3.0, 2.0)
    fit = cs.solve(cs.Problem(x, y, kernel_size=5, confounds=2))
    plain = [cs.convolve(a, fit.kernel, cs.ConvSpec(5)) for a in x]
    for one, other in zip(fit.predict(), plain):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    residuals, left, whole = fit.residuals(), 0.0, 0.0
    within = 0.0
    for r, b, p in zip(residuals, y, plain):
        n = Polynomials.of(b.shape[:1], 2).columns
        rest = (b - p) - n @ np.linalg.lstsq(n, b - p, rcond=None)[0]
        np.testing.assert_allclose(r, rest, atol=1e-11)
        left += float((rest**2).sum())
        within += float(((b - n @ np.linalg.lstsq(n, b, rcond=None)[0]) ** 2).sum())
        whole += float(((b - np.concatenate(y).mean()) ** 2).sum())
    score = fit.score()
    np.testing.assert_allclose(score.r2, 1 - left / within)
    np.testing.assert_allclose(score.r2_total, 1 - left / whole)
    # To new data drifts are fitted anew; other confounds are not known there.
    np.testing.assert_allclose(fit.score(x, y), score)
    for one, other in zip(fit.residuals(x, y), residuals):
        np.testing.assert_allclose(one, other, atol=1e-12)
    arrays = [Polynomials.of(b.shape[:1], 2).columns for b in y]
    other = cs.solve(cs.Problem(x, y, kernel_size=5, confounds=arrays))
    with pytest.warns(UserWarning, match="confounds, which are not known for new data"):
        assert other.score(x, y).r2 < other.score().r2
    assert "Adjusted    3 confounds per record\n" in str(other)
    assert "Adjusted    an intercept and a drift of degree 2 per record\n" in str(fit)


@pytest.mark.parametrize("select", ["gcv", "evidence", "aicc", "bic", cs.CrossValidation()])
def test_a_penalty_is_chosen_beside_confounds(select: Any) -> None:
    """As from records whose drift was taken off by hand, with its degrees of freedom counted."""
    x, y = recording(0.0, 5.0)
    problem = cs.Problem(x, y, kernel_size=5, confounds=1)
    fit = cs.solve(problem, penalty="ridge", grid=[1.0, 10.0, 100.0], select=select)
    assert fit.converged
    rows = []
    for a, b in zip(x, y):
        n = Polynomials.of(b.shape[:1], 1).columns
        both = np.hstack([dense.design_matrix([a], cs.ConvSpec(5))[0], b])
        rows.append(both - n @ np.linalg.lstsq(n, both, rcond=None)[0])
    a, b = (np.concatenate(rows)[:, s] for s in (slice(-1), slice(-1, None)))
    scores = []
    for strength in (1.0, 10.0, 100.0):
        solve = np.linalg.solve(a.T @ a + strength * np.eye(10), np.eye(10))
        w = solve @ a.T @ b
        squares, freedom = float(((b - a @ w) ** 2).sum()), float(np.trace(solve @ a.T @ a))
        m = len(a) - 4
        if select == "gcv":
            scores.append(m * squares / (m - freedom) ** 2)
        elif isinstance(select, cs.CrossValidation):
            scores.append(_held_out(rows, strength))
    path = fit.regularization.path
    if scores:
        np.testing.assert_allclose(path.scores[:, 0], scores, rtol=1e-9)
    k = [1.0, 10.0, 100.0].index(float(fit.regularization.strength[0]))
    best = np.linalg.solve(a.T @ a + (1.0, 10.0, 100.0)[k] * np.eye(10), a.T @ b)
    np.testing.assert_allclose(fit.kernel.reshape(-1), best[:, 0], rtol=1e-9)


def _held_out(rows: list[np.ndarray], strength: float) -> float:
    found = []
    for held, other in (rows, rows[::-1]):
        a, b = other[:, :-1], other[:, -1]
        w = np.linalg.solve(a.T @ a + strength * np.eye(10), a.T @ b)
        found.append(((held[:, -1] - held[:, :-1] @ w) ** 2).mean())
    return float(np.mean(found))


def test_a_lasso_of_little_strength_beside_confounds_is_least_squares() -> None:
    x, y = recording(1e3, 10.0)
    problem = cs.Problem(x, y, kernel_size=5, confounds=2)
    lasso = cs.solve(problem, penalty=cs.Lasso(1e-9))
    np.testing.assert_allclose(lasso.kernel, cs.solve(problem).kernel, rtol=1e-6)


def test_a_report_counts_confounds() -> None:
    x, y = recording(0.0, 0.0)
    problem = cs.Problem(x, y, kernel_size=5, confounds=2)
    report = cs.identify(problem)
    assert report.n_unknowns == 10 + 6
    assert "for 16 unknowns (5 lags × 2 channels, 6 confounds)" in str(report)
    assert "Rank        16 of 16 (confounds included)" in str(report)
    assert report.rank == report.n_unknowns
    assert report.nullity == 0
    fitted = "an intercept and a drift of degree 2 per record"
    assert f"Adjusted    {fitted}" in str(problem).splitlines()
    assert fitted in report.to_dict()["data"]
    np.testing.assert_allclose(np.concatenate(report.leverage()).sum(), 16)
    # What confounds span no data determine.
    flat = [np.hstack([a, np.full((len(a), 1), 7.0 + i)]) for i, a in enumerate(x)]
    spanned = cs.identify(cs.Problem(flat, kernel_size=2, confounds="intercept"))
    assert not spanned.unique
    assert taps_of(spanned, "identifiable")[:, :2].all()
    assert not taps_of(spanned, "identifiable")[:, 2].any()
    lines = [np.hstack([a, np.arange(float(len(a)))[:, None]]) for a in x]
    assert not cs.identify(cs.Problem(lines, kernel_size=2, confounds=1)).unique
    assert cs.identify(cs.Problem(lines, kernel_size=1, confounds="intercept")).unique


T = np.linspace(-1, 1, 600)
TURN = 2 * np.pi * 5 / 600 * np.arange(600)
LIMITED = {
    "a constant": (np.full(600, 0.1), "intercept", 0),
    "a large one": (np.full(600, -1e9 / 3), "intercept", 0),
    "a ramp and noise": (1e9 + np.arange(600) + 1e-3 * np.cos(1e3 * np.arange(600) ** 2), 1, 20),
    "a parabola": (1e3 * T**2 + T, 2, 0),
    "a cubic": (1e3 * T**3 + T, 2, 1),
    "a quartic": (1e3 * T**4, 2, 2),
    "a tone": (np.cos(TURN), "intercept", 2),
    "a tone and its like": (np.cos(TURN), np.stack([np.sin(TURN), np.cos(TURN)], 1)[:581], 0),
    "half of it": (np.cos(TURN), np.cos(TURN)[:581, None], 1),
}


@pytest.mark.parametrize("limits", [Limits(), BLOCKS], ids=["rows", "blocks"])
@pytest.mark.parametrize("name", LIMITED)
def test_the_rank_is_that_beside_confounds(name: str, limits: Limits) -> None:
    """What confounds leave of x determines so many of 20 taps; rounding none."""
    x, confounds, rank = LIMITED[name]
    report = cs.identify(cs.Problem(x, kernel_size=20, confounds=confounds), limits=limits)
    assert report.rank == rank + report.problem._nuisance.total
    assert report.nullity == 20 - rank
    assert report.unique == (rank == 20)


@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_the_unit_of_weights_alarms_nobody(unit: float) -> None:
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.standard_normal(600))
    y = np.convolve(x, [1, 2, 3])[:600] + rng.standard_normal(600)
    assert cs.solve(cs.Problem(x, y, lags=(0, 4), weights=np.full(600, unit))).standard_error.all()
    red = np.convolve(x, [1, 2, 3])[:600] + np.cumsum(rng.standard_normal(600))
    fit = cs.solve(cs.Problem(x, red, lags=(0, 4), weights=np.full(600, unit)))
    with pytest.warns(UserWarning, match="correlated in time"):
        assert fit.standard_error.all()


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_any_units(scale: float) -> None:
    x, y = recording(5.0, 4.0)
    one = cs.solve(cs.Problem(x, y, kernel_size=5, confounds=1, weights=[1, 2]))
    far = [b * scale for b in y]
    other = cs.solve(
        cs.Problem([a / scale for a in x], far, kernel_size=5, confounds=1, weights=[1, 2])
    )
    np.testing.assert_allclose(other.kernel / scale / scale, one.kernel, rtol=1e-10)
    np.testing.assert_allclose(other.score().r2_total, one.score().r2_total, rtol=1e-10)


X, Y = np.random.default_rng(0).standard_normal((2, 40, 1))
BATCH = {"x": np.stack([X] * 3), "y": np.stack([Y[2:]] * 3)}


def test_a_short_record_that_its_confounds_take_up_adds_nothing() -> None:
    rng = np.random.default_rng(1)
    x = [rng.standard_normal(n) for n in (60, 3, 70, 50)]
    y = [np.convolve(a, [1, 2, 3])[: len(a)] + rng.standard_normal(len(a)) for a in x]
    given = {"lags": (0, 2), "confounds": "intercept"}
    fit = cs.solve(cs.Problem(x, y, **given))
    others = [a for i, a in enumerate(x) if i != 1], [b for i, b in enumerate(y) if i != 1]
    alone = cs.solve(cs.Problem(*others, **given))
    np.testing.assert_allclose(fit.kernel, alone.kernel, rtol=1e-12)
    np.testing.assert_allclose(fit.noise.dof, alone.noise.dof)
    np.testing.assert_allclose(fit.jackknife().kernels[1], fit.kernel, rtol=1e-9)
    cs.solve(cs.Problem(x, y, **given), penalty="ridge", select="cv")
    whole = cs.Problem(X, Y[2:], kernel_size=3, confounds=np.eye(38))
    assert cs.identify(whole).verdict == "underdetermined"


@pytest.mark.parametrize("weights", [[2.0] * 4, [1e6] * 4])
def test_weights_that_are_all_equal_change_no_score(weights: list[float]) -> None:
    """R² is about the mean of y. An offset that no bias fits stays in the residual."""
    rng = np.random.default_rng(5)
    x = [rng.standard_normal(60) for _ in range(4)]
    y = [2 * a + 5 + rng.standard_normal(60) for a in x]
    plain = cs.Problem(x, y, lags=(0, 2))
    weighted = cs.Problem(x, y, lags=(0, 2), weights=weights)
    wanted, found = cs.solve(plain).score(), cs.solve(weighted).score()
    for name in ("r2", "correlation", "fit_percent", "r2_total"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-12)
    held, of_plain = cs.cross_validate(weighted), cs.cross_validate(plain)
    np.testing.assert_allclose(held.mse, of_plain.mse, rtol=1e-12)
    np.testing.assert_allclose(held.r2, of_plain.r2, rtol=1e-12)


def test_scores_of_unequal_weights_and_a_slope_alone() -> None:
    rng = np.random.default_rng(6)
    x, slope = rng.standard_normal(80), np.linspace(0, 3, 80)
    y, w = x + 4 + slope + rng.standard_normal(80), rng.random(80) + 0.5
    fit = cs.solve(cs.Problem(x, y, lags=(0, 0), weights=w, confounds=slope[:, None]))
    root = np.sqrt(w)
    with_constant = root[:, None] * np.column_stack([slope, np.ones(80)])
    squares = [
        np.linalg.lstsq(columns, target, rcond=None)[1].item()
        for columns, target in (
            (with_constant[:, :1], root * (y - fit.predict())),
            (with_constant, root * y),
        )
    ]
    np.testing.assert_allclose(fit.score().r2, 1 - squares[0] / squares[1])
    both = root[:, None] * np.column_stack([y, fit.predict()])
    both -= with_constant @ np.linalg.lstsq(with_constant, both, rcond=None)[0]
    (yy, yp), (_, pp) = both.T @ both
    np.testing.assert_allclose(fit.score().correlation, yp / np.sqrt(yy * pp))


@pytest.mark.parametrize("limits", [cs.Limits(), CHUNKS], ids=["memory", "chunks"])
@pytest.mark.parametrize("confounds", [0, 2, "motion"])
@pytest.mark.parametrize("masked", [False, True])
def test_folds_in_time_keep_the_confounds_of_their_record(
    confounds: Any, masked: bool, limits: cs.Limits
) -> None:
    """Training rows before and after a fold have one intercept, and the held-out rows another."""
    rng, n, strengths, weight = np.random.default_rng(0), 90, (0.1, 10.0), 3.0
    x, t = rng.standard_normal((n + 2, 1)), np.linspace(-1, 1, n)
    motion = rng.standard_normal((n, 2)) + 1
    columns = motion if confounds == "motion" else t[:, None] ** np.arange(confounds + 1)
    y = x[2:, 0] + 9 * t + rng.standard_normal(n)
    good = rng.random(n) > 0.1 if masked else np.ones(n, bool)
    given = motion if confounds == "motion" else confounds
    problem = cs.Problem(x, y[:, None], kernel_size=3, confounds=given, mask=good, weights=[weight])
    a, wanted, kernels = np.column_stack([x[k : n + k, 0] for k in range(3)]), [], []
    for first, last in ((0, 30), (30, 60), (60, 90)):
        held = np.isin(np.arange(n), range(first, last))
        parts = []
        for rows in (held & good, ~held & good):
            both, own = np.column_stack([a, y])[rows], columns[rows]
            parts.append(both - own @ np.linalg.lstsq(own, both, rcond=None)[0])
        out, fit = parts
        for strength in (0.0, *strengths):
            gram = weight * fit[:, :3].T @ fit[:, :3] + strength * np.eye(3)
            kernels.append(np.linalg.solve(gram, weight * fit[:, :3].T @ fit[:, 3]))
            wanted.append(np.square(out[:, 3] - out[:, :3] @ kernels[-1]).mean())
    plain = cs.cross_validate(problem, folds=3, limits=limits)
    np.testing.assert_allclose(plain.mse[:, 0], wanted[::3], rtol=1e-9)
    np.testing.assert_allclose(
        [fit.kernel.reshape(-1) for fit in plain.solutions], kernels[::3], rtol=1e-9
    )
    select = cs.CrossValidation(3)
    chosen = cs.solve(problem, penalty="ridge", grid=strengths, select=select, limits=limits)
    found = chosen.regularization.path.scores_by_fold[:, :, 0]
    np.testing.assert_allclose(found, np.reshape(wanted, (3, 3))[:, 1:], rtol=1e-8)
    lags = cs.choose_lags(problem, select=select, limits=limits)
    assert lags.scores.shape[:2] == (3, 3)


def test_clusters_need_rows_that_confounds_leave_in_every_output() -> None:
    rng = np.random.default_rng(0)
    x, y = ([rng.standard_normal(n) for n in (100, 5)] for _ in range(2))
    drift = cs.Problem(x, y, lags=(0, 2), confounds=2)
    x, y = [rng.standard_normal(90) for _ in range(2)], [rng.random((90, 2)) for _ in range(2)]
    flags = [np.ones((90, 2), bool) for _ in range(2)]
    flags[1][:, 1] = False
    for problem in (drift, cs.Problem(x, y, lags=(0, 2), mask=flags)):
        with pytest.raises(ValueError, match="needs two records or more that have rows, and more"):
            cs.solve(problem, noise="cluster")


def test_weights_of_one_record_and_of_some_rows() -> None:
    x, y = X, Y[2:]
    plain = cs.solve(cs.Problem(x, y, kernel_size=3))
    for weights in ([1.0], np.ones(1), np.ones((38, 1)), 1):
        problem = cs.Problem(x, y, kernel_size=3, weights=weights)
        assert problem._weights is None
        np.testing.assert_array_equal(cs.solve(problem).kernel, plain.kernel)
    rows = np.linspace(1, 2, 38)
    mixed = cs.solve(cs.Problem([x, x], [y, y], kernel_size=3, weights=[2.0, rows]))
    listed = cs.solve(cs.Problem([x, x], [y, y], kernel_size=3, weights=[np.full(38, 2.0), rows]))
    np.testing.assert_array_equal(mixed.kernel, listed.kernel)


def test_descent_has_no_forecast_for_weights() -> None:
    problem = cs.Problem(**BATCH, kernel_size=3, bias=True, weights=[1, 2, 3])
    with pytest.raises(ValueError, match=r"descent\(\) does not support weights or confounds"):
        cs.identify(problem).descent()


@pytest.mark.parametrize("confounds", ["intercept", 2])
@pytest.mark.parametrize("padding", ["valid", "full", "causal"])
def test_records_of_different_lengths_may_have_the_same_rows(padding: str, confounds: Any) -> None:
    """A stride skips the last samples of some of them."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((n, 1)) for n in (41, 42, 41)]
    spec = cs.ConvSpec(3, 2, padding)
    y = [rng.standard_normal((*spec.output_shape(a.shape[:-1]), 1)) for a in x]
    fit = cs.solve(cs.Problem(x, y, spec=spec, confounds=confounds))
    degree = 0 if confounds == "intercept" else confounds
    projected = []
    for a, b in zip(x, y, strict=True):
        n = Polynomials.of(b.shape[:1], degree).columns
        rows = np.hstack([dense.design_matrix(a[None], spec)[0], b])
        projected.append(rows - n @ np.linalg.lstsq(n, rows, rcond=None)[0])
    whole = np.concatenate(projected)
    wanted = np.linalg.lstsq(whole[:, :-1], whole[:, -1:], rcond=None)[0]
    np.testing.assert_allclose(fit.kernel.reshape(3, 1), wanted, rtol=1e-11)


@pytest.mark.parametrize("limits", [Limits(), CHUNKS])
@pytest.mark.parametrize("confounds", ["intercept", 1, 3])
@pytest.mark.parametrize("value", [0.1, 1e9])
def test_nothing_is_left_of_a_constant_output(
    value: float, confounds: int | str, limits: Limits
) -> None:
    """The rounding of a drift is not data."""
    x = np.random.default_rng(0).standard_normal(150)
    problem = cs.Problem(x, np.full(150, value), lags=(0, 3), confounds=confounds)
    np.testing.assert_array_equal(cs.solve(problem, limits=limits).kernel, 0)


@pytest.mark.parametrize("limits", [Limits(), BLOCKS, CHUNKS], ids=["rows", "blocks", "chunks"])
@pytest.mark.parametrize(("rows", "left", "degree"), [(300, 30, 6), (2000, 40, 5), (600, 300, 10)])
def test_a_drift_in_a_part_of_a_record_is_that_of_the_part(
    rows: int, left: int, degree: int, limits: Limits
) -> None:
    """Polynomials of the whole record are nearly collinear in a few of its rows."""
    rng = np.random.default_rng(degree)
    x = rng.standard_normal(rows + 2)
    y = np.convolve(x, [0.3, -0.5, 1.0], "valid") + rng.standard_normal(rows)
    mask = np.arange(rows) >= rows - left
    whole = cs.Problem(x, y, kernel_size=3, confounds=degree, mask=mask)
    assert whole._sizes(limits).chunked == (limits is CHUNKS)
    part = cs.Problem(x[-left - 2 :], y[-left:], kernel_size=3, confounds=degree)
    found, wanted = cs.solve(whole, limits=limits), cs.solve(part)
    assert found.noise.dof == wanted.noise.dof
    np.testing.assert_allclose(found.kernel, wanted.kernel, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.standard_error, wanted.standard_error, rtol=1e-13)


def test_a_weight_that_takes_x_out_of_float64_is_refused() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 60))
    with pytest.raises(cs.SolveError, match="x times the root of a weight leaves the range"):
        cs.solve(cs.Problem(1e290 * x, y, lags=(0, 2), weights=[1e60]))


@pytest.mark.parametrize("limits", [BLOCKS, CHUNKS], ids=["blocks", "chunks"])
@pytest.mark.parametrize("penalty", [cs.Ridge(), cs.StableSpline()], ids=str)
def test_a_strength_is_chosen_in_any_unit(penalty: cs.Penalty, limits: Limits) -> None:
    """Sums beside confounds are rescaled to one unit of all channels."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((n, 2)) * [1e3, 1e-2] for n in (150, 130)]
    y = [rng.standard_normal((len(a), 1)) + 1e-3 * np.cumsum(a[:, :1], 0) for a in x]
    problem = cs.Problem(x, y, lags=(0, 5), confounds=1)
    whole, found = (cs.solve(problem, penalty=penalty, limits=each) for each in (Limits(), limits))
    np.testing.assert_allclose(found.kernel, whole.kernel, rtol=1e-6)
    np.testing.assert_allclose(found.noise.dof, whole.noise.dof, rtol=1e-7)
    np.testing.assert_allclose(found.standard_error, whole.standard_error, rtol=1e-6)
