"""Least squares from moments, its answer certified and, where that fails, escalated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import SolveError
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE, Penalty
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from .base import Progress, QuadraticSolver, Raw, traceable


@traceable("ridge")
@dataclass(frozen=True)
class NormalEquations(QuadraticSolver):
    """min ‖y − Aw‖² + ridge·‖w‖² from the moments AᵀA and Aᵀy, as accurate as a QR and certified.

    The moments come from the signals by block FFTs, exact at the edges, and the matrix is never
    formed; a small one, or one whose columns a transient makes uneven, is taken by blocks of rows.

    1. Where the Gram itself proves full rank (κ to about 1e6), or the ridge does: equilibrated
       Cholesky, refinement from the moments, then up to 4 steps with residuals from the data, the
       best kept. With a ridge that dwarfs the rounding of float32 and more than 1 500 unknowns the
       factor is in float32. With far fewer rows than unknowns and a ridge: the dual.
    2. Where it does not, or the certificate exceeds 30 eps after that: R from a QR of row blocks of
       the design matrix, joined in a tree, and up to 5 semi-normal steps.
    3. Where R is deficient: its truncated SVD, minimum norm in the user's units.

    ``stats["route"]`` says how far it went. Should R and its blocks not fit in the memory
    allowed, the answer of the Gram is returned as "approximate", or a SolveError asks for a ridge.

    Certificate at most 30 eps, kernel error as for `LeastSquares`. ``ridge`` is summed, as
    scikit-learn's ``alpha``. For thousands of taps `ConjugateGradient` is faster.

    Under `fit_kernel` a matrix of more than 2¹⁶ numbers is not formed, and derivatives cost a few
    FFTs. Where a bound on the condition lets it, the factor is a Cholesky of AᵀA (in float64 up to
    about 1e6), otherwise the truncated SVD of R from a QR of row blocks, with a few steps of
    refinement by residuals from the data. Of a batch under `jax.vmap` all take the slower way if
    one has to.

    Source: Å. Björck, Numerical Methods for Least Squares Problems, SIAM 1996, sections 2.3 and
    2.9.
    """

    ridge: Any = 0.0
    penalty: Penalty = RIDGE

    def run(self, analysis: Analysis, progress: Progress | None = None) -> Raw:
        regression = self._regression(analysis)
        found = regression.solve()
        if found is None:
            raise SolveError(_beyond_memory(analysis.design.sizes, regression.system.strength))
        return self._packed(regression, *found[:2], stats={"route": found[2]})

    def traced(self, x: Any, y: Any, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
        from .linear import FORMED_NUMBERS, by_gram, fit

        return fit(x, y, spec, bias, self.penalty, self.ridge, by_gram, FORMED_NUMBERS)


def _beyond_memory(sizes: Sizes, ridge: float) -> str:
    """Why neither a Gram nor a QR gives an answer, and what to change."""
    gram, way = "cannot decide the rank", "give a ridge, or fewer taps"
    if not sizes.gram_fits:
        gram, way = f"would take {sizes.gram_bytes / 2**30:.1f} GiB", "use fewer taps or channels"
    elif ridge:
        way = "give a larger ridge, or fewer taps"
    qr = sizes.factor_bytes / 2**30
    return f"the Gram matrix {gram} and a QR would take {qr:.1f} GiB; {way}"
