"""The picture of the power of x over frequency, by channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..identifiability.excitation import Excitation, excitation
from ..problem.names import Names
from ..problem.problem import Problem
from .drawing import (
    GOOD,
    GREY,
    MAX_CURVES,
    Picture,
    Place,
    colours,
    drawable,
    drawing,
    image_rows,
    legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Smallest power that is drawn, in dB. Smaller values are leakage of the window.
FAINT = -160.0


def draw_input(problem: Problem) -> Picture:
    """Draw the `excitation` of x, and an image of the powers if there are many channels."""
    found, called = excitation(problem), drawable(problem._names)
    many = found.power.shape[1] > MAX_CURVES

    def draw(place: Place) -> None:
        panels = [row[0] for row in place.panels([1] * (1 + many), sharex=True)]
        power(found, called).draw(panels[0])
        if many:
            labels = [called.name("channel", c) for c in range(found.power.shape[1])]
            panels[0].set_xlabel(_unit(called) if place.given else "")
            image_rows(panels[1], found.frequency, _decibel(found.power.T), labels, "power (dB)")
            panels[1].set(title="Power spectrum of each channel", ylabel="channel")
            panels[1].set_xlabel(_unit(called))

    return Picture((8.0, 6.4 if many else 4.4), draw)


@drawing("Power spectrum of x, relative to white noise of the same power.")
def power(axes: Axes, found: Excitation, called: Names) -> None:
    """Draw the power over frequency, or its range."""
    channels, at = found.power.shape[1], found.frequency
    axes.axhline(0, color=GREY, linewidth=0.8, label="white noise")
    levels = _decibel(found.power)
    if channels <= MAX_CURVES:
        for c, colour in zip(range(channels), colours(), strict=False):
            label = called.channel(c) if channels > 1 else "x"
            axes.plot(at, levels[:, c], color=colour, linewidth=1, label=label)
    else:
        label = f"{channels} channels, from least to most"
        axes.fill_between(
            at, levels.min(1), levels.max(1), color=GOOD, alpha=0.4, linewidth=0, label=label
        )
    axes.set(xlim=at[[0, -1]], title="Power spectrum of x", xlabel=_unit(called))
    axes.set_ylabel("power relative to white noise (dB)")
    legend(axes)


def _decibel(power: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.maximum(10 * np.log10(power), FAINT)


def _unit(called: Names) -> str:
    return "frequency (cycles per sample)" if called.fs is None else "frequency (Hz)"
