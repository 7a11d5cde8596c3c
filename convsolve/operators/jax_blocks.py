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
from .spread import AXIS, Arrays, Held, Item, Shape

EACH, ALL = PartitionSpec(AXIS), PartitionSpec()


class Blocks(NamedTuple):
    """Blocks of rows on a device, zero where there are none.

    Attributes:
        x: samples (n, size, G, W). Samples that no row used in the fit reads are zero.
        y: outputs (n, step, G, Q), times the roots of weights.
        roots: roots of the weights (n, step, 1, 1), 0 for rows that are not used.
        columns, places: nuisance columns (n, step, q) and their indices (n, q).
        done, left: rows (n, 1, 1, 1) of the span before the block, and from its first row on.
    """

    x: Any
    y: Any
    roots: Any
    columns: Any
    places: Any
    done: Any
    left: Any


@cache
def cut(mesh: Mesh, s: Shape, held: Held, specs: Arrays) -> Callable[..., Blocks]:
    """Return a program (arrays, items, scaling) → blocks.

    With ``scaling`` (scale (C,), shift (C,), scale (Cout,), shift (Cout,)), x is read as
    ``scale * x - shift``, and y in the same way.
    """
    ins = specs, EACH, ALL
    return jax.jit(jax.shard_map(partial(_cut, s, held), mesh=mesh, in_specs=ins, out_specs=EACH))


def _cut(s: Shape, held: Held, arrays: Arrays, items: Any, scaling: Any) -> Blocks:
    item, (scale, shift, y_scale, y_shift) = Item(*items.T[:, :, None]), scaling
    # Rows before the block may read samples of the block.
    t = np.arange(1 - s.taps, s.size)
    exists = (item.record >= 0) & (item.done + t >= 0) & (t < item.left)
    row = jnp.where(exists, item.row + s.apart * t, -1)
    own = slice(s.taps - 1, s.taps - 1 + s.step)
    # Taps of every phase.
    taps = np.maximum(-(-(s.kernel - np.arange(s.phases)) // s.phases), 0)
    if arrays.rows is None:
        weight, places = jnp.ones((s.blocks, 1)), jnp.zeros((s.blocks, 0), int)
        roots, columns = exists[:, own].astype(float), jnp.zeros((s.blocks, s.step, 0))
        read = np.arange(s.size)[:, None] < (item.left + taps - 1)[:, None]
        read &= (taps > 0) & (item.record >= 0)[..., None]
    else:
        values = arrays.records.at[item.record[:, 0]].get(mode="fill", fill_value=0)
        weight, places = values[:, :1], values[:, 1:].astype(int)
        values = _at(arrays.rows, held.rows, item.record, row)
        roots, columns = values[:, own, 0], values[:, own, 1:]
        counts = jnp.pad(jnp.cumsum(values[..., 0] != 0, axis=1), [(0, 0), (1, 0)])
        starts = [counts[:, s.taps - k : s.taps - k + s.size] for k in taps]
        read = counts[:, s.taps :, None] > jnp.stack(starts, axis=-1)
    x = _samples(s, held, arrays.x, item) * scale - shift
    x = jnp.where(read[..., None], x * weight[..., None, None], 0)
    x = x.reshape(*x.shape[:3], s.groups, -1).swapaxes(2, 3).reshape(s.blocks, s.size, s.groups, -1)
    y = jnp.zeros_like(x, shape=(s.blocks, s.step, 0))
    if arrays.y is not None:
        y = _at(arrays.y, held.rows, item.record, row[:, own], s.outputs) * y_scale - y_shift
        y = jnp.where(roots[..., None] != 0, y * (weight * roots)[..., None], 0)
    y, roots = y.reshape(s.blocks, s.step, s.groups, -1), roots[..., None, None]
    return Blocks(x, y, roots, columns, places, *(a[..., None, None] for a in item[3:]))


def _samples(s: Shape, held: Held, x: Any, item: Item) -> Any:
    """Return samples (n, size, phases, C) of blocks, zero beyond the ends of a record."""
    x = x.reshape(-1, held.samples, s.channels)
    at = s.dilation * np.arange(s.size * s.phases).reshape(-1, s.phases) + item.sample[..., None]
    if held.before + held.after:
        count = lax.axis_size(AXIS)
        onward = [(i, (i + 1) % count) for i in range(count if held.circular else count - 1)]
        before = lax.ppermute(x[:, held.samples - held.before :], AXIS, onward)
        after = lax.ppermute(x[:, : held.after], AXIS, [(j, i) for i, j in onward])
        x = jnp.concatenate([before, x, after], axis=1)
    elif held.circular and not held.split:
        at = at % held.samples
    return _at(x, x.shape[1], item.record[..., None], at, s.channels)


def _at(a: Any, length: int, record: Any, place: Any, channels: int | None = None) -> Any:
    """Return values in float64 at some places of records, zero where there are none."""
    flat = a.reshape(-1, channels or a.shape[-1])
    here = (record >= 0) & (place >= 0) & (place < length)
    at = jnp.where(here, record * length + place, len(flat))
    return flat.at[at].get(mode="fill", fill_value=0).astype(float)


# --- sums over the rows of blocks


@cache
def programs(mesh: Mesh, of: Callable[..., Any], s: Shape, op: Any) -> tuple[Any, Any, Any]:
    """Return programs that apply ``of`` to the blocks of every device.

    Returns:
        Programs (blocks, rest) → zeros in the shape of the sums of each device, (total, blocks,
        rest) → total, joined by ``op``, and total → the same for all devices together. Spectra
        become values at the taps.
    """

    def zeros(blocks: Blocks, rest: Any) -> Any:
        return jax.tree.map(lambda a: jnp.zeros_like(a[None]), of(s, blocks, *rest))

    def joined(total: Any, blocks: Blocks, rest: Any) -> Any:
        return jax.tree.map(lambda a, b: op(a, b[None]), total, of(s, blocks, *rest))

    def whole(total: Any) -> Any:
        joint = jax.tree.map(lambda a: op.reduce(a, axis=0), total)
        return jax.tree.map(
            lambda a: jnp.fft.irfft(a, s.size, axis=0)[: s.taps] if jnp.iscomplexobj(a) else a,
            joint,
        )

    each = partial(jax.shard_map, mesh=mesh, out_specs=EACH)
    return (
        jax.jit(each(zeros, in_specs=(EACH, ALL))),
        jax.jit(each(joined, in_specs=(EACH, EACH, ALL))),
        jax.jit(whole, out_shardings=NamedSharding(mesh, ALL)),
    )


def largest(s: Shape, b: Blocks) -> Any:
    """Return the largest magnitudes (G, W) of x and (G, Q) of y."""
    return jnp.abs(b.x).max((0, 1)), jnp.abs(b.y).max((0, 1))


def totals(s: Shape, b: Blocks) -> Any:
    """Return the sums (G, W) of the first samples of rows, and the sums (G, Q) of outputs."""
    used = b.roots != 0
    x = jnp.where(used, b.x[:, : s.step], 0)
    return x.sum((0, 1)), (b.y / jnp.where(used, b.roots, 1)).sum((0, 1))


def sums(s: Shape, b: Blocks) -> Any:
    """Return sums over the rows of spans, without the products of samples at their ends.

    Returns:
        Products of x at the lags (F, G, W, W), as a spectrum; sums of samples (G, W) that all taps
        read; Aᵀy (F, G, W, Q), as a spectrum; NᵀA (k, taps, G, W); and `_outputs`.
    """
    t = np.arange(s.size)[:, None, None]
    begins, reached = (t < b.left) & (t < s.step), b.done + t >= s.taps - 1
    left, right = (spectra(jnp.where(here, b.x, 0), s.size) for here in (begins, reached))
    inner = jnp.where(begins & reached, b.x, 0).sum((0, 1))
    return correlated(left, right), inner, *_products(s, right, b), *_outputs(s, b)


def ends(s: Shape, b: Blocks) -> Any:
    """Return sums over the ends of spans, of which blocks begin with the first or the last row.

    Returns:
        Products (G, P - W, P - W) and sums (K - 1, G, W) of the first samples, the same of the last
        samples, and products of the first samples with y and N.
    """
    reached = b.done + np.arange(s.size)[:, None, None] >= s.taps - 1
    before = jnp.where(reached[:, :1], 0, b.x[:, : s.taps - 1])
    after = jnp.where(reached[:, :1], b.x[:, 1 : s.taps], 0)
    sums = [part for x in (before, after) for part in (_gram(x), x.sum(0))]
    return *sums, *_products(s, spectra(jnp.where(reached, 0, b.x), s.size), b)


def _products(s: Shape, seen: Any, b: Blocks) -> Any:
    """Return products of a spectrum of samples with y, as a spectrum, and with N."""
    return correlated(seen, spectra(b.y, s.size), of_first=True), _crossed(s, seen, b)


def rows(s: Shape, b: Blocks, excluded: Any) -> Any:
    """Return AᵀA (G, P, P), Aᵀ1, AᵀY, NᵀA and `_outputs` of rows times the roots of their weights.

    Columns have the shape (taps, G, W). The roots are one if the rows are ``excluded``.
    """
    a = b.x * jnp.where(excluded, 1.0, b.roots)
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
    r = b.y - b.roots * (_product(s, b.x, w) + offset) - _fitted(b, fit)
    squares, gradient = (r**2).sum((0, 1)), _adjoint(s, b.x, r * b.roots)
    return squares, gradient, r.sum((0, 1)), _of_columns(s, b, r)


def product_gram(s: Shape, b: Blocks, w: Any, offset: Any, fit: Any) -> Any:
    """Return the products (G, Q, Q) of A w − offset − N fit, as in `misfit`."""
    found = b.roots * (_product(s, b.x, w) - offset) - _fitted(b, fit)
    return _gram(found.reshape(-1, 1, *found.shape[2:]))


def _product(s: Shape, x: Any, w: Any) -> Any:
    """Return A w (n, step, G, Q), for w (taps, G, W, Q), or its spectrum for FFTs."""
    if s.step == 1:
        return jnp.einsum("ntgw,tgwq->ngq", x, w, precision=HIGHEST)[:, None]
    found = matmul(spectra(x, s.size).swapaxes(-1, -2), w)
    return jnp.fft.irfft(found, s.size, axis=0)[: s.step].transpose(2, 0, 1, 3)


def _adjoint(s: Shape, x: Any, r: Any) -> Any:
    """Return Aᵀr (taps, G, W, Q) for r (n, step, G, Q), or its spectrum by FFTs."""
    if s.step == 1:
        return jnp.einsum("ntgw,ngq->tgwq", x, r[:, 0], precision=HIGHEST)
    return correlated(spectra(x, s.size), spectra(r, s.size), of_first=True)


def _crossed(s: Shape, x: Any, b: Blocks) -> Any:
    """Return NᵀA (k, taps, G, W) for rows x, or for the spectrum x (F, G, W, n) of samples."""
    if s.step == 1:
        return _of_columns(s, b, x[:, None])
    if not s.nuisance:
        return jnp.zeros((0, s.taps, *b.x.shape[2:]))
    columns = spectra(b.columns[:, :, None], s.size).conj()  # (F, 1, q, n)
    found = jnp.fft.irfft(x[:, :, :, None] * columns[:, :, None], s.size, axis=0)[: s.taps]
    return _joined_columns(s, b, found.transpose(4, 3, 0, 1, 2))


def _of_columns(s: Shape, b: Blocks, a: Any) -> Any:
    """Return Nᵀa (k, …) for rows a (n, step, …)."""
    return _joined_columns(s, b, jnp.einsum("nsk,ns...->nk...", b.columns, a, precision=HIGHEST))


def _joined_columns(s: Shape, b: Blocks, found: Any) -> Any:
    """Return values (n, q, …) of the nuisance columns of blocks as sums (k, …)."""
    return jnp.zeros((s.nuisance, *found.shape[2:])).at[b.places].add(found)


def _fitted(b: Blocks, fit: Any) -> Any:
    """Return N fit (n, step, G, Q) for a fit (k, G, Q)."""
    if not len(fit):
        return 0.0
    return jnp.einsum("nsk,nkgq->nsgq", b.columns, fit[b.places], precision=HIGHEST)


@jax.jit
def gram_of(core: Any, tail: Any, head: Any) -> Any:
    """Return AᵀA (G, P, P) from products at all lags (taps, G, W, W) and those of `ends`."""
    taps, groups, width, _ = core.shape
    head, tail = (a.reshape(groups, *(taps - 1, width) * 2) for a in (head, tail))
    return jax.vmap(displaced)(core.swapaxes(0, 1), tail, head[:, ::-1, :, ::-1])
