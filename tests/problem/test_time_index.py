"""Time indexes of pandas and xarray: equal, regular and of the given rate, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import convsolve as cs

N = 200
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, N))
SECONDS = np.arange(N) / 128
DATES = pd.date_range("2024-03-31 00:30", periods=N, freq="1s")
GAP = np.delete(np.arange(N + 20), np.arange(70, 90))


def series(values: np.ndarray, index: Any) -> pd.Series:
    return pd.Series(values, index=index)


def labelled(values: np.ndarray, index: Any, *dims: str) -> xr.DataArray:
    return xr.DataArray(values, dims=("time", *dims), coords={"time": index})


# x, y, other arguments and the words of the error; None for data that are accepted.
CASES: dict[str, tuple[Any, Any, dict[str, Any], str | None]] = {
    "row numbers": (series(X, None), series(Y, SECONDS), {"fs": 128}, None),
    "several levels": (
        series(X, pd.MultiIndex.from_product([[0, 1], range(N // 2)])), series(Y, SECONDS), {}, None
    ),
    "equal": (series(X, SECONDS), series(Y, SECONDS), {"fs": 128}, None),
    "rounded to 1 ms": (series(X, (SECONDS / 4).round(3)), Y, {"fs": 512}, None),
    "rounded to 1 ms, row 1 is missing": (
        series(X, np.delete(np.arange(N + 1) / 512, 1).round(3)), Y, {"fs": 512}, "not equally"
    ),
    "durations and seconds": (
        series(X, pd.to_timedelta(SECONDS, unit="s")), series(Y, SECONDS), {"fs": 128}, None
    ),
    "milliseconds": (series(X, (1e3 * SECONDS).astype(int)), Y, {"fs": 128}, None),
    "slow y": (series(X, SECONDS), series(Y[::4], SECONDS[::4]), {"stride": 4, "fs": 128}, None),
    "slow y at another rate": (
        series(X, SECONDS), series(Y[::4], SECONDS[::4] / 2), {"stride": 4, "fs": 128}, "64 Hz, but"
    ),
    "layer": (series(X, SECONDS), series(Y[: N // 2], SECONDS[::2]),
              {"lags": None, "kernel_size": 2, "stride": 2, "fs": 128}, None),
    "shifted dates": (
        series(X, DATES), series(Y, DATES + pd.Timedelta("5s")), {},
        r"x and y have different time indexes"
    ),
    "time zones": (
        series(X, DATES.tz_localize("UTC")), series(Y, DATES.tz_localize("Etc/GMT+1")), {},
        "different time indexes",
    ),
    "xarray": (
        labelled(X[:, None], SECONDS, "channel"), labelled(Y[:, None], SECONDS + 0.25, "channel"),
        {}, "x and y have different",
    ),
    "a record": (
        [X, series(X, SECONDS)], [series(Y, SECONDS), series(Y, SECONDS + 0.25)], {},
        r"x\[1\] and y\[1\] have different",
    ),
    "trials": (
        xr.DataArray(np.stack([X, Y])[..., None], dims=("trial", "time", "channel"),
                     coords={"time": SECONDS, "trial": [3, 9]}),
        xr.DataArray(np.stack([Y, X])[..., None], dims=("trial", "time", "channel"),
                     coords={"time": SECONDS + 0.25}),
        {}, "different time indexes",
    ),
    "confounds": (
        series(X, DATES), Y, {"confounds": pd.DataFrame({"motion": Y}, DATES + pd.Timedelta("9s"))},
        "x and confounds have different time indexes",
    ),
    "mask": (
        X, series(Y, DATES), {"mask": series(np.ones(N, bool), DATES + pd.Timedelta("9s"))},
        "y and mask have different time indexes",
    ),
    "gap": (
        series(X, GAP), Y, {},
        "time index of x is not equally spaced: row 70 is 21 after the row before$",
    ),
    "no time": (series(X, [*DATES[:9], pd.NaT, *DATES[10:]]), Y, {}, "row 9 is nan after"),
    "rate": (
        series(X, SECONDS), Y, {"fs": 130},
        r"x has a step of 0\.0078125 s, that is 128 Hz, but fs=130",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_time_indexes(name: str) -> None:
    x, y, given, words = CASES[name]

    def stated() -> cs.Problem:
        return cs.Problem(x, y, **{"lags": (0, 1), **given})

    if words is None:
        assert stated().n_equations
        return
    with pytest.raises(ValueError, match=words):
        stated()


def test_the_proposed_reindexing_excludes_gaps() -> None:
    whole = RNG.standard_normal(N + 20)
    x, y = series(whole, range(N + 20)), series(np.roll(whole, 1), range(N + 20))
    x, y = x.drop(range(70, 90)).reindex(x.index), y.drop(range(70, 90)).reindex(y.index)
    fit = cs.solve(cs.Problem(x, y, lags=(0, 1), missing="drop"))
    np.testing.assert_allclose(fit.impulse_response, [0, 1], atol=1e-14)


def test_new_data_are_checked_at_the_rate_of_the_fit() -> None:
    fit = cs.solve(cs.Problem(X, Y, lags=(0, 1), fs=128))
    np.testing.assert_array_equal(
        fit.predict(series(X, SECONDS), edges="zeros"), fit.predict(X, edges="zeros")
    )
    with pytest.raises(ValueError, match=r"has a step of 1 s, that is 1 Hz, but fs=128"):
        fit.predict(series(X, DATES))
