"""Arrays of JAX, on one device or on several, have the solution of the same arrays of NumPy."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import convsolve as cs

MESHES = {
    kind: jax.make_mesh((4,), ("all",), (kind,)) for kind in (AxisType.Auto, AxisType.Explicit)
}
PLACES = {
    "one device": (AxisType.Auto, P()),
    "records": (AxisType.Auto, P("all")),
    "time": (AxisType.Explicit, P(None, "all")),
    "channels": (AxisType.Auto, P(None, None, "all")),
}
HOW: dict[str, dict[str, Any]] = {
    "bias": {"bias": True},
    "drift": {"drift": 1, "weights": np.arange(1.0, 5.0)},
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays_on_devices_have_the_solution_of_the_host(
    place: str, how: str, dtype: type[np.floating], rng: np.random.Generator
) -> None:
    x, y = rng.standard_normal((2, 4, 200, 4)).astype(dtype)
    kind, where = PLACES[place]
    with jax.enable_x64(True):
        there = jax.device_put((x, y), NamedSharding(MESHES[kind], where))
    given = {"lags": (-2, 5), "edges": "zeros"} | HOW[how]
    wanted, found = (cs.solve(cs.Problem(*each, **given)) for each in ((x, y), there))
    for name in ("kernel", "bias"):
        value = getattr(found, name)
        assert isinstance(value, jax.Array)
        assert value.dtype == dtype
        np.testing.assert_array_equal(value, getattr(wanted, name))
    assert isinstance(found.residuals(), jax.Array)
    assert found.backward_error == wanted.backward_error


def test_bad_values_are_refused_as_on_the_host() -> None:
    x = np.ones((1200, 2), np.float32)
    x[700, 1] = np.nan
    there = jax.device_put(x, NamedSharding(MESHES[AxisType.Auto], P("all")))
    for given in (x, there):
        with pytest.raises(ValueError, match=r"x has NaN at index \(700, 1\)"):
            cs.Problem(given, kernel_size=8)
