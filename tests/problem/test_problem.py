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
        ((4, 8, 6, 2), (3, 2), [(8, 6, 2)] * 4, "4 records × 8 × 6 samples, float64, 2 channels"),
        ([(8, 6), (5, 6)], (3, 2), [(8, 6, 1), (5, 6, 1)], "2 records × 5 × 6 to 8 × 6 samples"),
    ],
    ids=str,
)
def test_rank_rule(shape, taps, records, reading):
    problem = cs.Problem(ones(shape), kernel_size=taps)
    assert [x.shape for x in problem.x] == records
    assert problem.n_channels == records[0][-1]
    sizes, _, rest = reading.partition(", ")
    for text in (repr(problem), " ".join(str(problem).split())):
        assert text.lstrip("<").startswith(f"Problem {sizes}")
    assert rest in str(problem)


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


# --- more channels than samples


def test_more_channels_than_samples_are_reported():
    """Arrays (trials, time) are read as one record of many channels."""
    x = np.ones((10, 500))
    with pytest.warns(UserWarning, match=r"10 samples × 500 channels.*x\[\.\.\., None\]") as caught:
        cs.Problem(x, lags=(0, 3))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="x was read as 2 records × 10 samples"):
        cs.Problem([x, x], kernel_size=2)
    assert cs.Problem(x, lags=[(0, 3)]).n_channels == 500  # A pair in a list states one axis.


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
    assert cs.Problem(ones(x), **given).n_equations > 0


# --- immutable


def test_a_problem_is_immutable_and_hashable():
    problem = cs.Problem(X, Y, kernel_size=3, weights=[2.0])
    for field in ("bias", "spec", "x", "anything"):
        with pytest.raises(AttributeError):
            setattr(problem, field, None)
    same = pickle.loads(pickle.dumps(problem))
    assert problem == problem
    assert len({problem, same}) == 2
    assert repr(same) == repr(problem)
    np.testing.assert_array_equal(cs.solve(same).kernel, cs.solve(problem).kernel)
