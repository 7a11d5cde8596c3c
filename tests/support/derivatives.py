"""Finite differences, the oracle of derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import pytest


def slope(f: Callable[[float], Any], h: float = 1e-4) -> float:
    """Central difference of fourth order, good to about 1e-10 of smooth functions."""
    return float((8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h))


def check_gradients(f: Callable[[Any], Any]) -> None:
    """Of f at 0, in reverse and in forward mode."""
    f = jax.jit(f)
    assert float(jax.grad(f)(0.0)) == pytest.approx(slope(f), rel=1e-6)
    assert float(jax.jvp(f, (0.0,), (1.0,))[1]) == pytest.approx(slope(f), rel=1e-6)


def check_second_derivatives(f: Callable[[Any], Any]) -> None:
    """Of f at 0, the gradient of the gradient."""
    reverse = jax.jit(jax.grad(f))
    assert float(jax.grad(reverse)(0.0)) == pytest.approx(slope(reverse), rel=1e-6)
