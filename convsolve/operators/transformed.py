"""The design matrix in other coordinates of the kernel, along the taps of every channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..cached import cached_property
from ..linalg.rank import EPS
from .by_rows import Block
from .design_matrix import DesignMatrix, Targets
from .moments import Moments, Projection, per_column

# Number of columns of A T whose norms are computed in one pass over the data.
COLUMNS_A_PASS = 256
# A norm of at least this share of its terms can be computed from the Gram without losing digits.
GRAM_SHARE = 1e-3


class TapBasis:
    """A basis T of the taps, the same for every channel, so that a kernel is w = T z.

    T acts on one axis of taps at a time. ``matrices`` contains an array (K, r) for each axis. z has
    ∏r coordinates per channel, with channels as the fastest axis, as a kernel has ∏K taps.
    """

    def __init__(self, matrices: Sequence[np.ndarray]) -> None:
        self.matrices = tuple(matrices)

    @property
    def taps(self) -> int:
        """Number of taps per channel."""
        return math.prod(len(m) for m in self.matrices)

    @property
    def coordinates(self) -> int:
        """Number of coordinates per channel."""
        return math.prod(m.shape[1] for m in self.matrices)

    def expand(self, z: Any, matmul: Callable[[Any, Any], Any] = np.matmul) -> Any:
        """Return kernels T z (G, P, Q) for z (G, R, Q), in NumPy or, with jax's matmul, in jax."""
        return self._applied(z, self.matrices, matmul)

    def restrict(self, g: Any, matmul: Callable[[Any, Any], Any] = np.matmul) -> Any:
        """Return Tᵀ g (G, R, Q) for g (G, P, Q)."""
        return self._applied(g, [m.T for m in self.matrices], matmul)

    def rows(self, a: Any, matmul: Callable[[Any, Any], Any] = np.matmul) -> Any:
        """Return A T (G, n, R) for rows (G, n, P)."""
        return self.restrict(a.swapaxes(1, 2), matmul).swapaxes(1, 2)

    def largest_norms(self, norms: np.ndarray) -> np.ndarray:
        """Return upper bounds of the norms (G, R) of the columns of A T, given norms (G, P) of A.

        A bound is the sum of the norms of all terms. The rounding error is relative to it.
        """
        size = TapBasis([np.abs(m) for m in self.matrices])
        found: np.ndarray = size.restrict(norms[:, :, None])[:, :, 0]
        return found

    def of_moments(self, moments: Moments) -> Moments:
        """Return the moments of A T, given moments of A with one exponent per channel."""
        half = self.restrict(moments.gram)
        values = moments.sums, moments.units.shift
        sums, shift = (self.restrict(v[:, :, None])[:, :, 0] for v in values)
        return replace(
            moments,
            gram=self.restrict(half.swapaxes(1, 2)),
            rhs=self.restrict(moments.rhs),
            sums=sums,
            units=moments.units._replace(shift=shift),
            nuisance=moments.each_column(self.rows),
        )

    def _applied(self, v: Any, matrices: Sequence[np.ndarray], matmul: Any) -> Any:
        groups, _, outputs = v.shape
        before = 1
        sizes = [m.shape[1] for m in matrices]
        channels = v.shape[1] // math.prod(sizes)
        for i, m in enumerate(matrices):
            after = math.prod(sizes[i + 1 :]) * channels * outputs
            v = matmul(m, v.reshape(groups * before, m.shape[1], after))
            before *= len(m)
        return v.reshape(groups, before * channels, outputs)


class TransformedMatrix:
    """A T for a `TapBasis` T: the design matrix of the coordinates z of kernels w = T z."""

    def __init__(
        self, operator: DesignMatrix, basis: TapBasis, moments: Moments | None = None
    ) -> None:
        """Transform an operator A. Its ``moments``, if known, save passes over the data."""
        self.operator, self.basis, self._moments = operator, basis, moments
        self.groups, self.rows = operator.groups, operator.rows
        self.nuisance, self.targets = operator.nuisance, operator.targets
        channels = operator.columns // basis.taps
        self.columns = basis.coordinates * channels
        # All taps of a channel share an exponent, and so do its coordinates.
        self.exponents = per_column(operator.exponents[:, :channels], self.columns)

    @cached_property
    def shift(self) -> np.ndarray:
        """Shift (G, R) of the columns."""
        return self._restricted(self.operator.shift)

    @cached_property
    def means(self) -> np.ndarray:
        """Column means (G, R)."""
        return self._restricted(self.operator.means)

    @cached_property
    def products(self) -> np.ndarray:
        """Products NᵀA T (G, q, R)."""
        return self.basis.rows(self.operator.products) * self.live[:, None]

    @cached_property
    def projection(self) -> Projection:
        """The projection of N, applied to sums over rows."""
        return replace(self.operator.projection, products=self.products)

    @property
    def offsets(self) -> np.ndarray:
        """Size (G, R) of what N subtracts from a column."""
        return self.means if self.nuisance.constant else np.zeros(self.exponents.shape)

    def output_norms(self, targets: Targets) -> np.ndarray:
        """Return the norms (G, Q) of M y."""
        return self.operator.output_norms(targets)

    @cached_property
    def live(self) -> np.ndarray:
        """Flags (G, R) of the columns that are more than rounding. The others are set to zero."""
        return self.column_norms > 0

    @cached_property
    def terms(self) -> np.ndarray:
        """Sums (G, R) of the norms of the columns of M A that a column of M A T is made of."""
        return self.basis.largest_norms(self.operator.column_norms)

    @cached_property
    def cancels(self) -> bool:
        """Whether the terms of a column cancel so much that its Gram matrix would lose digits."""
        return bool((self.live & (self.column_norms <= GRAM_SHARE * self.terms)).any())

    def _restricted_live(self, g: np.ndarray) -> np.ndarray:
        """Return Tᵀg (G, R, Q) of g (G, P, Q), zero in columns that are zero."""
        return np.asarray(self.basis.restrict(g) * self.live[:, :, None])

    def _expanded(self, w: np.ndarray) -> np.ndarray:
        """Return the kernels T w (G, P, Q) of w (G, R, Q)."""
        return np.asarray(self.basis.expand(w * self.live[:, :, None]))

    def _kernel(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return the kernels T w (P, Q) of one group, for w (R, Q)."""
        return np.asarray(self.basis.expand((w * self.live[group][:, None])[None])[0])

    def _restricted(self, values: np.ndarray) -> np.ndarray:
        return self.basis.restrict(values[:, :, None])[:, :, 0]

    @cached_property
    def column_norms(self) -> np.ndarray:
        """Norms (G, R) of the columns of M A T.

        A norm below the rounding error of its own sum is 0, so that scaling does not amplify it.
        """
        terms = self.terms
        found = np.zeros(terms.shape)
        for group, known in enumerate(found):
            if self._moments is not None:
                known[:] = self._norms_by_moments(group)
            lost = np.flatnonzero(~(known > GRAM_SHARE * terms[group]))
            for start in range(0, len(lost), COLUMNS_A_PASS):
                some = lost[start : start + COLUMNS_A_PASS]
                known[some] = self._norms_by_data(group, some)
        rounding = max(32.0, 10 * np.sqrt(self.operator.columns)) * EPS * terms
        return np.where(found > rounding, found, 0.0)

    def _norms_by_moments(self, group: int) -> np.ndarray:
        assert self._moments is not None
        gram = self._moments.inner(group, slice(None))
        half = self.basis.restrict(gram[None])
        squares = np.diagonal(self.basis.restrict(half.swapaxes(1, 2))[0])
        return np.sqrt(np.maximum(squares, 0.0))

    def _norms_by_data(self, group: int, some: np.ndarray) -> np.ndarray:
        unit = np.zeros((1, self.columns, len(some)))
        unit[:, some, np.arange(len(some))] = 1.0
        gram = self.operator.product_gram(group, self.basis.expand(unit)[0])
        return np.sqrt(np.maximum(np.diagonal(gram), 0.0))

    @cached_property
    def spreads(self) -> np.ndarray:
        """Norms (G, R) of the columns minus their means."""
        if self.nuisance.constant:
            return self.column_norms
        squares = self.column_norms**2 - self.rows * self.means**2
        return np.sqrt(np.maximum(squares, 0.0))

    def moments(self, targets: Targets | None) -> Moments:
        """Return sums over the rows of A T and Y, each minus its shift."""
        return self.basis.of_moments(self.operator.moments(targets)).with_zero_columns(self.live)

    def residual(self, w: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and TᵀAᵀM r (G, R, Q) for r = M(y − A T w)."""
        squares, g = self.operator.residual(self._expanded(w), targets)
        return squares, self._restricted_live(g)

    def output_sums(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return NᵀY (G, q, Q) and Σy² (G, Q), where Y is shifted."""
        return self.operator.output_sums(targets)

    def constant_beside(
        self, targets: Targets, w: np.ndarray, level: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return the constant (G, Q) of the fit with the kernel T w."""
        return self.operator.constant_beside(targets, self._expanded(w), level)

    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return M A T w (n, Q) of one group, for w (R, Q)."""
        return self.operator.forward(group, self._kernel(group, w))

    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """Return TᵀAᵀM r (R, Q) of one group, for rows r (n, Q)."""
        found: np.ndarray = self.basis.restrict(self.operator.adjoint(group, r)[None])[0]
        return found * self.live[group][:, None]

    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return (M A T w)ᵀ(M A T w) (Q, Q) of one group, for w (R, Q)."""
        return self.operator.product_gram(group, self._kernel(group, w))

    def row_blocks(self, targets: Targets | None = None) -> Iterator[Block]:
        """Yield blocks of rows of M A T (G, k, R) and of M y (G, k, Q)."""
        for a, y in self.operator.row_blocks(targets):
            yield self.basis.rows(a) * self.live[:, None], y


# The design matrix in taps, or in other coordinates.
Matrix = DesignMatrix | TransformedMatrix
