"""What a kernel makes of records: the forward model, some rows of a record at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from typing import Any

import numpy as np

from ..problem.rows import Span
from ..problem.spec import ConvSpec
from ..problem.stored import for_one_pass
from ..progress import tracked
from . import products
from .fourier import component_parts, in_component
from .overlap_save import by_fft, component_columns, component_taps
from .totals import each
from .windows import NormalForm, forward_records

# Numbers of x and y of the rows that are predicted at a time, 32 MiB.
BLOCK_NUMBERS = 2**22
# From so many numbers of the design matrix of a block on FFTs are faster than rows.
LONG_NUMBERS = 2**22


def predicted(
    records: Sequence[Any],
    kernel: np.ndarray,
    bias: np.ndarray,
    spec: ConvSpec,
    long_numbers: float = LONG_NUMBERS,
) -> list[np.ndarray]:
    """y ``(*T, Cout)`` of each record ``(*W, Cin)``, in the kernel's precision."""
    found = [
        np.empty((*spec.output_shape(x.shape[:-1]), kernel.shape[-1]), kernel.dtype)
        for x in records
    ]
    for (i, start, stop), block in predicted_blocks(records, kernel, bias, spec, long_numbers):
        found[i][start:stop] = block
    return found


def row_spans(
    records: Iterable[Any], outputs: int, spec: ConvSpec, numbers: int = BLOCK_NUMBERS
) -> Iterator[Span]:
    """All rows of records, about ``numbers`` numbers of x and y at a time."""
    for i, x in enumerate(records):
        shape = spec.output_shape(x.shape[:-1])
        if not all(shape):
            continue
        a_row = spec.stride[0] * (x.size // len(x)) + outputs * math.prod(shape[1:])
        # No fewer rows than a kernel reads, or most samples would be read twice.
        step = max(numbers // a_row, spec.span[0])
        for start in range(0, shape[0], step):
            yield i, start, min(start + step, shape[0])


def rows_of(pair: tuple[Span, np.ndarray]) -> int:
    """How many rows along the first axis a block has that stands beside its span."""
    return len(pair[1])


def predicted_blocks(
    records: Sequence[Any],
    kernel: np.ndarray,
    bias: np.ndarray,
    spec: ConvSpec,
    long_numbers: float = LONG_NUMBERS,
) -> Iterator[tuple[Span, np.ndarray]]:
    """The same (T', *T, Cout) some rows at a time.

    By FFTs in float64 where their design matrix has ``long_numbers`` or more: good to rounding
    beside the largest samples about a row.
    """
    records = [*map(for_one_pass, records)]
    several, again = tee(row_spans(records, kernel.shape[-1], spec))
    read = (NormalForm.of_rows(records[i], spec, a, b) for i, a, b in again)
    blocks = each(_predicted, read, kernel, bias, spec.normal, long_numbers)
    rows = sum(spec.output_shape(x.shape[:-1])[0] for x in records)
    pairs = zip(several, blocks, strict=True)
    return tracked(pairs, "rows that are predicted", rows, size=rows_of)


def _predicted(
    x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, spec: ConvSpec, long_numbers: float
) -> np.ndarray:
    """That of x (*E, Cin) in normal form."""
    if spec.rows(x.shape[:-1]) * kernel[..., 0].size >= long_numbers and by_fft(spec):
        y = _by_fft(x.astype(float, copy=False), kernel.astype(float), spec)
        return (y + bias).astype(kernel.dtype, copy=False)
    return forward_records([x.astype(kernel.dtype, copy=False)], kernel, bias, spec)[0]


def _by_fft(x: np.ndarray, kernel: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """The same in float64, without the bias."""
    y = np.empty((1, *spec.output_shape(x.shape[:-1]), kernel.shape[-1]))
    # Powers of two against the sums of an FFT, which leave float64 before y does.
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
