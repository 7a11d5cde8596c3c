"""Factors of many groups at once, compared with factors of each group."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from convsolve.linalg.factor import Truncated
from convsolve.linalg.factors import Factors, cholesky_factors, triangular_factors
from convsolve.linalg.qr import tree_qr, without_dust

EPS = float(np.finfo(float).eps)
GROUPS, ROWS, COLUMNS, OUTPUTS = 9, 30, 5, 2
UNITS = np.zeros((GROUPS, COLUMNS), int)


@pytest.fixture
def a(rng: np.random.Generator) -> np.ndarray:
    """(G, n, P) of columns of norm one: of conditions up to 1e14, two equal columns, one of zeros.

    The first and the last groups are plain noise.
    """
    a = rng.standard_normal((GROUPS, ROWS, COLUMNS))
    for group, condition in ((2, 1e3), (3, 1e7), (4, 1e14)):
        a[group, :, 1] = a[group, :, 0] + a[group, :, 1] / condition
    a[5, :, 3], a[6, :, 2] = a[5, :, 0], 0.0
    norms = np.linalg.norm(a, axis=1, keepdims=True)
    return a / np.where(norms > 0, norms, 1.0)


@pytest.mark.parametrize("parts", [1, 2, 13])
@pytest.mark.parametrize("groups", [1, GROUPS])
def test_a_tree_of_blocks_keeps_singular_values(a: np.ndarray, parts: int, groups: int) -> None:
    """Also if blocks have fewer rows than columns."""
    found = tree_qr(np.array_split(a[:groups], parts, axis=1), rows=1)
    values = np.linalg.svd(a[:groups], compute_uv=False)
    np.testing.assert_allclose(np.linalg.svd(found, compute_uv=False), values, atol=40 * EPS)
    assert not np.tril(found, -1).any()


def test_factors_and_solutions_of_each_group(a: np.ndarray, rng: np.random.Generator) -> None:
    r = without_dust(tree_qr([a]))
    together = triangular_factors(r, UNITS, ROWS)
    apart = [triangular_factors(r[[g]], UNITS[[g]], ROWS) for g in range(GROUPS)]
    assert together.complete
    assert [g for g, f in enumerate(together) if not f.full_rank] == [4, 5, 6]
    for f, (one,) in zip(together, apart, strict=True):
        assert (f.rank, f.verdict, type(f)) == (one.rank, one.verdict, type(one))
        np.testing.assert_allclose(f.at_least, one.at_least, rtol=1e-10)
        np.testing.assert_allclose(f.noise_gain, one.noise_gain, rtol=1e-12)
    z = rng.standard_normal((GROUPS, COLUMNS, OUTPUTS))
    by_svd = partial(Factors.solve, by_svd=True)
    for of in (Factors.solve, by_svd, Factors.solve_normal, Factors.whitened_norms):
        for group, (found, factors) in enumerate(zip(of(together, z), apart, strict=True)):
            values = np.linalg.svd(a[group], compute_uv=False)
            condition = values[0] / (values[-2] if group in (4, 5, 6) else values[-1])
            # Normal equations square the condition.
            rtol = 1e3 * EPS * condition ** (2 if of is Factors.solve_normal else 1)
            if rtol < 1:
                exact = of(factors, z[[group]])[0]
                size = np.abs(exact).max()
                np.testing.assert_allclose(found, exact, rtol=rtol, atol=rtol * size)


def test_a_gram_certifies_groups_of_full_rank(a: np.ndarray) -> None:
    grams = a.mT @ a
    found = cholesky_factors(grams.copy(), ROWS)
    assert {found.get(g) is None for g in (3, 4, 5, 6)} == {True}
    assert {found[g].source for g in (0, 1, 2, 7, 8)} == {"gram"}
    z = np.ones((GROUPS, COLUMNS, 1))
    for g in (0, 2, 8):
        solved = np.linalg.solve(grams[g], z[g])
        np.testing.assert_allclose(found.solve_normal(z)[g], solved, rtol=1e-6)
    # A ridge makes certain that the rank is full.
    grams += 1e-14 * np.eye(COLUMNS)
    assert cholesky_factors(grams, ROWS, certain=True).complete


@pytest.mark.parametrize(("rows", "spread"), [(ROWS, 0), (ROWS, 40), (COLUMNS - 2, 6)])
def test_deficient_groups_of_any_rank(rows: int, spread: int, rng: np.random.Generator) -> None:
    """Ranks are 0 to P - 1, and units differ by up to 2^spread."""
    ranks = [*range(min(rows, COLUMNS - 1) + 1)] * 2
    a = np.stack(
        [rng.standard_normal((rows, k)) @ rng.standard_normal((k, COLUMNS)) for k in ranks]
    )
    a[-1, :, 2] = 0.0
    powers = rng.integers(-spread, 1, (len(a), COLUMNS))
    r = a if rows < COLUMNS else without_dust(tree_qr([a]))
    together = triangular_factors(r, powers, rows)
    assert together.each(lambda f: f.rank).tolist() == ranks
    assert not together.full_rank
    z = rng.standard_normal((len(a), r.shape[1], OUTPUTS))
    found, y_norms = together.solve(z), np.linalg.norm(z, axis=1)
    for i in range(len(a)):
        (one,) = triangular_factors(r[[i]], powers[[i]], rows)
        assert isinstance(one, Truncated)
        np.testing.assert_allclose(found[i], one.solve(z[i]), rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(found[i][~r[i].any(0)], 0.0)
    assert together.null_share(found, y_norms) < 100 * EPS
    assert together.null_share(rng.standard_normal(found.shape), y_norms) > 1e-3
