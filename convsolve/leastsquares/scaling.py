"""Columns in the coordinates of a penalty, and powers of two that bring them to norm about one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..cached import cached_property
from ..errors import SolveError
from ..linalg.rank import EPS
from ..operators.design_matrix import Targets
from ..operators.tap_basis import TapBasis
from .design import Design

# Products of two powers of two up to this exponent stay within float64.
FAR = 200
# Numbers in the columns of A T whose norms are computed in one pass over the data.
NUMBERS_A_PASS = 2**24
# A norm of at least this share of its terms can be computed from the Gram without losing digits.
GRAM_SHARE = 1e-3


class PenaltyColumns:
    """The columns of M A T, for the design matrix A and the coordinates w = T z of a penalty.

    Passes over the data use A. Kernels, gradients and sums are converted here. A column of M A T
    that is only rounding is set to zero.

    Attributes:
        count: number R of columns of a group.
        exponents: exponents (G, R) of the columns, in addition to T. All taps of a channel share an
            exponent, and so do its coordinates.
    """

    def __init__(self, design: Design, basis: TapBasis) -> None:
        self._design, self.basis = design, basis
        self.count = basis.count(design.matrix.columns)
        self.exponents = basis.of_channels(design.matrix.exponents)

    @cached_property
    def terms(self) -> np.ndarray:
        """Sums (G, R) of the norms of the columns of M A that a column is a combination of."""
        return self.basis.largest_norms(self._design.matrix.column_norms)

    @cached_property
    def norms(self) -> np.ndarray:
        """Norms (G, R) of the columns.

        A norm below the rounding error of its own sum is 0, so that scaling does not amplify it.
        """
        matrix = self._design.matrix
        if self.basis.identity:
            return matrix.column_norms
        terms = self.terms
        found = np.zeros(terms.shape)
        if self._design.sizes.gram_fits:
            found = np.sqrt(np.maximum(np.einsum("grr->gr", self._sums), 0.0))
        for group, known in enumerate(found):
            lost = np.flatnonzero(~(known > GRAM_SHARE * terms[group]))
            step = max(1, NUMBERS_A_PASS // matrix.rows)
            for start in range(0, len(lost), step):
                some = lost[start : start + step]
                unit = np.zeros((1, self.count, len(some)))
                unit[:, some, np.arange(len(some))] = 1.0
                parts = matrix.products_with(group, self.basis.expand(unit)[0])
                known[some] = np.sqrt(sum(np.square(part).sum(0) for part in parts))
        rounding = max(32.0, 10 * np.sqrt(matrix.columns)) * EPS * terms
        return np.where(found > rounding, found, 0.0)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Sizes (G, R) that the columns are divided by without a penalty.

        A column of a basis that is a small difference of its terms keeps its size relative to them,
        because its rounding error would be scaled with it and be taken for a part of the rank.
        """
        if self._design.space is None:
            return self.norms
        joint = self.basis.orthogonal_norms(self._design.matrix.column_norms)
        return np.where(self.norms > 0, np.maximum(self.norms, joint), 0.0)

    @cached_property
    def _live(self) -> np.ndarray:
        """Flags (G, R) of the columns that are more than rounding."""
        return self.norms > 0

    @cached_property
    def cancels(self) -> bool:
        """Whether the terms of a column cancel so much that its Gram matrix would lose digits."""
        if self.basis.identity:
            return False
        return bool((self._live & (self.norms <= GRAM_SHARE * self.terms)).any())

    @cached_property
    def _sums(self) -> np.ndarray:
        """TᵀAᵀM A T (G, R, R), including columns of rounding."""
        return self._design.gram_in(self.basis)

    @cached_property
    def gram(self) -> np.ndarray:
        """TᵀAᵀM A T (G, R, R)."""
        if self.basis.identity or self._live.all():
            return self._sums
        return self._sums * (self._live[:, :, None] & self._live[:, None])

    def rhs(self, targets: Targets) -> np.ndarray:
        """Return TᵀAᵀM Y (G, R, Q)."""
        return self.restrict(self._design.matrix.rhs(targets))

    def expand(self, z: np.ndarray, groups: slice = slice(None)) -> np.ndarray:
        """Return the kernels T z (G, P, Q) of z (G, R, Q), for all groups or for some."""
        if self.basis.identity:
            return z
        return np.asarray(self.basis.expand(z * self._live[groups, :, None]))

    def restrict(self, g: np.ndarray) -> np.ndarray:
        """Return the gradient Tᵀg (G, R, Q), given Aᵀr = g (G, P, Q)."""
        if self.basis.identity:
            return g
        return np.asarray(self.basis.restrict(g) * self._live[:, :, None])

    def residual(
        self, z: np.ndarray, targets: Targets, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and TᵀAᵀM r (G, R, Q) for r = M(y − A T z), from the data.

        If ``weights`` are given, y are combinations of the outputs.
        """
        squares, g = self._design.matrix.residual(self.expand(z), targets, weights)
        return squares, self.restrict(g)


@dataclass(frozen=True)
class Scaling:
    """The columns of [A T; √ridge], brought to norm about one: equilibration.

    Attributes:
        relative: (G, R) powers of two by which columns are divided.
        exponents: (G, R) the same of the user's columns.
        root_ridge: (G, R) √ridge in these units; zero where a column is not penalized.
        a_norm: (G,) Frobenius norm of the scaled [A T; √ridge].
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
        root, ridged = np.zeros(ridge.shape), ridge > 0
        sizes = norms if ridged.any() else columns.sizes
        relative = own = exponents_of(sizes) + root.astype(int)
        joint = np.ldexp(norms, -own)
        if ridged.any():
            # √ridge in the columns' units may leave float64 where it dwarfs them.
            share, power = np.frexp(np.sqrt(ridge))
            larger = np.where(norms > 0, np.maximum(own, power - base), power - base)
            high = np.where(ridged, larger, own)
            root = np.where(ridged, np.ldexp(share, power - base - high), 0.0)
            joint = np.hypot(np.ldexp(norms, -high), root)
            extra = exponents_of(joint)
            joint, root, relative = np.ldexp(joint, -extra), np.ldexp(root, -extra), high + extra
        a_norm = np.linalg.norm(joint, axis=-1)
        scale = np.ldexp(np.sign(norms), -relative)
        return cls(relative, base + relative, root, a_norm, scale)

    def divided(self, a: np.ndarray) -> np.ndarray:
        """Divide each row of (G, R, Q) by the power of two of its column.

        Kernels of the scaled columns become kernels of the columns themselves, and gradients for
        the columns become gradients for the scaled ones.
        """
        powers = self._powers
        return np.ldexp(a, -self.relative[:, :, None]) if powers is None else a * powers

    @cached_property
    def _powers(self) -> np.ndarray | None:
        """Factors (G, R, 1) of `divided`, which takes a quarter of the time of `ldexp`.

        None if they could leave float64.
        """
        if np.abs(self.relative).max(initial=0) > FAR:
            return None
        return np.ldexp(1.0, -self.relative[:, :, None])


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
    if kernel.all():
        return kernel
    size = np.abs(w)
    if ((kernel == 0) & (size > EPS * size.max(-2, keepdims=True))).any():
        raise SolveError("the kernel is too small for float64")
    return kernel
