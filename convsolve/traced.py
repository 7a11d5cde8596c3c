"""`fit_kernel` from its arrays on, which is where jax comes in."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .lazy import is_tracer
from .leastsquares.penalty import RIDGE, Penalty
from .method import Method
from .operators.device import placed_by_jax
from .operators.jax_operator import by_fft, convolved, convolved_by_fft, padded
from .problem.problem import Selection
from .problem.records import numbers
from .problem.spec import ConvSpec
from .solvers.base import SQUARED, Objective


def fit(
    x: Any, y: Any, spec: ConvSpec, method: Method, bias: bool, weights: Any = None
) -> tuple[jax.Array, jax.Array]:
    """Kernel and bias, see `fit_kernel`; x and y are checked while tracing."""
    x, y = _as_batch(x, "x", spec.ndim), _as_batch(y, "y", spec.ndim)
    dtype = jnp.result_type(x, y)
    floating = jnp.issubdtype(dtype, jnp.floating)
    dtype = jnp.promote_types(dtype, jnp.float32) if floating else jnp.result_type(float)
    x, y = x.astype(dtype), y.astype(dtype)
    spec._check_channels(x.shape[-1])
    penalty, strength = _term(method, y.shape[-1])
    method.check_shape(spec, Selection((), (), x.shape[-1], y.shape[-1]))
    wanted = (x.shape[0], *spec.output_shape(x.shape[1:-1]))
    if y.shape[:-1] != wanted or 0 in (*x.shape, *y.shape) or y.shape[-1] % spec.groups:
        raise ValueError(
            f"y has shape {y.shape}, but x of shape {x.shape} with {spec} gives {wanted} and the "
            "output channels, a multiple of groups"
        )
    if weights is not None:
        weights = _weights(weights, wanted, dtype)
    return placed_by_jax(
        partial(_fit, how=(method.solver, penalty, spec, bias)), x, y, weights, strength
    )


def convolve(x: Any, kernel: Any, spec: ConvSpec, bias: Any) -> jax.Array:
    """Return ``conv(x, kernel) + bias`` in the form of x, whose shapes were checked."""
    dtype = jnp.promote_types(jnp.result_type(x, kernel), jnp.float32)
    samples = padded(_as_batch(x, "x", spec.ndim).astype(dtype), spec)
    of = convolved_by_fft if by_fft(samples, spec) else convolved
    y = of(samples, jnp.asarray(kernel, dtype), spec) + (0 if bias is None else bias)
    return y if jnp.ndim(x) == spec.ndim + 2 else y[0]


@partial(jax.jit, static_argnames="how")
def _fit(x: Any, y: Any, weights: Any, strength: Any, how: tuple[Any, ...]) -> Any:
    solver, penalty, spec, bias = how
    objective = Objective(SQUARED, penalty, 0.0 if strength is None else strength)
    return solver.traced(x, y, weights, spec, bias, objective)


def _term(method: Method, outputs: int) -> tuple[Penalty, Any]:
    """Return the penalty that all outputs have in common, and its strength, which may be traced.

    The strength is None if there is no penalty, so that it is known while tracing.
    """
    penalty = method.penalty
    if penalty.zero:
        return RIDGE, None
    if not (penalty.quadratic and penalty.given):
        raise ValueError(f"fit_kernel needs a quadratic penalty of given strength, got {penalty!r}")
    if is_tracer(penalty.strength):
        return penalty.form, penalty.strength
    try:
        (term,) = set(penalty.terms(outputs))
    except ValueError:
        raise ValueError("give one strength for all outputs, or use jax.vmap") from None
    return term


def _weights(weights: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Weights (N, *T), of records or of rows."""
    found = _numbers(weights, "weights")
    if found.shape == shape[1:] and shape[0] == 1:
        found = found[None]
    if found.shape == shape[:1]:
        found = found.reshape(-1, *(1,) * (len(shape) - 1))
    elif found.shape != shape:
        raise ValueError(
            f"weights has shape {found.shape}, expected {shape[:1]}, one per record, or {shape}"
        )
    return jnp.broadcast_to(found.astype(dtype), shape)


def _numbers(value: Any, name: str) -> jax.Array:
    """Return an array of jax with real numbers, or raise a TypeError."""
    if not isinstance(value, jax.Array):  # tracers are such
        return jnp.asarray(numbers(value, name))
    if jnp.iscomplexobj(value):
        raise TypeError(f"{name} must hold plain real numbers, got {value.dtype}")
    return value


def _as_batch(value: Any, name: str, d: int) -> jax.Array:
    """Return records (N, *W, C), whose first and last axis may be left out."""
    array = _numbers(value, name)
    if not d <= array.ndim <= d + 2:
        raise ValueError(
            f"{name} has shape {array.shape}; a kernel of {d} axes takes rank {d} to {d + 2}"
        )
    array = array[..., None] if array.ndim == d else array
    return array if array.ndim == d + 2 else array[None]
