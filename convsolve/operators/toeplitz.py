"""AᵀA of records along one axis without its P² numbers: its product, and a predictor as inverse."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from ..linalg.rank import EPS
from .design_matrix import DesignMatrix

# Numbers that are transformed at a time, the samples of a block for short kernels and its kernels
# for others, and the number of numbers from which threads are faster than one.
NUMBERS, BLOCK, KERNELS, MANY = 2**18, 512, 6, 2**16
# So few lags of the spectra of so many channels are computed without FFTs.
FEW_LAGS, MANY_CHANNELS = 64, 16
# The ramp at an end of a record is as long as the kernel, but at most this share of the record.
MOST_SHARE = 1 / 4
# If a squared column norm is less than this share of its value for padded records, subtracting the
# windows beyond the ends cancels too many digits.
DROWNED = 1e-2
# Orders of predictors to try, for kernels that are ``SHORTER`` times as long, and the least share
# of the smallest in the largest value of the spectrum that a predictor leaves. As it is smooth,
# one of a few frequencies is examined.
ORDERS, SHORTER, WHITE, COARSE = (8, 32, 256, 2048), 4, 0.1, 4
# Numbers of a random vector that are computed at once.
DRAWN = 64
# T is definite if a bound proves that its smallest eigenvalue is at least this share of its
# diagonal. Levinson's recursion has errors of about ten roundings.
DEFINITE = 100 * EPS
# An indefinite T gets this share of its diagonal, times powers of ten.
SHIFT = 1e3 * EPS


class Record(NamedTuple):
    """Samples (N, L, C) of any type, used as ``scale * data - shift``, and as zero where ``dead``.

    Strides and dilations are channels and records of their own. The first and last ``ramp`` samples
    rise from zero.
    """

    data: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    dead: np.ndarray | None = None
    ramp: int = 0

    def read(self, some: slice, records: slice = slice(None)) -> np.ndarray:
        """Return samples of some records in float64."""
        shift = self.shift[records] if self.shift.ndim > 1 else self.shift
        found: np.ndarray = self.data[records, some] * self.scale - shift
        if self.dead is not None:
            found[self.dead[records, some]] = 0.0
        place = np.arange(*some.indices(self.data.shape[1]))
        place = np.minimum(place, self.data.shape[1] - 1 - place)
        if (inside := place < self.ramp).any():
            rise = np.sin(np.pi / 2 * (place[inside] + 0.5) / self.ramp) ** 2
            found[:, inside] *= np.sin(np.pi / 2 * rise)[:, None]
        return found

    def ends(self, taps: int) -> Record:
        """Return samples at both ends, with zeros between, that a ramp and ``taps`` reach."""
        length, reach = self.data.shape[1], 2 * taps
        head, tail = self.read(slice(reach)), self.read(slice(length - reach, length))
        both = np.concatenate([head, np.zeros_like(head[:, :taps]), tail], 1)
        return Record(both, np.ones(both.shape[2]), np.zeros(both.shape[2]))

    def tapered(self, taps: int, centred: bool) -> Record:
        """Return the samples, less the mean of a record, with ramps to zero at both ends."""
        ramp, shift = int(min(MOST_SHARE * self.data.shape[1], taps)), self.shift
        if centred:
            alive = True if self.dead is None else ~self.dead[..., None]
            shift = self.data.mean(1, float, keepdims=True, where=alive) * self.scale
        return self._replace(shift=shift, ramp=ramp)


class Samples(NamedTuple):
    """The records of one group.

    Attributes:
        records: the samples.
        taps: taps K of their windows.
        places: the columns (P,) of the windows that are used.
    """

    records: Sequence[Record]
    taps: int
    places: np.ndarray


def transform(a: np.ndarray, size: int, axis: int = 0) -> np.ndarray:
    """Return the spectrum of real numbers that are padded with zeros to ``size``."""
    from scipy.fft import rfft

    return np.asarray(rfft(a, size, axis, workers=-1 if a.size > MANY else None))


def inverted(spectrum: np.ndarray, size: int) -> np.ndarray:
    """Return the numbers (size, …) of a spectrum (F, …), which may be overwritten."""
    from scipy.fft import irfft

    workers = -1 if spectrum.size > MANY else None
    return np.asarray(irfft(spectrum, size, 0, overwrite_x=True, workers=workers))


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a @ b of stacks, without the slow products of matrices of one or two columns."""
    if a.shape[-1] > 2:
        return a @ b
    terms = (a[..., i : i + 1] * b[..., i : i + 1, :] for i in range(a.shape[-1]))
    return np.asarray(reduce(np.add, terms))


def adjoint(a: np.ndarray) -> np.ndarray:
    """Return the conjugate transposes of a stack."""
    return a.conj().swapaxes(-1, -2)


def fast_length(count: int) -> int:
    """Return a number of samples whose FFT is fast."""
    from scipy.fft import next_fast_len

    return int(next_fast_len(count, real=True))


def autocorrelation(
    records: Sequence[Record], taps: int, less: Sequence[Record] = ()
) -> np.ndarray:
    """Return Σ x[s] x[s + j]ᵀ (K, C, C) for lags j of 0 to K − 1, zero outside of the records.

    The sums of other records, ``less``, are subtracted.
    """
    every = [*records, *less]
    longest = max(x.data.shape[1] for x in every) + taps - 1
    size, c = fast_length(min(longest, max(KERNELS * taps, BLOCK))), records[0].data.shape[2]
    step, total = size - taps + 1, np.zeros((size // 2 + 1, c, c), complex)
    for number, x in enumerate(every):
        n, length, _ = x.data.shape
        per = min(n, max(1, NUMBERS // (2 * size * c)))
        # A product of matrices is fast for as many blocks as channels.
        numbers = max(NUMBERS, min(4 * NUMBERS, size * c * c))
        many = min(-(-length // step), max(1, numbers // (per * size * c)))
        for i, first in itertools.product(range(0, n, per), range(0, length, many * step)):
            seen = x.read(slice(first, first + many * step + taps - 1), slice(i, i + per))
            part = np.zeros((len(seen), many * step + taps - 1, c))
            part[:, : seen.shape[1]] = seen
            both = np.stack([part[:, at : at + size] for at in range(0, many * step, step)], 1)
            ahead = transform(both, size, 2)
            both[:, :, step:] = 0.0
            a, b = (
                v.reshape(-1, len(total), c).swapaxes(0, 1)
                for v in (transform(both, size, 2), ahead)
            )
            if number < len(records):
                total += adjoint(a) @ b
            else:
                total -= adjoint(a) @ b
    return _first(total, size, taps)


def _first(spectrum: np.ndarray, size: int, count: int) -> np.ndarray:
    """Return the first numbers (count, C, C) of a spectrum; few of many series by a product."""
    f, c, _ = spectrum.shape
    if count > FEW_LAGS or c < MANY_CHANNELS:
        return inverted(spectrum, size)[:count]
    waves = np.exp(2j * np.pi / size * (np.arange(count)[:, None] * np.arange(f))) / size
    waves[:, 1 : size // 2] *= 2
    flat = spectrum.reshape(f, c * c)
    return (waves.real @ flat.real - waves.imag @ flat.imag).reshape(count, c, c)


def wrapped(lags: np.ndarray, size: int) -> np.ndarray:
    """Return the spectrum (F, C, C) of lags 0 to K − 1, with their transposes for negative lags."""
    whole = np.zeros((size, *lags.shape[1:]))
    whole[: len(lags)] = lags
    whole[size - len(lags) + 1 :] = lags[:0:-1].swapaxes(1, 2)
    return transform(whole, size)


class _Vectors:
    """Vectors (P, Q) of the taps at ``places``, among all taps (K, C, Q) of a component."""

    def __init__(self, lags: np.ndarray, places: np.ndarray) -> None:
        self.lags, (self.taps, self.channels, _) = lags, lags.shape
        whole = np.array_equal(places, np.arange(self.taps * self.channels))
        self.places: Any = slice(None) if whole else places

    def _whole(self, v: np.ndarray) -> np.ndarray:
        found = np.zeros((self.taps * self.channels, v.shape[1]))
        found[self.places] = v
        return found.reshape(self.taps, self.channels, -1)

    def _part(self, a: np.ndarray) -> np.ndarray:
        return np.asarray(a[: self.taps].reshape(-1, a.shape[2])[self.places])


class Toeplitz(_Vectors):
    """The product with AᵀA (P, P), in a time that does not depend on the length of records.

    The Gram matrix of all windows, also of those that overlap an end, is block Toeplitz, with the
    blocks of `autocorrelation`. A has only the inner windows: AᵀA v = T v − EᵀE v, where E are the
    windows that overlap an end.

    ``squares`` (P,) are the squared norms of the columns.

    Attributes:
        worthwhile: whether the ends are less work than the inner windows, and cancel few digits.
        largest: an upper bound on the eigenvalues of T.
    """

    def __init__(self, samples: Samples, squares: np.ndarray) -> None:
        records, taps, places = samples
        super().__init__(autocorrelation(records, taps), places)
        self._size, k = fast_length(2 * taps), taps - 1
        symbol = wrapped(self.lags, self._size)
        self.largest, self._symbol = float(np.abs(symbol).sum(-1).max()), symbol.conj()
        heads = [r.read(slice(k)) for r in records]
        ends = [*heads, *(r.read(slice(r.data.shape[1] - k, None)) for r in records)]
        full = (both := np.concatenate(ends)).any((1, 2))
        self._before = (np.arange(len(both)) < len(both) // 2)[full]
        self._ends = transform(both[full].swapaxes(0, 1), self._size)
        inner = sum(len(r.data) * -(-(r.data.shape[1] - k) // taps) for r in records)
        power = np.diagonal(self.lags[0])[places % self.channels]
        self.worthwhile = self._before.size < inner and not (squares < DROWNED * power).any()

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """Return AᵀA v (P, Q)."""
        spectrum = transform(self._whole(v), self._size)
        found = times(self._symbol, spectrum)
        if self._before.size:
            seen = inverted(times(self._ends, spectrum.conj()), self._size)
            # Windows before a record start at negative places only.
            half = self._size // 2
            seen[:half, self._before] = 0.0
            seen[half:, ~self._before] = 0.0
            found -= times(self._ends.swapaxes(1, 2), transform(seen, self._size).conj())
        return self._part(inverted(found, self._size))


def tapered_lags(
    samples: Samples,
    squares: np.ndarray,
    ridge: np.ndarray,
    centred: bool,
    plain: np.ndarray | None = None,
) -> np.ndarray:
    """Return the lags (K, C, C) of a Toeplitz matrix T that is close to AᵀA + ridge.

    wᵀAᵀA w is the energy of the output in the rows of A, and wᵀT w is its energy everywhere. x is
    tapered, since the ends of a record would fill the gaps of its spectrum in T, but not in A. The
    diagonal of T has the means of ``squares`` + ``ridge`` (P,) of each channel. ``plain`` are the
    lags without ramps, if they are known. For long records, ramps change only what the ends add.
    """
    records, taps, places = samples
    if plain is None or centred or any(r.data.shape[1] * MOST_SHARE < taps for r in records):
        lags = autocorrelation([r.tapered(taps, centred) for r in records], taps)
    else:
        ends = [r.ends(taps) for r in records]
        ramped = [r._replace(ramp=taps) for r in ends]
        lags = plain + autocorrelation(ramped, taps, less=ends)
    power, of_channel = np.diagonal(lags[0]).copy(), places % len(lags[0])
    counts = np.maximum(np.bincount(of_channel, minlength=power.size), 1)
    own, more = (np.bincount(of_channel, a, power.size) / counts for a in (squares, ridge))
    heard = (power > 0) & (own > 0)
    scale = np.sqrt(np.where(heard, own, 0.0) / np.where(heard, power, 1.0))
    lags *= scale * scale[:, None]
    lags[0] += np.diag(np.where(own + more > 0, np.where(heard, more, own + more), 1.0))
    return lags


class PredictorInverse(_Vectors):
    """M⁻¹ = L(F)L(F)ᵀ − L(B)L(B)ᵀ for predictors F and B (m, C, C) of order m ≤ K.

    F, with zeros behind, and B, with zeros in front, invert the block Toeplitz matrix M of an
    autoregression.

    Attributes:
        order: m.
        diagonal: the diagonal (P,) of M⁻¹.

    Source: I. C. Gohberg and A. A. Semencul, On the inversion of finite Toeplitz matrices, 1972;
    H. Akaike, Block Toeplitz matrix inversion, SIAM J. Appl. Math. 24 (1973) 234, for blocks.
    """

    def __init__(
        self, lags: np.ndarray, places: np.ndarray, forward: np.ndarray, backward: np.ndarray
    ) -> None:
        super().__init__(lags, places)
        self.order, later = len(forward), np.concatenate([0 * backward[:1], backward[:-1]])
        self._size = fast_length(self.taps + self.order)
        self._factors = transform(np.concatenate([forward, later], 2), self._size)
        terms = np.zeros((self.taps, self.channels, 1))
        terms[: self.order, :, 0] = np.square(forward).sum(2)
        terms[self.taps - self.order :, :, 0] -= np.square(later).sum(2)
        self.diagonal = self._part(np.cumsum(terms, 0))[:, 0]

    def __call__(self, r: np.ndarray) -> np.ndarray:
        """Return M⁻¹ r for r (P, Q)."""
        spectrum = transform(self._whole(r), self._size)
        # As (sᴴF)ᴴ, which conjugates vectors and not the much larger factors.
        inner = inverted(adjoint(times(adjoint(spectrum), self._factors)), self._size)
        inner[self.taps :] = 0.0
        of_last = inner[:, self.channels :]
        of_last[: self.taps - self.order] = 0.0
        of_last *= -1.0
        return self._part(inverted(times(self._factors, transform(inner, self._size)), self._size))


class ToeplitzInverse(PredictorInverse):
    """M⁻¹ for the block Toeplitz matrix M of an autoregression with some of ``lags`` (K, C, C).

    m, the number of its lags, is the smallest of a few orders that whiten x.

    Attributes:
        low: a lower bound on the eigenvalues of M.
        definite: whether M is positive definite in floating point. Otherwise its diagonal is
            increased until it is.
        draw: a normal vector (P, 1) of covariance M. The seed is fixed.
    """

    def __init__(self, lags: np.ndarray, places: np.ndarray) -> None:
        # A matrix with values that overflowed would not become definite by any shift.
        _Vectors.__init__(self, np.nan_to_num(lags), places)
        self.definite = found = self._factored()
        shift = SHIFT * np.diagonal(self.lags[0]).max() * np.eye(self.channels)
        while not found:
            self.lags[0] += shift
            found, shift = self._factored(), 10 * shift

    def _factored(self) -> bool:
        """Set the factors of M⁻¹, or return False if M is not definite."""
        size = fast_length(4 * self.taps)
        for order in (*(m for m in ORDERS if SHORTER * m <= self.taps), self.taps):
            try:
                forward, backward, draw = levinson(self.lags[:order], self.taps)
            except np.linalg.LinAlgError:
                return False
            spectrum = transform(forward, size)
            if order == self.taps or self._whitens(spectrum, size):
                break
        # M⁻¹ ≤ L(F)L(F)ᵀ. The norm of a matrix A is at most the fourth root of that of (AᴴA)², and
        # between the points of a grid, a polynomial is larger by at most a factor.
        squares = times(adjoint(spectrum), spectrum)
        most = math.sqrt(np.linalg.norm(times(squares, squares), axis=(1, 2)).max())
        self.low = math.cos(math.pi * order / (2 * size)) ** 2 / most
        if not self.low >= DEFINITE * np.diagonal(self.lags[0]).max():
            return False
        super().__init__(self.lags, self.places, forward, backward)
        self.draw = self._part(draw.reshape(self.taps, self.channels, 1))
        return True

    def _whitens(self, spectrum: np.ndarray, size: int) -> bool:
        """Return whether the predictor leaves an almost flat spectrum of windowed lags."""
        window = (1 - np.arange(self.taps) / self.taps)[:, None, None]
        symbol, predictor = wrapped(self.lags * window, size)[::COARSE].conj(), spectrum[::COARSE]
        left = times(adjoint(predictor), times(symbol, predictor))
        values = left.real if self.channels == 1 else np.linalg.eigvalsh(left)
        return bool(values.min() > WHITE * values.max())


class FrozenInverse:
    """M⁻¹ = Σ φ_k (T + μ_k)⁻¹ φ_k, for T plus a diagonal that changes slowly along the taps.

    The weights φ_k of a tap are zero unless μ_k is next to its own value, and Σ φ_k² = 1. Beyond
    the last μ_k, M⁻¹ is divided by the ratio.

    Args:
        levels: the logarithms of μ_k, two decades apart.
        inverses: (T + μ_k)⁻¹.
        level: (P,) logarithms of the diagonal.

    Attributes:
        diagonal: the diagonals (P,) of (T + μ_k)⁻¹, geometrically interpolated between μ_k.
    """

    definite, low = True, 0.0
    draw: np.ndarray

    def __init__(
        self, levels: np.ndarray, inverses: Sequence[PredictorInverse], level: np.ndarray
    ) -> None:
        at = np.clip((level - levels[0]) / (2 * np.log(10)), 0, len(levels) - 1)
        beyond = np.exp(-0.5 * np.maximum(level - levels[-1], 0.0))
        some = slice(math.floor(at.min()), math.ceil(at.max()) + 1)
        phi = np.cos(0.5 * np.pi * np.minimum(np.abs(at - np.arange(len(levels))[some, None]), 1.0))
        logs = np.log([own.diagonal for own in inverses[some]])
        self.diagonal = np.exp((phi**2 * logs).sum(0)) * beyond**2
        self._parts = [*zip((phi * beyond)[:, :, None], inverses[some], strict=True)]

    def __call__(self, r: np.ndarray) -> np.ndarray:
        """Return M⁻¹ r for r (P, Q)."""
        return np.asarray(sum(phi * inverse(phi * r) for phi, inverse in self._parts))

    @classmethod
    def of(cls, lags: np.ndarray, places: np.ndarray, diagonal: np.ndarray) -> FrozenInverse:
        """Return the inverse for T of ``lags`` plus a ``diagonal`` (P,).

        The diagonals of channels differ by factors only.
        """
        factor = diagonal[: len(lags[0])] / diagonal[0]
        level = np.log(diagonal / np.tile(factor, len(lags)))
        levels = levels_of(lags)[::2]
        levels = levels[max(np.searchsorted(levels, level.min(), "right") - 1, 0) :]
        first, inverses, _ = shifted(lags, np.exp(levels)[:, None] * factor, places)
        return cls(levels[first:], inverses, level)


def levels_of(lags: np.ndarray) -> np.ndarray:
    """Return the logarithms of 1e-12 to 1e4 times the mean diagonal of T, one per decade."""
    return np.log(np.diagonal(lags[0]).mean()) + np.log(10) * np.arange(-12.0, 5.0)


def predictors(lags: np.ndarray, zero: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the predictors of block Toeplitz matrices T of growing order, T[k, l] = lags[l − k].

    Yields:
        The transposed predictors of the first block from later blocks, at the start of an array
        (L, C, m·C), and of the last block from earlier blocks, at the end of an array. Then the
        covariances (L, C, C) of their errors. The arrays change with the next order.

    Args:
        lags: (m, C, C), of which the first is not used.
        zero: (L, C, C), blocks on the diagonals of L matrices.
    """
    m, c, _ = lags.shape
    end, several = m * c, len(zero)
    reverse = np.ascontiguousarray(lags[::-1]).reshape(end, c)
    forward = np.zeros((several, c, end))
    # The predictors of one series in both directions are the same.
    backward = forward[..., ::-1] if c == 1 else np.zeros_like(forward)
    forward[..., :c] = backward[..., end - c :] = np.eye(c)
    ahead = behind = zero
    yield forward, backward, ahead, behind
    for at in range(c, end, c):
        before, first = slice(end - c - at, end - c), forward[..., :at]
        beyond = (first.reshape(several * c, at) @ reverse[before]).reshape(several, c, c)
        by_last, by_first = _divided(beyond, behind), _divided(beyond.swapaxes(1, 2), ahead)
        change = times(by_first, first) if c > 1 else 0.0
        forward[..., c : at + c] -= times(by_last, backward[..., end - at :])
        if c > 1:
            backward[..., before] -= change
        ahead, behind = ahead - by_last @ beyond.swapaxes(1, 2), behind - by_first @ beyond
        yield forward, backward, ahead, behind


def shifted(
    lags: np.ndarray, shifts: np.ndarray, places: np.ndarray, order: int | None = None
) -> tuple[int, list[PredictorInverse], np.ndarray]:
    """Factor T + diag(shift) for several shifts at once, for T with ``lags`` (K, C, C).

    Args:
        lags: (K, C, C).
        shifts: (L, C or 1), in ascending order.
        places: columns of the windows that are used.
        order: order of an autoregression that replaces T, by default K.

    Returns:
        The first shift from which all matrices are definite in floating point, their inverses, and
        the logarithms (L, order) of the determinants of prediction errors, whose sum is log det.
    """
    lead, c = lags[:order], lags.shape[1]
    errors = np.empty((len(lead), len(shifts), c, c))
    with np.errstate(all="ignore"):
        zero = lags[0] + shifts[:, :, None] * np.eye(c)
        for at, found in enumerate(predictors(lead, zero)):
            errors[at] = found[-1]
        sign, logs = np.linalg.slogdet(errors)
    definite = ((sign > 0) & np.isfinite(logs)).all(0)
    first = 1 + int(np.flatnonzero(~definite).max(initial=-1))
    each = zip(*(a[first:] for a in found), strict=True)
    inverses = [PredictorInverse(lags, places, *_normalized(*given)) for given in each]
    return first, inverses, logs.T[first:]


def levinson(lags: np.ndarray, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factor the inverse of the block Toeplitz matrix T of lags (m, C, C), T[k, l] = lags[l − k].

    Returns:
        Blocks F and B (m, C, C), of which F Fᵀ[0] is the first block column of T⁻¹ and B Bᵀ[-1] the
        last, and a normal vector (K·C,) of the covariance that the predictor continues.

    Raises:
        LinAlgError: If T is not positive definite.

    Source: P. Whittle, On the fitting of multivariate autoregressions, and the approximate
    canonical factorization of a spectral density matrix, Biometrika 50 (1963) 129.
    """
    m, c, _ = lags.shape
    end, noise = m * c, np.random.default_rng(0).standard_normal((taps, c))
    draw = np.empty(taps * c)
    for order, found in enumerate(predictors(lags, lags[:1])):
        forward, backward, ahead, behind = (a[0] for a in found)
        at = order * c
        known = backward[:, end - c - at : end - c] @ draw[:at]
        draw[at : at + c] = _root(behind) @ noise[order] - known
    # The predictor of each of some blocks from those before them.
    count = min(max(1, DRAWN // c), taps - m)
    band = np.zeros((count, c, end + (count - 1) * c))
    for row in range(count):
        band[row, :, row * c : row * c + end] = backward
    seen, own = np.split(band.reshape(count * c, band.shape[2]), [end - c], axis=1)
    left, inverse = (noise @ _root(behind).T).reshape(-1), np.linalg.inv(own)
    for at in range(end, taps * c, max(1, count * c)):
        right = left[at : at + count * c] - (seen @ draw[at - end + c : at])[: left.size - at]
        draw[at : at + right.size] = inverse[: right.size, : right.size] @ right
    return *_normalized(forward, backward, ahead, behind), draw


def _normalized(
    forward: np.ndarray, backward: np.ndarray, ahead: np.ndarray, behind: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return F and B (m, C, C) of predictors (C, m·C) with errors of some covariances."""
    c = len(ahead)
    first, last = (
        np.linalg.solve(_root(error), each).reshape(c, -1, c).transpose(1, 2, 0)
        for error, each in ((ahead, forward), (behind, backward))
    )
    return first, last


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a b⁻¹ for stacks of symmetric b; numbers take less time than matrices."""
    if b.shape[-1] == 1:
        return a / b
    return np.linalg.solve(b, a.swapaxes(-1, -2)).swapaxes(-1, -2)


def _root(a: np.ndarray) -> np.ndarray:
    if len(a) > 1:
        return np.linalg.cholesky(a)
    if not a[0, 0] > 0:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return np.sqrt(a)


def read_samples(
    matrix: DesignMatrix, group: int, powers: np.ndarray
) -> tuple[Samples, np.ndarray, bool]:
    """Return the records of a group, times 2 to the minus ``powers`` (C,) of the channels.

    Also return the products NᵀA (k, P) with orthonormal nuisance columns in the same units, and
    whether the sums of the matrix were formed from rows.
    """
    channels, found = np.ldexp(1.0, -powers), []
    for x in matrix.sample(group):
        scale = np.tile(channels, x.data.shape[-1] // powers.size)
        shift = 0 * scale if x.shift is None else x.shift * scale
        found.append(Record(x.data, scale if x.scale is None else x.scale * scale, shift, x.dead))
    columns = np.tile(channels, matrix.columns // powers.size)
    crossed = matrix.nuisance_products[group, : matrix.plan.fitted] * columns
    windows = matrix.data.windows
    return Samples(found, windows.taps[0], windows.places), crossed, not matrix.by_fft
