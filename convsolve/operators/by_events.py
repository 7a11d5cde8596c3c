"""Sums over the rows of a chunk whose x is mostly zero, from its events.

An event is a sample at which some channel is not zero. The event at sample s is in the K rows
s − K + 1 to s. Pairs of events less than K samples apart give AᵀA. Sparse matrices of some rows at
a time give the other products. Zeros take no time, and nothing is subtracted from the sums.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..linalg.channels import by_channel
from ..linalg.threads import one_blas_thread
from ..parallel import in_order
from ..problem.sizes import Tuning
from ..problem.spec import ConvSpec
from ..progress import tracked
from .by_fft import Part, parts_with, places_of, taps_of
from .by_rows import LEAST_SQUARE
from .chunk import LoadedChunk
from .gram import mirrored, skewed
from .moments import KEPT_SHARE, Moments, ResidualSums, Units
from .overlap_save import Series, keep_freed_memory

if TYPE_CHECKING:
    from scipy.sparse import csc_array

# Number of samples that show whether x may be mostly zero. Their places are multiples of the golden
# ratio, modulo one.
SAMPLED, GOLDEN = 1000, (math.sqrt(5) - 1) / 2
# Numbers of residuals that are formed at a time (2 MiB), and of products of pairs (1 MiB).
TILE_NUMBERS, BATCH_NUMBERS = 2**18, 2**17
# The smallest number of rows that are formed at a time if there are many outputs.
FEW_ROWS = 2**9
# The largest share of samples that are events.
MOST_EVENTS = 1 / 4
# An event takes as much time as this many elements of the design matrix, in addition to its own.
EVENT = 20
# Elements of a sparse matrix of these rows, for each of these numbers, if all samples were events.
MOST_ELEMENTS = 16

# First and last records, and first and last rows of each.
Rows = tuple[int, int, int, int]


class Tile(NamedTuple):
    """Some rows of some records, and some outputs."""

    rows: Rows
    outputs: slice

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the tile of values (N, T, Q)."""
        first, last, start, stop = self.rows
        return values[first:last, start:stop, self.outputs]


class Events(NamedTuple):
    """The events of one group of a polyphase component.

    Attributes:
        group: index of the group.
        taps: number K of taps.
        shape: numbers N of records and T of rows of each record.
        at: (m,), the sample of every event among the N·(T + K − 1) samples, ascending.
        values: (m, C), in the units of the chunk.
        factors: factors (N, T) of the rows: roots of weights, and 0 for rows that are not used in
            the fit. None if all are 1.
    """

    group: int
    taps: int
    shape: tuple[int, int]
    at: np.ndarray
    values: np.ndarray
    factors: np.ndarray | None

    @property
    def length(self) -> int:
        """Number of samples of a record."""
        return self.shape[1] + self.taps - 1

    @property
    def columns(self) -> int:
        """Number K·C of columns."""
        return self.taps * self.values.shape[1]

    def tiles(self, outputs: int) -> list[Tile]:
        """Return tiles of all rows, of several records or of a part of one record."""
        records, rows = self.shape
        width = max(1, min(outputs, TILE_NUMBERS // max(self.columns, FEW_ROWS)))
        most = max(self.taps, MOST_ELEMENTS * TILE_NUMBERS // self.columns)
        height = max(1, min(TILE_NUMBERS // width, most))
        # Equal parts: a short last part would cost as much time in Python as the others.
        many, step = max(1, height // rows), -(-rows // max(1, round(rows / height)))
        starts = range(0, records, many), range(0, rows, step), range(0, outputs, width)
        found = []
        for n, t, q in itertools.product(*starts):
            part = n, min(n + many, records), t, min(t + step, rows)
            found.append(Tile(part, slice(q, min(q + width, outputs))))
        return found

    def matrix(self, rows: Rows) -> csc_array:
        """Return some rows of A (n, K·C) as a sparse matrix."""
        from scipy.sparse import csc_array

        first, last, start, stop = rows
        ends = first * self.length + start, (last - 1) * self.length + stop + self.taps - 1
        some, channels = slice(*np.searchsorted(self.at, ends)), self.values.shape[1]
        channel, event = np.nonzero(self.values[some].T)
        record, sample = np.divmod(self.at[some][event], self.length)
        row = sample - np.arange(self.taps)[:, None]
        values = np.broadcast_to(self.values[some][event, channel], row.shape)
        used = (row >= start) & (row < stop)
        if self.factors is not None:
            factors = self.factors[record, np.clip(row, start, stop - 1)]
            values, used = values * factors, used & (factors != 0)
        row += (record - first) * (stop - start) - start
        # The elements of a tap are in the order of channels.
        counts = np.append(0, np.cumsum(used))
        of_channel = np.searchsorted(channel, np.arange(1, channels + 1))
        of_columns = counts[len(channel) * np.arange(self.taps)[:, None] + of_channel]
        pointers = np.append(0, of_columns).astype(np.int32)
        shape = (last - first) * (stop - start), self.taps * channels
        return csc_array((values[used], row[used].astype(np.int32), pointers), shape)


# --- the choice


def suits(chunk: LoadedChunk) -> bool:
    """Return whether x has events, and FFTs take longer or lose more digits."""
    return bool(events_of(chunk))


def events_of(chunk: LoadedChunk) -> list[Events] | None:
    """Return the events of every part of a chunk; None if FFTs take less time or lose less."""
    return chunk.once("events", lambda: _events_of(chunk))


def _events_of(chunk: LoadedChunk) -> list[Events] | None:
    several = [stack.x for stack in chunk.stacks]
    if not mostly_zero(several, chunk.spec, chunk.form.limits):
        return None
    parts = parts_with(chunk, np.zeros(chunk.exponents.size), [None] * len(several))
    found = [_of_part(part, *taps_of(chunk)) for part in parts]
    return found if all(map(_exact, found)) else None


def mostly_zero(several: Sequence[np.ndarray], spec: ConvSpec, limits: Tuning) -> bool:
    """Return whether x (..., C) has so few events that products by FFTs take longer.

    Some samples at irregular places are examined first.
    """
    x = max(several, key=np.size)
    if spec.ndim > 1 or not x.size:
        return False
    places = np.modf(np.arange(SAMPLED) * GOLDEN)[0] * math.prod(x.shape[:-1])
    some = x[np.unravel_index(places.astype(int), x.shape[:-1])]
    return _few([some], spec, limits, 2) and _few(several, spec, limits, 1)


def _few(several: Sequence[np.ndarray], spec: ConvSpec, limits: Tuning, slack: int) -> bool:
    """Return whether samples (..., C) have few events, and few elements other than zero.

    Products by FFTs take about as long as those with C + 2 elements in each row of A.
    """
    channels = several[0].shape[-1] // spec.groups
    by_group = [a.reshape(*a.shape[:-1], spec.groups, channels) for a in several]
    events, elements = (
        sum(map(np.count_nonzero, flags)) for flags in ((a.any(-1) for a in by_group), by_group)
    )
    samples = slack * sum(a.size for a in by_group) / channels
    of_matrix = elements * spec.kernel_size[0] + EVENT * events
    most = limits.event_elements * (channels + 2) * samples
    return bool(events <= MOST_EVENTS * samples and of_matrix < most)


def _exact(events: Events) -> bool:
    """Return whether the square of no element can underflow."""
    arrays = (events.values, np.ones(1) if events.factors is None else events.factors)
    sizes = (np.abs(a[a != 0]).min(initial=1.0) for a in arrays)
    return math.prod(sizes) >= math.sqrt(LEAST_SQUARE)


def _of_part(part: Part, taps: int) -> Events:
    data = part.x.data
    records, length = data.shape[:2]
    record, sample = np.nonzero(data.any(-1))
    values = data[record, sample] * part.x.scale
    factors = None if part.rows is None else part.rows.data[..., 0].astype(float)
    shape = records, length - taps + 1
    return Events(part.group, taps, shape, record * length + sample, values, factors)


# --- products


class Residuals(NamedTuple):
    """r = y − A w − offset, of which y or A w may be zero.

    Attributes:
        events: the events of A.
        y: outputs (N, T, Q), or None.
        w: kernel (K·C, Q), or None.
        offset: (Q,).
    """

    events: Events
    y: Series | None
    w: np.ndarray | None
    offset: np.ndarray

    def summed(
        self,
        of: Callable[[Tile, csc_array, np.ndarray], tuple[np.ndarray, ...]],
        *totals: np.ndarray,
    ) -> None:
        """Add functions of every tile, its rows of A and its r (n, Q) to ``totals`` (..., Q)."""
        tiles = self.events.tiles(self.offset.size)
        keep_freed_memory()
        # Tiles of the same rows follow each other.
        matrix = lru_cache(maxsize=2)(self.events.matrix)

        def task(tile: Tile) -> tuple[np.ndarray, ...]:
            a = matrix(tile.rows)
            return of(tile, a, self._formed(tile, a))

        with one_blas_thread():
            several = tracked(in_order(task, tiles), "rows with events", len(tiles))
            for tile, found in zip(tiles, several, strict=True):
                for total, part in zip(totals, found, strict=True):
                    total[..., tile.outputs] += part

    def _formed(self, tile: Tile, a: csc_array) -> np.ndarray:
        """Return r (n, Q) of a tile."""
        (first, last, start, stop), offset = tile.rows, self.offset[tile.outputs]
        r: np.ndarray = np.empty((last - first, stop - start, offset.size))
        if self.y is None:
            r[...] = 0.0
        else:
            self.y.channels(tile.outputs).scaled(tile.of(self.y.data), r)
        if offset.any():
            factors = self.events.factors
            r -= offset if factors is None else factors[first:last, start:stop, None] * offset
        r = r.reshape(-1, offset.size)
        if self.w is not None:
            r -= a @ np.ascontiguousarray(self.w[:, tile.outputs])
        return r


def _sums(tile: Tile, a: csc_array, r: np.ndarray) -> tuple[np.ndarray, ...]:
    return by_channel(np.add, r, np.square), a.T @ r, by_channel(np.add, r)


def _write(out: np.ndarray, tile: Tile, a: csc_array, r: np.ndarray) -> tuple[()]:
    """Write −r of a tile to ``out`` (N, T, Q)."""
    part = tile.of(out)
    np.negative(r.reshape(part.shape), out=part)
    return ()


class Joined(NamedTuple):
    """The events in the rows of all records, with K − 1 rows before and after each record.

    The K rows of an event are consecutive, in the reverse order of taps.

    Attributes:
        at: (m,), the first row of every event.
        factors: factors of the rows, 0 for rows before and after a record.
        changes: number of changes of the factors up to every row.
    """

    at: np.ndarray
    factors: np.ndarray
    changes: np.ndarray

    @classmethod
    def of(cls, events: Events) -> Joined:
        """Return the rows of some events."""
        beyond = events.taps - 1
        factors = np.ones(events.shape) if events.factors is None else events.factors
        factors = np.pad(factors, [(0, 0), (beyond, beyond)]).reshape(-1)
        changes = np.cumsum(np.diff(factors, prepend=0.0) != 0)
        return cls(events.at + events.at // events.length * beyond, factors, changes)

    def alike(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return whether all rows from the first to the last (n,) have the same factor."""
        return self.changes[first] == self.changes[last]


def _column_sums(events: Events, power: int) -> np.ndarray:
    """Return the sums (K·C,) of the columns, or of a power of their elements."""
    taps, values, joined = events.taps, events.values**power, Joined.of(events)
    factors = joined.factors**power
    alike = joined.alike(joined.at, joined.at + taps - 1)
    total = np.zeros((taps, values.shape[1])) + factors[joined.at[alike]] @ values[alike]
    others, step = np.flatnonzero(~alike), max(1, BATCH_NUMBERS // taps)
    for n in range(0, len(others), step):
        some = others[n : n + step]
        total += factors[joined.at[some] + np.arange(taps)[::-1, None]] @ values[some]
    return total.reshape(-1)


def _pairs(events: Events) -> np.ndarray:
    """Return pairs of events with common rows (3, n): the earlier, the later, and their gap."""
    record, several = events.at // events.length, [np.zeros((3, 0), int)]
    for d in range(len(events.at)):
        gap = events.at[d:] - events.at[: len(events.at) - d]
        near = np.flatnonzero(gap < events.taps)
        if not near.size:
            break
        near = near[record[near] == record[near + d]]
        several.append(np.stack([near, near + d, gap[near]]))
    return np.concatenate(several, axis=1)


def _gram(events: Events) -> np.ndarray:
    """Return AᵀA (K·C, K·C).

    The rows in which an event is at tap k, and the event g samples later is at tap k + g, are one
    row for each k. If these rows have equal factors, their products are equal.
    """
    taps, values, (at, factors, _) = events.taps, events.values, (joined := Joined.of(events))
    channels, squares, pairs = values.shape[1], np.square(factors), _pairs(events)
    alike = joined.alike(at[pairs[1]], at[pairs[0]] + taps - 1)
    gram = np.empty(((taps + 1) * channels, taps * channels))
    # Gaps beyond the kernel are written to the next row, below the diagonal.
    of_gaps = _products_by_gap(events, pairs[:, alike], squares[at])
    skewed(gram, (taps, channels, taps, channels))[...] = of_gaps
    gram = gram[:-channels].reshape(taps, channels, taps, channels)
    with one_blas_thread():  # many small products
        for i, j, gap in _runs(pairs[:, ~alike], max(1, BATCH_NUMBERS // channels**2)):
            by_tap = squares[at[j] + np.arange(taps - gap)[::-1, None]]
            products = values[i][:, :, None] * values[j][:, None]
            block = np.einsum("kckd->kcd", gram[: taps - gap, :, gap:])
            block += np.tensordot(by_tap, products, 1)
    return mirrored(gram)


def _products_by_gap(events: Events, pairs: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return the sums (C, K, C) of the products of pairs, times a factor of the later event."""
    from scipy.sparse import csr_array

    (i, j, gap), channels = pairs, events.values.shape[1]
    first, second = csr_array(events.values)[i], csr_array(events.values * factors[:, None])[j]
    places = np.repeat(gap, np.diff(second.indptr)) * channels + second.indices
    shape = len(j), events.taps * channels
    found = first.T @ csr_array((second.data, places, second.indptr), shape)
    return found.toarray().reshape(channels, events.taps, channels)


def _runs(pairs: np.ndarray, step: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield up to so many pairs (n,) and (n,) with the same gap, and this gap."""
    pairs = pairs[:, np.argsort(pairs[2], kind="stable")]
    gaps, starts = np.unique(pairs[2], return_index=True)
    for gap, start, stop in zip(gaps, starts, [*starts[1:], pairs.shape[1]], strict=False):
        for n in range(start, stop, step):
            i, j, _ = pairs[:, n : min(n + step, stop)]
            yield i, j, int(gap)


# --- the backend


def own_units(chunk: LoadedChunk) -> Units:
    """Return the units of a chunk. Columns are not shifted."""
    return chunk.units(np.zeros((chunk.groups, chunk.columns)))


def _known(chunk: LoadedChunk) -> list[Events]:
    """Return the events of a chunk that has this backend."""
    found = events_of(chunk)
    assert found is not None
    return found


def _places(chunk: LoadedChunk) -> np.ndarray | slice:
    """Return the places of the kernel's columns in a part: indices, or a slice of all."""
    places, columns = places_of(chunk), _known(chunk)[0].columns
    return slice(None) if np.array_equal(places, np.arange(columns)) else places


def norms(chunk: LoadedChunk) -> Moments | None:
    """Return sums and squares of the columns, as moments of each column on its own."""
    sums, squares = (_sums_of_columns(chunk, power) for power in (1, 2))
    units = own_units(chunk)
    given = chunk.rows, units.column_exponents, units.shift, chunk.form.constant
    return _kept(Moments.of_columns(sums, squares, *given))


def _kept(found: Moments) -> Moments | None:
    """Return moments, or None if the columns without their means would lose digits."""
    whole = np.linalg.diagonal(found.gram)
    return found if ((found.squares > KEPT_SHARE * whole) | (whole == 0)).all() else None


def _sums_of_columns(chunk: LoadedChunk, power: int) -> np.ndarray:
    total, places = np.zeros((chunk.groups, chunk.columns)), _places(chunk)
    for events in _known(chunk):
        total[events.group] += _column_sums(events, power)[places]
    return total


def moments(chunk: LoadedChunk) -> Moments | None:
    """Return sums over the rows of A and Y in units of the chunk; None if digits would be lost."""
    shape, places = (chunk.groups, chunk.columns, chunk.outputs), _places(chunk)
    grams, nothing = np.zeros((*shape[:2], chunk.columns)), np.zeros((chunk.groups, chunk.outputs))
    for events in _known(chunk):
        grams[events.group] += _gram(events)[places][:, places]
    left = misfit(chunk, None, nothing) if chunk.outputs else ResidualSums.empty(np.zeros(shape))
    sums = _sums_of_columns(chunk, 1), left.sums, left.squares
    given = chunk.rows, own_units(chunk), chunk.form.constant
    return _kept(Moments(grams, left.gradient, *sums, *given))


def misfit(chunk: LoadedChunk, w: np.ndarray | None, offset: np.ndarray) -> ResidualSums:
    """Return the sums of r = y − A w − offset, in own units.

    w (G, P, Q) may be None for zeros. The offset is (G, Q).
    """
    (squares, sums), known = np.zeros((2, *offset.shape)), _known(chunk)
    gradient = np.zeros((len(offset), known[0].columns, offset.shape[1]))
    several = chunk.once("event outputs", lambda: _outputs(chunk), with_y=True)
    for events, y in zip(known, several, strict=True):
        g = events.group
        left = Residuals(events, y, None if w is None else _kernel(chunk, w[g]), offset[g])
        left.summed(_sums, squares[g], gradient[g], sums[g])
    return ResidualSums(squares, gradient[:, _places(chunk)], sums)


def _outputs(chunk: LoadedChunk) -> list[Series]:
    """Return y of every part."""
    several = _of_group(chunk, [stack.y for stack in chunk.stacks])
    # The outputs of a group are far apart in memory, which would make every pass slow.
    return [y.contiguous if chunk.groups > 1 else y for _, y in several]


def _of_group(
    chunk: LoadedChunk, y: Sequence[np.ndarray | None], group: int | None = None
) -> Iterator[tuple[Events, Series]]:
    """Yield events with outputs y of every stack, in their own units if they are of one group."""
    parts = parts_with(chunk, np.zeros(chunk.exponents.size), y, group)
    known = (events for events in _known(chunk) if group in (None, events.group))
    for events, part in zip(known, parts, strict=True):
        assert part.y is not None
        yield events, part.y


def _kernel(chunk: LoadedChunk, w: np.ndarray) -> np.ndarray:
    """Return w (P, Q) as the kernel (K·C, Q) of a part, zero at its additional taps."""
    places, columns = _places(chunk), _known(chunk)[0].columns
    if isinstance(places, slice):
        return w
    whole = np.zeros((columns, w.shape[1]))
    whole[places] = w
    return whole


def product(chunk: LoadedChunk, group: int, w: np.ndarray) -> np.ndarray:
    """Return A w (n, Q) of one group, for w (P, Q), in own units."""
    shapes = [(len(s.x), *chunk.spec.output_shape(s.x.shape[1:-1])) for s in chunk.stacks]
    stacks, nothing = [np.empty((*shape, w.shape[1])) for shape in shapes], np.zeros(w.shape[1])
    for events, y in _of_group(chunk, stacks, group):
        Residuals(events, None, _kernel(chunk, w), nothing).summed(partial(_write, y.data))
    pairs = zip(chunk.stacks, stacks, strict=True)
    return np.concatenate([s.used(y).reshape(-1, w.shape[1]) for s, y in pairs])


def adjoint(chunk: LoadedChunk, group: int, r: np.ndarray) -> np.ndarray:
    """Return Aᵀr (P, Q) of one group, for rows r (n, Q), in own units."""
    total, nothing = np.zeros((_known(chunk)[0].columns, r.shape[1])), np.zeros(r.shape[1])
    for events, y in _of_group(chunk, chunk.by_stack(r), group):
        Residuals(events, y, None, nothing).summed(lambda tile, a, r: (a.T @ r,), total)
    return total[_places(chunk)]
