"""Comparison: every method on one problem, side by side."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import numpy as np

# Imported here, or the first method would be billed for the imports.
import scipy.fft
import scipy.linalg  # noqa: F401

from .api import check_problem, report_of, solve
from .errors import IdentifiabilityWarning, SolveError
from .facts import NONE, Fact, Reported, Table, in_data
from .frames import table_of
from .identifiability.report import Identifiability
from .lazy import plot
from .leastsquares.analysis import analyse
from .leastsquares.penalty import Penalty
from .method import ARGUMENTS, SELECTION, Method, argument_of
from .notation import checks_arguments, nearest
from .problem.problem import Problem
from .problem.sizes import Limits, tuning_of
from .progress import following, stage
from .reference import (
    ERROR,
    HUNDREDTH,
    OF_POWER,
    RELATIVE,
    STATISTICAL,
    DescentCurve,
    Reference,
    mean_loss,
)
from .solution import Solution
from .solvers.base import Loss
from .solvers.gradient_descent import GradientDescent
from .text import argument, as_call, count, shown

# Default methods without a penalty, and penalties whose strength is selected from the data.
SOLVERS = ("qr", "svd", "normal", "cg", "fft", "nesterov", "adam")
PENALTIES = ("ridge", "tc")
# Default methods for other losses than squares, and for penalties that are not quadratic.
OTHERS = ("auto", "adam")
# Arguments that state a penalty.
PENALIZING = {"ridge", "penalty"}
# Kinds of components that are a method by themselves.
METHODS = ("solver", "penalty", "loss")
# What a descent is to reach, by the title of the ratio.
GOALS = {
    STATISTICAL: "the statistical error",
    OF_POWER: "1 % of the power of y",
    RELATIVE: "1 % above the exact loss",
}
# Columns of the table: entries of a row, and their formats. A certificate is of either kind.
COLUMNS = {
    "status": ("status", ""), "ratio": ("ratio", ".2g"),
    "steps to 1": ("steps_to_error", "d"), "s to 1": ("seconds_to_error", ".4f"),
    "to 0.01": ("steps_to_hundredth", "d"), "s to 0.01": ("seconds_to_hundredth", ".4f"),
    "loss": ("loss", ".3g"), "kernel error": ("kernel_error", ".2g"),
    "null part": ("null_component", ".2g"), "certificate": ("", ".1e"),
    "compile s": ("compile_seconds", ".2f"), "run s": ("run_seconds", ".4f"),
}  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Reported):
    """The result of `compare`: the solutions, and a table of them.

    The ratio of a method is its excess loss over the statistical error, Σσ²·d/(n·Q): how far the
    kernel is from the exact kernel, relative to the distance of the exact kernel from the truth.
    Below 1, the difference is smaller than the noise of the estimate. Below 0.01, the data do not
    show it. Without noise in y, it is the excess loss over the mean square of y, and for other
    losses than squares the excess loss over the exact loss. The exact kernel has the shared
    penalty of ``compare`` if it has one strength, and otherwise no penalty.

    Attributes:
        identifiability: the `Identifiability` of the problem.
        solutions: a `Solution` for every method.
        rows: a dict per method: "method", "status", "ratio" (see above; None without an exact
            solution), "loss" (the mean over residuals of ``compare(loss=)``), "excess_loss" (loss
            minus the loss of the exact solution, or minus the smallest loss of the table),
            "kernel_error" (‖w − truth‖/‖truth‖, None without a truth), "null_component" (norm of
            the part of w in the null space), "backward_error", "duality_gap" and
            "certificate_kind", "steps", "steps_to_error" and "seconds_to_error" (of a descent, to a
            ratio of 1), "steps_to_hundredth" and "seconds_to_hundredth" (to 0.01),
            "compile_seconds" (with the preparation of the data), "run_seconds", "advice".
        curves: steps, seconds and ratios of every descent.
        exact_seconds: time of the exact solution with its sums over rows; None if there is none.
        shared_seconds: time of the work that methods share, which is a part of ``exact_seconds``.
        conclusion: one sentence on what follows for gradient descent; empty without a descent.
        skipped: the methods that cannot solve the problem, with the reason.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> comparison = cs.compare(problem, ["qr", "nesterov"])
        >>> comparison.rows[1]["steps_to_error"]
        3

    See Also:
        `compare`, which returns it.
    """

    identifiability: Identifiability
    solutions: dict[str, Solution]
    rows: list[dict[str, Any]]
    curves: dict[str, DescentCurve]
    exact_seconds: float | None
    shared_seconds: dict[str, float]
    conclusion: str
    skipped: dict[str, str]
    _loss: Loss
    _ratio: str

    def to_dataframe(self) -> Any:
        """Return the rows as a table of pandas.

        Returns:
            A `pandas.DataFrame` with a row per method.

        Raises:
            ImportError: If pandas is not installed.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> problem = cs.Problem(x, y, lags=(0, 9))
            >>> table = cs.compare(problem, ["qr", "svd"]).to_dataframe()
            >>> table["status"].tolist()
            ['solved', 'solved']

        See Also:
            `to_dict`.
        """
        return table_of(self.rows)

    plot = plot

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield the table, shared work, the loss, methods that could not run, and the verdict."""
        rows = [(row["method"], *_cells(row)) for row in self.rows]
        head = ["method", *COLUMNS]
        head[head.index("ratio")] = self._ratio
        yield Fact("rows", "", Table(head, rows, 2), self.rows)
        seconds = ", ".join(f"{name} {v:.4f}" for name, v in self.shared_seconds.items())
        yield Fact("shared_seconds", "Shared (s)", seconds, self.shared_seconds)
        yield Fact("loss", "Loss", "" if self._loss.squared else self._loss.title, self._loss.title)
        skipped = [f"{name}: {why}" for name, why in self.skipped.items()]
        yield Fact("skipped", "Not run", skipped, self.skipped)
        diverged = [row for row in self.rows if row["status"] == "diverged"]
        yield Fact("", "Note", [f"{row['method']} {row['advice']}" for row in diverged])
        if full:
            yield from in_data(self.identifiability._verdict_entries())
        yield from in_data({"curves": self.curves, "exact_seconds": self.exact_seconds})
        yield Fact("conclusion", "Descent", self.conclusion)


def _cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of a row, in the order of `COLUMNS`. Zeros of no interest are not shown."""
    certificate = row["backward_error"]
    if certificate is None:
        certificate = row["duality_gap"]
    known = row | {name: row[name] or None for name in ("null_component", "compile_seconds")}
    known[""] = certificate
    cells = []
    for key, form in COLUMNS.values():
        value = known[key]
        cells.append(NONE if value is None else format(value, form))
    return cells


@checks_arguments
def compare(
    problem: Problem,
    methods: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    ridge: Any = None,
    penalty: str | Penalty | None = None,
    grid: Any = None,
    select: Any = None,
    loss: str | Loss = "squared",
    noise: Any = "white",
    truth: Any = None,
    progress: bool = False,
    limits: Limits | None = None,
) -> Comparison:
    """Solve ``problem`` by several methods and compare the solutions.

    Args:
        problem: x, y and the geometry.
        methods: a list, or a dict by label, of names of solvers, penalties or losses, of objects
            such as ``GradientDescent(steps=200)`` or an optimizer of optax, or of dicts of
            arguments of `solve`. None, the default, means the closed forms that support the
            problem, "nesterov" and "adam", and without a penalty also "ridge" and "tc", whose
            strength is selected from the data. For other losses than squares and for `Lasso`, it
            means "auto" and "adam".
        ridge: as in `solve`, for all methods. The arguments of a method override it.
        penalty: as in `solve`.
        grid: as in `solve`, for the methods that select a strength.
        select: as in `solve`, for the methods that select a strength.
        loss: as in `solve`, for all methods.
        noise: as in `solve`, for all methods.
        truth: the true kernel, if it is known: in ascending lags, as `Solution.impulse_response`,
            if the problem was stated by lags, and in the order of the layer, as `Solution.kernel`,
            if it was stated by ``kernel_size`` or ``spec``. Axes of length 1 are optional.
        progress: True shows progress bars, see `solve`. Default False.
        limits: limits of memory and time, see `Limits`. None, the default, is ``Limits()``.

    Returns:
        A `Comparison` with a row per method, and a sentence on gradient descent. The exact solution
        of the shared arguments is computed first, and the ratio of every method refers to it. The
        loss in the table is the mean of ``loss`` over residuals for every method. A method with a
        penalty has a larger loss. If y is noisy, its kernel is often nearer to the truth. With
        Huber's loss and the scale "mad", which is not fixed, the table has the mean square.
        Warnings on identifiability are left to ``Comparison.identifiability``.

    Raises:
        TypeError: If a method is not a name or a dict.
        ValueError: If y is missing, or the truth has the wrong size.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> comparison = cs.compare(problem, ["qr", "fft"])
        >>> [row["status"] for row in comparison.rows]
        ['solved', 'approximate']

    See Also:
        `solve` for one method, and `cross_validate` for held-out rows.
    """
    check_problem(problem, "compare")
    shared: dict[str, Any] = {"ridge": ridge, "penalty": penalty, "grid": grid, "select": select}
    shared |= {"loss": loss, "noise": noise}
    arguments = labelled(methods, shared)
    measured = Method.of(loss=loss).loss.measured
    tuning = tuning_of(limits)
    known_kernel = None if truth is None else _true_kernel(problem, truth)

    solutions = dict[str, Solution]()
    skipped = dict[str, str]()
    steps = stage("methods", len(arguments))
    with following(progress), warnings.catch_warnings(), steps as advance:
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        # A diverged descent has its status in the table.
        warnings.filterwarnings("ignore", "the descent diverged", UserWarning)
        reports = [(outputs, report_of(part, tuning)) for outputs, part in problem.parts]
        report = report_of(problem, tuning)
        reference = Reference.of(problem, _arguments({}, shared), measured, limits)
        for i, (label, words) in enumerate(arguments.items()):
            advance(i, label)
            try:
                solutions[label] = solve(problem, **words, limits=limits)
            except SolveError as refusal:
                skipped[label] = str(refusal).rpartition("cannot solve this problem: ")[2]
                continue
            if solutions[label].status == "interrupted":
                break
        decided = reports if report._decided else []
        rows = [_row(*pair, reference, known_kernel, decided) for pair in solutions.items()]

    least = min((row["loss"] for row in rows), default=0.0)
    for row in rows:
        if row["excess_loss"] is None:
            row["excess_loss"] = row["loss"] - least
    curves = {label: reference.curve(fit) for label, fit in solutions.items()}
    found = {label: curve for label, curve in curves.items() if curve is not None}
    for row in rows:
        row.update(_first_steps(found.get(row["method"]), reference.title))
    seconds: Counter[str] = Counter()
    for _, part in problem.parts:
        seconds.update(analyse(part, tuning).design.clock.seconds)
    return Comparison(
        identifiability=report,
        solutions=solutions,
        rows=rows,
        curves=found,
        exact_seconds=reference.seconds,
        shared_seconds=dict(seconds),
        conclusion=_conclusion(rows, found, reference, solutions.values()),
        skipped=skipped,
        _loss=measured,
        _ratio=reference.title,
    )


def _true_kernel(problem: Problem, truth: Any) -> np.ndarray:
    """Return the true kernel in the order of a layer."""
    kernel: np.ndarray = problem._as_kernel(truth, "truth")
    if problem._geometry.edges:
        kernel = np.flip(kernel, tuple(range(problem.spec.ndim)))
    return kernel


def labelled(methods: Any, shared: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the arguments of `solve` of every method of `compare`, by label.

    Args:
        methods: as in `compare`; None for the default methods.
        shared: arguments of `solve` that all methods have in common.
    """
    if methods is None:
        method = Method.of(**_arguments({}, shared))
        methods = OTHERS
        if method.least_squares:
            methods = SOLVERS
            if method.penalty.zero and method.noise.penalties:
                methods = SOLVERS + PENALTIES
    if isinstance(methods, str):
        methods = [methods]
    if not isinstance(methods, (Mapping, list, tuple)) or not methods:
        raise TypeError(f"methods must be names or dicts, in a list or dict, got {shown(methods)}")

    pairs: list[tuple[Any, Any]] = [(None, method) for method in methods]
    if isinstance(methods, Mapping):
        pairs = [*methods.items()]
    found: dict[str, dict[str, Any]] = {}
    for label, method in pairs:
        own, code = _own_arguments(method)
        name = code if label is None else label
        copies = sum(known.partition(" #")[0] == name for known in found)
        found[f"{name} #{copies + 1}" if copies else name] = _arguments(own, shared)
    return found


def _own_arguments(method: Any) -> tuple[dict[str, Any], str]:
    """Return the arguments of `solve` that a method of `compare` states, and its label."""
    if isinstance(method, str):
        return {argument_of(method): method}, method
    if isinstance(method, Mapping):
        known = {*ARGUMENTS, "ridge"}
        for name in method:
            if name not in known:
                raise TypeError(f"{name!r} is no argument of solve; {nearest(name, known)}")
        return dict(method), ", ".join(starmap(argument, method.items()))
    if isinstance(method, GradientDescent) and isinstance(method.optimizer, str):
        settings = as_call(method).partition("(")[2].removesuffix(")")
        words = settings.removeprefix(repr(method.optimizer)).removeprefix(", ")
        return {"solver": method}, ", ".join(filter(None, [method.optimizer, words]))
    for name in METHODS:
        if isinstance(method, ARGUMENTS[name][0]):
            return {name: method}, repr(method)
    if hasattr(method, "init") and hasattr(method, "update"):
        return {"solver": method}, "optimizer of optax"
    raise TypeError(f"methods must be names or dicts, in a list or dict, got {shown(method)}")


def _arguments(own: Mapping[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a method, which override the shared ones."""
    # A ridge and a penalty are one choice.
    chosen = PENALIZING if own.keys() & PENALIZING else own.keys()
    words = {name: value for name, value in shared.items() if name not in chosen} | dict(own)
    # A shared grid or criterion is for the methods that select a strength.
    method = Method.of(**words | dict.fromkeys(SELECTION))
    return words | {n: None for n in SELECTION if n not in own and not method.selects(n)}


def _row(
    label: str,
    fit: Solution,
    reference: Reference,
    truth: np.ndarray | None,
    reports: Sequence[tuple[tuple[int, ...], Identifiability]],
) -> dict[str, Any]:
    """Return the row of one method, without the steps of a descent."""
    kernel = np.asarray(fit.kernel, float)
    loss = mean_loss(fit, reference.loss)
    error = None
    if truth is not None:
        error = float(np.linalg.norm(kernel - truth) / (np.linalg.norm(truth) or 1.0))
    null_component = None
    if reports:
        norms = [report._null_part(kernel[..., [*outputs]]) for outputs, report in reports]
        null_component = float(np.linalg.norm(np.concatenate(norms)))
    row = {
        "method": label,
        "status": fit.status,
        "ratio": reference.ratio(kernel, loss),
        "loss": loss,
        "excess_loss": reference.excess(kernel, loss),
        "kernel_error": error,
        "null_component": null_component,
        "backward_error": fit.backward_error,
        "duality_gap": fit.duality_gap,
    }
    for name in ("certificate_kind", "steps", "compile_seconds", "run_seconds"):
        row[name] = fit.stats.get(name)
    row["advice"] = fit.stats.get("advice", "")
    return row


def _first_steps(curve: DescentCurve | None, title: str) -> dict[str, Any]:
    """Return steps and seconds of a descent to the two ratios, None if it does not reach them.

    Only a ratio to the statistical error has a meaning at 1.
    """
    found: dict[str, Any] = {}
    for name, ratio in {"error": ERROR, "hundredth": HUNDREDTH}.items():
        first = None
        if curve is not None and (name == "hundredth" or title == STATISTICAL):
            first = curve.first_below(ratio)
        found[f"steps_to_{name}"] = None if first is None else first[0]
        found[f"seconds_to_{name}"] = None if first is None else first[1]
    return found


def _conclusion(
    rows: Sequence[dict[str, Any]],
    curves: Mapping[str, DescentCurve],
    reference: Reference,
    solutions: Iterable[Solution],
) -> str:
    """Return what follows for gradient descent, in a sentence; empty without a descent."""
    if not curves:
        if not any("advice" in fit.stats for fit in solutions):
            return ""
        if reference.unit is None:
            return "no ratio: there is no exact solution with this loss"
        return "no course of a descent: outputs have rows, filters or strengths of their own"
    goal = "error" if reference.title == STATISTICAL else "hundredth"
    words = GOALS[reference.title]
    exact = f"the exact solution takes {_duration(reference.seconds or 0.0)}"
    reached = [row for row in rows if row[f"seconds_to_{goal}"] is not None]
    if not reached:
        nearest = min(curves, key=lambda label: float(curves[label].ratios[-1]))
        ratio = float(curves[nearest].ratios[-1])
        nearness = f"{nearest} ends with a ratio of {ratio:.2g}"
        return f"no descent reaches {words}: {nearness}; {exact}"
    best = min(reached, key=lambda row: row[f"seconds_to_{goal}"])
    steps = count(best[f"steps_to_{goal}"], "step")
    run = _duration(best[f"seconds_to_{goal}"])
    time = f"{run}, and {_duration(best['compile_seconds'])} to compile"
    return f"{best['method']} reaches {words} in {steps} ({time}); {exact}"


def _duration(seconds: float) -> str:
    """Return a time in words."""
    return f"{1000 * seconds:.2g} ms" if seconds < 0.1 else f"{seconds:.2g} s"
