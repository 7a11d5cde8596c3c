"""Powers of two that bring columns to norm about one, and kernels in and out of these units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import SolveError
from ..linalg.minimum_norm import exponents_of
from ..linalg.rank import EPS
from ..operators.transformed import Matrix


@dataclass(frozen=True)
class Scaling:
    """The columns of [A; √ridge], brought to norm about one: equilibration.

    Attributes:
        relative: (G, P) powers of two by which the columns of an operator are divided.
        exponents: (G, P) the same of the user's columns.
        root_ridge: (G, P) √ridge in these units; zero where a column is not penalized.
        a_norm: (G,) Frobenius norm of the scaled [A; √ridge].
    """

    relative: np.ndarray
    exponents: np.ndarray
    root_ridge: np.ndarray
    a_norm: np.ndarray

    @classmethod
    def of(cls, operator: Matrix, ridge: np.ndarray) -> Scaling:
        """For a ``ridge`` (G, P) in the user's units, zero on columns that are not penalized; of
        several at once (n, G, P), of which each array then has an axis more.
        """
        norms, base = operator.column_norms, operator.exponents
        own, ridged = exponents_of(norms), ridge > 0
        if not ridged.any():
            own = np.broadcast_to(own, ridge.shape)
            a_norm = np.linalg.norm(np.ldexp(norms, -own), axis=-1)
            return cls(own, base + own, np.zeros(ridge.shape), a_norm)
        # √ridge in the columns' units may leave float64 where it dwarfs them, so exponents first.
        root, power = np.frexp(np.sqrt(ridge))
        larger = np.where(norms > 0, np.maximum(own, power - base), power - base)
        high = np.where(ridged, larger, own)

        def root_in(exponents: np.ndarray) -> np.ndarray:
            return np.where(ridged, np.ldexp(root, power - base - exponents), 0.0)

        joint = np.hypot(np.ldexp(norms, -high), root_in(high))
        extra = exponents_of(joint)
        relative = high + extra
        a_norm = np.linalg.norm(np.ldexp(joint, -extra), axis=-1)
        return cls(relative, base + relative, root_in(relative), a_norm)

    def to_operator(self, w: np.ndarray) -> np.ndarray:
        """A kernel (G, P, Q) of scaled columns as one of the operator's."""
        return np.ldexp(w, -self.relative[:, :, None])

    def gradient(self, g: np.ndarray) -> np.ndarray:
        """Return Aᵀr (G, P, Q) for scaled columns, given Aᵀr for the columns of the operator."""
        return np.ldexp(g, -self.relative[:, :, None])


def in_units(w: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """w (..., P, Q), of columns of norm about one, times powers of two.

    Raises:
        SolveError: a tap that matters would vanish below float64.
    """
    with np.errstate(over="ignore", under="ignore"):
        kernel = np.ldexp(w, exponents)
    size = np.abs(w)
    if ((kernel == 0) & (size > EPS * size.max(-2, keepdims=True))).any():
        raise SolveError(
            "the kernel is too small for float64; change the unit of x or of y so that their sizes "
            "are closer"
        )
    return kernel
