"""Nuisance columns of many records against one dense matrix, and their number of layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convsolve.operators.nuisance import without_confounds
from convsolve.operators.nuisance_blocks import columns_of, nuisance_blocks
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


def columns(given: Any, bias: bool, kept: Rows, weights: Weights | None) -> np.ndarray:
    """N over all rows, times the roots of the weights, not orthonormal."""
    found = []
    for i, n in enumerate(LENGTHS):
        own = [np.zeros((n, 0))] * len(LENGTHS)
        if isinstance(given, Records):
            own[i] = given.arrays[i]
        elif given is not None:
            own[i] = np.arange(n)[:, None] ** np.arange(given + 1.0)
        widths = [0 if given is None else own[i].shape[1] for _ in range(len(LENGTHS))]
        blocks = [own[i] if j == i else np.zeros((n, w)) for j, w in enumerate(widths)]
        whole = np.hstack([*blocks, np.ones((n, int(bias)))])
        root = 1.0 if weights is None else np.broadcast_to(weights.roots[i], (n,))[:, None]
        found.append((root * whole)[kept.flags_of(i)])
    return np.concatenate(found)


@pytest.mark.parametrize("weighted", ["none", "records", "rows"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("confounds", ["intercept", "drift", "columns", "bias", "columns, bias"])
def test_values_without_confounds_are_residuals_of_least_squares(
    confounds: str, masked: bool, weighted: str
) -> None:
    rng = np.random.default_rng(3)
    kept, bias = rows(masked), "bias" in confounds
    given: Any = {"intercept": 0, "drift": 2}.get(confounds)
    if "columns" in confounds:
        given = Records(tuple(rng.standard_normal((n, 2)) for n in LENGTHS), "list", True, False)
    weights = {
        "none": None,
        "records": Weights(tuple(np.array(1.0 + i) for i in range(6))),
        "rows": Weights(tuple(1 + np.arange(n) / (i + 1.0) for i, n in enumerate(LENGTHS))),
    }[weighted]
    found = Confounds.of(given, bias, kept, weights)
    values = [np.array([0.0, 1e3]) + rng.standard_normal((n, 2)) for n in LENGTHS]
    left = without_confounds(found, values)
    n = columns(given, bias, kept, weights)
    root = [
        np.ones(m) if weights is None else np.broadcast_to(w, (m,))
        for m, w in zip(LENGTHS, weights.roots if weights else [1] * 6, strict=True)
    ]
    v = np.concatenate(
        [(a * r[:, None])[kept.flags_of(i)] for i, (a, r) in enumerate(zip(values, root))]
    )
    wanted = v - n @ np.linalg.lstsq(n, v, rcond=None)[0]
    np.testing.assert_allclose(np.concatenate(left), wanted, atol=1e-10)
    assert found.count == np.linalg.matrix_rank(n)


def test_records_that_are_alike_share_a_layout() -> None:
    """So that the time does not depend on the number of records, but on their sizes."""
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
