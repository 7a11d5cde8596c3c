"""Tridiagonal forms, compared with eigenvalues and solutions of NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from convsolve.linalg.tridiagonal import Tridiagonal


@pytest.mark.parametrize("size", [0, 1, 2, 60])
@pytest.mark.parametrize("rank", [0.5, 1.0])
def test_eigenvalues_ends_and_solutions(size: int, rank: float) -> None:
    rng = np.random.default_rng(size)
    root = rng.standard_normal((size, int(np.ceil(rank * size))))
    matrix, right = root @ root.T, rng.standard_normal((size, 4))
    found, wanted = Tridiagonal(matrix), np.linalg.eigvalsh(matrix)
    largest = wanted.max(initial=0.0)
    np.testing.assert_allclose(found.eigenvalues, wanted, rtol=1e-12, atol=1e-13 * largest)
    np.testing.assert_allclose(found.largest, largest, rtol=1e-13)
    # What rounding makes negative lies within the resolution.
    assert -wanted.min(initial=0.0) <= found.resolution <= 1e-12 * largest
    shift = 0.1 * largest or 1.0
    answer = found.rotate(found.solve(shift, found.rotate(right)), back=True)
    exact = np.linalg.solve(matrix + shift * np.eye(size), right)
    np.testing.assert_allclose(answer, exact, rtol=1e-10, atol=1e-12)
