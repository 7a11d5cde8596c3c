"""Minimization of several functions of one variable at the same time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Smaller part of an interval that is divided by the golden section.
GOLDEN = 0.5 * (3 - 5**0.5)
# Width of a bracket that is not divided further.
LEAST_WIDTH = 1e-7
MOST_STEPS = 100
# Distance of the points of `quartic_minimum`, for functions of the logarithm of a strength.
STEP, NEWTON_STEPS = 0.06, 5


def bracketed_minimum(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    places: np.ndarray,
    values: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the minima of Q functions, each within a bracket.

    Chandrupatla's method: the next place is the vertex of the parabola through the bracket if this
    is safe, otherwise a golden section. It converges for every continuous function. The function
    may be flat, or infinite in a part of the bracket.

    Source: T. R. Chandrupatla, Comput. Methods Appl. Mech. Eng. 152 (1998) 211.

    Args:
        function: maps places (k,) and the indices (k,) of functions to values (k,).
        places: (3, Q) in ascending order.
        values: (3, Q) at these places. The smallest of the three is in the middle.
        tolerance: the iteration stops when the ends of the bracket exceed the middle by less than
            this value on average, or when the bracket is 1e-7 wide.

    Returns:
        Places (Q,) of the minima and the values (Q,) there.
    """
    (left, middle, right), (f_left, f_middle, f_right) = places, values
    before = right
    for _ in range(MOST_STEPS):
        with np.errstate(invalid="ignore"):
            flat = f_left - 2 * f_middle + f_right <= 2 * tolerance
        unfinished = ~flat & (abs(right - left) > LEAST_WIDTH)
        if not unfinished.any():
            break
        # From here on the left part of the bracket is the larger one.
        swap = abs(right - middle) > abs(left - middle)
        left, right = np.where(swap, (right, left), (left, right))
        f_left, f_right = np.where(swap, (f_right, f_left), (f_left, f_right))
        vertex = _vertex((left, middle, right), (f_left, f_middle, f_right))
        at = np.where(
            abs(vertex - before) < 0.5 * abs(left - middle),
            _apart(vertex, middle, left),
            middle + GOLDEN * (left - middle),
        )
        at, before, f_at = np.where(unfinished, at, middle), vertex, f_middle.copy()
        some = np.flatnonzero(unfinished)
        f_at[some] = function(at[some], some)
        lower, on_left = f_at < f_middle, np.sign(at - middle) == np.sign(left - middle)
        # The higher one of the new place and the old middle becomes an end of the bracket.
        end, f_end = np.where(lower, (middle, f_middle), (at, f_at))
        ends = unfinished & (lower != on_left), unfinished & (lower == on_left)
        left, f_left = np.where(ends[0], (end, f_end), (left, f_left))
        right, f_right = np.where(ends[1], (end, f_end), (right, f_right))
        middle, f_middle = np.where(lower, (at, f_at), (middle, f_middle))
    return middle, f_middle


def quartic_minimum(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    places: np.ndarray,
    values: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Improve minima of Q smooth functions by a polynomial through five points each.

    The result depends smoothly on the values, so rounding errors in the values hardly change it. A
    minimum found by comparing values is only accurate to the square root of these errors.

    Args:
        function: as for `bracketed_minimum`.
        places: (Q,) near the minima.
        values: (Q,) at these places.
        tolerance: a place is replaced unless its value increases by more than this.

    Returns:
        Places (Q,) of the minima and the values (Q,) there.
    """
    every = np.arange(len(places))
    low2, low1, high1, high2 = (function(places + STEP * k, every) for k in (-2, -1, 1, 2))
    at = quartic_vertex(np.stack([low2, low1, values, high1, high2]))
    moved = places + STEP * np.nan_to_num(at)
    found = function(moved, every)
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


def _vertex(places: tuple[np.ndarray, ...], values: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return the vertex of the parabola through three points, or NaN if there is none."""
    (left, middle, right), (f_left, f_middle, f_right) = places, values
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (middle - left) * (f_right - f_middle)
        b = (right - middle) * (f_left - f_middle)
        share = a / (a + b)
    vertex = 0.5 * (share * (left - right) + middle + right)
    return np.where(np.isfinite(f_left) & np.isfinite(f_right), vertex, np.nan)


def _apart(place: np.ndarray, middle: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Move a place that is too close to the middle into the larger part of the bracket."""
    least = np.copysign(LEAST_WIDTH / 2, left - middle)
    return np.where(abs(place - middle) < LEAST_WIDTH / 2, middle + least, place)
