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


def test_scores_are_those_of_rows_without_the_drift() -> None:
    x, y = recording(3.0, 2.0)
    fit = cs.solve(cs.Problem(x, y, kernel_size=5, drift=2))
    squares = np.square(np.concatenate(fit.residuals())).sum()
    within = np.square(np.concatenate([rest(b, 2) for b in y])).sum()
    score, whole = fit.score(), np.concatenate(y)
    np.testing.assert_allclose(score.r2, 1 - squares / within)
    np.testing.assert_allclose(score.r2_total, 1 - squares / (whole.var() * whole.size))
    # Drifts of new data are fitted again. Other confounds are not known for new data.
    np.testing.assert_allclose(fit.score(x, y).r2, score.r2)
    for one, r in zip(fit.residuals(x, y), fit.residuals()):
        np.testing.assert_allclose(one, r, atol=1e-12)
    arrays = [legvander(np.linspace(-1, 1, len(b)), 2) for b in y]
    other = cs.solve(cs.Problem(x, y, kernel_size=5, confounds=arrays))
    with pytest.warns(UserWarning, match="confounds are not known for new data"):
        assert other.score(x, y).r2 < other.score().r2


@pytest.mark.parametrize("select", ["gcv", "evidence"])
def test_a_penalty_is_selected_from_rows_without_the_drift(select: str) -> None:
    x, y = recording(0.0, 5.0)
    grid, problem = (1.0, 10.0, 100.0), cs.Problem(x, y, kernel_size=5, drift=1)
    found = cs.solve(problem, penalty="ridge", grid=grid, select=select)
    rows = np.concatenate(
        [
            rest(np.hstack([dense.design_matrix(a[None], cs.ConvSpec(5))[0], b]), 1)
            for a, b in zip(x, y)
        ]
    )
    gram, m, scores = rows.T @ rows, len(rows) - 4, []  # two columns of drift per record
    for strength in grid:
        both = np.linalg.solve(gram[:10, :10] + strength * np.eye(10), gram[:10])
        squares = np.square(rows[:, 10] - rows[:, :10] @ both[:, 10]).sum()
        scores.append(m * squares / (m - np.trace(both)) ** 2)
        if strength == found.regularization.strength[0]:
            np.testing.assert_allclose(found.kernel.reshape(-1), both[:, 10], rtol=1e-9)
    if select == "gcv":
        np.testing.assert_allclose(found.regularization.path.scores[:, 0], scores, rtol=1e-9)


def test_channels_that_confounds_span_are_undetermined() -> None:
    x, _ = recording(0.0, 0.0)
    flat = [np.hstack([a, np.full((len(a), 1), 7.0 + i)]) for i, a in enumerate(x)]
    spanned = cs.identify(cs.Problem(flat, kernel_size=2, drift=0))
    assert spanned.n_unknowns == 6 + 2
    determined = taps_of(spanned, "identifiable")
    assert determined[:, :2].all()
    assert not determined[:, 2].any()
    lines = [np.hstack([a, np.arange(float(len(a)))[:, None]]) for a in x]
    assert cs.identify(cs.Problem(lines, kernel_size=1, drift=0)).unique


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
    with pytest.raises(ValueError, match="needs two records or more with free rows"):
        cs.solve(cs.Problem(x, y, lags=(0, 2), drift=2), noise="cluster")
