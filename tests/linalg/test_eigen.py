"""Products with eigenvectors, formed or not, against the matrix."""

from __future__ import annotations

import numpy as np
import pytest

from convsolve.linalg.lapack import FEW, Eigenvectors


@pytest.mark.parametrize("size", [0, 1, 30, FEW + 50])
def test_eigenvectors_diagonalize_the_matrix(size: int) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((size, size))
    a, few = a + a.T, rng.standard_normal((size, 3))
    found = Eigenvectors(a.copy())
    alone = found.forward(few)
    v = found.forward(np.eye(size))
    np.testing.assert_allclose(v.T @ v, np.eye(size), atol=1e-12)
    np.testing.assert_allclose(a @ v, v * found.values, atol=1e-10)
    np.testing.assert_allclose(alone, v @ few, atol=1e-11)
    np.testing.assert_allclose(found.adjoint(few), v.T @ few, atol=1e-11)
