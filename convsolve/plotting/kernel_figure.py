"""Pictures of a kernel: curves with bands, a grid of panels, or images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..identifiability.report import Identifiability
from ..parts import gathered
from ..problem.checks import integer
from ..solution import Solution
from ..text import count, some
from .drawing import (
    GREY,
    MAX_CURVES,
    MAX_LABELS,
    MAX_LETTERS,
    MAX_MARKED,
    Place,
    absent,
    alone,
    bar,
    drawable,
    hollow,
    image,
    images,
    lag_axis,
    legend,
    lines,
    many_colours,
    shared_legend,
    shown_band,
    signed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES, IMAGE, GRID = KINDS = ("lines", "image", "grid")
# Channels and outputs whose every curve has a panel of its own, unless it is said otherwise.
FEW = 4
# Panels that are shown at most, and of them side by side.
MAX_PANELS, MAX_SIDE, MAX_GRID_SIDE = 16, 4, 8
# Letters of a name in a title of a small panel, and of a line of the title.
PANEL_LETTERS, PANEL_LINE = 16, 26

Pair = tuple[int, int]


class Panel(NamedTuple):
    """Curves of some channels and outputs that share one axes.

    Rows of an image have the label ``rows`` together.
    """

    title: str
    pairs: list[Pair]
    labels: list[str]
    rows: str = ""


class Layout(NamedTuple):
    """Rows of panels, the curves in each, and a note about those that are left out.

    ``title`` and ``unit`` describe the values.
    """

    kind: str
    rows: list[list[Panel]]
    note: str = ""
    title: str = "Impulse response"
    unit: str = "weight"

    @property
    def crowded(self) -> bool:
        """Whether a panel has too many lines to distinguish."""
        sizes = [len(panel.pairs) for row in self.rows for panel in row]
        return self.kind == LINES and max(sizes) > MAX_CURVES

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        across, down = max(map(len, self.rows)), len(self.rows)
        if across == down == 1:
            panel = self.rows[0][0]
            tall = 0.16 * len(panel.pairs) if self.kind == IMAGE else 0.0
            return 5.6, min(max(4.2, 1.6 + tall), 9.0)
        return 1.0 + max(2.3 * across, 4.6), 1.0 + max(1.7 * down, 3.2)


def pairs_of(fit: Solution, channels: Any = None, outputs: Any = None) -> list[Pair]:
    """Return the pairs of channel and output to draw, of the same group; all by default.

    Raises:
        TypeError, ValueError: If a channel or output does not exist, or if no pair is of one group.
    """
    each, n_outputs = fit.kernel.shape[-2:]
    groups, names = fit._spec.groups, fit._names
    some_channels = _numbers(names, "channel", channels, each * groups)
    some_outputs = _numbers(names, "output", outputs, n_outputs)
    per_group = n_outputs // groups
    found = [(c, o) for c in some_channels for o in some_outputs if o // per_group == c // each]
    if not found:
        raise ValueError("these channels and outputs belong to different groups")
    return found


def _numbers(names: Any, kind: str, given: Any, size: int) -> list[int]:
    if given is None:
        return [*range(size)]
    listed = [given] if isinstance(given, str) or np.ndim(given) == 0 else [*given]
    if not listed:
        raise ValueError(f"{kind}s is empty")
    return [
        *dict.fromkeys(integer(names.number(kind, one), f"{kind}s", 0, size - 1) for one in listed)
    ]


def layout(fit: Solution, pairs: Sequence[Pair], kind: str | None) -> Layout:
    """Return the panels. By default, the kind depends on the number of curves.

    Raises:
        ValueError: If lines or a grid are requested for a kernel with several axes.
    """
    if fit._spec.ndim > 1:
        if kind not in (None, IMAGE):
            raise ValueError(f"kind={kind!r} draws one axis; of kernels of several use 'image'")
        return Layout(IMAGE, [[Panel("", [*pairs], pair_labels(fit, pairs))]])
    by_channel, by_output = _grouped(pairs, 0), _grouped(pairs, 1)
    if kind is None:
        few = len(pairs) <= MAX_CURVES
        kind = LINES if few else GRID if max(len(by_channel), len(by_output)) <= FEW else IMAGE
    if kind == GRID:
        return _grid(fit, [*by_output.values()])
    if kind == LINES and len(pairs) <= MAX_CURVES:
        return Layout(kind, [[Panel("", [*pairs], pair_labels(fit, pairs))]])
    # A panel for each channel, or each output, whichever are fewer.
    groups, own = (by_output, 1) if len(by_output) < len(by_channel) else (by_channel, 0)
    return Layout(kind, *_panels(fit, groups, own, kind == IMAGE))


def _grouped(pairs: Sequence[Pair], own: int) -> dict[int, list[Pair]]:
    """Return pairs by channel (own 0) or by output (own 1)."""
    found: dict[int, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair[own], []).append(pair)
    return found


def _grid(fit: Solution, by_output: Sequence[Sequence[Pair]]) -> Layout:
    """Return a row for each output, with a panel for each of its channels."""
    across = max(map(len, by_output))
    shown = [row[:MAX_GRID_SIDE] for row in by_output[:MAX_GRID_SIDE]]
    rows = [
        [
            Panel(title, [pair], [""])
            for title, pair in zip(pair_labels(fit, row, PANEL_LETTERS), row, strict=True)
        ]
        for row in shown
    ]
    notes = (
        _note(len(rows), len(by_output), "output"),
        _note(min(across, MAX_GRID_SIDE), across, "channel"),
    )
    note = ", ".join(filter(None, notes))
    return Layout(GRID, rows, note + " shown" * bool(note))


def _panels(
    fit: Solution, groups: dict[int, list[Pair]], own: int, images: bool
) -> tuple[Any, str]:
    """Return rows of panels, one for each channel (own 0) or output (own 1), and a note."""
    names = drawable(fit._names, PANEL_LETTERS)
    called = [names.channel, names.output]
    inner = (lambda i: names.name(("output", "channel")[own], i)) if images else called[1 - own]
    alone = (fit.kernel.shape[-2] * fit._spec.groups, fit.kernel.shape[-1])[own] == 1
    panels = [
        Panel(
            "" if alone else called[own](i),
            pairs,
            [inner(pair[1 - own]) for pair in pairs],
            ("output", "channel")[own],
        )
        for i, pairs in islice(groups.items(), MAX_PANELS)
    ]
    across = min(MAX_SIDE, len(panels))
    rows = [panels[i : i + across] for i in range(0, len(panels), across)]
    note = _note(len(panels), len(groups), ("channel", "output")[own])
    return rows, note + " shown" * bool(note)


def _note(some: int, all_of_them: int, word: str) -> str:
    if some == all_of_them:
        return ""
    return f"{some} of {count(all_of_them, word)}"


def pair_labels(fit: Solution, pairs: Sequence[Pair], letters: int = MAX_LETTERS) -> list[str]:
    """Return the names of channel and output of each pair, if there are several."""
    called, found = drawable(fit._names, letters), []
    for c, o in pairs:
        names = [called.channel(c)] if fit.kernel.shape[-2] * fit._spec.groups > 1 else []
        names += [called.output(o)] if fit.kernel.shape[-1] > 1 else []
        found.append(" → ".join(names))
    return found


class Drawn(NamedTuple):
    """A panel on its axes: values (points, n), and the half width of the band.

    Values are masked where the data do not determine them.
    """

    axes: Axes
    panel: Panel
    values: np.ma.MaskedArray[Any, Any]
    reach: np.ndarray | None


def not_unique(report: Identifiability) -> str:
    """Return a title if the data do not determine the kernel, or else an empty text."""
    if report.unique:
        return ""
    word = "Ambiguous" if report.verdict == "ambiguous" else "Not unique"
    group = f", group {report._diagnosis.worst_group}" * (report.problem.spec.groups > 1)
    return f"{word}: rank {report.rank} of {report.n_unknowns}{group}"


def doubts(fit: Solution) -> str:
    """Return a title if a fit is not unique or not converged, or else an empty text."""
    found = []
    if not fit.converged:
        approximate = fit.status == "approximate"
        found.append("Approximate solution" if approximate else f"Not converged: {fit.status}")
    if fit.stats.get("unique") is False:
        report = fit.identifiability
        found.append("Not unique" if report is None else not_unique(report))
    return "\n".join(filter(None, found))


def draw_kernel_of(place: Place, fit: Solution, wanted: Layout, doubt: str = "") -> None:
    """Draw the kernel of a fit on ``place``, with ``doubt`` in the headline."""
    lags = [axis[::-1] for axis in fit._tap_lags]
    if fit._spec.ndim > 1:
        panel = wanted.rows[0][0]
        title = "\n".join(filter(None, [doubt, wanted.title]))
        images(place, lags, weights_of(fit, panel.pairs), panel.labels, title, wanted.unit)
        return
    band = _band(fit, wanted)
    # Images of groups have other names in every panel.
    shared = False if wanted.kind == IMAGE else "row"
    grid = place.panels([*map(len, wanted.rows)], sharex=True, sharey=shared)
    drawn = []
    for places, row in zip(grid, wanted.rows, strict=True):
        for axes, panel in zip(places, row, strict=True):
            reach = None if band is None else curves_of(fit, band, panel.pairs)
            drawn.append(Drawn(axes, panel, weights_of(fit, panel.pairs), reach))
    at = fit._names.times(lags[0])
    if wanted.kind == IMAGE:
        _draw_images(at, drawn, wanted.unit)
    else:
        _draw_lines(at, drawn)
    if len(drawn) == 1:
        legend(drawn[0].axes)
    else:
        shared_legend(place, [one.axes for one in drawn])
    _label_edges(grid, wanted, fit, every=place.given)
    title = wanted.title
    if band is not None:
        kind = "posterior" if fit._penalized else "confidence"
        title += f", 95 % {kind} band"
    elif wanted.crowded and fit._affordable_errors() is not None:
        title += ", too many curves for bands"
    if len(drawn) == 1:
        drawn[0].axes.set_title("\n".join(filter(None, [doubt if place.given else "", title])))
        place.title(doubt, fontsize="large")
        return
    place.title("\n".join(filter(None, [doubt, title, wanted.note])), fontsize="medium")
    for axes, panel, *_ in drawn:
        long = len(panel.title) > PANEL_LINE
        title = panel.title.replace(" → ", "\n→ ") if long else panel.title
        axes.set_title(title, fontsize="small")


def undetermined(fit: Solution) -> np.ndarray:
    """Return flags of the taps that the data do not determine, kernel-shaped.

    None is flagged if a penalty makes the kernel unique, or if nothing is known of single taps.
    """
    report, known = fit.identifiability, np.ones(fit.kernel.shape, bool)
    if fit.stats.get("unique") is False:
        if fit._by_mask != [fit]:
            return np.asarray(gathered(fit._parts, undetermined))
        if report is not None and report._diagnosis.decided:
            known = report._diagnosis._identifiable
        elif fit._saved_errors is not None:
            known = np.isfinite(fit._saved_errors[0])
    return ~known


def weights_of(fit: Solution, pairs: Sequence[Pair]) -> np.ma.MaskedArray[Any, Any]:
    """Return weights of some pairs as `curves_of`, masked where the data do not determine them.

    They are NaN at lags outside the window of a channel.
    """
    kernel, unknown = np.asarray(fit.kernel, float), undetermined(fit)
    if fit._space is not None:
        modelled = np.broadcast_to(fit._space.kept[..., None], kernel.shape)
        kernel, unknown = np.where(modelled, kernel, np.nan), unknown & modelled
    return np.ma.array(curves_of(fit, kernel, pairs), mask=curves_of(fit, unknown, pairs))


def curves_of(fit: Solution, values: np.ndarray, pairs: Sequence[Pair]) -> np.ndarray:
    """Return kernel-shaped values of some pairs, (*K, pairs), in ascending order of lags."""
    each = fit.kernel.shape[-2]
    flipped = values[(slice(None, None, -1),) * fit._spec.ndim]
    return np.stack([flipped[..., c % each, o] for c, o in pairs], axis=-1)


def _band(fit: Solution, wanted: Layout) -> np.ndarray | None:
    """Return the half width of the band at every tap, kernel-shaped.

    None for images, and for many lines, which have no bands.
    """
    if wanted.kind == IMAGE or wanted.crowded or fit._affordable_errors() is None:
        return None
    reach = fit._reach(0.95)
    return np.where(np.isfinite(reach), reach, np.nan) if np.isfinite(reach).any() else None


def _draw_images(at: np.ndarray, drawn: Sequence[Drawn], unit: str) -> None:
    """Draw the curves of every panel as an image, with one colour scale."""
    style = signed(np.concatenate([one.values.data for one in drawn], axis=1))
    most = MAX_LABELS if len(drawn) <= MAX_SIDE else MAX_LABELS // 2
    for i, (axes, panel, values, _) in enumerate(drawn):
        rows = np.arange(len(panel.labels))
        mesh = image(axes, at, rows, values.T, **style)
        absent(axes, at, rows, values.T)
        step = -(-len(panel.labels) // most)
        # Labels are omitted if the panel to the left has the same labels.
        again = i % MAX_SIDE > 0 and panel.labels == drawn[i - 1].panel.labels
        names = ["" if again else label for label in panel.labels[::step]]
        axes.set_yticks(range(0, len(panel.labels), step), names)
    bar(mesh, [one.axes for one in drawn], unit)


def _draw_lines(at: np.ndarray, drawn: Sequence[Drawn]) -> None:
    """Draw the curves of every panel, with one scale of the weights."""
    labels = _joint_labels([one.panel for one in drawn])
    for axes, panel, values, reach in drawn:
        axes.axhline(0, color=GREY, linewidth=0.8)
        if reach is not None:
            shown_band(axes, at, values.data, reach)
        if len(panel.pairs) <= MAX_CURVES:
            # In a small panel markers hide the band.
            marked = MAX_MARKED if len(drawn) == 1 else MAX_MARKED // 4
            lines(axes, at, values, labels, marked)
        else:
            _draw_many(axes, at, values, labels)
    ends = [
        (v.data, np.zeros(1) if reach is None else np.nan_to_num(reach)) for *_, v, reach in drawn
    ]
    low = min(0.0, *(float(np.nanmin(v - reach)) for v, reach in ends))
    high = max(0.0, *(float(np.nanmax(v + reach)) for v, reach in ends))
    room = 0.05 * (high - low) or 1.0
    for one in drawn:
        one.axes.set_ylim(low - room, high + room)


def _joint_labels(panels: Sequence[Panel]) -> list[str]:
    """Return a label for every colour. Panels of groups have different curves of one colour."""
    columns = zip_longest(*(panel.labels for panel in panels))
    several = [[word for word in dict.fromkeys(column) if word] for column in columns]
    return [some(words, 3) for words in several]


def _draw_many(
    axes: Axes, at: np.ndarray, values: np.ma.MaskedArray[Any, Any], labels: Sequence[str]
) -> None:
    """Draw many curves, whose colours show their order."""
    last, several = values.shape[1] - 1, many_colours(values.shape[1])
    ends = {0: labels[0], last: f"to {labels[last]}"}
    for i, (curve, colour) in enumerate(zip(values.data.T, several, strict=True)):
        one = alone(curve)
        style: dict[str, Any] = {"marker": ".", "markevery": one} if one.any() else {}
        axes.plot(at, curve, color=colour, linewidth=0.7, label=ends.get(i), **style)
    hollow(axes, at, values, several, ["o"] * len(several), 3)


def _label_edges(
    grid: Sequence[Sequence[Axes]], wanted: Layout, fit: Solution, every: bool
) -> None:
    """Label the axes along the left and the lower edge, or every one."""
    for r, row in enumerate(wanted.rows):
        for c, panel in enumerate(row):
            axes = grid[r][c]
            if c == 0 or every:
                axes.set_ylabel(panel.rows if wanted.kind == IMAGE else wanted.unit)
            if r + 1 == len(wanted.rows) or c >= len(wanted.rows[r + 1]) or every:
                lag_axis(axes, fit._names)
                axes.tick_params(labelbottom=True)
