"""A, Aᵀ and AᵀA of one group under jax without the design matrix, by FFTs.

x is ``(N, *E, C)`` in normal form, and the padding of the geometry is "valid".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..problem.spec import ConvSpec
from .jax_convolution import gather_rows
from .overlap_save import component_taps

HIGHEST = lax.Precision.HIGHEST
# The least number of samples of one FFT along each axis, by dimension. An FFT has several kernels.
LEAST = {1: 512, 2: 64, 3: 16}
# Numbers of the rows that are gathered at once (2 MiB). Longer records take more batches, not more
# memory.
BATCH_NUMBERS = 2**18


def matmul(a: Any, b: Any) -> Any:
    """Return a @ b in full precision. TF32 would have a relative error of 1e-2 on a GPU."""
    return jnp.matmul(a, b, precision=HIGHEST)


def spectra(x: Any, size: int) -> Any:
    """Return spectra (F, …, n) of pieces x (n, L, …), with zeros up to ``size`` samples."""
    return jnp.moveaxis(jnp.fft.rfft(x, size, axis=1), (1, 0), (0, -1))


def correlated(left: Any, right: Any) -> Any:
    """Return Σ left[t] right[t+m]ᵀ over pieces as a spectrum (F, …, C, C') over lags m.

    ``left`` are spectra (F, …, C, n) of the pieces, and ``right`` spectra (F, …, C', n).
    """
    return matmul(left.conj(), right.swapaxes(-1, -2))


class Operator:
    """A (n, P), centred for a bias, by overlap-save; differentiable in x.

    x is cut along every axis into pieces that begin ``step`` samples apart and overlap by a window
    less one sample. The spectra of the pieces take about as much memory as x.
    """

    def __init__(self, x: Any, spec: ConvSpec, bias: bool = False) -> None:
        self.x, self.spec, self.bias = x, spec, bias
        extent, least = x.shape[1:-1], LEAST[spec.ndim]
        rows = x.shape[0] * math.prod(spec.output_shape(extent))
        self.shape = rows, spec._unknowns(x.shape[-1])
        # Outputs of stride 1, of which every stride-th is kept.
        self.full = tuple(e - n + 1 for e, n in zip(extent, spec._span, strict=True))
        tiles = [_tiles(f, n, least) for f, n in zip(self.full, spec._span, strict=True)]
        self.blocks, self.step, self.size = zip(*tiles, strict=True)
        self.axes = tuple(range(-spec.ndim, 0))
        self.spectrum = self._spectrum()
        ones, w = (jnp.ones_like(x, shape=(n, 1)) for n in self.shape)
        self.means = jax.linear_transpose(self._convolved, w)(ones)[0][:, 0] / rows

    def of(self, x: Any) -> Operator:
        """Return the operator of other samples."""
        return Operator(x, self.spec, self.bias)

    def _spectrum(self) -> Any:
        """Return the spectra (F, pieces, C) of the pieces of x."""
        x, d = jnp.moveaxis(self.x, -1, 1), self.spec.ndim
        for a, (step, blocks) in enumerate(zip(self.step, self.blocks, strict=True)):
            axis, overlap = 2 + 2 * a, self.spec._span[a] - 1
            if blocks == 1:
                x = jnp.expand_dims(x, axis)
                continue
            x = _padded(x, axis, (blocks + 1) * step)
            x = x.reshape(*x.shape[:axis], blocks + 1, step, *x.shape[axis + 1 :])
            after = lax.slice_in_dim(x, 1, blocks + 1, axis=axis)
            after = lax.slice_in_dim(after, 0, overlap, axis=axis + 1)
            x = jnp.concatenate([lax.slice_in_dim(x, 0, blocks, axis=axis), after], axis=axis + 1)
        order = (0, *range(2, 2 + 2 * d, 2), 1, *range(3, 2 + 2 * d, 2))
        found = jnp.fft.rfftn(x.transpose(order), self.size, axes=self.axes)
        found = found.reshape(math.prod(found.shape[: 1 + d]), x.shape[1], -1)
        return found.transpose(2, 0, 1)

    def forward(self, w: Any) -> Any:
        """Return A w (n, Q) for w (P, Q)."""
        y = self._convolved(w)
        return y - y.mean(0) if self.bias else y

    def adjoint(self, r: Any) -> Any:
        """Return Aᵀ r (P, Q) for r (n, Q)."""
        kernels = jnp.zeros_like(r, shape=(self.shape[1], r.shape[1]))
        return jax.linear_transpose(self.forward, kernels)(r)[0]

    def _convolved(self, w: Any) -> Any:
        """Return A w (n, Q) for w (P, Q), not centred."""
        d, spec, outputs = self.spec.ndim, self.spec, w.shape[-1]
        kernel = jnp.moveaxis(w.reshape(*spec.kernel_size, -1, outputs), (-2, -1), (0, 1))
        holes = [(0, 0, 0)] * 2 + [(0, 0, n - 1) for n in spec.dilation]
        kernel = lax.pad(kernel, jnp.zeros((), w.dtype), holes)
        response = jnp.fft.rfftn(kernel, self.size, axes=self.axes)
        half = response.shape[2:]
        response = response.reshape(*response.shape[:2], -1).conj().transpose(2, 0, 1)
        found = matmul(self.spectrum, response).transpose(1, 2, 0)
        found = jnp.fft.irfftn(found.reshape(*found.shape[:2], *half), self.size, axes=self.axes)
        y = found.reshape(self.x.shape[0], *self.blocks, *found.shape[1:])
        # (N, outputs, block and sample of every axis). Each axis is then joined.
        y = y.transpose(0, d + 1, *(i for a in range(d) for i in (1 + a, d + 2 + a)))
        axes = zip(self.step, self.full, spec.stride, strict=True)
        for axis, (step, full, stride) in enumerate(axes, start=2):
            y = lax.slice_in_dim(y, 0, step, axis=axis + 1)
            y = y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])
            y = lax.slice_in_dim(y, 0, full, stride, axis=axis)
        return jnp.moveaxis(y, 1, -1).reshape(-1, outputs)

    def gram(self) -> Any:
        """Return AᵀA (P, P), a constant in derivatives."""
        x, means = lax.stop_gradient((self.x, self.means))
        gram = gram_of(x, self.spec)
        return gram - self.shape[0] * jnp.outer(means, means) if self.bias else gram

    def triangle(self, top: Any) -> Any:
        """Return R (P, P) of the rows ``top`` (P, P) and A, a constant in derivatives.

        A is joined to R batch by batch.
        """
        rows, columns = self.shape
        x, means = lax.stop_gradient((self.x, self.means if self.bias else 0))
        # Gathered, joined and factored, a batch is held four times.
        height = max(2 * columns, BATCH_NUMBERS // (4 * columns))

        def joined(i: Any, r: Any) -> Any:
            at = i * height + jnp.arange(height)
            batch = gather_rows(x, at, self.spec)[0] - means
            batch = jnp.where((at < rows)[:, None], batch, 0)
            return jnp.linalg.qr(jnp.concatenate([r, batch]), mode="r")

        return lax.fori_loop(0, -(-rows // height), joined, top)


def _tiles(outputs: int, span: int, least: int) -> tuple[int, int, int]:
    """Return the blocks of an axis, the outputs of each, and the samples of its FFT.

    An FFT has several windows. All blocks have the same length.
    """
    from scipy.fft import next_fast_len

    blocks = -(-outputs // (max(4 * span, least) - span + 1))
    step = -(-outputs // blocks)
    return blocks, step, int(next_fast_len(step + span - 1, real=True))


def _padded(x: Any, axis: int, length: int) -> Any:
    pads = [(0, 0)] * x.ndim
    pads[axis] = (0, length - x.shape[axis])
    return jnp.pad(x, pads)


def gram_of(x: Any, spec: ConvSpec) -> Any:
    """Return AᵀA (P, P) of x.

    FFTs are used along the axis with most taps. Its polyphase components without stride and
    dilation are sequences, with one sequence per place of a window along the other axes. The
    windows of the other axes are channels. A block of a sequence is a row for a longer kernel.
    With K taps and C × C blocks, for at least K - 1 rows T of every sequence,

        G[k, k+m] = Σ_{u=K-1-m}^{T-1} x[u] x[u+m]ᵀ          one correlation, by block FFTs
                  + Σ_{u=k}^{K-2-m} … + Σ_{u=T}^{T+k-1} …   the samples at both ends

    Nothing is subtracted. Shorter sequences are summed row by row.
    """
    counts, taps_of = spec.output_shape(x.shape[1:-1]), component_taps(spec)
    axis = int(np.argmax(spec.kernel_size))
    taps, count = taps_of[axis], counts[axis]
    common = math.gcd(spec.stride[axis], spec.dilation[axis])
    phases, apart = spec.stride[axis] // common, spec.dilation[axis] // common
    columns = spec._unknowns(x.shape[-1])
    width = columns // spec.kernel_size[axis] * phases
    if (count // apart if count >= apart else 1) < taps - 1:
        return _over_rows(x, spec, lambda a, _: matmul(a.T, a))

    def over_blocks(of: Callable[[Any, Any], Any], rows: np.ndarray, places: int) -> Any:
        """Sum over the blocks (n, places, width) that begin with these rows of the axis."""
        sizes = [*spec.kernel_size]
        sizes[axis] = places * phases
        windows = replace(spec, kernel_size=tuple(sizes))
        extent = (count - 1) * spec.stride[axis] + windows._span[axis]
        read = _padded(x, axis + 1, extent)

        def of_rows(a: Any, t: Any) -> Any:
            a = jnp.moveaxis(a.reshape(-1, *sizes, x.shape[-1]), axis + 1, 1)
            return of(a.reshape(-1, places, width), t[:, None])

        return _over_rows(read, windows, of_rows, axis, rows)

    all_rows = np.arange(count)
    _, step, size = _tiles(-(-count // apart), taps, LEAST[1])
    place = np.arange(size)

    def correlation(a: Any, t: Any) -> Any:
        begins = (place < step) & (t + apart * place < count)
        flags = begins, t // apart + place >= taps - 1
        u, v = (spectra(jnp.where(f[..., None], a, 0), size) for f in flags)
        return correlated(u, v)

    blocks = all_rows[all_rows // apart % step == 0]
    core = jnp.fft.irfft(over_blocks(correlation, blocks, size), size, axis=0)[:taps]
    after = over_blocks(lambda a, _: _outer(a[:, 1:]), all_rows[-apart:], taps)
    before = over_blocks(lambda a, _: _outer(a[:, -2::-1]), all_rows[:apart], taps)
    gram = displaced(core, after, before)[:columns, :columns]
    # Phases beyond the last tap are the last columns.
    shape = (spec.kernel_size[axis], *np.delete(spec.kernel_size, axis), x.shape[-1])
    order = np.moveaxis(np.arange(columns).reshape(shape), 0, axis).reshape(-1)
    return gram if axis == 0 else gram[order][:, order]


def _over_rows(
    x: Any,
    spec: ConvSpec,
    of: Callable[[Any, Any], Any],
    axis: int = 0,
    some: np.ndarray | None = None,
) -> Any:
    """Sum ``of(rows, places)`` over rows (n, P) of the design matrix and their places on an axis.

    As many rows are gathered at once as make `BATCH_NUMBERS`. Missing rows of a batch are zero.

    Args:
        x: samples (N, *E, C) of one group, in normal form.
        spec: geometry of the windows.
        of: function of the rows.
        axis: axis of the places.
        some: places whose rows are summed. By default, all.
    """
    shape = [x.shape[0], *spec.output_shape(x.shape[1:-1])]
    places = jnp.asarray(np.arange(shape[1 + axis]) if some is None else some)
    chosen = [*shape]
    chosen[1 + axis] = len(places)
    count, each = math.prod(chosen), spec._unknowns(x.shape[-1])
    batches = -(-count // max(1, BATCH_NUMBERS // each))
    items = jnp.arange(-(-count // batches))

    def part(items: Any) -> Any:
        where = [*jnp.unravel_index(items, chosen)]
        where[1 + axis] = places[where[1 + axis]]
        a = gather_rows(x, jnp.ravel_multi_index(where, shape, mode="clip"), spec)[0]
        return of(jnp.where((items < count)[:, None], a, 0), where[1 + axis])

    if batches == 1:
        return part(items)
    found = jax.eval_shape(part, items)
    none = jnp.zeros_like(x, shape=found.shape, dtype=found.dtype)
    return lax.fori_loop(0, batches, lambda i, s: s + part(i * items.size + items), none)


def _outer(x: Any) -> Any:
    """Return Σ x xᵀ (L, C, L, C) over sequences x (n, L, C)."""
    flat = x.reshape(x.shape[0], -1)
    return matmul(flat.T, flat).reshape(*x.shape[1:], *x.shape[1:])


def displaced(core: Any, tail: Any, head: Any) -> Any:
    """Return AᵀA (K·C, K·C) from ``core`` (K, C, C), which all shifts share, and two corrections.

    ``tail`` (K-1, C, K-1, C) are products of the samples after the core, and ``head`` of the
    samples before it, in reversed order. A step down the diagonal adds a product of the tail, and a
    step up a product of the head.
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
