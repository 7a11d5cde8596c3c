"""What x gives: the design matrix of a problem in its best form, and sums over its rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..cached import cached_property
from ..linalg.threads import on_blas_threads
from ..operators.base import DesignOperator
from ..operators.devices import DeviceOperator
from ..operators.fourier import FourierOperator
from ..operators.moments import Moments
from ..operators.partialled import PartialledOperator
from ..operators.records import Inputs, Targets
from ..operators.rows import RowOperator
from ..problem.problem import Problem
from ..problem.records import Records
from ..problem.sizes import Limits
from .placement import device_operator, several_taps


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
        self.channels = problem.in_channels
        # What arrays of jax are on, and A there, or why not; empty of arrays on the host.
        self._held_by = problem.input.devices
        self._placed: DeviceOperator | str = ""
        self._records: tuple[Any, Any] = problem.input, problem.output
        if not problem.remote:
            self._records = problem.x, problem.y
        if self._held_by:
            with self.clock.timing("moments"):
                self._placed = device_operator(problem, self.sizes, self._fetched)

    @cached_property
    def inputs(self) -> Inputs:
        """The records on the host."""
        x = self._on_host(self._records[0])
        return Inputs(x, self.spec, self.adjustments, self.nuisance, self.sizes.limits)

    @cached_property
    def targets(self) -> Targets | None:
        """The y given with x."""
        placed = self._placed
        return self._targets_on_host if isinstance(placed, str) else placed.targets

    @cached_property
    def _targets_on_host(self) -> Targets | None:
        y = self._records[1]
        return None if y is None else self.outputs(self._on_host(y))

    def _on_host(self, records: Any) -> tuple[np.ndarray, ...]:
        found: Any = records.cast(self.dtype) if isinstance(records, Records) else records
        return tuple(found)

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
        if not isinstance(self._placed, str):
            return self._placed
        if not self.sizes.by_rows and several_taps(self.spec) and self.inputs.structured:
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
        """By FFTs, whatever the size."""
        return FourierOperator(self.inputs, self.nuisance, self.sizes.limits, self.targets)

    @cached_property
    @on_blas_threads
    def moments(self) -> Moments:
        """Sums over the rows of A, and of y where it was given with x."""
        operator = self.operator
        with self.clock.timing("moments"):
            return operator.moments(self.targets)
