"""`fit_kernel` from its arrays on, which is where jax comes in."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .problem.spec import ConvSpec
from .solvers.base import Solver


def fit(x: Any, y: Any, spec: ConvSpec, solver: Solver, bias: bool) -> tuple[jax.Array, jax.Array]:
    """Kernel and bias, see `fit_kernel`; x and y are checked while tracing."""
    x, y = _numbers(x, "x"), _numbers(y, "y")
    dtype = jnp.result_type(x, y)
    floating = jnp.issubdtype(dtype, jnp.floating)
    dtype = jnp.promote_types(dtype, jnp.float32) if floating else jnp.result_type(float)
    d = spec.ndim
    x, y = _as_batch(x, "x", d).astype(dtype), _as_batch(y, "y", d).astype(dtype)
    if not x.shape[-1] or not y.shape[-1]:
        raise ValueError(f"x and y need a channel each, got shapes {x.shape} and {y.shape}")
    spec.check_channels(x.shape[-1])
    solver.penalty.check(spec.kernel_size, x.shape[-1])
    wanted = (x.shape[0], *spec.output_shape(x.shape[1:-1]))
    if y.shape[:-1] != wanted or 0 in wanted:
        raise ValueError(
            f"y has shape {y.shape}, but x of shape {x.shape} with {spec} "
            f"gives {wanted} and the output channels"
        )
    if y.shape[-1] % spec.groups:
        raise ValueError(f"groups={spec.groups} does not divide the {y.shape[-1]} channels of y")
    return _fit(x, y, solver, spec=spec, bias=bias)


@partial(jax.jit, static_argnames=("spec", "bias"))
def _fit(x: Any, y: Any, solver: Solver, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
    return solver.traced(x, y, spec, bias)


def _numbers(value: Any, name: str) -> jax.Array:
    """An array of any values; what holds no numbers at all is not left to jax to name."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost; fill or cut it first")
    if not isinstance(value, jax.Array):  # tracers are such
        value = np.asarray(value)
        if not (jnp.issubdtype(value.dtype, jnp.number) or value.dtype == bool):
            raise TypeError(f"{name} must hold numbers, got dtype {value.dtype}")
    return jnp.asarray(value)


def _as_batch(array: jax.Array, name: str, d: int) -> jax.Array:
    if not d <= array.ndim <= d + 2:
        raise ValueError(
            f"{name} has shape {array.shape}; a kernel of {d} axes takes rank {d} to {d + 2}"
        )
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == jnp.bool_):
        raise TypeError(f"{name} must hold numbers, got {array.dtype}")
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name} is complex; pass real and imaginary parts as channels")
    if array.ndim == d:
        array = array[..., None]
    return array if array.ndim == d + 2 else array[None]
