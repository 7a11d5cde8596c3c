"""Names of axes, layers and truths as users give them at first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import convsolve as cs

RNG = np.random.default_rng(0)
X = RNG.standard_normal(200)
W = np.array([0.5, 1.0, 0.25])
Y = cs.convolve(X, W, cs.ConvSpec(3, padding="same"))
SECONDS = np.arange(200) / 128
DATES = pd.date_range("2024-01-01", periods=200, freq="4ms")


def series(values: np.ndarray, index: Any = None, name: str | None = None) -> pd.Series:
    return pd.Series(values, index, name=name)


def stated(x: Any, y: Any = None, **given: Any) -> cs.Problem:
    return cs.Problem(x, y, **{"lags": (0, 2)} | given)


LAYER = {"lags": None, "kernel_size": 3}
# Each guess, and what it must be equal to.
GUESSES: list[tuple[Callable[[], Any], Any]] = [
    (lambda: stated(series(X, name="envelope"), series(Y, name="Fz")).channels, ["envelope"]),
    (lambda: stated(series(X, name="envelope"), series(Y, name="Fz")).outputs, ["Fz"]),
    (lambda: stated([series(X, name="a"), series(Y, name="b")]).channels, [0]),
    (lambda: stated([series(X, name="a"), series(Y, name="a")]).channels, ["a"]),
    (lambda: stated(series(X, SECONDS)).fs, 128.0),
    (lambda: stated(series(X, DATES)).fs, 250.0),
    (lambda: stated(X, series(Y, DATES)).fs, 250.0),
    (lambda: stated(pd.DataFrame({"a": X, "b": Y}, DATES)).fs, 250.0),
    (lambda: stated(xr.DataArray(X, {"time": SECONDS}, "time")).fs, 128.0),
    (lambda: stated(series(X, DATES), lags=None, tmin=0, tmax=0.02).lags.tolist(), [*range(6)]),
    (lambda: stated(X, **LAYER, padding=1).spec.output_shape((200,)), (200,)),
    (lambda: stated(X, **LAYER, padding="SAME").spec.padding, "same"),
    (lambda: stated(X, **LAYER, padding="VALID").spec.padding, "valid"),
    (lambda: cs.ConvSpec((3, 5), padding=2).padding, ((2, 2), (2, 2))),
    (lambda: cs.fit_kernel(X, Y, kernel_size=3, padding=1)[0][:, 0, 0], W),
    (lambda: cs.convolve(X, W), np.correlate(X, W)),
    (lambda: stated(pd.DataFrame({"a": X, "b": X > 0})).channels, ["a", "b"]),
    (lambda: cs.HRF("spm + derivative") == cs.HRF(derivatives=["time"]), True),
    (lambda: cs.HRF("SPM derivative") == cs.HRF("spm + derivative"), True),
    (lambda: cs.solve(stated(X, Y), "lion").stats["solver"], "GradientDescent"),
]


@pytest.mark.parametrize(("guess", "wanted"), GUESSES)
def test_a_first_guess_works(guess: Callable[[], Any], wanted: Any) -> None:
    found = guess()
    if isinstance(wanted, np.ndarray):
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
    else:
        assert found == wanted


def test_the_name_of_a_signal_may_differ_in_new_data() -> None:
    fit = cs.solve(stated(series(X, name="monday"), Y))
    np.testing.assert_array_equal(
        fit.predict(series(X, name="tuesday"), edges="zeros"), fit.predict(X, edges="zeros")
    )


TRUTHS = [(LAYER | {"padding": 1}, W), ({"lags": (-1, 1), "edges": "zeros"}, W[::-1])]


@pytest.mark.parametrize(("given", "truth"), TRUTHS, ids=["layer", "lags"])
def test_a_truth_is_in_the_convention_of_the_problem(given: Any, truth: np.ndarray) -> None:
    for kernel, is_true in ((truth, True), (truth[::-1], False)):
        (row,) = cs.compare(stated(X, Y, **given), ["qr"], truth=kernel).rows
        assert (row["kernel_error"] < 1e-12) == is_true


SPECS = [cs.ConvSpec(3, padding="same"), cs.ConvSpec(20), cs.ConvSpec((2, 3), 2)]


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_convolve_is_transformed_by_jax(spec: cs.ConvSpec) -> None:
    """Under jit, vmap and grad, with and without axes of records and channels."""
    x = RNG.standard_normal((4, *(90, 8)[: spec.ndim], 2))
    kernel, bias = RNG.standard_normal((*spec.kernel_size, 2, 3)), RNG.standard_normal(3)
    one, taps, wanted = x[0, ..., 0], kernel[..., 0, 0], cs.convolve(x, kernel, spec, bias)
    with jax.enable_x64(True):
        convolve = jax.jit(cs.convolve, static_argnums=2)
        by_record = jax.vmap(lambda a: cs.convolve(a, kernel, spec, bias))
        for found, other in (
            (convolve(x, kernel, spec, bias), wanted),
            (by_record(x), wanted),
            (convolve(one, taps, spec), cs.convolve(one, taps, spec)),
        ):
            np.testing.assert_allclose(found, other, atol=1e-12)
        slope = jax.grad(lambda w: cs.convolve(one, w, spec).sum())(jnp.asarray(taps))
        np.testing.assert_allclose((slope * taps).sum(), cs.convolve(one, taps, spec).sum())
        with pytest.raises(ValueError, match="kernel has shape"):
            convolve(x, kernel[1:], spec)
