"""Pictures of a report, a solution and a comparison: bare matplotlib figures, no pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..comparison import Comparison
from ..identifiability.report import Identifiability
from ..inference.regularization import Regularization
from ..lag_choice import LagChoice
from ..solution import Solution
from .choice_figures import draw_lag_choice, draw_regularization
from .drawing import (
    BAD,
    COLOURS,
    GOOD,
    GREY,
    MAX_CURVES,
    MAX_MARKED,
    decades,
    draw_kernel,
    kernels,
    new_figure,
    series,
    whole,
)
from .report_figure import draw_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Rows, or points, of the first record for which prediction and y are shown.
MAX_ROWS, MAX_POINTS = 300, 5000


def plot(thing: Identifiability | Solution | Comparison | Regularization | LagChoice) -> Figure:
    """A matplotlib figure of what `identify`, `solve`, `compare` or `choose_lags` returned.

    - A report, of its worst group: the singular values of the column-scaled design matrix beside
      the tolerance that decides the rank and the band in which nothing is certain; the state of
      every tap, by lag and channel; the first null vectors, or where there are none the noise gain.
    - A solution: the kernel over lags with its 95 % band for white noise (2-D: an image, 3-D: its
      central slice, without one), prediction against y
      for the start of the first record (not after `load`), and the loss of an iteration.
    - A comparison: gap of the loss, kernel error, null part and time of every method, and their
      kernels over each other.
    - ``fit.regularization``: the score of every strength, that of the choice marked, and the
      effective degrees of freedom; of folds each one too.
    - A choice of lags: the score of every window, first against last lag, the choice marked.

    The figure needs no display: ``plot(fit).savefig("fit.png")``. A notebook shows it as it is.

    Raises:
        TypeError: anything else.
        ImportError: matplotlib is missing; ``pip install 'convsolve[plot]'`` brings it.
    """
    if isinstance(thing, Identifiability):
        return draw_report(thing)
    if isinstance(thing, Solution):
        return _solution(thing)
    if isinstance(thing, Comparison):
        return _comparison(thing)
    if isinstance(thing, Regularization):
        return draw_regularization(thing)
    if isinstance(thing, LagChoice):
        return draw_lag_choice(thing)
    raise TypeError(
        "plot takes what identify, solve, compare or choose_lags returned, or fit.regularization, "
        f"got {type(thing).__name__}"
    )


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
    reach = _reach(fit)
    name += "" if reach is None else f" with its 95 % band ({fit.noise.kind} noise)"
    curves = series(fit.kernel, fit.spec.groups, fit.names)
    draw_kernel(places[0], lags, *curves, name, fit.names, reach)
    if problem is not None:
        _draw_fit(places[1].subplots(), fit, problem)
    if fit.trace is not None:
        axes = places[-1].subplots()
        axes.plot(fit.trace.steps, fit.trace.losses, color=GOOD)
        axes.set(title="Loss", xlabel="step", ylabel="loss that is minimised")
        axes.set_yscale("log" if (fit.trace.losses > 0).any() else "linear")
    return figure


def _reach(fit: Solution) -> np.ndarray | None:
    """Of the band about every curve, (points, n); None where there is none, or no curves."""
    if fit.spec.ndim > 1 or fit.affordable_errors() is None:
        return None
    lower, upper = fit.confidence_band()
    reach = series((upper - lower) / 2, fit.spec.groups, fit.names)[0]
    drawn = reach.shape[1] <= MAX_CURVES and np.isfinite(reach).any()
    return np.where(np.isfinite(reach), reach, np.nan) if drawn else None


def _draw_fit(axes: Axes, fit: Solution, problem: Any) -> None:
    """Prediction and y of the first record, output 0: over rows; beyond 1-D against each other."""
    first = problem.kept.used[0]
    found, rows = fit.predict(), problem.rows
    if problem.input.form != "record":
        found = found[first]
    rows = rows[first] if problem.input.form == "list" else rows
    y = np.asarray(problem.y[first])[..., 0]
    prediction = np.asarray(found).reshape(*y.shape, -1)[..., 0]
    which = f", record {first}" if len(problem.y) > 1 else ""
    which += f", {problem.names.output(0)}" if problem.out_channels > 1 else ""
    if problem.spec.ndim > 1:
        y, prediction = (a.ravel()[:MAX_POINTS] for a in (y, prediction))
        ends = [float(y.min()), float(y.max())]
        axes.plot(ends, ends, color=GREY, linewidth=1, label="equal")
        axes.plot(y, prediction, ".", color=GOOD, markersize=4, label="a row")
        axes.set(title="Prediction against y" + which, xlabel="y", ylabel="prediction")
    else:
        rows, y, prediction = rows[:MAX_ROWS], y[:MAX_ROWS], prediction[:MAX_ROWS]
        marked = len(rows) <= MAX_MARKED
        at = rows if problem.names.fs is None else rows / problem.names.fs
        axes.plot(at, y, "o" if marked else "-", color="0.7", linewidth=3, label="y")
        axes.plot(at, prediction, color=GOOD, linewidth=1.2, label="prediction")
        axes.plot(at, y - prediction, color=BAD, linewidth=0.9, label="residual")
        time = "row of y (samples)" if problem.names.fs is None else "time (s)"
        axes.set(title="Prediction and y" + which, xlabel=time, ylabel="unit of y")
        if problem.names.fs is None:
            whole(axes.xaxis)
    axes.legend(fontsize="small")


def _comparison(table: Comparison) -> Figure:
    report, rows = table.identifiability, table.rows
    bars = [("gap", "Loss above the best closed form", table.objective.words)]
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
    decades(axes.xaxis, min(spent, default=1e-3), max(spent, default=1e-3))
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
    decades(axes.xaxis, floor, high * (high / floor) ** 0.5)
