"""Sums over the rows of a chunk from blocks of the rows, which are kept in memory if they are few.

Rows are used for small matrices, and if FFTs would lose digits. Large transients at the edge of a
record make the columns of a channel very uneven. The rounding error of an FFT then exceeds the
smaller columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..progress import tracked
from .chunk import LoadedChunk
from .moments import Moments, ResidualSums, Units, groups_at_once
from .tap_basis import IDENTITY, TapBasis
from .windows import row_blocks

# Rows of A (G, k, P) and of Y (G, k, Q), or None.
Block = tuple[np.ndarray, np.ndarray | None]
# From this number of groups on, blocks of rows are larger by a factor, because BLAS is called per
# group: 8 times as large, 64 MiB by default, which is about 64 rows of ten thousand groups of 10
# columns.
MANY_GROUPS, LARGER = 100, 8
# Squares of columns below this may have lost digits to underflow.
LEAST_SQUARE = 1e-200


class Rows(NamedTuple):
    """Rows of A of a part of a stack.

    Attributes:
        stack: index of the stack.
        part: slices of its spans and of their first axis.
        a: the rows (G, k, P) that are used in the fit.
    """

    stack: int
    part: tuple[slice, slice]
    a: np.ndarray


def _windows(chunk: LoadedChunk, numbers: int | None = None) -> Iterator[Rows]:
    """Yield rows of A in the units of a chunk, not shifted, in blocks of so many numbers."""
    numbers = _larger(chunk, numbers or chunk.form.limits.block_numbers)
    for i, stack in enumerate(chunk.stacks):
        # Scale before cutting into rows, which have many times as many elements.
        for part, a in row_blocks(stack.x * chunk.scale, chunk.spec, numbers, stack.flags):
            if stack.roots is not None:
                used = ... if stack.flags is None else stack.flags[part].reshape(-1)
                a = a * stack.roots[part].reshape(-1)[used, None]
            yield Rows(i, part, a)


def _larger(chunk: LoadedChunk, numbers: int) -> int:
    return numbers * (LARGER if chunk.groups >= MANY_GROUPS else 1)


def _few(chunk: LoadedChunk) -> bool:
    """Whether all rows are kept in memory."""
    width = chunk.columns + chunk.outputs
    most = _larger(chunk, chunk.form.limits.kept_numbers)
    return chunk.rows * chunk.groups * width <= most


def own_units(chunk: LoadedChunk) -> Units:
    """Return the units of a chunk, with the column means as the shift if N has a constant."""

    def made() -> Units:
        return chunk.units(chunk.once("row shift", lambda: _means(chunk)))

    return chunk.once("own units", made, with_y=True)


def _means(chunk: LoadedChunk) -> np.ndarray:
    total = np.zeros((chunk.groups, chunk.columns))
    if not chunk.form.constant:
        return total
    blocks: Iterable[Rows] = _windows(chunk)
    if _few(chunk):
        blocks = [*blocks]
    for rows in blocks:
        total += np.einsum("gnp->gp", rows.a)
    if _few(chunk):
        # From here on the rows belong to the thread that takes them first.
        chunk.kept["windows"] = blocks
    return total / max(1, chunk.rows)


def _columns(chunk: LoadedChunk, units: Units, numbers: int | None) -> Iterable[Rows]:
    """Return rows of A in some units. They are kept if they are few."""
    if not _few(chunk):
        return _in_units(chunk, _windows(chunk, numbers), units)
    key = units.exponents.tobytes(), units.shift.tobytes()
    known: tuple[Any, list[Rows]] | None = chunk.kept.get("rows")
    if known is None or known[0] != key:
        raw = chunk.kept.pop("windows", None) or _windows(chunk)
        # Threads may share a chunk, so the rows are kept together with their units.
        known = chunk.kept["rows"] = key, [*_in_units(chunk, raw, units)]
    return known[1]


def _in_units(chunk: LoadedChunk, several: Iterable[Rows], units: Units) -> Iterator[Rows]:
    e = chunk.units(units.shift).column_exponents - units.column_exponents
    for rows in several:
        a = np.ldexp(rows.a, e[:, None]) if np.count_nonzero(e) else rows.a
        if np.count_nonzero(units.shift):  # in place, unless the memory belongs to x
            a = np.subtract(a, units.shift[:, None], out=a if a.flags.writeable else None)
        yield Rows(rows.stack, rows.part, a)


def rows(chunk: LoadedChunk, units: Units, numbers: int | None = None) -> Iterable[Block]:
    """Return blocks of A (G, k, P), less the fits of confounds, and Y (G, k, Q) in some units.

    They are kept if they are few and no fits are subtracted. Blocks of rows that are not kept have
    ``numbers`` numbers, by default a limit of the problem.
    """
    if chunk.x_fits or not _few(chunk):
        return _blocks(chunk, units, numbers)
    key = [*map(np.ndarray.tobytes, units)]
    known: tuple[Any, list[Block]] | None = chunk.kept_with_y.get("blocks")
    if known is None or known[0] != key:
        known = chunk.kept_with_y["blocks"] = key, [*_blocks(chunk, units, numbers)]
    return known[1]


def _blocks(chunk: LoadedChunk, units: Units, numbers: int | None) -> Iterator[Block]:
    several, first = _columns(chunk, units, numbers), 0
    fits = chunk.x_fits
    if fits:
        exponents = units.column_exponents.reshape(-1)
        fits = tuple(np.ldexp(fit[chunk.places], -exponents) for fit in fits)
    for found in tracked(several, "rows of the design matrix", chunk.rows, size=_rows_of):
        stack, a, y = chunk.stacks[found.stack], found.a, None
        if fits:
            a = chunk.nuisance_columns.rows_without(a, first, *fits)
            first += a.shape[1]
        if stack.y is not None:
            of_rows = stack.y[found.part]
            of_rows = of_rows if stack.flags is None else of_rows[stack.flags[found.part]]
            # If there are many groups, the outputs are far apart in memory.
            y = np.ascontiguousarray(_in_out_units(chunk, of_rows, units).transpose(1, 0, 2))
        yield a, y


def _in_out_units(chunk: LoadedChunk, y: np.ndarray, units: Units) -> np.ndarray:
    """Return outputs (..., Cout) as (k, G, Q) in some units."""
    found = (y * chunk.out_scale).reshape(-1, chunk.groups, chunk.outputs)
    f = chunk.out_exponents.reshape(chunk.groups, -1) - units.out_exponents
    found = np.ldexp(found, f) if np.count_nonzero(f) else found
    return found - units.out_shift if np.count_nonzero(units.out_shift) else found


def _rows_of(rows: Rows) -> int:
    return rows.a.shape[1]


def moments(chunk: LoadedChunk, basis: TapBasis = IDENTITY) -> Moments:
    """Return sums over the rows of A T and Y in own units, without sums of A itself."""
    units, total = own_units(chunk), None
    own = basis.of_units(units)
    for a, y in rows(chunk, units):
        y = np.zeros((*a.shape[:2], 0)) if y is None else y
        found = Moments.from_rows(basis.rows(a), y, own, chunk.form.constant)
        total = found if total is None else total + found
    assert total is not None
    return total


def norms(chunk: LoadedChunk) -> Moments:
    """Return sums and sums of squares of the columns, as moments of each column on its own.

    Every column has an exponent of its own, since the squares of a column far below the largest
    sample of its channel may underflow.
    """
    units = own_units(chunk)
    e = units.column_exponents
    found = _norms(chunk, units, np.zeros_like(e))
    if np.linalg.diagonal(found.gram).min(initial=1.0) > LEAST_SQUARE:
        return found
    largest = np.zeros(e.shape)
    for a, _ in rows(chunk, units):
        largest = np.maximum(largest, np.abs(a).max(1, initial=0.0))
    small = (largest > 0) & (largest < math.sqrt(LEAST_SQUARE))
    return _norms(chunk, units, np.where(small, np.frexp(largest)[1], 0))


def _norms(chunk: LoadedChunk, units: Units, finer: np.ndarray) -> Moments:
    """Return these sums in ``units`` times two to the power of ``finer`` (G, P)."""
    sums, squares = np.zeros((2, *finer.shape))
    for a, _ in rows(chunk, units):
        for some in groups_at_once(a):
            own = np.ldexp(a[some], -finer[some, None]) if finer.any() else a[some]
            sums[some] += np.einsum("gnp->gp", own)
            squares[some] += np.einsum("gnp,gnp->gp", own, own)
    exponents, shift = units.column_exponents + finer, np.ldexp(units.shift, -finer)
    return Moments.of_columns(sums, squares, chunk.rows, exponents, shift, chunk.form.constant)


def misfit(chunk: LoadedChunk, w: np.ndarray, offset: np.ndarray) -> ResidualSums:
    """Return the sums of r = y − A w − offset, for w (G, P, Q) and offset (G, Q), in own units."""
    found = ResidualSums.empty(w)
    for a, y in rows(chunk, own_units(chunk)):
        assert y is not None
        for some in groups_at_once(a):
            r = a[some] @ w[some]
            np.subtract(y[some], r, out=r)
            if offset.any():
                r -= offset[some, None]
            found.squares[some] += np.einsum("gnq,gnq->gq", r, r)
            found.gradient[some] += a[some].swapaxes(1, 2) @ r
            found.sums[some] += r.sum(1)
    return found


def product(chunk: LoadedChunk, group: int, w: np.ndarray) -> np.ndarray:
    """Return A w (n, Q) of one group, for w (P, Q), in own units."""
    return np.concatenate([a[group] @ w for a, _ in rows(chunk, own_units(chunk))])


def adjoint(chunk: LoadedChunk, group: int, r: np.ndarray) -> np.ndarray:
    """Return Aᵀr (P, Q) of one group, for rows r (n, Q), in own units."""
    total, first = np.zeros((chunk.columns, r.shape[1])), 0
    for a, _ in rows(chunk, own_units(chunk)):
        total += a[group].T @ r[first : first + a.shape[1]]
        first += a.shape[1]
    return total
