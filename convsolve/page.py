"""A solution as one page of HTML, from its facts and figures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from html import escape
from typing import Any

from . import __version__
from .facts import DATA, Reported, in_html
from .plotting.draw import png
from .plotting.figures import plot
from .scoring import Score
from .solution import Solution
from .solution_facts import Weights

# Dots per inch of figures.
DOTS = 150
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem;
  margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ccc; }
.warning { border-left: 4px solid #d55e00; padding-left: .8rem; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
.facts th { width: 8rem; color: #555; font-weight: 400; }
.numbers { font-variant-numeric: tabular-nums; overflow-x: auto; }
.numbers th, .numbers td { text-align: right; white-space: nowrap; }
.numbers th:first-child, .numbers td:first-child { text-align: left; }
.numbers tr:first-child { border-bottom: 1px solid #999; }
caption { text-align: left; } img { max-width: 100%; height: auto; display: block; }
pre { background: #f4f4f4; padding: .7rem; white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 3rem; color: #555; }
@media print { table, img { break-inside: avoid; } h2 { break-after: avoid; } }
"""


def page(fit: Solution, held_out: Score | None = None, *, title: str = "", call: str = "") -> str:
    """Return the page of a solution.

    Args:
        fit: the solution. The page of a loaded solution has the parts that need no training data.
        held_out: its scores on data that were not used in the fit, if there are any.
        title: the headline. By default it describes the kernel.
        call: the command line that computed it. By default a call in Python.

    Raises:
        ImportError: If matplotlib is missing; ``pip install 'convsolve[plot]'`` installs it.
    """
    title = escape(title or f"Impulse response: {Weights(fit).sentence()}")
    parts = "".join(f"<h2>{head}</h2>{body}" for head, body in _sections(fit, held_out) if body)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>"
        f"{parts}<h2>Call</h2><pre>{escape(call or fit.stats['call'])}</pre>"
        f"<footer>Made by convsolve {__version__}.</footer></body></html>\n"
    )


def _sections(fit: Solution, held_out: Score | None) -> Iterator[tuple[str, str]]:
    """Yield headlines and contents. A section without content is left out."""
    report, chosen, training = fit._report, fit.regularization, fit.problem
    doubts = f"<p class='warning'>{escape(fit._correlation)}</p>" if fit._correlation else ""
    yield "Summary", _shown(fit) + doubts
    yield "Impulse response", _figure(fit, "The kernel.", "kernel")
    scores = "" if held_out is None else f"<h3>On new data</h3>{_shown(held_out)}"
    if training is None:
        yield "Fit to the data", scores
    else:
        in_time = training.spec.ndim == 1
        panels = ("prediction", "residuals") if in_time else ("against", "quantiles")
        scores += f"<h3>On the training data</h3>{_shown(fit.score())}"
        yield "Fit to the data", scores + _figure(fit, "Prediction and measured y.", panels[0])
        yield "Residuals and noise", _figure(fit, "Residuals.", panels[1])
    if chosen is not None and chosen.path is not None:
        yield "Penalty", _shown(chosen) + _figure(chosen, "Scores of strengths.")
    if report is not None:
        doubt = report._decided and not (report.unique and not report._weakly_determined.any())
        drawn = _figure(report, "Singular values, and which taps are determined.") if doubt else ""
        yield "Identifiability", _shown(report) + drawn
    if training is not None:
        power = _figure(training, "Power of x.") if in_time else ""
        yield "Data", _shown(training) + power
    if fit.trace is not None and "gradient" in str(fit.stats["solver"]).lower():
        yield "Iteration", _figure(fit, "Loss per step.", "trace")


def _shown(result: Reported) -> str:
    return in_html(fact for fact in result.facts() if fact.shown != DATA)


def _figure(result: Any, words: str, kind: str | None = None) -> str:
    """Return a figure in matplotlib's default style as an image in the page."""
    from matplotlib import rc_context, rcParamsDefault

    style = {k: v for k, v in rcParamsDefault.items() if not k.startswith("backend")}
    with rc_context(style):
        data = b64encode(png(plot(result, kind), DOTS)).decode()
    return f"<img alt='{words}' src='data:image/png;base64,{data}'>"
