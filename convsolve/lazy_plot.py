"""The methods ``plot`` of problems and results, which import the figures when they are called."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plotted(result: Any, options: dict[str, Any]) -> Figure:
    """Return the figure of a result, drawn by `convsolve.plot` with some options."""
    # The module of figures imports the modules of all results, so it is imported by name.
    figures = import_module(".plotting.figures", __package__)
    figure: Figure = figures.plot(result, **options)
    return figure
