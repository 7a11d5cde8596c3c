"""Which samples of y are rows, counted and put back by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import convsolve as cs
from convsolve.operators.windows import design_matrix
from convsolve.problem.rows import Rows, root_of_rows, rows_reading, samples_read
from support.geometry import Geometry, over_geometries


def test_rows_are_cut_at_long_gaps() -> None:
    flags = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1, 0], bool)
    rows = Rows(((10,), (4,)), (flags, np.zeros(4, bool)))
    assert (rows.count, rows.dropped, rows.used, rows.lengths) == (4, 10, [0], [10, 0])
    assert rows.pieces(3) == [(0, 1, 5), (0, 8, 9)]
    assert rows.pieces(1) == [(0, 1, 3), (0, 4, 5), (0, 8, 9)]
    assert rows.pieces(9) == [(0, 1, 9)]
    assert rows.of_span((0, 1, 3)).all()
    assert rows.of_span((0, 1, 5)).tolist() == [True, True, False, True]


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


@over_geometries(15)
def test_a_part_of_the_rows(geometry: Geometry) -> None:
    """The part has the rows of the whole matrix, and their y, weights and confounds."""
    rng, (x, y) = np.random.default_rng(geometry.seed), geometry.records()
    of_rows = [rng.random(shape) for shape in geometry.counts]
    terms = {"confounds": [a[..., None] for a in of_rows]} if geometry.bias else {}
    mask = [a < 0.8 for a in of_rows]
    for flags in mask:
        flags.reshape(-1)[:1] = True
    problem = cs.Problem(x, y, spec=geometry.spec, weights=of_rows, mask=mask, **terms)
    spans = [(i, a, n - n // 4) for i, (n, *_) in enumerate(geometry.counts) for a in (0, n // 2)]
    spans = [(i, a, min(a + 2, b)) for i, a, b in spans if min(a + 2, b) > a]
    inside = [np.zeros(shape, bool) for shape in geometry.counts]
    for i, start, stop in spans:
        inside[i][start:stop] = True
    used = [f & problem._kept.flags_of(i) for i, f in enumerate(inside)]
    part, one = problem.of_rows(spans), replace(geometry.spec, groups=1)
    assert part.spec == problem.spec
    assert part.n_equations == sum(map(np.count_nonzero, used))

    def matrix(stated: cs.Problem, flags: list[np.ndarray]) -> np.ndarray:
        pairs = zip(stated.x, flags, strict=True)
        return np.concatenate([design_matrix(a[None], one)[0][f.reshape(-1)] for a, f in pairs])

    def values(stated: cs.Problem, flags: list[np.ndarray]) -> list[np.ndarray]:
        assert stated.y is not None
        y = np.concatenate([a[f] for a, f in zip(stated.y, flags, strict=True)])
        roots = [root_of_rows(stated._weights[i], f) for i, f in enumerate(flags)]
        columns = stated._terms.columns
        arrays = stated.y if columns is None else columns.arrays
        return [y, np.concatenate(roots), np.concatenate([a[f] for a, f in zip(arrays, flags)])]

    own = [*map(part._kept.flags_of, range(len(part.x)))]
    np.testing.assert_array_equal(matrix(part, own), matrix(problem, used))
    for found, expected in zip(values(part, own), values(problem, used), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_part_without_rows_is_refused() -> None:
    mask = np.repeat([[True, False], [True, True]], 5, axis=0)
    problem = cs.Problem(np.arange(10.0), np.ones((10, 2)), lags=(0, 0), mask=mask)
    with pytest.raises(ValueError, match="no row of output 1 is left"):
        problem.of_rows([(0, 0, 5)])
