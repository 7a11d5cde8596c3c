"""Masks, missing samples, weights and confounds on the command line."""

import json

import numpy as np
import pytest

import convsolve as cs

LINE = "solve x.npy y.npy --lags 0 4"


@pytest.fixture
def files(folder):
    """Two records, with a gap in x, and what is laid out as y beside them."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 90, 1)), rng.standard_normal((2, 90, 2))
    x[0, 40] = np.nan
    arrays = {
        "x": x,
        "y": y,
        "mask": rng.random((2, 90)) > 0.1,
        "weights": rng.uniform(1, 2, (2, 90)),
        "records": np.array([1.0, 3.0]),
        "motion": rng.standard_normal((2, 90, 2)),
    }
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    return arrays


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ("", {}),
        ("--mask mask.npy", {"mask": "mask"}),
        ("--weights weights.npy", {"weights": "weights"}),
        ("--weights records.npy --bias", {"weights": "records", "bias": True}),
        ("--confounds intercept", {"confounds": "intercept"}),
        ("--confounds 2", {"confounds": 2}),
        ("--confounds motion.npy", {"confounds": "motion"}),
        ("--mask mask.npy --weights weights.npy --confounds 1", {
            "mask": "mask", "weights": "weights", "confounds": 1,
        }),
    ],
)  # fmt: skip
def test_rows_are_as_in_python(run, files, options, given):
    status, out, _ = run(f"{LINE} --missing drop {options} --json")
    assert status == 0
    named = {k: files.get(v, v) if isinstance(v, str) else v for k, v in given.items()}
    problem = cs.Problem.from_lags(files["x"], files["y"], lags=(0, 4), missing="drop", **named)
    found, wanted = json.loads(out), cs.solve(problem)
    np.testing.assert_array_equal(found["kernel"], wanted.kernel)
    np.testing.assert_array_equal(found["standard_error"], wanted.standard_error)
    np.testing.assert_array_equal(found["score"]["r2_total"], wanted.score().r2_total)


def test_a_mask_may_be_a_table_of_ones_and_zeros(run, files):
    x, y, mask = files["x"][1], files["y"][1], files["mask"][1]
    for name, array in (("x", x), ("y", y), ("mask", mask.astype(int))):
        np.savetxt(f"{name}.csv", array, delimiter=",")
    status, out, _ = run("solve x.csv y.csv --lags 0 4 --mask mask.csv --json")
    assert status == 0
    wanted = cs.solve(cs.Problem.from_lags(x, y, lags=(0, 4), mask=mask))
    np.testing.assert_allclose(json.loads(out)["kernel"], wanted.kernel, rtol=1e-12)


def test_a_report_says_what_is_left_out(run, files):
    status, out, _ = run("identify x.npy y.npy --lags 0 4 --missing drop --confounds 1")
    assert status == 0
    words = " ".join(out.split())
    assert "5 of 172 rows left out, 5 of them for missing samples of x" in words
    assert "an intercept and a drift of degree 1 a record" in words


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "or leave out the rows that read it by --missing drop"),
        ("--missing drop --mask motion.npy", "motion.npy: a mask holds 1 where a row counts"),
        ("--missing drop --weights mask.npy --mask nothing.npy", "nothing.npy: No such file"),
        ("--missing drop --confounds linear", "takes intercept, the degree of a drift or a FILE"),
        ("--missing drop --confounds -1", "takes intercept, the degree of a drift or a FILE"),
        ("--missing drop --confounds intercept --bias", "use bias=False"),
        ("--missing drop --confounds 30", "a degree of 20 at most"),
    ],
)
def test_what_is_refused(run, files, options, said):
    status, out, errors = run(f"{LINE} {options}")
    assert (status, out) == (2, "")
    assert said in errors
    assert errors.count("\n") == 1


def test_a_comparison_takes_a_mask_of_every_output(run, files):
    np.save("mask.npy", np.random.default_rng(1).random((2, 90, 2)) > 0.1)
    status, written, _ = run(
        "compare x.npy y.npy --lags 0 4 --missing drop --mask mask.npy --solvers qr"
    )
    assert status == 0
    assert "solved" in written
