"""Least squares on the whole design matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..leastsquares.analysis import Analysis
from ..leastsquares.regression import QR_STEPS
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from .base import Objective, Solver, SolverResult, packed, traceable


class _RowFactor(Solver):
    """A solver with the triangle R of a QR of the design matrix."""

    svd: ClassVar[bool]
    factors_rows = True

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Return the reason if R does not fit in the memory allowed, else None."""
        if sizes.factor_in_memory:
            return None
        return (
            f"a QR of {sizes.unknowns} unknowns needs {sizes.factor_excess}; use solver='cg', "
            "which needs no factor, or fewer taps"
        )

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        regression = analysis.regression(objective.penalty, objective.strength)
        factors = regression.system.qr_factors()
        assert factors is not None  # `supports` refuses a QR that exceeds the memory limit
        w = regression.first(factors, self.svd)
        return packed(regression, *regression.refine(w, factors, QR_STEPS))

    def traced(
        self, x: Any, y: Any, weights: Any, spec: ConvSpec, bias: bool, objective: Objective
    ) -> tuple[Any, Any]:
        from .linear import by_qr, fit, singular

        factor = singular if self.svd else by_qr
        return fit(x, y, weights, spec, bias, objective.penalty, objective.strength, factor)


@traceable()
@dataclass(frozen=True, repr=False)
class QR(_RowFactor):
    """Minimize ‖y − Aw‖² + strength·wᵀK w by a QR of the design matrix A, in row blocks.

    The method is backward stable. The certificate is at most 30 eps for any condition number. The
    kernel error is at most 100·eps·(κ + κ²·‖r‖/(‖A‖‖w‖)), where κ is the condition number of the
    equilibrated A. If A is deficient or wide, the solution is that of minimum norm in the user's
    units, truncated at the tolerance of `identify`.

    The memory is proportional to unknowns², for records of any length, and the time to rows ×
    unknowns². For long records ``"normal"`` computes the same solution at a quarter of the
    cost. With fewer rows than unknowns the memory is proportional to rows × unknowns, and the time
    to rows² × unknowns. In `fit_kernel` the whole matrix is formed, and derivatives in x and ridge
    assume full rank.

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

    svd = False


@traceable()
@dataclass(frozen=True, repr=False)
class SVD(_RowFactor):
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

    svd = True
