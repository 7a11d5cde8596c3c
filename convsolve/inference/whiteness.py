"""Whether residuals are white enough for the errors of white noise.

Source: G. M. Ljung and G. E. P. Box, Biometrika 65 (1978) 297.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..operators.filtered import autocovariances
from ..problem.problem import Problem
from .ar import rows_left
from .rows import mad_scale

# Residuals are called correlated if this happens in at most this share of data sets of white noise.
LEVEL = 1e-3
# A smaller p is not shown.
LEAST = 1e-99
# x is called correlated if an autocorrelation of a channel exceeds this, and so many standard
# deviations of white noise.
COLOURED, DEVIATIONS = 0.1, 5.0
# Threshold of Huber's loss in units of the scale.
HUBER = 1.345
# Largest number of lags, also as a share of the rows, and largest number of outputs.
MOST_LAGS, LAGS_SHARE, MOST_OUTPUTS = 40, 0.2, 32


def lags_of(taps: int, rows: int) -> int:
    """Return the number of lags that are tested: the taps, at most a share of the rows."""
    return min(taps, MOST_LAGS, int(LAGS_SHARE * rows))


def whiteness(residuals: Sequence[np.ndarray], variance: np.ndarray, lags: int) -> np.ndarray:
    """Return p values (outputs,) of residuals (T, outputs) as white noise of some ``variance``.

    The statistic is the sum over lags of squared autocorrelations, each divided by its variance.
    For white noise it is χ² with as many degrees of freedom as lags. Residuals of least squares are
    not quite white, since the kernel fits some of the noise. Divided by the variance by degrees of
    freedom, which is larger than their own, the sum is not larger, and p is not too small. It is 1
    if there is no variance.

    The covariance of the residuals is σ²(I − H), where H maps y to the prediction. This holds for
    least squares, and with a penalty on average over kernels of its prior.
    """
    from scipy.special import chdtrc

    rows, lengths = sum(map(len, residuals)), [len(e) for e in residuals]
    pairs = np.array([rows_left(lengths, lag) for lag in range(1, lags + 1)])[:, None]
    scale = np.where(variance > 0, variance, np.inf)
    sums = rows * autocovariances(residuals, lags)[1:] / scale
    q = (sums**2 / np.maximum(pairs, 1)).sum(0)
    return np.asarray(chdtrc(lags, q))


def coloured(records: Sequence[np.ndarray], lags: int) -> bool:
    """Return whether a channel of x (W, C) is correlated over lags 1 to ``lags``."""
    samples = sum(map(len, records))
    most = max(COLOURED, DEVIATIONS / np.sqrt(samples))
    for c in range(records[0].shape[1]):
        channel = [np.asarray(a[..., [c]], float) for a in records]
        size = max(float(np.abs(a).max(initial=0.0)) for a in channel) or 1.0
        mean = sum(float((a / size).sum()) for a in channel) / samples
        found = np.abs(autocovariances([a / size - mean for a in channel], lags)[:, 0])
        if found[1:].max(initial=0.0) > most * found[0]:
            return True
    return False


def warning(
    problem: Problem,
    residuals: Sequence[np.ndarray],
    variance: np.ndarray | None,
    penalized: bool = False,
) -> str:
    """Return why errors for white noise are wrong, or an empty string.

    Args:
        problem: the problem.
        residuals: (T, outputs) of every record.
        variance: (outputs,), variance of the noise. None for a robust estimate, whose errors do not
            depend on how large an outlier is. Residuals are then limited to 1.345 times their
            scale, as `HuberLoss` does.
        penalized: whether the estimate has a penalty.
    """
    lags = lags_of(problem.spec.kernel_size[0], problem.n_equations)
    outputs = np.unique(np.linspace(0, residuals[0].shape[1] - 1, MOST_OUTPUTS).astype(int))
    some = [e[:, outputs] for e in residuals]
    if variance is None:
        limit = HUBER * np.array([mad_scale(column) for column in np.concatenate(some).T])
        some = [np.clip(e, -limit, limit) for e in some]
        variance_of = np.square(np.concatenate(some)).mean(0)
    else:
        variance_of = variance[outputs]
    p = whiteness(some, variance_of, lags)
    # The least of several p, which is that of one output as many times as there are.
    worst = int(np.argmin(p))
    if p[worst] * len(p) > LEVEL or not coloured(problem.x, lags):
        return ""
    by_record = all(root.ndim == 0 for root in problem._weights or ())
    shown = f"= {p[worst]:.1g}" if p[worst] >= LEAST else f"< {LEAST:g}"
    found = (
        f"the residuals of {problem._names.output(int(outputs[worst]))} are correlated in time, "
        f"and so is x (Ljung-Box over lags 1 to {lags}, p {shown})"
    )
    if penalized:
        way = "a weaker penalty, or noise='hac' and none"
        way = "noise='ar', or a weaker penalty" if by_record else way
        return (
            f"{found}: the noise is correlated, or a strong penalty leaves some of the response in "
            f"the residuals, and errors for white noise are then wrong; use {way}"
        )
    way = "noise='ar', or 'hac'" if by_record else "noise='hac'"
    return (
        f"{found}: errors for white noise may be several times too large for a tap, and too small "
        f"for a sum of taps; use {'least squares with ' * (variance is None)}{way}"
    )
