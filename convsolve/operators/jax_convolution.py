"""The convolution under jax, forward and some rows of it. All uses of lax.conv are here."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..problem.spec import ConvSpec
from .windows import as_rows, normal_form


@partial(jax.jit, static_argnums=2)
def forward(x: Any, kernel: Any, spec: ConvSpec) -> jax.Array:
    """Return A w ``(N, *T, Cout)`` of x ``(N, *W, Cin)`` and kernel ``(*K, Cin/groups, Cout)``."""
    space = "DHW"[-spec.ndim :]
    return lax.conv_general_dilated(
        normal_form(x, spec),
        kernel,
        window_strides=spec.stride,
        padding="VALID",
        rhs_dilation=spec.dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=spec.groups,
        precision=lax.Precision.HIGHEST,
    )


def gather_rows(x: Any, rows: Any, spec: ConvSpec) -> Any:
    """Return rows ``(groups, len(rows), P)`` of the design matrix, for minibatches.

    x ``(N, *E, C)`` is in normal form. ``rows`` are numbers of windows in C order over ``(N, *T)``.
    The function is differentiable by jax.
    """
    n, *space, c = x.shape
    counts = spec._normal.output_shape(space)
    stride = np.cumprod([1, *space[:0:-1]])[::-1]
    taps = np.zeros(1, int)
    for a in range(spec.ndim):
        steps = np.arange(spec.kernel_size[a]) * spec.dilation[a] * stride[a]
        taps = (taps[:, None] + steps).reshape(-1)
    record, *position = jnp.unravel_index(rows, (n, *counts))
    start = record * math.prod(space)
    for p, s, step in zip(position, spec.stride, stride, strict=True):
        start = start + p * (s * int(step))
    return as_rows(x.reshape(-1, c)[start[:, None] + taps], spec)
