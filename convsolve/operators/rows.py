"""Rows of a stack, in blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..progress import tracked
from .data import Data, Series, Stack, nuisance_rows
from .sums import Residuals, Sums

# Numbers of a block of rows: 8 MiB, which is enough for BLAS to be fast. Rows of a matrix that has
# no more numbers are kept between passes.
NUMBERS = 2**20


class RowBlock(NamedTuple):
    """Rows of A (G, n, P), of Y (G, n, Q), and of the nuisance columns N (n, q).

    ``records`` (n,) are the indices of the records.
    """

    a: np.ndarray
    y: np.ndarray
    n: Any
    records: np.ndarray


def rows(data: Data, stack: Stack, excluded: bool = False) -> Iterator[RowBlock]:
    """Yield the used rows of a stack, or the excluded ones, in blocks."""
    kept = data.kept.get(stack.number) if not excluded else None
    if kept is None:
        kept = _inputs(data, stack, excluded)
        few = data.rows * data.windows.numbers <= _at_once(data.groups)
        if data.whole and not excluded and few:
            kept = data.kept[stack.number] = [*kept]
    for at, a, n in kept:
        y = stack.y.some(at).reshape(len(at[0]), data.groups, -1 if stack.y.data.size else 0)
        yield RowBlock(a, y.swapaxes(0, 1), n, stack.records[at[0]])


def _inputs(data: Data, stack: Stack, excluded: bool) -> Iterator[tuple[Any, np.ndarray, Any]]:
    """Yield the places of rows, and the rows of A (G, n, P) and of N."""
    w, groups = data.windows, data.groups
    if stack.x.data.size <= 8 * NUMBERS and not stack.x.is_plain:  # once, not in every window
        stack = stack._replace(x=Series(stack.x.some()))
    view, plain = w.view(stack.x.data), stack.x.is_plain
    dead = None if stack.x.dead is None else w.view(stack.x.dead[..., None])[..., 0]
    places = np.nonzero(~stack.wanted if excluded else stack.wanted)
    step = max(1, _at_once(groups) // max(1, w.numbers))
    starts = range(0, len(places[0]), step)
    # Rows of one record in one axis are views.
    whole = stack.used is None and not excluded and len(view) == 1 and len(places) == 2
    for first in tracked(starts, "rows of the design matrix", len(starts)):
        at = tuple(p[first : first + step] for p in places)
        a, count = view[0, first : first + step] if whole else view[at], len(at[0])
        if not plain:
            a = stack.x.read(a, np.empty(a.shape), None if dead is None else dead[at])
        # From (n, *K, C), with the axis of most taps first.
        a = np.moveaxis(a, 1, 1 + w.spec._long_axis) if w.spec.ndim > 1 else a
        a = a.reshape(count, math.prod(w.sizes[0]), groups, data.channels)
        a = a.transpose(2, 0, 1, 3).reshape(groups, count, data.columns)
        if stack.root is not None:
            a = a * stack.root[at]
        yield at, a, nuisance_rows(stack, at, data.plan.count)


def _at_once(groups: int) -> int:
    """Return the numbers of a block of rows. BLAS is called for every group."""
    return NUMBERS * (8 if groups >= 100 else 1)


def row_sums(r: RowBlock, gram: bool) -> Sums:
    """Return the sums of some rows, or without AᵀA but for its diagonal."""
    inner, rhs = products(r.a, gram), r.a.swapaxes(1, 2) @ r.y
    squares = inner.diagonal(0, 1, 2).copy() if gram else inner.copy()
    of_x, of_y = (each(r.n.T, v) for v in (r.a, r.y))
    return Sums(inner, rhs, of_x, of_y, _squares(r.y), squares)


def products(a: np.ndarray, gram: bool) -> np.ndarray:
    """Return the products aᵀa (G, P, P) of rows (G, n, P), or their diagonal (G, P)."""
    return a.swapaxes(1, 2) @ a if gram else _squares(a)


def row_residuals(r: RowBlock, w: np.ndarray, c: np.ndarray) -> Residuals:
    """Return the sums of residuals y − A w − N c of some rows."""
    left = r.y - r.a @ w - (each(r.n, c) if c.any() else 0.0)
    gradient = r.a.swapaxes(1, 2) @ left
    return Residuals(_squares(left), gradient, each(r.n.T, left))


def _squares(a: np.ndarray) -> np.ndarray:
    """Return the sums of squares (G, C) of a (G, n, C)."""
    return np.asarray(np.einsum("gnc,gnc->gc", a, a))


def each(n: Any, values: np.ndarray) -> np.ndarray:
    """Return n @ values (G, …) of every group, for a sparse or dense matrix n."""
    if isinstance(n, np.ndarray):
        return n * values if n.shape[1] == 1 else np.asarray(n @ values)
    g, _, q = values.shape
    if not n.nnz:
        return np.zeros((g, n.shape[0], q))
    found = n @ values.swapaxes(0, 1).reshape(n.shape[1], -1)
    return np.asarray(found).reshape(n.shape[0], g, q).swapaxes(0, 1)
