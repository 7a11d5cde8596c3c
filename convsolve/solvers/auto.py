"""The default solver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..leastsquares.analysis import Analysis
from ..leastsquares.design import iterative
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..progress import announce
from ..text import count
from .base import Objective, Solver, SolverResult, traceable
from .conjugate_gradient import ConjugateGradient, equations
from .least_squares import QR
from .normal_equations import NormalEquations

# Conjugate gradients get P / 20 steps, which cost about as much as the factor that is made where
# they do not converge. Where they converge, they take fewer than ``MOST_STEPS``.
UNKNOWNS_A_STEP, MOST_STEPS = 20, 100


def choose(sizes: Sizes, spec: ConvSpec) -> Solver:
    """Return the solver for these sizes: rows, unknowns, axes, channels and outputs of a group.

    ``"qr"`` for fewer rows than unknowns, or if the design matrices of all groups and y have at
    most 2¹⁶ numbers, if that fits in memory. `ConjugateGradient` for one axis, 800 + 20·channels +
    30·outputs unknowns or more, and records of four times the kernel. Otherwise ``"normal"``.
    """
    if sizes.factor_fits and (sizes.wide or sizes.small):
        return QR()
    if not sizes.wide and iterative(sizes, spec):
        return ConjugateGradient()
    return NormalEquations()


@traceable()
@dataclass(frozen=True, repr=False)
class AutoSolver(Solver):
    """The default: the exact solution by the cheapest method.

    Least squares, with or without a penalty, are solved by ``"qr"`` with fewer rows than unknowns,
    or if the design matrix and y have at most 2¹⁶ numbers, if that fits in memory. They are solved
    by `ConjugateGradient` for about a thousand unknowns or more along one axis, and for more with
    many channels and outputs. Otherwise they are solved by ``"normal"``, which uses a QR if
    necessary. ``"normal"`` is also used for penalties other than `Ridge` and `Smooth`, and if
    conjugate gradients do not reach 30 eps in P/20 steps, at most 100, or do not prove that the
    solution is unique, or if the autocorrelation of x, or the first 20 steps, show that they would
    not. All methods have the same solution.
    ``stats["solver"]`` is the method that was used, and ``stats["choice"]`` the sizes that decided.

    Other losses are minimized by their exact method, see `HuberLoss` and ``"absolute"``.
    `fit_kernel` uses ``"normal"``.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem)
        >>> fit.stats["solver"]
        'QR'

    See Also:
        ``"qr"``, ``"normal"`` and `ConjugateGradient`, of which one is chosen.
    """

    any_loss = True

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return the reason if the exact method of the loss does not support the problem."""
        return objective.loss.supports(sizes, spec)

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        sizes, spec = analysis.design.sizes, analysis.design.spec
        solver = choose(sizes, spec)
        if isinstance(solver, ConjugateGradient) and solver.supports(sizes, spec, objective):
            solver = NormalEquations()
        choice = (
            f"{count(sizes.rows, 'row')} × {count(sizes.unknowns, 'unknown')} × "
            f"{count(sizes.outputs, 'output')}, {count(sizes.groups, 'group')}: {solver.name}"
        )
        announce(choice)
        found = None
        if isinstance(solver, ConjugateGradient) and (sizes.factor_fits or sizes.gram_fits):
            found, why = self._iterated(solver, analysis, objective)
            if found is None:
                solver = NormalEquations()
                choice += f" ({why}), then {solver.name}"
                announce(choice)
        if found is None:
            found = solver.run(analysis, objective)
        found.stats.setdefault("solver", solver.name)
        found.stats.setdefault("choice", choice)
        return found

    def _iterated(
        self,
        solver: ConjugateGradient,
        analysis: Analysis,
        objective: Objective,
    ) -> tuple[SolverResult | None, str]:
        """Return the result of conjugate gradients, or None and the reason to use a factor."""
        if not analysis.design.whole_matrix.by_fft:
            return None, "no FFTs, since rows differ in weight or columns in norm"
        regression, normals = equations(analysis, objective)
        if not all(normal.definite for normal in normals):
            return None, "the spectrum of x spans too many digits"
        steps = min(analysis.design.sizes.unknowns // UNKNOWNS_A_STEP, MOST_STEPS)
        found = replace(solver, steps=steps).solution(regression, normals, attempt=True)
        if found.status == "interrupted" or (found.status == "solved" and found.evidence):
            return found, ""
        return None, "full rank not proved" if found.status == "solved" else str(found.status)

    def traced(
        self, x: Any, y: Any, spec: ConvSpec, bias: bool, objective: Objective
    ) -> tuple[Any, Any]:
        return NormalEquations().traced(x, y, spec, bias, objective)
