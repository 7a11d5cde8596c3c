"""Pictures of the scores of strengths and of windows of lags, and of the choice among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..inference.regularization import Regularization
from ..lag_choice import LagChoice
from ..problem.names import Names
from .drawing import (
    BAD,
    GOOD,
    GREY,
    MARKERS,
    MAX_CURVES,
    Picture,
    Place,
    bar,
    colours,
    drawable,
    drawing,
    edges,
    lag_axis,
    legend,
    side_by_side,
    whole,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The name of a criterion in a title, and the label of its axis.
NAMES = {
    "gcv": ("GCV", "GCV score"),
    "evidence": ("Evidence", "−2 log evidence"),
    "aicc": ("AICc", "AICc"),
    "bic": ("BIC", "BIC"),
    "mse": ("Held-out error", "held-out mean squared error"),
    "r2": ("Held-out R²", "held-out R²"),
    "correlation": ("Held-out correlation", "held-out correlation"),
}


def draw_regularization(chosen: Regularization) -> Picture:
    """Draw scores and degrees of freedom over the strength of every output."""
    if chosen.path is None:
        raise ValueError("the strength was given, so there are no scores to draw")
    return side_by_side([strength_scores(chosen), effective_dof(chosen)], 5.0, 4.4)


@drawing("The score of every strength.")
def strength_scores(axes: Axes, chosen: Regularization) -> None:
    """Draw the score of every strength, also for folds, and the selected strength."""
    assert chosen.path is not None
    outputs = chosen.path.scores.shape[1]
    called = drawable(Names(outputs=tuple(map(str, chosen.outputs)) or None))
    for q in range(min(outputs, MAX_CURVES)):
        _draw_scores(axes, chosen, q, called.output(q))
    name, label = _named(chosen.criterion)
    more = f"\n{MAX_CURVES} of {outputs} outputs shown" * (outputs > MAX_CURVES)
    axes.set(title=f"{name} by strength{more}", xlabel=_strengths(chosen), xscale="log")
    axes.set(ylabel=label)
    legend(axes)


@drawing("Effective degrees of freedom of every strength.")
def effective_dof(axes: Axes, chosen: Regularization) -> None:
    """Draw the effective degrees of freedom of every strength."""
    assert chosen.path is not None
    outputs = chosen.path.scores.shape[1]
    for q in range(min(outputs, MAX_CURVES)):
        color, at = colours()[q], chosen.path.strengths[:, q]
        axes.plot(at, chosen.path.effective_dof[:, q], color=color)
        here, freedom = _strength(chosen, q), chosen.effective_dof[q]
        axes.plot(here, freedom, MARKERS[q], color=color, markersize=8)
        if outputs == 1:
            axes.annotate(
                f"{freedom:.1f}", (here, freedom), xytext=(8, 4), textcoords="offset points"
            )
    axes.set(title="Effective degrees of freedom", xlabel=_strengths(chosen), xscale="log")
    axes.set(ylabel="degrees of freedom")
    axes.margins(y=0.12)  # room for the number above the curve
    axes.set_ylim(bottom=0)


def _named(criterion: str) -> tuple[str, str]:
    """Return the name of a criterion in a title, and the label of its axis."""
    return NAMES.get(criterion, (f"Held-out {criterion}", f"held-out {criterion}"))


def _strengths(chosen: Regularization) -> str:
    """Return the label of the axis of strengths."""
    bands = chosen.strength.ndim == 2
    return "geometric mean of the strengths" if bands else "strength"


def _strength(chosen: Regularization, q: int) -> float:
    """Return the selected strength of an output: the geometric mean if there are bands."""
    return float(np.exp(np.log(chosen.strength[..., q]).mean()))


def _draw_scores(axes: Axes, chosen: Regularization, q: int, label: str) -> None:
    assert chosen.path is not None
    at, scores = chosen.path.strengths[:, q], chosen.path.scores[:, q]
    shown = np.isfinite(scores)  # NaN if another output has more strengths
    if chosen.path.scores_by_fold is not None:
        for i, fold in enumerate(chosen.path.scores_by_fold[:, :, q]):
            name = "a fold" if i == 0 and q == 0 else None
            axes.plot(at, fold, color=GREY, linewidth=0.7, zorder=1, label=name)
    # Two entries of the legend for each of many outputs leave no room for the axes.
    several = chosen.path.scores.shape[1] > MAX_CURVES // 2
    style: dict[str, Any] = {
        "marker": "." if len(at) < 60 else "",
        "label": None if several else label,
    }
    axes.plot(at[shown], scores[shown], color=colours()[q], **style)
    here = _strength(chosen, q)
    # An output that is constant has no finite score.
    height = np.nan
    if shown.any():
        height = float(np.interp(np.log(here), np.log(at[shown]), scores[shown]))
    edge = bool(chosen.at_edge[q])
    name = f"{label}, chosen" if several else "chosen"
    name += ", at the edge" * edge
    axes.axvline(here, color=BAD if edge else colours()[q], linewidth=0.8, linestyle="--")
    axes.plot(
        here, height, MARKERS[q], color=colours()[q], markersize=8, label=f"{name}: {here:.3g}"
    )


def draw_lag_choice(chosen: LagChoice) -> Picture:
    """Draw the scores of all windows, and of windows with the selected first lag."""

    def draw(place: Place) -> None:
        left, right = place.panels([2])[0]
        lags, scores, called = chosen.candidates, chosen.scores, chosen.problem._names
        at, (name, label) = called.times(lags), NAMES[chosen.criterion]
        first, last = map(float, called.times(chosen.lags))
        drawn = left.pcolormesh(edges(at), edges(at), scores, cmap="viridis")
        bar(drawn, [left], label)
        ends = " to ".join(called.time(lag) for lag in chosen.lags)
        marked = f"chosen: {ends} {called.unit}"
        left.plot(last, first, "o", color=BAD, markersize=8, label=marked)
        left.set(title=f"{name} of every lag window", ylabel=f"first lag ({called.unit})")
        legend(left)
        row = int(np.flatnonzero(lags == chosen.lags[0])[0])
        right.plot(at, scores[row], color=GOOD, marker="." if len(lags) < 60 else "")
        right.axvline(last, color=BAD, linewidth=0.8, linestyle="--")
        right.set(title=f"Windows that start at {called.lags([chosen.lags[0]])}", ylabel=label)
        for axes in (left, right):
            lag_axis(axes, called, "last lag")
        if called.fs is None:
            whole(left.yaxis)

    return Picture((10.5, 4.6), draw)
