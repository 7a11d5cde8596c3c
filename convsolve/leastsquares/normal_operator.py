"""Normal equations without their matrix: products, backward errors and a test of full rank."""

from __future__ import annotations

import numpy as np

from ..linalg.conjugate_gradient import Map, Stop, least_eigenvalue
from ..linalg.rank import least_share
from ..operators.toeplitz import Toeplitz, ToeplitzInverse, read_samples, tapered_lags
from .certificate import backward_error, upper_bound
from .system import System

# Steps of conjugate gradients on a random vector in which full rank is to be proved.
PROOF_STEPS = 100
# For so few unknowns, a factor takes less time than steps that only sharpen a bound.
FACTORED = 500
# Norm of the rounding error of AᵀA v by FFTs, as a number of columns of a Gram matrix, which are
# allowed 10 eps each. At most 1.6 eps were measured for 2 000 to 4 000 taps.
COLUMNS_OF_ERROR = 10


class Normal:
    """The normal equations of one group, for kernels along one axis with a ridge or no penalty.

    The unknowns are u, with ``w = stretch * u`` for w in the coordinates of `System`, whose columns
    have norms of about one. All taps of a channel have one unit in u, as AᵀA is Toeplitz only then.

    Without masks and weights, AᵀA is a Toeplitz matrix but for the edges of the records, and a
    product does not depend on their length. With masks and weights, or if the edges are most of
    the work, a product takes two passes over the data, and the Toeplitz matrix of all rows is only
    the preconditioner.

    Attributes:
        product: the product with AᵀA + ridge.
        inverse: the product with M⁻¹.
        live: the stretch (P, 1), and 0 for columns of zeros. Their gradient is rounding, which the
            preconditioner would amplify.
        largest: an upper bound on the largest eigenvalue of AᵀA + ridge.
        definite: whether the preconditioner is positive definite in floating point, a ridge
            included. Otherwise CG is not expected to converge, nor to prove full rank.
    """

    product: Map

    def __init__(self, system: System, group: int) -> None:
        self.system, self.group = system, group
        design, scaling = system.design, system.scaling
        structured = design.sizes.toeplitz and not design.sizes.beyond_memory
        matrix = design.whole_matrix if structured else design.matrix
        relative, channels = scaling.relative[group], design.kernel_shape[-2]
        powers = relative.reshape(-1, channels).max(0)
        unit = np.tile(powers, relative.size // channels)
        self.stretch, scale = np.ldexp(1.0, relative - unit)[:, None], np.ldexp(1.0, -unit)
        self.ridge = (scaling.root_ridge[group] * self.stretch[:, 0]) ** 2
        squares = (scale * system.columns.norms[group]) ** 2
        self.live = np.where(squares > 0, self.stretch[:, 0], 0.0)[:, None]
        self.a_norm = float(scaling.a_norm[group, 0])
        self.largest, self._least = self.a_norm**2, None  # type: float, float | None
        samples, crossed, self._by_rows = read_samples(matrix, group, powers)
        # Methods of an object would refer to it, so that it would not be freed after its last use.
        data, ridge, scale = design.matrix, self.ridge[:, None], scale[:, None]
        self.product = lambda v: (
            scale * data.adjoint(group, data.forward(group, scale * v)) + ridge * v
        )
        # With a stride and a dilation at once, the samples only precondition.
        structured &= matrix.data.windows.by_fft
        gram = Toeplitz(samples, squares) if structured else None
        if gram is not None and gram.worthwhile:
            toeplitz = gram
            self.product = lambda v: toeplitz(v) - crossed.T @ (crossed @ v) + ridge * v
            # In the coordinates of System, at most the trace and the bound from the symbol.
            bound = (gram.largest + self.ridge.max()) / self.stretch.min() ** 2
            self.largest = float(min(self.largest, bound))
        # A constant was subtracted where samples are read, unless x is sparse.
        centred = len(crossed) > 0 and matrix.data.x.sparse
        plain = None if gram is None else gram.lags
        lags = tapered_lags(samples, squares, self.ridge, centred, plain)
        self.inverse = ToeplitzInverse(lags, samples.places)
        self.definite = self.inverse.definite

    def least(self, steps: int, stop: Stop) -> float:
        """Return a lower bound of the eigenvalues of M⁻¹(AᵀA + ridge), or 0 if there is none.

        It is computed once, in at most ``steps`` of CG on a random vector, and is wrong with a
        probability of 2e-7. The test ends before a step for which ``stop`` returns True.
        """
        if self._least is None:
            draw = self.inverse.draw
            self._least = least_eigenvalue(self.product, self.inverse, draw, steps, stop)
        return self._least

    def backward_error(
        self,
        w: np.ndarray,
        r_norm: np.ndarray,
        g: np.ndarray,
        enough: float,
        steps: int = PROOF_STEPS,
        stop: Stop = lambda: False,
    ) -> np.ndarray:
        """Return an upper bound (Q,) on the backward error of w (P, Q).

        If the bound without a factor exceeds ``enough``, gᵀ(AᵀA + ridge)⁻¹g is bounded by gᵀM⁻¹g
        over `least`.
        """
        bound = upper_bound(w, r_norm, g, self.a_norm)
        if not (w.any() and (bound > enough).any() and (least := self.least(steps, stop))):
            return bound
        scaled = self.live * g
        squares = np.einsum("pq,pq->q", scaled, self.inverse(scaled))
        # A preconditioner of rounding may be indefinite. Its squares bound nothing.
        whitened = np.sqrt(np.where(squares >= 0, squares, np.inf) / least)
        bound = upper_bound(w, r_norm, g, self.a_norm, whitened)
        if len(w) <= FACTORED and (bound > enough).any():
            factor = self.system.factor(self.group)
            bound = np.minimum(bound, backward_error(w, r_norm, g, self.a_norm, factor).value)
        return bound

    def full_rank(self, steps: int, stop: Stop = lambda: False) -> bool:
        """Return whether ``steps`` of CG on a random vector prove full numerical rank.

        False is inconclusive, and True is wrong with a probability of 2e-7, see `least_eigenvalue`.
        The criterion is that of `cholesky_factors`. If x is coarser than float64 and there is no
        ridge, the smallest eigenvalue must also exceed the rounding of x.
        """
        if not self.definite:
            return False
        system, p = self.system, self.stretch.size
        # In the coordinates of System the columns are not shorter, nor is the smallest eigenvalue.
        least = self.least(steps, stop) * self.inverse.low
        # Errors of FFTs do not add up over columns. Errors of the elements of a Gram matrix do.
        loss = 1.0 if self._by_rows else min(1.0, COLUMNS_OF_ERROR / p)
        if not least > least_share(system.matrix.rows, p, loss) * self.largest:  # also for NaN
            return False
        if system.strength or system.design.sizes.wide:
            return bool(system.strength)
        return bool(least > system.column_rounding[self.group].max() ** 2)
