"""The design matrix of a problem, whatever holds its data: a sum over chunks of rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from ..cached import cached_property
from ..problem.adjustments import Adjustments
from ..problem.nuisance import Nuisance
from ..problem.remote import Remote
from ..problem.rows import RowOrder, Span
from ..problem.sizes import Limits
from ..problem.spec import ConvSpec
from ..problem.stored import Stored
from ..problem.trends import Subtracted, Trends, beyond_rounding
from ..progress import LOG, tracked
from . import by_rows
from .by_fft import KEPT_SHARE, norms
from .by_jax import DeviceChunk
from .by_rows import Block, Projected
from .chunk import Chunk, Form, LoadedChunk, SpanTrends, by_shape, chunks_of, load, span_lots
from .chunk_sums import (
    Totals,
    adjoint,
    decided,
    misfit,
    output_totals,
    product,
    product_grams,
    projected_misfit,
    projected_product_grams,
    sums_beyond_float64,
    totals,
    used_rows,
    x_trends,
    y_trends,
)
from .map_reduce import PASS, dask_rows, on_dask, one_by_one, read_ahead, total_of
from .moments import Moments, Projection, ResidualSums, Units, per_column, scaled_columns
from .nuisance import NuisanceColumns, without_fit
from .overlap_save import by_fft

# A run of excluded rows of at least this many kernel lengths is not read.
GAP_KERNELS = 8
# Chunks of arrays in memory are longer by this factor: nothing is read, and fewer chunks cost less.
IN_MEMORY = 2
# Chunks of dask arrays are shorter by this factor, because a worker holds several.
ON_DASK = 1 / 2


class Plan(NamedTuple):
    """How the rows of a design matrix are read.

    Attributes:
        whole: whether all rows are one chunk, which is kept in memory.
        by_rows: whether rows are formed, since the matrix is small.
        columns_first: whether norms of columns are computed without a Gram matrix, which may not be
            needed. Otherwise they are those of the Gram matrix.
        in_time: whether the rows are in the order of records and time.
        x_sizes, y_sizes: the largest magnitudes (Cin,) and (Cout,), if they are known.
    """

    whole: bool = True
    by_rows: bool = False
    columns_first: bool = False
    in_time: bool = False
    x_sizes: np.ndarray | None = None
    y_sizes: np.ndarray | None = None


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


@dataclass(frozen=True)
class Pass:
    """The moments of a pass over x and y, and what was found of columns and outputs."""

    moments: Moments
    columns: Columns
    outputs: OutputSums | None


class Targets:
    """Outputs y of a design matrix, read as ``scale * y - shift``."""

    def __init__(self, y: Sequence[Any], matrix: DesignMatrix) -> None:
        # Not in a circle of references, so that the memory is freed with the last user.
        self._given, self._matrix, self.groups = y, ref(matrix), matrix.groups

    @property
    def matrix(self) -> DesignMatrix:
        """The design matrix, which the user of the targets holds."""
        found = self._matrix()
        assert found is not None
        return found

    @cached_property
    def records(self) -> Sequence[Any]:
        """The outputs of every record, fetched from devices."""
        return [np.asarray(a) if isinstance(a, Remote) else a for a in self._given]

    @cached_property
    def found(self) -> OutputSums:
        """Sums over all rows."""
        return self.matrix.sums_of(self)

    @cached_property
    def trends(self) -> tuple[Trends, ...]:
        """Polynomials that are subtracted from y."""
        return self.matrix.trends_of(self)

    @cached_property
    def loaded(self) -> LoadedChunk:
        """All rows in memory, if they are one chunk."""
        return self.matrix.loaded_with(self)

    @property
    def exponents(self) -> np.ndarray:
        """Exponents (Cout,): the largest magnitude is about one in their units."""
        return self.found.exponents.reshape(-1)

    @property
    def scale(self) -> np.ndarray:
        """Scale (Cout,), by which y is multiplied."""
        return np.ldexp(1.0, -self.exponents)

    @property
    def shift(self) -> np.ndarray:
        """Shift (Cout,), approximately the mean if the nuisance columns contain a constant."""
        return self.found.shift.reshape(-1)

    @property
    def outputs(self) -> int:
        """Number Q of outputs of each group."""
        return int(self._given[0].shape[-1]) // self.groups

    @property
    def sums(self) -> np.ndarray:
        """Sums Σ(y − shift) (G, Q)."""
        return self.found.sums

    @property
    def squares(self) -> np.ndarray:
        """Sums Σ(y − shift)² (G, Q)."""
        return self.found.squares

    def rows(self, group: int) -> np.ndarray:
        """Return y (n, Q) of one group in the order of the rows, scaled but not shifted.

        Confounds are projected out.
        """
        return self.matrix.output_rows(self)[:, self.grouped(np.arange(self.exponents.size))[group]]

    def grouped(self, values: np.ndarray) -> np.ndarray:
        """Return values (Cout,) by group (G, Q)."""
        return values.reshape(self.groups, -1)


class DesignMatrix:
    """The design matrix A of every group, with nuisance columns N projected out.

    Column j is ``2**-exponents[j]`` times the column of the user's x, minus ``shift[j]``. The shift
    is a constant that N spans, so a large offset of A is never summed. Arrays have the shape (G, P)
    for columns, (G, Q) for outputs and (G, P, Q) for kernels. Outputs Y are `Targets`. M A is A
    with N projected out.

    A is a sum over chunks of rows. Data in memory are one chunk, which is kept. Others are read in
    every pass. A chunk is computed by FFTs, or by rows if FFTs would lose digits. Polynomials that
    confounds span are subtracted from x and y, and rows are multiplied by the roots of weights,
    when a chunk is loaded.

    Attributes:
        groups, rows, columns: G, n and P.
        nuisance: the nuisance columns N.
        order: the order of the rows.
        targets: the outputs that are summed in the same pass as A, or None. Other outputs take a
            separate pass.
    """

    def __init__(
        self,
        x: Sequence[Any],
        y: Sequence[Any] | None,
        spec: ConvSpec,
        adjustments: Adjustments,
        nuisance: Nuisance,
        limits: Limits,
        plan: Plan,
        device: DeviceChunk | None = None,
    ) -> None:
        """Plan the chunks. ``device`` has the same rows on devices of jax, if they stay there."""
        self._device = device
        self._x, self._spec, self._kept, self._plan = x, spec, adjustments.kept, plan
        self.adjustments, self.nuisance, self.limits = adjustments, nuisance, limits
        self.rows = self._kept.count
        channels = x[0].shape[-1]
        self.groups, self.columns = spec.groups, spec.unknowns(channels)
        of_y = every = self._kept.flags is None and nuisance.confounds is None
        # Samples that no row reads must not affect the scale.
        every = every and all(map(spec.reads_all, {a.shape[:-1] for a in x}))
        sizes = plan.x_sizes if every else None
        y_sizes = plan.y_sizes if of_y else None
        self._form = Form(spec.normal, nuisance.constant, limits, sizes, y_sizes)
        confounds, self._degree = nuisance.confounds, -1
        if confounds is not None:
            self._degree = max(confounds.degree, 0 if confounds.shared else -1)
        self._ranges = [used_rows(self._kept, i) for i in range(len(self._kept.shapes))]
        #: Rows of a chunk, for data that are not kept.
        self.step = self.rows if plan.whole else self._step(y)
        #: The spans of every chunk.
        self.spans = self._lots()
        self.order = RowOrder(self._kept, tuple(span for lot in self.spans for span in lot))
        #: The method that sums over chunks. It can be replaced for the given outputs.
        self._total = self.total = one_by_one if plan.whole else total_of((*x, *(y or ())))
        self.targets = None if y is None else Targets(y, self)

    def with_outputs(self, y: Sequence[Any]) -> Targets:
        """Return targets for other outputs of the same x."""
        return Targets(y, self)

    # --- chunks

    def _step(self, y: Sequence[Any] | None) -> int:
        """Return the rows of a chunk. They reach a kernel, or most samples would be read twice."""
        numbers = int(self.limits.chunk_numbers * _longer((*self._x, *(y or ()))))
        numbers = max(numbers, self.columns**2)
        step = max(1, numbers // max(1, _numbers_a_row(self._x, y, self._spec)))
        if (length := dask_rows(self._x, self._spec.stride[0])) is not None:
            step = _in_step(step, length)
        return max(step, self._spec.span[0])

    def _lots(self) -> list[list[Span]]:
        kept, plan = self._kept, self._plan
        gap = GAP_KERNELS * self._spec.span[0]
        if plan.whole:
            gap = self._gap_worth_a_cut
        if plan.in_time:
            gap = max((shape[0] for shape in kept.shapes), default=0)
        pieces = kept.pieces(gap)
        if plan.whole:
            return [pieces if plan.in_time else by_shape(pieces, self._shape_of)]
        lots = span_lots(kept, pieces, self.step)
        LOG.info("%d rows are taken in %d chunks of up to %d", self.rows, len(lots), self.step)
        return lots if plan.in_time else [by_shape(lot, self._shape_of) for lot in lots]

    @property
    def _gap_worth_a_cut(self) -> int:
        """The number of excluded rows from which on a cut costs less than their products."""
        slab = max(math.prod(shape[1:]) for shape in self._kept.shapes)
        return max(self._spec.kernel_size[0], self.limits.gap_products // (slab * self.columns**2))

    def _shape_of(self, span: Span) -> Any:
        """Return what the spans of one stack have in common."""
        i, start, stop = span
        shape = stop - start, *self._kept.shapes[i][1:]
        return shape if self._degree < 0 else (shape, start - self._ranges[i][0], self._ranges[i])

    def _unread(
        self, y: Sequence[Any] | None, lots: Sequence[Sequence[Span]] | None = None
    ) -> list[Chunk]:
        """Return chunks of x and y as they were given."""
        lots = self.spans if lots is None else lots
        found = chunks_of(lots, self._x, y, self._spec, self._kept)
        if self._plan.by_rows or not by_fft(self._spec):
            return [chunk._replace(by_rows=True) for chunk in found]
        return found

    def _adjusted(self, chunk: Chunk, of_y: Sequence[Trends] = ()) -> Chunk:
        """Return a chunk with trends, weights and the columns of the confounds."""
        confounds, weights = self.nuisance.confounds, self.adjustments.weights
        if confounds is None:
            return chunk
        records = [i for i, _, _ in chunk.spans]
        trends = None
        if self._degree >= 0:
            ranges = [(a - self._ranges[i][0], self._ranges[i][1]) for i, a, _ in chunk.spans]
            of = (tuple(t.of_records(records) for t in ts) for ts in (self._x_trends, of_y))
            trends = SpanTrends(self._degree, tuple(ranges), *of)
        roots = None
        if weights is not None:
            several = ((weights.roots[i], a, b) for i, a, b in chunk.spans)
            roots = tuple(root[a:b] if root.ndim else root for root, a, b in several)
        blocks = tuple(confounds.blocks(chunk.spans)) if confounds.count else ()
        return chunk._replace(roots=roots, blocks=blocks, nuisance=confounds.count, trends=trends)

    def _chunks(self, targets: Targets | None) -> list[Any]:
        """Return the chunks with some outputs, or None. They are loaded if they are kept."""
        if self._device is not None and (targets is None or targets is self.targets):
            return [self._device]
        return self._on_host(targets)

    def _on_host(self, targets: Targets | None) -> list[Any]:
        """Return these chunks of data on the host."""
        if self._plan.whole:
            return [self._loaded if targets is None else targets.loaded]
        y, trends = (None, ()) if targets is None else (targets.records, targets.trends)
        return [self._adjusted(chunk, trends) for chunk in self._unread(y)]

    def _decided(self, chunks: Sequence[Any]) -> list[Any]:
        """Return chunks with the method, FFTs or rows, that was used for their sums."""
        pairs = zip(chunks, self._known.by_rows, strict=True)
        return [decided(chunk, by_rows) for chunk, by_rows in pairs]

    @cached_property
    def _loaded(self) -> LoadedChunk:
        """All rows of x in memory."""
        if self.targets is not None:
            return self.targets.loaded.without_outputs()
        return load(self._adjusted(self._unread(None)[0]), self._form)

    @property
    def fetched(self) -> bool:
        """Whether rows on devices were also fetched to the host."""
        loaded = "_loaded" in vars(self) or "loaded" in vars(self.targets or self)
        return self._device is not None and loaded

    @property
    def in_memory(self) -> LoadedChunk:
        """All rows of x in memory, as one chunk."""
        assert self._plan.whole
        return self._loaded

    @cached_property
    def by_fft(self) -> bool:
        """Whether FFTs lose no digits, for rows in memory."""
        if not self._plan.by_rows:
            return not any(self._known.by_rows)
        return self._loaded.structured and norms(self._loaded) is not None

    def loaded_with(self, targets: Targets) -> LoadedChunk:
        """Return all rows in memory, with some outputs."""
        (chunk,) = self._unread(targets.records)
        if targets is self.targets:
            return load(self._adjusted(chunk, targets.trends), self._form)
        of_y = load(self._adjusted(chunk._replace(x=()), targets.trends), self._other_form)
        return self._loaded.with_outputs([stack.y for stack in of_y.stacks])

    @property
    def _other_form(self) -> Form:
        """The settings for outputs other than the given, whose magnitudes are not known."""
        return self._form._replace(y_sizes=None)

    def _form_of(self, targets: Targets | None) -> Form:
        return self._form if targets is self.targets else self._other_form

    def _sum(self, targets: Targets | None) -> Any:
        """Return the method that sums over chunks with some outputs."""
        return self.total if targets is self.targets else self._total

    def _read(self, targets: Targets | None) -> Iterator[LoadedChunk]:
        """Yield the chunks in memory, one after the other."""
        chunks, form = self._decided(self._on_host(targets)), self._form_of(targets)
        if self._plan.whole:
            yield from chunks
            return
        for chunk in tracked(read_ahead(chunks), PASS, len(chunks)):
            yield load(chunk, form)

    # --- polynomials that are subtracted

    @cached_property
    def _x_trends(self) -> tuple[Trends, ...]:
        """Polynomials of x that N spans, and if necessary of the remainder.

        A second fit takes a pass over the data. It is needed if the first polynomials are so large
        that the rounding error of their coefficients would be visible in the remainder.
        """
        if self._degree < 0:
            return ()
        lengths = [a.shape[:-1] for a in self._x]
        given = self._spec, self._degree, self._ranges, lengths, self._kept.turn
        return self._several_trends(self.total, x_trends, self._unread(None), *given)

    def trends_of(self, targets: Targets) -> tuple[Trends, ...]:
        """Return the polynomials of outputs in the same way."""
        if self._degree < 0:
            return ()
        chunks = [chunk._replace(x=()) for chunk in self._unread(targets.records)]
        return self._several_trends(
            self._sum(targets), y_trends, chunks, self._degree, self._ranges
        )

    def _several_trends(
        self, total: Any, task: Any, chunks: Sequence[Chunk], *given: Any
    ) -> tuple[Trends, ...]:
        confounds = self.nuisance.confounds
        assert confounds is not None

        def fitted(before: np.ndarray | None) -> Trends:
            found: Trends = total(task, chunks, *given, before)
            return found.shared() if confounds.shared else found

        first = fitted(None)
        if not np.isfinite(first.crosses).all():
            raise sums_beyond_float64()
        if first.accurate:
            return (first,)
        none = np.zeros((len(self._kept.shapes), *first.coefficients.shape[1:]))
        none[first.records] = first.coefficients
        return first, fitted(none)

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
        confounds = self.nuisance.confounds
        assert confounds is not None
        subtracted = Subtracted(np.zeros(1), np.zeros(1), False)
        if trends:
            subtracted = trends[0].subtracted()
            size, trend = (scaled_columns(each, exponents) for each in subtracted[:2])
            subtracted = subtracted._replace(size=size, trend=trend)
        return beyond_rounding(whole, left, subtracted, self.rows, confounds.total_weight)

    # --- sums over all chunks

    @cached_property
    def _own(self) -> Pass:
        """The pass over x, and over the given outputs unless the columns come first."""
        if self._plan.columns_first:
            return self._pass(None, columns_only=True)
        return self._pass(self.targets)

    @property
    def _known(self) -> Columns:
        return self._own.columns

    def sums_of(self, targets: Targets) -> OutputSums:
        """Return sums over the rows of outputs."""
        if targets is self.targets and self._own.outputs is not None:
            return self._own.outputs

        def summed(about: Units | None = None, y_fit: np.ndarray | None = None) -> Moments:
            given = self._chunks(targets), self._form_of(targets), about, y_fit
            found: Moments = self._sum(targets)(output_totals, *given)
            return found

        m = summed()
        if not self._lost_outputs(m):
            return self._of_outputs(targets, m)
        if self.nuisance.constant:
            return self._of_outputs(targets, summed(about=m.about_means))
        y_fit = _in_user_units(m.nuisance_rhs, m.units.out_exponents)
        return self._of_outputs(targets, summed(y_fit=y_fit), m, y_fit)

    def _lost_outputs(self, m: Moments) -> bool:
        """Whether projecting N out of the sums of outputs would lose digits."""
        return _cancels(m.out_squares_left, m.out_squares)

    def _of_outputs(
        self,
        targets: Targets,
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
        if self.nuisance.confounds is not None:
            whole = left = m.out_squares
            if before is not None:
                finer = before.units.out_exponents - exponents
                whole, left = np.ldexp(before.out_squares, 2 * finer), m.out_squares_left
            live = self._live(targets.trends, whole, left, exponents)
            m = m.with_zero_outputs(live)
        fit = None
        if y_fit is not None:
            fit = y_fit.reshape(len(y_fit), self.groups, -1).swapaxes(0, 1)
            fit = np.ldexp(fit, -exponents[:, None])
        sums = m.out_sums, m.out_squares, m.nuisance_rhs
        return OutputSums(exponents, shift, *sums, fit, live)

    def _of_columns(self, found: Totals, live: np.ndarray, fit: np.ndarray | None) -> Columns:
        """Return the columns in moments, or in moments of every column on its own."""
        m, norms = found.moments, np.sqrt(np.maximum(found.moments.squares, 0.0))
        exponents, shift, means = m.units.exponents, m.units.shift, m.means
        products = m.projection.products
        if len(m.gram) != self.groups:
            shape = self.groups, self.columns
            e = exponents.reshape(shape)
            # A column of zeros may have any exponent.
            used = np.where(m.gram.reshape(shape) > 0, e, e.min())
            exponents = used.reshape(self.groups, -1, self._channels).max(1)
            finer = e - per_column(exponents, self.columns)
            products = products.reshape(*shape, -1).swapaxes(1, 2)
            with np.errstate(under="ignore"):
                norms, shift, means = (
                    np.ldexp(a.reshape(shape), finer) for a in (norms, shift, means)
                )
                products = np.ldexp(products, finer[:, None])
        return Columns(exponents, shift, norms, means, products, fit, live, found.by_rows)

    @property
    def _channels(self) -> int:
        return int(self._x[0].shape[-1]) // self.groups

    def _pass(self, targets: Targets | None, columns_only: bool = False) -> Pass:
        """Return sums over the rows of A and some outputs.

        If means or confounds are so large that their elimination from the sums would lose digits, a
        second pass sums about their fit.
        """
        if self.nuisance.confounds is not None:
            return self._pass_with_confounds(targets, columns_only)
        found = self._totals(targets, columns_only)
        m = found.moments
        squares = np.einsum("gpp->gp", m.gram)
        if self.nuisance.constant and (_cancels(m.squares, squares) or self._lost_outputs(m)):
            found = self._totals(targets, columns_only, m.about_means)
        columns = self._of_columns(found, self._every, None)
        if not columns_only and any(found.by_rows) and squares.min() < by_rows.LEAST_SQUARE:
            alone = self._pass(None, columns_only=True).columns
            finer = alone.column_exponents - columns.column_exponents
            columns = columns._replace(norms=np.ldexp(alone.norms, finer))
        outputs = None if targets is None else self._of_outputs(targets, found.moments)
        return Pass(found.moments, columns, outputs)

    def _pass_with_confounds(self, targets: Targets | None, columns_only: bool) -> Pass:
        found, y_fit, before = self._totals(targets, columns_only), None, None
        if targets is not None and self._lost_outputs(found.moments):
            before = found.moments
            y_fit = _in_user_units(before.nuisance_rhs, before.units.out_exponents)
            how = Projected(before.units, None, (), y_fit, self._every, self._every)
            found = self._totals(targets, columns_only, None, how)
        columns = self._of_columns(found, self._every, None)
        # A difference of sums does not show whether more than rounding is left of other columns.
        whole = self._squares(found.moments, columns)
        live = self._live(self._x_trends, whole, whole, columns.column_exponents)
        found, fit = found.with_zero_columns(live), None
        columns = self._of_columns(found, live, None)
        if _cancels(np.square(columns.norms), whole * live):
            fit = columns.products
            units = self._units_of(columns, None if columns_only else found.moments.units)
            every = np.ones((self.groups, 1), bool)
            how = Projected(units, None, (_flat(fit),), y_fit, live, every)
            found = self._totals(targets, columns_only, None, how)
            left = found.moments.squares
            live = live & self._live(self._x_trends, whole, left, columns.column_exponents)
            found = found.with_zero_columns(live)
            columns = self._of_columns(found, live, fit)
        if targets is None:
            return Pass(found.moments, columns, None)
        outputs = self._of_outputs(targets, found.moments, before, y_fit)
        return Pass(found.moments.with_zero_outputs(outputs.live), columns, outputs)

    def _totals(
        self,
        targets: Targets | None,
        columns_only: bool,
        about: Units | None = None,
        how: Projected | None = None,
    ) -> Totals:
        """Return the sum of `totals` over all chunks."""
        chunks, form = self._chunks(targets), self._form_of(targets)
        found: Totals = self._sum(targets)(totals, chunks, form, columns_only, about, how)
        return found

    @property
    def _every(self) -> np.ndarray:
        """Flags (G, P), True for every column."""
        return np.ones((self.groups, self.columns), bool)

    def _squares(self, m: Moments, columns: Columns) -> np.ndarray:
        """Return the squares of the columns of A, (G, P), in the units of the columns."""
        finer = m.units.column_exponents.reshape(self.groups, -1) - columns.column_exponents
        with np.errstate(under="ignore"):
            return np.ldexp(np.einsum("gpp->gp", m.gram).reshape(finer.shape), 2 * finer)

    def _units_of(self, columns: Columns, out: Units | OutputSums | None) -> Units:
        """Return the units of the columns, and of outputs."""
        of_y = np.zeros((self.groups, 0), int), np.zeros((self.groups, 0))
        if isinstance(out, Units):
            of_y = out.out_exponents, out.out_shift
        elif out is not None:
            of_y = out.exponents, out.shift
        return Units(columns.exponents, columns.shift, *of_y)

    def moments_of(self, spans: Sequence[Span], y: Sequence[Any]) -> Moments:
        """Return sums over some of the rows, if there are no confounds."""
        chunks = self._unread(y, span_lots(self._kept, spans, self.step))
        found: Totals = self._total(totals, chunks, self._other_form, False)
        return found.moments

    def _how(self, targets: Targets | None) -> Projected:
        """Return how rows of M A and M Y are computed."""
        known, found = self._known, None if targets is None else targets.found
        units, means = self._units_of(known, found), None
        if self.nuisance.constant:
            of_y = np.zeros((self.groups, 0)) if found is None else found.sums / self.rows
            means = known.means, of_y
        fits: tuple[np.ndarray, ...] = ()
        y_fit = None
        if self.nuisance.confounds is not None and self.nuisance.confounds.count:
            fits = tuple(map(_flat, known.fits))
            if found is not None:
                y_fit = _in_user_units(found.whole_fit, found.exponents)
        out_live = np.ones((self.groups, 1), bool) if found is None else found.live
        return Projected(units, means, fits, y_fit, known.live, out_live)

    # --- the columns

    @cached_property
    def exponents(self) -> np.ndarray:
        """Exponents (G, P), integers."""
        return per_column(self._known.exponents, self.columns)

    @property
    def shift(self) -> np.ndarray:
        """Shift (G, P), zeros unless N contains a constant."""
        return self._known.shift

    @property
    def means(self) -> np.ndarray:
        """Column means (G, P) of A, or of M A if there are confounds."""
        return self.shift + self._known.means

    @property
    def products(self) -> np.ndarray:
        """Products NᵀA (G, q, P)."""
        return self._known.products

    @property
    def column_norms(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A."""
        return self._known.norms

    @property
    def terms(self) -> np.ndarray:
        """Sums (G, P) of the norms of the terms that a column of M A is made of."""
        return self.column_norms

    @property
    def cancels(self) -> bool:
        """Whether the terms of a column cancel so much that its Gram matrix would lose digits."""
        return False

    @cached_property
    def projection(self) -> Projection:
        """The projection of N, applied to sums over rows."""
        return Projection(self.products, float(self.rows) if self.nuisance.constant else 1.0)

    @cached_property
    def spreads(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A about their means."""
        if self.nuisance.constant:
            return self.column_norms
        squares = self.column_norms**2
        centred = squares - self.rows * self._known.means**2
        if self.nuisance.confounds is None and _cancels(centred, squares):
            form = self._form._replace(constant=True)
            chunks = self._unread(None)
            found: Totals = self._total(totals, chunks, form, True)
            columns = self._of_columns(found, self._every, None)
            relative = per_column(columns.exponents - self._known.exponents, self.columns)
            return np.ldexp(columns.norms, relative)
        return np.sqrt(np.maximum(centred, 0.0))

    @property
    def offsets(self) -> np.ndarray:
        """Column means (G, P) that N subtracts; with confounds, the size of all subtracted."""
        if self.nuisance.confounds is None:
            return self.means if self.nuisance.constant else np.zeros(self.exponents.shape)
        found = np.sqrt(sum(np.square(fit).sum(1) for fit in self._known.fits) / self.rows)
        if self._x_trends:
            size = self._x_trends[0].subtracted().size
            found = np.hypot(found, scaled_columns(size, self.exponents))
        return np.asarray(found)

    # --- outputs

    def output_sums(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return NᵀY (G, q, Q) and Σy² (G, Q), where Y is shifted."""
        return targets.found.products, targets.found.squares

    def output_norms(self, targets: Targets) -> np.ndarray:
        """Return the norms (G, Q) of M y."""
        products, squares = self.output_sums(targets)
        return np.sqrt(self.projection.output_squares(squares, products))

    def output_rows(self, targets: Targets) -> np.ndarray:
        """Return y (n, Cout) in the order of the rows, in the units of the targets, not shifted.

        Confounds are projected out.
        """
        y_fit, several = self._how(targets).y_fit, []
        for chunk in self._read(targets):
            loaded = without_fit(chunk, y_fit)
            finer = loaded.out_exponents - targets.exponents
            several.append(np.ldexp(loaded.output_rows(), finer))
        return np.concatenate(several) * targets.found.live.reshape(-1)

    def constant_beside(
        self, targets: Targets, w: np.ndarray, level: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return the constant (G, Q) of the fit with A w, in the units of the targets.

        It corresponds to a constant ``level`` in addition to M A w; by default it is the
        least-squares solution. None if there is no bias.
        """
        confounds, found = self.nuisance.confounds, targets.found
        if confounds is not None:
            return self._constant_of_confounds(targets, w) if confounds.shared else None
        if not self.nuisance.constant:
            return None
        rest = -self.projection.means @ w
        if level is None:
            rest = self.projection.coefficients(found.products, w)
            level = found.shift
        return np.asarray(level - np.einsum("gp,gpq->gq", self.shift, w) + rest[:, 0])

    def _constant_of_confounds(self, targets: Targets, w: np.ndarray) -> np.ndarray:
        """Return the constant of the fit if it is the last column of the confounds."""
        confounds, found, first = self.nuisance.confounds, targets.found, self._kept.used[:1]
        assert confounds is not None
        rest = found.whole_fit - sum(fit @ w for fit in self._known.fits)
        of_x, of_y = (
            sum(each.of_records(first)[0, 0] for each in several)
            for several in (self._x_trends, targets.trends)
        )
        taken = scaled_columns(np.asarray(of_x), self.exponents)
        constant = targets.grouped(np.ldexp(of_y, -targets.exponents))
        constant = constant - np.einsum("gp,gpq->gq", taken, w)
        return np.asarray(rest[:, -1] / confounds.size + constant)

    # --- sums and products

    def moments(self, targets: Targets | None) -> Moments:
        """Return sums over the rows of A and Y, each minus its shift."""
        if targets is self.targets and not self._plan.columns_first:
            return self._own.moments
        known, found = self._known, None if targets is None else targets.found
        units, how = self._units_of(known, found), None
        if self.nuisance.confounds is not None:
            fits = () if known.fit is None else (_flat(known.fit),)
            y_fit, out_live = None, np.ones((self.groups, 1), bool)
            if found is not None:
                out_live = found.live
                y_fit = None if found.fit is None else _in_user_units(found.fit, found.exponents)
            how = Projected(units, None, fits, y_fit, known.live, out_live)
        chunks, form = self._decided(self._chunks(targets)), self._form_of(targets)
        m: Moments = self._sum(targets)(totals, chunks, form, False, units, how).moments
        m = m.with_zero_columns(known.live)
        return m if found is None else m.with_zero_outputs(found.live)

    def residual(self, w: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and AᵀM r (G, P, Q) for r = M(y − A w), in one pass over the data."""
        known, found = self._known, targets.found
        total, form = self._sum(targets), self._form_of(targets)
        if known.fit is not None:
            left: ResidualSums = total(
                projected_misfit, self._decided(self._chunks(targets)), form, self._how(targets), w
            )
            return left.squares, left.gradient
        w = w * known.live[:, :, None]
        units = self._units_of(known, found)
        offset, y_fit = np.zeros((len(w), w.shape[2])), None
        if self.nuisance.constant:
            offset = self.projection.coefficients(found.products, w)[:, 0]
        elif self.nuisance.confounds is not None:
            fit = found.whole_fit - self.products @ w
            y_fit = _in_user_units(fit, found.exponents)
        left = total(misfit, self._decided(self._chunks(targets)), form, units, w, offset, y_fit)
        gradient = left.gradient
        if self.nuisance.constant:
            gradient = self.projection.cross(gradient, left.sums[:, None])
        # A column that is constant is zero without its mean, and so is its product.
        gradient = gradient * (self.column_norms > 0)[:, :, None]
        return left.squares * found.live, gradient * found.live[:, None]

    def by_record(
        self, group: int, w: np.ndarray, targets: Targets, outputs: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Yield AᵀM r (P, q) over the rows of each record that has rows.

        Args:
            group: index of the group.
            w: kernels (P, q) of some of its outputs.
            targets: y of all outputs.
            outputs: indices (q,) of these outputs among those of the group.
        """
        spans = Counter(i for i, _, _ in self.order.spans)
        sums: dict[int, np.ndarray] = {}
        of_spans = self._by_span(group, w, targets, outputs)
        for (record, _, _), gradient in zip(self.order.spans, of_spans, strict=True):
            sums[record] = sums[record] + gradient if record in sums else gradient
            spans[record] -= 1
            if not spans[record]:
                yield sums.pop(record)

    def _by_span(
        self, group: int, w: np.ndarray, targets: Targets, outputs: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Yield AᵀM r (P, q) over the rows of each span."""
        counts = iter(self.order.counts)
        left, total = next(counts), np.zeros(w.shape)
        for a, y in self.row_blocks(targets):
            assert y is not None
            start, own = 0, a[group]
            r = y[group][:, outputs] - own @ w
            while start < len(own):
                stop = min(start + left, len(own))
                total += own[start:stop].T @ r[start:stop]
                left -= stop - start
                start = stop
                if not left:
                    yield total
                    left, total = next(counts, 0), np.zeros(w.shape)

    def product_gram(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return (M A w)ᵀ(M A w) (Q, Q) of one group, for w (P, Q)."""
        known, form = self._known, self._form
        chunks, fit = self._decided(self._chunks(None)), None
        if known.fit is not None:
            found: np.ndarray = self._total(
                projected_product_grams, chunks, form, self._how(None), group, w
            )
            return found
        w = w * known.live[group][:, None]
        level = np.zeros(w.shape[1])
        if self.nuisance.constant:
            level = self.projection.means[group, 0] @ w
        elif self.nuisance.confounds is not None:
            fit = self.products[group] @ w
        units = self._units_of(known, None)
        found = self._total(product_grams, chunks, form, units, group, w, level, fit)
        return found

    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return M A w (n, Q) of one group, for w (P, Q), in the order of the rows."""
        known, fit = self._known, None
        if known.fit is not None:
            return np.concatenate([a[group] @ w for a, _ in self._blocks(None)])
        w = w * known.live[group][:, None]
        if self.nuisance.confounds is not None:
            fit = self.products[group] @ w
        units = self._units_of(known, None)
        several = [product(chunk, units, group, w, fit) for chunk in self._read(None)]
        found = np.concatenate(several)
        if self.nuisance.constant:
            found -= self.projection.means[group, 0] @ w
        return found

    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """Return AᵀM r (P, Q) of one group, for r (n, Q) in the order of the rows."""
        total, first = np.zeros((self.columns, r.shape[1])), 0
        if self._known.fit is not None:
            for a, _ in self._blocks(None):
                total += a[group].T @ r[first : first + a.shape[1]]
                first += a.shape[1]
            return total
        if self.nuisance.constant:
            r = r - r.mean(0)
        elif self.nuisance.confounds is not None and self.nuisance.confounds.count:
            confounds = self.nuisance.confounds
            columns = NuisanceColumns(confounds.blocks(self.order.spans), confounds.count)
            r = r - columns.fit(columns.products(r), 0, len(r)).astype(float, copy=False)
        units = self._units_of(self._known, None)
        for chunk in self._read(None):
            last = first + chunk.rows
            total += adjoint(chunk, units, group, r[first:last])
            first = last
        return total * self._known.live[group][:, None]

    def row_blocks(self, targets: Targets | None = None) -> Iterator[Block]:
        """Yield blocks of rows of M A (G, k, P) and of M y (G, k, Q), by default of ``targets``."""
        yield from self._blocks(self.targets if targets is None else targets)

    def _blocks(self, targets: Targets | None) -> Iterator[Block]:
        how = self._how(targets)
        for chunk in self._read(targets):
            yield from by_rows.projected(chunk, how)


def _in_user_units(fit: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Return a fit (G, q, Q) to Y in units of 2**exponents as a fit (q, Cout) to y."""
    with np.errstate(under="ignore"):
        return _flat(np.ldexp(fit, exponents[:, None]))


def _flat(fit: np.ndarray) -> np.ndarray:
    """Return a fit (G, q, P) of all groups as one (q, G·P)."""
    groups, count, columns = fit.shape
    return fit.swapaxes(0, 1).reshape(count, groups * columns)


def _cancels(left: np.ndarray, whole: np.ndarray) -> bool:
    """Return whether a projection leaves too few digits of any square that is not zero."""
    return not ((left > KEPT_SHARE * whole) | (whole == 0)).all()


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
