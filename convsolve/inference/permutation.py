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
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import warn
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import Design
from ..operators.filtered import autocovariances
from ..progress import tracked
from .errors import covariance_half

# Numbers of resampled y that are formed at a time.
NUMBERS_AT_ONCE = 2**22
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

    With H Hᵀ = (AᵀA)⁻¹, the explained sum of squares of y is ‖HᵀAᵀy‖².

    Raises:
        ValueError: If there are weights or confounds; the records are too few, too short or of
            several lengths for this kind; or the data do not determine a tap.
    """
    design, targets = analysis.design, analysis.targets
    lengths, matrix = _lengths(design), design.matrix
    _check(design, lengths, kind)
    assert targets is not None
    choices = (_permutations if kind == "records" else _shifts)(lengths, draws, seed)
    found, in_time = [], []
    for g in range(matrix.groups):
        y = matrix.output_rows(targets, g)[matrix.plan.in_time]
        y = (y - design.nuisance.constant * y.mean(0)) * matrix.outputs_of(targets).live[g]
        in_time.append(y)
        total = np.square(y).sum(0)
        about = total - y.sum(0) ** 2 / len(y)
        total = about if design.nuisance.constant else total
        with np.errstate(divide="ignore", invalid="ignore"):
            left = (total - _explained(analysis, g, y, choices, kind, lengths)) / about
        found.append(np.where(about > 0, 1 - left, np.nan))
    r2 = np.concatenate(found, axis=1)
    statistic, null = r2[0], r2[1:]
    p = (1 + (null >= statistic).sum(0)) / (1 + len(null))
    p = np.where(np.isnan(statistic), np.nan, p)
    if kind == "circular_shift":
        y = np.split(np.hstack(in_time), np.cumsum(lengths)[:-1])
        p = _slow_refused(p, _correlation_times(design, y), lengths)
    return PermutationTest(statistic, p, null)


def _explained(
    analysis: Analysis,
    group: int,
    y: np.ndarray,
    choices: np.ndarray,
    kind: str,
    lengths: Sequence[int],
) -> np.ndarray:
    """Return the explained sums of squares (samples, Q) of resampled y (n, Q), in time."""
    matrix, half = analysis.design.matrix, covariance_half(analysis.plain, group)
    at_once, found = max(1, NUMBERS_AT_ONCE // y.size), []
    starts = range(0, len(choices), at_once)
    for first in tracked(starts, "resampled y", len(starts)):
        drawn = y[_places(kind, choices[first : first + at_once], lengths).T]
        rows = np.empty((len(y), drawn[0].size))
        rows[matrix.plan.in_time] = drawn.reshape(len(y), -1)
        explained = np.square(half.T @ matrix.adjoint(group, rows)).sum(0)
        found.append(explained.reshape(drawn.shape[1:]))
    return np.concatenate(found)


def _lengths(design: Design) -> list[int]:
    """Return the rows of the records that have any. Gaps of excluded rows are closed."""
    if design.sizes.partialled:
        raise ValueError(
            "permutation_test needs rows that may be exchanged: no weights or confounds"
        )
    return [n for n in design.kept.sizes if n]


def _check(design: Design, lengths: list[int], kind: str) -> None:
    """Raise a ValueError if the records do not suit this kind of test."""
    rows, records, most = sum(lengths), len(lengths), max(lengths)
    kernel = -(-design.spec._span[0] // design.spec.stride[0])
    why = ""
    if kind == "records":
        if min(lengths) < most:
            why = f"kind='records' needs records of one length, got {min(lengths)} to {most} rows"
        elif math.factorial(min(records, 20)) <= FEWEST_DRAWS:
            why = f"kind='records' needs 4 records or more for a test at 5 %, got {records}"
    elif records == 1 and rows < FEWEST_KERNELS * kernel:
        why = (
            f"a single record of {rows} rows is shorter than {FEWEST_KERNELS} kernels of {kernel} "
        )
        why += "rows, so too few of its shifts are independent"
    elif math.prod(lengths) <= FEWEST_DRAWS:
        why = f"records of {min(lengths)} to {most} rows have {math.prod(lengths)} shifts, and a "
        why += f"test at 5 % needs {FEWEST_DRAWS + 1}"
    if why:
        raise ValueError(why)


# --- two ways to resample, the first sample in the order of time


def _shifts(lengths: Sequence[int], draws: int, seed: int) -> np.ndarray:
    """All shifts (samples, 1) of a single record if they are few, else random (samples, R)."""
    if len(lengths) == 1 and lengths[0] <= 1 + draws:
        return np.arange(lengths[0])[:, None]
    found = np.random.default_rng(seed).integers(0, lengths, (1 + draws, len(lengths)))
    found[0] = 0
    return found


def _permutations(lengths: Sequence[int], draws: int, seed: int) -> np.ndarray:
    """All permutations (samples, R) of the records if they are few, else random ones."""
    records = len(lengths)
    if records <= 20 and math.factorial(records) <= 1 + draws:
        return np.array([*itertools.permutations(range(records))])
    found = np.tile(np.arange(records), (1 + draws, 1))
    found[1:] = np.random.default_rng(seed).permuted(found[1:], axis=1)
    return found


def _places(kind: str, choices: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Return the places (samples, n) in time of the rows that resampled y consist of."""
    if kind == "records":
        places = choices[:, :, None] * lengths[0] + np.arange(lengths[0])
        return places.reshape(len(choices), -1)
    several = zip(np.cumsum([0, *lengths[:-1]]), lengths, choices.T, strict=True)
    return np.hstack([a + (np.arange(n) + shift[:, None]) % n for a, n, shift in several])


# --- correlation in time


def _correlation_times(design: Design, y: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (outputs,) after which products of x and y are about independent.

    (1 + ρ)/(1 − ρ), with ρ the product of the lag-one autocorrelations of x, the largest over
    channels, and of y.
    """
    of_x = _lag_one([np.asarray(a, float) for a in design.records], design.spec.stride[0])
    of_y = _lag_one(y, 1)
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
    spans, single = np.mean(lengths) / times, len(lengths) == 1
    slow = (spans < (FEWEST_TIMES if single else SHORT_TIMES)) & ~np.isnan(p)
    if not slow.any() or len(lengths) >= ENOUGH_RECORDS:
        return p
    output = int(np.argmax(slow))
    size = f"{spans[output]:.3g} correlation times of x and output {output} long"
    if single:
        warn(
            f"the record is {size}, and a test by circular shifts needs {FEWEST_TIMES}, so pvalue "
            "is NaN; use a longer record"
        )
        return np.where(slow, np.nan, p)
    warn(
        f"the records are {size}. With fewer than {SHORT_TIMES}, and fewer than {ENOUGH_RECORDS} "
        "records, a test at 5 % by circular shifts may reject in 7 %; use more records"
    )
    return p
