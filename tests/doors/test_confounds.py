"""Confounds and weights: least squares on all columns, rows multiplied by the root of weights."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.polynomial.legendre import legvander

import convsolve as cs
from convsolve.problem.sizes import Tuning
from support import dense
from support.ordering import taps_of

# Every matrix counts as large.
BLOCKS = Tuning(row_numbers=0, small_numbers=0)
CHUNKS = Tuning(held_numbers=1, chunk_numbers=100)


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


def rest(values: np.ndarray, degree: int) -> np.ndarray:
    """The columns without the part that a drift explains."""
    n = legvander(np.linspace(-1, 1, len(values)), degree)
    return values - n @ np.linalg.lstsq(n, values, rcond=None)[0]


def rest_of_rows(x: list, y: list, spec: cs.ConvSpec, degree: int) -> list[np.ndarray]:
    """The rows [A y] of every record without the part that a drift explains."""
    return [
        rest(np.hstack([dense.design_matrix(a[None], spec)[0], b]), degree) for a, b in zip(x, y)
    ]


def test_confounds_are_subtracted_from_residuals_and_not_predicted() -> None:
    x, y = recording(3.0, 2.0)
    fit = cs.solve(cs.Problem(x, y, kernel_size=5, drift=2))
    plain = [cs.convolve(a, fit.kernel, cs.ConvSpec(5)) for a in x]
    wanted = [rest(b - p, 2) for b, p in zip(y, plain)]
    for one, p, r, left in zip(fit.predict(), plain, fit.residuals(), wanted):
        np.testing.assert_allclose(one, p, rtol=1e-12)
        np.testing.assert_allclose(r, left, atol=1e-11)
    squares = np.square(np.concatenate(wanted)).sum()
    within = np.square(np.concatenate([rest(b, 2) for b in y])).sum()
    score, whole = fit.score(), np.concatenate(y)
    np.testing.assert_allclose(score.r2, 1 - squares / within)
    np.testing.assert_allclose(score.r2_total, 1 - squares / (whole.var() * whole.size))
    # Drifts of new data are fitted again. Other confounds are not known for new data.
    np.testing.assert_allclose(fit.score(x, y), score)
    for one, r in zip(fit.residuals(x, y), fit.residuals()):
        np.testing.assert_allclose(one, r, atol=1e-12)
    arrays = [legvander(np.linspace(-1, 1, len(b)), 2) for b in y]
    other = cs.solve(cs.Problem(x, y, kernel_size=5, confounds=arrays))
    with pytest.warns(UserWarning, match="confounds, which are not known for new data"):
        assert other.score(x, y).r2 < other.score().r2
    assert "Adjusted    3 confounds per record\n" in str(other)
    assert "Adjusted    an intercept and a drift of degree 2 per record\n" in str(fit)


@pytest.mark.parametrize("select", ["gcv", "evidence"])
def test_a_penalty_is_selected_from_rows_without_the_drift(select: str) -> None:
    x, y = recording(0.0, 5.0)
    grid, problem = (1.0, 10.0, 100.0), cs.Problem(x, y, kernel_size=5, drift=1)
    found = cs.solve(problem, penalty="ridge", grid=grid, select=select)
    rows = np.concatenate(rest_of_rows(x, y, cs.ConvSpec(5), 1))
    gram, m, scores = rows.T @ rows, len(rows) - 4, []  # two columns of drift per record
    for strength in grid:
        both = np.linalg.solve(gram[:10, :10] + strength * np.eye(10), gram[:10])
        squares = np.square(rows[:, 10] - rows[:, :10] @ both[:, 10]).sum()
        scores.append(m * squares / (m - np.trace(both)) ** 2)
        if strength == found.regularization.strength[0]:
            np.testing.assert_allclose(found.kernel.reshape(-1), both[:, 10], rtol=1e-9)
    if select == "gcv":
        np.testing.assert_allclose(found.regularization.path.scores[:, 0], scores, rtol=1e-9)


def test_a_report_counts_confounds() -> None:
    x, y = recording(0.0, 0.0)
    problem = cs.Problem(x, y, kernel_size=5, drift=2)
    report = cs.identify(problem)
    assert report.n_unknowns == 10 + 6
    assert report.rank == report.n_unknowns
    assert "an intercept and a drift of degree 2 per record" in report.to_dict()["data"]
    assert "Adjusted    an intercept and a drift" in str(problem)
    # Confounds that span a channel leave it undetermined.
    flat = [np.hstack([a, np.full((len(a), 1), 7.0 + i)]) for i, a in enumerate(x)]
    spanned = cs.identify(cs.Problem(flat, kernel_size=2, drift=0))
    assert not spanned.unique
    assert taps_of(spanned, "identifiable")[:, :2].all()
    assert not taps_of(spanned, "identifiable")[:, 2].any()
    lines = [np.hstack([a, np.arange(float(len(a)))[:, None]]) for a in x]
    assert not cs.identify(cs.Problem(lines, kernel_size=2, drift=1)).unique
    assert cs.identify(cs.Problem(lines, kernel_size=1, drift=0)).unique


T = np.linspace(-1, 1, 600)
TURN = 2 * np.pi * 5 / 600 * np.arange(600)
TONES = np.stack([np.sin(TURN), np.cos(TURN)], 1)[:581]
LIMITED = {
    "a large one": (np.full(600, -1e9 / 3), {"drift": 0}, 0),
    "a tone": (np.cos(TURN), {"drift": 0}, 2),
    "a tone and its like": (np.cos(TURN), {"confounds": TONES}, 0),
    "a tone and a ramp": (np.cos(TURN) + T, {"confounds": TONES + 1, "drift": 1}, 0),
    "a copy of the drift": (np.cos(TURN), {"confounds": T[:581, None], "drift": 1}, 2),
}


@pytest.mark.parametrize("limits", [Tuning(), BLOCKS], ids=["rows", "blocks"])
@pytest.mark.parametrize("name", LIMITED)
def test_the_rank_is_that_of_x_without_the_confounds(name: str, limits: Tuning) -> None:
    """Rounding does not determine a tap."""
    x, given, rank = LIMITED[name]
    report = cs.identify(cs.Problem(x, kernel_size=20, **given), limits=limits)
    assert report.rank == rank + report.problem._nuisance.total
    assert report.unique == (rank == 20)


X, Y = np.random.default_rng(0).standard_normal((2, 40, 1))


def test_a_short_record_that_its_confounds_explain_adds_nothing() -> None:
    rng = np.random.default_rng(1)
    x = [rng.standard_normal(n) for n in (60, 3, 70, 50)]
    y = [np.convolve(a, [1, 2, 3])[: len(a)] + rng.standard_normal(len(a)) for a in x]
    given = {"lags": (0, 2), "drift": 0}
    fit = cs.solve(cs.Problem(x, y, **given))
    others = [a for i, a in enumerate(x) if i != 1], [b for i, b in enumerate(y) if i != 1]
    alone = cs.solve(cs.Problem(*others, **given))
    np.testing.assert_allclose(fit.kernel, alone.kernel, rtol=1e-12)
    np.testing.assert_allclose(fit.noise.dof, alone.noise.dof)
    np.testing.assert_allclose(fit.jackknife().kernels[1], fit.kernel, rtol=1e-9)
    cs.solve(cs.Problem(x, y, **given), penalty="ridge", select="cv")
    whole = cs.Problem(X, Y[2:], kernel_size=3, confounds=np.eye(38))
    assert cs.identify(whole).verdict == "underdetermined"


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


@pytest.mark.parametrize(
    ("drift", "moved", "masked", "limits"),
    [
        (0, False, True, Tuning()),
        (2, False, False, CHUNKS),
        (None, True, True, CHUNKS),
        (1, True, False, Tuning()),
    ],
)
def test_folds_in_time_keep_the_confounds_of_their_record(
    drift: int | None, moved: bool, masked: bool, limits: Tuning
) -> None:
    """Training rows before and after a fold have one intercept, and the held-out rows another."""
    rng, n, strengths, weight = np.random.default_rng(0), 90, (0.1, 10.0), 3.0
    x, t = rng.standard_normal((n + 2, 1)), np.linspace(-1, 1, n)
    motion = rng.standard_normal((n, 2)) + 1 if moved else np.zeros((n, 0))
    columns = np.column_stack([motion, t[:, None] ** np.arange(-1 if drift is None else drift + 1)])
    y = x[2:, 0] + 9 * t + rng.standard_normal(n)
    good = rng.random(n) > 0.1 if masked else np.ones(n, bool)
    given = {"drift": drift, "confounds": motion if moved else None, "weights": [weight]}
    problem = cs.Problem(x, y[:, None], kernel_size=3, mask=good, **given)
    a, wanted, kernels = np.column_stack([x[k : n + k, 0] for k in range(3)]), [], []
    used = np.flatnonzero(good)
    ends = np.linspace(0, len(used), 4).round().astype(int)
    for first, last in pairwise(ends):
        held = np.isin(np.arange(n), used[first:last])
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


def test_clusters_need_rows_that_confounds_leave() -> None:
    x, y = ([np.random.default_rng(i).standard_normal(n) for n in (100, 5)] for i in range(2))
    with pytest.raises(ValueError, match="needs two records or more that have rows, and more"):
        cs.solve(cs.Problem(x, y, lags=(0, 2), drift=2), noise="cluster")


@pytest.mark.parametrize(
    ("value", "drift", "limits"),
    [(0.1, 0, CHUNKS), (0.1, 3, Tuning()), (1e9, 1, CHUNKS), (1e9, 0, Tuning())],
)
def test_the_kernel_of_a_constant_output_is_zero(value: float, drift: int, limits: Tuning) -> None:
    """The rounding of a drift is not data."""
    x = np.random.default_rng(0).standard_normal(150)
    problem = cs.Problem(x, np.full(150, value), lags=(0, 3), drift=drift)
    np.testing.assert_array_equal(cs.solve(problem, limits=limits).kernel, 0)


@pytest.mark.parametrize(
    ("rows", "left", "degree", "limits"),
    [(300, 30, 6, Tuning()), (2000, 40, 5, CHUNKS), (600, 300, 10, BLOCKS)],
    ids=["rows", "chunks", "blocks"],
)
def test_a_drift_in_the_used_part_of_a_record_is_a_drift_of_the_part(
    rows: int, left: int, degree: int, limits: Tuning
) -> None:
    """Polynomials of the whole record are nearly collinear in a few of its rows."""
    rng = np.random.default_rng(degree)
    x = rng.standard_normal(rows + 2)
    y = np.convolve(x, [0.3, -0.5, 1.0], "valid") + rng.standard_normal(rows)
    mask = np.arange(rows) >= rows - left
    whole = cs.Problem(x, y, kernel_size=3, drift=degree, mask=mask)
    assert whole._sizes(limits).chunked == (limits is CHUNKS)
    part = cs.Problem(x[-left - 2 :], y[-left:], kernel_size=3, drift=degree)
    found, wanted = cs.solve(whole, limits=limits), cs.solve(part)
    assert found.noise.dof == wanted.noise.dof
    np.testing.assert_allclose(found.kernel, wanted.kernel, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.standard_error, wanted.standard_error, rtol=1e-13)
