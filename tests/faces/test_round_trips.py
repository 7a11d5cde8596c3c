"""Kernels in pandas and xarray: back again, and predicting there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import convsolve as cs
from convsolve import interop

RNG = np.random.default_rng(0)
CHANNELS, OUTPUTS = ["Fz", "Cz", "Pz"], ["left", "right"]
X = RNG.standard_normal((300, 3))
Y = RNG.standard_normal((300, 2))


def fitted(**given: Any) -> cs.Solution:
    stated: dict[str, Any] = {"lags": (-2, 4), "edges": "zeros", "bias": True, "fs": 100}
    names = {"channels": CHANNELS, "outputs": OUTPUTS}
    return cs.solve(cs.Problem(X, Y, **(stated | names | given)))


def same(found: Any, wanted: np.ndarray) -> None:
    assert np.shape(found) == wanted.shape
    assert np.linalg.norm(np.asarray(found) - wanted) <= 1e-12 * np.linalg.norm(wanted)


def test_a_table_gives_the_kernel_and_the_prediction() -> None:
    fit, x = fitted(), pd.DataFrame(X, columns=CHANNELS)
    wide = fit.to_dataframe().pivot(index="lag", columns=["channel", "output"], values="weight")
    pairs = pd.MultiIndex.from_product([CHANNELS, OUTPUTS])
    response = wide[pairs].to_numpy().reshape(7, 3, 2)
    np.testing.assert_array_equal(interop.from_impulse_response(response), fit.kernel)
    predicted = pd.DataFrame(
        {
            output: sum(
                x[channel].shift(lag, fill_value=0.0) * wide.loc[lag, (channel, output)]
                for channel in CHANNELS
                for lag in wide.index
            )
            for output in OUTPUTS
        }
    )
    same(predicted + fit.bias, fit.predict(x))


@pytest.mark.parametrize("edges", ["zeros", "drop"])
def test_labelled_arrays_give_the_kernel_and_the_prediction(edges: str) -> None:
    fit = fitted(edges=edges)
    x = xr.DataArray(X, dims=("time", "channel"), coords={"channel": CHANNELS})
    found = fit.to_xarray()
    response = found.weight.transpose("lag", "channel", "output").to_numpy()
    np.testing.assert_array_equal(interop.from_impulse_response(response), fit.kernel)
    late = [x.shift(time=lag, fill_value=0.0) for lag in found.lag.to_numpy()]
    predicted = xr.dot(xr.concat(late, dim=found.lag), found.weight) + found.bias
    ours = fit.predict(x)
    used = np.isfinite(ours)
    assert used.all() or edges == "drop"
    same(predicted.transpose("time", "output").to_numpy()[used], ours[used])
