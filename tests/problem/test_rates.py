"""x that is sampled faster than y, cosine drifts, and confounds with missing rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convsolve as cs

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 404, 2)), RNG.standard_normal((2, 40))
MOTION, MASK, WEIGHTS = RNG.standard_normal((2, 40, 3)), RNG.random((2, 40)) > 0.2, RNG.random(2)


def test_the_rate_of_y_is_a_stride() -> None:
    """Windows, a mask, weights, confounds and samples after the last row, by explicit rows."""
    given: dict[str, Any] = {"mask": [*MASK], "weights": [*WEIGHTS], "confounds": [*MOTION]}
    given |= {"fs": 5.0, "fs_y": 0.5, "tmin": {0: -0.4, 1: 0.0}, "tmax": 1.0, "edges": "zeros"}
    problem = cs.Problem([*X], [*Y], drift=1, **given)
    assert (problem.fs, problem.spec.stride, problem.n_equations) == (5.0, (10,), MASK.sum())
    rows = []
    for x, y, motion, used, weight in zip(X, Y, MOTION, MASK, WEIGHTS):
        whole = np.pad(x[:400], ((5, 2), (0, 0)))
        design = [whole[5 - lag :][:400:10, c] for c in (0, 1) for lag in range(2 * c - 2, 6)]
        own = np.column_stack([*design, y, motion, np.ones(40), np.arange(40)])[used]
        left, columns = np.split(own, [15], axis=1)
        left = left - columns @ np.linalg.lstsq(columns, left, rcond=None)[0]
        rows.append(np.sqrt(weight) * left)
    a = np.concatenate(rows)
    wanted, fit = np.linalg.lstsq(a[:, :14], a[:, 14], rcond=None)[0], cs.solve(problem)
    found = np.concatenate([fit.impulse_response[:, 0], fit.impulse_response[2:, 1]])
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_allclose(fit.predict(X[0][:95])[:9], fit.predict(X[0])[:9], atol=1e-12)
    for kind in ("residuals", "prediction", "lines"):
        cs.plot(fit, kind)
    gaps = [np.where(used[:, None], m, np.nan) for used, m in zip(MASK, MOTION)]
    given |= {"confounds": gaps, "mask": None}
    with pytest.raises(ValueError, match="missing='drop' excludes them"):
        cs.Problem([*X], [*Y], drift=1, **given)
    other = cs.solve(cs.Problem([*X], [*Y], drift=1, missing="drop", **given))
    np.testing.assert_allclose(other.kernel, fit.kernel, atol=1e-12)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"fs_y": 0.5}, "fs_y= needs fs="),
    ({"fs": 5.0, "fs_y": 0.7}, "fs=5 must be a whole multiple of fs_y=0.7"),
    ({"stride": 10, "drift": "cosine128"}, "needs fs="),
    ({"stride": 10, "confounds": "intercept"}, "drift= takes a degree or 'cosine128'"),
]


@pytest.mark.parametrize(("given", "words"), WRONG)
def test_mistakes_are_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        cs.Problem(X[0], Y[0], lags=(0, 5), **given)


def test_cosines_are_columns_of_every_record() -> None:
    x, y = [X[0], X[1, :300]], [Y[0], Y[1, :30]]
    orders = ((n, np.arange(1 + n // 10)) for n in (40, 30))
    arrays = [np.cos(np.pi / n * np.outer(np.arange(n) + 0.5, k)) for n, k in orders]
    given: dict[str, Any] = {"lags": (0, 2), "fs": 5.0, "fs_y": 0.5}
    problem = cs.Problem(x, y, drift="cosine40", **given)
    assert problem.n_unknowns == 6 + 5 + 4
    assert "intercept and cosines of 40 s and longer per record" in repr(problem)
    for noise in ("white", "ar1"):
        own = cs.solve(cs.Problem(x[0], y[0], drift=cs.Cosines(40), **given), noise=noise)
        other = cs.solve(cs.Problem(x[0], y[0], confounds=arrays[0], **given), noise=noise)
        np.testing.assert_allclose(own.kernel, other.kernel, atol=1e-10)
        np.testing.assert_allclose(own.score(x[0], y[0]).r2, own.score().r2, atol=1e-12)
    assert cs.cross_validate(problem).mse.shape == (2, 1)


def test_the_design_is_drawn() -> None:
    basis, given = cs.HRF("spm + derivative"), {"fs": 5.0, "fs_y": 0.5, "edges": "zeros"}
    given |= {"confounds": [*MOTION], "channels": ["A", "B"], "drift": "cosine20"}
    problem = cs.Problem([*X], [*Y], lags=(0, 110), basis=basis, **given)
    (ax,) = cs.plot(problem, kind="design").axes
    columns = ax.images[0].get_array()
    assert columns.shape == (80, 4 + 3 + 9)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["A", "B", "confounds", "drift"]
    response = basis.functions(range(111), fs=5.0)
    wanted = np.convolve(X[0, :400, 0], response[:, 0])[:400:10]
    np.testing.assert_allclose(np.corrcoef(columns[:40, 0], wanted)[0, 1], 1.0, atol=1e-12)
