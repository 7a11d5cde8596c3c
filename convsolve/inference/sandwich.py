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
from typing import NamedTuple

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
    """Over how many lags rows are taken to depend on each other, 1.3·√n."""
    return int(1.3 * math.sqrt(rows))


def by_record(
    blocks: Iterable[Sequence[np.ndarray]], lengths: Sequence[int]
) -> Iterator[tuple[list[np.ndarray], bool]]:
    """Blocks of arrays (..., k) cut at the ends of records, and whether one ends there."""
    left = iter(lengths)
    missing = next(left)
    for block in blocks:
        start, stop = 0, block[0].shape[-1]
        while start < stop:
            end = min(start + missing, stop)
            missing -= end - start
            yield [a[..., start:end] for a in block], not missing
            start = end
            if not missing:
                missing = next(left, 0)


def overlapping(
    blocks: Iterable[Sequence[np.ndarray]], lengths: Sequence[int], window: int
) -> Iterator[list[np.ndarray]]:
    """The same blocks after the ``window`` − 1 rows before each of them, zeros outside a record, so
    that every sum of ``window`` rows that reads some of a record is one of a single block.
    """
    before: list[np.ndarray] | None = None
    for parts, ends in by_record(blocks, lengths):
        if before is None:
            before = [np.zeros((*a.shape[:-1], window - 1)) for a in parts]
        after = [np.zeros((*a.shape[:-1], window - 1 if ends else 0)) for a in parts]
        joined = zip(before, parts, after, strict=True)
        whole = [np.concatenate(each, axis=-1) for each in joined]
        yield whole
        before = None if ends else [a[..., a.shape[-1] - window + 1 :] for a in whole]


def window_means(u: np.ndarray, window: int) -> np.ndarray:
    """Means (..., k − window + 1) of every ``window`` consecutive entries of u (..., k).

    Each from the one before it: over one block rounding does not grow with the record.
    """
    from scipy.ndimage import uniform_filter1d

    first, count = window // 2, u.shape[-1] - window + 1
    means = uniform_filter1d(u, window, axis=-1, mode="constant")
    return np.asarray(means[..., first : first + count])


def moving_squares(influences: Influences, lengths: Sequence[int], window: int) -> np.ndarray:
    """Σ m² (P, Q) over the means m of z over every ``window`` consecutive rows of a record."""
    total: np.ndarray | float = 0.0
    for b, e in overlapping(influences, lengths, window):
        total = total + np.stack(side_by_side(partial(_squares, b, window), list(e)), axis=1)
    return np.asarray(total)


def _squares(b: np.ndarray, window: int, e: np.ndarray) -> np.ndarray:
    """Those of a block for one output, (P,), from B (P, k) and its residuals (k,)."""
    step, found = max(1, CACHED_NUMBERS // len(e)), []
    for first in range(0, len(b), step):
        m = window_means(b[first : first + step] * e, window)
        found.append(np.einsum("pk,pk->p", m, m))
    return np.concatenate(found)


def moving_products(influences: Influences, lengths: Sequence[int], window: int) -> np.ndarray:
    """Σ m mᵀ (P, P) of a single output, with m as for `moving_squares`."""
    total: np.ndarray | float = 0.0
    for b, e in overlapping(influences, lengths, window):
        m = window_means(b * e, window)
        total = total + m @ m.T
    return np.asarray(total)


def with_gaps(influences: Influences, flags: Sequence[np.ndarray]) -> Iterator[Influence]:
    """Influences of rows with zeros where one is left out: ``flags`` (T,) of every record are True
    for those there are.
    """
    counts = [int(np.count_nonzero(f)) for f in flags]
    record = first = written = 0
    for (b, e), ends in by_record(influences, counts):
        places = np.flatnonzero(flags[record])[first : first + e.shape[1]]
        stop = len(flags[record]) if ends else int(places[-1]) + 1
        wide = np.zeros((len(b), stop - written)), np.zeros((len(e), stop - written))
        for part, given in zip(wide, (b, e), strict=True):
            part[:, places - written] = given
        yield wide
        first, written = first + e.shape[1], stop
        if ends:
            record, first, written = record + 1, 0, 0
