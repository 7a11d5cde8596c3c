"""Kernels in pandas and xarray: back again, and predicting there."""

from __future__ import annotations

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


@pytest.mark.parametrize("edges", ["zeros", "drop"])
def test_labelled_arrays_and_tables_give_the_kernel_and_the_prediction(edges: str) -> None:
    problem = cs.Problem(
        X, Y, lags=(-2, 4), edges=edges, bias=True, fs=100, channels=CHANNELS, outputs=OUTPUTS
    )
    fit = cs.solve(problem)
    x = xr.DataArray(X, dims=("time", "channel"), coords={"channel": CHANNELS})
    found, table = fit.to_xarray(), fit.to_dataframe()
    response = found.weight.transpose("lag", "channel", "output").to_numpy()
    wide = table.pivot(index="lag", columns=["channel", "output"], values="weight")
    pairs = pd.MultiIndex.from_product([CHANNELS, OUTPUTS])
    for one in (response, wide[pairs].to_numpy().reshape(7, 3, 2)):
        np.testing.assert_array_equal(interop.from_impulse_response(one), fit.kernel)
    late = [x.shift(time=lag, fill_value=0.0) for lag in found.lag.to_numpy()]
    predicted = xr.dot(xr.concat(late, dim=found.lag), found.weight) + found.bias
    ours = fit.predict(x)
    used = np.isfinite(ours)
    assert used.all() or edges == "drop"
    wanted = predicted.transpose("time", "output").to_numpy()[used]
    np.testing.assert_allclose(ours[used], wanted, atol=1e-12 * np.linalg.norm(wanted))
