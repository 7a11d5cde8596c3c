"""Pictures of the kernels of a group and its subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..problem.names import Names
from ..subjects import GroupSolution
from ..text import count
from .drawing import (
    GOOD,
    GREY,
    Picture,
    drawable,
    drawing,
    lag_axis,
    legend,
    shown_band,
    side_by_side,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Largest number of panels, each for one channel and output.
MAX_PANELS = 4


def draw_group(group: GroupSolution) -> Picture:
    """Draw the kernels of the first channels and outputs."""
    if group.kernel.ndim > 3:
        raise ValueError("a group is drawn if its kernels have one axis")
    outputs, channels = group.kernel.shape[-1], group.kernel.shape[-2]
    pairs = [(c, o) for o in range(outputs) for c in range(channels)]
    return side_by_side([responses(group, pair, len(pairs)) for pair in pairs[:MAX_PANELS]])


@drawing("The kernels of the subjects, and the kernel of the group with its band.")
def responses(axes: Axes, group: GroupSolution, pair: tuple[int, int], pairs: int) -> None:
    """Draw the kernels of one channel and output."""
    (c, o), shape = pair, group.kernel.shape
    channels, outputs = (tuple(map(str, names)) for names in (group.channels, group.outputs))
    called = drawable(Names(group.fs, channels, outputs))
    at = called.times(group.lags)

    def draw(response: np.ndarray, **style: Any) -> None:
        curve = np.reshape(response, shape)[:, c, o]
        axes.plot(at, curve, marker="o" if len(curve) == 1 else "", markersize=4, **style)

    for i, response in enumerate(group.impulse_responses.values()):
        label = "a subject" if i == 0 else None
        draw(response, color=GREY, linewidth=0.8, label=label)
    low, high = (end.reshape(shape)[:, c, [o]] for end in group.confidence_band())
    shown_band(axes, at, (low + high) / 2, (high - low) / 2)
    draw(group.impulse_response, color=GOOD, linewidth=2, label="group")
    title = f"Group of {count(len(group.kernels), 'subject')}, 95 % confidence band"
    if pairs > 1:
        of_group = o * len(channels) // shape[1] // len(outputs)
        title += f"\n{called.channel(of_group * shape[1] + c)} → {called.output(o)}"
        title += f", {MAX_PANELS} of {pairs} shown" * (pairs > MAX_PANELS)
    axes.set(title=title, ylabel="weight")
    lag_axis(axes, called)
    legend(axes)
