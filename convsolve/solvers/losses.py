"""Losses for y with outliers: Huber's and absolute values, exact and certified by duality."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from ..errors import SolveError
from ..inference.plq import Losses, minimize, relative_gap
from ..inference.robust import DataRows, by_output, error_norm, scaled_fit
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import GAP, Certificate
from ..problem.checks import choice, number
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from .base import Loss, SolverResult, Terms

# The losses of the rows, a start (k,), and the scale in these units with whether it has settled.
Begun = tuple[Losses, np.ndarray, float, bool]
# Gap, interior steps, scale and error norm of an output, and whether the scale has settled.
Facts = tuple[float, int, float, float, bool]


class _Exact(Loss):
    """A loss that is minimized by the interior point method, output by output."""

    penalties = True
    scale: Any = None

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return the reason if the Gram matrix of taps and confounds is too large."""
        return sizes.gram_reason(sizes.unknowns)

    def _begun(self, rows: DataRows, y: np.ndarray, z: np.ndarray, unit: float) -> Begun:
        """Prepare the fit of y (n,), of which z (k,) is the least-squares fit."""
        raise NotImplementedError

    def _fit(self, rows: DataRows, y: np.ndarray, unit: float) -> tuple[np.ndarray, Facts]:
        z = rows.least_squares(y)
        r = y - rows.forward(z)
        if np.linalg.norm(r) <= rows.rounding(y, z):  # the best fit by any loss
            return z, (float(np.abs(r).sum() / (np.abs(y).sum() or 1.0)), 0, 0.0, 0.0, True)
        losses, z, scale, settled = self._begun(rows, y, z, unit)
        at, n = minimize(rows.dense, y, losses, z), rows.rows
        gap = relative_gap(rows, y, at.z, at.d, losses)
        norm = error_norm(at.d[:n], float(np.mean(at.ends[:n] == 0)), rows.unknowns)
        return at.z, (gap, at.steps, scale * unit, norm * unit, settled)

    def exact_solver(self, analysis: Analysis, terms: Terms) -> SolverResult:
        """Minimize the loss, and the penalty if there is one, of every output in turn."""
        found, facts = by_output(analysis, terms, self._fit)
        gaps, steps, scales, norms, settled = map(list, zip(*facts, strict=True))
        stats: dict[str, Any] = {"interior_steps": sum(steps)} if any(steps) else {}
        if self.scale is not None:
            stats |= {"scale": scales, "scale_settled": all(settled)}
        return SolverResult(
            **found,
            penalties=terms,
            status=None if all(settled) else "approximate",
            stats=stats,
            certificate=Certificate(max(gaps), GAP),
            answer="the kernel of minimum norm among those with the same outputs",
            evidence=None if all(form.quadratic for form, _ in terms) else "the penalty",
            error_norms=None if not self.smooth or any(s for _, s in terms) else np.array(norms),
        )


@dataclass(frozen=True, repr=False)
class HuberLoss(_Exact):
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

    ``stats`` contains the "scale" of every output (0 if y is fitted exactly), whether all scales
    converged ("scale_settled"), and "interior_steps" if there were any. Standard errors, bands and
    tests are Huber's H1. Kernel and errors equal ``statsmodels.RLM`` at its scale.

    With a penalty of given strength, 2·scale²·Σρ + strength·wᵀK w is minimized, so that the
    strength means the same as for squares. The penalty is quadratic, or a `Lasso` without groups.
    There are then no standard errors.

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
    smooth = True
    curvature = 1.0
    penalty_share = 0.5

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

    @staticmethod
    def value(residuals: Any, threshold: Any, xp: Any) -> Any:
        """Return Huber's loss of every residual."""
        size = xp.abs(residuals)
        inner = xp.minimum(size, threshold)
        return inner * (size - inner / 2)

    def _begun(self, rows: DataRows, y: np.ndarray, z: np.ndarray, unit: float) -> Begun:
        if self.scale == "mad":
            z, scale, settled = scaled_fit(rows, y, z, self.delta, unit)
        else:
            scale, settled = self.scale / unit, True
        if scale <= rows.rounding(y, z) / math.sqrt(rows.rows):
            raise SolveError(
                f"half of the rows of an output or more are fitted exactly, so that "
                f"scale={self.scale!r} is below the rounding of y; use loss='absolute'"
            )
        # No residual of the fit exceeds this, so a larger threshold does not change the fit.
        threshold = min(self.delta * scale, 4 * float(np.linalg.norm(y)))
        return rows.losses(1.0, threshold, unit), z, scale, settled


@dataclass(frozen=True, repr=False)
class AbsoluteLoss(_Exact):
    """The sum Σ|y − Aw − b| for every output: least absolute deviations.

    Use it for y with outliers. Rows with gross errors hardly change the solution. If most rows are
    fitted exactly, the kernel is exact to rounding.

    ``duality_gap`` is the relative duality gap, computed from the data: the sum exceeds its minimum
    by at most this share. It is usually about 1e-15. The status is "solved" up to 1e-8. Rounding
    may exceed this if the condition number of the data exceeds 1e7. If the fit is exact and its sum
    is rounding, the gap is relative to Σ|y|.

    An interior point method approaches the solution. A linear system then gives the kernel that
    passes through as many rows of y as there are unknowns. If several kernels have the same
    minimum, one of them is returned. Each of about 15 steps takes n·P² operations, for n rows and P
    unknowns. Outputs are solved one by one, and each takes minutes with a thousand unknowns.
    ``stats`` contains the "interior_steps" of all outputs together.

    With a penalty of given strength, Σ|y − Aw − b| + strength·wᵀK w is minimized. The penalty is
    quadratic, or a `Lasso` without groups.

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

    def _begun(self, rows: DataRows, y: np.ndarray, z: np.ndarray, unit: float) -> Begun:
        # Half of the sum and of the penalty, whose unit is the square of that of y.
        return rows.losses(0.0, 0.5 / unit, unit), z, 0.0, True
