"""The picture of what x excites: its power over frequency, channel by channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..identifiability.excitation import Excitation, excitation
from ..problem.names import Names
from ..problem.problem import Problem
from .drawing import BAD, GREY, MAX_CURVES, colours, image_rows, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Below so much power a standard error is over 100 times that of white x: weakly determined.
WEAK = 1e-4
# What is fainter is drawn so, in dB: beyond it lies the leakage of the window.
FAINT = -160.0


def draw_input(problem: Problem) -> Figure:
    """What `excitation` says of x; of many channels an image, and the weakest mixture above it."""
    found = excitation(problem)
    many = found.power.shape[1] > MAX_CURVES
    figure = new_figure(8.0, 6.4 if many else 4.4)
    figure.suptitle("What x excites", fontsize="large")
    panels: Any = figure.subplots(1 + many, 1, squeeze=False, sharex=True)[:, 0]
    draw_power(panels[0], found, problem.names)
    if many:
        labels = [problem.names.channel(c) for c in range(found.power.shape[1])]
        panels[0].set_xlabel("")
        image_rows(panels[1], found.frequency, _decibel(found.power.T), labels, "dB")
        panels[1].set_xlabel(_unit(problem.names))
    return figure


def draw_power(axes: Axes, found: Excitation, called: Names) -> None:
    """Power over frequency, that of many channels left out; shaded where taps are weak."""
    channels = found.power.shape[1]
    weakest = found.power[:, 0] if channels == 1 else found.weakest
    if weakest is not None and (weak := weakest < WEAK).any():
        step = found.frequency[1] / 2
        for start, stop in _runs(weak):
            label = "hardly excited" if start == np.flatnonzero(weak)[0] else None
            ends = found.frequency[start] - step, found.frequency[stop - 1] + step
            axes.axvspan(*ends, color=BAD, alpha=0.15, linewidth=0, label=label)
    axes.axhline(0, color=GREY, linewidth=0.8, label="white")
    if channels <= MAX_CURVES:
        for c, colour in zip(range(channels), colours(), strict=False):
            label = called.channel(c) if channels > 1 else "x"
            power = _decibel(found.power[:, c])
            axes.plot(found.frequency, power, color=colour, linewidth=1, label=label)
    if channels > 1 and found.weakest is not None:
        power = _decibel(found.weakest)
        label = "weakest mixture of channels"
        axes.plot(found.frequency, power, color=colours()[-1], linewidth=2, label=label)
    axes.set(
        xlim=found.frequency[[0, -1]], xlabel=_unit(called), ylabel="power beside white x (dB)"
    )
    axes.legend(fontsize="small")


def _runs(flags: np.ndarray) -> np.ndarray:
    """Start and stop of every run of True."""
    ends = np.flatnonzero(np.diff(np.pad(flags.astype(int), 1)))
    return ends.reshape(-1, 2)


def _decibel(power: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.maximum(10 * np.log10(power), FAINT)


def _unit(called: Names) -> str:
    return "frequency (cycles a sample)" if called.fs is None else "frequency (Hz)"
