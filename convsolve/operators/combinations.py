"""Linear combinations of outputs, which replace many outputs in a pass over the data.

Outputs are combined with their neighbours, so that a combination costs as much for thousands of
outputs as for a hundred.
"""

from __future__ import annotations

import numpy as np

from ..parallel import in_order

# Number of outputs that are combined with each other.
TOGETHER = 128


def blocks(outputs: int) -> list[slice]:
    """Return slices of the outputs that are combined with each other."""
    return [slice(first, first + TOGETHER) for first in range(0, outputs, TOGETHER)]


def combined(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return combinations (..., B·s) of values (..., Q), for B blocks and weights (..., Q, s)."""
    parts = blocks(values.shape[-1])
    several = [*in_order(lambda some: values[..., some] @ weights[..., some, :], parts)]
    return several[0] if len(several) == 1 else np.concatenate(several, axis=-1)
