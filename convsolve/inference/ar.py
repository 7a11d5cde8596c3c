"""Autoregressive noise: models from residuals, and problems whose rows are filtered to be white.

e[t] = Σ_i ρ_i·e[t − i] + u[t] with white u. The filter (1, −ρ₁, …, −ρ_p) acts on x and on y, and
the taps are unchanged. A row is used if it and the p rows before it are used, so that p rows are
lost after every gap. Generalized least squares is least squares of the filtered problem, with any
penalty, mask, confounds and source of the data. Outputs of one filter have a problem of their own.

Residuals have lost the part of the noise that an intercept or a drift of their record spans. Their
expected sums of products for a model are known, so the model with the observed sums is found by
iteration.

Source: D. Cochrane and G. H. Orcutt, J. Am. Stat. Assoc. 44 (1949) 32 (filtered rows); N. Levinson,
J. Math. Phys. 25 (1947) 261 (recursion over orders); H. Akaike, IEEE Trans. Autom. Control 19
(1974) 716 (choice of the order); K. J. Worsley et al., NeuroImage 15 (2002) 1 (bias of residuals).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import add
from typing import Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis, forget
from ..leastsquares.regression import Regression
from ..operators.filtered import filtered, filtered_records, lag_sums
from ..operators.windows import NormalForm
from ..problem.problem import Problem, one_mask
from ..problem.records import Records
from ..problem.rows import Rows
from ..problem.sizes import Tuning
from ..problem.spec import Geometry
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
# With more outputs, coefficients of order one are rounded to this share of their standard error, so
# that many outputs have the same filter. The arc sine of ρ has the error 1/√rows.
MANY, ROUNDED = 50, 0.2
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

    def of_outputs(self, outputs: Sequence[int]) -> Autoregression:
        """Return the models of some outputs."""
        return Autoregression(self.order[[*outputs]], self.coefficients[[*outputs]])

    def shared(self, group: int) -> Iterator[tuple[int, ...]]:
        """Yield outputs of one model, of one ``group`` of so many outputs after the other."""
        alike = defaultdict[Any, list[int]](list)
        for o, key in enumerate(zip(self.order.tolist(), self.coefficients.tolist(), strict=True)):
            alike[o // group, key[0], *key[1]].append(o)
        yield from map(tuple, alike.values())


class NoiseSums(NamedTuple):
    """Means of products of the residuals of all records, at lags 0 to the largest order.

    Attributes:
        means: of e[t]·e[t + l] (lags, outputs) over pairs of used rows of a record.
        pairs: number of these pairs (lags, 1).
        taper: factors of autocovariances (lags, 1), the share of pairs in records without gaps.
        expected: B (lags, T): the expectation of ``means`` is B γ for autocovariances γ.
    """

    means: np.ndarray
    pairs: np.ndarray
    taper: np.ndarray
    expected: np.ndarray

    def models(self, order: int | None) -> Autoregression:
        """Return the models of an order, by default the order with the smallest AIC."""
        outputs = np.arange(self.means.shape[1])
        chosen = np.full(len(outputs), min(1, len(self.means) - 1) if order is None else order)
        for _ in range(TURNS):
            orders, found = chosen, self._corrected(chosen)
            chosen = self._orders(found) if order is None else orders
            if (chosen == orders).all():
                break
        rho = levinson(found)[chosen, : chosen.max(), outputs]
        if len(outputs) > MANY:
            one, step = chosen < 2, ROUNDED / np.sqrt(self.pairs[0])
            rho[one] = np.sin(step * np.round(np.arcsin(rho[one]) / step))
        return Autoregression(chosen, rho)

    def _corrected(self, orders: np.ndarray) -> np.ndarray:
        """Return autocovariances (lags, outputs) of the noise, by a model of an order per output.

        A model and the scale of its noise give the expected difference between the means and those
        of noise without nuisance columns. If this correction leads to no stationary model, the
        means with a taper are returned. Those of records without gaps always are autocovariances.
        """
        outputs, found, before = np.arange(len(orders)), self.means, np.array(np.inf)
        for _ in range(STEPS):
            models = levinson(found[: 1 + orders.max()])
            rho = models[orders, :, outputs]
            change = np.abs(rho - before).max(1, initial=0.0)
            if (change <= SETTLED).all():
                break
            before, model = rho, continued(orders, rho, found, self.expected.shape[1])
            expected = self.expected @ model
            found = self.means + self.means[0] / expected[0] * (model[: len(found)] - expected)
        companion = np.tile(np.eye(rho.shape[1], k=-1), (len(rho), 1, 1))
        companion[:, :1] = rho[:, None]
        radius = np.abs(np.linalg.eigvals(companion)).max(1, initial=0.0)
        # Several coefficients whose noise outlasts a mean record are an artefact of large lags.
        limit = np.where(orders > 1, self.taper[:2].min(), MOST_REFLECTION)
        wrong = (change > SLOW) | (radius >= limit)
        return np.where(wrong, self.means * self.taper, found)

    def _orders(self, covariances: np.ndarray) -> np.ndarray:
        """Return the orders (outputs,) by AIC. Order p explains the share r² of the variance left.

        The share is smaller for large lags, which fewer pairs of rows have. Autocovariances without
        the taper would have no model of a large order if noise oscillates.
        """
        share = self.pairs / self.pairs[0]
        r = reflections(levinson(covariances * self.taper)) * share
        penalties = 2 * np.arange(len(share))[:, None]
        return np.asarray((self.pairs[0] * np.log1p(-(r**2)).cumsum(0) + penalties).argmin(0))


def levinson(covariances: np.ndarray) -> np.ndarray:
    """Return the coefficients (order, i, outputs) of models of every order.

    Autocovariances (lags, outputs) beyond a reflection coefficient at its limit are not used.
    """
    most, outputs = len(covariances) - 1, covariances.shape[1]
    found, going = np.zeros((most + 1, most, outputs)), np.ones(outputs, bool)
    variance = covariances[0]
    for p in range(1, most + 1):
        before = found[p - 1, : p - 1]
        missing = covariances[p] - (before * covariances[p - 1 : 0 : -1]).sum(0)
        reflection = (missing / variance).clip(-MOST_REFLECTION, MOST_REFLECTION) * going
        going = going & (np.abs(reflection) < MOST_REFLECTION)
        found[p, : p - 1], found[p, p - 1] = before - reflection * before[::-1], reflection
        variance = variance * (1 - reflection**2)
    return found


def reflections(models: np.ndarray) -> np.ndarray:
    """Return the last coefficient (order, outputs) of models of every order, 0 for order 0."""
    last = np.einsum("ppq->pq", models[1:])
    return np.concatenate([np.zeros((1, models.shape[2])), last])


def continued(
    orders: np.ndarray, rho: np.ndarray, covariances: np.ndarray, lags: int
) -> np.ndarray:
    """Return the autocovariances (lags, outputs) of models ρ, given those of lags up to orders."""
    from scipy.linalg.blas import dtbsv

    found = np.repeat(rho[:, :1].sum(1)[None], lags, 0)
    found[0] = covariances[0]
    found = np.cumprod(found, 0)
    for q in np.flatnonzero(orders > 1):
        p = orders[q]
        whitening = np.concatenate([[1.0], -rho[q, :p]])
        found[:, q] = 0.0
        found[: p + 1, q] = np.convolve(whitening, covariances[: p + 1, q])[: p + 1]
        found[:, q] = dtbsv(p, np.tile(whitening[:, None], lags), found[:, q], lower=1)
    return found


def _lost_sums(flags: np.ndarray, columns: np.ndarray, most: int) -> np.ndarray:
    """Return what the projection of columns out of a record takes of its expected sums.

    With R = F − Q Qᵀ for the flags F, the expected sum of residuals at lag l is the trace of
    T_l R Γ R, where T_l is half of one at both distances ±l. R T_l R is F T_l F less Q Wᵀ + W Qᵀ.
    Sums along the diagonals of these are the factors of the autocovariances.

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
    padded, lags = np.pad(q, ((most, most), (0, 0))), range(most + 1)
    both = [padded[most + i :][:samples] + padded[most - i :][:samples] for i in lags]
    w = np.stack(both) / 2 * flags[:, None]
    w -= q @ (q.T @ w) / 2
    spectra = (rfft(q, size, axis=0).conj() * rfft(w, size, axis=1)).real.sum(2)
    found = 4 * irfft(spectra, size, axis=1)[:, :samples]
    found[:, 0] /= 2  # there is one main diagonal
    return found


# --- residuals


def estimated_noise(analysis: Analysis, kernel: np.ndarray, order: int | None) -> Autoregression:
    """Return the noise in the residuals of a kernel (*K, C, Cout).

    Args:
        analysis: the analysis of outputs that use the same rows.
        kernel: the estimate of the kernel. Bias and confounds are fitted to its residuals.
        order: the order, or None to select it.

    Raises:
        SolveError: If there are too few rows for the order, or if no output has noise.
    """
    design, (e, exact) = analysis.design, _residuals(analysis, kernel)
    gap = np.full(order or MOST_ORDER, -1)
    # The rows of all records on one axis of time, with gaps between records.
    axis = np.concatenate([a for each in design.matrix.plan.positions for a in (each, gap)])
    used = np.concatenate([[False], axis >= 0])
    starts, ends = np.flatnonzero(np.diff(used)).reshape(-1, 2).T
    most = _largest_order(ends - starts, design.sizes.unknowns, order)
    laid, flags = np.concatenate([e, np.zeros((1, e.shape[1]))])[axis], used[1:, None].astype(float)
    sums, pairs = lag_sums([laid], most), lag_sums([flags], most)
    spans = [last - first for _, first, last in design.kept.pieces(most + 1)]
    taper = np.array([[rows_left(spans, lag)] for lag in range(most + 1)]) / sum(spans)
    found = NoiseSums(sums / pairs, pairs, taper, _expected(analysis, pairs)).models(order)
    # Outputs without noise, as voxels outside the brain, have no model.
    return Autoregression(found.order * ~exact, found.coefficients * ~exact[:, None])


def _residuals(analysis: Analysis, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return residuals (n, outputs) of the rows, less their bias and confounds.

    Those of outputs that are fitted up to rounding are one and zeros, which have no correlation.
    The flags (outputs,) of these are returned.

    Raises:
        SolveError: If no output has noise.
    """
    assert analysis.targets is not None
    design, plain = analysis.design, Regression(analysis.plain, analysis.targets)
    matrix, w = design.matrix, plain.from_kernel(kernel)
    taps = enumerate(plain.system.columns.expand(plain.scaling.divided(w)))
    several = [matrix.output_rows(plain.targets, g) - matrix.forward(g, own) for g, own in taps]
    e = np.concatenate(several, axis=1)
    e -= design.nuisance.constant * e.mean(0)
    exact = np.linalg.norm(e, axis=0) <= plain.rounding(w).reshape(-1)
    if exact.all():
        name = design.names.output(0)
        raise SolveError(f"noise='ar' needs noise, and {name} is fitted up to rounding")
    e[:, exact] = np.eye(len(e), 1)
    return e, exact


def _expected(analysis: Analysis, pairs: np.ndarray) -> np.ndarray:
    """Return the factors B (lags, T) of autocovariances in the expectation of means over pairs."""
    kept, own = analysis.design.kept, analysis.design.nuisance.confounds
    if own is None:
        return np.eye(len(pairs))
    short = [i for i in kept.used if kept.shapes[i][0] <= LONG_RECORD]
    lost = np.zeros((len(pairs), max([len(pairs), *(kept.shapes[i][0] for i in short)])))
    # Records of one layout have the same factors.
    which, first, several = np.unique(own.which[short], return_index=True, return_counts=True)
    for layout, i, alike in zip(which, first, several, strict=True):
        flags, columns = kept.flags_of(short[i]), own.layouts[layout].columns.astype(float)
        lost[:, : len(flags)] += alike * _lost_sums(flags, columns, len(pairs) - 1)
    return np.eye(*lost.shape) - lost / pairs


def rows_left(lengths: Sequence[int] | np.ndarray, order: int) -> int:
    """Return how many rows of records of these ``lengths`` have ``order`` rows before them."""
    return int(np.maximum(np.asarray(lengths) - order, 0).sum())


def _largest_order(lengths: np.ndarray, unknowns: int, order: int | None) -> int:
    """Return the largest order that is considered for these runs of rows, or the given ``order``.

    Raises:
        SolveError: If the given order leaves too few rows.
    """
    tried, least = [order or 0], unknowns + 1.0
    if order is None:
        rows = rows_left(lengths, 0)
        tried = [*range(min(MOST_ORDER, int(MOST_SHARE * rows)) + 1)]
        least = max(least, ROWS_LEFT * rows)
    found = [p for p in tried if rows_left(lengths, p) >= least]
    if order is not None and not found:
        left = f"{count(rows_left(lengths, order), 'row')} for {count(unknowns, 'unknown')}"
        raise SolveError(f"noise='ar{order}' excludes rows after every gap, which leaves {left}")
    return max(found, default=0)


# --- filtered problems


def filtered_parts(
    problem: Problem, noise: Autoregression, limits: Tuning
) -> Iterator[tuple[tuple[int, ...], Problem]]:
    """Yield outputs of one filter and their filtered problem. Its bias is that of y times 1 − Σρ.

    The problem must have one axis, and equal rows and weights for all rows of a record.
    """
    sizes, spec = problem._sizes(limits), problem.spec
    each = sizes.numbers // spec.groups + 2 * sizes.columns**2
    # Records of all outputs that exceed the memory together are filtered whenever they are read.
    stored = sizes.beyond_memory or each * problem.n_outputs > limits.held_numbers
    group = problem.n_outputs // spec.groups
    for outputs in noise.shared(group):
        taps = np.concatenate([[1.0], -noise.coefficients[outputs[0], : noise.order[outputs[0]]]])
        some = problem._of_outputs(outputs)
        if outputs[0] % group == 0:
            forms: list[Any] = [NormalForm.of(a, spec) for a in some.x]
            forms = forms if stored else [*map(np.asarray, forms)]
        assert some.y is not None
        x = filtered_records(forms, taps, spec.stride[0], stored)
        made = _filtered(some, x, filtered_records(some.y, taps, 1, stored), taps)
        yield outputs, made
        if stored:
            forget(made)


def _filtered(problem: Problem, x: list[Any], y: list[Any], taps: np.ndarray) -> Problem:
    """Return the problem with filtered records x in normal form, and y."""
    spec, kept, order = problem.spec, problem._kept, len(taps) - 1
    input, output = (Records(tuple(a), "list", channel_axis=True, is_jax=False) for a in (x, y))
    # The layer that reads records in normal form at the same lags.
    shift = map(add, problem._geometry.shift, spec._offset(problem._lengths[0]))
    geometry = Geometry(spec._normal, tuple(shift))
    rows = Rows.of(geometry.spec, [a.shape[:-1] for a in x])
    if kept.flags is not None:
        rows = rows.flagged([_usable(flags, order) for flags in kept.flags])
    if (columns := problem._terms.columns) is not None:
        columns = columns._replace(missing=None)
        columns = columns.each(lambda a: filtered(np.asarray(a, float), taps)[order:])
    made = {"_geometry": geometry, "_input": input, "_output": output}
    made["_by_mask"] = one_mask(problem.n_outputs, rows)
    return problem._replace(**made, _terms=problem._terms._replace(columns=columns))


def _usable(flags: np.ndarray, order: int) -> np.ndarray:
    """Return flags (T − p,) of the rows that are used and have p rows before them that are used."""
    total = np.cumsum(np.concatenate([[0], flags]))
    return np.asarray(total[order + 1 :] - total[: max(len(flags) - order, 0)] == order + 1)
