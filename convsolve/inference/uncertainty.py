"""How far a least-squares estimate may be off: standard errors, bands and tests for white noise."""

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
from ..linalg.threads import one_blas_thread
from ..operators.layout import to_columns, to_kernel
from ..problem.checks import index
from ..problem.records import numeric
from ..text import count

# Draws of the largest of all |t|, for simultaneous bands, and how many are made at a time.
DRAWS, DRAWS_AT_ONCE = 4000, 500
# A residual of less than this share of y, and of what its fit is made of, is rounding.
ROUNDING = 100 * EPS
# Singular values of a contrast below this share of the largest are rounding.
DEPENDENT = 1e-10

# A penalty and its strength.
Pair = tuple[Penalty, float]


class Noise(NamedTuple):
    """What is left of y, as a model of its noise.

    Attributes:
        kind: "white": independent, of one variance.
        variance: (outputs,), in the square of y's unit.
    """

    kind: str
    variance: np.ndarray


class FTest(NamedTuple):
    """An F test of every output, each array (outputs,).

    Attributes:
        statistic: F, NaN where an output does not have what was tested.
        dof: degrees of freedom, those of the hypothesis and those of the residuals.
        p: the probability of an F as large if the hypothesis holds.
        partial_r2: the share of what y would leave under the hypothesis that the estimate explains.
    """

    statistic: np.ndarray
    dof: tuple[int, np.ndarray]
    p: np.ndarray
    partial_r2: np.ndarray


def t_quantile(dof: np.ndarray, level: float) -> np.ndarray:
    """The quantile of Student's t."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(dof, level))


def long_run_error(values: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Standard error (Q,) of the sum of ``values`` (n, Q), rows of records of some ``lengths`` one
    after the other, which depend on each other over some 1.3·√n of them.

    Bartlett's weights, as sums of squares of moving sums within every record, and so not negative.

    Source: W. K. Newey and K. D. West, Econometrica 55 (1987) 703.
    """
    window, total = 1 + int(1.3 * math.sqrt(len(values))), np.zeros(values.shape[1])
    for part in np.split(values, np.cumsum(lengths)[:-1]):
        sums = np.cumsum(np.pad(part, ((1, window), (0, 0))), axis=0)
        ends = np.arange(1, len(sums))
        moving = sums[ends] - sums[np.maximum(ends - window, 0)]
        total += (moving**2).sum(0) / window
    return np.sqrt(total)


def hypothesis(
    shape: tuple[int, ...], groups: int, channels: Any, contrast: Any, value: Any
) -> tuple[list[np.ndarray | None], np.ndarray]:
    """Rows (q, P) of the taps of every group, or None, and what they are tested against (q,).

    Raises:
        TypeError, ValueError: both channels and a contrast, or neither; no such channel; a contrast
            of another shape than the kernel of an output; values that do not fit.
    """
    if (channels is None) == (contrast is None):
        raise TypeError("test needs channels= or contrast=, one of them")
    taps, each = math.prod(shape[:-2]), shape[-2]
    if contrast is None:
        listed = channels if isinstance(channels, (list, tuple, np.ndarray, range)) else [channels]
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
        given = numeric(contrast, "contrast").astype(float)
        own = shape[:-1]
        if given.shape not in (own, (len(given), *own)):
            raise ValueError(
                f"contrast has shape {given.shape}, expected that of the kernel of an output "
                f"{own}, or (q, {', '.join(map(str, own))})"
            )
        rows = [given.reshape(-1, taps * each)] * groups
    size = next(len(r) for r in rows if r is not None)
    against = numeric(value, "value").astype(float)
    if against.shape not in ((), (size,)):
        raise ValueError(f"value has shape {against.shape}, expected a number or {size} of them")
    return rows, np.broadcast_to(against, (size,))


class Uncertainty:
    """Errors of an answer under white noise, from the factors that solved it.

    With R of [A; √λ·L⁻¹] in the coordinates of the penalty, w = T z, the covariance is
    s²·T (RᵀR)⁻¹ Tᵀ: without a penalty that of the estimate, with one that of the posterior.
    """

    def __init__(
        self, analysis: Analysis, pairs: Sequence[Pair], kernel: np.ndarray, freedom: np.ndarray
    ) -> None:
        """``pairs`` has the penalty and strength of every output; ``freedom`` (outputs,) is NaN
        where the degrees of freedom of the kernel are those that its factor says.
        """
        assert analysis.targets is not None
        self._analysis, self._targets = analysis, analysis.targets
        self._pairs, self._kernel, self._freedom = pairs, kernel, freedom

    @property
    def _groups(self) -> int:
        return self._analysis.design.spec.groups

    def _alike(self) -> Iterator[tuple[int, np.ndarray, System]]:
        """(group, outputs, system) of those that share a factor."""
        each = len(self._pairs) // self._groups
        for g in range(self._groups):
            mine = range(g * each, (g + 1) * each)
            for pair in dict.fromkeys(self._pairs[o] for o in mine):
                chosen = np.array([o for o in mine if self._pairs[o] == pair])
                yield g, chosen, self._analysis.system(*pair)

    @property
    def penalized(self) -> bool:
        """Whether any output is."""
        return any(strength > 0 for _, strength in self._pairs)

    @cached_property
    def _residual_norms(self) -> np.ndarray:
        """‖y − Aw − bias‖ (outputs,) from the data, times 2**-`_exponents`; 0 where rounding."""
        plain = Regression(self._analysis.plain, self._targets)
        w = plain.from_user(self._kernel)
        found, _ = plain.residual(w)
        size = plain.y_norms + plain.scaling.a_norm[:, None] * np.linalg.norm(w, axis=1)
        return np.where(found > ROUNDING * size, found, 0.0).reshape(-1)

    @property
    def _exponents(self) -> np.ndarray:
        return self._targets.exponents

    @cached_property
    def dof(self) -> np.ndarray:
        """Rows less what the kernel and the nuisance columns take up, (outputs,)."""
        sizes, found = self._analysis.design.sizes, np.empty(len(self._pairs))
        for g, outputs, system in self._alike():
            factor = self._factor(system, g)
            if system.strength:
                used = np.where(
                    np.isnan(self._freedom[outputs]),
                    system.resolution(g, factor).sum(),
                    self._freedom[outputs],
                )
            else:
                used = np.full(len(outputs), float(factor.rank))
            found[outputs] = sizes.rows - sizes.nuisance - used
        if (found <= 0).any():
            raise ValueError(
                f"{count(sizes.rows, 'row')} leave no degrees of freedom beside "
                f"{count(sizes.unknowns, 'unknown')}: nothing tells the noise from the answer; "
                "use more rows, fewer taps, or a penalty"
            )
        return found

    @cached_property
    def noise(self) -> Noise:
        """Of the residuals: their sum of squares over `dof`."""
        with np.errstate(over="ignore", under="ignore"):
            scaled = self._residual_norms / np.sqrt(self.dof)
            return Noise("white", np.ldexp(scaled**2, 2 * self._exponents))

    @cached_property
    def standard_error(self) -> np.ndarray:
        """Of every tap, kernel-shaped, in its unit; inf where the data do not determine it."""
        deviation = self._residual_norms / np.sqrt(self.dof)
        found = np.empty((self._groups, *self._sizes))
        for g, outputs, system in self._alike():
            gains = self._gains(system, g)
            power = self._exponents[outputs] - self._column_exponents(g)[:, None]
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                errors = np.ldexp(gains[:, None] * deviation[outputs], power)
            # Also of an exact fit: no noise at all does not determine what x leaves open.
            errors = np.where(np.isinf(gains)[:, None], np.inf, errors)
            found[g, :, outputs - g * found.shape[2]] = errors.T
        return np.asarray(to_kernel(found, self._analysis.design.spec.kernel_size))

    def covariance(self, output: int) -> np.ndarray:
        """(P, P) of the taps of one output, in kernel order: taps, then channels of its group."""
        g, half = self._half_of(output)
        deviation = self._residual_norms[output] / np.sqrt(self.dof[output])
        power = self._exponents[output] - self._column_exponents(g)
        with np.errstate(over="ignore", under="ignore"):
            rows = np.ldexp(half * deviation, power[:, None])
            return np.asarray(rows @ rows.T)

    def max_t(self, level: float) -> np.ndarray:
        """The quantile (outputs,) of the largest |t| over all taps of an output."""
        found = np.empty(len(self._pairs))
        for _, outputs, _ in self._alike():
            _, half = self._half_of(int(outputs[0]))
            norms = np.linalg.norm(half, axis=1, keepdims=True)
            half = half / np.where(norms > 0, norms, 1.0)
            rng = np.random.default_rng(0)
            largest = np.concatenate(
                [
                    np.abs(half @ rng.standard_normal((half.shape[1], DRAWS_AT_ONCE))).max(0)
                    for _ in range(DRAWS // DRAWS_AT_ONCE)
                ]
            )
            for o in outputs:
                dof = self.dof[o]
                spread = np.sqrt(np.random.default_rng(1).chisquare(dof, DRAWS) / dof)
                found[o] = np.quantile(largest / spread, level)
        return found

    def test(self, contrasts: Sequence[np.ndarray | None], value: np.ndarray) -> FTest:
        """That contrast (q, P) of the taps of every group is ``value`` (q,); None for a group that
        has nothing of it.
        """
        from scipy.special import fdtrc

        if self.penalized:
            raise ValueError(
                "a penalized estimate is biased, and has no F test; solve without a penalty"
            )
        statistic = np.full(len(self._pairs), np.nan)
        size = max(len(c) for c in contrasts if c is not None)
        for g, outputs, _ in self._alike():
            contrast = contrasts[g]
            if contrast is None:
                continue
            _, half = self._half_of(int(outputs[0]))
            columns = to_columns(self._kernel, self._groups)[g]
            exponents = self._column_exponents(g)
            # In units in which taps and their errors stay within float64.
            scaled = np.ldexp(contrast, -exponents)
            _, r = np.linalg.qr((scaled @ half).T)
            if (np.abs(np.diagonal(r)) <= DEPENDENT * np.abs(r).max()).any():
                raise ValueError(
                    "the rows of the contrast are not independent of each other in these data"
                )
            local = outputs - g * columns.shape[1]
            power = -self._exponents[outputs]
            with np.errstate(over="ignore", under="ignore"):
                off = np.ldexp(contrast @ columns[:, local] - value[:, None], power)
            t = np.linalg.solve(r.T, off)
            spread = self._residual_norms[outputs] ** 2 / self.dof[outputs]
            with np.errstate(divide="ignore", invalid="ignore"):
                statistic[outputs] = (t**2).sum(0) / size / spread
        share = size * statistic / (size * statistic + self.dof)
        return FTest(statistic, (size, self.dof), fdtrc(size, self.dof, statistic), share)

    # --- the factor of a group

    @property
    def _sizes(self) -> tuple[int, int]:
        """P and Q."""
        sizes = self._analysis.design.sizes
        return sizes.columns, len(self._pairs) // self._groups

    def _column_exponents(self, group: int) -> np.ndarray:
        return np.asarray(self._analysis.design.operator.exponents[group])

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
        factor, basis = self._factor(system, group), system.basis
        if not factor.full_rank:
            raise ValueError(
                "the data do not determine every tap, so that their covariance is infinite; "
                "standard_error shows which they determine"
            )
        unit = np.eye(system.operator.columns)
        rows = unit if basis is None else basis.expand(unit[None])[0]
        with one_blas_thread():
            return factor.whiten(np.ldexp(rows, -system.scaling.relative[group]))

    def _half_of(self, output: int) -> tuple[int, np.ndarray]:
        """The group of an output, and `_half` of its system."""
        g = output // self._sizes[1]
        return g, self._half(self._analysis.system(*self._pairs[output]), g)
