"""Which samples of y are rows, counted and put back by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

import convsolve as cs
from convsolve.operators.windows import design_matrix
from convsolve.problem.rows import Rows, rows_reading, samples_read
from support.geometry import Geometry, over_geometries


def test_records_are_counted_and_found_in_y() -> None:
    """Lags 2 to 4 leave the last samples of y of every record, and none of one that is short."""
    spec = cs.ConvSpec(3, padding=((0, 0),))
    rows = Rows.of(spec, [(7,), (2,), (5,)], starts=(4,))
    assert rows.shapes == ((5,), (0,), (3,))
    assert (rows.count, rows.used) == (8, [0, 2])
    assert [index.tolist() for (index,) in rows.in_y] == [[4, 5, 6, 7, 8], [], [4, 5, 6]]


def test_rows_are_cut_at_long_gaps() -> None:
    flags = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1, 0], bool)
    rows = replace(Rows.of(cs.ConvSpec(1), [(10,), (4,)]), flags=(flags, np.zeros(4, bool)))
    assert (rows.count, rows.dropped, rows.used, rows.lengths) == (4, 10, [0], [10, 0])
    assert rows.pieces(3) == [(0, 1, 5), (0, 8, 9)]
    assert rows.pieces(1) == [(0, 1, 3), (0, 4, 5), (0, 8, 9)]
    assert rows.pieces(9) == [(0, 1, 9)]
    assert rows.of_span((0, 1, 3)) is None
    assert rows.of_span((0, 1, 5)).tolist() == [True, True, False, True]
    assert [a.tolist() for a in rows.select([np.arange(10), np.arange(4)])] == [[1, 2, 4, 8], []]


@over_geometries(15)
def test_rows_and_the_samples_they_read(geometry: Geometry) -> None:
    """Compared with the non-zeros of a design matrix."""
    spec, shape, rng = geometry.spec, geometry.shapes[0], np.random.default_rng(geometry.seed)
    gaps = rng.random(shape) < 0.1
    one = replace(spec, groups=1)
    reads = design_matrix(gaps[None, ..., None].astype(float), one)[0].any(1)
    np.testing.assert_array_equal(rows_reading(gaps, spec).reshape(-1), reads)
    rows = rng.random(geometry.counts[0]) < 0.3
    names = 1.0 + np.arange(math.prod(spec._extent(shape))).reshape(spec._extent(shape))
    read = design_matrix(names[None, ..., None], one._normal)[0][rows.reshape(-1)]
    found = samples_read(rows, spec)
    np.testing.assert_array_equal(found, np.isin(names, read))
