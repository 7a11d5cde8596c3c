"""Second moments of rows in units of their own, of which scores of folds and groups are made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..leastsquares.design import Design
from ..operators.design_matrix import Targets
from ..operators.tap_basis import TapBasis


class Units(NamedTuple):
    """Column j of channel c is read as ``2**-exponents[c] * a[j] - shift[j]``, as are outputs.

    Shapes, for G groups, C channels, P columns and Q outputs per group: ``exponents`` (G, C),
    ``shift`` (G, P), ``out_exponents`` and ``out_shift`` (G, Q).
    """

    exponents: np.ndarray
    shift: np.ndarray
    out_exponents: np.ndarray
    out_shift: np.ndarray

    @property
    def column_exponents(self) -> np.ndarray:
        """Exponents (G, P) of the columns."""
        return per_column(self.exponents, self.shift.shape[1])


class Normal(NamedTuple):
    """AᵀMA (G, P, P), AᵀMY (G, P, Q) and the squares (G, Q) of M Y."""

    gram: np.ndarray
    cross: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True)
class Moments:
    """Second moments of rows (a, y), one set per group; ``+`` joins rows in the same units.

    Confounds are projected out.

    Attributes:
        gram: AᵀA (G, P, P).
        rhs: AᵀY (G, P, Q).
        sums: sums (G, P) of the columns, times the roots of weights.
        out_sums, out_squares: sums and sums of squares (G, Q) of the outputs.
        n: number of rows.
        ones_square: the same, or the sum of their weights.
        units: units in which columns and outputs are read.
        constant: whether a constant is fitted in addition to the columns.
    """

    gram: np.ndarray
    rhs: np.ndarray
    sums: np.ndarray
    out_sums: np.ndarray
    out_squares: np.ndarray
    n: int
    ones_square: float
    units: Units
    constant: bool

    @classmethod
    def from_rows(
        cls, a: np.ndarray, y: np.ndarray, units: Units | None, constant: bool
    ) -> Moments:
        """Return the moments of rows a (G, n, P) and y (G, n, Q), already in some units."""
        at, n = a.swapaxes(1, 2), a.shape[1]
        sums = at @ a, at @ y, a.sum(1), y.sum(1), np.einsum("gnq,gnq->gq", y, y)
        zeros = np.zeros(sums[2].shape), np.zeros(sums[3].shape)
        units = units or Units(zeros[0].astype(int), zeros[0], zeros[1].astype(int), zeros[1])
        return cls(*sums, n, float(n), units, constant)

    def __add__(self, other: Moments) -> Moments:
        pairs = zip(vars(self).items(), vars(other).values(), strict=True)
        added = {n: a + b for (n, a), b in pairs if n not in ("units", "constant")}
        return replace(self, **added)

    # --- other units and columns

    def of_group(self, group: int) -> Moments:
        """Return the moments of one group."""
        one = slice(group, group + 1)
        arrays: dict[str, Any] = {
            n: a[one] for n, a in vars(self).items() if isinstance(a, np.ndarray)
        }
        return replace(self, **arrays, units=Units(*(a[one] for a in self.units)))

    def with_zero_columns(self, live: np.ndarray) -> Moments:
        """Return the moments with columns set to zero where ``live`` (G, P) is False."""
        gram = self.gram * live[:, :, None] * live[:, None]
        return replace(self, gram=gram, rhs=self.rhs * live[:, :, None], sums=self.sums * live)

    def with_constant(self) -> Moments:
        """Return the moments of the same rows, with a constant fitted."""
        return replace(self, constant=True)

    def in_basis(self, basis: TapBasis) -> Moments:
        """Return the moments of A T."""
        if basis.identity:
            return self
        if not self.units.exponents.size:  # outputs alone
            return self
        sums, shift = (basis.restrict(v[..., None])[..., 0] for v in (self.sums, self.units.shift))
        u = self.units
        units = u._replace(shift=shift, exponents=basis.of_channels(u.column_exponents))
        gram, rhs = basis.of_gram(self.gram), basis.restrict(self.rhs)
        return replace(self, gram=gram, rhs=rhs, sums=sums, units=units)

    def in_units(self, units: Units) -> Moments:
        """Return the moments of the same rows in other units."""
        return self.rescaled(units.exponents, units.out_exponents)._shifted(units)

    def rescaled(self, exponents: np.ndarray, out_exponents: np.ndarray) -> Moments:
        """Return the moments of the same rows with other exponents, which is exact."""
        u = self.units
        f = u.out_exponents - out_exponents
        e = per_column(u.exponents - exponents, self.gram.shape[1])
        if not e.any() and not f.any():
            return self
        units = Units(exponents, np.ldexp(u.shift, e), out_exponents, np.ldexp(u.out_shift, f))
        return replace(
            self,
            gram=np.ldexp(np.ldexp(self.gram, e[:, :, None]), e[:, None]),
            rhs=np.ldexp(self.rhs, e[:, :, None] + f[:, None]),
            sums=np.ldexp(self.sums, e),
            out_sums=np.ldexp(self.out_sums, f),
            out_squares=np.ldexp(self.out_squares, 2 * f),
            units=units,
        )

    def _shifted(self, units: Units) -> Moments:
        """Return the moments with another shift: with Δ the change, G + sΔᵀ + Δsᵀ + nΔΔᵀ."""
        d, f = self.units.shift - units.shift, self.units.out_shift - units.out_shift
        if not d.any() and not f.any():
            return self
        s, t, n = self.sums, self.out_sums, self.ones_square
        cross, down = s[:, :, None] * d[:, None], d[:, :, None]
        return replace(
            self,
            gram=self.gram + cross + cross.swapaxes(1, 2) + n * down * d[:, None],
            rhs=self.rhs + s[:, :, None] * f[:, None] + down * (t + n * f)[:, None],
            sums=s + n * d,
            out_sums=t + n * f,
            out_squares=self.out_squares + 2 * t * f + n * f**2,
            units=units,
        )

    # --- the constant eliminated

    @property
    def means(self) -> np.ndarray:
        """Column means (G, P)."""
        return self.sums / (self.ones_square or 1.0)

    @property
    def out_means(self) -> np.ndarray:
        """Means (G, Q) of the outputs."""
        return self.out_sums / (self.ones_square or 1.0)

    @property
    def squares(self) -> np.ndarray:
        """Squared norms (G, P) of the columns of M A."""
        found = self.gram.diagonal(0, 1, 2)
        return found - self.sums * self.means * self.constant

    @property
    def out_squares_left(self) -> np.ndarray:
        """Squared norms (G, Q) of M Y."""
        return np.maximum(self.out_squares - self.out_sums * self.out_means * self.constant, 0.0)

    def eliminated(self) -> Normal:
        """Return the normal equations with a constant projected out if one is fitted."""
        if not self.constant:
            return Normal(self.gram, self.rhs, self.out_squares)
        means = self.means[:, :, None]
        return Normal(
            self.gram - means * self.sums[:, None],
            self.rhs - means * self.out_sums[:, None],
            self.out_squares_left,
        )


def per_column(per_channel: np.ndarray, columns: int) -> np.ndarray:
    """Return values (G, P) of columns, given those (G, C) of channels."""
    return np.tile(per_channel, columns // max(1, per_channel.shape[1]))


def moments(
    design: Design, targets: Targets | None = None, basis: TapBasis | None = None
) -> Moments:
    """Return the moments of all rows, by default of the y given with x and in `Design.span`.

    Moments of rows with different confounds can be added. A bias is a constant that is fitted to
    the sum of them, also for rows with weights.
    """
    matrix = design.matrix
    plan, targets = matrix.plan, targets or matrix.given
    gram, of_y, own = matrix.gram(), matrix.outputs_of(targets), matrix.nuisance_products
    last = int(plan.constant)
    x, y, apart = (
        own[:, -last:][:, :last],
        (of_y.of_n * of_y.live[:, None])[:, -last:][:, :last],
        float(plan.centred),
    )
    out_shift = np.broadcast_to(targets.grouped(targets.signal.unit.shift), of_y.live.shape)
    units = Units(
        matrix.data.x.unit.exponents.reshape(matrix.groups, -1),
        matrix.shift + matrix.constant_fit,
        targets.grouped(targets.exponents),
        out_shift,
    )
    found = Moments(
        gram + apart * (x.swapaxes(1, 2) @ x),
        of_y.rhs + apart * (x.swapaxes(1, 2) @ y),
        plan.norm * x.sum(1),
        plan.norm * y.sum(1),
        of_y.squares + apart * np.square(y).sum(1),
        plan.rows,
        plan.norm**2 * last,
        units,
        plan.centred,
    )
    return found.in_basis(basis or design.span)
