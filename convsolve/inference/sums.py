"""Sums over all rows and over the rows of every fold, in the coordinates of any penalty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add, methodcaller

import numpy as np

from ..cached import cached_property
from ..leastsquares.design import Design
from ..leastsquares.penalty import Coordinates
from ..linalg.rank import EPS
from ..operators.design_matrix import Targets
from ..operators.tap_basis import TapBasis
from ..problem.rows import Span
from ..problem.sizes import Sizes
from ..progress import tracked
from .folds import (
    HeldOut,
    HeldOutFold,
    Spans,
    fold_moments,
    training,
    training_moments,
    without_constants,
)
from .moments import Moments, Units, moments
from .units import CommonUnits

# Some rows of a matrix.
Rows = slice | np.ndarray


def few_rows(sizes: Sizes) -> bool:
    """Return whether there are fewer rows than columns, and the rows fit in memory."""
    held = 8 * sizes.groups * sizes.rows * sizes.columns
    return sizes.rows < sizes.parameters and held <= sizes.limits.gram_bytes


@dataclass(frozen=True)
class Sums:
    """Moments of all rows, of the parts of every fold, and of the rows in no fold.

    The parts of a fold are scored one by one: its records, or all of its rows. Moments of the
    training rows of every fold are sums of these, unless they are ``given``. ``weights`` are the
    sums of the weights of the rows of every part.
    """

    total: Moments
    folds: list[list[Moments]]
    always: Moments | None
    weights: Sequence[Sequence[float]]
    given: list[Moments] | None = None

    def each(self, of: Callable[[Moments], Moments]) -> Sums:
        """Apply a function to all moments."""
        always = None if self.always is None else of(self.always)
        given = None if self.given is None else [*map(of, self.given)]
        folds = [[*map(of, parts)] for parts in self.folds]
        return replace(self, total=of(self.total), folds=folds, always=always, given=given)

    @cached_property
    def beside(self) -> list[Moments]:
        """Moments of the training rows of every fold."""
        if self.given is not None:
            return self.given
        folds = [reduce(add, parts) for parts in self.folds]
        return training(folds, self.always) if folds else []

    def held_out(self, group: int) -> list[HeldOutFold]:
        """Return the held-out rows of one group in every fold."""
        found = []
        for parts, rest, weights in zip(self.folds, self.beside, self.weights, strict=True):
            pairs = zip(parts, weights, strict=True)
            found.append(HeldOutFold([HeldOut(part, rest, group, w) for part, w in pairs]))
        return found


@dataclass(frozen=True)
class RowSpace:
    """Penalized coordinates z = √weights⁻¹·q u within the span of the rows.

    The solution is zero outside this span. If there are few rows, there are few coordinates u for
    any number of unknowns.

    Attributes:
        q: (r, k), orthonormal.
        root: (r, 1), √weights⁻¹.
        free: (R,), flags of the coordinates that are not penalized. They are unchanged and follow
            u.
    """

    q: np.ndarray
    root: np.ndarray
    free: np.ndarray

    def expand(self, v: np.ndarray) -> np.ndarray:
        """Return the coordinates (..., R, Q) of v (..., k + free, Q)."""
        held = self.q.shape[1]
        found = np.empty((*v.shape[:-2], len(self.free), v.shape[-1]))
        found[..., ~self.free, :] = self.root * (self.q @ v[..., :held, :])
        found[..., self.free, :] = v[..., held:, :]
        return found

    def restrict(self, gradient: np.ndarray) -> np.ndarray:
        """Return the gradient (k + free, Q) with respect to v, given a gradient (R, Q)."""
        held = self.q.T @ (self.root * gradient[~self.free])
        return np.concatenate([held, gradient[self.free]])


@dataclass(frozen=True)
class GroupSums:
    """Sums of one group.

    Attributes:
        sums: the sums over rows and folds.
        weights: weights of the coordinates in the penalty.
        space: the row space that contains the coordinates, or None.
    """

    sums: Sums
    weights: np.ndarray
    space: RowSpace | None


def fold_sums(
    design: Design, targets: Targets, spans: Spans | None, label: str = "sums over folds"
) -> Sums:
    """Return the sums of the columns and outputs, in the units of the sums over all rows.

    The columns are those of taps, or of the orthonormal basis of their kernels. Progress is
    reported with the ``label``.
    """
    total = moments(design, targets)
    if spans is None:
        return Sums(total, [], None, [])
    y, several = targets.records, tracked(spans.parts, label, len(spans.folds))
    each = [[fold_moments(design, y, part, total) for part in parts] for parts in several]
    always = fold_moments(design, y, spans.rest, total) if spans.rest else None
    own = training_moments(design, y, spans, total)
    return Sums(total, each, always, _weights(design, spans), own)


def _weights(design: Design, spans: Spans) -> list[list[float]]:
    """Return the sums of the weights of the rows of every part of every fold."""
    return [[*map(design.problem._weight, parts)] for parts in spans.parts]


class FromMoments:
    """Sums of columns, from which sums in the coordinates of any penalty are computed."""

    def __init__(self, design: Design, targets: Targets, spans: Spans | None) -> None:
        self._design, self._spans = design, spans
        found = fold_sums(design, targets, spans)
        self.sums = found.each(partial(without_constants, like=found.total))

    def within(self, coordinates: Coordinates, units: CommonUnits) -> list[GroupSums]:
        """Return the sums of every group in some coordinates and units."""
        sums = self.sums.each(units.common)
        basis = coordinates.basis.within(self._design.span)
        if not basis.identity:
            norms = np.sqrt(np.maximum(sums.total.squares, 0.0))
            sums = sums.each(methodcaller("in_basis", basis))
            # The rounding error of a square of a sum is relative to the squares of its terms.
            share = np.sqrt(10 * norms.shape[1] * EPS)
            own = np.sqrt(np.maximum(sums.total.squares, 0.0))
            live = _beyond_rounding(basis, norms, own, share)
            sums = sums.each(methodcaller("with_zero_columns", live))
        return [
            GroupSums(sums.each(methodcaller("of_group", g)), weights, None)
            for g, weights in enumerate(coordinates.weights)
        ]

    def about(self, y: tuple[np.ndarray, ...]) -> FromMoments:
        """Return the sums for other outputs."""
        return FromMoments(self._design, self._design.outputs(y), self._spans)


class FromRows:
    """Sums of coordinates within the row space, for problems of fewer rows than unknowns."""

    def __init__(self, design: Design, targets: Targets, spans: Spans | None) -> None:
        self._design, self._spans = design, spans
        blocks = [(a, y) for a, y in design.matrix.row_blocks(targets) if y is not None]
        a, self._y = (np.concatenate(each, axis=1) for each in zip(*blocks, strict=True))
        self._a = _without_constants(a, design.matrix.offsets)
        self._out_exponents = targets.grouped(targets.exponents)
        # Values that were subtracted from the rows of y.
        means = design.matrix.output_means(targets)
        none = np.zeros((len(self._a), 0))
        known = Units(none.astype(int), none, self._out_exponents, means)
        #: Sums without columns, which describe the outputs alone.
        self.sums = self._sums(partial(self._of_rows, self._a[:, :, :0], self._y, units=known))

    def _sums(self, of: Callable[[Rows], Moments]) -> Sums:
        total, spans = of(slice(None)), self._spans
        if spans is None:
            return Sums(total, [], None, [])
        always = of(self._places(spans.rest)) if spans.rest else None
        folds = [[of(self._places(part)) for part in parts] for parts in spans.parts]
        return Sums(total, folds, always, _weights(self._design, spans))

    def _of_rows(
        self, a: np.ndarray, y: np.ndarray, rows: Rows, units: Units | None = None
    ) -> Moments:
        constant = self._design.nuisance.constant
        return Moments.from_rows(a[:, rows], y[:, rows], units, constant)

    def _places(self, spans: Sequence[Span]) -> np.ndarray:
        return self._design.matrix.plan.places(spans)

    def within(self, coordinates: Coordinates, units: CommonUnits) -> list[GroupSums]:
        """Return the sums of every group in some coordinates and units."""
        a = np.ldexp(self._a, (self._design.matrix.exponents - units.column)[:, None])
        y = np.ldexp(self._y, (self._out_exponents - units.outputs)[:, None])
        if not coordinates.basis.identity:
            norms, share = np.linalg.norm(a, axis=1), 10 * np.sqrt(a.shape[2]) * EPS
            a = coordinates.basis.rows(a)
            own = np.linalg.norm(a, axis=1)
            a = a * _beyond_rounding(coordinates.basis, norms, own, share)[:, None]
        found = []
        for g, weights in enumerate(coordinates.weights):
            free = weights == 0
            root = 1 / np.sqrt(weights[~free])
            q, r = np.linalg.qr((a[g][:, ~free] * root).T)
            z = np.hstack([r.T, a[g][:, free]])[None]
            sums = self._sums(partial(self._of_rows, z, y[g : g + 1]))
            reduced = np.repeat([1.0, 0.0], [q.shape[1], int(free.sum())])
            found.append(GroupSums(sums, reduced, RowSpace(q, root[:, None], free)))
        return found

    def about(self, y: tuple[np.ndarray, ...]) -> FromRows:
        """Return the sums for other outputs."""
        return FromRows(self._design, self._design.outputs(y), self._spans)


def _beyond_rounding(
    basis: TapBasis, norms: np.ndarray, own: np.ndarray, share: float
) -> np.ndarray:
    """Return flags (G, R) of the coordinates whose column of A T is more than rounding.

    The norm ``own`` (G, R) of such a column exceeds a ``share`` of the norms of its terms. These
    are computed from the ``norms`` (G, P) of A.
    """
    return own > share * basis.largest_norms(norms)


def _without_constants(a: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Apply `without_constants` to rows (G, n, P) minus their ``means`` (G, P)."""
    squares = np.einsum("gnp,gnp->gp", a, a)
    live = squares > (8 * EPS) ** 2 * (squares + a.shape[1] * means**2)
    return a if live.all() else a * live[:, None]
