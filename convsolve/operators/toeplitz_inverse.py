"""A preconditioner of `Gram` along one axis, from the Toeplitz matrix of tapered records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..cached import cached_property
from ..linalg.rank import EPS
from .overlap_save import Series, side_by_side
from .spectral_inverse import SpectralInverse, eigen, powers, windowed
from .toeplitz import PARALLEL_NUMBERS, Grid, autocorrelation, times

# The ramp at an end of a record is as long as the kernel, but at most this share of the record.
MOST_SHARE = 1 / 4
# The ramp is in the padding if that is at least this share of the kernel.
PADDED = 1 / 8
# Orders of autoregressions to try, for kernels that are ``SHORTER`` times as long. The smallest
# eigenvalue is at least these shares of the largest, in the spectrum of their residual and in their
# own, because the ends of the kernel, which are neglected, matter in steep spectra.
ORDERS, SHORTER, WHITE, STEEP = (32, 256, 2048), 4, 0.1, 1e-6
# T is definite if a bound proves that its smallest eigenvalue is at least this share of its
# diagonal. Levinson's recursion has errors of about ten roundings.
DEFINITE = 100 * EPS
# Up to this many columns, norms of matrices are computed by their singular values.
FEW_COLUMNS = 8
# An indefinite T gets this share of its diagonal, times powers of ten.
SHIFT = 1e3 * EPS


class Stationary(NamedTuple):
    """A block Toeplitz matrix T: its blocks (2K - 1, C, C) for lags 0 to K - 1 and 1 - K to -1."""

    grid: Grid
    lags: np.ndarray


def stationary(
    parts: Sequence[Series],
    taps: int,
    columns: np.ndarray,
    squares: np.ndarray,
    ridge: np.ndarray,
    padding: tuple[int, int] = (0, 0),
    centred: bool = False,
) -> Stationary:
    """Return the Toeplitz matrix T of tapered records, + ridge, which is close to AᵀA + ridge.

    wᵀAᵀA w is the energy of the output in the rows of A, and wᵀT w is its energy everywhere. Where
    x is not padded with zeros, it is tapered, since the edges of the record would fill the gaps of
    its spectrum in T, but not in A. If the record is ten times as long as the kernel, the number of
    CG steps with T depends little on the spectrum of x and on the length of the kernel.

    Args:
        parts: records (N, L, C) in normal form, see `series`.
        taps: number of taps.
        columns: the columns (P,) of the windows that are used.
        squares: squared norms (P,) of the columns. T has their mean of each channel.
        ridge: (P,), equal for all taps of a channel.
        padding: numbers of zeros at both ends of the records.
        centred: whether to subtract the mean of every record.
    """
    channels = parts[0].data.shape[-1]
    grid = Grid(taps, channels, columns)
    of_channel = [columns % channels == c for c in range(channels)]
    squares, ridge = (
        np.array([v[some].mean() if some.any() else 0.0 for some in of_channel])
        for v in (squares, ridge)
    )
    # One record at a time, since a tapered record is a copy.
    lags = autocorrelation((tapered(x, taps, padding, centred) for x in parts), taps)
    power = np.diagonal(lags[0])
    heard = (power > 0) & (squares > 0)
    unit = np.sqrt(np.where(heard, squares, 0.0) / np.where(heard, power, 1.0))
    lags *= unit * unit[:, None]
    diagonal = squares + ridge
    lags[0] += np.diag(np.where(diagonal > 0, diagonal, 1.0) - np.where(heard, squares, 0.0))
    return Stationary(grid, lags)


def preconditioner(given: Stationary) -> ToeplitzInverse | SpectralInverse:
    """Return the inverse of T, or of the spectrum of a short autoregression that whitens x."""
    for order in ORDERS:
        if SHORTER * order <= given.grid.taps:
            found = autoregressive(given, order)
            if found is not None:
                return found
    return ToeplitzInverse(given)


def autoregressive(given: Stationary, order: int) -> SpectralInverse | None:
    """Return the inverse of the spectrum of an autoregression; None if it does not whiten x."""
    grid, lags = given
    try:
        forward, *_ = levinson(lags[: order + 1], np.zeros(((order + 1) * grid.channels, 0)))
    except np.linalg.LinAlgError:
        return None
    filters = grid.forward(forward)
    turned = filters.conj().swapaxes(1, 2)
    residual = grid.backward(times(turned, times(grid.symbol(lags), filters)))
    taps = grid.taps
    residual = residual[np.r_[0:taps, 1 - taps : 0]]
    residual[taps - order : taps + order] = 0.0
    values, vectors = eigen(windowed(grid, residual))
    if not values.min() > WHITE * values.max():
        return None
    values, vectors = eigen(times(filters, times(powers(values, vectors, -1), turned)))
    if not values.min() > STEEP * values.max():
        return None
    return SpectralInverse(grid, 1 / values, vectors)


class ToeplitzInverse:
    """M⁻¹ = T⁻¹ for a block Toeplitz matrix T.

    With some of the columns of T, M⁻¹ is a section of T⁻¹, so that ``low`` ≤ M ≤ T ≤ ``high``.

    Attributes:
        diagonal: the diagonal (P,) of M⁻¹.
        definite: whether T is positive definite in floating point. Otherwise its diagonal is
            increased until it is.

    Source: I. C. Gohberg and A. A. Semencul, On the inversion of finite Toeplitz matrices, 1972;
    H. Akaike, Block Toeplitz matrix inversion, SIAM J. Appl. Math. 24 (1973) 234, for blocks.
    """

    def __init__(self, given: Stationary) -> None:
        # A matrix with values that overflowed would not become definite by any shift.
        self.grid, lags = given.grid, np.nan_to_num(given.lags)
        self.definite = self._inverted(lags)
        shift = SHIFT * np.diagonal(lags[0]).max()
        while not self.definite and not self._inverted(lags, shift):
            shift *= 10

    def _inverted(self, lags: np.ndarray, shift: float = 0.0) -> bool:
        """Set the factors of (T + shift·I)⁻¹, or return False if this matrix is not definite."""
        taps, channels = self.grid.taps, self.grid.channels
        lags = lags.copy()
        lags[0] += shift * np.eye(channels)
        noise = np.random.default_rng(0).standard_normal((taps * channels, 1))
        try:
            forward, backward, drawn = levinson(lags[:taps], noise)
        except np.linalg.LinAlgError:
            return False
        self._forward, self._lags = forward, lags
        # A bound that takes less time, and is smaller by a factor of up to K·C, decides most cases.
        least, norms = DEFINITE * np.diagonal(lags[0]).max(), np.linalg.norm(forward, axis=(1, 2))
        if not (1 / norms.sum() ** 2 >= least or _least_eigenvalue(forward) >= least):
            return False
        later = np.concatenate([np.zeros_like(backward[:1]), backward[:-1]])
        self._factors = self.grid.forward(np.concatenate([forward, later], -1))
        squares = (forward**2 - later**2).sum(-1)
        self.diagonal = self.grid.part(np.cumsum(squares, axis=0).reshape(-1, 1))[:, 0]
        self._drawn = self.grid.part(drawn)
        return True

    @cached_property
    def low(self) -> float:
        """A lower bound on the eigenvalues of M."""
        return _least_eigenvalue(self._forward)

    @cached_property
    def high(self) -> float:
        """An upper bound on the eigenvalues of M."""
        return largest(np.roll(self._lags, self.grid.taps - 1, axis=0))

    def __call__(self, r: np.ndarray) -> np.ndarray:
        """Return M⁻¹ r for r (P, Q): T⁻¹ = L(F)L(F)ᵀ − L(B)L(B)ᵀ with triangular Toeplitz L."""
        grid, factors = self.grid, self._factors
        spectrum = grid.spectrum(grid.whole(r))
        # As (sᴴF)ᴴ, which conjugates vectors and not the much larger factors.
        inner = times(spectrum.conj().swapaxes(1, 2), factors).conj().swapaxes(1, 2)
        inner = grid.backward(inner)
        inner[grid.taps :] = 0.0
        inner[:, grid.channels :] *= -1.0
        return grid.part(grid.vector(times(factors, grid.forward(inner))))

    def draw(self) -> np.ndarray:
        """Return a normal vector (P, 1) of covariance T, which is at least M. The seed is fixed."""
        return self._drawn


def _least_eigenvalue(forward: np.ndarray) -> float:
    """Return a lower bound on the eigenvalues of T, given the blocks F (K, C, C) of `levinson`."""
    # T⁻¹ ≤ L(F)L(F)ᵀ, and the symbol bounds the norm of L(F).
    return 1 / largest(forward) ** 2


def largest(polynomial: np.ndarray) -> float:
    """Return an upper bound on the norm of Σ_m polynomial[m] zᵐ (m, C, D) on the unit circle.

    Between the points of a grid, a polynomial is larger by at most a factor. The norm of a large
    matrix A is bounded by the fourth root of ‖(AᴴA)²‖, which exceeds it by at most the eighth root
    of its columns and takes a fraction of the time of singular values.

    Source: H. Ehlich and K. Zeller, Schwankung von Polynomen zwischen Gitterpunkten, Math. Z. 86
    (1964) 41.
    """
    from scipy.fft import next_fast_len, rfft

    count = len(polynomial)
    size = next_fast_len(4 * count, real=True)
    values = rfft(polynomial, size, axis=0)
    if polynomial.shape[-1] > FEW_COLUMNS:
        squares = times(values.conj().swapaxes(1, 2), values)
        norms = np.sqrt(np.sqrt(np.linalg.norm(times(squares, squares), axis=(1, 2))))
    else:
        norms = np.abs(values) if values[0].size == 1 else np.linalg.norm(values, 2, (1, 2))
    return float(norms.max()) / math.cos(math.pi * (count - 1) / (2 * size))


def tapered(x: Series, taps: int, padding: tuple[int, int], centred: bool = False) -> Series:
    """Return records in memory that go to zero at both ends by ramps.

    The ramp of an end that is padded with zeros is in the padding. There, it changes only values
    that are shifted.
    """
    data = x.part(0, x.data.shape[1])
    if centred:
        data -= data.mean(1, keepdims=True)
    length = data.shape[1]
    ramp = int(min(MOST_SHARE * length, taps))
    for end, zeros in zip((data, data[:, ::-1]), padding, strict=True):
        count = zeros if zeros >= PADDED * taps else ramp
        rise = np.sin(np.pi / 2 * (np.arange(count) + 0.5) / max(count, 1)) ** 2
        end[:, :count] *= np.sin(np.pi / 2 * rise)[:, None]
    return Series(data, np.ones_like(x.scale), np.zeros_like(x.shift))


def levinson(lags: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factor the inverse of the block Toeplitz matrix T of lags (K, C, C), T[k, l] = lags[k − l].

    Args:
        lags: blocks for lags 0 to K − 1; the others are their transposes.
        noise: (K·C, n).

    Returns:
        Blocks F and B (K, C, C), of which F Fᵀ[0] is the first block column of T⁻¹ and B Bᵀ[-1] the
        last, and L noise, where L is the lower triangular factor of T.

    Raises:
        LinAlgError: If T is not positive definite.

    Source: P. Whittle, On the fitting of multivariate autoregressions, and the approximate
    canonical factorization of a spectral density matrix, Biometrika 50 (1963) 129.
    """
    count, c, _ = lags.shape
    end, one = count * c, np.eye(c)
    reverse = np.ascontiguousarray(lags[:0:-1].transpose(0, 2, 1)).reshape(-1, c)
    # Transposed predictors of the first block from those after it, at the start of ``forward``, and
    # of the last block from those before it, at the end of ``backward``.
    forward, backward = np.zeros((2, c, end))
    forward[:, :c] = backward[:, end - c :] = one
    ahead = behind = lags[0]
    drawn = np.empty_like(noise)
    drawn[:c] = _root(behind) @ noise[:c]
    for at in range(c, end, c):
        first, last, before = forward[:, :at], backward[:, end - at :], slice(end - c - at, end - c)
        beyond = first @ reverse[before]
        by_last, shorter, by_first, longer = _updates(ahead, behind, beyond, first, last)
        forward[:, c : at + c] -= shorter
        backward[:, before] -= longer
        ahead, behind = ahead - by_last @ beyond.T, behind - by_first @ beyond
        drawn[at : at + c] = _root(behind) @ noise[at : at + c] - backward[:, before] @ drawn[:at]
    found = []
    for predictor, error in ((forward, ahead), (backward, behind)):
        scaled = np.linalg.solve(np.linalg.cholesky(error), predictor)
        found.append(scaled.reshape(c, count, c).transpose(1, 2, 0).copy())
    return found[0], found[1], drawn


def _updates(
    ahead: np.ndarray, behind: np.ndarray, beyond: np.ndarray, first: np.ndarray, last: np.ndarray
) -> Sequence[np.ndarray]:
    """Return reflections (C, C) of both predictors, and the products with the other predictor."""
    if len(beyond) == 1:  # products of arrays are faster than those of matrices
        by_last, by_first = beyond / behind, beyond / ahead
        return by_last, by_last * last, by_first, by_first * first

    def update(sides: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
        error, right, predictor = sides
        by = np.linalg.solve(error, right).T
        return by, by @ predictor

    sides = [(behind, beyond.T, last), (ahead, beyond, first)]
    both = side_by_side if first.size > PARALLEL_NUMBERS else map
    return [found for pair in both(update, sides) for found in pair]


def _root(a: np.ndarray) -> np.ndarray:
    if len(a) > 1:
        return np.linalg.cholesky(a)
    if not a[0, 0] > 0:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return np.sqrt(a)
