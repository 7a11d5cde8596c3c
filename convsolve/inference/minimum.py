"""Minimization of several functions of one variable at the same time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Number of places of a grid, and width of a grid that is not refined.
PLACES, LEAST_WIDTH = 11, 1e-7
# Distance of the points of `quartic_minimum`, for functions of the logarithm of a strength.
STEP, NEWTON_STEPS = 0.06, 5


def grid_minimum(
    function: Callable[[np.ndarray], np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the minima of Q functions, by grids about the best place of the grid before.

    The functions need not be smooth. They may be flat, or infinite in a part of the range.

    Args:
        function: maps places (n, Q) to values (n, Q).
        low: (Q,), the lower end of the range.
        high: (Q,), the upper end of the range.
        tolerance: the iteration stops when the neighbours of the best place exceed it by less than
            this value on average, or when the range is 1e-7 wide.

    Returns:
        Places (Q,) of the minima and the values (Q,) there.
    """
    outputs = np.arange(len(low))
    while True:
        places = low + np.linspace(0, 1, PLACES)[:, None] * (high - low)
        values = function(places)
        best = np.clip(np.argmin(values, axis=0), 1, PLACES - 2)
        around = best + np.array([[-1], [0], [1]]), outputs
        (low, at, high), (f_low, f_at, f_high) = places[around], values[around]
        with np.errstate(invalid="ignore"):
            flat = f_low - 2 * f_at + f_high <= 2 * tolerance
        if (flat | (high - low <= LEAST_WIDTH)).all():
            return at, f_at


def quartic_minimum(
    function: Callable[[np.ndarray], np.ndarray],
    places: np.ndarray,
    values: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Improve minima of Q smooth functions by a polynomial through five points each.

    The result depends smoothly on the values, so rounding errors in the values hardly change it. A
    minimum found by comparing values is only accurate to the square root of these errors.

    Args:
        function: maps places (Q,) to values (Q,).
        places: (Q,) near the minima.
        values: (Q,) at these places.
        tolerance: a place is replaced unless its value increases by more than this.

    Returns:
        Places (Q,) of the minima and the values (Q,) there.
    """
    low2, low1, high1, high2 = (function(places + STEP * k) for k in (-2, -1, 1, 2))
    at = quartic_vertex(np.stack([low2, low1, values, high1, high2]))
    moved = places + STEP * np.nan_to_num(at)
    found = function(moved)
    better = ~np.isnan(at) & (found <= values + tolerance)
    return np.where(better, moved, places), np.where(better, found, values)


def quartic_vertex(values: np.ndarray) -> np.ndarray:
    """Return the minimum of the quartic through values (5, Q) at the places −2, −1, 0, 1 and 2.

    It is NaN if the quartic has no minimum between these places near 0.
    """
    low2, low1, middle, high1, high2 = values
    with np.errstate(divide="ignore", invalid="ignore"):
        d1 = (low2 - 8 * low1 + 8 * high1 - high2) / 12
        d2 = (-low2 + 16 * low1 - 30 * middle + 16 * high1 - high2) / 12
        d3 = (-low2 + 2 * low1 - 2 * high1 + high2) / 2
        d4 = low2 - 4 * low1 + 6 * middle - 4 * high1 + high2
        at = np.zeros(values.shape[1])
        for _ in range(NEWTON_STEPS):
            at = at - (d1 + at * (d2 + at * (d3 / 2 + at * d4 / 6))) / (
                d2 + at * (d3 + at * d4 / 2)
            )
        return np.where((d2 > 0) & (abs(at) <= 2), at, np.nan)
