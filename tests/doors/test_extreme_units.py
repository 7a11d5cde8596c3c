"""Data in any unit: the solution is that of plain data, or an error names the unit."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs
from support.cases import CLOSED, EPS, TABLE

RNG = np.random.default_rng(0)
X = RNG.integers(-50, 51, (80, 2)).astype(float)
Y = RNG.integers(-50, 51, (80, 2)).astype(float)
POWER = 664  # 2^664 is 1.4e200
UNITS = [
    ((POWER, POWER), 0), ((-POWER, -POWER), 0), ((0, 0), POWER), ((0, 0), -POWER),
    ((POWER, POWER), POWER), ((-POWER, -POWER), -POWER), ((POWER, -POWER), 0),
]  # fmt: skip
STATED = {
    "valid": lambda x, y, **o: cs.Problem(x, y[2:], kernel_size=3, **o),
    "drop": lambda x, y, **o: cs.Problem(x, y, lags=(-1, 1), **o),
    "zeros": lambda x, y, **o: cs.Problem(x, y, lags=(0, 2), edges="zeros", **o),
    "circular": lambda x, y, **o: cs.Problem(x, y, lags=(1, 3), edges="circular", **o),
}


@pytest.mark.parametrize(("channels", "output"), UNITS)
def test_powers_of_two_change_no_bit(channels, output):
    index = UNITS.index((channels, output))
    form, bias = [*STATED][index % 4], index % 2 == 0
    plain = STATED[form](X, Y, bias=bias)
    scaled = STATED[form](np.ldexp(X, channels), np.ldexp(Y, output), bias=bias)
    before, after = cs.identify(plain), cs.identify(scaled)
    assert (after.verdict, after.rank) == (before.verdict, before.rank)
    np.testing.assert_array_equal(after.identifiable, before.identifiable)
    for name in CLOSED:
        one, two = (cs.solve(p, **TABLE[name].method) for p in (plain, scaled))
        exponent = output - np.array(channels)[:, None]
        np.testing.assert_array_equal(two.kernel, np.ldexp(one.kernel, exponent))
        np.testing.assert_array_equal(two.bias, np.ldexp(one.bias, output))
        assert (two.status, two.backward_error) == (one.status, one.backward_error)
        lost = np.isnan(one.residuals())
        np.testing.assert_array_equal(np.isfinite(two.residuals()), ~lost)
        scores = [fit.score() for fit in (one, two)]
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(scores[1].mse, np.ldexp(scores[0].mse, 2 * output))
        unitless = [score._replace(mse=np.zeros(2)) for score in scores]
        np.testing.assert_allclose(unitless[1], unitless[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("solver", "x_unit", "y_unit"),
    [("svd", 1e200, 1.0), ("qr", 1e-200, 1.0), ("normal", 1e200, 1e200), ("auto", 1e-200, 1.0)],
)
def test_powers_of_ten_only_round_the_data(solver, x_unit, y_unit):
    plain = cs.solve(STATED["valid"](X, Y, bias=True), **TABLE[solver].method)
    fit = cs.solve(STATED["valid"](X * x_unit, Y * y_unit, bias=True), **TABLE[solver].method)
    np.testing.assert_allclose(fit.kernel, plain.kernel * (y_unit / x_unit), rtol=1e-13)
    assert fit.backward_error <= 30 * EPS


@pytest.mark.parametrize(("unit", "dtype"), [(1e200, float), (1e-200, float), (1e30, "f4")])
@pytest.mark.parametrize("solver", CLOSED)
def test_a_kernel_out_of_range_is_an_error_that_names_the_units(solver, unit, dtype):
    problem = STATED["valid"]((X * unit).astype(dtype), (Y / unit).astype(dtype))
    with pytest.raises(cs.SolveError, match=r"kernel .* float(32|64)"):
        cs.solve(problem, **TABLE[solver].method)


def test_descent_out_of_range_is_an_error_that_names_the_units():
    solver = cs.GradientDescent(init="zeros", steps=50)
    with pytest.raises(cs.SolveError, match="leaves float64"):
        cs.solve(STATED["valid"](X, Y * 1e200), solver)


def test_longdouble_out_of_float64_is_refused():
    with pytest.raises(ValueError, match=r"^x has Inf at index \(0, 0\)"):
        cs.Problem(X.astype(np.longdouble) * np.longdouble("1e400"), kernel_size=3)
