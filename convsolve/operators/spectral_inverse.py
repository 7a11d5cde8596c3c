"""A preconditioner of `Gram`: the inverse of a smooth spectrum."""

from __future__ import annotations

import math

import numpy as np

from ..linalg.rank import EPS
from .overlap_save import side_by_side
from .toeplitz import Grid, Lags, times

# Parameters of Kaiser's lag windows: one with a good resolution, for spectra that span less than
# three decades, and one with side lobes below twelve decades, for all others.
NARROW, WIDE = 6.0, 20.0
FLAT = 1e-3
# Up to this many numbers in all, one thread computes the eigenvalues of the matrices.
EIGEN_NUMBERS = 2**16


class SpectralInverse:
    """M⁻¹ = T(1/f), a section of the circulant matrix of 1/f for a spectrum f (F, C, C).

    A section of an inverse is at least the inverse of the section, so that ``low`` ≤ M ≤ T(f) ≤
    ``high``, for the section T(f) of the circulant matrix of f.

    Args:
        grid: spectra of kernels.
        values, vectors: eigenvalues (F, C) of f, which are positive, and vectors (F, C, C).

    Attributes:
        low, high: bounds on the eigenvalues of M.
        definite: True, as for `ToeplitzInverse`.

    Source: R. H. Chan and M. K. Ng, Conjugate gradient methods for Toeplitz systems, SIAM Review 38
    (1996) 427.
    """

    definite = True

    def __init__(self, grid: Grid, values: np.ndarray, vectors: np.ndarray) -> None:
        self.grid, self._values, self._vectors = grid, values, vectors
        self._inverse = powers(values, vectors, -1)
        self.low, self.high = float(values.min()), float(values.max())

    def __call__(self, r: np.ndarray) -> np.ndarray:
        """Return M⁻¹ r for r (P, Q)."""
        grid = self.grid
        return grid.part(grid.vector(times(self._inverse, grid.spectrum(grid.whole(r)))))

    def draw(self, seed: int = 0) -> np.ndarray:
        """Return a normal vector (P, 1) of covariance T(f), which is at least M."""
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((*self.grid.sizes, self.grid.channels, 1))
        root = powers(self._values, self._vectors, 0.5)
        return self.grid.part(self.grid.vector(times(root, self.grid.forward(noise))))


def flat(gram: Lags) -> SpectralInverse | None:
    """Return the inverse of the smoothed spectrum of x, + ridge, if it spans up to three decades.

    No taper is needed then, because the spectrum has no gaps that the edges of a record would fill.
    """
    values, vectors = eigen(windowed(gram.grid, _with_ridge(gram), NARROW))
    if not values.min() >= FLAT * values.max() > 0:
        return None
    return SpectralInverse(gram.grid, values, vectors)


def smoothed(gram: Lags) -> SpectralInverse:
    """Return the inverse of the spectrum of x, + ridge, smoothed by a lag window.

    Source: R. B. Blackman and J. W. Tukey, The Measurement of Power Spectra, 1958.
    """
    found = flat(gram)
    if found is not None:
        return found
    values, vectors = eigen(windowed(gram.grid, _with_ridge(gram), WIDE))
    least = math.prod(gram.grid.taps) * gram.grid.channels * EPS * values.max()
    values = np.maximum(values, least if least > 0 else 1.0)
    return SpectralInverse(gram.grid, values, vectors)


def _with_ridge(gram: Lags) -> np.ndarray:
    lags = gram.lags.copy()
    lags[(0,) * len(gram.grid.taps)] += np.diag(gram.channel_ridge)
    return lags


def windowed(grid: Grid, lags: np.ndarray, width: float) -> np.ndarray:
    """Return the symbol (F, C, C) of lags times a Kaiser window."""
    for axis, k in enumerate(grid.taps):
        share = np.r_[0:k, 1 - k : 0] / k
        window = np.i0(width * np.sqrt(1 - share**2)) / np.i0(width)
        lags = lags * window.reshape(-1, *(1,) * (lags.ndim - 1 - axis))
    return grid.symbol(lags)


def eigen(symbol: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (F, C) and vectors (F, C, C) of Hermitian matrices."""
    if symbol.shape[-1] == 1:
        return symbol.real[:, 0], np.ones((1, 1, 1))
    parts = np.array_split(symbol, 1 + symbol.size // EIGEN_NUMBERS)
    values, vectors = zip(*side_by_side(np.linalg.eigh, parts), strict=True)
    return np.concatenate(values), np.concatenate(vectors)


def powers(values: np.ndarray, vectors: np.ndarray, exponent: float) -> np.ndarray:
    """Return powers (F, C, C) of matrices with these eigenvalues and vectors."""
    scaled = vectors * values[:, None] ** exponent
    return scaled if values.shape[-1] == 1 else scaled @ vectors.conj().swapaxes(1, 2)
