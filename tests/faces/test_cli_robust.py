"""Robust solvers on the command line: as in Python, in text, JSON and files."""

import json

import numpy as np
import pytest

import convsolve as cs

LINE = "solve outliers.npz --lags 0 3 --bias"


@pytest.fixture
def outliers(folder):
    """A recording with some wild samples of y, in a file of its own."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 1))
    y = np.convolve(x[:, 0], [1.0, -0.5, 0.25, 2.0])[:90, None] + 0.1 * rng.standard_normal((90, 1))
    y[::11] += 40
    np.savez("outliers.npz", x=x, y=y)
    return cs.Problem.from_lags(x, y, lags=(0, 3), bias=True)


@pytest.mark.parametrize(
    ("options", "solver"),
    [
        ("--solver huber", cs.Huber()),
        ("--solver huber --delta 2", cs.Huber(delta=2.0)),
        ("--solver huber --scale 0.2 --delta 1", cs.Huber(1.0, 0.2)),
        ("--solver absolute", cs.LeastAbsolute()),
    ],
)
def test_a_robust_fit_is_that_of_python(run, outliers, options, solver):
    wanted = cs.solve(outliers, solver)
    status, out, err = run(f"{LINE} {options} --json --out fit.npz")
    assert (status, err) == (0, "")
    found = json.loads(out)
    np.testing.assert_array_equal(found["kernel"], wanted.kernel)
    np.testing.assert_array_equal(found["bias"], wanted.bias)
    assert found["certificate"] == wanted.certificate
    assert found["stats"]["certificate_kind"] == "relative duality gap"
    assert found["stats"]["settings"] == wanted.stats["settings"]
    if isinstance(solver, cs.Huber):
        assert found["stats"]["scale"] == wanted.stats["scale"]
        np.testing.assert_array_equal(found["standard_error"], wanted.standard_error)
    else:
        assert found["standard_error"] is None
    np.testing.assert_array_equal(cs.load("fit.npz").kernel, wanted.kernel)
    status, out, _ = run(f"{LINE} {options}")
    assert status == 0
    assert f"{type(solver).__name__}: solved" in out
    assert "relative duality gap" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--delta 2", "--delta is for the solvers huber; name one of them"),
        ("--solver absolute --scale 2", "--scale is for the solvers huber; name one of them"),
        ("--solver huber --delta -1", "delta must be positive and finite, got -1.0"),
        ("--solver huber --scale 0", "scale must be positive and finite, got 0.0"),
        ("--solver huber --noise hac", "--noise hac is for least squares; Huber has no errors but"),
    ],
)
def test_what_does_not_go_together(run, outliers, options, message):
    status, out, err = run(f"{LINE} {options}")
    assert (status, out) == (2, "")
    assert message in err


def test_descent_beside_the_exact_answer(run, outliers):
    line = "compare outliers.npz --lags 0 3 --bias --solvers adam,absolute --loss mae --steps 200"
    status, out, _ = run(f"{line} --json")
    assert status == 0
    found = json.loads(out)
    assert found["objective"] == {"loss": "mae", "threshold": 0.0}
    descent, exact = found["rows"]
    assert exact["gap"] == 0 < descent["gap"]
    assert "loss: mean absolute residual" in run(line)[1]
