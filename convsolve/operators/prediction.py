"""The forward model: outputs of a kernel, computed for some rows of records at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from operator import add, itemgetter
from typing import Any

import numpy as np

from ..linalg.threads import one_blas_thread
from ..problem.nuisance import Nuisance
from ..problem.rows import Rows, Span
from ..problem.spec import ConvSpec
from .data import Data, Plan, Signal, Stack, cut
from .fourier import lanes
from .rows import rows

# Numbers of x and y that are used at a time, 32 MiB.
BLOCK_NUMBERS = 2**22
# Up to this many numbers in the rows of a stack, BLAS is not limited to one thread.
FEW_NUMBERS = 2**16
# Time of FFTs, at the start and per number of x and y, in products of rows: measured for 1 to 200
# taps and 1 to 64 channels. A row is read in the time of a few products.
FFT_START, FFT_NUMBER, READ = 2_500_000, 100, 4


def row_spans(
    records: Sequence[Any], outputs: int, spec: ConvSpec, numbers: int = BLOCK_NUMBERS
) -> list[Span]:
    """Return spans of all rows of records, of about ``numbers`` numbers of x and y."""
    kept = Rows.of(spec, [x.shape[:-1] for x in records])
    step = _step(records, kept, outputs, spec, numbers)
    return [span for chunk in cut(kept.pieces(0), step) for span in chunk]


def _step(records: Sequence[Any], kept: Rows, outputs: int, spec: ConvSpec, numbers: int) -> int:
    """Return a number of rows that reaches a kernel, as samples would be read twice otherwise."""
    of_y = (outputs * math.prod(shape[1:]) for shape in kept.shapes)
    of_x = (spec.stride[0] * (x.size // max(1, len(x))) for x in records)
    return max(numbers // max(1, *map(add, of_x, of_y)), spec._span[0])


def predicted(
    records: Sequence[Any],
    kernel: np.ndarray,
    bias: np.ndarray,
    spec: ConvSpec,
    by_rows: bool = False,
) -> list[np.ndarray]:
    """Return y ``(*T, Cout)`` of each record ``(*W, Cin)``, in the precision of the kernel.

    See `predicted_blocks`.
    """
    found = [
        np.empty((*spec.output_shape(x.shape[:-1]), kernel.shape[-1]), kernel.dtype)
        for x in records
    ]
    for (i, start, stop), block in predicted_blocks(records, kernel, bias, spec, by_rows):
        found[i][start:stop] = block
    return found


def predicted_blocks(
    records: Sequence[Any],
    kernel: np.ndarray,
    bias: np.ndarray,
    spec: ConvSpec,
    by_rows: bool = False,
) -> Iterator[tuple[Span, np.ndarray]]:
    """Yield the outputs (T', *T, Cout) for some rows at a time.

    FFTs are used if they are faster than products of rows, unless ``by_rows`` is set. Their errors
    are those of rounding relative to the largest samples around a row. The errors of products of
    rows are relative to the terms of each output.
    """
    outputs, lengths = kernel.shape[-1], [x.shape[:-1] for x in records]
    kept = Rows.of(spec, lengths)
    if not kept.count:
        return
    step = _step(records, kept, outputs, spec, BLOCK_NUMBERS)
    plan = Plan(lengths, spec, kept, Nuisance(), step)
    data = Data(plan, Signal(plan, records, of_x=True).as_given(), "rows that are predicted")
    nothing = Signal(plan, [np.empty((*s, 0)) for s in kept.shapes], of_x=False).as_given()
    w = kernel.reshape(data.columns, spec.groups, outputs // spec.groups).transpose(1, 0, 2)
    stacks = data.each(nothing)
    for lots in plan.chunks:
        blocks: dict[Span, np.ndarray] = {}
        for lot, stack in zip(lots, stacks, strict=False):
            found = _product(data, stack, w.astype(float, copy=False), by_rows)
            found = np.moveaxis(found, 1, plan.spec._long_axis + 1) + bias
            found = found.astype(kernel.dtype, copy=False)
            several = zip(lot.records.tolist(), found, strict=True)
            blocks |= {(i, lot.first, lot.last): block for i, block in several}
        yield from sorted(blocks.items(), key=itemgetter(0))


def _product(data: Data, stack: Stack, w: np.ndarray, by_rows: bool) -> np.ndarray:
    """Return A w (N, T, *T', Cout), for w (G, P, Q)."""
    shape = stack.own.data.shape[:-1]
    count, outputs = math.prod(shape), data.groups * w.shape[2]
    numbers = count * data.columns * data.groups
    of_ffts = FFT_START + FFT_NUMBER * (stack.x.data.size + count * outputs)
    if not by_rows and data.windows.by_fft and of_ffts < numbers * (READ + w.shape[2]):
        found = np.empty((*shape, outputs))
        for lane, some in lanes(data, stack):
            found[some] = lane.product(w)
        return found
    # The limit takes longer than a small product, and the other threads longer than a large one.
    with one_blas_thread() if numbers > FEW_NUMBERS else nullcontext():
        several = [r.a @ w for r in rows(data, stack)]
    return np.concatenate(several, 1).transpose(1, 0, 2).reshape(*shape, outputs)
