"""Polynomials in time: their columns, their fit to data, and their exact subtraction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import reduce

import numpy as np

# A number in twice the working precision: an unevaluated sum of two floats.
Double = tuple[np.ndarray, np.ndarray]
EPS = float(np.finfo(np.float64).eps)
# Numbers that fit in the cache of a core together with the intermediate results (256 KiB).
CACHED_NUMBERS = 2**15
# Splits a float into two halves of 26 bits, whose products are exact.
SPLITTER = 2.0**27 + 1


class Polynomials:
    """Products of Legendre polynomials along each axis of a record, in twice the working precision.

    Attributes:
        columns: (*L, J), all products of a total degree of at most ``degree``. The first column is
            constant one.
    """

    def __init__(
        self, shape: Sequence[int], degree: int, start: int = 0, stop: int | None = None
    ) -> None:
        """Compute the columns for samples ``start`` to ``stop`` of the first axis of `shape`."""
        bounds = [(start, stop), *[(0, None)] * (len(shape) - 1)]
        axes = [
            _legendre(np.arange(n)[a:b], n, degree) for n, (a, b) in zip(shape, bounds, strict=True)
        ]
        orders = itertools.product(range(degree + 1), repeat=len(shape))
        products = [
            reduce(_outer, [axis[k] for axis, k in zip(axes, order, strict=True)])
            for order in orders
            if sum(order) <= degree
        ]
        high, low = zip(*products, strict=True)
        self.columns, self._low = np.stack(high, axis=-1), np.stack(low, axis=-1)

    def fit(self, values: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the coefficients (..., J, C) of the least-squares fit to values (..., n, C)."""
        columns, mean = self.columns[places], values.mean(-2)
        cross = columns.T @ (values - mean[..., None, :])
        return fitted(columns.T @ columns, cross, mean)

    def subtract(
        self, values: np.ndarray, coefs: np.ndarray, places: np.ndarray | None = None
    ) -> np.ndarray:
        """Subtract polynomials with the coefficients of `fitted` from values.

        The polynomials are evaluated in twice the working precision. The result therefore has the
        rounding of its own size, even if a drift or an offset is many times larger. Subtracting
        rounded values would leave their rounding error in the data, and no nuisance column removes
        it.

        Args:
            values: (..., n, C) at n places, or (*L, C).
            coefs: coefficients (..., J, C).
            places: flags (*L) of the samples of the values; all by default.
        """
        if self.columns.shape[-1] == 1:
            return np.asarray(values - coefs[..., :1, :])
        whole = np.ones(self.columns.shape[:-1], bool) if places is None else places
        high, low = self.columns[whole][:, 1:], self._low[whole][:, 1:]
        lines = values.reshape(*coefs.shape[:-2], *high.shape[:-1], values.shape[-1])
        found, pieces = np.empty(lines.shape), (coefs[..., :1, :], _pieces(coefs[..., 1:, :]))
        step = max(1, CACHED_NUMBERS * len(high) // max(1, lines.size))
        for rows in (slice(first, first + step) for first in range(0, len(high), step)):
            found[..., rows, :] = _without(lines[..., rows, :], high[rows], low[rows], pieces)
        return found.reshape(values.shape)


def polynomials(
    shape: Sequence[int], degree: int, start: int = 0, stop: int | None = None
) -> np.ndarray:
    """Return the columns (*L, J) of `Polynomials`."""
    return Polynomials(shape, degree, start, stop).columns


def fitted(gram: np.ndarray, cross: np.ndarray, mean: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the coefficients (..., J, C) of the polynomials that fit values in least squares.

    The coefficients are rounded so that `Polynomials.subtract` can subtract exactly these
    polynomials. If the samples do not determine them, they have minimum norm.

    Args:
        gram: VᵀV (J, J) for the columns V.
        cross: Vᵀ(a − mean) (..., J, C) for the values a.
        mean: mean (..., C) of the values.
    """
    found = np.linalg.pinv(gram, len(gram) * EPS, hermitian=True) @ cross
    found[..., 0, :] += mean  # the first column is one
    # The product of one and any float is exact.
    if len(gram) > 1:
        found[..., 1:, :] = np.sum(_pieces(found[..., 1:, :]), axis=0)
    return np.asarray(found)


def _without(
    values: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    coefs: tuple[np.ndarray, Sequence[np.ndarray]],
) -> np.ndarray:
    """Subtract a constant, and columns high + low (n, J) times the sum of pieces, from values.

    ``coefs`` are the constant (..., 1, C) and the pieces (..., J, C); values are (..., n, C).
    """
    constant, pieces = coefs
    terms, (found, error) = high.shape[1], _two_sum(values, -constant)
    # Products of a few bits of the columns and a piece, and all their sums, are exact.
    for largest in (1.0, _last_place(1.0, terms)):
        bits = _fixed_point(high, largest, terms)
        high = high - bits
        for piece in pieces:
            found, rounding = _two_sum(found, -(bits @ piece))
            error += rounding
    rest = high + low
    for piece in pieces:
        error -= rest @ piece
    return np.asarray(found + error)


def _pieces(coefs: np.ndarray) -> list[np.ndarray]:
    """Split coefficients (..., J, C) into three multiples of powers of two, with few bits each.

    The remainder is dropped. It is about 2⁻⁶⁶ of the largest coefficient of its column.
    """
    found, rest = [], coefs
    for _ in range(3):
        largest = np.abs(rest).max(axis=-2, keepdims=True)
        found.append(_fixed_point(rest, largest, coefs.shape[-2]))
        rest = rest - found[-1]
    return found


def _fixed_point(values: np.ndarray, largest: np.ndarray | float, terms: int) -> np.ndarray:
    """Round values to so few bits below ``largest`` that sums of ``terms`` products are exact."""
    exponents = np.frexp(_last_place(largest, terms))[1] - 1
    return np.ldexp(np.rint(np.ldexp(values, -exponents)), exponents)


def _last_place(largest: np.ndarray | float, terms: int) -> np.ndarray:
    """Return the power of two of the last bit that `_fixed_point` keeps."""
    bits = (51 - math.ceil(math.log2(max(terms, 2)))) // 2
    return np.ldexp(1.0, np.frexp(largest)[1] - bits)


def _legendre(samples: np.ndarray, length: int, degree: int) -> list[Double]:
    """Return the Legendre polynomials at some samples of an axis, scaled to [−1, 1]."""
    ones = np.ones(samples.shape), np.zeros(samples.shape)
    if not degree:
        return [ones]
    last = max(length - 1, 1)
    time = _divided((2.0 * samples - (length > 1) * last, ones[1]), last)
    found = [ones, time]
    for k in range(1, degree):
        ahead = _product(time, found[k])
        minus = _product((-k * ones[0], ones[1]), found[k - 1])
        scaled = _product(((2 * k + 1) * ones[0], ones[1]), ahead)
        found.append(_divided(_sum(scaled, minus), k + 1))
    return found


def _two_sum(a: np.ndarray, b: np.ndarray) -> Double:
    """Return a + b rounded, and its rounding error. Source: D. E. Knuth, TAOCP vol. 2, 4.2.2."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: np.ndarray, b: np.ndarray) -> Double:
    """Return ab rounded, and its rounding error.

    Source: T. J. Dekker, Numerische Mathematik 18 (1971) 224.
    """
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return product, a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2)


def _halves(a: np.ndarray) -> Double:
    large = SPLITTER * a
    high = large - (large - a)
    return high, a - high


def _sum(a: Double, b: Double) -> Double:
    high, low = _two_sum(a[0], b[0])
    return _two_sum(high, low + (a[1] + b[1]))


def _product(a: Double, b: Double) -> Double:
    high, low = _two_product(a[0], b[0])
    return _two_sum(high, low + (a[0] * b[1] + a[1] * b[0]))


def _outer(a: Double, b: Double) -> Double:
    """Return the products of every sample of a with every sample of b."""
    axes = (..., *[None] * b[0].ndim)
    return _product((a[0][axes], a[1][axes]), b)


def _divided(a: Double, by: int) -> Double:
    divisor = np.full(a[0].shape, float(by))
    quotient = a[0] / divisor
    product, error = _two_product(quotient, divisor)
    return _two_sum(quotient, ((a[0] - product) - error + a[1]) / divisor)
