"""Colours, curves and images of kernels for all pictures, by matplotlib without pyplot."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..kernel_text import shortened
from ..problem.names import Names
from ..text import count

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
# Distance of a legend from the axes above it, in letters: room for ticks and their label.
BELOW = 4.8
# Points of a letter in a legend, of its symbol, and of the space between two columns.
LETTER, SYMBOL, BETWEEN = 4.8, 24.0, 17.0
# What a hollow marker or a hatched cell means, and the hatch.
OPEN, OPEN_HATCH = "not determined by the data", "x"
# What a grey cell means, and its colour. A white cell would look like a weight of zero.
ABSENT, ABSENT_COLOUR = "not in the model", "0.75"
AXES = {2: ("in rows", "in columns"), 3: ("", "of second axis", "of third axis")}


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


class Place:
    """A figure, or a part of a figure, on which panels are created."""

    # Whether the panels are the axes of a caller, who arranges them and writes their headline.
    given = False

    def __init__(self, figure: Any, made: list[Axes] | None = None) -> None:
        self._figure = figure
        self.made: list[Axes] = [] if made is None else made

    def parts(self, rows: int, columns: int, **ratios: Any) -> list[Place]:
        """Divide the place."""
        parts = self._figure.subfigures(rows, columns, squeeze=False, **ratios)
        return [Place(part, self.made) for part in parts.ravel()]

    def panels(self, rows: Sequence[int], **shared: Any) -> list[list[Axes]]:
        """Create rows of panels, given the number of panels in every row."""
        grid = self._figure.subplots(len(rows), max(rows), squeeze=False, **shared)
        found = [[*places[:n]] for places, n in zip(grid, rows, strict=True)]
        for places, n in zip(grid, rows, strict=True):
            for axes in places[n:]:
                axes.set_visible(False)
        self.made.extend(axes for row in found for axes in row)
        return found

    def panel(self) -> Axes:
        """Create one panel."""
        return self.panels([1])[0][0]

    def title(self, words: str, **style: Any) -> None:
        """Write a headline, if there is one."""
        if words:
            self._figure.suptitle(words, **style)

    def text(self, words: str) -> None:
        """Write a text instead of panels."""
        self._figure.text(0.5, 0.4, words, ha="center", va="center", wrap=True)

    def legend(self, handles: Sequence[Any], labels: Sequence[str]) -> None:
        """Draw a legend below the panels."""
        columns = _columns(labels, self._figure)
        self._figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, fontsize="small"
        )


class GivenAxes(Place):
    """Axes of a caller, which are used one after the other."""

    given = True

    def __init__(self, axes: Sequence[Axes]) -> None:
        super().__init__(None)
        self._left = [*axes]

    def parts(self, rows: int, columns: int, **_: Any) -> list[Place]:
        """Return this place for every part."""
        return [self] * (rows * columns)

    def panels(self, rows: Sequence[int], **_: Any) -> list[list[Axes]]:
        """Return the next axes."""
        found = []
        for n in rows:
            row, self._left = self._left[:n], self._left[n:]
            found.append(row)
            self.made.extend(row)
        return found

    def title(self, words: str, **style: Any) -> None:
        """Leave the headline to the caller."""

    def legend(self, handles: Sequence[Any], labels: Sequence[str]) -> None:
        """Draw a legend below the last axes."""
        legend(self.made[-1], handles, labels)


class Picture(NamedTuple):
    """Width and height of a figure in inches, and the function that draws it on a place."""

    size: tuple[float, float]
    draw: Callable[[Place], None]

    def figure(self, ax: Any = None) -> Figure:
        """Draw the picture on a new figure, or on given axes, and return the figure.

        Raises:
            TypeError, ValueError: If ``ax`` are no axes, are not as many as there are panels, or
                belong to several figures. They are unchanged in this case.
        """
        figure = new_figure(*self.size)
        axes = [] if ax is None else _axes(ax)
        # A figure that is not shown determines the number of panels.
        place = Place(figure)
        self.draw(place)
        if ax is None:
            return figure
        _check_number(axes, place.made)
        self.draw(GivenAxes(axes))
        return _root(axes[0])


def _axes(ax: Any) -> list[Axes]:
    """Return axes, or an array or a nested list of axes, as a list."""
    from matplotlib.axes import Axes

    # An object array keeps axes as they are.
    found: list[Axes] = [*np.array(ax, dtype=object).ravel()]
    for axes in found:
        if not isinstance(axes, Axes):
            raise TypeError(
                "ax must be matplotlib axes or an array of axes, got "
                f"{type(ax if axes is ax else axes).__name__}"
            )
    if len(set(map(id, found))) < len(found):
        raise ValueError("ax contains the same axes twice")
    if len({id(_root(axes)) for axes in found}) > 1:
        raise ValueError("the axes in ax belong to several figures")
    return found


def _root(axes: Axes) -> Figure:
    """Return the figure of axes, also if they are on a subfigure."""
    figure: Any = axes.figure
    while hasattr(figure, "_parent"):
        figure = figure._parent
    found: Figure = figure
    return found


def _check_number(axes: Sequence[Axes], panels: Sequence[Axes]) -> None:
    if len(axes) != len(panels):
        raise ValueError(f"this figure has {count(len(panels), 'panel')}, but ax has {len(axes)}")


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


def side_by_side(drawings: Sequence[Drawing], width: float = 4.8, height: float = 4.2) -> Picture:
    """Return a picture of drawings next to each other, each of a size in inches."""

    def draw(place: Place) -> None:
        for axes, drawing in zip(place.panels([len(drawings)])[0], drawings, strict=True):
            drawing.draw(axes)

    return Picture((width * len(drawings), height), draw)


def drawable(called: Names, letters: int = MAX_LETTERS) -> Names:
    """Return names for drawing: long ones are shortened, and none is read as mathematics."""
    channels, outputs = (_drawn(words, letters) for words in (called.channels, called.outputs))
    return Names(called.fs, channels, outputs)


def _drawn(words: tuple[str, ...] | None, letters: int) -> tuple[str, ...] | None:
    if words is None:
        return None
    lines = (" ".join(word.split()) for word in words)
    return tuple(shortened(word, letters).replace("$", r"\$") for word in lines)


def colours() -> tuple[str, ...]:
    """Return `HUES` and the text colour of the style."""
    from matplotlib import rcParams

    return (*HUES, rcParams["text.color"])


def many_colours(n: int) -> Sequence[Any]:
    """Return as many different colours: those of `colours`, or a scale that shows the order."""
    from matplotlib import colormaps

    return colours() if n <= MAX_CURVES else [*colormaps["viridis"](np.linspace(0.0, 0.95, n))]


def png(figure: Figure, dpi: int = 110) -> bytes:
    """Return the figure as a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    return stream.getvalue()


def legend(axes: Axes, handles: Sequence[Any] = (), labels: Sequence[str] = ()) -> None:
    """Draw a legend below ``axes``, where it covers no data; by default of their own artists.

    On a figure without a layout, which has no room below the axes, it is inside.
    """
    if not handles:
        handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    style: dict[str, Any] = {"fontsize": "small"}
    if axes.figure.get_layout_engine() is not None:
        style |= {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": BELOW}
        style["ncols"] = _columns(labels, axes)
    axes.legend(handles, labels, **style)


def shared_legend(place: Place, several: Sequence[Axes]) -> None:
    """Draw one legend of all axes, whose artists of one label look the same."""
    pairs = (zip(*axes.get_legend_handles_labels(), strict=True) for axes in several)
    entries = {label: handle for each in pairs for handle, label in each}
    if OPEN in entries:
        entries[OPEN] = entries.pop(OPEN)  # at the end
    if entries:
        place.legend([*entries.values()], [*entries])


def _columns(labels: Sequence[str], holder: Any) -> int:
    """Return the number of columns of a legend that fit below axes, or in a figure."""
    room = 72 * holder.bbox.width / holder.figure.dpi + BETWEEN
    for n in range(len(labels), 1, -1):
        columns = np.array_split([len(label) for label in labels], n)
        if sum(LETTER * max(each) + SYMBOL + BETWEEN for each in columns) <= room:
            return n
    return 1


def curves(axes: Axes, at: np.ndarray, values: np.ndarray, labels: Sequence[str]) -> None:
    """Draw ``values`` (points, n) over ``at``: n curves, or an image if n is large."""
    if values.shape[1] > MAX_CURVES:
        image_rows(axes, at, values.T, labels, "weight", **signed(values))
        return
    axes.axhline(0, color=GREY, linewidth=0.8)
    lines(axes, at, values, labels)
    legend(axes)
    axes.set_ylabel("weight")


def shown_band(axes: Axes, at: np.ndarray, values: np.ndarray, reach: np.ndarray) -> None:
    """Draw a band around every column of ``values`` (points, n), of half width ``reach``."""
    for column, off, colour in zip(values.T, reach.T, colours(), strict=False):
        one = alone(column)
        if one.any():
            axes.errorbar(at[one], column[one], off[one], color=colour, capsize=4, linestyle="")
        axes.fill_between(at, column - off, column + off, color=colour, alpha=0.2, linewidth=0)


def alone(column: np.ndarray) -> np.ndarray:
    """Return flags of the numbers between NaN, through which no line is drawn."""
    known = np.pad(np.isfinite(column), 1)
    return np.asarray(known[1:-1] & ~known[:-2] & ~known[2:])


def lines(
    axes: Axes,
    at: np.ndarray,
    values: np.ndarray,
    labels: Sequence[str],
    max_marked: int = MAX_MARKED,
) -> None:
    """Draw a line for every column of ``values`` (points, n), with n at most `MAX_CURVES`.

    Up to ``max_marked`` points have markers, and so do points alone. Masked values have hollow
    markers.
    """
    for i, (label, colour) in enumerate(zip(labels, colours(), strict=False)):
        column = np.ma.getdata(values)[:, i]
        style: dict[str, Any] = {"color": colour, "marker": MARKERS[i], "markersize": 5}
        style["markevery"] = (len(at) <= max_marked) | alone(column)
        style |= {} if style["markevery"].any() else {"marker": ""}
        axes.plot(at, column, **style, label=label or None)
    hollow(axes, at, values, colours(), MARKERS, 5 if len(at) <= max_marked else 3)


def hollow(
    axes: Axes,
    at: np.ndarray,
    values: np.ndarray,
    hues: Sequence[Any],
    markers: Sequence[str],
    size: float,
) -> None:
    """Draw hollow markers at the masked ones of ``values`` (points, n)."""
    masked = np.ma.getmaskarray(values)
    style: dict[str, Any] = {"linestyle": "none", "markersize": size}
    style["markerfacecolor"] = axes.get_facecolor()
    several = zip(np.ma.getdata(values).T, masked.T, hues, markers, strict=False)
    for column, flags, hue, marker in several:
        if flags.any():
            axes.plot(at[flags], column[flags], marker=marker, color=hue, **style)
    if masked.any():
        axes.plot([], [], marker="o", color=GREY, label=OPEN, **style)


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
    """Draw ``values`` (y, x) as coloured cells, with the first row at the top.

    Masked cells are hatched.
    """
    mesh = axes.pcolormesh(edges(x), edges(y), np.ma.getdata(values), shading="flat", **style)
    axes.set_ylim(edges(y)[-1], edges(y)[0])
    hatch(axes, x, y, np.ma.getmaskarray(values), OPEN_HATCH, OPEN)
    return mesh


def absent(axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray) -> None:
    """Fill the cells (y, x) whose value is NaN, because they are not in the model."""
    empty = np.isnan(np.ma.getdata(values))
    _mark(axes, x, y, empty, facecolor=ABSENT_COLOUR, label=ABSENT)


def hatch(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    chosen: np.ndarray,
    pattern: str,
    label: str | None = None,
) -> None:
    """Hatch the ``chosen`` cells (y, x), whose centres are ``x`` and ``y``."""
    _mark(axes, x, y, chosen, fill=False, hatch=pattern, edgecolor="black", label=label)


def _mark(axes: Axes, x: np.ndarray, y: np.ndarray, chosen: np.ndarray, **style: Any) -> None:
    """Draw one patch over the ``chosen`` cells (y, x), whose centres are ``x`` and ``y``."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not chosen.any():
        return
    # Runs of cells along a row share one outline, so there are few outlines.
    change = np.diff(np.pad(chosen, ((0, 0), (1, 1))).astype(int), axis=1)
    row, start = np.nonzero(change == 1)
    left, right = edges(x)[start], edges(x)[np.nonzero(change == -1)[1]]
    top, bottom = edges(y)[row], edges(y)[row + 1]
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    vertices = np.moveaxis(np.array(corners), -1, 0).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY], len(row))
    outline = Path(vertices, codes)
    axes.add_patch(PathPatch(outline, linewidth=0, **style))


def signed(values: np.ndarray) -> dict[str, Any]:
    """Return the style of an image of signed ``values``, with colours symmetric about zero."""
    limit = float(np.nanmax(np.abs(values))) or 1.0
    return {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}


def panels(
    place: Place,
    lags: Sequence[np.ndarray],
    values: np.ndarray,
    labels: Sequence[str],
    title: str,
    columns: int = 2,
) -> list[tuple[Axes, np.ndarray]]:
    """Return axes on ``place`` for images of the first of ``values`` (*K, n).

    The values to draw are included. In three dimensions they are the central slice.
    """
    shown, notes = min(MAX_IMAGES, len(labels)), []
    if len(lags) == 3:
        middle = len(lags[0]) // 2
        values = values[middle]
        notes.append(f"slice at lag {lags[0][middle]} of the first axis")
    if shown < len(labels):
        notes.append(f"{shown} of {len(labels)} shown")
    heading = "\n".join([title, ", ".join(notes)]) if notes else title
    place.title(heading)
    columns, (*_, across, along) = min(columns, shown), AXES[len(lags)]
    rows = [min(columns, shown - i) for i in range(0, shown, columns)]
    grid = [axes for row in place.panels(rows, sharex=True, sharey=True) for axes in row]
    for i, axes in enumerate(grid):
        # The two columns of a grid lean towards each other.
        axes.set_aspect("equal", anchor="C" if columns != 2 or place.given else "EW"[i % 2])
        whole(axes.xaxis)
        whole(axes.yaxis)
        if i % columns == 0 or place.given:
            axes.set_ylabel(f"lag {across} (samples)")
        if i + columns >= shown or place.given:
            axes.set_xlabel(f"lag {along} (samples)")
            axes.tick_params(labelbottom=True)
        if place.given and not labels[i]:
            axes.set_title(heading)
        else:
            axes.set_title(labels[i], fontsize="small")
    return [*zip(grid, np.moveaxis(values, -1, 0), strict=False)]


def images(
    place: Place,
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
    shared_legend(place, [axes for axes, _ in places])
    bar(drawn, [axes for axes, _ in places], unit)


def bar(drawn: Any, axes: Sequence[Axes], unit: str) -> None:
    """Draw one colour bar for some axes of a figure."""
    axes[0].figure.colorbar(drawn, ax=[*axes], label=unit)


def draw_kernel(
    place: Place,
    lags: Sequence[np.ndarray],
    values: np.ndarray,
    labels: Sequence[str],
    title: str,
    called: Names,
) -> None:
    """Draw values (*K, n) in ascending lags on ``place``.

    With one axis these are n curves, with several axes n images.
    """
    if len(lags) > 1:
        images(place, lags, values, labels, title)
        return
    axes = place.panel()
    axes.set_title(title)
    curves(axes, called.times(lags[0]), values, labels)
    lag_axis(axes, called)
