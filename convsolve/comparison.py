"""Comparison: every method on one problem, side by side."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401  # here, or the first method would be billed for the import

from .api import check_problem, report_of, solve
from .errors import IdentifiabilityWarning, SolveError
from .facts import NONE, Fact, Reported, Table, in_data
from .frames import table_of
from .identifiability.report import Identifiability
from .lazy import plot
from .leastsquares.analysis import analyse
from .leastsquares.penalty import Penalty
from .method import SELECTION, Method, argument_of
from .notation import checks_arguments
from .problem.problem import Problem
from .problem.sizes import Limits, tuning_of
from .progress import following, stage
from .solution import Solution
from .solvers.base import Loss
from .text import argument, shown

# Default methods without a penalty, and penalties whose strength is selected from the data.
SOLVERS, PENALTIES = ("qr", "svd", "normal", "cg", "fft", "adam"), ("ridge", "tc")
# Default methods for other losses than squares, and for penalties that are not quadratic.
OTHERS = ("auto", "adam")
# Arguments that state a penalty.
PENALIZING = {"ridge", "penalty"}
# Columns of the table: entries of a row, and their formats. A certificate is of either kind.
COLUMNS = {
    "status": ("status", ""), "loss": ("loss", ".3g"), "excess": ("excess_loss", ".2g"),
    "kernel error": ("kernel_error", ".2g"), "null part": ("null_component", ".2g"),
    "certificate": ("", ".1e"), "steps": ("steps", "d"),
    "compile s": ("compile_seconds", ".2f"), "run s": ("run_seconds", ".4f"),
}  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Reported):
    """The result of `compare`: the solutions, and a table of them.

    Attributes:
        identifiability: the `Identifiability` of the problem.
        solutions: a `Solution` for every method.
        rows: a dict per method: "method", "status", "loss" (the mean over residuals of
            ``compare(loss=)``), "excess_loss" (loss minus the smallest loss of all methods),
            "kernel_error" (‖w − truth‖/‖truth‖, None without a truth), "null_component" (norm of
            the part of w in the null space), "backward_error", "duality_gap" and
            "certificate_kind", "steps", "compile_seconds", "run_seconds".
        shared_seconds: time of the work that methods share.
        skipped: the methods that cannot solve the problem, with the reason.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> comparison = cs.compare(problem, ["qr", {"penalty": cs.Smooth()}])
        >>> sorted(comparison.solutions)
        ['penalty=Smooth()', 'qr']
        >>> comparison.rows[0]["status"]
        'solved'

    See Also:
        `compare`, which returns it.
    """

    identifiability: Identifiability
    solutions: dict[str, Solution]
    rows: list[dict[str, Any]]
    shared_seconds: dict[str, float]
    skipped: dict[str, str]
    _loss: Loss

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
        yield Fact("rows", "", Table(["method", *COLUMNS], rows, 2), self.rows)
        seconds = ", ".join(f"{name} {v:.4f}" for name, v in self.shared_seconds.items())
        yield Fact("shared_seconds", "Shared (s)", seconds, self.shared_seconds)
        yield Fact("loss", "Loss", "" if self._loss.squared else self._loss.title, self._loss.title)
        skipped = [f"{name}: {why}" for name, why in self.skipped.items()]
        yield Fact("skipped", "Not run", skipped, self.skipped)
        if full:
            yield from in_data(self.identifiability._verdict_entries())


def _cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of a row, in the order of `COLUMNS`. Zeros of no interest are not shown."""
    value = row["duality_gap"] if row["backward_error"] is None else row["backward_error"]
    known = row | {name: row[name] or None for name in ("null_component", "compile_seconds")}
    pairs = ((value if key == "" else known[key], form) for key, form in COLUMNS.values())
    return [NONE if value is None else format(value, form) for value, form in pairs]


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
        methods: a list, or a dict by label, of names of solvers, penalties or losses, or of dicts
            of arguments of `solve`. None, the default, means all solvers that support the problem,
            and without a penalty also "ridge" and "tc", whose strength is selected from the data.
            For other losses than squares and for `Lasso`, it means "auto" and "adam".
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
        A `Comparison` with a row per method. The loss in the table is the mean of ``loss`` over
        residuals for every method. A method with a penalty has a larger loss. If y is noisy, its
        kernel is often nearer to the truth. With Huber's loss and the scale "mad", which is not
        fixed, the table has the mean square. Warnings on identifiability are left to
        ``Comparison.identifiability``.

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
    given: dict[str, Any] = {"ridge": ridge, "penalty": penalty, "grid": grid, "select": select}
    pairs = [*labelled(methods, given | {"loss": loss, "noise": noise}).items()]
    measured, tuning = Method.of(loss=loss).loss.measured, tuning_of(limits)
    reference = None if truth is None else problem._as_kernel(truth, "truth")
    if reference is not None and problem._geometry.edges:
        reference = np.flip(reference, tuple(range(problem.spec.ndim)))
    solutions, skipped = dict[str, Solution](), dict[str, str]()
    steps = stage("methods", len(pairs))
    with following(progress), warnings.catch_warnings(), steps as advance:
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        reports = [(outputs, report_of(part, tuning)) for outputs, part in problem.parts]
        report = report_of(problem, tuning)
        known = reports if report._decided else []
        for i, (label, words) in enumerate(pairs):
            advance(i, label)
            try:
                solutions[label] = solve(problem, **words, limits=limits)
                if solutions[label].status == "interrupted":
                    break
            except SolveError as refusal:
                skipped[label] = str(refusal).rpartition("cannot solve this problem: ")[2]
        rows = [_row(*pair, measured, reference, known) for pair in solutions.items()]
    least = min((row["loss"] for row in rows), default=0.0)
    for row in rows:
        row["excess_loss"] = row["loss"] - least
    seconds: Counter[str] = Counter()
    for _, part in problem.parts:
        seconds.update(analyse(part, tuning).design.clock.seconds)
    return Comparison(report, solutions, rows, dict(seconds), skipped, measured)


def labelled(methods: Any, shared: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the arguments of `solve` of every method of `compare`, by label.

    Args:
        methods: as in `compare`; None for the default methods.
        shared: arguments of `solve` that all methods have in common.
    """
    if methods is None:
        method = Method.of(**_arguments({}, shared))
        plain = method.penalty.zero and method.noise.penalties
        methods = (*SOLVERS, *PENALTIES * plain) if method.least_squares else OTHERS
    listed = methods.values() if isinstance(methods, Mapping) else methods
    several = isinstance(methods, (Mapping, list, tuple)) and methods
    if not several or any(not isinstance(method, (str, Mapping)) for method in listed):
        raise TypeError(f"methods must be names or dicts, in a list or dict, got {shown(methods)}")
    labels, found = methods if isinstance(methods, Mapping) else [None] * len(methods), {}
    for label, each in zip(labels, listed, strict=True):
        own = {argument_of(each): each} if isinstance(each, str) else each
        code = each if isinstance(each, str) else ", ".join(starmap(argument, each.items()))
        found[code if label is None else label] = _arguments(own, shared)
    return found


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
    loss: Loss,
    truth: np.ndarray | None,
    reports: Sequence[tuple[tuple[int, ...], Identifiability]],
) -> dict[str, Any]:
    """Return the row of one method, whose excess loss is filled in later."""
    kernel, error, part = np.asarray(fit.kernel, float), None, None
    if truth is not None:
        error = float(np.linalg.norm(kernel - truth) / (np.linalg.norm(truth) or 1.0))
    if reports:
        norms = [each._null_part(kernel[..., [*some]]) for some, each in reports]
        part = float(np.linalg.norm(np.concatenate(norms)))
    row = {"method": label, "status": fit.status, "loss": _mean(fit, loss), "excess_loss": 0.0}
    row |= {"kernel_error": error, "null_component": part}
    row |= {"backward_error": fit.backward_error, "duality_gap": fit.duality_gap}
    names = ("certificate_kind", "steps", "compile_seconds", "run_seconds")
    return row | {name: fit.stats.get(name) for name in names}


def _mean(fit: Solution, loss: Loss) -> float:
    """Return the mean of a loss over the rows used in the fit, by their weights."""
    problem = fit._training()
    left = fit._model.weighted(problem, fit._added(problem))
    return float(sum(loss.of(r).sum() for r in left)) / sum(r.size for r in left)
