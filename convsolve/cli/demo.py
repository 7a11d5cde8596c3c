"""``convsolve demo``: five small problems, diagnosed and solved by several methods, in seconds."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optax

from ..api import identify, solve
from ..comparison import Comparison, certificate_of, compare
from ..datasets import event_related_fmri, nitime_fir
from ..files import replacing
from ..identifiability.report import Identifiability
from ..identifiability.wording import equations, verdict
from ..problem.problem import Problem
from ..solution import Solution
from ..solvers.gradient_descent import GradientDescent
from ..text import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Out = Callable[[str], object]
Columns = dict[str, Callable[[dict[str, Any]], str]]

WIDTH = 96
SCAN = 2.0  # seconds from one scan to the next
BLOCKS = "▁▂▃▄▅▆▇█"

ONE = np.array([0, 3, 4, 5])
TWO = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]])
TWO_Y = np.array([14, 20, 14, 15, 10, 4])
TWO_KERNEL = np.array([[1, 0], [0, 1], [2, 0]])


def run(
    out: Out = print, plot: str | Path | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Work through the problems, telling ``out`` line by line what each of them shows.

    Args:
        out: takes one string a line.
        plot: where to draw the picture, which needs matplotlib; None for no picture.
        overwrite: replace a picture that exists.

    Returns:
        The numbers behind the text: "problems", a list of reports and tables, and "fmri".
    """
    out("convsolve: which kernel made y out of x, and do the data know?")

    tables = _small_problems(out)
    _head(
        out,
        "5. A measured response",
        "3360 scans of a brain, one every 2 s, events of six types: how does the blood respond?",
    )
    fit, fmri = _responses(out)

    if plot is not None:
        with replacing(plot, overwrite) as file:
            picture(fit, tables[-1]).savefig(file, format=Path(plot).suffix[1:])
        out(f"\nThe responses, and the kernels of problem 4, are drawn in {plot}.")
    else:
        missing = find_spec("matplotlib") is None
        how = "install matplotlib (pip install 'convsolve[plot]'), then " if missing else ""
        out(f"\nFor a picture: {how}convsolve demo --plot demo.png")
    problems = [
        {"identifiability": t.identifiability.to_dict(), "rows": t.to_dict()} for t in tables
    ]
    return {"problems": problems, "fmri": fmri}


def _small_problems(out: Out) -> list[Comparison]:
    """Solve the first four examples by every method."""
    one = Problem(ONE, [6, 11, 14], kernel_size=2)
    two = Problem(TWO, TWO_Y, kernel_size=3)
    filters = Problem(ONE, np.array([[6, 12], [11, 25], [14, 32]]), kernel_size=2)
    short = Problem(TWO[:7], TWO_Y[:5], kernel_size=3)

    _head(out, "1. One filter", "x = [0, 3, 4, 5] went through 2 taps to y = [6, 11, 14]: which?")
    tables = [_by_every_method(out, one, [2, 1], steps=200)]
    _say(
        out,
        "The closed forms give [1, 2] to the last digit, and certify it. Adam on the mean absolute "
        "error, as a training loop in Keras has it, comes near and hovers there. The FFT divides "
        "spectra, which is exact for circular and for full records; this one is neither, and it "
        "says so.",
    )

    _head(out, "2. Two channels", "8 steps of 2 channels, 6 steps of y: which 3 taps a channel?")
    tables.append(_by_every_method(out, two, TWO_KERNEL[::-1], steps=1000))
    _say(
        out,
        "Just enough data: any y at all would be fitted without error, so that a loss of zero "
        "proves nothing here. The condition says how much noise would be amplified, and why the "
        "descent is slow.",
    )

    _head(out, "3. Two filters", "The x of problem 1 went through two kernels, to two outputs.")
    tables.append(_by_every_method(out, filters, [[2, 4], [1, 3]], steps=1000))
    _say(
        out,
        "Twice the unknowns, but twice the equations as well: each output has its own three for "
        "its own two taps. More filters never make a problem less determined.",
    )

    _head(out, "4. Too short a record", "Problem 2 with its first 7 samples: 5 rows, 6 taps.")
    tables.append(_underdetermined(out, short))
    return tables


def picture(fit: Solution, table: Comparison) -> Figure:
    """Draw the haemodynamic responses, and the kernels of the methods of ``table``."""
    from ..plotting.comparison_figure import draw_kernels
    from ..plotting.drawing import colours, curves, new_figure

    figure = new_figure(12, 4.4)
    places: Any = figure.subfigures(1, 2, width_ratios=(5, 7))
    left, right = places
    axes = left.subplots()
    labels = [f"event {i + 1}" for i in range(fit.impulse_response.shape[1])]
    curves(axes, fit.lags * SCAN, fit.impulse_response, labels)
    axes.set(xlabel="time after the event (s)", ylabel="response of the BOLD signal")
    left.suptitle("Six haemodynamic responses")
    panels = right.subplots(1, 2)
    draw_kernels(panels, table)
    for axes, taps in zip(panels, TWO_KERNEL.T, strict=True):
        at = table.identifiability.problem._lags[0]
        axes.hlines(taps, at - 0.3, at + 0.3, color=colours()[-1], label="what made y")
    handles, names = panels[0].get_legend_handles_labels()
    right.legend(handles, names, loc="outside lower center", ncols=3, fontsize="small")
    right.suptitle("5 equations, 6 unknowns: equally good fits, different kernels")
    return figure


def _by_every_method(out: Out, problem: Problem, truth: Any, steps: int) -> Comparison:
    """Judge, compare, and show the answers and how far they are from the truth."""
    _judge(out, identify(problem))
    methods = {
        "SVD": "svd",
        "QR": "qr",
        "normal equations": "normal",
        "FFT": "fft",
        "Adam on MAE": {"solver": GradientDescent(steps=steps), "loss": "absolute"},
    }
    table = _compared(problem, methods, truth)
    columns: Columns = {
        "method": lambda row: row["method"],
        "status": lambda row: row["status"],
        "kernel": lambda row: _numbers(table.solutions[row["method"]].kernel),
        "error": lambda row: f"{row['kernel_error']:.1e}",
        "certificate": lambda row: certificate_of(row) or "–",
        "ms": lambda row: f"{1e3 * row['run_seconds']:.1f}",
    }
    _show(out, table.rows, columns)
    compiled = table.rows[-1]["compile_seconds"]
    out(f"  (ms: time of running; Adam took {steps} steps, and {compiled:.1f} s to compile before)")
    return table


def _compared(problem: Problem, methods: dict[str, Any], truth: Any = None) -> Comparison:
    table = compare(problem, methods, truth=truth)
    if any(fit.status == "interrupted" for fit in table.solutions.values()):
        raise KeyboardInterrupt  # which ended that descent only, and is meant for the whole
    return table


def _underdetermined(out: Out, problem: Problem) -> Comparison:
    """Five ways to the bottom of a flat valley, and where in it each of them ends."""
    report = identify(problem)
    _judge(out, report)
    # The largest eigenvalue of the Hessian of the loss, a mean over m rows: 2/m AᵀA.
    largest = 2 / report.n_equations * float(report.singular_values[0][0]) ** 2
    plain = GradientDescent(optax.sgd(1 / largest), steps=50_000, init="zeros", tol=1e-8)
    momentum = optax.sgd(1 / largest, momentum=0.9)
    methods = {
        "SVD, minimum norm": "svd",
        "plain descent": plain,
        "with momentum": replace(plain, optimizer=momentum),
        "L-BFGS": replace(plain, optimizer="lbfgs", steps=1000),
        "Adam": GradientDescent(steps=50_000, init="zeros", tol=1e-8),
    }
    table = _compared(problem, methods)
    shortest = table.solutions["SVD, minimum norm"].kernel

    def away(row: dict[str, Any]) -> str:
        off = np.linalg.norm(table.solutions[row["method"]].kernel - shortest)
        return f"{off / np.linalg.norm(shortest):.1e}"

    columns: Columns = {
        "method": lambda row: row["method"],
        "steps": lambda row: "–" if row["steps"] is None else str(row["steps"]),
        "loss": lambda row: f"{row['loss']:.0e}",
        "kernel": lambda row: _numbers(table.solutions[row["method"]].kernel),
        "off shortest": away,
        "null part": lambda row: f"{row['null_component']:.0e}",
    }
    _show(out, table.rows, columns)
    _say(
        out,
        "All five fit every row of y, and none found the kernel of problem 2: no method can, the "
        "data do not hold it. Started from zero, plain descent (steps of 1/λ₁), momentum and "
        "L-BFGS end at the shortest kernel that fits, which the SVD gives at once. Adam fits as "
        "well but ends elsewhere: it has put something where the data say nothing (the null part).",
    )
    return table


def _responses(out: Out) -> tuple[Solution, dict[str, Any]]:
    """Six haemodynamic responses from an event-related fMRI recording."""
    events, bold = event_related_fmri()
    problem = Problem(events, bold, lags=(0, 14), edges="zeros")
    report = identify(problem)
    _judge(out, report)
    fit = solve(problem)
    responses = np.asarray(fit.impulse_response)
    low, high = responses.min(), responses.max()
    seconds = fit.lags * SCAN
    span = f"{seconds[0]:.0f} to {seconds[-1]:.0f} s"

    def sparkline(row: dict[str, Any]) -> str:
        level = (responses[:, row["i"]] - low) / (high - low) * (len(BLOCKS) - 1)
        return "".join(BLOCKS[round(v)] for v in level)

    columns: Columns = {
        "event type": lambda row: str(row["i"] + 1),
        f"response, {span}": sparkline,
        "peak": lambda row: f"{responses[:, row['i']].max():.3f}",
        "at": lambda row: f"{seconds[responses[:, row['i']].argmax()]:.0f} s",
        "lowest": lambda row: f"{responses[:, row['i']].min():.3f}",
        "at ": lambda row: f"{seconds[responses[:, row['i']].argmin()]:.0f} s",
    }
    _show(out, [{"i": i} for i in range(responses.shape[1])], columns)
    r2 = float(fit.score().r2[0])
    off = float(np.abs(responses - nitime_fir()).max())
    _say(
        out,
        f"R² is {r2:.6f}: the events explain a quarter of the signal. The data determine every "
        f"tap, and each response equals what nitime's own FIR analysis finds, to {off:.0e}.",
    )
    numbers = {
        "identifiability": report.to_dict(),
        "r2": r2,
        "lags": fit.lags.tolist(),
        "responses": responses.tolist(),
        "off_nitime": off,
    }
    return fit, numbers


def _head(out: Out, title: str, question: str) -> None:
    out(f"\n{title}\n{'─' * len(title)}\n{question}\n")


def _say(out: Out, text: str) -> None:
    out("\n" + textwrap.fill(text, WIDTH, break_on_hyphens=False))


def _judge(out: Out, report: Identifiability) -> None:
    """Print verdict, number of equations, condition number and suggestions of a report."""
    lines = [verdict(report._diagnosis), f"equations: {equations(report._diagnosis)}"]
    if report.unique:
        lines.append(
            f"condition number {report.condition_number:.3g}, all {report.identifiable.size} taps "
            "identifiable"
        )
    lines += [f"suggestion: {one}" for one in report.suggestions]
    for line in lines:
        out(textwrap.fill(line, WIDTH, initial_indent="  ▸ ", subsequent_indent="    "))
    out("")


def _show(out: Out, rows: list[dict[str, Any]], columns: Columns) -> None:
    """Print a table: words in the first two columns on the left, numbers on the right."""
    cells = [list(columns), *([tell(row) for tell in columns.values()] for row in rows)]
    for line in aligned(cells, 2, "─"):
        out(f"  {line}")


def _numbers(kernel: Any) -> str:
    # Adding zero takes the sign off a rounded -0.
    return " ".join(f"{v:.3f}" for v in np.round(np.asarray(kernel, float).ravel(), 3) + 0.0)
