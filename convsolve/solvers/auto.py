"""The solver chosen where none is named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..prepared import Prepared, prepare
from ..problem import Problem
from ..spec import ConvSpec
from ..system import MAX_GRAM_BYTES, SMALL_NUMBERS
from .base import Progress, Raw, Solver, judge_ridge, traceable
from .direct import LeastSquares
from .iterative import ConjugateGradient
from .structured import NormalEquations

# From so many taps on steps of FFTs are faster than a factor, unless channels or outputs are many:
# measured for inputs coloured by one pole.
LONG_KERNEL, FEW = 1000, 4


def choose(
    rows: int, unknowns: int, outputs: int, channels: int, numbers: int, ridge: Any
) -> Solver:
    """The rule: rows, unknowns and outputs of a group, its channels, numbers in all of the matrix.

    `LeastSquares` for fewer rows than unknowns or at most 2²⁰ numbers; `ConjugateGradient` for long
    kernels (1 000 taps) of at most 4 channels and 4 outputs; `NormalEquations` for all others.
    """
    if rows < unknowns or numbers <= SMALL_NUMBERS:
        return LeastSquares("qr", ridge)
    if unknowns >= LONG_KERNEL * channels and max(channels, outputs) <= FEW:
        return ConjugateGradient(ridge)
    return NormalEquations(ridge)


@traceable("ridge")
@dataclass(frozen=True)
class AutoSolver(Solver):
    """The default: the exact least-squares answer by whichever method is cheapest.

    ``LeastSquares(method="qr")`` with fewer rows than unknowns, or a design matrix (y beside it) of
    at most 2²⁰ numbers, if that fits in memory; ``ConjugateGradient`` for kernels of a thousand
    taps and more with few channels and outputs; otherwise ``NormalEquations``, which escalates by
    itself, and which goes on where conjugate gradients do not reach 30 eps. All give the same
    answer. ``stats["solver"]`` names the one that ran, ``stats["choice"]`` the sizes that decided.
    ``ridge`` is summed, as scikit-learn's ``alpha``.
    """

    ridge: Any = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ridge", judge_ridge(self.ridge))

    def chosen(self, problem: Problem) -> Solver:
        """The solver that this rule picks for ``problem``."""
        p = prepare(problem)
        channels = problem.in_channels // p.groups
        solver = choose(p.n, problem.n_unknowns, p.outputs, channels, p.matrix_numbers, self.ridge)
        return NormalEquations(self.ridge) if solver.supports(problem) else solver

    def supports(self, problem: Problem) -> str | None:
        return self.chosen(problem).supports(problem)

    def proves_rank(self, problem: Problem) -> bool:
        return self.chosen(problem).proves_rank(problem)

    def run(self, prepared: Prepared, progress: Progress | None = None) -> Raw:
        problem = prepared.problem
        solver = self.chosen(problem)
        raw = solver.run(prepared, progress)
        choice = (
            f"{prepared.n} rows × {problem.n_unknowns} unknowns × {prepared.outputs} outputs, "
            f"{prepared.groups} groups: {solver.name}"
        )
        gram = 8 * prepared.groups * prepared.columns**2
        fits = prepared.fits or gram <= MAX_GRAM_BYTES
        if raw.status not in (None, "solved", "interrupted") and fits:
            choice += f" ({raw.status}), then NormalEquations"
            solver = NormalEquations(self.ridge)
            raw = solver.run(prepared, progress)
        return replace(raw, stats={"solver": solver.name, "choice": choice} | raw.stats)

    def traced(self, x: Any, y: Any, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
        rows = x.shape[0] * spec.rows(x.shape[1:-1])
        unknowns = spec.unknowns(x.shape[-1])
        numbers = rows * (unknowns * spec.groups + y.shape[-1])
        if rows < unknowns + bias or numbers <= SMALL_NUMBERS:
            return LeastSquares("qr", self.ridge).traced(x, y, spec, bias)
        return NormalEquations(self.ridge).traced(x, y, spec, bias)
