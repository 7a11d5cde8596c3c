"""Bases of the kernel along the taps of every channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..problem.kernel_space import ChannelTaps
from .moments import Moments, NuisanceSums, Units, per_column


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

    @property
    def orthonormal(self) -> bool:
        """Whether T is known to have orthonormal columns, so that a ridge leaves z unchanged."""
        return self.identity

    def within(self, span: TapBasis) -> TapBasis:
        """Return S with T = V S, for the identity V."""
        return self

    def count(self, columns: int) -> int:
        """Return the number R of coordinates, for the number P of columns of A."""
        return columns // self.taps * self.coordinates

    def channel_of(self, columns: int, channels: int) -> np.ndarray:
        """Return the channel (R,) of every coordinate, for P columns of some channels."""
        return np.tile(np.arange(channels), self.count(columns) // channels)

    def of_channels(self, values: np.ndarray) -> np.ndarray:
        """Return values (G, R), given values (G, P) that all taps of a channel share."""
        columns = values.shape[1]
        return per_column(values[:, : columns // self.taps], self.count(columns))

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
        found: np.ndarray = self._each(np.abs).restrict(norms[:, :, None])[:, :, 0]
        return found

    def orthogonal_norms(self, norms: np.ndarray) -> np.ndarray:
        """Return the norms (G, R) that the columns of A T would have for orthogonal columns of A.

        A column of A T that is shorter is a difference of its terms, and has their rounding error.
        """
        squares = self._each(np.square).restrict(np.square(norms)[:, :, None])[:, :, 0]
        return np.asarray(np.sqrt(squares))

    def _each(self, of: np.ufunc) -> TapBasis:
        """Return a basis with a function of all elements of T."""
        return TapBasis([of(m) for m in self.matrices])

    def _exponents(self, exponents: np.ndarray) -> np.ndarray:
        """Return the exponents of A T in `Units`, given the exponents (G, C) of A."""
        return exponents

    def of_units(self, units: Units) -> Units:
        """Return the units of the columns of A T."""
        shift = self.restrict(units.shift[:, :, None])[:, :, 0]
        return units._replace(shift=shift, exponents=self._exponents(units.exponents))

    def of_gram(self, gram: np.ndarray) -> np.ndarray:
        """Return TᵀAᵀA T (G, R, R), given AᵀA (G, P, P)."""
        if self.identity:
            return gram
        return np.asarray(self.restrict(self.restrict(gram).swapaxes(1, 2)))

    def of_moments(self, moments: Moments) -> Moments:
        """Return the moments of A T, given moments of A with one exponent per channel."""
        if self.identity:
            return moments
        return replace(
            moments,
            gram=self.of_gram(moments.gram),
            rhs=self.restrict(moments.rhs),
            sums=self.restrict(moments.sums[:, :, None])[:, :, 0],
            units=self.of_units(moments.units),
            nuisance=self.of_nuisance(moments),
        )

    def of_nuisance(self, moments: Moments) -> tuple[NuisanceSums, ...]:
        """Return the products of nuisance columns and A T, given moments of A."""
        parts = moments.each_column(self.rows)
        return tuple(p._replace(exponents=self._exponents(p.exponents)) for p in parts)

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


IDENTITY = TapBasis()


class BlockBasis(TapBasis):
    """A block diagonal T with a block for every channel, so that w = T z.

    The coordinates z are sorted by channel. All groups have the same T.

    Args:
        columns: number P of columns of A.
        blocks: the coordinates of every channel, whose taps are columns of A.
    """

    def __init__(self, columns: int, blocks: Sequence[ChannelTaps]) -> None:
        super().__init__()
        self.blocks, self._columns = tuple(blocks), columns
        ends = np.cumsum([0, *(block.coordinates for block in blocks)])
        self._places = [slice(*pair) for pair in pairwise(ends.tolist())]
        self._total = int(ends[-1])

    @classmethod
    def of_taps(cls, taps: int, channels: Sequence[ChannelTaps]) -> BlockBasis:
        """Return the basis of kernels (taps, channels) with coordinates of each channel."""
        each, count = enumerate(channels), len(channels)
        return cls(taps * count, [own._replace(kept=own.kept * count + c) for c, own in each])

    @property
    def identity(self) -> bool:
        """Whether T = I."""
        return False

    @property
    def orthonormal(self) -> bool:
        """Whether T selects columns."""
        return all(block.matrix is None for block in self.blocks)

    def count(self, columns: int) -> int:
        """Return the number R of coordinates."""
        return self._total

    def channel_of(self, columns: int, channels: int) -> np.ndarray:
        """Return the channel (R,) of every coordinate."""
        return np.repeat(np.arange(channels), [block.coordinates for block in self.blocks])

    def of_channels(self, values: np.ndarray) -> np.ndarray:
        """Return values (G, R), given values (G, P) or (G, C) that all taps of a channel share."""
        of = self.channel_of(0, len(self.blocks))
        if values.shape[1] == len(self.blocks):
            return values[:, of]
        return values[:, np.array([block.kept[0] for block in self.blocks])[of]]

    def expand(self, z: Any, matmul: Callable[[Any, Any], Any] = np.matmul) -> Any:
        """Return kernels T z (G, P, Q) for z (G, R, Q)."""
        found = np.zeros((len(z), self._columns, z.shape[2]))
        for block, place in zip(self.blocks, self._places, strict=True):
            values = z[:, place]
            found[:, block.kept] = values if block.matrix is None else block.matrix @ values
        return found

    def restrict(self, g: Any, matmul: Callable[[Any, Any], Any] = np.matmul) -> Any:
        """Return Tᵀ g (G, R, Q) for g (G, P, Q)."""
        found = np.empty((len(g), self._total, g.shape[2]))
        for block, place in zip(self.blocks, self._places, strict=True):
            values = g[:, block.kept]
            found[:, place] = values if block.matrix is None else block.matrix.T @ values
        return found

    @property
    def dense(self) -> np.ndarray:
        """T (P, R)."""
        found: np.ndarray = self.expand(np.eye(self._total)[None])[0]
        return found

    def within(self, span: TapBasis) -> TapBasis:
        """Return S with T = V S, for an orthonormal basis V of the kernels."""
        assert isinstance(span, BlockBasis)
        blocks = []
        for own, outer, place in zip(self.blocks, span.blocks, span._places, strict=True):
            s = own.matrix
            if outer.matrix is not None:
                assert s is not None
                s = outer.matrix.T @ s
            blocks.append(ChannelTaps(np.arange(place.start, place.stop), s))
        return BlockBasis(span._total, blocks)

    def _each(self, of: np.ufunc) -> BlockBasis:
        found = [None if block.matrix is None else of(block.matrix) for block in self.blocks]
        pairs = zip(self.blocks, found, strict=True)
        return BlockBasis(self._columns, [block._replace(matrix=each) for block, each in pairs])

    def _exponents(self, exponents: np.ndarray) -> np.ndarray:
        return self.of_channels(exponents)
