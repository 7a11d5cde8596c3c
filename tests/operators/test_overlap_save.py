"""Sums over batches do not depend on the order in which threads finish."""

from __future__ import annotations

import time

import numpy as np
import pytest

from convsolve.operators.overlap_save import PRODUCT_NUMBERS, Batch, Product, summed

BATCHES = [Batch(slice(0, 1), start, 1, 1, 1) for start in range(23)]


def random_product(number: int) -> Product:
    rng = np.random.default_rng(number)
    a, b = rng.standard_normal((2, 7, 5, 3, 4)) + 1j * rng.standard_normal((2, 7, 5, 3, 4))
    return Product(a, b.swapaxes(-1, -2))


def test_arrays_and_products_are_added_up() -> None:
    found = summed(lambda b: (np.full(3, b.start), random_product(b.start)), BATCHES)
    several = [random_product(b.start) for b in BATCHES]
    np.testing.assert_array_equal(found[0], np.full(3, sum(b.start for b in BATCHES)))
    np.testing.assert_allclose(found[1], sum(p.a @ p.b for p in several), rtol=0, atol=1e-13)


@pytest.mark.parametrize("numbers", [1, 2 * PRODUCT_NUMBERS])
def test_a_product_is_added_some_frequencies_at_a_time(numbers: int) -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 6, numbers, 1))
    total = np.ones((6, numbers, 1))
    given = Product(a, b[:, :1])
    assert given.added_to(total) is total
    np.testing.assert_array_equal(total, 1 + a * b[:, :1])


def test_sums_do_not_depend_on_the_speed_of_threads() -> None:
    def sums(seed: int) -> list[np.ndarray]:
        waits = np.random.default_rng(seed).choice([0.0, 0.003], len(BATCHES))

        def task(batch: Batch) -> tuple[np.ndarray | Product, ...]:
            time.sleep(waits[batch.start])
            values = np.random.default_rng(batch.start).standard_normal(1000)
            return values, random_product(batch.start)

        return summed(task, BATCHES)

    first = sums(0)
    for seed in range(1, 3):
        for a, b in zip(first, sums(seed), strict=True):
            np.testing.assert_array_equal(a, b)
