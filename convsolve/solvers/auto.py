"""The solver chosen where none is named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..leastsquares.analysis import SMALL_NUMBERS, Prepared, prepare
from ..leastsquares.system import MAX_GRAM_BYTES
from ..problem.problem import Problem
from ..problem.spec import ConvSpec
from ..text import count
from .base import Progress, Raw, Solver, host_ridge, judge_ridge, traceable
from .conjugate_gradient import ConjugateGradient
from .least_squares import LeastSquares
from .normal_equations import NormalEquations

# Along one axis, from `FEW` unknowns on and so many more for every channel and output of a group,
# steps of FFTs are faster than a factor: see benchmarks/results/choice.json.
FEW, PER_CHANNEL, PER_OUTPUT = 800, 20, 30
# Steps that cost about as much as the factor that takes over where they do not end.
UNKNOWNS_A_STEP = 20


def choose(problem: Problem, ridge: Any = 0.0) -> Solver:
    """The rule, by sizes: rows, unknowns, axes, and the channels and outputs of a group.

    `LeastSquares` for fewer rows than unknowns or a matrix (y beside it, all groups) of at most 2¹⁶
    numbers, if that fits in memory; `ConjugateGradient` for one axis, 800 + 20·channels +
    30·outputs unknowns or more, and records of four times the kernel; otherwise, and where the
    factor is there already, or a burst at an edge calls for rows, `NormalEquations`.
    """
    p, unknowns = prepare(problem), problem.n_unknowns
    if p.n < unknowns or p.matrix_numbers <= SMALL_NUMBERS:
        solver: Solver = LeastSquares("qr", ridge)
        if solver.supports(problem) is None:
            return solver
    # What hangs over the edges of a record costs two kernels.
    long = p.n >= 4 * len(problem.x) * problem.spec.kernel_size[0]
    many = FEW + PER_CHANNEL * problem.in_channels // p.groups + PER_OUTPUT * p.outputs
    solver = NormalEquations(ridge)
    made = p.has((("gram", 0), host_ridge(solver)))
    if problem.spec.ndim == 1 and long and p.n >= unknowns >= many and not made:
        # Columns that a burst makes uneven are no work for FFTs.
        return solver if p.signals is None else ConjugateGradient(ridge)
    return solver


@traceable("ridge")
@dataclass(frozen=True)
class AutoSolver(Solver):
    """The default: the exact least-squares answer by whichever method is cheapest.

    ``LeastSquares(method="qr")`` with fewer rows than unknowns, or a design matrix (y beside it) of
    at most 2¹⁶ numbers, if that fits in memory; ``ConjugateGradient`` for a thousand unknowns and
    more along one axis, and more yet with many channels and outputs; otherwise ``NormalEquations``,
    which escalates by itself, and which takes over where conjugate gradients do not reach 30 eps in
    P/20 steps or prove that the answer is the only one. All give the same answer.
    ``stats["solver"]`` names the one that ran, ``stats["choice"]`` the sizes that decided.
    ``ridge`` is summed, as scikit-learn's ``alpha``.
    """

    ridge: Any = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ridge", judge_ridge(self.ridge))

    def supports(self, problem: Problem) -> str | None:
        return choose(problem, self.ridge).supports(problem)

    def run(self, prepared: Prepared, progress: Progress | None = None) -> Raw:
        problem = prepared.problem
        solver = choose(problem, self.ridge)
        fits = prepared.fits or 8 * prepared.groups * prepared.columns**2 <= MAX_GRAM_BYTES
        if isinstance(solver, ConjugateGradient) and fits:
            solver = replace(solver, steps=problem.n_unknowns // UNKNOWNS_A_STEP)
        raw = solver.run(prepared, progress)
        choice = (
            f"{count(prepared.n, 'row')} × {count(problem.n_unknowns, 'unknown')} × "
            f"{count(prepared.outputs, 'output')}, {count(prepared.groups, 'group')}: {solver.name}"
        )
        done = (raw.evidence and raw.status == "solved") or raw.status == "interrupted"
        if isinstance(solver, ConjugateGradient) and not done and fits:
            choice += f" ({raw.status}, full rank {'' if raw.evidence else 'not '}proved)"
            solver = NormalEquations(self.ridge)
            choice += f", then {solver.name}"
            raw = solver.run(prepared, progress)
        return replace(raw, stats={"solver": solver.name, "choice": choice} | raw.stats)

    def traced(self, x: Any, y: Any, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
        rows = x.shape[0] * spec.rows(x.shape[1:-1])
        unknowns = spec.unknowns(x.shape[-1])
        numbers = rows * (unknowns * spec.groups + y.shape[-1])
        if rows < unknowns + bias or numbers <= SMALL_NUMBERS:
            return LeastSquares("qr", self.ridge).traced(x, y, spec, bias)
        return NormalEquations(self.ridge).traced(x, y, spec, bias)
