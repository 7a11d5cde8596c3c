"""Standard errors, bands and tests of generalized least squares, from its filtered rows."""

from __future__ import annotations

import numpy as np

from ..cached import cached_property
from ..leastsquares.analysis import Analysis
from ..leastsquares.system import System
from ..linalg.threads import one_blas_thread
from .prewhitened import Grams, Prewhitened
from .uncertainty import Estimate, Uncertainty, no_freedom


class PrewhitenedUncertainty(Uncertainty):
    """Errors of an estimate under autoregressive noise, from the filtered rows of each output.

    The estimated filter is treated as exact, so bands from a few hundred rows are slightly too
    narrow.
    """

    kind = "ar"
    same_correlation = False

    def __init__(self, analysis: Analysis, estimate: Estimate) -> None:
        assert estimate.filters is not None
        super().__init__(analysis, estimate)
        grams = Grams(analysis.design, int(estimate.filters.order.max()))
        self._fit = Prewhitened(analysis, estimate.filters, grams)

    @cached_property
    def _left(self) -> np.ndarray:
        """Filtered rows less the unknowns of kernel and nuisance columns, (outputs,)."""
        found = self._fit.rows - self._fit.unknowns
        if (found <= 0).any():
            least = int(np.argmin(found))
            raise ValueError(no_freedom(int(self._fit.rows[least]), self._fit.unknowns))
        return found.astype(float)

    @cached_property
    def dof(self) -> np.ndarray:
        """Degrees of freedom (outputs,) of t and F."""
        return self._left

    @cached_property
    def _residual_norms(self) -> np.ndarray:
        """Norms (outputs,) of the filtered residuals from the data, times 2**-`exponents`."""
        return self._fit.state(self._fit.residuals(self._operator_kernel)).norms

    @property
    def _model(self) -> tuple[np.ndarray, np.ndarray]:
        """Return order and coefficients of the autoregression."""
        return self._fit.noise

    def _errors(self, system: System, group: int, outputs: np.ndarray) -> np.ndarray:
        """Standard errors (P, k) of some outputs, in units of the operator's columns and of y."""
        return np.stack([self._gain(o) * self.deviation[o] for o in outputs.tolist()], axis=1)

    def _gain(self, output: int) -> np.ndarray:
        """Return √diag of the covariance (P,) of one output per unit of its innovations."""
        of = self._fit.design_of(output)
        return np.ldexp(of.factor.noise_gain, -of.relative)

    def _root_of(self, output: int) -> tuple[int, np.ndarray]:
        """Return the group of an output, and H (P, P) with H Hᵀ the covariance of its taps."""
        of = self._fit.design_of(output)
        scaled = np.diag(np.ldexp(self.deviation[output], -of.relative))
        with one_blas_thread():
            return output // self._sizes[1], of.factor.whiten(scaled)
