"""Sums over the rows of a chunk of records: functions of plain data, which other processes can run.

The confounds N of a chunk are orthonormal columns over all chunks. Their projection needs only the
sums NᵀA and NᵀY: AᵀMA = AᵀA − (NᵀA)ᵀNᵀA for M = I − NNᵀ.

Source: R. Frisch and F. V. Waugh, Econometrica 1 (1933) 387.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..problem.adjustments import Adjustments
from ..problem.confounds import Confounds, Layout
from ..problem.nuisance import Nuisance
from ..problem.rows import Rows, Span
from ..problem.sizes import Limits
from ..problem.spec import ConvSpec
from ..problem.stored import for_one_pass
from ..problem.weights import Weights
from .base import Block
from .drifts import no_sums
from .fourier import FourierOperator
from .moments import Moments, NuisanceSums, ResidualSums, Units
from .projection import Confounded
from .records import Inputs, Targets
from .rows import RowOperator
from .totals import Chunk
from .windows import NormalForm


class Geometry(NamedTuple):
    """The settings that all chunks share.

    Attributes:
        spec: the windows over records in normal form.
        constant: whether a constant is subtracted.
        limits: the memory limits.
        x_sizes, y_sizes: the largest magnitudes (Cin,) of x and (Cout,) of y. If None, every chunk
            computes its own.
    """

    spec: ConvSpec
    constant: bool
    limits: Limits
    x_sizes: np.ndarray | None = None
    y_sizes: np.ndarray | None = None


def chunk_spans(kept: Rows, pieces: Sequence[Span], step: int) -> list[list[Span]]:
    """Split the rows used in the fit into groups of spans.

    Each group has at most ``step`` rows along the first axis.
    """
    found: list[list[Span]] = []
    room = 0
    for i, first, last in pieces:
        for start in range(first, last, step):
            span = i, start, min(start + step, last)
            flags = kept.of_span(span)
            if flags is not None and not flags.any():
                continue
            length = span[2] - start
            if length > room:
                found.append([])
                room = step
            found[-1].append(span)
            room -= length
    return found


def chunks_of(
    spans: Sequence[Sequence[Span]],
    x: Sequence[Any],
    y: Sequence[Any] | None,
    spec: ConvSpec,
    kept: Rows,
) -> list[Chunk]:
    """Return the chunks of some rows, unread, for one pass over them in order."""
    x, y = [*map(for_one_pass, x)], None if y is None else [*map(for_one_pass, y)]
    found = []
    for lot in spans:
        flags = kept.some(lot)
        found.append(
            Chunk(
                tuple(lot),
                tuple(NormalForm.of_rows(x[i], spec, a, b) for i, a, b in lot),
                None if y is None else tuple(y[i][a:b] for i, a, b in lot),
                None if flags is None or all(f.all() for f in flags) else tuple(flags),
            )
        )
    return found


# --- a chunk in memory


Parts = FourierOperator | RowOperator


def operator_of(chunk: Chunk, geometry: Geometry) -> Parts:
    """Read a chunk and return its design matrix by FFTs, or by rows if the chunk requires it."""
    spec, constant, limits, x_sizes, y_sizes = geometry
    x = [np.asarray(a) for a in chunk.x]
    rows = Rows.of(spec, [a.shape[:-1] for a in x])
    rows = rows if chunk.flags is None else replace(rows, flags=chunk.flags)
    nuisance = Nuisance(constant)
    weights = None if chunk.roots is None else Weights(chunk.roots)
    inputs = Inputs(x, spec, Adjustments(rows, weights), nuisance, limits, x_sizes)
    y = None if chunk.y is None else [np.asarray(a) for a in chunk.y]
    targets = None if y is None else Targets(y, inputs, nuisance, y_sizes)
    kind = RowOperator if chunk.by_rows else FourierOperator
    return kind(inputs, nuisance, limits, targets)


def exact_operator_of(chunk: Chunk, geometry: Geometry) -> Parts:
    """Read a chunk and return its design matrix, by rows if FFTs lose digits."""
    found = operator_of(chunk, geometry)
    by_rows = isinstance(found, RowOperator) or not (found.inputs.structured and found.exact)
    if not by_rows:
        return found
    return RowOperator(found.inputs, found.nuisance, found.limits, found.targets)


@dataclass(frozen=True)
class Totals:
    """`Moments` of some chunks, and flags of the chunks that had to be summed by rows."""

    moments: Moments
    by_rows: tuple[bool, ...]

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.moments + other.moments, self.by_rows + other.by_rows)


def summed(chunk: Chunk, geometry: Geometry) -> tuple[Parts, Moments]:
    """Return the design matrix of a chunk, and sums over its rows."""
    with np.errstate(invalid="ignore"):  # data that are no longer finite have no finite sums
        operator = exact_operator_of(chunk, geometry)
        found = operator.moments(operator.targets)
    if not (np.isfinite(found.sums).all() and np.isfinite(found.out_sums).all()):
        raise no_sums((*chunk.x, *(chunk.y or ())))
    return operator, found


class ProjectedUnits(NamedTuple):
    """How rows of M A and M Y are computed from rows of A and Y.

    Attributes:
        units: units of the rows. A constant that N contains is subtracted as their shift.
        means: column means (G, P) and means of the outputs (G, Q) that remain after the shift, if N
            contains a constant. They are rounded relative to an offset, and the shift is not.
        fits: coefficients (q, G·P) of other columns of N, which are subtracted one after the other.
            The second ones remove the rounding error of the first.
        live, out_live: flags (G, P) and (G, Q) of the columns and outputs that are more than
            rounding.
    """

    units: Units
    means: tuple[np.ndarray, np.ndarray] | None
    fits: tuple[np.ndarray, ...]
    live: np.ndarray
    out_live: np.ndarray


def projected_rows(chunk: Chunk, geometry: Geometry, how: ProjectedUnits) -> Iterator[Block]:
    """Yield blocks of rows of M A (G, k, P) and of M y (G, k, Q) of a chunk.

    The fit of the confounds has already been subtracted from the y of the chunk.
    """
    part = operator_of(chunk._replace(by_rows=True), geometry)
    assert isinstance(part, RowOperator)
    units, columns = how.units, chunk.confounds
    fits = [] if columns is None else [fit[columns.all_places] for fit in how.fits]
    local = _confounded(chunk, part.inputs) if fits else None
    e, first = part.exponents - units.column_exponents, 0
    for a, y in part.raw(part.targets):
        a = np.ldexp(a, e[:, None])
        if how.means is not None:
            a = a - units.shift[:, None] - how.means[0][:, None]
        if local is not None:
            a = local.rows_without(a, first, *fits)
            first += a.shape[1]
        a = a * how.live[:, None]
        if y is not None and part.targets is not None:
            own = part.targets.grouped(part.targets.exponents)
            y = np.ldexp(y, (own - units.out_exponents)[:, None])
            if how.means is not None:
                y = y - units.out_shift[:, None] - how.means[1][:, None]
            y = y * how.out_live[:, None]
        yield a, y


def _confounded(chunk: Chunk, inputs: Inputs) -> Confounded:
    """Return the nuisance columns of a chunk as separate columns of each of its pieces."""
    assert chunk.confounds is not None
    bases, which = chunk.confounds.bases, np.array(chunk.confounds.which)
    layouts = tuple(Layout(basis, np.zeros(len(basis)), False) for basis in bases)
    own = Confounds(layouts, which, np.ones(len(which)), 0.0, -1, None, inputs.kept)
    return Confounded(own, inputs)


# --- sums over a chunk


def totals(
    chunk: Chunk,
    geometry: Geometry,
    about: Units | None,
    projected: ProjectedUnits | None = None,
) -> Totals:
    """Sum over the rows of a chunk, in its own units or in the units ``about``.

    The rows may have the fit of the confounds subtracted, as ``projected`` describes.
    """
    if projected is not None:
        return Totals(_sums_of_projected(chunk, geometry, projected), (True,))
    operator, found = summed(chunk, geometry)
    if chunk.confounds is not None:
        found = replace(found, nuisance=(_nuisance_sums(chunk, operator, found.units),))
    if about is not None:
        found = found.in_units(about)
    return Totals(found, (isinstance(operator, RowOperator),))


def _nuisance_sums(chunk: Chunk, operator: Parts, units: Units) -> NuisanceSums:
    inputs, targets = operator.inputs, operator.targets
    assert chunk.confounds is not None
    local, bases = _confounded(chunk, inputs), chunk.confounds.each
    of_outputs = np.zeros((inputs.spec.groups, local.count, 0))
    if chunk.y is not None and targets is not None:
        rows = inputs.kept.select([np.asarray(a) for a in chunk.y])
        scaled = [np.ldexp(a.reshape(-1, a.shape[-1]), -targets.exponents) for a in rows]
        of_y = np.concatenate([b.T @ a for b, a in zip(bases, scaled, strict=True)])
        of_outputs = of_y.reshape(-1, *units.out_exponents.shape).swapaxes(0, 1)
    return NuisanceSums(
        chunk.confounds.all_places,
        chunk.confounds.total,
        local.crossed.swapaxes(1, 2),
        of_outputs,
        np.concatenate([b.sum(0) for b in bases]),
        units.exponents,
        units.out_exponents,
    )


def _sums_of_projected(chunk: Chunk, geometry: Geometry, how: ProjectedUnits) -> Moments:
    """Return sums over rows from which a fit of the confounds was subtracted, by rows."""
    units, first = how.units, 0
    groups, columns = units.shift.shape
    outputs = 0 if chunk.y is None else units.out_exponents.shape[1]
    found = replace(Moments.empty(groups, columns, outputs), units=units)
    part = operator_of(chunk._replace(by_rows=True), geometry)
    assert chunk.confounds is not None
    local, places = _confounded(chunk, part.inputs), chunk.confounds.all_places
    of_columns = np.zeros((len(places), groups * columns))
    of_outputs, of_ones = np.zeros((len(places), groups * outputs)), np.zeros(len(places))
    for a, y in projected_rows(chunk, geometry, how):
        y = np.zeros((*a.shape[:2], 0)) if y is None else y
        found += Moments.from_rows(a, y, units)
        n = a.shape[1]
        of_columns += local.products(a.swapaxes(0, 1).reshape(n, -1), first)
        of_outputs += local.products(y.swapaxes(0, 1).reshape(n, groups * outputs), first)
        of_ones += local.products(np.ones((n, 1)), first)[:, 0]
        first += n
    sums = NuisanceSums(
        places,
        chunk.confounds.total,
        of_columns.reshape(-1, groups, columns).swapaxes(0, 1),
        of_outputs.reshape(-1, groups, outputs).swapaxes(0, 1),
        of_ones,
        units.exponents,
        units.out_exponents[:, :outputs],
    )
    return replace(found, nuisance=(sums,))


def misfit(
    chunk: Chunk, geometry: Geometry, units: Units, w: np.ndarray, offset: np.ndarray
) -> ResidualSums:
    """Return the sums of r = y − A w − offset, for w (G, P, Q) and offset (G, Q) in ``units``.

    In the units of the chunk A = 2^e·(A' + s) − s₀ with e at most zero, and w' = 2^e·w. y is read
    in ``units``. In its own units, if they are much smaller, the prediction would leave float64.
    """
    operator = operator_of(chunk, geometry)
    assert operator.targets is not None
    targets = operator.targets.in_units(units.out_exponents.reshape(-1))
    # Columns that are zero in the chunk may have any exponents, including these.
    e = np.minimum(operator.exponents - units.column_exponents, 0)
    moved = np.ldexp(operator.shift, e) - units.shift
    level = targets.grouped(targets.shift) - units.out_shift
    beside = offset - level + np.einsum("gp,gpq->gq", moved, w)
    squares, g, sums = operator.misfit(np.ldexp(w, e[:, :, None]), targets, beside)
    g = np.ldexp(g, e[:, :, None]) + np.einsum("gp,gq->gpq", moved, sums)
    return ResidualSums(squares, g, sums)


def projected_misfit(
    chunk: Chunk, geometry: Geometry, how: ProjectedUnits, w: np.ndarray
) -> ResidualSums:
    """Return the sums of r = M y − M A w, for w (G, P, Q), by rows."""
    found = ResidualSums.empty(w)
    for a, y in projected_rows(chunk, geometry, how):
        assert y is not None
        found += ResidualSums.of(a, y - a @ w)
    return found


def product_grams(
    chunk: Chunk,
    geometry: Geometry,
    units: Units,
    group: int,
    w: np.ndarray,
    level: np.ndarray,
    fit: np.ndarray,
) -> np.ndarray:
    """Return (A w − level − N fit)ᵀ(A w − level − N fit) (Q, Q) of one group.

    w (P, Q), level (Q,) and fit (q, Q) are in ``units``.
    """
    operator = operator_of(chunk._replace(y=None), geometry)
    e = np.minimum(operator.exponents[group] - units.column_exponents[group], 0)
    moved = np.ldexp(operator.shift[group], e) - units.shift[group]
    seen = operator.product(group, np.ldexp(w, e[:, None])) + (moved @ w - level)
    if chunk.confounds is not None:
        local, places = _confounded(chunk, operator.inputs), chunk.confounds.all_places
        seen = seen - local.fit(fit[places], 0, len(seen))
    return np.asarray(seen.T @ seen)


def projected_product_grams(
    chunk: Chunk, geometry: Geometry, how: ProjectedUnits, group: int, w: np.ndarray
) -> np.ndarray:
    """Return (M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q), by rows."""
    total = np.zeros((w.shape[1], w.shape[1]))
    for a, _ in projected_rows(chunk._replace(y=None), geometry, how):
        seen = a[group] @ w
        total += seen.T @ seen
    return total
