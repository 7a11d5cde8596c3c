"""The method ``plot`` of problems and results, which imports the figures when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(self: Any, kind: str | None = None, **options: Any) -> Figure:
    """Draw this object, see `convsolve.plot` for the pictures of every class.

    Args:
        self: the problem or result.
        kind: one picture of a solution, see `convsolve.plot`. By default an overview.
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
        'Impulse response, 95 % confidence band'
    """
    # The module of figures imports the modules of all results, so it is imported by name.
    figures = import_module(".plotting.figures", __package__)
    figure: Figure = figures.plot(self, kind, **options)
    return figure
