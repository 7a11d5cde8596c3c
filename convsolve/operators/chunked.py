"""The design matrix as a sum over chunks of records, with a few chunks in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cached import cached_property
from ..problem.nuisance import Nuisance
from ..problem.rows import Rows, Span
from ..problem.sizes import Limits
from ..problem.spec import ConvSpec
from ..problem.stored import Stored
from ..progress import LOG, tracked
from .base import Block, DesignOperator
from .chunks import (
    Geometry,
    ProjectedUnits,
    Totals,
    chunk_spans,
    chunks_of,
    misfit,
    product_grams,
    projected_misfit,
    projected_product_grams,
    projected_rows,
    totals,
)
from .drifts import AdjustedSlice, Drifts, UsedRows, drifts, extent
from .fourier import KEPT_SHARE
from .moments import Moments, ResidualSums, Units, scaled_columns
from .overlap_save import by_fft
from .projection import beyond_subtracted
from .records import Targets
from .totals import PASS, Chunk, ChunkColumns, Total, dask_rows, on_dask, total_of

# A run of excluded rows of at least this many kernel lengths is not read.
GAP_KERNELS = 8
# Chunks of arrays in memory are longer by this factor: nothing is read, and fewer chunks cost less.
IN_MEMORY = 2
# Chunks of dask arrays are shorter by this factor, because a worker holds several.
ON_DASK = 1 / 2


@dataclass(frozen=True)
class Pass:
    """Sums over all chunks, and the values that were subtracted from the rows before.

    Attributes:
        moments: the sums.
        by_rows: flags of the chunks that had to be summed by rows.
        live: flags (G, P) of the columns that are more than rounding. The others are set to zero.
        out_live: the same flags (G, Q) of the outputs.
        y_drifts: polynomials that were subtracted from y.
        fit: fits (G, q, P) and (G, q, Q) of the confounds that were subtracted from A and Y, in the
            units of the moments. None if a projection of the sums loses no digits.
    """

    moments: Moments
    by_rows: tuple[bool, ...]
    live: np.ndarray
    out_live: np.ndarray
    y_drifts: tuple[Drifts, ...] = ()
    fit: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def y_fit(self) -> np.ndarray:
        """The whole fit (G, q, Q) of the confounds to Y."""
        return self.moments.nuisance_rhs + (0.0 if self.fit is None else self.fit[1])

    @property
    def x_fits(self) -> tuple[np.ndarray, ...]:
        """The fits (G, q, P) of the confounds to A, to be subtracted one after the other."""
        rest = self.moments.projection.products
        return (rest,) if self.fit is None else (self.fit[0], rest)


class ChunkedTargets(Targets):
    """Outputs of which a few are in memory at a time. Their units are computed with their sums."""

    def __init__(self, y: Sequence[Any], operator: ChunkedOperator) -> None:
        self.groups, self.records, self._operator = operator.groups, y, operator
        self.confounded = np.zeros((0, y[0].shape[-1]))

    @cached_property
    def totals(self) -> Pass:
        """Sums over all rows, in one pass over x and y."""
        return self._operator.pass_over(self.records)

    @property
    def moments(self) -> Moments:
        """The moments in `totals`."""
        return self.totals.moments

    @property
    def exponents(self) -> np.ndarray:  # type: ignore[override]
        """Exponents (Cout,): the largest magnitude is at most one in their units."""
        return self.moments.units.out_exponents.reshape(-1)

    @property
    def scale(self) -> np.ndarray:
        """Scale (Cout,), by which y is multiplied."""
        return np.ldexp(1.0, -self.exponents)

    @property
    def shift(self) -> np.ndarray:  # type: ignore[override]
        """Shift (Cout,), approximately the mean if the nuisance columns contain a constant."""
        return self.moments.units.out_shift.reshape(-1)

    @property
    def outputs(self) -> int:
        """Number Q of outputs of each group."""
        return int(self.records[0].shape[-1]) // self.groups

    def rows(self, group: int) -> np.ndarray:
        """Return y (n, Q) of one group in the row order of `row_blocks`, scaled but not shifted."""
        operator = self._operator
        blocks = [y[group] for _, y in operator.row_blocks(self) if y is not None]
        if not operator.nuisance.constant:
            return np.concatenate(blocks)
        level = self.grouped(self.shift) + self.sums / operator.rows
        return np.concatenate(blocks) + level[group]

    @property
    def sums(self) -> np.ndarray:
        """Sums Σ(y − shift) (G, Q)."""
        return self.moments.out_sums

    @property
    def squares(self) -> np.ndarray:
        """Sums Σ(y − shift)² (G, Q)."""
        return self.moments.out_squares


class ChunkedOperator(DesignOperator):
    """A as the sum over chunks of records. Every pass reads them again and keeps only sums.

    A chunk is a small problem of its own, computed by FFTs, or by rows if FFTs would lose digits.
    It has its own exponents and shifts, which `Moments` align when they are added. Polynomials that
    confounds span are subtracted from x and y, and rows are multiplied by the roots of weights,
    when a chunk is read.
    """

    def __init__(
        self,
        x: Sequence[Any],
        y: Sequence[Any] | None,
        spec: ConvSpec,
        kept: Rows,
        nuisance: Nuisance,
        limits: Limits,
        sizes: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    ) -> None:
        """Plan the chunks. ``sizes`` (Cin,) and (Cout,) are the largest magnitudes, if known."""
        self._x, self._spec, self._kept = x, spec, kept
        self.nuisance, self.rows = nuisance, kept.count
        channels = x[0].shape[-1]
        self.groups, self.columns = spec.groups, spec.unknowns(channels)
        read = kept.flags is None and all(spec.reads_all(a.shape[:-1]) for a in x)
        # Samples that no row reads must not affect the scale.
        known = sizes if read else (None, None)
        self._geometry = Geometry(spec.normal, nuisance.constant, limits, *known)
        numbers = max(int(limits.chunk_numbers * _longer((*x, *(y or ())))), self.columns**2)
        step = max(1, numbers // max(1, _numbers_a_row(x, y, spec)))
        if (length := dask_rows(x, spec.stride[0])) is not None:
            step = _in_step(step, length)
        #: Rows of a chunk. At least the reach of a kernel, or most samples would be read twice.
        self.step = max(step, spec.span[0])
        self.spans = chunk_spans(kept, kept.pieces(GAP_KERNELS * spec.span[0]), self.step)
        LOG.info(
            "%d rows are taken in %d chunks of up to %d", self.rows, len(self.spans), self.step
        )
        #: The method that sums over chunks. It can be replaced for the given outputs.
        self._total = self.total = total_of((*x, *(y or ())))
        self._given = None if y is None else ChunkedTargets(y, self)
        self.targets = self._given
        confounds, self._degree = nuisance.confounds, -1
        if confounds is not None:
            self._degree = max(confounds.degree, 0 if confounds.shared else -1)
        self._used = [UsedRows.of(kept, i) for i in range(len(kept.shapes))]

    def outputs(self, y: Sequence[Any]) -> ChunkedTargets:
        """Return targets for other outputs of the same x."""
        return ChunkedTargets(y, self)

    # --- polynomials that are subtracted

    @cached_property
    def _x_drifts(self) -> tuple[Drifts, ...]:
        """Polynomials of x that N spans, see `_several_drifts`."""
        return self._several_drifts(None)

    def _several_drifts(self, y: Sequence[Any] | None) -> tuple[Drifts, ...]:
        """Return the polynomials of x, or of y, and if necessary of the remainder.

        A second fit takes a pass over x or y. It is needed if the first polynomials are so large
        that the rounding error of their coefficients would be visible in the remainder.
        """
        if self._degree < 0:
            return ()
        first = self._drifts(y)
        return (first,) if first.accurate else (first, self._drifts(y, first))

    def _drifts(self, y: Sequence[Any] | None, before: Drifts | None = None) -> Drifts:
        """Return the polynomials of x, or of y, after the ones ``before`` are subtracted."""
        chunks, total = self._unread(y), self.total
        if y is not None:
            chunks = [chunk._replace(x=()) for chunk in chunks]
            total = self._total_of(y)
        lengths = None if y is not None else [a.shape[:-1] for a in self._x]
        given: list[Any] = [self._degree, self._spec, self._used, lengths, self._kept.turn]
        if before is not None:
            none = np.zeros((0, 0))
            given.append([before.coefficients.get(i, none) for i in range(len(self._x))])
        found: Drifts = total(drifts, chunks, *given)
        confounds = self.nuisance.confounds
        return found.shared() if confounds is not None and confounds.shared else found

    def _live(
        self,
        subtracted_drifts: Sequence[Drifts],
        whole: np.ndarray,
        left: np.ndarray,
        exponents: np.ndarray,
    ) -> np.ndarray:
        """Return flags (G, P) of columns beyond the rounding error of everything subtracted.

        ``whole`` and ``left`` are the squares of the columns, or of outputs (G, Q), before and
        after the projection.
        """
        if not subtracted_drifts:
            return np.asarray(left > 0)
        assert self.nuisance.confounds is not None
        sizes = subtracted_drifts[0].size, subtracted_drifts[0].trend_size
        confounds = self.nuisance.confounds
        return beyond_subtracted(confounds, sizes, exponents, whole, left, self.rows)

    # --- sums over all chunks

    def pass_over(self, y: Sequence[Any] | None) -> Pass:
        """Return sums over the rows of A and y.

        If means or confounds are so large that their elimination from the sums would lose digits, a
        second pass sums about their fit.
        """
        y_drifts = () if y is None else self._several_drifts(y)
        geometry, total = self._geometry_of(y), self._total_of(y)
        chunks = self._chunks(y, y_drifts)
        found: Totals = total(totals, chunks, geometry, None)
        m = found.moments
        if self.nuisance.confounds is None:
            if self.nuisance.constant and not _keeps_digits(m):
                found = total(totals, chunks, geometry, m.about_means)
            every = np.ones(m.units.shift.shape, bool), np.ones(m.out_squares.shape, bool)
            return Pass(found.moments, found.by_rows, *every)
        whole, exponents = np.einsum("gpp->gp", m.gram), m.units.column_exponents
        # A difference of sums does not show whether more than rounding is left of other columns.
        live = self._live(self._x_drifts, whole, whole, exponents)
        squares = m.out_squares
        out_live = self._live(y_drifts, squares, squares, m.units.out_exponents)
        m = m.with_zero_columns(live).with_zero_outputs(out_live)
        if ((m.squares > KEPT_SHARE * whole) | ~live).all():
            return Pass(m, found.by_rows, live, out_live, y_drifts)
        fit = m.projection.products, m.nuisance_rhs
        how = ProjectedUnits(m.units, None, (_flat(fit[0]),), live, out_live)
        chunks = self._chunks(y, y_drifts, _in_user_units(fit[1], m.units))
        found = total(totals, chunks, geometry, None, how)
        live = live & self._live(self._x_drifts, whole, found.moments.squares, exponents)
        m = found.moments.with_zero_columns(live)
        return Pass(m, found.by_rows, live, out_live, y_drifts, fit)

    def moments_of(self, spans: Sequence[Span], y: Sequence[Any]) -> Moments:
        """Return sums over some of the rows, if there are no confounds."""
        chunks = self._unread(y, chunk_spans(self._kept, spans, self.step))
        found: Totals = self._total_of(y)(totals, chunks, self._geometry_of(y), None)
        return found.moments

    def _is_given(self, y: Sequence[Any] | None) -> bool:
        return y is (None if self._given is None else self._given.records)

    def _total_of(self, y: Sequence[Any] | None) -> Total:
        return self.total if self._is_given(y) else self._total

    def _geometry_of(self, y: Sequence[Any] | None) -> Geometry:
        """Return the settings for y. The magnitudes of outputs other than the given are unknown."""
        return self._geometry if self._is_given(y) else self._geometry._replace(y_sizes=None)

    def _unread(
        self, y: Sequence[Any] | None, spans: Sequence[Sequence[Span]] | None = None
    ) -> list[Chunk]:
        """Return chunks of x and y as they were given."""
        found = chunks_of(
            self.spans if spans is None else spans, self._x, y, self._spec, self._kept
        )
        return found if by_fft(self._spec) else [c._replace(by_rows=True) for c in found]

    def _chunks(
        self,
        y: Sequence[Any] | None,
        y_drifts: Sequence[Drifts] = (),
        fit: np.ndarray | None = None,
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> list[Chunk]:
        """Return chunks with polynomials subtracted from x and y, times the roots of weights.

        If ``fit`` (q, Cout) is given, N times ``fit`` is subtracted from y.
        """
        found = self._unread(y, spans)
        if self.nuisance.confounds is None:
            return found
        return [self._adjusted(chunk, y_drifts, fit) for chunk in found]

    def _adjusted(self, chunk: Chunk, y_drifts: Sequence[Drifts], fit: np.ndarray | None) -> Chunk:
        confounds, spec, degree = self.nuisance.confounds, self._spec.normal, self._degree
        assert confounds is not None
        weights, one = confounds.weights, np.ones(())
        x, y, roots = [], [], []
        columns = ChunkColumns.of(confounds, chunk.spans)
        bases = columns.each
        for j, (i, start, stop) in enumerate(chunk.spans):
            root = one if weights is None else weights.roots[i]
            of_rows = root[start:stop] if root.ndim else root
            whole = np.ones((stop - start, *self._kept.shapes[i][1:]))
            roots.append(of_rows if root.ndim else whole)
            first, shape = start - self._used[i].first, self._used[i].shape
            of_x = [each.coefficients[i] for each in self._x_drifts]
            place = first * spec.stride[0], extent(spec, shape)
            own = one if root.ndim else root
            x.append(AdjustedSlice(chunk.x[j], *place, degree, of_x, own))
            if chunk.y is not None:
                of_y = [each.coefficients[i] for each in y_drifts]
                flags = None if chunk.flags is None else chunk.flags[j]
                less = () if fit is None else (flags, bases[j], fit[columns.places[j]])
                y.append(AdjustedSlice(chunk.y[j], first, shape, degree, of_y, of_rows, *less))
        by_row = weights is not None and not weights.by_record
        return chunk._replace(
            x=tuple(x),
            y=None if chunk.y is None else tuple(y),
            roots=tuple(roots) if by_row else None,
            confounds=columns,
        )

    def _of(self, targets: Targets) -> Pass:
        assert isinstance(targets, ChunkedTargets)
        return targets.totals

    def _projected(self, targets: Targets | None) -> tuple[list[Chunk], ProjectedUnits]:
        """Return chunks whose rows are projected, and how."""
        own, found = self._own, None if targets is None else self._of(targets)
        m, units = own.moments, own.moments.units
        y, fit = None, None
        y_drifts: tuple[Drifts, ...] = ()
        if targets is not None and found is not None:
            y, y_drifts = targets.records, found.y_drifts
            of_y = found.moments.units
            units = Units(*units[:2], *of_y[2:])
            fit = _in_user_units(found.y_fit, of_y)
        means = None
        if self.nuisance.constant:
            means = m.means, m.out_means if found is None else found.moments.out_means
        fits = () if self.nuisance.confounds is None else tuple(map(_flat, own.x_fits))
        out_live = own.out_live if found is None else found.out_live
        how = ProjectedUnits(units, means, fits, own.live, out_live)
        return self._chunks(y, y_drifts, fit), how

    @cached_property
    def _own(self) -> Pass:
        return self.pass_over(None) if self._given is None else self._given.totals

    @property
    def exponents(self) -> np.ndarray:  # type: ignore[override]
        """Exponents (G, P), integers."""
        return self._own.moments.units.column_exponents

    @property
    def shift(self) -> np.ndarray:
        """Shift (G, P), zeros unless N contains a constant."""
        return self._own.moments.units.shift

    @property
    def means(self) -> np.ndarray:
        """Column means (G, P)."""
        return self.shift + self._own.moments.means

    @property
    def products(self) -> np.ndarray:
        """Products NᵀA (G, q, P)."""
        return self._own.moments.projection.products

    @cached_property
    def column_norms(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A."""
        return np.sqrt(np.maximum(self._own.moments.squares, 0.0))

    @cached_property
    def spreads(self) -> np.ndarray:
        """Norms (G, P) of the columns minus their means."""
        if self.nuisance.constant:
            return self.column_norms
        return np.sqrt(np.maximum(self._own.moments.with_constant().squares, 0.0))

    def moments(self, targets: Targets | None) -> Moments:
        """Return sums over the rows of A and Y, each minus its shift."""
        own = self._own.moments
        if targets is None:
            return own
        found = self._of(targets).moments
        # The sums of other outputs may be about other constants.
        of_x = own.units.exponents, own.units.shift
        return found.in_units(Units(*of_x, *found.units[2:]))

    @property
    def _units(self) -> Units:
        return self._own.moments.units

    def _decided(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Return all chunks with the method, FFTs or rows, that was used for the moments."""
        pairs = zip(chunks, self._own.by_rows, strict=True)
        return [chunk._replace(by_rows=rows) for chunk, rows in pairs]

    def residual(self, w: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and AᵀM r (G, P, Q) for r = M(y − A w), in one pass over the data."""
        own, found = self._own, self._of(targets)
        total, geometry = self._total_of(targets.records), self._geometry_of(targets.records)
        if own.fit is not None:
            chunks, how = self._projected(targets)
            left: ResidualSums = total(projected_misfit, chunks, geometry, how, w)
            return left.squares, left.gradient
        w = w * own.live[:, :, None]
        units = Units(*own.moments.units[:2], *found.moments.units[2:])
        rest = self.projection.coefficients(found.moments.nuisance_rhs, w)
        offset, fit = np.zeros((len(w), w.shape[2])), None
        if self.nuisance.constant:
            offset = rest[:, 0]
        elif self.nuisance.confounds is not None:
            fit = _in_user_units(rest, units)
        chunks = self._decided(self._chunks(targets.records, found.y_drifts, fit))
        left = total(misfit, chunks, geometry, units, w, offset)
        gradient = left.gradient
        if self.nuisance.constant:
            gradient = self.projection.cross(gradient, left.sums[:, None])
        # A column that is constant is zero without its mean, and so is its product.
        gradient = gradient * (self.column_norms > 0)[:, :, None]
        return left.squares * found.out_live, gradient * found.out_live[:, None]

    def by_record(self, w: np.ndarray, targets: Targets) -> Iterator[np.ndarray]:
        """Yield AᵀM r (G, P, Q) over the rows of each record that has rows."""
        total, geometry = self._total_of(targets.records), self._geometry_of(targets.records)
        chunks, how = self._projected(targets)
        by_record: dict[int, list[Chunk]] = {}
        for chunk in chunks:
            for one in chunk.by_span():
                by_record.setdefault(one.spans[0][0], []).append(one)
        for several in by_record.values():
            found: ResidualSums = total(projected_misfit, several, geometry, how, w)
            yield found.gradient

    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return (M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q)."""
        if self._own.fit is not None:
            chunks, how = self._projected(None)
            given: tuple[Any, ...] = self._geometry, how, group, w
            found: np.ndarray = self._total(projected_product_grams, chunks, *given)
            return found
        w = w * self._own.live[group][:, None]
        level = np.zeros(w.shape[1])
        if self.nuisance.constant:
            level = self.projection.means[group, 0] @ w
        chunks = self._decided(self._chunks(None))
        given = self._geometry, self._units, group, w, level, self.products[group] @ w
        found = self._total(product_grams, chunks, *given)
        return found

    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return M A w (n, Q) of one group, for w (P, Q)."""
        return np.concatenate([a[group] @ w for a, _ in self._blocks(None)])

    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """Return AᵀM r (P, Q) of one group, for rows r (n, Q)."""
        total, first = np.zeros((self.columns, r.shape[1])), 0
        for a, _ in self._blocks(None):
            total += a[group].T @ r[first : first + a.shape[1]]
            first += a.shape[1]
        return total

    def row_blocks(self, targets: Targets | None = None) -> Iterator[Block]:
        """Yield blocks of rows of M A (G, k, P) and of M y (G, k, Q), chunk by chunk."""
        yield from self._blocks(self.targets if targets is None else targets)

    def _blocks(self, targets: Targets | None) -> Iterator[Block]:
        chunks, how = self._projected(targets)
        geometry = self._geometry_of(None if targets is None else targets.records)
        for chunk in tracked(chunks, PASS, len(chunks)):
            yield from projected_rows(chunk, geometry, how)

    @property
    def offsets(self) -> np.ndarray:
        """Column means (G, P) that N subtracts; with confounds, the size of all subtracted."""
        if self.nuisance.confounds is None:
            return super().offsets
        found = np.sqrt(sum(np.square(fit).sum(1) for fit in self._own.x_fits) / self.rows)
        if self._x_drifts:
            found = np.hypot(found, scaled_columns(self._x_drifts[0].size, self.exponents))
        return np.asarray(found)

    def constant_beside(
        self, targets: Targets, w: np.ndarray, level: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return the constant (G, Q) of the fit with w; None if there is no bias."""
        confounds, found = self.nuisance.confounds, self._of(targets)
        if confounds is None:
            return super().constant_beside(targets, w, level)
        if not confounds.shared:
            return None
        rest = found.y_fit - sum(fit @ w for fit in self._own.x_fits)
        first = self._kept.used[0]
        of_x, of_y = (
            sum(each.coefficients[first][0] for each in several)
            for several in (self._x_drifts, found.y_drifts)
        )
        taken = scaled_columns(of_x, self.exponents)
        constant = targets.grouped(np.ldexp(of_y, -targets.exponents))
        constant = constant - np.einsum("gp,gpq->gq", taken, w)
        return np.asarray(rest[:, -1] / confounds.size + constant)

    def output_sums(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return NᵀY (G, q, Q) and Σy² (G, Q), where Y is shifted."""
        found = self._of(targets).moments
        return found.nuisance_rhs, found.out_squares


def _in_user_units(fit: np.ndarray, units: Units) -> np.ndarray:
    """Return a fit (G, q, Q) to Y in ``units`` as a fit (q, Cout) to y."""
    with np.errstate(under="ignore"):
        return _flat(np.ldexp(fit, units.out_exponents[:, None]))


def _flat(fit: np.ndarray) -> np.ndarray:
    """Return a fit (G, q, P) of all groups as one (q, G·P)."""
    groups, count, columns = fit.shape
    return fit.swapaxes(0, 1).reshape(count, groups * columns)


def _keeps_digits(m: Moments) -> bool:
    """Return whether enough of every column and output remains after subtracting the means."""
    whole = np.einsum("gpp->gp", m.gram), m.out_squares
    pairs = zip((m.squares, m.out_squares_left), whole, strict=True)
    return all(((left > KEPT_SHARE * all_of) | (all_of == 0)).all() for left, all_of in pairs)


def _longer(records: Sequence[Any]) -> float:
    """Return the factor by which chunks of some records are longer than chunks read here."""
    if any(map(on_dask, records)):
        return ON_DASK
    return 1 if any(isinstance(a, Stored) for a in records) else IN_MEMORY


def _in_step(step: int, length: int) -> int:
    """Return about ``step`` rows: a multiple of ``length``, or ``length`` in equal parts."""
    return round(step / length) * length or -(-length // round(length / step))


def _numbers_a_row(x: Sequence[Any], y: Sequence[Any] | None, spec: ConvSpec) -> int:
    """Return the number of elements of x and y per row along the first axis."""
    of_x = max(a.size // max(1, len(a)) for a in x) * spec.stride[0]
    return of_x + (0 if y is None else max(b.size // max(1, len(b)) for b in y))
