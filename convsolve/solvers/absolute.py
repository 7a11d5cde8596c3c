"""The absolute loss: least absolute deviations, exact and certified by duality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..inference.absolute import least_absolute
from ..inference.orthonormal_rows import OrthonormalRows, by_output
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import GAP, Certificate
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from .base import SAME_OUTPUTS, Loss, SolverResult, Terms


@dataclass(frozen=True, repr=False)
class AbsoluteLoss(Loss):
    """The sum Σ|y − Aw − b| for every output: least absolute deviations.

    Use it for y with outliers. Rows with gross errors hardly change the solution. If most rows are
    fitted exactly, the kernel is exact to rounding.

    ``duality_gap`` is the relative duality gap, computed from the data: the sum exceeds its minimum
    by at most this share. It is usually about 1e-15. The status is "solved" up to 1e-8. Rounding
    may exceed this if the condition number of the data exceeds 1e7. If the fit is exact and its sum
    is rounding, the gap is relative to Σ|y|.

    An interior point method approaches the solution. The simplex method then ends in a vertex, a
    kernel that passes through as many rows of y as there are unknowns. If several kernels have the
    same minimum, one of them is returned. Each of about 15 steps takes n·P² operations, for n rows
    and P unknowns. Outputs are solved one by one, and each takes minutes with a thousand unknowns.
    ``stats`` contains the "interior_steps" and "pivots" of all outputs together.

    With weights, the residual of a row is multiplied by the root of its weight, as for squares.
    Confounds are fitted with the same loss as the kernel.

    Standard errors are not available. If the noise is normal, they are 1.25 times those of least
    squares. If most rows are noisy, use `HuberLoss`, which has standard errors. The method does not
    handle outliers in half of the rows, or errors in x.

    Source: S. Portnoy and R. Koenker, Stat. Sci. 12 (1997) 279.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + 0.1 * noise
        >>> y[::20] += 50
        >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 2)), loss="absolute")
        >>> fit.impulse_response.round(1)
        array([0.5, 1. , 0.3])

    See Also:
        `HuberLoss`, which has standard errors, and ``"squared"``, the default.
    """

    name = "absolute"

    @staticmethod
    def value(residuals: Any, threshold: Any, xp: Any) -> Any:
        """Return the absolute value of every residual."""
        return xp.abs(residuals)

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return the reason if the Gram matrix of taps and confounds is too large."""
        return sizes.gram_reason(sizes.unknowns)

    def exact_solver(self, analysis: Analysis, terms: Terms) -> SolverResult:
        """Minimize the loss of every output in turn."""

        def fit(
            rows: OrthonormalRows, y: np.ndarray, exponent: int
        ) -> tuple[np.ndarray, tuple[float, dict[str, int]]]:
            z, gap, counts = least_absolute(rows, y, rows.least_squares(y))
            return z, (gap, counts)

        found, facts = by_output(analysis, terms, fit)
        gaps, taken = zip(*facts, strict=True)
        steps = {name: sum(each[name] for each in taken) for name in taken[0]}
        return SolverResult(
            **found._asdict(),
            stats=steps,
            certificate=Certificate(max(gaps), GAP),
            answer=SAME_OUTPUTS,
        )
