"""Huber's M-estimate, exact and certified by duality."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..inference.orthonormal_rows import OrthonormalRows, by_output
from ..inference.robust import error_norm, huber, huber_gap, with_mad_scale
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import GAP, Certificate
from ..leastsquares.penalty import RIDGE
from ..problem.checks import choice, number
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..text import count
from .base import Objective, Progress, Raw, Solver, gap_status, gram_reason, traceable


@traceable()
@dataclass(frozen=True)
class Huber(Solver):
    """min Σρ((y − Aw − b)/scale), every output its own; ρ(u) = u²/2 up to delta, linear beyond.

    As good as least squares where the noise is normal, but for 5 % at the default delta, and hardly
    moved by rows with gross errors.

    Args:
        delta: where the loss turns from squares to absolute values, in units of the scale.
        scale: of the noise, in the unit of y, or "mad": the median absolute residual over 0.6745,
            which is the deviation of normal noise; found with the kernel, output by output, in
            turns until both stay.

    ``certificate`` is the relative duality gap at that scale, computed from the data: the loss is
    within that share of the least possible. "solved" is up to 1e-8, and about 1e-14 is usual; a
    scale that does not settle is "approximate". It grows with the condition of the data: beyond
    about 1e7 rounding alone may leave more than 1e-8. Of an exact fit, whose loss is rounding, it
    is the gap as a share of the loss of y.

    ``stats`` has the "scale" of every output, 0 where y is fitted exactly, "scale_settled" if it
    was searched, and "newton_steps". Standard errors, bands and tests are Huber's H1, as of
    ``statsmodels.RLM``, whose answer this is, at its scale. For heavier gross errors, half of the
    rows and more, nothing helps; errors in x are not helped either. Where rows agree exactly but
    for a few, `LeastAbsolute` needs no scale.

    Source: P. J. Huber, Ann. Statist. 1 (1973) 799; K. Madsen and H. B. Nielsen, BIT 30 (1990) 682.
    """

    delta: Any = 1.345
    scale: Any = "mad"

    answer = "the answer of minimum norm among those with the same outputs"

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", number(self.delta, "delta"))
        if isinstance(self.scale, str):
            choice(self.scale, "scale", ("mad",), " or a number")
        else:
            object.__setattr__(self, "scale", number(self.scale, "scale"))

    @property
    def objective(self) -> Objective | None:
        return None if self.scale == "mad" else Objective("huber", self.delta * self.scale)

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """The Gram must fit in the memory allowed; a scale takes rows to spare."""
        if self.scale == "mad" and sizes.rows <= sizes.unknowns:
            return (
                f"{count(sizes.rows, 'row')} leave no residuals beside "
                f"{count(sizes.unknowns, 'unknown')}, from which scale='mad' could be known; give "
                "the scale as a number, use more rows or fewer taps"
            )
        return gram_reason(sizes)

    def run(self, analysis: Analysis, progress: Progress | None = None) -> Raw:
        told: list[_Told] = []

        def fit(rows: OrthonormalRows, y: np.ndarray, exponent: int) -> np.ndarray:
            z, one = self._fit(rows, y, exponent)
            told.append(one)
            return z

        kernel, bias = by_output(analysis.regression(RIDGE, 0.0), fit)
        gap, settled = max(one.gap for one in told), all(one.settled for one in told)
        stats: dict[str, Any] = {
            "scale": [one.scale for one in told],
            "newton_steps": sum(one.steps for one in told),
        }
        if self.scale == "mad":
            stats["scale_settled"] = settled
        return Raw(
            kernel,
            bias,
            status=gap_status(gap) if settled else "approximate",
            stats=stats,
            certificate=Certificate(gap, GAP),
            error_norms=np.array([one.error_norm for one in told]),
        )

    def _fit(self, rows: OrthonormalRows, y: np.ndarray, exponent: int) -> tuple[Any, _Told]:
        start, settled = rows.least_squares(y), True
        rounding = rows.rounding(y, start)
        if self.scale != "mad":
            with np.errstate(over="ignore", under="ignore"):
                scale = float(np.ldexp(self.scale, -exponent))
        elif np.abs(y - rows.forward(start)).max() <= rounding:
            return start, _Told(0.0, 0.0, 0.0, True, 0)  # best at any scale
        else:
            start, scale, settled = with_mad_scale(rows, y, self.delta, start)
        if scale <= rounding:
            raise SolveError(_no_scale(self.scale))
        # In its units y is below 2: no threshold above this changes anything.
        threshold = min(self.delta * scale, 4 * math.sqrt(len(y)))
        z, steps = huber(rows, y, threshold, start)
        gap = huber_gap(rows, y, z, threshold)
        norm = error_norm(y - rows.forward(z), threshold, rows.unknowns)
        user = self.scale if self.scale != "mad" else math.ldexp(scale, exponent)
        return z, _Told(gap, user, math.ldexp(norm, exponent), settled, steps)


class _Told(NamedTuple):
    """Of one output."""

    gap: float
    scale: float
    error_norm: float
    settled: bool
    steps: int


def _no_scale(given: Any) -> str:
    """Why a scale is none."""
    if given == "mad":
        return (
            "half of the rows of an output or more are fitted exactly, so that scale='mad' is 0; "
            "give the scale as a number, or use LeastAbsolute, which takes none"
        )
    return f"the scale {given:g} is below the rounding of y; use LeastAbsolute, which takes none"
