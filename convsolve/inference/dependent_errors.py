"""Standard errors and tests of least squares if rows depend on each other, from sums over rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from ..cached import cached_property
from ..leastsquares.analysis import Analysis
from ..leastsquares.system import System
from ..text import count, in_bytes
from .cosines import COSINES, cosine_columns, long_run_variance
from .sandwich import Clusters, TimeAxis, bandwidth, moving_products, moving_squares
from .uncertainty import Differences, Estimate, Statistics, Uncertainty

# With fewer rows, the variance of one sum of taps under "hac" noise comes from cosine transforms.
SHORT_ROWS = 5_000
# With fewer rows, tests of one sum and of several sums of taps under "hac" noise are approximate.
FEW_ROWS, FEW_ROWS_OF_SEVERAL = 600, 2_000
# Numbers of the influences of some taps that are formed at a time.
INFLUENCES_AT_ONCE = 2**24
# Sums of taps whose cosine differs from one by less are multiples of each other.
PARALLEL = 1e-12
# Degrees of freedom below this are rounding.
NO_FREEDOM = 1e-9


class DependentUncertainty(Uncertainty):
    """Errors of an estimate whose covariance is a sum of products over dependent rows."""

    @abstractmethod
    def _squares(self, group: int, outputs: np.ndarray) -> np.ndarray:
        """Diagonal (P, outputs) of the sums over dependent rows, without their correction."""

    @abstractmethod
    def _products(self, group: int, output: int) -> np.ndarray:
        """Return sums (P, P) over dependent rows for one output, without their correction."""

    @abstractmethod
    def _correction(self, outputs: np.ndarray) -> np.ndarray:
        """Factors of the covariance, for degrees of freedom and for means over rows."""

    def _inverse_root(self, group: int) -> np.ndarray:
        """H (P, P) with H Hᵀ = (AᵀA)⁻¹."""
        return self._half(self._analysis.plain, group)

    def _errors(self, system: System, group: int, outputs: np.ndarray) -> np.ndarray:
        """Return standard errors (P, k) of outputs, in units of the operator's columns and of y."""
        found = np.sqrt(self._correction(outputs) * self._squares(group, outputs))
        return np.where(system.design.modelled[:, None], found, np.nan)

    def _roots(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield a group, an output, H (P, P) and 1: their covariance is H Hᵀ."""
        for o in range(len(self._pairs)):
            yield o // self._each, np.array([o]), self._root(o), np.ones(1)

    def _root(self, output: int) -> np.ndarray:
        """H (P, P) with H Hᵀ the covariance of an output, in columns of the operator and y."""
        products = self._products(output // self._each, output)
        return _root_of(products * self._correction(np.array([output])))

    def _statistics(
        self, group: int, contrast: np.ndarray, differences: Differences, white: Statistics
    ) -> Statistics:
        """Return F of Hotelling's T² in every output of a group.

        The covariance itself is estimated from residuals, not its scale alone.
        """
        outputs, size = self._outputs_of(group), len(contrast)
        whole = self.dof[outputs]
        dof = whole - size + 1
        if (dof <= NO_FREEDOM).any():
            raise ValueError(
                f"under noise={self.kind!r} the covariance has {whole.min():.3g} degrees of "
                f"freedom, too few for a test of {count(size, 'sum')} of taps at once"
            )
        found = self._walds(group, differences, dof)
        scale, errors = dof / whole / self._inflation, found.errors * np.sqrt(self._inflation)
        return Statistics(found.values * scale, dof, errors)

    def _walds(self, group: int, differences: Differences, dof: np.ndarray) -> Statistics:
        """Return Wald's statistics over q in every output of a group."""
        return differences.walds(map(self._root, self._outputs_of(group)), dof)

    @property
    def _inflation(self) -> float:
        """Factor of the variance of sums of taps."""
        return 1.0


class ClusterUncertainty(DependentUncertainty):
    """Errors if the rows of one record depend on each other, and those of two records do not."""

    kind = "cluster"

    @cached_property
    def dof(self) -> np.ndarray:
        """Satterthwaite's degrees of freedom (outputs,) of t and F."""
        return np.full(len(self._pairs), float(self._clusters.dof))

    @property
    def _records(self) -> list[int]:
        """The records whose rows are not all fitted by confounds of their own."""
        design = self._analysis.design
        return design.nuisance.records_left(design.kept)

    @cached_property
    def _clusters(self) -> Clusters:
        """Correction for the number of records that have rows, and for their sizes."""
        problem = self._analysis.design.problem
        lengths = problem._kept.lengths
        sizes = [problem._weight([(i, 0, lengths[i])]) for i in self._records]
        return Clusters.of(np.array(sizes))

    def approximation(self, contrasts: Sequence[np.ndarray | None]) -> str:
        """Return why the `test` of these contrasts is approximate, or an empty string."""
        if not self._clusters.unequal:
            return ""
        return (
            "the records differ in their number of rows or in weight, so tests of sums of taps "
            "under noise='cluster' are approximate: in simulations, intervals for a coverage "
            "of 95 % contained the true sum in 88 to 93 %"
        )

    @property
    def _inflation(self) -> float:
        return self._clusters.inflation

    def _squares(self, group: int, outputs: np.ndarray) -> np.ndarray:
        return np.asarray(sum(np.square(s) for s in self._record_sums(group, outputs)))

    def _products(self, group: int, output: int) -> np.ndarray:
        return np.asarray(sum(s @ s.T for s in self._record_sums(group, np.array([output]))))

    def _correction(self, outputs: np.ndarray) -> np.ndarray:
        rows, left = self._analysis.design.sizes.rows, self._left[outputs]
        records = len(self._records)
        return np.asarray(records / (records - 1) * (rows - 1) / left)

    def _record_sums(self, group: int, outputs: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the sums (P, outputs) of the influences of the rows of every record."""
        half, local = self._inverse_root(group), outputs - group * self._each
        w, matrix = self._operator_kernel[group][:, local], self._analysis.design.matrix
        for gradient in matrix.by_record(group, w, self._targets, local):
            yield half @ (half.T @ gradient)


class HacUncertainty(DependentUncertainty):
    """Errors if rows depend on those near them in time, corrected in short records."""

    kind = "hac"

    def __init__(self, analysis: Analysis, estimate: Estimate, lags: int | None = None) -> None:
        """Store the estimate, and the number of lags; None for a number from that of rows."""
        super().__init__(analysis, estimate)
        self._lags = bandwidth(analysis.design.sizes.rows) if lags is None else lags

    @cached_property
    def dof(self) -> np.ndarray:
        """Degrees of freedom (outputs,) of t and F."""
        rows = self._analysis.design.sizes.rows
        return np.full(len(self._pairs), 1.5 * rows / self._lags)

    def approximation(self, contrasts: Sequence[np.ndarray | None]) -> str:
        """Return why the `test` of these contrasts is approximate, or an empty string."""
        given = [c for c in contrasts if c is not None]
        size, rows = max(map(len, given)), self._analysis.design.sizes.rows
        few, tested = FEW_ROWS_OF_SEVERAL, f"{size} sums of taps at once"
        simulated = "tests at a level of 5 % rejected in 4 to 23 %"
        if size == 1:
            few, tested = FEW_ROWS, "one sum of taps"
            simulated = "intervals for a coverage of 95 % contained the true sum in 84 to 93 %"
        if rows >= few or (size == 1 and all(self._of_one_parameter(c[0]) for c in given)):
            return ""
        return (
            f"the test of {tested} under noise='hac' is approximate: with fewer than {few} rows, "
            f"here {rows}, simulated {simulated}"
        )

    def _squares(self, group: int, outputs: np.ndarray) -> np.ndarray:
        inverse, e = self._inverse(group), self._residuals(group, outputs)
        step = max(1, INFLUENCES_AT_ONCE // self._axis.length)
        blocks = (inverse[:, first : first + step] for first in range(0, len(inverse), step))
        return np.concatenate(
            [moving_squares(self._influences(group, some), e, self._window) for some in blocks]
        )

    def _products(self, group: int, output: int) -> np.ndarray:
        u, e = self._influences(group, self._inverse(group)), self._residuals(group, [output])
        return moving_products(u, e[0], self._window)

    def _correction(self, outputs: np.ndarray) -> np.ndarray:
        rows, left = self._analysis.design.sizes.rows, self._left[outputs]
        return np.asarray(rows / left * self._window)

    @property
    def _window(self) -> int:
        return 1 + self._lags

    def _inverse(self, group: int) -> np.ndarray:
        """(AᵀA)⁻¹ (P, P)."""
        half = self._inverse_root(group)
        return half @ half.T

    def _influences(self, group: int, weights: np.ndarray) -> np.ndarray:
        """Return the influences (q, T) A w of rows on the axis of time, for weights w (P, q)."""
        return self._axis.laid(self._analysis.design.matrix.forward(group, weights))

    def _residuals(self, group: int, outputs: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the residuals (k, T) of some outputs on the axis of time."""
        design, local = self._analysis.design, np.asarray(outputs) - group * self._each
        w = self._operator_kernel[group][:, local]
        y = design.matrix.output_rows(self._targets, group)
        e = y[:, local] - design.matrix.forward(group, w)
        return self._axis.laid(e - e.mean(0) if design.nuisance.constant else e)

    @cached_property
    def _axis(self) -> TimeAxis:
        """The time of the rows.

        Raises:
            ValueError: If the data or the influences of all rows do not fit into the memory.
        """
        sizes, design = self._analysis.design.sizes, self._analysis.design
        axis = TimeAxis.of(design.matrix.plan.positions, self._window)
        needed = 8 * sizes.columns * axis.length
        if sizes.beyond_memory or needed > sizes.limits.factor_bytes:
            raise ValueError(
                f"errors under noise='hac' need the influence of {count(sizes.rows, 'row')} on "
                f"{count(sizes.columns, 'tap')} in memory, {in_bytes(needed)} in addition to x, y"
            )
        return axis

    # --- tests

    def _walds(self, group: int, differences: Differences, dof: np.ndarray) -> Statistics:
        outputs, half = np.array(self._outputs_of(group)), self._inverse_root(group)
        u = self._influences(group, half @ (half.T @ differences.rows.T))
        several = self._residuals(group, outputs), self._correction(outputs)
        products = (moving_products(u, e, self._window) * c for e, c in zip(*several, strict=True))
        one_by_one = differences._replace(rows=np.eye(len(u)))
        return one_by_one.walds(map(_root_of, products), dof)

    def _statistics(
        self, group: int, contrast: np.ndarray, differences: Differences, white: Statistics
    ) -> Statistics:
        """Return the same, by cosine transforms for one sum of several parameters in few rows.

        The error of a single tap or coefficient is that of `standard_error`.
        """
        short = self._analysis.design.sizes.rows < SHORT_ROWS
        if not short or len(contrast) > 1 or self._of_one_parameter(contrast[0]):
            return super()._statistics(group, contrast, differences, white)
        outputs, half = np.array(self._outputs_of(group)), self._inverse_root(group)
        u = self._influences(group, half @ (half.T @ differences.rows.T))
        z = (u * self._residuals(group, outputs))[:, self._axis.places]
        rows = self._analysis.design.sizes.rows
        variance = long_run_variance((z @ cosine_columns(0, rows, rows)).T)
        roots = np.sqrt(variance * rows / self._left[outputs])[:, None, None]
        one = differences._replace(rows=np.eye(1))
        return one.walds(roots, np.full(len(outputs), float(COSINES)))

    def _of_one_parameter(self, row: np.ndarray) -> bool:
        """Return whether a sum of taps (P,) is a multiple of one tap or of one coefficient."""
        space = self._analysis.design.space
        if space is None or np.count_nonzero(row) == 1:
            return np.count_nonzero(row) == 1
        sums = space.sums_of_taps(np.eye(space.count)).reshape(-1, len(row))
        lengths = np.linalg.norm(sums, axis=1) * np.linalg.norm(row)
        return bool((np.abs(sums @ row) > (1 - PARALLEL) * lengths).any())


def _root_of(covariance: np.ndarray) -> np.ndarray:
    """Return H (P, P) with H Hᵀ a covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
