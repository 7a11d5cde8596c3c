"""identify on exact inputs, by every route, compared with fraction-free elimination."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import convsolve as cs
from convsolve.identifiability.wording import method
from support.dense import rank_and_mask
from support.exact_cases import BY_NAME
from support.ordering import null_kernels, taps_of
from support.routes import EPS, ROUTES, check_null_space, equilibrated, verdict_of
from support.slow import some


@cache
def expected(name: str) -> tuple[str, tuple[int, ...], np.ndarray, bool]:
    """Verdict, ranks, mask (P, groups) and whether the bias is determined, from [A 1]."""
    case = BY_NAME[name]
    matrices, bias = case.matrices(), case.bias
    rows, columns = matrices.shape[1:]
    ones = np.ones((rows, int(bias)))
    found = [rank_and_mask(np.hstack([a, ones])) for a in matrices]
    ranks = tuple(rank for rank, _ in found)
    mask = np.stack([mask for _, mask in found], -1)
    full = "overdetermined" if min(ranks) == columns + bias else "rank-deficient"
    verdict = verdict_of(rows, columns + bias, full)
    return verdict, ranks, mask[:columns], bool(mask[columns:].all())


@pytest.mark.parametrize("name", some(BY_NAME, *list(BY_NAME)[::4]))
def test_the_report_is_exact(name: str) -> None:
    case, (verdict, ranks, mask, bias) = BY_NAME[name], expected(name)
    for by in ROUTES:
        report = cs.identify(case.problem(), limits=ROUTES[by])
        assert report.verdict == verdict
        assert (report._diagnosis.group_ranks, report.rank) == (ranks, min(ranks))
        assert report.nullity == report.n_unknowns - min(ranks)
        assert report.unique == (verdict in ("exactly determined", "overdetermined"))
        assert np.array_equal(taps_of(report, "identifiable").reshape(mask.shape), mask)
        assert report.bias_identifiable == bias
        # A Gram matrix proves full rank and nothing else, unless its entries underflow.
        proved = "Cholesky" in method(report._diagnosis)
        assert not proved or ("gram" in by and report.unique)
        assert proved or by != "gram" or not report.unique or "2^-600 below" in name
        for a, rank, null, known in zip(case.matrices(), ranks, null_kernels(report), mask.T):
            assert null.shape == (report.n_unknowns - rank, *case.problem().kernel_shape[:-1])
            null = null.reshape(len(null), len(mask)).T
            check_null_space(a, case.bias, null)
            assert (np.abs(null[known]) <= 20 * EPS).all()


def test_elimination_agrees_with_the_definition() -> None:
    """e_j is in the row space iff it adds nothing to the rank, which is that of NumPy."""
    rng = np.random.default_rng(5)
    for _ in range(100):
        m, p, r = rng.integers(1, 7, 3)
        a = rng.integers(-3, 4, (m, r)) @ rng.integers(-1, 2, (r, p))
        a = a * 2.0 ** rng.integers(-9, 9, p)
        rank, mask = rank_and_mask(a)
        assert rank == np.linalg.matrix_rank(equilibrated(a))
        more = [rank_and_mask(np.vstack([a, e]))[0] for e in np.eye(p)]
        assert mask.tolist() == [found == rank for found in more]
