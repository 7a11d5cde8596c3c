"""The solver chosen where none is named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..prepared import Prepared, prepare
from ..problem import Problem
from ..spec import ConvSpec
from ..system import SMALL_NUMBERS
from .base import Progress, Raw, Solver, judge_ridge, traceable
from .direct import LeastSquares
from .structured import NormalEquations


def choose(rows: int, unknowns: int, numbers: int, ridge: Any) -> Solver:
    """`LeastSquares` for few rows or a matrix of few ``numbers``, else `NormalEquations`."""
    if rows < unknowns or numbers <= SMALL_NUMBERS:
        return LeastSquares("qr", ridge)
    return NormalEquations(ridge)


@traceable("ridge")
@dataclass(frozen=True)
class AutoSolver(Solver):
    """The default: the exact least-squares answer by whichever closed form is cheaper.

    ``LeastSquares(method="qr")`` with fewer rows than unknowns, or a design matrix (y beside it) of
    at most 2²⁰ numbers, if that fits in memory; otherwise ``NormalEquations``, which escalates by
    itself. Both give the same answer; ``stats["solver"]`` names the one that ran. ``ridge`` is
    summed, as scikit-learn's ``alpha``.
    """

    ridge: Any = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ridge", judge_ridge(self.ridge))

    def chosen(self, problem: Problem) -> Solver:
        """The solver that this rule picks for ``problem``."""
        prepared = prepare(problem)
        if not prepared.fits:
            return NormalEquations(self.ridge)
        rows, unknowns = problem.n_equations, problem.n_unknowns
        return choose(rows, unknowns, prepared.matrix_numbers, self.ridge)

    def supports(self, problem: Problem) -> str | None:
        return self.chosen(problem).supports(problem)

    def run(self, prepared: Prepared, progress: Progress | None = None) -> Raw:
        solver = self.chosen(prepared.problem)
        raw = solver.run(prepared, progress)
        return replace(raw, stats={"solver": solver.name} | raw.stats)

    def traced(self, x: Any, y: Any, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
        rows = x.shape[0] * spec.rows(x.shape[1:-1])
        unknowns = spec.unknowns(x.shape[-1])
        numbers = rows * (unknowns * spec.groups + y.shape[-1])
        return choose(rows, unknowns + bias, numbers, self.ridge).traced(x, y, spec, bias)
