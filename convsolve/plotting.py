"""Pictures of a report, a solution and a comparison: bare matplotlib figures, no pyplot."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .comparison import Comparison
from .identifiability import Identifiability
from .prepared import prepare
from .records import count
from .solution import Solution
from .system import System

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind can tell apart; the markers say it once more.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
GOOD, BAD, GREY = COLOURS[0], COLOURS[1], "0.6"
# More curves, or more marked points on one, cannot be told apart.
MAX_CURVES, MAX_MARKED = len(COLOURS), 40
# Prediction and y are shown for so many rows, or points, of the first record.
MAX_ROWS, MAX_POINTS = 300, 5000


def plot(thing: Identifiability | Solution | Comparison) -> Figure:
    """A matplotlib figure of what `identify`, `solve` or `compare` returned.

    - A report: the singular values of the column-scaled design matrix (the worst group's) beside
      the tolerance that decides the rank, the taps that are determined, the first null vectors.
    - A solution: the kernel over lags (2-D: an image, 3-D: its central slice), prediction against y
      for the start of the first record (not after `load`), and the loss of an iteration.
    - A comparison: gap of the loss, kernel error, null part and time of every method, and their
      kernels over each other.

    The figure needs no display: ``plot(fit).savefig("fit.png")``. A notebook shows it as it is.

    Raises:
        TypeError: anything else.
        ImportError: matplotlib is missing; ``pip install 'convsolve[plot]'`` brings it.
    """
    if isinstance(thing, Identifiability):
        return _report(thing)
    if isinstance(thing, Solution):
        return _solution(thing)
    if isinstance(thing, Comparison):
        return _comparison(thing)
    raise TypeError(
        f"plot takes what identify, solve or compare returned, got {type(thing).__name__}"
    )


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that lays itself out and shows itself in a notebook."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("a picture needs matplotlib: pip install 'convsolve[plot]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    # Unless pyplot is imported, a notebook knows of no other way to show a figure.
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def series(kernel: Any, groups: int = 1, first: int = 0) -> tuple[np.ndarray, list[str]]:
    """Kernel ``(*K, Cg, Cout)`` as ``(*K, n)`` in ascending lag order, and n labels.

    There is one for each channel and output; ``first`` is the number of the first channel.
    """
    kernel = np.asarray(kernel, float)
    d = kernel.ndim - 2
    per_group, outputs = kernel.shape[d:]
    labels = []
    for c in range(per_group):
        for o in range(outputs):
            channel = first + o * groups // outputs * per_group + c
            names = [f"channel {channel}"] if per_group * groups > 1 else []
            names += [f"output {o}"] if outputs > 1 else []
            labels.append(" → ".join(names))
    flipped = kernel[(slice(None, None, -1),) * d]
    return flipped.reshape(*kernel.shape[:d], -1), labels


def curves(axes: Axes, at: np.ndarray, values: np.ndarray, labels: Sequence[str]) -> None:
    """Draw ``values`` (points, n) over ``at``: n curves, or an image if n is large."""
    if values.shape[1] > MAX_CURVES:
        mesh = _image(axes, at, np.arange(len(labels)), values.T)
        step = -(-len(labels) // 12)
        axes.set_yticks(range(0, len(labels), step), list(labels)[::step])
        axes.figure.colorbar(mesh, ax=axes, label="weight")
        return
    axes.axhline(0, color=GREY, linewidth=0.8)
    for i, label in enumerate(labels):
        marker = MARKERS[i] if len(at) <= MAX_MARKED else ""
        axes.plot(
            at, values[:, i], color=COLOURS[i], marker=marker, markersize=5, label=label or None
        )
    axes.set_ylabel("weight")
    if any(labels):
        axes.legend(fontsize="small")


def kernels(panels: Sequence[Axes], table: Comparison) -> None:
    """Draw the kernels of all methods, one channel and output in each of ``panels``."""
    problem = table.identifiability.problem
    line = problem.spec.ndim == 1
    methods = len(table.solutions)
    for m, (name, fit) in enumerate(table.solutions.items()):
        values, labels = series(fit.kernel, problem.spec.groups)
        values = values.reshape(-1, values.shape[-1])
        at = problem.lags[0][::-1] if line else np.arange(len(values))
        style: dict[str, Any] = {"linewidth": 1.2}
        if len(at) <= MAX_MARKED:
            # Set side by side, equal taps do not hide each other.
            gap = at[1] - at[0] if len(at) > 1 else 1
            at = at + (m - (methods - 1) / 2) * min(0.12, 0.6 / methods) * gap
            style = {"marker": MARKERS[m % len(MARKERS)], "linestyle": "none", "markersize": 6}
        for axes, column, label in zip(panels, values.T, labels, strict=False):
            axes.plot(at, column, color=COLOURS[m % len(COLOURS)], label=name, **style)
            axes.set_title(label or "kernel", fontsize="medium")
    for axes in panels:
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        axes.set_xlabel("lag (samples)" if line else "tap, in ascending lag order")
        _whole(axes.xaxis)
    panels[0].set_ylabel("weight")


def _whole(axis: Any) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def _decades(axis: Any, low: float, high: float) -> None:
    """A log axis over whole decades, at least from ``low`` to ``high``."""
    from matplotlib.ticker import NullFormatter

    ends = 10.0 ** np.floor(np.log10(low)), 10.0 ** np.ceil(np.log10(high))
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": ends})
    axis.set_minor_formatter(NullFormatter())


def _edges(at: np.ndarray) -> np.ndarray:
    """Borders of cells whose centres are equally spaced."""
    step = at[1] - at[0] if len(at) > 1 else 1
    return np.append(at - step / 2, at[-1] + step / 2)


def _image(
    axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, limit: float | None = None
) -> Any:
    """Signed ``values`` (y, x) in colours that are symmetric about zero, the first row on top."""
    limit = limit or float(np.abs(values).max()) or 1.0
    mesh = axes.pcolormesh(_edges(x), _edges(y), values, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_ylim(_edges(y)[-1], _edges(y)[0])
    return mesh


def _draw_kernel(
    place: Any, lags: Sequence[np.ndarray], values: np.ndarray, labels: list[str], title: str
) -> None:
    """What `series` gives on ``place``, a subfigure: curves in one dimension, images beyond."""
    if len(lags) == 1:
        axes = place.subplots()
        axes.set(title=title, xlabel="lag (samples)")
        curves(axes, lags[0], values, labels)
        _whole(axes.xaxis)
        return
    if len(lags) == 3:
        middle = len(lags[0]) // 2
        values, title = values[middle], f"{title}, slice at lag {lags[0][middle]} of the first axis"
    shown = min(4, len(labels))
    title += f", {shown} of {len(labels)}" if shown < len(labels) else ""
    columns = 1 if shown == 1 else 2
    grid = place.subplots(-(-shown // columns), columns, squeeze=False, sharex=True, sharey=True)
    limit = float(np.abs(values[..., :shown]).max())
    for i, axes in enumerate(grid.flat[:shown]):
        mesh = _image(axes, lags[-1], lags[-2], values[..., i], limit)
        axes.set_aspect("equal")
        axes.set_title(labels[i], fontsize="small")
        _whole(axes.xaxis)
        _whole(axes.yaxis)
    for axes in grid.flat[shown:]:
        axes.set_visible(False)
    place.colorbar(mesh, ax=grid, label="weight")
    place.supxlabel("lag, last axis", fontsize="medium")
    place.supylabel("lag, axis before", fontsize="medium")
    place.suptitle(title)


def _report(report: Identifiability) -> Figure:
    problem, group = report.problem, report.worst_group
    title = f"{report.verdict}: {count(report.n_equations, 'equation')}, "
    title += count(report.n_unknowns, "unknown")
    if report.verdict == "undecided":
        figure = new_figure(9, 2.4)
        figure.suptitle(title, fontsize="large")
        figure.text(0.5, 0.45, "\n".join(report.remedies), ha="center", va="center", wrap=True)
        return figure
    condition = "infinite" if np.isinf(report.condition) else f"{report.condition:.3g}"
    title += f", rank {report.rank}, condition {condition}"
    if problem.spec.groups > 1:
        title += f" (group {group}, the worst of {problem.spec.groups})"
    null = report.null_space[group]
    shown = min(3 if problem.spec.ndim == 1 else 2, len(null))
    figure = new_figure(10, 7.5 if shown else 4.2)
    figure.suptitle(title, fontsize="large")
    rows = figure.subfigures(2 if shown else 1, 1, squeeze=False)[:, 0]
    spectrum, mask = rows[0].subplots(1, 2)
    _draw_spectrum(spectrum, report)
    _draw_mask(mask, report)
    if shown:
        lags = [axis[::-1] for axis in problem.lags]
        places = rows[1].subfigures(1, shown, squeeze=False)[0]
        for i, place in enumerate(places):
            drawn = series(null[i][..., None], first=group * null.shape[-1])
            _draw_kernel(place, lags, *drawn, f"Null vector {i + 1} of {len(null)}")
    return figure


def _draw_spectrum(axes: Axes, report: Identifiability) -> None:
    """Singular values of the column-scaled A, one a column, beside the tolerance."""
    factor = System(prepare(report.problem)).factor(report.worst_group)
    assert factor is not None
    band, found = factor.band, factor.singular_values
    values = np.zeros(band.columns)
    values[: len(found)] = found
    # Zeros, and what is as good as zero, lie at the bottom of a log axis.
    floor = band.low * 1e-3 or 1.0
    at = np.arange(1, len(values) + 1)
    for chosen, marker, color, label in (
        (values > band.tolerance, "o", GOOD, "counts towards the rank"),
        (values <= band.tolerance, "s", BAD, "counts as zero"),
    ):
        if chosen.any():
            axes.plot(
                at[chosen], np.maximum(values[chosen], floor), marker, color=color, label=label,
                markersize=6 if len(at) <= 2 * MAX_MARKED else 3,
            )  # fmt: skip
    if band.tolerance > 0:
        axes.axhspan(band.low, band.high, color="0.85", label="too close to call")
        axes.axhline(band.tolerance, color="black", linewidth=1.2, label="tolerance")
    axes.set_yscale("log")
    axes.set(title="Singular values, columns scaled", xlabel="number", ylabel="singular value")
    _whole(axes.xaxis)
    axes.legend(fontsize="small")


def _draw_mask(axes: Axes, report: Identifiability) -> None:
    """Which taps are determined, by lag and channel; an image of one channel by its two lags."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    problem, d = report.problem, report.problem.spec.ndim
    mask = report.identifiable
    mask = mask[..., :: mask.shape[-1] // problem.spec.groups]
    # From (*K, Cg, groups), in kernel order, to (*K, channels), in ascending lag order.
    mask = np.moveaxis(mask, -1, -2).reshape(*mask.shape[:d], -1)[(slice(None, None, -1),) * d]
    lags = [axis[::-1] for axis in problem.lags]
    if d == 2 and mask.shape[-1] == 1:
        x, y, shown = lags[1], lags[0], mask[..., 0]
        axes.set(xlabel="lag, last axis", ylabel="lag, axis before", aspect="equal")
    else:
        shown = mask.reshape(-1, mask.shape[-1]).T
        x, y = lags[0] if d == 1 else np.arange(shown.shape[1]), np.arange(len(shown))
        axes.set_xlabel("lag (samples)" if d == 1 else "tap, in ascending lag order")
        axes.set_ylabel("channel")
    doubt = " (ambiguous)" * report.mask_ambiguous
    axes.set_title(f"{int(mask.sum())} of {mask.size} taps identifiable{doubt}")
    axes.pcolormesh(
        _edges(x), _edges(y), shown, vmin=0, vmax=1, cmap=ListedColormap([BAD, GOOD]),
        edgecolors="white" if shown.size <= 400 else "none", linewidth=0.5,
    )  # fmt: skip
    axes.set_ylim(_edges(y)[-1], _edges(y)[0])
    _whole(axes.xaxis)
    _whole(axes.yaxis)
    keys = [Patch(color=GOOD, label="identifiable"), Patch(color=BAD, label="not identifiable")]
    axes.figure.legend(handles=keys, loc="outside lower right", ncols=2, fontsize="small")


def _solution(fit: Solution) -> Figure:
    problem = None if fit.identifiability is None else fit.identifiability.problem
    panels = 1 + (problem is not None) + (fit.trace is not None)
    figure = new_figure(4.6 * panels + 1, 4.2)
    title = f"{fit.stats['solver']}: {fit.status}"
    if fit.identifiability is not None:
        title += f"; the data: {fit.identifiability.verdict}"
    figure.suptitle(title, fontsize="large")
    places = figure.subfigures(1, panels, squeeze=False)[0]
    lags = [axis[::-1] for axis in fit.tap_lags]
    name = "Impulse response" if fit.spec.ndim == 1 else "Kernel"
    _draw_kernel(places[0], lags, *series(fit.kernel, fit.spec.groups), name)
    if problem is not None:
        _draw_fit(places[1].subplots(), fit, problem)
    if fit.trace is not None:
        axes = places[-1].subplots()
        axes.plot(fit.trace.steps, fit.trace.losses, color=GOOD)
        axes.set(title="Loss", xlabel="step", ylabel="loss that is minimised")
        axes.set_yscale("log" if (fit.trace.losses > 0).any() else "linear")
    return figure


def _draw_fit(axes: Axes, fit: Solution, problem: Any) -> None:
    """Prediction and y of the first record, output 0: over rows; beyond 1-D against each other."""
    first = next(i for i, shape in enumerate(problem.row_shapes) if all(shape))
    found, rows = fit.predict(), problem.rows
    if problem.input.form != "record":
        found = found[first]
    rows = rows[first] if problem.input.form == "list" else rows
    y = problem.y[first][..., 0]
    prediction = np.asarray(found).reshape(*y.shape, -1)[..., 0]
    which = f", record {first}" if len(problem.y) > 1 else ""
    which += ", output 0" if problem.out_channels > 1 else ""
    if problem.spec.ndim > 1:
        y, prediction = (a.ravel()[:MAX_POINTS] for a in (y, prediction))
        ends = [float(y.min()), float(y.max())]
        axes.plot(ends, ends, color=GREY, linewidth=1, label="equal")
        axes.plot(y, prediction, ".", color=GOOD, markersize=4, label="a row")
        axes.set(title="Prediction against y" + which, xlabel="y", ylabel="prediction")
    else:
        rows, y, prediction = rows[:MAX_ROWS], y[:MAX_ROWS], prediction[:MAX_ROWS]
        marked = len(rows) <= MAX_MARKED
        axes.plot(rows, y, "o" if marked else "-", color="0.7", linewidth=3, label="y")
        axes.plot(rows, prediction, color=GOOD, linewidth=1.2, label="prediction")
        axes.plot(rows, y - prediction, color=BAD, linewidth=0.9, label="residual")
        axes.set(title="Prediction and y" + which, xlabel="row of y (samples)", ylabel="unit of y")
        _whole(axes.xaxis)
    axes.legend(fontsize="small")


def _comparison(table: Comparison) -> Figure:
    report, rows = table.identifiability, table.rows
    bars = [("gap", "Loss above the best closed form", "mean squared residual")]
    if any(row["kernel_error"] is not None for row in rows):
        bars.append(("kernel_error", "Kernel error", "‖w − truth‖ / ‖truth‖"))
    if not report.unique and any(row["null_part"] is not None for row in rows):
        bars.append(("null_part", "Part the data say nothing about", "norm of the null part"))
    figure = new_figure(3.4 * (len(bars) + 1) + 1, 4.2 + 0.35 * len(rows))
    figure.suptitle(f"Every method on one problem; the data: {report.verdict}", fontsize="large")
    halves: Any = figure.subfigures(2, 1, height_ratios=(2 + 0.35 * len(rows), 3))
    upper, lower = halves
    panels = upper.subplots(1, len(bars) + 1, sharey=True)
    at = np.arange(len(rows))
    for axes, (key, title, label) in zip(panels, bars, strict=False):
        _draw_bars(axes, at, np.array([row[key] for row in rows], float))
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel(label)
    axes = panels[-1]
    for key, marker, color, label in (
        ("run_seconds", "o", GOOD, "run"),
        ("compile_seconds", "D", COLOURS[4], "compile"),
    ):
        seconds = np.array([row[key] for row in rows], float)
        done = seconds > 0
        axes.plot(seconds[done], at[done], marker, color=color, label=label)
    spent = [s for row in rows for s in (row["run_seconds"], row["compile_seconds"]) if s > 0]
    _decades(axes.xaxis, min(spent, default=1e-3), max(spent, default=1e-3))
    axes.set_title("Time, shared work aside", fontsize="medium")
    axes.set_xlabel("seconds")
    axes.legend(fontsize="small")
    axes.grid(axis="y", color="0.9")
    panels[0].set_yticks(at, [row["method"] for row in rows])
    panels[0].invert_yaxis()
    pairs = report.problem.kernel_shape[-2] * report.problem.kernel_shape[-1]
    places = lower.subplots(1, min(3, pairs), squeeze=False)[0]
    kernels(places, table)
    places[-1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1.02, 0.5))
    lower.suptitle("Kernels" + (f", the first 3 of {pairs}" if pairs > 3 else ""))
    return figure


def _draw_bars(axes: Axes, at: np.ndarray, values: np.ndarray) -> None:
    """Bars on a log axis, each with its number; none where it is zero, or rounding to the rest."""
    drawn = np.isfinite(values) & (values > 0)
    high = values[drawn].max(initial=0.0) or 1.0
    drawn &= values > high * 1e-18
    floor = 10 ** np.floor(np.log10(values[drawn].min(initial=high) / 2))
    ends = np.where(drawn, values, floor)
    axes.barh(at[drawn], ends[drawn] - floor, left=floor, color=GOOD, height=0.6)
    for y, value, end in zip(at, values, ends, strict=True):
        axes.annotate(
            f"{value:.1e}" if value else "0", (end, y), xytext=(3, 0),
            textcoords="offset points", va="center", fontsize="small",
        )  # fmt: skip
    # Room for the numbers behind the bars.
    _decades(axes.xaxis, floor, high * (high / floor) ** 0.5)
