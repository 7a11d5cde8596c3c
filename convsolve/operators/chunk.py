"""Some rows of a problem: as a plan that is not read yet, and loaded into memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..cached import cached_property
from ..errors import SolveError
from ..linalg.channels import largest, on_cores
from ..linalg.polynomials import Polynomials
from ..problem.rows import Rows, Span, samples_read
from ..problem.sizes import Tuning
from ..problem.spec import ConvSpec
from .combinations import Combinations, combined, combined_series
from .moments import Units, per_column
from .nuisance import NuisanceBlock, NuisanceColumns
from .overlap_save import Series
from .trends import without_polynomials
from .windows import NormalForm, normal_form, silenced

_T = TypeVar("_T")


class Fits(NamedTuple):
    """Coefficients of confounds N that are subtracted from the rows, in the user's units.

    Attributes:
        x: coefficients (q, G·P) for the columns of A, which are subtracted one after the other. The
            second ones remove the rounding error of the first.
        y: coefficients (q, Cout) for the outputs, or None.
    """

    x: tuple[np.ndarray, ...] = ()
    y: np.ndarray | None = None


NO_FITS = Fits()


class Form(NamedTuple):
    """The settings that all chunks of a problem share.

    Attributes:
        spec: the windows over records in normal form.
        constant: whether a constant is subtracted.
        limits: the memory limits.
        x_sizes, y_sizes: the largest magnitudes (Cin,) of x and (Cout,) of y. If None, every chunk
            computes its own.
        fits: coefficients of confounds that are subtracted from the rows.
        combinations: combinations of the outputs, or None for the outputs themselves.
    """

    spec: ConvSpec
    constant: bool
    limits: Tuning
    x_sizes: np.ndarray | None = None
    y_sizes: np.ndarray | None = None
    fits: Fits = NO_FITS
    combinations: Combinations | None = None


class SpanTrends(NamedTuple):
    """Polynomials in time that are subtracted from the samples of spans.

    Attributes:
        degree: degree of the polynomials.
        ranges: for every span, its first row in the range of the polynomials, and the shape (*T) of
            that range.
        of_x, of_y: coefficients (spans, J, C), which are subtracted one after the other.
    """

    degree: int
    ranges: tuple[tuple[int, tuple[int, ...]], ...]
    of_x: tuple[np.ndarray, ...] = ()
    of_y: tuple[np.ndarray, ...] = ()


class Chunk(NamedTuple):
    """Some rows of some records, and the data that they need. Nothing is read yet.

    Attributes:
        spans: the records, and their rows along the first axis.
        x: the samples of x that these rows read, one array per span.
        y: the outputs (T', *T, Cout) of each span, or None.
        flags: flags of the rows used in the fit, or None if all are used.
        by_rows: whether rows must be formed, because FFTs would lose digits.
        roots: square roots of the weights of each span, () or (T', *T), or None.
        blocks: the nuisance columns of confounds in the rows of the spans, in their order.
        nuisance: number of all nuisance columns of confounds.
        trends: polynomials that are subtracted first, or None.
    """

    spans: tuple[Span, ...]
    x: tuple[Any, ...]
    y: tuple[Any, ...] | None
    flags: tuple[np.ndarray, ...] | None
    by_rows: bool = False
    roots: tuple[np.ndarray, ...] | None = None
    blocks: tuple[NuisanceBlock, ...] = ()
    nuisance: int = 0
    trends: SpanTrends | None = None

    @property
    def samples(self) -> tuple[Any, ...]:
        """The arrays of x and y."""
        return (*self.x, *(self.y or ()))

    def decided(self, by_rows: bool) -> Chunk:
        """Return the chunk with rows formed, or with sums by FFTs."""
        return self._replace(by_rows=by_rows)

    def in_memory(self) -> Chunk:
        """Return the chunk with its arrays in memory."""
        x, y = (None if a is None else tuple(map(np.asarray, a)) for a in (self.x, self.y))
        return self._replace(x=x or (), y=y)

    def load(self, form: Form) -> LoadedChunk:
        """Return rows in memory, times the roots of their weights, less trends and fits."""
        return _loaded(self, form).load(form)


def span_lots(kept: Rows, pieces: Sequence[Span], step: int) -> list[list[Span]]:
    """Split the rows used in the fit into lots of spans for one chunk each.

    Each lot has at most ``step`` rows along the first axis.
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


def by_shape(spans: Sequence[Span], key: Callable[[Span], Any]) -> list[Span]:
    """Return spans with those of one key next to each other, in the order of their first."""
    found: dict[Any, list[Span]] = {}
    for span in spans:
        found.setdefault(key(span), []).append(span)
    return [span for several in found.values() for span in several]


def chunks_of(
    lots: Sequence[Sequence[Span]],
    x: Sequence[Any],
    y: Sequence[Any] | None,
    spec: ConvSpec,
    kept: Rows,
) -> list[Chunk]:
    """Return the chunks of some rows, unread."""
    found = []
    for lot in lots:
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


# --- in memory


class Stack(NamedTuple):
    """Spans of one shape.

    Attributes:
        x: (N, *E, Cin) in normal form.
        y: (N, *T, Cout), or None.
        flags: (N, *T), True for rows used in the fit; None if all are used.
        roots: (N, *T), roots of the weights; None unless rows of a record differ in weight. The
            weights of whole records are included in x and y.
    """

    x: np.ndarray
    y: np.ndarray | None
    flags: np.ndarray | None
    roots: np.ndarray | None

    @property
    def factors(self) -> np.ndarray | None:
        """Roots of the weights (N, *T), and 0 for excluded rows. None if all are 1."""
        if self.roots is None or self.flags is None:
            return self.flags if self.roots is None else self.roots
        return self.roots * self.flags

    def used(self, values: np.ndarray) -> np.ndarray:
        """Return the rows (..., Q) of values (N, *T, Q) that are used in the fit."""
        return values if self.flags is None else values[self.flags]


@dataclass(frozen=True, eq=False)
class LoadedChunk:
    """Rows in memory: stacks of spans, in units in which their largest samples are about one.

    Samples that no row reads affect neither the scale nor an FFT. They are zero, or the mean of
    their channel if a constant is subtracted.

    Attributes:
        form: the settings of the problem.
        stacks: the samples, with consecutive spans of one shape in one stack.
        blocks: the nuisance columns of confounds, for the rows in order. Their places are indices
            of the columns of this chunk.
        places: indices (k,) of these columns among all ``nuisance`` columns.
        nuisance: number of all nuisance columns of confounds.
        exponents: (Cin,), powers of two by which x is divided.
        out_exponents, out_shift: (Cout,); y is read as ``2**-out_exponents * y - out_shift``.
        by_rows: whether rows must be formed, because FFTs would lose digits.
        x_fits: coefficients (q, G·P) of confounds that are subtracted from the rows of A.
        kept: results that are used again, for x, and for x and y.
    """

    form: Form
    stacks: tuple[Stack, ...]
    blocks: tuple[NuisanceBlock, ...]
    places: np.ndarray
    nuisance: int
    exponents: np.ndarray
    out_exponents: np.ndarray
    out_shift: np.ndarray
    by_rows: bool
    x_fits: tuple[np.ndarray, ...] = ()
    kept: dict[str, Any] = field(default_factory=dict)
    kept_with_y: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def spec(self) -> ConvSpec:
        """The windows over records in normal form."""
        return self.form.spec

    @cached_property
    def groups(self) -> int:
        """Number G of groups."""
        return self.spec.groups

    @cached_property
    def channels(self) -> int:
        """Channels of a group."""
        return self.exponents.size // self.groups

    @cached_property
    def columns(self) -> int:
        """Number P of columns of a group."""
        return self.channels * math.prod(self.spec.kernel_size)

    @cached_property
    def outputs(self) -> int:
        """Number Q of outputs of a group."""
        return self.out_exponents.size // self.groups

    @cached_property
    def rows(self) -> int:
        """Number of rows used in the fit."""
        several = ((s, len(s.x) * self.spec._rows(s.x.shape[1:-1])) for s in self.stacks)
        return sum(n if s.flags is None else int(np.count_nonzero(s.flags)) for s, n in several)

    @cached_property
    def windows(self) -> int:
        """Number of rows of all stacks, including excluded ones."""
        return sum(len(s.x) * self.spec._rows(s.x.shape[1:-1]) for s in self.stacks)

    @cached_property
    def structured(self) -> bool:
        """Whether at least half of the rows are used, with equal weights within each record."""
        alike = all(s.roots is None for s in self.stacks)
        return alike and 2 * self.rows >= self.windows

    @cached_property
    def scale(self) -> np.ndarray:
        """(Cin,), by which x is multiplied."""
        return np.ldexp(1.0, -self.exponents)

    @cached_property
    def out_scale(self) -> np.ndarray:
        """(Cout,), by which y is multiplied."""
        return np.ldexp(1.0, -self.out_exponents)

    def units(self, shift: np.ndarray) -> Units:
        """Return the units of this chunk, for a shift (G, P) of the columns."""
        groups, out = self.groups, (self.out_exponents, self.out_shift)
        exponents = self.exponents.reshape(groups, -1)
        return Units(exponents, shift, *(a.reshape(groups, -1) for a in out))

    def by_column(self, of_channels: np.ndarray) -> np.ndarray:
        """Return values (Cin,) of the channels for the columns (G, P)."""
        return per_column(of_channels.reshape(self.groups, -1), self.columns)

    def once(self, name: str, make: Callable[[], _T], with_y: bool = False) -> _T:
        """Return a result, which is computed once for x, or once for x and y."""
        kept = self.kept_with_y if with_y else self.kept
        if name not in kept:
            kept[name] = make()
        found: _T = kept[name]
        return found

    @property
    def samples(self) -> list[Any]:
        """The arrays of x and y."""
        return [a for s in self.stacks for a in (s.x, s.y) if a is not None]

    def decided(self, by_rows: bool) -> LoadedChunk:
        """Return the chunk with rows formed, or with sums by FFTs."""
        return self if self.by_rows == by_rows else replace(self, by_rows=by_rows)

    @property
    def nuisance_columns(self) -> NuisanceColumns:
        """The nuisance columns of confounds in the rows."""
        return self.once("nuisance", lambda: NuisanceColumns(self.blocks, len(self.places)))

    def load(self, form: Form) -> LoadedChunk:
        """Return the same rows with outputs combined, and the fits of the confounds subtracted."""
        fits, found = form.fits, self
        if form.combinations is not None:
            found = self.with_outputs(self._combined(form.combinations))
        if not self.blocks:
            return found
        if fits.y is not None:
            found = found.with_outputs(found._outputs_without(fits.y))
        return replace(found, x_fits=fits.x, by_rows=True, kept={}) if fits.x else found

    def _combined(self, of: Combinations) -> list[np.ndarray]:
        """Return combinations (N, *T, G·B·s) of the outputs of every stack.

        They are computed from y in the units of this chunk.
        """
        finer = self.out_exponents.reshape(self.groups, -1) - of.exponents
        weights = np.ldexp(of.weights, finer[:, :, None])
        shift = np.ldexp(self.out_shift.reshape(self.groups, -1), finer) - of.shift
        level = combined(shift[:, None], of.weights).reshape(-1)
        units, several = (self.out_scale, self.out_shift), (s.y for s in self.stacks)
        found = [combined_series(Series(y, *units), weights) for y in several if y is not None]
        return [a + level for a in found] if level.any() else found

    def _outputs_without(self, fit: np.ndarray) -> list[np.ndarray]:
        """Return the outputs of every stack less N times ``fit`` (q, Cout)."""
        rows = self._given_outputs()
        return self.by_stack(rows - self.nuisance_columns.fit(fit[self.places], 0, len(rows)))

    def by_stack(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return rows (n, Q) as arrays (N, *T, Q) of every stack, zero in excluded rows."""
        first, found = 0, []
        for stack in self.stacks:
            shape = len(stack.x), *self.spec.output_shape(stack.x.shape[1:-1])
            count = math.prod(shape) if stack.flags is None else int(np.count_nonzero(stack.flags))
            part = rows[first : first + count].astype(float, copy=False)
            if stack.flags is None:
                found.append(part.reshape(*shape, rows.shape[1]))
            else:
                found.append(np.zeros((*shape, rows.shape[1])))
                found[-1][stack.flags] = part
            first += count
        return found

    def with_outputs(self, y: Sequence[np.ndarray | None]) -> LoadedChunk:
        """Return the same rows with other outputs y (N, *T, Cout) of every stack."""
        given = [s._replace(y=a) for s, a in zip(self.stacks, y, strict=True)]
        stacks, exponents, shift = _out_units(given, self.form, None)
        return replace(
            self, stacks=stacks, out_exponents=exponents, out_shift=shift, kept_with_y={}
        )

    def without_outputs(self) -> LoadedChunk:
        """Return the same rows of x alone."""
        stacks, none = tuple(s._replace(y=None) for s in self.stacks), np.zeros(0)
        return replace(
            self, stacks=stacks, out_exponents=none.astype(int), out_shift=none, kept_with_y={}
        )

    def in_out_units(self, exponents: np.ndarray) -> LoadedChunk:
        """Return the same rows with y in units of other powers of two (Cout,)."""
        if np.array_equal(exponents, self.out_exponents):
            return self
        shift = np.ldexp(self.out_shift, self.out_exponents - exponents)
        return replace(self, out_exponents=exponents, out_shift=shift, kept_with_y={})

    def output_sums(self, of: np.ufunc | None = None) -> np.ndarray:
        """Return sums (Cout,) over the rows of y, or of a function of y, in units of the chunk."""

        def read(part: np.ndarray) -> np.ndarray:
            found = part * self.out_scale
            if self.out_shift.any():
                found -= self.out_shift
            return found if of is None else of(found, out=found)

        kept = [s.used(s.y) for s in self.stacks if s.y is not None]
        return np.asarray(np.sum([on_cores(np.add, a, read) for a in kept], axis=0))

    def output_rows(self) -> np.ndarray:
        """Return y (n, Cout) of the rows used in the fit, in the units of this chunk, not shifted.

        An output beyond the range of these units is rounded to zero.
        """
        return self._given_outputs() * self.out_scale

    def _given_outputs(self) -> np.ndarray:
        """Return y (n, Cout) of the rows used in the fit."""
        parts = [s.used(s.y) for s in self.stacks if s.y is not None]
        return np.concatenate([a.reshape(-1, a.shape[-1]) for a in parts])


def _loaded(chunk: Chunk, form: Form) -> LoadedChunk:
    stacks, adjusted = [], chunk.trends is not None or chunk.roots is not None
    for some in _runs(chunk):
        y = None if chunk.y is None else stacked([np.asarray(a) for a in chunk.y[some]])
        flags = None if chunk.flags is None else np.stack(chunk.flags[some])
        flags = None if flags is None or flags.all() else flags
        x, y = _detrended(chunk, some, form, _samples(chunk, some, form), y)
        x, y, roots = _weighted(chunk, some, form, x, y)
        stacks.append(Stack(silenced(x, form.spec), y, flags, roots))
    if stacks[0].x.size and any(s.flags is not None for s in stacks):
        stacks = _filled(stacks, form, chunk.trends is not None)
        adjusted = True
    if form.x_sizes is None or adjusted or not chunk.x:
        exponents = channel_exponents([s.x for s in stacks])
    else:
        exponents = exponents_of(form.x_sizes)
    places, blocks = _own_places(chunk.blocks, chunk.nuisance)
    filled, of_y, shift = _out_units(stacks, form, None if adjusted else form.y_sizes)
    return LoadedChunk(
        form, filled, blocks, places, chunk.nuisance, exponents, of_y, shift,
        chunk.by_rows,
    )  # fmt: skip


def _runs(chunk: Chunk) -> Iterator[slice]:
    """Yield slices of consecutive spans of one shape."""
    keys: list[Any] = [tuple(a.shape) for a in chunk.x or chunk.y or ()]
    if chunk.trends is not None:
        keys = [*zip(keys, chunk.trends.ranges, strict=True)]
    first = 0
    for _, run in itertools.groupby(keys):
        last = first + sum(1 for _ in run)
        yield slice(first, last)
        first = last


def _samples(chunk: Chunk, some: slice, form: Form) -> np.ndarray:
    """Return samples (N, *E, C) of a stack in normal form; without channels if x is not read."""
    if not chunk.x:
        assert chunk.y is not None
        y = chunk.y[some]
        return np.zeros((len(y), *extent(form.spec, y[0].shape[:-1]), 0))
    return samples_of(chunk.x[some])


def samples_of(several: Sequence[Any]) -> np.ndarray:
    """Return arrays of one shape, which may be read on demand, as one array (N, *L, C)."""
    first = several[0]
    if isinstance(first, NormalForm) and first.is_whole and len({a.kind for a in several}) == 1:
        return np.asarray(normal_form(stacked([a.record for a in several]), first.spec))
    return np.asarray(stacked([np.asarray(a) for a in several]))


def _detrended(
    chunk: Chunk, some: slice, form: Form, x: np.ndarray, y: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return x and y of a stack less their trends."""
    trends, spec = chunk.trends, form.spec
    if trends is None:
        return x, y
    first, shape = trends.ranges[some.start]
    if chunk.x and trends.of_x:
        place = extent(spec, shape), first * spec.stride[0]
        x = _without(x, trends.degree, *place, [c[some] for c in trends.of_x])
    if y is not None and trends.of_y:
        y = _without(y, trends.degree, shape, first, [c[some] for c in trends.of_y])
    return x, y


def _weighted(
    chunk: Chunk, some: slice, form: Form, x: np.ndarray, y: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return x and y of a stack times the roots of weights, and roots (N, *T) if rows differ."""
    if chunk.roots is None:
        return x, y, None
    roots, of_rows = chunk.roots[some], None
    with np.errstate(over="ignore"):
        if all(root.ndim == 0 for root in chunk.roots):
            x = x * _beside(np.array(roots), x.ndim)
            y = None if y is None else y * _beside(np.array(roots), y.ndim)
        else:
            shape = form.spec.output_shape(x.shape[1:-1])
            of_rows = np.stack([np.broadcast_to(root, shape) for root in roots])
            y = None if y is None else y * of_rows[..., None]
    if not np.isfinite(x).all():
        raise SolveError("x times the root of a weight leaves the range of float64")
    return x, y, of_rows


def _without(
    values: np.ndarray, degree: int, shape: tuple[int, ...], first: int, coefs: list[np.ndarray]
) -> np.ndarray:
    """Return values (N, n, *L, C) less polynomials in the range ``shape`` from ``first`` on."""
    trend = Polynomials.of(shape, degree, first, first + values.shape[1])
    flat = values.reshape(len(values), -1, values.shape[-1])
    with np.errstate(over="ignore", invalid="ignore"):  # in samples that no row reads
        left = without_polynomials(flat, trend.some(np.ones(trend.columns.shape[:-1], bool)), coefs)
    return left.reshape(values.shape)


def _beside(values: np.ndarray, ndim: int) -> np.ndarray:
    """Return values (N,) as an array of ``ndim`` axes, N the first."""
    return values.reshape(-1, *(1,) * (ndim - 1))


def _filled(stacks: Sequence[Stack], form: Form, to_zero: bool) -> list[Stack]:
    """Set samples that no row reads to zero, or to the mean of the samples that are read."""
    read = [_read(s, form.spec) for s in stacks]
    fill = np.zeros(stacks[0].x.shape[-1])
    if form.constant and not to_zero:
        kept = [s.x[r] for s, r in zip(stacks, read, strict=True)]
        scale = np.ldexp(1.0, -channel_exponents(kept))
        fill = np.sum([(a * scale).sum(0) for a in kept], axis=0) / sum(map(len, kept)) / scale
    return [
        s if s.flags is None else s._replace(x=np.where(r[..., None], s.x, fill.astype(s.x.dtype)))
        for s, r in zip(stacks, read, strict=True)
    ]


def _read(stack: Stack, spec: ConvSpec) -> np.ndarray:
    """Return flags (N, *E) of the samples of a stack that are read."""
    if stack.flags is None:
        return np.ones(stack.x.shape[:-1], bool)
    return np.stack([samples_read(flags, spec) for flags in stack.flags])


def _out_units(
    stacks: Sequence[Stack], form: Form, sizes: np.ndarray | None
) -> tuple[tuple[Stack, ...], np.ndarray, np.ndarray]:
    """Return stacks with zeros in the excluded rows of y, and exponents and shift of y."""
    kept = [s.used(s.y) for s in stacks if s.y is not None]
    if not kept:
        return tuple(stacks), np.zeros(0, int), np.zeros(0)
    exponents = channel_exponents(kept) if sizes is None else exponents_of(sizes)
    shift, scale = np.zeros(exponents.size), np.ldexp(1.0, -exponents)
    if form.constant:
        totals = [on_cores(np.add, a, lambda part: part * scale) for a in kept]
        shift = np.sum(totals, axis=0) / sum(math.prod(a.shape[:-1]) for a in kept)
    nothing = np.ldexp(shift, exponents)  # exactly zero once it is scaled and shifted
    filled = (
        s
        if s.flags is None
        else s._replace(y=np.where(s.flags[..., None], np.asarray(s.y), nothing))
        for s in stacks
    )
    return tuple(filled), exponents, shift


def _own_places(
    blocks: Sequence[NuisanceBlock], count: int
) -> tuple[np.ndarray, tuple[NuisanceBlock, ...]]:
    """Return the places of the columns of some blocks, and the blocks with indices into them."""
    if not blocks:
        return np.zeros(0, int), ()
    each = [block.places.reshape(-1) for block in blocks]
    if blocks[0].ones is not None:
        each.append(np.array([count - 1]))
    places = np.unique(np.concatenate(each))
    own = (replace(b, places=np.searchsorted(places, b.places)) for b in blocks)
    return places, tuple(own)


def extent(spec: ConvSpec, rows: Sequence[int]) -> tuple[int, ...]:
    """Return the shape (*E) of a record in normal form that has ``rows`` (*T)."""
    axes = zip(rows, spec.stride, spec._span, strict=True)
    return tuple((t - 1) * s + n for t, s, n in axes)


def channel_exponents(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Return the power of two per channel that brings the largest magnitude into [1/2, 1).

    A channel of zeros has no such power. It takes the smallest power of the other channels.
    """
    several = [*arrays]
    none = np.zeros(several[0].shape[-1])
    return exponents_of(np.maximum.reduce([none, *(largest(a) for a in several if a.size)]))


def exponents_of(sizes: np.ndarray) -> np.ndarray:
    """Return the powers of two for channels (C,) with the largest magnitudes ``sizes``."""
    # Channels with only denormal numbers would need a power beyond float64.
    exponents = np.maximum(np.frexp(sizes.astype(float))[1], -1020)
    if sizes.all():  # also if there are no channels
        return exponents
    least = exponents.min(where=sizes > 0, initial=exponents.max())
    return np.where(sizes > 0, exponents, least)


def stacked(records: Sequence[np.ndarray]) -> Any:
    """Return records as (N, …): a view of a single record or of a batch, else a copy."""
    if len(records) == 1:
        return records[0][None]
    batch = _batch(records)
    return np.stack(records) if batch is None else batch


def _batch(records: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return records that are equally spaced parts of one array as a view; else None."""
    first = records[0]
    if first.base is None or any(
        a.base is not first.base or a.strides != first.strides for a in records
    ):
        return None
    places = [a.__array_interface__["data"][0] for a in records]
    step = places[1] - places[0]
    if step <= 0 or places != [places[0] + i * step for i in range(len(places))]:
        return None
    shape, strides = (len(records), *first.shape), (step, *first.strides)
    return np.lib.stride_tricks.as_strided(first, shape, strides, writeable=False)
