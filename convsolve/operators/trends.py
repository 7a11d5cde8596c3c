"""Exact subtraction of the polynomials in time, or the constant, that nuisance columns span."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..cached import cached_property
from ..linalg.channels import PART_NUMBERS, by_channel, channelwise
from ..linalg.polynomials import CACHED_NUMBERS, EPS, Polynomials, two_sum
from ..parallel import in_order

# A remainder below this share of the original values is rounding.
ROUNDING = 32 * EPS
# A column that is more than a constant has at least this share of the square of the last place of a
# sample left.
LEAST_SHARE = 1e-4
# Coefficients of polynomials are rounded to a few eps of the size of the polynomials. A remainder
# of this many eps or more is hardly changed.
RELIABLE = 1e4
# Some of the records, and some of their samples.
Part = tuple[slice, slice]


class Subtracted(NamedTuple):
    """Root mean squares of the values that were subtracted from samples, per channel or column.

    Attributes:
        size: of constants and polynomials.
        trend: of everything except the constants.
        sloped: whether polynomials of degree one or more were subtracted.
    """

    size: np.ndarray
    trend: np.ndarray
    sloped: bool


def beyond_rounding(
    whole: np.ndarray, left: np.ndarray, subtracted: Subtracted, rows: int, weight: float
) -> np.ndarray:
    """Return flags of columns that are more than rounding once nuisance columns are projected out.

    The remainder of other columns would be treated as data. The rounding error of computed data, of
    a tone for example, grows with the number of rows, as for the numerical rank. Samples of a
    sloped trend are rounded in their last place. Nothing is left of a constant.

    Args:
        whole: sums of squares of the columns without the subtracted trends.
        left: sums of squares after the projection, in the same shape.
        subtracted: sizes of the subtracted trends.
        rows: number of rows.
        weight: sum of the weights of the rows.
    """
    share = max(ROUNDING, rows * EPS) ** 2
    least = np.square(EPS * subtracted.size) * weight
    if not subtracted.sloped:
        least = least * LEAST_SHARE / rows
    return np.asarray(left > share * (whole + weight * subtracted.trend**2) + least)


@dataclass(frozen=True)
class Trends:
    """Products of polynomials V in time with the samples of records. ``+`` joins samples.

    Attributes:
        records: (R,), indices of the records in ascending order.
        grams: VᵀV (R, J, J).
        crosses: Vᵀa (R, J, C) for the samples a.
        samples: number of samples.
        remainder: norm (C,) of the samples after a fit of V to every part that was added. It is a
            lower bound of the norm after the fit to whole records.
    """

    records: np.ndarray
    grams: np.ndarray
    crosses: np.ndarray
    samples: int
    remainder: np.ndarray

    @classmethod
    def of(cls, records: np.ndarray, values: np.ndarray, columns: np.ndarray) -> Trends:
        """Return the products of columns V (n, J) and samples (N, n, C) of N records."""
        parts = _parts(values)
        cross = np.zeros((len(values), columns.shape[1], values.shape[2]))

        def products(part: Part) -> np.ndarray:
            return columns[part[1]].T @ values[part]

        with np.errstate(over="ignore", invalid="ignore"):
            for part, found in zip(parts, in_order(products, parts), strict=True):
                cross[part[0]] += found
        gram = columns.T @ columns
        grams = np.broadcast_to(gram, (len(values), *gram.shape))
        largest = np.abs(cross).max((0, 1), initial=0.0)
        unit = np.ldexp(1.0, np.frexp(np.where(np.isfinite(largest), largest, 1.0))[1] - 1)
        coefs = _coefficients(grams, cross / unit)

        def left(part: Part) -> np.ndarray:
            rest = np.empty(values[part].shape)
            channelwise(np.divide, values[part], unit, rest)
            rest -= columns[part[1]] @ coefs[part[0]]
            return by_channel(np.add, rest, np.square)

        with np.errstate(over="ignore", invalid="ignore"):
            squares = sum(in_order(left, parts), np.zeros(values.shape[2]))
        samples = len(values) * len(columns)
        return cls(records, grams, cross, samples, unit * np.sqrt(squares))

    def __add__(self, other: Trends) -> Trends:
        records = np.union1d(self.records, other.records)
        grams = np.zeros((len(records), *self.grams.shape[1:]))
        crosses = np.zeros((len(records), *self.crosses.shape[1:]))
        with np.errstate(over="ignore", invalid="ignore"):  # sums are checked once they are whole
            for each in (self, other):
                at = np.searchsorted(records, each.records)
                grams[at] += each.grams
                crosses[at] += each.crosses
            remainder = np.hypot(self.remainder, other.remainder)
        return Trends(records, grams, crosses, self.samples + other.samples, remainder)

    def shared(self) -> Trends:
        """Return the sums for one polynomial that is fitted to all records."""
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self.grams.sum(0), self.crosses.sum(0)
        grams, crosses = (np.broadcast_to(each, (len(self.records), *each.shape)) for each in sums)
        return Trends(self.records, grams, crosses, self.samples, self.remainder)

    @cached_property
    def coefficients(self) -> np.ndarray:
        """Coefficients (R, J, C) of the polynomials that fit the samples of every record."""
        return _coefficients(self.grams, self.crosses)

    def of_records(self, records: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the coefficients (N, J, C) of some records."""
        return self.coefficients[np.searchsorted(self.records, records)]

    def subtracted(self) -> Subtracted:
        """Return the sizes (C,) of everything that is subtracted."""
        return Subtracted(self._size(0), self._size(1), self.grams.shape[1] > 1)

    @property
    def accurate(self) -> bool:
        """Whether the rounding error of the coefficients is small compared with the remainder."""
        rounding = RELIABLE * EPS * self._size(0) * math.sqrt(self.samples)
        return bool((self.remainder >= rounding).all())

    def _size(self, first: int) -> np.ndarray:
        """Return the root mean square (C,) of the polynomials from coefficient ``first`` on."""
        coefs, grams = self.coefficients[:, first:], self.grams[:, first:, first:]
        largest = np.abs(coefs).max((0, 1), initial=0.0)
        unit = np.where(largest > 0, largest, 1.0)
        scaled = coefs / unit
        total = (scaled * (grams @ scaled)).sum((0, 1))
        return unit * np.sqrt(np.maximum(total, 0.0) / max(self.samples, 1))


def _coefficients(grams: np.ndarray, crosses: np.ndarray) -> np.ndarray:
    """Return coefficients (R, J, C). The means are fitted first, since offsets may be large."""
    if (grams == grams[:1]).all():
        grams = grams[:1]
    mean = crosses[:, 0] / np.maximum(grams[:, 0, :1], 1.0)
    centred = crosses - grams[:, :, :1] * mean[:, None]
    return fitted(grams, centred, mean)


def without_polynomials(
    values: np.ndarray, trend: Polynomials, several: Sequence[np.ndarray]
) -> np.ndarray:
    """Subtract polynomials from samples (N, n, C) of N records.

    Args:
        values: the samples.
        trend: the polynomials at these samples (n, J).
        several: coefficients (N, J, C), which are subtracted one after the other.
    """
    found = np.empty(values.shape)
    parts = _parts(values)

    def without(part: Part) -> None:
        records, rows = part
        some, left = trend.some(rows), values[part]
        for coefs in several:
            left = subtract(some, left, coefs[records])
        found[part] = left

    for _ in in_order(without, parts):
        pass
    return found


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


def subtract(trend: Polynomials, values: np.ndarray, coefs: np.ndarray) -> np.ndarray:
    """Subtract polynomials with the coefficients of `fitted` from values.

    The polynomials are evaluated in twice the working precision. The result therefore has the
    rounding of its own size, even if a drift or an offset is many times larger. Subtracting
    rounded values would leave their rounding error in the data, and no nuisance column removes
    it.

    Args:
        trend: the polynomials.
        values: (*L, C), or (..., n, C) for columns (n, J).
        coefs: coefficients (..., J, C).
    """
    terms = trend.columns.shape[-1]
    if terms == 1:
        if coefs.size != values.shape[-1]:
            return np.asarray(values - coefs)
        found = np.empty(values.shape)
        channelwise(np.subtract, values, coefs.reshape(-1), found)
        return found
    high, low = (a.reshape(-1, terms)[:, 1:] for a in (trend.columns, trend.low))
    lines = values.reshape(*coefs.shape[:-2], len(high), values.shape[-1])
    found, parts = np.empty(lines.shape), _Coefficients.of(coefs)
    step = max(1, CACHED_NUMBERS * len(high) // max(1, lines.size))
    for rows in (slice(first, first + step) for first in range(0, len(high), step)):
        found[..., rows, :] = _without(lines[..., rows, :], high[rows], low[rows], parts)
    return found.reshape(values.shape)


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
    found, error = two_sum(values, np.broadcast_to(-coefs.constant, values.shape).copy())
    for columns, part in ((first, coefs.leading), (middle, coefs.middle)):
        found, rounding = two_sum(found, -(columns @ part))
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


def _parts(values: np.ndarray) -> list[Part]:
    """Return parts of values (N, n, C) that fit in the cache of a core."""
    records, n, channels = values.shape
    each = max(1, PART_NUMBERS // max(1, n * channels))
    rows = n if each > 1 else max(1, PART_NUMBERS // max(1, channels))
    starts = itertools.product(range(0, records, each), range(0, n, max(1, rows)))
    return [(slice(i, i + each), slice(j, j + rows)) for i, j in starts]


def kept_samples(values: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Return the flagged samples of values (N, *L, C) as (N, n, C): a view if all are flagged."""
    if flags.all():
        return values.reshape(len(values), flags.size, values.shape[-1])
    return values[:, flags]
