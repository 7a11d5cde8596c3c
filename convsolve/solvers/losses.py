"""Losses for y with outliers: Huber's and absolute values, exact and certified by duality."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..inference.plq import Losses, Minimum, minimize
from ..inference.rows import OrthonormalRows, Term, by_output, mad_scale, typical
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import GAP, Certificate
from ..leastsquares.penalty import RIDGE
from ..problem.checks import choice, number
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..progress import tracked
from ..text import count
from .base import SAME_OUTPUTS, SQUARED, Loss, SolverResult, Terms, penalized

# Turns of a scale and its fit at most, of which the first ones take a step of the fit only.
TURNS, SHORT = 400, 100
# Relative change at which both have settled. Below the second number, a change that is not smaller
# than the previous one is rounding.
SETTLED, ROUNDED = 1e-13, 1e-8
# Values of y beyond this many times a typical one would cost digits of the others.
FAR = 1e4


class _OutputFit(NamedTuple):
    """The minimum of one output in coordinates, with scale and error norm in units of y."""

    at: Minimum
    losses: Losses
    scale: float = 0.0
    error_norm: float = 0.0
    settled: bool = True


class _Exact(Loss):
    """A loss that is minimized by the interior point method, output by output."""

    penalties = True

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return the reason if the Gram matrix of taps and confounds is too large."""
        return sizes.gram_reason(sizes.unknowns)

    def _fit(self, rows: OrthonormalRows, y: np.ndarray, exponent: int) -> _OutputFit:
        """Return the minimum for y (n,) in units of two to the power of ``exponent``."""
        raise NotImplementedError

    def _term(self, penalty: Any, strength: float, exponent: int) -> Term:
        """Return the penalties of one output, in units of the loss of half the squares."""
        if penalty.quadratic:
            return Term(penalty, strength)
        return Term(RIDGE, penalty.ridge, strength)

    def exact_solver(self, analysis: Analysis, terms: Terms) -> SolverResult:
        """Minimize the loss, and the penalty if there is one, of every output in turn.

        Values of y that are far away lie where the loss is linear, and only their signs matter.
        They are moved nearer, and the fit of all values is used if a sign does not stay.
        """

        def fit(rows: OrthonormalRows, y: np.ndarray, exponent: int) -> Any:
            most = FAR * typical(y)
            near = np.clip(y, -most, most)
            found, far = self._fit(rows, near, exponent), near != y
            if far.any():
                if (found.at.ends[far] == np.sign(y[far])).all():
                    gap = rows.gap(y, found.at.z, found.at.d, found.losses)
                    found = found._replace(at=found.at._replace(gap=gap))
                else:
                    found = self._fit(rows, y, exponent)
            return found.at.z, found

        assert analysis.targets is not None
        exponents = analysis.targets.grouped(analysis.targets.exponents).reshape(-1)
        given = [self._term(*term, int(e)) for term, e in zip(terms, exponents, strict=True)]
        found, fits = by_output(analysis, given, fit)
        errors = self.smooth and not penalized(terms)
        return SolverResult(
            **found,
            penalties=terms,
            status=None if all(one.settled for one in fits) else "approximate",
            stats=self._stats(fits),
            certificate=Certificate(max(one.at.gap for one in fits), GAP),
            answer=SAME_OUTPUTS,
            evidence="the penalty" if any(term.lasso for term in given) else None,
            error_norms=np.array([one.error_norm for one in fits]) if errors else None,
        )

    def _stats(self, fits: list[_OutputFit]) -> dict[str, Any]:
        steps = sum(one.at.steps for one in fits)
        return {"interior_steps": steps} if steps else {}


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

    ``stats`` contains the "scale" of every output (0 if y is fitted exactly), "scale_settled" if
    the scale was computed, and "interior_steps" if there were any. Standard errors, bands and tests
    are Huber's H1. Kernel and errors are those of ``statsmodels.RLM`` at its scale.

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
        size = xp.abs(residuals)
        inner = xp.minimum(size, threshold)
        return inner * (size - inner / 2)

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return the reason if the Gram matrix is too large, or if no rows are left for a scale."""
        if self.scale == "mad" and sizes.rows <= sizes.unknowns:
            return (
                f"{count(sizes.rows, 'row')} leave no residuals for "
                f"{count(sizes.unknowns, 'unknown')}, so scale='mad' cannot be estimated; give "
                "the scale as a number, use more rows or fewer taps"
            )
        return super().supports(sizes, spec)

    def _stats(self, fits: list[_OutputFit]) -> dict[str, Any]:
        found = super()._stats(fits) | {"scale": [one.scale for one in fits]}
        settled = {"scale_settled": all(one.settled for one in fits)}
        return found | settled if self.scale == "mad" else found

    def _fit(self, rows: OrthonormalRows, y: np.ndarray, exponent: int) -> _OutputFit:
        z, scale, settled = rows.least_squares(y), self.scale, True
        with np.errstate(over="ignore", under="ignore"):
            rounding, unit = rows.rounding(y, 0 * z), float(np.ldexp(1.0, exponent))
        if scale == "mad":
            if rows.is_exact(y, z):  # the best fit at any scale
                return _OutputFit(Minimum(z, y, y, 0.0), rows.losses(1.0, np.inf, exponent))
            z, scale, settled = self._with_mad_scale(rows, y, z, exponent)
            rounding, scale = rows.rounding(y, z), scale * unit
        if scale / unit <= np.median(rounding):
            raise SolveError(
                f"half of the rows of an output or more are fitted exactly, so that scale="
                f"{self.scale!r} is below the rounding of y; use loss='absolute', which has none"
            )
        # No residual of the fit exceeds this, so a larger threshold does not change the fit.
        threshold = min(self.delta * scale / unit, 4 * (float(np.linalg.norm(y)) or 1.0))
        losses = rows.losses(1.0, threshold, exponent)
        at = minimize(rows, y, losses, z)
        norm = _error_norm((y - rows.forward(at.z))[: rows.rows], threshold, rows.unknowns)
        return _OutputFit(at, losses, float(scale), norm * unit, settled)

    def _with_mad_scale(
        self, rows: OrthonormalRows, y: np.ndarray, z: np.ndarray, exponent: int
    ) -> tuple[np.ndarray, float, bool]:
        """Return a fit z (k,) and its scale, and whether they have settled.

        The two are updated in turns. At first the update of z is the step Bᵀρ′(r), which is
        Newton's if all rows are within the threshold. As BᵀB = I, it takes two passes over the data
        and no Gram matrix. If these steps do not settle soon, or with a lasso, it is a complete
        fit.
        """
        r, before = y - rows.forward(z), np.inf
        scale = mad_scale(r[: rows.rows])
        for turn in tracked(range(TURNS), "scale and fit in turn", TURNS):
            if scale <= np.median(rows.rounding(y, z)):
                break
            losses = rows.losses(1.0, self.delta * scale, exponent)
            pull = losses.derivative(r)
            short = turn < SHORT and not rows.lasso
            step = rows.adjoint(pull) if short else minimize(rows, y, losses, z).z - z
            z = z + step
            r = y - rows.forward(z)
            last, scale = scale, mad_scale(r[: rows.rows])
            change = max(float(np.linalg.norm(step) / np.linalg.norm(pull)), abs(scale / last - 1))
            if change <= SETTLED or before <= change <= ROUNDED:
                return z, scale, True
            before = change
        return z, scale, False


def _error_norm(r: np.ndarray, threshold: float, unknowns: int) -> float:
    """Return the number that replaces ‖r‖ in the standard errors of Huber's estimate.

    Its square, divided by the degrees of freedom, times (AᵀA)⁻¹ is the covariance called H1 by
    Huber. It is K/m·‖ρ′(r)‖, where m is the share of rows within the threshold and
    K = 1 + (unknowns/n)·(1 − m)/m a correction for few rows. It is infinite if no row is within.

    Source: P. J. Huber, Robust Statistics, Wiley 1981, section 7.6.
    """
    share = float(np.mean(np.abs(r) <= threshold))
    if not share:
        return float("inf")
    few = 1 + unknowns / len(r) * (1 - share) / share
    return few / share * float(np.linalg.norm(np.clip(r, -threshold, threshold)))


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

    def _term(self, penalty: Any, strength: float, exponent: int) -> Term:
        # Absolute values grow with y, not with its square.
        term = super()._term(penalty, strength, exponent)
        factor = np.ldexp(2.0, exponent)
        return Term(term.penalty, float(factor * term.strength), float(factor * term.lasso))

    def _fit(self, rows: OrthonormalRows, y: np.ndarray, exponent: int) -> _OutputFit:
        losses, z = rows.losses(0.0, 1.0, exponent), rows.least_squares(y)
        if rows.is_exact(y, z):
            d = losses.derivative(y - rows.forward(z))
            return _OutputFit(Minimum(z, d, np.sign(d), rows.gap(y, z, d, losses)), losses)
        return _OutputFit(minimize(rows, y, losses, z), losses)
