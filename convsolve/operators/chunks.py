"""The rows of a problem as chunks: one in memory that is kept, or many that every pass reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from copy import copy
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..cached import cached_property
from ..problem.adjustments import Adjustments
from ..problem.nuisance import Nuisance
from ..problem.rows import Span
from ..problem.sizes import Tuning
from ..problem.spec import ConvSpec
from ..problem.stored import Stored
from ..progress import LOG, tracked
from .by_events import mostly_zero
from .chunk import (
    NO_FITS,
    Chunk,
    Fits,
    Form,
    LoadedChunk,
    SpanTrends,
    by_shape,
    chunks_of,
    span_lots,
)
from .chunk_sums import Geometry, sums_beyond_float64, trend_sums, used_rows
from .combinations import Combinations
from .map_reduce import PASS, chunk_rows, on_dask, one_by_one, read_ahead, total_of
from .nuisance import nuisance_blocks
from .overlap_save import by_fft
from .row_order import RowOrder
from .trends import Trends

# A run of excluded rows of at least this many kernel lengths is not read.
GAP_KERNELS = 8
# Chunks of arrays in memory are longer by this factor, up to the default limit for reading whole:
# nothing is read, and fewer chunks cost less.
IN_MEMORY = 4
# Chunks of dask arrays are shorter by this factor, because a worker holds several.
ON_DASK = 1 / 2
# A chunk of storage that is longer than a chunk is read whole, if it is at most this factor longer.
MOST_STORED = 4


class Plan(NamedTuple):
    """How the rows of a design matrix are read.

    Attributes:
        whole: whether all rows are one chunk, which is kept in memory.
        by_rows: whether rows are formed, since the matrix is small.
        columns_first: whether norms of columns are computed without a Gram matrix, which may not be
            needed. Otherwise the Gram matrix has them.
        in_time: whether the rows are in the order of records and time.
        x_sizes, y_sizes: the largest magnitudes (Cin,) and (Cout,), if they are known.
    """

    whole: bool = True
    by_rows: bool = False
    columns_first: bool = False
    in_time: bool = False
    x_sizes: np.ndarray | None = None
    y_sizes: np.ndarray | None = None


class Outputs(Protocol):
    """Outputs y for the rows of x. They may be ``given`` with x."""

    given: bool

    @property
    def records(self) -> Sequence[Any]:
        """Outputs y of every record."""

    @property
    def trends(self) -> tuple[Trends, ...]:
        """Polynomials that are subtracted from y."""

    @property
    def loaded(self) -> LoadedChunk:
        """All rows in memory, if they are one chunk."""


class Chunks:
    """The rows of x, and of outputs y, as a sequence of chunks.

    Polynomials that confounds span are subtracted from x and y, and rows are multiplied by the
    roots of weights, when a chunk is loaded.

    Attributes:
        groups, rows, columns: numbers of groups, of rows, and of columns of a group.
        y: the outputs that were given with x, or None.
        nuisance: the nuisance columns.
        step: rows of a chunk, for data that are not kept.
        spans: the spans of every chunk.
        order: the order of the rows.
        form: the settings of all chunks.
    """

    def __init__(
        self,
        x: Sequence[Any],
        y: Sequence[Any] | None,
        spec: ConvSpec,
        adjustments: Adjustments,
        nuisance: Nuisance,
        limits: Tuning,
        plan: Plan,
    ) -> None:
        self._x, self.y, self._spec, self._kept, self.plan = x, y, spec, adjustments.kept, plan
        self.nuisance, self._weights = nuisance, adjustments.weights
        self._confounds = nuisance.confounds
        self._limits = limits
        self.rows, self.channels = self._kept.count, x[0].shape[-1] // spec.groups
        self.groups, self.columns = spec.groups, spec._unknowns(x[0].shape[-1])
        # Samples that no row reads must not affect the scale.
        every = self._kept.flags is None and self._confounds is None
        read = every and all(map(spec._reads_all, {a.shape[:-1] for a in x}))
        sizes = plan.x_sizes if read else None, plan.y_sizes if every else None
        self.form = Form(spec._normal, nuisance.constant, limits, *sizes)
        self._degree = -1
        if self._confounds is not None:
            self._degree = max(self._confounds.degree, 0 if self._confounds.shared else -1)
        self.step = self.rows if plan.whole else self._step(y)
        self.spans = self._lots()
        self.order = RowOrder(self._kept, tuple(span for lot in self.spans for span in lot))
        #: The outputs that were given with x, if there are any. They are set once they are known.
        self.given: Outputs | None = None
        self._total = one_by_one if plan.whole else total_of((*x, *(y or ())))

    @cached_property
    def _ranges(self) -> list[tuple[int, tuple[int, ...]]]:
        """The rows of every record in which polynomials are scaled."""
        return [used_rows(self._kept, i) for i in range(len(self._kept.shapes))]

    # --- the plan

    def _step(self, y: Sequence[Any] | None) -> int:
        """Return the rows of a chunk. They reach a kernel, or most samples would be read twice."""
        numbers = int(self._limits.chunk_numbers * _longer((*self._x, *(y or ()))))
        numbers = max(numbers, self.columns**2)
        step = max(1, numbers // max(1, _numbers_a_row(self._x, y, self._spec)))
        stored = chunk_rows(self._x, self._spec.stride[0])
        if stored is not None and stored <= MOST_STORED * step:
            step = max(1, round(step / stored)) * stored
        return max(step, self._spec._span[0])

    def _lots(self) -> list[list[Span]]:
        """Return the spans of every chunk."""
        kept, plan = self._kept, self.plan
        if plan.in_time:
            gap = max((shape[0] for shape in kept.shapes), default=0)
        else:
            gap = self._gap_worth_a_cut if plan.whole else GAP_KERNELS * self._spec._span[0]
        pieces = kept.pieces(gap)
        lots = [pieces] if plan.whole else span_lots(kept, pieces, self.step)
        if not plan.whole:
            LOG.info("%d rows are taken in %d chunks of up to %d", self.rows, len(lots), self.step)
        return lots if plan.in_time else [by_shape(lot, self._shape_of) for lot in lots]

    @property
    def _gap_worth_a_cut(self) -> int:
        """The number of excluded rows from which on a cut costs less than their products."""
        slab = max(math.prod(shape[1:]) for shape in self._kept.shapes)
        products = slab * self.columns**2
        return max(self._spec.kernel_size[0], self._limits.gap_products // products)

    def _shape_of(self, span: Span) -> Any:
        """Return what the spans of one stack have in common."""
        i, start, stop = span
        shape = stop - start, *self._kept.shapes[i][1:]
        return shape if self._degree < 0 else (shape, start - self._ranges[i][0], self._ranges[i])

    # --- the data

    def of(self, outputs: Outputs | None, by_rows: Sequence[bool] | None = None) -> list[Any]:
        """Return the chunks of x and some outputs. They are loaded if they are kept.

        Rows are formed for the chunks flagged in ``by_rows``.
        """
        found: list[Any]
        if self.plan.whole:
            found = [self.loaded(None) if outputs is None else outputs.loaded]
        else:
            y, of_y = (None, ()) if outputs is None else (outputs.records, outputs.trends)
            found = [self._adjusted(chunk, of_y) for chunk in self._unread(y)]
        if by_rows is None:
            return found
        return [chunk.decided(flag) for chunk, flag in zip(found, by_rows, strict=True)]

    def sum(
        self,
        task: Callable[..., Any],
        outputs: Outputs | None,
        *others: Any,
        by_rows: Sequence[bool] | None = None,
        fits: Fits = NO_FITS,
        combinations: Combinations | None = None,
    ) -> Any:
        """Return the sum of ``task(chunk, form, *others)`` over the chunks, less some fits.

        Rows are formed for the chunks flagged in ``by_rows``. Outputs may be replaced by their
        ``combinations``.
        """
        form = self.form_of(outputs, fits)
        if combinations is not None:
            form = form._replace(combinations=combinations)
        return self._total(task, self.of(outputs, by_rows), form, *others)

    def read(
        self,
        outputs: Outputs | None,
        by_rows: Sequence[bool] | None = None,
        fits: Fits = NO_FITS,
    ) -> Generator[LoadedChunk]:
        """Yield the chunks in memory, one after the other, less some fits."""
        chunks = self.of(outputs, by_rows)
        several = chunks if self.plan.whole else tracked(read_ahead(chunks), PASS, len(chunks))
        form = self.form_of(outputs, fits)
        for chunk in several:
            yield chunk.load(form)

    def sample(self, by_rows: Sequence[bool], most: int) -> list[LoadedChunk]:
        """Return at most so many chunks in memory, evenly spaced, without outputs."""
        chunks = self.of(None, by_rows)
        places = np.unique(np.linspace(0, len(chunks) - 1, most).astype(int))
        return [chunks[i].load(self.form_of(None)) for i in places]

    def sum_some(
        self, task: Callable[..., Any], spans: Sequence[Span], y: Sequence[Any], *others: Any
    ) -> Any:
        """Return the sum over some of the rows and outputs, if there are no confounds."""
        chunks = self._unread(y, span_lots(self._kept, spans, self.step))
        return self._total(task, chunks, self.form._replace(y_sizes=None), *others)

    @property
    def centred(self) -> Chunks:
        """The same rows of x, from which a constant is subtracted."""
        found = copy(self)
        for name in ("_loaded_alone", "x_trends"):
            vars(found).pop(name, None)
        found.given, found.nuisance = None, Nuisance(constant=True)
        found.form = self.form._replace(constant=True)
        return found

    def form_of(self, outputs: Outputs | None, fits: Fits = NO_FITS) -> Form:
        """Return the settings. The magnitudes of other outputs than the given are not known."""
        given = outputs is None or outputs.given
        form = self.form if given else self.form._replace(y_sizes=None)
        return form if fits is NO_FITS else form._replace(fits=fits)

    def _unread(
        self, y: Sequence[Any] | None, lots: Sequence[Sequence[Span]] | None = None
    ) -> list[Chunk]:
        """Return chunks of x and y as they were given."""
        lots = self.spans if lots is None else lots
        found = chunks_of(lots, self._x, y, self._spec, self._kept)
        if self.plan.by_rows or not by_fft(self._spec):
            return [chunk._replace(by_rows=True) for chunk in found]
        return found

    def _adjusted(self, chunk: Chunk, of_y: Sequence[Trends] = ()) -> Chunk:
        """Return a chunk with trends, weights and the columns of the confounds."""
        confounds, weights = self._confounds, self._weights
        if confounds is None:
            return chunk
        records = [i for i, _, _ in chunk.spans]
        trends = None
        if self._degree >= 0:
            ranges = [(a - self._ranges[i][0], self._ranges[i][1]) for i, a, _ in chunk.spans]
            of = (tuple(t.of_records(records) for t in ts) for ts in (self.x_trends, of_y))
            trends = SpanTrends(self._degree, tuple(ranges), *of)
        roots = None
        if weights is not None:
            several = ((weights.roots[i], a, b) for i, a, b in chunk.spans)
            roots = tuple(root[a:b] if root.ndim else root for root, a, b in several)
        blocks = tuple(nuisance_blocks(confounds, chunk.spans)) if confounds.count else ()
        return chunk._replace(roots=roots, blocks=blocks, nuisance=confounds.count, trends=trends)

    def loaded(self, outputs: Outputs | None) -> LoadedChunk:
        """Return all rows in memory, with some outputs. The data of x are loaded once."""
        if outputs is None:
            return self._loaded_alone
        if outputs.given:
            return self._loaded_given(outputs)
        (chunk,) = self._unread(outputs.records)
        of_y = self._adjusted(chunk._replace(x=()), outputs.trends)
        found = of_y.load(self.form_of(outputs))
        if not self.columns:
            return found
        return self._loaded_alone.with_outputs([stack.y for stack in found.stacks])

    def _loaded_given(self, outputs: Outputs) -> LoadedChunk:
        (chunk,) = self._unread(outputs.records)
        return self._adjusted(chunk, outputs.trends).load(self.form)

    @cached_property
    def _loaded_alone(self) -> LoadedChunk:
        """All rows of x in memory."""
        if self.given is not None:
            return self.given.loaded.without_outputs()
        return self._adjusted(self._unread(None)[0]).load(self.form)

    # --- polynomials that are subtracted

    @property
    def _mostly_zero(self) -> bool:
        """Whether x is in memory, and is summed by its events if nothing is subtracted."""
        if self.plan.by_rows or not all(isinstance(a, np.ndarray) for a in self._x):
            return False
        return mostly_zero(self._x, self._spec, self._limits)

    @cached_property
    def x_trends(self) -> tuple[Trends, ...]:
        """Polynomials of x that N spans, and if necessary of the remainder.

        A second fit takes a pass over the data. It is needed if the first polynomials are so large
        that the rounding error of their coefficients would be visible in the remainder. The zeros
        of an x that is mostly zero are kept: N spans the polynomials anyway.
        """
        if self._degree < 0 or not self.columns or self._mostly_zero:
            return ()
        of_x = Geometry(self._spec, [a.shape[:-1] for a in self._x])
        return self._trends(self._unread(None), of_x)

    def trends_of(self, outputs: Outputs) -> tuple[Trends, ...]:
        """Return the polynomials of outputs in the same way."""
        if self._degree < 0:
            return ()
        chunks = [chunk._replace(x=()) for chunk in self._unread(outputs.records)]
        return self._trends(chunks, None)

    def _trends(self, chunks: Sequence[Chunk], of_x: Geometry | None) -> tuple[Trends, ...]:
        def fitted(before: np.ndarray | None) -> Trends:
            found: Trends = self._total(
                trend_sums, chunks, self._degree, self._ranges, of_x, before
            )
            return found.shared() if self._confounds and self._confounds.shared else found

        first = fitted(None)
        if not np.isfinite(first.crosses).all():
            raise sums_beyond_float64()
        if first.accurate:
            return (first,)
        before = np.zeros((len(self._kept.shapes), *first.coefficients.shape[1:]))
        before[first.records] = first.coefficients
        return first, fitted(before)


def _longer(records: Sequence[Any]) -> float:
    """Return the factor by which chunks of some records are longer than chunks read here."""
    if any(map(on_dask, records)):
        return ON_DASK
    return 1 if any(isinstance(a, Stored) for a in records) else IN_MEMORY


def _numbers_a_row(x: Sequence[Any], y: Sequence[Any] | None, spec: ConvSpec) -> int:
    """Return the number of elements of x and y per row along the first axis."""
    of_x = max(a.size // max(1, len(a)) for a in x) * spec.stride[0]
    return of_x + (0 if y is None else max(b.size // max(1, len(b)) for b in y))
