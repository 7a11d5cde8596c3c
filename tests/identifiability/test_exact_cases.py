"""identify on exact inputs, by every route, against fraction-free elimination."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest

import convsolve as cs
from convsolve.identifiability.wording import method
from support.dense import rank_and_mask
from support.exact_cases import BY_NAME, CASES
from support.ordering import null_kernels, taps_of
from support.routes import EPS, ROUTES, check_null_space, equilibrated, spectrum, verdict_of
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
    for by in ROUTES:
        check(name, by)


def check(name: str, by: str) -> None:
    case, (verdict, ranks, mask, bias) = BY_NAME[name], expected(name)
    report = cs.identify(case.problem(), limits=ROUTES[by])
    assert report.verdict == verdict
    assert (report._diagnosis.group_ranks, report.rank) == (ranks, min(ranks))
    assert report.nullity == report.n_unknowns - min(ranks)
    assert report.unique == (verdict in ("exactly determined", "overdetermined"))
    assert np.array_equal(taps_of(report, "identifiable").reshape(mask.shape), mask)
    assert report.bias_identifiable == bias
    if "Cholesky" in method(report._diagnosis):
        assert "gram" in by
        assert report.unique
    for a, rank, null, known in zip(case.matrices(), ranks, null_kernels(report), mask.T):
        assert null.shape == (report.n_unknowns - rank, *case.problem().kernel_shape[:-1])
        null = null.reshape(len(null), len(mask)).T
        check_null_space(a, case.bias, null)
        assert (np.abs(null[known]) <= 20 * EPS).all()


def test_a_gram_asked_first_decides_where_it_can() -> None:
    """Where its entries do not underflow, it proves every full rank of the table."""
    determined = ("exactly determined", "overdetermined")
    unique = [name for name in BY_NAME if expected(name)[0] in determined]
    for name in unique:
        report = cs.identify(BY_NAME[name].problem(), limits=ROUTES["gram"])
        assert ("Cholesky" in method(report._diagnosis)) == ("2^-600 below" not in name), name


def test_the_table() -> None:
    """Many cases of every verdict, none near the tolerance: the least singular value counts."""
    assert len(BY_NAME) == len(CASES) >= 150
    assert min(Counter(expected(name)[0] for name in BY_NAME).values()) >= 15
    assert sum(not expected(name)[3] for name in BY_NAME) >= 20
    partly = [mask for _, _, mask, _ in map(expected, BY_NAME) if mask.any() and not mask.all()]
    assert len(partly) >= 20
    for name, case in BY_NAME.items():
        for a, rank in zip(case.matrices(), expected(name)[1], strict=True):
            found = spectrum(a, case.bias)
            rank -= case.bias
            assert rank == 0 or found.values[rank - 1] > 1.5 * found.high, name


def test_the_oracle_knows_textbook_ranks() -> None:
    n = np.arange(12.0)
    windows = np.lib.stride_tricks.sliding_window_view
    for x, rank in ((n * 0 + 3, 1), (n, 2), (n**2, 3), (2.0**-n, 1), (n % 5, 5), (n * 0, 0)):
        assert rank_and_mask(windows(x, 6))[0] == rank


def test_the_oracle_by_definition() -> None:
    """e_j is in the row space iff it adds nothing to the rank; and by floats, where these can."""
    rng = np.random.default_rng(5)
    for _ in range(100):
        m, p, r = rng.integers(1, 7, 3)
        a = (
            rng.integers(-3, 4, (m, r))
            @ rng.integers(-1, 2, (r, p))
            * 2.0 ** rng.integers(-9, 9, p)
        )
        rank, mask = rank_and_mask(a)
        assert rank == np.linalg.matrix_rank(equilibrated(a))
        more = [rank_and_mask(np.vstack([a, e]))[0] for e in np.eye(p)]
        assert mask.tolist() == [found == rank for found in more]
