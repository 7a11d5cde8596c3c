"""Polynomials in time against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import mpmath
import numpy as np
import pytest

from convsolve.linalg.polynomials import Polynomials
from convsolve.operators.trends import fitted, subtract
from convsolve.problem.confounds import Layout, Terms
from convsolve.problem.rows import Rows

EPS = float(np.finfo(float).eps)


def legendre(time: Fraction, degree: int) -> list[Fraction]:
    """The Legendre polynomials up to a degree at one place, by their recurrence."""
    found = [Fraction(1), time]
    for k in range(1, degree):
        found.append(((2 * k + 1) * time * found[k] - k * found[k - 1]) / (k + 1))
    return found[: degree + 1]


def exact_columns(shape: tuple[int, ...], degree: int) -> np.ndarray:
    """The columns (*L, J) of `Polynomials` as fractions."""
    axes = [
        [legendre(Fraction(2 * i, max(n - 1, 1)) - (n > 1), degree) for i in range(n)]
        for n in shape
    ]
    orders = [o for o in product(range(degree + 1), repeat=len(shape)) if sum(o) <= degree]
    found = np.empty((*shape, len(orders)), object)
    for place in np.ndindex(*shape):
        for j, order in enumerate(orders):
            factors = [axes[a][place[a]][order[a]] for a in range(len(shape))]
            found[(*place, j)] = np.prod(np.array(factors, object))
    return found


def exactly(values: np.ndarray) -> np.ndarray:
    return np.vectorize(Fraction, otypes=[object])(values)


def fit(trend: Polynomials, values: np.ndarray) -> np.ndarray:
    """The coefficients (..., J, C) of polynomials that fit values (..., n, C)."""
    v, mean = trend.columns, values.mean(-2)
    return fitted(v.T @ v, v.T @ (values - mean[..., None, :]), mean)


@pytest.mark.parametrize(("shape", "degree"), [((1,), 2), ((2,), 3), ((37,), 5), ((6, 5), 2)])
def test_columns_are_legendre_polynomials(shape: tuple[int, ...], degree: int) -> None:
    columns = Polynomials.of(shape, degree).columns
    assert np.abs(exactly(columns) - exact_columns(shape, degree)).max() <= EPS
    np.testing.assert_array_equal(Polynomials.of(shape, degree, 1, 3).columns, columns[1:3])


@pytest.mark.parametrize(
    ("shape", "degree", "masked"),
    [((50,), 0, True), ((50,), 3, False), ((41,), 20, True), ((7, 6), 2, True)],
)
def test_a_drift_of_any_size_is_subtracted_exactly(
    shape: tuple[int, ...], degree: int, masked: bool
) -> None:
    """The result has the rounding of its own size, for drifts up to 1e12 times as large."""
    rng = np.random.default_rng(degree)
    columns = exact_columns(shape, degree)
    places = rng.random(shape) > 0.2 * masked
    drift = rng.standard_normal((columns.shape[-1], 3)) * [1.0, 1e6, 1e12]
    signal = rng.standard_normal((*shape, 3))
    values = (signal + columns.astype(float) @ drift)[places]
    trend = Polynomials.of(shape, degree).some(places)
    coefs = fit(trend, values)
    left = subtract(trend, values, coefs)
    wanted = exactly(values) - columns[places] @ exactly(coefs)
    assert np.abs(exactly(left) - wanted).max() <= 2 * EPS * np.abs(left).max()
    # Only the signal is left, but for the rounding of the values themselves.
    rounding = 50 * EPS * np.abs(values).max(0)
    assert (np.abs(left).max(0) <= 10 + rounding).all()


@pytest.mark.parametrize(
    ("flags", "degree"),
    [
        (np.arange(400) >= 380, 6),  # the end of a long record
        (np.r_[np.ones(12, bool), np.zeros(376, bool), np.ones(12, bool)], 8),  # both ends
        (np.arange(40) % 3 > 0, 4),
    ],
    ids=["end", "ends", "gaps"],
)
def test_the_basis_of_few_samples_of_a_record_spans_their_polynomials(
    flags: np.ndarray, degree: int
) -> None:
    places = np.flatnonzero(flags)
    kept = Rows((flags.shape,), (0,), (flags,))
    basis = Layout.of(Terms(degree), 0, kept, np.ones(())).basis
    with mpmath.workdps(60):
        powers = mpmath.matrix(len(places), degree + 1)
        for i, place in enumerate(places):
            for j in range(degree + 1):
                powers[i, j] = mpmath.mpf(int(place) - int(places[0])) ** j
        exact, _ = mpmath.qr(powers, mode="skinny")
        off = mpmath.matrix(basis.astype(float).tolist())
        off = off - exact * (exact.T * off)
    assert basis.shape == (len(places), degree + 1)
    assert max(abs(v) for v in off) <= EPS
    np.testing.assert_allclose((basis.T @ basis).astype(float), np.eye(degree + 1), atol=2 * EPS)
