"""A, Aᵀ and AᵀA of one group under jax without the design matrix, by FFTs.

x is ``(N, *E, C)`` in normal form here and the geometry that of padding "valid".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..problem.spec import ConvSpec
from .jax_convolution import gather_rows

HIGHEST = lax.Precision.HIGHEST
# Samples along each axis of one FFT, at least, by dimension; and several kernels long.
LEAST = {1: 512, 2: 64, 3: 16}
# Numbers that a batch of rows or records gathers (2 MiB): more of them take more batches, not more
# memory.
BATCH_NUMBERS = 2**18


def matmul(a: Any, b: Any) -> Any:
    """a @ b in full precision: TF32 would cost 1e-2 on a GPU."""
    return jnp.matmul(a, b, precision=HIGHEST)


def spectra(x: Any) -> Any:
    """Spectra (F, …, n) of pieces (n, …, size), whose FFTs are along the last axis."""
    found = jnp.fft.rfft(x)
    return jnp.moveaxis(found, (0, -1), (-1, 0))


def correlated(left: Any, right: Any, of_first: bool = False) -> Any:
    """Σ over pieces of left[t] right[t+m]ᵀ (F, …, C, C'), as a spectrum over lags m, of spectra
    (F, …, C, n) and (F, …, C', n); or of left[t+m] right[t]ᵀ.
    """
    if of_first:
        return matmul(left, right.conj().swapaxes(-1, -2))
    return matmul(left.conj(), right.swapaxes(-1, -2))


class Operator:
    """A (n, P), centred for a bias, and Aᵀ by overlap-save; differentiable in x.

    x is cut along every axis into pieces of ``size`` samples that begin ``step`` apart and overlap
    by a window less one, so that what is kept of x is of the size of x.
    """

    def __init__(self, x: Any, spec: ConvSpec, bias: bool = False) -> None:
        self.x, self.spec, self.bias, self.records = x, spec, bias, x.shape[0]
        extent = x.shape[1:-1]
        self.counts = spec.output_shape(extent)
        self.shape = self.records * math.prod(self.counts), spec.unknowns(x.shape[-1])
        # Outputs of stride 1: of those, every stride-th is kept.
        self.full = tuple(e - n + 1 for e, n in zip(extent, spec.span, strict=True))
        least = LEAST[spec.ndim]
        tiles = [_tiles(f, n, least) for f, n in zip(self.full, spec.span, strict=True)]
        self.blocks, self.step, self.size = zip(*tiles, strict=True)
        self.spectrum = self._spectrum(x, [n - 1 for n in spec.span])
        ones = jnp.ones_like(x, shape=(self.shape[0], 1))
        self.means = self._correlated(ones)[:, 0] / self.shape[0]

    def _spectrum(self, x: Any, overlap: list[int]) -> Any:
        """(frequencies, pieces, channels) of the pieces of x (N, *space, channels)."""
        x = jnp.moveaxis(x, -1, 1)
        for a, extra in enumerate(overlap):
            step, blocks, axis = self.step[a], self.blocks[a], 2 + 2 * a
            if blocks == 1:
                x = jnp.expand_dims(x, axis)
                continue
            x = _padded(x, axis, (blocks + (extra > 0)) * step)
            x = x.reshape(*x.shape[:axis], -1, step, *x.shape[axis + 1 :])
            if extra:
                after = lax.slice_in_dim(x, 1, blocks + 1, axis=axis)
                after = lax.slice_in_dim(after, 0, extra, axis=axis + 1)
                x = lax.slice_in_dim(x, 0, blocks, axis=axis)
                x = jnp.concatenate([x, after], axis=axis + 1)
        d = self.spec.ndim
        order = (0, *range(2, 2 + 2 * d, 2), 1, *range(3, 2 + 2 * d, 2))
        found = jnp.fft.rfftn(x.transpose(order), self.size, axes=tuple(range(-d, 0)))
        pieces = self.records * math.prod(self.blocks)
        found = found.reshape(pieces, -1, math.prod(found.shape[-d:]))
        return found.transpose(2, 0, 1)

    def _samples(self, spectrum: Any) -> Any:
        """(..., *size) from (..., frequencies)."""
        half = (*self.size[:-1], self.size[-1] // 2 + 1)
        spectrum = spectrum.reshape(*spectrum.shape[:-1], *half)
        return jnp.fft.irfftn(spectrum, self.size, axes=tuple(range(-self.spec.ndim, 0)))

    def forward(self, w: Any) -> Any:
        """A w (n, Q) of w (P, Q)."""
        y = self._convolved(w).reshape(*self.shape[:1], -1)
        return y - y.mean(0) if self.bias else y

    def adjoint(self, r: Any) -> Any:
        """Aᵀ r (P, Q) of r (n, Q)."""
        return self._correlated(r - r.mean(0) if self.bias else r)

    def _convolved(self, w: Any) -> Any:
        """(N, *T, Q) of w (P, Q), which is not centred."""
        d, spec, outputs = self.spec.ndim, self.spec, w.shape[-1]
        kernel = jnp.moveaxis(w.reshape(*spec.kernel_size, -1, outputs), (-2, -1), (0, 1))
        holes = [(0, 0, 0)] * 2 + [(0, 0, n - 1) for n in spec.dilation]
        kernel = lax.pad(kernel, jnp.zeros((), w.dtype), holes)
        response = jnp.fft.rfftn(kernel, self.size, axes=tuple(range(-d, 0)))
        response = response.reshape(*response.shape[:2], -1).conj().transpose(2, 0, 1)
        found = self._samples(matmul(self.spectrum, response).transpose(1, 2, 0))
        y = found.reshape(self.records, *self.blocks, *found.shape[1:])
        # (N, blocks of every axis, outputs, samples of every axis): each axis in one piece again.
        order = (0, d + 1, *(i for a in range(d) for i in (1 + a, d + 2 + a)))
        y = y.transpose(order)
        for a, (step, full, stride) in enumerate(
            zip(self.step, self.full, spec.stride, strict=True)
        ):
            y = lax.slice_in_dim(y, 0, step, axis=3 + a)
            y = y.reshape(*y.shape[: 2 + a], -1, *y.shape[4 + a :])
            y = lax.slice_in_dim(y, 0, full, stride, axis=2 + a)
        return jnp.moveaxis(y, 1, -1)

    def _correlated(self, r: Any) -> Any:
        """(P, Q) of r (n, Q), which is not centred."""
        spec = self.spec
        gaps = [(0, 0, 0), *((0, 0, s - 1) for s in spec.stride), (0, 0, 0)]
        r = r.reshape(self.records, *self.counts, -1)
        spectrum = self._spectrum(lax.pad(r, jnp.zeros((), r.dtype), gaps), [0] * spec.ndim)
        total = matmul(self.spectrum.swapaxes(1, 2), spectrum.conj())
        g = self._samples(total.transpose(1, 2, 0))
        for a, (span, dilation) in enumerate(zip(spec.span, spec.dilation, strict=True)):
            g = lax.slice_in_dim(g, 0, span, dilation, axis=2 + a)
        g = jnp.moveaxis(g, (0, 1), (-2, -1))
        return g.reshape(-1, g.shape[-1])

    def gram(self) -> Any:
        """AᵀA (P, P), a constant in derivatives."""
        x, means = lax.stop_gradient((self.x, self.means))
        gram = gram_of(x, self.spec)
        return gram - self.shape[0] * jnp.outer(means, means) if self.bias else gram

    def triangle(self, x: Any, top: Any) -> Any:
        """R (P, P) of the rows ``top`` (P, P) and A of x, joined to it batch by batch."""
        rows, columns = self.shape
        means = lax.stop_gradient(self.means) if self.bias else 0
        # Gathered, joined and factored, a batch is held four times.
        height = max(2 * columns, BATCH_NUMBERS // (4 * columns))

        def joined(i: Any, r: Any) -> Any:
            at = i * height + jnp.arange(height)
            batch = gather_rows(x, at, self.spec)[0] - means
            batch = jnp.where((at < rows)[:, None], batch, 0)
            return jnp.linalg.qr(jnp.concatenate([r, batch]), mode="r")

        return lax.fori_loop(0, -(-rows // height), joined, top)


def _tiles(outputs: int, span: int, least: int) -> tuple[int, int, int]:
    """Blocks, outputs of each and samples of its FFT: several windows long, alike, wasting few."""
    from scipy.fft import next_fast_len

    blocks = -(-outputs // (max(4 * span, least) - span + 1))
    step = -(-outputs // blocks)
    return blocks, step, int(next_fast_len(step + span - 1, real=True))


def _padded(x: Any, axis: int, length: int) -> Any:
    pads = [(0, 0)] * x.ndim
    pads[axis] = (0, length - x.shape[axis])
    return jnp.pad(x, pads)


def gram_of(x: Any, spec: ConvSpec) -> Any:
    """AᵀA (P, P) of x.

    The axis of most taps is the one of the FFTs, see `Sequences`. There row t of a sequence is
    x[t : t + K], and with C × C blocks, for T ≥ K - 1,

        G[k, k+m] = Σ_{u=K-1-m}^{T-1} x[u] x[u+m]ᵀ          one correlation, by block FFTs
                  + Σ_{u=k}^{K-2-m} … + Σ_{u=T}^{T+k-1} …   the samples at both ends

    in which nothing is subtracted. Sequences that are shorter are taken row by row.
    """
    sequences = Sequences(x, spec)
    if sequences.lengths.min() < sequences.taps - 1:
        return sequences.in_order(sequences.by_rows())
    ends = sequences.products_behind(), sequences.products_before()
    return sequences.in_order(displaced(sequences.correlations(), *ends))


class Sequences:
    """x as sequences of ``width`` numbers a place, whose row t is the places t … t + taps - 1.

    Along the axis of most taps, with stride and dilation divided by what they share: its phases of
    the stride are channels, the windows along the other axes too, and the polyphase components of
    its dilation sequences of their own, as is every window's place along the other axes.
    """

    def __init__(self, x: Any, spec: ConvSpec) -> None:
        self.spec, self.extent, self.channels = spec, x.shape[1:-1], x.shape[-1]
        counts = spec.output_shape(self.extent)
        self.axis = int(np.argmax(spec.kernel_size))
        self.others = [a for a in range(spec.ndim) if a != self.axis]
        stride, dilation = spec.stride[self.axis], spec.dilation[self.axis]
        self.common = math.gcd(stride, dilation)
        self.stride, self.dilation = stride // self.common, dilation // self.common
        self.taps = -(-spec.kernel_size[self.axis] // self.stride)
        # Where in the flat x the windows along the other axes find their samples.
        self.flat = x.reshape(-1, self.channels)
        self.unit = np.cumprod([1, *self.extent[:0:-1]])[::-1]
        self.offsets = np.zeros(1, int)
        for a in self.others:
            steps = np.arange(spec.kernel_size[a]) * spec.dilation[a] * self.unit[a]
            self.offsets = (self.offsets[:, None] + steps).reshape(-1)
        components = min(self.dilation, counts[self.axis])
        self.shape = (x.shape[0], components, *(counts[a] for a in self.others))
        self.lengths = np.array(
            [len(range(j, counts[self.axis], self.dilation)) for j in range(components)]
        )
        self.width = self.stride * self.offsets.size * self.channels
        self.count = math.prod(self.shape)

    def read(self, sequence: Any, place: Any) -> Any:
        """(n, L, width) at places (n, L) of sequences (n,), zero beyond either's end."""
        record, component, *window = jnp.unravel_index(sequence, self.shape)
        start = record * math.prod(self.extent)
        for t, a in zip(window, self.others, strict=True):
            start = start + t * int(self.spec.stride[a] * self.unit[a])
        phases = place[..., None] * self.stride + np.arange(self.stride)
        sample = component[:, None, None] * self.stride + self.dilation * phases
        sample = self.common * sample
        inside = (sample < self.extent[self.axis]) & (sequence < self.count)[:, None, None]
        at = start[:, None, None] + sample * int(self.unit[self.axis])
        at = jnp.where(inside, at, self.flat.shape[0] + self.offsets.max())[..., None]
        seen = self.flat.at[at + self.offsets].get(mode="fill", fill_value=0)
        return seen.reshape(*place.shape, self.width)

    def rows(self, sequence: Any) -> Any:
        """How many rows each sequence (n,) has, (n, 1)."""
        return jnp.asarray(self.lengths)[jnp.unravel_index(sequence, self.shape)[1]][:, None]

    def by_rows(self) -> Any:
        """AᵀA as the sum of the products of its rows."""
        most = int(self.lengths.max())

        def part(item: Any) -> Any:
            sequence, t = item // most, item % most
            a = self.read(sequence, t[:, None] + np.arange(self.taps)).reshape(item.size, -1)
            a = jnp.where(t[:, None] < self.rows(sequence), a, 0)
            return matmul(a.T, a)

        return self._summed(part, self.count * most, self.taps * self.width)

    def correlations(self) -> Any:
        """Σ_{u=K-1-m}^{T-1} x[u] x[u+m]ᵀ for every lag m, (K, width, width)."""
        blocks, step, size = _tiles(int(self.lengths.max()), self.taps, LEAST[1])

        def part(item: Any) -> Any:
            sequence, place = item // blocks, (item % blocks * step)[:, None] + np.arange(size)
            seen = self.read(sequence, place)
            left = (np.arange(size) < step) & (place < self.rows(sequence))
            u, v = (
                spectra(jnp.where(here[..., None], seen, 0).swapaxes(1, 2))
                for here in (left, place >= self.taps - 1)
            )
            return correlated(u, v)

        total = self._summed(part, self.count * blocks, size * self.width)
        return jnp.fft.irfft(total, size, axis=0)[: self.taps]

    def products_behind(self) -> Any:
        """x[T+i] x[T+j]ᵀ of the K - 1 places from the last row's first on, (K-1, C, K-1, C)."""

        def part(sequence: Any) -> Any:
            places = self.rows(sequence) + np.arange(self.taps - 1)
            return _outer(self.read(sequence, places))

        return self._summed(part, self.count, self.taps * self.width)

    def products_before(self) -> Any:
        """The same of the first K - 1 places, in reversed order."""

        def part(sequence: Any) -> Any:
            places = np.broadcast_to(np.arange(self.taps - 1)[::-1], (sequence.size, self.taps - 1))
            return _outer(self.read(sequence, places))

        return self._summed(part, self.count, self.taps * self.width)

    def _summed(self, part: Callable[[Any], Any], count: int, each: int) -> Any:
        """Σ part(i) over i < count, as many at once as make `BATCH_NUMBERS` of ``each`` numbers.

        Beyond count ``part`` must be zero.
        """
        batches = -(-count // max(1, BATCH_NUMBERS // each))
        items = jnp.arange(-(-count // batches))
        if batches == 1:
            return part(items)
        found = jax.eval_shape(part, items)
        none = jnp.zeros_like(self.flat, shape=found.shape, dtype=found.dtype)
        return lax.fori_loop(0, batches, lambda i, s: s + part(i * items.size + items), none)

    def in_order(self, gram: Any) -> Any:
        """A Gram (P, P) in the order of the design matrix, of one of sequences."""
        taps, others = (
            self.spec.kernel_size[self.axis],
            [self.spec.kernel_size[a] for a in self.others],
        )
        columns = taps * self.offsets.size * self.channels
        order = np.arange(columns).reshape(taps, *others, self.channels)
        order = np.moveaxis(order, 0, self.axis).reshape(-1)
        # Phases beyond the last tap are the last columns.
        gram = gram[:columns, :columns]
        return gram if self.axis == 0 else gram[order][:, order]


def _outer(x: Any) -> Any:
    """Σ over sequences of x xᵀ for x (n, L, C): (L, C, L, C)."""
    flat = x.reshape(x.shape[0], -1)
    return matmul(flat.T, flat).reshape(*x.shape[1:], *x.shape[1:])


def displaced(core: Any, tail: Any, head: Any) -> Any:
    """AᵀA (K·C, K·C) from ``core`` (K, C, C), which all shifts share, and the products
    (K-1, C, K-1, C) of the samples behind it, and of those before it in reversed order.

    A step down the diagonal takes in one product behind; a step up, one before.
    """
    taps, channels, _ = core.shape
    first, none = core.transpose(1, 0, 2), jnp.zeros_like(core)
    total = jnp.zeros((taps, *first.shape), core.dtype).at[0].set(first)

    def step(state: Any, new: Any) -> Any:
        row, total = state
        at, entry, products = new
        row = jnp.concatenate([entry[:, None], row[:, :-1] + products], axis=1)
        return (row, total.at[at].add(row)), None

    steps = jnp.arange(1, taps)
    (_, total), _ = lax.scan(step, (first, total), (steps, core[1:].swapaxes(1, 2), tail))
    # Upwards is downwards in an order that is reversed twice.
    total = total[::-1, :, ::-1]
    start = none.swapaxes(0, 1), total
    (_, total), _ = lax.scan(step, start, (steps, none[1:], head))
    return total[::-1, :, ::-1].reshape(taps * channels, -1)
