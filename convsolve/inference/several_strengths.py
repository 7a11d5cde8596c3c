"""Least squares with one penalty whose strength differs among outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT, frobenius_bounds, upper_bound
from ..leastsquares.penalty import Penalty
from ..leastsquares.regression import NOISE, Regression
from ..leastsquares.scaling import Scaling
from .scorers import Scorer
from .sums import few_rows
from .units import CommonUnits

# Steps of refinement with the factor that was computed to select the strengths.
STEPS = 4


class SeveralStrengths:
    """Solutions for all outputs at once, certified by one pass over the data per step.

    The ``strengths`` (G, Q) are in the user's units. The scorers that selected them hold the
    factors of every group. Kernels v are (G, R, Q), in the coordinates of the penalty and the units
    of the columns of A T.
    """

    def __init__(
        self, analysis: Analysis, penalty: Penalty, strengths: np.ndarray, units: CommonUnits
    ) -> None:
        assert analysis.targets is not None
        self._regression = Regression(analysis.unpenalized(penalty), analysis.targets)
        self._strengths, self._units = strengths.reshape(units.outputs.shape), units
        self._columns = self._regression.system.columns
        weights = self._regression.system.coordinates.weights
        ridges = self._strengths.T[:, :, None] * weights
        #: Units of the columns (Q, G, R) for the strength of every output.
        self._scaling = Scaling.of(self._columns, ridges)
        # The scorers use these columns times this power of two.
        self._power = (self._columns.exponents - units.column)[:, :, None]

    def solve(
        self, scorers: Sequence[Scorer], v: np.ndarray, proven: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Refine kernels v in up to `STEPS` steps, and return the best one of every output.

        Args:
            scorers: scorers of every group.
            v: kernels (G, R, Q) to start from, in the units of the scorers.
            proven: flags (G,) of groups whose kernel is unique.

        Returns:
            Kernel (*K, Cin/groups, Cout) and bias (Cout,) in the user's units, and bounds (Cout,)
            on their backward errors. A bound is infinite if the kernel may not be unique, because
            refinement does not find the solution of minimum norm.
        """
        v, bounds = np.ldexp(v, self._power), None
        design = self._regression.system.design
        known = self._regression.targets is design.targets and not few_rows(design.sizes)
        if known and self._regression.combines:
            v, bounds = self._by_moments(scorers, v)
        if bounds is None or bounds.max() > EXACT:
            v, bounds = self._refined(scorers, v)
        bounds[~proven] = np.inf
        return *self._regression.from_columns(v), bounds.reshape(-1)

    def _refined(self, scorers: Sequence[Scorer], v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the best kernels and their bounds, with residuals of the data in every step."""
        best, lowest = v, np.full(self._strengths.shape, np.inf)
        for step in range(STEPS + 1):
            squares, gradient = self._columns.residual(v, self._regression.targets)
            bounds = self._bounds(v, squares, gradient)
            better = bounds <= lowest
            best = np.where(better[:, None], v, best)
            lowest = np.where(better, bounds, lowest)
            if step == STEPS or lowest.max() <= NOISE or not better.any():
                break
            v = v + self._correction(scorers, v, gradient)
        return best, lowest

    def _by_moments(
        self, scorers: Sequence[Scorer], v: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return kernels refined by the moments, and bounds from combinations of the outputs.

        There are no bounds if the moments do not have the digits of a residual.
        """
        regression = self._regression
        relative = regression.scaling.relative[:, :, None]
        for step in range(STEPS + 1):
            w = np.ldexp(v, relative)
            squares, g = regression.by_moments(w)
            gradient = np.ldexp(g, relative)
            given = v, np.maximum(squares, 0.0), gradient
            if step == STEPS or self._bounds(*given).max() <= NOISE:
                break
            v = v + self._correction(scorers, v, gradient)
        if (found := regression.combined_error(w, squares, g)) is None:
            return v, None
        off, terms = found
        return v, self._bounds(*given, frobenius_bounds(off, terms.shape[1]) * terms)

    def proven(self, scorers: Sequence[Scorer]) -> np.ndarray:
        """Return flags (G,) of groups whose sums prove that the kernel is unique."""
        system, found = self._regression.system, np.array([s.path.unique for s in scorers])
        for group in np.flatnonzero(found).tolist():
            free = system.coordinates.weights[group] == 0
            found[group] = not free.any() or system.independent(group, free)
        return found

    def _correction(
        self, scorers: Sequence[Scorer], v: np.ndarray, gradient: np.ndarray
    ) -> np.ndarray:
        weights = self._regression.system.coordinates.weights[:, :, None]
        strengths = np.ldexp(self._strengths, -2 * self._units.column)
        pull = strengths[:, None] * weights * np.ldexp(v, -self._power)
        pulled = np.ldexp(gradient, self._power) - pull
        parts = [p.correction(s, g) for p, s, g in zip(scorers, strengths, pulled, strict=True)]
        return np.ldexp(np.stack(parts), self._power)

    def _bounds(
        self,
        v: np.ndarray,
        squares: np.ndarray,
        gradient: np.ndarray,
        error: np.ndarray | float = 0.0,
    ) -> np.ndarray:
        """Return bounds (G, Q), given a bound on the ``error`` of the gradient of scaled columns.

        A penalty makes the scaled columns shorter, and the error smaller.
        """
        scaling = self._scaling
        relative, root = (np.moveaxis(a, 0, -1) for a in (scaling.relative, scaling.root_ridge))
        w = np.ldexp(v, relative)
        pull = root * w
        r_norm = np.sqrt(squares + np.einsum("gpq,gpq->gq", pull, pull))
        scaled = np.ldexp(gradient, -relative) - root * pull
        return upper_bound(w, r_norm, scaled, scaling.a_norm[..., 0].T, None, error)
