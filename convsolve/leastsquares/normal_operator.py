"""Normal equations without their matrix: products, backward errors and a test of full rank."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..cached import cached_property
from ..linalg.conjugate_gradient import VANISHED, Conjugate, Evidence, inverse_form
from ..linalg.rank import EPS, least_share
from ..operators import by_fft
from ..operators.overlap_save import Series
from ..operators.spectral_inverse import SpectralInverse, flat, smoothed
from ..operators.tap_basis import TapBasis
from ..operators.toeplitz import Gram, Lags
from ..operators.toeplitz_inverse import Stationary, ToeplitzInverse, preconditioner, stationary
from ..problem.spec import ConvSpec
from .certificate import upper_bound
from .system import System

# Preconditioners of kernels.
Kernels = ToeplitzInverse | SpectralInverse
# The product of a symmetric matrix with vectors.
Product = Callable[[np.ndarray], np.ndarray]

# Largest number of steps of a quadrature for a certificate.
QUADRATURE_STEPS = 200
# Steps of conjugate gradients on a random vector in which full rank is to be proved.
PROOF_STEPS = 100
# Norm of the rounding error of AᵀA v by FFTs, as a number of columns of a Gram matrix, which are
# allowed 10 eps each. At most 1.6 eps were measured for 2 000 to 4 000 taps.
COLUMNS_OF_ERROR = 10


class Identity:
    """M = I, for the coordinates of a penalty: its ridge clusters all but the largest eigenvalues.

    ``low`` and ``high`` are bounds on the eigenvalues of M.
    """

    low = high = 1.0
    definite = True

    def __init__(self, columns: int) -> None:
        self._columns = columns

    def __call__(self, r: np.ndarray) -> np.ndarray:
        """Return a copy of the vector."""
        return r.copy()

    def draw(self) -> np.ndarray:
        """Return a standard normal vector (P, 1). The seed is fixed."""
        return np.random.default_rng(0).standard_normal((self._columns, 1))


class OfCoordinates:
    """M⁻¹ of the coordinates w = T S u of a penalty on differences, from M⁻¹ of kernels w.

    T = [L N] has the inverse [D; Nᵀ]. CG on u has the steps of CG on w, so that a bound on the M of
    kernels is one on the eigenvalues of AᵀA plus the penalty.
    """

    def __init__(
        self, of_kernels: Kernels, basis: TapBasis, differences: np.ndarray, scale: np.ndarray
    ) -> None:
        (matrix,) = basis.matrices
        null = matrix[:, len(differences) :]
        self._of_kernels, self._basis, self._scale = of_kernels, basis, scale
        self._inverse_scale = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1.0), 0.0)
        self._inverse = TapBasis([np.vstack([differences, null.T])])
        self.definite = of_kernels.definite
        size, by_channel = np.abs(matrix), scale.reshape(matrix.shape[1], -1)
        self._norm = (size @ by_channel).max() * (size.sum(0)[:, None] * by_channel).max()

    @cached_property
    def low(self) -> float:
        """A lower bound on the M of kernels."""
        return self._of_kernels.low

    @cached_property
    def high(self) -> float:
        """An upper bound on the M of coordinates."""
        return float(self._of_kernels.high * self._norm)

    def __call__(self, r: np.ndarray) -> np.ndarray:
        """Return M⁻¹ r for r (R, Q)."""
        inverse, scale = self._inverse, self._inverse_scale
        kernels = self._of_kernels(inverse.restrict((r * scale)[None])[0])
        return np.asarray(inverse.expand(kernels[None])[0] * scale)

    def draw(self) -> np.ndarray:
        """Return a normal vector (R, 1) of a covariance of at least M. The seed is fixed."""
        return np.asarray(self._scale * self._basis.restrict(self._of_kernels.draw()[None])[0])


class Normal:
    """The normal equations of one group.

    The unknowns are u, with ``w = stretch * u`` for w in the coordinates of `System`, whose columns
    have norms of about one. All taps of a channel have one unit in u, as AᵀA is Toeplitz only then.
    The coordinates of a penalty have no such structure and are not changed. For a penalty on
    differences, its own Toeplitz matrix is added to the preconditioner.

    Without masks, weights and confounds, AᵀA is a Toeplitz matrix but for the edges of the records,
    and a product does not depend on their length. Otherwise a product takes two passes over the
    data, and the Toeplitz matrix of all rows is only the preconditioner.

    Attributes:
        product: the product with AᵀA + ridge.
        precondition: the product with M⁻¹.
        largest: an upper bound on the largest eigenvalue of AᵀA + ridge.
        rank_norm: the norm to which the smallest eigenvalue is compared.
    """

    product: Product
    precondition: Kernels | OfCoordinates | Identity
    largest: float
    rank_norm: float

    def __init__(self, system: System, group: int) -> None:
        self.system, self.group = system, group
        design = system.design
        self._structured = design.sizes.toeplitz and not design.sizes.beyond_memory
        matrix = design.whole_matrix if self._structured else design.matrix
        self._chunks = matrix.sample()
        self._chunk = self._chunks[0]
        scaling = system.scaling
        self.a_norm = float(scaling.a_norm[group])
        relative = scaling.relative[group]
        norms = system.columns.norms[group]
        if system.basis.identity:
            channels = self._chunk.channels
            by_channel = relative.reshape(-1, channels).max(0)
            unit = np.tile(by_channel, relative.size // channels)
            self.stretch = np.ldexp(1.0, relative - unit)[:, None]
            self.ridge = (scaling.root_ridge[group] * self.stretch[:, 0]) ** 2
            self._toeplitz(by_channel, np.ldexp(norms, -unit), np.ldexp(1.0, -unit))
        else:
            self.stretch = np.ones((relative.size, 1))
            self.ridge = scaling.root_ridge[group] ** 2
            self._in_coordinates(scaling.scale[group][:, None])
        # The gradient of a column of zeros is rounding, which the preconditioner would amplify.
        self.live = np.where(norms > 0, self.stretch[:, 0], 0.0)[:, None]

    def _toeplitz(self, by_channel: np.ndarray, norms: np.ndarray, scale: np.ndarray) -> None:
        parts = self._parts(by_channel)
        self._of_kernels = parts, norms
        gram = self._gram(parts, norms, scale, self.ridge) if self._structured else None
        if gram is not None:
            self.product = gram
            # In the coordinates of System, at most the trace and the bound from the symbol.
            rows = np.abs(gram.symbol).sum(-1).max() + self.ridge.max()
            self.largest = float(min(self.a_norm**2, rows / self.stretch.min() ** 2))
        else:
            self.product = self._in_columns(_by_data(self.system, self.group), scale[:, None])
            self.largest = self.a_norm**2
        self.rank_norm = self.largest
        self.precondition = self._preconditioner(gram, parts, norms)

    def _preconditioner(self, gram: Gram | None, parts: list[Series], norms: np.ndarray) -> Kernels:
        """Return M⁻¹. The Toeplitz matrix of x is used along one axis if its spectrum is steep."""
        if self.system.design.spec.ndim > 1:
            return smoothed(gram or self._lags(parts, norms))
        found = None if gram is None else flat(gram)
        return preconditioner(self._tapered(parts, norms, self.ridge)) if found is None else found

    @property
    def tapered(self) -> Stationary | None:
        """The Toeplitz matrix close to AᵀA + ridge, for kernels along one axis.

        None if not all rows are used with one weight.
        """
        if not (self._structured and self.system.basis.identity):
            return None
        if self.system.design.spec.ndim > 1:
            return None
        return self._tapered(*self._of_kernels, self.ridge)

    def _lags(self, parts: list[Series], norms: np.ndarray) -> Lags:
        """Return the Toeplitz matrix of records, with these norms of columns on average."""
        taps, places = by_fft.taps_of(self._chunk), by_fft.places_of(self._chunk)
        lags = Lags(parts, taps, places, self.ridge)
        if lags.diagonal.any():
            lags.lags *= (norms**2).mean() / lags.diagonal.mean()
        return lags

    def _in_coordinates(self, scale: np.ndarray) -> None:
        """Set the product with TᵀAᵀMA T + ridge, where T are the coordinates of a penalty."""
        matrix, gram = self.system.matrix, _by_data(self.system, self.group)
        if self._structured:
            ones = np.ones(matrix.columns)
            parts = self._parts(np.zeros(self._chunk.channels, int))
            norms = matrix.column_norms[self.group]
            gram = self._gram(parts, norms, ones, np.zeros_like(ones))
        self.product, self.precondition = self._in_columns(gram, scale), Identity(len(scale))
        self.largest = self.rank_norm = self.a_norm**2
        differences = self.system.differences
        if isinstance(gram, Gram) and differences is not None:
            self._smooth(gram, parts, norms, differences, scale)

    def _smooth(
        self,
        gram: Gram,
        parts: list[Series],
        norms: np.ndarray,
        differences: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        """Set the preconditioner of a penalty on differences."""
        first = differences[0][differences[0] != 0]
        lags = np.correlate(first, first, "full")[len(first) - 1 :]
        # All penalized coordinates of a channel have the same strength in the units of kernels.
        # Those of columns of zeros have none.
        squares = scale[:, 0] ** 2
        of_each = np.where(squares > 0, self.ridge / np.where(squares > 0, squares, 1.0), 0.0)
        strengths = of_each.reshape(-1, self._chunk.channels)[: len(differences)].max(0)
        found = self._tapered(parts, norms, np.zeros_like(norms))
        for m, value in enumerate(lags):
            for lag in {m, -m}:
                found.lags[lag] += value * np.diag(strengths)
        given = self.system.basis, differences, scale
        self.precondition = OfCoordinates(preconditioner(found), *given)
        symbol = np.abs(gram.symbol).sum(-1).max()
        self.rank_norm = float(symbol + np.abs(lags).sum() * 2 * strengths.max())

    def _tapered(self, parts: list[Series], norms: np.ndarray, ridge: np.ndarray) -> Stationary:
        """Return the Toeplitz matrix of tapered records along one axis."""
        design, (taps,) = self.system.design, by_fft.taps_of(self._chunk)
        padding, constant = _padding(design.spec, design.sizes.shapes[0]), design.nuisance.constant
        places = by_fft.places_of(self._chunk)
        return stationary(parts, taps, places, norms**2, ridge, padding, constant)

    def _in_columns(self, gram: Product, scale: np.ndarray) -> Product:
        """Return the product with TᵀAᵀMA T + ridge, given that with AᵀMA.

        The columns of A T are multiplied by a ``scale`` (R, 1).
        """
        basis, ridge = self.system.basis, self.ridge[:, None]

        def product(v: np.ndarray) -> np.ndarray:
            found = gram(basis.expand((scale * v)[None])[0])
            return np.asarray(scale * basis.restrict(found[None])[0] + ridge * v)

        return product

    def _parts(self, by_channel: np.ndarray) -> list[Series]:
        """Return the records of this group in units of the matrix times powers of two."""
        found, exponents = [], self.system.matrix.exponents[self.group]
        for chunk in self._chunks:
            own = chunk.by_column(chunk.exponents)[self.group]
            finer = (exponents - own)[: by_channel.size] + by_channel
            for group, x, *_ in by_fft.parts(chunk):
                if group == self.group:
                    each = np.tile(finer, x.scale.size // finer.size)
                    scale, shift = np.ldexp(x.scale, -each), np.ldexp(x.shift, -each)
                    found.append(x._replace(scale=scale, shift=shift))
        return found

    def _gram(
        self, parts: list[Series], norms: np.ndarray, scale: np.ndarray, ridge: np.ndarray
    ) -> Gram:
        """Return AᵀMA + ridge for columns with these norms: those of A times ``scale``."""
        chunk, sums = self._chunk, None
        if self.system.design.nuisance.constant:
            sums = scale * by_fft.column_sums(chunk)[self.group] / np.sqrt(chunk.rows)
        taps, places = by_fft.taps_of(chunk), by_fft.places_of(chunk)
        return Gram(parts, taps, places, norms**2, sums, ridge)

    @property
    def definite(self) -> bool:
        """Whether the preconditioner is positive definite in floating point, a ridge included.

        Otherwise CG is not expected to converge, nor to prove full rank.
        """
        return self.precondition.definite

    def backward_error(
        self, w: np.ndarray, r_norm: np.ndarray, g: np.ndarray, enough: float
    ) -> np.ndarray:
        """Return an upper bound (Q,) on the backward error of w (P, Q), without a factor.

        It is gᵀ(AᵀA + φ²I)⁻¹g with φ = ‖r‖/‖w‖, by Gauss–Radau quadrature. The node is at φ², which
        no eigenvalue is below; with the preconditioner M, it is at (φ² + ridge)/‖M‖.
        """
        bound = upper_bound(w, r_norm, g, self.a_norm)
        some = np.flatnonzero((bound > enough) & np.isfinite(bound) & w.any(0))
        if not some.size:
            return bound
        w_norm = np.linalg.norm(w[:, some], axis=0)
        shift = (r_norm[some] / w_norm * self.stretch) ** 2
        node = (shift + self.ridge[:, None]).min(0) / self.precondition.high
        form = inverse_form(
            lambda v: self.product(v) + shift * v,
            self.precondition,
            self.live * g[:, some],
            node,
            (enough * self.a_norm * w_norm) ** 2,
            QUADRATURE_STEPS,
        )
        bound[some] = np.fmin(bound[some], np.sqrt(form) / (self.a_norm * w_norm))
        return bound

    def full_rank(self, steps: int, stop: Callable[[], bool] = lambda: False) -> bool:
        """Return whether ``steps`` of CG on a random vector prove full numerical rank.

        False is inconclusive, and True is wrong with a probability of 2e-7; see `Evidence`. The
        test ends before a step for which ``stop`` returns True.
        """
        if not self.definite:
            return False
        run = Conjugate(self.product, self.precondition, self.precondition.draw())
        evidence, one = Evidence(), np.ones(1, bool)
        # With a steeper slope, rounding of all steps could hide a component that has not vanished.
        steepest = VANISHED / (10 * EPS * math.sqrt(self.stretch.size))
        for _ in range(steps):
            hopeless = not self._full_rank_above(evidence.least) or evidence.slope > steepest
            # Rounding makes M⁻¹ indefinite where T is nearly singular.
            if hopeless or not run.squares[0] >= 0 or stop():
                return False
            if run.squares[0] <= VANISHED**2:
                return True
            length, ratio = run.step(one)
            if not length[0] > 0:
                return False
            evidence.add(float(length[0]), float(ratio[0]))
        return False

    def _full_rank_above(self, least: float) -> bool:
        """Return whether eigenvalues of M⁻¹(AᵀA + ridge) of at least ``least`` prove full rank.

        The criterion is that of `cholesky_factors`. If x is coarser than float64 and there is no
        ridge, the smallest eigenvalue must also exceed the rounding of x.
        """
        system, p = self.system, self.stretch.size
        # In the coordinates of System the columns are not shorter, nor is the smallest eigenvalue.
        least *= self.precondition.low
        # Errors of FFTs do not add up over columns. Errors of the elements of a Gram matrix do.
        rows_formed = any(chunk.by_rows for chunk in self._chunks)
        formed = rows_formed or isinstance(self.precondition, Identity)
        loss = 1.0 if formed else min(1.0, COLUMNS_OF_ERROR / p)
        share = least_share(system.matrix.rows, p, loss)
        if not least > share * self.rank_norm:  # also False for NaN
            return False
        if system.strength:
            return True
        if system.design.sizes.wide:
            return False
        return bool(least > system.column_rounding[self.group].max() ** 2)


def _padding(spec: ConvSpec, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the numbers of zeros at both ends of a polyphase component along the first axis."""
    if spec.padding == "circular":
        return 0, 0
    before = spec._offset(shape)[0]
    after = spec._extent(shape)[0] - before - shape[0]
    step = math.lcm(spec.stride[0], spec.dilation[0])
    return max(before, 0) // step, max(after, 0) // step


def _by_data(system: System, group: int) -> Product:
    """Return the product with AᵀMA (P, Q) of a group, in two passes over the data."""
    matrix = system.matrix
    # A method of `Normal` would refer to it, so that it would not be freed after its last use.
    return lambda v: matrix.adjoint(group, matrix.forward(group, v))
