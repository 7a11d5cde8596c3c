"""fit_kernel: closed forms as pure functions, with jit, vmap and grad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import convsolve as cs
from contract.cases import Case, penalty_of, statement
from contract.checks import forward_bound
from contract.oracle import Oracle
from contract.routes import problem
from support import dense
from support.derivatives import check_gradients, check_second_derivatives
from support.geometry import NAMED
from support.slow import some

GEOMETRIES = ("cropped", "bias", "groups", "stride", "image", "wide", "wide, bias")
SOLVERS = ("svd", "qr", "normal", "auto")


pytestmark = pytest.mark.usefixtures("double")


def data(name: str) -> tuple[np.ndarray, np.ndarray, cs.ConvSpec, bool]:
    """Without an axis for a batch of one."""
    geometry = NAMED[name]
    x, y = (v[0] if len(v) == 1 else v for v in geometry.noise())
    return x, y, geometry.spec, geometry.bias


CASES = (
    Case("batch", "valid", ("bias",)),
    Case("one record", "full", ("offset 3", "bias"), "ridge"),
    Case("batch", "groups, same", ("bias", "weights per record")),
    Case("batch", "stride 3, dilation 2", ("zero weights", "bias")),
    Case("images", "image, strides", ("weights per row",), "second differences"),
    Case("one record", "cropped", ("bias",), "tc"),
    Case("wide", "valid", ("bias",)),
    Case("one record", "valid", ("period 4",)),
)


@pytest.mark.parametrize(
    ("case", "solver"), some(zip(CASES, SOLVERS * 2), (CASES[2], "normal"), (CASES[6], "normal"))
)
def test_the_kernel_is_that_of_extended_precision(case: Case, solver: str) -> None:
    made = statement(case)
    oracle, x, y = Oracle(made), np.stack(made.x), np.stack(made.y)
    options: dict[str, Any] = {"bias": made.bias}
    options |= {} if made.weights is None else {"weights": np.stack(made.weights)}
    if made.prior is not None:
        options["penalty"] = penalty_of(made.prior, made.prior.strength)
    w, b = cs.fit_kernel(x, y, problem(made).spec, solver, **options)
    for outputs, part in oracle.parts.items():
        kernel = oracle.columns(w, outputs)
        assert (part.kernel_error(kernel) <= forward_bound(part, 300)).all()
        own = np.asarray(b)[list(outputs)]
        np.testing.assert_allclose(own, part.bias(kernel).astype(float), rtol=1e-9)


DERIVED = [*zip(GEOMETRIES, ("qr", "normal") * 3 + ("qr",)), ("groups", "svd"), ("wide", "svd")]


@pytest.mark.parametrize(("name", "solver"), some(DERIVED, ("wide, bias", "qr")))
def test_gradients_are_those_of_finite_differences(name: str, solver: str) -> None:
    """The derivative is along random directions of x, y and ridge."""
    check_gradients(loss_along_a_line(name, solver))


@pytest.mark.parametrize(("name", "solver"), [("cropped", "qr"), ("groups", "normal")])
@pytest.mark.slow
def test_second_derivatives_are_those_of_finite_differences(name: str, solver: str) -> None:
    check_second_derivatives(loss_along_a_line(name, solver))


def loss_along_a_line(name: str, solver: str) -> Callable[[jax.Array], jax.Array]:
    x, y, spec, bias = data(name)
    rng = np.random.default_rng(3)
    dx, dy, dr = rng.standard_normal(x.shape), rng.standard_normal(y.shape), 0.1
    target = rng.standard_normal(NAMED[name].w_shape)

    def loss(t: jax.Array) -> jax.Array:
        ridge = 0.3 + t * dr
        w, b = cs.fit_kernel(x + t * dx, y + t * dy, spec, solver, ridge=ridge, bias=bias)
        return jnp.sum(target * w**2) + jnp.sum(b**2)

    return loss


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["svd", "normal"])
def test_the_gradient_at_no_ridge_is_finite(solver: str) -> None:
    x, y, spec, _ = data("cropped")

    def loss(ridge: jax.Array) -> jax.Array:
        return jnp.sum(cs.fit_kernel(x, y, spec, solver, ridge=ridge)[0] ** 2)

    forward = (float(loss(2e-5)) * 4 - float(loss(4e-5)) - 3 * float(loss(0.0))) / 4e-5
    assert float(jax.grad(loss)(0.0)) == pytest.approx(forward, rel=1e-6)


@pytest.mark.parametrize("solver", some(["svd", "auto"], "auto"))
def test_a_second_call_compiles_nothing(solver: str, compiled: list[str]) -> None:
    x, y, spec, _ = data("stride")
    cs.fit_kernel(x, y, spec, solver, ridge=0.5)
    compiled.clear()
    for ridge in (1, 2.5, np.float64(3.0)):
        cs.fit_kernel(x[::-1].copy(), y, spec, solver, ridge=ridge)
    assert compiled == []


ONES, EIGHT, THREE = np.ones(6), np.ones(8), cs.ConvSpec(3)
ONE_STRENGTH = "one strength for all outputs, or use jax.vmap"
REFUSED: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((np.ones((1, 1, 8, 1)), ONES, THREE), {}, "takes rank 1 to 3"),
    ((EIGHT, ONES, 3), {}, "spec must be a ConvSpec, got int"),
    ((None, ONES, THREE), {}, "x must hold plain real numbers, got NoneType"),
    ((EIGHT, ONES, THREE, "normal"), {"ridge": np.ones(2)}, ONE_STRENGTH),
    ((EIGHT, np.ma.masked_array(ONES), THREE), {}, "real numbers, got MaskedArray"),
    ((np.ones((8, 0)), ONES, THREE), {}, "gives .* and the output channels"),
    ((EIGHT, ONES, THREE), {"weights": EIGHT}, r"weights has shape \(8,\), expected \(1,\)"),
    ((EIGHT, ONES, THREE, "adam"), {}, "GradientDescent runs on the host only"),
]


@pytest.mark.parametrize(("given", "options", "words"), REFUSED)
def test_arguments_that_are_refused(given: tuple, options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        cs.fit_kernel(*given, **options)


def test_shapes_are_checked_during_tracing() -> None:
    with pytest.raises(ValueError, match=r"y has shape \(1, 5, 1\), but x of shape \(1, 8, 1\)"):
        jax.jit(lambda x, y: cs.fit_kernel(x, y, THREE))(EIGHT, np.ones(5))


def test_traced_strengths_are_referred_to_fit_kernel() -> None:
    made = cs.Problem(np.arange(8.0), np.arange(7.0), kernel_size=2)
    with pytest.raises(TypeError, match="a traced strength belongs in fit_kernel"):
        jax.jit(lambda r: cs.solve(made, "normal", ridge=r).kernel)(1.0)


@pytest.mark.parametrize(
    ("kind", "solver"),
    some(
        [("tone", "auto"), ("copy", "svd"), ("zeros", "normal"), ("ridge", "qr")], ("tone", "auto")
    ),
)
def test_of_many_kernels_it_is_that_of_minimum_norm(kind: str, solver: str) -> None:
    """A ridge below the rounding of A counts as none."""
    rng = np.random.default_rng(6)
    x, spec, ridge = np.sin(0.7 * np.arange(300))[:, None], cs.ConvSpec(8), 0.0
    if kind == "copy":
        x = np.repeat(rng.standard_normal((300, 1)), 2, axis=1)
    elif kind == "zeros":
        x = np.zeros((300, 1))
    elif kind == "ridge":
        ridge = 1e-30
    y = rng.standard_normal(293)
    a = dense.design_matrix(x[None], spec)[0]
    wanted = np.linalg.pinv(a, rcond=1e-12) @ y

    def loss(y: jax.Array) -> tuple[jax.Array, jax.Array]:
        w, _ = cs.fit_kernel(x, y, spec, solver, ridge=ridge)
        return jnp.sum(w), w

    slopes, w = jax.jit(jax.grad(loss, has_aux=True))(y)
    np.testing.assert_allclose(np.ravel(w), wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(slopes, np.linalg.pinv(a, rcond=1e-12).sum(0), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_arrays_spread_along_explicit_axes_are_fitted_on_their_devices(
    rng: np.random.Generator,
) -> None:
    """Samples are spread, jitted or not, with weights and derivatives; y is on the host."""
    mesh, spec = jax.make_mesh((4,), ("all",), (AxisType.Explicit,)), cs.ConvSpec(4)
    x, y = rng.standard_normal((8, 100, 2)), rng.standard_normal((8, 97, 1))
    weights = np.arange(1.0, 9)

    def fit(x: Any, y: Any, **options: Any) -> Any:
        return cs.fit_kernel(x, y, spec, bias=True, **options)

    def derivative(x: Any) -> Any:
        return jax.grad(lambda x: fit(x, y)[0].sum())(x)

    there = jax.device_put(x, NamedSharding(mesh, PartitionSpec(None, "all")))
    for found, wanted in (
        (fit(there, y), fit(x, y)),
        (jax.jit(fit)(there, y), fit(x, y)),
        (fit(there, y, weights=weights), fit(x, y, weights=weights)),
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, wanted)
        assert found[0].sharding.is_fully_replicated
        assert found[0].sharding.device_set == there.sharding.device_set
    with jax.set_mesh(mesh):
        np.testing.assert_allclose(jax.jit(derivative)(there), derivative(x), atol=1e-12)


def test_the_rank_in_float32_does_not_decrease_with_length() -> None:
    """20 000 rows of a condition of 300, in the rounding of float32 and by the reference."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((20_000, 2))
    x = scipy.signal.lfilter([1], np.convolve([1, -0.95], [1, -0.9]), noise, axis=0)
    x = (x / x.std(0) * [1, 1e-3]).astype(np.float32)
    w, spec = np.ones((8, 2, 1), np.float32) * [[1], [1e3]], cs.ConvSpec(8)
    y = cs.convolve(x, w.astype(np.float32), spec)
    with jax.enable_x64(False):
        found, _ = cs.fit_kernel(x, y, spec, "svd")
    np.testing.assert_allclose(found, w, rtol=1e-2)


@pytest.mark.slow
def test_repeated_singular_values_have_gradients() -> None:
    """AᵀA = I, where the derivative of an SVD is 0/0."""
    x, spec = np.eye(4), cs.ConvSpec(1)

    def loss(shift: jax.Array) -> jax.Array:
        w, _ = cs.fit_kernel(x * (1 + shift), np.ones((4, 1)), spec, "svd")
        return jnp.sum(w)

    assert float(jax.grad(loss)(0.0)) == pytest.approx(-4.0, rel=1e-12)
