"""Orthonormal nuisance columns N of confounds in the rows of a chunk: products, fits, moments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..linalg.channels import largest
from ..problem.confounds import Confounds
from ..problem.nuisance import Nuisance
from ..problem.rows import Span
from .chunk import LoadedChunk, stacked
from .moments import CACHED_NUMBERS, NuisanceSums, Units
from .nuisance_blocks import NuisanceBlock, nuisance_blocks
from .trends import beyond_rounding, kept_samples, scaled_back, sum_of_squares, without_trends
from .windows import row_blocks

# The products of at most so many columns N with A are sums over all rows. Others are sums over the
# rows of each record, where only its own columns are not zero.
FEW_COLUMNS = 8
# A fit with at most this share of the squares has a negligible rounding error.
SMALL_FIT = 1e-4


class NuisanceColumns:
    """Columns N (n, k) as blocks, in the order of the rows."""

    def __init__(self, blocks: Sequence[NuisanceBlock], count: int) -> None:
        self._blocks, self.count = blocks, count
        self._ends = np.cumsum([block.rows for block in blocks])

    def products(self, values: np.ndarray, first: int = 0) -> np.ndarray:
        """Return Nᵀv (k, K) for rows v (m, K), which start at row ``first``."""
        total = np.zeros((self.count, values.shape[1]))
        for block, inner, at in self._overlapping(first, first + len(values)):
            if inner == slice(0, block.rows):
                whole = values[at : at + block.rows]
            else:
                whole = np.zeros((block.rows, values.shape[1]))
                whole[inner] = values[at : at + inner.stop - inner.start]
            pieces = len(block.places), len(block.basis), values.shape[1]
            block.add_products(whole.reshape(pieces), total)
        return total

    def fit(self, coefficients: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return rows ``first`` to ``last`` of N c (m, K) for coefficients c (k, K)."""
        found = []
        for block, inner, _ in self._overlapping(first, last):
            found.append(block.fit(coefficients).reshape(-1, coefficients.shape[1])[inner])
        return np.concatenate(found) if found else np.zeros((last - first, coefficients.shape[1]))

    def rows_without(self, a: np.ndarray, first: int, *fits: np.ndarray) -> np.ndarray:
        """Subtract N c (G, m, P) from rows (G, m, P), for several coefficients c (k, G·P).

        The first of the rows is row ``first``.
        """
        groups, rows, columns = a.shape
        for each in fits:
            fit = self.fit(each, first, first + rows).reshape(rows, groups, columns)
            a = a - fit.swapaxes(0, 1)
        return a.astype(float, copy=False)

    def _overlapping(self, first: int, last: int) -> Iterator[tuple[NuisanceBlock, slice, int]]:
        """Yield the pieces that have rows in a range.

        Yields:
            The pieces, which of their rows are in the range, and the place of the first in it.
        """
        for i in range(int(np.searchsorted(self._ends, first, "right")), len(self._ends)):
            block, start = self._blocks[i], int(self._ends[i]) - self._blocks[i].rows
            if start >= last:
                return
            begin, end = max(first - start, 0), min(last - start, block.rows)
            each = len(block.basis)
            pieces = slice(begin // each, -(-end // each))
            skipped = pieces.start * each
            part, inner = block.some(pieces), slice(begin - skipped, end - skipped)
            if len(part.places) == 1:  # the other rows of a long record are not needed
                part, inner = part.some_rows(inner), slice(0, end - begin)
            yield part, inner, start + begin - first


def orthonormal_columns(nuisance: Nuisance, spans: Sequence[Span], rows: int) -> NuisanceColumns:
    """Return all nuisance columns in some rows, a constant included."""
    confounds = nuisance.confounds
    if confounds is not None:
        blocks = nuisance_blocks(confounds, spans) if confounds.count else []
        return NuisanceColumns(blocks, confounds.count)
    if not nuisance.constant:
        return NuisanceColumns([], 0)
    ones = np.full((rows, 1), 1 / math.sqrt(rows))
    block = NuisanceBlock(np.zeros((1, 1), int), ones, None, np.ones(1))
    return NuisanceColumns([block], 1)


def nuisance_of(chunk: LoadedChunk) -> NuisanceColumns:
    """Return the nuisance columns of a chunk."""
    return chunk.once("nuisance", lambda: NuisanceColumns(chunk.blocks, len(chunk.places)))


def without_fit(chunk: LoadedChunk, fit: np.ndarray | None) -> LoadedChunk:
    """Return a chunk with N times ``fit`` (q, Cout), in the user's units, subtracted from y."""
    if fit is None or not chunk.blocks:
        return chunk
    columns, first, stacks = nuisance_of(chunk), 0, []
    for stack in chunk.stacks:
        assert stack.y is not None
        rows = stack.used(stack.y).reshape(-1, stack.y.shape[-1])
        last = first + len(rows)
        left = (rows - columns.fit(fit[chunk.places], first, last)).astype(float, copy=False)
        if stack.flags is None:
            stacks.append(left.reshape(stack.y.shape))
        else:
            stacks.append(np.zeros(stack.y.shape))
            stacks[-1][stack.flags] = left
        first = last
    return chunk.with_outputs(stacks)


def nuisance_sums(
    chunk: LoadedChunk,
    units: Units,
    of_columns: np.ndarray,
    outputs: bool,
) -> NuisanceSums:
    """Return the sums of N in the units of a chunk, given NᵀA (k, G, P)."""
    columns, groups = nuisance_of(chunk), chunk.groups
    of_outputs = np.zeros((of_columns.shape[1], columns.count, 0))
    if outputs and chunk.outputs:
        rows = chunk.output_rows()
        of_outputs = columns.products(rows).reshape(columns.count, groups, -1).swapaxes(0, 1)
    of_ones = columns.products(np.ones((chunk.rows, 1)))[:, 0]
    return NuisanceSums(
        chunk.places,
        chunk.nuisance,
        of_columns.swapaxes(0, 1),
        of_outputs,
        of_ones,
        units.exponents,
        units.out_exponents[:, : of_outputs.shape[2]],
    )


def crossed(
    chunk: LoadedChunk, adjoint: Callable[[int, np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """Return NᵀA (k, G, P) in the units of a chunk.

    ``adjoint(group, r)`` returns Aᵀr (P, Q) of rows r (n, Q), if FFTs can be used.
    """
    columns = nuisance_of(chunk)
    if adjoint is not None and columns.count <= FEW_COLUMNS:
        dense = columns.fit(np.eye(columns.count), 0, chunk.rows).astype(float, copy=False)
        return np.stack([adjoint(group, dense) for group in range(chunk.groups)]).transpose(2, 0, 1)
    found = np.zeros((columns.count, chunk.groups, chunk.columns))
    several = iter(chunk.blocks)
    for stack in chunk.stacks:
        first = 0
        while first < len(stack.x):
            block = next(several)
            last = first + len(block.places)
            # Equal pieces have the same flags, and the same weights if rows differ in weight.
            rows = [None if a is None else a[first] for a in (stack.flags, stack.roots)]
            _add_products(chunk, stack.x[first:last], block, rows, found)
            first = last
    return found


def _add_products(
    chunk: LoadedChunk,
    x: np.ndarray,
    block: NuisanceBlock,
    rows: list[np.ndarray | None],
    total: np.ndarray,
) -> None:
    """Add NᵀA of the pieces x (N_p, *E, Cin) of a block to a total (k, G, P).

    ``rows`` are the flags of the rows used in the fit and the roots of their weights (*T), or None.
    """
    scaled = x * chunk.scale
    if block.basis.size:
        total[block.places] += _products(chunk, scaled, block.basis, rows)
    if block.ones is not None:
        joint = np.tensordot(block.scales, scaled, 1)[None]
        total[-1] += _products(chunk, joint, block.ones[:, None], rows)[0, 0]


def _products(
    chunk: LoadedChunk, x: np.ndarray, columns: np.ndarray, rows: list[np.ndarray | None]
) -> np.ndarray:
    """Return VᵀA (N_p, k, G, P) of each piece, for columns V (n, k) of its rows."""
    spec, (flags, roots) = chunk.spec, rows
    whole = np.zeros((*spec.output_shape(x.shape[1:-1]), columns.shape[1]))
    whole[... if flags is None else flags] = columns.reshape(
        whole.shape if flags is None else columns.shape
    )
    if roots is not None:
        whole *= roots[..., None]
    groups, taps = chunk.groups, chunk.columns
    found = np.zeros((groups, len(x), columns.shape[1], taps))
    for (pieces, slab), a in row_blocks(x, spec, CACHED_NUMBERS):
        part = whole[slab].reshape(-1, columns.shape[1])
        found[:, pieces] += part.T @ a.reshape(groups, -1, len(part), taps)
    return found.transpose(1, 2, 0, 3)


def without_confounds(
    confounds: Confounds, values: Sequence[np.ndarray], fit: np.ndarray | None = None
) -> list[np.ndarray]:
    """Project N out of the values (*T, Q) of every record, in the rows used in the fit.

    Args:
        confounds: the columns N.
        values: values of every record.
        fit: further coefficients (q, Q), whose N c is subtracted afterwards. Coefficients beyond
            the columns of N, of a shared constant, are not used.

    Returns:
        Rows (n, Q) of every record, times the roots of the weights. An output is zero if only
        rounding is left of it.
    """
    kept = confounds.kept
    alike = [np.flatnonzero(confounds.which == i) for i in range(len(confounds.layouts))]
    alike = [records for records in alike if kept.sizes[records[0]]]
    flags = [kept.flags_of(int(records[0])) for records in alike]
    used = [
        kept_samples(stacked([values[int(i)] for i in records]), f)
        for f, records in zip(flags, alike, strict=True)
    ]
    exponents = np.frexp(np.max([largest(v) for v in used], axis=0))[1]
    scale = np.ldexp(1.0, -exponents)
    trends = without_trends(used, flags, scale, confounds.degree, confounds.shared)
    roots = [confounds.roots(records) for records in alike]
    order = [int(i) for records in alike for i in records]
    columns = NuisanceColumns(
        nuisance_blocks(confounds, [(i, 0, kept.shapes[i][0]) for i in order]), confounds.count
    )
    weighted = trends.values
    if confounds.weights is not None:
        weighted = [v * r for v, r in zip(weighted, roots, strict=True)]
    left = _projected(columns, np.concatenate([v.reshape(-1, v.shape[-1]) for v in weighted]))
    # The weights change sums of squares by at most the largest weight.
    most, rows = max(float(r.max()) for r in roots) ** 2, kept.count
    whole = most * trends.left
    real = beyond_rounding(whole, sum_of_squares(left), trends.subtracted, rows, most * rows)
    left = scaled_back(left, real, exponents)
    if fit is not None:
        left = left - columns.fit(fit[: confounds.count], 0, rows).astype(float, copy=False)
    ends = np.cumsum([kept.sizes[i] for i in order])[:-1]
    found = [np.zeros((0, len(real)))] * len(values)
    for i, part in zip(order, np.split(left, ends), strict=True):
        found[i] = part
    return found


def _projected(columns: NuisanceColumns, left: np.ndarray) -> np.ndarray:
    """Project orthonormal columns out of rows (n, Q)."""
    for _ in range(2):
        products = columns.products(left)
        left = left - columns.fit(products, 0, len(left))
        # A second round removes the rounding error of a large fit.
        if (np.square(products).sum(0) <= SMALL_FIT * sum_of_squares(left)).all():
            break
    return left.astype(float, copy=False)
