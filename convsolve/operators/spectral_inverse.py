"""A preconditioner of `Gram`: the inverse of a smooth spectrum."""

from __future__ import annotations

import numpy as np

from .overlap_save import side_by_side
from .toeplitz import Gram, Grid, times

# Parameter of Kaiser's lag window.
NARROW = 6.0
# A spectrum is flat if it spans less than three decades.
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
        noise = rng.standard_normal((self.grid.size, self.grid.channels, 1))
        root = powers(self._values, self._vectors, 0.5)
        return self.grid.part(self.grid.vector(times(root, self.grid.forward(noise))))


def flat(gram: Gram) -> SpectralInverse | None:
    """Return the inverse of the smoothed spectrum of x, + ridge, if it spans up to three decades.

    No taper is needed then, because the spectrum has no gaps that the edges of a record would fill.
    """
    lags = gram.lags.copy()
    lags[0] += np.diag(gram.channel_ridge)
    values, vectors = eigen(windowed(gram.grid, lags))
    if not values.min() >= FLAT * values.max() > 0:
        return None
    return SpectralInverse(gram.grid, values, vectors)


def windowed(grid: Grid, lags: np.ndarray) -> np.ndarray:
    """Return the symbol (F, C, C) of lags times a Kaiser window."""
    share = np.r_[0 : grid.taps, 1 - grid.taps : 0] / grid.taps
    window = np.i0(NARROW * np.sqrt(1 - share**2)) / np.i0(NARROW)
    return grid.symbol(lags * window[:, None, None])


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
