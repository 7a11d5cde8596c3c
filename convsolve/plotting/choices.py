"""Choices of strength and lags, comparisons of methods, and groups of subjects."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..comparison import Comparison
from ..facts import shortened
from ..inference.regularization import Regularization, of_some
from ..lag_choice import LagChoice
from ..problem.names import Axis, Names
from ..subjects import GroupSolution
from . import draw
from .kernel import curve, lines
from .values import Pair, as_names, called, group_kernel, kernel_of

CRITERIA = {
    "gcv": "GCV score",
    "evidence": "−2 log evidence",
    "aicc": "AICc",
    "bic": "BIC",
    "mse": "held-out mean square",
    "r2": "held-out R²",
    "correlation": "held-out correlation",
}
NUMBERS = ("excess_loss", "kernel_error", "run_seconds")
# Scores of several outputs are relative to the best one, and drawn up to so many times of it.
TIMES = 2.0


def scores(ax: Any, chosen: Regularization) -> None:
    """Draw the score of every strength, in folds too, and the selected strength."""
    path: Any = chosen.path
    outputs, shown = path.scores.shape[1], path.scores
    label = CRITERIA.get(chosen.criterion, f"held-out {chosen.criterion}")
    # An output that does not vary has no best score.
    best = np.where(shown > 0, shown, np.inf).min(0)
    relative = outputs > 1 and chosen.criterion in ("gcv", "mse") and np.isfinite(best).any()
    shown = shown / best if relative else shown
    some = f" ({draw.MANY} of {outputs} outputs)" * (outputs > draw.MANY)
    if outputs > 1 and not (np.ptp(chosen.strength, axis=-1).any() or chosen.at_edge.any()):
        some, chosen = f" (mean of {outputs} outputs)", of_some(chosen, [0])
        mean = np.exp(np.log(shown[:, np.isfinite(best)]).mean(1)) if relative else shown.mean(1)
        shown = mean[:, None]
    for q in range(min(shown.shape[1], draw.MANY)):
        at, values = path.strengths[:, q], shown[:, q]
        folds = () if path.scores_by_fold is None or outputs > 1 else path.scores_by_fold[..., q]
        for i, fold in enumerate(folds):
            ax.plot(at, fold, color=draw.GREY, linewidth=0.7, label="a fold" if i == 0 else None)
        ax.semilogx(at, values, color=draw.HUES[q], linewidth=1.3)
        _mark(ax, chosen, q, values)
    label += " / its best" * bool(relative)
    draw.entitle(ax, f"Choice of the strength{some}", _strength_label(chosen), label)
    if relative:
        top = min(ax.get_ylim()[1], TIMES)
        ax.set_ylim(1.1 - 0.1 * top, top)
    draw.legend(ax, title="chosen")


def _mark(ax: Any, chosen: Regularization, q: int, values: np.ndarray) -> None:
    """Mark the selected strength of an output on its curve."""
    path: Any = chosen.path
    here, at, known = _strength(chosen, q), path.strengths[:, q], np.isfinite(values)
    if known.any():
        height = np.interp(np.log(here), np.log(at[known]), values[known])
        names = Names(outputs=as_names(chosen.outputs))
        name = f"{called(names, 'output', q)}: " * (len(chosen.at_edge) > 1) + f"{here:.3g}"
        name += ", at the edge" * bool(chosen.at_edge[q])
        ax.plot(here, height, draw.MARKERS[q], label=name, color=draw.HUES[q], markersize=7)


def freedom(ax: Any, chosen: Regularization) -> None:
    """Draw the effective degrees of freedom of every strength."""
    path: Any = chosen.path
    for q in range(min(path.scores.shape[1], draw.MANY)):
        ax.semilogx(path.strengths[:, q], path.effective_dof[:, q], color=draw.HUES[q])
        here, own = _strength(chosen, q), chosen.effective_dof[q]
        ax.plot(here, own, draw.MARKERS[q], color=draw.HUES[q], markersize=7)
    draw.entitle(ax, "Effective degrees of freedom", _strength_label(chosen))
    ax.set_ylim(bottom=0)


def _strength(chosen: Regularization, q: int) -> float:
    """Return the selected strength of an output: the geometric mean if there are bands."""
    return float(np.exp(np.log(chosen.strength[..., q]).mean()))


def _strength_label(chosen: Regularization) -> str:
    if np.ndim(chosen.strength) == 2:
        return "geometric mean of the strengths"
    return chosen.parameter


def lag_windows(ax: Any, chosen: LagChoice) -> None:
    """Draw the score of every window of lags as an image over its first and last lag."""
    axis = Axis(chosen.candidates, chosen.problem.fs)
    border = draw.edges(np.asarray(axis.values, float))
    drawn = ax.pcolormesh(border, border, chosen.scores, cmap="viridis")
    ax.figure.colorbar(drawn, ax=ax, label=CRITERIA.get(chosen.criterion, chosen.criterion))
    first, last = (lag * axis.scale for lag in chosen.lags)
    words = f"chosen: {axis.at(range(chosen.lags[0], chosen.lags[1] + 1))}"
    ax.plot(last, first, "o", color=draw.BAD, label=words)
    draw.entitle(ax, "Choice of the lags", "", f"first {axis.label}")
    draw.lag_axis(ax, axis, f"last {axis.label}")
    draw.legend(ax, loc="upper left")  # where no window is


def bars(ax: Any, table: Comparison, key: str) -> None:
    """Draw one of the `NUMBERS` of every method on a log axis; zero is written."""
    values = np.array([row[key] for row in table.rows], float)  # NaN for None
    drawn, at = values[values > 0], np.arange(len(values))
    high = drawn.max(initial=0.0) or 1.0
    low = 10 ** np.floor(np.log10(drawn.min(initial=high))) / 2
    ends = np.where(values > 0, values, low)
    made = ax.barh(at, ends - low, left=low, color=draw.GOOD, height=0.6)
    labels = ["" if np.isnan(v) else f"{v:.1e}" if v else "0" for v in values]
    ax.bar_label(made, labels, padding=3, fontsize="small")
    # The numbers stand behind the bars, so the axis needs none.
    ax.set(xscale="log", xlim=(low, high * (high / low) ** 0.45), ylim=(len(values) - 0.5, -0.5))
    ax.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
    ax.set_yticks(at, [shortened(row["method"], 12) for row in table.rows])
    draw.entitle(ax, key.replace("_", " ").capitalize(), "")


def kernels(ax: Any, table: Comparison, pair: Pair) -> None:
    """Draw the kernels of several methods for one channel and output."""
    draw.zero(ax)
    for m, (name, fit) in enumerate(table.solutions.items()):
        if fit.status == "diverged":
            continue
        kernel = kernel_of(fit)
        dashes, width = ("-", "--", ":")[m // draw.MANY % 3], max(1.0, 4.5 - 0.5 * m)
        curve(ax, kernel, pair, m, label=name, ls=dashes, linewidth=width, marker="")
    title = ": ".join(["Impulse responses", *kernel.label(pair)])
    draw.entitle(ax, title, "", "weight")
    draw.lag_axis(ax, kernel.axes[0])
    draw.legend(ax, ncols=2)


def subjects(ax: Any, group: GroupSolution, pair: Pair) -> None:
    """Draw the kernels of the subjects, and the kernel of the group with its band."""
    kernel = group_kernel(group)
    for i, own in enumerate(group.impulse_responses.values()):
        values = np.reshape(own, kernel.values.shape)[:, *pair]
        style = {"color": draw.GREY, "linewidth": 0.8, "label": "a subject" if i == 0 else None}
        ax.plot(kernel.axes[0].values, values, **style)
    lines(ax, kernel, [pair])
