"""What dependent noise makes of the errors of least squares, from sums over rows.

With rows a, residuals e and z = (AᵀA)⁻¹a·e, the covariance of an estimate is Σ z zᵀ where rows are
independent, and Σ m mᵀ of sums m of z where they depend on each other.

Source: W. K. Newey and K. D. West, Econometrica 55 (1987) 703 (moving sums: Bartlett's weights);
K.-Y. Liang and S. L. Zeger, Biometrika 73 (1986) 13 (sums over clusters).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np


def bandwidth(rows: int) -> int:
    """Over how many lags rows are taken to depend on each other, 1.3·√n."""
    return int(1.3 * math.sqrt(rows))


def by_record(
    blocks: Iterable[np.ndarray], lengths: Sequence[int]
) -> Iterator[tuple[np.ndarray, bool]]:
    """Blocks of rows (k, ...) cut at the ends of records, and whether one ends there."""
    left = iter(lengths)
    missing = next(left)
    for block in blocks:
        while len(block):
            part, block = block[:missing], block[missing:]
            missing -= len(part)
            yield part, not missing
            if not missing:
                missing = next(left, 0)


def moving_sums(
    blocks: Iterable[np.ndarray], lengths: Sequence[int], window: int
) -> Iterator[np.ndarray]:
    """Sums of every ``window`` consecutive rows of a record, zeros outside it, some at a time."""
    carried: np.ndarray | None = None
    for part, ends in by_record(blocks, lengths):
        before = np.zeros((window - 1, *part.shape[1:])) if carried is None else carried
        after = np.zeros((window - 1 if ends else 0, *part.shape[1:]))
        whole = np.concatenate([before, part, after])
        sums = np.cumsum(np.concatenate([np.zeros((1, *part.shape[1:])), whole]), axis=0)
        yield sums[window:] - sums[:-window]
        carried = None if ends else whole[len(whole) - window + 1 :]


def record_sums(blocks: Iterable[np.ndarray], lengths: Sequence[int]) -> Iterator[np.ndarray]:
    """The sum (1, ...) of all rows of every record."""
    total: np.ndarray | None = None
    for part, ends in by_record(blocks, lengths):
        found = part.sum(0, keepdims=True)
        total = found if total is None else total + found
        if ends:
            yield total
            total = None


def long_run_error(values: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Standard error (Q,) of the sum of ``values`` (n, Q), rows of records of some ``lengths`` one
    after the other, which depend on each other as far as `bandwidth` says.
    """
    window = 1 + bandwidth(len(values))
    squares = [np.square(m).sum(0) for m in moving_sums([values], lengths, window)]
    return np.asarray(np.sqrt(np.sum(squares, axis=0) / window))
