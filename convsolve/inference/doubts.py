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
from ..operators.filtered import lag_sums
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
# solution. Random vectors for the traces.
MANY, FAR, CHANNELS, PROBES = 800, 4.0, 8, 64
# Samples and records that are searched for changes of x, and squares of the first two changes
# relative to the largest if x is at rest.
PLACES, RECORDS, REST = 100_000, 100, 0.01
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
        found = {"lags": self.lags, "Q": self.statistic, "d.o.f.": self.dof, "p-value": self.pvalue}
        columns = {head: [f"{value:.4g}" for value in values] for head, values in found.items()}
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


def doubts(analysis: Analysis, kernel: np.ndarray, system: System) -> dict[str, str]:
    """Return why rows or window may "cut" a kernel (K, C, Cout), and why it may be "noisy".

    Args:
        analysis: the analysis of the rows that were solved.
        kernel: the estimate.
        system: the system of the weakest penalty of an output, which has the largest errors.
    """
    sizes, problem, cut, noisy = analysis.design.sizes, analysis.design.problem, "", ""
    few = system.factored or sizes.columns <= MANY
    # Otherwise a preconditioner has the covariance, if this takes less time than the solution.
    fast = kernel.shape[1] <= CHANNELS and nearly_toeplitz(sizes, problem.spec, MANY)
    fast &= not system.strength or system.penalty.uncorrelated
    if _excluded(problem):
        cut = "x is constant at first and hardly changes later, so that the excluded rows at the "
        cut += "edge have most of the response; use edges='zeros' if x was zero before"
        return {"cut": cut}
    if len(kernel) < TAPS or sizes.wide or analysis.design.space or not (few or fast):
        return {}
    plain = analysis.regression(RIDGE, 0.0)
    w, dof, fs = plain.from_kernel(kernel), sizes.rows - sizes.unknowns, problem.fs
    power, ends = np.square(w), _ends(problem, w.shape[1])
    ends = [end for end in ends if (power[:, end[-1]].mean(1) > POWER * power.mean(1)).any()]
    if system.strength and not ends:
        return {}
    # The Gram matrix of many columns may not exist.
    squares = plain.by_moments(w)[0] if few else np.square(plain.residual(w)[0])
    # A kernel that is almost exact raises no doubt.
    squares = np.where(squares > EXACT * plain.y_norms**2, squares, np.inf)
    for g, z in enumerate(w * np.sqrt(dof / squares)[:, None]):
        unit = plain.scaling.factor[g][:, None]
        if (covariance := _covariance(system, g, unit, few)) is None:
            continue
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (len(z), PROBES))
        drawn = covariance(signs)
        total, spread = (signs * drawn).sum() / PROBES, np.square(drawn).sum() / PROBES
        size = float(np.median(np.square(z).sum(0)))
        if 0 < size < total + max(total, 2 * math.sqrt(2 * spread)) and not system.strength:
            noisy = f"standard errors explain {100 * min(total / size, 1.0):.0f} % of the squared "
            noisy += "weights: the data do not determine this kernel well; use penalty='ridge' "
            noisy += "(tests remain valid)"
        for which, name, lag, end in ends:
            if _cut(covariance, z, end, total, dof):
                use = f"{name}= beyond {lag / fs:.4g}" if fs else f"lags= beyond {lag}"
                cut = f"the weights do not decay at the {which} lags: the response is longer than "
                cut += f"the window, and all weights may be wrong; use {use}"
                cut += ", or drift=1 if y has an offset or drifts" * (not problem._terms.given)
    return {"cut": cut, "noisy": noisy}


def _excluded(problem: Problem) -> bool:
    """Return whether x changes mostly before the rows that edges="drop" leaves."""
    x = [a[:PLACES] for a in problem.x[:RECORDS] if isinstance(a, np.ndarray) and len(a) > 1]
    for a in (np.square(np.diff(a.astype(float), axis=0)).sum(1) for a in x):
        # Not for NaN, and for a step that was recorded with some noise.
        early = a[: problem._geometry.shift[0]].sum()
        if not (a[:2].max() <= REST * a.max() and 4 * early >= 3 * a.sum()):
            return False
    return problem._geometry.edges == "drop" and len(x) > 0


def _covariance(system: System, group: int, unit: np.ndarray, few: bool) -> Map | None:
    """Return the product with the covariance of taps, over a unit (P, 1), for unit noise.

    None if a preconditioner is not definite, so that it is far from the covariance.
    """
    t, s = system.columns.t, system.scaling.factor[group][:, None]
    if few:
        inverse: Map = system.factors[group].solve_normal
    else:
        normal = Normal(system, group)
        if not normal.definite:
            return None
        inverse, s = normal.inverse, s * normal.stretch
    return lambda v: t.expand((s * inverse(s * t.restrict(v[None] / unit)[0]))[None])[0] / unit


def _ends(problem: Problem, columns: int) -> list[tuple[str, str, int, slice]]:
    """Return name, argument, lag and columns of the ends of a window, of so many columns."""
    (first, last), lags = problem.lags[[0, -1]].tolist(), len(problem.lags)
    some = min(max(math.ceil(SHARE * lags), 2), MOST) * columns // lags
    # Taps are in descending lags. A window up to lag 0 is of a decoder, and has no end.
    ends = [("last", "tmax", last, slice(0, some))] * (last > 0)
    return ends + [("first", "tmin", first, slice(columns - some, columns))] * (last > 0 > first)


def _cut(covariance: Map, z: np.ndarray, end: slice, total: float, dof: int) -> bool:
    """Return whether an end of kernels z (P, Q) has more power than noise and a decay leave."""
    from scipy.special import fdtrc

    some = end.stop - end.start
    own = covariance(np.eye(len(z), some, -end.start))[end]
    f = (z[end] * (np.linalg.pinv(own, ROUNDING, hermitian=True) @ z[end])).sum(0) / some
    power = np.square(z).sum(0) - total, np.square(z[end]).sum(0) - np.trace(own)
    sure = (fdtrc(some, dof, f) < END_LEVEL / len(f)) & (f > FAR * (len(z) > MANY))
    return bool((sure & (power[1] / some > POWER * power[0] / len(z))).any())
