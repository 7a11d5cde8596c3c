"""The forward model: outputs of a kernel, computed for some rows of a record at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import tee
from typing import Any

import numpy as np

from ..linalg.threads import one_blas_thread
from ..problem.rows import Span
from ..problem.spec import ConvSpec
from ..progress import tracked
from . import products
from .by_fft import component_parts, in_component
from .map_reduce import each
from .overlap_save import by_fft, component_columns, component_taps
from .windows import NormalForm, forward_records

# Numbers of x and y that are used at a time, 32 MiB.
BLOCK_NUMBERS = 2**22
# Up to this many numbers in the design matrix of a block, BLAS is not limited to one thread.
FEW_NUMBERS = 2**16
# Time of FFTs, at the start and per number of x and y, in products of rows: measured for 1 to 200
# taps and 1 to 64 channels. A row is read in the time of a few products.
FFT_START, FFT_NUMBER, READ = 2_500_000, 100, 4


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


def row_spans(
    records: Iterable[Any], outputs: int, spec: ConvSpec, numbers: int = BLOCK_NUMBERS
) -> Iterator[Span]:
    """Yield spans of all rows of records, of about ``numbers`` numbers of x and y."""
    for i, x in enumerate(records):
        shape = spec.output_shape(x.shape[:-1])
        if not all(shape):
            continue
        a_row = spec.stride[0] * (x.size // len(x)) + outputs * math.prod(shape[1:])
        # At least as many rows as the kernel is long, as otherwise most samples are read twice.
        step = max(numbers // a_row, spec._span[0])
        for start in range(0, shape[0], step):
            yield i, start, min(start + step, shape[0])


def rows_of(pair: tuple[Span, np.ndarray]) -> int:
    """Return the number of rows along the first axis of a span and its block."""
    return len(pair[1])


def predicted_blocks(
    records: Sequence[Any],
    kernel: np.ndarray,
    bias: np.ndarray,
    spec: ConvSpec,
    by_rows: bool = False,
) -> Iterator[tuple[Span, np.ndarray]]:
    """Yield the outputs (T', *T, Cout) for some rows at a time.

    FFTs in float64 are used if they are faster than products of rows, unless ``by_rows`` is set.
    Their errors are those of rounding relative to the largest samples around a row. The errors of
    products of rows are relative to the terms of each output.
    """
    several, again = tee(row_spans(records, kernel.shape[-1], spec))
    read = (NormalForm.of_rows(records[i], spec, a, b) for i, a, b in again)
    blocks = each(_predicted, read, kernel, bias, spec._normal, by_rows)
    rows = sum(spec.output_shape(x.shape[:-1])[0] for x in records)
    pairs = zip(several, blocks, strict=True)
    return tracked(pairs, "rows that are predicted", rows, size=rows_of)


def _predicted(
    x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, spec: ConvSpec, by_rows: bool
) -> np.ndarray:
    """Return the output of x (*E, Cin) in normal form."""
    rows, outputs = spec._rows(x.shape[:-1]), kernel.shape[-1]
    numbers = rows * kernel[..., 0].size
    products_of_rows = numbers * (READ * spec.groups + outputs)
    of_ffts = FFT_START + FFT_NUMBER * (x.size + rows * outputs)
    if not by_rows and by_fft(spec) and of_ffts < products_of_rows:
        y = _by_fft(x.astype(float, copy=False), kernel.astype(float), spec)
        return (y + bias).astype(kernel.dtype, copy=False)
    # The limit takes longer than a small product, and the other threads longer than a large one.
    with one_blas_thread() if numbers > FEW_NUMBERS else nullcontext():
        return forward_records([x.astype(kernel.dtype, copy=False)], kernel, bias, spec)[0]


def _by_fft(x: np.ndarray, kernel: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Return the output in float64, without the bias."""
    y = np.empty((1, *spec.output_shape(x.shape[:-1]), kernel.shape[-1]))
    # Scale by powers of two, as sums of an FFT overflow before y does.
    high, size = (int(np.frexp(np.abs(a).max())[1]) for a in (x, kernel))
    high = max(high, -1020)
    inputs, outs = x.shape[-1], kernel.shape[-1]
    scales = np.full(inputs, np.ldexp(1.0, -high)), np.ones(outs)
    taps, columns = component_taps(spec), component_columns(spec, kernel.shape[-2])
    flat = np.ldexp(kernel, -size).reshape(-1, spec.groups, outs // spec.groups)
    shifts = np.zeros(inputs), np.zeros(outs)
    for g, part, out, _ in component_parts([(x[None], y, None)], spec, scales, shifts):
        assert out is not None
        out.data[...] = products.forward(part, in_component(flat[:, g], part, taps, columns))
    return np.ldexp(y[0], high + size)
