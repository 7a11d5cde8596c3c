"""Normal equations under jit without a matrix, and penalties: kernels, gradients and memory."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import convsolve as cs
from convsolve.components import parse
from convsolve.operators import jax_operator
from convsolve.solvers import linear
from convsolve.solvers.base import Objective
from support import dense
from support.derivatives import check_gradients
from support.geometry import NAMED
from support.penalties import PENALTIES, penalty_for, with_strength
from support.slow import some

# No fewer rows than unknowns, and records of one length.
TALL = [name for name in NAMED if name != "ragged" and not name.startswith("wide")]


pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No problem is small, and even short records take FFTs, in several pieces and batches."""
    monkeypatch.setattr(linear, "FORMED_NUMBERS", 0)
    for name, value in {"LEAST": 8, "FFT_TAPS": 2, "FFT_ROWS": 1, "BATCH_NUMBERS": 200}.items():
        monkeypatch.setattr(jax_operator, name, value)


def data(name: str) -> tuple[np.ndarray, np.ndarray, cs.ConvSpec, bool]:
    geometry = NAMED[name]
    return *geometry.noise(), geometry.spec, geometry.bias


def fit(x: Any, y: Any, spec: cs.ConvSpec, bias: bool, **objective: Any) -> Any:
    """What `fit_kernel` calls, apart from its cache, which knows nothing of ``forced``."""
    return parse("solver", "normal").traced(
        jnp.asarray(x), jnp.asarray(y), None, spec, bias, Objective(**objective)
    )


def least_squares(x: Any, y: Any, spec: cs.ConvSpec, bias: bool, ridge: float = 0.0) -> Any:
    """By brute force, as a kernel and a bias."""
    a, b = dense.design_matrix(x, spec), dense.by_group(y, spec.groups)
    w, intercept = dense.least_squares(a, b, ridge, bias)
    return dense.as_kernel(w, spec.kernel_size), intercept


@pytest.mark.slow
@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("name", TALL[::4])
def test_it_gives_the_least_squares_answer(name: str) -> None:
    x, y, spec, bias = data(name)
    fitted = jax.jit(lambda x, y, ridge: fit(x, y, spec, bias, strength=ridge))
    for ridge in (0.0, 0.7):
        for found, wanted in zip(fitted(x, y, ridge), least_squares(x, y, spec, bias, ridge)):
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize(("name", "penalty"), [("short", cs.Ridge()), ("groups", cs.Smooth())])
def test_gradients_are_those_of_finite_differences(name: str, penalty: Any) -> None:
    """In x, y and the strength along random directions."""
    x, y, spec, bias = data(name)
    rng = np.random.default_rng(0)
    dx, dy, dr = rng.standard_normal(x.shape), rng.standard_normal(y.shape), 0.1

    def loss(t: Any) -> Any:
        given = {"penalty": penalty, "strength": 0.3 + t * dr}
        w, b = fit(x + t * dx, y + t * dy, spec, bias, **given)
        return jnp.sum(jnp.sin(w)) + jnp.sum(b**2)

    check_gradients(loss)


@pytest.mark.slow
def test_an_offset_costs_no_digits_in_float32(rng: np.random.Generator) -> None:
    spec = cs.ConvSpec(40)
    x = (rng.standard_normal(4000) + 1e4).astype(np.float32)
    y = rng.standard_normal(3961).astype(np.float32)
    with jax.enable_x64(False):
        w, _ = cs.fit_kernel(x, y, spec, "normal", bias=True)
    assert w.dtype == np.float32
    kernel, _ = least_squares(*(v[None, :, None].astype(float) for v in (x, y)), spec, True)
    np.testing.assert_allclose(w, kernel, atol=1e-4 * np.abs(kernel).max())


@pytest.mark.slow
def test_memory_is_that_of_the_signals() -> None:
    """The matrix of 20 000 samples and 200 taps has 32 MB, the signals have 0.3 MB."""
    spec = cs.ConvSpec(200, padding="causal")

    def loss(x: Any, y: Any, ridge: Any) -> Any:
        return jnp.sum(cs.fit_kernel(x, y, spec, "normal", ridge=ridge)[0] ** 2)

    signal = jax.ShapeDtypeStruct((20_000,), np.float64)
    derived = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    used = derived.lower(signal, signal, 1e-3).compile().memory_analysis().temp_size_in_bytes
    assert 0 < used < 4e6


# --- penalties

TRACED = ["bias", "groups", "stride", "image", "wide", "wide, bias"]


@pytest.mark.parametrize(
    ("name", "geometry", "solver"),
    some(
        itertools.product(PENALTIES, TRACED, ("svd", "qr", "normal")),
        ("first differences", "wide, bias", "normal"),
        every=23,
    ),
)
def test_a_penalty_has_the_kernel_of_solve(name: str, geometry: str, solver: str) -> None:
    x, y, spec, bias = data(geometry)
    problem = cs.Problem(x, y, spec=spec, bias=bias)
    penalty = with_strength(penalty_for(name, problem), 3.0)
    found, _ = cs.fit_kernel(x, y, spec, solver, penalty=penalty, bias=bias)
    wanted = cs.solve(problem, "qr", penalty=penalty).kernel
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", PENALTIES)
def test_taps_that_neither_penalty_nor_data_determine_are_reported(name: str) -> None:
    """Differences and data of mean zero leave a constant kernel open."""
    x = np.tile([1.0, 2.0, -3.0], 20)  # every three taps sum to zero
    problem = cs.Problem(x, np.random.default_rng(0).standard_normal(58), kernel_size=3)
    penalty = with_strength(penalty_for(name, problem), 1.0)
    if name in ("first differences", "second differences"):
        with pytest.warns(cs.IdentifiabilityWarning, match="rank-deficient: rank 2 of 3"):
            cs.solve(problem, "qr", penalty=penalty)
    else:
        assert cs.solve(problem, "qr", penalty=penalty).converged
