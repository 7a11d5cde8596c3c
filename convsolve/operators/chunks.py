"""The design matrix as a sum over chunks of records, with a few chunks in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..cached import cached_property
from ..errors import SolveError
from ..problem.adjustments import Adjustments
from ..problem.nuisance import Nuisance
from ..problem.rows import Rows, Span
from ..problem.sizes import Limits
from ..problem.spec import ConvSpec
from ..problem.stored import Stored, for_one_pass, not_finite_any_more
from ..problem.weights import Weights
from ..progress import LOG, tracked
from .base import Block, DesignOperator
from .fourier import KEPT_SHARE, FourierOperator
from .moments import Moments, Units
from .overlap_save import by_fft
from .records import Inputs, Targets
from .rows import RowOperator
from .totals import PASS, Chunk, Total, dask_rows, on_dask, total_of
from .windows import NormalForm

# A run of excluded rows of at least this many kernel lengths is not read.
GAP_KERNELS = 8
# Chunks of arrays in memory are longer by this factor: nothing is read, and fewer chunks cost less.
IN_MEMORY = 2
# Chunks of dask arrays are shorter by this factor, because a worker holds several.
ON_DASK = 1 / 2


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


# --- results for one chunk: functions of plain data, which other processes can run


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


def no_sums(records: Iterable[Any]) -> Exception:
    """Return the exception for records whose sums are not finite."""
    finite = all(np.isfinite(np.asarray(a)).all() for a in records)
    return sums_beyond_float64() if finite else not_finite_any_more()


def sums_beyond_float64() -> SolveError:
    """Return the exception for finite numbers whose sums are not finite."""
    return SolveError(
        "sums of x or y leave the range of float64; give them in units that make them smaller"
    )


def totals(chunk: Chunk, geometry: Geometry, about: Units | None) -> Totals:
    """Sum over the rows of a chunk, in its own units or in the units ``about``."""
    operator, found = summed(chunk, geometry)
    if about is not None:
        found = found.in_units(about)
    return Totals(found, (isinstance(operator, RowOperator),))


class Misfit(NamedTuple):
    """Sums ‖r‖² (G, Q), Aᵀr (G, P, Q) and rᵀ1 (G, Q) of residuals r."""

    squares: np.ndarray
    gradient: np.ndarray
    sums: np.ndarray

    def __add__(self, other: Any) -> Misfit:
        return Misfit(*(a + b for a, b in zip(self, other, strict=True)))


def misfit(
    chunk: Chunk, geometry: Geometry, units: Units, w: np.ndarray, offset: np.ndarray
) -> Misfit:
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
    return Misfit(squares, g, sums)


@dataclass(frozen=True)
class Products:
    """A sum of arrays with one array per group."""

    of_groups: np.ndarray

    def __add__(self, other: Products) -> Products:
        return Products(self.of_groups + other.of_groups)


def product_grams(
    chunk: Chunk, geometry: Geometry, units: Units, group: int, w: np.ndarray, level: np.ndarray
) -> Products:
    """Return (A w − level)ᵀ(A w − level) (Q, Q) of one group.

    w (P, Q) and level (Q,) are in ``units``.
    """
    operator = operator_of(chunk._replace(y=None), geometry)
    e = np.minimum(operator.exponents[group] - units.column_exponents[group], 0)
    moved = np.ldexp(operator.shift[group], e) - units.shift[group]
    seen = operator.product(group, np.ldexp(w, e[:, None])) + (moved @ w - level)
    return Products(seen.T @ seen)


# --- all chunks


class ChunkedTargets(Targets):
    """Outputs of which a few are in memory at a time. Their units are computed with their sums."""

    def __init__(self, y: Sequence[Any], operator: ChunkedOperator) -> None:
        self.groups, self.records, self._operator = operator.groups, y, operator
        self.confounded = np.zeros((0, y[0].shape[-1]))

    @cached_property
    def totals(self) -> Totals:
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
    It has its own exponents and shifts, which `Moments` align when they are added.
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
        self.has_rows = not any(map(on_dask, x))
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

    def outputs(self, y: Sequence[Any]) -> ChunkedTargets:
        """Return targets for other outputs of the same x."""
        return ChunkedTargets(y, self)

    def pass_over(self, y: Sequence[Any] | None) -> Totals:
        """Return sums over the rows of A and y.

        If the shifts of the first pass are so far from the means that digits are lost, a second
        pass sums about the means.
        """
        chunks, geometry = self._chunks(y), self._geometry_of(y)
        total = self._total_of(y)
        found: Totals = total(totals, chunks, geometry, None)
        if not self.nuisance.constant or _keeps_digits(found.moments):
            return found
        again: Totals = total(totals, chunks, geometry, found.moments.about_means)
        return again

    def moments_of(self, spans: Sequence[Span], y: Sequence[Any]) -> Moments:
        """Return sums over some of the rows."""
        chunks = self._chunks(y, chunk_spans(self._kept, spans, self.step))
        found: Totals = self._total_of(y)(totals, chunks, self._geometry_of(y), None)
        return found.moments

    def _is_given(self, y: Sequence[Any] | None) -> bool:
        return y is (None if self._given is None else self._given.records)

    def _total_of(self, y: Sequence[Any] | None) -> Total:
        return self.total if self._is_given(y) else self._total

    def _geometry_of(self, y: Sequence[Any] | None) -> Geometry:
        """Return the settings for y. The magnitudes of outputs other than the given are unknown."""
        return self._geometry if self._is_given(y) else self._geometry._replace(y_sizes=None)

    def _chunks(
        self, y: Sequence[Any] | None, spans: Sequence[Sequence[Span]] | None = None
    ) -> list[Chunk]:
        found = chunks_of(
            self.spans if spans is None else spans, self._x, y, self._spec, self._kept
        )
        return found if by_fft(self._spec) else [c._replace(by_rows=True) for c in found]

    @cached_property
    def _own(self) -> Totals:
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
        assert isinstance(targets, ChunkedTargets)
        found = targets.moments
        # The sums of other outputs may be about other constants.
        of_x = own.units.exponents, own.units.shift
        return found.in_units(Units(*of_x, *found.units[2:]))

    @property
    def _units(self) -> Units:
        return self._own.moments.units

    def _decided(self, y: Sequence[Any] | None) -> list[Chunk]:
        """Return the chunks with the method, FFTs or rows, that was used for the moments."""
        pairs = zip(self._chunks(y), self._own.by_rows, strict=True)
        return [chunk._replace(by_rows=rows) for chunk, rows in pairs]

    def residual(self, w: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and AᵀM r (G, P, Q) for r = M(y − A w), in one pass over the data."""
        return self._residual(w, targets, self._decided(targets.records))

    def by_record(self, w: np.ndarray, targets: Targets) -> Iterator[np.ndarray]:
        """Yield AᵀM r (G, P, Q) over the rows of each record that has rows."""
        by_record: dict[int, list[Span]] = {}
        for lot in self.spans:
            for span in lot:
                by_record.setdefault(span[0], []).append(span)
        for spans in by_record.values():
            chunks = self._chunks(targets.records, [[span] for span in spans])
            yield self._residual(w, targets, [c._replace(by_rows=True) for c in chunks])[1]

    def _residual(
        self, w: np.ndarray, targets: Targets, chunks: Sequence[Chunk]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the same sums over some chunks; N is projected out as for all rows."""
        offset = np.zeros((len(w), w.shape[2]))
        if self.nuisance.constant:
            offset = self.projection.coefficients(self.output_sums(targets)[0], w)[:, 0]
        of_y = targets.grouped(targets.exponents), targets.grouped(targets.shift)
        units = Units(*self._units[:2], *of_y)
        total = self._total_of(targets.records)
        geometry = self._geometry_of(targets.records)
        found: Misfit = total(misfit, chunks, geometry, units, w, offset)
        sums = found.sums[:, None][:, : self.nuisance.count]
        gradient = self.projection.cross(found.gradient, sums)
        # A column that is constant is zero without its mean, and so is its product.
        return found.squares, gradient * (self.column_norms > 0)[:, :, None]

    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return (M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q)."""
        level = np.zeros(w.shape[1])
        if self.nuisance.constant:
            level = self.projection.means[group, 0] @ w
        chunks = self._decided(None)
        given = self._geometry, self._units, group, w, level
        found: Products = self._total(product_grams, chunks, *given)
        return found.of_groups

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

    def _check_rows(self) -> None:
        """Raise a SolveError if rows are not available."""
        if not self.has_rows:
            raise SolveError(
                "this takes the rows themselves, a QR or products with them, which dask's chunks "
                "are not brought here for; give a ridge, or read x and y into memory "
                "(x.compute())"
            )

    def _blocks(self, targets: Targets | None) -> Iterator[Block]:
        self._check_rows()
        m, constant = self._own.moments, self.nuisance.constant
        # The shift is subtracted first, exactly. The mean is rounded relative to the offset.
        of_a = m.units.shift, m.sums / self.rows
        of_y = of_a
        if targets is not None and constant:
            of_y = targets.grouped(targets.shift), self.output_sums(targets)[0][:, 0] / self.rows
        records = None if targets is None else targets.records
        geometry = self._geometry_of(records)
        chunks = self._chunks(records)
        for chunk in tracked(chunks, PASS, len(chunks)):
            part = operator_of(chunk._replace(by_rows=True), geometry)
            assert isinstance(part, RowOperator)
            e = part.exponents - m.units.column_exponents
            for a, y in part.raw(part.targets):
                a = np.ldexp(a, e[:, None])
                a = a - of_a[0][:, None] - of_a[1][:, None] if constant else a
                if y is not None and targets is not None and part.targets is not None:
                    own = part.targets.grouped(part.targets.exponents)
                    y = np.ldexp(y, (own - targets.grouped(targets.exponents))[:, None])
                    y = y - of_y[0][:, None] - of_y[1][:, None] if constant else y
                yield a, y


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
