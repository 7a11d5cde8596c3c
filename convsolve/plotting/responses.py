"""Responses of a solution: over frequency, and to a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..solution import Solution
from . import draw
from .values import Kernel, Pair, kernel_of

# Decibels below the least magnitude at which a band is cut that contains zero.
BELOW = 20.0


def bode(fit: Solution, pairs: Sequence[Pair]) -> draw.Layout:
    """Return the panels of magnitude and phase."""
    found, kernel = fit.frequency_response(), kernel_of(fit)
    low, high = found.decibels_band
    sizes = found.decibels, np.maximum(low, np.min(found.decibels) - BELOW), high
    angles = np.rad2deg((found.phase, *found.phase_band))
    given: Any = {"found": found, "kernel": kernel, "pairs": pairs[: draw.MANY]}
    both = {"magnitude (dB)": sizes, "phase (degrees)": angles}
    panels = {label: partial(curves, values=v, label=label, **given) for label, v in both.items()}
    return draw.Layout(panels, [[label] for label in both], "Frequency response, 95 % band")


def curves(
    ax: Any, found: Any, kernel: Kernel, pairs: Sequence[Pair], values: Any, label: str
) -> None:
    """Draw values and the ends of their bands over the logarithm of frequency."""
    at = found.frequencies
    for hue, pair in zip(draw.HUES, pairs, strict=False):
        middle, low, high = (np.reshape(a, (len(at), *kernel.values.shape[1:])) for a in values)
        name = " → ".join(kernel.label(pair))
        ax.semilogx(at, middle[:, *pair], color=hue, linewidth=1.5, label=name)
        ax.fill_between(at, low[:, *pair], high[:, *pair], color=hue, alpha=0.2, linewidth=0)
    draw.entitle(ax, "", f"frequency ({found.unit})", label)
    ax.margins(x=0)
    draw.legend(ax)


def step_of(fit: Solution) -> Kernel:
    """Return the response to a step, to be drawn as a kernel."""
    found, kernel = fit.step_response(), kernel_of(fit)
    values, reach = map(kernel.ordered, (found.response, found.band[1] - found.response))
    words: Any = {"title": "Step response", "band": ", 95 % band", "unit": "response"}
    return replace(kernel, values=values, reach=reach, **words)
