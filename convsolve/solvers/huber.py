"""Huber's loss: an M-estimate, exact and certified by duality."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..inference.orthonormal_rows import OrthonormalRows, by_output
from ..inference.robust import error_norm, huber, huber_gap, huber_loss, with_mad_scale
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import GAP, Certificate
from ..problem.checks import choice, number
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..text import count
from .base import SAME_OUTPUTS, SQUARED, Loss, SolverResult, Terms, penalized


@dataclass(frozen=True, repr=False)
class HuberLoss(Loss):
    """Huber's loss Σρ((y − Aw − b)/scale): ρ(u) = u²/2 up to delta, then linear.

    Use it for y with outliers. Rows with gross errors hardly change the solution. If the noise is
    normal, the variance is 5 % above that of least squares, at the default delta.

    Args:
        delta: residual at which the loss changes from squares to absolute values, in units of the
            scale, by default 1.345.
        scale: scale of the noise, in the unit of y. "mad", the default, is the median absolute
            residual divided by 0.6745, which is the standard deviation of normal noise. Scale and
            kernel of every output are then computed in turns until both converge.

    ``duality_gap`` is the relative duality gap at this scale, computed from the data: the loss
    exceeds its minimum by at most this share. It is usually about 1e-14. The status is "solved" up
    to 1e-8. Rounding may exceed this if the condition number of the data exceeds 1e7. If the fit is
    exact and its loss is rounding, the gap is relative to the loss of y. If the scale does not
    converge, the status is "approximate".

    ``stats`` contains the "scale" of every output (0 if y is fitted exactly), "scale_settled" if
    the scale was computed, and "newton_steps". Standard errors, bands and tests are Huber's H1.
    Kernel and errors are those of ``statsmodels.RLM`` at its scale.

    With a quadratic penalty of given strength, 2·scale²·Σρ + strength·wᵀK w is minimized, so that
    the strength means the same as for squares. There are then no standard errors.

    With weights, the residual of a row is multiplied by the root of its weight, as for squares.
    Confounds are fitted with the same loss as the kernel.

    The method does not handle outliers in half of the rows, or errors in x. If most rows are fitted
    exactly, there is no scale. Use ``"absolute"`` then.

    Source: P. J. Huber, Ann. Statist. 1 (1973) 799; K. Madsen and H. B. Nielsen, BIT 30 (1990) 682.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + 0.1 * noise
        >>> y[::20] += 50
        >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 2)), loss=cs.HuberLoss(1.5))
        >>> fit.impulse_response.round(1)
        array([0.5, 1. , 0.3])

    See Also:
        ``"absolute"``, and ``"squared"``, the default.
    """

    delta: Any = 1.345
    _: KW_ONLY
    scale: Any = "mad"

    name = "huber"
    smooth = penalties = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", number(self.delta, "delta"))
        if isinstance(self.scale, str):
            choice(self.scale, "scale", ("mad",), " or a number")
        else:
            object.__setattr__(self, "scale", number(self.scale, "scale"))

    @property
    def threshold(self) -> float | None:  # type: ignore[override]
        """Residual in units of y above which the loss is linear; None with the scale "mad"."""
        return None if self.scale == "mad" else self.delta * self.scale

    @property
    def title(self) -> str:
        """Description of the mean of the loss over residuals."""
        return f"mean of Huber's loss, linear for residuals above {self.threshold:g}"

    @property
    def measured(self) -> Loss:
        """The loss by which solutions are compared: squares with the scale "mad"."""
        return SQUARED if self.threshold is None else self

    @staticmethod
    def value(residuals: Any, threshold: Any, xp: Any) -> Any:
        """Return Huber's loss of every residual."""
        return huber_loss(residuals, threshold, xp)

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return the reason if the Gram matrix is too large, or if no rows are left for a scale."""
        if self.scale == "mad" and sizes.rows <= sizes.unknowns:
            return (
                f"{count(sizes.rows, 'row')} leave no residuals for "
                f"{count(sizes.unknowns, 'unknown')}, so scale='mad' cannot be estimated; give "
                "the scale as a number, use more rows or fewer taps"
            )
        return sizes.gram_reason(sizes.unknowns)

    def exact_solver(self, analysis: Analysis, terms: Terms) -> SolverResult:
        """Minimize the loss, and the penalty if there is one, of every output in turn."""

        def fit(
            rows: OrthonormalRows, y: np.ndarray, exponent: int
        ) -> tuple[np.ndarray, _OutputFit]:
            one = self._fit(rows, y, exponent)
            return one.z, one

        found, fits = by_output(analysis, terms, fit)
        gap, settled = max(one.gap for one in fits), all(one.settled for one in fits)
        stats: dict[str, Any] = {
            "scale": [one.scale for one in fits],
            "newton_steps": sum(one.steps for one in fits),
        }
        if self.scale == "mad":
            stats["scale_settled"] = settled
        # Huber's errors hold without a penalty.
        norms = None if penalized(terms) else np.array([one.error_norm for one in fits])
        return SolverResult(
            **found._asdict(),
            status=None if settled else "approximate",
            stats=stats,
            certificate=Certificate(gap, GAP),
            error_norms=norms,
            answer=SAME_OUTPUTS,
        )

    def _fit(self, rows: OrthonormalRows, y: np.ndarray, exponent: int) -> _OutputFit:
        start, settled = rows.least_squares(y), True
        if self.scale != "mad":
            with np.errstate(over="ignore", under="ignore"):
                scale = float(np.ldexp(self.scale, -exponent))
            rounding = rows.rounding(y, np.zeros_like(start))
        elif rows.is_exact(y, start):
            return _OutputFit(start, 0.0, 0.0, 0.0, True, 0)  # best at any scale
        else:
            start, scale, settled = with_mad_scale(rows, y, self.delta, start)
            rounding = rows.rounding(y, start)
        if scale <= np.median(rounding):
            raise SolveError(_no_scale(self.scale))
        # No residual of the fit exceeds this, so a larger threshold does not change the fit.
        threshold = min(self.delta * scale, 4 * (float(np.linalg.norm(y)) or 1.0))
        z, steps = huber(rows, y, threshold, start)
        gap = huber_gap(rows, y, z, threshold)
        r = (y - rows.forward(z))[: rows.rows]
        norm = error_norm(r, threshold, rows.unknowns)
        user = self.scale if self.scale != "mad" else math.ldexp(scale, exponent)
        return _OutputFit(z, gap, user, math.ldexp(norm, exponent), settled, steps)


class _OutputFit(NamedTuple):
    """The solution of one output in coordinates z, with scale and error norm in units of y."""

    z: np.ndarray
    gap: float
    scale: float
    error_norm: float
    settled: bool
    steps: int


def _no_scale(given: Any) -> str:
    """Return the reason why there is no scale, and the remedy."""
    if given == "mad":
        return (
            "half of the rows of an output or more are fitted exactly, so that scale='mad' is 0; "
            "give the scale as a number, or use loss='absolute', which has none"
        )
    return f"the scale {given:g} is below the rounding of y; use loss='absolute', which has none"
