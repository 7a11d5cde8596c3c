"""Nuisance columns of many records against one dense matrix, and their number of layouts."""

from __future__ import annotations

import numpy as np

from convsolve.operators.nuisance import nuisance_blocks
from convsolve.problem.confounds import Confounds, Terms
from convsolve.problem.rows import Rows, Weights

LENGTHS = (7, 9, 7, 0, 7, 9)


def rows(masked: bool) -> Rows:
    """Records of two lengths, one without rows; with a mask two records lack the same row."""
    shapes = tuple((n,) for n in LENGTHS)
    if not masked:
        return Rows(shapes, (0,))
    flags = [np.ones(n, bool) for n in LENGTHS]
    flags[0][3] = flags[2][3] = flags[5][8] = False
    return Rows(shapes, (0,), tuple(flags))


def test_records_of_one_shape_share_a_layout() -> None:
    kept = Rows(((60,),) * 5000, (0,))
    found = Confounds.of(Terms(2), False, kept, Weights(tuple(np.full(5000, 2.0))))
    assert len(found.layouts) == 1
    (block,) = nuisance_blocks(found, [(i, 0, 60) for i in range(5000)])
    np.testing.assert_array_equal(block.places.reshape(-1), np.arange(found.count))
    assert len(Confounds.of(Terms(2), False, rows(False), None).layouts) == 3
    assert len(Confounds.of(Terms(2), False, rows(True), None).layouts) == 5
