"""Covariance of least-squares estimates under dependent noise, from sums over rows.

With rows a, residuals e and z = (AᵀA)⁻¹a·e, the covariance of an estimate is Σ z zᵀ where rows are
independent, and a multiple of Σ m mᵀ over sums or means m of z where they depend on each other.

Source: W. K. Newey and K. D. West, Econometrica 55 (1987) 703 (moving sums: Bartlett's weights);
K.-Y. Liang and S. L. Zeger, Biometrika 73 (1986) 13 (sums over clusters).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..operators.overlap_save import side_by_side

# Numbers whose moving means are formed at a time: few enough to stay within a core's cache.
CACHED_NUMBERS = 2**16

# Records of unequal size have degrees of freedom below this share of those of equal ones.
FEWER = 0.8

# B (P, k) and e (Q, k) of some rows: what row t adds to estimate q is z = B[:, t]·e[q, t].
Influence = tuple[np.ndarray, np.ndarray]
Influences = Iterable[Influence]


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


def in_time(
    influences: Influences, flags: Sequence[np.ndarray], window: int
) -> Iterator[list[np.ndarray]]:
    """Yield influences in time, after the ``window`` − 1 samples before each block.

    Samples that are no rows, and those outside a record, are zero. Every sum of ``window`` samples
    that reads some of a record is then a sum of a single block.

    Args:
        influences: B and e of some rows at a time.
        flags: (T,) of each record, True for the samples that are rows.
        window: number of samples of a sum.
    """
    left = iter([(np.flatnonzero(f), len(f)) for f in flags if f.any()])
    rows, samples = next(left)
    first = written = 0
    before: list[Any] = [0.0, 0.0]
    for block in influences:
        start, stop = 0, block[0].shape[1]
        while start < stop:
            places = rows[first : first + stop - start]
            first += len(places)
            ends = first == len(rows)
            last = samples + window - 1 if ends else int(places[-1]) + 1
            places = places - written + window - 1
            dense = int(places[-1]) - int(places[0]) + 1 == len(places)
            at = slice(int(places[0]), int(places[-1]) + 1) if dense else places
            whole = [np.empty((len(a), last - written + window - 1)) for a in block]
            for found, given, a in zip(whole, before, block, strict=True):
                found[:, : window - 1] = given
                found[:, window - 1 : places[0]] = found[:, places[-1] + 1 :] = 0.0
                if not dense:
                    found[:, places[0] : places[-1] + 1] = 0.0
                found[:, at] = a[:, start : start + len(places)]
            yield whole
            start, written = start + len(places), last
            before = [found[:, found.shape[1] - window + 1 :] for found in whole]
            if ends:
                (rows, samples), first, written, before = next(left, (rows, 0)), 0, 0, [0.0, 0.0]


def window_means(u: np.ndarray, window: int) -> np.ndarray:
    """Return means (..., k − window + 1) of ``window`` consecutive entries of u (..., k).

    Each mean is updated from the previous one. Blocks limit the growth of rounding errors.
    """
    from scipy.ndimage import uniform_filter1d

    first, count = window // 2, u.shape[-1] - window + 1
    means = uniform_filter1d(u, window, axis=-1, mode="constant")
    return np.asarray(means[..., first : first + count])


def moving_squares(influences: Influences, flags: Sequence[np.ndarray], window: int) -> np.ndarray:
    """Return Σ m² (P, Q) over the means m of z over ``window`` consecutive rows of a record."""
    total: np.ndarray | float = 0.0
    for b, e in in_time(influences, flags, window):
        total = total + np.stack(side_by_side(partial(_squares, b, window), list(e)), axis=1)
    return np.asarray(total)


def _squares(b: np.ndarray, window: int, e: np.ndarray) -> np.ndarray:
    """Return Σ m² (P,) of a block for one output, from B (P, k) and its residuals (k,)."""
    step, found = max(1, CACHED_NUMBERS // len(e)), []
    for first in range(0, len(b), step):
        m = window_means(b[first : first + step] * e, window)
        found.append(np.einsum("pk,pk->p", m, m))
    return np.concatenate(found)


def moving_products(influences: Influences, flags: Sequence[np.ndarray], window: int) -> np.ndarray:
    """Return Σ m mᵀ (P, P) of a single output, with m as for `moving_squares`."""
    total: np.ndarray | float = 0.0
    for b, e in in_time(influences, flags, window):
        m = window_means(b * e, window)
        total = total + m @ m.T
    return np.asarray(total)
