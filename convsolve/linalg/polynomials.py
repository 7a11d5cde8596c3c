"""Polynomials in time: their columns, their fit to data, and their exact subtraction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

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


def two_sum(a: np.ndarray, b: np.ndarray) -> Double:
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
    high, low = two_sum(a[0], b[0])
    return two_sum(high, low + (a[1] + b[1]))


def _product(a: Double, b: Double) -> Double:
    high, low = _two_product(a[0], b[0])
    return two_sum(high, low + (a[0] * b[1] + a[1] * b[0]))


def _outer(a: Double, b: Double) -> Double:
    """Return the products of every sample of a with every sample of b."""
    axes = (..., *[None] * b[0].ndim)
    return _product((a[0][axes], a[1][axes]), b)


def _divided(a: Double, by: int) -> Double:
    divisor = np.full(a[0].shape, float(by))
    quotient = a[0] / divisor
    product, error = _two_product(quotient, divisor)
    return two_sum(quotient, ((a[0] - product) - error + a[1]) / divisor)
