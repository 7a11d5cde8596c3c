"""Small arrays that tests of `Problem` share."""

from __future__ import annotations

from typing import Any

import numpy as np

_rng = np.random.default_rng(0)
X = _rng.normal(size=(9, 2))
Y = _rng.normal(size=(7, 3))  # three taps on X


def ones(shapes: Any) -> Any:
    """Arrays of ones: one for a shape, a list of them for a list of shapes."""
    return [np.ones(s) for s in shapes] if isinstance(shapes, list) else np.ones(shapes)
