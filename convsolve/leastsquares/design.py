"""What x gives: the design matrix of a problem in its best form, and sums over its rows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..cached import cached_property
from ..linalg.threads import on_blas_threads
from ..operators.base import DesignOperator
from ..operators.fourier import FourierOperator
from ..operators.moments import Moments
from ..operators.overlap_save import columns_of_components
from ..operators.partialled import PartialledOperator
from ..operators.records import Inputs, Targets
from ..operators.rows import RowOperator
from ..problem.problem import Problem
from ..problem.sizes import Limits


class Clock:
    """Seconds by what they were spent on; what is timed within something else counts there only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self.seconds.values())

    @contextmanager
    def timing(self, label: str) -> Iterator[None]:
        """Add the time within to ``label``."""
        before, start = self.total, time.perf_counter()
        try:
            yield
        finally:
            nested = self.total - before
            taken = time.perf_counter() - start - nested
            self.seconds[label] = self.seconds.get(label, 0.0) + taken


class Design:
    """The design matrix of a problem, in its best form.

    The y given with x is read in the same pass; other outputs of this x use all else again.
    """

    def __init__(self, problem: Problem, limits: Limits) -> None:
        self.spec, self.nuisance = problem.spec, problem.nuisance
        self.sizes, self.adjustments = problem.sizes(limits), problem.adjustments
        # The precision of the answer, and the rounding unit of x (0 where it is exact).
        self.dtype, self.data_eps = problem.dtype, problem.data_eps
        self.kernel_shape = problem.kernel_shape
        self.lags = problem.lags
        self.tap_lags = problem.spec.in_taps(self.lags)
        self.clock = Clock()
        self.inputs = Inputs(problem.x, problem.spec, self.adjustments, self.nuisance, limits)
        self.targets = None if problem.y is None else self.outputs(problem.y)

    def outputs(self, y: tuple[np.ndarray, ...]) -> Targets:
        """y beside this x."""
        return Targets(y, self.inputs, self.nuisance)

    @property
    def blas_columns(self) -> int:
        """The smaller side of A."""
        return min(self.sizes.rows, self.sizes.columns)

    @cached_property
    @on_blas_threads
    def operator(self) -> DesignOperator:
        """By FFTs where that is faster than by rows, and as exact.

        Not for a small matrix, nor for a single tap, nor where most rows are left out or each has a
        weight of its own; nor where a transient at the edge of a record makes the columns of a
        channel so uneven that its rounding would drown the others, or confounds resemble them.
        """
        if not self.sizes.by_rows and self._several_taps and self.inputs.structured:
            with self.clock.timing("moments"):
                if self.fourier.exact and not self._confounds:
                    return self.fourier
                if self.fourier.exact and (found := PartialledOperator(self.fourier)).exact:
                    return found
        return RowOperator(self.inputs, self.nuisance, self.sizes.limits, self.targets)

    @property
    def _confounds(self) -> int:
        """Columns of them."""
        return self.nuisance.total - self.nuisance.count

    @property
    def _several_taps(self) -> bool:
        taps = math.prod(self.spec.kernel_size)
        # Phases of a stride that no tap reads are columns too.
        return taps > 1 and columns_of_components(self.spec) <= 4 * taps

    @cached_property
    def fourier(self) -> FourierOperator:
        """By FFTs, whatever the size."""
        return FourierOperator(self.inputs, self.nuisance, self.sizes.limits, self.targets)

    @cached_property
    @on_blas_threads
    def moments(self) -> Moments:
        """Sums over the rows of A, and of y where it was given with x."""
        operator = self.operator
        with self.clock.timing("moments"):
            return operator.moments(self.targets)
