"""Finite differences, the oracle of derivatives."""

from __future__ import annotations

from collections.abc import Callable


def slope(f: Callable[[float], float], h: float = 1e-4) -> float:
    """Central difference of fourth order."""
    return float((8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h))
