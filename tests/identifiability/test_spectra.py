"""identify on matrices built from their SVD: rank and condition against 50 digits and more."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import mpmath
import numpy as np
import pytest

import convsolve as cs
from support.cases import LAYOUTS, from_svd
from support.ordering import null_kernels
from support.routes import EPS, ROUTES, spectrum, verdict_of
from support.slow import some


def exact_values(a: np.ndarray, bias: bool) -> np.ndarray:
    """Singular values of the stored floats, descending; with a bias, less their exact means."""
    with mpmath.workdps(50):
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


class Known(NamedTuple):
    """A matrix, its rank, whether a bias is fitted too, and the layout of its record."""

    a: np.ndarray
    rank: int
    bias: bool = False
    layout: str = "channels"


def known() -> Iterator[tuple[str, Known]]:
    layouts = itertools.cycle(LAYOUTS)
    for shape in ((24, 8), (8, 8), (5, 8)):
        for digits in (0, 5, 7, 12, 14):
            drawn = (from_svd(*shape, 10.0**digits, np.random.default_rng(i)) for i in range(9))
            a = next(a for a in drawn if not spectrum(a).near)
            yield f"{shape}, condition 1e{digits}", Known(a, min(shape), layout=next(layouts))
    rng = np.random.default_rng(1)
    for rank in (1, 3, 7):
        a = rng.integers(-5, 6, (20, rank)) @ rng.integers(-5, 6, (rank, 8)) * 1.0
        yield f"integers of rank {rank}", Known(a, rank, layout=next(layouts))
        u, v = (np.linalg.qr(rng.standard_normal((n, rank)))[0] for n in (20, 8))
        a = (u * np.logspace(0, -2 * rank, rank)) @ v.T
        yield f"rounded to rank {rank}", Known(a, rank, layout=next(layouts))
    for digits in (0, 5, 8):
        a = from_svd(12, 6, 10.0**digits, rng)
        for offset in (0.0, 1e3 if digits else 1e9):
            yield f"condition 1e{digits}, {offset:g} and a bias", Known(a + offset, 7, True)


KNOWN = dict(known())


@pytest.mark.parametrize("name", some(KNOWN, *list(KNOWN)[::2]))
def test_ranks_and_singular_values(name: str) -> None:
    a, rank, bias, layout = KNOWN[name]
    (m, p), says = a.shape, spectrum(a, bias)
    exact = exact_values(a if m >= p else a.T, bias)
    for by in ROUTES:
        problem = LAYOUTS[layout](a, np.zeros((m, 1)), bias=bias)
        report = cs.identify(problem, limits=ROUTES[by])
        assert report.verdict == verdict_of(m, p + bias, says.verdict), by
        assert (report.rank, report.n_unknowns) == (rank, p + bias)
        # A Gram squares the condition.
        squared = 1 + ("Cholesky" in report.to_dict()["method"])
        kept, zeros = np.split(report.singular_values[0], [rank - bias])
        np.testing.assert_allclose(kept, exact[: len(kept)], rtol=bound(report, a, squared))
        assert not zeros.any()
        if rank < p + bias:
            null = null_kernels(report)[0].reshape(-1, p)
            # Up to what counts as zero where they were found.
            assert np.linalg.norm(a @ null.T) <= 10 * p**0.5 * EPS * np.linalg.norm(a)
            assert report.condition_number == float("inf")
        else:
            condition = pytest.approx(exact[0] / exact[-1], rel=bound(report, a, squared))
            assert report.condition_number == condition


@pytest.mark.parametrize("by", ["qr", "gram"])
def test_the_condition_of_many_unknowns(by: str) -> None:
    """It is that of the two extreme singular values, if all of them would take long."""
    limits = replace(ROUTES[by], spectrum_columns=30)
    a = from_svd(80, 60, 1e9, np.random.default_rng(9))
    report = cs.identify(cs.Problem(a, kernel_size=(1,)), limits=limits)
    assert (report.verdict, report.rank) == ("overdetermined", 60)
    assert report.condition_number == pytest.approx(np.linalg.cond(a), rel=bound(report, a))
