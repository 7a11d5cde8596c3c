"""The design matrix as a sum over chunks, with the confounds of every record projected out.

The polynomials in time that fit x and y and that the confounds span are subtracted first. Otherwise
their size would cost the digits of the rest. The confounds N are orthonormal columns. Their
projection needs only D = AᵀN and Nᵀy: AᵀMA = AᵀA − DDᵀ for M = I − NNᵀ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple, Self

import numpy as np

from ..cached import cached_property
from ..errors import SolveError
from ..problem.confounds import Confounds, Layout
from ..problem.nuisance import Nuisance
from ..problem.polynomials import EPS, Polynomials, fitted, used_range
from ..problem.rows import Rows, Span, samples_read
from ..problem.sizes import Limits
from ..problem.spec import ConvSpec
from ..problem.trends import Subtracted, beyond_rounding
from ..progress import tracked
from .base import Block
from .chunks import (
    ChunkedOperator,
    ChunkedTargets,
    Geometry,
    Misfit,
    Parts,
    Products,
    Totals,
    exact_operator_of,
    misfit,
    no_sums,
    operator_of,
    summed,
    sums_beyond_float64,
)
from .fourier import KEPT_SHARE
from .moments import Moments, NuisanceSums, Units, per_column
from .projection import Confounded
from .records import Inputs, Targets
from .rows import RowOperator
from .totals import PASS, Chunk
from .windows import recorded_samples

# Coefficients of polynomials are rounded to a few eps of the size of the polynomials. A remainder
# of this many eps or more is hardly changed.
RELIABLE = 1e4


@dataclass(frozen=True, eq=False)
class Less:
    """Samples (n, *L, C) of a record, adjusted for polynomials, weights and confounds.

    Polynomials in time are subtracted, the result is multiplied by the root of a weight, and the
    fit of the confounds is subtracted. The samples are read on demand.

    Attributes:
        record: the samples.
        start: index of the first sample along the first axis of the range of the polynomials.
        shape: shape (*L) of that range.
        degree: degree of the polynomials.
        coefficients: coefficients (J, C) of polynomials, which are subtracted one after the other.
        root: root of the weight, () or (n, *L).
        flags: rows to which the columns of the confounds belong.
        columns: columns (k, q) of the confounds, or None.
        fit: coefficients (q, C) of the columns that are subtracted, or None.
    """

    record: Any
    start: int
    shape: tuple[int, ...]
    degree: int
    coefficients: Sequence[np.ndarray]
    root: np.ndarray
    flags: np.ndarray | None = None
    columns: np.ndarray | None = None
    fit: np.ndarray | None = None

    def read(self) -> Self:
        """Return the same object with its samples in memory."""
        return replace(self, record=np.asarray(self.record))

    @property
    def selections(self) -> list[Any]:
        """The arrays that are read."""
        return [self.record]

    @property
    def hollow(self) -> Self:
        """The same object without the record."""
        return replace(self, record=None)

    def assembled(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return the samples, given the `selections` as arrays."""
        found = np.asarray(parts[0], float)
        if self.coefficients:
            trend = Polynomials.of(self.shape, self.degree, self.start, self.start + len(found))
            with np.errstate(over="ignore", invalid="ignore"):  # in samples that no row reads
                for each in self.coefficients:
                    found = trend.subtract(found, each)
        found = found * (self.root[..., None] if self.root.ndim else self.root)
        if self.columns is not None and self.fit is not None:
            kept = np.ones(found.shape[:-1], bool) if self.flags is None else self.flags
            found[kept] -= self.columns @ self.fit
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self.assembled([np.asarray(self.record)])
        return found if dtype is None else found.astype(dtype, copy=False)


# --- the polynomials that are subtracted


class UsedRows(NamedTuple):
    """The range of rows of a record that are used in the fit, in which polynomials are scaled.

    Attributes:
        first: the first row along the first axis.
        shape: shape (*T) of the range, with all rows along the other axes.
    """

    first: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, kept: Rows, record: int) -> UsedRows:
        """Return the range of one record."""
        rows = used_range(kept.flags_of(record))[0]
        return cls(rows.start, (rows.stop - rows.start, *kept.shapes[record][1:]))


@dataclass(frozen=True)
class Drifts:
    """Products of polynomials V in time with the samples of records.

    Attributes:
        grams, crosses: VᵀV (J, J) and Vᵀx (J, C) by record.
        samples: number of samples.
        remainder: norm (C,) of the samples after a fit of V to every chunk. It is a lower bound of
            the norm after the fit to whole records.
    """

    grams: dict[int, np.ndarray]
    crosses: dict[int, np.ndarray]
    samples: int
    remainder: np.ndarray

    def __add__(self, other: Drifts) -> Drifts:
        return Drifts(
            _added(self.grams, other.grams),
            _added(self.crosses, other.crosses),
            self.samples + other.samples,
            np.hypot(self.remainder, other.remainder),
        )

    def shared(self) -> Drifts:
        """Return the sums for one polynomial that is fitted to all records."""
        grams, crosses = (
            reduce(_added, [{0: of_record} for of_record in several.values()])[0]
            for several in (self.grams, self.crosses)
        )
        of_all = dict.fromkeys(self.grams, grams), dict.fromkeys(self.crosses, crosses)
        return Drifts(*of_all, self.samples, self.remainder)

    @cached_property
    def coefficients(self) -> dict[int, np.ndarray]:
        """Coefficients (J, C) of every record."""
        return {i: fitted(gram, self.crosses[i]) for i, gram in self.grams.items()}

    @property
    def size(self) -> np.ndarray:
        """Root mean square (C,) of everything that is subtracted."""
        return self._size(0)

    @property
    def trend_size(self) -> np.ndarray:
        """Root mean square (C,) of everything that is subtracted except the constants."""
        return self._size(1)

    @property
    def accurate(self) -> bool:
        """Whether the rounding error of the coefficients is small compared with the remainder."""
        rounding = RELIABLE * EPS * self.size * math.sqrt(self.samples)
        return bool((self.remainder >= rounding).all())

    def _size(self, first: int) -> np.ndarray:
        """Return the root mean square (C,) of the polynomials from coefficient ``first`` on."""
        largest = np.max([np.abs(c).max(0, initial=0.0) for c in self.coefficients.values()], 0)
        unit = np.where(largest > 0, largest, 1.0)
        total = np.zeros(unit.shape)
        for i, coefficients in self.coefficients.items():
            scaled = coefficients[first:] / unit
            total += np.einsum("jc,jk,kc->c", scaled, self.grams[i][first:, first:], scaled)
        return unit * np.sqrt(np.maximum(total, 0.0) / max(self.samples, 1))


def _added(a: dict[int, np.ndarray], b: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    with np.errstate(over="ignore"):
        found = a | {i: a[i] + value if i in a else value for i, value in b.items()}
    if not all(np.isfinite(value).all() for value in found.values()):
        raise sums_beyond_float64()
    return found


def drifts(
    chunk: Chunk,
    degree: int,
    spec: ConvSpec,
    used: Sequence[UsedRows],
    lengths: Sequence[Any] | None,
    turn: tuple[int, ...],
    before: Sequence[np.ndarray] = (),
) -> Drifts:
    """Sum the products of polynomials with the recorded samples that the rows of a chunk read.

    ``used`` are the rows of every record. ``lengths`` are the lengths (*W) of x, or None to use the
    samples of y. Polynomials with the coefficients ``before`` of every record are subtracted first.
    """
    grams: dict[int, np.ndarray] = {}
    crosses: dict[int, np.ndarray] = {}
    samples, remainder = 0, np.zeros((chunk.x or chunk.y or ())[0].shape[-1])
    for j, (i, start, stop) in enumerate(chunk.spans):
        flags = np.ones((stop - start, *used[i].shape[1:]), bool)
        flags = flags if chunk.flags is None else chunk.flags[j]
        if lengths is None:
            assert chunk.y is not None
            values, shape = np.asarray(chunk.y[j], float), used[i].shape
            first = start - used[i].first
        else:
            values, flags = np.asarray(chunk.x[j], float), samples_read(flags, spec)
            flags &= recorded_samples(lengths[i], spec, turn, start, stop)
            first = (start - used[i].first) * spec.stride[0]
            shape = _extent(spec, used[i].shape)
        trend = Polynomials.of(shape, degree, first, first + len(values))
        v = trend.columns[flags]
        grams = _added(grams, {i: v.T @ v})
        with np.errstate(over="ignore", invalid="ignore"):
            values = trend.subtract(values, before[i]) if before else values
            cross = v.T @ values[flags]
        if not np.isfinite(cross).all():
            raise no_sums([values])
        crosses = _added(crosses, {i: cross})
        samples += len(v)
        if lengths is not None:
            left = values[flags] - v @ fitted(v.T @ v, cross)
            remainder = np.hypot(remainder, _norms(left))
    return Drifts(grams, crosses, samples, remainder)


def _norms(values: np.ndarray) -> np.ndarray:
    """Return norms (C,) of the columns of values (n, C), of any size."""
    largest = np.abs(values).max(0, initial=0.0)
    unit = np.where(largest > 0, largest, 1.0)
    return np.asarray(unit * np.linalg.norm(values / unit, axis=0))


def _extent(spec: ConvSpec, rows: Sequence[int]) -> tuple[int, ...]:
    """Return the shape (*E) of a record in normal form that has ``rows`` (*T)."""
    axes = zip(rows, spec.stride, spec.span, strict=True)
    return tuple((t - 1) * s + n for t, s, n in axes)


# --- sums over a chunk


def _own_columns(chunk: Chunk, inputs: Inputs) -> Confounds:
    """Return the nuisance columns of a chunk as separate columns of each of its pieces."""
    assert chunk.confounds is not None
    layouts = tuple(Layout(basis, np.zeros(len(basis)), False) for _, basis in chunk.confounds)
    which, scales = np.arange(len(layouts)), np.ones(len(layouts))
    return Confounds(layouts, which, scales, 0.0, -1, None, inputs.kept)


def _places(chunk: Chunk) -> np.ndarray:
    """Return the indices of the columns of a chunk among all columns of confounds."""
    assert chunk.confounds is not None
    return np.concatenate([places for places, _ in chunk.confounds])


def partialled_products(
    chunk: Chunk,
    geometry: Geometry,
    exponents: np.ndarray,
    group: int,
    w: np.ndarray,
    fit: np.ndarray,
) -> Products:
    """Return (A w − N fit)ᵀ(A w − N fit) (Q, Q) of one group, for w (P, Q) and ``fit`` (q, Q)."""
    operator = operator_of(chunk._replace(y=None), geometry)
    e = np.minimum(operator.exponents[group] - exponents, 0)
    seen = operator.product(group, np.ldexp(w, e[:, None]))
    local = Confounded(_own_columns(chunk, operator.inputs), operator.inputs)
    left = seen - local.fit(fit[_places(chunk)], 0, len(seen))
    return Products(left.T @ left)


def partialled_totals(chunk: Chunk, geometry: Geometry) -> Totals:
    """Return sums over the rows of a chunk, including products with the confounds."""
    operator, moments = summed(chunk, geometry)
    assert chunk.confounds is not None
    nuisance = (_nuisance_sums(chunk, operator, moments.units),)
    return Totals(replace(moments, nuisance=nuisance), (isinstance(operator, RowOperator),))


def _nuisance_sums(chunk: Chunk, operator: Parts, units: Units) -> NuisanceSums:
    inputs, targets = operator.inputs, operator.targets
    assert chunk.confounds is not None
    local, bases = _own_columns(chunk, inputs), [columns for _, columns in chunk.confounds]
    of_columns = Confounded(local, inputs).crossed.swapaxes(1, 2)
    of_outputs = np.zeros((inputs.spec.groups, local.count, 0))
    if chunk.y is not None and targets is not None:
        rows = inputs.kept.select([np.asarray(a) for a in chunk.y])
        scaled = [np.ldexp(a.reshape(-1, a.shape[-1]), -targets.exponents) for a in rows]
        of_y = np.concatenate([b.T @ a for b, a in zip(bases, scaled, strict=True)])
        of_outputs = of_y.reshape(-1, *units.out_exponents.shape).swapaxes(0, 1)
    places, total = _places(chunk), chunk.nuisance_columns
    of_ones = np.concatenate([b.sum(0) for b in bases])
    own = units.exponents, units.out_exponents
    return NuisanceSums(places, total, of_columns, of_outputs, of_ones, *own)


@dataclass(frozen=True)
class Partialled(Totals):
    """Sums with the confounds projected out.

    Attributes:
        y_drifts: polynomials that were subtracted from y before.
        live: flags of the columns (G, P) that are more than rounding. The others are set to zero.
    """

    y_drifts: tuple[Drifts, ...]
    live: np.ndarray


class PartialledChunks(ChunkedOperator):
    """M A as a sum over chunks, with M = I − NNᵀ for the orthonormal columns N of `Confounds`.

    Rows are multiplied by the roots of their weights.

    Source: R. Frisch and F. V. Waugh, Econometrica 1 (1933) 387.
    """

    def __init__(
        self,
        x: Sequence[Any],
        y: Sequence[Any] | None,
        spec: ConvSpec,
        kept: Rows,
        confounds: Confounds,
        limits: Limits,
    ) -> None:
        super().__init__(x, y, spec, kept, Nuisance(), limits)
        self.confounds = confounds
        self._degree = max(confounds.degree, 0 if confounds.shared else -1)
        self._used = [UsedRows.of(kept, i) for i in range(len(kept.shapes))]

    @cached_property
    def _x_drifts(self) -> tuple[Drifts, ...]:
        """Polynomials of x that N spans, and if necessary the polynomials of the remainder.

        A second fit takes a pass over x. It is needed if the first polynomials are so large that
        the rounding error of their coefficients would be visible in the remainder.
        """
        if self._degree < 0:
            return ()
        first = self._drifts(None)
        return (first,) if first.accurate else (first, self._drifts(None, first))

    def _drifts(self, y: Sequence[Any] | None, before: Drifts | None = None) -> Drifts:
        """Return the polynomials of x, or of y, after the ones ``before`` are subtracted."""
        chunks, total = super()._chunks(y), self.total
        if y is not None:
            chunks = [chunk._replace(x=()) for chunk in chunks]
            total = self._total_of(y)
        lengths = None if y is not None else [a.shape[:-1] for a in self._x]
        given: list[Any] = [self._degree, self._spec, self._used, lengths, self._kept.turn]
        if before is not None:
            none = np.zeros((0, 0))
            given.append([before.coefficients.get(i, none) for i in range(len(self._x))])
        found: Drifts = total(drifts, chunks, *given)
        return found if not self.confounds.shared else found.shared()

    def pass_over(self, y: Sequence[Any] | None) -> Partialled:
        """Return sums over the rows of A and Y, and products with the confounds."""
        y_drifts = () if y is None or self._degree < 0 else (self._drifts(y),)
        chunks = self._adjusted(super()._chunks(y), y_drifts)
        found: Totals = self._total_of(y)(partialled_totals, chunks, self._geometry)
        m = found.moments
        live = self._live(m)
        if not ((m.squares > KEPT_SHARE * np.einsum("gpp->gp", m.gram)) | ~live).all():
            raise SolveError(
                "the confounds, or the bias of weighted rows, span nearly all of a column of x, "
                "and sums over chunks would lose its digits; take the means of its channels off "
                "x, read x and y into memory, or fit fewer confounds"
            )
        return Partialled(m.with_zero_columns(live), found.by_rows, y_drifts, live)

    def _live(self, m: Moments) -> np.ndarray:
        """Return flags (G, P) of columns beyond the rounding error of the subtracted trends.

        A difference of sums does not show whether more than rounding is left of other columns.
        """
        whole = np.einsum("gpp->gp", m.gram)
        if not self._x_drifts:
            return whole > 0
        drifts = self._x_drifts[0]
        size, trend = (
            self._by_column(each, m.units.column_exponents)
            for each in (drifts.size, drifts.trend_size)
        )
        subtracted = Subtracted(size, trend, self._degree > 0)
        weight = self.confounds.total_weight
        return beyond_rounding(whole, whole, subtracted, self.rows, weight)

    def moments_of(self, spans: Sequence[Span], y: Sequence[Any]) -> Moments:
        """Raise a SolveError, because N is not orthonormal over some of the rows."""
        raise SolveError("state a problem of these rows to have sums over them beside confounds")

    def _adjusted(
        self,
        chunks: Sequence[Chunk],
        y_drifts: Sequence[Drifts],
        fit: np.ndarray | None = None,
    ) -> list[Chunk]:
        """Return chunks with polynomials subtracted from x and y, times the roots of weights.

        If ``fit`` (q, Cout) is given, N times ``fit`` is subtracted from y.
        """
        return [self._adjust(chunk, y_drifts, fit) for chunk in chunks]

    def _adjust(self, chunk: Chunk, y_drifts: Sequence[Drifts], fit: np.ndarray | None) -> Chunk:
        weights, spec, degree = self.confounds.weights, self._spec.normal, self._degree
        one = np.ones(())
        x, y, roots, columns = [], [], [], []
        for j, (i, start, stop) in enumerate(chunk.spans):
            root = one if weights is None else weights.roots[i]
            of_rows = root[start:stop] if root.ndim else root
            roots.append(
                of_rows if root.ndim else np.ones((stop - start, *self._kept.shapes[i][1:]))
            )
            columns.append(self.confounds.part((i, start, stop)))
            of_x = [drifts.coefficients[i] for drifts in self._x_drifts]
            shape = _extent(spec, self._used[i].shape)
            of_used = start - self._used[i].first
            first = of_used * spec.stride[0]
            own = one if root.ndim else root
            x.append(Less(chunk.x[j], first, shape, degree, of_x, own))
            if chunk.y is not None:
                of_y = [drifts.coefficients[i] for drifts in y_drifts]
                less = Less(chunk.y[j], of_used, self._used[i].shape, degree, of_y, of_rows)
                if fit is not None:
                    flags = None if chunk.flags is None else chunk.flags[j]
                    places, basis = columns[-1]
                    less = replace(less, flags=flags, columns=basis, fit=fit[places])
                y.append(less)
        by_row = weights is not None and not weights.by_record
        return chunk._replace(
            x=tuple(x),
            y=None if chunk.y is None else tuple(y),
            roots=tuple(roots) if by_row else None,
            confounds=tuple(columns),
            nuisance_columns=self.confounds.count,
        )

    @property
    def _partialled(self) -> Partialled:
        found = self._own
        assert isinstance(found, Partialled)
        return found

    def _of(self, targets: Targets) -> Partialled:
        assert isinstance(targets, ChunkedTargets)
        found = targets.totals
        assert isinstance(found, Partialled)
        return found

    @property
    def offsets(self) -> np.ndarray:
        """Size (G, P) per row of everything subtracted from a column."""
        squares = np.square(self.products).sum(1) / self.rows
        taken = np.zeros(squares.shape)
        if self._x_drifts:
            taken = self._by_column(self._x_drifts[0].size, self.exponents)
        return np.hypot(np.sqrt(squares), taken)

    def _by_column(self, by_channel: np.ndarray, exponents: np.ndarray) -> np.ndarray:
        """Return values of channels (Cin,) for every column (G, P), scaled by its exponents."""
        columns = per_column(by_channel.reshape(self.groups, -1), self.columns)
        return np.ldexp(columns, -exponents)

    def _residual(
        self, w: np.ndarray, targets: Targets, chunks: Sequence[Chunk]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return sums of r = y − A w − N v over some chunks, with v = Nᵀ(y − A w) of all rows."""
        found, live = self._of(targets), self._partialled.live
        w, exponents = w * live[:, :, None], targets.exponents
        rest = self.projection.coefficients(found.moments.nuisance_rhs, w)
        with np.errstate(under="ignore"):
            fit = np.ldexp(rest.swapaxes(0, 1).reshape(-1, exponents.size), exponents)
        zeros = np.zeros((self.groups, self.columns)), np.zeros((self.groups, targets.outputs))
        of_x = self._own.moments.units.exponents
        units = Units(of_x, zeros[0], targets.grouped(exponents), zeros[1])
        adjusted = self._adjusted(chunks, found.y_drifts, fit)
        total = self._total_of(targets.records)
        left: Misfit = total(misfit, adjusted, self._geometry, units, w, zeros[1])
        return left.squares, left.gradient * live[:, :, None]

    def by_record(self, w: np.ndarray, targets: Targets) -> Iterator[np.ndarray]:
        """Yield AᵀM r (G, P, Q) over the rows of each record that has rows."""
        if self.confounds.shared:
            raise SolveError(
                "noise='cluster' takes no bias beside weights or confounds of records that are "
                "read in chunks; give confounds='intercept', a constant of every record"
            )
        yield from super().by_record(w, targets)

    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return (M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q)."""
        w = w * self._partialled.live[group][:, None]
        fit = self.products[group] @ w
        given = self._geometry, self.exponents[group], group, w, fit
        found: Products = self._total(partialled_products, self._decided(None), *given)
        return found.of_groups

    def _decided(self, y: Sequence[Any] | None) -> list[Chunk]:
        """Return the chunks of x as they were summed. y is adjusted once its fit is known."""
        found = super()._decided(y)
        return self._adjusted(found, ()) if y is None else found

    def _blocks(self, targets: Targets | None) -> Iterator[Block]:
        self._check_rows()
        m = self._own.moments
        found = None if targets is None else self._of(targets)
        y = None if targets is None else targets.records
        y_drifts = () if found is None else found.y_drifts
        chunks = self._adjusted(super()._chunks(y), y_drifts)
        for chunk in tracked(chunks, PASS, len(chunks)):
            yield from self._rows_of(chunk, m, found)

    def _rows_of(self, chunk: Chunk, m: Moments, found: Partialled | None) -> Iterator[Block]:
        part = exact_operator_of(chunk._replace(by_rows=True), self._geometry)
        assert isinstance(part, RowOperator)
        local, places = Confounded(_own_columns(chunk, part.inputs), part.inputs), _places(chunk)
        by_column = self.products[:, places].swapaxes(0, 1)
        by_column = by_column.reshape(-1, self.groups * self.columns)
        of_y = None
        if found is not None:
            rhs = found.moments.nuisance_rhs[:, places].swapaxes(0, 1)
            of_y = rhs.reshape(len(places), self.groups * rhs.shape[2])
        e, first = part.exponents - m.units.column_exponents, 0
        for a, y in part.raw(part.targets):
            rows = first, first + a.shape[1]
            a = local.rows_without(np.ldexp(a, e[:, None]), first, by_column)
            a = a * self._partialled.live[:, None]
            if (
                y is not None
                and found is not None
                and part.targets is not None
                and of_y is not None
            ):
                own_units = part.targets.grouped(part.targets.exponents)
                y = np.ldexp(y, (own_units - found.moments.units.out_exponents)[:, None])
                fit = local.fit(of_y, *rows).reshape(-1, self.groups, y.shape[2])
                y = y - fit.swapaxes(0, 1)
            yield a, y
            first = rows[1]

    def constant_beside(
        self, targets: Targets, w: np.ndarray, level: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return the constant (G, Q) of the fit with w; None if there is no bias."""
        if not self.confounds.shared:
            return None
        found = self._of(targets)
        first = self._kept.used[0]
        of_records = [
            sum(drifts.coefficients[first][0] for drifts in several)
            for several in (self._x_drifts, found.y_drifts)
        ]
        rest = self.projection.coefficients(found.moments.nuisance_rhs, w)[:, -1]
        taken = self._by_column(of_records[0], self.exponents)
        level = np.ldexp(of_records[1], -targets.exponents)
        beside = targets.grouped(level) - np.einsum("gp,gpq->gq", taken, w)
        return np.asarray(rest / self.confounds.size + beside)

    def output_sums(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return NᵀY (G, q, Q) and Σy² (G, Q)."""
        found = self._of(targets).moments
        return found.nuisance_rhs, found.out_squares
