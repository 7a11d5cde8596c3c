"""Long-run variances of time series from a few cosine transforms.

The variance of a sum of correlated rows is estimated from its projections on low frequencies. The
estimate has as many degrees of freedom as there are cosines, and almost no bias. A window of lags
is biased downwards if the correlation is slow.

Source: E. Lazarus, D. J. Lewis, J. H. Stock and M. W. Watson, J. Bus. Econ. Stat. 36 (2018) 541.
"""

from __future__ import annotations

import numpy as np

# Number B of cosines, and degrees of freedom of the estimate, for every number of rows.
COSINES = 4


def cosine_columns(start: int, stop: int, rows: int) -> np.ndarray:
    """Return cos(πj(t + ½)/rows) (stop − start, B) for t from ``start`` and j from 1 to B."""
    t, j = np.arange(start, stop)[:, None], np.arange(1, 1 + COSINES)
    return np.cos(np.pi * j * (t + 0.5) / rows)


def long_run_variance(projections: np.ndarray) -> np.ndarray:
    """Return the variance (...) of a sum of rows z, given Σ z_t·cos(πj(t + ½)/n) (B, ...)."""
    return np.asarray(2 * np.square(projections).mean(0))
