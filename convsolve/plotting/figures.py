"""Pictures of whatever convsolve returns: bare matplotlib figures, no pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..comparison import Comparison
from ..identifiability.report import Identifiability
from ..inference.regularization import Regularization
from ..lag_choice import LagChoice
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

# Of a solution, besides its kernel.
PREDICTION, RESIDUALS, PENALTY = BESIDES = ("prediction", "residuals", "penalty")
# Inches of a picture beside or below that of the kernel.
OTHER_WIDTH, OTHER_HEIGHT = 4.6, 4.2


def plot(
    thing: Drawn, *, channels: Any = None, outputs: Any = None, kind: str | None = None
) -> Figure:
    """A matplotlib figure of a problem, or of what `identify`, `solve`, `compare` or `choose_lags`
    returned.

    - A problem: the power of x over frequency, of every channel and of their weakest mixture;
      shaded where the data hardly tell what the kernel does.
    - A report, of its worst group: the singular values of the column-scaled design matrix beside
      the tolerance that decides the rank and the band in which nothing is certain; the state of
      every tap, by lag and channel; the first null vectors, or where there are none the noise gain.
    - A solution: the kernel over lags, prediction and y of the start of the first record (not after
      `load`), and the loss of an iteration; or what ``kind`` says.
    - A comparison: gap of the loss, kernel error, null part and time of every method, and their
      kernels over each other.
    - ``fit.regularization``: the score of every strength, that of the choice marked, and the
      effective degrees of freedom; of folds each one too.
    - A choice of lags: the score of every window, first against last lag, the choice marked.

    Args:
        thing: what to draw.
        channels, outputs: of a solution, those to draw, by number or name, one or a list; all by
            default.
        kind: of a solution, one picture by itself. The kernel as "lines" with their 95 % bands,
            many of them in a panel for every channel (or output, whichever are fewer); as a "grid",
            a panel with its band for every channel and output; or as an "image", lags across. (One
            of these is chosen by how many curves there are where ``kind`` is None. Of two and three
            axes a kernel is an image, of three its central slice.) Or "prediction": prediction and
            y, over time and against each other; "residuals": over time, their autocorrelation and
            their quantiles; "penalty": ``fit.regularization``, by name.

    The figure needs no display: ``plot(fit).savefig("fit.png")``. A notebook shows it as it is. Ink
    and paper are those of the style in use, ``matplotlib.style.use("dark_background")`` say.

    Raises:
        TypeError: anything else; channels, outputs or a kind of what is no solution.
        ValueError: an unknown kind, channel or output; what the solution does not have.
        ImportError: matplotlib is missing; ``pip install 'convsolve[plot]'`` brings it.
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
        if fit.regularization is None:
            raise ValueError(
                "kind='penalty' is of a choice by the data, which this solution has none of: see "
                "Regularized"
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
    """The kernel, how it fits the data, and how it was found."""
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
    """A figure, its part for the kernel, and parts for some others: beside one row of panels, and
    below several.
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
    """The loss of every step of an iteration."""
    axes.plot(trace.steps, trace.losses, color=GOOD)
    axes.set(title="Loss", xlabel="step", ylabel="loss that is minimised")
    axes.set_yscale("log" if (trace.losses > 0).any() else "linear")
