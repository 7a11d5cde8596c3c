"""Kernels: curves with bands, a grid of panels, or images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from . import draw
from .values import Kernel, Pair

LINES, GRID, IMAGE = KINDS = ("lines", "grid", "image")
# Curves with bands in one panel, panels of a grid by default and at most, and side by side.
FEW, USUAL, MOST, SIDE = 3, 9, 16, 4


def kind_of(kernel: Kernel, pairs: Sequence[Pair]) -> str:
    """Return how a kernel is drawn: a grid from four curves with bands, an image for many."""
    if len(kernel.axes) > 1:
        return IMAGE
    if len(pairs) <= (draw.MANY if kernel.reach is None else FEW):
        return LINES
    return GRID if len(pairs) <= USUAL else IMAGE


def layout(kernel: Kernel, pairs: Sequence[Pair], kind: str) -> draw.Layout:
    """Return the panels of a kernel.

    Raises:
        ValueError: If there are too many curves for one panel, or if lines or a grid are requested
            for a kernel of several axes.
    """
    if len(kernel.axes) > 1 and kind != IMAGE:
        raise ValueError(f"kind={kind!r} draws one axis; use 'image' for a kernel of several")
    if kind == LINES and len(pairs) > draw.MANY:
        raise ValueError(f"{len(pairs)} curves are too many for one panel; use kind='image'")
    if kind == LINES or (kind == GRID and len(pairs) == 1):
        panels = {"kernel": partial(lines, kernel=kernel, pairs=pairs)}
        return draw.Layout(panels, [["kernel"]], heights=(3.3,))
    if kind == GRID:
        return _grid(kernel, pairs)
    if len(kernel.axes) > 1:
        draws = [partial(picture, kernel=kernel, pair=pair) for pair in pairs[:SIDE]]
        height = 3.0 if len(draws) > 2 else 4.2
    else:
        parts = _parts(pairs)
        draws = [partial(rows, kernel=kernel, pairs=part) for part in parts]
        height = min(max(3.0, 1.6 + 0.13 * len(parts[0])), 5.6)
    panels = {f"kernel {i}": draws[i] for i in range(len(draws))}
    title = kernel.title + _part(len(draws), pairs) * (len(kernel.axes) > 1)
    return draw.Layout(panels, [[*panels]], title, (height,))


def _part(shown: int, pairs: Sequence[Pair]) -> str:
    return f", {shown} of {len(pairs)} kernels" * (shown < len(pairs))


def _parts(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Return the pairs of every channel, or of every output, or all if there are many of both."""
    own = [sorted({pair[i] for pair in pairs}) for i in (0, 1)]
    fewer = int(len(own[1]) < len(own[0]))
    parts = [[pair for pair in pairs if pair[fewer] == one] for one in own[fewer]]
    return parts if len(parts) <= SIDE else [[pair for part in parts for pair in part]]


def _grid(kernel: Kernel, pairs: Sequence[Pair]) -> draw.Layout:
    """Return a panel for every channel and output, with the channels side by side if few."""
    channels, some = len({c for c, _ in pairs}), pairs[:MOST]
    side = channels if 1 < channels <= SIDE else min(SIDE, len(some))
    panels: draw.Panels = {}
    for i, pair in enumerate(some):
        bottom = i + side >= len(some)
        panels[f"kernel {i}"] = partial(cell, kernel=kernel, pair=pair, bottom=bottom)
    names = [*panels, *["."] * (-len(panels) % side)]
    grid = [names[i : i + side] for i in range(0, len(names), side)]
    title = kernel.title + kernel.band + _part(len(some), pairs)
    title += ", hollow: not determined" * bool(kernel.unknown.any())
    return draw.Layout(panels, grid, title, (1.6,) * len(grid), [*panels])


def curve(ax: Any, kernel: Kernel, pair: Pair, number: int = 0, **style: Any) -> None:
    """Draw a curve with its band; points that are not determined have hollow markers."""
    at, values = np.asarray(kernel.axes[0].values, float), kernel.values[:, *pair]
    hue, marker = draw.HUES[number % draw.MANY], draw.MARKERS[number % draw.MANY]
    usual = {"color": hue, "linewidth": 1.5, "markersize": 4}
    ax.plot(at, values, **usual | {"marker": marker if len(at) <= draw.MARKED else ""} | style)
    if kernel.reach is not None:
        reach = kernel.reach[:, *pair]
        ax.fill_between(at, values - reach, values + reach, color=hue, alpha=0.2, linewidth=0)
        if len(at) == 1:
            ax.errorbar(at, values, reach, color=hue, capsize=4)
    if (unknown := kernel.unknown[:, *pair]).any():
        hollow = {"color": hue, "markerfacecolor": ax.get_facecolor(), "linestyle": "none"}
        known = "not determined" in ax.get_legend_handles_labels()[1]
        label = None if known else "not determined"
        ax.plot(at[unknown], values[unknown], marker, **hollow, label=label)


def lines(ax: Any, kernel: Kernel, pairs: Sequence[Pair]) -> None:
    """Draw curves with their bands."""
    draw.zero(ax)
    for i, pair in enumerate(pairs):
        curve(ax, kernel, pair, i, label=" → ".join(kernel.label(pair)) if len(pairs) > 1 else None)
    ax.margins(x=0.02)
    draw.entitle(ax, " → ".join(kernel.label(pairs[0]) * (len(pairs) == 1)), "", kernel.unit)
    draw.headline(ax, kernel.title + kernel.band)
    draw.lag_axis(ax, kernel.axes[0])
    draw.legend(ax)


def cell(ax: Any, kernel: Kernel, pair: Pair, bottom: bool) -> None:
    """Draw one curve of a grid, whose panels have one scale."""
    left = ax.get_subplotspec().is_first_col()
    draw.zero(ax)
    curve(ax, kernel, pair, marker="")
    draw.lag_axis(ax, kernel.axes[0])
    ax.set_title(" → ".join(kernel.label(pair)), fontsize="small")
    ax.set(xlabel=ax.get_xlabel() * bottom, ylabel=kernel.unit * left)
    ax.tick_params(labelleft=left, labelbottom=bottom)


def rows(ax: Any, kernel: Kernel, pairs: Sequence[Pair], **style: Any) -> None:
    """Draw an image with a row for every channel and output."""
    values, unknown = (np.stack([a[:, *p] for p in pairs]) for a in (kernel.values, kernel.unknown))
    at = np.asarray(kernel.axes[0].values, float)
    _image(ax, kernel, at, np.arange(len(pairs)), values, unknown, **style)
    # What all rows have in common is the title, and the rest names the rows.
    columns = [*zip(*map(kernel.label, pairs), strict=True)]
    same = [column[0] for column in columns if len(set(column)) == 1]
    other = zip(*(column for column in columns if len(set(column)) > 1), strict=True)
    draw.row_names(ax, [" → ".join(names) for names in other])
    ax.set_title(" → ".join(same), fontsize="medium")
    draw.lag_axis(ax, kernel.axes[0])


def picture(ax: Any, kernel: Kernel, pair: Pair, **style: Any) -> None:
    """Draw a kernel of two axes, or the central slice of one of three, as an image."""
    cut = len(kernel.axes) - 2
    middle = tuple(n // 2 for n in kernel.values.shape[:cut])
    down, across = kernel.axes[cut:]
    values, unknown = (a[(*middle, ..., *pair)] for a in (kernel.values, kernel.unknown))
    _image(ax, kernel, across.lags, down.lags, values, unknown, **style)
    where = [axis.at([axis.lags[i]]) for axis, i in zip(kernel.axes, middle, strict=False)]
    ax.set_title(", ".join([*where, *kernel.label(pair)]), fontsize="small")
    draw.lag_axis(ax, across, f"{across.noun} in columns")
    draw.lag_axis(ax, down, f"{down.noun} in rows", "y")
    ax.set_aspect("equal")


def _image(
    ax: Any, kernel: Kernel, x: np.ndarray, y: np.ndarray, values: Any, unknown: Any, **style: Any
) -> None:
    """Draw values (rows, columns) with a bar of their colours, or in a style without a bar.

    The first row is on top. NaN is grey, and cells that the data do not determine are hatched.
    """
    from matplotlib.colors import ListedColormap

    top, both = float(np.nanmax(np.abs(kernel.values))) or 1.0, bool((kernel.values < 0).any())
    usual = {"cmap": "RdBu_r" if both else "viridis", "vmin": -top * both, "vmax": top}
    borders = draw.edges(x), draw.edges(y)
    ax.set_facecolor(draw.ABSENT)
    drawn = ax.pcolormesh(*borders, np.ma.masked_invalid(values), **style or usual)
    if unknown.any():
        cells = np.ma.masked_where(~unknown, unknown)
        ax.pcolor(*borders, cells, hatch="xxx", cmap=ListedColormap(["none"]))
    ax.set_ylim(*borders[1][[-1, 0]])
    if not style:
        ends = {"ticks": [usual["vmin"], top], "format": "%.2g"}
        ax.figure.colorbar(drawn, ax=ax, label=kernel.unit, location="bottom", shrink=0.8, **ends)
