"""Standard errors, bands and tests of least-squares estimates.

The covariance of sums of taps C w is UᵀΩU, with U = A (AᵀA + K)⁻¹Cᵀ and Ω of the noise. Every
noise model gives a root m (q, k) of it, whose m mᵀ it is: σ·C H with H Hᵀ = (AᵀA + K)⁻¹ for
white noise, and means or sums of U·e over dependent rows for the residuals e.

Source: W. K. Newey and K. D. West, Econometrica 55 (1987) 703 (moving sums: Bartlett's weights);
K.-Y. Liang and S. L. Zeger, Biometrika 73 (1986) 13 (sums over clusters); E. Lazarus, D. J. Lewis,
J. H. Stock and M. W. Watson, J. Bus. Econ. Stat. 36 (2018) 541 (cosines).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..cached import cached_property
from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import Penalty
from ..leastsquares.regression import Regression
from ..leastsquares.system import System
from ..linalg.factor import Factor
from ..linalg.rank import EPS
from ..linalg.threads import on_blas_threads, one_blas_thread
from ..operators.layout import to_columns, to_kernel
from ..problem.kernel_space import KernelSpace
from ..progress import tracked
from ..text import aligned, count, in_bytes, probability

# Draws of the largest of all |t|, for simultaneous bands, and how many are made at a time.
DRAWS, DRAWS_AT_ONCE = 4000, 500
# A difference of sums of taps below this share of their terms is rounding.
ROUNDING = 100 * EPS
# Singular values of a contrast below this share of the largest are rounding.
DEPENDENT = 1e-10
# Numbers of a root that are formed at a time for standard errors: few enough for a cache.
NUMBERS_AT_ONCE = 2**20
# With fewer rows, the variance of one sum of taps under "hac" noise comes from this many cosines.
SHORT_ROWS, COSINES = 5_000, 4
# With fewer rows, tests of one sum and of several sums of taps under "hac" noise are approximate.
FEW_ROWS, FEW_ROWS_OF_SEVERAL = 600, 2_000
# Records of unequal size have degrees of freedom below this share of those of equal ones.
FEWER = 0.8
# Sums of taps whose cosine differs from one by less are multiples of each other.
PARALLEL = 1e-12
# Degrees of freedom below this are rounding.
NO_FREEDOM = 1e-9


class NoiseEstimate(NamedTuple):
    """Model of the noise in y, estimated from the residuals.

    Attributes:
        kind: "white": independent rows of one variance; "ar": an autoregression e[t] = u[t] +
            Σ_i ρ_i·e[t − i] with white u; "hac": rows depend on earlier rows; "cluster": rows of
            one record depend on each other.
        variance: (outputs,), in the square of y's unit; for an autoregression the variance of u.
        dof: degrees of freedom of bands and tests (outputs,): rows less the degrees of freedom of
            kernel and bias. With a penalty, the latter are the trace of the resolution matrix; for
            "ar", rows are filtered ones. For "hac" they are 1.5·rows/lags, and for "cluster" one
            less than records.
        order: of the autoregression (outputs,), or None.
        coefficients: ρ (outputs, largest order), zero beyond the order of an output, or None.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 9)))
        >>> fit.noise.kind, fit.noise.variance.round(1), fit.noise.dof
        ('white', array([0.9]), array([481.]))

    See Also:
        `Solution.noise`, and `NoiseModel`.
    """

    kind: str
    variance: np.ndarray
    dof: np.ndarray
    order: np.ndarray | None = None
    coefficients: np.ndarray | None = None


class FTest(NamedTuple):
    """F test of every output, each array (outputs,).

    Attributes:
        statistic: F, NaN for an output that does not have the tested taps. Under "hac" and
            "cluster", whose covariance is estimated with ν degrees of freedom, F of Hotelling's
            T²: Wald's statistic over q, times (ν − q + 1)/ν.
        dof: Degrees of freedom of the hypothesis, q, and of the residuals, or ν − q + 1. For one
            sum of several taps or coefficients under "hac" with fewer than 5000 rows, 4.
        pvalue: Probability of an F at least as large if the hypothesis holds.
        partial_r2: Share of the residual sum of squares under the hypothesis that the estimate
            explains. NaN if the loss is not squares.
        outputs: Names of the outputs, or their numbers.
        estimate: Estimate of the sum of taps or coefficients if one is tested, in its own unit, or
            NaN. It is the weighted sum of coefficients if channels with one function each are
            tested. The tested value is not subtracted.
        standard_error: Standard error of ``estimate`` for the noise model of the fit, so that F is
            the square of (estimate − value)/standard_error, or NaN.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> y = np.convolve(x, [0.5, 1.0, 0.3])[:500] + noise
        >>> fit = cs.solve(cs.Problem(x, y, lags=(0, 9)))
        >>> test = fit.test(lags=(3, 9))
        >>> test.dof[0], bool(test.pvalue[0] > 0.01)
        (7, True)
        >>> print(fit.test(contrast=np.ones(10), value=1.8))
        output      estimate      F  d.o.f.  p-value  partial R²
        0       1.937 ± 0.14  1.027  1, 481     0.31       0.002

    See Also:
        `Solution.test`, which returns it, and `PermutationTest`.
    """

    statistic: np.ndarray
    dof: tuple[int, np.ndarray]
    pvalue: np.ndarray
    partial_r2: np.ndarray
    outputs: tuple[Any, ...]
    estimate: np.ndarray
    standard_error: np.ndarray

    def __str__(self) -> str:
        """Return a table with a line per output."""
        size, dof = self.dof
        heads = ["output", "F", "d.o.f.", "p-value", "partial R²"]
        rows = [
            [str(o), f"{f:.4g}", f"{size}, {d:.5g}", probability(p), f"{r:.3f}"]
            for o, f, d, p, r in zip(
                self.outputs or range(len(self.statistic)),
                self.statistic, np.ravel(dof), self.pvalue, self.partial_r2, strict=True,
            )
        ]  # fmt: skip
        if not np.isnan(self.estimate).all():
            heads.insert(1, "estimate")
            for row, value, error in zip(rows, self.estimate, self.standard_error, strict=True):
                row.insert(1, f"{value:.4g} ± {error:.2g}")
        return "\n".join(aligned([heads, *rows], 1))


def t_quantile(dof: np.ndarray | int, level: float) -> np.ndarray:
    """Return the quantile of Student's t."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(dof, level))


class Estimate(NamedTuple):
    """A kernel whose errors are wanted.

    Attributes:
        kernel: (*K, Cin/groups, Cout), in float64.
        pairs: penalty and strength of every output.
        freedom: degrees of freedom of the kernel (outputs,), NaN to take them from its factor.
        norms: norms (outputs,) of the residuals in the unit of y, if the loss is not squares.
    """

    kernel: np.ndarray
    pairs: Sequence[tuple[Penalty, float]]
    freedom: np.ndarray
    norms: np.ndarray | None = None


class Errors:
    """Standard errors, bands and tests of an estimate, from the factors that solved it.

    The noise is white. With a penalty, K are its rows, and the covariance is the posterior one.
    Subclasses are for other noise. Sums of taps are given as contrasts (q, P) of a group. Roots are
    in the units of the operator's columns and of y.
    """

    kind = "white"
    #: Whether the covariance itself is estimated, and not its scale alone.
    estimated = False

    def __init__(self, analysis: Analysis, estimate: Estimate) -> None:
        """Store the estimate that the errors belong to, with its design matrix and outputs."""
        assert analysis.targets is not None
        self._analysis, self._design, self._targets = analysis, analysis.design, analysis.targets
        self._kernel, self._pairs, self._freedom, self._norms = estimate
        self._groups = self._design.spec.groups
        self._each = len(self._pairs) // self._groups
        self._plain = Regression(analysis.plain, self._targets)
        self._halves: dict[tuple[int, Any], np.ndarray] = {}
        self._draws: dict[tuple[int, Any], np.ndarray] = {}

    # --- the noise

    @property
    def penalized(self) -> bool:
        """Whether any output has a penalty."""
        return any(strength > 0 for _, strength in self._pairs)

    @property
    def exponents(self) -> np.ndarray:
        """Powers of two (outputs,) that bring y into [1/2, 1)."""
        return self._targets.exponents

    @cached_property
    def _residual_norms(self) -> np.ndarray:
        """‖y − Aw − bias‖ (outputs,) from the data, times 2**-`exponents`; 0 if it is rounding."""
        w = self._plain.from_kernel(self._kernel)
        found, _ = self._plain.residual(w)
        norms = found.reshape(-1)
        if self._norms is not None:
            norms = np.ldexp(self._norms, -self.exponents)
        return np.where((found > self._plain.rounding(w)).reshape(-1), norms, 0.0)

    @cached_property
    def _left(self) -> np.ndarray:
        """Rows less the degrees of freedom of kernel and nuisance columns, (outputs,)."""
        sizes, used = self._design.sizes, self._freedom.copy()
        for g, outputs, system in self._alike():
            factor, own = factor_of(system, g), used[outputs]
            if system.strength and not factor.full_rank:
                raise ValueError("data and penalty together do not determine every tap")
            found = system.freedom(g, factor) if system.strength else factor.rank
            used[outputs] = np.where(np.isnan(own) | (system.strength == 0), found, own)
        left = np.asarray(sizes.rows - sizes.nuisance - used)
        if (left <= 0).any():
            raise ValueError(
                f"{count(sizes.rows, 'row')} leave no degrees of freedom beside "
                f"{count(sizes.unknowns, 'unknown')}: the noise cannot be estimated"
            )
        return left

    @property
    def effective_dof(self) -> np.ndarray:
        """Effective degrees of freedom of the kernel (outputs,)."""
        sizes = self._design.sizes
        return np.asarray(sizes.rows - sizes.nuisance - self._left)

    @cached_property
    def dof(self) -> np.ndarray:
        """Degrees of freedom (outputs,) of t and F."""
        return self._left

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of the noise (outputs,), times 2**-`exponents`; 0 if rounding."""
        return np.asarray(self._residual_norms / np.sqrt(self._left))

    @cached_property
    def noise(self) -> NoiseEstimate:
        """Noise whose variance is the sum of squared residuals over their degrees of freedom."""
        with np.errstate(over="ignore"):
            variance = np.ldexp(self.deviation**2, 2 * self.exponents)
        return NoiseEstimate(self.kind, variance, self.dof)

    # --- roots of covariances

    def roots(
        self, group: int, contrast: np.ndarray, outputs: Sequence[int]
    ) -> Iterator[np.ndarray]:
        """Yield m (q, k) of some outputs of a group: m mᵀ is the covariance of sums of taps."""
        pairs = {self._pairs[o] for o in outputs}
        products = {pair: contrast @ self._half(group, pair) for pair in pairs}
        for o in outputs:
            yield products[self._pairs[o]] * self.deviation[o]

    def _half(self, group: int, pair: tuple[Penalty, float]) -> np.ndarray:
        """H (P, k) with H Hᵀ the covariance per unit of noise, in columns of the operator."""
        if (group, pair) not in self._halves:
            self._halves[group, pair] = covariance_half(self._analysis.system(*pair), group)
        return self._halves[group, pair]

    def _outputs_of(self, group: int) -> range:
        return range(group * self._each, (group + 1) * self._each)

    def _alike(self) -> Iterator[tuple[int, np.ndarray, System]]:
        """Yield group, outputs and system of outputs that share a factor."""
        for g in range(self._groups):
            mine = self._outputs_of(g)
            for pair in dict.fromkeys(self._pairs[o] for o in mine):
                chosen = np.array([o for o in mine if self._pairs[o] == pair])
                yield g, chosen, self._analysis.system(*pair)

    def _in_columns(self, group: int, contrast: np.ndarray) -> np.ndarray:
        """Return a contrast of the taps in the columns of the operator."""
        return np.ldexp(contrast, -self._design.matrix.exponents[group])

    # --- standard errors and bands

    @cached_property
    def standard_error(self) -> np.ndarray:
        """Standard errors, kernel-shaped, in the kernel's unit; inf for a tap not determined."""
        columns = self._design.matrix.exponents
        gains = np.empty((*columns.shape, self._each))
        for g, outputs, system in self._alike():
            own = system.noise_gains(g, factor_of(system, g))
            gains[g, :, outputs - g * self._each] = own
        powers = self._plain.y_exponents[:, None] - columns[:, :, None]
        with np.errstate(invalid="ignore", over="ignore"):
            found = np.ldexp(gains * self._targets.grouped(self.deviation)[:, None], powers)
        # In an exact fit too, a tap that x does not determine has an infinite error.
        return self._kernel_of(np.where(np.isinf(gains), np.inf, found))

    def _kernel_of(self, columns: np.ndarray) -> np.ndarray:
        return np.asarray(to_kernel(columns, self._design.spec.kernel_size))

    def errors_of(self, group: int, contrast: np.ndarray) -> np.ndarray:
        """Return standard errors (q, Q) of sums of taps (q, P) for all outputs of a group."""
        rows, outputs, found = self._in_columns(group, contrast), self._outputs_of(group), []
        for first in range(0, len(rows), self._at_once):
            several = self.roots(group, rows[first : first + self._at_once], outputs)
            found.append(np.stack([np.linalg.norm(m, axis=1) for m in several], axis=1))
        with np.errstate(over="ignore"):
            return np.ldexp(np.concatenate(found), self.exponents[outputs])

    @property
    def _at_once(self) -> int:
        """Number of sums of taps whose roots are formed at a time."""
        return max(1, self._design.sizes.columns)

    def coefficient_error(self, space: KernelSpace) -> np.ndarray:
        """Return standard errors (n, outputs) of the coefficients of kernels of a space."""
        sums = space.sums_of_taps(np.eye(space.count)).reshape(space.count, -1)
        return np.concatenate([self.errors_of(g, sums) for g in range(self._groups)], axis=1)

    def covariance(self, output: int) -> np.ndarray:
        """Covariance (P, P) of the taps of one output in kernel order: taps, then channels."""
        group = output // self._each
        powers = self.exponents[output] - self._design.matrix.exponents[group]
        with np.errstate(over="ignore"):
            rows = np.ldexp(self._root(output), powers[:, None])
            return np.asarray(rows @ rows.T)

    def _root(self, output: int) -> np.ndarray:
        """Return m (P, k) of all taps of one output."""
        eye = np.eye(self._design.sizes.columns)
        return next(self.roots(output // self._each, eye, [output]))

    def max_t(self, level: float) -> np.ndarray:
        """Return the quantile (outputs,) of the largest |t| over all taps of an output."""
        found = np.empty(len(self._pairs))
        for o, dof in enumerate(self.dof):
            spread = np.sqrt(np.random.default_rng(1).chisquare(dof, DRAWS) / dof)
            found[o] = np.quantile(self._largest(o) / spread, level)
        return found

    def _largest(self, output: int) -> np.ndarray:
        """Return draws of the largest |t| over the taps of an output, for a known variance."""
        key = output // self._each, self._pairs[output]
        if key not in self._draws:
            self._draws[key] = largest_of(self._half(*key))
        return self._draws[key]

    # --- tests

    @property
    def _blas_columns(self) -> int:
        """The smaller dimension of A."""
        return self._design._blas_columns

    @on_blas_threads
    def test(self, contrasts: Sequence[np.ndarray | None], value: np.ndarray) -> FTest:
        """Test that a contrast (q, P) of the taps of every group is ``value`` (q,).

        A group without the tested taps has None, and its outputs have NaN.
        """
        from scipy.special import fdtrc

        if self.penalized:
            raise ValueError(
                "a penalized estimate is biased, and has no F test; solve without a penalty"
            )
        left = self._left  # raises an error if no degrees of freedom are left
        statistic, dof, share, sums, errors = np.full((5, len(self._pairs)), np.nan)
        size, dof[:] = len(value), self.dof
        for g, contrast in enumerate(contrasts):
            if contrast is None:
                continue
            outputs, rows = self._outputs_of(g), self._in_columns(g, contrast)
            of_y = self.exponents[outputs]
            several, whole = self._tested(g, contrast, rows)
            dof[outputs] = whole - (size - 1) * self.estimated
            if (dof <= NO_FREEDOM).any():
                raise ValueError(
                    f"under noise={self.kind!r} the covariance has {whole.min():.3g} degrees of "
                    f"freedom, too few for a test of {count(size, 'sum')} of taps at once"
                )
            white = Errors.roots(self, g, rows, outputs)
            with np.errstate(over="ignore", divide="ignore"):
                found, off, real = self._differences(g, rows, np.ldexp(value[:, None], -of_y))
                for i, (o, m, own) in enumerate(zip(outputs, several, white, strict=True)):
                    # Hotelling's T² if the covariance itself is estimated.
                    statistic[o] = _wald(off[:, i], m, real[i]) * dof[o] / whole[i]
                    share[o] = 1 / (1 + left[o] / (size * _wald(off[:, i], own, real[i])))
                    if size == 1:
                        sums[o], errors[o] = np.ldexp((found[0, i], np.linalg.norm(m)), of_y[i])
        share = np.full_like(share, np.nan) if self._norms is not None else share
        pvalue = fdtrc(size, dof, statistic)
        return FTest(statistic, (size, dof), pvalue, share, (), sums, errors)

    def approximation(self, contrasts: Sequence[np.ndarray | None]) -> str:
        """Return why the `test` of these contrasts is approximate, or an empty string."""
        return ""

    def _tested(
        self, group: int, contrast: np.ndarray, rows: np.ndarray
    ) -> tuple[Iterator[np.ndarray], np.ndarray]:
        """Return roots for the test of a contrast scaled to ``rows``, and degrees of freedom."""
        outputs = self._outputs_of(group)
        return self.roots(group, rows, outputs), self.dof[outputs]

    def _differences(
        self, group: int, rows: np.ndarray, value: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return sums of taps (q, Q), less a value, and flags (Q,) if that is not rounding."""
        w = self._operator_kernel[group]
        # The change of the taps by a relative error of y.
        gains = np.linalg.norm(self._half(group, self._pairs[0]), axis=1)[:, None]
        found, terms = rows @ w, np.abs(w) + gains * self._plain.y_norms[group]
        sizes = np.abs(rows) @ terms + np.abs(value)
        return found, found - value, (np.abs(found - value) > ROUNDING * sizes).any(axis=0)

    @cached_property
    def _operator_kernel(self) -> np.ndarray:
        """The kernel (G, P, Q) in units of the operator's columns and of y."""
        columns = to_columns(self._kernel, self._groups)
        return np.ldexp(
            columns,
            self._design.matrix.exponents[:, :, None] - self._plain.y_exponents[:, None],
        )


class DependentErrors(Errors):
    """Errors of an estimate whose covariance is a sum of products over dependent rows."""

    estimated = True

    def _weights(self, group: int, contrast: np.ndarray) -> np.ndarray:
        """Return (AᵀA)⁻¹Cᵀ (P, q). The influences of the rows on sums of taps are A times it."""
        half = self._half(group, self._pairs[0])
        return np.asarray(half @ (half.T @ contrast.T))

    @cached_property
    def standard_error(self) -> np.ndarray:
        """Standard errors, kernel-shaped, in the kernel's unit."""
        eye = np.eye(self._design.sizes.columns)
        found = np.stack([self.errors_of(g, eye) for g in range(self._groups)])
        return self._kernel_of(np.where(self._design.modelled[:, None], found, np.nan))

    def _root(self, output: int) -> np.ndarray:
        """Return m (P, P) of all taps of one output."""
        m = super()._root(output)
        values, vectors = np.linalg.eigh(m @ m.T)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))

    def _largest(self, output: int) -> np.ndarray:
        return largest_of(self._root(output))


class ClusterErrors(DependentErrors):
    """Errors if the rows of one record depend on each other, and those of two records do not.

    The sums of a record have a variance proportional to its size, and the fit subtracts a share of
    the total from each, which is proportional to the size too. Records of unequal size therefore
    have fewer degrees of freedom than R − 1, and a larger variance of sums of taps.

    Source: R. M. Bell and D. F. McCaffrey, Survey Methodology 28 (2002) 169, for such records.
    """

    kind = "cluster"

    @cached_property
    def _shares(self) -> np.ndarray:
        """Share (R,) of the rows, times their weight, of each record that confounds leave some."""
        problem, lengths = self._design.problem, self._design.kept.lengths
        left = self._design.nuisance.records_left(self._design.kept)
        sizes = np.array([problem._weight([(i, 0, lengths[i])]) for i in left])
        return np.asarray(sizes / sizes.sum())

    @cached_property
    def dof(self) -> np.ndarray:
        """Satterthwaite's degrees of freedom (outputs,) of t and F."""
        squares, cubes = (self._shares**2).sum(), (self._shares**3).sum()
        found = (1 - squares) ** 2 / (squares - 2 * cubes + squares**2)
        return np.full(len(self._pairs), float(found))

    @property
    def _at_once(self) -> int:
        return max(1, NUMBERS_AT_ONCE // (len(self._shares) * self._each))

    def roots(
        self, group: int, contrast: np.ndarray, outputs: Sequence[int]
    ) -> Iterator[np.ndarray]:
        """Yield the sums (q, R) of the influences of the rows of every record."""
        weights, local = self._weights(group, contrast), np.asarray(outputs) - group * self._each
        w, matrix = self._operator_kernel[group][:, local], self._design.matrix
        several = matrix.by_record(group, w, self._targets, local)
        m = np.stack([weights.T @ gradient for gradient in several], axis=-1)
        records, rows = len(self._shares), self._design.sizes.rows
        factor = records / (records - 1) * (rows - 1) / self._left[np.asarray(outputs)]
        yield from (m * np.sqrt(factor)[:, None]).swapaxes(0, 1)

    def _tested(
        self, group: int, contrast: np.ndarray, rows: np.ndarray
    ) -> tuple[Iterator[np.ndarray], np.ndarray]:
        several, dof = super()._tested(group, contrast, rows)
        inflation = (1 - 1 / len(self._shares)) / (1 - np.square(self._shares).sum())
        return (m * math.sqrt(inflation) for m in several), dof

    def approximation(self, contrasts: Sequence[np.ndarray | None]) -> str:
        """Return why the `test` of these contrasts is approximate, or an empty string."""
        if self.dof[0] >= FEWER * (len(self._shares) - 1):
            return ""
        return (
            "the records differ in their number of rows or in weight, so tests of sums of taps "
            "under noise='cluster' are approximate: in simulations, intervals for a coverage "
            "of 95 % contained the true sum in 88 to 93 %"
        )


class HacErrors(DependentErrors):
    """Errors if rows depend on those near them in time.

    The rows of all records are laid on one axis of time, with zeros between records, so that every
    moving mean that reads some of a record reads a single one.
    """

    kind = "hac"

    def __init__(self, analysis: Analysis, estimate: Estimate, lags: int | None = None) -> None:
        """Store the estimate, and the number of lags; None for 1.3·√rows."""
        super().__init__(analysis, estimate)
        self._rows = analysis.design.sizes.rows
        self._lags = int(1.3 * math.sqrt(self._rows)) if lags is None else lags

    @cached_property
    def dof(self) -> np.ndarray:
        """Degrees of freedom (outputs,) of t and F."""
        return np.full(len(self._pairs), 1.5 * self._rows / self._lags)

    @property
    def _at_once(self) -> int:
        return max(1, NUMBERS_AT_ONCE // len(self._axis))

    @cached_property
    def _axis(self) -> np.ndarray:
        """The row of every place on the axis of time, or -1."""
        gap = np.full(self._lags, -1)
        positions = self._design.matrix.plan.positions
        return np.concatenate([gap, *(part for each in positions for part in (each, gap))])

    def _laid(self, values: np.ndarray) -> np.ndarray:
        """Return values (k, T) of rows (n, k) on the axis of time, zero in other places."""
        found, used = np.zeros((values.shape[1], len(self._axis))), self._axis >= 0
        found[:, used] = values[self._axis[used]].T
        return found

    def _influences(
        self, group: int, contrast: np.ndarray, outputs: Sequence[int]
    ) -> Iterator[np.ndarray]:
        """Yield influences (q, T) of rows on sums of taps, times the residuals of each output.

        Raises:
            ValueError: If the data or the influences do not fit into the memory.
        """
        sizes, matrix = self._design.sizes, self._design.matrix
        needed = 8 * sizes.columns * len(self._axis)
        if sizes.beyond_memory or needed > sizes.limits.factor_bytes:
            raise ValueError(
                f"errors under noise='hac' need the influence of {count(self._rows, 'row')} on "
                f"{count(sizes.columns, 'tap')} in memory, {in_bytes(needed)} in addition to x, y"
            )
        u = self._laid(matrix.forward(group, self._weights(group, contrast)))
        local = np.asarray(outputs) - group * self._each
        e = matrix.output_rows(self._targets, group)[:, local]
        e = e - matrix.forward(group, self._operator_kernel[group][:, local])
        for residual in self._laid(e - e.mean(0) if self._design.nuisance.constant else e):
            yield u * residual

    def roots(
        self, group: int, contrast: np.ndarray, outputs: Sequence[int]
    ) -> Iterator[np.ndarray]:
        """Yield means (q, k) of the influences over windows of consecutive rows."""
        from scipy.ndimage import uniform_filter1d

        window, first = 1 + self._lags, (1 + self._lags) // 2
        several = self._influences(group, contrast, outputs)
        for o, z in zip(outputs, several, strict=True):
            # Each mean is updated from the previous one.
            means = uniform_filter1d(z, window, axis=1, mode="constant")
            means = means[:, first : z.shape[1] - window + 1 + first]
            yield means * math.sqrt(self._rows / self._left[o] * window)

    def _tested(
        self, group: int, contrast: np.ndarray, rows: np.ndarray
    ) -> tuple[Iterator[np.ndarray], np.ndarray]:
        """Return the same, by cosine transforms for one sum of several parameters in few rows.

        A window of lags is biased downwards if the correlation is slow. Cosines have almost no
        bias. The error of a single tap or coefficient is that of `standard_error`.
        """
        if self._rows >= SHORT_ROWS or len(rows) > 1 or self._of_one_parameter(contrast[0]):
            return super()._tested(group, contrast, rows)
        outputs = self._outputs_of(group)
        z = np.concatenate([*self._influences(group, rows, outputs)])[:, self._axis >= 0]
        scale = np.sqrt(2 / COSINES * self._rows / self._left[outputs])
        m = z @ cosine_columns(0, self._rows, self._rows) * scale[:, None]
        return iter(m[:, None]), np.full(len(outputs), float(COSINES))

    def _of_one_parameter(self, row: np.ndarray) -> bool:
        """Return whether a sum of taps (P,) is a multiple of one tap or of one coefficient."""
        space = self._design.space
        if space is None or np.count_nonzero(row) == 1:
            return np.count_nonzero(row) == 1
        sums = space.sums_of_taps(np.eye(space.count)).reshape(-1, len(row))
        lengths = np.linalg.norm(sums, axis=1) * np.linalg.norm(row)
        return bool((np.abs(sums @ row) > (1 - PARALLEL) * lengths).any())

    def approximation(self, contrasts: Sequence[np.ndarray | None]) -> str:
        """Return why the `test` of these contrasts is approximate, or an empty string."""
        given = [c for c in contrasts if c is not None]
        size, few = max(map(len, given)), FEW_ROWS_OF_SEVERAL
        tested = f"{size} sums of taps at once"
        simulated = "tests at a level of 5 % rejected in 4 to 23 %"
        if size == 1:
            few, tested = FEW_ROWS, "one sum of taps"
            simulated = "intervals for a coverage of 95 % contained the true sum in 84 to 93 %"
        if self._rows >= few or (size == 1 and all(self._of_one_parameter(c[0]) for c in given)):
            return ""
        return (
            f"the test of {tested} under noise='hac' is approximate: with fewer than {few} rows, "
            f"here {self._rows}, simulated {simulated}"
        )


def cosine_columns(start: int, stop: int, rows: int) -> np.ndarray:
    """Return cos(πj(t + ½)/rows) (stop − start, B) for t from ``start`` and j from 1 to B.

    The variance of a sum of correlated rows is twice the mean square of their projections.
    """
    t, j = np.arange(start, stop)[:, None], np.arange(1, 1 + COSINES)
    return np.cos(np.pi * j * (t + 0.5) / rows)


def _wald(off: np.ndarray, root: np.ndarray, real: bool) -> float:
    """Return Wald's statistic over q of differences (q,) whose covariance has a root (q, k).

    Raises:
        ValueError: If the rows of the contrast are dependent.
    """
    errors = np.linalg.norm(root, axis=1)
    if not errors.all() or not np.isfinite(off).all():
        return np.inf if real else np.nan
    r = np.linalg.qr((root / errors[:, None]).T, mode="r")
    if len(r) < len(off) or np.abs(np.diagonal(r)).min() <= DEPENDENT:
        raise ValueError("the rows of the contrast are not independent in these data")
    with np.errstate(over="ignore"):
        return float(np.square(np.linalg.solve(r.T, off / errors)).sum()) / len(off)


def factor_of(system: System, group: int) -> Factor:
    """Return the factor of a group, or raise a ValueError if memory does not allow one."""
    factor = system.factor(group)
    if factor is None:
        raise ValueError(
            "standard errors need a factor of the design matrix, which exceeds the memory limit"
        )
    return factor


def covariance_half(system: System, group: int) -> np.ndarray:
    """Return H (P, k) with H Hᵀ the covariance per unit of noise, in columns of the operator.

    Without a penalty, the columns of A H are orthonormal.

    Raises:
        ValueError: If the data do not determine every tap, or if the factor exceeds the memory.
    """
    factor = factor_of(system, group)
    if not factor.full_rank:
        raise ValueError("the data do not determine every tap, so the covariance is infinite")
    with one_blas_thread():
        return factor.whitened(system.tap_rows(group).T).T


def largest_of(half: np.ndarray) -> np.ndarray:
    """Return draws of the largest |t| over all taps whose covariance is H Hᵀ, for H (P, k)."""
    norms = np.linalg.norm(half, axis=1, keepdims=True)
    half = half * (norms > ROUNDING * norms.max()) / np.where(norms > 0, norms, 1.0)
    rng, found = np.random.default_rng(0), []
    # Factors of a design matrix from several routes differ in signs, which change the draws.
    largest = np.take_along_axis(half, np.abs(half).argmax(0)[None], axis=0)
    half = half * np.where(largest < 0, -1.0, 1.0)
    several = range(DRAWS // DRAWS_AT_ONCE)
    for _ in tracked(several, "draws of the largest deviation", len(several)):
        draws = half @ rng.standard_normal((half.shape[1], DRAWS_AT_ONCE))
        found.append(np.abs(draws).max(0))
    return np.concatenate(found)
