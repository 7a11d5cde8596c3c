"""Sums over rows about their means, of which scores of folds are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np

from ..errors import SolveError
from ..leastsquares.design import Design
from ..operators.design_matrix import Targets
from ..operators.tap_basis import TapBasis
from ..problem.rows import Span
from ..progress import tracked
from .folds import Spans, beside, part

# AᵀA (G, P, P), AᵀY (G, P, Q) and Σy² (G, Q), or those of one group.
Normal = tuple[np.ndarray, np.ndarray, np.ndarray]


class Units(NamedTuple):
    """Column j is read as ``2**-columns[j] * a[j]``, about its origin, and so are outputs.

    Attributes:
        columns, origin: (G, P).
        outputs, out_origin: (G, Q).
    """

    columns: np.ndarray
    outputs: np.ndarray
    origin: np.ndarray
    out_origin: np.ndarray

    @classmethod
    def of(cls, design: Design, targets: Targets, common: bool = False) -> Units:
        """Return the units of a design, or one unit of all columns, in which strengths are equal.

        The origin is zero unless a constant is fitted.
        """
        matrix, own = design.matrix, design.matrix.exponents
        columns, fitted = np.full_like(own, own.max()) if common else own, matrix.plan.centred
        out_shift = targets.grouped(targets.signal.unit.shift)
        return cls(
            columns,
            targets.grouped(targets.exponents),
            np.ldexp(matrix.shift, own - columns) * fitted,
            out_shift * fitted,
        )

    @property
    def column(self) -> int:
        """The exponent of all columns."""
        return int(self.columns.max())

    def to_user(self, strengths: np.ndarray, power: int | None = None) -> np.ndarray:
        """Return strengths in the user's units, of 2**power, by default the units of x².

        Raises:
            SolveError: If they lie outside float64.
        """
        with np.errstate(over="ignore", under="ignore"):
            found = np.ldexp(strengths, 2 * self.column if power is None else power)
        if not (np.isfinite(found).all() and found.all()):
            raise SolveError("strengths lie outside float64, as x² does")
        return np.asarray(found)

    def from_user(self, strengths: np.ndarray, power: int | None = None) -> np.ndarray:
        """Return the inverse of `to_user`, zeros included."""
        with np.errstate(over="ignore", under="ignore"):
            found = np.ldexp(strengths, -2 * self.column if power is None else -power)
        if not np.isfinite(found).all() or ((found == 0) != (strengths == 0)).any():
            raise SolveError("a strength lies outside float64 relative to x²")
        return np.asarray(found)


class Sums(NamedTuple):
    """Sums over rows (a, y) of every group about their means; ``+`` joins rows in the same units.

    Confounds are projected out of the columns, of the outputs and of the constant.

    Attributes:
        gram: AᵀA (G, P, P).
        cross: AᵀY (G, P, Q).
        squares: Σy² (G, Q).
        means: means (G, P) of the columns.
        out_means: means (G, Q) of the outputs.
        weight: the square of the norm of the constant, the number of rows without weights.
        mass: sum of the weights of the rows.
        rows: number of rows.
    """

    gram: np.ndarray
    cross: np.ndarray
    squares: np.ndarray
    means: np.ndarray
    out_means: np.ndarray
    weight: float
    mass: float
    rows: int

    @classmethod
    def of(cls, design: Design, units: Units, basis: TapBasis) -> Sums:
        """Return the sums of all rows of a design, for the columns A T of a basis."""
        matrix, plan = design.matrix, design.matrix.plan
        y, of_x = matrix.given, matrix.nuisance_products[:, -1]
        known, gram, weight = matrix.outputs_of(y), matrix.gram(), plan.norm**2 * plan.constant
        of_y, cross, squares = known.of_n[:, -1] * known.live, known.rhs, known.squares
        if plan.constant and not plan.centred:
            gram = gram - of_x[:, :, None] * of_x[:, None]
            cross = cross - of_x[:, :, None] * of_y[:, None]
            squares = np.maximum(squares - np.square(of_y), 0.0)
        norm, out_shift = plan.norm or 1.0, y.grouped(y.signal.unit.shift)
        shift = matrix.shift + matrix.constant_fit
        scale = np.ldexp(1.0, matrix.exponents - units.columns)
        out_scale = np.ldexp(1.0, y.grouped(y.exponents) - units.outputs)
        if (scale != 1).any():
            gram = gram * scale[:, :, None] * scale[:, None]
        means = (shift + of_x / norm) * scale - units.origin
        return cls(
            basis.of_gram(gram),
            basis.restrict(cross * scale[:, :, None] * out_scale[:, None]),
            squares * out_scale**2,
            basis.restrict(means[..., None])[..., 0] * plan.constant,
            ((out_shift + of_y / norm) * out_scale - units.out_origin) * plan.constant,
            weight,
            design.problem._weight([(i, 0, n) for i, n in enumerate(design.kept.lengths) if n]),
            plan.rows,
        )

    @classmethod
    def of_rows(cls, a: np.ndarray, y: np.ndarray) -> Sums:
        """Return the sums of rows a (G, n, P) and y (G, n, Q)."""
        means, out_means, n = a.mean(1), y.mean(1), a.shape[1]
        a, y = a - means[:, None], y - out_means[:, None]
        at, squares = a.swapaxes(1, 2), np.square(y).sum(1)
        return cls(at @ a, at @ y, squares, means, out_means, float(n), float(n), n)

    def __add__(self, other: Sums) -> Sums:  # type: ignore[override]
        d, e = other.means - self.means, other.out_means - self.out_means
        weight = self.weight + other.weight
        share = other.weight / weight if weight else 0.0
        down = share * self.weight * d[:, :, None]
        return Sums(
            self.gram + other.gram + down * d[:, None],
            self.cross + other.cross + down * e[:, None],
            self.squares + other.squares + share * self.weight * e**2,
            self.means + share * d,
            self.out_means + share * e,
            weight,
            self.mass + other.mass,
            self.rows + other.rows,
        )

    def normal(self, constant: bool) -> Normal:
        """Return the normal equations, with or without a constant that is fitted."""
        if constant:
            return self[:3]
        down, y = self.weight * self.means[..., :, None], self.out_means
        gram = self.gram + down * self.means[..., None, :]
        return gram, self.cross + down * y[..., None, :], self.squares + self.weight * y**2

    def of_group(self, group: int) -> Sums:
        """Return the sums of one group, without the axis of groups."""
        arrays = dict(zip(self._fields[:5], (a[group] for a in self[:5]), strict=True))
        return self._replace(**arrays)

    def in_basis(self, basis: TapBasis, live: np.ndarray) -> Sums:
        """Return the sums of A T, without the columns that are not ``live`` (G, R)."""
        gram = basis.of_gram(self.gram)
        return self._replace(
            gram=gram if live.all() else gram * live[:, :, None] * live[:, None],
            cross=basis.restrict(self.cross) * live[..., None],
            means=basis.restrict(self.means[..., None])[..., 0] * live,
        )


class Folds(NamedTuple):
    """Sums of the ``parts`` of every fold that are scored together, and of its training rows."""

    parts: list[list[Sums]]
    rest: list[Sums]

    def each(self, of: Callable[[Sums], Sums]) -> Folds:
        """Apply a function to all sums."""
        return Folds([[*map(of, own)] for own in self.parts], [*map(of, self.rest)])


def folds_of(
    design: Design,
    spans: Spans | None,
    of: Callable[[Sequence[Span]], Sums],
    label: str = "sums over folds",
) -> Folds:
    """Return the sums of folds, given a function of spans. There may be no folds.

    Training rows are sums of other folds, by prefix and suffix sums. The total minus a large fold
    would have lost the digits of the other folds.
    """
    if spans is None:
        return Folds([], [])
    parts = [[*map(of, own)] for own in tracked(spans.parts, label, len(spans.folds))]
    lengths = design.kept.lengths
    whole = all((a, b) == (0, lengths[i]) for fold in spans.folds for i, a, b in fold)
    if not whole and design.problem._terms.given:
        # All training rows of a record have the same confounds, which sums of folds would not have.
        rest = (beside(spans.folds, i, spans.rest) for i in range(len(parts)))
        return Folds(parts, [*map(of, rest)])
    folds = [reduce(add, own) for own in parts]
    before = _running(folds[:-1], of(spans.rest) if spans.rest else None)
    pairs = zip(before, reversed(_running(folds[:0:-1], None)), strict=True)
    return Folds(parts, [reduce(add, [one for one in pair if one is not None]) for pair in pairs])


def _running(several: Sequence[Sums], first: Sums | None) -> list[Sums | None]:
    """Return the sum of ``first`` and of the sums before each, and of all."""
    found = [first]
    for one in several:
        found.append(one if found[-1] is None else found[-1] + one)
    return found


def fold_sums(
    design: Design, targets: Targets, spans: Spans | None, units: Units, *label: str
) -> Folds:
    """Return the sums of folds in some units, in the orthonormal basis of the kernels."""

    def of(some: Sequence[Span]) -> Sums:
        own = part(design, targets.records, some, bias=True)
        return Sums.of(Design(own, design.sizes.limits), units, design.span)

    return folds_of(design, spans, of, *label)
