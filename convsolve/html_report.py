"""A solution as one page of HTML: the kernel, how well it fits, and whether it is unique."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import __version__
from .html import code, facts, page, paragraph, picture, pictures, section, table
from .identifiability.excitation import excitation
from .identifiability.report import Identifiability
from .identifiability.wording import MEANING, equations
from .plotting.choice_figures import effective_dof, strength_scores
from .plotting.drawing import Drawing, Picture, drawable, new_figure, png, side_by_side
from .plotting.figures import losses, plot
from .plotting.fit_figures import prediction, residuals
from .plotting.input_figure import power
from .plotting.kernel_figure import curves_of, draw_kernel_of, layout, pairs_of
from .problem.description import sizes_sentence
from .problem.problem import Problem
from .problem.spec import ConvSpec
from .scoring import Score
from .solution import Fitted, Solution
from .solution_text import known_verdict
from .text import count

# Kernels, outputs and names that are listed at most.
MAX_PEAKS, MAX_OUTPUTS, MAX_NAMES = 20, 40, 12
# A tuple of more numbers than names are listed: its first and last number.
LONG_TUPLE = rf"\(([^(),=]+)(?:, [^(),=]+){{{MAX_NAMES - 1},}}, ([^(),=]+)\)"
# Inches of one picture among others, and dots an inch.
SIZE, DPI = (5.6, 3.9), 120


def html_report(
    fit: Solution, held_out: Score | None = None, *, title: str = "", call: str = ""
) -> str:
    """Return the page of a solution.

    Args:
        fit: the solution. The page of a loaded solution has the parts that need no training data.
        held_out: its scores on data that were not used in the fit, if there are any.
        title: the headline. By default it describes the data.
        call: the call or the command line that computed it. By default a call in Python.

    Raises:
        ImportError: If matplotlib is missing; ``pip install 'convsolve[plot]'`` installs it.
    """
    problem, report = fit.problem, fit.identifiability
    parts = [_summary(fit)]
    with _on_white():
        parts.append(_kernel(fit))
        fitted = None if problem is None else fit._fitted()
        if fitted is not None or held_out is not None:
            parts.append(_agreement(fit, held_out, fitted))
        if fitted is not None:
            parts.append(_residuals(fit, fitted))
        if fit.regularization is not None:
            parts.append(_penalty(fit))
        if problem is not None and report is not None:
            parts += [_determined(report), _data(problem, report)]
        if fit.trace is not None:
            parts.append(section("Iteration", _drawn(losses(fit.trace))))
    parts.append(section("Code to repeat the fit", code(call or python_call(fit))))
    title = title or _title(fit)
    return page(title, _lead(fit, held_out), parts, f"Made by convsolve {__version__}.")


def python_call(fit: Solution) -> str:
    """Return the call in Python. Arrays other than x and y are represented by names."""
    given = dict(fit._recipe)
    given.pop("n_outputs")
    usual = {"groups": 1, "bias": False, "missing": "raise"}
    given = {k: v for k, v in given.items() if v != usual.get(k)}
    basis, windows = given.pop("basis", None), given.pop("windows", None)
    if "lags" in given:
        lags = given["lags"]
        given["lags"] = tuple(lags[0]) if len(lags) == 1 else [tuple(pair) for pair in lags]
        if windows is not None:
            given["lags"] = dict(zip(fit.channels, map(tuple, windows), strict=True))
    else:
        spec = given.pop("spec")
        given = ({"spec": ConvSpec(**spec)} if spec.get("lo") else _layer(spec)) | given
    words = "".join(f", {name}={_written(value)}" for name, value in given.items())
    words += "" if basis is None else f", basis={_bases(fit)}"
    words += "".join(f", {name}={name}" for name in _arrays(fit.problem))
    call = fit.stats.get("call")
    settings = fit.stats.get("settings", {})
    solver = [f"{k} {v}" for k, v in settings.items() if v is not None]
    comments = filter(None, [fit.stats["rows"], ", ".join(solver)])
    return "\n".join(
        [
            f"problem = cs.Problem(x, y{words})",
            f"# solved by {fit.stats['solver']}" if call is None else f"fit = {_shortened(call)}",
            *(f"# {comment}" for comment in comments),
        ]
    )


def _bases(fit: Solution) -> str:
    """Return the bases of the channels as code: one, or a list."""
    assert fit._space is not None
    bases = [own.functions for own in fit._space.channels]
    words = ["None" if basis is None else f"cs.{basis!r}" for basis in bases]
    return words[0] if len(set(words)) == 1 else f"[{', '.join(words)}]"


def _arrays(problem: Problem | None) -> list[str]:
    """Return the arguments of a problem that are arrays, besides x and y."""
    if problem is None:
        return []
    # With missing="drop", rows are also excluded without a mask.
    masked = any(rows.flags is not None for _, rows in problem._by_mask)
    given = {
        "mask": masked and problem._missing == "raise",
        "weights": problem._weights is not None,
        "confounds": problem._terms.columns is not None,
    }
    return [name for name, is_array in given.items() if is_array]


def _written(value: Any) -> str:
    """Return an argument as text for a call. A long list of names is shortened."""
    if isinstance(value, list) and len(value) > MAX_NAMES:
        return f"[{value[0]!r}, …, {value[-1]!r}]"
    return f"cs.{value}" if isinstance(value, ConvSpec) else repr(value)


def _shortened(call: str) -> str:
    """Return a call in which the first and the last number represent a long tuple of numbers."""
    return re.sub(LONG_TUPLE, r"(\1, …, \2)", call)


def _layer(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a layer that are not defaults; plain numbers along one axis."""
    usual = {"stride": 1, "dilation": 1, "groups": 1, "padding": "valid"}

    def alike(value: Any) -> Any:
        several = isinstance(value, (list, tuple)) and len(set(value)) == 1
        return value[0] if several and not isinstance(value[0], tuple) else value

    size = spec["kernel_size"]
    found = {"kernel_size": size[0] if len(size) == 1 else tuple(size)}
    found |= {name: alike(value) for name, value in spec.items() if name != "kernel_size"}
    return {name: value for name, value in found.items() if value != usual.get(name)}


def _on_white() -> Any:
    """Draw pictures in matplotlib's default style."""
    new_figure(1, 1)  # raises an ImportError if matplotlib is missing
    from matplotlib import rc_context, rcParamsDefault

    return rc_context({k: v for k, v in rcParamsDefault.items() if not k.startswith("backend")})


def _drawn(*drawings: Drawing) -> str:
    """Return pictures side by side, or one alone."""
    drawn = [picture(png(side_by_side([d], *SIZE).figure(), DPI), d.described) for d in drawings]
    return pictures(*drawn)


def _shape(fit: Solution) -> str:
    """Return the sizes of the kernel in words."""
    *taps, each, outputs = fit.kernel.shape
    words = " × ".join(map(str, taps)) + " taps" if len(taps) > 1 else count(taps[0], "tap")
    return f"{words}, {count(each * fit._spec.groups, 'channel')}, {count(outputs, 'output')}"


def _title(fit: Solution) -> str:
    """Return the headline: the channels and outputs if they have names, else sizes."""
    channels, outputs = fit._names.channels, fit._names.outputs
    if channels is None or outputs is None or len(channels) + len(outputs) > MAX_NAMES:
        return f"Impulse response of {_shape(fit)}"
    return f"Impulse response of {', '.join(outputs)} to {', '.join(channels)}"


def _lead(fit: Solution, held_out: Score | None) -> str:
    """Return the summary at the top of the page."""
    words, report = [], fit.identifiability
    verdict = known_verdict(fit) if report is None else report.verdict
    if verdict is not None:
        words.append(f"{verdict.capitalize()}: {MEANING[verdict]}.")
    if report is not None and not report.unique:
        words.append("Other kernels fit as well, see Identifiability.")
    if not fit.converged:
        words.append(f"The solution is not exact: {fit.stats['solver']} ended as {fit.status}.")
    if held_out is not None and not np.isnan(held_out.r2).all():  # NaN for a constant output
        least, most = (f"{r2(held_out.r2):.2f}" for r2 in (np.nanmin, np.nanmax))
        words.append(f"R² on new data is {least if least == most else f'{least} to {most}'}.")
    return " ".join(words)


def _summary(fit: Solution) -> str:
    doubt = fit._correlation_warning()
    note = paragraph(f"Note: {doubt}.", "warning") if doubt else ""
    return section("Summary", facts(fit._entries()), note)


def _data(problem: Problem, report: Identifiability) -> str:
    called = problem._names
    names = [
        (word, ", ".join(words[:MAX_NAMES]) + (", …" if len(words) > MAX_NAMES else ""))
        for word, words in (("Channels", called.channels), ("Outputs", called.outputs))
        if words is not None
    ]
    rate = [] if called.fs is None else [("Rate", f"{called.fs:g} Hz")]
    entries = facts([("Problem", sizes_sentence(problem)), *names, *rate])
    if problem.spec.ndim > 1:
        return section("Data", entries)
    # If outputs use different rows, the report describes the outputs with the fewest.
    own = drawable(report.problem._names)
    return section("Data", entries, _drawn(power(excitation(report.problem), own)))


def _determined(report: Identifiability) -> str:
    """Return the identifiability report, in full if this takes no longer than the solution did."""
    few = report.n_unknowns <= report._diagnosis.limits.spectrum_columns
    kind = "" if report.unique else "warning"
    verdict = paragraph(f"{report.verdict}: {MEANING[report.verdict]}.", kind)
    if not few:
        return section(
            "Identifiability",
            verdict,
            paragraph(f"Equations: {equations(report._diagnosis)}."),
        )
    entries = facts(report._entries())
    if report.unique and not report._diagnosis._weakly_determined.any():
        return section("Identifiability", verdict, entries)
    drawn = picture(png(plot(report), DPI), "Singular values, and which taps are determined.")
    return section("Identifiability", verdict, entries, drawn)


def _kernel(fit: Solution) -> str:
    wanted = layout(fit, pairs_of(fit), None)
    kernel = Picture(wanted.size, lambda place: draw_kernel_of(place, fit, wanted))
    drawn = picture(png(kernel.figure(), DPI), f"The kernel: {_shape(fit)}.")
    return section("Impulse response", drawn, _peaks(fit))


def _peaks(fit: Solution) -> str:
    """Return the largest tap of every kernel, or of the kernels with the largest taps."""
    pairs, errors = pairs_of(fit), fit._affordable_errors()
    weights = curves_of(fit, np.asarray(fit.kernel, float), pairs).reshape(-1, len(pairs))
    peaks = np.abs(weights).argmax(0)
    some = range(len(pairs))
    if len(pairs) > MAX_PEAKS:
        some = np.argsort(-np.abs(weights).max(0), kind="stable")[:MAX_PEAKS].tolist()
    widths = None
    if errors is not None:
        widths = curves_of(fit, errors[0], pairs).reshape(weights.shape)
    lags = np.meshgrid(*(axis[::-1] for axis in fit._tap_lags), indexing="ij")
    head = ["channel", "output", "largest tap", f"at lag ({fit._names.unit})"]
    spread = "posterior deviation" if fit._penalized else "standard error"
    head += [] if widths is None else [spread]
    rows = []
    for i in some:
        (c, o), at = pairs[i], peaks[i]
        where = ", ".join(fit._names.time(int(axis.ravel()[at])) for axis in lags)
        row = [
            fit._names.name("channel", c),
            fit._names.name("output", o),
            f"{weights[at, i]:.4g}",
            where,
        ]
        if widths is not None:
            known = np.isfinite(widths[at, i])
            row.append(f"{widths[at, i]:.2g}" if known else "not determined")
        rows.append(row)
    more = f"The {len(rows)} largest of {len(pairs)} kernels." if len(rows) < len(pairs) else ""
    return table(head, rows) + (paragraph(more) if more else "")


def _penalty(fit: Solution) -> str:
    chosen = fit.regularization
    assert chosen is not None
    sentence = paragraph(f"{chosen}.")
    if chosen.criterion == "given":
        return section("Penalty", sentence)
    return section("Penalty", sentence, _drawn(strength_scores(chosen), effective_dof(chosen)))


def _agreement(fit: Solution, held_out: Score | None, fitted: Fitted | None) -> str:
    """Return pictures of the prediction and y, and scores."""
    scores = [] if held_out is None else [("on new data", held_out)]
    if fitted is None:
        return section("Fit to the data", _scores(fit, scores))
    scores.append(("on the training data", fit.score()))
    drawn = _drawn(*prediction(fit, fitted, 0))
    return section("Fit to the data", _scores(fit, scores), drawn)


def _scores(fit: Solution, scores: Sequence[tuple[str, Score]]) -> str:
    """Return a row for every output, up to the number that is listed."""
    head = ["output"]
    for where, _ in scores:
        head += [f"R² {where}", "correlation", "fit (%)"]
    rows = []
    for o in range(min(fit.kernel.shape[-1], MAX_OUTPUTS)):
        row = [fit._names.name("output", o)]
        for _, score in scores:
            row += [
                f"{score.r2[o]:.4f}",
                f"{score.correlation[o]:.4f}",
                f"{score.fit_percent[o]:.1f}",
            ]
        rows.append(row)
    if len(rows) == fit.kernel.shape[-1]:
        return table(head, rows)
    more = f"The first {len(rows)} of {fit.kernel.shape[-1]} outputs."
    return table(head, rows) + paragraph(more)


def _residuals(fit: Solution, fitted: Fitted) -> str:
    """Return pictures of the residuals and a test of whether they are white noise."""
    errors = fit._affordable_errors()
    what = "The posterior deviations of taps hold" if fit._penalized else "The standard errors hold"
    sentence = paragraph(f"{what} {fit._noise_model.assumption}.") if errors else ""
    drawn = _drawn(*residuals(fit, fitted, range(fit.kernel.shape[-1])))
    return section("Residuals and noise", sentence, drawn)
