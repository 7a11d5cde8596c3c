"""Comparison: every method on one problem, side by side."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401  # here, or the first method would be billed for the import

from .api import identify, solve
from .errors import IdentifiabilityWarning, SolveError
from .html import paragraph, table
from .identifiability.report import Identifiability
from .leastsquares.analysis import analyse
from .leastsquares.stable_spline import StableSpline
from .near_misses import checks_arguments
from .problem.problem import Problem
from .problem.sizes import DEFAULT_LIMITS, Limits
from .progress import LOG, tracked
from .solution import Solution
from .solution_text import certificate_text
from .solvers.base import SQUARES, Objective, Solver
from .solvers.conjugate_gradient import ConjugateGradient
from .solvers.fft_deconvolution import FFTDeconvolution
from .solvers.gradient_descent import GradientDescent
from .solvers.huber import Huber
from .solvers.least_absolute import LeastAbsolute
from .solvers.least_squares import LeastSquares
from .solvers.normal_equations import NormalEquations
from .solvers.regularized import Regularized
from .text import aligned, count

# Methods without a penalty, and penalties that are selected from the data.
ALL: tuple[Solver, ...] = (
    LeastSquares("svd"),
    LeastSquares("qr"),
    NormalEquations(),
    ConjugateGradient(),
    FFTDeconvolution(),
    GradientDescent(),
)
CHOSEN: tuple[Solver, ...] = (Regularized(), Regularized(StableSpline()))
HEADS = [
    "method", "status", "loss", "gap", "kernel error", "null part", "certificate", "steps",
    "compile s", "run s",
]  # fmt: skip


class Comparison:
    """The result of `compare`: the solutions, and a table of them.

    Attributes:
        solutions: a `Solution` for every method.
        objective: the loss that all methods have in common, see `compare`.
        rows: a dict per method: "method", "status", "loss" (its mean over residuals), "gap" (loss
            minus the loss of the best closed form), "kernel_error" (‖w − truth‖/‖truth‖, None
            without a truth), "null_part" (norm of the part of w in the null space),
            "backward_error", "duality_gap" and "certificate_kind", "steps", "compile_seconds",
            "run_seconds".
        shared_seconds: time of the work that methods share.
        skipped: the solvers that could not run, with the reason.
    """

    def __init__(
        self,
        report: Identifiability,
        solutions: dict[str, Solution],
        rows: list[dict[str, Any]],
        shared_seconds: dict[str, float],
        skipped: dict[str, str],
        objective: Objective = SQUARES,
    ) -> None:
        self.identifiability, self.objective = report, objective
        self.solutions, self.rows = solutions, rows
        self.shared_seconds, self.skipped = shared_seconds, skipped

    def to_dict(self) -> list[dict[str, Any]]:
        """The rows, as `pandas.DataFrame` and JSON take them."""
        return [dict(row) for row in self.rows]

    def text(self) -> str:
        """The table, a line a method, and below it the work they share and who could not run."""
        lines = aligned([HEADS, *(_cells(row) for row in self.rows)], 2, "-")
        if self.shared_seconds:
            pieces = ", ".join(f"{k} {v:.4f}" for k, v in self.shared_seconds.items())
            lines.append(f"shared, once (s): {pieces}")
        if self.objective != SQUARES:
            lines.append(f"loss: {self.objective.words}")
        lines += [f"not run: {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """The table, as a notebook shows it."""
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
    """A row of the table as words under `HEADS`."""

    def shown(name: str, form: str) -> str:
        return "–" if row[name] is None else format(row[name], form)

    certificate = certificate_of(row)
    return [
        row["method"],
        row["status"],
        f"{row['loss']:.3g}",
        f"{row['gap']:.2g}",
        shown("kernel_error", ".2g"),
        shown("null_part", ".2g"),
        certificate or "–",
        shown("steps", "d"),
        f"{row['compile_seconds']:.2f}" if row["compile_seconds"] else "–",
        f"{row['run_seconds']:.4f}",
    ]


@checks_arguments
def compare(
    problem: Problem,
    solvers: Sequence[Solver] | Mapping[str, Solver] | None = None,
    *,
    truth: Any = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Comparison:
    """Solve ``problem`` by every method and lay the answers side by side.

    Args:
        problem: x, y and the geometry.
        solvers: a sequence, or a mapping from label to solver; all that apply by default.
        truth: the true impulse response, if it is known, in ascending lags: an array shaped as
            `Solution.impulse_response`, or ``(*lags, Cin/groups, Cout)``.
        limits: the memory allowed.

    The loss is the mean squared residual for every method, whatever it minimised itself: one with a
    penalty leaves more of y, and where y is noisy it is nearer to the truth. Only if all minimise
    absolute residuals, or Huber's loss of one threshold, it is that; and the gap is that to the
    exact answer, of `LeastAbsolute` or `Huber`, whether it is among them or not. Warnings of
    identifiability are left to the report, ``Comparison.identifiability``.

    Raises:
        ValueError: no y, a truth of the wrong size; SolveError: a named solver that cannot.
    """
    report = identify(problem, limits=limits)
    if problem.output is None:
        raise ValueError("compare needs y; this Problem has x alone, which is enough for identify")
    named = solvers is not None
    pairs = _labelled((*ALL, *CHOSEN) if solvers is None else solvers)
    if not pairs:
        raise ValueError("solvers names none; leave it out for all that apply")
    reference = None
    if truth is not None:
        reference = np.flip(problem.as_kernel(truth, "truth"), tuple(range(problem.spec.ndim)))
    decided = report.decided
    solutions, skipped = _solve_all(problem, pairs, named, limits)
    objective = _common(solver for _, solver in pairs)
    rows = [_row(label, fit, objective, decided, reference) for label, fit in solutions.items()]
    closed = [row["loss"] for row in rows if row["steps"] is None and row["status"] == "solved"]
    _add_gaps(rows, closed or _least(problem, objective, limits))
    shared: Counter[str] = Counter()
    for _, part in problem.parts:
        shared.update(analyse(part, limits).design.clock.seconds)
    return Comparison(report, solutions, rows, dict(shared), skipped, objective)


def _common(solvers: Iterable[Solver]) -> Objective:
    """What all of them minimise; squares if there is no such loss."""
    found = {solver.objective for solver in solvers}
    return (found.pop() if len(found) == 1 else None) or SQUARES


def _least(problem: Problem, objective: Objective, limits: Limits) -> list[float]:
    """The least that there is of a loss other than squares, where it can be had."""
    if objective == SQUARES:
        return []
    exact: Solver = LeastAbsolute()
    if objective.loss == "huber":
        exact = Huber(delta=1.0, scale=objective.threshold)
    fits, _ = _solve_all(problem, [("exact", exact)], False, limits)
    return [_loss(fit, objective) for fit in fits.values() if fit.converged]


def _solve_all(
    problem: Problem, pairs: list[tuple[str, Solver]], named: bool, limits: Limits
) -> tuple[dict[str, Solution], dict[str, str]]:
    """Solutions by label, up to one that is interrupted, and why others could not be had."""
    solutions: dict[str, Solution] = {}
    skipped: dict[str, str] = {}
    for label, solver in tracked(pairs, "methods", len(pairs), note=lambda pair: pair[0]):
        reason = solver.supports(problem.sizes(limits), problem.spec)
        if reason is not None and named:
            raise SolveError(f"{label} cannot solve this problem: {reason}")
        if reason is not None:
            skipped[label] = reason
            LOG.info("compare: %s is left out: %s", label, reason)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IdentifiabilityWarning)
            try:
                solutions[label] = solve(problem, solver, limits=limits)
            except SolveError as refusal:
                if named:
                    raise
                skipped[label] = str(refusal)
                LOG.info("compare: %s is left out: %s", label, refusal)
                continue
        if solutions[label].status == "interrupted":
            break
    return solutions, skipped


def _row(
    label: str, fit: Solution, objective: Objective, decided: bool, reference: np.ndarray | None
) -> dict[str, Any]:
    """Return the row of one method. `_add_gaps` adds the gap."""
    kernel = np.asarray(fit.kernel, float)
    return {
        "method": label,
        "status": fit.status,
        "loss": _loss(fit, objective),
        "gap": 0.0,
        "kernel_error": None if reference is None else _relative_error(kernel, reference),
        "null_part": _null_part(fit) if decided else None,
        "backward_error": fit.backward_error,
        "duality_gap": fit.duality_gap,
        "certificate_kind": fit.stats.get("certificate_kind"),
        "steps": fit.stats.get("steps"),
        "compile_seconds": fit.stats["compile_seconds"],
        "run_seconds": fit.stats["run_seconds"],
    }


def _null_part(fit: Solution) -> float:
    """Return the norm of the part of the kernel in the null space, over all outputs."""
    norms = []
    for one in fit._by_mask:
        assert one.identifiability is not None
        norms.append(one.identifiability.null_part(np.asarray(one.kernel, float)))
    return float(np.hypot.reduce(np.concatenate(norms)))


def _add_gaps(rows: list[dict[str, Any]], closed: list[float]) -> None:
    """Add each loss minus the loss of the best closed form, or of the best method."""
    floor = min(closed or [row["loss"] for row in rows], default=0.0)
    for row in rows:
        row["gap"] = row["loss"] - floor if np.isfinite(floor) else 0.0


def _relative_error(kernel: np.ndarray, reference: np.ndarray) -> float:
    size = np.abs(reference).max() or 1.0
    norm = np.linalg.norm(reference / size) or 1.0
    with np.errstate(over="ignore"):
        return float(np.linalg.norm((kernel - reference) / size) / norm)


def _loss(fit: Solution, objective: Objective) -> float:
    """Return the mean over the rows used in the fit, by their weights."""
    left = fit.weighted_residuals()
    with np.errstate(over="ignore", under="ignore"):  # data of 1e200 have a loss of inf
        total = sum(float(objective.of(r).sum()) for r in left)
    return total / sum(r.size for r in left)


def _labelled(solvers: Any) -> list[tuple[str, Solver]]:
    if not isinstance(solvers, (Mapping, Sequence)):
        raise TypeError(f"solvers must be a list or a mapping of solvers, got {solvers!r}")
    pairs = (
        list(solvers.items())
        if isinstance(solvers, Mapping)
        else [(s.name if isinstance(s, Solver) else repr(s), s) for s in solvers]
    )
    taken: dict[str, int] = {}
    unique = []
    for label, solver in pairs:
        if not isinstance(solver, Solver):
            raise TypeError(f"solvers must hold solvers such as NormalEquations(), got {solver!r}")
        taken[label] = taken.get(label, 0) + 1
        unique.append((label if taken[label] == 1 else f"{label} #{taken[label]}", solver))
    return unique
