"""Covariance of least-squares estimates under dependent noise, from sums over rows.

With rows a, residuals e and z = (AᵀA)⁻¹a·e, the covariance of an estimate is Σ z zᵀ where rows are
independent, and a multiple of Σ m mᵀ over sums or means m of z where they depend on each other.

Source: W. K. Newey and K. D. West, Econometrica 55 (1987) 703 (moving sums: Bartlett's weights);
K.-Y. Liang and S. L. Zeger, Biometrika 73 (1986) 13 (sums over clusters).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..linalg.threads import one_blas_thread
from ..parallel import in_order

# Numbers whose moving means are formed at a time: few enough to stay within a core's cache.
CACHED_NUMBERS = 2**16

# Records of unequal size have degrees of freedom below this share of those of equal ones.
FEWER = 0.8


class Clusters(NamedTuple):
    """Small-sample corrections of a sum over records of squares of sums over their rows.

    The sums of a record have a variance proportional to its size, and the fit subtracts a share of
    the total from each, which is proportional to the size too. For R records of equal size, the
    degrees of freedom are R − 1, and the factor is one.

    Source: R. M. Bell and D. F. McCaffrey, Survey Methodology 28 (2002) 169, for such records.

    Attributes:
        inflation: factor of the variance of sums of taps, in addition to R/(R − 1).
        dof: Satterthwaite's degrees of freedom.
        unequal: whether the records differ so much in size that tests of sums are approximate.
    """

    inflation: float
    dof: float
    unequal: bool

    @classmethod
    def of(cls, sizes: np.ndarray) -> Clusters:
        """Return the corrections for records of some sizes (R,), in rows times their weight."""
        shares = sizes / sizes.sum()
        squares, cubes = float((shares**2).sum()), float((shares**3).sum())
        dof = (1 - squares) ** 2 / (squares - 2 * cubes + squares**2)
        inflation = (1 - 1 / len(sizes)) / (1 - squares)
        return cls(inflation, dof, dof < FEWER * (len(sizes) - 1))


def bandwidth(rows: int) -> int:
    """Return the number of lags over which rows depend on each other, 1.3·√n."""
    return int(1.3 * math.sqrt(rows))


class TimeAxis(NamedTuple):
    """An axis of time on which all records are one after the other, with zeros between them.

    Every sum of ``window`` samples that reads some of a record reads a single one.

    Attributes:
        rows: (n,), rows of the design matrix in the order of records and time.
        places: (n,), their places on the axis.
        length: number of samples of the axis.
    """

    rows: np.ndarray
    places: np.ndarray
    length: int

    @classmethod
    def of(cls, positions: Sequence[np.ndarray], window: int) -> TimeAxis:
        """Return the axis, for the row (T,) of every sample of a record, or -1 without a row."""
        gap = np.full(window - 1, -1)
        whole = np.concatenate([gap, *(part for each in positions for part in (each, gap))])
        places = np.flatnonzero(whole >= 0)
        return cls(whole[places], places, len(whole))

    def laid(self, values: np.ndarray) -> np.ndarray:
        """Return values (k, length) of rows (n, k), zero in samples that are no rows."""
        found = np.zeros((values.shape[1], self.length))
        found[:, self.places] = values[self.rows].T
        return found


def window_means(u: np.ndarray, window: int) -> np.ndarray:
    """Return means (..., k − window + 1) of ``window`` consecutive entries of u (..., k).

    Each mean is updated from the previous one. Blocks limit the growth of rounding errors.
    """
    from scipy.ndimage import uniform_filter1d

    first, count = window // 2, u.shape[-1] - window + 1
    means = uniform_filter1d(u, window, axis=-1, mode="constant")
    return np.asarray(means[..., first : first + count])


def moving_squares(u: np.ndarray, e: np.ndarray, window: int) -> np.ndarray:
    """Return Σ m² (P, Q) over the means m of u·e over ``window`` consecutive samples.

    Influences u (P, T) and residuals e (Q, T) are on a `TimeAxis`.
    """
    with one_blas_thread():
        return np.stack([*in_order(partial(_squares, u, window), list(e))], axis=1)


def _squares(u: np.ndarray, window: int, e: np.ndarray) -> np.ndarray:
    """Return Σ m² (P,) for the residuals e (T,) of one output."""
    step, found = max(1, CACHED_NUMBERS // len(e)), []
    for first in range(0, len(u), step):
        m = window_means(u[first : first + step] * e, window)
        found.append(np.einsum("pk,pk->p", m, m))
    return np.concatenate(found)


def moving_products(u: np.ndarray, e: np.ndarray, window: int) -> np.ndarray:
    """Return Σ m mᵀ (P, P) of a single output, with m as for `moving_squares`."""
    step, total = max(window, CACHED_NUMBERS), np.zeros((len(u), len(u)))
    for first in range(0, len(e) - window + 1, step):
        some = slice(first, first + step + window - 1)
        m = window_means(u[:, some] * e[some], window)
        total += m @ m.T
    return total
