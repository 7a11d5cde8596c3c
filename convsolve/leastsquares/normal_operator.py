"""Normal equations without their matrix: products, backward errors and a test of full rank."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..linalg.conjugate_gradient import Map, Stop, least_eigenvalue
from ..linalg.rank import least_share
from ..operators import toeplitz
from .certificate import backward_error, upper_bound
from .design import Design
from .penalty import Ridge
from .system import System

# Steps of conjugate gradients on a random vector in which full rank is to be proved.
PROOF_STEPS = 100
# For so few unknowns, a factor takes less time than steps that only sharpen a bound.
FACTORED = 500
# Norm of the rounding error of AᵀA v by FFTs, as a number of columns of a Gram matrix, which are
# allowed 10 eps each. At most 1.6 eps were measured for 2 000 to 4 000 taps.
COLUMNS_OF_ERROR = 10


class Products:
    """Products with AᵀA of one group, for kernels along one axis, and a Toeplitz matrix T near it.

    Without masks and weights, AᵀA is a Toeplitz matrix but for the edges of the records, and a
    product does not depend on their length. With masks and weights, or if the edges are most of
    the work, a product takes two passes over the data, and T is the matrix of all rows.

    Args:
        design: the design matrix.
        group: the group.
        powers: (C,) powers of two that samples are divided by. All taps of a channel have one unit,
            as AᵀA is Toeplitz only then.

    Attributes:
        product: the product with AᵀA.
        scale: (P, 1), the inverses of the units.
        squares: (P,), squared norms of the columns.
        places: columns of the windows that are used.
        largest: an upper bound on the largest eigenvalue of AᵀA, or inf.
        by_rows: whether the sums of the matrix were formed from rows.
    """

    product: Map

    def __init__(self, design: Design, group: int, powers: np.ndarray) -> None:
        structured = design.sizes.toeplitz and not design.sizes.beyond_memory
        matrix, data = design.whole_matrix if structured else design.matrix, design.matrix
        unit = np.tile(powers, data.columns // powers.size)
        self.scale = scale = np.ldexp(1.0, -unit)[:, None]
        self.squares = (scale[:, 0] * data.column_norms[group]) ** 2
        self._samples, crossed, self.by_rows = toeplitz.read_samples(matrix, group, powers)
        # Methods of an object would refer to it, so that it would not be freed after its last use.
        self.product = lambda v: scale * data.adjoint(group, data.forward(group, scale * v))
        # With a stride and a dilation at once, the samples only precondition.
        structured &= matrix.data.windows.by_fft
        gram = toeplitz.Toeplitz(self._samples, self.squares) if structured else None
        self.places, self.largest = self._samples.places, np.inf
        if gram is not None and gram.worthwhile:
            exact, self.largest = gram, gram.largest
            self.product = lambda v: exact(v) - crossed.T @ (crossed @ v)
        # A constant was subtracted where samples are read, unless x is sparse.
        self._centred = len(crossed) > 0 and matrix.data.x.sparse
        self._plain = None if gram is None else gram.lags

    def lags(self, ridge: np.ndarray) -> np.ndarray:
        """Return the lags (K, C, C) of T plus the mean of a ridge (P,) per channel."""
        return toeplitz.tapered_lags(self._samples, self.squares, ridge, self._centred, self._plain)


class Normal:
    """The normal equations of one group, for kernels along one axis and uncorrelated penalties.

    The unknowns are u, with ``w = stretch * u`` for w in the coordinates of `System`, whose columns
    have norms of about one.

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
    inverse: toeplitz.ToeplitzInverse | toeplitz.FrozenInverse

    def __init__(self, system: System, group: int) -> None:
        self.system, self.group = system, group
        scaling, uniform = system.scaling, isinstance(system.penalty, Ridge)
        relative, channels = scaling.relative[group], system.design.kernel_shape[-2]
        # A penalty that grows along the taps may be much larger than the columns.
        taps = relative.reshape(-1, channels)
        powers = taps.max(0) if uniform else taps.min(0)
        found = Products(system.design, group, powers)
        self.stretch = np.ldexp(1.0, relative - np.tile(powers, len(taps)))[:, None]
        self.ridge = (scaling.root_ridge[group] * self.stretch[:, 0]) ** 2
        self.live = np.where(found.squares > 0, self.stretch[:, 0], 0.0)[:, None]
        self.a_norm = float(scaling.a_norm[group, 0])
        self._scale, self._by_rows, self._places = found.scale[:, 0], found.by_rows, found.places
        product, ridge = found.product, self.ridge[:, None]
        self.product = lambda v: product(v) + ridge * v
        # In the coordinates of System, at most the trace and the bound from the symbol.
        bound = (found.largest + self.ridge.max()) / self.stretch.min() ** 2
        self.largest, self._least = float(min(self.a_norm**2, bound)), None  # type: float, float | None
        if uniform:
            self.inverse = toeplitz.ToeplitzInverse(found.lags(self.ridge), found.places)
        else:
            lags = found.lags(0.0 * self.ridge)
            self.inverse = toeplitz.FrozenInverse.of(lags, found.places, self.ridge)
            # No vector is drawn, so that no bound is known.
            self._least = 0.0
        self.definite = self.inverse.definite

    @property
    def variances(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The diagonal (P,) of (T + ridge)⁻¹, the scale of the columns, and the ridge."""
        inverse: Any = self.inverse
        if isinstance(inverse, toeplitz.ToeplitzInverse):
            _, (inverse,), _ = toeplitz.shifted(inverse.lags, np.zeros((1, 1)), self._places)
        return inverse.diagonal, self._scale, self.ridge

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
        # Errors of FFTs do not add up over columns. Errors of the elements of a Gram matrix do.
        loss = 1.0 if self._by_rows else min(1.0, COLUMNS_OF_ERROR / p)
        enough = least_share(system.matrix.rows, p, loss) * self.largest
        least = float(system.scaling.root_ridge[self.group].min() ** 2)
        if not least > enough:
            # In the coordinates of System columns are not shorter, nor is the smallest eigenvalue.
            least = self.least(steps, stop) * self.inverse.low
        if not least > enough:  # also for NaN
            return False
        if system.strength or system.design.sizes.wide:
            return bool(system.strength)
        return bool(least > system.column_rounding[self.group].max() ** 2)
