"""Clamped B-splines."""

from __future__ import annotations

import numpy as np


def breakpoints(values: np.ndarray, n: int, degree: int, quantiles: bool = False) -> np.ndarray:
    """Return the breakpoints of ``n`` B-splines that reach from the least to the largest value.

    They are at even distances, or at quantiles of the values.
    """
    shares = np.linspace(0, 1, n - degree + 1)
    if quantiles:
        return np.asarray(np.quantile(values, shares))
    low, high = values.min(), values.max()
    return np.asarray(low + (high - low) * shares)


def bsplines(values: np.ndarray, knots: np.ndarray, degree: int = 3) -> np.ndarray:
    """Return the clamped B-splines (values, n) with some breakpoints at the values.

    They are not negative, and their sum is one at every value.

    Args:
        values: (values,), from the first to the last breakpoint.
        knots: (n - degree + 1,), the breakpoints in ascending order, with both ends.
        degree: degree of the polynomials between breakpoints.

    Source: C. de Boor, A Practical Guide to Splines, Springer 1978.
    """
    from scipy.interpolate import BSpline

    ends = np.repeat([knots[0]], degree), np.repeat([knots[-1]], degree)
    clamped = np.concatenate([ends[0], knots, ends[1]])
    return np.asarray(BSpline.design_matrix(values, clamped, degree).toarray())
