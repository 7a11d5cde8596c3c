"""Arrays of jax on a device, or spread over several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def placed_by_jax(of: Callable[..., Any], *given: Any) -> Any:
    """Call ``of`` with arrays that may be spread along explicit axes of a mesh.

    Jax places the computation, and the result is whole on every device.
    """
    meshes = (jax.typeof(a).sharding.mesh for a in given if isinstance(a, jax.Array))
    mesh = next((m for m in meshes if AxisType.Explicit in m.axis_types), None)
    if mesh is None:
        return of(*given)
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.sharding.auto_axes(of, out_sharding=whole)(*given)
