"""The design matrix of a problem, and sums over its rows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import SolveError
from ..operators.data import Data, Plan, Signal, chunk_rows
from ..operators.design_matrix import DesignMatrix, Targets
from ..operators.events import mostly_zero
from ..operators.layout import TapBasis
from ..parallel import cached_property
from ..problem.problem import Problem
from ..problem.records import Records, is_away
from ..problem.sizes import Sizes, Tuning
from ..problem.spec import ConvSpec
from ..progress import LOG
from .penalty import Coordinates, NoPenalty, Penalty

# In one dimension, conjugate gradients with FFTs are faster than a factor from this number of
# unknowns on, plus some for every channel and output of a group: benchmarks/results/choice.json.
FEWEST_UNKNOWNS, UNKNOWNS_A_CHANNEL, UNKNOWNS_AN_OUTPUT = 800, 20, 30
# From this many columns on, norms are computed without the Gram if that may not be needed.
GRAM_FIRST = 800
# With fewer rows per unknown, AᵀA is not close to a Toeplitz matrix.
ROWS = 10


def without_gram(sizes: Sizes, spec: ConvSpec) -> bool:
    """Return whether conjugate gradients support a problem without a penalty."""
    return spec.ndim == 1 and sizes.dimension is None and not sizes.confounded


def iterative(sizes: Sizes, spec: ConvSpec) -> bool:
    """Return whether conjugate gradients are expected to be faster than any factor.

    They are not if the edges of the records, which cost two kernels each, are more than half of the
    work; or for records beyond memory, which every step would read. If AᵀA is not Toeplitz, a step
    takes two passes over the data for every output, but a factor takes longer, too.
    """
    taps = spec.kernel_size[0]
    long = sizes.rows >= 4 * len(sizes.shapes) * taps
    fewest: float = FEWEST_UNKNOWNS + UNKNOWNS_AN_OUTPUT * sizes.outputs
    fewest += UNKNOWNS_A_CHANNEL * (sizes.columns // taps)
    fewest *= 1.0 if sizes.toeplitz else 2 * math.sqrt(sizes.outputs)
    many = long and sizes.unknowns >= fewest
    return without_gram(sizes, spec) and many and not sizes.beyond_memory


def nearly_toeplitz(sizes: Sizes, spec: ConvSpec, unknowns: int) -> bool:
    """Return whether AᵀA is close to a Toeplitz matrix, and of more than so many unknowns."""
    many = sizes.unknowns > unknowns and sizes.rows >= ROWS * sizes.unknowns
    return many and sizes.toeplitz and iterative(sizes, spec)


class Clock:
    """Seconds by label. Time in a nested label counts for the nested label only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @property
    def total(self) -> float:
        """Seconds of all labels."""
        return sum(self.seconds.values())

    @contextmanager
    def timing(self, label: str) -> Iterator[None]:
        """Add the time of a block to ``label``."""
        before, start = self.total, time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - start - (self.total - before)
            self.seconds[label] = self.seconds.get(label, 0.0) + taken


class Design:
    """The design matrix of a problem, and sums over its rows.

    The y given with x is read in the same pass. Other outputs for the same x reuse everything else.
    """

    def __init__(self, problem: Problem, limits: Tuning) -> None:
        self.spec, self.nuisance, self.bias = problem.spec, problem._nuisance, problem.bias
        self.sizes, self.kept = problem._sizes(limits), problem._kept
        # The precision of the solution, and the rounding unit of x (0 if x is exact).
        self.dtype, self.data_eps = problem._dtype, problem._data_eps
        self.kernel_shape, self.space = problem.kernel_shape, problem._space
        self.lags, self.names = problem._lags, problem._names
        self.tap_lags = problem.spec._in_taps(self.lags)
        # A copy, because analyses of a problem are kept until the problem itself is not used.
        self.clock, self.problem = Clock(), problem._replace()
        self.selection = problem._selection
        self._given = problem.x, problem.y
        given = problem._input, problem._output
        self._known = [_known(records) for records in given]

    def coordinates(self, penalty: Penalty) -> Coordinates:
        """Return the coordinates of a penalty given for the channels of the whole problem."""
        given, groups = self.selection, self.spec.groups
        channels = given.n_channels, groups, given.channels
        return penalty.coordinates(self.tap_lags, *channels, space=self.space)

    @cached_property
    def records(self) -> tuple[Any, ...]:
        """The records x, in memory if they fit and no device sums them."""
        return self._in_memory(self._given[0])

    def _in_memory(self, records: Any) -> tuple[Any, ...]:
        sums_away = not self.sizes.by_rows and all(map(is_away, records))
        if self.sizes.beyond_memory or sums_away:
            return tuple(records)
        return tuple(map(np.asarray, records))

    @property
    def records_in_memory(self) -> tuple[np.ndarray, ...]:
        """All records of x.

        Raises:
            SolveError: If they do not fit in memory.
        """
        if reason := self.sizes.whole_reason:
            raise SolveError(f"this {reason}")
        return tuple(map(np.asarray, self.records))

    @property
    def targets(self) -> Targets | None:
        """The y given with x."""
        return self.matrix.targets

    def outputs(self, y: Any) -> Targets:
        """Return targets y for this x."""
        return self.matrix.with_outputs(self._in_memory(y))

    @property
    def _blas_columns(self) -> int:
        """The smaller dimension of A."""
        return min(self.sizes.rows, self.sizes.columns)

    @cached_property
    def matrix(self) -> DesignMatrix:
        """The design matrix A."""
        return self._matrix(whole=not self.sizes.chunked)

    @cached_property
    def whole_matrix(self) -> DesignMatrix:
        """The design matrix with all of x in memory at once."""
        return self._matrix(whole=True) if self.sizes.chunked else self.matrix

    def _gram_last(self, by_rows: bool) -> bool:
        """Return whether a solution may not need the Gram matrix, for rows in memory."""
        sizes = self.sizes
        if by_rows or sizes.columns <= GRAM_FIRST:
            return by_rows
        needless = self.space is not None or sizes.wide or not sizes.gram_fits
        return needless or iterative(sizes, self.spec)

    def _matrix(self, whole: bool) -> DesignMatrix:
        x, y, (of_x, of_y) = self.records, self._given[1], self._known
        sizes, by_rows = self.sizes, self.sizes.by_rows
        last, numbers = whole and self._gram_last(by_rows), sizes.limits.chunk_numbers
        least = sizes.columns**2
        step, gap = (None, self._gap) if whole else chunk_rows(x, y, self.spec, numbers, least)
        lengths, kept = [a.shape[:-1] for a in x], self.kept
        plan = Plan(lengths, self.spec, kept, self.nuisance, step, gap)
        sparse = not by_rows and all(isinstance(a, np.ndarray) for a in x)
        sparse = sparse and mostly_zero(x, self.spec, sizes.limits.event_elements)
        if step is not None:
            LOG.info("%d rows in %d chunks of up to %d", plan.rows, len(plan.chunks), step)
        data = Data(plan, Signal(plan, x, of_x=True, known=of_x, sparse=sparse))
        out = None if y is None else Signal(plan, self._in_memory(y), of_x=False, known=of_y)
        return DesignMatrix(data, out, by_rows, not last)

    @property
    def _gap(self) -> int:
        """The number of excluded rows from which on a cut costs less than their products."""
        slab = max(math.prod(shape[1:]) for shape in self.kept.shapes)
        products = slab * self.sizes.columns**2
        return max(self.spec.kernel_size[0], self.sizes.limits.gap_products // products)

    def sum_rows(self) -> None:
        """Sum over all rows, which all methods but FFT deconvolution begin with."""
        with self.clock.timing("moments"):
            _ = self.matrix.first

    @property
    def modelled(self) -> np.ndarray:
        """Flags (P,) of the taps in the window of their channel. The others are zero."""
        if self.space is None:
            return np.ones(self.sizes.columns, bool)
        return self.space.kept.reshape(-1)

    @cached_property
    def span(self) -> TapBasis:
        """An orthonormal basis of the kernels; the identity if they are all kernels."""
        return self.coordinates(NoPenalty()).basis


def _known(records: Records | None) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Return the largest magnitudes and any means of records, if they are known."""
    return None if records is None or records.largest is None else (records.largest, records.means)
