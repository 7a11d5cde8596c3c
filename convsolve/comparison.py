"""Comparison: every method on one problem, side by side."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401  # here, or the first method would be billed for the import

from .api import Options, check_problem, report_of, solve_by
from .errors import IdentifiabilityWarning, SolveError
from .frames import table_of
from .html import paragraph, table
from .identifiability.report import Identifiability
from .lazy_plot import plot
from .leastsquares.analysis import analyse
from .leastsquares.penalty import Penalty
from .method import Method, argument_of
from .near_misses import checks_arguments
from .problem.problem import Problem
from .problem.sizes import Limits, Tuning, tuning_of
from .progress import LOG, Listener, tracked
from .progress_bars import following
from .solution import Solution
from .solution_text import certificate_text
from .solvers.base import SQUARED, Loss
from .text import aligned, count

# Default methods without a penalty, and penalties whose strength is selected from the data.
SOLVERS = ("qr", "svd", "normal", "cg", "fft", "adam")
PENALTIES = ("ridge", "tc")
# Default methods for other losses than squares, and for penalties that are not quadratic.
OTHERS = ("auto", "adam")
# Arguments that select a strength.
SELECTION = ("grid", "select")
HEADS = [
    "method", "status", "loss", "excess", "kernel error", "null part", "certificate", "steps",
    "compile s", "run s",
]  # fmt: skip


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
        >>> comparison = cs.compare(problem, {"plain": "qr", "smooth": cs.Smooth()})
        >>> sorted(comparison.solutions)
        ['plain', 'smooth']
        >>> comparison.rows[0]["status"]
        'solved'

    See Also:
        `compare`, which returns it.
    """

    def __init__(
        self,
        report: Identifiability,
        solutions: dict[str, Solution],
        rows: list[dict[str, Any]],
        shared_seconds: dict[str, float],
        skipped: dict[str, str],
        loss: Loss = SQUARED,
    ) -> None:
        self.identifiability, self._loss = report, loss
        self.solutions, self.rows = solutions, rows
        self.shared_seconds, self.skipped = shared_seconds, skipped

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
        """Return the table, then the shared work and the methods that could not run."""
        lines = aligned([HEADS, *(_cells(row) for row in self.rows)], 2, "-")
        if self.shared_seconds:
            pieces = ", ".join(f"{k} {v:.4f}" for k, v in self.shared_seconds.items())
            lines.append(f"shared, once (s): {pieces}")
        if not self._loss.squared:
            lines.append(f"loss: {self._loss.title}")
        lines += [f"not run: {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the table as HTML for a notebook."""
        skipped = (paragraph(f"not run: {name}: {why}") for name, why in self.skipped.items())
        return table(HEADS, map(_cells, self.rows)) + "".join(skipped)

    def __repr__(self) -> str:
        solved = sum(row["status"] == "solved" for row in self.rows)
        skipped = f", {len(self.skipped)} not run" if self.skipped else ""
        return f"<Comparison of {count(len(self.rows), 'method')}, {solved} solved{skipped}>"


def certificate_of(row: dict[str, Any]) -> str:
    """Return the backward error or duality gap of a row as text; empty if there is neither."""
    values = (row["backward_error"], row["duality_gap"])
    value = next((v for v in values if v is not None), None)
    return "" if value is None else certificate_text(value, row["certificate_kind"])


def _cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of a row, in the order of `HEADS`."""

    def shown(name: str, form: str) -> str:
        return "–" if row[name] is None else format(row[name], form)

    certificate = certificate_of(row)
    return [
        row["method"],
        row["status"],
        f"{row['loss']:.3g}",
        f"{row['excess_loss']:.2g}",
        shown("kernel_error", ".2g"),
        shown("null_component", ".2g"),
        certificate or "–",
        shown("steps", "d"),
        f"{row['compile_seconds']:.2f}" if row["compile_seconds"] else "–",
        f"{row['run_seconds']:.4f}",
    ]


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
        methods: a list of solvers, penalties or losses, by name or as objects, or a dict from
            label to one of these or to a dict of keywords of `solve`. None, the default, means all
            solvers that support the problem, and without a penalty also "ridge" and "tc", whose
            strength is selected from the data. For other losses than squares and for `Lasso`, it
            means "auto" and "adam".
        ridge: as in `solve`, for all methods. An entry of ``methods`` overrides it.
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
        TypeError: If a method is not a component or a dict.
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
    shared = {
        "ridge": ridge,
        "penalty": penalty,
        "grid": grid,
        "select": select,
        "loss": loss,
        "noise": noise,
    }
    measured = Method.of(loss=loss).loss.measured
    named, tuning = methods is not None, tuning_of(limits)
    pairs = labelled_methods(methods, shared)
    for label, method in pairs:
        method.check(problem)
        if named and (reason := method.supports(problem._sizes(tuning), problem.spec)):
            raise _unable(label, reason)
    reference = None
    if truth is not None:
        reference = np.flip(problem._as_kernel(truth, "truth"), tuple(range(problem.spec.ndim)))
    with following(progress, "compare"):
        return _compared(problem, pairs, named, measured, reference, tuning)


def _compared(
    problem: Problem,
    pairs: list[tuple[str, Method]],
    named: bool,
    measured: Loss,
    reference: np.ndarray | None,
    tuning: Tuning,
) -> Comparison:
    """Solve by checked methods, and return their rows."""
    report = report_of(problem, tuning)
    decided = report._diagnosis.decided
    solutions, skipped = _solve_all(problem, pairs, named, tuning)
    rows = [_row(label, fit, measured, decided, reference) for label, fit in solutions.items()]
    closed = [row["loss"] for row in rows if row["steps"] is None and row["status"] == "solved"]
    _add_excess(rows, closed if measured.squared else _least(problem, measured, tuning))
    seconds: Counter[str] = Counter()
    for _, part in problem.parts:
        seconds.update(analyse(part, tuning).design.clock.seconds)
    return Comparison(report, solutions, rows, dict(seconds), skipped, measured)


def labelled_methods(methods: Any, shared: dict[str, Any]) -> list[tuple[str, Method]]:
    """Return the methods of `compare` by label, without a look at the problem.

    Args:
        methods: as in `compare`; None for the default methods.
        shared: arguments of `solve` that all methods have in common.
    """
    if methods is None:
        of_all = {name: value for name, value in shared.items() if name not in SELECTION}
        methods = _applicable(Method.of(**of_all))
    pairs = _labelled(methods, shared)
    if not pairs:
        raise ValueError("methods is empty")
    for name in SELECTION:
        unused = all(getattr(method, name) is None for _, method in pairs)
        if shared.get(name) is not None and unused:
            raise TypeError(
                f"{name}= selects the strength of a penalty, but no method has a strength to select"
            )
    return pairs


def _applicable(shared: Method) -> tuple[str, ...]:
    """Return the default methods for the arguments that all methods have in common."""
    if not shared.least_squares:
        return OTHERS
    penalized = shared.regularizes or not shared.noise.penalties
    return SOLVERS if penalized else (*SOLVERS, *PENALTIES)


def _least(problem: Problem, loss: Loss, tuning: Tuning) -> list[float]:
    """Return the least mean of a loss other than squares, if it can be computed."""
    fits, _ = _solve_all(problem, [("exact", Method.of(loss=loss))], False, tuning)
    return [_loss(fit, loss) for fit in fits.values() if fit.converged]


def _solve_all(
    problem: Problem, pairs: list[tuple[str, Method]], named: bool, tuning: Tuning
) -> tuple[dict[str, Solution], dict[str, str]]:
    """Return solutions by label, up to one that is interrupted, and why others are missing."""
    solutions: dict[str, Solution] = {}
    skipped: dict[str, str] = {}
    for label, method in tracked(pairs, "methods", len(pairs), note=lambda pair: pair[0]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IdentifiabilityWarning)
            try:
                reason = method.supports(problem._sizes(tuning), problem.spec)
                if reason is not None:
                    raise _unable(label, reason)
                solutions[label] = solve_by(problem, method, Options(tuning=tuning))
            except SolveError as refusal:
                if named:
                    raise
                skipped[label] = str(refusal).removeprefix(f"{label} cannot solve this problem: ")
                LOG.info("compare: %s is left out: %s", label, skipped[label])
                continue
        if solutions[label].status == "interrupted":
            break
    return solutions, skipped


def _unable(label: str, reason: str) -> SolveError:
    return SolveError(f"{label} cannot solve this problem: {reason}")


def _row(
    label: str, fit: Solution, loss: Loss, decided: bool, reference: np.ndarray | None
) -> dict[str, Any]:
    """Return the row of one method. `_add_excess` adds the excess loss."""
    kernel = np.asarray(fit.kernel, float)
    return {
        "method": label,
        "status": fit.status,
        "loss": _loss(fit, loss),
        "excess_loss": 0.0,
        "kernel_error": None if reference is None else _relative_error(kernel, reference),
        "null_component": _null_component(fit) if decided else None,
        "backward_error": fit.backward_error,
        "duality_gap": fit.duality_gap,
        "certificate_kind": fit.stats.get("certificate_kind"),
        "steps": fit.stats.get("steps"),
        "compile_seconds": fit.stats["compile_seconds"],
        "run_seconds": fit.stats["run_seconds"],
    }


def _null_component(fit: Solution) -> float:
    """Return the norm of the part of the kernel in the null space, over all outputs."""
    norms = []
    for one in fit._by_mask:
        assert one.identifiability is not None
        norms.append(one.identifiability._diagnosis.null_part(np.asarray(one.kernel, float)))
    return float(np.hypot.reduce(np.concatenate(norms)))


def _add_excess(rows: list[dict[str, Any]], closed: list[float]) -> None:
    """Add each loss minus the least of some losses, or of all methods if there are none."""
    floor = min(closed or [row["loss"] for row in rows], default=0.0)
    for row in rows:
        row["excess_loss"] = row["loss"] - floor if np.isfinite(floor) else 0.0


def _relative_error(kernel: np.ndarray, reference: np.ndarray) -> float:
    size = np.abs(reference).max() or 1.0
    norm = np.linalg.norm(reference / size) or 1.0
    with np.errstate(over="ignore"):
        return float(np.linalg.norm((kernel - reference) / size) / norm)


def _loss(fit: Solution, loss: Loss) -> float:
    """Return the mean over the rows used in the fit, by their weights."""
    left = fit._weighted_residuals()
    with np.errstate(over="ignore", under="ignore"):  # data of 1e200 have a loss of inf
        total = sum(float(loss.of(r).sum()) for r in left)
    return total / sum(r.size for r in left)


def _labelled(methods: Any, shared: dict[str, Any]) -> list[tuple[str, Method]]:
    """Return the methods by label."""
    if isinstance(methods, str) or not isinstance(methods, (Mapping, Sequence)):
        raise TypeError(
            "methods must be a list of solvers, penalties or losses, or a dict by label, got "
            f"{methods!r}"
        )
    pairs: Any = methods.items() if isinstance(methods, Mapping) else ((None, m) for m in methods)
    taken: Counter[str] = Counter()
    found = []
    for given, each in pairs:
        method = _method(each, shared)
        label = given if given is not None else each if isinstance(each, str) else method.name
        taken[label] += 1
        found.append((label if taken[label] == 1 else f"{label} #{taken[label]}", method))
    return found


def _method(each: Any, shared: dict[str, Any]) -> Method:
    """Return the method of an entry, which overrides the shared keywords."""
    own = dict(each) if isinstance(each, Mapping) else {argument_of(each): each}
    # A ridge and a penalty are one choice.
    if {"ridge", "penalty"} & own.keys():
        shared = {k: v for k, v in shared.items() if k not in ("ridge", "penalty")}
    words = shared | own
    # A shared grid or criterion is for the methods that select a strength.
    plain = Method.of(**{name: value for name, value in words.items() if name not in SELECTION})
    unused = [name for name in SELECTION if name not in own and not plain.selects(name)]
    return Method.of(**words | dict.fromkeys(unused))
