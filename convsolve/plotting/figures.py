"""Figures of problems and results: `plot` arranges panels, each a function that takes ``ax``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial, singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from ..comparison import Comparison
from ..identifiability.descent import DescentForecast
from ..identifiability.report import Identifiability
from ..inference.regularization import Regularization, of_some
from ..lag_choice import LagChoice
from ..problem.problem import Problem
from ..solution import Solution
from ..subjects import GroupSolution
from . import choices, data, descent, fit as fits, kernel as kernels, values
from .draw import MANY, TALL, Layout, Panels, panels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The panels of kind="residuals".
RESIDUALS = [["residual", "autocorrelation"], ["cross correlation", "quantiles"]]
# What is drawn as a kernel.
KERNELS = {"patterns": values.patterns_of, "step": values.step_of}
# Frequencies of a response, and decibels below the least magnitude at which a band is cut that
# contains zero.
POINTS, BELOW = 512, 20.0
# Pairs of channel and output of a group or comparison that are drawn at most.
PAIRS = 4
# Height in inches of a panel below a kernel.
LOW = 1.9


def plot(
    result: Any,
    kind: str | None = None,
    *,
    channels: Any = None,
    outputs: Any = None,
    ax: Any = None,
) -> Figure:
    """Draw a problem, or the result of `solve` or another function.

    All these objects also have a method ``plot``. A figure has one panel or several. ``kind``
    selects a panel by its name.

    - Problem: "spectrum", the power of x over frequency; "design", the columns of the design matrix
      with bias, drift and confounds, as an image of at most 2 000 rows.
    - Report: "taps", which taps the data determine, by lag and channel; "singular values", with the
      tolerance that decides the rank and the range in which the rank is ambiguous; and "hidden",
      the share of every tap that y does not show, or "noise gain" if the kernel is determined.
    - Forecast of descent: "descent", the ratio of excess loss to statistical error over the steps.
    - Solution: the kernel; below it "prediction" and "residual" unless the solution was loaded from
      a file; and "trace" for gradient descent.
    - Comparison: "descent by steps" and "descent by seconds", the ratio of excess loss to
      statistical error of every descent, with the times of closed forms; "excess loss", "kernel
      error", "run seconds", and the kernels of all methods.
    - ``fit.regularization``: "scores", the score of every strength and fold, with a mark at the
      choice; and "freedom", the effective degrees of freedom.
    - Choice of lags: "lag windows", the score of every window over its first and last lag.
    - Group of subjects: the kernel of the group with its band, and the kernels of all subjects.

    Args:
        result: the object to draw.
        kind: a panel by its name. None, the default, draws an overview. A solution also has

            - "kernel": in the form that suits the number of curves, or in a given form: "lines",
              curves in one panel, with 95 % bands; "grid", a panel for every channel and output;
              "image", with lags from left to right. Four curves with bands are a grid. Kernels of
              two axes are always images, and kernels of three axes their central slices;
            - "against": measured and predicted y row by row;
            - "residuals": "residual", "autocorrelation", "cross correlation" with x, which shows
              what the kernel misses, and "quantiles". With noise="ar", autocorrelation and
              quantiles are computed from the filtered residuals;
            - "scores": R² of every output;
            - "penalty": ``fit.regularization``;
            - "descent": the ratio of excess loss to statistical error of a gradient descent, over
              steps and over time;
            - "trace": the loss of every step of an iteration;
            - "patterns": `Solution.patterns` of a decoder;
            - "bode": magnitude and phase of `Solution.frequency_response`, with 95 % bands;
            - "step": `Solution.step_response`, with a 95 % band.

            Panels of one output show the output with the largest R². Taps that the data do not
            determine have hollow markers, or are hatched in images. Images are grey at taps that
            are not in the model.
        channels: channels of a solution to draw, by number or name, one or a list. None, the
            default, draws all.
        outputs: outputs of a solution to draw, as channels.
        ax: matplotlib axes for a single panel. By default, a new figure is created. With ``ax`` and
            without ``kind``, the kernel of a solution is drawn, or the first panel named above.

    Returns:
        A figure, which needs no display. It is the figure of ``ax`` if axes are given.
        ``plot(fit).savefig("fit.png")`` writes it. The colours of text and background follow the
        style, for example ``matplotlib.style.use("dark_background")``.

    Raises:
        TypeError: If the object cannot be drawn, if channels or outputs are given for an object
            that is not a solution, or if ``ax`` is not an axes of matplotlib.
        ValueError: If the kind, a channel or an output is unknown, if the solution does not have
            the data of the panel, or if ``ax`` is given for several panels. If the rank of a report
            is undecided.
        ImportError: If matplotlib is not installed (``pip install 'convsolve[plot]'``).

    Examples:
        >>> import convsolve as cs
        >>> fit = cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2))
        >>> from matplotlib.figure import Figure
        >>> figure = Figure()
        >>> left, right = figure.subplots(1, 2)
        >>> cs.plot(fit, kind="lines", ax=left) is figure
        True

    See Also:
        `Solution.plot`, `Problem.plot` and `Solution.to_html`.
    """
    if not (ax is None or hasattr(ax, "get_figure")):
        raise TypeError(f"ax must be axes of matplotlib, got {type(ax).__name__}")
    if isinstance(result, Solution):
        found = _solution(result, kind, channels, outputs, ax)
    else:
        found = layout(result)
        if channels is not None or outputs is not None:
            kinds = type(result).__name__
            raise TypeError(f"channels and outputs choose curves of a solution, not of a {kinds}")
        if kind is not None or ax is not None:
            found = _one(found.panels, kind or next(iter(found.panels)))
    return found.figure() if ax is None else found.on(ax)


def _one(panels: Panels, kind: str, others: Sequence[str] = ()) -> Layout:
    """Return one panel. An error also names other kinds that there are."""
    if kind not in panels:
        known = ", ".join([*others, *panels])
        raise ValueError(f"kind={kind!r} has no panel here; there are {known}")
    return Layout({kind: panels[kind]}, [[kind]])


@singledispatch
def layout(result: Any) -> Layout:
    """Return the panels of a result and their arrangement."""
    raise TypeError(
        "plot takes a Problem, what identify, solve, compare, choose_lags or solve_group "
        f"returned, a forecast of descent, or fit.regularization, got {type(result).__name__}"
    )


@layout.register
def _(problem: Problem) -> Layout:
    draws = [data.spectrum] + [data.design] * (problem.spec.ndim == 1)
    return Layout(panels_of(*draws, problem=problem), [["spectrum"]])


@layout.register
def _(report: Identifiability) -> Layout:
    last = data.noise_gain if report.unique else data.hidden
    panels = panels_of(data.taps, data.singular_values, last, report=report)
    return Layout(panels, [["taps"] * 2, [*panels][1:]])


@layout.register
def _(forecast: DescentForecast) -> Layout:
    return Layout({"descent": partial(data.forecast, forecast=forecast)}, [["descent"]])


@layout.register
def _(chosen: Regularization) -> Layout:
    if chosen.path is None:
        raise ValueError("the strength was given, so there are no scores to draw")
    panels = panels_of(choices.scores, choices.freedom, chosen=chosen)
    return Layout(panels, [["scores"], ["freedom"]])


@layout.register
def _(chosen: LagChoice) -> Layout:
    return Layout(panels_of(choices.lag_windows, chosen=chosen), [["lag windows"]])


@layout.register
def _(table: Comparison) -> Layout:
    known = [key for key in choices.NUMBERS if any(row[key] is not None for row in table.rows)]
    bars = {k.replace("_", " "): partial(choices.bars, table=table, key=k) for k in known}
    first = values.kernel_of(next(iter(table.solutions.values())))
    one = len(first.axes) == 1
    below = _by_pair(choices.kernels, "kernels", first, table=table) if one else {}
    descents = descent.panels_of_comparison(table)
    # Rows have the width of a common multiple of two and of the number of bars.
    width = math.lcm(len(bars), max(len(descents), 1))
    rows = []
    if descents:
        rows.append([name for name in descents for _ in range(width // len(descents))])
    rows.append([name for name in bars for _ in range(width // len(bars))])
    rows += [[name] * width for name in below]
    return Layout(descents | bars | below, rows, _shown(first) * one)


@layout.register
def _(group: GroupSolution) -> Layout:
    if group.kernel.ndim > 3:
        raise ValueError("a group is drawn if its kernels have one axis")
    kernel = values.group_kernel(group)
    panels = _by_pair(choices.subjects, "subjects", kernel, group=group)
    return Layout(panels, [[name] for name in panels], _shown(kernel))


def _by_pair(draw: Any, name: str, kernel: values.Kernel, **given: Any) -> Panels:
    """Return a panel for each of the first channels and outputs."""
    pairs = enumerate(kernel.pairs()[:PAIRS])
    return {f"{name} {i}" if i else name: partial(draw, pair=pair, **given) for i, pair in pairs}


def _shown(kernel: values.Kernel) -> str:
    """Return a title if more channels and outputs than are drawn have a kernel."""
    number = len(kernel.pairs())
    return f"{PAIRS} of {number} kernels" * (number > PAIRS)


def _solution(fit: Solution, kind: str | None, channels: Any, outputs: Any, ax: Any) -> Layout:
    pairs = values.kernel_of(fit).pairs(channels, outputs)
    some = sorted({o for _, o in pairs})
    if kind == "bode":
        return _bode(fit, pairs)
    whole = kind in (*kernels.KINDS, "kernel", *KERNELS)
    if whole or kind is None:
        kernel = KERNELS.get(kind or "", values.with_bands)(fit)
        wanted = kind if kind in kernels.KINDS else kernels.kind_of(kernel, pairs)
        shown = kernels.layout(kernel, pairs, wanted)
        return shown if whole or ax is not None else _overview(fit, shown, _panels(fit, some))
    if kind == "penalty" and fit.regularization is not None:
        return layout(of_some(fit.regularization, some))
    panels = _panels(fit, some)
    descents = descent.panels_of_solution(fit)
    if kind == "descent" and descents:
        return Layout(descents, [[*descents]])
    if kind == "residuals" and "residual" in panels:
        return Layout(panels, RESIDUALS)
    return _one(panels, kind, ("kernel", *kernels.KINDS, *KERNELS, "bode", "residuals"))


def _bode(fit: Solution, pairs: Sequence[values.Pair]) -> Layout:
    """Return the panels of magnitude and phase."""
    kernel, half = values.kernel_of(fit), (fit._names.fs or 1.0) / 2
    # From half of the lowest frequency that the window resolves.
    at = np.geomspace(half / max(len(kernel.values), 16), half, POINTS)
    found = fit._responses(bands=(bands := values.banded(fit))).frequency(at, 0.95, False)
    low, high = found.decibels_band
    sizes = found.decibels, np.maximum(low, np.min(found.decibels) - BELOW), high
    angles = np.rad2deg([found.phase, *found.phase_band])
    draw = partial(fits.response, found=found, kernel=kernel, pairs=pairs[:MANY])
    both = {"magnitude (dB)": sizes, "phase (degrees)": angles}
    panels = {label: partial(draw, values=both[label], label=label) for label in both}
    title = "Frequency response" + ", 95 % band" * bands
    title += f", {MANY} of {len(pairs)} kernels" * (len(pairs) > MANY)
    return Layout(panels, [[label] for label in both], title)


def _panels(fit: Solution, outputs: list[int]) -> Panels:
    """Return the panels of a solution other than its kernel."""
    found = {} if fit.trace is None else panels_of(fits.trace, steps=fit.trace)
    found |= descent.panels_of_solution(fit)
    if fit.problem is None:
        return found
    score = fit.score()
    best = outputs[int(np.argmax(np.nan_to_num(score.r2[outputs], nan=-np.inf)))]
    draws = [fits.against, fits.quantiles]
    if fit.problem.spec.ndim == 1:
        draws += [fits.prediction, fits.residual, fits.autocorrelation, fits.cross_correlation]
    names = [values.called(fit._names, "output", o) for o in range(len(score.r2))]
    found |= panels_of(fits.scores, score=score, names=names)
    return found | panels_of(*draws, rows=values.rows_of(fit, score.r2, best))


def _overview(fit: Solution, kernel: Layout, panels: Panels) -> Layout:
    """Add the prediction and its residual below the kernel, and the steps of a descent."""
    wanted = ["prediction", "residual"] if "prediction" in panels else ["against"]
    wanted.append(descent.BY_STEPS)
    below = [name for name in wanted if name in panels]
    rows = [*kernel.rows, *([name] * len(kernel.rows[0]) for name in below)]
    heights = (*kernel.heights, *(TALL if name == "against" else LOW for name in below))
    return Layout(kernel.panels | panels, rows, kernel.title, heights, kernel.linked)
