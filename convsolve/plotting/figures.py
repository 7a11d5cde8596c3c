"""Figures of problems and results, by matplotlib without pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..comparison import Comparison
from ..identifiability.report import Identifiability
from ..inference.regularization import Regularization
from ..lag_choice import LagChoice
from ..near_misses import checks_arguments
from ..problem.checks import choice
from ..problem.problem import Problem
from ..solution import Solution
from .choice_figures import draw_lag_choice, draw_regularization
from .comparison_figure import draw_comparison
from .drawing import GOOD, drawable, drawing, new_figure, side_by_side
from .fit_figures import prediction, r2_of_outputs, residuals
from .input_figure import draw_input
from .kernel_figure import KINDS, Layout, Pair, draw_kernel_of, layout, pairs_of
from .report_figure import draw_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..solvers.base import Trace

    Drawn = Problem | Identifiability | Solution | Comparison | Regularization | LagChoice

# Pictures of a solution, other than its kernel.
PREDICTION, RESIDUALS, PENALTY = BESIDES = ("prediction", "residuals", "penalty")
# Width and height in inches of a picture next to the kernel, or below it.
OTHER_WIDTH, OTHER_HEIGHT = 4.6, 4.2


@checks_arguments
def plot(
    thing: Drawn, *, channels: Any = None, outputs: Any = None, kind: str | None = None
) -> Figure:
    """Draw a problem, or a result of `identify`, `solve`, `compare` or `choose_lags`.

    - Problem: the power of x over frequency, for every channel and for their weakest mixture.
      Frequencies are shaded if the data hardly determine the response there.
    - Report, for its worst group: the singular values of the column-scaled design matrix with the
      tolerance that decides the rank and the range in which the rank is ambiguous; the state of
      every tap by lag and channel; the first null vectors, or the noise gain if there are none.
    - Solution: the kernel over lags; prediction and y at the start of the first record, unless the
      solution was loaded from a file; and the loss of an iteration. ``kind`` selects one picture.
    - Comparison: excess of the loss, kernel error, part in the null space and time of every method,
      and all kernels in one panel.
    - ``fit.regularization``: the score of every strength, with a mark at the choice, and the
      effective degrees of freedom. The scores of single folds are shown too.
    - Choice of lags: the score of every window, as an image over its first and last lag.

    Args:
        thing: the object to draw.
        channels, outputs: channels and outputs of a solution, by number or name, one or a list. By
            default, all are drawn.
        kind: one picture of a solution:

            - "lines": the kernel as curves with 95 % bands; if there are many, in a panel for every
              channel or output, whichever are fewer;
            - "grid": the kernel in a panel for every channel and output, each with its band;
            - "image": the kernel as an image, with lags from left to right;
            - "prediction": prediction and y, over time and against each other;
            - "residuals": residuals over time, their autocorrelation and their quantiles;
            - "penalty": ``fit.regularization``.

            By default, an overview whose form depends on the number of curves. A kernel with two
            axes is always an image, and a kernel with three axes an image of its central slice.

    Returns:
        A figure, which needs no display. ``plot(fit).savefig("fit.png")`` writes it. The
        colours of text and background follow the style, for example
        ``matplotlib.style.use("dark_background")``.

    Raises:
        TypeError: If the object cannot be drawn, or if channels, outputs or kind are given for an
            object that is not a solution.
        ValueError: If the kind, a channel or an output is unknown, or if the solution does not have
            the data of the picture.
        ImportError: If matplotlib is not installed (``pip install 'convsolve[plot]'``).
    """
    if isinstance(thing, Solution):
        return _solution(thing, pairs_of(thing, channels, outputs), kind)
    for kinds, draw in DRAWN:
        if isinstance(thing, kinds):
            if (channels, outputs, kind) != (None, None, None):
                raise TypeError(
                    "channels, outputs and kind choose what is drawn of a solution, not of a "
                    f"{type(thing).__name__}"
                )
            return draw(thing)
    raise TypeError(
        "plot takes a Problem, what identify, solve, compare or choose_lags returned, or "
        f"fit.regularization, got {type(thing).__name__}"
    )


DRAWN: tuple[tuple[type, Any], ...] = (
    (Problem, draw_input),
    (Identifiability, draw_report),
    (Comparison, draw_comparison),
    (Regularization, draw_regularization),
    (LagChoice, draw_lag_choice),
)


def _solution(fit: Solution, pairs: list[Pair], kind: str | None) -> Figure:
    if kind is None:
        return _overview(fit, pairs)
    choice(kind, "kind", (*KINDS, *BESIDES))
    outputs = [*dict.fromkeys(o for _, o in pairs)]
    if kind == PREDICTION:
        shown = prediction(fit, fit.fitted(), outputs[0])
        return side_by_side(shown + ([r2_of_outputs(fit, outputs)] if len(outputs) > 1 else []))
    if kind == RESIDUALS:
        return side_by_side(residuals(fit, fit.fitted(), outputs))
    if kind == PENALTY:
        if fit.regularization is None or fit.regularization.path is None:
            raise ValueError(
                "kind='penalty' draws the selection of a strength, and none was selected; solve "
                "with penalty= and without a strength"
            )
        labels = (
            [drawable(fit.names).output(o) for o in outputs] if fit.kernel.shape[-1] > 1 else None
        )
        return draw_regularization(fit.regularization.only(outputs), labels)
    wanted = layout(fit, pairs, kind)
    figure = new_figure(*wanted.size)
    draw_kernel_of(figure, fit, wanted)
    return figure


def _overview(fit: Solution, pairs: list[Pair]) -> Figure:
    """Return pictures of the kernel, of the prediction and of the iteration."""
    wanted = layout(fit, pairs, None)
    others = (fit.identifiability is not None) + (fit.trace is not None)
    figure, first, rest = _divided(wanted, others)
    draw_kernel_of(first, fit, wanted)
    title = f"{fit.stats['solver']}: {fit.status}"
    if fit.identifiability is not None:
        title += f"; the data: {fit.identifiability.verdict}"
        prediction(fit, fit.fitted(), pairs[0][1])[0].draw(rest[0].subplots())
    figure.suptitle(title, fontsize="large")
    if fit.trace is not None:
        losses(fit.trace).draw(rest[-1].subplots())
    return figure


def _divided(wanted: Layout, others: int) -> tuple[Figure, Any, Any]:
    """Return a figure, its part for the kernel, and parts for some other pictures.

    These are next to a kernel with one row of panels, and below a kernel with several rows.
    """
    width, height = wanted.size
    if len(wanted.rows) == 1 or not others:
        widths = [width, *[OTHER_WIDTH] * others]
        figure = new_figure(sum(widths), max(height, OTHER_HEIGHT))
        first, *rest = figure.subfigures(1, len(widths), squeeze=False, width_ratios=widths)[0]
        return figure, first, rest
    figure = new_figure(max(width, OTHER_WIDTH * others), height + OTHER_HEIGHT)
    parts: Any = figure.subfigures(2, 1, height_ratios=(height, OTHER_HEIGHT))
    return figure, parts[0], parts[1].subfigures(1, others, squeeze=False)[0]


@drawing("The loss of every step of the iteration.")
def losses(axes: Axes, trace: Trace) -> None:
    """Draw the loss at every step of an iteration."""
    axes.plot(trace.steps, trace.losses, color=GOOD)
    axes.set(title="Loss", xlabel="step", ylabel="loss that is minimised")
    axes.set_yscale("log" if (trace.losses > 0).any() else "linear")
