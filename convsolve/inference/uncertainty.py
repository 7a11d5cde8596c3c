"""Standard errors, bands and tests of least-squares estimates."""

from __future__ import annotations

import math
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
from ..linalg.threads import one_blas_thread
from ..operators.design_matrix import DesignMatrix, Targets
from ..operators.layout import to_columns, to_kernel
from ..problem.checks import index
from ..progress import tracked
from ..text import count, shown
from .reference_noise import Projector, ReferenceNoise, Times
from .sandwich import (
    Clusters,
    bandwidth,
    moving_products,
    moving_squares,
    with_gaps,
)

# Draws of the largest of all |t|, for simultaneous bands, and how many are made at a time.
DRAWS, DRAWS_AT_ONCE = 4000, 500
# With fewer rows, tests of one sum of taps under "hac" noise are corrected for small samples, and
# tests of several sums are approximate.
SHORT_ROWS, FEW_ROWS = 5_000, 1_000
# A residual of less than this share of y, and of what its fit is made of, is rounding.
ROUNDING = 100 * EPS
# Singular values of a contrast below this share of the largest are rounding.
DEPENDENT = 1e-10

# A penalty and its strength.
Pair = tuple[Penalty, float]


class Noise(NamedTuple):
    """Model of the noise in y, estimated from the residuals.

    Attributes:
        kind: "white": independent rows of one variance; "ar": an autoregression e[t] = u[t] +
            Σ_i ρ_i·e[t − i] with white u; "hac": rows depend on earlier rows; "cluster": rows of
            one record depend on each other.
        variance: (outputs,), in the square of y's unit; for an autoregression the variance of u.
        order: of the autoregression (outputs,), or None.
        coefficients: ρ (outputs, largest order), zero beyond the order of an output, or None.
    """

    kind: str
    variance: np.ndarray
    order: np.ndarray | None = None
    coefficients: np.ndarray | None = None


class FTest(NamedTuple):
    """An F test of every output, each array (outputs,).

    Attributes:
        statistic: F, NaN for an output that does not have the tested taps. Under "hac" and
            "cluster", whose covariance is estimated with ν degrees of freedom, F of Hotelling's
            T²: Wald's statistic over q, times (ν − q + 1)/ν.
        dof: Degrees of freedom of the hypothesis, q, and of the residuals, or ν − q + 1. For one
            sum of taps under "hac" in short records, at most 4.
        p: Probability of an F at least as large if the hypothesis holds.
        partial_r2: Share of the residual sum of squares under the hypothesis that the estimate
            explains. NaN if the loss is not squares.
    """

    statistic: np.ndarray
    dof: tuple[int, np.ndarray]
    p: np.ndarray
    partial_r2: np.ndarray


def no_freedom(rows: int, unknowns: int) -> str:
    """Describe why there are no errors for so many unknowns."""
    return (
        f"{count(rows, 'row')} leave no degrees of freedom beside {count(unknowns, 'unknown')}: "
        "nothing tells the noise from the answer; use more rows, fewer taps, or a penalty"
    )


def t_quantile(dof: np.ndarray, level: float) -> np.ndarray:
    """The quantile of Student's t."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(dof, level))


def hypothesis(
    shape: tuple[int, ...], groups: int, channels: Any, contrast: Any, value: Any
) -> tuple[list[np.ndarray | None], np.ndarray]:
    """Return the contrast (q, P) of every group, or None, and the tested values (q,).

    Raises:
        TypeError: If both or neither of channels and contrast are given, or they are not numbers.
        ValueError: If a channel does not exist, or shapes do not fit the kernel of an output.
    """
    if (channels is None) == (contrast is None):
        raise TypeError("test needs channels= or contrast=, one of them")
    taps, each = math.prod(shape[:-2]), shape[-2]
    if contrast is None:
        several = isinstance(channels, (list, tuple, range)) or np.ndim(channels)
        listed = channels if several else [channels]
        chosen = sorted({index(c, "channels", each * groups) for c in listed})
        if not chosen:
            raise ValueError("channels is empty")
        rows = []
        for g in range(groups):
            mine = [c - g * each for c in chosen if g * each <= c < (g + 1) * each]
            kept = np.isin(np.arange(taps * each) % each, mine)
            rows.append(np.eye(taps * each)[kept] if mine else None)
        sizes = {len(r) for r in rows if r is not None}
        if len(sizes) > 1:
            raise ValueError(
                "channels must hold as many of every group that they name, or the tests of the "
                "outputs would be of different sizes; test the groups one by one"
            )
    else:
        given, own = _finite(contrast, "contrast"), shape[:-1]
        if given.shape != own and (given.shape[1:] != own or not given.size):
            raise ValueError(
                f"contrast has shape {given.shape}, expected that of the kernel of an output "
                f"{own}, or (q, {', '.join(map(str, own))})"
            )
        listed = given.reshape(-1, taps * each)
        if not listed.any(1).all():
            raise ValueError(f"row {int(np.argmin(listed.any(1)))} of the contrast is zero")
        rows = [listed] * groups
    size = next(len(r) for r in rows if r is not None)
    against = _finite(value, "value")
    if against.shape not in ((), (size,)):
        raise ValueError(f"value has shape {against.shape}, expected a number or {size} of them")
    return rows, np.broadcast_to(against, (size,))


def _finite(value: Any, name: str) -> np.ndarray:
    try:
        found = np.asarray(value)
    except ValueError:
        found = np.array(None)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {shown(value)}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite, got {shown(value)}")
    return found.astype(float)


class Uncertainty:
    """Standard errors, bands and tests of an estimate, from the factors that solved it.

    With R of [A; √λ·L⁻¹] in the coordinates of the penalty, w = T z, the covariance for white noise
    is s²·T (RᵀR)⁻¹ Tᵀ. With a penalty, it is the covariance of the posterior. For dependent noise,
    `sandwich` defines it.
    """

    def __init__(
        self,
        analysis: Analysis,
        pairs: Sequence[Pair],
        kernel: np.ndarray,
        freedom: np.ndarray,
        kind: str,
        norms: np.ndarray | None = None,
    ) -> None:
        """Store the estimate that the errors belong to.

        Args:
            analysis: Design matrix and outputs.
            pairs: Penalty and strength of every output.
            kernel: The estimate, in the user's units.
            freedom: Degrees of freedom of the kernel (outputs,), NaN to take them from its factor.
            kind: Kind of the `Noise`.
            norms: Norms (outputs,) of the residuals in the unit of y, if the loss is not squares.
        """
        assert analysis.targets is not None
        self._analysis, self._targets = analysis, analysis.targets
        self._pairs, self._kernel, self._freedom, self._kind = pairs, kernel, freedom, kind
        self._norms = norms
        self._references: dict[int, ReferenceNoise] = {}
        self._halves: dict[tuple[int, System], np.ndarray] = {}

    @property
    def _groups(self) -> int:
        return self._analysis.design.spec.groups

    def _alike(self) -> Iterator[tuple[int, np.ndarray, System]]:
        """Yield group, outputs and system of outputs that share a factor."""
        each = len(self._pairs) // self._groups
        for g in range(self._groups):
            mine = range(g * each, (g + 1) * each)
            for pair in dict.fromkeys(self._pairs[o] for o in mine):
                chosen = np.array([o for o in mine if self._pairs[o] == pair])
                yield g, chosen, self._analysis.system(*pair)

    @property
    def penalized(self) -> bool:
        """Whether any output has a penalty."""
        return any(strength > 0 for _, strength in self._pairs)

    @cached_property
    def _residual_norms(self) -> np.ndarray:
        """‖y − Aw − bias‖ (outputs,) from the data, times 2**-`exponents`; 0 if it is rounding."""
        plain = Regression(self._analysis.plain, self._targets)
        w = plain.from_user(self._kernel)
        found, _ = plain.residual(w)
        size = plain.y_norms + plain.scaling.a_norm[:, None] * np.linalg.norm(w, axis=1)
        real = (found > ROUNDING * size).reshape(-1)
        if self._norms is None:
            return np.where(real, found.reshape(-1), 0.0)
        return np.where(real, np.ldexp(self._norms, -self.exponents), 0.0)

    @cached_property
    def _operator_kernel(self) -> np.ndarray:
        """The kernel (G, P, Q) in units of the operator's columns and of y."""
        plain = Regression(self._analysis.plain, self._targets)
        return plain.scaling.to_operator(plain.from_user(self._kernel))

    @property
    def exponents(self) -> np.ndarray:
        """Powers of two (outputs,) that bring y into [1/2, 1)."""
        return self._targets.exponents

    @cached_property
    def _left(self) -> np.ndarray:
        """Rows less the degrees of freedom of kernel and nuisance columns, (outputs,)."""
        sizes, found = self._analysis.design.sizes, np.empty(len(self._pairs))
        for g, outputs, system in self._alike():
            factor = self._factor(system, g)
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

    @cached_property
    def dof(self) -> np.ndarray:
        """Degrees of freedom (outputs,) of t and F; of the residuals for white noise."""
        if self._kind == "white":
            return self._left
        rows = self._analysis.design.sizes.rows
        dof = self._clusters.dof if self._kind == "cluster" else 1.5 * rows / bandwidth(rows)
        return np.full(len(self._pairs), float(dof))

    @cached_property
    def _clusters(self) -> Clusters:
        """Correction for the number of records that have rows, and for their lengths."""
        kept, weights = self._analysis.design.adjustments[:2]
        sizes = np.array([kept.sizes[i] for i in kept.used], float)
        if weights is not None:
            squares = (np.square(weights.of_rows(i, kept.flags_of(i))) for i in kept.used)
            # In units of their largest mean, so that no sum leaves float64.
            means = np.array([s.mean() for s in squares])
            sizes = sizes * (means / means.max())
        return Clusters.of(sizes)

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of the noise (outputs,), times 2**-`exponents`; 0 if rounding."""
        return np.asarray(self._residual_norms / np.sqrt(self._left))

    @cached_property
    def noise(self) -> Noise:
        """Noise whose variance is the sum of squared residuals over their degrees of freedom."""
        with np.errstate(over="ignore", under="ignore"):
            variance = np.ldexp(self.deviation**2, 2 * self.exponents)
        return Noise(self._kind, variance, *self._model)

    @property
    def _model(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Order and coefficients of an autoregression."""
        return None, None

    @cached_property
    def standard_error(self) -> np.ndarray:
        """Standard errors, kernel-shaped, in the kernel's unit; inf for a tap not determined."""
        found = np.empty((self._groups, *self._sizes))
        for g, outputs, system in self._alike():
            power = self.exponents[outputs] - self._column_exponents(g)[:, None]
            errors = self._errors(system, g, outputs)
            with np.errstate(over="ignore", under="ignore"):
                found[g, :, outputs - g * found.shape[2]] = np.ldexp(errors, power).T
        return np.asarray(to_kernel(found, self._analysis.design.spec.kernel_size))

    def _errors(self, system: System, group: int, outputs: np.ndarray) -> np.ndarray:
        """Standard errors (P, k) of some outputs, in units of the operator's columns and of y."""
        if self._kind != "white":
            squares = self._dependent_squares(system, group, outputs)
            return np.asarray(np.sqrt(self._correction(outputs) * squares))
        gains = self._gains(system, group)
        with np.errstate(invalid="ignore"):
            errors = gains[:, None] * self.deviation[outputs]
        # In an exact fit too, a tap that x does not determine has an infinite error.
        return np.where(np.isinf(gains)[:, None], np.inf, errors)

    def covariance(self, output: int) -> np.ndarray:
        """Covariance (P, P) of the taps of one output in kernel order: taps, then channels."""
        g, half = self._root_of(output)
        power = self.exponents[output] - self._column_exponents(g)
        with np.errstate(over="ignore", under="ignore"):
            rows = np.ldexp(half, power[:, None])
            return np.asarray(rows @ rows.T)

    def max_t(self, level: float) -> np.ndarray:
        """Return the quantile (outputs,) of the largest |t| over all taps of an output."""
        found = np.empty(len(self._pairs))
        for _, outputs, _ in self._alike():
            shared = None
            for o in outputs:
                # With white noise, taps have the same correlation in all outputs.
                if shared is None or self._kind != "white":
                    shared = _largest(self._root_of(int(o))[1])
                dof = self.dof[o]
                spread = np.sqrt(np.random.default_rng(1).chisquare(dof, DRAWS) / dof)
                found[o] = np.quantile(shared / spread, level)
        return found

    def test(self, contrasts: Sequence[np.ndarray | None], value: np.ndarray) -> FTest:
        """Test that a contrast (q, P) of the taps of every group is ``value`` (q,).

        A group without the tested taps has None, and its outputs have NaN.
        """
        from scipy.special import fdtrc

        if self.penalized:
            raise ValueError(
                "a penalized estimate is biased, and has no F test; solve without a penalty"
            )
        _ = self._left  # raises an error if no degrees of freedom are left
        size = max(len(c) for c in contrasts if c is not None)
        dof = self._test_dof(size, contrasts)
        statistic, share = np.full((2, len(self._pairs)), np.nan)
        for g, contrast in enumerate(contrasts):
            if contrast is None:
                continue
            outputs = [*range(g * self._sizes[1], (g + 1) * self._sizes[1])]
            if self._is_short_sum(contrast):
                statistic[outputs], dof[outputs] = self._sum_statistics(g, contrast, value)
            else:
                walds = [self._wald(o, contrast, value, self._root_of(o)[1]) for o in outputs]
                scale = dof[outputs] / self.dof[outputs] / self._bartlett_factor(g, contrast)
                if self._kind == "cluster":
                    scale = scale / self._clusters.inflation
                statistic[outputs] = walds * scale
            if self._norms is None:
                share[outputs] = [
                    self._partial_r2(o, contrast, value, statistic[o]) for o in outputs
                ]
        return FTest(statistic, (size, dof), fdtrc(size, dof, statistic), share)

    def approximation(self, contrasts: Sequence[np.ndarray | None]) -> str:
        """Return why the `test` of these contrasts is approximate, or an empty string."""
        size = max(len(c) for c in contrasts if c is not None)
        rows = self._analysis.design.sizes.rows
        if self._kind == "cluster" and self._clusters.unequal:
            return (
                "the records differ in their number of rows or in weight, so tests of sums of taps "
                "under noise='cluster' are approximate: in simulations, intervals for a coverage "
                "of 95 % contained the true sum in 88 to 93 %; cut the long records, or use "
                "noise='ar'"
            )
        if self._kind != "hac" or size == 1 or rows >= FEW_ROWS:
            return ""
        return (
            f"the test of {size} sums of taps at once under noise='hac' is approximate: with fewer "
            f"than {FEW_ROWS} rows, here {rows}, simulated tests at a level of 5 % reject in 0 to "
            "12 %; test one sum, or use noise='ar'"
        )

    def _test_dof(self, size: int, contrasts: Sequence[np.ndarray | None]) -> np.ndarray:
        """Denominator degrees of freedom (outputs,) of a test of so many sums of taps.

        One sum of taps in short records has degrees of freedom of its own, and NaN here.
        """
        if any(c is not None and self._is_short_sum(c) for c in contrasts):
            return np.full(len(self._pairs), np.nan)
        if self._kind not in ("hac", "cluster"):
            return self.dof
        # The covariance itself is estimated from residuals, not its scale alone: Hotelling's T².
        dof = self.dof - size + 1
        if (dof <= 0).any():
            raise ValueError(
                f"under noise={self._kind!r} the covariance has {self.dof.min():.3g} degrees of "
                f"freedom, too few for a test of {count(size, 'sum')} of taps at once; test fewer, "
                "or use noise='ar'"
            )
        return dof

    def _partial_r2(
        self, output: int, contrast: np.ndarray, value: np.ndarray, statistic: float
    ) -> float:
        """Share of the residual sum of squares under the hypothesis that the estimate explains."""
        size, left = len(contrast), self._left[output]
        if self._kind in ("hac", "cluster"):
            g = output // self._sizes[1]
            system = self._analysis.system(*self._pairs[output])
            white = self._half(system, g) * self.deviation[output]
            statistic = self._wald(output, contrast, value, white)
        with np.errstate(divide="ignore"):
            return float(1 / (1 + left / (size * np.float64(statistic))))

    def _difference(
        self, output: int, contrast: np.ndarray, value: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Sums of taps less ``value`` (q,), the contrast (q, P), and whether a difference is real.

        Rows of the contrast are scaled so that taps and their errors stay within float64, and are
        in columns of the operator. A difference is real if it is more than rounding.
        """
        g = output // self._sizes[1]
        column = to_columns(self._kernel, self._groups)[g][:, output - g * self._sizes[1]]
        power = np.frexp(contrast)[1] - self._column_exponents(g)
        row = np.where(contrast != 0, power, power.min()).max(axis=1)
        with np.errstate(over="ignore", under="ignore"):
            difference = contrast @ column - value
            size = np.abs(contrast) @ (np.abs(column) + self._tap_rounding(g, output))
            real = np.abs(difference) > ROUNDING * (size + np.abs(value))
            off = np.ldexp(difference, -self.exponents[output] - row)
            rows = np.ldexp(contrast, -self._column_exponents(g) - row[:, None])
        return off, rows, bool(real.any())

    def _wald(
        self, output: int, contrast: np.ndarray, value: np.ndarray, half: np.ndarray
    ) -> float:
        """Wald's statistic over the rows of the contrast, for a covariance H Hᵀ, H (P, k)."""
        off, scaled, real = self._difference(output, contrast, value)
        with np.errstate(under="ignore"):
            rows = scaled @ half
        errors = np.linalg.norm(rows, axis=1)
        if not errors.all() or not np.isfinite(off).all():
            return np.inf if real else np.nan
        _, r = np.linalg.qr((rows / errors[:, None]).T)
        if len(r) < len(contrast) or np.abs(np.diagonal(r)).min() <= DEPENDENT:
            raise ValueError("the rows of the contrast are not independent in these data")
        with np.errstate(over="ignore"):
            t = np.linalg.solve(r.T, off / errors)
            return float(np.square(t).sum()) / len(contrast)

    # --- small samples under dependent noise

    @property
    def _short(self) -> bool:
        return self._kind == "hac" and self._analysis.design.sizes.rows < SHORT_ROWS

    def _is_short_sum(self, contrast: np.ndarray) -> bool:
        """Whether a contrast (q, P) is one sum of several taps in short records."""
        return self._short and len(contrast) == 1 and bool(np.count_nonzero(contrast) > 1)

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

    def _bartlett_factor(self, group: int, contrast: np.ndarray) -> np.ndarray | float:
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
            projector = Projector(operator, group, half, self._nuisance_columns)
            made = ReferenceNoise(projector, times, np.concatenate(parts))
            self._references[group] = made
        return self._references[group]

    @cached_property
    def _in_time(self) -> tuple[DesignMatrix, Targets, Times]:
        """The design matrix in the order of time, y in its rows, and the places of its rows."""
        analysis, kept = self._analysis.in_time, self._analysis.design.adjustments.kept
        assert analysis.targets is not None
        matrix = analysis.design.matrix
        flags = [kept.flags_of(i)[start:stop] for i, start, stop in matrix.chunks.order.joined]
        return matrix, analysis.targets, Times(flags)

    @property
    def _nuisance_columns(self) -> np.ndarray:
        """Orthonormal nuisance columns (n, q), with rows in the order of `_in_time`."""
        design, confounds = self._analysis.design, self._analysis.design.nuisance.confounds
        rows = design.sizes.rows
        if confounds is None:
            return np.full((rows, design.nuisance.count), 1 / math.sqrt(rows))
        found, first = np.zeros((rows, confounds.count)), 0
        for span in self._in_time[0].chunks.order.joined:
            places, columns = confounds.part(span)
            found[first : first + len(columns), places] = columns
            first += len(columns)
        return found

    def _tap_rounding(self, group: int, output: int) -> np.ndarray:
        """Change of the taps (P,) of an output by a relative error of y, in the user's units."""
        system = self._analysis.system(*self._pairs[output])
        plain = Regression(self._analysis.plain, self._targets)
        of_y = plain.y_norms[group, output - group * self._sizes[1]]
        power = self.exponents[output] - self._column_exponents(group)
        return np.ldexp(np.linalg.norm(self._half(system, group), axis=1) * of_y, power)

    # --- dependent noise

    def _dependent_squares(self, system: System, group: int, outputs: np.ndarray) -> np.ndarray:
        """Diagonal (P, outputs) of the sums over dependent rows, without their correction."""
        if self._kind == "cluster":
            sums = self._record_sums(system, group, outputs)
            return np.asarray(sum(np.square(s) for s in sums))
        influences = self._influences(system, group, outputs)
        return moving_squares(*self._timed(influences), self._window)

    def _dependent_products(self, system: System, group: int, output: int) -> np.ndarray:
        """Sums (P, P) over dependent rows for one output, without their correction."""
        if self._kind == "cluster":
            sums = self._record_sums(system, group, np.array([output]))
            return np.asarray(sum(s @ s.T for s in sums))
        influences = self._influences(system, group, np.array([output]))
        return moving_products(*self._timed(influences), self._window)

    def _record_sums(self, system: System, group: int, outputs: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the sums (P, outputs) of the influences of the rows of every record."""
        half, local = self._half(system, group), outputs - group * self._sizes[1]
        w, matrix = self._operator_kernel[group][:, local], self._analysis.design.matrix
        for gradient in matrix.by_record(group, w, self._targets, local):
            yield half @ (half.T @ gradient)

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

    def _timed(
        self, influences: Iterable[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[Iterable[tuple[np.ndarray, np.ndarray]], list[int]]:
        """Return influences with zeros for excluded rows, and the lengths of the records."""
        flags = self._in_time[2].flags
        if all(f.all() for f in flags):
            return influences, [*map(len, flags)]
        return with_gaps(influences, flags), [*map(len, flags)]

    def _correction(self, outputs: np.ndarray) -> np.ndarray:
        """Return factors of the covariance, for degrees of freedom and for means over rows."""
        rows, left = self._analysis.design.sizes.rows, self._left[outputs]
        if self._kind == "cluster":
            records = len(self._analysis.design.adjustments.kept.used)
            return np.asarray(records / (records - 1) * (rows - 1) / left)
        return np.asarray(rows / left * self._window)

    def _root_of(self, output: int) -> tuple[int, np.ndarray]:
        """Return the group of an output, and H (P, k) with H Hᵀ the covariance of its taps.

        H has units of the operator's columns and of y.
        """
        g = output // self._sizes[1]
        system = self._analysis.system(*self._pairs[output])
        if self._kind == "white":
            return g, self._half(system, g) * self.deviation[output]
        correction = self._correction(np.array([output]))
        values, vectors = np.linalg.eigh(self._dependent_products(system, g, output) * correction)
        return g, vectors * np.sqrt(np.maximum(values, 0.0))

    # --- the factor of a group

    @property
    def _sizes(self) -> tuple[int, int]:
        """P and Q."""
        sizes = self._analysis.design.sizes
        return sizes.columns, len(self._pairs) // self._groups

    def _column_exponents(self, group: int) -> np.ndarray:
        return np.asarray(self._analysis.design.matrix.exponents[group])

    @staticmethod
    def _factor(system: System, group: int) -> Factor:
        factor = system.factor(group)
        if factor is None:
            raise ValueError(
                "standard errors take a factor of the design matrix, which exceeds the memory "
                "limit; use fewer taps or channels"
            )
        return factor

    def _gains(self, system: System, group: int) -> np.ndarray:
        """√diag of the covariance (P,) per unit of noise, in columns of the operator."""
        if system.basis is None:
            factor = self._factor(system, group)
            return np.ldexp(factor.noise_gain, -system.scaling.relative[group])
        return np.asarray(np.linalg.norm(self._half(system, group), axis=1))

    def _half(self, system: System, group: int) -> np.ndarray:
        """H (P, k) with H Hᵀ the covariance per unit of noise, in columns of the operator."""
        key = group, system
        if key not in self._halves:
            self._halves[key] = self._new_half(system, group)
        return self._halves[key]

    def _new_half(self, system: System, group: int) -> np.ndarray:
        factor, basis = self._factor(system, group), system.basis
        if not factor.full_rank:
            raise ValueError(
                "the data do not determine every tap, so the covariance is infinite; see identify "
                "for the taps that they determine"
            )
        unit = np.eye(system.operator.columns)
        rows = unit if basis is None else basis.expand(unit[None])[0]
        with one_blas_thread():
            return factor.whiten(np.ldexp(rows, -system.scaling.relative[group]))


def _largest(half: np.ndarray) -> np.ndarray:
    """Draws of the largest |t| over all taps whose covariance is H Hᵀ, for H (P, k)."""
    norms = np.linalg.norm(half, axis=1, keepdims=True)
    half = half / np.where(norms > 0, norms, 1.0)
    rng, found = np.random.default_rng(0), []
    several = range(DRAWS // DRAWS_AT_ONCE)
    for _ in tracked(several, "draws of the largest deviation", len(several)):
        draws = half @ rng.standard_normal((half.shape[1], DRAWS_AT_ONCE))
        found.append(np.abs(draws).max(0))
    return np.concatenate(found)
