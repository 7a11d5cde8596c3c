"""Combinations of outputs compared with products with a block diagonal matrix."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import block_diag

from convsolve.operators.combinations import TOGETHER, combined_series
from convsolve.operators.overlap_save import Series


@pytest.mark.parametrize(("groups", "outputs"), [(1, 300), (2, 1200), (3, 5)])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_outputs_are_combined_with_their_neighbours(
    groups: int, outputs: int, shift: float
) -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((2, 130, groups * outputs)).astype(np.float32)
    scale, shifts = np.ldexp(1.0, rng.integers(-3, 3, y.shape[-1])), shift * rng.random(y.shape[-1])
    weights = rng.standard_normal((groups, outputs, 4))
    found = combined_series(Series(y, scale, shifts), weights)
    starts = range(0, outputs, TOGETHER)
    whole = block_diag(*(w[start : start + TOGETHER] for w in weights for start in starts))
    np.testing.assert_allclose(found, (y * scale - shifts) @ whole, rtol=0, atol=1e-11)
