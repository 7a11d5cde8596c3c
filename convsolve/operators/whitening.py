"""A preconditioner of `Gram`: a short filter that whitens x, and the spectrum of the result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ..cached import cached_property
from ..linalg.lapack import solve_triangular
from ..linalg.rank import EPS
from .overlap_save import Series, side_by_side
from .toeplitz import ORDER, Lags, times

# Largest number of inputs of the filter. With many channels, it has fewer than `ORDER` taps.
BAND = 256
# Parameters of Kaiser's lag windows: one with a good resolution, for spectra that span less than
# two decades, and one with side lobes below twelve decades, for all others.
NARROW, WIDE = 6.0, 20.0
FLAT = 1e-2
# Up to this many numbers in all, one thread computes the eigenvalues of the matrices.
EIGEN_NUMBERS = 2**16


class Preconditioner:
    """M⁻¹ = Bᵀ T(1/f) B, where B whitens x and T(1/f) is the Toeplitz matrix of 1/spectrum of B x.

    B is banded and lower triangular. It subtracts from each tap its prediction by an autoregression
    on the ``order`` taps before it, and divides by the standard deviation of the result. B x is
    nearly white. Its spectrum f (F, C, C) is estimated with a lag window. Therefore the number of
    CG steps depends little on the spectrum of x and the length of the kernel, and not on the units
    of channels. In two and three dimensions the order is 0: B only whitens across channels.

    A section of an inverse is at least the inverse of the section, so that ``low`` ≤ M ≤
    B⁻¹ T(f) B⁻ᵀ ≤ ``high``.

    Source: R. H. Chan and M. K. Ng, Conjugate gradient methods for Toeplitz systems, SIAM Review 38
    (1996) 427; S. L. Marple, Digital Spectral Analysis, 1987, chapter 8, for the autoregression;
    R. B. Blackman and J. W. Tukey, The Measurement of Power Spectra, 1958, for prewhitening.
    """

    def __init__(self, gram: Lags, parts: Sequence[Series]) -> None:
        self.grid = gram.grid
        taps, channels = self.grid.taps, self.grid.channels
        self.order = 0
        if len(taps) == 1:
            # Several windows for each coefficient of the filter, so that it does not overfit.
            samples = sum(x.data.shape[0] * x.data.shape[1] for x in parts)
            most = min(BAND, samples // 4) // channels - 1
            self.order = max(min(ORDER, taps[0] - 1, most), 0)
        lags = gram.lags.copy()
        lags[(0,) * len(taps)] += np.diag(gram.channel_ridge)
        white = _inverse_cholesky(self._first(lags, parts))
        self._filter = Whitening(white, channels, math.prod(taps))
        lags = self._white(lags, parts)
        values, vectors = self._spectrum(lags, NARROW)
        if values.min() < FLAT * values.max():
            values, vectors = self._spectrum(lags, WIDE)
        least = math.prod(taps) * channels * EPS * values.max()
        self._values, self._vectors = np.maximum(values, least if least > 0 else 1.0), vectors
        self._inverse = self._power(-1)

    def _first(self, lags: np.ndarray, parts: Sequence[Series]) -> np.ndarray:
        """AᵀA + ridge of the first ``order`` + 1 taps, from the windows that hold all of them."""
        p, channels = self.order, lags.shape[-1]
        if not p:
            return lags[(0,) * len(self.grid.taps)]
        taps = np.arange(p + 1)
        found = lags[taps[:, None] - taps].transpose(0, 2, 1, 3).reshape((p + 1) * channels, -1)
        for x in parts:
            length = x.data.shape[1]
            for part, ends in ((x.part(0, p), (p, 0)), (x.part(length - p, length), (0, p))):
                padded = np.pad(part, [(0, 0), ends, (0, 0)])
                windows = np.lib.stride_tricks.sliding_window_view(padded, p + 1, 1)[:, :p]
                edge = windows.transpose(0, 1, 3, 2).reshape(-1, len(found))
                found -= edge.T @ edge
        return found

    def _white(self, lags: np.ndarray, parts: Sequence[Series]) -> np.ndarray:
        """Return lags (*2K-1, C, C) of the filtered records, over whole windows of the filter."""
        p, w, k = self.order, self._filter.kernel, self.grid.taps[0]
        if not p:
            return w[0].T @ lags[np.r_[0:k, 1 - k : 0]] @ w[0]
        # For records padded with zeros: filter the first factor of the products, then the second.
        found = _slid(lags[np.r_[-p : k + p]].swapaxes(1, 2), w, range(p + 1))
        found = _slid(found.swapaxes(1, 2), w, range(p, -1, -1))
        for x in parts:
            # Subtract the products with the p samples at both ends that depend on those zeros.
            n = x.data.shape[1]
            most = min(n, k + p)
            head, tail = (
                _slid(np.pad(part, [(0, 0), pad, (0, 0)]).swapaxes(0, 1), w, range(p + 1))
                for part, pad in (
                    (x.part(0, most), (p, p + k - most)),
                    (x.part(n - most, n), (p + k - most, p)),
                )
            )
            inner = tail.copy()
            inner[: max(0, p + k - n)] = 0.0  # at the head, already
            later = head[:-1].swapaxes(1, 2)
            found -= _slid(later, head[:p], range(p))
            before = inner[:0:-1].swapaxes(1, 2)
            found -= _slid(before, tail[k:], range(p - 1, -1, -1)).swapaxes(1, 2)
        return np.concatenate([found, found[:0:-1].swapaxes(1, 2)])

    def _spectrum(self, lags: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Return eigenvalues (F, C) and vectors (F, C, C) of the spectrum, with a Kaiser window."""
        for axis, k in enumerate(self.grid.taps):
            share = np.r_[0:k, 1 - k : 0] / k
            window = np.i0(width * np.sqrt(1 - share**2)) / np.i0(width)
            lags = lags * window.reshape(-1, *(1,) * (lags.ndim - 1 - axis))
        symbol = self.grid.symbol(lags)
        if self.grid.channels == 1:
            return symbol.real[:, 0], np.ones((1, 1, 1))
        parts = np.array_split(symbol, 1 + symbol.size // EIGEN_NUMBERS)
        values, vectors = zip(*side_by_side(np.linalg.eigh, parts), strict=True)
        return np.concatenate(values), np.concatenate(vectors)

    def _power(self, exponent: float) -> np.ndarray:
        scaled = self._vectors * self._values[:, None] ** exponent
        return scaled if self.grid.channels == 1 else scaled @ self._vectors.conj().swapaxes(1, 2)

    def __call__(self, r: np.ndarray) -> np.ndarray:
        """Return M⁻¹ r for r (P, Q)."""
        grid, white = self.grid, self._filter
        inner = grid.spectrum(white.forward(grid.whole(r)))
        return grid.part(white.adjoint(grid.vector(times(self._inverse, inner))))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a normal vector (P, 1) with covariance B⁻¹ T(f) B⁻ᵀ, which is at least M."""
        noise = rng.standard_normal((*self.grid.sizes, self.grid.channels, 1))
        inner = self.grid.vector(times(self._power(0.5), self.grid.forward(noise)))
        return self.grid.part(self._filter.inverse(inner))

    @property
    def low(self) -> float:
        """A lower bound on the eigenvalues of M."""
        return float(self._values.min()) / self._filter.square_norm

    @cached_property
    def high(self) -> float:
        """An upper bound on the eigenvalues of M."""
        return float(self._values.max()) * self._filter.inverse_square_norm


def _inverse_cholesky(a: np.ndarray) -> np.ndarray:
    """Return L⁻¹ of a = L Lᵀ. If rounding requires it, the diagonal is increased."""
    size, share, one = float(np.trace(a)), EPS, np.eye(len(a))
    if not size > 0:
        return one
    while True:
        try:
            upper = np.linalg.cholesky(a + share * size * one).T
        except np.linalg.LinAlgError:
            share *= 10
            continue
        return solve_triangular(np.ascontiguousarray(upper), one, transposed=True)


def _slid(v: np.ndarray, kernel: np.ndarray, offsets: Iterable[int]) -> np.ndarray:
    """Return Σ_i v[offset_i :] kernel[i] for v (n, m, C), kernel (i, C, D), where all overlap."""
    count, per = len(v) - len(kernel) + 1, v.shape[1]
    # In this matrix, the blocks from any block on are consecutive rows.
    flat = np.ascontiguousarray(v).reshape(-1, v.shape[2])
    found = np.zeros((count * per, kernel.shape[2]))
    term = np.empty_like(found)
    for w, at in zip(kernel, offsets, strict=True):
        part = flat[at * per : (at + count) * per]
        if w.size == 1:
            np.multiply(part, w[0, 0], out=term)
        else:
            np.matmul(part, w, out=term)
        found += term
    return found.reshape(count, per, -1)


class Whitening:
    """The lower triangular matrix B (blocks·C, blocks·C) of a filter.

    The first order + 1 block rows are those of L⁻¹ = ``white``. Its last block row is repeated for
    all later blocks, shifted by one block each time. Vectors are (blocks·C, Q).

    Attributes:
        kernel: the last block row (order + 1, C, C), from channel c of block k - order + i to
            channel q of block k.
    """

    def __init__(self, white: np.ndarray, channels: int, blocks: int) -> None:
        self.channels, self.blocks = channels, blocks
        self.kernel = white[-channels:].reshape(channels, -1, channels).transpose(1, 2, 0).copy()
        self.order = len(self.kernel) - 1
        self.start = white[:-channels, :-channels]

    def forward(self, v: np.ndarray) -> np.ndarray:
        """Return B v."""
        rest = self._slid(v, self.kernel, range(self.order + 1))
        return np.concatenate([self.start @ v[: len(self.start)], rest])

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        """Return Bᵀ v."""
        first = len(self.start)
        padded = np.zeros((len(v) + first, v.shape[1]))
        padded[first : len(v)] = v[first:]
        found = self._slid(padded, self.kernel.swapaxes(1, 2), range(self.order, -1, -1))
        found[:first] += self.start.T @ v[:first]
        return found

    def _slid(self, v: np.ndarray, kernel: np.ndarray, offsets: Iterable[int]) -> np.ndarray:
        q = v.shape[1]
        found = _slid(v.reshape(-1, self.channels, q).swapaxes(1, 2), kernel, offsets)
        return found.swapaxes(1, 2).reshape(-1, q)

    def inverse(self, v: np.ndarray) -> np.ndarray:
        """Return B⁻¹ v."""
        from scipy.linalg.blas import dtbsv

        # One column at a time, as in LAPACK's routine for several.
        solved = [dtbsv(len(self._band) - 1, self._band, column, lower=1) for column in v.T]
        return np.stack(solved, axis=1)

    @cached_property
    def _band(self) -> np.ndarray:
        """B in the band storage of LAPACK, band[i - j, j] = B[i, j]."""
        c, order = self.channels, self.order
        band = np.zeros(((order + 1) * c, self.blocks, c))
        column, row = np.meshgrid(np.arange(c), np.arange(c), indexing="ij")
        for i, w in enumerate(self.kernel):
            below = (order - i) * c + row - column
            some = below >= 0
            places = np.arange(i, self.blocks - order + i)
            band[below[some][:, None], places, column[some][:, None]] = w[some][:, None]
        flat = band.reshape(len(band), -1)
        at = np.tril_indices(order * c)
        flat[at[0] - at[1], at[1]] = self.start[at]
        return np.asfortranarray(flat)

    @property
    def square_norm(self) -> float:
        """An upper bound on ‖B‖², ‖B‖₁·‖B‖_∞."""
        later, start = np.abs(self.kernel), np.abs(self.start)
        columns = later.sum((0, 2)).max() + start.sum(0).max(initial=0.0)
        rows = max(later.sum((0, 1)).max(), start.sum(1).max(initial=0.0))
        return float(rows * columns)

    @property
    def inverse_square_norm(self) -> float:
        """An upper bound on ‖B⁻¹‖²: its Frobenius norm."""
        c, size = self.channels, self.blocks * self.channels
        squares = self.inverse(np.eye(size, (self.order + 1) * c)) ** 2
        # All later columns are the last of these, shifted down.
        last = squares[self.order * c :, -c:].reshape(-1, c * c).sum(1)
        return float(squares[:, :-c].sum() + last @ np.arange(len(last), 0, -1))
