"""Colours, curves and images of kernels for all pictures, by matplotlib without pyplot."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..problem.names import Names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people can distinguish. The markers differ, too.
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vPX"
GOOD, BAD, GREY = HUES[0], HUES[1], "0.6"
# More curves, or more marked points on one curve, cannot be distinguished.
MAX_CURVES, MAX_MARKED = len(MARKERS), 40
# Channels and outputs of a kernel in two or three dimensions that are shown at most.
MAX_IMAGES = 4
# Largest number of channel names next to an image, and of letters of a name.
MAX_LABELS, MAX_LETTERS = 12, 24
AXES = ("first", "second", "third")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, with constrained layout."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("a picture needs matplotlib: pip install 'convsolve[plot]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    # Unless pyplot is imported, a notebook has no other way to show a figure.
    figure._repr_png_ = partial(png, figure)  # type: ignore[attr-defined]
    return figure


class Drawing(NamedTuple):
    """A description of a picture, and the function that draws it on axes."""

    described: str
    draw: Callable[[Axes], None]


def drawing(described: str) -> Callable[[Callable[..., None]], Callable[..., Drawing]]:
    """Return a decorator: a function that draws on axes returns a `Drawing` instead."""

    def decorated(draw: Callable[..., None]) -> Callable[..., Drawing]:
        @wraps(draw)
        def of(*given: Any) -> Drawing:
            return Drawing(described, lambda axes: draw(axes, *given))

        return of

    return decorated


def side_by_side(
    drawings: Sequence[Drawing], width: float = 4.8, height: float = 4.2, title: str = ""
) -> Figure:
    """Draw pictures next to each other, each of a size in inches."""
    figure = new_figure(width * len(drawings), height)
    if title:
        figure.suptitle(title, fontsize="large")
    panels = figure.subplots(1, len(drawings), squeeze=False)[0]
    for axes, drawing in zip(panels, drawings, strict=True):
        drawing.draw(axes)
    return figure


def drawable(called: Names) -> Names:
    """Return names for drawing: long ones are shortened, and none is read as mathematics."""
    return Names(called.fs, _drawn(called.channels), _drawn(called.outputs))


def _drawn(words: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if words is None:
        return None
    lines = (" ".join(word.split()) for word in words)
    cut = (w if len(w) <= MAX_LETTERS else w[: MAX_LETTERS - 1] + "…" for w in lines)
    return tuple(word.replace("$", r"\$") for word in cut)


def colours() -> tuple[str, ...]:
    """Return `HUES` and the text colour of the style."""
    from matplotlib import rcParams

    return (*HUES, rcParams["text.color"])


def png(figure: Figure, dpi: int = 110) -> bytes:
    """Return the figure as a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    return stream.getvalue()


def curves(axes: Axes, at: np.ndarray, values: np.ndarray, labels: Sequence[str]) -> None:
    """Draw ``values`` (points, n) over ``at``: n curves, or an image if n is large."""
    if values.shape[1] > MAX_CURVES:
        image_rows(axes, at, values.T, labels, "weight", **signed(values))
        return
    axes.axhline(0, color=GREY, linewidth=0.8)
    lines(axes, at, values, labels)
    axes.set_ylabel("weight")


def shown_band(axes: Axes, at: np.ndarray, values: np.ndarray, reach: np.ndarray) -> None:
    """Draw a band around every column of ``values`` (points, n), of half width ``reach``."""
    for column, off, colour in zip(values.T, reach.T, colours(), strict=False):
        if len(at) == 1:
            axes.errorbar(at, column, off, color=colour, capsize=4)
        else:
            axes.fill_between(at, column - off, column + off, color=colour, alpha=0.2, linewidth=0)


def lines(
    axes: Axes,
    at: np.ndarray,
    values: np.ndarray,
    labels: Sequence[str],
    max_marked: int = MAX_MARKED,
) -> None:
    """Draw a line for every column of ``values`` (points, n), with n at most `MAX_CURVES`.

    Up to ``max_marked`` points have markers.
    """
    for i, (label, colour) in enumerate(zip(labels, colours(), strict=False)):
        marker = MARKERS[i] if len(at) <= max_marked else ""
        axes.plot(at, values[:, i], color=colour, marker=marker, markersize=5, label=label or None)
    if any(labels):
        axes.legend(fontsize="small")


def image_rows(
    axes: Axes, at: np.ndarray, values: np.ndarray, labels: Sequence[str], unit: str, **style: Any
) -> None:
    """Draw ``values`` (n, points) as an image with a row per label, and a colour bar."""
    drawn = image(axes, at, np.arange(len(labels)), values, **style)
    step = -(-len(labels) // MAX_LABELS)
    axes.set_yticks(range(0, len(labels), step), list(labels)[::step])
    axes.figure.colorbar(drawn, ax=axes, label=unit)


def lag_axis(axes: Axes, called: Names, label: str = "lag") -> None:
    """Label the x axis with the unit of lags."""
    axes.set_xlabel(f"{label} ({called.unit})")
    if called.fs is None:
        whole(axes.xaxis)


def whole(axis: Any) -> None:
    """Place ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def decades(axis: Any, low: float, high: float) -> None:
    """Set a log axis to whole decades that include ``low`` and ``high``."""
    from matplotlib.ticker import NullFormatter

    ends = 10.0 ** np.floor(np.log10(low)), 10.0 ** np.ceil(np.log10(high))
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": ends})
    axis.set_minor_formatter(NullFormatter())


def edges(at: np.ndarray) -> np.ndarray:
    """Return the borders of cells with equally spaced centres."""
    step = at[1] - at[0] if len(at) > 1 else 1
    return np.append(at - step / 2, at[-1] + step / 2)


def image(axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, **style: Any) -> Any:
    """Draw ``values`` (y, x) as coloured cells, with the first row at the top."""
    mesh = axes.pcolormesh(edges(x), edges(y), values, shading="flat", **style)
    axes.set_ylim(edges(y)[-1], edges(y)[0])
    return mesh


def signed(values: np.ndarray) -> dict[str, Any]:
    """Return the style of an image of signed ``values``, with colours symmetric about zero."""
    limit = float(np.abs(values).max()) or 1.0
    return {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}


def panels(
    place: Any,
    lags: Sequence[np.ndarray],
    values: np.ndarray,
    labels: Sequence[str],
    title: str,
    columns: int = 2,
) -> list[tuple[Axes, np.ndarray]]:
    """Return axes on ``place``, a subfigure, for images of the first of ``values`` (*K, n).

    The values to draw are included. In three dimensions they are the central slice.
    """
    shown, notes = min(MAX_IMAGES, len(labels)), []
    if len(lags) == 3:
        middle = len(lags[0]) // 2
        values = values[middle]
        notes.append(f"slice at lag {lags[0][middle]} of the first axis")
    if shown < len(labels):
        notes.append(f"{shown} of {len(labels)} shown")
    place.suptitle("\n".join([title, ", ".join(notes)]) if notes else title)
    columns = min(columns, shown)
    grid = place.subplots(-(-shown // columns), columns, squeeze=False, sharex=True, sharey=True)
    for i, axes in enumerate(grid.flat):
        axes.set_visible(i < shown)
        # The two columns of a grid lean towards each other.
        axes.set_aspect("equal", anchor="C" if columns != 2 else "EW"[i % 2])
        whole(axes.xaxis)
        whole(axes.yaxis)
        if i % columns == 0:
            axes.set_ylabel(f"lag, {AXES[len(lags) - 2]} axis")
        if i + columns >= shown:
            axes.set_xlabel(f"lag, {AXES[len(lags) - 1]} axis")
            axes.tick_params(labelbottom=True)
    found = list(zip(grid.flat[:shown], np.moveaxis(values, -1, 0), strict=False))
    for (axes, _), label in zip(found, labels, strict=False):
        axes.set_title(label, fontsize="small")
    return found


def images(
    place: Any,
    lags: Sequence[np.ndarray],
    values: np.ndarray,
    labels: Sequence[str],
    title: str,
    unit: str = "weight",
    columns: int = 2,
    **style: Any,
) -> None:
    """Draw `panels` with one colour scale, and a colour bar."""
    places = panels(place, lags, values, labels, title, columns)
    style = style or signed(np.stack([shown for _, shown in places]))
    for axes, shown in places:
        drawn = image(axes, lags[-1], lags[-2], shown, **style)
    place.colorbar(drawn, ax=[axes for axes, _ in places], label=unit)


def draw_kernel(
    place: Any,
    lags: Sequence[np.ndarray],
    values: np.ndarray,
    labels: Sequence[str],
    title: str,
    called: Names,
) -> None:
    """Draw values (*K, n) in ascending lags on ``place``, a subfigure.

    With one axis these are n curves, with several axes n images.
    """
    if len(lags) > 1:
        images(place, lags, values, labels, title)
        return
    axes = place.subplots()
    axes.set_title(title)
    curves(axes, called.times(lags[0]), values, labels)
    lag_axis(axes, called)
