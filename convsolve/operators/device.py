"""Sums over arrays of jax where they are: on an accelerator, or spread over several devices.

The operator is that of `fit_kernel`. Samples are read as ``scale * a - shift`` in float64, padding
included, and only the sums are copied to the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ..lazy_jax import is_jax_array
from ..problem.spec import ConvSpec
from .jax_operator import Operator, by_group, padded


def qualifies(*arrays: Any) -> bool:
    """Return whether arrays of floats are on one accelerator, or spread over the same devices.

    Arrays on one CPU are copied to the host, which costs nothing.
    """
    if not all(is_jax_array(a) and jnp.issubdtype(a.dtype, jnp.floating) for a in arrays):
        return False
    places = {frozenset(a.devices()) for a in arrays if a.is_fully_addressable}
    first = min(places, default=frozenset(), key=len)
    away = len(first) > 1 or any(device.platform != "cpu" for device in first)
    return away and len(places) == 1 and all(a.is_fully_addressable for a in arrays)


def placed_by_jax(of: Callable[..., Any], *given: Any) -> Any:
    """Call ``of`` with arrays that may be spread along explicit axes of a mesh.

    Jax places the computation, and the result is whole on every device.
    """
    arrays = (a for a in jax.tree.leaves(given) if isinstance(a, jax.Array))
    meshes = (jax.typeof(a).sharding.mesh for a in arrays)
    mesh = next((m for m in meshes if AxisType.Explicit in m.axis_types), None)
    if mesh is None:
        return of(*given)
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.sharding.auto_axes(of, out_sharding=whole)(*given)


class OnDevice(NamedTuple):
    """An array (N, *L, C) of a device, read as ``scale * array - shift``.

    Attributes:
        array: the array.
        scale: factors (C,) of the channels.
        shift: constants (C,) of the channels, which are subtracted afterwards.
    """

    array: Any
    scale: Any
    shift: Any

    def by_group(self, groups: int) -> Any:
        """Return samples (groups, N, *L, C) in float64."""
        return by_group(self.array.astype(float) * self.scale - self.shift, groups)


def survey(a: Any) -> tuple[np.ndarray, ...]:
    """Return the largest magnitude (C,) of every channel of (..., C), and its mean.

    The largest magnitude is not finite if a sample is not.
    """
    return _on_host(_survey, a)


def sums(x: OnDevice, y: OnDevice, spec: ConvSpec) -> tuple[np.ndarray, ...]:
    """Return AᵀA (G, P, P), AᵀY (G, P, Q), Σ A (G, P), Σ Y (G, Q) and Σ Y² (G, Q).

    x is padded before it is scaled.
    """
    return _on_host(partial(_of_groups, of=_summed, spec=spec), x, y)


def misfit(x: OnDevice, y: OnDevice, w: np.ndarray, spec: ConvSpec) -> tuple[np.ndarray, ...]:
    """Return Σ R² (G, Q), AᵀR (G, P, Q) and Σ R (G, Q) for R = Y - A W and W (G, P, Q)."""
    return _on_host(partial(_of_groups, of=_missed, spec=spec), x, y, w)


def _on_host(of: Callable[..., Any], *given: Any) -> tuple[np.ndarray, ...]:
    """Return the results of a function as arrays of NumPy, computed in float64."""
    with jax.enable_x64(True):
        return tuple(map(np.asarray, placed_by_jax(of, *given)))


@jax.jit
def _survey(a: Any) -> tuple[Any, Any]:
    axes = tuple(range(a.ndim - 1))
    # The largest of several devices may omit NaN.
    sizes = jnp.where(jnp.isfinite(a), jnp.abs(a), jnp.inf)
    return sizes.max(axes).astype(float), a.mean(axes, dtype=float)


@partial(jax.jit, static_argnames=("of", "spec"))
def _of_groups(x: OnDevice, y: OnDevice, *more: Any, of: Callable[..., Any], spec: ConvSpec) -> Any:
    """Return ``of(A, y, ...)`` of every group, for y (n, Q) and parts of more arrays (G, ...)."""
    plain = replace(spec._normal, groups=1)

    def of_group(signals: Any) -> Any:
        x, y, *more = signals
        operator = Operator(x, None, plain, False, None, None)
        return of(operator, y.reshape(operator.rows, -1), *more)

    x = x._replace(array=padded(x.array, spec))
    return lax.map(of_group, (x.by_group(spec.groups), y.by_group(spec.groups), *more))


def _summed(operator: Operator, y: Any) -> Any:
    crossed = operator.adjoint(jnp.concatenate([y, jnp.ones_like(y[:, :1])], axis=1))
    return operator.gram(), crossed[:, :-1], crossed[:, -1], y.sum(0), (y**2).sum(0)


def _missed(operator: Operator, y: Any, w: Any) -> Any:
    r = y - operator.forward(w)
    return (r**2).sum(0), operator.adjoint(r), r.sum(0)
