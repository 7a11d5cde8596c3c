"""Standard errors and tests of least squares if rows depend on each other, from sums over rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from ..cached import cached_property
from ..leastsquares.analysis import Analysis
from ..leastsquares.system import System
from ..operators.design_matrix import DesignMatrix, Targets
from ..text import argument, count
from .orthonormal_rows import OrthonormalRows
from .reference_noise import ReferenceNoise, Times
from .sandwich import (
    Clusters,
    bandwidth,
    moving_products,
    moving_squares,
)
from .uncertainty import Differences, Estimate, Statistics, Uncertainty

# With fewer rows, tests of one sum of taps under "hac" noise are corrected for small samples, and
# tests of several sums are approximate.
SHORT_ROWS, FEW_ROWS = 5_000, 1_000
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
        values, vectors = np.linalg.eigh(products * self._correction(np.array([output])))
        return vectors * np.sqrt(np.maximum(values, 0.0))

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
                f"freedom, too few for a test of {count(size, 'sum')} of taps at once; test fewer"
                f"{self._or_ar}"
            )
        inflation = self._inflation(group, differences)
        found = differences.walds(map(self._root, outputs), dof)
        scale, errors = dof / whole / inflation, found.errors * np.sqrt(inflation)
        return Statistics(found.values * scale, dof, errors)

    @property
    def _or_ar(self) -> str:
        """The alternative for a kernel along one axis, in words."""
        one_axis = self._analysis.design.spec.ndim == 1
        return f", or use {argument('noise', 'ar')}" if one_axis else ""

    @abstractmethod
    def _inflation(self, group: int, differences: Differences) -> np.ndarray | float:
        """Factor (Q,) of the variance of the sums of taps in a contrast."""


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
        return design.nuisance.records_left(design.adjustments.kept)

    @cached_property
    def _clusters(self) -> Clusters:
        """Correction for the number of records that have rows, and for their sizes."""
        adjustments = self._analysis.design.adjustments
        lengths = adjustments.kept.lengths
        sizes = [adjustments.weight([(i, 0, lengths[i])]) for i in self._records]
        return Clusters.of(np.array(sizes))

    def approximation(self, contrasts: Sequence[np.ndarray | None]) -> str:
        """Return why the `test` of these contrasts is approximate, or an empty string."""
        if not self._clusters.unequal:
            return ""
        return (
            "the records differ in their number of rows or in weight, so tests of sums of taps "
            "under noise='cluster' are approximate: in simulations, intervals for a coverage "
            "of 95 % contained the true sum in 88 to 93 %; cut the long records"
            f"{self._or_ar}"
        )

    def _inflation(self, group: int, differences: Differences) -> float:
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
        size = max(len(c) for c in contrasts if c is not None)
        rows = self._analysis.design.sizes.rows
        if size == 1 or rows >= FEW_ROWS:
            return ""
        return (
            f"the test of {size} sums of taps at once under noise='hac' is approximate: with fewer "
            f"than {FEW_ROWS} rows, here {rows}, simulated tests at a level of 5 % reject in 0 to "
            f"12 %; test one sum{self._or_ar}"
        )

    def _squares(self, group: int, outputs: np.ndarray) -> np.ndarray:
        influences = self._influences(group, outputs)
        return moving_squares(influences, self._in_time[2].flags, self._window)

    def _products(self, group: int, output: int) -> np.ndarray:
        influences = self._influences(group, np.array([output]))
        return moving_products(influences, self._in_time[2].flags, self._window)

    def _correction(self, outputs: np.ndarray) -> np.ndarray:
        rows, left = self._analysis.design.sizes.rows, self._left[outputs]
        return np.asarray(rows / left * self._window)

    @property
    def _window(self) -> int:
        return 1 + self._lags

    def _influences(
        self, group: int, outputs: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield B = (AᵀA)⁻¹Aᵀ (P, k), shared by all outputs, and residuals (outputs, k).

        Some rows are formed at a time.
        """
        half, local = self._inverse_root(group), outputs - group * self._each
        inverse, w = half @ half.T, self._operator_kernel[group][:, local]
        matrix, targets, _ = self._in_time
        for a, y in matrix.row_blocks(targets):
            assert y is not None
            yield inverse @ a[group].T, (y[group][:, local] - a[group] @ w).T

    @cached_property
    def _in_time(self) -> tuple[DesignMatrix, Targets, Times]:
        """The design matrix in the order of time, y in its rows, and the places of its rows."""
        analysis, kept = self._analysis.in_time, self._analysis.design.adjustments.kept
        assert analysis.targets is not None
        matrix = analysis.design.matrix
        flags = [kept.flags_of(i)[start:stop] for i, start, stop in matrix.chunks.order.joined]
        return matrix, analysis.targets, Times(flags)

    # --- small samples

    @property
    def _short(self) -> bool:
        return self._analysis.design.sizes.rows < SHORT_ROWS

    def _statistics(
        self, group: int, contrast: np.ndarray, differences: Differences, white: Statistics
    ) -> Statistics:
        """Return the same, by reference noise for one sum of several parameters in short records.

        The error of a single tap or coefficient is that of `standard_error`.
        """
        if not self._short or len(contrast) > 1 or self._of_one_parameter(contrast[0]):
            return super()._statistics(group, contrast, differences, white)
        off, rows, real = differences[:3]
        half = self._inverse_root(group)
        influence = self._in_time[0].forward(group, half @ (half.T @ rows.T))
        variance, dof = self._reference(group).of_sum(influence[:, 0])
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            squares = off[0] ** 2 / variance
        known = (variance > 0) & np.isfinite(off[0])
        values = np.where(known, squares, np.where(real, np.inf, np.nan))
        return Statistics(values, dof, np.sqrt(np.maximum(variance, 0.0)))

    def _of_one_parameter(self, row: np.ndarray) -> bool:
        """Return whether a sum of taps (P,) is a multiple of one tap or of one coefficient."""
        space = self._analysis.design.space
        if space is None or np.count_nonzero(row) == 1:
            return np.count_nonzero(row) == 1
        sums = space.sums_of_taps(np.eye(space.count)).reshape(-1, len(row))
        lengths = np.linalg.norm(sums, axis=1) * np.linalg.norm(row)
        return bool((np.abs(sums @ row) > (1 - PARALLEL) * lengths).any())

    def _inflation(self, group: int, differences: Differences) -> np.ndarray | float:
        """Correction (Q,) of the covariance of several sums of taps in short records, else 1."""
        if not self._short or len(differences.rows) == 1:
            return 1.0
        half = self._inverse_root(group)
        basis, _ = np.linalg.qr((differences.rows @ half).T)
        influences = self._in_time[0].forward(group, half @ basis)
        factor = self._reference(group).bartlett_factor(influences, self._window)
        # The estimate has a correction for degrees of freedom, which this one replaces.
        return factor * self._left[self._outputs_of(group)] / self._analysis.design.sizes.rows

    @cached_property
    def _references(self) -> dict[int, ReferenceNoise]:
        """Reference noise of the groups for which it is known."""
        return {}

    def _reference(self, group: int) -> ReferenceNoise:
        """Return reference noise for the residuals of a group."""
        if group not in self._references:
            matrix, targets, times = self._in_time
            w, blocks = self._operator_kernel[group], matrix.row_blocks(targets)
            residuals = [y[group] - a[group] @ w for a, y in blocks if y is not None]
            factor = self._analysis.plain.factor(group)
            assert factor is not None
            # FFTs are faster than products with rows that are kept.
            columns = OrthonormalRows(self._plain, group, factor, 0, matrix)
            made = ReferenceNoise(columns, times, np.concatenate(residuals))
            self._references[group] = made
        return self._references[group]
