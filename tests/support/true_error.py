"""The backward error of a least-squares solution in extended precision."""

from __future__ import annotations

import numpy as np

from contract.oracle import REAL, System, powers_of_two


def backward_error(a: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """The Karlson–Waldén estimate of w (P, Q) with columns of norm about one, the largest of Q."""
    scale = powers_of_two(a.astype(REAL))
    found = System(a * scale, y.astype(REAL)).backward_error(w / scale[:, None])
    return float(found.max())
