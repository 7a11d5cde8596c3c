"""Penalties on the command line: what they stand for, what they print, and what does not go."""

import json

import numpy as np
import pytest

import convsolve as cs

PENALTIES = {
    "ridge": cs.Ridge(),
    "differences": cs.Smooth(order=1),
    "curvature": cs.Smooth(order=2),
    "smooth": cs.Smooth(),
    "tc": cs.StableSpline("tc"),
    "dc": cs.StableSpline("dc"),
    "ss": cs.StableSpline("ss"),
}


@pytest.fixture
def trials(folder):
    """Three records of a response that decays, in a file of their own."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 80, 1))
    y = np.stack([np.convolve(a[:, 0], 0.8 ** np.arange(12))[:80] for a in x])[..., None]
    y = y + rng.standard_normal(y.shape)
    np.savez("trials.npz", x=x, y=y)
    return cs.Problem.from_lags(x, y, lags=(0, 19), edges="zeros")


LINE = "solve trials.npz --lags 0 19 --edges zeros"


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_is_chosen_as_in_python(run, trials, name):
    status, out, _ = run(f"{LINE} --penalty {name} --json")
    assert status == 0
    found, wanted = json.loads(out), cs.solve(trials, cs.Regularized(PENALTIES[name]))
    assert found["ok"]
    np.testing.assert_array_equal(found["kernel"], wanted.kernel)
    told = found["regularization"]
    assert told["penalty"] == wanted.regularization.penalty
    assert told["strength"] == wanted.regularization.strength.tolist()
    assert np.shape(told["path"]["scores"]) == wanted.regularization.path.scores.shape


@pytest.mark.parametrize(
    ("options", "solver"),
    [
        ("--select bic", cs.Regularized(select="bic")),
        ("--strength 1 10 100", cs.Regularized(strength=[[1], [10], [100]])),
        ("--strength 7", cs.Regularized(strength=7)),
        ("--select cv", cs.Regularized(select=cs.CrossValidation())),
        (
            "--penalty tc --select cv --folds 4 --score r2",
            cs.Regularized(cs.StableSpline(), select=cs.CrossValidation(4, "r2")),
        ),
        ("--solver regularized", cs.Regularized()),
    ],
)
def test_how_it_is_chosen(run, trials, options, solver):
    status, out, _ = run(f"{LINE} {options}")
    assert status == 0
    wanted = cs.solve(trials, solver).regularization
    assert wanted.text() in " ".join(out.split())


def test_a_solution_is_saved_with_its_choice(run, trials):
    assert run(f"{LINE} --penalty tc --out fit.npz")[0] == 0
    fit, wanted = cs.load("fit.npz"), cs.solve(trials, cs.Regularized(cs.StableSpline()))
    assert fit.regularization.text() == wanted.regularization.text()
    np.testing.assert_array_equal(fit.regularization.path.scores, wanted.regularization.path.scores)
    assert fit.regularization.text() in " ".join(str(fit).split())


def test_compare_takes_it_by_name(run, trials):
    line = LINE.replace("solve", "compare", 1)
    status, out, _ = run(f"{line} --solvers auto,regularized --penalty ss --json")
    assert status == 0
    assert [row["method"] for row in json.loads(out)["rows"]] == ["auto", "regularized"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--strength -1", "strength must be positive and finite"),
        ("--folds 3", "--folds and --score go with --select cv"),
        ("--select gcv --score r2", "--folds and --score go with --select cv"),
        ("--select cv --folds 1", "folds must be at least 2"),
        ("--select cv --folds two", "folds='two' is unknown"),
        ("--select cv --folds 9999", "9999 folds of 240 rows: a fold would be empty"),
        ("--solver svd --penalty tc", "--penalty is for the solvers regularized"),
        ("--ridge 3 --penalty tc", "--ridge is for the solvers auto"),
        ("--penalty spline", "invalid choice: 'spline'"),
    ],
)
def test_what_does_not_go_together(run, trials, options, message):
    status, out, err = run(f"{LINE} {options}")
    assert (status, out) == (2, "")
    assert message in err
