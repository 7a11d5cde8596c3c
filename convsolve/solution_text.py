"""The text of a solution that `print` shows: the result first, the computation last."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .identifiability.wording import determined_share, errors_of_taps, gains_text, weak_sentence
from .kernel_text import OPEN, Weights, shape_sentence
from .leastsquares.certificate import EXACT, GAP
from .linalg.rank import EPS
from .problem.description import fitted_terms, rows_sentence, space_entries
from .text import WIDTH, aligned, count, line, some, span

# Width of the labels, largest number of lines, and of outputs in a table.
MARGIN, MAX_LINES, MAX_OUTPUTS = 12, 16, 6
# Largest number of decimals of R².
MAX_DIGITS = 6
# Names of losses and of the counts of steps in a text.
LOSSES = {"HuberLoss": "Huber's loss", "AbsoluteLoss": "absolute loss"}
STEPS = {"steps": "step", "interior_steps": "interior-point step"}
# The standard errors in layer order and the noise, or None.
Errors = Any


def text(fit: Any) -> str:
    """Return the summary, in at most 16 lines. R² needs a prediction of all rows."""
    errors = fit._affordable_errors()
    heading, below = _heading(fit), _lines(_details(fit, errors))
    # A suggestion is more useful than the cause, which may name many taps.
    without_cause = [entry for entry in heading if entry[0] != "Cause"]
    for found in (heading, without_cause, heading[:2]):
        above = _lines(found)
        if len(above) + len(below) <= MAX_LINES - 2:
            break
    left = MAX_LINES - len(above) - len(below)
    return "\n".join([*above, *_results(fit, errors, max(left, 2)), *below])


def entries(fit: Any) -> list[tuple[str, str]]:
    """Return labels and texts of the summary without the table of results."""
    errors = fit._affordable_errors()
    return [*_heading(fit), *_fit_sentence(fit), *_details(fit, errors)]


def known(fit: Any) -> list[tuple[str, str]]:
    """Return labels and texts that need no computation."""
    return [("Kernel", Weights.of(fit).sentence()), ("Status", fit.status)]


def brief(fit: Any) -> str:
    """Return one line that needs no computation."""
    return f"<Solution {fit.status}: {shape_sentence(fit.kernel.shape, fit._spec.groups)}>"


def _lines(entries: list[tuple[str, str]]) -> list[str]:
    return [row for label, words in entries for row in line(label, words, MARGIN).split("\n")]


def _heading(fit: Any) -> list[tuple[str, str]]:
    """Return the estimate, and whether the data determine it."""
    weights = Weights.of(fit)
    found = [("Kernel", weights.sentence()), ("Status", _status(fit))]
    report = fit.identifiability
    if report is not None and _known(fit, report):
        if not fit.stats.get("unique", True):
            causes = report.collinear[:1]
            found += [("Cause", words) for words in causes]
            found += [
                ("Suggestion", str(one)) for one in report.suggestions[-1 if causes else 0 :]
            ][:1]
        elif report.unique and (weak := weak_sentence(report._diagnosis)):
            found.append(("Caution", weak))
    return found


def _known(fit: Any, report: Any) -> bool:
    """Return whether the numbers of the report take no longer than the solution did."""
    numbers = report._diagnosis
    few = report.n_unknowns <= numbers.limits.spectrum_columns
    return bool(few and fit.status != "interrupted" and numbers.decided)


def _status(fit: Any) -> str:
    """Return the status, and which part of the kernel the data determine."""
    words = fit.status
    if not fit.converged and fit._certificate is not None and fit._certificate.value > EXACT:
        words += f" ({certificate_sentence(fit)})"
    report, unique = fit.identifiability, fit.stats.get("unique")
    if fit.status == "interrupted":
        return f"{words}; whether the data determine the kernel was not decided"
    if report is None:
        verdict = known_verdict(fit)
        known = "" if verdict is None else f"data: {verdict}"
        if unique is False:
            return f"{words}, NOT UNIQUE{f' ({known})' * bool(known)}; {_shown(fit)} is shown"
        return f"{words}; {known}" if known else words
    if unique is False:
        which = _shown(fit)
        return f"{words}, NOT UNIQUE: {determined_share(report._diagnosis)}; {which} is shown"
    if not fit._penalized or report.unique:
        return f"{words}; {determined_share(report._diagnosis)}"
    return f"{words}; unique with the penalty ({determined_share(report._diagnosis, alone=True)})"


def _shown(fit: Any) -> str:
    """Return which of many kernels was computed."""
    return str(fit.stats.get("shown", "one of many kernels"))


def _results(fit: Any, errors: Errors, most: int) -> list[str]:
    """Return the fit to y and the weights, in at most some lines."""
    weights = Weights.of(fit)
    error = None if errors is None else np.flip(errors[0], tuple(range(fit._spec.ndim)))
    small = weights.table(error, most - 1)
    if small is not None:
        return [*_lines(_fit_sentence(fit)), *small]
    if fit.kernel.shape[-1] > 1 and most >= 4:
        table = _outputs_table(fit, error, weights, min(MAX_OUTPUTS, most - 2))
        wide = max(map(len, table)) > WIDTH
        return _outputs_table(fit, None, weights, min(MAX_OUTPUTS, most - 2)) if wide else table
    largest = weights.largest(error)
    while len(lines := _lines([*_fit_sentence(fit), ("Largest", _listed(largest))])) > most:
        if len(largest) == 1:
            return lines[:most]
        largest.pop()
    return lines


def _listed(largest: list[str]) -> str:
    """Return the largest weights, and what the sign of a weight that is open means."""
    words = ", ".join(largest)
    return words + (f" ({OPEN} not determined)" if OPEN in words else "")


def _outputs_table(fit: Any, error: Any, weights: Weights, most: int) -> list[str]:
    """Return a table of the outputs with the largest R²."""
    outputs = fit.kernel.shape[-1]
    order, score = np.arange(outputs), None
    if fit.problem is not None:
        score = fit.score()
        order = np.argsort(-np.nan_to_num(score.r2, nan=-np.inf), kind="stable")
    shown = sorted(order[:most].tolist())
    heads = ["output", *(["R² (training)", "correlation"] if score is not None else [])]
    several = fit.kernel.shape[-2] * fit._spec.groups > 1
    rows = [[*heads, "largest weight", f"at ({weights.unit}{', channel' * several})"]]
    for o in shown:
        row = [weights.output(o)]
        if score is not None:
            row += [
                _with_error(score.r2[o], score.r2_standard_error[o]),
                f"{score.correlation[o]:.3f}",
            ]
        rows.append([*row, *weights.peak(o, error)])
    more = outputs - len(shown)
    return aligned(rows, 1) + _more(more, score is not None)


def _more(outputs: int, sorted_by_r2: bool) -> list[str]:
    """Return a line on outputs that a table does not show, if there are any."""
    if not outputs:
        return []
    return [f"and {count(outputs, 'more output')}" + " with lower R²" * sorted_by_r2]


def _fit_sentence(fit: Any) -> list[tuple[str, str]]:
    """Return R² and correlation with the training data."""
    if fit.problem is None:
        return []
    score = fit.score()
    r2 = some([_with_error(*pair) for pair in zip(score.r2, score.r2_standard_error, strict=True)])
    return [("R²", f"{r2} (training), correlation {some([f'{c:.3f}' for c in score.correlation])}")]


def _with_error(value: float, error: float) -> str:
    """Return R² with its standard error, unless the error rounds to zero at `MAX_DIGITS`."""
    several = (n for n in range(3, MAX_DIGITS) if not error < 0.5 * 10.0**-n)
    digits = next(several, MAX_DIGITS)
    text = f"{value:.{digits}f}" if abs(value) < 1e3 else f"{value:.3g}"
    if not np.isfinite(error) or error < 0.5 * 10.0**-digits:
        return text
    return f"{text} ± {error:.{digits}f}" if error < 1e3 else f"{text} ± {error:.3g}"


def _details(fit: Any, errors: Errors) -> list[tuple[str, str]]:
    """Return bias, errors, penalty, rows, numerics and computation."""
    bias, stats = np.asarray(fit.bias), fit.stats
    found = space_entries(fit._space, fit._names, fit._tap_lags[0])
    if bias.any():
        found.append(("Bias", some([f"{b:.4g}" for b in bias])))
    found.append(("Errors", _errors_sentence(fit, errors)))
    chosen = fit.regularization
    if chosen is not None:
        found.append(("Penalty", str(chosen)))
    elif stats.get("penalty") is not None:
        found.append(("Penalty", stats["penalty"]["kind"]))
    if fit.problem is not None:
        rows = rows_sentence(fit.problem)
        found.append(("Rows", rows if chosen is not None else f"{rows}. Penalty: none"))
        found += [("Adjusted", words) for words in filter(None, [fitted_terms(fit.problem)])]
    else:
        found.append(("Rows", stats["rows"]))
    found += [("Numerics", words) for words in filter(None, [_numerics(fit)])]
    return [*found, ("Computed", _computed(fit))]


def _errors_sentence(fit: Any, errors: Errors) -> str:
    """Describe the standard errors and the noise model, or why there are none."""
    if errors is None:
        if why := fit._no_errors() or _no_noise(fit):
            return f"none: {why}"
        if fit.problem is None:
            return "none: they were not saved, and need the training data"
        taps = int(np.prod(fit.kernel.shape[:-1]))
        return f"not computed ({taps} taps)" + "; see fit.standard_error"
    error, noise = errors
    error, space = errors_of_taps(error), fit._space
    finite, basis = error[np.isfinite(error)], space is not None and space.has_functions
    if not finite.any() and not noise.variance.any():
        return "0: y is fitted up to rounding"
    if not finite.size:
        return "infinite: the data determine no tap"
    words = f"standard error {gains_text(finite, basis)}"
    words += " per determined tap" if finite.size < error.size else " per tap"
    words += " (posterior)" if fit._penalized else ""
    model = fit._noise_model.assumption
    if noise.order is not None:
        model += f" of order {span(noise.order.tolist())}"
    if fit._has_gap:
        model = f"Huber's H1, {model}"
    model += ", conditional on the basis" * basis
    words += (
        f", {model}; {span(noise.dof.tolist(), '.4g' if noise.dof.max() < 1e3 else '.0f')} d.o.f."
    )
    if fit._correlation_warning():
        other = "'hac'"
        way = f"noise='ar' or {'a weaker penalty' if fit._penalized else other}"
        squares = "" if fit._error_norms is None else "least squares with "
        words += f"; residuals are correlated in time, so use {squares}{way}"
    return words


def _no_noise(fit: Any) -> str:
    """Return why the residuals do not determine the variance of the noise, or an empty string."""
    report = fit.identifiability
    if report is None or not _known(fit, report) or fit._penalized:
        return ""
    rows, rank = report.n_equations, report.rank
    words = f"no row is left to estimate the noise ({count(rows, 'row')}, rank {rank})"
    return words if rows <= rank else ""


def _numerics(fit: Any) -> str:
    """Return the condition number and the certificate."""
    words, report = [], fit.identifiability
    if report is not None and _known(fit, report):
        condition = report.condition_number
        words.append(
            f"condition number {'infinite' if np.isinf(condition) else f'{condition:.3g}'}"
        )
    if fit._certificate is not None:
        words.append(certificate_sentence(fit))
    elif fit.stats.get("loss", {}).get("kind", "SquaredLoss") != "SquaredLoss":
        words.append("gradient descent has no error bound for this loss")
    return "; ".join(words)


def certificate_sentence(fit: Any) -> str:
    """Return the backward error or the duality gap in words."""
    value, kind = fit._certificate
    if kind == GAP:
        return f"relative duality gap {value:.1e}"
    exact = " (exact to rounding)" if value <= EXACT else ""
    relation = "below " if value < EPS else "at most " * (kind == "upper bound")
    return f"backward error {relation}{max(value, EPS):.2g}{exact}"


def _computed(fit: Any) -> str:
    """Return the method, the loss, the steps, the time and the version."""
    stats = fit.stats
    solver, loss = str(stats["solver"]), stats.get("loss", {})
    words = [] if solver in LOSSES else [in_words(solver)]
    words.append(_loss_words(**loss) if loss else LOSSES.get(solver, ""))
    words += [count(stats[name], noun) for name, noun in STEPS.items() if name in stats]
    seconds = stats.get("run_seconds", 0.0) + stats.get("compile_seconds", 0.0)
    words += [f"{seconds:.2g} s"] if seconds else []
    words.append(f"convsolve {stats['version']}")
    return ", ".join(filter(None, words))


def _loss_words(kind: str, **settings: Any) -> str:
    """Return the name and the settings of a loss; empty for squares."""
    if kind == "SquaredLoss":
        return ""
    given = ", ".join(f"{name} {value}" for name, value in settings.items())
    return LOSSES.get(kind, f"loss {kind}") + (f" ({given})" if given else "")


def in_words(solver: str) -> str:
    """Return the name of a class as words: NormalEquations as normal equations."""
    if not solver[:1].isupper():  # the name of another library
        return solver
    words = re.sub(
        r"(?<=[a-z])([A-Z])|(?<=[A-Z])([A-Z])(?=[a-z])",
        lambda found: f" {(found[1] or found[2]).lower()}",
        solver[0].lower() + solver[1:] if solver[1:2].islower() else solver,
    )
    return words.replace("(", " (")


def certificate_text(value: float, kind: str) -> str:
    """Return a certificate as a table shows it; below one rounding it is noise."""
    if kind == GAP:
        return f"relative duality gap {value:.1e}"
    if value < EPS:
        return "< 1 eps"
    sign = "≤ " if kind == "upper bound" else ""
    return f"{sign}{value / EPS:.3g} eps" if value < 1e4 * EPS else f"{sign}{value:.2g}"


def known_verdict(fit: Any) -> str | None:
    """Return the verdict on the data if it was computed or saved."""
    if fit.identifiability is not None:
        return fit.identifiability._diagnosis.known_verdict
    saved = fit.stats.get("identifiability")
    return None if saved is None else str(saved["verdict"])
