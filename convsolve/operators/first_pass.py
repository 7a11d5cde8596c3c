"""The first pass over the rows of a design matrix: units, norms, and what N fits of the columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .by_rows import LEAST_SQUARE
from .chunk import NO_FITS, Fits
from .chunk_sums import output_totals, totals
from .chunks import Chunks, Outputs
from .combinations import combined
from .moments import KEPT_SHARE, Moments, Units, per_column, scaled_columns
from .trends import Subtracted, Trends, beyond_rounding


class Columns(NamedTuple):
    """The columns of A and M A, for P columns of C channels and q nuisance columns.

    Attributes:
        exponents, shift: (G, C) and (G, P), the units of the columns.
        norms: (G, P), of the columns of M A.
        means: (G, P), of the columns of M A, M without a constant, after the shift.
        products: NᵀA (G, q, P).
        fit: coefficients (G, q, P) of N that were subtracted from the columns before, or None.
        live: flags (G, P) of the columns that are more than rounding. The others are zero.
        by_rows: flags of the chunks that have to be summed by rows.
    """

    exponents: np.ndarray
    shift: np.ndarray
    norms: np.ndarray
    means: np.ndarray
    products: np.ndarray
    fit: np.ndarray | None
    live: np.ndarray
    by_rows: tuple[bool, ...]

    @property
    def column_exponents(self) -> np.ndarray:
        """Exponents (G, P) of the columns."""
        return per_column(self.exponents, self.shift.shape[1])

    @property
    def fits(self) -> tuple[np.ndarray, ...]:
        """Coefficients (G, q, P) of N, to be subtracted from A one after the other."""
        return (self.products,) if self.fit is None else (self.fit, self.products)


class OutputSums(NamedTuple):
    """Sums over the rows of outputs Y.

    Attributes:
        exponents, shift: (G, Q), the units of the outputs.
        sums, squares: (G, Q), sums and sums of squares.
        products: NᵀY (G, q, Q).
        fit: coefficients (G, q, Q) of N that were subtracted from Y before, or None.
        live: flags (G, Q) of the outputs that are more than rounding. The others are zero.
    """

    exponents: np.ndarray
    shift: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    products: np.ndarray
    fit: np.ndarray | None
    live: np.ndarray

    @property
    def whole_fit(self) -> np.ndarray:
        """The fit (G, q, Q) of orthonormal columns N to Y."""
        return self.products if self.fit is None else self.products + self.fit

    def combined(self, weights: np.ndarray) -> OutputSums:
        """Return the sums of `Combinations` of the shifted outputs, for random weights (G, Q, s).

        The squares are expected values for weights of mean zero. Combinations have no unit.
        """
        sums = combined(self.sums[:, None], weights)[:, 0]
        squares = combined(self.squares[:, None], np.square(weights))[:, 0]
        none, live = np.zeros(sums.shape), np.ones(sums.shape, bool)
        products = combined(self.products, weights)
        fit = None if self.fit is None else combined(self.fit, weights)
        return OutputSums(none.astype(int), none, sums, squares, products, fit, live)


@dataclass(frozen=True)
class Pass:
    """The moments of a pass over x and y, if they are kept, and facts about columns and outputs."""

    moments: Moments | None
    columns: Columns
    outputs: OutputSums | None


class FirstPass:
    """Sums over the rows of A and of outputs, with which all later passes begin.

    If means or confounds are so large that their elimination from the sums would lose digits, a
    second pass sums about their fit.
    """

    def __init__(self, chunks: Chunks) -> None:
        self._chunks, self._nuisance = chunks, chunks.nuisance
        self._shape = chunks.groups, chunks.columns
        self._every = np.ones(self._shape, bool)

    def of(self, outputs: Outputs | None, columns_only: bool = False) -> Pass:
        """Return sums over the rows of A and some outputs, or of each column on its own."""
        m, before, fits = self._sums(totals, outputs, columns_only)
        columns = self._columns(m, self._every)
        if self._nuisance.confounds is not None:
            m, columns = self._with_confounds(m, outputs, columns_only, fits)
        elif not columns_only and any(m.by_rows) and _squares(m).min() < LEAST_SQUARE:
            alone = self.of(None, columns_only=True).columns
            finer = alone.column_exponents - columns.column_exponents
            columns = columns._replace(norms=np.ldexp(alone.norms, finer))
        if outputs is None:
            return Pass(m, columns, None)
        sums = self._outputs(outputs, m, before, fits.y)
        return Pass(m.with_zero_outputs(sums.live), columns, sums)

    def of_outputs(self, outputs: Outputs) -> OutputSums:
        """Return sums over the rows of outputs alone."""
        m, before, fits = self._sums(output_totals, outputs)
        return self._outputs(outputs, m, before, fits.y)

    def _sums(
        self, task: Callable[..., Any], outputs: Outputs | None, *given: Any
    ) -> tuple[Moments, Moments | None, Fits]:
        """Return the sums of a task, from whose outputs means and confounds can be eliminated.

        Returns:
            The sums, those before the fit of the confounds was subtracted from the outputs if it
            was, and this fit.
        """
        m: Moments = self._chunks.sum(task, outputs, *given)
        again = cancels(m.out_squares_left, m.out_squares)
        if self._nuisance.constant:
            if again or cancels(m.squares, _squares(m)):
                m = self._chunks.sum(task, outputs, *given, m.about_means)
            return m, None, NO_FITS
        if not again:
            return m, None, NO_FITS
        fits = Fits(y=in_user_units(m.nuisance_rhs, m.units.out_exponents))
        return self._chunks.sum(task, outputs, *given, fits=fits), m, fits

    def _with_confounds(
        self, m: Moments, outputs: Outputs | None, columns_only: bool, fits: Fits
    ) -> tuple[Moments, Columns]:
        """Return moments and columns, with columns of rounding set to zero.

        If eliminating the confounds from the columns would lose digits, their fit is subtracted in
        another pass.
        """
        columns, trends = self._columns(m, self._every), self._chunks.x_trends
        finer = m.units.column_exponents.reshape(self._shape) - columns.column_exponents
        with np.errstate(under="ignore"):
            whole = np.ldexp(_squares(m).reshape(self._shape), 2 * finer)
        # A difference of sums does not show whether more than rounding is left of other columns.
        live = self._live(trends, whole, whole, columns.column_exponents)
        m = m.with_zero_columns(live)
        columns = self._columns(m, live)
        if not cancels(np.square(columns.norms), whole * live):
            return m, columns
        fit, e = columns.products, columns.column_exponents
        fits = fits._replace(x=(in_user_units(fit, e),))
        m = self._chunks.sum(totals, outputs, columns_only, fits=fits)
        columns = self._columns(m, live)
        squares = np.ldexp(whole, 2 * (e - columns.column_exponents)), np.square(columns.norms)
        live = live & self._live(trends, *squares, columns.column_exponents)
        m = m.with_zero_columns(live)
        columns = self._columns(m, live)
        return m, columns._replace(fit=np.ldexp(fit, (e - columns.column_exponents)[:, None]))

    def _columns(self, m: Moments, live: np.ndarray) -> Columns:
        """Return the columns in moments, or in moments of every column on its own."""
        exponents, shift, means = m.units.exponents, m.units.shift, m.means
        norms = np.sqrt(np.maximum(m.squares, 0.0))
        products = m.projection.products
        if m.gram.shape[:2] != self._shape:
            e = exponents.reshape(self._shape)
            # A column of zeros may have any exponent.
            used = np.where(m.gram.reshape(self._shape) > 0, e, e.min())
            exponents = used.reshape(len(e), -1, self._chunks.channels).max(1)
            finer = e - per_column(exponents, e.shape[1])
            products = products.reshape(*self._shape, -1).swapaxes(1, 2)
            with np.errstate(under="ignore"):
                norms, shift, means = (
                    np.ldexp(a.reshape(self._shape), finer) for a in (norms, shift, means)
                )
                products = np.ldexp(products, finer[:, None])
        return Columns(exponents, shift, norms, means, products, None, live, m.by_rows)

    def _outputs(
        self,
        outputs: Outputs,
        m: Moments,
        before: Moments | None = None,
        y_fit: np.ndarray | None = None,
    ) -> OutputSums:
        """Return the sums of outputs in moments, with outputs of rounding set to zero.

        The moments ``before`` are those before ``y_fit`` (q, Cout) was subtracted, which is in the
        user's units.
        """
        exponents, shift = m.units.out_exponents, m.units.out_shift
        live = np.ones(exponents.shape, bool)
        if self._nuisance.confounds is not None:
            whole = left = m.out_squares
            if before is not None:
                finer = before.units.out_exponents - exponents
                whole, left = np.ldexp(before.out_squares, 2 * finer), m.out_squares_left
            live = self._live(outputs.trends, whole, left, exponents)
            m = m.with_zero_outputs(live)
        fit = None
        if y_fit is not None:
            fit = y_fit.reshape(len(y_fit), len(exponents), -1).swapaxes(0, 1)
            fit = np.ldexp(fit, -exponents[:, None])
        sums = m.out_sums, m.out_squares, m.nuisance_rhs
        return OutputSums(exponents, shift, *sums, fit, live)

    def _live(
        self,
        trends: Sequence[Trends],
        whole: np.ndarray,
        left: np.ndarray,
        exponents: np.ndarray,
    ) -> np.ndarray:
        """Return flags (G, P) of columns beyond the rounding error of everything subtracted.

        ``whole`` and ``left`` are the squares of the columns, or of outputs (G, Q), before and
        after the projection.
        """
        confounds = self._nuisance.confounds
        assert confounds is not None
        subtracted = Subtracted(np.zeros(1), np.zeros(1), False)
        if trends:
            subtracted = trends[0].subtracted()
            size, trend = (scaled_columns(each, exponents) for each in subtracted[:2])
            subtracted = subtracted._replace(size=size, trend=trend)
        rows, weight = self._chunks.rows, confounds.total_weight
        return beyond_rounding(whole, left, subtracted, rows, weight)


def units_of(columns: Columns, out: OutputSums | None) -> Units:
    """Return the units of columns, and of outputs."""
    none = np.zeros((len(columns.shift), 0))
    of_y = (none.astype(int), none) if out is None else (out.exponents, out.shift)
    return Units(columns.exponents, columns.shift, *of_y)


def _squares(m: Moments) -> np.ndarray:
    """Return the squares of the columns of A, not projected."""
    return m.gram.diagonal(0, 1, 2)


def in_user_units(fit: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Return a fit (G, q, Q) to Y in units of 2**exponents as a fit (q, Cout) to y."""
    with np.errstate(under="ignore"):
        return flat(np.ldexp(fit, exponents[:, None]))


def flat(fit: np.ndarray) -> np.ndarray:
    """Return a fit (G, q, P) of all groups as one (q, G·P)."""
    groups, count, columns = fit.shape
    return fit.swapaxes(0, 1).reshape(count, groups * columns)


def cancels(left: np.ndarray, whole: np.ndarray) -> bool:
    """Return whether a projection leaves too few digits of any square that is not zero."""
    return not ((left > KEPT_SHARE * whole) | (whole == 0)).all()
