"""Facts of a solution: the estimate first, the computation last."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .facts import NONE, PAGE, PRINT, WIDTH, Fact, Table, by_output, shortened
from .identifiability.wording import determined_share, weak_sentence
from .leastsquares.certificate import EXACT, GAP
from .problem.description import space_entries
from .text import aligned, count, some, span

# Lags and columns of a kernel that is shown as a whole, largest weights of another one, outputs
# in a table, digits of the largest weight, and names of channels.
LAGS, COLUMNS, LARGEST, MANY, DIGITS, NAMES = 5, 6, 3, 6, 4, 6
# Sign of a weight that the data do not determine.
OPEN = "*"
# Entries of ``stats`` with numbers of steps.
STEPS = {"steps": "step", "interior_steps": "interior-point step"}


def solution_facts(fit: Any, full: bool) -> Iterator[Fact]:
    """Yield the facts of a solution. Unless ``full``, nothing is computed."""
    errors = fit._affordable_errors() if full else None
    weights = Weights(fit, errors and errors[0])
    yield Fact("", "Kernel", weights.sentence())
    yield Fact("", "Status", _status(fit) if full else fit.status)
    if not full:
        return
    yield Fact("", "Descent", fit.stats.get("advice", ""))
    score = None if fit.problem is None else fit.score()
    yield Fact("", "Caution", fit.stats["caution"])
    yield from _doubts(fit)
    yield from _results(weights, score)
    if entries := space_entries(fit._space, fit._names, fit._model.lags[0]):
        yield Fact("", entries[0][0], [words for _, words in entries])
    bias, chosen = np.asarray(fit.bias), fit.regularization
    yield Fact("", "Bias", some([f"{b:.4g}" for b in bias]) if bias.any() else "")
    yield Fact("", "Errors", _errors(fit, errors))
    kind = (fit.stats.get("penalty") or {"kind": "none"})["kind"]
    yield Fact("", "Penalty", kind if chosen is None else " ".join(str(chosen).split()))
    yield Fact("", "Rows", fit.stats["rows"])
    where = PAGE if fit.status == "solved" else PRINT
    yield Fact("", "Numerics", _numerics(fit), shown=where)
    yield Fact("", "Computed", _computed(fit.stats), shown=where)


def solution_values(fit: Any) -> dict[str, Any]:
    """Return the entries of `Solution.to_dict`, some of which take longer than the text."""
    found = {} if fit._report is None else fit._report._verdict_entries()
    found |= coefficient_entries(fit) | fit._names.to_dict()
    names = "status converged backward_error duality_gap kernel bias lags impulse_response stats"
    found |= {name: getattr(fit, name) for name in [*names.split(), "regularization"]}
    found["times"] = None if fit._names.fs is None else fit.times
    found["score"] = None if fit.problem is None else fit.score()
    error, noise = fit._affordable_errors() or (None, None)
    return found | {"standard_error": None if error is None else fit.standard_error, "noise": noise}


def coefficient_entries(fit: Any) -> dict[str, Any]:
    """Return names, values and errors of the coefficients, if the problem has a basis."""
    if fit._space is None or not fit._space.has_functions:
        return {}
    found = {"coefficient_names": fit.coefficient_names, "coefficients": fit.coefficients}
    if fit.stats.get("unique") is not False and fit._affordable_errors() is not None:
        found["coefficient_error"] = fit.coefficient_error
    return found


# --- the estimate


def _status(fit: Any) -> str:
    """Return the status, and which part of the kernel the data determine."""
    words, report, unique = fit.status, fit.identifiability, fit.stats.get("unique")
    if fit.status == "interrupted":
        return f"{words}; whether the data determine the kernel was not decided"
    if report is None:
        known = f"data: {fit.stats.get('identifiability', {}).get('verdict')}"
    else:
        alone = unique is not False and fit._penalized and not report.unique
        known = determined_share(report, alone=alone)
        known = f"unique with the penalty ({known})" if alone else known
    if unique is False:
        return f"{words}, NOT UNIQUE: {known}; {fit.stats.get('shown', 'one of many')} is shown"
    return f"{words}; {known}"


def _has_spectrum(fit: Any) -> bool:
    """Return whether numbers of the report take no longer than the solution did."""
    report = fit._report
    few = report is not None and report.n_unknowns <= report._limits.spectrum_columns
    return bool(few and report._decided)


def _doubts(fit: Any) -> Iterator[Fact]:
    """Yield why the kernel is not unique and what would help, or which taps are weak."""
    if not _has_spectrum(fit):
        return
    report = fit.identifiability
    if not fit.stats.get("unique", True):
        yield Fact("", "Cause", report.collinear[:1])
        yield Fact("", "Suggestion", [*map(str, report.suggestions)][-1:])
    elif report.unique and not fit._penalized:
        yield Fact("", "Caution", weak_sentence(report))


def _results(weights: Weights, score: Any) -> Iterator[Fact]:
    """Yield R² and the weights: all of a small kernel, a row per output, or the largest."""
    small = weights.table()
    if small is None and weights.kernel.shape[-1] > 1:
        yield Fact("", "", _outputs_table(weights, score))
        return
    if score is not None:
        r = some([f"{c:.3f}" for c in score.correlation])
        yield Fact("", "R²", f"{some(score._r2)} (training), correlation {r}")
    if small is not None:
        yield Fact("", "", small)
        return
    order = np.argsort(-np.abs(weights.kernel), axis=None, kind="stable")[:LARGEST]
    places = [np.unravel_index(flat, weights.kernel.shape) for flat in order]
    words = ", ".join(f"{weights.cell(k)} at {weights.place(k)}" for k in places)
    yield Fact("", "Largest", words + f" ({OPEN} not determined)" * (OPEN in words))


def _outputs_table(weights: Weights, score: Any) -> Table:
    """Return a row per output; for many outputs, their mean and those with the largest R²."""
    *taps, outputs = weights.kernel.shape
    order, columns, means = np.arange(outputs), dict[str, list[str]](), {}
    if score is not None:
        means, r2 = {"R² (training)": score.r2, "correlation": score.correlation}, score._r2
        if outputs > MANY:
            order = np.argsort(-np.nan_to_num(score.r2, nan=-np.inf), kind="stable")
        columns["R² (training)"] = [r2[o] for o in order]
        columns["correlation"] = [f"{score.correlation[o]:.3f}" for o in order]
    largest = np.abs(weights.kernel).reshape(-1, outputs).argmax(0)
    places = [(*np.unravel_index(largest[o], taps), o) for o in order]
    columns["largest weight"] = [weights.cell(place) for place in places]
    axis, several = weights.axes[0], weights.channels > 1
    columns[f"at ({axis.unit or axis.noun}{', channel' * several})"] = [
        weights.lag(k) + f", {weights.channel(c, o)}" * several for *k, c, o in places
    ]
    return by_output([weights.output(o) for o in order], columns, means, most=MANY - 1)


class Weights:
    """The weights of a solution, in ascending lags or in the order of a layer.

    Channels are numbered as in x, also if a group of outputs uses some of them only.
    """

    def __init__(self, fit: Any, errors: np.ndarray | None = None) -> None:
        self.axes, self.names, self.groups = fit._axes, fit._names, fit._spec.groups
        shape, space = fit.kernel.shape, fit._space
        kept = np.ones(shape[:-1]) if space is None else space.kept
        found: Sequence[Any] = [fit.kernel, np.zeros(shape) if errors is None else errors, kept]
        if self.axes[0].noun == "lag":
            found = [np.flip(np.asarray(a), (*range(len(self.axes)),)) for a in found]
        self.kernel, self.errors, self.kept = np.asarray(found[0], float), *found[1:]
        self.channels = shape[-2] * self.groups
        largest = float(np.abs(self.kernel).max())
        exponent = math.floor(math.log10(largest)) if 0 < largest < math.inf else 0
        fixed = -4 <= exponent <= 5
        self._form = f"z.{max(DIGITS - 1 - exponent, 0)}f" if fixed else f".{DIGITS - 1}e"

    def sentence(self) -> str:
        """Return channels, outputs and lags in words."""
        outputs = _named(self.kernel.shape[-1], "output", self.names.outputs)
        words = f"{_named(self.channels, 'channel', self.names.channels)} to {outputs}"
        words += f" in {self.groups} groups" * (self.groups > 1)
        return f"{words}, {' × '.join(axis.span() for axis in self.axes)}"

    def table(self) -> Table | None:
        """Return all weights with their standard errors; None if they are too many."""
        taps, *more, channels, outputs = self.kernel.shape
        if more or taps > LAGS or channels * outputs > COLUMNS:
            return None
        columns = [(c, o) for o in range(outputs) for c in range(channels)]
        heads = [self.axes[0].label, *(self.pair(*own) or "weight" for own in columns)]
        rows = [[self.lag([k]), *(self.cell((k, *own)) for own in columns)] for k in range(taps)]
        found = Table(heads, rows, 0, f"{OPEN} not determined" * (OPEN in str(rows)))
        return found if len(aligned(found.lines())[0]) <= WIDTH else None

    def lag(self, index: Sequence[int]) -> str:
        """Return the lag of a tap, given by its index along every axis, without its unit."""
        words = [axis.text(int(axis.lags[i])) for axis, i in zip(self.axes, index, strict=True)]
        return words[0] if len(words) == 1 else f"({', '.join(words)})"

    def place(self, index: Sequence[Any]) -> str:
        """Return lag, channel and output of a tap (*k, c, o) in words."""
        (*k, c, o), axis = map(int, index), self.axes[0]
        where = axis.at([int(axis.lags[k[0]])]) if len(k) == 1 else f"{axis.noun} {self.lag(k)}"
        return " of ".join(filter(None, [where, self.pair(c, o)]))

    def pair(self, c: int, o: int) -> str:
        """Return channel and output of a weight, if there are several."""
        several = [(self.channels, "channel", self.channel(c, o), self.names.channels)]
        several += [(self.kernel.shape[-1], "output", self.output(o), self.names.outputs)]
        return ", ".join(
            word if known else f"{noun} {word}" for n, noun, word, known in several if n > 1
        )

    def output(self, output: int) -> str:
        """Return the name of an output, shortened, or its number."""
        return shortened(self.names.name("output", output))

    def channel(self, c: int, output: int) -> str:
        """Return the name of a channel of the group of an output, shortened, or its number in x."""
        *_, channels, outputs = self.kernel.shape
        first = output // (outputs // self.groups) * channels
        return shortened(self.names.name("channel", first + c))

    def cell(self, index: tuple[Any, ...]) -> str:
        """Return a weight and its standard error; `NONE` outside the window of its channel."""
        if not self.kept[index[:-1]]:
            return NONE
        words, own = format(float(self.kernel[index]), self._form), float(self.errors[index])
        if math.isinf(own):
            return words + OPEN
        size = format(own, self._form)
        # An error that rounds to zero is shown in its own digits.
        return f"{words} ± {size if float(size) else format(own, '.0e')}" if own > 0 else words


def _named(number: int, noun: str, names: Sequence[str] | None) -> str:
    """Return a number of channels or outputs, with their first names."""
    few = "" if names is None else f" ({some([*map(shortened, names)], NAMES)})"
    return count(number, noun) + few


# --- errors and computation


def _errors(fit: Any, errors: Any) -> str:
    """Describe the standard errors and the noise model, or why there are none."""
    if errors is None:
        return _no_errors(fit)
    (error, noise), robust = errors, fit.duality_gap is not None
    own = error[~np.isnan(error)]
    known = own[np.isfinite(own)]
    if not known.size:
        return "infinite: the data determine no tap"
    if not (known.any() or noise.variance.any()):
        return "0: y is fitted up to rounding"
    basis = fit._space is not None and fit._space.has_functions
    # Functions that are almost zero at a tap make its error almost zero.
    size = f"up to {known.max():.2g}" if basis else span(known, ".2g")
    words = f"standard error {size} per {'determined ' * (known.size < own.size)}tap"
    rough = any(part.approximate for part in fit._parts)
    words += f" ({'approximate ' * rough}posterior)" * fit._penalized + ", Huber's H1" * robust
    words += f", {fit._noise_model.assumption}"
    words += "" if noise.order is None else f" of order {span(noise.order.tolist())}"
    words += ", conditional on the basis" * basis
    words += f"; {span(noise.dof.tolist(), '.4g' if noise.dof.max() < 1e3 else '.0f')} d.o.f."
    advice = f"; residuals are correlated in time: use {'least squares, ' * robust}noise='ar'"
    return words + advice * bool(fit._correlation)


def _no_errors(fit: Any) -> str:
    """Return why there are no standard errors."""
    report = fit.identifiability
    if fit._no_errors or report is None:
        return f"none: {fit._no_errors or 'they were not saved, and need the training data'}"
    if _has_spectrum(fit) and report.n_equations <= report.rank and not fit._penalized:
        rows = f"{count(report.n_equations, 'row')}, rank {report.rank}"
        return f"none: no row is left to estimate the noise ({rows})"
    return f"not computed ({math.prod(fit.kernel.shape[:-1])} taps); see fit.standard_error"


def _numerics(fit: Any) -> str:
    """Return the condition number, and the backward error or the duality gap."""
    words, bound = [], fit._certificate
    if _has_spectrum(fit):
        condition = f"{fit.identifiability.condition_number:.3g}".replace("inf", "infinite")
        words = [f"condition number {condition}"]
    if bound is not None:
        kind = GAP if bound.kind == GAP else "backward error"
        most = "at most " * (bound.kind == "upper bound")
        exact = " (exact to rounding)" * (kind != GAP and bound.value <= EXACT)
        words.append(f"{kind} {most}{bound.value:.2g}{exact}")
    return "; ".join(words)


def _computed(stats: dict[str, Any]) -> str:
    """Return the method, the loss, the steps, the time and the version."""
    solver, loss = str(stats["solver"]), dict(stats.get("loss", {"kind": "SquaredLoss"}))
    kind = loss.pop("kind")
    settings = ", ".join(f"{name}={value!r}" for name, value in loss.items())
    words = [solver] * (solver != kind) + [f"{kind}({settings})"] * (kind != "SquaredLoss")
    words += [count(stats[name], noun) for name, noun in STEPS.items() if name in stats]
    seconds = stats.get("run_seconds", 0.0) + stats.get("compile_seconds", 0.0)
    words += [f"{seconds:.2g} s"] * (seconds > 0)
    return ", ".join([*words, f"convsolve {stats['version']}"])
