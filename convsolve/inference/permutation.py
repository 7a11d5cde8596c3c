"""Tests that y has nothing to do with x, from the R² of resampled y.

Circular shifts of each record and permutations of whole records keep the autocorrelation of y,
which permutations of single rows destroy. A rank is exact only among a whole group of shifts, so no
shift is excluded, the shift by zero included.

Source: K. D. Harris, arXiv:2012.06862 (shifts of time series).
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..errors import warn
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import Design
from ..operators.filtered import autocovariances
from ..progress import tracked
from .errors import covariance_half

# Numbers of orthonormal columns, and of their products with y, that are formed at a time.
COLUMN_NUMBERS = 2**24
# A test at 5 % needs this many resampled y.
FEWEST_DRAWS = 19
# A single record has to be as long as this many kernels, and as this many correlation times. Else
# too few shifts are independent of a true effect, and of each other.
FEWEST_KERNELS, FEWEST_TIMES = 20, 20
# Records shorter than this many correlation times are distorted by shifts, since a shift joins
# their ends. With this many records or more, the level holds nevertheless.
SHORT_TIMES, ENOUGH_RECORDS = 10, 6


class PermutationTest(NamedTuple):
    """Result of a test that y does not depend on x.

    Attributes:
        statistic: R² (outputs,) of least squares, about the mean of y.
        pvalue: (outputs,), (1 + number of null R² at least as large)/(1 + number of null R²). NaN
            for an output that is constant, or whose correlation in time is too slow.
        null_distribution: R² (draws, outputs) of resampled y.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 6, 100, 1))
        >>> fit = cs.solve(cs.Problem(x, x + noise, lags=(0, 2)))
        >>> test = fit.permutation_test(draws=199)
        >>> test.null_distribution.shape, float(test.pvalue[0])
        ((199, 1), 0.005)

    See Also:
        `Solution.permutation_test`, which returns it, and `FTest`.
    """

    statistic: np.ndarray
    pvalue: np.ndarray
    null_distribution: np.ndarray


def permutation_test(analysis: Analysis, kind: str, draws: int, seed: int) -> PermutationTest:
    """Rank the R² of y among those of resampled y.

    With the columns of A made orthonormal, Q, the explained sum of squares is ‖Qᵀy‖². A table per
    record of products Qᵀy then gives each draw as a sum over records.

    Raises:
        ValueError: If there are weights or confounds; the records are too few, too short or of
            several lengths for this kind; or the data do not determine a tap.
    """
    design = analysis.design
    lengths = _lengths(design)
    _check(design, lengths, kind)
    y = _records(_outputs(analysis), lengths)
    if kind == "records":
        choices, table = _permutations(len(y), draws, seed), partial(_of_records, y)
    else:
        choices, table = _shifts(lengths, draws, seed), partial(_of_shifts, y)
    explained = _explained(analysis, table, choices, lengths)
    whole = np.concatenate(y, axis=1)
    total = np.square(whole).sum(1, keepdims=True)
    about = total - whole.sum(1, keepdims=True) ** 2 / whole.shape[1]
    total = about if design.nuisance.constant else total
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1 - (total - explained) / np.where(about > 0, about, np.nan)
    r2 = r2.swapaxes(0, 1).reshape(len(choices), -1)
    statistic, null = r2[0], r2[1:]
    p = (1 + (null >= statistic).sum(0)) / (1 + len(null))
    p = np.where(np.isnan(statistic), np.nan, p)
    if kind == "circular_shift":
        p = _slow_refused(p, _correlation_times(design, y), lengths)
    return PermutationTest(statistic, p, null)


def _lengths(design: Design) -> list[int]:
    """Return the rows of the records that have any. Gaps of excluded rows are closed."""
    if design.sizes.partialled:
        raise ValueError(
            "permutation_test needs rows that may be exchanged: no weights or confounds"
        )
    return [n for n in design.kept.sizes if n]


def _check(design: Design, lengths: list[int], kind: str) -> None:
    """Raise a ValueError if the records do not suit this kind of test."""
    rows, records = sum(lengths), len(lengths)
    kernel = -(-design.spec._span[0] // design.spec.stride[0])
    if kind == "records":
        if len(set(lengths)) > 1:
            raise ValueError(
                f"kind='records' needs records of one length, got {min(lengths)} to {max(lengths)} "
                "rows"
            )
        if math.factorial(min(records, 20)) <= FEWEST_DRAWS:
            raise ValueError(
                f"kind='records' needs 4 records or more for a test at 5 %, got {records}"
            )
    if kind == "circular_shift" and records == 1 and rows < FEWEST_KERNELS * kernel:
        raise ValueError(
            f"a single record of {rows} rows is shorter than {FEWEST_KERNELS} kernels of {kernel} "
            "rows, so too few of its shifts are independent"
        )
    if kind == "circular_shift" and math.prod(lengths) <= FEWEST_DRAWS:
        raise ValueError(
            f"records of {min(lengths)} to {max(lengths)} rows have {math.prod(lengths)} shifts, "
            f"and a test at 5 % needs {FEWEST_DRAWS + 1}"
        )


def _outputs(analysis: Analysis) -> np.ndarray:
    """Return y (G, n, Q) in the order of time, with a fitted constant subtracted."""
    assert analysis.targets is not None
    matrix = analysis.design.matrix
    found = np.concatenate([y for _, y in matrix.row_blocks(analysis.targets)], axis=1)
    return found[:, matrix.plan.in_time]


def _records(values: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    """Rows (G, n, ...) of each record."""
    return np.split(values, np.cumsum(lengths)[:-1], axis=1)


# --- two ways to resample


def _shifts(lengths: Sequence[int], draws: int, seed: int) -> np.ndarray:
    """Shifts (samples, records), zero first: all of a single record, else random ones."""
    if len(lengths) == 1:
        return np.arange(lengths[0])[:, None]
    found = np.random.default_rng(seed).integers(0, lengths, (1 + draws, len(lengths)))
    found[0] = 0
    return found


def _permutations(records: int, draws: int, seed: int) -> np.ndarray:
    """Permutations (samples, records), the identity first: all if they are few, else random."""
    if records <= 20 and math.factorial(records) <= 1 + draws:
        return np.array([*itertools.permutations(range(records))])
    found = np.tile(np.arange(records), (1 + draws, 1))
    found[1:] = np.random.default_rng(seed).permuted(found[1:], axis=1)
    return found


def _of_shifts(y: Sequence[np.ndarray], record: int, q: np.ndarray) -> np.ndarray:
    """Return qᵀy (G, rows, k, Q) of a record for every shift of it; q is (G, n, k)."""
    from scipy.fft import irfft, rfft

    length = q.shape[1]
    of_q = rfft(q, axis=1).conj()[..., None]
    of_y = rfft(y[record], axis=1)[:, :, None]
    return np.asarray(irfft(of_q * of_y, length, axis=1))


def _of_records(y: Sequence[np.ndarray], record: int, q: np.ndarray) -> np.ndarray:
    """Return qᵀy (G, records, k, Q) of the columns of a record and y of every record."""
    return np.stack([q.swapaxes(1, 2) @ a for a in y], axis=1)


# --- sums over records


def _explained(
    analysis: Analysis,
    table: Callable[[int, np.ndarray], np.ndarray],
    choices: np.ndarray,
    lengths: Sequence[int],
) -> np.ndarray:
    """Explained sum of squares (G, samples, Q) of every sample.

    ``table`` returns qᵀy (G, entries, k, Q) of a record and its columns q (G, n, k), and
    ``choices`` (samples, records) which entry each sample takes.
    """
    assert analysis.targets is not None
    outputs = analysis.targets.outputs
    found = np.zeros((analysis.design.spec.groups, len(choices), outputs))
    entries = int(choices.max()) + 1
    for q in _orthonormal(analysis, outputs * (entries + len(choices))):
        sums = np.zeros((len(q), len(choices), q.shape[2], outputs))
        for r, of_record in enumerate(_records(q, lengths)):
            sums += table(r, of_record)[:, choices[:, r]]
        found += np.square(sums).sum(2)
    return found


def _orthonormal(analysis: Analysis, numbers: int) -> Iterator[np.ndarray]:
    """Orthonormal columns (G, n, k) that span those of A, some at a time.

    ``numbers`` are formed from each of them.
    """
    operator = analysis.design.matrix
    inverse = np.stack([covariance_half(analysis.plain, g) for g in range(operator.groups)])
    step = max(1, COLUMN_NUMBERS // (operator.groups * (operator.rows + numbers)))
    starts = range(0, inverse.shape[2], step)
    for first in tracked(starts, "columns, multiplied by resampled y", len(starts)):
        some = inverse[:, :, first : first + step]
        found = np.concatenate([a @ some for a, _ in operator.row_blocks()], axis=1)
        yield found[:, operator.plan.in_time]


# --- correlation in time


def _correlation_times(design: Design, y: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (outputs,) after which products of x and y are about independent.

    (1 + ρ)/(1 − ρ), with ρ the product of the lag-one autocorrelations of x, the largest over
    channels, and of y.
    """
    of_x = _lag_one([np.asarray(a, float) for a in design.records], design.spec.stride[0])
    of_y = _lag_one([np.concatenate([*a], axis=1) for a in y], 1)
    rho = np.clip(of_x.max() * of_y, 0.0, 1 - sys.float_info.epsilon)
    return np.asarray((1 + rho) / (1 - rho))


def _lag_one(records: Sequence[np.ndarray], lag: int) -> np.ndarray:
    """Autocorrelation (C,) of records (n, C) about their means, 0 of a constant."""
    size = max(float(np.abs(a).max(initial=0.0)) for a in records) or 1.0
    centred = [a / size - (a / size).mean(0) for a in records if len(a)]
    covariances = autocovariances(centred, lag)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = covariances[lag] / covariances[0]
    return np.asarray(np.where(covariances[0] > 0, found, 0.0))


def _slow_refused(p: np.ndarray, times: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """p, NaN for outputs of a single record that has too few independent shifts, with warnings."""
    spans = sum(lengths) / len(lengths) / times
    slow = spans < (FEWEST_TIMES if len(lengths) == 1 else SHORT_TIMES)
    slow &= ~np.isnan(p)
    if not slow.any() or len(lengths) >= ENOUGH_RECORDS:
        return p
    output = int(np.argmax(slow))
    if len(lengths) == 1:
        text = (
            f"the record is {spans[output]:.3g} correlation times of x and output {output} long, "
            f"and a test by circular shifts needs {FEWEST_TIMES}, so pvalue is NaN; use a longer "
            "record"
        )
    else:
        text = (
            f"the records are {spans[output]:.3g} correlation times of x and output {output} long. "
            f"With fewer than {SHORT_TIMES}, and fewer than {ENOUGH_RECORDS} records, a test at "
            "5 % by circular shifts may reject in 7 %; use more records"
        )
    warn(text)
    return np.where(slow, np.nan, p) if len(lengths) == 1 else p
