"""Checks of single arguments. Errors name the argument, its value and the expected values."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..text import shown


def integer(value: Any, name: str, minimum: float = 1, maximum: float = math.inf) -> int:
    """Return ``value`` as a Python int within these limits; refuse bool and floats."""
    try:
        given: Any = None if isinstance(value, (bool, np.bool_)) else value
        found = operator.index(given)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {shown(value)}") from None
    if not minimum <= found <= maximum:
        limit = f"least {minimum}" if found < minimum else f"most {maximum}"
        raise ValueError(f"{name} must be at {limit}, got {found}")
    return found


def per_axis(value: Any, name: str, ndim: int, minimum: float = 1) -> tuple[int, ...]:
    """Return an integer for every kernel axis, from one for all axes or one per axis."""
    listed = value if isinstance(value, (tuple, list)) else (value,) * ndim
    if len(listed) != ndim:
        raise ValueError(f"{name}={shown(value)} must have one entry per kernel axis, {ndim}")
    return tuple(integer(v, name, minimum) for v in listed)


def pairs(value: Sequence[Any], name: str, ndim: int) -> tuple[tuple[int, int], ...]:
    """Return a pair of integers for every axis. A single pair is the pair of one axis."""
    listed = [value] if ndim == 1 and all(np.ndim(v) == 0 for v in value) else value
    if len(listed) != ndim or not all(np.ndim(p) == 1 and len(p) == 2 for p in listed):
        raise ValueError(f"{name}={shown(value)} must have one pair of integers per axis, {ndim}")
    return tuple((integer(a, name, -math.inf), integer(b, name, -math.inf)) for a, b in listed)


def number(value: Any, name: str, above: float = 0.0, *, included: bool = False) -> float:
    """Return ``value`` as a finite float above ``above``, or equal to it if ``included``."""
    # Python's float() would read words, and drop an imaginary part.
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number, got {shown(value)}")
    found = float(array)
    if not (math.isfinite(found) and (found > above or (included and found == above))):
        least = "" if math.isinf(above) else f" and {'at least' if included else 'above'} {above:g}"
        raise ValueError(f"{name} must be finite{least}, got {shown(value)}")
    return found


def fraction(value: Any, name: str) -> float:
    """Return ``value`` as a float between 0 and 1, both excluded."""
    if not 0 < (found := number(value, name, -math.inf)) < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {found:g}")
    return found


def flag(value: Any, name: str) -> bool:
    """Return ``value`` as a bool; refuse numbers and words."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def choice(value: Any, name: str, choices: Sequence[str], otherwise: str = "") -> str:
    """Return ``value`` if it is one of the words; ``otherwise`` names other values in an error."""
    if isinstance(value, str) and value in choices:
        return value
    listed = " or ".join(map(repr, choices)) + otherwise
    if isinstance(value, str):
        raise ValueError(f"{name}={shown(value)} is unknown; choose {listed}")
    raise TypeError(f"{name} must be {listed}, got {shown(value)}")
