"""``convsolve demo``: two small problems, a measured response and a descent, in seconds."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.signal import lfilter

import convsolve as cs

BLOCKS = "▁▂▃▄▅▆▇█"
SCAN = 2.0  # seconds from one scan to the next


def run(out: Callable[[str], Any] = print) -> tuple[dict[str, Any], cs.Solution]:
    """Solve the problems, and describe each step and its result.

    Args:
        out: takes texts of lines.

    Returns:
        The numbers behind the text, "filter", "short", "fmri" and "descent", and the measured
        response.
    """
    _say(out, "1. One filter", "x = [0, 3, 4, 5] was filtered with 2 taps to y = [6, 11, 14].")
    adam = {"solver": cs.GradientDescent(steps=200), "loss": "absolute"}
    methods: dict[str, Any] = {"least squares": "auto", "FFT": "fft", "Adam": adam}
    problem = cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2)
    table = cs.compare(problem, methods, truth=[1, 2])
    kernels = (f"  {n:14} {fit.kernel.ravel().round(6)}" for n, fit in table.solutions.items())
    out("\n".join([str(table), *kernels]))
    _say(out, "", "Least squares finds the filter [1, 2]. Adam on absolute errors comes near. "
         "The FFT divides spectra, which is exact for circular records.")  # fmt: skip

    _say(out, "2. A short record", "5 samples of y, for the 6 taps of 2 channels.")
    x = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0]])
    short = cs.identify(cs.Problem(x, [14, 20, 14, 15, 10], kernel_size=3))
    out(str(short))
    _say(out, "", "Many kernels fit these data equally well, and the report lists data that would "
         "help. solve returns the shortest of them, with a warning.")  # fmt: skip

    _say(out, "3. A measured response", "3360 scans of a brain, with events of six types.")
    events, bold = cs.datasets.event_related_fmri()
    brain = cs.Problem(events, bold, lags=(0, 14), edges="zeros", fs=1 / SCAN)
    fit = cs.solve(brain, noise="hac")
    responses = np.asarray(fit.impulse_response)
    levels = (responses - responses.min()) / np.ptp(responses) * (len(BLOCKS) - 1)
    for kind, (response, heights) in enumerate(zip(responses.T, levels.T, strict=True), 1):
        line, peak = "".join(BLOCKS[h] for h in np.rint(heights).astype(int)), response.argmax()
        out(f"  event {kind}  {line}  largest {response[peak]:.3f} after {SCAN * peak:.0f} s")
    off = float(np.abs(responses - cs.datasets.nitime_fir()).max())
    r2 = float(fit.score().r2[0])
    _say(out, "", f"R² is {r2:.6f}, and the data determine all taps. The responses equal those of "
         f"nitime to {off:.0e}.")  # fmt: skip
    fmri = {"r2": r2, "responses": responses.tolist(), "off_nitime": off}
    descent = _descend(out)
    numbers = {"filter": table, "short": short, "descent": descent}
    return {"fmri": fmri} | {name: result.to_dict() for name, result in numbers.items()}, fit


def _descend(out: Callable[[str], Any]) -> cs.extend.Comparison:
    """Compare a closed form with gradient descent, and describe the result."""
    rng = np.random.default_rng(0)
    x = lfilter([1], [1, -0.9], rng.standard_normal(5000))
    lags = np.arange(40)
    clean = lfilter(np.exp(-lags / 8) * np.cos(lags / 3), [1], x)
    problem = cs.Problem(x, clean + clean.std() * rng.standard_normal(x.size), lags=(0, 39))

    _say(out, "4. Gradient descent or a closed form?", "5000 samples of an input that is "
         "correlated in time, 40 taps, as much noise as signal.")  # fmt: skip
    methods = {"closed form": "auto", "Nesterov": "nesterov", "Adam": "adam"}
    table = cs.compare(problem, methods)
    out(f"  {'method':12} {'status':10} excess / error  steps to 1  steps to 0.01")
    for row in table.rows:
        to_error, to_hundredth = row["steps_to_error"] or "–", row["steps_to_hundredth"] or "–"
        cells = f"{row['status']:10} {row['ratio']:14.1e} {to_error:>11} {to_hundredth:>14}"
        out(f"  {row['method']:12} {cells}")
    _say(out, "", "The ratio is the excess loss over the statistical error. At 1, a kernel is as "
         "far from the exact kernel as the exact kernel is from the truth.")  # fmt: skip
    out(f"\n{table.conclusion}")
    return table


def _say(out: Callable[[str], Any], title: str, text: str) -> None:
    """Print a paragraph, below its title if it has one."""
    head = f"\n{title}\n{'-' * len(title)}" if title else ""
    out(f"{head}\n{textwrap.fill(text, 88)}" + "\n" * bool(title))
