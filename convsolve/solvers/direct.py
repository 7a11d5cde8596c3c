"""Least squares by factors: QR, singular values or moments; and the default, which chooses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import iterative
from ..leastsquares.normal_operator import COLUMNS_OF_ERROR
from ..leastsquares.penalty import RIDGE, Penalty, Ridge
from ..leastsquares.regression import QR_STEPS
from ..linalg.rank import EPS
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..text import count, in_bytes
from .base import SQUARED, Objective, Solver, SolverResult, packed
from .conjugate_gradient import ConjugateGradient

# Ridges that are tried where no full rank is proved, each ``STEEPER`` times the one before.
MOST_RIDGES, STEEPER = 20, 4.0


class _Direct(Solver):
    """A solver by a factor. `fit_kernel` tries the Gram matrix first if ``by_gram`` is True."""

    by_gram: ClassVar[bool] = True
    factors_rows = True

    def traced(
        self, x: Any, y: Any, weights: Any, spec: ConvSpec, bias: bool, objective: Objective
    ) -> tuple[Any, Any]:
        from .linear import fit

        return fit(x, y, weights, spec, bias, objective, self.by_gram)


@dataclass(frozen=True, repr=False)
class QR(_Direct):
    """Minimize ‖y − Aw‖² + strength·wᵀK w by a QR of the design matrix A, in row blocks.

    The method is backward stable. The certificate is at most 30 eps for any condition number. The
    kernel error is at most 100·eps·(κ + κ²·‖r‖/(‖A‖‖w‖)), where κ is the condition number of the
    equilibrated A. If A is deficient or wide, the solution is that of minimum norm in the user's
    units, truncated at the tolerance of `identify`.

    The memory is proportional to unknowns², for records of any length, and the time to rows ×
    unknowns². For long records ``"normal"`` computes the same solution at a quarter of the
    cost. With fewer rows than unknowns the memory is proportional to rows × unknowns, and the time
    to rows² × unknowns. In `fit_kernel` it is the method ``"normal"``, which uses a QR if needed.

    Source: Å. Björck, Numerical Methods for Least Squares Problems, SIAM 1996, section 2.4.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, "qr")
        >>> fit.status, fit.backward_error < 1e-14
        ('solved', True)

    See Also:
        ``"normal"`` for long records, ``"svd"``, and ``"auto"``, the default.
    """

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return the reason if R does not fit in the memory allowed, else None."""
        if sizes.factor_in_memory:
            return None
        return f"a QR of {sizes.unknowns} unknowns needs {sizes.factor_excess}; use solver='cg'"

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        regression = analysis.regression(objective.penalty, objective.strength)
        factors = regression.system.qr_factors()
        assert factors is not None  # `supports` refuses a QR that exceeds the memory limit
        w = regression.first(factors, by_svd=isinstance(self, SVD))
        return packed(regression, *regression.refine(w, factors, QR_STEPS))


@dataclass(frozen=True, repr=False)
class SVD(QR):
    """Minimize ‖y − Aw‖² + strength·wᵀK w by the singular values of the design matrix A.

    It is the reference: the triangle R of ``"qr"`` is decomposed further. The accuracy is the same.
    If A is deficient or wide, both methods solve in its row space. Use ``"qr"``, which is faster,
    unless you compare methods.

    Source: Å. Björck, Numerical Methods for Least Squares Problems, SIAM 1996, section 2.7.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit, other = cs.solve(problem, "svd"), cs.solve(problem, "qr")
        >>> np.allclose(fit.kernel, other.kernel, rtol=1e-10)
        True

    See Also:
        ``"qr"``, ``"normal"`` and ``"auto"``.
    """

    by_gram = False


@dataclass(frozen=True, repr=False)
class NormalEquations(_Direct):
    """Minimize ‖y − Aw‖² + strength·wᵀK w from the moments AᵀA and Aᵀy, as accurately as a QR.

    The moments are computed from the signals by block FFTs. They are exact at the edges, and the
    matrix is not formed. A small matrix is formed by blocks of rows, and so is a matrix whose
    columns differ much in norm because of a transient.

    1. The Gram matrix (κ up to about 1e6) or the ridge proves full rank: a Cholesky factorization
       of the equilibrated matrix, refinement from the moments, and up to 4 steps with residuals
       from the data. The best iterate is kept. With a ridge and far fewer rows than unknowns, the
       dual is solved.
    2. Neither proves full rank, or the certificate exceeds 30 eps: a QR of row blocks of the design
       matrix, joined in a tree, and up to 5 semi-normal steps.
    3. R is deficient: its truncated SVD, for the minimum norm in the user's units.

    With 32 outputs or more, the certificate in 1. is an upper bound from 16 random combinations of
    every 128 outputs, if it shows 30 eps. It holds with a probability of 1 − 1e-6, and residuals of
    all outputs are not computed.

    ``stats["route"]`` names the factors that were used, and such combinations. If R and its blocks
    do not fit in the memory allowed, the solution of the Gram matrix is returned as "approximate".
    If there is none, a SolveError asks for a ridge. ``"auto"`` has a limit of operations too.

    The certificate is at most 30 eps. The kernel error is that of ``"qr"``. For thousands of
    taps `ConjugateGradient` is faster.

    In `fit_kernel` a matrix of more than 2¹⁶ numbers is not formed, and derivatives cost a few
    FFTs. If a bound on the condition number allows it (in float64 up to about 1e6), the factor is a
    Cholesky factor of AᵀA. Otherwise it is the truncated SVD of R from a QR of row blocks. A few
    refinement steps use residuals from the data. In a batch of `jax.vmap`, the slower method runs
    only for the problems that require it.

    Source: Å. Björck, Numerical Methods for Least Squares Problems, SIAM 1996, sections 2.3 and
    2.9.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> problem = cs.Problem(x, y, lags=(0, 9))
        >>> fit = cs.solve(problem, "normal")
        >>> fit.status, fit.backward_error < 1e-14
        ('solved', True)

    See Also:
        ``"qr"``, `ConjugateGradient` for thousands of taps, and ``"auto"``, the default.
    """

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        if (found := self.attempt(analysis, objective)) is None:
            raise SolveError(too_large(analysis.design.sizes))
        return found

    def attempt(self, analysis: Analysis, objective: Objective) -> SolverResult | None:
        """Return the solution, or None if the Gram matrix has none and a QR exceeds the limits."""
        sizes, found = analysis.design.sizes, None
        if sizes.gram_fits or sizes.factor_in_memory:  # before sums over millions of columns
            regression = analysis.regression(objective.penalty, objective.strength)
            found = regression.solve()
        return found and packed(regression, *found[:2], stats={"route": found[2]})


def too_large(sizes: Sizes) -> str:
    """Return the reason why neither a Gram matrix nor a QR can be used."""
    gram = "cannot decide the rank" if sizes.gram_fits else f"needs {in_bytes(sizes.gram_bytes)}"
    return (
        f"the Gram matrix {gram} and a QR needs {sizes.factor_excess}; use solver='cg', give a "
        "ridge, or fewer taps"
    )


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
    necessary. ``"normal"`` is also used for penalties that couple taps, and if conjugate gradients
    do not reach 30 eps in P/20 steps, at most 200, or do not prove that the solution is unique, or
    if the autocorrelation of x, or the first 20 steps, show that they would not. All methods have
    the same solution.

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
            evidence="",
            answer=f"{words} (penalty='ridge' selects a strength)",
            penalties=[(penalty, strength)] * sizes.outputs * sizes.groups if given else None,
        )


def _ridges(analysis: Analysis, penalty: Penalty, given: float) -> Iterator[float]:
    """Yield the given strength, and then ridges that may prove full rank where it does not."""
    yield given
    if isinstance(penalty, Ridge):
        # A proof allows for the rounding error of so many columns.
        least = max(given, analysis.plain.ridge_of(10 * EPS * COLUMNS_OF_ERROR))
        yield from (least * STEEPER**step for step in range(MOST_RIDGES))
