"""Columns in the coordinates of a penalty, and powers of two that bring them to norm about one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import SolveError
from ..linalg.lapack import diagonals
from ..linalg.rank import EPS
from ..linalg.threads import blas_threads
from ..operators.design_matrix import Targets
from ..operators.layout import TapBasis
from ..parallel import cached_property
from .design import Design

# A norm of at least this share of its terms can be computed from the Gram without losing digits.
GRAM_SHARE = 1e-3


class PenaltyColumns:
    """The columns of M A T, for the design matrix A and the coordinates w = T z of a penalty.

    A column that is only rounding is set to zero.

    Attributes:
        t: T on the taps of a channel.
        count: number R of columns of a group.
        exponents: powers of two (G, R) of the columns, in addition to T. All taps of a channel
            share one, and so do its coordinates.
    """

    def __init__(self, design: Design, t: TapBasis) -> None:
        self._design, self._matrix, self.t = design, design.matrix, t
        self.count = t.count(self._matrix.columns)
        self.exponents = t.of_channels(self._matrix.exponents)

    @cached_property
    def terms(self) -> np.ndarray:
        """Sums (G, R) of the norms of the columns of M A that a column is a combination of."""
        return self.t.largest_norms(self._matrix.column_norms)

    @cached_property
    def norms(self) -> np.ndarray:
        """Norms (G, R) of the columns.

        A norm below the rounding error of its own sum is 0, so that scaling does not amplify it.
        """
        if self.t.identity:
            return self._matrix.column_norms
        terms, found = self.terms, np.zeros(self.terms.shape)
        if self._design.sizes.gram_fits:
            found = np.sqrt(np.maximum(diagonals(self._sums), 0.0))
        known = (found > GRAM_SHARE * terms) | (terms == 0)
        if not known.all():
            rows = (self.t.rows(a) for a, _ in self._matrix.row_blocks())
            found = np.where(known, found, np.sqrt(sum(np.square(a).sum(1) for a in rows)))
        rounding = max(32.0, 10 * np.sqrt(self._matrix.columns)) * EPS * terms
        return np.where(found > rounding, found, 0.0)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Sizes (G, R) that the columns are divided by without a penalty.

        A column of a basis that is a small difference of its terms keeps its size relative to them,
        because its rounding error would be scaled with it and be taken for a part of the rank.
        """
        if self._design.space is None:
            return self.norms
        joint = self.t.orthogonal_norms(self._matrix.column_norms)
        return np.where(self.norms > 0, np.maximum(self.norms, joint), 0.0)

    @cached_property
    def cancels(self) -> bool:
        """Whether the terms of a column cancel so much that its Gram matrix would lose digits."""
        small = (self.norms > 0) & (self.norms <= GRAM_SHARE * self.terms)
        return not self.t.identity and bool(small.any())

    @cached_property
    def _sums(self) -> np.ndarray:
        """TᵀAᵀM A T (G, R, R), including columns of rounding."""
        design = self._design
        with design.clock.timing("moments"), blas_threads(design._blas_columns):
            return self.t.of_gram(self._matrix.gram())

    @cached_property
    def gram(self) -> np.ndarray:
        """TᵀAᵀM A T (G, R, R)."""
        live = self.norms > 0
        some = not (self.t.identity or live.all())
        return self._sums * (live[:, :, None] & live[:, None]) if some else self._sums

    def expand(self, z: np.ndarray, groups: slice = slice(None)) -> np.ndarray:
        """Return the kernels T z (G, P, Q) of z (G, R, Q), for all groups or for some."""
        return z if self.t.identity else self.t.expand(z * (self.norms[groups, :, None] > 0))

    def restrict(self, g: np.ndarray) -> np.ndarray:
        """Return the gradient Tᵀg (G, R, Q), given Aᵀr = g (G, P, Q)."""
        return g if self.t.identity else self.t.restrict(g) * (self.norms[..., None] > 0)

    def residual(
        self, z: np.ndarray, targets: Targets, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and TᵀAᵀM r (G, R, Q) for r = M(y − A T z), from the data.

        If ``weights`` are given, y are combinations of the outputs.
        """
        squares, g = self._matrix.residual(self.expand(z), targets, weights)
        return squares, self.restrict(g)


@dataclass(frozen=True)
class Scaling:
    """The columns of [A T; √ridge], brought to norm about one: equilibration.

    Attributes:
        relative: (G, R) powers of two by which columns are divided.
        exponents: (G, R) the same of the user's columns.
        root_ridge: (G, R) √ridge in these units; zero where a column is not penalized.
        a_norm: (G, 1) Frobenius norm of the scaled [A T; √ridge].
        scale: (G, R) the inverses of ``2**relative``; 0 for columns of zeros.
    """

    relative: np.ndarray
    exponents: np.ndarray
    root_ridge: np.ndarray
    a_norm: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, columns: PenaltyColumns, ridge: np.ndarray) -> Scaling:
        """Return the scaling for a ``ridge`` in the user's units, zero where there is no penalty.

        Args:
            columns: the columns of A T.
            ridge: (G, R), or (n, G, R) for several ridges. Each array then has another axis.
        """
        norms, base = columns.norms, columns.exponents
        root = np.ldexp(np.sqrt(ridge), -base)
        sizes = np.hypot(norms, root) if ridge.any() else columns.sizes + root
        relative = exponents_of(sizes)
        root, scale = np.ldexp(root, -relative), np.ldexp(np.sign(norms), -relative)
        a_norm = np.linalg.norm(np.hypot(norms * scale, root), axis=-1, keepdims=True)
        return cls(relative, base + relative, root, a_norm, scale)

    @cached_property
    def factor(self) -> np.ndarray:
        """The inverses (G, R) of ``2**relative``, also for columns of zeros."""
        return np.ldexp(1.0, -self.relative)

    def divided(self, a: np.ndarray) -> np.ndarray:
        """Divide each row of (G, R, Q) by the power of two of its column.

        Kernels of the scaled columns become kernels of the columns themselves, and gradients for
        the columns become gradients for the scaled ones.
        """
        return a * self.factor[:, :, None]


def exponents_of(norms: np.ndarray) -> np.ndarray:
    """Powers of two that bring column norms into [1/2, 1); 0 for a column of zeros."""
    return np.where(norms > 0, np.frexp(norms)[1], 0)


def in_units(w: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Return kernels (..., P, Q) of columns of norm about one, times powers of two.

    Raises:
        SolveError: If a tap that matters would vanish below float64.
    """
    with np.errstate(over="ignore", under="ignore"):
        kernel = np.ldexp(w, exponents)
    size = np.abs(w)
    if ((kernel == 0) & (size > EPS * size.max(-2, keepdims=True))).any():
        raise SolveError("the kernel is too small for float64")
    return kernel
