"""The design matrix of a problem, and sums over its rows."""

from __future__ import annotations

import math
import time
from copy import copy
from typing import Any

import numpy as np

from ..cached import cached_property
from ..errors import SolveError
from ..linalg.threads import on_blas_threads
from ..operators.chunks import Chunks, Plan
from ..operators.design_matrix import DesignMatrix, Targets
from ..operators.moments import Moments
from ..operators.tap_basis import TapBasis
from ..problem.problem import Problem
from ..problem.sizes import Sizes, Tuning
from ..problem.spec import ConvSpec
from .penalty import Coordinates, NoPenalty, Penalty

# In one dimension, conjugate gradients with FFTs are faster than a factor from this number of
# unknowns on, plus some for every channel and output of a group: benchmarks/results/choice.json.
FEWEST_UNKNOWNS, UNKNOWNS_A_CHANNEL, UNKNOWNS_AN_OUTPUT = 800, 20, 30
# From this many columns on, norms are computed without the Gram if that may not be needed. With few
# rows, it may not be needed from fewer columns on.
GRAM_FIRST, GRAM_OF_ROWS = 800, 32


def without_gram(sizes: Sizes, spec: ConvSpec) -> bool:
    """Return whether conjugate gradients support a problem without a penalty."""
    return spec.ndim == 1 and sizes.basis is None and not sizes.confounded


def iterative(sizes: Sizes, spec: ConvSpec) -> bool:
    """Return whether conjugate gradients are expected to be faster than any factor.

    They are not if the edges of the records, which cost two kernels each, are more than half of the
    work; or for records beyond memory, which every step would read. If AᵀA is not Toeplitz, a step
    takes two passes over the data for every output, but a factor takes longer, too.
    """
    taps = spec.kernel_size[0]
    long = sizes.rows >= 4 * len(sizes.shapes) * taps
    fewest: float = (
        FEWEST_UNKNOWNS
        + UNKNOWNS_A_CHANNEL * (sizes.columns // taps)
        + UNKNOWNS_AN_OUTPUT * sizes.outputs
    )
    fewest *= 1.0 if sizes.toeplitz else 2 * math.sqrt(sizes.outputs)
    many = long and sizes.unknowns >= fewest
    return without_gram(sizes, spec) and many and not sizes.beyond_memory


class Clock:
    """Seconds by label. Time in a nested label counts for the nested label only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @property
    def total(self) -> float:
        """Seconds of all labels."""
        return sum(self.seconds.values())

    def timing(self, label: str) -> _Timing:
        """Return a block whose time is added to ``label``."""
        return _Timing(self, label)


class _Timing:
    """A block of a `Clock`, without the cost of a generator."""

    def __init__(self, clock: Clock, label: str) -> None:
        self._clock, self._label = clock, label

    def __enter__(self) -> None:
        self._before, self._start = self._clock.total, time.perf_counter()

    def __exit__(self, *error: object) -> None:
        seconds = self._clock.seconds
        taken = time.perf_counter() - self._start - (self._clock.total - self._before)
        seconds[self._label] = seconds.get(self._label, 0.0) + taken


class Design:
    """The design matrix of a problem, and sums over its rows.

    The y given with x is read in the same pass. Other outputs for the same x reuse everything else.
    """

    def __init__(self, problem: Problem, limits: Tuning) -> None:
        self.spec, self.nuisance, self.bias = problem.spec, problem._nuisance, problem.bias
        self.sizes, self.adjustments = problem._sizes(limits), problem._adjustments
        # The precision of the solution, and the rounding unit of x (0 if x is exact).
        self.dtype, self.data_eps = problem._dtype, problem._data_eps
        self.kernel_shape, self.space = problem.kernel_shape, problem._space
        self.lags, self.names = problem._lags, problem._names
        self.tap_lags = problem.spec._in_taps(self.lags)
        # A copy, because analyses of a problem are kept until the problem itself is not used.
        self.clock, self.problem = Clock(), problem._replace()
        self.channels, self.selection = problem.n_channels, problem._selection
        self._given = problem.x, problem.y
        given = problem._input, problem._output
        self._largest = [None if a is None else a.largest for a in given]

    def coordinates(self, penalty: Penalty) -> Coordinates:
        """Return the coordinates of a penalty given for the channels of the whole problem."""
        given, groups = self.selection, self.spec.groups
        channels = given.n_channels, groups, given.channels
        return penalty.coordinates(self.tap_lags, *channels, space=self.space)

    @cached_property
    def records(self) -> tuple[Any, ...]:
        """The records x, in memory if they fit."""
        return self._in_memory(self._given[0])

    def _in_memory(self, records: Any) -> tuple[Any, ...]:
        if self.sizes.beyond_memory:
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

    def by_record(self, values: np.ndarray) -> list[np.ndarray]:
        """Return row-wise values (groups, n) as ``(*T, groups)`` of each record.

        Outputs without a row are NaN.
        """
        return self.matrix.chunks.order.by_record(values)

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

    @property
    def in_time(self) -> Design:
        """The design with its rows in the order of records and time."""
        return self._in_time or self

    @cached_property
    def _in_time(self) -> Design | None:
        """The same; None if the rows are in this order, so that no design refers to itself."""
        matrix = self._matrix(whole=not self.sizes.chunked, in_time=True)
        if matrix.chunks.order.spans == self.matrix.chunks.order.spans:
            return None
        found = copy(self)
        for name in ("whole_matrix", "moments", "_in_time"):
            vars(found).pop(name, None)
        vars(found)["matrix"] = matrix
        return found

    def _gram_last(self, by_rows: bool) -> bool:
        """Return whether a solution may not need the Gram matrix, for rows in memory."""
        sizes = self.sizes
        if by_rows:
            return sizes.columns > GRAM_OF_ROWS
        needless = self.space is not None or sizes.wide or not sizes.gram_fits
        needless = needless or iterative(sizes, self.spec)
        return sizes.columns > GRAM_FIRST and needless

    def _matrix(self, whole: bool, in_time: bool = False) -> DesignMatrix:
        x, y = self.records, self._given[1]
        y = None if y is None else self._in_memory(y)
        by_rows = self.sizes.by_rows and whole
        columns_first = whole and self._gram_last(by_rows)
        plan = Plan(whole, by_rows, columns_first, in_time, *self._largest)
        given = self.adjustments, self.nuisance, self.sizes.limits
        return DesignMatrix(Chunks(x, y, self.spec, *given, plan))

    @cached_property
    @on_blas_threads
    def moments(self) -> Moments:
        """Sums over the rows of A, and of y if it was given with x."""
        matrix = self.matrix
        with self.clock.timing("moments"):
            return matrix.moments(self.targets)

    def moments_in(self, basis: TapBasis, targets: Targets | None) -> Moments:
        """Return sums over the rows of A T, without those of A if they are many."""
        if basis.identity:
            return self.moments if targets is self.targets else self.matrix.moments(targets)
        with self.clock.timing("moments"):
            return self.matrix.moments(targets, basis)

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

    @cached_property
    @on_blas_threads
    def summable(self) -> Moments:
        """Sums in the coordinates of `span`, which can be added to those of other rows."""
        sums = self.moments_in(self.span, self.targets)
        return self.matrix.summable(self.targets, self.span, sums)
