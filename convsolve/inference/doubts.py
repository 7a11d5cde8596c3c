"""Reasons to doubt a kernel of least squares: its window cuts it, or it is mostly noise.

Weights at an end of the window have an F test, and their power is compared with the power of the
whole kernel, both less the contribution of noise. This is the sum of the variances, tr C, of k =
(tr C)²/tr C² independent weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..leastsquares.analysis import Analysis
from ..leastsquares.penalty import RIDGE
from ..leastsquares.system import System
from ..linalg.factor import Factor
from ..parts import CUT
from ..problem.names import Axis

# Share of y in the residual that can be rounding of the sums.
EXACT = 1e-10
# Unknowns up to which a factor takes little time.
MANY = 800
# Fewest taps of a kernel, and the share of its taps at an end.
TAPS, SHARE = 20, 0.05
# Level of the test of an end, and the least power of its weights relative to the mean of all.
LEVEL, POWER = 1e-4, 0.02
# Random sums of taps that estimate tr C, and the power in units of it from which that is enough.
PROBES, CLEAR = 8, 20.0


def doubts(analysis: Analysis, axis: Axis, kernel: np.ndarray, system: System) -> str:
    """Return why a kernel (K, C, Cout) may be wrong, or an empty string.

    Args:
        analysis: the analysis of the rows that were solved.
        axis: the lags of the kernel.
        kernel: the estimate.
        system: the system of the weakest penalty of an output, which has the largest errors.
    """
    design, sizes = analysis.design, analysis.design.sizes
    # Without a factor, errors of many taps would take longer than the solution.
    many = sizes.columns > MANY and not system.factored
    if len(kernel) < TAPS or sizes.wide or design.space or many:
        return ""
    plain = analysis.regression(RIDGE, 0.0)
    w = plain.from_kernel(kernel)
    squares = plain.by_moments(w)[0]
    # A kernel that is almost exact raises no doubt.
    squares = np.where(squares > EXACT * plain.y_norms**2, squares, np.inf)
    w = w * np.sqrt((sizes.rows - sizes.unknowns) / squares)[:, None]
    taps = [system.tap_rows(g) / plain.scaling.factor[g][:, None] for g in range(len(w))]
    found = (words for g, own in enumerate(w) for words in _doubts(system, g, taps[g], own, axis))
    return next(found, "")


def _doubts(
    system: System, group: int, rows: np.ndarray, z: np.ndarray, axis: Axis
) -> Iterator[str]:
    """Yield doubts about taps z (P, Q) of columns of norm one, for noise of variance one.

    ``rows`` (P, R) has the taps of the coordinates of the system.
    """
    from scipy.special import fdtrc

    factor, sizes, power = system.factor(group), system.design.sizes, np.square(z)
    if factor is None or not factor.full_rank or not power.any():
        return
    few = max(2, int(np.ceil(SHARE * len(axis.lags))))
    if not system.strength and (share := _explained(factor, rows, power.sum(0))):
        yield (
            f"standard errors explain {100 * share:.0f} % of the squared weights: the data do not "
            "determine this kernel well; use penalty='ridge'"
        )
    some, (first, last) = few * len(z) // len(axis.lags), axis.lags[[0, -1]].tolist()
    ends = ("last", slice(some), "tmax", last), ("first", slice(-some, None), "tmin", first)
    # Taps are in descending lags. A window up to lag 0 is of a decoder, and has no end.
    for which, end, name, lag in ends[: (last > 0) * (1 + (first < 0))]:
        half = factor.whitened(rows[end].T)
        f = np.square(np.linalg.solve(np.linalg.qr(half, mode="r").T, z[end])).mean(0)
        sure = fdtrc(some, sizes.rows - sizes.unknowns, f) < LEVEL / z.shape[1]
        if not sure.any():
            continue
        whole, own = np.square(factor.whitened(rows.T)).sum(), np.square(half).sum()
        left = (power.sum(0) - whole) / len(z), (power[end].sum(0) - own) / some
        if (sure & (left[1] > POWER * left[0])).any():
            use = (
                f"lags= beyond {lag}" if axis.fs is None else f"{name}= beyond {lag / axis.fs:.4g}"
            )
            use += ", or bias=True if y has an offset" * (not sizes.nuisance)
            yield (
                f"{CUT} at the {which} lags: the response is longer than the window, and all "
                f"weights may be wrong; use {use}"
            )


def _explained(factor: Factor, rows: np.ndarray, powers: np.ndarray) -> float:
    """Return the share of the power of a kernel that errors explain, or 0 if it is small enough."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (len(rows), PROBES))
    if (power := np.median(powers)) > CLEAR / PROBES * np.square(
        factor.whitened(rows.T @ signs)
    ).sum():
        return 0.0
    half = factor.whitened(rows.T)
    total = np.square(half).sum()
    independent = total**2 / np.square(half @ half.T).sum()
    most = (1 + max(1.0, 2 * np.sqrt(2 / independent))) * total
    return 0.0 if power >= most else float(total / max(power, total))
