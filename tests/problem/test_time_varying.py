"""`varying`: kernels that change in time, compared with the dense problem."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.polynomial import legendre

import convsolve as cs

LENGTHS, TAPS, DEGREE = (300, 200, 500), 6, 2


def simulated(seed: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Records of x and y, and the kernels h_j (degree + 1, channels, taps)."""
    rng = np.random.default_rng(seed)
    kernels = rng.standard_normal((DEGREE + 1, 2, TAPS))
    xs = [rng.standard_normal((n, 2)) for n in LENGTHS]
    time = np.split(np.linspace(-1, 1, sum(LENGTHS)), np.cumsum(LENGTHS)[:-1])
    ys = []
    for x, t in zip(xs, time):
        y = np.zeros(len(x))
        for at in range(len(x)):  # each input has the response of its own time
            response = legendre.legval(t[at], kernels)
            y[at : at + TAPS] += (x[at] @ response)[: len(x) - at]
        ys.append(y)
    return xs, ys, kernels


def dense(xs: list[np.ndarray], degree: int) -> np.ndarray:
    """Rows of all records; columns by degree, channel and lag."""
    time = np.split(np.linspace(-1, 1, sum(map(len, xs))), np.cumsum([*map(len, xs)])[:-1])
    blocks = []
    for x, t in zip(xs, time):
        p = [np.ones_like(t), t, (3 * t**2 - 1) / 2][: degree + 1]
        columns = [
            np.pad(p[j] * x[:, c], (lag, 0))[: len(x)]
            for j in range(degree + 1)
            for c in range(x.shape[1])
            for lag in range(TAPS)
        ]
        blocks.append(np.stack(columns, axis=1))
    return np.concatenate(blocks)


def test_estimates_and_the_test_of_constancy_are_those_of_the_dense_problem() -> None:
    xs, ys, kernels = simulated(1)
    rng = np.random.default_rng(2)
    truth = np.linalg.lstsq(dense(xs, DEGREE), np.concatenate(ys))[0]
    np.testing.assert_allclose(truth, kernels.ravel(), rtol=0, atol=1e-13)
    ys = [y + 3 * rng.standard_normal(len(y)) for y in ys]
    channels, names = cs.varying(xs, DEGREE)
    assert names[:3] == ["x0", "x1", "x0 × P1"]
    fit = cs.solve(cs.Problem(channels, ys, lags=(0, TAPS - 1), edges="zeros", channels=names))
    y = np.concatenate(ys)
    w, (squares,), _, _ = np.linalg.lstsq(dense(xs, DEGREE), y)
    np.testing.assert_allclose(
        fit.impulse_response, w.reshape(-1, TAPS).T, rtol=0, atol=1e-13 * np.abs(w).max()
    )
    constant = np.linalg.lstsq(dense(xs, 0), y)[1][0]
    q, left = 2 * DEGREE * TAPS, len(y) - len(w)
    test = fit.test(names[2:])
    assert test.dof == (q, left)
    expected = (constant - squares) / q / (squares / left)
    np.testing.assert_allclose(test.statistic, expected, rtol=1e-13)


def test_a_record_alone_has_names_without_numbers_and_keeps_missing_samples() -> None:
    x = np.random.default_rng(0).standard_normal(50)
    x[7] = np.nan
    channels, names = cs.varying(x, 1)
    assert names == ["x", "x × P1"]
    np.testing.assert_array_equal(channels, np.stack([x, x * np.linspace(-1, 1, 50)], axis=1))
    problem = cs.Problem(channels, np.ones(50), lags=(0, 3), missing="drop", channels=names)
    assert problem.n_equations == 50 - 3 - 4
    fit = cs.solve(problem, penalty=cs.Ridge([1.0, 100.0], channel_groups=[0, 1]))
    assert fit.converged
    frame = pd.DataFrame({"a": np.ones(9), "b": np.ones(9)})
    assert cs.varying([frame, frame], 1)[1] == ["a", "b", "a × P1", "b × P1"]


MISTAKES: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (np.ones((4, 5, 6)), {}, ValueError, "(T,) or (T, channels), got shape (4, 5, 6)"),
    (np.ones(9), {"degree": 0}, ValueError, "degree must be at least 1, got 0"),
    (np.ones((9, 2)), {"channels": ["a"]}, ValueError, "channels must be 2 different names"),
    ([], {}, ValueError, "(T,) or (T, channels), got shape (0,)"),
]


@pytest.mark.parametrize(("x", "options", "error", "words"), MISTAKES)
def test_mistakes_are_named(
    x: Any, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        cs.varying(x, **options)
