"""What x determines: its power, singular values, taps, the null space and a descent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..identifiability.descent import DescentForecast
from ..identifiability.report import Identifiability, excitation
from ..looks import look_steps
from ..problem.problem import Problem
from . import draw
from .kernel import lines, picture, rows
from .values import Kernel, called, design_of, factor_of, taps_of

# Smallest power that is drawn, in dB. Smaller values are leakage of the window.
FAINT = -160.0
# Fewest steps of a descent that are drawn, and how far above its start a curve is drawn.
SHORT, FAR = 100, 1e6
# The states of a tap from bad to good, and their colours.
STATES = (
    ("not determined", draw.BAD),
    ("weakly determined", draw.HUES[4]),
    ("determined by zeros outside", draw.HUES[5]),
    ("determined", draw.GOOD),
)


def spectrum(ax: Any, problem: Problem) -> None:
    """Draw the power of x over frequency, relative to white noise of the same power."""
    found = excitation(problem)
    level = np.maximum(10 * np.log10(np.maximum(found.power, 1e-30)), FAINT)
    at, channels = found.frequency, level.shape[1]
    ax.axhline(0, color=draw.GREY, linewidth=0.8, label="white noise")
    if channels <= draw.MANY:
        for c, column in enumerate(level.T):
            name = called(problem._names, "channel", c) if channels > 1 else "x"
            ax.plot(at, column, color=draw.HUES[c], linewidth=1.2, label=name)
    else:
        style = {"alpha": 0.4, "linewidth": 0, "label": f"{channels} channels, least to most"}
        ax.fill_between(at, level.min(1), level.max(1), color=draw.GOOD, **style)
    unit = "Hz" if problem.fs else "cycles per sample"
    draw.entitle(ax, "Power spectrum of x", f"frequency ({unit})", "power (dB, white = 0)")
    ax.margins(x=0)
    draw.legend(ax)


def design(ax: Any, problem: Problem) -> None:
    """Draw the columns of the design matrix, in units of the largest value of each."""
    columns, blocks = design_of(problem)
    size = np.nanmax(np.abs(columns), axis=0)
    shown = np.ma.masked_invalid(columns / np.where(size > 0, size, 1.0))
    ax.set_facecolor(draw.ABSENT)
    ax.imshow(shown, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    ends = np.cumsum([0, *blocks.values()])
    ax.set_xticks((ends[:-1] + ends[1:] - 1) / 2, [*blocks], rotation=60)
    for end in ends[1:-1]:
        ax.axvline(end - 0.5, color=draw.GREY, linewidth=0.8)
    draw.entitle(ax, f"Design, first {len(columns)} rows", "", "row")


def singular_values(ax: Any, report: Identifiability) -> None:
    """Draw the singular values that decide the rank, with its tolerance and ambiguous range."""
    factor = factor_of(report)
    band = factor.band
    # A log axis shows zeros and negligible values at its lower end.
    values = np.maximum(factor.singular_values, band.low * 1e-3)
    at = np.arange(1, len(values) + 1)
    ax.plot(at, values, "." if len(at) > draw.MARKED else "o", color=draw.GOOD)
    ax.axhspan(band.low, band.high, color=draw.GREY, alpha=0.3, linewidth=0, label="ambiguous")
    ax.axhline(band.tolerance, color=draw.BAD, linestyle="--", linewidth=1, label="tolerance")
    ax.set_yscale("log" if band.low > 0 else "linear")
    title = f"Singular values, rank {report.rank} of {report.n_unknowns}"
    draw.entitle(ax, title, "number", "singular value, scaled")
    draw.legend(ax)


def taps(ax: Any, report: Identifiability) -> None:
    """Draw which taps the data determine, by lag and channel; of images, the worst channel."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    worst = [~report.identifiable, report.weakly_determined, report.padding_dependent]
    title = f"Taps that the data determine: {report.verdict}"
    kernel = taps_of(report, np.select(worst, [0.0, 1.0, 2.0], 3.0), title)
    states, cells = kernel.values, ListedColormap([hue for _, hue in STATES])
    style: dict[str, Any] = {"cmap": cells, "vmin": -0.5, "vmax": 3.5}
    style["edgecolors"] = "white" if max(states.shape) <= draw.MARKED else "none"
    _by_tap(ax, replace(kernel, unknown=states == 0), np.argmin, **style)
    numbers = [(int((states == i).sum()), *state) for i, state in enumerate(STATES)]
    keys = [Patch(color=hue, label=f"{name}: {n}") for n, name, hue in numbers if n]
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.25), "ncols": 2}
    ax.legend(handles=keys, fontsize="small", **place)


def noise_gain(ax: Any, report: Identifiability) -> None:
    """Draw the standard error of every tap for unit noise in y."""
    known = np.where(np.isfinite(report.noise_gain), report.noise_gain, np.nan)
    _by_tap(ax, taps_of(report, known, "Standard error for unit noise", "noise gain"))


def hidden(ax: Any, report: Identifiability) -> None:
    """Draw the share of every tap that changes nothing in y: the diagonal of the null space."""
    shares = np.stack([np.square(vectors).sum(0) for vectors in report.null_space], -1)
    outputs = report.problem.kernel_shape[-1] // shares.shape[-1]
    shares = np.repeat(shares, outputs, axis=-1)
    _by_tap(ax, taps_of(report, shares, "Share of a tap that y does not show", "share"))


def forecast(ax: Any, forecast: DescentForecast) -> None:
    """Draw the ratio of excess loss to statistical error against steps, with its crossings."""
    steps = np.array(look_steps(_last_step(forecast))[1:])
    ratio = forecast.curve(steps)
    highest = FAR * forecast.curve(0)
    # A curve that diverges ends at the upper edge, with a cross.
    end = np.append(np.flatnonzero(ratio > highest), len(steps))[0] + 1
    shown = np.minimum(ratio[:end], highest)
    ax.plot(steps[:end], shown, color=draw.GOOD, linewidth=1.2)
    if end <= len(steps):
        ax.plot(steps[end - 1], highest, "x", color=draw.BAD, label="diverges")
    ax.axhline(1, color=draw.GREY, linestyle=":", linewidth=1, label="statistical error")

    marks = {
        "statistical error": forecast.steps_to_floor,
        f"kernel error {forecast.tol:g}": forecast.steps,
    }
    for hue, (name, step) in zip(draw.HUES[1:], marks.items(), strict=False):
        # A log axis has no step 0.
        if step:
            label = f"{name}: {step:,} steps"
            ax.plot(step, forecast.curve(step), "o", color=hue, label=label)

    ax.set(xscale="log", yscale="log")
    title = f"Descent by {forecast.optimizer}, rate {forecast.learning_rate:.3g}"
    if forecast.diverges:
        title += ", diverges"
    draw.entitle(ax, title, "steps", "excess loss / statistical error")
    draw.legend(ax)


def _last_step(forecast: DescentForecast) -> int:
    """Return twice the largest known number of steps, or ten times if a number is not known."""
    if forecast.diverges:
        return SHORT
    numbers = (forecast.steps_to_floor, forecast.steps_to_hundredth, forecast.steps)
    known = [number for number in numbers if number is not None]
    factor = 2 if len(known) == len(numbers) else 10
    return max(SHORT, factor * max(known, default=SHORT))


def _by_tap(ax: Any, kernel: Kernel, worst: Any = np.argmax, **style: Any) -> None:
    """Draw numbers of all taps as curves, or as an image if there are many channels or a style.

    If the kernel has several axes, the channel with the worst sum is drawn.
    """
    pairs = kernel.pairs()
    if len(kernel.axes) > 1:
        sums = np.nansum(kernel.values.reshape(-1, len(pairs)), axis=0)
        picture(ax, kernel, pairs[int(worst(sums))], **style)
    elif style or len(pairs) > draw.MANY:
        rows(ax, kernel, pairs, **style)
    else:
        lines(ax, replace(kernel, title=""), pairs)
    draw.headline(ax, kernel.title)
