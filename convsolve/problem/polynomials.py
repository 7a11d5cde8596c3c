"""Polynomials in time: their columns, their fit to data, and their exact subtraction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np

from .channels import with_channels

# A number in twice the working precision: an unevaluated sum of two floats.
Double = tuple[np.ndarray, np.ndarray]
EPS = float(np.finfo(np.float64).eps)
# Numbers that fit in the cache of a core together with the intermediate results (256 KiB).
CACHED_NUMBERS = 2**15
# Splits a float into two halves of 26 bits, whose products are exact.
SPLITTER = 2.0**27 + 1
# A column of norm one is collinear with others if less than this is left of it.
COLLINEAR = 1e-14


@dataclass(frozen=True, eq=False)
class Polynomials:
    """Products of Legendre polynomials along each axis of a record, in twice the working precision.

    Attributes:
        columns: (*L, J), all products of a total degree of at most some degree, rounded. The first
            column is constant one.
        low: (*L, J), the rounding errors of the columns.
    """

    columns: np.ndarray
    low: np.ndarray

    @classmethod
    def of(
        cls, shape: Sequence[int], degree: int, start: int = 0, stop: int | None = None
    ) -> Polynomials:
        """Return the columns for samples ``start`` to ``stop`` of the first axis of ``shape``."""
        first, last, _ = slice(start, stop).indices(shape[0])
        orders = [
            order
            for order in itertools.product(range(degree + 1), repeat=len(shape))
            if sum(order) <= degree
        ]
        # Every column is contiguous.
        found = np.empty((2, len(orders), max(0, last - first), *shape[1:]))
        found[0], found[1] = 1.0, 0.0
        step = max(1, CACHED_NUMBERS // max(1, math.prod(shape[1:])))
        for at in range(first, last, step) if degree else ():
            end = min(at + step, last)
            found[:, :, at - first : end - first] = _products(shape, degree, orders, (at, end))
        return cls(*np.moveaxis(found, 1, -1))

    @property
    def wide(self) -> np.ndarray:
        """The columns in extended precision."""
        return self.columns.astype(np.longdouble) + self.low

    def orthonormal(self, root: np.ndarray) -> np.ndarray:
        """Return an orthonormal basis (n, q) of columns (n, J), in extended precision.

        The rows are first multiplied by the ``root`` (n,). Gram–Schmidt in twice the working
        precision keeps the span of columns that are nearly collinear in few or separate rows.
        """
        found: list[Double] = []
        for column in range(self.columns.shape[1]):
            high, low = (np.ascontiguousarray(a[:, column]) for a in (self.columns, self.low))
            left = _product((high, low), (root, np.zeros(len(root))))
            left = _product(left, _reciprocal_norm(left))
            for done in found * 2:
                high, low = _dot(done, left)
                left = _sum(left, _product(done, (-high, -low)))
            if np.linalg.norm(left[0]) > COLLINEAR:
                found.append(_product(left, _reciprocal_norm(left)))
        wide = [high.astype(np.longdouble) + low for high, low in found]
        return np.stack(wide, axis=1) if wide else np.zeros((len(root), 0), np.longdouble)

    def some(self, places: np.ndarray | slice) -> Polynomials:
        """Return the polynomials at some places as columns (n, J): flags (*L), or a slice of n."""
        if isinstance(places, np.ndarray) and places.all():
            terms = self.columns.shape[-1]
            return Polynomials(self.columns.reshape(-1, terms), self.low.reshape(-1, terms))
        return Polynomials(self.columns[places], self.low[places])

    def subtract(self, values: np.ndarray, coefs: np.ndarray) -> np.ndarray:
        """Subtract polynomials with the coefficients of `fitted` from values.

        The polynomials are evaluated in twice the working precision. The result therefore has the
        rounding of its own size, even if a drift or an offset is many times larger. Subtracting
        rounded values would leave their rounding error in the data, and no nuisance column removes
        it.

        Args:
            values: (*L, C), or (..., n, C) for columns (n, J).
            coefs: coefficients (..., J, C).
        """
        terms = self.columns.shape[-1]
        if terms == 1:
            return _less_constants(values, coefs)
        high, low = (a.reshape(-1, terms)[:, 1:] for a in (self.columns, self.low))
        lines = values.reshape(*coefs.shape[:-2], len(high), values.shape[-1])
        found, parts = np.empty(lines.shape), _Coefficients.of(coefs)
        step = max(1, CACHED_NUMBERS * len(high) // max(1, lines.size))
        for rows in (slice(first, first + step) for first in range(0, len(high), step)):
            found[..., rows, :] = _without(lines[..., rows, :], high[rows], low[rows], parts)
        return found.reshape(values.shape)


def _less_constants(values: np.ndarray, constants: np.ndarray) -> np.ndarray:
    """Subtract constants (..., 1, C) from values (..., n, C)."""
    if constants.size == values.shape[-1]:
        return with_channels(np.subtract, values, constants.reshape(-1))
    return np.asarray(values - constants)


def used_range(flags: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest range along each axis that contains all flagged samples (*L).

    Legendre polynomials of this range are far from collinear in these samples.
    """
    if not flags.any():
        return tuple(slice(0, n) for n in flags.shape)
    axes = range(flags.ndim)
    places = [
        np.flatnonzero(flags.any(axis=tuple(other for other in axes if other != axis)))
        for axis in axes
    ]
    return tuple(slice(int(at[0]), int(at[-1]) + 1) for at in places)


def fitted(gram: np.ndarray, cross: np.ndarray, mean: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the coefficients (..., J, C) of the polynomials that fit values in least squares.

    If the samples do not determine them, they have minimum norm.

    Args:
        gram: VᵀV (J, J) for the columns V, or (..., J, J) for several V.
        cross: Vᵀ(a − mean) (..., J, C) for the values a.
        mean: mean (..., C) of the values.
    """
    if gram.shape[-1] == 1:  # only a constant
        found = cross / np.maximum(gram, 1.0)
    else:
        found = np.linalg.pinv(gram, gram.shape[-1] * EPS, hermitian=True) @ cross
    found[..., 0, :] += mean  # the first column is one
    return np.asarray(found)


class _Coefficients(NamedTuple):
    """Coefficients of polynomials: of the constant, and the sum of three parts of the others.

    Attributes:
        constant: (..., 1, C).
        leading: (..., J, C), multiples of a power of two with few bits.
        middle: (..., 2 J, C), the next bits, followed by the leading part.
        last: (..., 3 J, C), the remainder, the middle part with it, and the leading part.
    """

    constant: np.ndarray
    leading: np.ndarray
    middle: np.ndarray
    last: np.ndarray

    @classmethod
    def of(cls, coefs: np.ndarray) -> _Coefficients:
        constant, others = coefs[..., :1, :], coefs[..., 1:, :]
        bits = _bits(others.shape[-2])
        exponents = np.frexp(np.abs(others).max(axis=-2, keepdims=True))[1] - bits
        first = _rounded(others, exponents)
        second = _rounded(others - first, exponents - bits)
        third = others - first - second
        joined = ([first], [second, first], [third, second + third, first])
        return cls(constant, *(np.concatenate(parts, axis=-2) for parts in joined))


def _without(
    values: np.ndarray, high: np.ndarray, low: np.ndarray, coefs: _Coefficients
) -> np.ndarray:
    """Subtract a constant and columns high + low (n, J) times coefficients from (..., n, C)."""
    bits = _bits(high.shape[1])
    first = _rounded(high, -bits)
    rest = high - first
    second = _rounded(rest, -2 * bits)
    # Products of a few bits of the columns and of the coefficients, and their sums, are exact. The
    # rounding error of the other products is below 2⁻¹⁰⁰ of the largest.
    middle = np.concatenate([first, second], axis=1)
    last = np.concatenate([first, rest + low, (rest - second) + low], axis=1)
    found, error = _two_sum(values, np.broadcast_to(-coefs.constant, values.shape).copy())
    for columns, part in ((first, coefs.leading), (middle, coefs.middle)):
        found, rounding = _two_sum(found, -(columns @ part))
        error += rounding
    return np.asarray(found + (error - last @ coefs.last))


def _bits(terms: int) -> int:
    """Return how many bits of factors below one make sums of 2 × ``terms`` products exact."""
    return (51 - math.ceil(math.log2(2 * terms))) // 2


def _rounded(values: np.ndarray, exponents: np.ndarray | int) -> np.ndarray:
    """Round values to multiples of 2**exponents."""
    if isinstance(exponents, int):  # the sum keeps no bit below 2**exponents
        large = np.ldexp(1.5, 52 + exponents)
        return np.asarray((values + large) - large)
    return np.ldexp(np.rint(np.ldexp(values, -exponents)), exponents)


def _products(
    shape: Sequence[int],
    degree: int,
    orders: Sequence[tuple[int, ...]],
    rows: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the products (J, *L) of polynomials of some orders, at some rows of the first axis."""
    bounds = [rows, *((0, n) for n in shape[1:])]
    axes = [_legendre(np.arange(*bound), n, degree) for n, bound in zip(shape, bounds, strict=True)]
    products = [
        reduce(_outer, [axis[k] for axis, k in zip(axes, order, strict=True)]) for order in orders
    ]
    high, low = zip(*products, strict=True)
    return np.stack(high), np.stack(low)


def _dot(a: Double, b: Double) -> Double:
    """Return the sum of products (n,) in twice the working precision."""
    high, low = _product(a, b)
    while len(high) > 1:
        half = (len(high) + 1) // 2
        rest = np.zeros((2, half))
        rest[:, : len(high) - half] = high[half:], low[half:]
        high, low = _sum((high[:half], low[:half]), (rest[0], rest[1]))
    return high, low


def _reciprocal_norm(a: Double) -> Double:
    """Return the reciprocal of the norm of a vector; one for a vector of zeros."""
    square = _dot(a, a)
    if not square[0].any():
        return np.ones(1), np.zeros(1)
    guess = 1 / np.sqrt(square[0]), np.zeros(1)
    # One step of Newton's method for 1/√s doubles the digits of the working precision.
    high, low = _product(square, _product(guess, guess))
    error = _sum((np.ones(1), np.zeros(1)), (-high, -low))
    return _sum(guess, _product(guess, (error[0] / 2, error[1] / 2)))


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
