"""Reading a figure: its panels, lines, images and legends."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from convsolve.plotting.figures import plot


def panel(figure: Any, title: str) -> Any:
    """The one axes whose title starts with ``title``."""
    found = [axes for axes in figure.axes if axes.get_title().startswith(title)]
    assert len(found) == 1, [axes.get_title() for axes in figure.axes]
    return found[0]


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def line(axes: Any, label: str) -> Any:
    """The one line with this label."""
    found = [drawn for drawn in axes.get_lines() if drawn.get_label() == label]
    assert len(found) == 1, [drawn.get_label() for drawn in axes.get_lines()]
    return found[0]


def legend(holder: Any) -> list[str]:
    """The entries of the legend of an axes or a subfigure."""
    found = holder.get_legend() if hasattr(holder, "get_legend") else holder.legends[0]
    return [text.get_text() for text in found.get_texts()]


def image(axes: Any) -> np.ndarray:
    """The values of the mesh in ``axes``, rows from the top; a second one hatches cells."""
    mesh = axes.collections[0]
    shape = [n - 1 for n in mesh.get_coordinates().shape[:2]]
    values: np.ndarray = np.ma.filled(mesh.get_array(), np.nan).reshape(shape)
    return values


def drawn(thing: Any, **options: Any) -> Any:
    """The figure of ``thing``, rendered once, so that whatever warns at that time is seen."""
    figure = plot(thing, **options)
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    return figure


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)
