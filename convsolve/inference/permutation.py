"""Tests that y has nothing to do with x, from the R² of resampled y.

Circular shifts of each record, permutations of whole records, or draws from an autoregression keep
the autocorrelation of y, which permutations of single rows destroy. A rank is exact only among a
whole group of shifts, so no shift is excluded, the shift by zero included.

Source: K. D. Harris, arXiv:2012.06862 (shifts of time series); M. G. Kendall, Biometrika 41 (1954)
403 (bias of an autocorrelation).
"""

from __future__ import annotations

import itertools
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from ..errors import warn
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import Design
from ..operators.filtered import autocovariances
from ..progress import tracked
from .autoregression import levinson
from .uncertainty import covariance_half

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
# Largest order of the autoregression, largest coefficient of one of order one, and smallest share
# of the variance that its innovations have.
MOST_ORDER, MOST_CORRELATED, ROUNDING = 6, 0.99, 1e-8


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
    analysis = analysis.in_time
    design = analysis.design
    lengths = _lengths(design)
    _check(design, lengths, kind)
    y = _records(_outputs(analysis), lengths)
    resampled: _Resampled
    if kind == "records":
        resampled = _WholeRecords(y, _permutations(len(y), draws, seed))
    elif kind == "ar":
        resampled = _AutoregressiveDraws(y, draws, seed)
    else:
        resampled = _Shifts(y, _shifts(lengths, draws, seed))
    explained = _explained(analysis, resampled, lengths)
    total, about = resampled.squares(design.nuisance.constant)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1 - (total - explained) / np.where(about > 0, about, np.nan)
    r2 = r2.swapaxes(0, 1).reshape(len(resampled.choices), -1)
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
    return [n for n in design.adjustments.kept.sizes if n]


def _check(design: Design, lengths: list[int], kind: str) -> None:
    """Raise a ValueError if the records do not suit this kind of test."""
    rows, records = sum(lengths), len(lengths)
    kernel = -(-design.spec._span[0] // design.spec.stride[0])
    if kind == "records":
        if len(set(lengths)) > 1:
            raise ValueError(
                f"kind='records' needs records of one length, got {min(lengths)} to {max(lengths)} "
                "rows; cut them to one length, or use kind='circular_shift'"
            )
        if math.factorial(min(records, 20)) <= FEWEST_DRAWS:
            raise ValueError(
                f"kind='records' needs 4 records or more for a test at 5 %, got {records}; use "
                "kind='circular_shift'"
            )
    if kind == "circular_shift" and records == 1 and rows < FEWEST_KERNELS * kernel:
        raise ValueError(
            f"a single record of {rows} rows is shorter than {FEWEST_KERNELS} kernels of {kernel} "
            "rows, so too few of its shifts are independent; use a longer record, fewer taps, or "
            "kind='ar'"
        )
    if kind == "circular_shift" and math.prod(lengths) <= FEWEST_DRAWS:
        raise ValueError(
            f"records of {min(lengths)} to {max(lengths)} rows have {math.prod(lengths)} shifts, "
            f"and a test at 5 % needs {FEWEST_DRAWS + 1}; use longer records"
        )


def _outputs(analysis: Analysis) -> np.ndarray:
    """Return y (G, n, Q), with a fitted constant subtracted."""
    assert analysis.targets is not None
    blocks = analysis.design.matrix.row_blocks(analysis.targets)
    return np.concatenate([b for _, b in blocks if b is not None], axis=1)


def _records(values: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    """Rows (G, n, ...) of each record."""
    return np.split(values, np.cumsum(lengths)[:-1], axis=1)


# --- three ways to resample


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


class _Resampled(ABC):
    """Resampled y, record by record. The first sample is y itself.

    Attributes:
        choices: which entry of the table of a record each sample takes, (samples, records).
    """

    def __init__(self, y: Sequence[np.ndarray], choices: np.ndarray) -> None:
        self._y, self.choices = y, choices

    @abstractmethod
    def table(self, record: int, q: np.ndarray) -> np.ndarray:
        """Return qᵀy (G, entries, k, Q) of a record for columns q (G, n, k)."""

    def squares(self, constant: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return Σy² about a fitted ``constant``, and Σ(y − ȳ)², each (G, samples or 1, Q)."""
        total, sums = self._sums()
        about = total - sums**2 / sum(a.shape[1] for a in self._y)
        return about if constant else total, about

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Return Σy² and Σy of the samples; by default of y, whose values are only reordered."""
        whole = np.concatenate(self._y, axis=1)
        return np.square(whole).sum(1, keepdims=True), whole.sum(1, keepdims=True)


class _Shifts(_Resampled):
    """y shifted in a circle within each record; an entry is a number of rows."""

    def table(self, record: int, q: np.ndarray) -> np.ndarray:
        from scipy.fft import irfft, rfft

        length = q.shape[1]
        of_q = rfft(q, axis=1).conj()[..., None]
        of_y = rfft(self._y[record], axis=1)[:, :, None]
        return np.asarray(irfft(of_q * of_y, length, axis=1))


class _WholeRecords(_Resampled):
    """y of other records; an entry is a record."""

    def table(self, record: int, q: np.ndarray) -> np.ndarray:
        return np.stack([q.swapaxes(1, 2) @ y for y in self._y], axis=1)


class _AutoregressiveDraws(_Resampled):
    """Gaussian draws from an autoregression that was fitted to y; an entry is a draw."""

    def __init__(self, y: Sequence[np.ndarray], draws: int, seed: int) -> None:
        super().__init__(y, np.tile(np.arange(1 + draws)[:, None], len(y)))
        self._draws, self._seed = draws, seed
        mean = np.concatenate(y, axis=1).mean(1, keepdims=True)
        self._mean = np.swapaxes(mean, 1, 2)[..., None]
        flat = [np.concatenate([*a], axis=1) for a in y]
        self._processes = [Process.fitted([a[:, [o]] for a in flat]) for o in range(len(flat[0].T))]

    def _samples(self, record: int) -> np.ndarray:
        """Return y and its draws (G, Q, n, samples) of one record."""
        y = np.swapaxes(self._y[record], 1, 2)[..., None]
        rng = np.random.default_rng([self._seed, record])
        shape = y.shape[2], self._draws
        drawn = [process.draws(rng, *shape) for process in self._processes]
        noise = np.reshape(drawn, (*y.shape[:2], *shape))
        return np.concatenate([y, self._mean + noise], axis=3)

    def table(self, record: int, q: np.ndarray) -> np.ndarray:
        found = np.swapaxes(q, 1, 2)[:, None] @ self._samples(record)
        return np.moveaxis(found, (1, 2, 3), (3, 2, 1))

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        several = (self._samples(record) for record in range(len(self._y)))
        sums = (np.stack([np.square(a).sum(2), a.sum(2)]) for a in several)
        total, plain = np.swapaxes(reduce(np.add, sums), 2, 3)
        return total, plain


class Process(NamedTuple):
    """Stationary autoregression of Gaussian noise.

    Attributes:
        coefficients: (p,), of the values 1 to p rows before.
        covariances: autocovariances (p,) of lags 0 to p − 1.
        variance: of the innovations.
    """

    coefficients: np.ndarray
    covariances: np.ndarray
    variance: float

    @classmethod
    def fitted(cls, records: Sequence[np.ndarray]) -> Process:
        """Fit records (n, 1) about their means, with the order of least BIC.

        The coefficient of order one is corrected for the bias that the means of the records cause.
        """
        centred = [a - a.mean(0) for a in records]
        rows = sum(map(len, centred))
        most = min(MOST_ORDER, rows // len(records) - 2)
        covariances = autocovariances(centred, max(most, 0))
        if not covariances[0, 0] > 0:
            return cls(np.zeros(0), np.zeros(0), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            by_order, variances = levinson(covariances)
        # Later orders of a series that is predictable to rounding are not defined.
        real = np.logical_and.accumulate(variances[:, 0] > ROUNDING * covariances[0, 0])
        bic = np.full(len(variances), np.inf)
        bic[real] = rows * np.log(variances[real, 0]) + np.log(rows) * np.flatnonzero(real)
        order = int(np.argmin(bic))
        coefficients, variance = by_order[order, :order, 0], float(variances[order, 0])
        if order == 1:
            a = float(coefficients[0])
            a = min(a + (1 + 3 * a) * len(records) / rows, MOST_CORRELATED)
            coefficients, variance = np.array([a]), float(covariances[0, 0]) * (1 - a**2)
        return cls(coefficients, covariances[:order, 0], variance)

    def draws(self, rng: np.random.Generator, rows: int, number: int) -> np.ndarray:
        """Draw a number of series (rows, number)."""
        from scipy.linalg import toeplitz
        from scipy.signal import lfilter

        order, noise = len(self.coefficients), math.sqrt(self.variance)
        innovations = noise * rng.standard_normal((rows, number))
        if not order:
            return innovations
        # The values before the first row, the last one first.
        before = np.linalg.cholesky(toeplitz(self.covariances)) @ rng.standard_normal(
            (order, number)
        )
        state = [self.coefficients[m:] @ before[: order - m] for m in range(order)]
        filters = [1.0], np.append(1.0, -self.coefficients)
        found: np.ndarray = lfilter(*filters, innovations, axis=0, zi=np.array(state))[0]
        return found


# --- sums over records


def _explained(analysis: Analysis, resampled: _Resampled, lengths: Sequence[int]) -> np.ndarray:
    """Explained sum of squares (G, samples, Q) of every sample."""
    assert analysis.targets is not None
    choices, outputs = resampled.choices, analysis.targets.outputs
    found = np.zeros((analysis.design.spec.groups, len(choices), outputs))
    entries = int(choices.max()) + 1
    for q in _orthonormal(analysis, outputs * (entries + len(choices))):
        sums = np.zeros((len(q), len(choices), q.shape[2], outputs))
        for r, of_record in enumerate(_records(q, lengths)):
            sums += resampled.table(r, of_record)[:, choices[:, r]]
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
        yield np.concatenate([a @ some for a, _ in operator.row_blocks()], axis=1)


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
            "record, or kind='ar'"
        )
    else:
        text = (
            f"the records are {spans[output]:.3g} correlation times of x and output {output} long. "
            f"With fewer than {SHORT_TIMES}, and fewer than {ENOUGH_RECORDS} records, a test at "
            "5 % by circular shifts may reject in 7 %; use kind='ar'"
        )
    warn(text)
    return np.where(slow, np.nan, p) if len(lengths) == 1 else p
