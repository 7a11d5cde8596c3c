"""A problem whose rows are filtered in time, so that autoregressive noise becomes white.

The filter φ = (1, −ρ₁, …, −ρ_p) acts on x and on y. The taps are unchanged. A row is used if it and
the p rows before it are used, so that p rows are lost after every gap. Generalized least squares is
least squares of the filtered problem, with any penalty, mask, confounds and source of the data.

Source: D. Cochrane and G. H. Orcutt, J. Am. Stat. Assoc. 44 (1949) 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SolveError
from ..linalg.rank import EPS
from ..operators.windows import NormalForm
from ..problem.problem import Problem
from ..problem.records import Records
from ..problem.sizes import Limits
from .autoregression import Autoregression, filtered, largest_order, no_noise

# A norm of residuals below this share of the norm of y is rounding.
ROUNDING = 1e3 * EPS


@dataclass(frozen=True, eq=False)
class FilteredRecord:
    """Samples (n, C) less a constant, filtered in time when they are read.

    Attributes:
        record: the samples before the filter, which are read on demand.
        constant: (C,), subtracted first, so that a large offset costs no digits.
        filters: φ (p + 1,).
        step: number of samples between two coefficients of the filter.
    """

    record: Any
    constant: np.ndarray
    filters: np.ndarray
    step: int

    @property
    def _lost(self) -> int:
        return (len(self.filters) - 1) * self.step

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n − p·step, C)."""
        length, channels = self.record.shape
        return max(length - self._lost, 0), channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples."""
        return np.dtype(float)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return some samples: a slice of the first axis, and possibly of the channels."""
        rows, *channels = key if isinstance(key, tuple) else (key,)
        start, stop, _ = rows.indices(self.shape[0])
        read = np.asarray(self.record[start : max(stop, start) + self._lost], float)
        found = filtered(read - self.constant, self.filters[None], self.step)[self._lost :]
        return np.asarray(found[(slice(None), *channels)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self[:]
        return found if dtype is None else found.astype(dtype, copy=False)


def filtered_problem(
    problem: Problem, noise: Autoregression, output: int, limits: Limits
) -> Problem:
    """Return the problem of one output with rows that are filtered by the filter of its noise.

    The problem must have one axis, and equal rows and weights for all rows of a record.
    """
    alone = problem.of_output(output)
    order, spec = int(noise.order[output]), alone.spec
    assert alone.y is not None
    filters = noise.filters[output, : order + 1]
    kept = [i for i in alone.kept.used if _usable(alone.kept.flags_of(i), order).any()]
    if not kept:
        raise SolveError(f"noise of order {order} leaves no row of any record; use a smaller order")
    mask = [_usable(alone.kept.flags_of(i), order) for i in kept]
    lengths = [alone.kept.shapes[i][0] for i in kept]
    forms = [NormalForm.of_rows(alone.x[i], spec, 0, n) for i, n in zip(kept, lengths, strict=True)]
    offsets = _offsets(alone)
    x: list[Any] = [FilteredRecord(a, offsets[0], filters, spec.stride[0]) for a in forms]
    y: list[Any] = [FilteredRecord(alone.y[i], offsets[1], filters, 1) for i in kept]
    if not alone.sizes(limits).beyond_memory:
        x, y = ([*map(np.asarray, several)] for several in (x, y))
    confounds: Any = alone.confounds
    if isinstance(confounds, Records):
        several = (confounds.arrays[i] for i in kept)
        confounds = [filtered(np.asarray(a, float), filters[None])[order:] for a in several]
    weights = None
    if alone.weights is not None:
        weights = [float(alone.weights.roots[i]) ** 2 for i in kept]
    used = None if all(m.all() for m in mask) else mask
    given: dict[str, Any] = {"mask": used, "confounds": confounds}
    made = Problem(x, y, spec=spec.normal, bias=alone.bias, weights=weights, **given)
    return made.described_as(alone)


def unfiltered_bias(
    problem: Problem, noise: Autoregression, output: int, kernel: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Return the bias (1,) of an output, given kernel and bias of its filtered problem."""
    if not problem.bias:
        return bias
    alone = problem.of_output(output)
    of_x, of_y = _offsets(alone)
    gain = noise.filters[output].sum()
    return np.asarray(bias / gain + of_y - np.einsum("kco,c->o", kernel, of_x))


def estimated_noise(
    problem: Problem, residuals: Sequence[np.ndarray], order: int | None
) -> Autoregression:
    """Return the noise of residuals (T, outputs) of every record, NaN in rows that are not used.

    Raises:
        SolveError: If there are too few rows for the order, or if an output has no noise.
    """
    runs = [run for i, e in enumerate(residuals) for run in _runs(problem, i, e)]
    largest = np.max([np.abs(e).max(0, initial=0.0) for e in runs], axis=0)
    _check_noise(problem, largest)
    scaled = [np.ldexp(e, -np.frexp(largest)[1]) for e in runs]
    most = largest_order([*map(len, runs)], problem.sizes().unknowns, order)
    return Autoregression.estimated(scaled, order, most)


def _check_noise(problem: Problem, largest: np.ndarray) -> None:
    """Raise a SolveError if only rounding of an output remains in the residuals."""
    assert problem.y is not None
    several = (run for i, b in enumerate(problem.y) for run in _runs(problem, i, np.asarray(b)))
    of_y = np.max([np.abs(run).max(0, initial=0.0) for run in several], axis=0)
    exact = np.flatnonzero(largest <= ROUNDING * of_y)
    if exact.size:
        raise no_noise(problem.names.output(int(exact[0])))


def _runs(problem: Problem, record: int, e: np.ndarray) -> list[np.ndarray]:
    """Return the residuals (n, outputs) of every run of rows that are used and consecutive."""
    flags = problem.kept.flags_of(record)
    root = 1.0 if problem.weights is None else float(problem.weights.roots[record])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [root * e[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _usable(flags: np.ndarray, order: int) -> np.ndarray:
    """Return flags (T − p,) of the rows that are used and have p rows before them that are used."""
    if len(flags) <= order:
        return np.zeros(0, bool)
    count_of = np.cumsum(np.concatenate([[0], flags]))
    return np.asarray(count_of[order + 1 :] - count_of[: len(flags) - order] == order + 1)


def _offsets(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return constants of x (C,) and y (1,) that a bias or a drift takes up; else zeros."""
    assert problem.y is not None
    if not problem.bias and not isinstance(problem.confounds, int):
        return np.zeros(problem.in_channels), np.zeros(1)
    first = problem.kept.used[0]
    start = int(np.flatnonzero(problem.kept.flags_of(first))[0])
    form = NormalForm.of_rows(problem.x[first], problem.spec, start, start + 1)
    of_x = np.asarray(form, float).mean(0)
    return of_x, np.asarray(problem.y[first][start : start + 1], float)[0]
