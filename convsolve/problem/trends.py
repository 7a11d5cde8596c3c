"""Exact subtraction of the polynomials in time, or the constant, that nuisance columns span."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..cached import cached_property
from ..parallel import in_order
from .channels import PART_NUMBERS, on_cores, with_channels
from .polynomials import EPS, Polynomials, fitted, used_range

# A remainder below this share of the original values is rounding.
ROUNDING = 32 * EPS
# A column that is more than a constant has at least this share of the square of the last place of a
# sample left.
LEAST_SHARE = 1e-4
# Some of the records, and some of their samples.
Part = tuple[slice, slice]


class Subtracted(NamedTuple):
    """Root mean squares of the values that were subtracted from samples, per channel or column.

    Attributes:
        size: of constants and polynomials.
        trend: of the polynomials about their means, in the samples that they were fitted to.
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


class Detrended(NamedTuple):
    """Values from which constants and polynomials were subtracted exactly.

    Attributes:
        values: (N, n, C) of each set of records.
        constant: (C,), subtracted from all records. Zero unless the records share one constant.
        left: (C,), sum of squares of the values.
        subtracted: sizes of everything subtracted.
    """

    values: list[np.ndarray]
    constant: np.ndarray
    left: np.ndarray
    subtracted: Subtracted


def without_trends(
    values: Sequence[np.ndarray],
    places: Sequence[np.ndarray],
    scale: np.ndarray,
    degree: int,
    shared: bool,
    recorded: Sequence[np.ndarray] | None = None,
) -> Detrended:
    """Subtract polynomials in time from every record, or one constant from all records.

    Projection on a computed basis alone would leave the rounding error of an offset in the data.

    Args:
        values: (N, n, C) for each set of N records with the same places.
        places: flags (*L) of the n samples, for each set of records.
        scale: powers of two (C,) that multiply the values first.
        degree: degree of the polynomials of every record; -1 for none.
        shared: whether one constant of all records is subtracted instead.
        recorded: flags (n,) of the samples to which the polynomials are fitted; all by default.
            Samples of zero padding do not belong to the trend.
    """
    if recorded is None:
        recorded = [np.ones(v.shape[1], bool) for v in values]
    used = [at[used_range(at)] for at in places]
    known = {shape: Polynomials.of(shape, max(degree, 0)) for shape in {u.shape for u in used}}
    sets = [
        _RecordSet(v, scale, known[at.shape].some(at), some)
        for v, at, some in zip(values, used, recorded, strict=True)
    ]
    samples, counted = (
        max(1, sum(getattr(each, name) for each in sets)) for name in ("samples", "counted")
    )
    constant = np.zeros(len(scale))
    for each in sets if shared else ():
        constant += each.products(each.scaled)[:, 0].sum(0) / counted
    left = [each.without(constant) if degree < 0 else each.without_polynomials() for each in sets]
    squares = np.sum([sum_of_squares(v) for v in left], axis=0)
    size, trend = np.sum([each.squares for each in sets], axis=0)
    subtracted = Subtracted(np.sqrt(size / samples), np.sqrt(trend / counted), degree > 0)
    return Detrended(left, constant, squares, subtracted)


def kept_samples(values: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Return the flagged samples of values (N, *L, C) as (N, n, C): a view if all are flagged."""
    if flags.all():
        return values.reshape(len(values), flags.size, values.shape[-1])
    return values[:, flags]


def scaled_back(values: np.ndarray, real: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Return values (..., C) times 2**exponents, or zero if not ``real``.

    The values are overwritten if possible.
    """
    if np.abs(exponents).max(initial=0) < 1000:
        return with_channels(np.multiply, values, np.ldexp(real.astype(float), exponents), values)
    return np.ldexp(values * real, exponents)  # the power of two alone may be beyond float64


def sum_of_squares(values: np.ndarray) -> np.ndarray:
    """Return the sums of squares (C,) of values (..., C)."""
    return on_cores(np.add, values, np.square)


class _RecordSet:
    """A set of records (N, n, C) with the same columns of polynomials (n, J), and their fit.

    Attributes:
        samples: number of samples of all records.
        counted: number of samples that the polynomials are fitted to.
        coefs: (N, J, C), coefficients of everything subtracted.
    """

    def __init__(
        self, values: np.ndarray, scale: np.ndarray, trend: Polynomials, recorded: np.ndarray
    ) -> None:
        self._values, self._scale, self._trend = values, scale, trend
        self._recorded = int(np.count_nonzero(recorded))
        self._fitted = trend.columns
        if self._recorded < len(recorded):
            self._fitted = trend.columns * recorded[:, None]
        records, n, channels = values.shape
        self.samples, self.counted = records * n, records * self._recorded
        self.coefs = np.zeros((records, self._fitted.shape[1], channels))
        each = max(1, PART_NUMBERS // max(1, n * channels))
        rows = n if each > 1 else max(1, PART_NUMBERS // channels)
        starts = itertools.product(range(0, records, each), range(0, n, rows))
        self._parts = [(slice(i, i + each), slice(j, j + rows)) for i, j in starts]

    def scaled(self, part: Part) -> np.ndarray:
        """Return some values times the scale."""
        return with_channels(np.multiply, self._values[part], self._scale)

    def products(self, read: Callable[[Part], np.ndarray]) -> np.ndarray:
        """Return the products (N, J, C) of the columns and the values that ``read`` returns."""

        def task(part: Part) -> np.ndarray:
            return self._fitted[part[1]].T @ read(part)

        total = np.zeros(self.coefs.shape)
        for (records, _), found in zip(self._parts, in_order(task, self._parts), strict=True):
            total[records] += found
        return total

    def without(self, constant: np.ndarray) -> np.ndarray:
        """Subtract a constant (C,)."""
        self.coefs[:, 0] = constant
        left = self.scaled((slice(None), slice(None)))
        return with_channels(np.subtract, left, constant, left)

    def without_polynomials(self) -> np.ndarray:
        """Subtract the polynomials that fit every record."""
        left = np.empty(self._values.shape)
        coefs = self._fit(self.products(self.scaled))

        def subtracted(part: Part) -> np.ndarray:
            records, rows = part
            left[part] = self._trend.some(rows).subtract(self.scaled(part), coefs[records])
            return left[part]

        # The rounding error of the coefficients leaves small polynomials.
        rest = self._fit(self.products(subtracted))

        def correct(part: Part) -> None:
            records, rows = part
            left[part] = self._trend.some(rows).subtract_small(left[part], rest[records])

        for _ in in_order(correct, self._parts):
            pass
        self.coefs = coefs + rest
        return left

    def _fit(self, products: np.ndarray) -> np.ndarray:
        """Return the coefficients (N, J, C) of polynomials for `products` with the records."""
        mean = products[:, 0] / max(1, self._recorded)
        centred = products - self._gram[:, :1] * mean[:, None]
        return fitted(self._gram, centred, mean)

    @cached_property
    def _gram(self) -> np.ndarray:
        return self._fitted.T @ self._fitted

    @property
    def squares(self) -> np.ndarray:
        """Sums of squares (2, C) of the subtracted polynomials, in all samples, and about their
        means in the samples that they were fitted to.
        """
        whole = self._gram
        if self._fitted is not self._trend.columns:
            whole = self._trend.columns.T @ self._trend.columns
        return np.array([self._norms(g) for g in (whole, _centred(self._gram))])

    def _norms(self, gram: np.ndarray) -> np.ndarray:
        """Return the sums of squares (C,) of polynomials with the inner products ``gram``."""
        return np.maximum((self.coefs * (gram @ self.coefs)).sum((0, 1)), 0.0)


def _centred(gram: np.ndarray) -> np.ndarray:
    """Return the inner products of columns about their means. The first column is one."""
    return gram - np.outer(gram[0], gram[0]) / max(1.0, gram[0, 0])
