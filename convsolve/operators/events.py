"""Sums over the rows of a stack whose x is mostly zero, from its nonzero samples.

Sample s of the padded x is in K consecutive rows, s − K + 1 to s. Two samples have rows in common
if they are less than K apart. AᵀA is the sum over such pairs of samples. The product of two samples
is at every place of a diagonal of AᵀA if one of them has all of its K rows. Rows of A, as a sparse
matrix, give the sums over the other pairs, and the products with y, N and w.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..linalg.threads import one_blas_thread
from ..parallel import in_order
from ..problem.spec import ConvSpec
from ..progress import tracked
from .data import Data, Series, Stack
from .sums import Residuals, Sums

# Number of values that show whether x may be mostly zero. Their places are multiples of the golden
# ratio, modulo one. A value takes as much time as this many elements of A, in addition to its own.
EXAMINED, GOLDEN, VALUE = 250, (5**0.5 - 1) / 2, 5
# Numbers of residuals that are formed at a time (2 MiB), the smallest number of rows if there are
# many outputs, and the mean number of elements of these rows.
TILE_NUMBERS, FEW_ROWS, MOST_ELEMENTS = 2**18, 2**9, 2**20
# The largest number of columns of N that are stored with all their zeros.
FEW_COLUMNS = 8

# First and last records, and first and last rows of each.
Rows = tuple[int, int, int, int]


def mostly_zero(several: Sequence[np.ndarray], spec: ConvSpec, elements: float = 1.0) -> bool:
    """Return whether x (..., C) has so few nonzero values that sums by FFTs take longer.

    FFTs take about as long as ``elements`` · (C + 2) elements in each row of A, for C channels of a
    group. Some values at irregular places are examined first.
    """
    x = max(several, key=np.size)
    if spec.ndim > 1 or not x.size:
        return False
    most = elements * (1 + 2 * spec.groups / x.shape[-1]) / (spec.kernel_size[0] + VALUE)
    some = x.flat[(np.modf(np.arange(EXAMINED) * GOLDEN)[0] * x.size).astype(int)]
    few = np.count_nonzero(some) < 2 * most * EXAMINED
    return few and sum(map(np.count_nonzero, several)) < most * sum(map(np.size, several))


class Samples(NamedTuple):
    """The nonzero samples of a group: places n·L + s in ascending order, channels and values."""

    at: np.ndarray
    channel: np.ndarray
    value: np.ndarray

    def part(self, some: Any) -> Samples:
        """Return some of the samples."""
        return Samples(*(a[some] for a in self))


def _at(rows: Rows) -> tuple[slice, slice]:
    """Return where rows are in an array (N, T, ...)."""
    return slice(*rows[:2]), slice(*rows[2:])


class Events:
    """Sums over the used rows of a stack. Channels of x are scaled, but not shifted."""

    def __init__(self, data: Data, stack: Stack) -> None:
        ((self.taps,), (self.stride,), (self.dilation,)), x = data.windows.sizes, stack.x
        self.stack, self.groups, self.columns = stack, data.groups, data.columns
        self.channels, self.own = data.channels, data.plan.count
        self.outputs = stack.y.data.shape[-1] // data.groups
        self.shape, self.length = stack.own.data.shape[:2], x.data.shape[1]
        # The roots of the weights of excluded rows are zero.
        self.factors = stack.used if stack.root is None else stack.root[..., 0]
        if stack.number not in data.events:
            found = x.data != 0 if x.dead is None else (x.data != 0) & ~x.dead[..., None]
            n, s, c = np.nonzero(found)
            values = x.data[found].astype(float)
            values = values if x.scale is None else values * x.scale[c]
            every = Samples(n * self.length + s, c % self.channels, values)
            several = [every.part(c // self.channels == g) for g in range(self.groups)]
            data.events[stack.number] = several
        self.several = data.events[stack.number]

    def _whole(self, at: np.ndarray) -> np.ndarray:
        """Return flags of the samples that are in K rows, all of them used and without weights."""
        plain = np.full(self.shape, self.stride == self.dilation == 1)
        plain = plain if self.factors is None else plain & (self.factors == 1)
        count = np.pad(np.cumsum(plain, 1), [(0, 0), (1, 0)])
        record, sample = np.divmod(at, self.length)
        first, end = (np.clip(sample + n, 0, self.shape[1]) for n in (1 - self.taps, 1))
        return count[record, end] - count[record, first] == self.taps

    def _tiles(self, group: int, outputs: int) -> list[tuple[Rows, slice]]:
        """Return rows of several records or a part of one record, and some outputs."""
        (records, rows), elements = self.shape, len(self.several[group].at) * self.taps + 1
        width = max(1, min(outputs, TILE_NUMBERS // max(self.columns, FEW_ROWS)))
        height = max(1, min(TILE_NUMBERS // width, MOST_ELEMENTS * records * rows // elements))
        # Equal parts: a short last part would cost as much time in Python as the others.
        many, step = max(1, height // rows), -(-rows // max(1, round(rows / height)))
        ends = zip((records, rows, max(1, outputs)), (many, step, width), strict=True)
        parts = [[(i, min(i + n, end)) for i in range(0, end, n)] for end, n in ends]
        return [((*n, *t), slice(*q)) for n, t, q in itertools.product(*parts)]

    def _matrix(self, samples: Samples, rows: Rows) -> Any:
        """Return some rows (n, K·C) as a sparse matrix."""
        from scipy.sparse import csc_array

        (first, last, start, stop), s = rows, self.stride
        end = (last - 1) * self.length + (stop - 1) * s + (self.taps - 1) * self.dilation + 1
        ends = np.searchsorted(samples.at, (first * self.length + start * s, end))
        samples = samples.part(slice(*ends))
        at, channel, values = samples.part(np.argsort(samples.channel, kind="stable"))
        record, sample = np.divmod(at, self.length)
        row, rest = np.divmod(sample - self.dilation * np.arange(self.taps)[:, None], s)
        used = (row >= start) & (row < stop) & (rest == 0)
        values = np.broadcast_to(values, row.shape)
        if self.factors is not None:
            factors = self.factors[record, np.clip(row, start, stop - 1)]
            values, used = values * factors, used & (factors != 0)
        row += (record - first) * (stop - start) - start
        # The elements of a tap are in the order of channels.
        ends = np.searchsorted(channel, np.arange(1, self.channels + 1))
        ends = np.append(0, np.cumsum(used))[len(at) * np.arange(self.taps)[:, None] + ends]
        given = values[used], *(a.astype(np.int32) for a in (row[used], np.append(0, ends)))
        return csc_array(given, ((last - first) * (stop - start), self.columns))

    def _own(self, rows: Rows) -> Any:
        """Return rows of N (n, q)."""
        from scipy.sparse import csr_array

        places, own = self.stack.places[_at(rows)[0]], self.stack.own.some(_at(rows))
        n, indices = own.shape[0] * own.shape[1], np.repeat(places, own.shape[1], 0).reshape(-1)
        pointers = own.shape[2] * np.arange(n + 1)
        found = csr_array((own.reshape(-1), indices, pointers), (n, self.own))
        return found.toarray() if self.own <= FEW_COLUMNS else found

    def _gram(self, group: int, gram: np.ndarray) -> None:
        """Write AᵀA (P, P) to ``gram``."""
        (at, channel, value), k, c = self.several[group], self.taps, self.channels
        whole, by_gap = self._whole(at), np.zeros(c * k * c)
        at = at + at // self.length * k  # samples of two records have no rows in common
        for step in range(len(at)):
            near = np.flatnonzero((gap := at[step:] - at[: len(at) - step]) < k)
            if not near.size:
                break
            near = near[whole[near] | whole[near + step]]
            places = (channel[near] * k + gap[near]) * c + channel[near + step]
            by_gap += np.bincount(places, value[near] * value[near + step], by_gap.size)
        # Element [c, K − 1 + g, d] belongs to sample s of channel c, and s + g of channel d.
        both, ahead = np.zeros((c, 2 * k - 1, c)), by_gap.reshape(c, k, c)
        both[:, k - 1 :] = ahead
        both[:, :k] += ahead[:, ::-1].transpose(2, 1, 0)
        both[:, k - 1][np.diag_indices(c)] /= 2  # added twice
        view = np.lib.stride_tricks.sliding_window_view(both, k, 1)[:, ::-1]
        gram.reshape(k, c, k, c)[...] = view.transpose(1, 0, 3, 2)
        others = self.several[group].part(~whole)
        for rows, _ in self._tiles(group, 1) if others.at.size else ():
            a = self._matrix(others, rows)
            pairs = (a.T @ a).tocoo()
            gram[pairs.row, pairs.col] += pairs.data

    def _summed(self, group: int, y: Series, w: Any, c: Any, out: Any = None) -> list[np.ndarray]:
        """Return ‖r‖² (Q,), Aᵀr (P, Q), Nᵀr (q, Q) and NᵀA (q, P) for r = y − A w − N c.

        w and c may be None for zeros. NᵀA is zero unless w is None. r is written to ``out``.
        """
        samples, q = self.several[group], y.data.shape[-1]
        # Tiles of the same rows follow each other.
        matrices = lru_cache(maxsize=2)(lambda at: (self._matrix(samples, at), self._own(at)))

        def task(tile: tuple[Rows, slice]) -> Any:
            (a, own), at, some = matrices(tile[0]), _at(tile[0]), tile[1]
            r = y.of_channels(some).some(at).reshape(a.shape[0], -1)
            if w is not None:
                r = r - a @ np.ascontiguousarray(w[:, some])
            if c is not None:
                r = r - own @ c[:, some]
            if out is not None:
                out[(*at, some)] = r.reshape(out[(*at, some)].shape)
            crossed = own.T @ a if some.start == 0 and w is None else 0.0
            return some, np.einsum("nq,nq->q", r, r), a.T @ r, own.T @ r, crossed

        tiles, (p, k) = self._tiles(group, q), (self.columns, self.own)
        totals, crossed = [*map(np.zeros, ((q,), (p, q), (k, q)))], np.zeros((k, p))
        with one_blas_thread():
            several = tracked(in_order(task, tiles), "rows with events", len(tiles))
            for some, *found, more in several:
                for total, part in zip(totals, found, strict=True):
                    total[..., some] += part
                crossed += more
        return [*totals, crossed]

    def _of_y(self, group: int, w: Any = None, c: Any = None) -> list[np.ndarray]:
        some = slice(group * self.outputs, (group + 1) * self.outputs)
        return self._summed(group, self.stack.y.of_channels(some), w, c)

    def sums(self) -> Sums:
        """Return sums over the used rows."""
        grams = np.empty((self.groups, self.columns, self.columns))
        for group, gram in enumerate(grams):
            self._gram(group, gram)
        parts = [*map(self._of_y, range(self.groups))]
        squares, rhs, of_y, crossed = map(np.stack, zip(*parts, strict=True))
        return Sums(grams, rhs, crossed, of_y, squares, grams.diagonal(0, 1, 2).copy())

    def residuals(self, w: np.ndarray, c: np.ndarray) -> Residuals:
        """Return the sums of residuals r = y − A w − N c, for w (G, P, Q) and c (G, q, Q)."""
        parts = map(self._of_y, range(self.groups), w, c)
        return Residuals(*[np.stack(several) for several in zip(*parts, strict=True)][:3])

    def product(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return A w (N, T, Q) of a group, for w (P, Q). Excluded rows are zero."""
        out = np.empty((*self.shape, w.shape[1]))
        self._summed(group, Series(np.broadcast_to(0.0, out.shape)), -w, None, out)
        return out

    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """Return Aᵀr (P, Q) of a group, for r (N, T, Q)."""
        return self._summed(group, Series(r), None, None)[1]
