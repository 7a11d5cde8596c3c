"""Figures of problems and results, by matplotlib without pyplot."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from ..comparison import Comparison
from ..identifiability.report import Identifiability
from ..inference.regularization import Regularization, of_some
from ..lag_choice import LagChoice
from ..problem.checks import choice
from ..problem.problem import Problem
from ..solution import Solution
from ..subjects import GroupSolution
from .choice_figures import draw_lag_choice, draw_regularization
from .comparison_figure import draw_comparison
from .drawing import GOOD, Drawing, Picture, Place, drawing, side_by_side
from .fit_figures import prediction, r2_of_outputs, residuals
from .group_figure import draw_group
from .input_figure import draw_input
from .kernel_figure import KINDS, Pair, doubts, draw_kernel_of, layout, pairs_of
from .report_figure import draw_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..solvers.base import Trace

    Drawn = (
        Problem
        | Identifiability
        | Solution
        | Comparison
        | Regularization
        | LagChoice
        | GroupSolution
    )

# Pictures of a solution, other than its kernel.
BESIDES = ("prediction", "residuals", "penalty", "trace", "patterns")
PREDICTION, RESIDUALS, PENALTY, TRACE, PATTERNS = BESIDES
# Width and height in inches of a picture next to the kernel, or below it.
OTHER_WIDTH, OTHER_HEIGHT = 4.6, 4.2


def plot(
    result: Drawn,
    kind: str | None = None,
    *,
    channels: Any = None,
    outputs: Any = None,
    ax: Any = None,
) -> Figure:
    """Draw a problem, or the result of `solve` or another function.

    All these objects also have a method ``plot``.

    - Problem: the power spectrum of x, for every channel.
    - Report, for its worst group: the singular values of the column-scaled design matrix with the
      tolerance that decides the rank and the range in which the rank is ambiguous; the state of
      every tap by lag and channel; the first null vectors, or the noise gain if there are none.
    - Solution: the kernel over lags; prediction and y at the start of the first record, unless the
      solution was loaded from a file; and the loss of an iteration. ``kind`` selects one picture.
      Taps that the data do not determine have hollow markers, or are hatched in images. Images are
      grey at taps that are not in the model.
    - Comparison: excess of the loss, kernel error, undetermined component and run time of every
      method, and all impulse responses.
    - ``fit.regularization``: the score of every strength, with a mark at the choice, and the
      effective degrees of freedom. The scores of single folds are shown too.
    - Choice of lags: the score of every window, as an image over its first and last lag.
    - Group of subjects: the kernel of the group with its band, and the kernels of all subjects, for
      the first four channels and outputs.

    Args:
        result: the object to draw.
        kind: one picture of a solution:

            - "lines": the kernel as curves with 95 % bands; if there are many, in a panel for every
              channel or output, whichever are fewer. More than 7 curves in a panel have no bands;
            - "grid": the kernel in a panel for every channel and output, each with its band;
            - "image": the kernel as an image, with lags from left to right;
            - "prediction": measured and predicted y, over time and against each other;
            - "residuals": residuals over time, their autocorrelation and their quantiles; under
              noise="ar", the latter two show the filtered residuals;
            - "penalty": ``fit.regularization``;
            - "trace": the loss of every step of an iteration;
            - "patterns": `Solution.patterns` of a decoder, drawn as a kernel without bands.

            By default, an overview whose form depends on the number of curves. A kernel with two
            axes is always an image, and a kernel with three axes an image of its central slice.
        channels: channels of a solution to draw, by number or name, one or a list. None, the
            default, draws all.
        outputs: outputs of a solution to draw, as channels.
        ax: matplotlib axes to draw on, or an array or a list of axes if the figure has several
            panels. By default, a new figure is created. With ``ax`` and without ``kind``, only the
            kernel of a solution is drawn.

    Returns:
        A figure, which needs no display. It is the figure of ``ax`` if axes are given.
        ``plot(fit).savefig("fit.png")`` writes it. The colours of text and background follow the
        style, for example ``matplotlib.style.use("dark_background")``.

    Raises:
        TypeError: If the object cannot be drawn, if channels, outputs or kind are given for an
            object that is not a solution, or if ``ax`` contains anything but axes.
        ValueError: If the kind, a channel or an output is unknown, or if the solution does not have
            the data of the picture. If the number of axes is not the number of panels.
        ImportError: If matplotlib is not installed (``pip install 'convsolve[plot]'``).

    Examples:
        >>> import convsolve as cs
        >>> fit = cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2))
        >>> from matplotlib.figure import Figure
        >>> figure = Figure()
        >>> left, right = figure.subplots(1, 2)
        >>> cs.plot(fit, kind="lines", ax=left) is figure
        True

    See Also:
        `Solution.plot`, `Problem.plot` and `Solution.to_html`.
    """
    if isinstance(result, Solution):
        pairs = pairs_of(result, channels, outputs)
        return _solution(result, pairs, kind, ax is None).figure(ax)
    for kinds, draw in DRAWN:
        if isinstance(result, kinds):
            if (channels, outputs, kind) != (None, None, None):
                raise TypeError(
                    "channels, outputs and kind choose panels of a solution, not of a "
                    f"{type(result).__name__}"
                )
            picture: Picture = draw(result)
            return picture.figure(ax)
    raise TypeError(
        "plot takes a Problem, what identify, solve, compare, choose_lags or solve_group "
        f"returned, or fit.regularization, got {type(result).__name__}"
    )


DRAWN: tuple[tuple[type, Any], ...] = (
    (Problem, draw_input),
    (Identifiability, draw_report),
    (Comparison, draw_comparison),
    (Regularization, draw_regularization),
    (LagChoice, draw_lag_choice),
    (GroupSolution, draw_group),
)


def _solution(fit: Solution, pairs: list[Pair], kind: str | None, whole: bool) -> Picture:
    """Return a picture of one kind. Without a kind, an overview or the kernel only."""
    if kind is None and whole:
        return _overview(fit, pairs)
    if kind is not None:
        choice(kind, "kind", (*KINDS, *BESIDES))
    outputs = [*dict.fromkeys(o for _, o in pairs)]
    if kind == PREDICTION:
        shown = prediction(fit, fit._fitted(), outputs[0])
        return side_by_side(shown + ([r2_of_outputs(fit, outputs)] if len(outputs) > 1 else []))
    if kind == RESIDUALS:
        return side_by_side(residuals(fit, fit._fitted(), outputs))
    if kind == TRACE:
        if fit.trace is None:
            raise ValueError("kind='trace' draws an iteration, and this solution has no trace")
        return side_by_side([losses(fit.trace)])
    if kind == PENALTY:
        if fit.regularization is None or fit.regularization.path is None:
            raise ValueError("kind='penalty' draws the selection of a strength, and none was")
        return draw_regularization(of_some(fit.regularization, outputs))
    if kind == PATTERNS:
        return _patterns(fit, pairs)
    wanted = layout(fit, pairs, kind)
    return Picture(wanted.size, lambda place: draw_kernel_of(place, fit, wanted, doubts(fit)))


def _patterns(fit: Solution, pairs: list[Pair]) -> Picture:
    """Return a picture of the patterns: the kernel of a solution without data, and so of bands."""
    shown = copy(fit)
    shown.kernel = fit._patterns()
    shown._space = None  # patterns also exist outside of the windows of lags
    shown.problem = shown.identifiability = shown._saved_errors = None
    shown._parts = ()
    wanted = layout(shown, pairs, None)._replace(title="Patterns", unit="pattern")
    return Picture(wanted.size, lambda place: draw_kernel_of(place, shown, wanted, doubts(fit)))


def _overview(fit: Solution, pairs: list[Pair]) -> Picture:
    """Return pictures of the kernel, of the prediction and of the iteration."""
    wanted = layout(fit, pairs, None)
    others: list[Drawing] = []
    if fit.identifiability is not None:
        others += prediction(fit, fit._fitted(), pairs[0][1])[:1]
    if fit.trace is not None:
        others.append(losses(fit.trace))
    (width, height), one_row = wanted.size, len(wanted.rows) == 1
    widths = [width, *[OTHER_WIDTH] * len(others)]

    def draw(place: Place) -> None:
        place.title(doubts(fit), fontsize="large")
        # Other pictures are next to a kernel with one row of panels, and below several rows.
        if one_row or not others:
            first, *rest = place.parts(1, len(widths), width_ratios=widths)
        else:
            first, below = place.parts(2, 1, height_ratios=(height, OTHER_HEIGHT))
            rest = below.parts(1, len(others))
        draw_kernel_of(first, fit, wanted)
        for part, each in zip(rest, others, strict=True):
            each.draw(part.panel())

    if one_row or not others:
        return Picture((sum(widths), max(height, OTHER_HEIGHT)), draw)
    return Picture((max(width, OTHER_WIDTH * len(others)), height + OTHER_HEIGHT), draw)


@drawing("The loss of every step of the iteration.")
def losses(axes: Axes, trace: Trace) -> None:
    """Draw the loss at every step of an iteration."""
    axes.plot(trace.steps, trace.losses, color=GOOD)
    axes.set(title="Loss per step", xlabel="step", ylabel="loss")
    axes.set_yscale("log" if (trace.losses > 0).any() else "linear")
