"""JAX and figures, imported no sooner than something needs them.

Least squares on NumPy arrays needs no jax. Questions about arrays of such code are answered by
`sys.modules`: no array of jax, and no tracer, exists before jax has been imported.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def is_jax_array(value: Any) -> bool:
    """Whether ``value`` is an array of jax; tracers are such."""
    return isinstance(value, getattr(sys.modules.get("jax"), "Array", ()))


def is_tracer(value: Any) -> bool:
    """Whether ``value`` is known only inside jit, vmap or grad."""
    return isinstance(value, getattr(sys.modules.get("jax.core"), "Tracer", ()))


def on_device(value: Any) -> bool:
    """Whether ``value`` is an array of floats on an accelerator, or spread over several devices."""
    if not is_jax_array(value) or is_tracer(value) or value.dtype not in (np.float32, np.float64):
        return False
    away = len(value.devices()) > 1 or any(d.platform != "cpu" for d in value.devices())
    return away and bool(value.is_fully_addressable)


def survey(a: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest magnitude (C,) of every channel of (..., C), and its mean.

    The largest magnitude is not finite if a sample is not.
    """
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        axes = tuple(range(a.ndim - 1))
        # The largest of several devices may omit NaN.
        sizes = jnp.where(jnp.isfinite(a), jnp.abs(a), jnp.inf).max(axes)
        return np.asarray(sizes, float), np.asarray(a.mean(axes, dtype=float))


def default_float() -> np.dtype[Any]:
    """Return the type that Python's floats have in jax."""
    import jax.numpy as jnp

    return np.dtype(jnp.result_type(float))


def as_jax(arrays: Any) -> Any:
    """NumPy arrays, one or a list of them, as arrays of jax in their own precision."""
    import jax

    with jax.enable_x64(True):
        return jax.tree.map(jax.numpy.asarray, arrays)


def plot(self: Any, kind: str | None = None, **options: Any) -> Figure:
    """Draw this object, see `convsolve.plot` for the panels of every class.

    Args:
        self: the problem or result.
        kind: one panel by its name, see `convsolve.plot`. By default an overview.
        options: ``ax``, matplotlib axes to draw on; and for a solution ``channels`` and
            ``outputs``, see `convsolve.plot`.

    Returns:
        A figure of matplotlib, which needs no display.

    Raises:
        TypeError, ValueError, ImportError: As for `convsolve.plot`.

    Examples:
        >>> import convsolve as cs
        >>> problem = cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2)
        >>> problem.plot().axes[0].get_title()
        'Power spectrum of x'
        >>> cs.solve(problem).plot("lines").axes[0].get_title()
        'Impulse response'
    """
    # The module of figures imports the modules of all results, so it is imported by name.
    figure: Figure = import_module(".plotting.figures", __package__).plot(self, kind, **options)
    return figure
