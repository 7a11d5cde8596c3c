"""The design matrix of a problem in its fastest exact form, and sums over its rows."""

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
from ..operators.chunked import ChunkedOperator
from ..operators.devices import DeviceOperator
from ..operators.fourier import FourierOperator
from ..operators.moments import Moments
from ..operators.overlap_save import by_fft
from ..operators.records import Inputs, Targets
from ..operators.rows import RowOperator
from ..problem.problem import Problem
from ..problem.records import Records
from ..problem.sizes import Limits
from ..problem.stored import in_memory
from .penalty import Coordinates, Penalty
from .placement import device_operator


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
        """Add the time of the block to ``label``."""
        before, start = self.total, time.perf_counter()
        try:
            yield
        finally:
            nested = self.total - before
            taken = time.perf_counter() - start - nested
            self.seconds[label] = self.seconds.get(label, 0.0) + taken


class Design:
    """The design matrix of a problem, in its fastest exact form.

    The y given with x is read in the same pass. Other outputs for the same x reuse everything else.
    """

    def __init__(self, problem: Problem, limits: Limits) -> None:
        self.spec, self.nuisance = problem.spec, problem.nuisance
        self.sizes, self.adjustments = problem.sizes(limits), problem.adjustments
        # The precision of the solution, and the rounding unit of x (0 if x is exact).
        self.dtype, self.data_eps = problem.dtype, problem.data_eps
        self.kernel_shape = problem.kernel_shape
        self.lags, self.names = problem.lags, problem.names
        self.tap_lags = problem.spec.in_taps(self.lags)
        self.clock = Clock()
        self.channels, self.selection = problem.in_channels, problem.selection
        # Devices of jax arrays, and the operator on them or the reason for fetching; empty on the
        # host.
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
        """Return the coordinates of a penalty given for the channels of the whole problem."""
        given, groups = self.selection, self.spec.groups
        return penalty.coordinates(self.tap_lags, given.in_channels, groups, given.channels)

    def _fetched(self) -> tuple[Inputs, Targets | None]:
        return self.inputs, self._targets_on_host

    @property
    def devices(self) -> str:
        """Devices of x, and where sums over rows are computed; empty for arrays on the host."""
        if not self._held_by:
            return ""
        if isinstance(self._placed, str):
            return f"{self._held_by}, fetched to the host: {self._placed}"
        return self._held_by + ", then fetched to the host" * ("inputs" in vars(self))

    @cached_property
    def records(self) -> tuple[Any, ...]:
        """The records x, in memory if they fit."""
        return self._in_memory(self._given[0])

    def _in_memory(self, records: Any) -> tuple[Any, ...]:
        found = records.cast(self.dtype) if isinstance(records, Records) else records
        return tuple(found) if self.sizes.beyond_memory else tuple(map(in_memory, found))

    @cached_property
    def inputs(self) -> Inputs:
        """All records of x at once."""
        if reason := self.sizes.whole_reason:
            raise SolveError(f"this {reason}")
        given = self.records, self.spec, self.adjustments, self.nuisance, self.sizes.limits
        return Inputs(*given, sizes=self._largest[0])

    def by_record(self, values: np.ndarray) -> list[np.ndarray]:
        """Return row-wise values (groups, n) as ``(*T, groups)`` of each record.

        Outputs without a row are NaN.
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
        return self._targets_on_host if self.chunked is None else self.chunked.targets

    @cached_property
    def _targets_on_host(self) -> Targets | None:
        y = self._given[1]
        return None if y is None else self.outputs(y, self._largest[1])

    def outputs(self, y: Any, sizes: np.ndarray | None = None) -> Targets:
        """Return targets y for this x; ``sizes`` (Cout,) are the largest magnitudes, if known."""
        if self.chunked is not None:
            return self.chunked.outputs(self._in_memory(y))
        return Targets(self._in_memory(y), self.inputs, self.nuisance, sizes)

    @cached_property
    def chunked(self) -> ChunkedOperator | None:
        """The operator that sums over chunks; None if x and y are processed as a whole."""
        if not self.sizes.chunked:
            return None
        y = self._given[1]
        y = None if y is None else self._in_memory(y)
        given = self.records, y, self.spec, self.adjustments.kept
        sizes = self._largest[0], self._largest[1]
        return ChunkedOperator(*given, self.nuisance, self.sizes.limits, sizes)

    @property
    def blas_columns(self) -> int:
        """The smaller dimension of A."""
        return min(self.sizes.rows, self.sizes.columns)

    @cached_property
    @on_blas_threads
    def operator(self) -> DesignOperator:
        """The operator: by FFTs if they are faster than rows and as exact, else by rows.

        FFTs are not used for a small matrix or a single tap. They are not used if most rows are
        excluded or if rows within a record differ in weight. They are also not used if the columns
        resemble confounds. A transient at the edge of a record can make the columns of a channel so
        uneven that rounding would dominate the small columns. FFTs are not used then either.
        """
        if not isinstance(self._placed, str):
            return self._placed
        if self.chunked is not None:
            return self.chunked
        if not self.sizes.by_rows and by_fft(self.spec) and self.inputs.structured:
            with self.clock.timing("moments"):
                if self.fourier.exact:
                    return self.fourier
        return RowOperator(self.inputs, self.nuisance, self.sizes.limits, self.targets)

    @cached_property
    def fourier(self) -> FourierOperator:
        """The operator by FFTs, for any size: of all x at once, and of y unless it is in chunks."""
        targets = None if self.sizes.chunked else self.targets
        return FourierOperator(self.inputs, self.nuisance, self.sizes.limits, targets)

    @cached_property
    @on_blas_threads
    def moments(self) -> Moments:
        """Sums over the rows of A, and of y if it was given with x."""
        operator = self.operator
        with self.clock.timing("moments"):
            return operator.moments(self.targets)
