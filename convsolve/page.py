"""A solution as one page of HTML, from its facts and figures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from . import __version__
from .facts import DATA, Reported, in_html
from .identifiability.verdict import MEANING
from .plotting.draw import png
from .plotting.figures import plot
from .problem.spec import ConvSpec
from .scoring import Score
from .solution import Solution
from .solution_facts import Weights, verdict_of
from .text import span

# Dots per inch of figures, and names of channels in a headline or a call.
DOTS, NAMES = 150, 12
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
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
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>"
        f"{_paragraph(_lead(fit, held_out))}{parts}<h2>Code to repeat the fit</h2>"
        f"<pre>{escape(call or python_call(fit))}</pre>"
        f"<footer>Made by convsolve {__version__}.</footer></body></html>\n"
    )


def _sections(fit: Solution, held_out: Score | None) -> Iterator[tuple[str, str]]:
    """Yield headlines and contents. A section without content is left out."""
    report, chosen, training = fit._report, fit.regularization, fit.problem
    yield "Summary", _shown(fit) + _paragraph(fit._correlation, "warning")
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


def _paragraph(words: str, kind: str = "") -> str:
    return f"<p class='{kind}'>{escape(words)}</p>" if words else ""


def _figure(result: Any, words: str, kind: str | None = None) -> str:
    """Return a figure in matplotlib's default style as an image in the page."""
    from matplotlib import rc_context, rcParamsDefault

    style = {k: v for k, v in rcParamsDefault.items() if not k.startswith("backend")}
    with rc_context(style):
        data = b64encode(png(plot(result, kind), DOTS)).decode()
    return f"<img alt='{words}' src='data:image/png;base64,{data}'>"


def _lead(fit: Solution, held_out: Score | None) -> str:
    """Return the result in a few sentences."""
    verdict, words = verdict_of(fit), []
    words += [f"{verdict.capitalize()}: {MEANING[verdict]}."] if verdict else []
    if not fit.converged:
        words.append(f"The solution is not exact: {fit.stats['solver']} ended as {fit.status}.")
    if held_out is not None and not np.isnan(held_out.r2).all():
        words.append(f"R² on new data is {span(held_out.r2.tolist(), '.2f')}.")
    return " ".join(words)


def python_call(fit: Solution) -> str:
    """Return the call in Python. Arrays other than x and y are represented by names."""
    usual = {"groups": 1, "bias": False, "missing": "raise", "n_outputs": fit.kernel.shape[-1]}
    given = {k: v for k, v in fit._model.recipe.items() if v != usual.get(k)}
    if "spec" in given:
        given["spec"] = ConvSpec(**given["spec"])
    if windows := given.pop("windows", None):
        given["lags"] = dict(zip(fit.channels, map(tuple, windows), strict=True))
    words = [f"{name}={_written(value)}" for name, value in given.items()]
    if (problem := fit.problem) is not None:
        # With missing="drop", rows are also excluded without a mask.
        masked = problem._missing == "raise" and any(rows.flags for _, rows in problem._by_mask)
        words += ["mask=mask"] * masked + ["weights=weights"] * (problem._weights is not None)
        words += ["confounds=confounds"] * (problem._terms.columns is not None)
    call = f"problem = cs.Problem({', '.join(['x', 'y', *words])})"
    return "\n".join([call, f"fit = {fit.stats['call']}", f"# {fit.stats['rows']}"])


def _written(value: Any) -> str:
    """Return an argument as code. A long list is shortened."""
    if isinstance(value, list) and len(value) > NAMES:
        return f"[{value[0]!r}, …, {value[-1]!r}]"
    return f"cs.{value}" if isinstance(value, ConvSpec) else repr(value)
