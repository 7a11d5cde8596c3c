"""Moments of a regression: sums over rows that suffice for least squares and can be added.

Nuisance columns are eliminated from sums over rows here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..cached import cached_property

# Products of two powers of two up to this exponent stay within float64, also times a Gram of
# numbers of about one.
FAR = 200
# If a projection or a filter keeps less than this share of a square, its sums lose too many digits.
KEPT_SHARE = 0.01
# Largest number of elements of rows that are read more than once (512 KiB).
CACHED_NUMBERS = 2**16


class Units(NamedTuple):
    """Scale and shift of columns and outputs.

    Column j of channel c is read as ``2**-exponents[c] * a[j] - shift[j]``, output q as
    ``2**-out_exponents[q] * y[q] - out_shift[q]``. The powers of two prevent overflow. The shift
    prevents cancellation when x or y has a large offset.

    All taps of a channel share one exponent, so that a basis along the taps can be applied to the
    scaled moments. ``exponents`` may have as many channels as there are columns, for one tap.

    Shapes, for G groups, C channels, P columns and Q outputs per group: ``exponents`` (G, C),
    ``shift`` (G, P), ``out_exponents`` and ``out_shift`` (G, Q).
    """

    exponents: np.ndarray
    shift: np.ndarray
    out_exponents: np.ndarray
    out_shift: np.ndarray

    @classmethod
    def of(
        cls,
        shape: tuple[int, int, int],
        exponents: np.ndarray | int = 0,
        shift: np.ndarray | float = 0.0,
        out_exponents: np.ndarray | int = 0,
        out_shift: np.ndarray | float = 0.0,
    ) -> Units:
        """Return units for a shape (G, P, Q). Values may be given for all columns or outputs."""
        groups, columns, outputs = shape
        channels = np.shape(exponents)[-1] if np.ndim(exponents) else columns
        return cls(
            np.broadcast_to(np.asarray(exponents, int), (groups, channels)),
            np.broadcast_to(np.asarray(shift, float), (groups, columns)),
            np.broadcast_to(np.asarray(out_exponents, int), (groups, outputs)),
            np.broadcast_to(np.asarray(out_shift, float), (groups, outputs)),
        )

    @property
    def column_exponents(self) -> np.ndarray:
        """Exponents (G, P) of the columns."""
        return per_column(self.exponents, self.shift.shape[1])


@dataclass(frozen=True)
class Projection:
    """The projection M = I − N(NᵀN)⁻¹Nᵀ, applied to sums over rows.

    The rows are those of A (n, P), y (n, Q) and N (n, q). Least squares of y on [A N] and of M y on
    M A have the same kernel (Frisch and Waugh, Econometrica 1 (1933) 387; Lovell, J. Am. Stat.
    Assoc. 58 (1963) 993). The projection needs only the sums NᵀA and NᵀY, of A and Y minus any
    constants that N spans. NᵀN is never summed: N is a constant, or orthonormal columns.

    Attributes:
        products: NᵀA (G, q, P) of every group.
        square: the squared norm of a column of N: the number of rows for a constant, or 1.
    """

    products: np.ndarray
    square: float = 1.0

    @property
    def count(self) -> int:
        """Number q of nuisance columns."""
        return self.products.shape[1]

    @cached_property
    def means(self) -> np.ndarray:
        """The fit (NᵀN)⁻¹NᵀA (G, q, P) of the columns. For a bias these are the column means."""
        return self.products / self.square

    def squares(self, of_columns: np.ndarray) -> np.ndarray:
        """Return the squared norms (G, P) of the columns of M A, given the squares of A."""
        if not self.count:
            return of_columns
        return of_columns - np.einsum("gqp,gqp->gp", self.products, self.means)

    def inner(self, gram: np.ndarray, group: int | slice, rows: np.ndarray | slice) -> np.ndarray:
        """Return some rows (k, P) of AᵀMA of one or several groups, given the rows of AᵀA."""
        if not self.count:
            return gram
        products = self.products[group]
        spanned = products[..., rows].swapaxes(-1, -2) @ products
        return gram - (spanned if self.square == 1 else spanned / self.square)

    def cross(self, right: np.ndarray, of_outputs: np.ndarray) -> np.ndarray:
        """Return AᵀM y (G, P, Q), given Aᵀy and NᵀY (G, q, Q)."""
        return right - self.means.swapaxes(1, 2) @ of_outputs if self.count else right

    def output_squares(self, of_outputs: np.ndarray, products: np.ndarray) -> np.ndarray:
        """Return the squared norms (G, Q) of M y, given the squares of y and NᵀY (G, q, Q)."""
        if not self.count:
            return of_outputs
        explained = np.einsum("gkq,gkq->gq", products, products / self.square)
        return np.maximum(of_outputs - explained, 0.0)

    def coefficients(self, of_outputs: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Return the least-squares coefficients (G, q, Q) of N, given NᵀY and w (G, P, Q)."""
        return of_outputs / self.square - self.means @ w


class NuisanceSums(NamedTuple):
    """Products with orthonormal nuisance columns N, in the units of the rows they were summed over.

    Attributes:
        places: (k,), different indices of these columns among all ``total`` nuisance columns.
        total: number q of all columns.
        of_columns: NᵀA (G, k, P).
        of_outputs: NᵀY (G, k, Q).
        of_ones: Nᵀ1 (k,).
        exponents, out_exponents: exponents (G, C) and (G, Q) of columns and outputs.
    """

    places: np.ndarray
    total: int
    of_columns: np.ndarray
    of_outputs: np.ndarray
    of_ones: np.ndarray
    exponents: np.ndarray
    out_exponents: np.ndarray


# Products with no nuisance columns.
NONE = np.zeros((0, 0, 0))


class ResidualSums(NamedTuple):
    """Sums of residuals r over rows. ``+`` joins rows.

    Attributes:
        squares: ‖r‖² (G, Q).
        gradient: Aᵀr (G, P, Q).
        sums: rᵀ1 (G, Q).
        products: Nᵀr (G, q, Q), if there are confounds.
    """

    squares: np.ndarray
    gradient: np.ndarray
    sums: np.ndarray
    products: np.ndarray = NONE

    @classmethod
    def empty(cls, w: np.ndarray) -> ResidualSums:
        """Return the sums of no rows, for w (G, P, Q)."""
        squares, sums = np.zeros((2, len(w), w.shape[2]))
        return cls(squares, np.zeros_like(w), sums)

    @classmethod
    def of(cls, a: np.ndarray, r: np.ndarray) -> ResidualSums:
        """Return the sums of rows a (G, n, P) and r (G, n, Q)."""
        return cls(np.einsum("gnq,gnq->gq", r, r), a.swapaxes(1, 2) @ r, r.sum(1))

    def __add__(self, other: Any) -> ResidualSums:
        return ResidualSums(*(a + b for a, b in zip(self, other, strict=True)))


class Normal(NamedTuple):
    """AᵀMA (G, P, P), AᵀMY (G, P, Q) and the squares (G, Q) of M Y."""

    gram: np.ndarray
    cross: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True)
class Moments:
    """Second moments of rows (a, y), one set per group. ``+`` joins rows.

    Columns are ordered by tap, then by channel. ``+`` aligns the units of both operands.

    Attributes:
        gram: AᵀA (G, P, P).
        rhs: AᵀY (G, P, Q).
        sums: sums (G, P) of the columns.
        out_sums, out_squares: sums and sums of squares (G, Q) of the outputs.
        n: number of rows.
        units: units in which columns and outputs are read.
        constant: whether a constant is fitted in addition to the columns. `eliminated` and the
            other results of `projection` are then about the means.
        nuisance: products with other nuisance columns, which are always fitted, of every chunk that
            was added.
        weight: the sum of the weights of the rows, if they have weights. ``sums`` and ``out_sums``
            are then products with the roots of the weights, which is what a constant becomes.
        by_rows: whether rows were formed, for every chunk that was added.
    """

    gram: np.ndarray
    rhs: np.ndarray
    sums: np.ndarray
    out_sums: np.ndarray
    out_squares: np.ndarray
    n: int
    units: Units
    constant: bool = False
    nuisance: tuple[NuisanceSums, ...] = ()
    weight: float | None = None
    by_rows: tuple[bool, ...] = ()

    @property
    def ones_square(self) -> float:
        """Square of the norm of a constant: the number of rows, or the sum of their weights."""
        return float(self.n) if self.weight is None else self.weight

    @classmethod
    def from_rows(
        cls, a: np.ndarray, y: np.ndarray, units: Units | None = None, constant: bool = False
    ) -> Moments:
        """Return the moments of rows a (G, n, P) and y (G, n, Q), already scaled and shifted."""
        groups, n, columns = a.shape
        outputs = y.shape[-1]
        gram, rhs = np.empty((groups, columns, columns)), np.empty((groups, columns, outputs))
        sums = np.empty((groups, columns))
        for some in groups_at_once(a):
            at = a[some].transpose(0, 2, 1)
            # The product of one array with itself takes half the time in BLAS.
            np.matmul(at, a[some], out=gram[some])
            np.matmul(at, y[some], out=rhs[some])
            # Same as a.sum(1), but four times as fast for few columns.
            np.einsum("gnp->gp", a[some], out=sums[some])
        squares = np.einsum("gnq,gnq->gq", y, y)
        units = Units.of((groups, columns, outputs)) if units is None else units
        return cls(gram, rhs, sums, y.sum(1), squares, n, units, constant)

    @classmethod
    def of_columns(
        cls,
        sums: np.ndarray,
        squares: np.ndarray,
        n: int,
        exponents: np.ndarray,
        shift: np.ndarray,
        constant: bool,
    ) -> Moments:
        """Return the moments of every column as a group of its own, given sums and squares (G, P).

        They have the norms of the columns without their Gram matrix. ``exponents`` and ``shift``
        are (G, P).
        """
        count = sums.size
        none = np.zeros((count, 0))
        units = Units(exponents.reshape(-1, 1), shift.reshape(-1, 1), none.astype(int), none)
        gram, rhs = squares.reshape(-1, 1, 1), np.zeros((count, 1, 0))
        return cls(gram, rhs, sums.reshape(-1, 1), none, none, n, units, constant)

    @classmethod
    def empty(cls, groups: int, columns: int, outputs: int) -> Moments:
        """Return the moments of no rows, the neutral element of ``+``."""
        return cls.from_rows(np.zeros((groups, 0, columns)), np.zeros((groups, 0, outputs)))

    def __add__(self, other: Moments) -> Moments:
        if not isinstance(other, Moments):
            return NotImplemented
        if (self.gram.shape, self.rhs.shape) != (other.gram.shape, other.rhs.shape):
            raise ValueError(
                f"moments of (groups, columns, outputs) {self.rhs.shape} and {other.rhs.shape} "
                "do not add up"
            )
        if not self.n or not other.n:
            return other if not self.n else self
        mine, others = self._zero, other._zero
        a, b = self.units, other.units
        units = a._replace(
            exponents=_larger(a.exponents, mine[0], b.exponents, others[0]),
            out_exponents=_larger(a.out_exponents, mine[1], b.out_exponents, others[1]),
        )
        left = self.rescaled(units.exponents, units.out_exponents)
        right = other.in_units(left.units)
        return replace(
            left,
            gram=left.gram + right.gram,
            rhs=left.rhs + right.rhs,
            sums=left.sums + right.sums,
            out_sums=left.out_sums + right.out_sums,
            out_squares=left.out_squares + right.out_squares,
            n=left.n + right.n,
            nuisance=left.nuisance + right.nuisance,
            weight=None if self.weight is None else left.ones_square + right.ones_square,
            by_rows=left.by_rows + right.by_rows,
        )

    @property
    def _zero(self) -> tuple[np.ndarray, np.ndarray]:
        """Flags of the channels (G, C) and outputs (G, Q) that are zero in all rows.

        Zeros fit any exponent.
        """
        squares = np.linalg.diagonal(self.gram), self.out_squares
        shifts = self.units.shift, self.units.out_shift
        pairs = zip(squares, (self.sums, self.out_sums), shifts, strict=True)
        columns, outputs = ((s == 0) & (t == 0) & (shift == 0) for s, t, shift in pairs)
        groups, channels = self.units.exponents.shape
        taps = columns.shape[1] // max(1, channels)
        return columns.reshape(groups, taps, channels).all(1), outputs

    # --- other units and columns

    def of_group(self, group: int) -> Moments:
        """Return the moments of one group."""
        one = slice(group, group + 1)
        return replace(
            self,
            gram=self.gram[one],
            rhs=self.rhs[one],
            sums=self.sums[one],
            out_sums=self.out_sums[one],
            out_squares=self.out_squares[one],
            units=Units(*(a[one] for a in self.units)),
            nuisance=tuple(
                part._replace(
                    of_columns=part.of_columns[one],
                    of_outputs=part.of_outputs[one],
                    exponents=part.exponents[one],
                    out_exponents=part.out_exponents[one],
                )
                for part in self.nuisance
            ),
        )

    def with_zero_columns(self, live: np.ndarray) -> Moments:
        """Return the moments with columns set to zero where ``live`` (G, P) is False."""
        if live.all():
            return self
        live = live.reshape(self.sums.shape)  # also for moments of every column on its own
        return replace(
            self,
            gram=self.gram * live[:, :, None] * live[:, None],
            rhs=self.rhs * live[:, :, None],
            sums=self.sums * live,
            nuisance=self.each_column(lambda a: a * live[:, None]),
        )

    def with_zero_outputs(self, live: np.ndarray) -> Moments:
        """Return the moments with outputs set to zero where ``live`` (G, Q) is False."""
        if live.all():
            return self
        return replace(
            self,
            rhs=self.rhs * live[:, None],
            out_sums=self.out_sums * live,
            out_squares=self.out_squares * live,
            nuisance=tuple(
                part._replace(of_outputs=part.of_outputs * live[:, None]) for part in self.nuisance
            ),
        )

    def each_column(self, of: Callable[[np.ndarray], np.ndarray]) -> tuple[NuisanceSums, ...]:
        """Apply a function to the products (G, k, P) of nuisance columns and columns."""
        return tuple(part._replace(of_columns=of(part.of_columns)) for part in self.nuisance)

    def in_units(self, units: Units) -> Moments:
        """Return the moments of the same rows in other units."""
        found = self.rescaled(units.exponents, units.out_exponents)
        return found.shifted(units.shift, units.out_shift)

    def rescaled(self, exponents: np.ndarray, out_exponents: np.ndarray) -> Moments:
        """Return the moments of the same rows with other exponents, which is exact."""
        u = self.units
        e, f = u.exponents - exponents, u.out_exponents - out_exponents
        e = per_column(e, self.gram.shape[1])
        if not e.any() and not f.any():
            return self
        shift, out_shift = np.ldexp(u.shift, e), np.ldexp(u.out_shift, f)
        return replace(
            self,
            gram=_scaled_twice(self.gram, e),
            rhs=np.ldexp(self.rhs, e[:, :, None] + f[:, None, :]),
            sums=np.ldexp(self.sums, e),
            out_sums=np.ldexp(self.out_sums, f),
            out_squares=np.ldexp(self.out_squares, 2 * f),
            units=Units(exponents, shift, out_exponents, out_shift),
        )

    def shifted(self, shift: np.ndarray, out_shift: np.ndarray) -> Moments:
        """Return the moments of the same rows with another shift.

        With Δ the change, G becomes G + sΔᵀ + Δsᵀ + nΔΔᵀ, for n rows of weight one.
        """
        delta, eps = self.units.shift - shift, self.units.out_shift - out_shift
        if not delta.any() and not eps.any():
            return self
        s, t, n = self.sums, self.out_sums, self.ones_square
        cross = np.einsum("gp,gq->gpq", s, delta)
        return replace(
            self,
            gram=self.gram
            + cross
            + cross.transpose(0, 2, 1)
            + n * np.einsum("gp,gq->gpq", delta, delta),
            rhs=self.rhs
            + np.einsum("gp,gq->gpq", s, eps)
            + np.einsum("gp,gq->gpq", delta, t)
            + n * np.einsum("gp,gq->gpq", delta, eps),
            sums=s + n * delta,
            out_sums=t + n * eps,
            out_squares=self.out_squares + 2 * t * eps + n * eps**2,
            units=self.units._replace(shift=shift, out_shift=out_shift),
        )

    # --- nuisance columns eliminated

    @cached_property
    def _joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Products (G, q, P), (G, q, Q) and (q,) of A, Y and ones with orthonormal columns N."""
        groups, columns, outputs = self.rhs.shape
        count = self.nuisance[0].total if self.nuisance else 0
        of_columns, of_outputs = (
            np.zeros((count, groups, columns)),
            np.zeros((count, groups, outputs)),
        )
        of_ones, u = np.zeros(count), self.units
        for part in self.nuisance:
            e = per_column(part.exponents - u.exponents, columns)
            scaled = np.ldexp(part.of_columns, e[:, None]).swapaxes(0, 1)
            of_y = np.ldexp(part.of_outputs, (part.out_exponents - u.out_exponents)[:, None])
            of_y = of_y.swapaxes(0, 1)
            of_columns[part.places] += scaled
            of_outputs[part.places] += of_y
            of_ones[part.places] += part.of_ones
        return of_columns.swapaxes(0, 1), of_outputs.swapaxes(0, 1), of_ones

    @property
    def means(self) -> np.ndarray:
        """Column means (G, P), other nuisance columns than a constant projected out."""
        found = self.sums
        if self.nuisance:
            of_columns, _, of_ones = self._joined
            found = found - of_ones @ of_columns
        return found / (self.ones_square or 1.0)

    @property
    def out_means(self) -> np.ndarray:
        """Means (G, Q) of the outputs, other nuisance columns than a constant projected out."""
        _, of_outputs, of_ones = self._joined
        return (self.out_sums - of_ones @ of_outputs) / (self.ones_square or 1.0)

    @property
    def about_means(self) -> Units:
        """Units whose shift includes the means of the columns and outputs."""
        u = self.units
        return u._replace(shift=u.shift + self.means, out_shift=u.out_shift + self.out_means)

    @cached_property
    def projection(self) -> Projection:
        """The projection of the nuisance columns that are fitted."""
        if not self.nuisance:
            of_ones = self.sums[:, None][:, : int(self.constant)]
            return Projection(of_ones, self.ones_square or 1.0)
        of_columns, root = self._joined[0], math.sqrt(self.ones_square)
        if self.constant:
            of_columns = np.concatenate([of_columns, root * self.means[:, None]], axis=1)
        return Projection(of_columns)

    @cached_property
    def nuisance_rhs(self) -> np.ndarray:
        """NᵀY (G, q, Q)."""
        if not self.nuisance:
            return self.out_sums[:, None][:, : int(self.constant)]
        of_outputs, root = self._joined[1], math.sqrt(self.ones_square)
        if not self.constant:
            return of_outputs
        return np.concatenate([of_outputs, root * self.out_means[:, None]], axis=1)

    def without_constant(self) -> Moments:
        """Return the moments if nothing of a constant is left once other columns are fitted."""
        none = np.zeros(self.sums.shape), np.zeros(self.out_sums.shape)
        return replace(self, sums=none[0], out_sums=none[1], weight=0.0)

    def with_constant(self) -> Moments:
        """Return the moments of the same rows, with a constant fitted."""
        return replace(self, constant=True)

    def inner(self, group: int | slice, rows: np.ndarray | slice) -> np.ndarray:
        """Return some rows (k, P) of AᵀMA of one or several groups."""
        return self.projection.inner(self.gram[group, rows], group, rows)

    @property
    def cross(self) -> np.ndarray:
        """AᵀMY (G, P, Q)."""
        return self.projection.cross(self.rhs, self.nuisance_rhs)

    @property
    def squares(self) -> np.ndarray:
        """Squared norms (G, P) of the columns of M A."""
        return self.projection.squares(self.gram.diagonal(0, 1, 2))

    @property
    def out_squares_left(self) -> np.ndarray:
        """Squared norms (G, Q) of the columns of M Y."""
        return self.projection.output_squares(self.out_squares, self.nuisance_rhs)

    @property
    def projected(self) -> Moments:
        """The moments of rows with the nuisance columns, other than a constant, projected out.

        They can be added to moments of rows that have other nuisance columns.
        """
        if not self.nuisance:
            return self
        of_ones = self._joined[2]
        own = self._without(slice(None))
        sums = self.sums - of_ones @ self._joined[0], self.out_sums - of_ones @ self._joined[1]
        return replace(own, sums=sums[0], out_sums=sums[1])

    def with_last_as_constant(self, norm: float) -> Moments:
        """Return the moments with the last nuisance column as the constant that is fitted.

        The other nuisance columns are projected out. The last column is the constant divided by its
        ``norm``, times the roots of weights.
        """
        of_columns, of_outputs, _ = self._joined
        sums = norm * of_columns[:, -1], norm * of_outputs[:, -1]
        own = self._without(slice(-1))
        return replace(own, sums=sums[0], out_sums=sums[1], constant=True, weight=norm**2)

    def _without(self, some: slice) -> Moments:
        """Return products of rows with some of the nuisance columns projected out."""
        of_columns, of_outputs, _ = self._joined
        projection, products = Projection(of_columns[:, some]), of_outputs[:, some]
        every = slice(None)
        return replace(
            self,
            gram=projection.inner(self.gram, every, every),
            rhs=projection.cross(self.rhs, products),
            out_squares=projection.output_squares(self.out_squares, products),
            nuisance=(),
        )

    def eliminated(self) -> Normal:
        """Return the normal equations with the nuisance columns projected out."""
        every = slice(None)
        return Normal(self.inner(every, every), self.cross, self.out_squares_left)


def per_column(per_channel: np.ndarray, columns: int) -> np.ndarray:
    """Repeat values (G, C) of channels for every tap, giving values (G, P) of columns."""
    if per_channel.shape[1] == columns:
        return per_channel
    # As np.tile, in a fraction of the time.
    return per_channel[:, _channels_of(columns, per_channel.shape[1])]


@lru_cache(maxsize=64)
def _channels_of(columns: int, channels: int) -> np.ndarray:
    return np.arange(columns) % max(1, channels)


def _larger(a: np.ndarray, no_a: np.ndarray, b: np.ndarray, no_b: np.ndarray) -> np.ndarray:
    """Return the larger of two exponents, ignoring one that belongs to zeros."""
    return np.asarray(np.where(no_a & ~no_b, b, np.where(no_b & ~no_a, a, np.maximum(a, b))))


def scaled_columns(by_channel: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Return values of all channels (Cin,) for columns (G, P) in units of 2**exponents (G, P)."""
    groups, columns = exponents.shape
    return np.ldexp(per_column(by_channel.reshape(groups, -1), columns), -exponents)


def groups_at_once(a: np.ndarray) -> list[slice]:
    """Return slices of the groups of rows (G, n, P) that fit in the cache of a core."""
    step = max(1, CACHED_NUMBERS // max(1, a[0].size))
    return [slice(first, first + step) for first in range(0, len(a), step)]


def _scaled_twice(gram: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Scale the rows and columns of a Gram matrix (G, P, P) by two to the exponents (G, P)."""
    if np.abs(exponents).max(initial=0) > FAR:
        return np.ldexp(gram, exponents[:, :, None] + exponents[:, None, :])
    # This is also exact as long as no product leaves the range of float64, and ten times as fast.
    scale = np.ldexp(1.0, exponents)
    found = gram * scale[:, :, None]
    found *= scale[:, None, :]
    return found
