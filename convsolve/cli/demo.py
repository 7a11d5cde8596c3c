"""``convsolve demo``: two small problems and a measured response, in seconds."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..api import identify, solve
from ..comparison import compare
from ..datasets import event_related_fmri, nitime_fir
from ..files import replacing
from ..plotting.figures import plot as draw
from ..problem.problem import Problem
from ..solution import Solution
from ..solvers.gradient_descent import GradientDescent

Out = Callable[[str], object]

BLOCKS = "▁▂▃▄▅▆▇█"
SCAN = 2.0  # seconds from one scan to the next


def run(
    out: Out = print, plot: str | Path | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Solve the problems, and describe each step and its result.

    Args:
        out: takes one string a line.
        plot: where the responses are drawn, which needs matplotlib; None for no figure.
        overwrite: replace a figure that exists.

    Returns:
        The numbers behind the text: "filter", "short" and "fmri".
    """
    _head(out, "1. One filter", "x = [0, 3, 4, 5] was filtered with 2 taps to y = [6, 11, 14].")
    adam = {"solver": GradientDescent(steps=200), "loss": "absolute"}
    methods: dict[str, Any] = {"least squares": "auto", "FFT": "fft", "Adam": adam}
    table = compare(Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2), methods, truth=[2, 1])
    out(str(table))
    for name, fit in table.solutions.items():
        out(f"  {name:14} {fit.kernel.ravel().round(6)}")
    _say(out, "Least squares finds the filter [1, 2]. Adam on absolute errors comes near. "
         "The FFT divides spectra, which is exact for circular records.")  # fmt: skip

    _head(out, "2. A short record", "5 samples of y, for the 6 taps of 2 channels.")
    x = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0]])
    short = identify(Problem(x, [14, 20, 14, 15, 10], kernel_size=3))
    out(str(short))
    _say(out, "Many kernels fit these data equally well, and the report says which data would "
         "help. solve returns the shortest of them, with a warning.")  # fmt: skip

    _head(out, "3. A measured response", "3360 scans of a brain, with events of six types.")
    fit, fmri = _responses(out)
    if plot is not None:
        with replacing(plot, overwrite) as file:
            draw(fit).savefig(file, format=Path(plot).suffix[1:])
        out(f"\nThe responses are drawn in {plot}.")
    return {"filter": table.to_dict(), "short": short.to_dict(), "fmri": fmri}


def _responses(out: Out) -> tuple[Solution, dict[str, Any]]:
    """Return six haemodynamic responses from an event-related fMRI recording."""
    events, bold = event_related_fmri()
    problem = Problem(events, bold, lags=(0, 14), edges="zeros", fs=1 / SCAN)
    fit = solve(problem, noise="hac")
    responses = np.asarray(fit.impulse_response)
    low, high = responses.min(), responses.max()
    for kind, response in enumerate(responses.T, 1):
        levels = np.rint((response - low) / (high - low) * (len(BLOCKS) - 1)).astype(int)
        line, peak = "".join(BLOCKS[level] for level in levels), response.argmax()
        out(f"  event {kind}  {line}  largest {response[peak]:.3f} after {SCAN * peak:.0f} s")
    r2, off = float(fit.score().r2[0]), float(np.abs(responses - nitime_fir()).max())
    _say(out, f"R² is {r2:.6f}, and the data determine all taps. The responses equal those of "
         f"nitime to {off:.0e}.")  # fmt: skip
    return fit, {"r2": r2, "responses": responses.tolist(), "off_nitime": off}


def _head(out: Out, title: str, question: str) -> None:
    out(f"\n{title}\n{'-' * len(title)}\n{question}\n")


def _say(out: Out, text: str) -> None:
    out("\n" + textwrap.fill(text, 88))
