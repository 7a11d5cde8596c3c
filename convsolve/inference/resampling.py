"""Standard errors by the jackknife, and tests that y has nothing to do with x, by resampled y.

The jackknife leaves out each record in turn, and assumes no model of the noise. Circular shifts of
each record and permutations of whole records keep the autocorrelation of y, which permutations of
single rows destroy. A rank is exact only among a whole group of shifts, so no shift is excluded,
the shift by zero included.

Held-out correlations of several folds depend on each other: the kernel without record k contains
y of record j, and the other way round. Their kernels are therefore fitted again for every resampled
y. With fixed kernels, a test at 5 % would reject in 8 to 18 %.

Source: B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, SIAM 1982, section 3
(jackknife); K. D. Harris, arXiv:2012.06862 (shifts of time series).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, cast

import numpy as np

from ..errors import warn
from ..facts import Fact, Reported, by_output, of_fields
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import Design
from ..leastsquares.penalty import Penalty
from ..leastsquares.regression import Regression
from ..linalg.lapack import choleskys, diagonals
from ..linalg.rank import EPS
from ..operators.filtered import lag_sums
from ..operators.layout import ascending
from ..problem.checks import choice, fraction, integer
from ..problem.problem import Problem, one_mask
from ..problem.sizes import Tuning
from ..progress import tracked
from ..text import count, span
from .errors import UnitCovariance, t_quantile
from .folds import CrossValidation
from .patterns import patterns
from .select import Scoring
from .spectrum import Spectrum
from .sums import FoldSums, fold_sums

# Smallest pivot of columns of norm one for which a Gram matrix gives a kernel to eight digits.
LEAST_PIVOT = 1e-3
# Numbers of resampled y that are formed at a time.
NUMBERS_AT_ONCE = 2**22
# A test at 5 % needs this many resampled y, or this many records whose order changes.
FEWEST_DRAWS, FEWEST_RECORDS = 19, 4
# Numbers of sums with resampled y that are formed at a time.
SUMS_AT_ONCE = 2**22
# A single record has to be as long as this many correlation times. Else too few shifts are
# independent of each other.
FEWEST_TIMES = 20
# Records shorter than this many correlation times are distorted by shifts, since a shift joins
# their ends. With this many records or more, the level holds nevertheless.
SHORT_TIMES, ENOUGH_RECORDS = 10, 6


@dataclass(frozen=True, repr=False, eq=False)
class Jackknife(Reported):
    """Kernels without each record in turn, and the standard errors that they imply.

    With ``jackknife(patterns=...)``, patterns take the place of kernels.

    Attributes:
        kernel: ``(*K, Cin/groups, Cout)``, the kernel of all records.
        dof: R − 1, the degrees of freedom of the errors, for R records.
        kernels: ``(R, *K, Cin/groups, Cout)``, the kernel without each record that has rows.
        modelled: flags ``(*K, Cin/groups, Cout)`` of the taps that may differ from zero. The others
            are outside the window of their channel, and their errors are NaN.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 12, 100, 1))
        >>> jackknife = cs.solve(cs.Problem(x, x + noise, lags=(0, 4))).jackknife()
        >>> jackknife.standard_error.shape
        (5,)

    See Also:
        `Solution.jackknife`, which returns it.
    """

    kernel: np.ndarray
    dof: int
    kernels: np.ndarray
    modelled: np.ndarray

    @property
    def standard_error(self) -> np.ndarray:
        """√((R − 1)/R · Σ_r (w_r − mean w)²), shaped as `Solution.impulse_response`."""
        return np.asarray(ascending(self._errors, self.kernel.ndim - 2))

    @property
    def _errors(self) -> np.ndarray:
        """Standard errors of the taps, kernel-shaped."""
        squares = np.square(self.kernels - self.kernels.mean(0)).sum(0)
        found = np.sqrt(squares * self.dof / (self.dof + 1))
        return np.where(self.modelled, found, np.nan)

    def confidence_band(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and upper end of a band, both shaped as `Solution.impulse_response`.

        Args:
            level: probability that the band contains a true tap, for each tap. Default 0.95.

        Returns:
            Lower and upper end, in the kernel's unit.

        Raises:
            TypeError: If ``level`` is not a number.
            ValueError: If ``level`` is not between 0 and 1.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 12, 100, 1))
            >>> fit = cs.solve(cs.Problem(x, x + noise, lags=(0, 4)))
            >>> low, high = fit.jackknife().confidence_band(0.99)
            >>> bool(low[0] < 1 < high[0])
            True
        """
        reach = t_quantile(self.dof, (1 + fraction(level, "level")) / 2) * self._errors
        low, high = (ascending(self.kernel + r, self.kernel.ndim - 2) for r in (-reach, reach))
        return low, high

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield the number of records and the range of the errors, and all fields."""
        yield Fact("", "Jackknife", f"{count(self.dof + 1, 'record')}, each left out in turn")
        if full:
            error, dof = span(self._errors.ravel()), count(self.dof, "degree")
            yield Fact("", "Errors", f"standard error {error} per tap, with {dof} of freedom")
        yield from of_fields(self, standard_error=self.standard_error)


def jackknife(
    analysis: Analysis,
    kernel: np.ndarray,
    penalties: Sequence[tuple[Penalty, float]],
    kind: str | None = None,
) -> Jackknife:
    """Solve without each record in turn, from sums over the other records if they have the digits.

    Args:
        analysis: the analysis of all records.
        kernel: the kernel of all records.
        penalties: quadratic penalty and strength of every output.
        kind: which patterns take the place of kernels, or None.

    Raises:
        ValueError: a single record; records without one of which a tap is not determined.
    """
    design = analysis.design
    problem, limits, used = design.problem, design.sizes.limits, design.kept.used
    if len(used) < 2:
        raise ValueError("jackknife needs two records or more that have rows")
    if reason := design.sizes.gram_reason():
        raise ValueError(f"jackknife cannot be computed: {reason}")
    shape = *kernel.shape[:-1], 1
    whole, modelled = kernel, np.broadcast_to(design.modelled.reshape(shape), kernel.shape)
    if kind is not None:  # patterns also exist outside of the windows of lags
        whole, modelled = patterns(problem, kernel, kind, limits), np.ones(kernel.shape, bool)
    found: list[Any] = _from_sums(analysis) if kind is None else [None] * len(used)
    for i, record in enumerate(tracked(used, "records left out", len(used))):
        if found[i] is None:
            rest = problem.of_rows([(j, 0, design.kept.lengths[j]) for j in used if j != record])
            alone = _solved(Analysis(rest, limits), penalties, record)
            found[i] = alone if kind is None else patterns(rest, alone, kind, limits)
    return Jackknife(whole, len(used) - 1, np.stack(found), modelled)


def _from_sums(analysis: Analysis) -> list[Any]:
    """Return kernels of least squares without each record, None if the sums lack the digits."""
    assert analysis.targets is not None
    records = CrossValidation([[i] for i in analysis.design.kept.used])
    regression, found = Regression(analysis.plain, analysis.targets), []
    for sums in Scoring(analysis, records).fold_sums.rest:
        gram, cross, _ = sums.normal(analysis.design.bias)
        norms = np.sqrt(diagonals(gram))[..., None]
        scale = 1 / np.where(norms > 0, norms, np.inf)
        gram = gram * scale * scale.mT
        full, u = choleskys(gram.copy())
        sure = full.all() and diagonals(u).min() >= LEAST_PIVOT
        z = scale * np.linalg.solve(gram, cross * scale) if sure else None
        found.append(None if z is None else regression.from_columns(z)[0])
    return found


def _solved(
    analysis: Analysis, penalties: Sequence[tuple[Penalty, float]], held: int
) -> np.ndarray:
    """Return the kernel of the records other than ``held``."""
    found = np.empty(analysis.design.problem.kernel_shape)
    for term in dict.fromkeys(penalties):
        regression = analysis.regression(*term)
        solved, factors = regression.solve(), regression.system.factors
        if solved is None or not (factors.complete and factors.full_rank):
            raise ValueError(f"without record {held} the data do not determine every tap")
        some = [q for q, other in enumerate(penalties) if other == term]
        found[..., some] = regression.to_user(solved[0])[0][..., some]
    return found


@dataclass(frozen=True, repr=False, eq=False)
class PermutationTest(Reported):
    """Result of a test that y does not depend on x.

    Attributes:
        statistic: R² (outputs,) of least squares, about the mean of y.
        pvalue: (outputs,), (1 + number of null R² at least as large)/(1 + number of null R²). NaN
            for an output that is constant, or whose correlation in time is too slow.
        null_distribution: R² (draws, outputs) of resampled y.
        outputs: names of the outputs, or their numbers.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 6, 100, 1))
        >>> fit = cs.solve(cs.Problem(x, x + noise, lags=(0, 2)))
        >>> test = fit.permutation_test(draws=199)
        >>> test.null_distribution.shape, float(test.pvalue[0])
        ((199, 1), 0.005)
        >>> print(test)
        output     R²  p-value
        0       0.548    0.005
        p from 199 resampled y

    See Also:
        `Solution.permutation_test`, which returns it, and `FTest`.
    """

    statistic: np.ndarray
    pvalue: np.ndarray
    null_distribution: np.ndarray
    outputs: tuple[Any, ...] = ()

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield a row for every output, and all fields."""
        columns = {
            "R²": [f"{r2:.3f}" for r2 in self.statistic],
            "p-value": [f"{p:.2g}" for p in self.pvalue],
        }
        note = f"p from {len(self.null_distribution)} resampled y"
        yield Fact("", "", by_output(self.outputs or range(len(self.pvalue)), columns, {}, note))
        yield from of_fields(self)


def permutation_test(analysis: Analysis, kind: str, draws: int, seed: int) -> PermutationTest:
    """Rank the R² of y among those of resampled y.

    Raises:
        ValueError: If there are weights or confounds; the records are too few, too short or of
            several lengths for this kind; or the data do not determine a tap.
    """
    choice(kind, "kind", ("circular_shift", "records"))
    draws, seed = integer(draws, "draws", FEWEST_DRAWS), integer(seed, "seed", 0)
    design, matrix, targets = analysis.design, analysis.design.matrix, analysis.targets
    assert targets is not None
    if design.spec.ndim > 1:
        raise ValueError("permutation_test needs one axis, time; images have several")
    if design.sizes.partialled:
        raise ValueError("permutation_test needs exchangeable rows: no weights or confounds")
    # Gaps of excluded rows are closed.
    lengths, kernel = [n for n in design.kept.sizes if n], design.spec._span[0]
    choices = _choices(lengths, -(-kernel // design.spec.stride[0]), kind, draws, seed)
    y = np.hstack([matrix.output_rows(targets, g) for g in range(matrix.groups)])
    y = (y - design.nuisance.constant * y.mean(0))[matrix.plan.in_time]
    y *= matrix.outputs_of(targets).live.reshape(-1)
    total = np.square(y).sum(0)
    about = total - y.sum(0) ** 2 / len(y)
    explained = _explained(analysis, y, np.array(lengths), kind, choices)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(about > 0, 1 - (total - explained) / about, np.nan)
    p = np.where(about > 0, (1 + (r2[1:] >= r2[0]).sum(0)) / len(r2), np.nan)
    p = p if kind == "records" else _slow_refused(p, design, y, lengths)
    return PermutationTest(r2[0], p, r2[1:])


def _choices(lengths: list[int], kernel: int, kind: str, draws: int, seed: int) -> np.ndarray:
    """Return orders of the records, or a shift of each (samples, R): all of them if they are few.

    The first sample is y itself.
    """
    records, whole = len(lengths), kind == "records"
    if whole and min(lengths) < max(lengths):
        ends = f"{min(lengths)} to {max(lengths)}"
        raise ValueError(f"kind='records' needs records of one length, got {ends} rows")
    ways = math.factorial(min(records, 20)) if whole else math.prod(lengths)
    # Shifts of a single record by less than a kernel are not independent.
    independent = ways // kernel if records == 1 else ways
    if independent <= FEWEST_DRAWS:
        more = f"more than {FEWEST_DRAWS} independent ways to resample y"
        raise ValueError(f"kind={kind!r} needs {more}, and these records have {independent}")
    if ways <= 1 + draws:
        every = itertools.permutations(range(records))
        return np.array([*(every if whole else itertools.product(*map(range, lengths)))])
    own, rng = np.arange(records), np.random.default_rng(seed)
    if whole:
        return np.vstack([own, rng.permuted(np.tile(own, (draws, 1)), axis=1)])
    return np.vstack([0 * own, rng.integers(0, lengths, (1 + draws, records))[1:]])


def _explained(
    analysis: Analysis, y: np.ndarray, lengths: np.ndarray, kind: str, choices: np.ndarray
) -> np.ndarray:
    """Return explained sums of squares (samples, outputs) of resampled y (n, outputs), in time.

    With H Hᵀ = (AᵀA)⁻¹, that of y is ‖HᵀAᵀy‖².
    """
    matrix, found = analysis.design.matrix, np.empty((len(choices), y.shape[1]))
    # Record and time of every row.
    rank, first = np.argsort(matrix.plan.in_time), np.cumsum(lengths) - lengths
    record = np.repeat(np.arange(len(lengths)), lengths)[rank]
    time, at_once = rank - first[record], max(1, NUMBERS_AT_ONCE // y.size)
    for g, outputs in enumerate(np.arange(y.shape[1]).reshape(matrix.groups, -1)):
        root = UnitCovariance(analysis, g, analysis.plain.penalty, 0.0).root
        half, starts = np.ldexp(root.T, matrix.exponents[g]), range(0, len(choices), at_once)
        for i in tracked(starts, "resampled y", len(starts)):
            start, shift = first[record], choices[i : i + at_once, record]
            if kind == "records":
                start, shift = first[shift], np.zeros(1, int)
            rows = y[:, outputs][(start + (time + shift) % lengths[record]).T]
            squares = np.square(half @ matrix.adjoint(g, rows.reshape(len(y), -1))).sum(0)
            found[i : i + at_once, outputs] = squares.reshape(-1, len(outputs))
    return found


# --- correlation in time


def _slow_refused(p: np.ndarray, design: Design, y: np.ndarray, lengths: list[int]) -> np.ndarray:
    """Return p, NaN for outputs of a single record with too few independent shifts; and warn.

    A correlation time is (1 + ρ)/(1 − ρ) rows, after which products of x and y are about
    independent. ρ is the product of the lag-one autocorrelations of y and x, the largest over
    channels.
    """
    of_x = _lag_one([np.asarray(a, float) for a in design.records], design.spec.stride[0])
    of_y = _lag_one(np.split(y, np.cumsum(lengths)[:-1]), 1)
    rho = np.clip(of_x.max() * of_y, 0.0, 1 - EPS)
    times, single = np.mean(lengths) * (1 - rho) / (1 + rho), len(lengths) == 1
    least = FEWEST_TIMES if single else SHORT_TIMES
    slow = (times < least) & ~np.isnan(p)
    if slow.any() and len(lengths) < ENOUGH_RECORDS:
        output, why = int(np.argmax(slow)), "else it may reject in 7 % at 5 %; use more records"
        why = "so pvalue is NaN; use a longer record" if single else why
        warn(
            f"the records are {times[output]:.3g} correlation times of x and output {output} long, "
            f"and a test by circular shifts needs {least}, {why}"
        )
    return np.where(slow & single, np.nan, p)


def _lag_one(records: list[np.ndarray], lag: int) -> np.ndarray:
    """Return the autocorrelation (C,) of records (n, C) about their means, 0 of a constant."""
    sums = lag_sums([a - a.mean(0) for a in records if len(a)], lag)
    return np.divide(sums[lag], sums[0], out=np.zeros(len(sums[0])), where=sums[0] > 0)


# --- held-out correlations

# Sums of folds whose outputs are versions of y, some at a time.
Versions = Iterator[tuple[Scoring, FoldSums]]


def resampled_correlations(
    problem: Problem, folds: Any, terms: Sequence[Any], draws: int, seed: int, limits: Tuning
) -> np.ndarray:
    """Return mean held-out correlations of y and of resampled y, with refits.

    Args:
        problem: the problem that was cross-validated.
        folds: the records of every fold.
        terms: penalty and strength of every output, for the fit without each fold.
        draws: number of resampled y.
        seed: seed of the random numbers.
        limits: limits of memory.

    Returns:
        Correlations (1 + draws, outputs), first of y itself.

    Raises:
        ValueError: If y cannot be resampled.
    """
    draws, seed = integer(draws, "draws", FEWEST_DRAWS), integer(seed, "seed", 0)
    used, spec, single = problem._kept.used, problem.spec, len(problem._kept.used) == 1
    if why := _unsupported(problem, folds, terms):
        raise ValueError(f"permutation_test is not possible: {why}")
    rows = min(problem._kept.lengths[i] for i in used)
    if problem._geometry.edges == "zeros" and not single:
        # Zeros, and no samples that are cut off, follow the last row.
        both = (problem.x, problem.y or ())
        x, y = ([a[: min(map(len, several))] for a in several] for several in both)
        problem = Problem._again(problem._recipe, x, y)
    else:
        problem = problem.of_rows([(i, 0, rows) for i in used])
    listed: Any = len(folds) if single else [[used.index(i) for i in fold] for fold in folds]
    kind, select = "circular_shift" if single else "records", CrossValidation(listed)
    choices = _choices([rows] * len(used), -(-spec._span[0] // spec.stride[0]), kind, draws, seed)
    each = max(rows * single, len(used) * spec._unknowns(problem.n_channels)) * problem.n_outputs
    several = np.array_split(choices, -(-len(choices) * each // SUMS_AT_ONCE))
    return _correlations(_resampled(problem, select, several, limits), terms)


def _unsupported(problem: Problem, folds: Sequence[Any], terms: Sequence[Any]) -> str:
    """Return why y cannot be exchanged between records or shifted, or an empty string."""
    x, kept, records = problem.x, problem._kept, [i for fold in folds for i in fold]
    few = len(x) > 1 and (len(x) < FEWEST_RECORDS or len({*records}) < len(records))
    adjusted = kept.flags or problem._weights or problem._terms.columns
    reasons = {
        "x has several axes": problem.spec.ndim > 1,
        "rows have a mask, missing samples, weights or confounds; cut records there": adjusted,
        "channels have several strengths": any(len({form for form, _ in own}) > 1 for own in terms),
        f"p below 5 % needs {FEWEST_RECORDS} whole records or more, or one, got {len(x)}": few,
        "all records have the same x": len(x) > 1 and all(np.array_equal(a, x[0]) for a in x),
    }
    return next((why for why, found in reasons.items() if found), "")


def _resampled(problem: Problem, select: CrossValidation, several: Any, limits: Tuning) -> Versions:
    """Yield sums for orders of y of the records, or for shifts, of ``several`` (n, R) at a time.

    Sums for orders are combinations of the sums of x of each record with y of every record.
    """
    y = np.stack([np.asarray(a, float) for a in problem.y or ()], axis=-1)
    rows, outputs, records = y.shape
    if records == 1:
        for shifts in several:
            places = (np.arange(rows)[:, None] - shifts[:, 0]) % rows
            scoring = _scoring(problem, y[places, :, 0].swapaxes(1, 2), select, limits)
            yield scoring, scoring.fold_sums
        return
    scoring = _scoring(problem, y, CrossValidation([[i] for i in range(records)]), limits)
    each, spans = [own for (own,) in scoring.fold_sums.parts], select.spans(problem._kept)
    first = records * np.arange(outputs // problem.spec.groups)[:, None]
    for orders in several:
        own = [s.of_outputs((first + at).ravel()) for s, at in zip(each, orders.T, strict=True)]
        yield scoring, fold_sums(spans, lambda f, own=own: reduce(add, [own[i] for i, *_ in f]))


def _scoring(problem: Problem, y: np.ndarray, select: CrossValidation, limits: Tuning) -> Scoring:
    """Return the scoring of n versions y (rows, Q, n) of the outputs, the same in every record."""
    size, given = y[0].size, cast("Any", problem._output)
    # All versions of an output have the same unit.
    largest = np.abs(y).max((0, 2)).repeat(y.shape[2])
    arrays = (y.reshape(len(y), size),) * len(problem.x)
    given = given._replace(arrays=arrays, largest=largest, means=None)
    made = problem._replace(_output=given, n_outputs=size, _by_mask=one_mask(size, problem._kept))
    return Scoring(Analysis(made, limits), select)


def _correlations(several: Versions, terms: Sequence[Any]) -> np.ndarray:
    """Return mean held-out correlations (n, outputs) of refits to n versions of every output."""
    found, spectra = list[np.ndarray](), dict[Any, Spectrum]()
    given = np.array([[strength for _, strength in fold] for fold in terms])
    for scoring, sums in several:
        total, sizes = np.zeros(sums.rest[0].squares.shape), scoring.design.sizes
        strengths = scoring.units.from_user(given).repeat(total.size // given.shape[1], axis=1)
        for k, fold in enumerate(terms):
            own, at = FoldSums([sums.parts[k]], [sums.rest[k]]), strengths[k].reshape(total.shape)
            for g, group in enumerate(scoring.groups(fold[0][0], given=own)):
                ((normal, held),) = group.folds
                if (k, g) not in spectra:  # they do not depend on y
                    one = normal[0], normal[1][:, :1], normal[2][:1]
                    spectra[k, g] = Spectrum(one, group.free, sizes.rows, sizes.nuisance)
                v = spectra[k, g].solve(normal[1], at[g])[None]
                total[g] += held.scores("correlation", v)[0] / len(terms)
        found.append(total.reshape(given.shape[1], -1))
    return np.concatenate(found, axis=1).T
