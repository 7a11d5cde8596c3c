"""Moments of a design matrix without the matrix: a correlation by block FFTs, and both ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..linalg.channels import PART_NUMBERS, by_channel
from ..linalg.threads import one_blas_thread
from ..parallel import in_order
from ..progress import tracked
from .overlap_save import CHUNK_NUMBERS, Batch, Series, batches, summed, windows
from .tap_basis import IDENTITY, TapBasis

# With few channels and columns, a loop over shifts takes longer than its products.
JOINED_CHANNELS, JOINED_COLUMNS = 4, 800

# Records with fewer numbers than this are summed whole, without separate ends.
SUMMED_AT_ONCE = 2**16

# x and y of some records.
Part = tuple[Series, Series | None]


class Sums(NamedTuple):
    """AᵀA (P, P), Aᵀy (P, Q), yᵀ1 and Σy² (Q,)."""

    gram: np.ndarray
    rhs: np.ndarray
    outputs: np.ndarray
    squares: np.ndarray

    def of(self, columns: np.ndarray) -> Sums:
        """Return the sums of some of the columns, in that order."""
        gram, rhs, *rest = self
        return Sums(gram[np.ix_(columns, columns)], rhs[columns], *rest)


def moments(parts: Sequence[Part], taps: Sequence[int], basis: TapBasis = IDENTITY) -> Sums:
    """Return the sums of A T and y, computed from the signals. If y is None, Q is 0.

    FFTs are used along the axis with most taps, with the windows of the other axes as channels.
    In C × C blocks, G[k, k+m] = Σ_{u=k}^{T+k-1} x[u]x[u+m]ᵀ. All shifts k have the terms
    c[m] = Σ_{u=K-1-m}^{T-1} x[u]x[u+m]ᵀ in common, which are one correlation. Nothing is
    subtracted, so that every element is accurate relative to its own size.
    """
    axis = max(range(len(taps)), key=lambda i: taps[i])
    others = (*taps[:axis], *taps[axis + 1 :])
    moved = [(x.first(axis), None if y is None else y.first(axis)) for x, y in parts]
    found: Sums | None = None
    # There are many small products.
    with one_blas_thread():
        for several in _together(moved, taps[axis], others):
            long = several[0][0].data.shape[1] >= 2 * taps[axis] - 1
            part = (_long if long else _short)(several, taps[axis], others, basis)
            if found is None:
                found = part
            else:
                for total, more in zip(found, part, strict=True):
                    total += more
    assert found is not None
    if not axis:
        return found
    shape = (taps[axis], *others, parts[0][0].data.shape[-1])
    order = np.arange(math.prod(shape)).reshape(shape)
    return found.of(np.moveaxis(order, 0, axis).reshape(-1))


def _together(parts: Sequence[Part], taps: int, others: Sequence[int]) -> Iterator[list[Part]]:
    """Yield lots of records whose ends fit into memory. Short records are not joined."""
    lot: list[Part] = []
    held = 0
    for x, y in parts:
        records, length, *between = x.data.shape
        short = length < 2 * taps - 1
        ends = min(length, 2 * taps) * math.prod(between) * math.prod(others)
        many = max(1, 8 * CHUNK_NUMBERS // ends)
        for i in range(0, records, many):
            some = slice(i, i + many)
            part = x.records(some), None if y is None else y.records(some)
            if short:
                yield [part]
                continue
            lot.append(part)
            held += len(part[0].data) * ends
            if held > 8 * CHUNK_NUMBERS:
                yield lot
                lot, held = [], 0
    if lot:
        yield lot


def _long(parts: Sequence[Part], taps: int, others: tuple[int, ...], basis: TapBasis) -> Sums:
    """Return the sums of records with at least as many windows as taps: FFTs, and both ends."""
    found: list[Any] = []
    heads, tails = [], []
    for x, y in parts:
        rows = x.data.shape[1] - taps + 1
        heads.append(_ends(x, 0, taps - 1, others))
        tails.append(_ends(x, rows, taps - 1, others))
        part = _correlations(x, y, rows, taps, others)
        if y is not None:
            # Add the first K - 1 samples, which are not in the correlation, to Aᵀy.
            part[1][...] += lagged_products(_ends(y, 0, taps - 1, ()), heads[-1], taps)
        found = [a + b for a, b in zip(found, part, strict=True)] if found else list(part)
    core, rhs, outputs, squares = found
    rhs = rhs.reshape(math.prod(core.shape[:2]), -1)
    ends = np.concatenate(heads), np.concatenate(tails)
    rhs = basis.restrict(rhs[None])[0]
    return Sums(basis.of_gram(joined(core, *ends)[None])[0], rhs, outputs, squares)


def joined(core: np.ndarray, head: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """Return AᵀA (K·C, K·C) from c (C, K, C) and K - 1 samples (n, K - 1, C) at both ends."""
    channels, taps, _ = core.shape
    if channels <= JOINED_CHANNELS and taps * channels <= JOINED_COLUMNS:
        gram = _at_once(core, head, tail)
    else:
        gram = np.empty((taps, channels, taps, channels))
        gram[-1, :, -1] = core[:, 0]
        _backward(gram, core, head, taps - 2, 0)
        _forward(gram, tail, 1, taps - 1)
    return mirrored(gram)


def _short(parts: Sequence[Part], taps: int, others: tuple[int, ...], basis: TapBasis) -> Sums:
    """Return the sums of records with T windows, fewer than taps: T shifts have a common sample."""
    ((x, y),) = parts
    rows = x.data.shape[1] - taps + 1
    samples = _ends(x, 0, x.data.shape[1], others)
    channels = samples.shape[-1]
    gram = np.empty((taps, channels, taps, channels))
    for start in range(0, taps, rows):
        edge = start + rows
        run = np.zeros((channels, taps - start, channels))
        _backward(gram, run, samples, edge - 1, start)
        _forward(gram, samples[:, edge:], start + 1, min(taps, edge) - 1 - start)
    whole, rhs = mirrored(gram), np.zeros((taps * channels, 0))
    outputs = squares = np.zeros(0)
    if y is not None:
        seen = _ends(y, 0, rows, ())
        each = [np.tensordot(samples[:, k : k + rows], seen, ((0, 1), (0, 1))) for k in range(taps)]
        rhs = np.concatenate(each)
        outputs, squares = by_channel(np.add, seen), by_channel(np.add, seen, np.square)
    whole, rhs = basis.of_gram(whole[None])[0], basis.restrict(rhs[None])[0]
    return Sums(whole, rhs, outputs, squares)


def _ends(series: Series, start: int, count: int, others: tuple[int, ...]) -> np.ndarray:
    """Return samples (N·∏T', count, ∏K'·C) from ``start``; windows of other axes are channels."""
    part = series.part(start, start + count).swapaxes(0, 1)
    return np.ascontiguousarray(windows(part, others).swapaxes(0, 1))


def lagged_products(u: np.ndarray, v: np.ndarray, lags: int) -> np.ndarray:
    """Return Σ_{n,t} v[t+m] u[t]ᵀ (lags, C, C') for u (n, S, C') and v (n, S, C), zero beyond S."""
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(u.shape[1] + lags, real=True)
    a, b = (rfft(s, size, axis=1) for s in (v, u))
    return irfft(_correlated(a, b.conj(), (), ()), size, axis=0)[:lags]


def _at_once(core: np.ndarray, head: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """Return what `_backward` and `_forward` compute, with all products of an end at once.

    It takes half the time if one shift has few products, and twice the memory.
    """
    channels, taps, _ = core.shape
    ends, p = taps - 1, taps * channels

    def by_lag(samples: np.ndarray) -> np.ndarray:
        """Return Σ_n s[u] s[u+m]ᵀ (u, C, m, C), zero where u + m is beyond the end."""
        flat = samples.reshape(len(samples), -1)
        found = np.zeros((ends * channels, 2 * ends * channels))
        np.matmul(flat.T, flat, out=found[:, : ends * channels])
        return skewed(found, (ends, channels, ends, channels))

    shifts = np.zeros((taps, *core.shape))
    shifts[-1] = core
    shifts[:-1, :, :-1] = by_lag(head)
    np.cumsum(shifts[::-1], axis=0, out=shifts[::-1])
    shifts[1:, :, :-1] += np.cumsum(by_lag(tail), axis=0)
    # Lags beyond the kernel are written to the next row, below the diagonal.
    gram = np.empty((p + channels, p))
    skewed(gram, shifts.shape)[...] = shifts
    return gram[:p].reshape(shifts.shape)


def skewed(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a view [k, c, m, d] of the elements [k, c, k + m, d] of a matrix of blocks."""
    row, one = a.strides
    channels = shape[1]
    strides = (channels * (row + one), row, channels * one, one)
    return np.lib.stride_tricks.as_strided(a, shape, strides)


def _products(left: np.ndarray, right: np.ndarray, at: int, lags: int) -> np.ndarray:
    """Return Σ_n u[at] v[at+m]ᵀ (C, lags, C') for m < ``lags``, u (n, …, C) and v (n, …, C')."""
    n, _, channels = right.shape
    flat = right[:, at : at + lags].reshape(n, lags * channels)
    return (left[:, at].T @ flat).reshape(-1, lags, channels)


def _backward(
    gram: np.ndarray, run: np.ndarray, samples: np.ndarray, first: int, last: int
) -> None:
    """Set shifts first … last of ``gram``. Each shift adds one sample to ``run`` (C, lags, C)."""
    taps = gram.shape[0]
    for k in range(first, last - 1, -1):
        lags = min(run.shape[1], samples.shape[1] - k)
        run[:, :lags] += _products(samples, samples, k, lags)
        if k < taps:
            gram[k, :, k:] = run[:, : taps - k]


def _forward(gram: np.ndarray, samples: np.ndarray, first: int, count: int) -> None:
    """Add the samples at the end to ``count`` shifts of ``gram`` from ``first``, one per shift."""
    taps, channels = gram.shape[:2]
    run = np.zeros((channels, max(taps - first, 0), channels))
    for k in range(first, first + count):
        run[:, : taps - k] += _products(samples, samples, k - first, taps - k)
        gram[k, :, k:] += run[:, : taps - k]


def mirrored(gram: np.ndarray) -> np.ndarray:
    """Return the matrix (P, P), with its lower triangle copied from the upper one."""
    taps, channels = gram.shape[:2]
    flat = gram.reshape(taps * channels, -1)
    if len(flat) <= JOINED_COLUMNS:
        tap = np.arange(len(flat)) // channels
        return np.where(tap[:, None] > tap, flat.T, flat)
    for a in range(channels, taps * channels, channels):
        flat[a : a + channels, :a] = flat[:a, a : a + channels].T
    return flat


def _correlations(
    x: Series, y: Series | None, rows: int, taps: int, others: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    """Return c (C, K, C), Aᵀy (K, C, Q) without the first K - 1 samples, and sums of y and y²."""
    from scipy.fft import irfft, rfft

    left = x._replace(data=x.data[:, :rows])
    width = 2 * math.prod(x.data.shape[2:]) + (0 if y is None else math.prod(y.data.shape[2:]))

    def of(batch: Batch) -> tuple[np.ndarray, ...]:
        # Intermediate arrays have no name, so that their memory in the cache is reused.
        v = batch.pieces(x, batch.size)
        batch.skip(v, taps - 1)
        v = rfft(v, axis=1)
        np.conj(v, out=v)
        core = _correlated(rfft(batch.pieces(left, batch.step), axis=1), v, others, others)
        if y is None:
            return (core,)
        out = batch.pieces(y, batch.step)
        sums = by_channel(np.add, out), by_channel(np.add, out, np.square)
        return core, _correlated(rfft(out, axis=1), v, (), others), *sums

    several = batches(x.data.shape, rows, taps, width)
    core, *rest = summed(of, several)
    rhs, *sums = rest or (core[:, :0], np.zeros(0), np.zeros(0))
    core, rhs = (irfft(f.conj(), several[0].size, axis=0)[:taps] for f in (core, rhs))
    return core.transpose(1, 0, 2).copy(), rhs.transpose(0, 2, 1).copy(), *sums


def _correlated(u: np.ndarray, v: np.ndarray, *others: Sequence[int]) -> np.ndarray:
    """Return Σ uᵀv (f, C, C') over pieces (n, f, *L', C) and the windows of the other axes."""
    u, v = u.swapaxes(0, 1), v.swapaxes(0, 1)
    if u.ndim == v.ndim == 3:
        return u.transpose(0, 2, 1) @ v
    # A few frequencies at a time: windows take ∏K' times the memory.
    per = max(1, CHUNK_NUMBERS // (math.prod(v.shape[1:]) * math.prod(others[1])))
    found = []
    for f in range(0, len(u), per):
        a, b = (windows(s[f : f + per], o) for s, o in zip((u, v), others, strict=True))
        found.append(a.transpose(0, 2, 1) @ b)
    return np.concatenate(found)


def column_sums(x: Series, taps: Sequence[int], squares: bool = False) -> np.ndarray:
    """Return Aᵀ1 (*K, C), or the sums of squares. Nothing is subtracted."""
    of = np.square if squares else None
    found = _first_sums(x, taps[0], of)
    for axis, k in enumerate(taps[1:], start=1):
        found = np.moveaxis(_shifted_sums(np.moveaxis(found, axis, 0), k), 0, axis)
    return found


def _first_sums(x: Series, taps: int, of: np.ufunc | None) -> np.ndarray:
    """Return sums (K, *L', C) along the first axis. Common samples are read in blocks."""
    rows = x.data.shape[1] - taps + 1

    def part(start: int, stop: int) -> np.ndarray:
        found = x.part(start, stop)
        return found if of is None else of(found, out=found)

    if rows < taps or x.data.size <= SUMMED_AT_ONCE:
        return _shifted_sums(part(0, x.data.shape[1]).sum(0), taps)

    def summed_from(start: int) -> np.ndarray:
        flat = part(start, min(start + length, rows))
        return by_channel(np.add, flat.reshape(-1, math.prod(flat.shape[2:])))

    length = max(1, PART_NUMBERS // max(1, x.data[:, :1].size))
    starts = range(taps - 1, rows, length)
    inner = sum(tracked(in_order(summed_from, starts), "sums of all samples", len(starts)))
    inner = np.asarray(inner).reshape(x.data.shape[2:])
    ends = (part(at, at + taps - 1).sum(0) for at in (0, rows))
    return around(inner, *ends)


def around(inner: np.ndarray, head: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """Return sums (K, …): ``inner``, plus ``head`` (K - 1, …) from k on, plus ``tail`` before k."""
    found = np.broadcast_to(inner, (len(head) + 1, *head.shape[1:])).copy()
    found[:-1] += np.cumsum(head[::-1], axis=0)[::-1]
    found[1:] += np.cumsum(tail, axis=0)
    return found


def _shifted_sums(a: np.ndarray, taps: int) -> np.ndarray:
    """Return Σ_{u=k}^{T+k-1} a[u] (K, …) for every shift k of a (T + K - 1, …)."""
    rows = len(a) - taps + 1
    if rows < taps:
        return np.lib.stride_tricks.sliding_window_view(a, rows, 0).sum(-1)
    inner = a[taps - 1 : rows].reshape(rows - taps + 1, math.prod(a.shape[1:]))
    return around(by_channel(np.add, inner).reshape(a.shape[1:]), a[: taps - 1], a[rows:])
