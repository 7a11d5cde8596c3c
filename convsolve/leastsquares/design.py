"""What x gives: the design matrix of a problem in its best form, and sums over its rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..cached import cached_property
from ..errors import SolveError
from ..linalg.threads import on_blas_threads
from ..operators.base import DesignOperator
from ..operators.chunks import ChunkedOperator
from ..operators.devices import DeviceOperator
from ..operators.fourier import FourierOperator
from ..operators.moments import Moments
from ..operators.overlap_save import by_fft
from ..operators.partialled import PartialledOperator
from ..operators.partialled_chunks import PartialledChunks
from ..operators.records import Inputs, Targets
from ..operators.rows import RowOperator
from ..problem.problem import Problem
from ..problem.records import Records
from ..problem.sizes import Limits
from ..problem.stored import in_memory
from .penalty import Coordinates, Penalty
from .placement import device_operator


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
        self.lags, self.names = problem.lags, problem.names
        self.tap_lags = problem.spec.in_taps(self.lags)
        self.clock = Clock()
        self.channels, self.selection = problem.in_channels, problem.selection
        # What arrays of jax are on, and A there, or why not; empty of arrays on the host.
        self._held_by = problem.input.devices
        self._placed: DeviceOperator | str = ""
        self._given: tuple[Any, Any] = problem.input, problem.output
        self._largest = [None if a is None else a.largest for a in self._given]
        if not problem.remote:
            self._given = problem.x, problem.y
        if self._held_by:
            with self.clock.timing("moments"):
                self._placed = device_operator(problem, self.sizes, self._fetched)

    def coordinates(self, penalty: Penalty) -> Coordinates:
        """Return those of a penalty that was given for the channels of the whole problem."""
        given, groups = self.selection, self.spec.groups
        return penalty.coordinates(self.tap_lags, given.in_channels, groups, given.channels)

    def _fetched(self) -> tuple[Inputs, Targets | None]:
        return self.inputs, self._targets_on_host

    @property
    def devices(self) -> str:
        """What x is on, and where sums over rows are taken; empty of arrays on the host."""
        if not self._held_by:
            return ""
        if isinstance(self._placed, str):
            return f"{self._held_by}, fetched to the host: {self._placed}"
        return self._held_by + ", then fetched to the host" * ("inputs" in vars(self))

    @cached_property
    def records(self) -> tuple[Any, ...]:
        """The records x, in memory if they are few enough."""
        return self._in_memory(self._given[0])

    def _in_memory(self, records: Any) -> tuple[Any, ...]:
        found = records.cast(self.dtype) if isinstance(records, Records) else records
        return tuple(found) if self.sizes.beyond_memory else tuple(map(in_memory, found))

    @cached_property
    def inputs(self) -> Inputs:
        """All of x at once."""
        if reason := self.sizes.whole_reason:
            raise SolveError(f"this {reason}")
        given = self.records, self.spec, self.adjustments, self.nuisance, self.sizes.limits
        return Inputs(*given, sizes=self._largest[0])

    def by_record(self, values: np.ndarray) -> list[np.ndarray]:
        """What was computed row by row (groups, n) as ``(*T, groups)`` of each record; NaN where
        there is no row.
        """
        if not self.sizes.chunked:
            return self.inputs.by_record(values)
        kept, first = self.adjustments.kept, 0
        found = [np.full((*shape, len(values)), np.nan) for shape in kept.shapes]
        for i in kept.used:
            last = first + kept.sizes[i]
            found[i][kept.flags_of(i)] = values[:, first:last].T
            first = last
        return found

    @cached_property
    def targets(self) -> Targets | None:
        """The y given with x."""
        if not isinstance(self._placed, str):
            return self._placed.targets
        return self._chunked.targets if self.sizes.chunked else self._targets_on_host

    @cached_property
    def _targets_on_host(self) -> Targets | None:
        y = self._given[1]
        return None if y is None else self.outputs(y, self._largest[1])

    def outputs(self, y: Any, sizes: np.ndarray | None = None) -> Targets:
        """y beside this x; of largest magnitudes ``sizes`` (Cout,), if they are known."""
        if self.sizes.chunked:
            return self._chunked.outputs(self._in_memory(y))
        return Targets(self._in_memory(y), self.inputs, self.nuisance, sizes)

    @cached_property
    def _chunked(self) -> ChunkedOperator:
        y = self._given[1]
        y = None if y is None else self._in_memory(y)
        given = self.records, y, self.spec, self.adjustments.kept
        confounds = self.nuisance.confounds
        if confounds is not None:
            return PartialledChunks(*given, confounds, self.sizes.limits)
        sizes = self._largest[0], self._largest[1]
        return ChunkedOperator(*given, self.nuisance, self.sizes.limits, sizes)

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
        if not isinstance(self._placed, str):
            return self._placed
        if self.sizes.chunked:
            return self._chunked
        if not self.sizes.by_rows and by_fft(self.spec) and self.inputs.structured:
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

    @cached_property
    def fourier(self) -> FourierOperator:
        """By FFTs, whatever the size; all of x at once, and y unless that is taken in chunks."""
        targets = None if self.sizes.chunked else self.targets
        return FourierOperator(self.inputs, self.nuisance, self.sizes.limits, targets)

    @cached_property
    @on_blas_threads
    def moments(self) -> Moments:
        """Sums over the rows of A, and of y where it was given with x."""
        operator = self.operator
        with self.clock.timing("moments"):
            return operator.moments(self.targets)
