"""The default solver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import iterative
from ..leastsquares.normal_operator import COLUMNS_OF_ERROR
from ..leastsquares.penalty import RIDGE, Penalty, Ridge
from ..linalg.rank import EPS
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..progress import announce
from ..text import count
from .base import SQUARED, Objective, Solver, SolverResult
from .conjugate_gradient import ConjugateGradient
from .direct import QR, NormalEquations, too_large

# Ridges that are tried where no full rank is proved, each ``STEEPER`` times the one before.
MOST_RIDGES, STEEPER = 20, 4.0


def choose(sizes: Sizes, spec: ConvSpec, objective: Objective) -> list[Solver]:
    """Return the solvers to try for these sizes: rows, unknowns, axes, channels and outputs.

    ``"qr"`` for fewer rows than unknowns, or if the design matrices of all groups and y have at
    most 2¹⁶ numbers, if that fits in memory. `ConjugateGradient` for one axis, 800 + 20·channels +
    30·outputs unknowns or more, and records of four times the kernel. Otherwise ``"normal"``.
    """
    if sizes.factor_fits and (sizes.wide or sizes.small):
        return [QR()]
    steps = ConjugateGradient()
    fits = not sizes.wide and iterative(sizes, spec) and not steps.supports(sizes, spec, objective)
    return [steps, NormalEquations()] if fits else [NormalEquations()]


@dataclass(frozen=True, repr=False)
class AutoSolver(NormalEquations):
    """The default: the exact solution by the cheapest method.

    Least squares, with or without a penalty, are solved by ``"qr"`` with fewer rows than unknowns,
    or if the design matrix and y have at most 2¹⁶ numbers, if that fits in memory. They are solved
    by `ConjugateGradient` for about a thousand unknowns or more along one axis, and for more with
    many channels and outputs. Otherwise they are solved by ``"normal"``, which uses a QR if
    necessary. ``"normal"`` is also used for penalties other than `Ridge`, and if conjugate
    gradients do not reach 30 eps in P/20 steps, at most 100, or do not prove that the solution is
    unique, or if the autocorrelation of x, or the first 20 steps, show that they would not. All
    methods have the same solution.

    Without a penalty or with a ridge, no QR of more than 1e12 operations is computed, nor one that
    does not fit in memory. If neither the Gram matrix nor conjugate gradients prove full rank, the
    kernel is the solution for the smallest ridge, up to a factor of 4, for which they do. Its
    status is "approximate". A warning has the ridge, and the backward error refers to the problem
    with this ridge.

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

    any_loss, factors_rows = True, False

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return the reason if the loss does not support the problem, or if memory does not."""
        formed = sizes.gram_fits or sizes.factor_in_memory
        if objective.loss.squared and not formed and len(choose(sizes, spec, objective)) == 1:
            return too_large(sizes)
        return objective.loss.supports(sizes, spec)

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        sizes, given = analysis.design.sizes, objective.strength
        solvers, tried = choose(sizes, analysis.design.spec, objective), dict[str, float]()
        numbers = {"row": sizes.rows, "unknown": sizes.unknowns, "output": sizes.outputs}
        size = " × ".join(count(n, noun) for noun, n in numbers.items())
        penalty = objective.penalty if given else RIDGE
        ridges = _ridges(analysis, penalty, given)
        for strength, solver in ((one, solver) for one in ridges for solver in solvers):
            tried[solver.name] = strength
            choice = f"{size}: {', then '.join(tried)}"
            announce(choice)
            found = solver.attempt(analysis, Objective(SQUARED, penalty, strength))
            if found is not None:
                break
        else:
            raise SolveError(too_large(sizes))
        stats = {"solver": solver.name, "choice": choice} | found.stats
        if strength == given:
            return replace(found, stats=stats)
        words = f"the kernel of the smallest {penalty.title} that proves full rank, {strength:.3g}"
        return replace(
            found,
            status="interrupted" if found.status == "interrupted" else "approximate",
            stats=stats | {"strength": strength},
            evidence=None,
            answer=f"{words} (penalty='ridge' selects a strength)",
        )


def _ridges(analysis: Analysis, penalty: Penalty, given: float) -> Iterator[float]:
    """Yield the given strength, and then ridges that may prove full rank where it does not."""
    yield given
    if isinstance(penalty, Ridge):
        # A proof allows for the rounding error of so many columns.
        least = max(given, analysis.plain.ridge_of(10 * EPS * COLUMNS_OF_ERROR))
        yield from (least * STEEPER**step for step in range(MOST_RIDGES))
