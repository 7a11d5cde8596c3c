"""identify on matrices built from their SVD: rank and condition against 50 digits and more."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest

import convsolve as cs
from convsolve.identifiability.wording import method
from convsolve.linalg import factor
from convsolve.linalg.factors import triangular_factors
from support.cases import LAYOUTS, from_svd
from support.dense import rank_and_mask
from support.ordering import null_kernels, taps_of
from support.routes import EPS, ROUTES, spectrum, verdict_of
from support.slow import some

every_route = pytest.mark.parametrize("by", ROUTES)


def exact_values(a: np.ndarray, digits: int = 50, bias: bool = False) -> np.ndarray:
    """Singular values of the stored floats, descending; with a bias, less their exact means."""
    with mpmath.workdps(digits):
        m = mpmath.matrix(a.tolist())
        for j in range(a.shape[1] * bias):
            m[:, j] -= mpmath.fsum(m[:, j]) / len(a)
        values = mpmath.svd_r(m, compute_uv=False)
    return np.array([float(v) for v in values])


def bound(report: cs.Identifiability, a: np.ndarray, power: int = 1) -> float:
    """1e-10 + 8·P·eps·κ, κ that of the equilibrated matrix: what its conditioning allows."""
    says = spectrum(a, report.problem.bias)
    kappa = says.values[0] / says.values[says.rank - 1]
    return 1e-10 + 8 * a.shape[1] * EPS * kappa**power


def check_values(report: cs.Identifiability, a: np.ndarray, exact: np.ndarray) -> None:
    # A Gram squares the condition for the spectrum inside; its ends are put right from the data.
    squared = 1 + ("Cholesky" in method(report._diagnosis))
    np.testing.assert_allclose(report.singular_values[0], exact, rtol=bound(report, a, squared))
    assert report.condition_number == pytest.approx(exact[0] / exact[-1], rel=bound(report, a))


@pytest.mark.parametrize("digits", some(range(15), 0, 7, 14))
@pytest.mark.parametrize("shape", [(24, 8), (8, 8), (40, 4)], ids=str)
def test_condition(shape: tuple[int, int], digits: int) -> None:
    rng = np.random.default_rng(digits)
    drawn = (from_svd(*shape, 10.0**digits, rng) for _ in range(9))
    a = next(a for a in drawn if not spectrum(a).near)
    says, exact = spectrum(a), exact_values(a)
    assert (says.rank, says.verdict == "ambiguous") == (shape[1], digits == 14)
    for by in ROUTES:
        for layout in LAYOUTS.values():
            report = cs.identify(layout(a, np.zeros((shape[0], 1))), limits=ROUTES[by])
            assert report.verdict == verdict_of(*shape, says.verdict), by
            assert report.rank == says.rank
            assert report.identifiable.all()
            check_values(report, a, exact)


@every_route
@pytest.mark.parametrize("span", [3, 10, 30, 100])
def test_condition_of_channels_in_any_unit(span: int, by: str) -> None:
    """A condition of 1e60 that is all units costs no digits, and no rank."""
    rng = np.random.default_rng(span)
    for digits in (0, 4, 8, 12):
        units = rng.integers(-span, span + 1, 6)
        a = np.ldexp(from_svd(12, 6, 10.0**digits, rng), units)
        report = cs.identify(cs.Problem(a, kernel_size=(1,)), limits=ROUTES[by])
        assert (report.verdict, report.rank) == ("overdetermined", 6)
        check_values(report, a, exact_values(a, 120))


@every_route
def test_condition_known_without_computing(by: str) -> None:
    """A Hadamard matrix has condition 1, and the ratio of its columns' units with units."""
    h = np.ones((1, 1))
    for _ in range(3):
        h = np.block([[h, h], [h, -h]])
    for power in (0, 1, 20, 60, 140):
        a = np.ldexp(h, np.linspace(0, power, 8).astype(int))
        report = cs.identify(cs.Problem(a, kernel_size=(1,)), limits=ROUTES[by])
        assert report.verdict == "exactly determined"
        assert report.condition_number == pytest.approx(2.0**power, rel=64 * EPS)


@every_route
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rank", some([1, 3, 5, 7], 3))
def test_exact_rank_deficits(rank: int, layout: str, by: str) -> None:
    """A = B C in integers, and matrices whose SVD was cut at the rank and rounded."""
    rng = np.random.default_rng(rank)
    product = rng.integers(-5, 6, (20, rank)) @ rng.integers(-5, 6, (rank, 8)) * 1.0
    u, v = (np.linalg.qr(rng.standard_normal((n, rank)))[0] for n in (20, 8))
    for a in (product, *((u * np.logspace(0, -d, rank)) @ v.T for d in (0, 3, 6, 9))):
        report = cs.identify(LAYOUTS[layout](a, np.zeros((20, 1))), limits=ROUTES[by])
        assert not spectrum(a).near
        assert (report.verdict, report.rank) == ("rank-deficient", rank)
        assert (report.nullity, report.condition_number) == (8 - rank, float("inf"))
        kept, zeros = np.split(report.singular_values[0], [rank])
        assert not zeros.any()
        np.testing.assert_allclose(kept, exact_values(a)[:rank], rtol=bound(report, a))
        null = null_kernels(report)[0].reshape(8 - rank, 8)
        # To what counts as zero where they were found.
        assert np.linalg.norm(a @ null.T) <= 10 * 8**0.5 * EPS * np.linalg.norm(a)


@every_route
@pytest.mark.parametrize("span", some([10, 60, 150], 150))
def test_exact_rank_deficits_in_any_unit(span: int, by: str) -> None:
    rng = np.random.default_rng(span)
    for _ in range(10):
        rank, columns = sorted(rng.integers(1, 7, 2))
        a = rng.integers(-5, 6, (9, rank)) @ rng.integers(-2, 3, (rank, columns)) * 1.0
        a = np.ldexp(a, rng.integers(-span, span + 1, columns))
        exact_rank, mask = rank_and_mask(a)
        report = cs.identify(cs.Problem(a, kernel_size=(1,)), limits=ROUTES[by])
        assert report.rank == exact_rank
        assert np.array_equal(taps_of(report, "identifiable").ravel(), mask)
        kept, zeros = np.split(report.singular_values[0], [exact_rank])
        assert not zeros.any()
        exact = exact_values(a, digits=150)[:exact_rank]
        np.testing.assert_allclose(kept, exact, rtol=bound(report, a))


@every_route
def test_few_rows_do_not_lower_the_tolerance(by: str) -> None:
    """Below 10√P rows it stays at 10√P roundings, since QR makes some of them whatever the rows."""
    rng = np.random.default_rng(0)
    a, change = rng.standard_normal((18, 16)), rng.standard_normal(18)
    for share, rank in ((26, 15), (80, 16)):
        a[:, -1] = a[:, 0] + 1e-9 * change
        values = spectrum(a).values
        a[:, -1] = a[:, 0] + 1e-9 * change * (share * EPS * values[0] / values[-1])
        assert cs.identify(cs.Problem(a, kernel_size=(1,)), limits=ROUTES[by]).rank == rank


@every_route
def test_many_columns_raise_the_tolerance(by: str) -> None:
    """Of a wide matrix it is that of its columns, where they outnumber rows and 10√P."""
    rng = np.random.default_rng(0)
    a, change = rng.standard_normal((60, 150)), 1e-9 * rng.standard_normal(150)
    a *= 0.75 / np.linalg.norm(a, axis=0)
    for share, rank in ((135, 59), (170, 60)):
        a[-1] = a[0] + change
        values = np.linalg.svd(a, compute_uv=False)
        a[-1] = a[0] + change * (share * EPS * values[0] / values[-1])
        assert cs.identify(cs.Problem(a, kernel_size=(1,)), limits=ROUTES[by]).rank == rank


@every_route
@pytest.mark.parametrize("layout", LAYOUTS)
def test_wide_matrices(layout: str, by: str) -> None:
    """Fewer rows than unknowns: the rank is that of the rows, whatever their condition."""
    for digits in (0, 6, 10):
        a = from_svd(5, 8, 10.0**digits, np.random.default_rng(digits))
        report = cs.identify(LAYOUTS[layout](a, np.zeros((5, 1))), limits=ROUTES[by])
        assert (report.verdict, report.rank, report.nullity) == ("underdetermined", 5, 3)
        np.testing.assert_allclose(
            report.singular_values[0], exact_values(a.T), rtol=bound(report, a)
        )


@every_route
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e9])
def test_condition_beside_a_bias(offset: float, by: str) -> None:
    """That of the centred matrix, of the floats that are stored."""
    for digits in (0, 4, 8):
        a = from_svd(12, 6, 10.0**digits, np.random.default_rng(digits)) + offset
        report = cs.identify(cs.Problem(a, kernel_size=(1,), bias=True), limits=ROUTES[by])
        assert report.rank == report.n_unknowns == 7
        check_values(report, a, exact_values(a, bias=True))


@every_route
@pytest.mark.parametrize("digits", some([3, 9], 9))
def test_condition_of_many_unknowns(digits: int, by: str) -> None:
    """From the two extreme singular values alone, where all of them would take long."""
    limits = replace(ROUTES[by], spectrum_columns=100)
    a = from_svd(200, 150, 10.0**digits, np.random.default_rng(digits))
    report = cs.identify(cs.Problem(a, kernel_size=(1,)), limits=limits)
    assert (report.verdict, report.rank) == ("overdetermined", 150)
    assert report.condition_number == pytest.approx(np.linalg.cond(a), rel=bound(report, a))


@pytest.mark.parametrize("copied", [False, True])
def test_a_factor_is_that_of_its_rank(copied: bool) -> None:
    """Decided once, from one spectrum, whatever is asked first."""
    rng = np.random.default_rng(0)
    a, y = rng.standard_normal((60, 20)), rng.standard_normal((60, 2))
    if copied:
        a[:, 19] = a[:, 0]
    q, r = np.linalg.qr(a)
    found = triangular_factors(r[None], np.zeros((1, 20), int), 60)[0]
    assert isinstance(found, factor.Truncated if copied else factor.FullRank)
    assert found.verdict == found.band.verdict == ("deficient" if copied else "full")
    least = np.linalg.svd(a, compute_uv=False)[-1]
    assert found.at_least == 0 if copied else least / 10 < found.at_least < least
    assert found.determined.tolist() == [not copied, *[True] * 18, not copied]
    expected = np.linalg.lstsq(a, y)[0]
    for w in (found.solve(q.T @ y), found.solve_by_svd(q.T @ y)):
        np.testing.assert_allclose(w, expected, atol=1e-13)
