"""The default solver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..leastsquares.analysis import Analysis
from ..leastsquares.normal_operator import iterative
from ..leastsquares.penalty import RIDGE, Penalty
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..text import count
from .base import Progress, QuadraticSolver, Raw, Solver, traceable
from .conjugate_gradient import ConjugateGradient
from .least_squares import LeastSquares
from .normal_equations import NormalEquations

# Conjugate gradients get P / 20 steps at most: they cost about as much as the factor that is made
# where they do not converge.
UNKNOWNS_A_STEP = 20


def choose(sizes: Sizes, spec: ConvSpec, ridge: Any = 0.0, penalty: Penalty = RIDGE) -> Solver:
    """Return the solver for these sizes: rows, unknowns, axes, channels and outputs of a group.

    `LeastSquares` for fewer rows than unknowns, or if the design matrices of all groups and y have
    at most 2¹⁶ numbers, if that fits in memory. `ConjugateGradient` for one axis, 800 + 20·channels
    + 30·outputs unknowns or more, and records of four times the kernel. Otherwise
    `NormalEquations`.
    """
    if sizes.factor_fits and (sizes.wide or sizes.small):
        return LeastSquares("qr", ridge, penalty)
    if not sizes.wide and iterative(sizes, spec):
        return ConjugateGradient(ridge, penalty=penalty)
    return NormalEquations(ridge, penalty)


@traceable("ridge")
@dataclass(frozen=True)
class AutoSolver(QuadraticSolver):
    """The default: the exact least-squares solution by the cheapest method.

    It is ``LeastSquares(method="qr")`` with fewer rows than unknowns, or if the design matrix and y
    have at most 2¹⁶ numbers, if that fits in memory. It is ``ConjugateGradient`` for about a
    thousand unknowns or more along one axis, and for more with many channels and outputs. Otherwise
    it is ``NormalEquations``, which uses a QR if necessary. ``NormalEquations`` is also used if
    conjugate gradients do not reach 30 eps in P/20 steps, or do not prove that the solution is
    unique. All methods have the same solution. ``stats["solver"]`` is the method that was used, and
    ``stats["choice"]`` the sizes that decided. A ``ridge`` is summed, as scikit-learn's ``alpha``.
    `fit_kernel` uses `NormalEquations`.
    """

    ridge: Any = 0.0
    penalty: Penalty = RIDGE

    def run(self, analysis: Analysis, progress: Progress | None = None) -> Raw:
        sizes = analysis.design.sizes
        solver = choose(sizes, analysis.design.spec, self.ridge, self.penalty)
        choice = (
            f"{count(sizes.rows, 'row')} × {count(sizes.unknowns, 'unknown')} × "
            f"{count(sizes.outputs, 'output')}, {count(sizes.groups, 'group')}: {solver.name}"
        )
        if isinstance(solver, ConjugateGradient) and (sizes.factor_fits or sizes.gram_fits):
            raw, why = self._iterated(solver, analysis, progress)
            if raw is None:
                solver = NormalEquations(self.ridge, self.penalty)
                choice += f" ({why}), then {solver.name}"
                raw = solver.run(analysis, progress)
        else:
            raw = solver.run(analysis, progress)
        return replace(raw, stats={"solver": solver.name, "choice": choice} | raw.stats)

    def _iterated(
        self, solver: ConjugateGradient, analysis: Analysis, progress: Progress | None
    ) -> tuple[Raw | None, str]:
        """Return the result of conjugate gradients, or None and the reason to use a factor."""
        if not analysis.design.whole_matrix.by_fft:
            return None, "FFTs lose digits, since the columns differ in norm"
        unknowns = analysis.design.sizes.unknowns
        raw = replace(solver, steps=unknowns // UNKNOWNS_A_STEP).run(analysis, progress)
        if raw.status == "interrupted" or (raw.status == "solved" and raw.evidence):
            return raw, ""
        return None, f"{raw.status}, full rank {'' if raw.evidence else 'not '}proved"

    def traced(self, x: Any, y: Any, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
        return NormalEquations(self.ridge, self.penalty).traced(x, y, spec, bias)
