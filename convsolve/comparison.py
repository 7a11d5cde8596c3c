"""Comparison: every method on one problem, side by side."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401  # here, or the first method would be billed for the import

from .api import check_problem, report_of, solve
from .errors import IdentifiabilityWarning, SolveError
from .frames import table_of
from .html import code
from .identifiability.report import Identifiability
from .lazy_plot import plot
from .leastsquares.analysis import analyse
from .leastsquares.penalty import Penalty
from .method import Method, argument_of
from .near_misses import checks_arguments
from .problem.problem import Problem
from .problem.sizes import Limits, tuning_of
from .progress import Listener, tracked
from .progress_bars import following
from .solution import Solution
from .solution_text import certificate_text
from .solvers.base import Loss
from .text import aligned, argument, shown

# Default methods without a penalty, and penalties whose strength is selected from the data.
SOLVERS, PENALTIES = ("qr", "svd", "normal", "cg", "fft", "adam"), ("ridge", "tc")
# Default methods for other losses than squares, and for penalties that are not quadratic.
OTHERS = ("auto", "adam")
# Arguments that select a strength.
SELECTION = ("grid", "select")
# The columns of the table: the entry of a row, and its format.
COLUMNS = {
    "method": ("method", ""), "status": ("status", ""), "loss": ("loss", ".3g"),
    "excess": ("excess_loss", ".2g"), "kernel error": ("kernel_error", ".2g"),
    "null part": ("null_component", ".2g"), "certificate": ("certificate", ""),
    "steps": ("steps", "d"), "compile s": ("compile_seconds", ".2f"),
    "run s": ("run_seconds", ".4f"),
}  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """The result of `compare`: the solutions, and a table of them.

    Attributes:
        identifiability: the `Identifiability` of the problem.
        solutions: a `Solution` for every method.
        rows: a dict per method: "method", "status", "loss" (the mean over residuals of
            ``compare(loss=)``), "excess_loss" (loss minus the loss of the best exact method),
            "kernel_error" (‖w − truth‖/‖truth‖, None without a truth), "null_component" (norm of
            the part of w in the null space), "backward_error", "duality_gap" and
            "certificate_kind", "steps", "compile_seconds", "run_seconds".
        shared_seconds: time of the work that methods share.
        skipped: the solvers that could not run, with the reason.

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

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the rows as dicts, for `pandas.DataFrame` or JSON.

        Returns:
            A dict per method, see `Comparison`.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
            >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
            >>> problem = cs.Problem(x, y, lags=(0, 9))
            >>> rows = cs.compare(problem, ["qr", "svd"]).to_dict()
            >>> [row["method"] for row in rows]
            ['qr', 'svd']

        See Also:
            `to_dataframe`.
        """
        return [dict(row) for row in self.rows]

    plot = plot

    def __str__(self) -> str:
        """Return the table, then the shared work, the loss, and the methods that could not run."""
        lines = aligned([[*COLUMNS], *map(_cells, self.rows)], 2, "-")
        seconds = ", ".join(f"{name} {v:.4f}" for name, v in self.shared_seconds.items())
        lines += [f"shared, once (s): {seconds}"] * bool(seconds)
        lines += [f"loss: {self._loss.title}"] * (not self._loss.squared)
        return "\n".join(lines + [f"not run: {n}: {why}" for n, why in self.skipped.items()])

    def _repr_html_(self) -> str:
        """Return the text for a notebook."""
        return code(str(self))

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.solutions)}>"


def _cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of a row, in the order of `COLUMNS`."""
    value = row["duality_gap"] if row["backward_error"] is None else row["backward_error"]
    text = None if value is None else certificate_text(value, row["certificate_kind"])
    pairs = ((row.get(key, text), form) for key, form in COLUMNS.values())
    return ["–" if value is None else format(value, form) for value, form in pairs]


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
    progress: bool | Listener = False,
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
        truth: the true impulse response, if it is known, in ascending lags: an array shaped as
            `Solution.impulse_response`, or ``(*lags, Cin/groups, Cout)``.
        progress: True shows progress bars, see `solve`. Default False.
        limits: limits of memory and time, see `Limits`. None, the default, is ``Limits()``.

    Returns:
        A `Comparison` with a row per method. The loss in the table is the mean of ``loss`` over
        residuals for every method. A method with a penalty has a larger loss. If y is noisy, its
        kernel is often nearer to the truth. The excess loss is that over the exact minimum. With
        Huber's loss and the scale "mad", which is not fixed, the table has the mean square.
        Warnings on identifiability are left to ``Comparison.identifiability``.

    Raises:
        TypeError: If a method is not a name or a dict.
        ValueError: If y is missing, or the truth has the wrong size.
        SolveError: If a method that was named cannot solve the problem.

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
    several = labelled(methods, given | {"loss": loss, "noise": noise})
    measured, tuning = Method.of(loss=loss).loss.measured, tuning_of(limits)
    reference = None if truth is None else problem._as_kernel(truth, "truth")
    with following(progress, "compare"), warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        report = report_of(problem, tuning)
        decided = report._diagnosis.decided
        solutions, skipped = _solved(problem, several, limits, methods is None)
        rows = [_row(*pair, measured, reference, decided) for pair in solutions.items()]
        exact = [row["loss"] for row in rows if row["steps"] is None and row["status"] == "solved"]
        if not measured.squared:
            least, _ = _solved(problem, {"exact": {"loss": measured}}, limits, True)
            exact = [_mean(fit, measured) for fit in least.values() if fit.converged]
    floor = min(exact or [row["loss"] for row in rows], default=0.0)
    for row in rows:
        row["excess_loss"] = row["loss"] - floor
    seconds: Counter[str] = Counter()
    for _, part in problem.parts:
        seconds.update(analyse(part, tuning).design.clock.seconds)
    return Comparison(report, solutions, rows, dict(seconds), skipped, measured)


def _solved(
    problem: Problem, methods: dict[str, dict[str, Any]], limits: Limits | None, lenient: bool
) -> tuple[dict[str, Solution], dict[str, str]]:
    """Return solutions by label, up to one that is interrupted, and why others are missing."""
    solutions: dict[str, Solution] = {}
    skipped: dict[str, str] = {}
    pairs = [*methods.items()]
    for label, words in tracked(pairs, "methods", len(pairs), note=lambda pair: pair[0]):
        try:
            solutions[label] = fit = solve(problem, **words, limits=limits)
        except SolveError as refusal:
            if not lenient:
                raise
            skipped[label] = str(refusal).rpartition("cannot solve this problem: ")[2]
        else:
            if fit.status == "interrupted":
                break
    return solutions, skipped


def labelled(methods: Any, shared: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the arguments of `solve` of every method of `compare`, by label.

    Args:
        methods: as in `compare`; None for the default methods.
        shared: arguments of `solve` that all methods have in common.
    """
    if methods is None:
        method = Method.of(**{k: v for k, v in shared.items() if k not in SELECTION})
        plain = method.penalty.zero and method.noise.penalties
        methods = (*SOLVERS, *PENALTIES * plain) if method.least_squares else OTHERS
    if isinstance(methods, str) or not isinstance(methods, (Mapping, Sequence)) or not methods:
        raise TypeError(f"methods must be a list, or a dict by label, got {shown(methods)}")
    named = isinstance(methods, Mapping)
    pairs: Any = methods.items() if isinstance(methods, Mapping) else enumerate(methods)
    found: dict[str, dict[str, Any]] = {}
    for label, each in pairs:
        if not isinstance(each, (str, Mapping)):
            raise TypeError(f"a method must be a name or a dict of arguments, got {shown(each)}")
        own = {argument_of(each): each} if isinstance(each, str) else dict(each)
        text = each if isinstance(each, str) else ", ".join(argument(*pair) for pair in own.items())
        found[label if named else text] = _arguments(own, shared)
    for name in SELECTION:
        if shared.get(name) is not None and all(w.get(name) is None for w in found.values()):
            raise TypeError(f"{name}= selects a strength, but no method has a strength to select")
    return found


def _arguments(own: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a method, which override the shared ones."""
    # A ridge and a penalty are one choice.
    choice = {"ridge", "penalty"} if {"ridge", "penalty"} & own.keys() else set()
    words = {k: v for k, v in shared.items() if k not in choice} | own
    # A shared grid or criterion is for the methods that select a strength.
    method = Method.of(**{name: value for name, value in words.items() if name not in SELECTION})
    return words | {n: None for n in SELECTION if n not in own and not method.selects(n)}


def _row(
    label: str, fit: Solution, loss: Loss, truth: np.ndarray | None, decided: bool
) -> dict[str, Any]:
    """Return the row of one method, whose excess loss is filled in later."""
    kernel, error, part = np.asarray(fit.kernel, float), None, None
    if truth is not None:
        off = np.flip(kernel, tuple(range(kernel.ndim - 2))) - truth
        error = float(np.linalg.norm(off) / (np.linalg.norm(truth) or 1.0))
    if decided:
        pairs = ((one.identifiability, np.asarray(one.kernel, float)) for one in fit._by_mask)
        norms = [report._diagnosis.null_part(w) for report, w in pairs if report is not None]
        part = float(np.linalg.norm(np.concatenate(norms)))
    found = {"method": label, "status": fit.status, "loss": _mean(fit, loss), "excess_loss": 0.0}
    found |= {"kernel_error": error, "null_component": part}
    found |= {name: getattr(fit, name) for name in ("backward_error", "duality_gap")}
    names = ("certificate_kind", "steps", "compile_seconds", "run_seconds")
    return found | {name: fit.stats.get(name) for name in names}


def _mean(fit: Solution, loss: Loss) -> float:
    """Return the mean of a loss over the rows used in the fit, by their weights."""
    left = fit._weighted_residuals()
    return float(sum(loss.of(r).sum() for r in left)) / sum(r.size for r in left)
