"""Commands that read HDF5, zarr and large .npy files, whole or in blocks."""

import json
import os

import h5py
import numpy as np
import pytest
import zarr

import convsolve as cs

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 2))
Y = cs.convolve(X, RNG.normal(size=(3, 2, 2)), cs.ConvSpec(3)) + RNG.normal(size=(398, 2))
SIZE = "--kernel-size 3"


@pytest.fixture
def data(folder):
    """x and y in every format."""
    np.savez("all.npz", x=X, y=Y)
    np.save("big.npy", X)
    np.save("whole.npy", (1000 * X).astype(">i2"))
    np.save("columns.npy", np.asfortranarray(X))
    np.save("out.npy", Y)
    np.savetxt("out.csv", Y, delimiter=",")
    with h5py.File("all.h5", "w") as file:
        file.create_dataset("x", data=X, chunks=(50, 2), compression="gzip")
        file["y"], file["note"] = Y, "left alone"
        file["run/in"], file["run/out"] = X, Y
        file["link"] = h5py.SoftLink("/run/in")
    (folder / "ALL.HDF5").write_bytes((folder / "all.h5").read_bytes())
    for form in (2, 3):
        group = zarr.open_group(f"all{form}.zarr", mode="w", zarr_format=form)
        group.create_array("x", data=X, chunks=(50, 2))
        group.create_array("y", data=Y, chunks=(400, 1))
        group.create_group("run").create_array("in", data=X, chunks=(100, 1))
    zarr.create_array("alone.zarr", data=Y, chunks=(100, 2))
    return folder


def kernel(answer):
    status, out, err = answer
    assert (status, err) == (0, "")
    return np.array(json.loads(out)["kernel"])


# Every suffix, a link, groups, both versions of zarr, and pairs of formats.
PAIRS = {
    "ALL.HDF5": "", "all.h5:x": "all.h5:y", "all.h5:link": "out.npy", "all2.zarr": "",
    "all3.zarr/": "", "all2.zarr/run/in": "alone.zarr", "big.npy": "out.csv",
    "columns.npy": "all2.zarr/y",
}  # fmt: skip


def test_every_format_gives_the_same_solution(data, run):
    documents = {}
    for names in ("all.npz", *map(" ".join, PAIRS.items())):
        status, out, err = run(f"solve {names} {SIZE} --json")
        assert (status, err) == (0, "")
        documents[names] = json.loads(out)
        documents[names]["stats"] = None  # the run time
    for names, found in documents.items():
        assert found == documents["all.npz"], names


# --- what is refused

HDF5 = [
    (lambda f: f.update(a=X), "has no member 'x'; it has a"),
    (lambda f: f.create_group("x").create_group("in"), "is no array of numbers"),
    (lambda f: f.update(x=np.zeros(9, [("a", "f8")])), "is no array of numbers"),
    (lambda f: f.create_dataset("x", (9,), h5py.ref_dtype), "is no array of numbers"),
    (lambda f: f.update(x=h5py.SoftLink("/gone")), ": cannot be read"),
]


def refused(answer, name):
    """The line of a command that was refused."""
    status, out, err = answer
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"convsolve: {name}")
    return err


def test_arrays_that_are_refused(data, run):
    for i, (fill, words) in enumerate(HDF5):
        with h5py.File(f"a{i}.h5", "w") as file:
            fill(file)
        assert words in refused(run(f"identify a{i}.h5 {SIZE}"), f"a{i}.h5")


def test_places_that_are_refused(data, run):
    for name in ("none.zarr", "folder.h5"):
        os.mkdir(name)
    for line, words in {
        "identify gone.h5": "No such file or directory",
        "identify folder.h5": "cannot be read",
        "identify all.h5:z": "has no member 'z'; it has link",
        "identify none.zarr": "cannot be read",
        "identify all3.zarr/gone": "No such file or directory",
        "identify all3.zarr/run": "has no member 'x'; it has in",
        "solve all.h5:x all.h5": "name one: all.h5:",
        "solve big.npy all3.zarr": "name one: all3.zarr/",
        "solve all3.zarr --overwrite --out all3.zarr/fit.npz": "is one of the inputs",
    }.items():
        name = "--out all3" if "--out" in line else line.split(" --")[0].split()[-1].split(":")[0]
        assert words in refused(run(f"{line} {SIZE}"), name)


# --- masks and confounds


def test_masks_and_confounds_may_be_in_any_kind_of_file(data, run):
    rows = RNG.integers(0, 2, (len(Y), 1))
    np.save("rows.npy", rows)
    with h5py.File("rows.h5", "w") as file:
        file["rows"] = rows
    zarr.open_group("rows.zarr", mode="w").create_array("rows", data=rows)
    for option in ("mask", "confounds"):
        line = f"solve all.npz {SIZE} --json --{option}"
        wanted = kernel(run(f"{line} rows.npy"))
        for name in ("rows.h5:rows", "rows.h5", "rows.zarr/rows"):
            np.testing.assert_array_equal(kernel(run(f"{line} {name}")), wanted)
    with h5py.File("rows.h5", "a") as file:
        file["other"] = rows
    assert "rows.h5: has the arrays other, rows; " in run(f"{line} rows.h5")[2]
    np.save("mask.npy", RNG.random((398, 2)) > 0.1)  # one column per output
    assert run(f"solve all.h5 {SIZE} --mask mask.npy")[0] == 0
