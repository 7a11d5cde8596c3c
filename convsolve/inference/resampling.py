"""Errors and tests that assume no model of the noise: records left out, y shifted against x.

Source: B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, SIAM 1982, section 3
(records left out).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE
from ..linalg.factor import Factor, cholesky_factor
from ..linalg.minimum_norm import exponents_of
from ..linalg.threads import blas_threads
from ..operators.layout import to_kernel
from ..operators.moments import Moments
from ..problem.checks import fraction
from ..problem.rows import Span
from ..progress import tracked
from .folds import beside, fold_moments, part, training

# Numbers of orthonormal columns that are formed at a time.
COLUMN_NUMBERS = 2**24
# Pivots of a Gram matrix beyond this ratio cost four digits, which residuals of the data mend.
MOST_PIVOTS = 1e2
# A test at five per cent takes that many shifts beside the one observed.
FEWEST_SHIFTS = 19


class Jackknife(NamedTuple):
    """What leaving out each record in turn tells of an answer.

    Attributes:
        kernel: the answer of all records, ``(*K, Cin/groups, Cout)``.
        standard_error: of every tap, kernel-shaped, √((R − 1)/R · Σ_r (w_r − mean w)²).
        dof: R − 1, of the t of these errors.
        kernels: w_r, those without each record that has rows, ``(R, *K, Cin/groups, Cout)``.
    """

    kernel: np.ndarray
    standard_error: np.ndarray
    dof: int
    kernels: np.ndarray

    def confidence_band(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of a band about the kernel that holds each tap so often."""
        from scipy.special import stdtrit

        reach = stdtrit(self.dof, (1 + fraction(level, "level")) / 2) * self.standard_error
        return self.kernel - reach, self.kernel + reach


class PermutationTest(NamedTuple):
    """A test that y has nothing to do with x.

    Attributes:
        statistic: R² (outputs,) of least squares, about the mean of y.
        p: (outputs,), the share of shifts whose R² is as large, the one observed among them.
        null: R² (shifts, outputs) of y shifted against x.
    """

    statistic: np.ndarray
    p: np.ndarray
    null: np.ndarray


def jackknife(analysis: Analysis, kernel: np.ndarray) -> Jackknife:
    """Least squares without each record, from sums over records.

    Raises:
        ValueError: a single record; records without one of which a tap is not determined.
    """
    design, targets = analysis.design, analysis.targets
    assert targets is not None
    lengths = design.adjustments.kept.lengths
    folds: list[list[Span]] = [[(i, 0, lengths[i])] for i in design.adjustments.kept.used]
    if len(folds) < 2:
        raise ValueError("jackknife needs two records or more that have rows")
    like = design.moments
    several = tracked(folds, "sums over records", len(folds))
    sums = [fold_moments(design, targets.records, fold, like) for fold in several]
    found = []
    with blas_threads(design.blas_columns):
        for held, rest in enumerate(tracked(training(sums, None), "records left out", len(folds))):
            columns = _by_gram(rest, design.nuisance.constant)
            if columns is None:
                found.append(_from_data(analysis, folds, held))
                continue
            power = rest.out_exponents[:, None] - rest.column_exponents[:, :, None]
            with np.errstate(over="ignore", under="ignore"):
                found.append(to_kernel(np.ldexp(columns, power), design.spec.kernel_size))
    kernels = np.stack(found)
    # In units in which squares stay within float64, output by output and tap by tap.
    unit = np.frexp(np.abs(kernels).max(0))[1]
    with np.errstate(under="ignore"):
        scaled = np.ldexp(kernels, -unit)
    spread = np.sqrt(np.square(scaled - scaled.mean(0)).sum(0) * (len(folds) - 1) / len(folds))
    return Jackknife(kernel, np.ldexp(spread, unit), len(folds) - 1, kernels)


def _by_gram(moments: Moments, constant: bool) -> np.ndarray | None:
    """Least squares (G, P, Q) in units of the moments, or None unless these prove full rank, and
    cost few digits.
    """
    gram, cross = moments.centred() if constant else (moments.gram, moments.rhs)
    found = []
    for g, c in zip(gram, cross, strict=True):
        exponents = exponents_of(np.sqrt(np.maximum(np.diagonal(g), 0.0)))
        scale = np.ldexp(1.0, -exponents)
        factor = cholesky_factor(g * scale * scale[:, None], exponents, moments.n)
        if factor is None:
            return None
        pivots = np.abs(np.diagonal(factor.r))
        if pivots.max() > MOST_PIVOTS * pivots.min():
            return None
        found.append(scale[:, None] * factor.solve_normal(scale[:, None] * c))
    return np.stack(found)


def _from_data(analysis: Analysis, folds: list[list[Span]], held: int) -> np.ndarray:
    """The kernel without one fold, refined through the data, by a QR where a Gram does not do."""
    design, targets = analysis.design, analysis.targets
    assert targets is not None
    records = design.inputs.records, targets.records
    spans, bias = beside(folds, held, []), design.nuisance.constant
    of_rest = part(design.spec, records, spans, bias, design.lags, design.adjustments)
    rest = Analysis.of(of_rest, design.sizes.limits)
    regression = rest.regression(RIDGE, 0.0)
    answer = regression.by_best_factor()
    if answer is None:
        raise ValueError(
            f"without record {folds[held][0][0]} the data do not determine every tap, so that "
            "leaving out a record says nothing of its error; use noise='cluster'"
        )
    return regression.to_user(answer[0])[0]


def circular_shifts(analysis: Analysis) -> PermutationTest:
    """R² of y shifted in a circle against x, by every number of rows at once.

    With q the columns of A brought to orthonormal ones, that of a shift s is Σ_q (Σ_t q[t]·y[t +
    s])², whose inner sums are one circular correlation for all s.

    Raises:
        ValueError: records of several lengths; too few rows; a tap is not determined.
    """
    from scipy.fft import irfft, rfft

    design, targets, operator = analysis.design, analysis.targets, analysis.design.operator
    assert targets is not None
    shifts = _shifts(analysis)
    length = design.adjustments.kept.lengths[design.adjustments.kept.used[0]]
    inverse = np.stack([_inverse(analysis, g) for g in range(operator.groups)])
    y = np.concatenate([b for _, b in operator.row_blocks(targets) if b is not None], axis=1)
    spectra = rfft(y.reshape(len(y), -1, length, y.shape[2]), axis=2)
    explained = np.zeros((len(y), length, y.shape[2]))
    step = max(1, COLUMN_NUMBERS // (len(y) * y.shape[1]))
    columns = inverse.shape[2]
    starts = range(0, columns, step)
    for first in tracked(starts, "columns, shifted against y", len(starts)):
        some = inverse[:, :, first : first + step]
        q = np.concatenate([a @ some for a, _ in operator.row_blocks()], axis=1)
        seen = rfft(q.reshape(len(q), -1, length, q.shape[2]), axis=2).conj()
        for j in range(seen.shape[3]):
            joint = (seen[..., [j]] * spectra).sum(1)
            explained += np.square(irfft(joint, length, axis=1))
    total = np.square(y).sum(1)
    about = total - (y.sum(1) ** 2) / y.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1 - (total[:, None] - explained) / np.where(about > 0, about, np.nan)[:, None]
    r2 = r2.swapaxes(0, 1).reshape(length, -1)
    statistic, null = r2[0], r2[shifts]
    p = (1 + (null >= statistic).sum(0)) / (1 + len(null))
    return PermutationTest(statistic, np.where(np.isnan(statistic), np.nan, p), null)


def _shifts(analysis: Analysis) -> np.ndarray:
    """Numbers of rows by which y is shifted: those after which no row reads samples of its own."""
    design = analysis.design
    if design.sizes.masked or design.sizes.partialled:
        raise ValueError("permutation_test takes all rows alike: no mask, weights or confounds")
    lengths = {n for n in design.adjustments.kept.lengths if n}
    if len(lengths) > 1:
        raise ValueError(
            "permutation_test shifts all records alike, and they have "
            f"{min(lengths)} to {max(lengths)} rows; cut them to one length"
        )
    (length,) = lengths
    apart = -(-design.spec.span[0] // design.spec.stride[0])
    found = np.arange(apart, length - apart + 1)
    if len(found) < FEWEST_SHIFTS:
        raise ValueError(
            f"records of {length} rows have {len(found)} shifts beyond the {apart} rows of the "
            f"kernel, and a test at 5 % takes {FEWEST_SHIFTS}; use longer records or fewer taps"
        )
    return found


def _inverse(analysis: Analysis, group: int) -> np.ndarray:
    """R⁻¹ (P, P), by which columns of the operator become orthonormal."""
    system = analysis.plain
    factor: Factor | None = system.factor(group)
    if factor is None or not factor.full_rank:
        raise ValueError("the data do not determine every tap; see identify")
    relative = system.scaling.relative[group]
    return np.ldexp(factor.whiten(np.eye(len(relative))), -relative[:, None])
