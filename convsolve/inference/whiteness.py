"""Tests whether residuals are white, as errors for white noise assume.

Source: G. M. Ljung and G. E. P. Box, Biometrika 65 (1978) 297.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..facts import Fact, Reported, by_output, of_fields
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
        yield Fact(
            "",
            "Ljung-Box test of residuals",
            by_output(self.outputs or range(len(self.dof)), columns),
        )
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
    return (
        f"the residuals of {problem._names.output(worst)} are correlated in time, and so is x "
        f"(Ljung-Box over lags 1 to {lags}, p at most {max(p[worst], 1e-99):.1g}): errors for "
        "white noise may be several times too large for a tap, and too small for a sum; use "
        + "least squares with " * (variance is None)
        + ", or ".join(ways)
    )
