"""The course of gradient descents, compared with closed forms."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ..comparison import Comparison
from ..facts import shortened
from ..reference import ERROR, STATISTICAL, DescentCurve
from ..solution import Solution
from . import draw

# The panels of a figure.
BY_STEPS, BY_SECONDS = "descent by steps", "descent by seconds"
# Smallest ratio that is drawn, and how far above the first ratio a curve is drawn.
LEAST, ABOVE = 1e-4, 10.0
# Closed forms that are drawn, and letters of a name.
MOST, LONGEST = 4, 24


def panels_of_comparison(table: Comparison) -> draw.Panels:
    """Return the panels of a comparison, or none without a descent."""
    if not table.curves:
        return {}
    closed = {}
    for row in table.rows:
        name = row["method"]
        if name not in table.curves and row["status"] == "solved":
            by_rows = table.solutions[name].stats["solver"] in ("QR", "SVD")
            labels = ("moments", "scaling", "QR" if by_rows else "Cholesky")
            shared = sum(table.shared_seconds.get(label, 0.0) for label in labels)
            closed[name] = row["run_seconds"] + shared
    closed = dict([*closed.items()][:MOST])
    floor = ERROR if table._ratio == STATISTICAL else None
    return _panels(table.curves, table._ratio, floor, closed)


def panels_of_solution(fit: Solution) -> draw.Panels:
    """Return the panels of a descent, or none for another solver."""
    trace = fit.trace
    if trace is None or trace.seconds is None:
        return {}
    values = trace.losses
    label = "loss"
    floor = None
    if trace.ratios is not None:
        values = trace.ratios
        label = "excess / error"
        floor = ERROR
    curve = DescentCurve(trace.steps, trace.seconds, values, trace.diverged)
    return _panels({"": curve}, label, floor, {})


def _panels(
    curves: Mapping[str, DescentCurve], label: str, floor: float | None, closed: Mapping[str, float]
) -> draw.Panels:
    return {
        BY_STEPS: partial(by_steps, curves=curves, label=label, floor=floor),
        BY_SECONDS: partial(by_seconds, curves=curves, label=label, floor=floor, closed=closed),
    }


def by_steps(ax: Any, curves: Mapping[str, DescentCurve], label: str, floor: float | None) -> None:
    """Draw ratios over the number of steps."""
    _lines(ax, curves, {name: curve.steps for name, curve in curves.items()}, floor)
    draw.entitle(ax, "Descent by steps", "steps", label)
    draw.legend(ax)


def by_seconds(
    ax: Any,
    curves: Mapping[str, DescentCurve],
    label: str,
    floor: float | None,
    closed: Mapping[str, float],
) -> None:
    """Draw ratios over time, and the times of closed forms."""
    _lines(ax, curves, {name: curve.seconds for name, curve in curves.items()}, floor)
    if closed:
        for name, seconds in closed.items():
            ax.axvline(seconds, color=draw.GREY, linestyle="--", linewidth=1)
            place = (seconds, 0.02)
            axes = ax.get_xaxis_transform()
            style = {"rotation": 90, "fontsize": "x-small", "va": "bottom", "ha": "right"}
            ax.text(*place, shortened(name, LONGEST), transform=axes, **style)
    draw.entitle(ax, "Descent by time", "seconds, without compilation", label)


def _lines(
    ax: Any,
    curves: Mapping[str, DescentCurve],
    places: Mapping[str, np.ndarray],
    floor: float | None,
) -> None:
    """Draw a line per descent, with a cross at the upper edge where it diverges."""
    firsts = [curve.ratios[0] for curve in curves.values() if np.isfinite(curve.ratios[0])]
    top = ABOVE * max([*firsts, floor or 0.0, LEAST])
    bottom = top
    for i, (name, curve) in enumerate(curves.items()):
        hue = draw.HUES[i % draw.MANY]
        at = places[name]
        # A log axis has no step 0 and no time 0.
        shown = (at > 0) & np.isfinite(curve.ratios) & (curve.ratios <= top)
        ratios = np.maximum(curve.ratios[shown], LEAST if floor else 0.0)
        label = shortened(name, LONGEST) or None
        ax.plot(at[shown], ratios, color=hue, linewidth=1.4, label=label)
        bottom = min([bottom, *ratios[ratios > 0]])
        if curve.diverged:
            end = at[-1] if at[-1] > 0 else 1.0
            ax.plot(end, top, "x", color=hue, markersize=8, clip_on=False, zorder=5)
    if floor is not None:
        ax.axhline(floor, color="0.3", linestyle=":", linewidth=1.2, label="statistical error")
    ax.set(xscale="log", yscale="log", ylim=(bottom / 1.5, top))
