"""Reasons to doubt a fit: residuals are not white, a window cuts the kernel, or it is noise.

Residuals are tested for a correlation in time, which errors for white noise exclude. Weights at an
end of the window have an F test, and are compared with all weights. The power of the whole kernel
is compared with the power of noise, which is tr C for the covariance C of the weights.

Source: G. M. Ljung and G. E. P. Box, Biometrika 65 (1978) 297; M. F. Hutchinson, Communications in
Statistics 19 (1990) 433 (traces).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..facts import Fact, Reported, by_output, of_fields
from ..leastsquares.analysis import Analysis
from ..leastsquares.design import nearly_toeplitz
from ..leastsquares.normal_operator import Normal
from ..leastsquares.penalty import RIDGE
from ..leastsquares.system import System
from ..linalg.conjugate_gradient import Map
from ..linalg.threads import one_blas_thread
from ..operators.filtered import lag_sums
from ..problem.names import Axis
from ..problem.problem import Problem

# Residuals are called correlated if this happens in at most this share of data sets of white noise.
LEVEL = 1e-3
# x is called correlated if an autocorrelation of a channel exceeds this, and so many standard
# deviations of white noise.
COLOURED, DEVIATIONS = 0.1, 5.0
# Robust residuals are limited to so many medians of their size, 1.345 standard deviations.
LIMIT = 2.0
# Largest number of lags, also as a share of the rows, and largest number of outputs.
MOST_LAGS, LAGS_SHARE, MOST_OUTPUTS = 40, 0.2, 32
# Share of y in the residual that can be rounding of the sums, and least eigenvalue of a covariance
# relative to the largest that is not rounding.
EXACT, ROUNDING = 1e-10, 1e-12
# Unknowns up to which a factor takes little time. For more unknowns, the covariance of a
# preconditioner may be off by this factor, and of more channels than this it takes longer than the
# solution. Random vectors for the traces, in both cases.
MANY, FAR, CHANNELS, PROBES = 800, 4.0, 8, (64, 16)
# Samples and records that are searched for changes of x.
PLACES, RECORDS = 100_000, 100
# The cure of a kernel that explains an offset.
OFFSET = ", or drift=1 if y has an offset or drifts"
# Fewest taps of a kernel, the share of its taps at an end, and most lags there.
TAPS, SHARE, MOST = 20, 0.05, 50
# Level of the test of an end, and the least power of its weights relative to the mean of all.
END_LEVEL, POWER = 1e-4, 0.02


@dataclass(frozen=True, repr=False, eq=False)
class Whiteness(Reported):
    """Test that residuals are white, each array (outputs,).

    Attributes:
        statistic: Ljung and Box's Q, for residuals whose variance is estimated by degrees of
            freedom: it is not larger than for white residuals, since the kernel fits some noise.
        lags: numbers of lags.
        dof: degrees of freedom: lags less the order of an autoregression.
        pvalue: probability of a statistic at least as large for white noise.
        outputs: names or numbers.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 500))
        >>> test = cs.solve(cs.Problem(x, x + noise, lags=(0, 9))).whiteness(20)
        >>> test.lags, bool(test.pvalue[0] > 0.05)
        (array([20]), True)

    See Also:
        `Solution.whiteness`, which returns it.
    """

    statistic: np.ndarray
    lags: np.ndarray
    dof: np.ndarray
    pvalue: np.ndarray
    outputs: tuple[Any, ...] = ()

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield a row for every output, and all fields."""
        columns = {
            "lags": [f"1 to {n}" for n in self.lags],
            "Q": [f"{q:.4g}" for q in self.statistic],
            "d.o.f.": [f"{dof}" for dof in self.dof],
            "p-value": [f"{p:.2g}" for p in self.pvalue],
        }
        table = by_output(self.outputs or range(len(self.dof)), columns)
        yield Fact("", "Ljung-Box test of residuals", table)
        yield from of_fields(self)


def whiteness(
    residuals: Sequence[np.ndarray], variance: np.ndarray, lags: int, order: Any = 0
) -> Whiteness:
    """Return the test of residuals (T, outputs) as white noise of some ``variance``.

    The statistic is the sum over lags of squared autocorrelations, each divided by its variance.
    For white noise it is χ² with as many degrees of freedom as lags, less the ``order`` of an
    autoregression. Residuals of least squares are not quite white, since the kernel fits some of
    the noise. Divided by the variance by degrees of freedom, which is larger than their own, the
    sum is not larger, and p is not too small. It is 1 if there is no variance.

    The covariance of the residuals is σ²(I − H), where H maps y to the prediction. This holds for
    least squares, and with a penalty on average over kernels of its prior.
    """
    from scipy.special import chdtrc

    pairs = lag_sums([np.ones((len(e), 1)) for e in residuals], lags)[1:]
    sums = lag_sums(residuals, lags)[1:] / np.where(variance > 0, variance, np.inf)
    statistic = (sums**2 / np.maximum(pairs, 1)).sum(0)
    several = np.full(len(statistic), lags)
    dof = several - order
    return Whiteness(statistic, several, dof, np.asarray(chdtrc(dof, statistic)))


@np.errstate(over="ignore", invalid="ignore")
def coloured(records: Sequence[np.ndarray], lags: int) -> bool:
    """Return whether a channel of x (W, C) is correlated over lags 1 to ``lags``."""
    samples = sum(map(len, records))
    most = max(COLOURED, DEVIATIONS / np.sqrt(samples))
    for c in range(records[0].shape[1]):
        channel = [np.asarray(a[..., [c]], float) for a in records]
        mean = sum(float(a.sum()) for a in channel) / samples
        found = np.abs(lag_sums([a - mean for a in channel], lags))
        if (found[1:] > most * found[0]).any():
            return True
    return False


def usual_lags(problem: Problem) -> int:
    """Return the number of lags of a test: as many as taps, but no more than the rows allow."""
    return min(problem.spec.kernel_size[0], MOST_LAGS, int(LAGS_SHARE * problem.n_equations))


def warning(
    problem: Problem, residuals: Sequence[np.ndarray], variance: np.ndarray | None, penalized: bool
) -> str:
    """Return why errors for white noise are wrong, or an empty string.

    Args:
        problem: the problem.
        residuals: (T, outputs) of every record.
        variance: (outputs,), variance of the noise. None for a robust estimate, whose errors do not
            depend on how large an outlier is. Residuals are then limited, as by `HuberLoss`.
        penalized: whether the estimate has a penalty.
    """
    lags = usual_lags(problem)
    some = [e[:, :MOST_OUTPUTS] for e in residuals]
    if variance is None:
        limit = LIMIT * np.median(np.abs(np.concatenate(some)), axis=0)
        some = [np.clip(e, -limit, limit) for e in some]
        p = whiteness(some, np.square(np.concatenate(some)).mean(0), lags).pvalue
    else:
        p = whiteness(some, variance[:MOST_OUTPUTS], lags).pvalue
    # The least of several p, which is that of one output as many times as there are.
    worst = int(np.argmin(p))
    if p[worst] * len(p) > LEVEL or not coloured(problem.x, lags):
        return ""
    # No filter makes noise white whose variance changes from row to row.
    ways = ["noise='ar'"] * all(root.ndim == 0 for root in problem._weights or ())
    ways += ["noise='hac'" + " and no penalty" * penalized]
    ways += ["a weaker penalty, which leaves less of the response in the residuals"] * penalized
    ways += ["drift=1 if y has an offset or a drift"] * (not problem._terms.given)
    return (
        f"the residuals of {problem._names.output(worst)} are correlated in time, and so is x "
        f"(Ljung-Box over lags 1 to {lags}, p at most {max(p[worst], 1e-99):.1g}): errors for "
        "white noise may be several times too large for a tap, and too small for a sum; use "
        + "least squares with " * (variance is None)
        + ", or ".join(ways)
    )


# --- the kernel


def doubts(analysis: Analysis, axis: Axis, kernel: np.ndarray, system: System) -> tuple[str, str]:
    """Return why rows or window may cut a kernel (K, C, Cout), and why it may be noise, or "".

    Args:
        analysis: the analysis of the rows that were solved.
        axis: the lags of the kernel.
        kernel: the estimate.
        system: the system of the weakest penalty of an output, which has the largest errors.
    """
    design, sizes, found = analysis.design, analysis.design.sizes, [("", "")]
    if lost := _lost(design.problem):
        return lost, ""
    if len(kernel) < TAPS or sizes.wide or design.space:
        return found[0]
    plain = analysis.regression(RIDGE, 0.0)
    w, dof = plain.from_kernel(kernel), sizes.rows - sizes.unknowns
    power, ends = np.square(w), _ends(axis, w.shape[1])
    loud = any((power[:, end].mean(1) > POWER * power.mean(1)).any() for *_, end in ends)
    if (system.strength and not loud) or (kernel.shape[1] > CHANNELS and not _few(system)):
        return found[0]
    # The Gram matrix of many columns may not exist.
    squares = plain.by_moments(w)[0] if _few(system) else np.square(plain.residual(w)[0])
    # A kernel that is almost exact raises no doubt.
    squares = np.where(squares > EXACT * plain.y_norms**2, squares, np.inf)
    for g, z in enumerate(w * np.sqrt(dof / squares)[:, None]):
        if z.any() and (covariance := _covariance(system, g, plain.scaling.factor[g])):
            probes = PROBES[len(z) > MANY]
            signs = np.random.default_rng(0).choice([-1.0, 1.0], (len(z), probes))
            drawn = covariance(signs)
            total, spread = (signs * drawn).sum() / probes, np.square(drawn).sum() / probes
            noisy = "" if system.strength else _noisy(z, total, spread)
            found.append((_cut(covariance, z, axis, total, dof), noisy))
    cut, noisy = map(max, zip(*found, strict=True))
    return cut and cut + OFFSET * (not design.problem._terms.given), noisy


def _lost(problem: Problem) -> str:
    """Return that x changes mostly before the rows that edges="drop" leaves, or an empty string."""
    x = [a[:PLACES] for a in problem.x[:RECORDS] if isinstance(a, np.ndarray)]
    if problem._geometry.edges != "drop" or not x or any(np.ptp(a[:2], 0).any() for a in x):
        return ""
    changes = np.concatenate([np.flatnonzero(np.diff(a, axis=0).any(1)) for a in x])
    if 2 * (changes < problem._geometry.shift[0]).sum() < len(changes):
        return ""
    return (
        "x is constant at first and hardly changes later, so that the excluded rows at the edge "
        "have most of the response; use edges='zeros' if x was zero before"
    )


def _few(system: System) -> bool:
    """Return whether a factor takes little time, or exists."""
    return system.factored or system.design.sizes.columns <= MANY


def _covariance(system: System, group: int, unit: np.ndarray) -> Map | None:
    """Return the product with the covariance of taps, over a unit (P,), for noise of variance one.

    None if this would take longer than the solution.
    """
    design, factors = system.design, system.scaling.factor[group]
    if _few(system):
        factor = system.factor(group)
        if factor is None or not factor.full_rank:
            return None
        if system.columns.t.identity:
            scale = (factors / unit)[:, None]
            return lambda v: scale * factor.solve_normal(scale * v)
        rows = system.tap_rows(group) / unit[:, None]
        return lambda v: rows @ factor.solve_normal(rows.T @ v)
    if not nearly_toeplitz(design.sizes, design.spec, MANY):
        return None
    normal = Normal(system, group)
    scale = normal.stretch * (factors / unit)[:, None]
    return (lambda v: scale * normal.inverse(scale * v)) if normal.definite else None


def _noisy(z: np.ndarray, total: float, spread: float) -> str:
    """Return that most kernels of outputs z (P, Q) are noise of covariance C, or "".

    ``total`` is tr C, the expected power, and ``spread`` tr C², half the variance of the power.
    """
    power = float(np.median(np.square(z).sum(0)))
    if power >= total + max(total, 2 * math.sqrt(2 * spread)):
        return ""
    return (
        f"standard errors explain {100 * min(total / power, 1.0):.0f} % of the squared weights: "
        "the data do not determine this kernel well; use penalty='ridge' (tests remain valid)"
    )


def _ends(axis: Axis, columns: int) -> list[tuple[str, str, int, slice]]:
    """Return name, argument, lag and columns of the ends of a window, of so many columns."""
    few, (first, last) = math.ceil(SHARE * len(axis.lags)), axis.lags[[0, -1]].tolist()
    some = min(max(few, 2), MOST) * columns // len(axis.lags)
    # Taps are in descending lags. A window up to lag 0 is of a decoder, and has no end.
    ends = [("last", "tmax", last, slice(0, some))] * (last > 0)
    return ends + [("first", "tmin", first, slice(columns - some, columns))] * (last > 0 > first)


def _cut(covariance: Map, z: np.ndarray, axis: Axis, total: float, dof: int) -> str:
    """Return that an end of kernels z (P, Q) has more power than noise and a decay leave, or ""."""
    from scipy.special import fdtrc

    for which, name, lag, end in _ends(axis, len(z)):
        some = end.stop - end.start
        with one_blas_thread():
            values, v = np.linalg.eigh(covariance(np.eye(len(z), some, -end.start))[end])
        f = np.square(v.T @ z[end]).T @ (1 / np.maximum(values, ROUNDING * values[-1])) / some
        power = np.square(z).sum(0) - total, np.square(z[end]).sum(0) - values.sum()
        sure = (fdtrc(some, dof, f) < END_LEVEL / len(f)) & (f > FAR * (len(z) > MANY))
        if (sure & (power[1] / some > POWER * power[0] / len(z))).any():
            use = f"{name}= beyond {lag / axis.fs:.4g}" if axis.fs else f"lags= beyond {lag}"
            return (
                f"the weights do not decay at the {which} lags: the response is longer than the "
                f"window, and all weights may be wrong; use {use}"
            )
    return ""
