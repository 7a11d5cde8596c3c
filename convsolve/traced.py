"""`fit_kernel` from its arrays on, which is where jax comes in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from .leastsquares.penalty import Ridge
from .operators.layout import to_columns
from .operators.windows import design_matrix
from .problem.selection import Selection
from .problem.spec import ConvSpec
from .solvers.base import Solver


def fit(
    x: Any, y: Any, spec: ConvSpec, solver: Solver, bias: bool, weights: Any = None
) -> tuple[jax.Array, jax.Array]:
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
    solver.check(spec.kernel_size, Selection.everything(x.shape[-1], y.shape[-1]))
    wanted = (x.shape[0], *spec.output_shape(x.shape[1:-1]))
    if y.shape[:-1] != wanted or 0 in wanted:
        raise ValueError(
            f"y has shape {y.shape}, but x of shape {x.shape} with {spec} "
            f"gives {wanted} and the output channels"
        )
    if y.shape[-1] % spec.groups:
        raise ValueError(f"groups={spec.groups} does not divide the {y.shape[-1]} channels of y")
    if weights is None:
        return _placed_by_jax(partial(_fit, spec=spec, bias=bias), x, y, solver)
    if not isinstance(solver.penalty, Ridge):
        raise ValueError("weights go with a ridge, not with a penalty that knows of lags")
    weights = _weights(weights, wanted, dtype)
    return _placed_by_jax(partial(_weighted, spec=spec, bias=bias), x, y, weights, solver)


def _placed_by_jax(of: Callable[..., Any], *given: Any) -> Any:
    """``of`` arrays, any of which may be spread along explicit axes of a mesh: jax decides where
    what is computed lies, and the answer is whole on every device.
    """
    meshes = (jax.typeof(a).sharding.mesh for a in given[:-1])
    mesh = next((m for m in meshes if AxisType.Explicit in m.axis_types), None)
    if mesh is None:
        return of(*given)
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.sharding.auto_axes(of, out_sharding=whole)(*given)


@partial(jax.jit, static_argnames=("spec", "bias"))
def _fit(x: Any, y: Any, solver: Solver, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
    return solver.traced(x, y, spec, bias)


@partial(jax.jit, static_argnames=("spec", "bias"))
def _weighted(
    x: Any, y: Any, weights: Any, solver: Solver, spec: ConvSpec, bias: bool
) -> tuple[Any, Any]:
    """Every row of the design matrix as a record of its own, times the root of its weight; for a
    bias less the weighted mean of all.
    """
    outputs, inputs = y.shape[-1], x.shape[-1]
    rows = jnp.moveaxis(design_matrix(x, spec), 0, 1)
    y, w = y.reshape(-1, outputs), weights.reshape(-1, 1)
    share = w / w.sum()
    means, level = (share[:, None] * rows).sum(0), (share * y).sum(0)
    if bias:
        rows, y = rows - means, y - level
    root = jnp.sqrt(w)
    each = (root[:, None] * rows).reshape(len(rows), spec.groups, -1, inputs // spec.groups)
    records = jnp.moveaxis(each, 1, 2).reshape(len(rows), *spec.kernel_size, inputs)
    plain = ConvSpec(spec.kernel_size, groups=spec.groups)
    targets = (root * y).reshape(len(rows), *(1,) * spec.ndim, outputs)
    kernel, none = solver.traced(records, targets, plain, False)
    if not bias:
        return kernel, none
    of_means = jnp.einsum("gp,gpq->gq", means, to_columns(kernel, spec.groups))
    return kernel, level - of_means.reshape(-1)


def _weights(weights: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Weights (N, *T), of records or of rows."""
    found = _numbers(weights, "weights")
    if found.shape == shape[1:] and shape[0] == 1:
        found = found[None]
    if found.shape == shape[:1]:
        found = found.reshape(-1, *(1,) * (len(shape) - 1))
    elif found.shape != shape:
        raise ValueError(
            f"weights has shape {found.shape}, expected {shape[:1]}, one for each record, or "
            f"{shape}, one for each row"
        )
    return jnp.broadcast_to(found.astype(dtype), shape)


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
