"""Sums on devices are those of the design matrix by loops."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import convsolve as cs
from convsolve.operators import device
from support import dense

SPECS = {
    "plain": cs.ConvSpec(20, padding="causal"),
    "stride": cs.ConvSpec(7, 3, "same", 2, 2),
    "image": cs.ConvSpec((3, 4), padding="full", groups=2),
}
PLACES = {
    "records": (AxisType.Auto, P("all")),
    "time": (AxisType.Explicit, P(None, "all")),
    "channels": (AxisType.Auto, P(None, None, "all")),
}


def placed(place: str, a: np.ndarray) -> jax.Array:
    """An array that is spread over two devices."""
    kind, where = PLACES[place]
    mesh = jax.make_mesh((2,), ("all",), (kind,))
    with jax.enable_x64(True):
        return jax.device_put(a, NamedSharding(mesh, where))


@pytest.mark.parametrize(
    ("name", "place", "dtype"),
    [*zip(SPECS, PLACES, (np.float64, np.float32, np.float64), strict=True)],
)
def test_sums_and_misfit_are_those_of_the_matrix(
    name: str, place: str, dtype: type, rng: np.random.Generator
) -> None:
    """Channels of several units and offsets, padded before they are scaled."""
    spec, space = SPECS[name], (200,) if SPECS[name].ndim == 1 else (14, 16)
    x = (rng.standard_normal((4, *space, 4)) + 3).astype(dtype)
    y = rng.standard_normal((4, *spec.output_shape(space), 6)).astype(dtype)
    scale, shift, w_scale = np.array([0.5, 1, 2, 4]), np.array([1.5, 3, 6, 12]), np.full(6, 2.0)
    there, beside = placed(place, x), placed("records", y)
    assert device.qualifies(there, beside)
    on_x, on_y = device.OnDevice(there, scale, shift), device.OnDevice(beside, w_scale, w_scale / 8)

    taps, per = int(np.prod(spec.kernel_size)), spec.groups
    by_column = [np.tile(v.reshape(per, 1, -1), (1, 1, taps)) for v in (scale, shift)]
    a = dense.design_matrix(x.astype(float), spec) * by_column[0] - by_column[1]
    b = dense.by_group(y.astype(float), per) * 2.0 - 0.25
    w = rng.standard_normal((*a.shape[::2], b.shape[2]))
    r, t = b - a @ w, a.swapaxes(1, 2)
    sums = t @ a, t @ b, a.sum(1), b.sum(1), (b**2).sum(1)
    for found, wanted in (
        (device.sums(on_x, on_y, spec), sums),
        (device.misfit(on_x, on_y, w, spec), ((r**2).sum(1), t @ r, r.sum(1))),
    ):
        for one, exact in zip(found, wanted, strict=True):
            assert isinstance(one, np.ndarray)
            assert one.dtype == np.float64
            np.testing.assert_allclose(one, exact, rtol=0, atol=1e-13 * len(a[0]) * 99)


def test_a_survey_finds_the_largest_values() -> None:
    x = np.arange(24.0, dtype=np.float32).reshape(4, 3, 2) - 30
    largest, mean = device.survey(placed("records", x))
    np.testing.assert_array_equal(largest, [30, 29])
    np.testing.assert_array_equal(mean, x.mean((0, 1)))
    x[1, 2, 0] = np.nan
    assert np.isfinite(device.survey(placed("records", x))[0]).tolist() == [False, True]


def test_other_arrays_are_copied_to_the_host() -> None:
    x = np.ones((4, 6, 2), np.float32)
    there = placed("records", x)
    assert device.qualifies(there, placed("channels", x))
    for others in ([x], [jax.numpy.asarray(x)], [placed("records", x.astype(int))]):
        assert not device.qualifies(there, *others)
