"""Least squares from moments, with a certificate, and by a QR if it is not exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..text import in_bytes
from .base import Objective, Solver, SolverResult, packed, traceable


@traceable()
@dataclass(frozen=True, repr=False)
class NormalEquations(Solver):
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

    factors_rows = True

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        found = self.solution(analysis, objective)
        if found is None:
            raise SolveError(too_large(analysis.design.sizes, objective.strength))
        return found

    def solution(self, analysis: Analysis, objective: Objective) -> SolverResult | None:
        """Return the solution; None if the Gram matrix has none and a QR exceeds the limits."""
        sizes = analysis.design.sizes
        if not (sizes.gram_fits or sizes.factor_in_memory):  # before sums over millions of columns
            return None
        regression = analysis.regression(objective.penalty, objective.strength)
        if (found := regression.solve()) is None:
            return None
        return packed(regression, *found[:2], stats={"route": found[2]})

    def traced(
        self, x: Any, y: Any, weights: Any, spec: ConvSpec, bias: bool, objective: Objective
    ) -> tuple[Any, Any]:
        from .linear import FORMED_NUMBERS, by_gram, fit

        given = objective.penalty, objective.strength, by_gram, FORMED_NUMBERS
        return fit(x, y, weights, spec, bias, *given)


def too_large(sizes: Sizes, ridge: float) -> str:
    """Return the reason why neither a Gram matrix nor a QR can be used, and the remedy."""
    gram, way = "cannot decide the rank", "give a ridge, or fewer taps"
    if not sizes.gram_fits:
        gram = f"needs {in_bytes(sizes.gram_bytes)}"
        way = "use solver='cg', or fewer taps or channels"
    elif ridge:
        way = "give a larger ridge, or fewer taps"
    return f"the Gram matrix {gram} and a QR needs {sizes.factor_excess}; {way}"
