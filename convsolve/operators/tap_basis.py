"""Bases of the kernel along the taps of every channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .moments import Moments


class TapBasis:
    """A basis T of the taps, the same for every channel, so that a kernel is w = T z.

    T acts on one axis of taps at a time. ``matrices`` contains an array (K, r) for each axis; no
    arrays stand for the identity. z has ∏r coordinates per channel, with channels as the fastest
    axis, as a kernel has ∏K taps.
    """

    def __init__(self, matrices: Sequence[np.ndarray] = ()) -> None:
        self.matrices = tuple(matrices)

    @property
    def identity(self) -> bool:
        """Whether T = I, so that the coordinates are the taps."""
        return not self.matrices

    @property
    def taps(self) -> int:
        """Number of taps per channel; 1 for the identity, of any number of taps."""
        return math.prod(len(m) for m in self.matrices)

    @property
    def coordinates(self) -> int:
        """Number of coordinates per channel; 1 for the identity."""
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
        if self.identity:
            return moments
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
        if not matrices:
            return v
        groups, _, outputs = v.shape
        before = 1
        sizes = [m.shape[1] for m in matrices]
        channels = v.shape[1] // math.prod(sizes)
        for i, m in enumerate(matrices):
            after = math.prod(sizes[i + 1 :]) * channels * outputs
            v = matmul(m, v.reshape(groups * before, m.shape[1], after))
            before *= len(m)
        return v.reshape(groups, before * channels, outputs)
