"""Factors of many groups at once, compared with factors of each group."""

from __future__ import annotations

import numpy as np
import pytest

from convsolve.linalg.factor import Factor, Truncated
from convsolve.linalg.factors import Factors, cholesky_factors, triangular_factors
from convsolve.linalg.lapack import ROW_BY_ROW, inverse
from convsolve.linalg.qr import tree_qr, without_dust

EPS = float(np.finfo(float).eps)
GROUPS, ROWS, COLUMNS, OUTPUTS = 9, 30, 5, 2


def matrices(rng: np.random.Generator) -> np.ndarray:
    """(G, n, P) of columns of norm one: of conditions up to 1e14, two equal columns, one of zeros.

    The first and the last groups are plain noise.
    """
    a = rng.standard_normal((GROUPS, ROWS, COLUMNS))
    for group, condition in ((2, 1e3), (3, 1e7), (4, 1e14)):
        a[group, :, 1] = a[group, :, 0] + a[group, :, 1] / condition
    a[5, :, 3], a[6, :, 2] = a[5, :, 0], 0.0
    norms = np.linalg.norm(a, axis=1, keepdims=True)
    return a / np.where(norms > 0, norms, 1.0)


@pytest.fixture
def a(rng: np.random.Generator) -> np.ndarray:
    return matrices(rng)


NO_UNITS = np.zeros((GROUPS, COLUMNS), int)


def factor_of(r: np.ndarray, exponents: np.ndarray, rows: int) -> Factor:
    return triangular_factors(r[None], exponents[None], rows)[0]


def cholesky_factor(gram: np.ndarray, rows: int, certain: bool = False) -> Factor | None:
    no_units = np.zeros((1, len(gram)), int)
    return cholesky_factors(gram[None].copy(), no_units, rows, certain).get(0)


def triangles(a: np.ndarray) -> tuple[Factors, Factors]:
    """Factors of all groups at once, and one by one, of the same R."""
    r = without_dust(tree_qr([a]))
    one_by_one = [triangular_factors(one[None], NO_UNITS[:1], ROWS) for one in r]
    return triangular_factors(r, NO_UNITS, ROWS), Factors.joined(one_by_one)


@pytest.mark.parametrize("parts", [1, 2, 13])
def test_a_tree_of_blocks_keeps_singular_values(a: np.ndarray, parts: int) -> None:
    """Also if blocks have fewer rows than columns."""
    for r, rows in zip(tree_qr(np.array_split(a, parts, axis=1)), a, strict=True):
        values = np.linalg.svd(rows, compute_uv=False)
        found = np.linalg.svd(r, compute_uv=False)
        np.testing.assert_allclose(found, values, rtol=0, atol=20 * EPS * values[0])
        assert not np.tril(r, -1).any()


def test_rounding_of_rounding_is_removed_from_a_triangle() -> None:
    """An SVD of tiny entries is slow."""
    r = np.array([[1.0, 2.0], [0.0, EPS**2 / 4]])
    np.testing.assert_array_equal(without_dust(r[None])[0], [[1.0, 2.0], [0.0, 0.0]])


def test_fewer_rows_than_columns_give_a_wide_triangle(rng: np.random.Generator) -> None:
    a = rng.standard_normal((4, 3, 7))
    r = tree_qr(np.array_split(a, 2, axis=1))
    assert r.shape == (4, 3, 7)
    np.testing.assert_allclose(r.swapaxes(1, 2) @ r, a.swapaxes(1, 2) @ a, atol=1e-13)


def test_factors_and_solutions_of_each_group(a: np.ndarray, rng: np.random.Generator) -> None:
    together, apart = triangles(a)
    assert together.complete
    deficient = [[g for g, f in enumerate(of) if not f.full_rank] for of in (together, apart)]
    assert deficient == [[4, 5, 6]] * 2
    for f, one in zip(together, apart, strict=True):
        assert (f.rank, f.verdict, type(f)) == (one.rank, one.verdict, type(one))
        np.testing.assert_allclose(f.at_least, one.at_least, rtol=1e-10)
        np.testing.assert_allclose(f.noise_gain, one.noise_gain, rtol=1e-12)
    z = rng.standard_normal((GROUPS, COLUMNS, OUTPUTS))
    for of in (Factors.solve, Factors.solve_by_svd, Factors.solve_normal, Factors.whitened_norms):
        for group, (one, exact) in enumerate(zip(of(together, z), of(apart, z), strict=True)):
            values = np.linalg.svd(a[group], compute_uv=False)
            condition = values[0] / (values[-2] if group in (4, 5, 6) else values[-1])
            # Normal equations square the condition.
            rtol = 1e3 * EPS * condition ** (2 if of is Factors.solve_normal else 1)
            if rtol < 1:
                size = np.abs(exact).max()
                np.testing.assert_allclose(one, exact, rtol=rtol, atol=rtol * size)


def test_a_gram_certifies_the_same_groups(a: np.ndarray) -> None:
    grams = a.swapaxes(1, 2) @ a
    together = cholesky_factors(grams.copy(), NO_UNITS, ROWS)
    several = [cholesky_factor(g, ROWS) for g in grams]
    assert [together.get(g) is None for g in range(GROUPS)] == [f is None for f in several]
    assert not together.complete
    assert {together.get(g) is None for g in (3, 4, 5, 6)} == {True}
    z = np.ones((GROUPS, COLUMNS, 1))
    solved = together.solve_normal(z)
    for g, f in enumerate(several):
        if f is not None:
            np.testing.assert_allclose(solved[g], f.solve_normal(z[g]), rtol=1e-6)
            assert together[g].source == "gram"
            assert together[g].at_least == f.at_least
    pivots = np.abs([np.diagonal(f.r) for f in several if f is not None])
    np.testing.assert_allclose(together.pivots, (pivots.min(), pivots.max()), rtol=1e-12)
    # A ridge makes certain that the rank is full.
    grams += 1e-14 * np.eye(COLUMNS)
    assert cholesky_factors(grams, NO_UNITS, ROWS, certain=True).complete


@pytest.mark.parametrize("columns", [1, 5, ROW_BY_ROW + 3])
def test_indefinite_grams_among_others(columns: int, rng: np.random.Generator) -> None:
    """They are factored row by row and, if there are more columns, by LAPACK."""
    a = rng.standard_normal((GROUPS, columns + 20, columns))
    grams = a.swapaxes(1, 2) @ a
    grams[3], grams[5] = -grams[3], np.diag([*np.ones(columns - 1), 0.0])
    units = np.zeros((GROUPS, columns), int)
    found = cholesky_factors(grams.copy(), units, columns + 20, certain=True)
    assert [g for g in range(GROUPS) if found.get(g) is None] == [3, 5]
    for g in {*range(GROUPS)} - {3, 5}:
        one = cholesky_factor(grams[g], columns + 20, certain=True)
        assert one is not None
        np.testing.assert_allclose(found[g].r, one.r, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(found[g].r, np.triu(found[g].r))


@pytest.mark.parametrize("columns", [1, 7, 32])
def test_inverses_of_triangles(columns: int, rng: np.random.Generator) -> None:
    r = np.triu(rng.standard_normal((4, columns, columns)) / columns) + np.eye(columns)
    unit = np.broadcast_to(np.eye(columns), r.shape)
    np.testing.assert_allclose(inverse(r) @ r, unit, atol=1e-12)
    np.testing.assert_array_equal(np.tril(inverse(r), -1), 0.0)


@pytest.mark.parametrize(("rows", "spread"), [(ROWS, 0), (ROWS, 40), (COLUMNS - 2, 6)])
def test_deficient_groups_of_any_rank(rows: int, spread: int, rng: np.random.Generator) -> None:
    """Ranks are 0 to P - 1, and units differ by up to 2^spread."""
    ranks = [*range(min(rows, COLUMNS - 1) + 1)] * 2
    a = np.stack(
        [rng.standard_normal((rows, k)) @ rng.standard_normal((k, COLUMNS)) for k in ranks]
    )
    a[-1, :, 2] = 0.0
    exponents = rng.integers(-spread, 1, (len(a), COLUMNS))
    r = a if rows < COLUMNS else without_dust(tree_qr([a]))
    together = triangular_factors(r, exponents, rows)
    assert together.ranks.tolist() == ranks
    assert together.complete
    assert not together.full_rank
    z = rng.standard_normal((len(a), r.shape[1], OUTPUTS))
    g, w = r.swapaxes(1, 2) @ z, rng.standard_normal((len(a), COLUMNS, OUTPUTS))
    found = together.solve(z), together.solve_normal(g), together.solve_by_svd(z)
    y_norms = np.linalg.norm(z, axis=1)
    assert not np.isfinite(together.whitened_norms(g)).any()
    shares = []
    for i, rank in enumerate(ranks):
        one = factor_of(r[i], exponents[i], rows)
        assert isinstance(one, Truncated)
        assert isinstance(together[i], Truncated)
        assert together[i].rank == one.rank == rank
        assert together.verdicts[i] == one.verdict == "deficient"
        wanted = one.solve(z[i]), one.solve_normal(g[i]), one.solve_by_svd(z[i])
        for several, exact in zip(found, wanted, strict=True):
            size = np.abs(exact).max(initial=0.0)
            np.testing.assert_allclose(several[i], exact, rtol=1e-9, atol=1e-9 * size)
        np.testing.assert_array_equal(found[0][i][~r[i].any(0)], 0.0)
        shares.append(one.null_share(w[i], y_norms[i]))
    np.testing.assert_allclose(together.null_share(w, y_norms), max(shares), rtol=1e-9)
    assert together.null_share(found[0], y_norms) < 100 * EPS
