"""Problems whose rows are filtered in time, so that autoregressive noise becomes white.

The filter φ = (1, −ρ₁, …, −ρ_p) acts on x and on y. The taps are unchanged. A row is used if it and
the p rows before it are used, so that p rows are lost after every gap. Generalized least squares is
least squares of the filtered problem, with any penalty, mask, confounds and source of the data.

Outputs have different filters. Each output has a problem of its own, with x and y filtered by the
filter of that output.

Source: D. Cochrane and G. H. Orcutt, J. Am. Stat. Assoc. 44 (1949) 32.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from operator import add
from typing import Any, NamedTuple

import numpy as np

from ..errors import SolveError
from ..leastsquares.analysis import Analysis, forget
from ..leastsquares.penalty import RIDGE
from ..linalg.rank import EPS
from ..operators.design_matrix import DesignMatrix
from ..operators.filtered import Filter, FilteredRecord, filtered
from ..operators.windows import NormalForm, normal_form
from ..problem.geometry import Geometry
from ..problem.problem import Problem
from ..problem.records import Records, Stored
from ..problem.rows import Rows
from ..problem.sizes import Tuning
from .autoregression import Autoregression, NoiseSums, largest_order


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
    order, spec, kept = int(noise.order[output]), problem.spec, problem._kept
    assert problem.y is not None
    taps = noise.filters[output, : order + 1]
    used = records_left(kept, order)
    if not used:
        raise SolveError(f"noise of order {order} leaves no row of any record")
    each = problem.n_channels // spec.groups
    channels = output * spec.groups // problem.n_outputs * each + np.arange(each)
    every_x, every_y = _offsets(problem)
    of_x, of_y = every_x[channels], every_y[[output]]
    for_x = Filter(channels, of_x, taps, spec.stride[0])
    for_y = Filter(np.array([output]), of_y, taps)
    x: Any = [problem.x[i] for i in used]
    y: Any = [problem.y[i] for i in used]
    if on_demand:
        forms = (NormalForm.of(a, spec) for a in x)
        x = [a for form in forms for a in Stored.of(FilteredRecord(form, for_x), 1)]
        y = [a for record in y for a in Stored.of(FilteredRecord(record, for_y), 1)]
    else:
        x = for_x.of_all([*map(np.asarray, x)], partial(normal_form, spec=spec))
        y = for_y.of_all([*map(np.asarray, y)], np.asarray)
    input, outputs = (Records(tuple(a), "list", channel_axis=True, is_jax=False) for a in (x, y))
    alone = problem._of_outputs((output,))
    # The layer that reads records in normal form at the same lags.
    shift = map(add, alone._geometry.shift, alone.spec._offset(alone._lengths[used[0]]))
    geometry = Geometry(alone.spec._normal, tuple(shift))
    rows = Rows.of(geometry.spec, [a.shape[:-1] for a in input.arrays])
    mask = tuple(_usable(kept.flags_of(i), order) for i in used)
    terms = problem._terms
    if terms.columns is not None:
        several = (filtered(np.asarray(terms.columns.arrays[i], float), taps) for i in used)
        columns = tuple(a[order:] for a in several)
        terms = terms._replace(columns=terms.columns._replace(arrays=columns, missing=None))
    weights = problem._weights
    made = alone._replace(
        _geometry=geometry,
        _input=input,
        _output=outputs,
        _by_mask=(((0,), rows.flagged(mask)),),
        _weights=weights and tuple(weights[i] for i in used),
        _terms=terms,
        _selection=alone._selection._replace(records=tuple(used)),
        _dtype=np.dtype(float),
        _data_eps=EPS,
    )
    return FilteredPart(output, made, float(taps.sum()), (of_x, float(of_y[0])))


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
    design, plain = analysis.design, analysis.regression(RIDGE, 0.0)
    w = plain.from_kernel(kernel)
    of_taps, groups = plain.system.columns.expand(plain.scaling.divided(w)), range(len(w))
    matrix = design.matrix
    e = np.stack(
        [matrix.output_rows(plain.targets, g) - matrix.forward(g, of_taps[g]) for g in groups]
    )
    if design.nuisance.constant:
        e -= e.mean(1, keepdims=True)
    if design.nuisance.shared:
        # So far, the residuals contain the least-squares bias instead of the given one.
        off = np.ldexp(
            bias - plain.from_columns(plain.scaling.divided(w))[1], -plain.y_exponents.reshape(-1)
        )
        e -= _constant(design.matrix, off).reshape(e.shape[1], len(w), -1).swapaxes(0, 1)
    exact = np.flatnonzero(np.linalg.norm(e, axis=1) <= plain.rounding(w))
    if exact.size:
        raise SolveError(
            f"noise='ar' needs noise, and {design.names.output(int(exact[0]))} "
            "is fitted up to rounding; leave it out, or use noise='white'"
        )
    kept = design.kept
    residuals = design.matrix.plan.by_record(e.swapaxes(1, 2).reshape(-1, e.shape[1]))
    flags = [kept.flags_of(i) for i in kept.used]
    lengths = [length for own in flags for length in _runs(own)]
    most = largest_order(lengths, design.sizes.unknowns, order)
    residuals = [np.nan_to_num(residuals[i], copy=False) for i in kept.used]
    confounds, none = design.nuisance.confounds, np.zeros((0, 0))
    columns = [
        none if confounds is None else confounds.layouts[confounds.which[i]].columns
        for i in kept.used
    ]
    return Autoregression.estimated(NoiseSums.over(residuals, flags, columns, most), order)


def _constant(matrix: DesignMatrix, values: np.ndarray) -> np.ndarray:
    """Return constants (Cout,) of all records in the rows (n, Cout), less the part in own columns.

    With weights, they are multiplied by their roots.
    """
    columns = matrix.nuisance_columns
    found = np.zeros((columns.shape[1], len(values)))
    found[-1] = values * matrix.plan.norm
    return np.asarray(columns @ found)


def _runs(flags: np.ndarray) -> list[int]:
    """Return the length of every run of rows that are used and consecutive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [*(edges[1::2] - edges[::2]).tolist()]


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
