"""Which samples of y are rows, counted and put back by hand."""

from __future__ import annotations

import numpy as np

import convsolve as cs
from convsolve.problem.rows import Rows


def test_records_are_counted_and_found_in_y() -> None:
    """Lags 2 to 4 leave the last samples of y of every record, and none of one that is short."""
    spec = cs.ConvSpec(3, padding=((0, 0),))
    rows = Rows.of(spec, [(7,), (2,), (5,)], starts=(4,))
    assert rows.shapes == ((5,), (0,), (3,))
    assert (rows.count, rows.used) == (8, [0, 2])
    assert [index.tolist() for (index,) in rows.in_y] == [[4, 5, 6, 7, 8], [], [4, 5, 6]]


def test_values_return_to_their_records_in_any_order() -> None:
    rows = Rows.of(cs.ConvSpec((1, 1)), [(2, 3), (1, 2)])
    values = np.arange(16.0).reshape(2, 8)
    large, small = rows.by_record(values, [1, 0])
    np.testing.assert_array_equal(small, values[:, :2].T.reshape(1, 2, 2))
    np.testing.assert_array_equal(large, values[:, 2:].T.reshape(2, 3, 2))
    assert Rows.of(cs.ConvSpec((1, 1)), [(2, 3)]).starts == (0, 0)
