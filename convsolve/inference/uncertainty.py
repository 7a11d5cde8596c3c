"""Standard errors, bands and tests of least-squares estimates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from ..text import aligned, count, probability

# Draws of the largest of all |t|, for simultaneous bands, and how many are made at a time.
DRAWS, DRAWS_AT_ONCE = 4000, 500
# A difference of sums of taps below this share of their terms is rounding.
ROUNDING = 100 * EPS
# Singular values of a contrast below this share of the largest are rounding.
DEPENDENT = 1e-10


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


def no_freedom(rows: int, unknowns: int) -> str:
    """Describe why there are no errors for so many unknowns."""
    return (
        f"{count(rows, 'row')} leave no degrees of freedom beside {count(unknowns, 'unknown')}: "
        "the noise cannot be estimated; use more rows, fewer taps, or a penalty"
    )


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


class Statistics(NamedTuple):
    """A test of one contrast in every output of a group.

    Attributes:
        values: F, or Wald's statistics over q (Q,).
        dof: degrees of freedom of the residuals (Q,).
        errors: standard errors (Q,) of one sum of taps, scaled as `Differences`; NaN for several.
    """

    values: np.ndarray
    dof: np.ndarray
    errors: np.ndarray


class Differences(NamedTuple):
    """A contrast of the taps of a group, minus the tested values, for every output of the group.

    Rows are scaled so that taps and their errors stay within float64.

    Attributes:
        off: sums of taps minus the values (q, Q), in units of y.
        rows: the contrast (q, P), in columns of the operator.
        real: flags (Q,) of outputs of which a difference is more than rounding.
        sums: sums of taps (q, Q), not scaled.
        exponents: powers of two (q, Q) of the unit of ``off``.
    """

    off: np.ndarray
    rows: np.ndarray
    real: np.ndarray
    sums: np.ndarray
    exponents: np.ndarray

    def walds(self, roots: Iterable[np.ndarray], dof: np.ndarray) -> Statistics:
        """Return Wald's statistics over q, given H (P, k) with a covariance H Hᵀ per output.

        Raises:
            ValueError: If the rows of the contrast are dependent.
        """
        found, of_sum = [], []
        for off, real, root in zip(self.off.T, self.real, roots, strict=True):
            with np.errstate(under="ignore"):
                rows = self.rows @ root
            errors = np.linalg.norm(rows, axis=1)
            of_sum.append(errors[0] if len(rows) == 1 else np.nan)
            if not errors.all() or not np.isfinite(off).all():
                found.append(np.inf if real else np.nan)
                continue
            _, r = np.linalg.qr((rows / errors[:, None]).T)
            if len(r) < len(rows) or np.abs(np.diagonal(r)).min() <= DEPENDENT:
                raise ValueError("the rows of the contrast are not independent in these data")
            with np.errstate(over="ignore"):
                t = np.linalg.solve(r.T, off / errors)
                found.append(float(np.square(t).sum()) / len(rows))
        return Statistics(np.array(found), dof, np.array(of_sum))


class Uncertainty:
    """Standard errors, bands and tests of an estimate, from the factors that solved it.

    The noise is white. With R of [A; √λ·L⁻¹] in the coordinates of the penalty, w = T z, the
    covariance is s²·T (RᵀR)⁻¹ Tᵀ. With a penalty, it is the covariance of the posterior. Subclasses
    are for other noise.
    """

    kind = "white"

    def __init__(self, analysis: Analysis, estimate: Estimate) -> None:
        """Store the estimate that the errors belong to, with its design matrix and outputs."""
        assert analysis.targets is not None
        self._analysis, self._targets = analysis, analysis.targets
        self._kernel, self._pairs, self._freedom, self._norms = estimate
        self._halves: dict[tuple[int, System], np.ndarray] = {}
        self._groups = analysis.design.spec.groups
        self._each = len(self._pairs) // self._groups

    def _outputs_of(self, group: int) -> range:
        return range(group * self._each, (group + 1) * self._each)

    def _alike(self) -> Iterator[tuple[int, np.ndarray, System]]:
        """Yield group, outputs and system of outputs that share a factor."""
        for g in range(self._groups):
            mine = self._outputs_of(g)
            for pair in dict.fromkeys(self._pairs[o] for o in mine):
                chosen = np.array([o for o in mine if self._pairs[o] == pair])
                yield g, chosen, self._analysis.system(*pair)

    @property
    def penalized(self) -> bool:
        """Whether any output has a penalty."""
        return any(strength > 0 for _, strength in self._pairs)

    @cached_property
    def _plain(self) -> Regression:
        return Regression(self._analysis.plain, self._targets)

    @cached_property
    def _residual_norms(self) -> np.ndarray:
        """‖y − Aw − bias‖ (outputs,) from the data, times 2**-`exponents`; 0 if it is rounding."""
        w = self._plain.from_kernel(self._kernel)
        found, _ = self._plain.residual(w)
        real = (found > self._plain.rounding(w)).reshape(-1)
        if self._norms is None:
            return np.where(real, found.reshape(-1), 0.0)
        return np.where(real, np.ldexp(self._norms, -self.exponents), 0.0)

    @cached_property
    def _operator_kernel(self) -> np.ndarray:
        """The kernel (G, P, Q) in units of the operator's columns and of y."""
        columns = to_columns(self._kernel, self._groups)
        powers = (
            self._plain.y_exponents[:, None] - self._analysis.design.matrix.exponents[:, :, None]
        )
        return np.ldexp(columns, -powers)

    @property
    def exponents(self) -> np.ndarray:
        """Powers of two (outputs,) that bring y into [1/2, 1)."""
        return self._targets.exponents

    @cached_property
    def _left(self) -> np.ndarray:
        """Rows less the degrees of freedom of kernel and nuisance columns, (outputs,)."""
        sizes, found = self._analysis.design.sizes, np.empty(len(self._pairs))
        for g, outputs, system in self._alike():
            factor = _factor(system, g)
            if system.strength:
                if not factor.full_rank:
                    raise ValueError("data and penalty together do not determine every tap")
                used = np.where(
                    np.isnan(self._freedom[outputs]),
                    system.freedom(g, factor),
                    self._freedom[outputs],
                )
            else:
                used = np.full(len(outputs), float(factor.rank))
            found[outputs] = sizes.rows - sizes.nuisance - used
        if (found <= 0).any():
            raise ValueError(no_freedom(sizes.rows, sizes.unknowns))
        return found

    @property
    def effective_dof(self) -> np.ndarray:
        """Effective degrees of freedom of the kernel (outputs,)."""
        sizes = self._analysis.design.sizes
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
        with np.errstate(over="ignore", under="ignore"):
            variance = np.ldexp(self.deviation**2, 2 * self.exponents)
        return NoiseEstimate(self.kind, variance, self.dof)

    @cached_property
    def standard_error(self) -> np.ndarray:
        """Standard errors, kernel-shaped, in the kernel's unit; inf for a tap not determined."""
        found = np.empty((self._groups, self._analysis.design.sizes.columns, self._each))
        for g, outputs, system in self._alike():
            power = self.exponents[outputs] - self._column_exponents(g)[:, None]
            errors = self._errors(system, g, outputs)
            with np.errstate(over="ignore", under="ignore"):
                found[g, :, outputs - g * self._each] = np.ldexp(errors, power).T
        return np.asarray(to_kernel(found, self._analysis.design.spec.kernel_size))

    def _errors(self, system: System, group: int, outputs: np.ndarray) -> np.ndarray:
        """Return standard errors (P, k) of outputs, in units of the operator's columns and of y."""
        gains = system.noise_gains(group, _factor(system, group))[:, None]
        with np.errstate(invalid="ignore"):
            errors = gains * self.deviation[outputs]
        # In an exact fit too, a tap that x does not determine has an infinite error.
        return np.where(np.isinf(gains), np.inf, errors)

    def covariance(self, output: int) -> np.ndarray:
        """Covariance (P, P) of the taps of one output in kernel order: taps, then channels."""
        power = self.exponents[output] - self._column_exponents(output // self._each)
        with np.errstate(over="ignore", under="ignore"):
            rows = np.ldexp(self._root(output), power[:, None])
            return np.asarray(rows @ rows.T)

    def coefficient_error(self, space: KernelSpace) -> np.ndarray:
        """Return standard errors (n, outputs) of the coefficients of kernels of a space."""
        found = np.empty((space.count, len(self._pairs)))
        for g, outputs, root, sizes in self._roots():
            power = -self._column_exponents(g)
            with np.errstate(over="ignore", under="ignore"):
                rows = np.ldexp(root, (power - power.max())[:, None])
                each = space.coefficients(rows.reshape(space.taps, -1, root.shape[1]))
                unit = np.frexp(np.abs(each).max(1))[1]  # squares of very small errors would vanish
                norms = np.linalg.norm(np.ldexp(each, -unit[:, None]), axis=1)
                unit = unit[:, None] + self.exponents[outputs] + power.max()
                found[:, outputs] = np.ldexp(np.outer(norms, sizes), unit)
        return found

    def max_t(self, level: float) -> np.ndarray:
        """Return the quantile (outputs,) of the largest |t| over all taps of an output."""
        found = np.empty(len(self._pairs))
        for _, outputs, root, _ in self._roots():
            largest = _largest(root)
            for o in outputs.tolist():
                dof = self.dof[o]
                spread = np.sqrt(np.random.default_rng(1).chisquare(dof, DRAWS) / dof)
                found[o] = np.quantile(largest / spread, level)
        return found

    def _roots(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield a group, outputs, H (P, k) and s (outputs,): their covariances are s²·H Hᵀ."""
        for g, outputs, system in self._alike():
            yield g, outputs, self._half(system, g), self.deviation[outputs]

    @property
    def _blas_columns(self) -> int:
        """The smaller dimension of A."""
        return self._analysis.design._blas_columns

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
            outputs = self._outputs_of(g)
            differences = self._differences(g, contrast, value)
            white = differences.walds(map(self._white_root, outputs), self.dof[outputs])
            found = self._statistics(g, contrast, differences, white)
            statistic[outputs], dof[outputs], errors[outputs] = found
            if size == 1:
                sums[outputs] = differences.sums[0]
                with np.errstate(over="ignore", under="ignore"):
                    errors[outputs] = np.ldexp(found.errors, differences.exponents[0])
            if self._norms is None:
                with np.errstate(divide="ignore"):
                    share[outputs] = 1 / (1 + left[outputs] / (size * white.values))
        pvalue = fdtrc(size, dof, statistic)
        return FTest(statistic, (size, dof), pvalue, share, (), sums, errors)

    def approximation(self, contrasts: Sequence[np.ndarray | None]) -> str:
        """Return why the `test` of these contrasts is approximate, or an empty string."""
        return ""

    def _statistics(
        self, group: int, contrast: np.ndarray, differences: Differences, white: Statistics
    ) -> Statistics:
        """Return F of one contrast in every output of a group, given it for white noise."""
        return white

    def _differences(self, group: int, contrast: np.ndarray, value: np.ndarray) -> Differences:
        outputs, e = self._outputs_of(group), self._column_exponents(group)
        taps = to_columns(self._kernel, self._groups)[group]
        power = np.frexp(contrast)[1] - e
        row = np.where(contrast != 0, power, power.min()).max(axis=1)[:, None]
        # The change of the taps by a relative error of y.
        gains = np.linalg.norm(self._half(self._analysis.plain, group), axis=1)[:, None]
        of_y = np.ldexp(gains * self._plain.y_norms[group], self.exponents[outputs] - e[:, None])
        with np.errstate(over="ignore", under="ignore"):
            found = contrast @ taps - value[:, None]
            sizes = np.abs(contrast) @ (np.abs(taps) + of_y) + np.abs(value)[:, None]
            real = (np.abs(found) > ROUNDING * sizes).any(axis=0)
            power = self.exponents[outputs] + row
            rows = np.ldexp(contrast, -e - row)
            return Differences(np.ldexp(found, -power), rows, real, contrast @ taps, power)

    # --- the factor of a group

    def _root(self, output: int) -> np.ndarray:
        """H (P, k) with H Hᵀ the covariance of an output, in columns of the operator and y."""
        return self._white_root(output)

    def _white_root(self, output: int) -> np.ndarray:
        system = self._analysis.system(*self._pairs[output])
        return self._half(system, output // self._each) * self.deviation[output]

    def _column_exponents(self, group: int) -> np.ndarray:
        return np.asarray(self._analysis.design.matrix.exponents[group])

    def _half(self, system: System, group: int) -> np.ndarray:
        """H (P, k) with H Hᵀ the covariance per unit of noise, in columns of the operator."""
        key = group, system
        if key not in self._halves:
            self._halves[key] = covariance_half(system, group)
        return self._halves[key]


def _factor(system: System, group: int) -> Factor:
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
    factor = _factor(system, group)
    if not factor.full_rank:
        raise ValueError("the data do not determine every tap, so the covariance is infinite")
    with one_blas_thread():
        return factor.whitened(system.tap_rows(group).T).T


def _largest(half: np.ndarray) -> np.ndarray:
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
