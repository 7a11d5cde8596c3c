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

    @jax.jit
    def all_of_it(t: Any) -> tuple[Any, Any, Any]:
        return f(t), jax.grad(f)(t), jax.jvp(f, (t,), (1.0,))[1]

    wanted = pytest.approx(slope(lambda t: all_of_it(t)[0]), rel=1e-6)
    _, reverse, forward = all_of_it(0.0)
    assert float(reverse) == wanted
    assert float(forward) == wanted


def check_second_derivatives(f: Callable[[Any], Any]) -> None:
    """Of f at 0, the gradient of the gradient."""

    @jax.jit
    def both(t: Any) -> tuple[Any, Any]:
        return jax.grad(f)(t), jax.grad(jax.grad(f))(t)

    assert float(both(0.0)[1]) == pytest.approx(slope(lambda t: both(t)[0]), rel=1e-6)
