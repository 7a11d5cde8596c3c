"""The picture of a comparison: loss, error, time and kernel of every method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..comparison import Comparison
from .drawing import (
    GOOD,
    GREY,
    HUES,
    MARKERS,
    MAX_CURVES,
    MAX_MARKED,
    Picture,
    Place,
    decades,
    hollow,
    lag_axis,
    legend,
    many_colours,
    shared_legend,
    whole,
)
from .kernel_figure import PANEL_LETTERS, not_unique, pair_labels, pairs_of, weights_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = ("-", "--", ":")


def draw_comparison(table: Comparison) -> Picture:
    """Draw the losses, errors and times of all methods, and their kernels in one panel."""
    report, rows = table.identifiability, table.rows
    bars = [("excess_loss", "Excess loss", f"{table._loss.title} minus its minimum")]
    if any(row["kernel_error"] is not None for row in rows):
        bars.append(("kernel_error", "Kernel error", "‖w − truth‖ / ‖truth‖"))
    if not report.unique and any(row["null_component"] is not None for row in rows):
        bars.append(("null_component", "Undetermined component", "norm"))
    pairs = report.problem.kernel_shape[-2] * report.problem.kernel_shape[-1]

    def draw(place: Place) -> None:
        if report._diagnosis.decided:
            place.title(not_unique(report), fontsize="large")
        upper, lower = place.parts(2, 1, height_ratios=(2 + 0.35 * len(rows), 3))
        _draw_numbers(upper.panels([len(bars) + 1], sharey=True)[0], rows, bars)
        places = lower.panels([min(3, pairs)])[0]
        draw_kernels(places, table)
        shared_legend(lower, places)
        lower.title("Impulse responses" + (f", 3 of {pairs} shown" if pairs > 3 else ""))

    return Picture((3.4 * (len(bars) + 1) + 1, 4.4 + 0.4 * len(rows)), draw)


def _draw_numbers(
    panels: Sequence[Axes], rows: Sequence[dict[str, Any]], bars: Sequence[tuple[str, str, str]]
) -> None:
    """Draw bars, one panel per number, and the times in the last panel."""
    at = np.arange(len(rows))
    for axes, (key, title, label) in zip(panels, bars, strict=False):
        _draw_bars(axes, at, np.array([row[key] for row in rows], float))
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel(label)
    axes = panels[-1]
    for key, marker, color, label in (
        ("run_seconds", "o", GOOD, "run"),
        ("compile_seconds", "D", HUES[4], "compile"),
    ):
        seconds = np.array([row[key] for row in rows], float)
        done = seconds > 0
        # A marker at the end of the axis is whole, and above the frame.
        style: dict[str, Any] = {"color": color, "clip_on": False, "zorder": 3}
        if done.any():
            axes.plot(seconds[done], at[done], marker, label=label, **style)
    spent = [s for row in rows for s in (row["run_seconds"], row["compile_seconds"]) if s > 0]
    decades(axes.xaxis, min(spent, default=1e-3), max(spent, default=1e-3))
    axes.set_title("Run time", fontsize="medium")
    axes.set_xlabel("seconds")
    legend(axes)
    axes.grid(axis="y", color=GREY, alpha=0.3)
    for axes in panels:
        axes.set_yticks(at, [row["method"] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)


def draw_kernels(panels: Sequence[Axes], table: Comparison) -> None:
    """Draw the kernels of all methods, one channel and output in each of ``panels``."""
    problem = table.identifiability.problem
    line = problem.spec.ndim == 1
    methods = len(table.solutions)
    hues = many_colours(methods)
    for m, (name, fit) in enumerate(table.solutions.items()):
        pairs = pairs_of(fit)[: len(panels)]
        values = weights_of(fit, pairs).reshape(-1, len(pairs))
        at = problem._names.times(problem._lags[0][::-1]) if line else np.arange(len(values))
        marker = MARKERS[m % len(MARKERS)]
        style: dict[str, Any] = {"linewidth": 1.2, "linestyle": LINES[m // MAX_CURVES % len(LINES)]}
        if len(at) <= MAX_MARKED:
            # Set side by side, equal taps do not hide each other.
            gap = at[1] - at[0] if len(at) > 1 else 1
            at = at + (m - (methods - 1) / 2) * min(0.12, 0.6 / methods) * gap
            style = {"marker": marker, "linestyle": "none", "markersize": 6}
        labels = pair_labels(fit, pairs, PANEL_LETTERS)
        for axes, column, label in zip(panels, values.T, labels, strict=False):
            axes.plot(at, column.data, color=hues[m], label=name, **style)
            hollow(
                axes, at, column[:, None], [hues[m]], [marker], 6 if len(at) <= MAX_MARKED else 3
            )
            axes.set_title((label or "Impulse response").replace(" → ", "\n→ "), fontsize="small")
    for axes in panels:
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        if line:
            lag_axis(axes, problem._names)
        else:
            axes.set_xlabel("tap, in ascending lag order")
            whole(axes.xaxis)
    panels[0].set_ylabel("weight")


def _draw_bars(axes: Axes, at: np.ndarray, values: np.ndarray) -> None:
    """Draw bars with numbers on a log axis. Zeros, and numbers that are rounding, have no bar."""
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
    decades(axes.xaxis, floor, high * (high / floor) ** 0.5)
