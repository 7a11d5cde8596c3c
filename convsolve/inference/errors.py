"""Standard errors, bands and tests of least-squares estimates.

The covariance of sums of taps C w is UᵀΩU, with U = A (AᵀA + K)⁻¹Cᵀ and Ω of the noise. Every
noise model gives a root m (q, k) of it, whose m mᵀ it is: σ·C H with H Hᵀ = (AᵀA + K)⁻¹ for
white noise, and means or sums of U·e over dependent rows for the residuals e. Contrasts C, roots
and residuals are in the user's units.

Source: W. K. Newey and K. D. West, Econometrica 55 (1987) 703 (moving sums: Bartlett's weights);
K.-Y. Liang and S. L. Zeger, Biometrika 73 (1986) 13 (sums over clusters); E. Lazarus, D. J. Lewis,
J. H. Stock and M. W. Watson, J. Bus. Econ. Stat. 36 (2018) 541 (cosines).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from ..errors import warn
from ..facts import NONE, Fact, Reported, by_output, of_fields
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import nearly_toeplitz
from ..leastsquares.normal_operator import Normal
from ..leastsquares.penalty import Penalty
from ..leastsquares.regression import Regression
from ..parallel import cached_property
from ..problem.checks import choice
from ..text import count, pm
from .contrasts import DEPENDENT, Contrast

# Draws of the largest of all |t|, for simultaneous bands, and how many are made at a time.
DRAWS, DRAWS_AT_ONCE = 4000, 500
# A difference of sums of taps below this share of their terms is rounding.
ROUNDING = 2e-14
# Numbers of a root that are formed at a time for standard errors: few enough for a cache.
NUMBERS_AT_ONCE = 2**20
# With fewer rows, the variance of one sum of taps under "hac" noise comes from this many cosines.
SHORT_ROWS, COSINES = 5_000, 4
# With fewer rows, tests of one sum and of several sums of taps under "hac" noise are approximate.
FEW_ROWS = 600, 2_000
SIMULATED = (
    "intervals for a coverage of 95 % contained the true sum in 84 to 93 %",
    "tests at a level of 5 % rejected in 4 to 23 %",
)
# Records of unequal size have degrees of freedom below this share of those of equal ones.
FEWER = 0.8
# With fewer records of about equal size, a simultaneous band from sums over records warns that it
# is very wide.
FEW_RECORDS = 3.5
# Sums of taps whose cosine differs from one by less are multiples of each other.
PARALLEL = 1e-12


@dataclass(frozen=True, repr=False, eq=False)
class NoiseEstimate(Reported):
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

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield a row for every output, and all fields."""
        columns = {
            "variance": [f"{v:.4g}" for v in self.variance],
            "d.o.f.": [f"{dof:.5g}" for dof in self.dof],
            "order": [NONE] * len(self.dof) if self.order is None else [*map(str, self.order)],
        }
        yield Fact("", f"Noise: {self.kind}", by_output(range(len(self.dof)), columns))
        yield from of_fields(self)


@dataclass(frozen=True, repr=False, eq=False)
class FTest(Reported):
    """F test of every output, each array (outputs,).

    Attributes:
        statistic: F, NaN for an output that does not have the tested taps. Under "hac" and
            "cluster", whose covariance is estimated with ν degrees of freedom, F of Hotelling's
            T²: Wald's statistic over q, times (ν − q + 1)/ν.
        dof: Degrees of freedom of the hypothesis, q, and of the residuals, or ν − q + 1. For one
            sum of several taps or coefficients under "hac" with fewer than 5000 rows, 4.
        pvalue: Probability of an F at least as large if the hypothesis holds. For a test of one sum
            with an alternative, the probability of a t at least as large, or as small.
        partial_r2: Share of the residual sum of squares under the hypothesis that the estimate
            explains. NaN if the loss is not squares.
        outputs: Names of the outputs, or their numbers.
        estimate: Estimate of the sum of taps or coefficients if one is tested, in its own unit, or
            NaN. It is the weighted sum of coefficients if channels with one function each are
            tested. The tested value is not subtracted.
        standard_error: Standard error of ``estimate`` for the noise model of the fit, or NaN.
        value: The tested value of ``estimate``, or NaN.
        t: (estimate − value)/standard_error, or NaN. F is its square.

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
        output        estimate     t      F  d.o.f.  p-value  partial R²
        0       1.937 ± 0.1352  1.01  1.027  1, 481     0.31       0.002

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
    value: np.ndarray

    @property
    def t(self) -> np.ndarray:
        """Student's t of one sum, or NaN."""
        return np.asarray(np.sign(self.estimate - self.value) * np.sqrt(self.statistic))

    def against(self, alternative: str) -> FTest:
        """Return the test against an alternative, in the words of SciPy.

        Raises:
            ValueError: If the alternative is unknown, or one-sided for a test of several sums.
        """
        from scipy.special import stdtr

        choice(alternative, "alternative", ("two-sided", "greater", "less"))
        if alternative == "two-sided":
            return self
        if self.dof[0] > 1 or np.isnan(self.estimate).all():
            raise ValueError(f"alternative={alternative!r} needs a test of one number")
        t = self.t if alternative == "less" else -self.t
        return replace(self, pvalue=stdtr(self.dof[1], t))

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield a row for every output, and all fields. One sum has an estimate and a t value."""
        pairs, t = zip(self.estimate, self.standard_error, strict=True), self.t
        columns = {
            "estimate": [NONE if np.isnan(c) else pm(c, error, ".4g") for c, error in pairs],
            "t": [NONE if np.isnan(v) else f"{v:.3g}" for v in t],
            "F": [f"{v:.4g}" for v in self.statistic],
            "d.o.f.": [f"{self.dof[0]}, {dof:.5g}" for dof in self.dof[1]],
            # The smallest probabilities underflow to 0.
            "p-value": ["< 1e-300" if p < 1e-300 else f"{p:.2g}" for p in self.pvalue],
            "partial R²": [f"{share:.3f}" for share in self.partial_r2],
        }
        yield Fact("", "", by_output(self.outputs or range(len(t)), columns))
        yield from of_fields(self, t=t)


def t_quantile(dof: Any, level: float) -> np.ndarray:
    """Return the quantile of Student's t."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(dof, level))


def bonferroni(dof: Any, level: float, count: Any) -> Any:
    """Return the half width of a band of ``count`` numbers at once, in standard errors."""
    return t_quantile(dof, 1 - (1 - level) / (2 * count))


def largest_quantile(largest: np.ndarray, dof: float, level: float) -> float:
    """Return a quantile of draws of the largest |t| for a known variance, which is estimated."""
    spread = np.sqrt(np.random.default_rng(1).chisquare(dof, largest.size) / dof)
    return float(np.quantile(largest / spread, level))


def approximated(analysis: Analysis, penalty: Penalty, strength: float) -> bool:
    """Return whether standard errors are computed from a Toeplitz matrix instead of AᵀA."""
    sizes, spec = analysis.design.sizes, analysis.design.spec
    penalized = strength > 0 and penalty.uncorrelated
    return penalized and nearly_toeplitz(sizes, spec, sizes.limits.spectrum_columns)


class UnitCovariance:
    """The covariance (AᵀA + K)⁻¹ of the taps of a group, for white noise of variance one.

    For thousands of taps, AᵀA is replaced by a Toeplitz matrix if K is diagonal.

    Attributes:
        freedom: degrees of freedom of the kernel.
        errors: standard errors (P,); inf for a tap that is not determined, and NaN outside of the
            window of its channel.
    """

    def __init__(self, analysis: Analysis, group: int, penalty: Penalty, strength: float) -> None:
        # A system with a penalty is large, and is not kept.
        self._given = analysis, group, penalty, strength
        system = analysis.system(penalty, strength)
        if approximated(analysis, penalty, strength):
            variances, scale, ridge = Normal(system, group).variances
            self.freedom = float((1 - ridge * variances).sum())
            self.errors = np.ldexp(scale * np.sqrt(variances), -system.matrix.exponents[group])
            return
        if (factor := system.factor(group)) is None:
            raise ValueError("standard errors need a factor, which exceeds the memory limit")
        if strength and not factor.full_rank:
            raise ValueError("data and penalty together do not determine every tap")
        self.freedom = system.freedom(group, factor) if strength else float(factor.rank)
        self.errors = np.ldexp(system.noise_gains(group, factor), -system.matrix.exponents[group])

    @cached_property
    def root(self) -> np.ndarray:
        """H (P, k) with H Hᵀ the covariance."""
        return self.root_of(None)

    def root_of(self, contrast: np.ndarray | None) -> np.ndarray:
        """Return a root (q, k) of the covariance of sums of taps (q, P), by default of all taps."""
        analysis, group, penalty, strength = self._given
        system = analysis.system(penalty, strength)
        factor = system.factor(group)
        if factor is None:
            raise ValueError("the memory limit allows no factor, which a covariance needs")
        if not factor.full_rank:
            raise ValueError("the data do not determine every tap; see identify() or use a penalty")
        rows = np.ldexp(system.tap_rows(group), -system.matrix.exponents[group][:, None])
        return factor.whitened((rows if contrast is None else contrast @ rows).T).T

    @cached_property
    def largest(self) -> np.ndarray:
        """Draws of the largest |t| over the taps, for a known variance."""
        return largest_of(self.root)


# A kernel (*K, Cin/groups, Cout) in float64, penalty and strength of every output, and the norms
# (outputs,) of the residuals in the unit of y if the loss is not squares.
Estimate = tuple[np.ndarray, Sequence[tuple[Penalty, float]], np.ndarray | None]


class Errors:
    """Standard errors, bands and tests of an estimate, from the factors that solved it.

    The noise is white. With a penalty, K are its rows, and the covariance is the posterior one.
    Subclasses are for other noise.
    """

    kind = "white"
    #: Whether the covariance is estimated too, and a factor of the errors of tested sums of taps.
    estimated, inflation = False, 1.0
    #: Whether all taps have one variance estimate, so that draws of them give simultaneous bands.
    joint = True

    def __init__(self, analysis: Analysis, estimate: Estimate) -> None:
        """Store the estimate that the errors belong to, with its design matrix and outputs."""
        assert analysis.targets is not None
        self._analysis, self._design, self._targets = analysis, analysis.design, analysis.targets
        self._kernel, self._pairs, self._norms = estimate
        self._plain = Regression(analysis.plain, self._targets)
        # Taps (P, outputs), and the outputs (groups, Q) of every group.
        self._taps = self._kernel.reshape(-1, len(self._pairs))
        self._outputs = np.arange(len(self._pairs)).reshape(-1, self._targets.outputs)

    # --- the noise

    @cached_property
    def _units(self) -> list[UnitCovariance]:
        """The covariance of every output for noise of variance one. Outputs may share it."""
        by_form = {form: cache(self._covariances(form)) for form in {f for f, _ in self._pairs}}
        groups = np.arange(len(self._pairs)) // self._targets.outputs
        pairs = zip(groups.tolist(), self._pairs, strict=True)
        return [by_form[form](group, strength) for group, (form, strength) in pairs]

    def _covariances(self, form: Penalty) -> Callable[[int, float], UnitCovariance]:
        """Return a function of a group and a strength of a penalty, which returns a covariance."""
        if form.own_covariance:
            return form.unit_covariances(self._analysis)
        return lambda group, strength: UnitCovariance(self._analysis, group, form, strength)

    @property
    def effective_dof(self) -> np.ndarray:
        """Effective degrees of freedom of the kernel (outputs,)."""
        return np.array([unit.freedom for unit in self._units])

    @cached_property
    def _left(self) -> np.ndarray:
        """Rows less the degrees of freedom of kernel and nuisance columns, (outputs,)."""
        sizes = self._design.sizes
        left = sizes.rows - sizes.nuisance - self.effective_dof
        if (left <= 0).any():
            words = f"{sizes.rows} rows leave no degrees of freedom with"
            raise ValueError(f"{words} {count(sizes.unknowns, 'unknown')}")
        return np.asarray(left)

    @cached_property
    def dof(self) -> np.ndarray:
        """Degrees of freedom (outputs,) of t and F."""
        return self._left

    @cached_property
    def deviation(self) -> np.ndarray:
        """Standard deviation of the noise (outputs,), in the unit of y; 0 if it is rounding."""
        left, w = self._left, self._plain.from_kernel(self._kernel)
        found, _ = self._plain.residual(w)
        norms = np.ldexp(found, self._plain.y_exponents) if self._norms is None else self._norms
        real = found > self._plain.rounding(w)
        return np.where(real.reshape(-1), norms.reshape(-1), 0.0) / np.sqrt(left)

    @property
    def noise(self) -> NoiseEstimate:
        """Noise whose variance is the sum of squared residuals over their degrees of freedom."""
        with np.errstate(over="ignore"):
            return NoiseEstimate(self.kind, self.deviation**2, self.dof)

    # --- roots of covariances, standard errors and bands

    def roots(self, contrast: np.ndarray, outputs: np.ndarray) -> Iterator[np.ndarray]:
        """Yield roots m (q, k) of covariances of sums of taps (q, P), for outputs of a group."""
        products = {unit: unit.root_of(contrast) for unit in {self._units[o] for o in outputs}}
        for o in outputs:
            yield products[self._units[o]] * self.deviation[o]

    def root(self, output: int) -> np.ndarray:
        """Return a root (P, k) of the covariance of all taps of an output."""
        if not self.estimated:
            return self._units[output].root * self.deviation[output]
        return next(self.roots(np.eye(len(self._taps)), np.array([output])))

    @cached_property
    def standard_error(self) -> np.ndarray:
        """Standard errors, kernel-shaped; inf for a tap that is not determined."""
        gains = np.stack([unit.errors for unit in self._units], axis=-1)
        with np.errstate(invalid="ignore", over="ignore"):
            found = gains * self.deviation
        # In an exact fit too, a tap that x does not determine has an infinite error.
        return np.where(np.isinf(gains), np.inf, found).reshape(self._kernel.shape)

    def _errors_of(self, contrast: np.ndarray) -> np.ndarray:
        """Return standard errors (q, outputs) of sums of taps (q, P) in every group."""
        several = (m for outputs in self._outputs for m in self.roots(contrast, outputs))
        return np.stack([np.linalg.norm(m, axis=1) for m in several], axis=1)

    @cached_property
    def _coefficients(self) -> np.ndarray:
        """The coefficients of a basis as sums of taps (n, P); the taps without one."""
        if (space := self._design.space) is None:
            return np.eye(len(self._taps))
        return space.sums_of_taps(np.eye(space.count)).reshape(space.count, -1)

    @property
    def coefficient_error(self) -> np.ndarray:
        """Standard errors (n, outputs) of the coefficients of a basis."""
        return self._errors_of(self._coefficients)

    def covariance(self, output: int) -> np.ndarray:
        """Covariance (P, P) of the taps of one output in kernel order: taps, then channels."""
        root = self.root(output)
        return np.asarray(root @ root.T)

    def max_t(self, level: float) -> np.ndarray:
        """Return the quantile (outputs,) of the largest |t| over all taps of an output."""
        pairs = enumerate(self.dof)
        return np.array([largest_quantile(self._largest(o), dof, level) for o, dof in pairs])

    def _largest(self, output: int) -> np.ndarray:
        """Draws of the largest |t| over the taps, for a known variance."""
        return self._units[output].largest

    def simultaneous(self, level: float) -> np.ndarray:
        """Return the half width (outputs,) of a simultaneous band in standard errors."""
        return np.minimum(self.bonferroni(level), self.max_t(level))

    def bonferroni(self, level: float) -> np.ndarray:
        """Return Bonferroni's half width (outputs,) of a simultaneous band."""
        return np.asarray(bonferroni(self.dof, level, np.count_nonzero(self._design.modelled)))

    # --- tests

    @np.errstate(over="ignore", divide="ignore")
    def test(self, contrasts: Sequence[Contrast | None], size: int) -> FTest:
        """Test as many sums of taps of every group.

        A group without the tested taps has None, and its outputs have NaN.
        """
        from scipy.special import fdtrc

        if any(strength for _, strength in self._pairs):
            words = "a penalized estimate is biased, and has no F test; test held-out predictions"
            raise ValueError(f"{words} by cross_validate(...).compare, or solve without a penalty")
        found = np.full((6, len(self._pairs)), np.nan)
        found[1] = self.dof
        for given, outputs in zip(contrasts, self._outputs, strict=True):
            if given is not None:
                found[:, outputs] = np.transpose([*self._tested(given, outputs)])
        statistic, dof, share, *sums = found
        share = share if self._norms is None else np.full_like(share, np.nan)
        return FTest(statistic, (size, dof), fdtrc(size, dof, statistic), share, (), *sums)

    def _tested(self, given: Contrast, outputs: np.ndarray) -> Iterator[tuple[float, ...]]:
        """Yield statistic, degrees of freedom, partial R², sum, error and value of every output."""
        size, sums = len(given.value), given.rows @ self._taps[:, outputs]
        # A sum is at most its standard error for unit noise times the norm of y.
        gains = np.linalg.norm(self._units[outputs[0]].root_of(given.rows), axis=1)
        norms = np.ldexp(self._plain.y_norms, self._plain.y_exponents).reshape(-1)[outputs]
        off, terms = sums - given.value[:, None], np.outer(gains, norms)
        real = np.abs(off) > ROUNDING * (terms + np.abs(given.value)[:, None])
        roots = self.roots(given.rows, outputs), Errors.roots(self, given.rows, outputs)
        for o, c, d, m, white in zip(outputs, sums.T, (off * real).T, *roots, strict=True):
            # A covariance that is estimated from k columns has at most k degrees of freedom, and F
            # is that of Hotelling's T².
            whole = min(self.dof[o], m.shape[1]) if self.estimated else self.dof[o]
            dof = whole - (size - 1) * self.estimated
            if dof <= 0:
                words = f"{whole:.3g} degrees of freedom, too few for a test of {size} sums of taps"
                raise ValueError(f"the covariance under noise={self.kind!r} has {words}")
            m, wald = m * self.inflation, _wald(d, white)
            share, own = 1 / (1 + self._left[o] / (size * wald)), self.estimated
            single = given.scale * np.array([c[0], np.linalg.norm(m[0]), given.value[0]])
            yield (_wald(d, m) if own else wald) * dof / whole, dof, share, *single


class DependentErrors(Errors):
    """Errors of an estimate whose covariance is a sum of products over dependent rows."""

    estimated = True

    @cached_property
    def standard_error(self) -> np.ndarray:
        """Standard errors, kernel-shaped; NaN outside of the window of a channel."""
        found = self._errors_of(np.eye(len(self._taps)))
        found[~self._design.modelled] = np.nan
        return found.reshape(self._kernel.shape)

    @cached_property
    def _columns(self) -> np.ndarray:
        """The kernel (G, P, Q) in units of the operator's columns and of y."""
        z = self._plain.scaling.divided(self._plain.from_kernel(self._kernel))
        return self._plain.system.columns.expand(z)

    def _weights(self, contrast: np.ndarray, group: int) -> np.ndarray:
        """Return (AᵀA)⁻¹Cᵀ (P, q) in columns of the operator, of which influences are products."""
        root = self._units[self._outputs[group, 0]].root
        return np.ldexp(root @ (root.T @ contrast.T), self._design.matrix.exponents[group, :, None])


class ClusterErrors(DependentErrors):
    """Errors if the rows of one record depend on each other, and those of two records do not.

    The sums of a record have a variance proportional to its size, and the fit subtracts a share of
    the total from each, which is proportional to the size too. Records of unequal size therefore
    have fewer degrees of freedom than R − 1, and a larger variance of sums of taps.

    Source: R. M. Bell and D. F. McCaffrey, Survey Methodology 28 (2002) 169, for such records.
    """

    kind, joint = "cluster", False

    def __init__(self, analysis: Analysis, estimate: Estimate) -> None:
        """Store the estimate, and the degrees of freedom by Satterthwaite's formula."""
        super().__init__(analysis, estimate)
        design, own = analysis.design, analysis.design.nuisance.confounds
        # The rows, times their weight, of every record that confounds leave some.
        left = design.nuisance.records_left(design.kept)
        shares = np.array([own.weight(i) if own else design.kept.sizes[i] for i in left])
        shares, self._records = shares / shares.sum(), len(shares)
        squares, cubes = (shares**2).sum(), (shares**3).sum()
        self.inflation = float(np.sqrt((1 - 1 / self._records) / (1 - squares)))
        found = (1 - squares) ** 2 / (squares - 2 * cubes + squares**2)
        # Two records have one, without rounding errors.
        self.dof = np.full(len(self._pairs), round(found, 9))

    def simultaneous(self, level: float) -> np.ndarray:
        """Return Bonferroni's half width: every tap has a variance estimate of its own."""
        if (least := self.dof.min()) < FEW_RECORDS - 1:
            warn(f"a simultaneous band from {least + 1:.3g} records is very wide: use more records")
        return self.bonferroni(level)

    def roots(self, contrast: np.ndarray, outputs: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the sums (q, R) of the influences of the rows of every record."""
        group, local = divmod(outputs, self._targets.outputs)
        weights, w = self._weights(contrast, group[0]), self._columns[group[0]][:, local]
        gradients = self._design.matrix.by_record(group[0], w, self._targets, local)
        sums = np.stack([weights.T @ gradient for gradient in gradients], axis=-1)
        factor = self._records / (self._records - 1) * (self._design.sizes.rows - 1)
        scale = np.ldexp(np.sqrt(factor / self._left), self._targets.exponents)
        yield from (sums * scale[outputs, None]).swapaxes(0, 1)

    def test(self, contrasts: Sequence[Contrast | None], size: int) -> FTest:
        """Test sums of taps, with a warning if the records differ much in size."""
        found = super().test(contrasts, size)
        if self.dof[0] < FEWER * (self._records - 1):
            warn(
                "the records differ in their number of rows or in weight, so tests of sums of taps "
                "under noise='cluster' are approximate: in simulations, intervals for a coverage "
                "of 95 % contained the true sum in 88 to 93 %"
            )
        return found


class HacErrors(DependentErrors):
    """Errors if rows depend on those near them in time.

    The rows of all records are laid on one axis of time, with zeros between records, so that every
    moving mean that reads some of a record reads a single one.
    """

    kind = "hac"

    def __init__(self, analysis: Analysis, estimate: Estimate, lags: int | None = None) -> None:
        """Store the estimate, and the number of lags; None for 1.3·√rows.

        Raises:
            ValueError: If the data or the influences do not fit into the memory.
        """
        super().__init__(analysis, estimate)
        sizes = analysis.design.sizes
        self._rows, taps = sizes.rows, sizes.columns
        if sizes.beyond_memory or 8 * self._rows * taps > sizes.limits.factor_bytes:
            words = f"the influence of {self._rows} rows on {taps} taps in memory"
            raise ValueError(f"noise='hac' needs {words}")
        self._lags = int(1.3 * self._rows**0.5) if lags is None else lags
        self.dof = np.full(len(self._pairs), 1.5 * self._rows / self._lags)

    @cached_property
    def _axis(self) -> np.ndarray:
        """The row of every place on the axis of time, or -1."""
        gap, positions = np.full(self._lags, -1), self._design.matrix.plan.positions
        return np.concatenate([gap, *(part for each in positions for part in (each, gap))])

    def _laid(self, values: np.ndarray) -> np.ndarray:
        """Return values (k, T) of rows (n, k) on the axis of time, zero in other places."""
        return np.where(self._axis >= 0, values[self._axis].T, 0.0)

    @cached_property
    def _residuals(self) -> np.ndarray:
        """The residuals (outputs, T) of every output on the axis of time."""
        matrix, y = self._design.matrix, self._targets
        several = enumerate(self._columns)
        e = np.hstack([matrix.output_rows(y, g) - matrix.forward(g, w) for g, w in several])
        return self._laid(np.ldexp(e - self._design.nuisance.constant * e.mean(0), y.exponents))

    def roots(self, contrast: np.ndarray, outputs: np.ndarray) -> Iterator[np.ndarray]:
        """Yield means (q, T) of the influences over windows of rows, or cosine transforms (q, B).

        A window is biased downwards if the correlation is slow. Cosines have almost no bias. They
        are used for one sum of several taps or coefficients in few rows.
        """
        from scipy.ndimage import uniform_filter1d

        group, window = outputs[0] // self._targets.outputs, 1 + self._lags
        u = self._laid(self._design.matrix.forward(group, self._weights(contrast, group)))
        sizes = np.linalg.norm(self._coefficients, axis=1) * np.linalg.norm(contrast)
        alone = np.abs(self._coefficients @ contrast[0]) > (1 - PARALLEL) * sizes
        few = self._rows < SHORT_ROWS and len(contrast) == 1 < np.count_nonzero(contrast)
        for o in outputs:
            z, scale = u * self._residuals[o], np.sqrt(self._rows / self._left[o])
            if few and not alone.any():
                m = z[:, self._axis >= 0] @ cosine_columns(self._rows)
                yield m * (scale * np.sqrt(2 / COSINES))
            else:  # Each mean is updated from the previous one.
                m = uniform_filter1d(z, window, axis=1, mode="constant")
                yield m * (scale * np.sqrt(window))

    def _errors_of(self, contrast: np.ndarray) -> np.ndarray:
        step = max(1, NUMBERS_AT_ONCE // self._rows)
        parts = [contrast[i : i + step] for i in range(0, len(contrast), step)]
        return np.concatenate([super(HacErrors, self)._errors_of(part) for part in parts])

    def _largest(self, output: int) -> np.ndarray:
        values, vectors = np.linalg.eigh(self.covariance(output))
        return largest_of(vectors * np.sqrt(np.maximum(values, 0.0)))

    def test(self, contrasts: Sequence[Contrast | None], size: int) -> FTest:
        """Test sums of taps, with a warning if there are few rows."""
        found = super().test(contrasts, size)
        sums, few = count(size, "sum"), FEW_ROWS[size > 1]
        if self._rows < few and (found.dof[1] != self.dof).any():
            warn(
                f"the test of {sums} of taps under noise='hac' is approximate: with fewer than "
                f"{few} rows, here {self._rows}, simulated {SIMULATED[size > 1]}"
            )
        return found


def cosine_columns(rows: int) -> np.ndarray:
    """Return cos(πj(t + ½)/rows) (rows, B) for rows t and j from 1 to B.

    The variance of a sum of correlated rows is twice the mean square of their projections.
    """
    return np.cos(np.pi / rows * np.outer(np.arange(rows) + 0.5, np.arange(1, 1 + COSINES)))


def _wald(off: np.ndarray, root: np.ndarray) -> float:
    """Return Wald's statistic over q of differences (q,) whose covariance has a root (q, k).

    Raises:
        ValueError: If the rows of the contrast are dependent.
    """
    errors = np.linalg.norm(root, axis=1)
    if not errors.all():
        return np.inf if off.any() else np.nan
    if len(off) == 1:
        return float((off[0] / errors[0]) ** 2)
    r = np.linalg.qr((root / errors[:, None]).T, mode="r")
    if len(r) < len(off) or np.abs(np.diagonal(r)).min() <= DEPENDENT:
        raise ValueError("the rows of the contrast are not independent in these data")
    return float(np.square(np.linalg.solve(r.T, off / errors)).mean())


def largest_of(half: np.ndarray) -> np.ndarray:
    """Return draws of the largest |t| over all taps whose covariance is H Hᵀ, for H (P, k)."""
    norms = np.linalg.norm(half, axis=1)
    if not norms.any():  # an output that is fitted exactly
        return np.zeros(DRAWS)
    real = norms > ROUNDING * norms.max()
    half, rng = half[real] / norms[real, None], np.random.default_rng(0)
    # Factors of a design matrix from several routes differ in signs, which change the draws.
    largest = np.take_along_axis(half, np.abs(half).argmax(0)[None], axis=0)
    half = half * np.where(largest < 0, -1.0, 1.0)
    draws = half @ rng.standard_normal((DRAWS // DRAWS_AT_ONCE, half.shape[1], DRAWS_AT_ONCE))
    return np.asarray(np.abs(draws).max(1).reshape(-1))
