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
from .base import Objective, Progress, Raw, Solver, gap_status, gram_reason, traceable


@traceable()
@dataclass(frozen=True)
class LeastAbsolute(Solver):
    """min Σ|y − Aw − b|, every output its own: rows with gross errors hardly move the answer.

    ``certificate`` is the relative duality gap, computed from the data: the sum is within that
    share of the least possible. "solved" is up to 1e-8, and about 1e-15 is usual. It grows with
    the condition of the data: beyond about 1e7 rounding alone may leave more than 1e-8. Of an exact
    fit, whose sum is rounding, it is the gap as a share of Σ|y|.

    An interior point method goes near the answer, from where the simplex method ends in a vertex, a
    kernel that passes through as many rows of y as there are unknowns. Where several kernels have
    the same least sum, this is one of them. Each of some 15 steps costs n·P² operations, for n rows
    and P unknowns, and outputs are solved one by one: thousands of unknowns take minutes.

    ``stats`` has the "interior_steps" and "pivots" of all outputs. It has no standard errors: for
    these, and for noise of which most rows are free of gross errors, take `Huber`. Where the noise
    is normal, its errors are 1.25 times those of least squares. Errors in x are not helped.

    Source: S. Portnoy and R. Koenker, Stat. Sci. 12 (1997) 279.
    """

    answer = "the answer of minimum norm among those with the same outputs"

    @property
    def objective(self) -> Objective:
        return Objective("mae")

    def supports(self, sizes: Sizes, spec: ConvSpec) -> str | None:
        """The Gram must fit in the memory allowed."""
        return gram_reason(sizes)

    def run(self, analysis: Analysis, progress: Progress | None = None) -> Raw:
        gaps, stats = [], {"interior_steps": 0, "pivots": 0}

        def fit(rows: OrthonormalRows, y: np.ndarray, exponent: int) -> np.ndarray:
            z, gap, taken = least_absolute(rows, y, rows.least_squares(y))
            gaps.append(gap)
            for name, count in taken.items():
                stats[name] += count
            return z

        kernel, bias = by_output(analysis.regression(RIDGE, 0.0), fit)
        gap = max(gaps)
        return Raw(
            kernel, bias, status=gap_status(gap), stats=stats, certificate=Certificate(gap, GAP)
        )
