"""Nuisance columns of many records against one dense matrix, and their number of layouts."""

from __future__ import annotations

import numpy as np

from convsolve.operators.nuisance import columns_of, nuisance_blocks
from convsolve.problem.confounds import Confounds
from convsolve.problem.records import Records
from convsolve.problem.rows import Rows
from convsolve.problem.weights import Weights

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
    found = Confounds.of(2, False, kept, Weights(tuple(np.full(5000, 2.0))))
    assert len(found.layouts) == 1
    (block,) = nuisance_blocks(found, [(i, 0, 60) for i in range(5000)])
    np.testing.assert_array_equal(block.places.reshape(-1), np.arange(found.count))
    assert len(Confounds.of(2, False, rows(False), None).layouts) == 3
    assert len(Confounds.of(2, False, rows(True), None).layouts) == 5


def test_blocks_are_parts_of_all_columns() -> None:
    """In any order of pieces of records, with a column that all records share."""
    rng = np.random.default_rng(5)
    weights = Weights(tuple(np.array(1.0 + i) for i in range(6)))
    given = Records(tuple(rng.standard_normal((n, 2)) for n in LENGTHS), "list", True, False)
    found = Confounds.of(given, True, rows(True), weights)
    spans = [(1, 0, 9), (5, 0, 5), (5, 5, 9), (0, 0, 7), (2, 0, 7), (4, 0, 7)]
    whole = np.zeros((sum(rows(True).sizes), found.count))
    first = 0
    for span in spans:
        places, part = columns_of(found, span)
        whole[first : first + len(part), places] = part
        first += len(part)
    np.testing.assert_allclose(whole.T @ whole, np.eye(found.count), atol=1e-14)
