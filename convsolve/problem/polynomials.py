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
# Splits a float into two halves of 26 bits, whose products are exact.
SPLITTER = 2.0**27 + 1


def polynomials(
    shape: Sequence[int], degree: int, start: int = 0, stop: int | None = None
) -> np.ndarray:
    """Return products of Legendre polynomials along each axis, as columns (*shape, J).

    The total degree of a column is at most ``degree``. Only rows ``start`` to ``stop`` of the first
    axis are computed.
    """
    return _columns(shape, degree, start, stop)[0]


def fitted(gram: np.ndarray, cross: np.ndarray, mean: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the coefficients (..., J, C) of the polynomials that fit values best.

    They are rounded so that `without_polynomials` can subtract exactly these polynomials. If the
    samples do not determine them, they have minimum norm.

    Args:
        gram: VᵀV (J, J) for the columns V of `polynomials`.
        cross: Vᵀ(a − mean) (..., J, C) for the values a.
        mean: (..., C).
    """
    found = np.linalg.pinv(gram, len(gram) * EPS, hermitian=True) @ cross
    found[..., 0, :] += mean  # the first column is one
    # The product of one and any float is exact.
    return found if len(gram) == 1 else np.sum(_pieces(found), axis=0)


def without_polynomials(
    values: np.ndarray,
    coefs: np.ndarray,
    shape: Sequence[int],
    degree: int,
    places: np.ndarray | None = None,
    start: int = 0,
) -> np.ndarray:
    """Subtract polynomials with the coefficients (J, C) of `fitted` from values.

    The polynomials are evaluated in twice the working precision. The result therefore has the
    rounding of its own size, even if a drift or an offset is many times larger. Subtracting rounded
    values instead would leave their rounding error in the data, which no nuisance column removes.

    Args:
        values: (..., n, C), or (k, *shape[1:], C) for k samples of the first axis from ``start``.
        coefs: coefficients (..., J, C).
        shape: samples of the record along each axis.
        degree: total degree of the polynomials.
        places: which samples the rows of ``values`` are; all by default.
        start: first sample along the first axis.
    """
    if degree == 0:
        return np.asarray(values - coefs[..., :1, :])
    stop = start + len(values) if places is None else None
    high, low = _columns(shape, degree, start, stop)
    if places is not None:
        high, low = high[places], low[places]
    # Products of the leading bits and a piece, and all their sums, are exact in any order.
    leading = _fixed_point(high, 1.0, coefs.shape[-2])
    low = low + (high - leading)
    found, error = values, np.zeros(values.shape)
    for piece in _pieces(coefs):
        found, rounding = _two_sum(found, -(leading @ piece))
        error += rounding - low @ piece
    return np.asarray(found + error)


def _pieces(coefs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split coefficients (..., J, C) into two multiples of powers of two, with few bits each.

    What is left beyond both is dropped. It is about 2⁻⁴⁴ of the largest coefficient of its column.
    """
    found, rest = [], coefs
    for _ in range(2):
        largest = np.abs(rest).max(axis=-2, keepdims=True)
        found.append(_fixed_point(rest, largest, coefs.shape[-2]))
        rest = rest - found[-1]
    return found[0], found[1]


def _fixed_point(values: np.ndarray, largest: np.ndarray | float, terms: int) -> np.ndarray:
    """Round values to so few bits below ``largest`` that sums of ``terms`` products are exact."""
    bits = (51 - math.ceil(math.log2(max(terms, 2)))) // 2
    exponents = np.frexp(largest)[1] - bits
    return np.ldexp(np.rint(np.ldexp(values, -exponents)), exponents)


def _columns(shape: Sequence[int], degree: int, start: int, stop: int | None) -> Double:
    """Return the columns of `polynomials` in twice the working precision."""
    bounds = [(start, stop), *[(0, None)] * (len(shape) - 1)]
    axes = [
        _legendre(np.arange(n)[a:b], n, degree) for n, (a, b) in zip(shape, bounds, strict=True)
    ]
    orders = itertools.product(range(degree + 1), repeat=len(shape))
    columns = [
        reduce(_outer, [axis[k] for axis, k in zip(axes, order, strict=True)])
        for order in orders
        if sum(order) <= degree
    ]
    high, low = zip(*columns, strict=True)
    return np.stack(high, axis=-1), np.stack(low, axis=-1)


def _legendre(samples: np.ndarray, length: int, degree: int) -> list[Double]:
    """Return the Legendre polynomials at some samples of an axis, scaled to [−1, 1]."""
    last = max(length - 1, 1)
    time = _divided((2.0 * samples - (length > 1) * last, np.zeros(samples.shape)), last)
    found = [(np.ones(samples.shape), np.zeros(samples.shape)), time]
    for k in range(1, degree):
        ahead = _product(time, found[k])
        minus = _product((np.full(samples.shape, -float(k)), found[0][1]), found[k - 1])
        scaled = _product((np.full(samples.shape, 2.0 * k + 1), found[0][1]), ahead)
        found.append(_divided(_sum(scaled, minus), k + 1))
    return found[: degree + 1]


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
