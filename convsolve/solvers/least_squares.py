"""Least squares on the whole design matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE, Penalty
from ..leastsquares.regression import QR_STEPS
from ..problem.checks import choice
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from .base import Progress, QuadraticSolver, Raw, traceable


@traceable("ridge")
@dataclass(frozen=True)
class LeastSquares(QuadraticSolver):
    """Minimize ‖y − Aw‖² + ridge·‖w‖² by a QR of the Toeplitz design matrix A, in row blocks.

    The method is backward stable. The certificate is at most 30 eps for any condition number. The
    kernel error is at most 100·eps·(κ + κ²·‖r‖/(‖A‖‖w‖)), where κ is the condition number of the
    equilibrated A. If A is deficient or wide, the solution is that of minimum norm in the user's
    units, truncated at the tolerance of `identify`.

    Args:
        method: "svd" solves by the singular values of R and is the reference. "qr" solves with the
            triangle R, which is faster. If A is deficient or wide, both solve in its row space.
        ridge: strength of the penalty on the sum of squares, like ``alpha`` of scikit-learn. The
            bias is not penalized.
        penalty: the penalty, `Ridge` by default.

    The memory is proportional to unknowns², for records of any length, and the time to rows ×
    unknowns². For long records `NormalEquations` computes the same solution at a quarter of the
    cost. With fewer rows than unknowns the memory is proportional to rows × unknowns, and the time
    to rows² × unknowns. In `fit_kernel` the whole matrix is formed, and derivatives in x and ridge
    assume full rank.

    Source: Å. Björck, Numerical Methods for Least Squares Problems, SIAM 1996, sections 2.4 and
    2.7.
    """

    method: str = "svd"
    ridge: Any = 0.0
    penalty: Penalty = RIDGE

    def __post_init__(self) -> None:
        choice(self.method, "method", ("svd", "qr"))
        super().__post_init__()

    @property
    def name(self) -> str:
        return f"LeastSquares({self.method})"

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return the reason if R does not fit in the memory allowed, else None."""
        if sizes.factor_fits:
            return None
        return (
            f"a QR of {sizes.unknowns} unknowns would take {sizes.factor_bytes / 2**30:.1f} GiB, "
            f"more than the {sizes.limits.factor_bytes / 2**30:.0f} GiB allowed; "
            "NormalEquations needs none where the rank is full, or there is a ridge"
        )

    def run(self, analysis: Analysis, progress: Progress | None = None) -> Raw:
        regression = self._regression(analysis)
        factors = regression.system.qr_factors()
        assert factors is not None  # `supports` refuses a QR that exceeds the memory limit
        w = regression.by_qr(factors, svd=self.method == "svd")
        return self._packed(regression, *regression.refine(w, factors, QR_STEPS))

    def traced(self, x: Any, y: Any, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
        from .linear import by_qr, by_svd, fit

        factor = by_svd if self.method == "svd" else by_qr
        return fit(x, y, spec, bias, self.penalty, self.ridge, factor)
