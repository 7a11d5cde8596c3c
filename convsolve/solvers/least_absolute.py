"""Least absolute deviations, exact and certified by duality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..inference.absolute import least_absolute
from ..inference.orthonormal_rows import OrthonormalRows, by_output
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import GAP, Certificate
from ..leastsquares.penalty import RIDGE
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from .base import Objective, Progress, Raw, Solver, gram_reason, traceable


@traceable()
@dataclass(frozen=True)
class LeastAbsolute(Solver):
    """min Σ|y − Aw − b|, every output its own: least absolute deviations.

    For y with outliers: rows with gross errors hardly move the answer, and where most rows agree
    exactly it is right to rounding. There is nothing to be set.

    ``certificate`` is the relative duality gap, computed from the data: the sum is within that
    share of the least possible. Usual is about 1e-15, and "solved" is up to 1e-8, which rounding
    may exceed where the condition of the data does 1e7. If the fit is exact and its sum is
    rounding, it is the gap as a share of Σ|y|.

    An interior point method comes near the answer, from where the simplex method ends in a vertex:
    a kernel that passes through as many rows of y as there are unknowns. Where several kernels have
    the same least sum, this is one of them. Each of some 15 steps takes n·P² operations, for n rows
    and P unknowns, and outputs are solved one by one: with a thousand unknowns, minutes each.
    ``stats`` has the "interior_steps" and "pivots" of all outputs together.

    With weights, the residual of a row is multiplied by the root of its weight, as for squares.
    Confounds are fitted with the same loss as the kernel.

    It has no standard errors; where the noise is normal they are 1.25 times those of least squares.
    For noise in most rows take `Huber`, which has them. Neither outliers in half of the rows nor
    errors in x are helped.

    Source: S. Portnoy and R. Koenker, Stat. Sci. 12 (1997) 279.
    """

    answer = "the answer of minimum norm among those with the same outputs"
    objective = Objective("mae")

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """Return the reason if the Gram matrix of taps and confounds is too large."""
        return gram_reason(sizes, sizes.unknowns)

    def run(self, analysis: Analysis, progress: Progress | None = None) -> Raw:
        gaps, stats = [], {"interior_steps": 0, "pivots": 0}

        def fit(rows: OrthonormalRows, y: np.ndarray, exponent: int) -> np.ndarray:
            z, gap, taken = least_absolute(rows, y, rows.least_squares(y))
            gaps.append(gap)
            for name, count in taken.items():
                stats[name] += count
            return z

        found = by_output(analysis.regression(RIDGE, 0.0), fit)
        return Raw(**found._asdict(), stats=stats, certificate=Certificate(max(gaps), GAP))
