"""Sums over the rows of a chunk: functions of plain data, which other processes can run.

The confounds N of a chunk are orthonormal columns over all chunks. Their projection needs only the
sums NᵀA and NᵀY: AᵀMA = AᵀA − (NᵀA)ᵀNᵀA for M = I − NNᵀ.

Source: R. Frisch and F. V. Waugh, Econometrica 1 (1933) 387.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..linalg.polynomials import Polynomials, used_range
from ..problem.rows import Rows, samples_read
from ..problem.spec import ConvSpec
from ..problem.stored import not_finite_any_more
from . import by_events, by_fft, by_rows
from .chunk import Chunk, Form, LoadedChunk, extent, samples_of
from .moments import CACHED_NUMBERS, Moments, NuisanceSums, ResidualSums, Units
from .tap_basis import IDENTITY, TapBasis
from .trends import Trends, kept_samples, without_polynomials
from .windows import recorded_samples

# The products of at most so many columns N with A are sums over all rows. Others are sums over the
# rows of each record, where only its own columns are not zero.
FEW_COLUMNS = 8


def backend(chunk: LoadedChunk) -> ModuleType:
    """Return the module that sums over the rows of a chunk."""
    if chunk.by_rows:
        return by_rows
    return by_events if by_events.suits(chunk) else by_fft


def totals(
    chunk: Chunk | LoadedChunk,
    form: Form,
    columns_only: bool,
    about: Units | None = None,
    basis: TapBasis = IDENTITY,
) -> Moments:
    """Sum over the rows of A T of a chunk, in its own units or in the units ``about``.

    With ``columns_only``, the moments are those of every column of A on its own.
    Rows are formed if FFTs would lose digits.
    """
    loaded = chunk.load(form)
    if not (loaded.by_rows or loaded.structured or backend(loaded) is by_events):
        loaded = loaded.decided(True)
    with np.errstate(invalid="ignore"):  # data that are no longer finite have no finite sums
        found = _sums(loaded, columns_only, basis)
        if found is None:
            loaded = loaded.decided(True)
            found = _sums(loaded, columns_only, basis)
    assert found is not None
    if not (np.isfinite(found.sums).all() and np.isfinite(found.out_sums).all()):
        raise no_sums(chunk.samples)
    if loaded.blocks:
        units = found.units if basis.identity else backend(loaded).own_units(loaded)
        found = replace(found, nuisance=(_nuisance_sums(loaded, units),))
        found = replace(found, nuisance=basis.of_nuisance(found))
    found = replace(found, by_rows=(loaded.by_rows,))
    return found if about is None else found.in_units(about)


def _sums(chunk: LoadedChunk, columns_only: bool, basis: TapBasis) -> Moments | None:
    """Return the sums of `totals` by the backend of a chunk; None if FFTs would lose digits."""
    of = backend(chunk)
    if columns_only:
        found: Moments | None = of.norms(chunk)
    elif of in (by_fft, by_rows):
        found = of.moments(chunk, basis)
    elif (found := of.moments(chunk)) is not None:
        found = basis.of_moments(found)
    return found


def _nuisance_sums(chunk: LoadedChunk, units: Units) -> NuisanceSums:
    """Return the products of N with the rows of a chunk, for moments in some units."""
    columns, groups, count = chunk.nuisance_columns, len(units.shift), len(chunk.places)
    of_columns = np.zeros((count, groups, units.shift.shape[1]))
    if of_columns.size:
        crossed = chunk.once("crossed", lambda: _crossed(chunk))
        finer = chunk.units(units.shift.reshape(chunk.groups, -1)).column_exponents
        finer = finer.reshape(units.shift.shape) - units.column_exponents
        of_columns = np.ldexp(crossed.reshape(of_columns.shape), finer)
    of_outputs = np.zeros((groups, count, units.out_shift.shape[1]))
    if of_outputs.size:
        products = columns.products(chunk.output_rows())
        of_outputs = products.reshape(count, groups, -1).swapaxes(0, 1)
    of_ones = columns.products(np.ones((chunk.rows, 1)))[:, 0]
    of_columns = of_columns.swapaxes(0, 1)
    exponents = units.exponents, units.out_exponents
    return NuisanceSums(chunk.places, chunk.nuisance, of_columns, of_outputs, of_ones, *exponents)


def _crossed(chunk: LoadedChunk) -> np.ndarray:
    """Return NᵀA (k, G, P) in the units of a chunk."""
    columns, groups = chunk.nuisance_columns, chunk.groups
    if not chunk.by_rows and columns.count <= FEW_COLUMNS:
        dense = columns.fit(np.eye(columns.count), 0, chunk.rows).astype(float, copy=False)
        found = [backend(chunk).adjoint(chunk, group, dense) for group in range(groups)]
        return np.stack(found).transpose(2, 0, 1)
    total, first = np.zeros((columns.count, groups * chunk.columns)), 0
    units, alone = backend(chunk).own_units(chunk), chunk.without_outputs()
    for a, _ in by_rows.rows(alone, units, 2 * CACHED_NUMBERS):
        columns.add_products(a.swapaxes(0, 1).reshape(a.shape[1], -1), first, total)
        first += a.shape[1]
    return total.reshape(columns.count, groups, -1)


def output_totals(chunk: Chunk | LoadedChunk, form: Form, about: Units | None = None) -> Moments:
    """Return the moments of the outputs alone, without columns.

    They are in the units of the chunk, or in the units ``about``.
    """
    if isinstance(chunk, Chunk):
        chunk = chunk._replace(x=())
    loaded = chunk.load(form)
    groups, none = loaded.groups, np.zeros((loaded.groups, 0))
    units = loaded.units(none)._replace(exponents=none.astype(int))
    sums, squares = (loaded.output_sums(of).reshape(groups, -1) for of in (None, np.square))
    gram, rhs = np.zeros((groups, 0, 0)), np.zeros((groups, 0, loaded.outputs))
    found = Moments(gram, rhs, none, sums, squares, loaded.rows, units, form.constant)
    if loaded.blocks:
        found = replace(found, nuisance=(_nuisance_sums(loaded, units),))
    return found if about is None else found.in_units(about)


def misfit(
    chunk: Chunk | LoadedChunk,
    form: Form,
    units: Units,
    w: np.ndarray,
    offset: np.ndarray,
    with_products: bool = False,
) -> ResidualSums:
    """Return the sums of r = y − A w − offset in ``units``, for w (G, P, Q) and offset (G, Q).

    In the units of the chunk, A = 2^e·(A' + s) − s₀ with e at most zero, and w' = 2^e·w. y is read
    in ``units``. In its own units, if they are much smaller, the prediction would leave float64.
    """
    loaded = chunk.load(form).in_out_units(units.out_exponents.reshape(-1))
    if with_products and loaded.blocks:
        return _misfit_beside_nuisance(loaded, units, w)
    beside = offset - (backend(loaded).own_units(loaded).out_shift - units.out_shift)
    if (between := _between(loaded, units)) is None:
        return backend(loaded).misfit(loaded, w, beside)
    e, moved = between
    beside = beside + np.einsum("gp,gpq->gq", moved, w)
    found = backend(loaded).misfit(loaded, np.ldexp(w, e[:, :, None]), beside)
    g = np.ldexp(found.gradient, e[:, :, None]) + np.einsum("gp,gq->gpq", moved, found.sums)
    return ResidualSums(found.squares, g, found.sums)


def _misfit_beside_nuisance(chunk: LoadedChunk, units: Units, w: np.ndarray) -> ResidualSums:
    """Return the sums of r = y − A w in ``units``, and its products with N.

    The rounding error of r has a part in the span of N. In Aᵀr, it is multiplied by NᵀA, which may
    be large. Aᵀr is exact once NᵀA times these products is subtracted from it.
    """
    columns, found = chunk.nuisance_columns, ResidualSums.empty(w)
    outputs, products = chunk.output_rows(), np.zeros((len(w), chunk.nuisance, w.shape[2]))
    for g, y in enumerate(np.split(outputs, len(w), axis=1)):
        r = y - product(chunk, units, g, w[g], None)
        found.squares[g] = np.einsum("nq,nq->q", r, r)
        found.gradient[g] = adjoint(chunk, units, g, r)
        products[g, chunk.places] = columns.products(r)
    return found._replace(products=products)


def _between(chunk: LoadedChunk, units: Units) -> tuple[np.ndarray, np.ndarray] | None:
    """Return e and the shift (G, P) between the units of a chunk and others.

    None if they are equal. The last result is kept: the passes of a fit have the same units.
    """
    given, of = (units.exponents, units.shift), backend(chunk)
    known = chunk.kept.get(of.__name__)
    if known is None or known[0][0] is not given[0] or known[0][1] is not given[1]:
        own = of.own_units(chunk)
        # Columns that are zero in the chunk may have any exponents, including these.
        e = np.minimum(own.column_exponents - units.column_exponents, 0)
        moved = np.ldexp(own.shift, e) - units.shift
        known = chunk.kept[of.__name__] = given, (e, moved) if e.any() or moved.any() else None
    found: tuple[np.ndarray, np.ndarray] | None = known[1]
    return found


def product(
    chunk: LoadedChunk, units: Units, group: int, w: np.ndarray, fit: np.ndarray | None
) -> np.ndarray:
    """Return A w − N fit (n, Q) of one group in ``units``, for w (P, Q) and fit (q, Q)."""
    if (between := _between(chunk, units)) is None:
        found = backend(chunk).product(chunk, group, w)
    else:
        e, moved = (a[group] for a in between)
        found = backend(chunk).product(chunk, group, np.ldexp(w, e[:, None])) + moved @ w
    if fit is not None and chunk.blocks:
        found = found - chunk.nuisance_columns.fit(fit[chunk.places], 0, len(found))
    return np.asarray(found, float)


def adjoint(chunk: LoadedChunk, units: Units, group: int, r: np.ndarray) -> np.ndarray:
    """Return Aᵀr (P, Q) of one group in ``units``, for rows r (n, Q)."""
    found: np.ndarray = backend(chunk).adjoint(chunk, group, r)
    if (between := _between(chunk, units)) is None:
        return found
    e, moved = (a[group] for a in between)
    return np.asarray(np.ldexp(found, e[:, None]) + np.outer(moved, r.sum(0)))


# --- polynomials in time


def used_rows(kept: Rows, record: int) -> tuple[int, tuple[int, ...]]:
    """Return the range of rows of a record that are used, in which polynomials are scaled.

    Returns:
        The first row along the first axis, and the shape (*T) of the range, which has all rows
        along the other axes.
    """
    if kept.flags is None:
        return 0, kept.shapes[record]
    rows = used_range(kept.flags[record])[0]
    return rows.start, (rows.stop - rows.start, *kept.shapes[record][1:])


class Geometry(NamedTuple):
    """Where the samples of x are in its records.

    Attributes:
        spec: geometry of the convolution.
        lengths: lengths (*W) of every record.
    """

    spec: ConvSpec
    lengths: Sequence[tuple[int, ...]]


def trend_sums(
    chunk: Chunk,
    degree: int,
    ranges: Sequence[tuple[int, tuple[int, ...]]],
    of_x: Geometry | None,
    before: np.ndarray | None,
) -> Trends:
    """Return the products of polynomials with x, or with the outputs, of a chunk.

    Samples of x are those that its rows read, without padding.

    Args:
        chunk: the rows.
        degree: degree of the polynomials.
        ranges: `used_rows` of every record.
        of_x: the geometry of x; None for products with the outputs.
        before: coefficients (R, J, C) of every record that are subtracted first, or None.
    """
    alike: dict[Any, list[int]] = {}
    for j, (i, start, stop) in enumerate(chunk.spans):
        flags = None if chunk.flags is None else chunk.flags[j].tobytes()
        length = None if of_x is None else of_x.lengths[i]
        alike.setdefault((start, stop, ranges[i], length, flags), []).append(j)
    arrays, found = (chunk.y or ()) if of_x is None else chunk.x, []
    for several in alike.values():
        read, polynomials = _polynomials(chunk, several[0], degree, ranges, of_x)
        records = np.array([chunk.spans[j][0] for j in several])
        values = kept_samples(samples_of([arrays[j] for j in several]), read)
        values = values.astype(float, copy=False)
        if before is not None:
            values = without_polynomials(values, polynomials, [before[records]])
        found.append(Trends.of(records, values, polynomials.columns))
        if not np.isfinite(found[-1].crosses).all():
            raise no_sums([values])
    return reduce(add, found)


def _polynomials(
    chunk: Chunk,
    span: int,
    degree: int,
    ranges: Sequence[tuple[int, tuple[int, ...]]],
    of_x: Geometry | None,
) -> tuple[np.ndarray, Polynomials]:
    """Return flags (*L) of the samples of a span that `trend_sums` reads, and polynomials there."""
    i, start, stop = chunk.spans[span]
    first, shape = start - ranges[i][0], ranges[i][1]
    flags = np.ones((stop - start, *shape[1:]), bool) if chunk.flags is None else chunk.flags[span]
    if of_x is not None:
        spec, lengths = of_x
        flags = samples_read(flags, spec) & recorded_samples(lengths[i], spec, start, stop)
        first, shape = first * spec.stride[0], extent(spec, shape)
    return flags, Polynomials.of(shape, degree, first, first + len(flags)).some(flags)


# --- sums that are not finite


def no_sums(samples: Iterable[Any]) -> Exception:
    """Return the exception for arrays whose sums are not finite."""
    finite = all(np.isfinite(np.asarray(a)).all() for a in samples)
    return sums_beyond_float64() if finite else not_finite_any_more()


def sums_beyond_float64() -> SolveError:
    """Return the exception for finite numbers whose sums are not finite."""
    return SolveError("sums of x or y leave the range of float64")
