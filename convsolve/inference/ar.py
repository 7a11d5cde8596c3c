"""Autoregressive noise: models from residuals, and problems whose rows are filtered to be white.

e[t] = Σ_i ρ_i·e[t − i] + u[t] with white u. The filter (1, −ρ₁, …, −ρ_p) acts on x and on y, and
the taps are unchanged. A row is used if it and the p rows before it are used, so that p rows are
lost after every gap. Generalized least squares is least squares of the filtered problem, with any
penalty, mask, confounds and source of the data. Each output has a filter and a problem of its own.

Residuals have lost the part of the noise that an intercept or a drift of their record spans. Their
expected sums of products for a model are known, so the model with the observed sums is found by
iteration.

Source: D. Cochrane and G. H. Orcutt, J. Am. Stat. Assoc. 44 (1949) 32 (filtered rows); N. Levinson,
J. Math. Phys. 25 (1947) 261 (recursion over orders); H. Akaike, IEEE Trans. Autom. Control 19
(1974) 716 (choice of the order); K. J. Worsley et al., NeuroImage 15 (2002) 1 (bias of residuals).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from operator import add
from typing import NamedTuple

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis, forget
from ..leastsquares.regression import Regression
from ..linalg.rank import EPS
from ..operators.filtered import Filter, FilteredRecord, filtered, lag_sums
from ..operators.windows import NormalForm, normal_form
from ..problem.geometry import Geometry
from ..problem.problem import Problem
from ..problem.records import Records, Stored
from ..problem.rows import Rows
from ..problem.sizes import Tuning
from ..text import count

# Largest order that is chosen from the data, also as a share of the rows. At least this share of
# the rows must be left, as the filter removes the first rows of every record.
MOST_ORDER, MOST_SHARE, ROWS_LEFT = 40, 0.1, 0.5
# Largest absolute reflection coefficient, so that models are stationary.
MOST_REFLECTION = 0.999
# Columns of a record with more rows take a negligible share of its noise.
LONG_RECORD = 2_000
# Number of steps of the correction for nuisance columns, and the change of ρ that ends them. Slow
# steps change ρ by less than ``SLOW`` at the end, and steps without a limit by more than one.
STEPS, SETTLED, SLOW = 100, 1e-6, 0.05
# Number of times that orders are selected, each time with the correction for those before.
TURNS = 5


class Autoregression(NamedTuple):
    """Autoregressive models of all outputs.

    Attributes:
        order: order of each model, (outputs,).
        coefficients: ρ (outputs, largest order), zero beyond the order.
    """

    order: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def of(cls, coefficients: Sequence[Sequence[float]]) -> Autoregression:
        """Return the models with given coefficients of every output."""
        order = np.array([len(c) for c in coefficients])
        found = np.zeros((len(order), int(order.max(initial=0))))
        for row, c in zip(found, coefficients, strict=True):
            row[: len(c)] = c
        return cls(order, found)


class NoiseSums(NamedTuple):
    """Means of products of the residuals of all records, at lags 0 to the largest order.

    Attributes:
        means: of e[t]·e[t + l] (lags, outputs) over pairs of used rows of a record.
        pairs: number of these pairs (lags,).
        taper: factors of autocovariances (lags,), the share of pairs in records without gaps.
        expected: B (lags, T): the expectation of ``means`` is B γ for autocovariances γ.
    """

    means: np.ndarray
    pairs: np.ndarray
    taper: np.ndarray
    expected: np.ndarray

    @classmethod
    def over(
        cls,
        records: Sequence[np.ndarray],
        flags: Sequence[np.ndarray],
        columns: Sequence[np.ndarray],
        most: int,
    ) -> NoiseSums:
        """Return the sums at lags 0 to ``most``.

        Args:
            records: residuals (T, outputs) of every record, zero in rows that are not used.
            flags: (T,) of every record, True for rows that are used.
            columns: orthonormal columns (n, k) in the used rows of every record, which are
                projected out of its residuals.
            most: the largest lag.
        """
        kinds: dict[tuple[bytes, int], list[int]] = {}
        for i, (some, own) in enumerate(zip(flags, columns, strict=True)):
            projected = own.shape[1] > 0 and len(some) <= LONG_RECORD
            kinds.setdefault((some.tobytes(), id(own) if projected else 0), []).append(i)
        longest = max(most + 1, *(len(flags[i]) * bool(own) for (_, own), (i, *_) in kinds.items()))
        pairs, lost = np.zeros((most + 1, 1)), np.zeros((most + 1, longest))
        for (_, projected), (i, *others) in kinds.items():
            alike = 1 + len(others)
            pairs += alike * lag_sums([flags[i][:, None].astype(float)], most)
            if projected:
                of_record = _lost_sums(flags[i], columns[i].astype(float), most)
                lost[:, : len(flags[i])] += alike * of_record
        expected = np.eye(*lost.shape) - lost / pairs
        spans = np.array([np.ptp(np.flatnonzero(some)) + 1 for some in flags])
        taper = np.maximum(spans - np.arange(most + 1)[:, None], 0).sum(1) / spans.sum()
        return cls(lag_sums(records, most) / pairs, pairs[:, 0], taper, expected)

    def models(self, order: int | None) -> Autoregression:
        """Return the models of an order, by default the order with the smallest AIC."""
        orders = self.orders if order is None else np.full(self.means.shape[1], order)
        found, _ = levinson(self.covariances(orders))
        return Autoregression.of([found[p, :p, q].tolist() for q, p in enumerate(orders)])

    @property
    def orders(self) -> np.ndarray:
        """Order (outputs,) of each model by AIC.

        The sum at lag p differs from its expectation for a model of order p − 1. Let r be the share
        of this difference in the sum of squares that such a model leaves in the residuals. A
        further order changes AIC by rows·log(1 − r²) + 2.
        Autocovariances without the taper would have no model of a large order if noise oscillates.
        """
        lags = np.arange(1, len(self.pairs))
        squares = levinson(self.means * self.pairs[:, None])[1][:-1]
        found = np.full(self.means.shape[1], min(1, len(lags)))
        for _ in range(TURNS):
            before = found
            models, variances = levinson(self.covariances(found) * self.taper[:, None])
            off = models[lags, lags - 1] * variances[:-1] * self.pairs[1:, None]
            r = np.clip(off / squares, -MOST_REFLECTION, MOST_REFLECTION)
            aic = self.pairs[0] * np.log(1 - r**2).cumsum(0) + 2 * lags[:, None]
            found = np.concatenate([np.zeros((1, len(found))), aic]).argmin(0)
            if (found == before).all():
                break
        return found

    def covariances(self, orders: np.ndarray) -> np.ndarray:
        """Return autocovariances (lags, outputs) of the noise, by a model of an order per output.

        If the correction leads to no stationary model of this order, the sums over all rows are
        returned, which always are autocovariances.
        """
        found, wrong = self.means.copy(), np.zeros(len(orders), bool)
        for p in np.unique(orders[orders > 0]):
            own = orders == p
            found[:, own], wrong[own] = self._corrected(int(p), self.means[:, own])
        models, lags = levinson(found)[0], np.arange(1, len(found))
        limits = np.abs(models[lags, lags - 1]) >= MOST_REFLECTION
        wrong |= (limits & (lags[:, None] <= orders)).any(0)
        return np.where(wrong, self.means * (self.pairs / self.pairs[0])[:, None], found)

    def _corrected(self, order: int, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return autocovariances (lags, outputs) for the ``means``, and flags if not settled.

        A model and the scale of its noise give the expected difference between the sums and those
        of noise without nuisance columns.
        """
        found, before = means, np.full((order, means.shape[1]), np.inf)
        for _ in range(STEPS):
            models, _ = levinson(found[: order + 1])
            change = np.abs(models[order] - before).max(0)
            if (change <= SETTLED).all():
                break
            model, before = autocorrelations(models, self.expected.shape[1]), models[order]
            expected = self.expected @ model
            found = means + means[0] / expected[0] * (model[: len(means)] - expected)
        return found, change > SLOW


def _lost_sums(flags: np.ndarray, columns: np.ndarray, most: int) -> np.ndarray:
    """Return what the projection of columns out of a record takes of its expected sums.

    With R = F − Q Qᵀ for the flags F, the expected sum of residuals at lag l is half the trace of
    T_l R Γ R, where T_l is one at the distance l and zero elsewhere. It is linear in the
    autocovariances, whose factors are the sums of R T_l R along its diagonals.

    Args:
        flags: (T,), True for rows that are used.
        columns: Q (n, k), orthonormal in these rows.
        most: the largest lag.

    Returns:
        Factors (1 + most, T) of the autocovariances.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    samples, size = len(flags), next_fast_len(2 * len(flags), real=True)
    q = np.zeros((samples, columns.shape[1]))
    q[flags] = columns
    of_lags = np.zeros((most + 1, *q.shape))
    for lag in range(min(most, samples - 1) + 1):
        of_lags[lag, lag:] += q[: samples - lag]
        of_lags[lag, : samples - lag] += q[lag:]
    of_lags[0] /= 2
    of_lags *= flags[:, None]
    of_lags -= q @ (q.T @ of_lags) / 2
    spectra = (rfft(q, size, axis=0).conj() * rfft(of_lags, size, axis=1)).real.sum(2)
    found = 2 * irfft(spectra, size, axis=1)[:, :samples]
    # A distance above zero occurs on both sides of the diagonal.
    found[:, 1:] *= 2
    found[1:] /= 2
    return found


def levinson(covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the models of every order from autocovariances (lags, outputs).

    Autocovariances beyond a reflection coefficient at its limit are not used.

    Returns:
        Coefficients (order, i, outputs), and the variances (order, outputs) of the white noise.
    """
    most, outputs = len(covariances) - 1, covariances.shape[1]
    coefficients, variances = np.zeros((most + 1, most, outputs)), np.empty((most + 1, outputs))
    variances[0], going = covariances[0], np.ones(outputs, bool)
    for p in range(1, most + 1):
        before = coefficients[p - 1, : p - 1]
        missing = covariances[p] - (before * covariances[p - 1 : 0 : -1]).sum(0)
        reflection = np.where(going, missing / variances[p - 1], 0.0)
        reflection = reflection.clip(-MOST_REFLECTION, MOST_REFLECTION)
        going &= np.abs(reflection) < MOST_REFLECTION
        coefficients[p, : p - 1] = before - reflection * before[::-1]
        coefficients[p, p - 1] = reflection
        variances[p] = variances[p - 1] * (1 - reflection**2)
    return coefficients, variances


def autocorrelations(models: np.ndarray, count: int) -> np.ndarray:
    """Return autocorrelations (count, outputs) of the largest of models (order, i, outputs)."""
    from scipy.linalg.blas import dtbsv

    most, outputs = models.shape[1:]
    found, left = np.zeros((count, outputs)), np.ones(outputs)
    found[0] = 1.0
    for p in range(1, most + 1):
        reflection = models[p, p - 1]
        found[p] = (models[p - 1, : p - 1] * found[p - 1 : 0 : -1]).sum(0) + reflection * left
        left = left * (1 - reflection**2)
    for q in range(outputs):
        whitening, pulse = np.concatenate([[1.0], -models[most, :, q]]), np.zeros(count)
        pulse[: most + 1] = np.convolve(whitening, found[: most + 1, q])[: most + 1]
        found[:, q] = dtbsv(most, np.tile(whitening[:, None], count), pulse, lower=1)
    return found


# --- residuals


def estimated_noise(
    analysis: Analysis, kernel: np.ndarray, bias: np.ndarray, order: int | None
) -> Autoregression:
    """Return the noise in the residuals of a kernel (*K, C, Cout) and a bias (Cout,).

    Args:
        analysis: the analysis of outputs that use the same rows.
        kernel: the estimate of the kernel. Confounds are fitted to its residuals.
        bias: the estimate of the bias.
        order: the order, or None to select it.

    Raises:
        SolveError: If there are too few rows for the order, or if an output has no noise.
    """
    assert analysis.targets is not None
    design, plain = analysis.design, Regression(analysis.plain, analysis.targets)
    w, matrix, nuisance = plain.from_kernel(kernel), design.matrix, design.nuisance
    z = plain.scaling.divided(w)
    of_taps = plain.system.columns.expand(z)
    several = [
        matrix.output_rows(plain.targets, g) - matrix.forward(g, of_taps[g]) for g in range(len(w))
    ]
    e = np.concatenate(several, axis=1)
    e -= nuisance.constant * e.mean(0)
    if nuisance.shared:
        # So far, the residuals contain the least-squares bias instead of the given one.
        off = np.ldexp(bias - plain.from_columns(z)[1], -plain.y_exponents.reshape(-1))
        e -= matrix.nuisance_columns[:, [-1]] @ (matrix.plan.norm * off[None])
    exact = np.flatnonzero(np.linalg.norm(e, axis=0) <= plain.rounding(w).reshape(-1))
    if exact.size:
        raise SolveError(
            f"noise='ar' needs noise, and {design.names.output(int(exact[0]))} "
            "is fitted up to rounding; leave it out, or use noise='white'"
        )
    used, residuals = design.kept.used, matrix.plan.by_record(e.T)
    flags = [design.kept.flags_of(i) for i in used]
    own = nuisance.confounds
    columns = [np.zeros((0, 0)) if own is None else own.layouts[own.which[i]].columns for i in used]
    most = _largest_order([n for f in flags for n in _runs(f)], design.sizes.unknowns, order)
    records = [np.nan_to_num(residuals[i], copy=False) for i in used]
    return NoiseSums.over(records, flags, columns, most).models(order)


def rows_left(lengths: Sequence[int], order: int) -> int:
    """Return how many rows of records of these ``lengths`` have ``order`` rows before them."""
    return sum(max(n - order, 0) for n in lengths)


def _largest_order(lengths: Sequence[int], unknowns: int, order: int | None) -> int:
    """Return the largest order that is considered for these runs of rows, or the given ``order``.

    Raises:
        SolveError: If the given order leaves too few rows.
    """
    rows = sum(lengths)
    if order is None:
        least = max(ROWS_LEFT * rows, unknowns + 1)
        tried = range(min(MOST_ORDER, int(MOST_SHARE * rows)) + 1)
        return max((p for p in tried if rows_left(lengths, p) >= least), default=0)
    left = rows_left(lengths, order)
    if left <= unknowns:
        raise SolveError(
            f"noise='ar{order}' excludes {count(order, 'row')} of every record and "
            f"gap, which leaves {count(left, 'row')} for {count(unknowns, 'unknown')}"
        )
    return order


def _runs(flags: np.ndarray) -> list[int]:
    """Return the length of every run of rows that are used and consecutive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [*(edges[1::2] - edges[::2]).tolist()]


# --- filtered problems


class FilteredPart(NamedTuple):
    """One output of a problem with filtered rows.

    Attributes:
        output: the output.
        problem: its problem.
        gain: factor of its bias.
        constants: x (C,) and y that were subtracted before the filter.
    """

    output: int
    problem: Problem
    gain: float
    constants: tuple[np.ndarray, float]

    def bias(self, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """Return the bias (1,) before the filter, given kernel and bias of the problem."""
        if not self.problem.bias:
            return bias
        of_x, of_y = self.constants
        return np.asarray(bias / self.gain + of_y - np.einsum("kco,c->o", kernel, of_x))


def filtered_parts(
    problem: Problem, noise: Autoregression, limits: Tuning
) -> Iterator[FilteredPart]:
    """Yield the filtered problem of every output.

    The problem must have one axis, and equal rows and weights for all rows of a record.
    """
    sizes = problem._sizes(limits)
    each = sizes.numbers // problem.spec.groups + 2 * sizes.columns**2
    # Records of all outputs that exceed the memory together are filtered whenever they are read.
    stored = sizes.beyond_memory or each * problem.n_outputs > limits.held_numbers
    for output in range(problem.n_outputs):
        part = _part(problem, noise, output, stored)
        yield part
        if stored:
            forget(part.problem)


def _part(problem: Problem, noise: Autoregression, output: int, on_demand: bool) -> FilteredPart:
    """Return the filtered problem of an output, whose records are filtered ``on_demand``."""
    alone, order = problem._of_outputs((output,)), int(noise.order[output])
    spec, kept, taps = alone.spec, alone._kept, np.r_[1.0, -noise.coefficients[output, :order]]
    used = records_left(kept, order)
    if not used:
        raise SolveError(f"noise of order {order} leaves no row of any record")
    assert alone.y is not None
    of_x, of_y = _offsets(alone)
    for_x, for_y = Filter(of_x, taps, spec.stride[0]), Filter(of_y, taps)
    x, y = ([records[i] for i in used] for records in (alone.x, alone.y))
    if on_demand:
        lazy = [FilteredRecord(NormalForm.of(a, spec), for_x) for a in x]
        x = [a for record in lazy for a in Stored.of(record, 1)]
        y = [a for record in y for a in Stored.of(FilteredRecord(record, for_y), 1)]
    else:
        x = for_x.of_all([*map(np.asarray, x)], partial(normal_form, spec=spec))
        y = for_y.of_all([*map(np.asarray, y)], np.asarray)
    input, outputs = (Records(tuple(a), "list", channel_axis=True, is_jax=False) for a in (x, y))
    # The layer that reads records in normal form at the same lags.
    shift = map(add, alone._geometry.shift, spec._offset(alone._lengths[used[0]]))
    geometry = Geometry(spec._normal, tuple(shift))
    rows = Rows.of(geometry.spec, [a.shape[:-1] for a in input.arrays])
    mask = tuple(_usable(kept.flags_of(i), order) for i in used)
    terms, weights = alone._terms, alone._weights
    if (columns := terms.columns) is not None:
        several = (filtered(np.asarray(columns.arrays[i], float), taps)[order:] for i in used)
        columns = columns._replace(arrays=tuple(several), missing=None)
    made = alone._replace(
        _geometry=geometry,
        _input=input,
        _output=outputs,
        _by_mask=(((0,), rows.flagged(mask)),),
        _weights=weights and tuple(weights[i] for i in used),
        _terms=terms._replace(columns=columns),
        _selection=alone._selection._replace(records=tuple(used)),
        _dtype=np.dtype(float),
        _data_eps=EPS,
    )
    return FilteredPart(output, made, float(taps.sum()), (of_x, float(of_y[0])))


def records_left(rows: Rows, order: int) -> list[int]:
    """Return the records that have a row with p rows before it that are used."""
    return [i for i in rows.used if _usable(rows.flags_of(i), order).any()]


def _usable(flags: np.ndarray, order: int) -> np.ndarray:
    """Return flags (T − p,) of the rows that are used and have p rows before them that are used."""
    if len(flags) <= order:
        return np.zeros(0, bool)
    count_of = np.cumsum(np.concatenate([[0], flags]))
    return np.asarray(count_of[order + 1 :] - count_of[: len(flags) - order] == order + 1)


def _offsets(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return constants of x (C,) and y (Q,) that a bias or a drift takes up; else zeros."""
    assert problem.y is not None
    if not problem.bias and problem._terms.degree < 0:
        return np.zeros(problem.n_channels), np.zeros(problem.n_outputs)
    first = problem._kept.used[0]
    start = int(np.flatnonzero(problem._kept.flags_of(first))[0])
    sample, spec = start * problem.spec.stride[0], problem.spec
    form = NormalForm.of(problem.x[first], spec)[sample : sample + spec._span[0]]
    of_x = np.asarray(form, float).mean(0)
    return of_x, np.asarray(problem.y[first][start : start + 1], float)[0]
