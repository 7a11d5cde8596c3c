"""Noise that is correlated in time, for simulations of coverage."""

from __future__ import annotations

import numpy as np
import scipy.signal


def red(
    rng: np.random.Generator, rows: int, columns: int, pole: float = 0.9, burn: int = 100
) -> np.ndarray:
    """AR(1) noise (rows, columns), after a start that is thrown away."""
    e = rng.standard_normal((rows + burn, columns))
    return scipy.signal.lfilter([1.0], [1.0, -pole], e, axis=0)[burn:]
