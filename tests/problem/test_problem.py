"""Problem: how arrays are read by their rank, and how a problem is described."""

import pickle

import numpy as np
import pytest

import convsolve as cs
from support.arrays import X, Y, ones

# --- the rank rule


@pytest.mark.parametrize(
    ("shape", "taps", "records", "reading"),
    [
        ((8,), 3, [(8, 1)], "1 record × 8 samples, float64, 1 channel"),
        ((4, 8, 2), 3, [(8, 2)] * 4, "4 records × 8 samples, float64, 2 channels"),
        ([(8, 2), (5, 2)], 3, [(8, 2), (5, 2)], "2 records × 5 to 8 samples, float64, 2 channels"),
        ((8, 6), (3, 2), [(8, 6, 1)], "1 record × 8 × 6 samples, float64, 1 channel"),
        ((4, 8, 6, 2), (3, 2), [(8, 6, 2)] * 4, "4 records × 8 × 6 samples, float64, 2 channels"),
        ([(8, 6), (5, 6)], (3, 2), [(8, 6, 1), (5, 6, 1)], "2 records × 5 × 6 to 8 × 6 samples"),
        ((2, 8, 6, 5, 2), (3, 2, 2), [(8, 6, 5, 2)] * 2, "2 records × 8 × 6 × 5 samples"),
    ],
    ids=str,
)
def test_rank_rule(shape, taps, records, reading):
    problem = cs.Problem(ones(shape), kernel_size=taps)
    assert [x.shape for x in problem.x] == records
    assert problem.n_channels == records[0][-1]
    (line,) = [line for line in str(problem).splitlines() if line.startswith("x ")]
    assert line.removeprefix("x").strip().startswith(reading)
    assert repr(problem).startswith(f"<Problem {reading.split(',')[0]}")


@pytest.mark.parametrize(
    ("x", "y", "outputs"),
    [
        ((8, 2), (6,), 1),
        ((8,), (6, 3), 3),
        ((1, 8, 2), (6, 3), 3),
        ([(8, 2), (5, 2)], [(6,), (3,)], 1),
        ([(8,), (8,)], (2, 6, 3), 3),
        ((2, 8, 1), [(6, 3), (6, 3)], 3),
    ],
    ids=str,
)
def test_x_and_y_may_have_different_ranks(x, y, outputs):
    problem = cs.Problem(ones(x), ones(y), kernel_size=3)
    assert problem.n_outputs == outputs
    assert len(problem.y) == len(problem.x)
    assert sum(len(part) for part in problem.y) == problem.n_equations


def test_the_texts_show_the_whole_geometry():
    problem = cs.Problem(
        np.ones((20, 4)), kernel_size=3, stride=2, dilation=3, groups=2, padding="full", bias=True
    )
    assert str(problem).splitlines() == [
        "Problem     find 3 lags × 2 channels × 2 outputs in 2 groups and a bias per output",
        "x           1 record × 20 samples, float64, 4 channels",
        "y           not given, 2 outputs",
        "Lags        kernel_size=3, padding='full', stride=2, dilation=3",
        "Rows        13 of 13 rows. Unknowns: 7 per output",
    ]
    short = "1 record × 20 samples: 3 lags × 4 channels → 2 outputs in 2 groups, bias"
    assert repr(problem) == f"<Problem {short}>"


def test_a_record_too_short_for_a_row_is_counted():
    problem = cs.Problem([np.ones(8), np.ones(2)], kernel_size=3)
    assert problem.n_equations == 6
    for text in (repr(problem), str(problem)):
        assert "(1 record too short to give a row)" in text


def test_equations_unknowns_and_outputs():
    problem = cs.Problem(np.ones((5, 9, 4)), kernel_size=3, groups=2, n_outputs=6, bias=True)
    assert (problem.n_equations, problem.n_unknowns) == (5 * 7, 3 * 2 + 1)
    assert problem.kernel_shape == (3, 2, 6)
    for given, outputs in (({}, 1), ({"groups": 2}, 2), ({"y": Y, "n_outputs": 3}, 3)):
        assert cs.Problem(X, kernel_size=3, **given).n_outputs == outputs


def test_a_spec_replaces_its_parts():
    spec = cs.ConvSpec(3, 2, "full", 2, 2)
    by_parts = cs.Problem(X, kernel_size=3, stride=2, padding="full", dilation=2, groups=2)
    assert cs.Problem(X, spec=spec).spec == by_parts.spec == spec


# --- more channels than samples


def test_more_channels_than_samples_are_reported():
    with pytest.warns(UserWarning, match="3 samples × 8 channels. .*transpose x") as caught:
        cs.Problem(ones((2, 3, 8)), kernel_size=2)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("x", "given"),
    [
        ((3, 8), {"kernel_size": (2,)}),
        ((3, 8), {"spec": cs.ConvSpec((2,))}),
        ((8, 8), {"kernel_size": 2}),
        ((3, 8), {"kernel_size": (2, 2)}),
    ],
    ids=str,
)
def test_an_explicit_axis_is_not_reported(x, given):
    """Warnings are errors here."""
    problem = cs.Problem(ones(x), **given)
    assert cs.Problem._again(problem._recipe, ones(x)).n_equations == problem.n_equations


# --- immutable, and problems derived from others

RNG = np.random.default_rng(0)
LONG, OUTPUTS = RNG.standard_normal((300, 2)), RNG.standard_normal((300, 3))
MASK = np.ones((300, 3), bool)
MASK[:50, 2] = False


def masked(**options):
    return cs.Problem(LONG, OUTPUTS, lags=(0, 4), mask=MASK, **options)


def derived():
    """A problem, and problems derived from it."""
    problem = masked(weights=[2.0])
    (_, first), (_, second) = problem.parts
    return {
        "whole": problem,
        "outputs": first,
        "one output": second,
        "lags": problem._narrowed(1, 3),
        "whole windows": cs.Problem(
            LONG, OUTPUTS, lags=(0, 4), edges="zeros", mask=MASK
        )._of_whole_windows(),
        "geometry": cs.Problem(LONG, kernel_size=3, bias=True)._under(cs.ConvSpec(2), False),
    }


@pytest.mark.parametrize("name", derived())
def test_a_problem_is_immutable_and_hashable(name):
    problem = derived()[name]
    before = repr(problem), problem.n_equations, problem.n_unknowns
    for field in ("bias", "spec", "_by_mask", "x", "anything"):
        with pytest.raises(AttributeError):
            setattr(problem, field, None)
    twin = problem._replace()
    assert problem == problem
    assert len({problem, twin}) == 2
    for same in (twin, pickle.loads(pickle.dumps(problem))):
        assert (repr(same), same.n_equations, same.n_unknowns) == before
        for a, b in zip(same.x, problem.x):
            np.testing.assert_array_equal(a, b)
