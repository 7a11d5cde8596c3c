"""Sums over filtered rows of a chunk whose groups share x, without filtering x.

A filtered row of group g is a[t] = Σ_i φ_gi·x[t − i + k] for taps k. All groups read the windows of
K + p samples of x. With A⁺, the design matrix of these windows, A_g = A⁺ T_g, where T_g is a banded
Toeplitz matrix of φ_g. One Gram matrix of A⁺ yields A_gᵀA_g = T_gᵀ A⁺ᵀA⁺ T_g of all groups, and one
convolution with the kernels T_g w_g their products.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import by_fft
from .by_fft import norms
from .chunk import LoadedChunk
from .layout import to_columns, to_kernel
from .moments import Moments, ResidualSums, Units

__all__ = ["adjoint", "misfit", "moments", "norms", "own_units", "product", "product_gram"]


def own_units(chunk: LoadedChunk) -> Units:
    """Return the units of a chunk, with the filtered mean of every channel as the shift."""
    of_x = by_fft.x_shift(_unfiltered(chunk))
    return chunk.units(chunk.by_column(np.outer(_filters(chunk).sum(1), of_x).reshape(-1)))


def moments(chunk: LoadedChunk) -> Moments | None:
    """Return sums over the rows of A and Y in units of the chunk; None if digits would be lost."""
    m = by_fft.moments(_unfiltered(chunk))
    if m is None:
        return None
    filters, groups, channels = _filters(chunk), chunk.groups, chunk.channels
    grams = np.empty((groups, chunk.columns, chunk.columns))
    for gram, one in zip(grams, filters[:, None], strict=True):
        half = _restricted(m.gram, one, channels)
        gram[...] = _restricted(half.swapaxes(1, 2).copy(), one, channels)[0]
    every = np.ones((groups, 1, 1))
    sums = _restricted(every * m.sums[..., None], filters, channels)[..., 0]
    rhs = _restricted(to_columns(m.rhs[0], groups), filters, channels)
    of_y = m.out_sums.reshape(groups, -1), m.out_squares.reshape(groups, -1)
    found = Moments(grams, rhs, sums, *of_y, m.n, own_units(chunk), m.constant)
    norms = np.sqrt(np.linalg.diagonal(m.gram))
    terms = _restricted(every * norms[..., None], np.abs(filters), channels)[..., 0]
    return found if by_fft.exact(found.squares, terms**2, channels) else None


def misfit(chunk: LoadedChunk, w: np.ndarray, offset: np.ndarray) -> ResidualSums:
    """Return the sums of r = y − A w − offset, for w (G, P, Q) and offset (G, Q), in own units."""
    filters, channels = _filters(chunk), chunk.channels
    joint = to_kernel(_expanded(w, filters, channels), (1,))
    found = by_fft.misfit(_unfiltered(chunk), joint, offset.reshape(1, -1))
    gradient = _restricted(to_columns(found.gradient[0], chunk.groups), filters, channels)
    return ResidualSums(
        found.squares.reshape(offset.shape), gradient, found.sums.reshape(offset.shape)
    )


def product(chunk: LoadedChunk, group: int, w: np.ndarray) -> np.ndarray:
    """Return A w (n, Q) of one group, for w (P, Q), in own units."""
    (kernels,) = _expanded(w[None], _filters(chunk)[[group]], chunk.channels)
    return by_fft.product(_unfiltered(chunk), 0, kernels)


def product_gram(chunk: LoadedChunk, group: int, w: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return (A w − offset)ᵀ(A w − offset) (Q, Q) of one group, for w (P, Q), in own units."""
    (kernels,) = _expanded(w[None], _filters(chunk)[[group]], chunk.channels)
    return by_fft.product_gram(_unfiltered(chunk), 0, kernels, offset)


def adjoint(chunk: LoadedChunk, group: int, r: np.ndarray) -> np.ndarray:
    """Return Aᵀr (P, Q) of one group, for rows r (n, Q), in own units."""
    found = by_fft.adjoint(_unfiltered(chunk), 0, r)
    return _restricted(found[None], _filters(chunk)[[group]], chunk.channels)[0]


def _filters(chunk: LoadedChunk) -> np.ndarray:
    """Return the filters φ (G, p + 1)."""
    found: np.ndarray = chunk.stacks[0].x.filter.filters
    return found


def _unfiltered(chunk: LoadedChunk) -> LoadedChunk:
    """Return the windows before the filter, with the outputs of all groups."""

    def made() -> LoadedChunk:
        assert chunk.unfiltered is not None
        pairs = zip(chunk.unfiltered.stacks, chunk.stacks, strict=True)
        return replace(
            chunk.unfiltered,
            stacks=tuple(a._replace(y=b.y) for a, b in pairs),
            out_exponents=chunk.out_exponents,
            out_shift=chunk.out_shift,
            kept_with_y={},
        )

    return chunk.once("unfiltered", made, with_y=True)


def _expanded(w: np.ndarray, filters: np.ndarray, channels: int) -> np.ndarray:
    """Return the kernels T w (G, P⁺, Q) for w (G, P, Q) and φ (G, p + 1)."""
    beyond = (filters.shape[1] - 1) * channels
    return _sums_of_taps(np.pad(w, ((0, 0), (beyond, beyond), (0, 0))), filters, channels)


def _restricted(g: np.ndarray, filters: np.ndarray, channels: int) -> np.ndarray:
    """Return Tᵀg (G, P, Q) for g (G, P⁺, Q) and φ (G, p + 1)."""
    return _sums_of_taps(g, filters[:, ::-1], channels)


def _sums_of_taps(values: np.ndarray, factors: np.ndarray, channels: int) -> np.ndarray:
    """Return Σ_i f_i·v[k + i] for values v (G, K·C, Q) at taps k and factors f (G, n)."""
    groups, columns, outputs = values.shape
    by_tap = values.reshape(groups, columns // channels, channels * outputs)
    several = np.lib.stride_tricks.sliding_window_view(by_tap, factors.shape[1], axis=1)
    found = several @ factors[:, None, :, None]
    return np.asarray(found.reshape(groups, found.shape[1] * channels, outputs))
