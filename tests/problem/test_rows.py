"""Which samples of y are rows, counted and put back by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import convsolve as cs
from convsolve.operators.windows import design_matrix
from convsolve.problem.rows import root_of_rows
from support.geometry import Geometry, over_geometries


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
