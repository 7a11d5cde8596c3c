"""Products of few taps by BLAS against the brute-force matrix, and against FFTs."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from convsolve.operators import gram, overlap_save, products, short_kernels
from convsolve.operators.overlap_save import Series
from support import dense

ONE = np.ones(1)


@pytest.fixture(params=[(32, 2**20), (3, 40)], ids=["whole", "blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks as they are, and blocks shorter than the kernel, a few at a time."""
    step, numbers = request.param
    monkeypatch.setattr(short_kernels, "STEP", step)
    monkeypatch.setattr(overlap_save, "CHUNK_NUMBERS", numbers)


def case(rows: int, taps: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integers: x (N, T + K - 1, 1), y (N, T, Q), and A (N·T, K)."""
    rng = np.random.default_rng([rows, taps, outputs])
    x = rng.integers(-9, 10, (3, rows + taps - 1, 1)).astype(float)
    y = rng.integers(-9, 10, (3, rows, outputs)).astype(float)
    return x, y, dense.design_matrix(x, cs.ConvSpec(taps))[0]


SIZES = [(97, 8, 2), (5, 3, 1), (70, 33, 3), (40, 1, 2)]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("rows", "taps", "outputs"), SIZES)
def test_products_and_moments_are_exact_for_integers(rows: int, taps: int, outputs: int) -> None:
    x, y, a = case(rows, taps, outputs)
    series, of_y = Series(x, ONE, 0 * ONE), Series(y, np.ones(outputs), np.zeros(outputs))
    assert short_kernels.short(series, (taps,))
    w = np.arange(1.0, 1 + taps * outputs).reshape(taps, 1, outputs)
    flat, right = w[:, 0], y.reshape(-1, outputs)
    np.testing.assert_array_equal(products.forward(series, w).reshape(right.shape), a @ flat)
    np.testing.assert_array_equal(products.adjoint(series, of_y, (taps,))[:, 0], a.T @ right)
    offset = np.arange(outputs) + 0.5
    seen = a @ flat - offset
    np.testing.assert_array_equal(products.gram_of_products(series, w, offset), seen.T @ seen)
    found, r = products.misfit(series, of_y, w, offset), right - offset - a @ flat
    for value, wanted in zip(found[:3], ((r**2).sum(0), a.T @ r, r.sum(0)), strict=True):
        np.testing.assert_array_equal(value.reshape(wanted.shape), wanted)
    found = gram.moments([(series, of_y)], (taps,))
    exact = a.T @ a, a.T @ right, right.sum(0), (right**2).sum(0)
    for value, wanted in zip(found, exact, strict=True):
        np.testing.assert_array_equal(value, wanted)
    alone = gram.moments([(series, None)], (taps,))
    np.testing.assert_array_equal(alone.gram, exact[0])
    assert alone.rhs.shape == (taps, 0)


@pytest.mark.usefixtures("blocks")
def test_a_transient_at_the_start_leaves_the_rest_its_digits() -> None:
    """Every entry of AᵀA is good to its own size."""
    x, _, _ = case(300, 20, 1)
    x[:, :3] *= 2.0**40
    a = dense.design_matrix(x, cs.ConvSpec(20))[0]
    found = gram.moments([(Series(x, ONE, 0 * ONE), None)], (20,)).gram
    np.testing.assert_allclose(found, a.T @ a, rtol=1e-13)
