"""The layout of kernels: the order of taps, and bases along the taps of every channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Self

import numpy as np

from ..problem.kernel_space import ChannelTaps


def to_columns(kernel: Any, groups: int) -> Any:
    """Return a kernel (*K, Cin/groups, Cout) as (groups, P, Q), in NumPy or jax."""
    taps, outputs = math.prod(kernel.shape[:-1]), kernel.shape[-1]
    return kernel.reshape(taps, groups, outputs // groups).transpose(1, 0, 2)


def to_kernel(columns: Any, kernel_size: Sequence[int]) -> Any:
    """Return columns (groups, P, Q) as a kernel (*K, Cin/groups, Cout), in NumPy or jax."""
    groups, _, outputs = columns.shape
    return columns.transpose(1, 0, 2).reshape(*kernel_size, -1, groups * outputs)


def ascending(values: Any, axes: int) -> Any:
    """Return values of taps in the order and shape of an impulse response, in NumPy or jax.

    Args:
        values: (*K, Cin/groups, Cout), in the order of the kernel.
        axes: number of axes of the kernel.

    Returns:
        (*lags, Cin/groups, Cout) in ascending lags, without channel and output axes of length 1.
    """
    flipped = values[(slice(None, None, -1),) * axes]
    return flipped.squeeze(axis=tuple(i for i in (axes, axes + 1) if flipped.shape[i] == 1))


def reversed_taps(count: int, channels: int) -> np.ndarray:
    """Return the indices that reverse the taps of flattened kernels (*K, channels).

    Reversal of the C order of taps reverses every axis.
    """
    return np.arange(count).reshape(-1, channels)[::-1].reshape(-1)


class TapBasis:
    """A basis T of the kernels of a group, so that w = T z, with a matrix for every channel.

    The coordinates z are sorted by channel. All groups have the same T.

    Args:
        columns: number P of columns of A.
        blocks: the coordinates of every channel, whose taps are columns of A. None stand for T = I,
            whose coordinates are sorted by tap, as the columns are.
    """

    def __init__(self, columns: int = 0, blocks: Sequence[ChannelTaps] = ()) -> None:
        self.blocks, self._columns = tuple(blocks), columns
        self._total = sum(block.coordinates for block in blocks)
        # Channels of one matrix are multiplied at once.
        runs = groupby(blocks, lambda block: (id(block.matrix), len(block.kept)))
        found = ([*several] for _, several in runs)
        self._runs = [
            (np.stack([b.kept for b in own]), own[0].coordinates, own[0].matrix) for own in found
        ]

    @classmethod
    def of_taps(cls, taps: int, channels: Sequence[ChannelTaps]) -> Self:
        """Return the basis of kernels (taps, channels) with coordinates of each channel."""
        each, count = enumerate(channels), len(channels)
        return cls(taps * count, [own._replace(kept=own.kept * count + c) for c, own in each])

    @property
    def identity(self) -> bool:
        """Whether T = I, so that the coordinates are the taps."""
        return not self.blocks

    @property
    def orthonormal(self) -> bool:
        """Whether T selects columns, so that a ridge leaves z unchanged."""
        return all(block.matrix is None for block in self.blocks)

    def count(self, columns: int) -> int:
        """Return the number R of coordinates, for the number P of columns of A."""
        return columns if self.identity else self._total

    def channel_of(self, columns: int, channels: int) -> np.ndarray:
        """Return the channel (R,) of every coordinate, for P columns of some channels."""
        if self.identity:
            return np.tile(np.arange(channels), columns // channels)
        return np.repeat(np.arange(channels), [block.coordinates for block in self.blocks])

    def of_channels(self, values: np.ndarray) -> np.ndarray:
        """Return values (G, R), given values (G, P) that all taps of a channel share."""
        places = (np.repeat(block.kept[:1], block.coordinates) for block in self.blocks)
        return values if self.identity else values[:, np.concatenate([*places])]

    def expand(self, z: np.ndarray) -> np.ndarray:
        """Return kernels T z (G, P, Q) for z (G, R, Q)."""
        if self.identity:
            return z
        found, at = np.zeros((len(z), self._columns, z.shape[2])), 0
        for kept, each, matrix in self._runs:
            here = slice(at, at + len(kept) * each)
            own = z[:, here].reshape(len(z), len(kept), each, z.shape[2])
            found[:, kept], at = own if matrix is None else matrix @ own, here.stop
        return found

    def coordinates(self, kernels: np.ndarray) -> np.ndarray:
        """Return z (G, R, Q) for kernels T z (G, P, Q), by least squares for other kernels."""
        if self.orthonormal:
            return self.restrict(kernels)
        found = []
        for kept, each, matrix in self._runs:
            own = kernels[:, kept]
            if matrix is not None:
                # A column for every channel and output.
                columns = np.moveaxis(own, -2, 0).reshape(own.shape[-2], -1)
                solved = np.linalg.lstsq(matrix, columns)[0]
                shape = (each, *own.shape[:2], own.shape[-1])
                own = np.moveaxis(solved.reshape(shape), 0, -2)
            found.append(own.reshape(len(kernels), len(kept) * each, kernels.shape[2]))
        return np.concatenate(found, axis=1)

    def restrict(self, g: np.ndarray) -> np.ndarray:
        """Return Tᵀ g (G, R, Q) for g (G, P, Q)."""
        if self.identity:
            return g
        found = []
        for kept, each, matrix in self._runs:
            own = g[:, kept] if matrix is None else matrix.T @ g[:, kept]
            found.append(own.reshape(len(g), len(kept) * each, g.shape[2]))
        return np.concatenate(found, 1)

    def rows(self, a: np.ndarray) -> np.ndarray:
        """Return A T (G, n, R) for rows (G, n, P)."""
        return self.restrict(a.swapaxes(1, 2)).swapaxes(1, 2)

    def of_gram(self, gram: np.ndarray) -> np.ndarray:
        """Return TᵀAᵀA T (G, R, R), given AᵀA (G, P, P)."""
        return self.rows(self.restrict(gram))

    def largest_norms(self, norms: np.ndarray) -> np.ndarray:
        """Return upper bounds of the norms (G, R) of the columns of A T, given norms (G, P) of A.

        A bound is the sum of the norms of all terms. The rounding error is relative to it.
        """
        return self._each(np.abs).restrict(norms[:, :, None])[:, :, 0]

    def orthogonal_norms(self, norms: np.ndarray) -> np.ndarray:
        """Return the norms (G, R) that the columns of A T would have for orthogonal columns of A.

        A column of A T that is shorter is a difference of its terms, and has their rounding error.
        """
        squares = self._each(np.square).restrict(np.square(norms)[:, :, None])[:, :, 0]
        return np.asarray(np.sqrt(squares))

    def _each(self, of: np.ufunc) -> Self:
        """Return a basis with a function of all elements of T."""
        known = {id(b.matrix): None if b.matrix is None else of(b.matrix) for b in self.blocks}
        blocks = [b._replace(matrix=known[id(b.matrix)]) for b in self.blocks]
        return type(self)(self._columns, blocks)

    def within(self, span: Self) -> Self:
        """Return S with T = V S, for an orthonormal basis V of the kernels."""
        if span.identity:
            return self
        known: dict[tuple[int, int], np.ndarray | None] = {}
        blocks, at = [], 0
        for own, outer in zip(self.blocks, span.blocks, strict=True):
            s = own.matrix
            if s is not None and outer.matrix is not None:
                s = outer.matrix.T @ s
            s = known.setdefault((id(own.matrix), id(outer.matrix)), s)
            blocks.append(ChannelTaps(np.arange(at, at + outer.coordinates), s))
            at += outer.coordinates
        return type(self)(at, blocks)
