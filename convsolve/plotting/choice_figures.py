"""Pictures of the scores of strengths and of windows of lags, and of the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..inference.regularization import Regularization
from ..lag_choice import LagChoice
from .drawing import (
    BAD,
    GOOD,
    GREY,
    MARKERS,
    MAX_CURVES,
    colours,
    drawing,
    edges,
    lag_axis,
    new_figure,
    side_by_side,
    whole,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {
    "gcv": "generalized cross-validation",
    "evidence": "−2 log evidence",
    "aicc": "AICc",
    "bic": "BIC",
    "mse": "held-out mean square",
    "r2": "held-out R²",
    "correlation": "held-out correlation",
    "given": "score",
}


def draw_regularization(chosen: Regularization, labels: Sequence[str] | None = None) -> Figure:
    """Draw scores and degrees of freedom over the strength of every output, with ``labels``."""
    if chosen.path is None:
        raise ValueError("the strength was given, so there are no scores to draw")
    more = f", the first {MAX_CURVES} outputs" * (chosen.path.scores.shape[1] > MAX_CURVES)
    drawings = [strength_scores(chosen, labels), effective_dof(chosen)]
    return side_by_side(drawings, 5.0, 4.4, chosen.penalty + more)


@drawing("The score of every strength.")
def strength_scores(
    axes: Axes, chosen: Regularization, labels: Sequence[str] | None = None
) -> None:
    """Draw the score of every strength, also for folds, and the selected strength."""
    assert chosen.path is not None
    outputs = chosen.path.scores.shape[1]
    if labels is None:
        labels = [f"output {q}" for q in range(outputs)] if outputs > 1 else ["score"]
    for q, label in zip(range(min(outputs, MAX_CURVES)), labels, strict=False):
        _draw_scores(axes, chosen, q, label)
    axes.set(title="Score of every strength", xlabel="strength", xscale="log")
    axes.set_ylabel(NAMES[chosen.criterion])
    axes.legend(fontsize="small")


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
    axes.set(title="Effective degrees of freedom", xlabel="strength", xscale="log")
    axes.set_ylim(bottom=0)


def _strength(chosen: Regularization, q: int) -> float:
    """Return the selected strength of an output: the geometric mean if there are bands."""
    return float(np.exp(np.log(chosen.strength[..., q]).mean()))


def _draw_scores(axes: Axes, chosen: Regularization, q: int, label: str) -> None:
    assert chosen.path is not None
    at, scores = chosen.path.strengths[:, q], chosen.path.scores[:, q]
    shown = np.isfinite(scores)
    if chosen.path.scores_by_fold is not None:
        for i, fold in enumerate(chosen.path.scores_by_fold[:, :, q]):
            name = "a fold" if i == 0 and q == 0 else None
            axes.plot(at, fold, color=GREY, linewidth=0.7, zorder=1, label=name)
    marker = "." if len(at) < 60 else ""
    axes.plot(at[shown], scores[shown], color=colours()[q], marker=marker, label=label)
    here = _strength(chosen, q)
    # An output that is constant has no finite score.
    height = np.nan
    if shown.any():
        height = float(np.interp(np.log(here), np.log(at[shown]), scores[shown]))
    edge = bool(chosen.at_edge[q])
    name = "chosen, at the edge" if edge else "chosen"
    axes.axvline(here, color=BAD if edge else colours()[q], linewidth=0.8, linestyle="--")
    axes.plot(
        here, height, MARKERS[q], color=colours()[q], markersize=8, label=f"{name}: {here:.3g}"
    )


def draw_lag_choice(chosen: LagChoice) -> Figure:
    """Draw the scores of all windows, and of windows with the selected first lag."""
    figure = new_figure(10.5, 4.6)
    figure.suptitle(chosen.text(), fontsize="large")
    left, right = figure.subplots(1, 2)
    lags, scores, called = chosen.all_lags, chosen.scores, chosen.problem.names
    at, name = called.times(lags), NAMES[chosen.criterion]
    first, last = map(float, called.times(chosen.lags))
    drawn = left.pcolormesh(edges(at), edges(at), scores, cmap="viridis")
    figure.colorbar(drawn, ax=left, label=name)
    left.plot(last, first, "o", color=BAD, markersize=8, label="chosen")
    left.set(title="Score of every window", ylabel=f"first lag ({called.unit})")
    left.legend(fontsize="small", loc="lower right")
    row = int(np.flatnonzero(lags == chosen.lags[0])[0])
    right.plot(at, scores[row], color=GOOD, marker="." if len(lags) < 60 else "")
    right.axvline(last, color=BAD, linewidth=0.8, linestyle="--")
    right.set(title=f"Windows that start at {called.lags([chosen.lags[0]])}", ylabel=name)
    for axes in (left, right):
        lag_axis(axes, called, "last lag")
    if called.fs is None:
        whole(left.yaxis)
    return figure
