"""Arrays of JAX, on one device or on several, have the solution of the same arrays of NumPy."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import convsolve as cs
from convsolve.problem.records import Stored

# y is noise.
pytestmark = pytest.mark.filterwarnings("ignore:standard errors explain")
MESHES = {
    kind: jax.make_mesh((4,), ("all",), (kind,)) for kind in (AxisType.Auto, AxisType.Explicit)
}
PLACES = {
    "records": (AxisType.Auto, P("all")),
    "time": (AxisType.Explicit, P(None, "all")),
    "channels": (AxisType.Auto, P(None, None, "all")),
}
LAGS: dict[str, Any] = {"lags": (-2, 20)}
SUMMED: dict[str, tuple[str, dict[str, Any]]] = {
    "edges": ("records", LAGS | {"bias": False}),
    "zeros": ("time", LAGS | {"edges": "zeros"}),
    "groups": ("channels", {"kernel_size": 9, "stride": 2, "padding": "same", "groups": 2}),
}
COPIED: dict[str, tuple[str, dict[str, Any]]] = {
    "drift": ("time", LAGS | {"drift": 1}),
    "mask": ("records", LAGS | {"mask": np.arange(4 * 2000).reshape(4, 2000) % 50 > 0}),
}


def given(place: str, dtype: type, outputs: int, stride: int) -> tuple[Any, Any]:
    """x and y as arrays of NumPy, and spread over devices."""
    rng = np.random.default_rng(4)
    x = (rng.standard_normal((4, 2000, 4)) * [1, 10, 0.1, 1] + 0.1).astype(dtype)
    y = rng.standard_normal((4, 2000 // stride, outputs)).astype(dtype)
    kind, where = PLACES[place]
    with jax.enable_x64(True):
        return (x, y), jax.device_put((x, y), NamedSharding(MESHES[kind], where))


def check(found: cs.Solution, wanted: cs.Solution, dtype: type) -> None:
    for name in ("kernel", "bias"):
        value, exact = getattr(found, name), getattr(wanted, name)
        assert isinstance(value, jax.Array)
        assert value.dtype == dtype
        atol = 32 * np.finfo(dtype).eps * np.abs(exact).max()
        np.testing.assert_allclose(value, exact, rtol=0, atol=atol)
    assert found.status == wanted.status == "solved"


@pytest.mark.parametrize(
    ("name", "dtype", "outputs"), [*zip(SUMMED, (np.float64, np.float32, np.float64), (4, 4, 280))]
)
def test_sums_alone_are_copied_to_the_host(
    name: str, dtype: type, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, how = SUMMED[name]
    here, there = given(place, dtype, outputs, how.get("stride", 1))
    wanted = cs.solve(cs.Problem(*here, **how))
    with monkeypatch.context() as patch:
        patch.setattr(Stored, "__array__", None)
        found = cs.solve(cs.Problem(*there, **how))
        assert found.backward_error < 1e-14
    check(found, wanted, dtype)
    residuals = found.residuals()
    assert isinstance(residuals, jax.Array)
    np.testing.assert_allclose(residuals, wanted.residuals(), atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("name", COPIED)
def test_other_problems_are_solved_on_the_host(name: str) -> None:
    place, how = COPIED[name]
    here, there = given(place, np.float64, 4, how.get("stride", 1))
    check(*(cs.solve(cs.Problem(*each, **how)) for each in (there, here)), np.float64)
