"""Normal equations without their matrix: products, backward errors and a test of full rank."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..linalg.conjugate_gradient import VANISHED, Conjugate, Evidence, inverse_form
from ..linalg.rank import EPS, least_share
from ..operators import by_fft
from ..operators.overlap_save import Series
from ..operators.spectral_inverse import SpectralInverse, flat
from ..operators.toeplitz import Gram
from ..operators.toeplitz_inverse import Stationary, ToeplitzInverse, preconditioner, stationary
from ..problem.spec import ConvSpec
from .certificate import upper_bound
from .system import System

# The product of a symmetric matrix with vectors.
Product = Callable[[np.ndarray], np.ndarray]

# Largest number of steps of a quadrature for a certificate.
QUADRATURE_STEPS = 200
# Steps of conjugate gradients on a random vector in which full rank is to be proved.
PROOF_STEPS = 100
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
        precondition: the product with M⁻¹.
        largest: an upper bound on the largest eigenvalue of AᵀA + ridge.
    """

    product: Product
    precondition: ToeplitzInverse | SpectralInverse
    largest: float

    def __init__(self, system: System, group: int) -> None:
        self.system, self.group = system, group
        design, scaling = system.design, system.scaling
        structured = design.sizes.toeplitz and not design.sizes.beyond_memory
        matrix = design.whole_matrix if structured else design.matrix
        self._chunks = matrix.sample()
        self._chunk = self._chunks[0]
        self.a_norm = float(scaling.a_norm[group])
        relative, channels = scaling.relative[group], self._chunk.channels
        by_channel = relative.reshape(-1, channels).max(0)
        unit = np.tile(by_channel, relative.size // channels)
        self.stretch = np.ldexp(1.0, relative - unit)[:, None]
        self.ridge = (scaling.root_ridge[group] * self.stretch[:, 0]) ** 2
        norms, scale = np.ldexp(system.columns.norms[group], -unit), np.ldexp(1.0, -unit)
        # The gradient of a column of zeros is rounding, which the preconditioner would amplify.
        self.live = np.where(norms > 0, self.stretch[:, 0], 0.0)[:, None]
        parts = self._parts(by_channel)
        self.product, self.largest = self._by_data(scale[:, None]), self.a_norm**2
        found = None
        if structured:
            gram = self._gram(parts, norms, scale)
            found = flat(gram)
            if gram.toeplitz:
                self.product = gram
                # In the coordinates of System, at most the trace and the bound from the symbol.
                rows = np.abs(gram.symbol).sum(-1).max() + self.ridge.max()
                self.largest = float(min(self.largest, rows / self.stretch.min() ** 2))
        self.precondition = found or preconditioner(self._tapered(parts, norms))

    def _tapered(self, parts: list[Series], norms: np.ndarray) -> Stationary:
        """Return the Toeplitz matrix of tapered records."""
        design, taps = self.system.design, by_fft.taps_of(self._chunk)[0]
        padding, constant = _padding(design.spec, design.sizes.shapes[0]), design.nuisance.constant
        places = by_fft.places_of(self._chunk)
        return stationary(parts, taps, places, norms**2, self.ridge, padding, constant)

    def _by_data(self, scale: np.ndarray) -> Product:
        """Return the product with AᵀMA + ridge in two passes over the data.

        The columns of A are multiplied by a ``scale`` (P, 1).
        """
        # A method would refer to `Normal`, so that it would not be freed after its last use.
        matrix, group, ridge = self.system.matrix, self.group, self.ridge[:, None]
        return lambda v: scale * matrix.adjoint(group, matrix.forward(group, scale * v)) + ridge * v

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

    def _gram(self, parts: list[Series], norms: np.ndarray, scale: np.ndarray) -> Gram:
        """Return AᵀMA + ridge for columns with these norms: those of A times ``scale``."""
        chunk, sums = self._chunk, None
        if self.system.design.nuisance.constant:
            sums = scale * by_fft.column_sums(chunk)[self.group] / np.sqrt(chunk.rows)
        taps, places = by_fft.taps_of(chunk)[0], by_fft.places_of(chunk)
        return Gram(parts, taps, places, norms**2, sums, self.ridge)

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
        formed = any(chunk.by_rows for chunk in self._chunks)
        loss = 1.0 if formed else min(1.0, COLUMNS_OF_ERROR / p)
        share = least_share(system.matrix.rows, p, loss)
        if not least > share * self.largest:  # also False for NaN
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
