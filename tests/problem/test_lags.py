"""Problems with lags=: lags, edges and rows, compared with a loop."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convsolve as cs
from support import dense


def check_lags(x, h, bounds, edges, stride):
    """The rows of a problem are y[t] = sum_l h[l] x[t·stride − l], exactly."""
    first, every = [a for a, _ in bounds], (slice(None, None, stride),) * len(bounds)
    y, whole = (a[every] for a in dense.lag_convolve(x, h, first, edges))
    if edges == "drop" and not whole.any():
        with pytest.raises(ValueError, match=r"no window fits"):
            cs.Problem(x, y, lags=bounds, edges=edges, stride=stride)
        return
    problem = cs.Problem(x, y, lags=bounds, edges=edges, stride=stride)
    ascending = problem.lags if len(bounds) > 1 else (problem.lags,)
    assert [lags.tolist() for lags in ascending] == [list(range(a, b + 1)) for a, b in bounds]
    kernel = h[np.ix_(*(lags[::-1] - a for lags, a in zip(ascending, first, strict=True)))]
    shapes = zip(problem._geometry.shift, problem._kept.shapes[0])
    rows = [b // stride + np.arange(n) for b, n in shapes]
    inside = whole if edges == "drop" else np.ones(y.shape[:-1], bool)
    assert np.array_equal(
        np.argwhere(inside), np.argwhere(inside[np.ix_(*rows)]) + [r[0] for r in rows]
    )
    np.testing.assert_array_equal(problem.y[0], y[np.ix_(*rows)])
    made = dense.convolve(problem.x[0][None], kernel, problem.spec)
    np.testing.assert_array_equal(made[0], problem.y[0])
    # Predictions are as long as y, and a recipe states the same problem.
    again = cs.Problem._again(json.loads(json.dumps(problem._recipe)), x, y)
    assert (again.spec, again._kept.shapes) == (problem.spec, problem._kept.shapes)
    (long,) = problem._as_long_as_y([problem.y[0].astype(float)])
    np.testing.assert_array_equal(long, np.where(inside[..., None], y, np.nan))


@pytest.mark.parametrize("edges", ["drop", "zeros", "circular"])
@pytest.mark.parametrize("bounds", [((0, 2), (-1, 1)), ((-2, -1), (1, 2))], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_lags_in_two_dimensions(bounds, edges, stride):
    rng = np.random.default_rng(2)
    h = rng.integers(-9, 9, (*(b - a + 1 for a, b in bounds), 2, 2))
    check_lags(rng.integers(-9, 9, (6, 5, 2)), h, bounds, edges, stride)


@pytest.mark.parametrize("edges", ["drop", "zeros", "circular"])
@given(
    samples=st.integers(2, 9),
    first=st.integers(-6, 6),
    taps=st.integers(1, 5),
    stride=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_lags_along_one_axis(edges, samples, first, taps, stride, seed):
    rng = np.random.default_rng(seed)
    x, h = rng.integers(-9, 9, (samples, 2)), rng.integers(-9, 9, (taps, 2, 3))
    check_lags(x, h, [(first, first + taps - 1)], edges, stride)


def test_more_channels_than_samples_are_reported() -> None:
    """Arrays (trials, time) are read as one record of many channels."""
    x = np.ones((10, 500))
    with pytest.warns(UserWarning, match=r"10 samples × 500 channels.*x\[\.\.\., None\]") as caught:
        cs.Problem(x, lags=(0, 3))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="x was read as 2 records × 10 samples"):
        cs.Problem([x, x], kernel_size=2)
    with pytest.raises(ValueError, match="channels come last: transpose x"):
        cs.Problem(np.ones((3, 500)), np.ones(500), lags=(0, 3))
    assert cs.Problem(x, lags=[(0, 3)]).n_channels == 500  # A pair in a list states one axis.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fs": 100, "tmin": 0, "tmax": np.inf}, "tmax must be finite"),
        ({"fs": np.inf, "tmin": 0, "tmax": 1}, "fs must be finite and above 0, got inf"),
    ],
)
def test_rates_and_times_that_are_not_finite_are_refused(
    given: dict[str, Any], message: str
) -> None:
    x = np.arange(20.0)
    with pytest.raises(ValueError, match=message):
        cs.Problem(x, x, **given)
