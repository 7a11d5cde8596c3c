"""Standard errors and tests of least squares if rows depend on each other, from sums over rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from ..cached import cached_property
from ..leastsquares.system import System
from ..operators.design_matrix import DesignMatrix, Targets
from ..text import count
from .reference_noise import Projector, ReferenceNoise, Times
from .sandwich import (
    Clusters,
    bandwidth,
    moving_products,
    moving_squares,
)
from .uncertainty import Uncertainty

# With fewer rows, tests of one sum of taps under "hac" noise are corrected for small samples, and
# tests of several sums are approximate.
SHORT_ROWS, FEW_ROWS = 5_000, 1_000


class DependentUncertainty(Uncertainty):
    """Errors of an estimate whose covariance is a sum of products over dependent rows."""

    same_correlation = False

    @abstractmethod
    def _squares(self, system: System, group: int, outputs: np.ndarray) -> np.ndarray:
        """Diagonal (P, outputs) of the sums over dependent rows, without their correction."""

    @abstractmethod
    def _products(self, system: System, group: int, output: int) -> np.ndarray:
        """Sums (P, P) over dependent rows for one output, without their correction."""

    @abstractmethod
    def _correction(self, outputs: np.ndarray) -> np.ndarray:
        """Factors of the covariance, for degrees of freedom and for means over rows."""

    def _errors(self, system: System, group: int, outputs: np.ndarray) -> np.ndarray:
        """Standard errors (P, k) of some outputs, in units of the operator's columns and of y."""
        squares = self._squares(system, group, outputs)
        return np.asarray(np.sqrt(self._correction(outputs) * squares))

    def _root_of(self, output: int) -> tuple[int, np.ndarray]:
        """Return the group of an output, and H (P, k) with H Hᵀ the covariance of its taps."""
        g, system = output // self._sizes[1], self._analysis.system(*self._pairs[output])
        products = self._products(system, g, output) * self._correction(np.array([output]))
        values, vectors = np.linalg.eigh(products)
        return g, vectors * np.sqrt(np.maximum(values, 0.0))

    def _statistics(
        self, group: int, contrast: np.ndarray, value: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return F (Q,) of Hotelling's T² in every output of a group, and its degrees of freedom.

        The covariance itself is estimated from residuals, not its scale alone.
        """
        whole, size = self.dof[self._outputs_of(group)], len(contrast)
        dof = whole - size + 1
        if (dof <= 0).any():
            raise ValueError(
                f"under noise={self.kind!r} the covariance has {whole.min():.3g} degrees of "
                f"freedom, too few for a test of {count(size, 'sum')} of taps at once; test fewer, "
                "or use noise='ar'"
            )
        scale = dof / whole / self._inflation(group, contrast)
        return self._walds(group, contrast, value) * scale, dof

    def _inflation(self, group: int, contrast: np.ndarray) -> np.ndarray | float:
        """Factor (Q,) of the variance of the sums of taps in a contrast."""
        return 1.0

    def _partial_r2(
        self, output: int, contrast: np.ndarray, value: np.ndarray, statistic: float
    ) -> float:
        """Share of the residual sum of squares under the hypothesis that the estimate explains."""
        system = self._analysis.system(*self._pairs[output])
        white = self._half(system, output // self._sizes[1]) * self.deviation[output]
        statistic = self._wald(output, contrast, value, white)
        return super()._partial_r2(output, contrast, value, statistic)


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
        """Correction for the number of records that have rows, and for their lengths."""
        kept, weights = self._analysis.design.adjustments[:2]
        sizes = np.array([kept.sizes[i] for i in self._records], float)
        if weights is not None:
            squares = (np.square(weights.of_rows(i, kept.flags_of(i))) for i in self._records)
            # In units of their largest mean, so that no sum leaves float64.
            means = np.array([s.mean() for s in squares])
            sizes = sizes * (means / means.max())
        return Clusters.of(sizes)

    def approximation(self, contrasts: Sequence[np.ndarray | None]) -> str:
        """Return why the `test` of these contrasts is approximate, or an empty string."""
        if not self._clusters.unequal:
            return ""
        return (
            "the records differ in their number of rows or in weight, so tests of sums of taps "
            "under noise='cluster' are approximate: in simulations, intervals for a coverage "
            "of 95 % contained the true sum in 88 to 93 %; cut the long records, or use "
            "noise='ar'"
        )

    def _inflation(self, group: int, contrast: np.ndarray) -> float:
        return self._clusters.inflation

    def _squares(self, system: System, group: int, outputs: np.ndarray) -> np.ndarray:
        sums = self._record_sums(system, group, outputs)
        return np.asarray(sum(np.square(s) for s in sums))

    def _products(self, system: System, group: int, output: int) -> np.ndarray:
        sums = self._record_sums(system, group, np.array([output]))
        return np.asarray(sum(s @ s.T for s in sums))

    def _correction(self, outputs: np.ndarray) -> np.ndarray:
        rows, left = self._analysis.design.sizes.rows, self._left[outputs]
        records = len(self._records)
        return np.asarray(records / (records - 1) * (rows - 1) / left)

    def _record_sums(self, system: System, group: int, outputs: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the sums (P, outputs) of the influences of the rows of every record."""
        half, local = self._half(system, group), outputs - group * self._sizes[1]
        w, matrix = self._operator_kernel[group][:, local], self._analysis.design.matrix
        for gradient in matrix.by_record(group, w, self._targets, local):
            yield half @ (half.T @ gradient)


class HacUncertainty(DependentUncertainty):
    """Errors if rows depend on those near them in time, corrected in short records."""

    kind = "hac"

    @cached_property
    def dof(self) -> np.ndarray:
        """Degrees of freedom (outputs,) of t and F."""
        rows = self._analysis.design.sizes.rows
        return np.full(len(self._pairs), 1.5 * rows / bandwidth(rows))

    def approximation(self, contrasts: Sequence[np.ndarray | None]) -> str:
        """Return why the `test` of these contrasts is approximate, or an empty string."""
        size = max(len(c) for c in contrasts if c is not None)
        rows = self._analysis.design.sizes.rows
        if size == 1 or rows >= FEW_ROWS:
            return ""
        return (
            f"the test of {size} sums of taps at once under noise='hac' is approximate: with fewer "
            f"than {FEW_ROWS} rows, here {rows}, simulated tests at a level of 5 % reject in 0 to "
            "12 %; test one sum, or use noise='ar'"
        )

    def _squares(self, system: System, group: int, outputs: np.ndarray) -> np.ndarray:
        influences = self._influences(system, group, outputs)
        return moving_squares(influences, self._in_time[2].flags, self._window)

    def _products(self, system: System, group: int, output: int) -> np.ndarray:
        influences = self._influences(system, group, np.array([output]))
        return moving_products(influences, self._in_time[2].flags, self._window)

    def _correction(self, outputs: np.ndarray) -> np.ndarray:
        rows, left = self._analysis.design.sizes.rows, self._left[outputs]
        return np.asarray(rows / left * self._window)

    @property
    def _window(self) -> int:
        return 1 + bandwidth(self._analysis.design.sizes.rows)

    def _influences(
        self, system: System, group: int, outputs: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield B = (AᵀA)⁻¹Aᵀ (P, k), shared by all outputs, and residuals (outputs, k).

        Some rows are formed at a time.
        """
        half = self._half(system, group)
        inverse, local = half @ half.T, outputs - group * self._sizes[1]
        w = self._operator_kernel[group][:, local]
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

    @cached_property
    def _references(self) -> dict[int, ReferenceNoise]:
        """Reference noise of the groups for which it is known."""
        return {}

    def _statistics(
        self, group: int, contrast: np.ndarray, value: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the same, by reference noise for one sum of several taps in short records."""
        if self._short and len(contrast) == 1 and np.count_nonzero(contrast) > 1:
            return self._sum_statistics(group, contrast, value)
        return super()._statistics(group, contrast, value)

    def _sum_statistics(
        self, group: int, contrast: np.ndarray, value: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Squared t (Q,) of one sum of taps in short records, and its degrees of freedom (Q,)."""
        first, found = group * self._sizes[1], np.empty(self._sizes[1])
        scaled = self._difference(first, contrast, value)[1]
        errors = self._reference(group).of_sum(self._influence(group, scaled.T)[:, 0])
        for q, variance in enumerate(errors.variance):
            off, _, real = self._difference(first + q, contrast, value)
            with np.errstate(over="ignore"):
                square = float(off[0]) ** 2 / variance if variance else np.inf
            found[q] = square if variance and np.isfinite(off[0]) else np.inf if real else np.nan
        return found, errors.dof

    def _inflation(self, group: int, contrast: np.ndarray) -> np.ndarray | float:
        """Correction (Q,) of the covariance of several sums of taps in short records, else 1."""
        if not self._short or len(contrast) == 1:
            return 1.0
        outputs = slice(group * self._sizes[1], (group + 1) * self._sizes[1])
        half = self._half(self._analysis.plain, group)
        zeros = np.zeros(len(contrast))
        basis, _ = np.linalg.qr((self._difference(outputs.start, contrast, zeros)[1] @ half).T)
        influences = self._in_time[0].forward(group, half @ basis)
        factor = self._reference(group).bartlett_factor(influences, self._window)
        # The estimate has a correction for degrees of freedom, which this one replaces.
        return factor * self._left[outputs] / self._analysis.design.sizes.rows

    def _influence(self, group: int, contrast: np.ndarray) -> np.ndarray:
        """A (AᵀA)⁻¹ c (n, q): how much each row adds to the sums of taps c (P, q)."""
        half = self._half(self._analysis.plain, group)
        return self._in_time[0].forward(group, half @ (half.T @ contrast))

    def _reference(self, group: int) -> ReferenceNoise:
        """Reference noise for the residuals of a group."""
        if group not in self._references:
            operator, targets, times = self._in_time
            w = self._operator_kernel[group]
            parts = [
                y[group] - a[group] @ w for a, y in operator.row_blocks(targets) if y is not None
            ]
            half = self._half(self._analysis.plain, group)
            columns = operator.nuisance_columns
            nuisance = columns.fit(np.eye(columns.count), 0, operator.rows).astype(float)
            projector = Projector(operator, group, half, nuisance)
            made = ReferenceNoise(projector, times, np.concatenate(parts))
            self._references[group] = made
        return self._references[group]
