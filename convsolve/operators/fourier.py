"""Sums, residuals and products by FFTs of blocks along the axis of most taps.

The first block column of AᵀA is Aᵀ times the samples at tap 0, and the rest follows along its
diagonals, see `convsolve.operators.sums.gram`. Windows of other axes are channels after the
transform.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import cache, reduce
from typing import Any

import numpy as np

from ..linalg.channels import by_channel
from ..linalg.threads import one_blas_thread
from ..parallel import cores, in_order
from .data import Data, Series, Stack
from .sums import Residuals, Sums, gram, moved, plus, spread

# Numbers that are transformed at a time: 8 MiB.
NUMBERS = 2**20

# Some records, and some blocks of them.
Batch = tuple[slice, slice]

# glibc keeps freed memory from now on: it maps no block of less than 32 MiB.
np.empty(2**22 - 2**12)


@cache
def ffts() -> Any:
    """Return SciPy's FFTs. Their import takes 40 ms, which problems of few rows do not need."""
    import scipy.fft

    return scipy.fft


class Lane:
    """Records without strides and dilations, summed by FFTs of blocks along the first axis.

    Attributes:
        taps: taps along every axis, that of most taps first.
        rows: rows along every axis.
        size, step: samples and rows of a block.
        groups: number of groups of the channels.
    """

    def __init__(self, data: Data, stack: Stack, x: Series, some: Any) -> None:
        """Store the samples x of some of the rows of a stack."""
        self.stack, self.taps, self.count = stack, data.windows.taps, data.plan.count
        self.y, self.own = stack.y.part(some), stack.own.part(some)
        #: The value of N if it is one constant of all rows, or None.
        alike = data.plan.confounds is None and stack.used is None
        self.constant = data.plan.rows**-0.5 if alike else None
        used = None if stack.used is None else stack.used[some][..., None]
        self.used = None if used is None else Series(used)
        self.places, self.groups, self.fitted = data.windows.places, data.groups, data.plan.fitted
        n, *self.rows = self.own.data.shape[:-1]
        lengths = [t + k - 1 for t, k in zip(self.rows, self.taps, strict=True)]
        self.x = x.part((slice(None), *map(slice, lengths)))
        k, rows = self.taps[0], self.rows[0]
        bits = range(k.bit_length(), max(k, rows + k - 2).bit_length() + 1)
        size = 1 << min(bits, key=lambda b: -(-rows // ((1 << b) - k + 1)) * (1 << b) * b)
        self.sizes = size, *(ffts().next_fast_len(n) for n in lengths[1:])
        self.size, self.step = size, size - k + 1
        self.batches = self._batches(n)

    def _batches(self, n: int) -> list[Batch]:
        blocks = -(-self.rows[0] // self.step)
        shapes = self.x.data.shape[2:], self.x.data.shape[2:], self.y.data.shape[2:]
        width = sum(map(math.prod, shapes)) * self.size
        many = max(1, NUMBERS // width, min(width // self.size // 8, 8 * NUMBERS // width))
        if n * blocks * width > 2**18:
            many = min(many, -(-n * blocks // cores()))
        records = min(n, max(1, many // blocks))
        some = min(blocks, max(1, many // records))
        firsts = itertools.product(range(0, n, records), range(0, blocks, some))
        return [(slice(i, min(n, i + records)), slice(j, min(j + some, blocks))) for i, j in firsts]

    # --- transforms

    def pieces(self, series: Series, batch: Batch, length: int, rows: int) -> np.ndarray:
        """Return blocks (n, M, size, *L', C) of ``length`` samples and zeros, none beyond rows."""
        first, last, step = batch[1].start, batch[1].stop, self.step
        data, dead = (None if a is None else a[batch[0]] for a in (series.data, series.dead))
        assert data is not None
        out = np.empty((len(data), last - first, self.size, *data.shape[2:]))
        out[:, :, length:] = 0.0
        whole = min(last, max(first, (rows - length) // step + 1))

        def blocks(a: Any) -> Any:
            if a is None:
                return None
            records, samples, *others = a.strides
            shape = len(a), whole - first, length, *a.shape[2:]
            steps = records, step * samples, samples, *others
            return np.lib.stride_tricks.as_strided(a[:, first * step :], shape, steps)

        if whole > first:
            series.read(blocks(data), out[:, : whole - first, :length], blocks(dead))
        for i in range(whole, last):
            n = min(length, max(0, rows - i * step))
            some = slice(None), slice(i * step, i * step + n)
            series.read(data[some], out[:, i - first, :n], None if dead is None else dead[some])
            out[:, i - first, n:length] = 0.0
        return out

    def samples(self, batch: Batch) -> np.ndarray:
        """Return blocks of samples that overlap by a kernel."""
        return self.pieces(self.x, batch, self.size, self.rows[0] + self.taps[0] - 1)

    def outputs(self, series: Series, batch: Batch) -> np.ndarray:
        """Return blocks of rows of y, of N or of flags, followed by zeros."""
        return self.pieces(series, batch, self.step, self.rows[0])

    def spectrum(self, pieces: np.ndarray, groups: int) -> np.ndarray:
        """Return spectra (n·M, f, *L', G, C) along the first axis."""
        found = ffts().rfft(pieces, axis=2)
        shape = math.prod(found.shape[:2]), *found.shape[2:-1], groups, found.shape[-1] // groups
        return found.reshape(shape)

    def whole(self, spectra: np.ndarray) -> np.ndarray:
        """Return the spectra along all axes, (f, *f', G, n·M, C)."""
        if others := range(2, 1 + len(self.taps)):
            spectra = ffts().fftn(spectra, self.sizes[1:], others)
        return moved(spectra, 0, -2)

    def inverse(self, total: np.ndarray, at: int = 0) -> np.ndarray:
        """Return values (…, size, *size', …) of a spectrum (…, f, *f', …), f at axis ``at``."""
        if others := range(at + 1, at + len(self.taps)):
            total = ffts().ifftn(total, axes=others)
        return np.asarray(ffts().irfft(total, self.size, axis=at))

    def columns(self, total: np.ndarray) -> np.ndarray:
        """Return values (G, P, …) of the columns, of a conjugate spectrum (f, *f', G, C, …)."""
        found, d = self.inverse(total.conj())[tuple(map(slice, self.taps))], len(self.taps)
        found = moved(found, d, 0)
        count = math.prod(found.shape[1 : d + 2])
        return found.reshape(len(found), count, *found.shape[d + 2 :])[:, self.places]

    def kernel(self, w: np.ndarray) -> np.ndarray:
        """Return the conjugate spectrum (f, *f', G, C, Q) of kernels w (G, P, Q)."""
        d, g = len(self.taps), self.groups
        found = np.zeros((g, math.prod(self.taps) * self.x.data.shape[-1] // g, w.shape[-1]))
        found[:, self.places] = w
        found = moved(found.reshape(g, *self.taps, -1, w.shape[-1]), 0, d)
        found = ffts().rfft(found, self.size, axis=0)
        return np.conj(ffts().fftn(found, self.sizes[1:], range(1, d)) if d > 1 else found)

    def summed(self, task: Callable[[Batch], Any]) -> Any:
        """Return the sums of the arrays, or products, of a task over all batches."""

        def share(batches: list[Batch]) -> Any:
            total: list[Any] = []
            for batch in batches:
                found = task(batch)
                total = [*map(plus, total or [None] * len(found), found)]
            return total

        shares = [part for i in range(cores()) if (part := self.batches[i :: cores()])]
        with one_blas_thread():
            if len(shares) == 1:
                return share(shares[0])
            parts = [*in_order(share, shares)]
        return reduce(lambda a, b: [plus(p, q) for p, q in zip(a, b, strict=True)], parts)

    # --- sums

    def _of_own(self, seen: np.ndarray, own: np.ndarray, batch: Batch) -> Any:
        """Return NᵀA of a batch, or a product to be summed, if the records share N."""
        found = self.whole(self.spectrum(own, 1))
        if self.stack.shared:
            return seen.swapaxes(-1, -2), found
        a, b = (s.reshape(*s.shape[:-2], len(own), -1, s.shape[-1]) for s in (seen, found))
        by_record = self.columns(np.moveaxis(a.swapaxes(-1, -2) @ b, len(self.taps) + 1, -1))
        return spread(self.stack.places[batch[0]], by_record.transpose(3, 2, 0, 1), self.count)

    def sums(self, with_gram: bool = True) -> Sums:
        """Return sums over all rows. Rows that are not used have zeros in Y and N only."""
        g, others = self.groups, self.taps[1:]

        def task(batch: Batch) -> Any:
            seen, inside = self.spectrum(self.samples(batch), g), self.outputs(self.x, batch)
            level, whole = inside.reshape(-1, inside[0, 0, 0].size), self.whole(seen)
            np.conj(whole, out=whole)
            if not with_gram:
                core: Any = _sums(level, np.square)
            elif others:
                np.conj(seen, out=seen)
                both = (np.moveaxis(a, (1, -2), (0, 1)) for a in (self.spectrum(inside, g), seen))
                u, v = (a.reshape(-1, *a.shape[2:]) for a in both)
                core = gram(u, v, others)
            else:
                core = self.whole(self.spectrum(inside, g)).swapaxes(-1, -2), whole
            y = self.outputs(self.y, batch)
            if self.constant is not None:
                of_x, of_y = _sums(level), self.constant * _sums(y)[None]
            else:
                own = self.outputs(self.own, batch)
                of_x = self._of_own(whole, own, batch) if self.count else np.zeros(())
                of_y = _flat(own).swapaxes(1, 2) @ _flat(y)
                of_y = spread(self.stack.places[batch[0]], of_y, self.count)
            rhs = whole.swapaxes(-1, -2), self.whole(self.spectrum(y, g))
            return rhs, of_x, of_y, _squares(y), core

        rhs, of_x, of_y, squares, core = self.summed(task)
        if self.constant is not None:
            of_x = self.constant * self._over_rows(np.positive, of_x)[None]
        elif self.count and self.stack.shared:
            of_x = self.columns(of_x).transpose(2, 0, 1)[None]
            of_x = spread(self.stack.places[:1], of_x, self.count)
        of_x = of_x.swapaxes(0, 1) if self.count else np.zeros((g, 0, len(self.places)))
        of_y = of_y.reshape(self.count, g, len(squares) // g).swapaxes(0, 1)
        inner = self._gram(core) if with_gram else self._over_rows(np.square, core)
        whole = inner.diagonal(0, 1, 2).copy() if with_gram else inner.copy()
        return Sums(inner, self.columns(rhs), of_x, of_y, squares.reshape(g, -1), whole)

    def _gram(self, core: np.ndarray) -> np.ndarray:
        """Return AᵀA (G, P, P) from the spectrum of its first block row."""
        (k, *_), g = self.taps, self.groups
        core = core.reshape(-1, g, *core.shape[-2 * len(self.taps) :])
        top = moved(ffts().irfft(core.conj(), self.size, axis=0)[:k], 1, 0)
        p = math.prod(top.shape[2 : 2 + len(self.taps)])
        side = top.reshape(g, k, p, p).swapaxes(2, 3).reshape(top.shape)
        ends = (self.x.some((slice(None), slice(at, at + k - 1))) for at in (0, self.rows[0]))
        both = np.concatenate([*ends], 1)
        both = moved(both.reshape(*both.shape[:-1], g, both.shape[-1] // g), -2, 0)
        found = gram(both, both, self.taps, (top, side)).reshape(g, k * p, k * p)
        if np.array_equal(self.places, np.arange(k * p)):
            return found
        return np.stack([each[np.ix_(self.places, self.places)] for each in found])

    def _over_rows(self, of: np.ufunc, total: np.ndarray) -> np.ndarray:
        """Return sums (G, P) over the rows of a function of the columns, given those at tap 0.

        A step along the taps drops a sample at one end, and adds another.
        """
        (t, *others), (k, *taps) = self.rows, self.taps
        ends = (self.x.some((slice(None), slice(at, at + k - 1))) for at in (t, 0))
        more, less = (of(a).sum(0) for a in ends)
        found = np.concatenate([total.reshape(1, *more.shape[1:]), more - less]).cumsum(0)
        for axis, (t, k) in enumerate(zip(others, taps, strict=True), 1):
            line = np.moveaxis(found, axis, 0)
            steps = line[t : t + k - 1] - line[: k - 1]
            found = np.moveaxis(np.concatenate([line[:t].sum(0)[None], steps]).cumsum(0), 0, axis)
        found = np.moveaxis(found.reshape(*self.taps, self.groups, -1), -2, 0)
        return found.reshape(self.groups, -1)[:, self.places]

    # --- residuals and products

    def _fitted(self, seen: np.ndarray, kernel: np.ndarray, batch: Batch) -> np.ndarray:
        """Return blocks (n, M, step, *T', G·Q) of A w, given spectra of x and of w."""
        shape = seen.shape[-2], *seen.shape[:-2], kernel.shape[-1]
        found = np.empty(shape, complex)  # by block
        of_two = np.multiply if seen.shape[-1] == 1 else np.matmul  # which is slow for 1 × 1
        of_two(seen, kernel, out=moved(found, 0, -2))
        a = self.inverse(found, 1)[(slice(None), slice(self.step), *map(slice, self.rows[1:]))]
        blocks = batch[1].stop - batch[1].start
        a = a.reshape(-1, blocks, *a.shape[1:-2], a.shape[-2] * a.shape[-1])
        return a if self.used is None else a * self.outputs(self.used, batch)[:, :, : self.step]

    def residuals(self, w: np.ndarray, c: np.ndarray) -> Residuals:
        """Return the sums of residuals r = y − A w − N c, for w (G, P, Q) and c (G, q, Q)."""
        g, kernel = self.groups, self.kernel(w)
        flat_c = c.swapaxes(0, 1).reshape(self.count, g * w.shape[-1])

        def task(batch: Batch) -> Any:
            seen = self.whole(self.spectrum(self.samples(batch), g))
            r = self.outputs(self.y, batch)
            r[:, :, : self.step] -= self._fitted(seen, kernel, batch)
            if self.constant is not None and self.fitted:
                r[:, :, : self.step] -= self.constant * flat_c[0]
            beyond = batch[1].stop * self.step - self.rows[0]
            if beyond > 0:
                r[:, -1, self.step - beyond : self.step] = 0.0
            of_n = self._less_own(r, flat_c, batch)
            back = np.conj(seen, out=seen).swapaxes(-1, -2), self.whole(self.spectrum(r, g))
            return _squares(r), back, of_n

        squares, back, of_n = self.summed(task)
        of_n = of_n.reshape(self.count, g, w.shape[-1]).swapaxes(0, 1)
        return Residuals(squares.reshape(g, -1), self.columns(back), of_n)

    def _less_own(self, r: np.ndarray, c: np.ndarray, batch: Batch) -> np.ndarray:
        """Subtract N c, if N is no constant, from blocks of rows, and return Nᵀr (q, G·Q)."""
        if not self.fitted:  # c is zero, and Nᵀr is not used
            return np.zeros((self.count, r.shape[-1]))
        if self.constant is not None:
            return self.constant * _sums(r)[None]
        own, flat, places = _flat(self.outputs(self.own, batch)), _flat(r), self.stack.places
        if self.count:
            flat -= own @ c[places[batch[0]]]
        return spread(places[batch[0]], own.swapaxes(1, 2) @ flat, self.count)

    def product(self, w: np.ndarray) -> np.ndarray:
        """Return A w (N, T, *T', G·Q), for w (G, P, Q)."""
        n, kernel = len(self.x.data), self.kernel(w)
        found = np.empty((n, *self.rows, self.groups * w.shape[-1]))

        def task(batch: Batch) -> Any:
            seen = self.whole(self.spectrum(self.samples(batch), self.groups))
            blocks = self._fitted(seen, kernel, batch)
            start, stop = batch[1].start * self.step, batch[1].stop * self.step
            flat = blocks.reshape(len(blocks), -1, *blocks.shape[3:])
            found[batch[0], start:stop] = flat[:, : self.rows[0] - start]
            return ()

        self.summed(task)
        return found

    def adjoint(self) -> np.ndarray:
        """Return AᵀY (G, P, Q)."""

        def task(batch: Batch) -> Any:
            seen = self.whole(self.spectrum(self.samples(batch), self.groups))
            of_y = self.whole(self.spectrum(self.outputs(self.y, batch), self.groups))
            return ((np.conj(seen, out=seen).swapaxes(-1, -2), of_y),)

        return self.columns(self.summed(task)[0])


def lanes(data: Data, stack: Stack) -> Iterator[tuple[Lane, Any]]:
    """Yield rows without strides, whose phases become channels of a group, and dilations.

    With every lane come the slices of its rows.
    """
    (_, strides, dilations), taps, x = data.windows.sizes, data.windows.taps, stack.x
    rows = stack.own.data.shape[1:-1]
    for axis, (s, t, k) in enumerate(zip(strides, rows, taps, strict=True), 1):
        if s > 1:
            before, n = (slice(None),) * axis, (t + k - 1) * s
            a = x.some((*before, slice(n)))
            whole = np.zeros((*a.shape[:axis], n, *a.shape[axis + 1 :]))
            whole[(*before, slice(a.shape[axis]))] = a
            shape = *a.shape[:axis], t + k - 1, s, *a.shape[axis + 1 : -1], data.groups, -1
            whole = np.moveaxis(whole.reshape(shape), axis + 1, -2)
            x = Series(whole.reshape(*whole.shape[:-3], -1))
    for at in itertools.product(*(range(min(d, t)) for d, t in zip(dilations, rows, strict=True))):
        some = (slice(None), *(slice(i, None, d) for i, d in zip(at, dilations, strict=True)))
        yield Lane(data, stack, x.part(some), some), some


def _flat(a: np.ndarray) -> np.ndarray:
    """Return a (N, …, C) as (N, n, C)."""
    return a.reshape(len(a), math.prod(a.shape[1:-1]), a.shape[-1])


def _sums(a: np.ndarray, of: np.ufunc | None = None) -> np.ndarray:
    """Return the sums (C,) of the channels, or of a function of them."""
    return by_channel(np.add, a, of) if a.size else np.zeros(a.shape[-1])


def _squares(a: np.ndarray) -> np.ndarray:
    """Return the sums (C,) of the squares of the channels."""
    if a.shape[-1] == 1:
        return np.vdot(a, a)[None]
    return _sums(a, np.square)
