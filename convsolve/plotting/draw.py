"""Figures, colours, legends, bands and images for all panels, by matplotlib without pyplot."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..problem.names import Axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people can distinguish. The markers differ, too.
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "0.5")
MARKERS = "osD^vPX"
# The last one fills cells that are not in the model. A white cell looks like a weight of zero.
GOOD, BAD, GREY, ABSENT = HUES[0], HUES[1], "0.6", "0.75"
# Largest numbers of distinct curves, marked points of a curve, and names of rows.
MANY, MARKED, LABELS = len(HUES), 40, 12
# Inches of a figure, whose text is legible at 500 pixels, and of one row of panels.
WIDE, TALL = 7.2, 2.9

Panels = dict[str, Any]


def png(figure: Figure, dots: int = 110) -> bytes:
    """Return a figure as a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dots)
    return stream.getvalue()


def panels_of(*draws: Callable[..., None], **given: Any) -> Panels:
    """Return panels, each named after the function that draws it."""
    return {draw.__name__.replace("_", " "): partial(draw, **given) for draw in draws}


class Layout(NamedTuple):
    """Panels of a figure by name, and their arrangement.

    Attributes:
        panels: functions that draw on axes.
        rows: names of panels; a name in neighbouring places is one large panel, "." is none.
        title: title of the figure.
        heights: heights of the rows in inches.
        linked: names of panels that share their y axis.
    """

    panels: Panels
    rows: Sequence[Sequence[str]]
    title: str = ""
    heights: Sequence[float] = ()
    linked: Sequence[str] = ()

    def figure(self) -> Figure:
        """Draw all rows on a new figure."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("a figure needs matplotlib: pip install 'convsolve[plot]'") from error
        heights = self.heights or (TALL,) * len(self.rows)
        figure = Figure(figsize=(WIDE, sum(heights)), layout="constrained")
        # Unless pyplot is imported, a notebook has no other way to show a figure.
        figure._repr_png_ = partial(png, figure)  # type: ignore[attr-defined]
        if self.title:
            figure.suptitle(self.title, fontsize="medium")
        made = figure.subplot_mosaic([[*row] for row in self.rows], height_ratios=heights)
        for name in self.linked[1:]:
            made[name].sharey(made[self.linked[0]])
        for name, ax in made.items():
            self.panels[name](ax)
        return figure

    def on(self, ax: Any) -> Figure:
        """Draw the only panel on axes, and return their figure."""
        names = [*dict.fromkeys(name for row in self.rows for name in row)]
        if len(names) > 1:
            raise ValueError(f"one ax takes one panel; give kind= one of {', '.join(names)}")
        self.panels[names[0]](ax)
        headline(ax, self.title)
        found: Figure = ax.figure.figure  # also of axes on a subfigure
        return found


def entitle(ax: Any, title: str, x: str, y: str = "") -> None:
    """Write the title and the labels of a panel."""
    ax.set_title(title, fontsize="medium")
    ax.set(xlabel=x, ylabel=y)


def headline(ax: Any, title: str) -> None:
    """Write a title above the title of a panel."""
    words = "\n".join(filter(None, [title, ax.get_title()]))
    ax.set_title(words, fontsize="medium")


def legend(ax: Any, **style: Any) -> None:
    """Draw a legend inside, if there is anything to name."""
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize="small", framealpha=0.8, **style)


def zero(ax: Any) -> None:
    """Draw the line of zero."""
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)


def lag_axis(ax: Any, axis: Axis, label: str = "", which: str = "x") -> None:
    """Label an axis of lags; numbers of samples have no fractions."""
    from matplotlib.ticker import MaxNLocator

    ax.set(**{f"{which}label": label or axis.label})
    if axis.fs is None:
        whole = MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
        getattr(ax, f"{which}axis").set_major_locator(whole)


def edges(at: np.ndarray) -> np.ndarray:
    """Return the borders of cells around evenly spaced centres."""
    step = at[1] - at[0] if len(at) > 1 else 1.0
    return np.append(at - step / 2, at[-1] + step / 2)


def row_names(ax: Any, names: Sequence[str]) -> None:
    """Name the rows of an image, some of them if there are many."""
    step = -(-len(names) // LABELS) or 1
    ax.set_yticks(range(0, len(names), step), names[::step])
