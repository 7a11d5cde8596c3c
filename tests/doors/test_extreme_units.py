"""Data of any size, on any pedestal: the answer is that of plain data, or names the units."""

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
DOORS = {
    "valid": lambda x, y, **o: cs.Problem(x, y[2:], kernel_size=3, **o),
    "drop": lambda x, y, **o: cs.Problem(x, y, lags=(-1, 1), **o),
    "zeros": lambda x, y, **o: cs.Problem(x, y, lags=(0, 2), edges="zeros", **o),
    "circular": lambda x, y, **o: cs.Problem(x, y, lags=(1, 3), edges="circular", **o),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("channels", "output"), UNITS)
@pytest.mark.parametrize("bias", [False, True])
def test_powers_of_two_change_no_bit(door, channels, output, bias):
    plain = DOORS[door](X, Y, bias=bias)
    scaled = DOORS[door](np.ldexp(X, channels), np.ldexp(Y, output), bias=bias)
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


@pytest.mark.parametrize("solver", CLOSED)
@pytest.mark.parametrize(("x_unit", "y_unit"), [(1e200, 1.0), (1e-200, 1.0), (1e200, 1e200)])
def test_powers_of_ten_round_the_data_and_no_more(solver, x_unit, y_unit):
    plain = cs.solve(DOORS["valid"](X, Y, bias=True), **TABLE[solver].method)
    fit = cs.solve(DOORS["valid"](X * x_unit, Y * y_unit, bias=True), **TABLE[solver].method)
    np.testing.assert_allclose(fit.kernel, plain.kernel * (y_unit / x_unit), rtol=1e-13)
    assert fit.backward_error <= 30 * EPS


@pytest.mark.parametrize(
    ("x_unit", "y_unit", "dtype"),
    [
        (1e-200, 1e200, np.float64),
        (1e200, 1e-200, np.float64),
        (1e-30, 1e30, np.float32),
        (1e30, 1e-30, np.float32),
    ],
)
@pytest.mark.parametrize("solver", CLOSED)
def test_an_answer_out_of_range_is_an_error_that_names_the_units(solver, x_unit, y_unit, dtype):
    problem = DOORS["valid"]((X * x_unit).astype(dtype), (Y * y_unit).astype(dtype))
    with pytest.raises(cs.SolveError, match=r"kernel .* float(32|64); change the unit of x or"):
        cs.solve(problem, **TABLE[solver].method)


@pytest.mark.parametrize("unit", [1e200, 1e-200])
def test_descent_on_such_data_solves_or_names_the_units(unit):
    problem = DOORS["valid"](X * unit, Y * unit)
    solver = cs.GradientDescent(init="zeros", steps=50)
    with pytest.raises(cs.SolveError, match="leaves float64; change the units of x and y"):
        cs.solve(DOORS["valid"](X, Y * 1e200), solver)
    assert cs.solve(problem).converged


@pytest.mark.parametrize("scale", [np.longdouble("1e400"), np.longdouble("1e-400")])
def test_longdouble_beyond_float64_names_the_unit(scale):
    with pytest.raises(ValueError, match=r"^x channel 0 has .* float64.*: change its unit"):
        cs.Problem(X.astype(np.longdouble) * scale, kernel_size=3)
    with pytest.raises(ValueError, match=r"^y channel 0 has .* float64.*: change its unit"):
        DOORS["valid"](X, Y.astype(np.longdouble) * scale)
