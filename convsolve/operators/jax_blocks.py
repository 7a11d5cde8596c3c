"""Sums over blocks of rows under jax, on one device or on many.

A device holds records (n, l, C), or a span of the samples of all records, and the same of y. `cut`
reads blocks of the same shape for records of any length, with samples of neighbouring devices.
The other functions sum over the rows of these blocks. Every device sums its own blocks, and the
sums of all devices are added at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .jax_fourier import HIGHEST, correlated, displaced, matmul, spectra
from .spread import AXIS, Arrays, Held, Item, Scaling, Shape

EACH, ALL = PartitionSpec(AXIS), PartitionSpec()


class Blocks(NamedTuple):
    """Blocks of rows on a device, zero where there are none.

    Attributes:
        x: samples (n, size, G, W). Samples that no row used in the fit reads are zero.
        y: outputs (n, step, G, Q), times the roots of weights.
        roots: roots of the weights (n, step), 0 for rows that are excluded; None if all are one.
        columns, places: nuisance columns (n, step, q) and their indices (n, q).
        done, left: rows (n, 1) of the span before the block, and from its first row on.
    """

    x: Any
    y: Any
    roots: Any
    columns: Any
    places: Any
    done: Any
    left: Any

    @property
    def weights(self) -> Any:
        """The roots (n, step, 1, 1), 0 where there is no row."""
        roots = self.roots
        if roots is None:
            roots = (jnp.arange(self.y.shape[1]) < self.left).astype(float)
        return roots[..., None, None]

    @property
    def begins(self) -> Any:
        """Flags (n, size, 1, 1) of the places that begin a row of the block."""
        t = jnp.arange(self.x.shape[1])
        return ((t < self.left) & (t < self.y.shape[1]))[..., None, None]

    def reached(self, taps: int) -> Any:
        """Flags (n, size, 1, 1) of the places that the last of so many taps reaches."""
        return (self.done + jnp.arange(self.x.shape[1]) >= taps - 1)[..., None, None]


@cache
def cut(mesh: Mesh, s: Shape, held: Held, specs: Arrays) -> Callable[..., Blocks]:
    """Return a program (arrays, items, scaling) → blocks."""
    ins = specs, EACH, ALL
    return jax.jit(jax.shard_map(partial(_cut, s, held), mesh=mesh, in_specs=ins, out_specs=EACH))


def _cut(s: Shape, held: Held, arrays: Arrays, items: Any, scaling: Scaling) -> Blocks:
    item, first = Item(*items.T[:, :, None]), lax.axis_index(AXIS) if held.split else 0
    weight, places = jnp.ones((s.blocks, 1)), jnp.zeros((s.blocks, 0), int)
    if arrays.records is not None:
        values = arrays.records.at[item.record[:, 0]].get(mode="fill", fill_value=0)
        weight, places = values[:, :1], values[:, 1:].astype(int)
    roots, columns, read = _rows(s, held, arrays.rows, item, first)
    x = _samples(s, held, arrays.x, item, first) * scaling.scale - scaling.shift
    x = jnp.where(read[..., None], x * weight[..., None, None], 0)
    x = x.reshape(*x.shape[:3], s.groups, -1).swapaxes(2, 3).reshape(s.blocks, s.size, s.groups, -1)
    y = jnp.zeros_like(x, shape=(s.blocks, s.step, s.groups, 0))
    if arrays.y is not None:
        row = _row(s, held, item, first, np.arange(s.step))
        y = _at(arrays.y, held, s.outputs, item.record, row) * scaling.y_scale - scaling.y_shift
        used = row >= 0 if roots is None else roots
        y = jnp.where(used[..., None] != 0, y * (weight * used)[..., None], 0)
        y = y.reshape(s.blocks, s.step, s.groups, -1)
    return Blocks(x, y, roots, columns, places, item.done, item.left)


def _row(s: Shape, held: Held, item: Item, first: Any, t: Any) -> Any:
    """Return the row on the device at places t of blocks, -1 where there is none."""
    row = item.component + s.dilation * (item.place + t) + held.ahead - first * held.rows
    return jnp.where((item.done + t >= 0) & (t < item.left) & (item.record >= 0), row, -1)


def _rows(s: Shape, held: Held, rows: Any, item: Item, first: Any) -> tuple[Any, Any, Any]:
    """Return `Blocks.roots`, `Blocks.columns`, and flags (n, size, phases) of samples.

    A flag is True if a row used in the fit reads the sample.
    """
    taps = np.maximum(-(-(s.spec.kernel_size[0] - np.arange(s.phases)) // s.phases), 0)
    if rows is None:
        read = np.arange(s.size)[:, None] < (item.left + taps - 1)[:, None]
        read &= (taps > 0) & (item.record >= 0)[..., None]
        return None, jnp.zeros((s.blocks, s.step, 0)), read
    # Rows before the block may read samples of the block.
    row = _row(s, held, item, first, np.arange(1 - s.taps, s.size))
    own = slice(s.taps - 1, s.taps - 1 + s.step)
    values = _at(rows, held, rows.shape[-1], item.record, row)
    counts = jnp.pad(jnp.cumsum(values[..., 0] != 0, axis=1), [(0, 0), (1, 0)])
    starts = [counts[:, s.taps - k : s.taps - k + s.size] for k in taps]
    read = counts[:, s.taps :, None] > jnp.stack(starts, axis=-1)
    return values[:, own, 0], values[:, own, 1:], read


def _samples(s: Shape, held: Held, x: Any, item: Item, first: Any) -> Any:
    """Return samples (n, size, phases, C) of blocks, zero beyond the ends of a record."""
    u = (item.place + np.arange(s.size))[..., None] * s.phases + np.arange(s.phases)
    at = s.common * (item.component[..., None] * s.phases + s.dilation * u) - held.offset
    inside = True if held.circular else (at >= 0) & (at < held.width)
    if held.circular and not held.split:
        at = at % held.width
    x = x.reshape(held.records, held.samples, s.channels)
    if held.before + held.after:
        count = lax.axis_size(AXIS)
        onward = [(i, (i + 1) % count) for i in range(count)]
        before = lax.ppermute(x[:, held.samples - held.before :], AXIS, onward)
        after = lax.ppermute(x[:, : held.after], AXIS, [(j, i) for i, j in onward])
        x = jnp.concatenate([before, x, after], axis=1)
    at = jnp.where(inside, at - first * held.samples + held.before, -1)
    return _at(x, held, s.channels, item.record[..., None], at)


def _at(a: Any, held: Held, channels: int, record: Any, place: Any) -> Any:
    """Return values in float64 at some places of records, zero where there are none."""
    a = a.reshape(held.records, -1, channels)
    n, length, _ = a.shape
    here = (record >= 0) & (place >= 0) & (place < length)
    at = jnp.where(here, record * length + place, n * length)
    found = a.reshape(-1, channels).at[at].get(mode="fill", fill_value=0)
    return found.astype(float)


# --- sums over the rows of blocks


@cache
def programs(mesh: Mesh, of: Callable[..., Any], s: Shape, op: Any) -> tuple[Any, Any, Any]:
    """Return programs that apply ``of`` to the blocks of every device.

    Returns:
        Programs (blocks, rest) → sums of each device, (total, blocks, rest) → total, joined by
        ``op``, and total → the same for all devices together.
    """

    def own(blocks: Blocks, rest: Any) -> Any:
        return jax.tree.map(lambda a: a[None], of(s, blocks, *rest))

    def joined(total: Any, blocks: Blocks, rest: Any) -> Any:
        return jax.tree.map(op, total, own(blocks, rest))

    def whole(total: Any) -> Any:
        return jax.tree.map(lambda a: op.reduce(a, axis=0), total)

    each = partial(jax.shard_map, mesh=mesh, out_specs=EACH)
    return (
        jax.jit(each(own, in_specs=(EACH, ALL))),
        jax.jit(each(joined, in_specs=(EACH, EACH, ALL))),
        jax.jit(whole, out_shardings=NamedSharding(mesh, ALL)),
    )


def largest(s: Shape, b: Blocks) -> Any:
    """Return the largest magnitudes (G, W) of x and (G, Q) of y."""
    return jnp.abs(b.x).max((0, 1)), jnp.abs(b.y).max((0, 1))


def totals(s: Shape, b: Blocks) -> Any:
    """Return the sums (G, W) of the first samples of rows, and the sums (G, Q) of outputs."""
    roots = b.weights
    x = jnp.where(roots != 0, b.x[:, : s.step], 0)
    return x.sum((0, 1)), (b.y / jnp.where(roots != 0, roots, 1)).sum((0, 1))


def sums(s: Shape, b: Blocks) -> Any:
    """Return sums over the rows of spans, without the products of samples at their ends.

    Returns:
        Products of x at the lags (F, G, W, W), as a spectrum; sums of samples (G, W) that all taps
        read; Aᵀy (F, G, W, Q), as a spectrum; NᵀA (k, taps, G, W); and `_outputs`.
    """
    begins, reached = b.begins, b.reached(s.taps)
    left, right = (_spectra(s, jnp.where(here, b.x, 0)) for here in (begins, reached))
    inner = jnp.where(begins & reached, b.x, 0).sum((0, 1))
    return correlated(left, right), inner, *_products(s, right, b), *_outputs(s, b)


def ends(s: Shape, b: Blocks) -> Any:
    """Return sums over the ends of spans, of which blocks begin with the first or the last row.

    Returns:
        Products (G, P - W, P - W) and sums (K - 1, G, W) of the first samples, the same of the last
        samples, and products of the first samples with y and N.
    """
    reached = b.reached(s.taps)
    is_first = ~reached[:, :1]
    before, after = (
        jnp.where(here, b.x[:, i : s.taps - 1 + i], 0)
        for i, here in enumerate((is_first, ~is_first))
    )
    sums = [part for x in (before, after) for part in (_gram(x), x.sum(0))]
    return *sums, *_products(s, _spectra(s, jnp.where(reached, 0, b.x)), b)


def _products(s: Shape, seen: Any, b: Blocks) -> Any:
    """Return products of a spectrum of samples with y, as a spectrum, and with N."""
    return correlated(seen, _spectra(s, b.y), of_first=True), _crossed(s, seen, b)


def rows(s: Shape, b: Blocks, excluded: Any) -> Any:
    """Return AᵀA (G, P, P), Aᵀ1, AᵀY, NᵀA and `_outputs` of rows times the roots of their weights.

    Columns have the shape (taps, G, W). The roots are one if the rows are ``excluded``.
    """
    a = b.x * jnp.where(excluded, 1.0, b.weights)
    return _gram(a), a.sum(0), _adjoint(s, a, b.y), _crossed(s, a, b), *_outputs(s, b)


def _gram(a: Any) -> Any:
    """Return the products (G, P, P) of samples (n, L, G, W) with P = L·W."""
    flat = a.transpose(2, 0, 1, 3).reshape(a.shape[2], len(a), -1)
    return matmul(flat.swapaxes(1, 2), flat)


def _outputs(s: Shape, b: Blocks) -> Any:
    """Return the sums (G, Q) of y and y², and NᵀY (k, G, Q)."""
    return b.y.sum((0, 1)), (b.y**2).sum((0, 1)), _of_columns(s, b, b.y)


def misfit(s: Shape, b: Blocks, w: Any, offset: Any, fit: Any) -> Any:
    """Return ‖r‖² (G, Q), Aᵀr, rᵀ1 (G, Q) and Nᵀr (k, G, Q) for r = y − A w − offset − N fit.

    w is as in `_product`, fit (k, G, Q).
    """
    roots = b.weights
    r = b.y - roots * (_product(s, b.x, w) + offset) - _fitted(b, fit)
    squares, gradient = (r**2).sum((0, 1)), _adjoint(s, b.x, r * roots)
    return squares, gradient, r.sum((0, 1)), _of_columns(s, b, r)


def product_gram(s: Shape, b: Blocks, w: Any, offset: Any, fit: Any) -> Any:
    """Return the products (G, Q, Q) of A w − offset − N fit, as in `misfit`."""
    found = b.weights * (_product(s, b.x, w) - offset) - _fitted(b, fit)
    return _gram(found.reshape(-1, 1, *found.shape[2:]))


def _product(s: Shape, x: Any, w: Any) -> Any:
    """Return A w (n, step, G, Q), for w (taps, G, W, Q), or its spectrum for FFTs."""
    if s.step == 1:
        return jnp.einsum("ntgw,tgwq->ngq", x, w, precision=HIGHEST)[:, None]
    found = matmul(_spectra(s, x).swapaxes(-1, -2), w)
    return jnp.fft.irfft(jnp.moveaxis(found, 0, -1), s.size).transpose(1, 3, 0, 2)[:, : s.step]


def _adjoint(s: Shape, x: Any, r: Any) -> Any:
    """Return Aᵀr (taps, G, W, Q) for r (n, step, G, Q), or its spectrum by FFTs."""
    if s.step == 1:
        return jnp.einsum("ntgw,ngq->tgwq", x, r[:, 0], precision=HIGHEST)
    return correlated(_spectra(s, x), _spectra(s, r), of_first=True)


def _crossed(s: Shape, x: Any, b: Blocks) -> Any:
    """Return NᵀA (k, taps, G, W) for rows x, or for the spectrum x (F, G, W, n) of samples."""
    total = jnp.zeros((s.nuisance, s.taps, s.groups, s.width))
    if not s.nuisance:
        return total
    if s.step == 1:
        return total.at[b.places].add(b.columns[:, 0, :, None, None, None] * x[:, None])
    columns = _spectra(s, b.columns[:, :, None]).conj()  # (F, 1, q, n)
    found = jnp.fft.irfft(x[:, :, :, None] * columns[:, :, None], s.size, axis=0)[: s.taps]
    return total.at[b.places].add(found.transpose(4, 3, 0, 1, 2))


def _of_columns(s: Shape, b: Blocks, y: Any) -> Any:
    """Return Nᵀy (k, G, Q) for y (n, step, G, Q)."""
    total = jnp.zeros((s.nuisance, *y.shape[2:]))
    found = jnp.einsum("nsk,nsgq->nkgq", b.columns, y, precision=HIGHEST)
    return total.at[b.places].add(found) if s.nuisance else total


def _fitted(b: Blocks, fit: Any) -> Any:
    """Return N fit (n, step, G, Q) for a fit (k, G, Q)."""
    if not len(fit):
        return 0.0
    return jnp.einsum("nsk,nkgq->nsgq", b.columns, fit[b.places], precision=HIGHEST)


def _spectra(s: Shape, a: Any) -> Any:
    """Return spectra (F, G, C, n) of (n, l, G, C), with zeros up to the size of a block."""
    pads = [(0, 0), (0, s.size - a.shape[1]), (0, 0), (0, 0)]
    return spectra(jnp.moveaxis(jnp.pad(a, pads), 1, -1))


@jax.jit
def gram_of(core: Any, tail: Any, head: Any) -> Any:
    """Return AᵀA (G, P, P) from products at all lags (taps, G, W, W) and those of `ends`."""
    taps, groups, width, _ = core.shape
    head, tail = (a.reshape(groups, *(taps - 1, width) * 2) for a in (head, tail))
    return jax.vmap(displaced)(core.swapaxes(0, 1), tail, head[:, ::-1, :, ::-1])
