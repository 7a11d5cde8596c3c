"""Sums over batches do not depend on the order in which threads finish."""

from __future__ import annotations

import time

import numpy as np

from convsolve.operators.overlap_save import Batch, Product, summed

BATCHES = [Batch(slice(0, 1), start, 1, 1, 1) for start in range(23)]


def random_product(number: int) -> Product:
    rng = np.random.default_rng(number)
    a, b = rng.standard_normal((2, 7, 5, 3, 4)) + 1j * rng.standard_normal((2, 7, 5, 3, 4))
    return Product(a, b.swapaxes(-1, -2))


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
