"""Moments, compared with rational arithmetic, where the laws hold exactly."""

import dataclasses
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsolve.operators.moments import Moments, NuisanceSums, Units
from support.dense import exact


class Rows(NamedTuple):
    """Integer rows (groups, n, P) and (groups, n, Q), and the scaling and shift they get."""

    a: np.ndarray
    y: np.ndarray
    exponents: np.ndarray  # (groups, P)
    shift: np.ndarray
    out_exponents: np.ndarray  # (groups, Q)
    out_shift: np.ndarray

    def moments(self):
        """All numbers are small integers over powers of two, so nothing is rounded."""
        a = np.ldexp(self.a.astype(float), -self.exponents[:, None]) - self.shift[:, None]
        y = np.ldexp(self.y.astype(float), -self.out_exponents[:, None]) - self.out_shift[:, None]
        return Moments.from_rows(a, y, Units(*self[2:]))


def power(exponents):
    return np.vectorize(lambda e: Fraction(2) ** int(e), otypes=[object])(exponents)


def direct(a, y):
    """Moments in the user's units, by definition: gram, rhs, sums, output sums and squares, n."""
    a, y = exact(a), exact(y)
    at = a.transpose(0, 2, 1)
    return (at @ a, at @ y, a.sum(1), y.sum(1), (y * y).sum(1), a.shape[1])


def in_user_units(m):
    """The same six of a `Moments`, its scaling and shifts undone in rational arithmetic.

    A column is a = 2**e * (u + d), with u what was accumulated, so that sum(a) = 2**e * (s + n d).
    """
    units = m.units
    n, d, f = m.n, exact(units.shift), exact(units.out_shift)
    scale, out_scale = power(units.column_exponents), power(units.out_exponents)
    s, t = exact(m.sums), exact(m.out_sums)

    def outer(p, q):
        return p[:, :, None] * q[:, None, :]

    gram = exact(m.gram) + outer(s, d) + outer(d, s) + n * outer(d, d)
    rhs = exact(m.rhs) + outer(s, f) + outer(d, t) + n * outer(d, f)
    return (
        gram * outer(scale, scale),
        rhs * outer(scale, out_scale),
        (s + n * d) * scale,
        (t + n * f) * out_scale,
        (exact(m.out_squares) + 2 * t * f + n * f * f) * out_scale**2,
        n,
    )


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_identical(one, other):
    """Every field bit for bit."""
    for field in dataclasses.fields(Moments):
        pair = getattr(one, field.name), getattr(other, field.name)
        for a, b in zip(*pair, strict=True) if field.name == "units" else [pair]:
            np.testing.assert_array_equal(a, b)


@st.composite
def blocks(draw, least, most, min_rows=0):
    """Blocks of rows of one width, each with a scaling and shift of its own; some are empty."""
    groups, columns, outputs = (draw(st.integers(1, n)) for n in (2, 3, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(min_rows, 5), min_size=least, max_size=most))

    def block(n):
        return Rows(
            rng.integers(-9, 10, (groups, n, columns)),
            rng.integers(-9, 10, (groups, n, outputs)),
            rng.integers(-3, 4, (groups, columns)),
            rng.integers(-5, 6, (groups, columns)) * 0.5,
            rng.integers(-3, 4, (groups, outputs)),
            rng.integers(-5, 6, (groups, outputs)) * 0.25,
        )

    return [block(n) for n in lengths]


def joined(parts):
    return np.concatenate([p.a for p in parts], 1), np.concatenate([p.y for p in parts], 1)


# --- the laws


@given(blocks(1, 6), st.randoms(use_true_random=False))
def test_blocks_in_any_order_give_the_moments_of_all_rows(parts, random):
    shape = *parts[0].exponents.shape, parts[0].y.shape[-1]
    wanted = direct(*joined(parts))
    random.shuffle(parts)
    total = sum((p.moments() for p in parts), Moments.empty(*shape))
    assert_same(in_user_units(total), wanted)


@given(blocks(1, 1, min_rows=1))
def test_no_rows_are_neutral_whatever_their_exponent(parts):
    (rows,) = parts
    m = rows.moments()
    none = rows._replace(a=rows.a[:, :0], y=rows.y[:, :0], exponents=rows.exponents + 900)
    for neutral in (Moments.empty(*rows.exponents.shape, rows.y.shape[-1]), none.moments()):
        assert neutral.n == 0
        assert_identical(m + neutral, m)
        assert_identical(neutral + m, m)


@given(blocks(2, 2, min_rows=1))
def test_the_larger_exponent_is_kept(parts):
    one, other = parts
    units = (one.moments() + other.moments()).units
    for name in ("exponents", "out_exponents"):
        wanted = np.maximum(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(getattr(units, name), wanted)


@given(blocks(2, 2, min_rows=1))
def test_rescaled_and_shifted_hold_the_same_rows(parts):
    rows, target = parts
    m = rows.moments()
    moved = m.rescaled(target.exponents, target.out_exponents)
    np.testing.assert_array_equal(moved.units.exponents, target.exponents)
    assert_same(in_user_units(moved), direct(rows.a, rows.y))
    moved = m.shifted(target.shift, target.out_shift)
    np.testing.assert_array_equal(moved.units.shift, target.shift)
    assert_same(in_user_units(moved), direct(rows.a, rows.y))


# --- large scales and offsets


@pytest.mark.parametrize(("e", "f"), [(900, -900), (1000, 1000)])
def test_scales_beyond_the_range_of_floats(e, f):
    # Column j of units 2**±e next to outputs of 2**±f: their products overflow or vanish as floats.
    rng = np.random.default_rng(1)
    a, y = rng.integers(-9, 10, (2, 2, 6, 2)), rng.integers(-9, 10, (2, 2, 6, 1))
    exponents, out_exponents = np.array([[e, -e]] * 2), np.array([[f]] * 2)
    units = [Units.of((2, 2, 1), exponents + i, 0.0, out_exponents + i) for i in range(2)]
    parts = [Moments.from_rows(a[i] / 2**i, y[i] / 2**i, units[i]) for i in range(2)]
    total = parts[0] + parts[1]
    gram, rhs, *_ = in_user_units(total)
    scale, out_scale = power(exponents), power(out_exponents)
    want_gram, want_rhs, *_ = direct(np.concatenate(a, 1), np.concatenate(y, 1))
    np.testing.assert_array_equal(gram, want_gram * scale[:, :, None] * scale[:, None, :])
    np.testing.assert_array_equal(rhs, want_rhs * scale[:, :, None] * out_scale[:, None, :])


# --- nuisance columns


def with_unit_columns(a, y, places, total, units):
    """Moments beside unit vectors in the first rows, which are orthonormal columns ``places``."""
    count = len(places)
    m = Moments.from_rows(a, y, units)
    ones = np.ones(count)
    own = units.exponents, units.out_exponents
    sums = NuisanceSums(np.array(places), total, a[:, :count], y[:, :count], ones, *own)
    return dataclasses.replace(m, nuisance=(sums,))


@pytest.mark.parametrize("constant", [False, True])
def test_eliminated_unit_columns_leave_the_other_rows(constant: bool) -> None:
    """In any units of the chunks, and after a change of units."""
    rng = np.random.default_rng(7)
    shape = 2, 3, 2
    blocks, rest = [], []
    for places, e in (([2, 0], 3), ([1], -2)):
        a = rng.integers(-9, 10, (2, 6, 3)).astype(float)
        y = rng.integers(-9, 10, (2, 6, 2)).astype(float)
        units = Units.of(shape, e, 0.0, 1 - e)
        scaled = np.ldexp(a, -e), np.ldexp(y, e - 1)
        blocks.append(with_unit_columns(*scaled, places, 3, units))
        rest.append((a[:, len(places) :], y[:, len(places) :]))
    a, y = (np.concatenate(each, 1) for each in zip(*rest, strict=True))
    total = (blocks[0] + blocks[1]).rescaled(np.full((2, 3), 5), np.full((2, 2), -4))
    total = total.with_constant() if constant else total
    if constant:  # The constant is fitted to all 12 rows, of which 3 are zero now.
        a, y = (np.concatenate([v, np.zeros_like(v[:, :3])], 1) for v in (a, y))
        a, y = a - a.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    gram, cross, squares = total.eliminated()
    at = a.transpose(0, 2, 1)
    np.testing.assert_allclose(np.ldexp(gram, 10), at @ a, rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(np.ldexp(cross, 1), at @ y, rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(np.ldexp(squares, -8), (y * y).sum(1), rtol=1e-13)
    one = total.of_group(1).eliminated()
    np.testing.assert_array_equal(one.gram[0], gram[1])
