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

from ..problem.spec import ConvSpec
from .data import Signal
from .jax_operator import Operator, by_group, matmul, padded
from .sums import Residuals, Sums, blocks


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
    """Samples (N, *L, C) of a device, read as ``scale * array - shift``."""

    array: Any
    scale: Any
    shift: Any

    @classmethod
    def of(cls, signal: Signal) -> OnDevice | None:
        """Return the samples of a signal, if they are the same part of all records of an array."""
        records, unit, first = signal.records, signal.unit, signal.records[0]
        source, spans = first.source, first.where[1 - first.ndim :]
        batch = len(first.where) > len(spans)
        wanted = [(i, *spans) for i in range(len(source))] if batch else [spans]
        kinds = {(id(r.source), r.channels, r.filled) for r in records}
        if [r.where for r in records] != wanted or len(kinds) > 1 or first.filled:
            return None

        def part(a: Any) -> Any:
            a = a[(slice(None) if batch else None, *spans)]
            return a[..., None] if first.channels is None else a[..., np.array(first.channels)]

        with jax.enable_x64(True):
            array = placed_by_jax(part, source)
        return cls(array, np.ldexp(1.0, -unit.exponents), unit.shift)

    def by_group(self, groups: int) -> Any:
        """Return samples (groups, N, *L, C) in float64."""
        return by_group(self.array.astype(float) * self.scale - self.shift, groups)


def sums(x: Signal, y: Signal) -> Sums | None:
    """Return the sums of x and y, if a device has both and no others are needed."""
    found = _on_host(_summed, x, y)
    if found is None:
        return None
    gram, rhs, of_x, of_y, squares = found
    norm, whole = x.plan.norm, gram.diagonal(0, 1, 2)
    return Sums(gram, rhs, of_x[:, None] / norm, of_y[:, None] / norm, squares, whole)


def residuals(
    x: Signal, y: Signal, w: np.ndarray, c: np.ndarray, weights: np.ndarray | None
) -> Residuals | None:
    """Return the sums of the residuals r = y - A w - N c, of combinations of y for ``weights``."""
    constant = c[:, -1] / x.plan.norm
    more = () if weights is None else (weights,)
    if (found := _on_host(_missed, x, y, w, constant, *more)) is None:
        return None
    squares, gradient, of_n = found
    return Residuals(squares, gradient, of_n[:, None] / x.plan.norm)


def _on_host(of: Callable[..., Any], x: Signal, y: Signal, *more: Any) -> Any:
    """Return the results of every group as arrays of NumPy; None if the host computes them."""
    on_x, on_y = OnDevice.of(x), OnDevice.of(y)
    if on_x is None or on_y is None or on_x.array.devices() != on_y.array.devices():
        return None
    with jax.enable_x64(True):
        of = partial(_of_groups, of=of, spec=x.plan.spec)
        return tuple(map(np.array, placed_by_jax(of, on_x, on_y, *more)))


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


def _missed(operator: Operator, y: Any, w: Any, constant: Any, weights: Any = None) -> Any:
    if weights is not None:
        y = jnp.concatenate([matmul(y[:, s], weights[s]) for s in blocks(len(weights))], axis=1)
    r = y - operator.forward(w) - constant
    return (r**2).sum(0), operator.adjoint(r), r.sum(0)
