"""Commands that read HDF5, zarr and large .npy files, whole or in blocks, and their checkpoints."""

import json
import os
import pickle
import shutil

import h5py
import numpy as np
import pytest
import zarr

import convsolve as cs
from convsolve.cli.arguments import parse
from convsolve.cli.data import _read
from convsolve.formats.sliced import Sliced
from convsolve.problem.sizes import DEFAULT_LIMITS
from support.planted import Planter

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


@pytest.fixture
def little_memory():
    """As if more than a thousand numbers were too many to hold."""
    before = {name: getattr(DEFAULT_LIMITS, name) for name in ("held_numbers", "chunk_numbers")}
    for name in before:
        object.__setattr__(DEFAULT_LIMITS, name, 1000)
    yield
    for name, value in before.items():
        object.__setattr__(DEFAULT_LIMITS, name, value)


def kernel(answer):
    status, out, err = answer
    assert (status, err) == (0, "")
    return np.array(json.loads(out)["kernel"])


EVERY = [
    "all.h5", "ALL.HDF5", "all.h5:x all.h5:y", "all.h5:/run/in all.h5:run/out",
    "all.h5:link out.npy",     "all2.zarr", "all3.zarr", "all3.zarr/", "all3.zarr/x all3.zarr/y",
    "all2.zarr/run/in alone.zarr", "big.npy out.csv", "big.npy all.h5:y", "columns.npy all2.zarr/y",
]  # fmt: skip


@pytest.mark.parametrize("names", EVERY)
def test_every_format_gives_the_same_answer(data, run, names):
    whole = json.loads(run(f"solve all.npz {SIZE} --json")[1])
    found = json.loads(run(f"solve {names} {SIZE} --json")[1])
    whole["stats"] = found["stats"] = None  # how long it took
    assert found == whole


def test_a_mapped_array_of_floats_is_taken_as_it_lies_there(data, little_memory):
    """Integers and columns are read by slices: they would be converted as a whole."""
    np.save("single.npy", X.astype(np.float32))
    for names, kinds in (
        (["big.npy", "out.npy"], [np.memmap, np.memmap]),
        (["columns.npy", "out.npy"], [Sliced, np.memmap]),
        (["whole.npy", "out.npy"], [Sliced, Sliced]),
        (["single.npy", "out.npy"], [Sliced, Sliced]),
        (["single.npy", "single.npy"], [np.memmap, np.memmap]),
    ):
        given = _read(parse(["solve", *names, "--kernel-size", "3"]))
        read = [signal.values for signal in given]
        assert [type(array) for array in read] == kinds
        assert not any(getattr(array, "flags", {"WRITEABLE": False})["WRITEABLE"] for array in read)
    few, _ = _read(parse(["identify", "big.npy", "--kernel-size", "3"]))
    assert few.values.flags.owndata


def test_help_says_what_is_held(run, capsys):
    with pytest.raises(SystemExit):
        run("solve --help")
    assert "x and y of more than 2^25 numbers" in " ".join(capsys.readouterr().out.split())
    assert DEFAULT_LIMITS.held_numbers == 2**25


def test_data_that_determine_nothing_are_told_in_blocks(folder, run, little_memory):
    tone = np.array([0.0, 1, 0, -1])[np.arange(2000) % 4]
    with h5py.File("tone.h5", "w") as file:
        file["x"], file["y"] = tone, tone
    for command in ("identify", "solve", "solve --strict"):
        status, out, err = run(f"{command} tone.h5 --lags 0 5")
        assert status == 3
        assert "tone.h5" not in err
        assert "rank 2 of 6" in " ".join((out + err).lower().split())


# What is refused


def h5(name, fill):
    with h5py.File(name, "w") as file:
        fill(file)


def virtual(file, other):
    layout = h5py.VirtualLayout((9,), "f8")
    layout[:] = h5py.VirtualSource(other, "x", (9,))
    file.create_virtual_dataset("x", layout)


def loop(file):
    file["x"], file["y"] = h5py.SoftLink("/y"), h5py.SoftLink("/x")


HDF5 = {
    "members": (lambda f: f.update(a=X), "has no member 'x'; it has 'a'"),
    "empty": (lambda f: None, "has no member 'x'; it has none"),
    "group": (lambda f: f.create_group("x").create_group("in"), "is a group, not a dataset; it"),
    "type": (lambda f: f.update(x=np.dtype("f8")), "is a type, not a dataset"),
    "null": (lambda f: f.update(x=h5py.Empty("f8")), "is empty; give an array of numbers"),
    "compound": (lambda f: f.update(x=np.zeros(9, [("a", "f8")])), "not plain numbers; save it as"),
    "words": (lambda f: f.update(x=["a", "b"]), "is of dtype object, not plain numbers"),
    "references": (lambda f: f.create_dataset("x", (9,), h5py.ref_dtype), "is of dtype object"),
    "complex": (lambda f: f.update(x=X * 1j), "x is complex (complex128); pass real and imag"),
    "nan": (lambda f: f.update(x=X * np.nan), "x has 800 values that are not finite, the first"),
    "outside": (
        lambda f: f.update(x=h5py.ExternalLink("other.h5", "/x")),
        "'x' leads to another file (other.h5); give that one",
    ),
    "by a soft link": (
        lambda f: f.update(x=h5py.SoftLink("/out/x"), out=h5py.ExternalLink("other.h5", "/")),
        "'out' leads to another file (other.h5); give that one",
    ),
    "dangling": (lambda f: f.update(x=h5py.SoftLink("/gone")), "has no member 'gone'; it has 'x'"),
    "loop": (loop, "leads from link to link; name the dataset itself"),
    "virtual": (lambda f: virtual(f, "other.h5"), "keeps its numbers elsewhere (other.h5), which"),
    "raw": (
        lambda f: f.create_dataset("x", (9,), "f8", external=[("raw.bin", 0, 72)]),
        "keeps its numbers elsewhere (raw.bin), which is not followed; copy them into a dataset",
    ),
}  # fmt: skip


def refused(answer, name):
    """The line of a command that was refused."""
    status, out, err = answer
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"convsolve: {name}")
    return err


@pytest.mark.parametrize("kind", HDF5)
def test_hdf5_that_is_refused(folder, run, kind):
    fill, words = HDF5[kind]
    h5("a.h5", fill)
    h5("other.h5", lambda f: f.update(x=X))
    (folder / "raw.bin").write_bytes(bytes(72))
    assert words in refused(run(f"identify a.h5 {SIZE}"), "a.h5:")


def test_a_file_of_several_goes_alone(data, run):
    for names, named in (("all.h5:x all.h5", "all.h5:x"), ("big.npy all3.zarr", "all3.zarr/x")):
        line = refused(run(f"solve {names} {SIZE}"), names.split()[1])
        assert f"give one file alone, or name one: {named}" in line
    assert "has no member 'z'; it has 'link'" in refused(run(f"identify all.h5:z {SIZE}"), "all.h5")
    line = refused(run(f"identify all.h5:x/z {SIZE}"), "all.h5:x/z")
    assert "has no member 'z'; it has none" in line
    assert "there is no y" in refused(run(f"solve all.h5:x {SIZE}"), "all.h5:x")
    assert "columns are for tables" in refused(run(f"solve all.h5 {SIZE} --x-columns 0"), "all.h5")


@pytest.mark.slow
def test_hdf5_that_is_damaged(data, run):
    content = (data / "all.h5").read_bytes()
    with h5py.File("all.h5") as file:
        header = h5py.h5o.get_info(file["x"].id).addr
    (data / "header.h5").write_bytes(content[:header] + b"\x63" + content[header + 1 :])
    (data / "junk.h5").write_bytes(b"junk" * 99)
    (data / "none.h5").write_bytes(b"")
    (data / "cut.h5").write_bytes(content[: len(content) // 2])
    os.mkdir("folder.h5")
    os.mkfifo("pipe.h5")
    for name, words in (
        ("header.h5:x", "cannot be read (Unable to synchronously open object (bad object header"),
        ("junk.h5", "cannot be read (Unable to"),
        ("none.h5", "file signature not found"),
        ("cut.h5", "truncated file"),
        ("gone.h5", "No such file or directory"),
        ("folder.h5", "is a directory; give a file in it"),
        ("pipe.h5", "is not a regular file"),
    ):
        assert words in refused(run(f"identify {name} {SIZE}"), f"{name}: ")


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [False, True])
def test_damage_inside_is_found_when_it_is_read(data, run, request, blocks):
    if blocks:
        request.getfixturevalue("little_memory")
    with h5py.File("all.h5") as file:
        at = file["x"].id.get_chunk_info(5).byte_offset
    content = bytearray((data / "all.h5").read_bytes())
    content[at : at + 20] = b"not what was written"
    (data / "all.h5").write_bytes(content)
    (data / "all3.zarr/x/c/5/0").write_bytes(b"not what was written")
    (data / "all2.zarr/x/5.0").write_bytes(b"not what was written")
    for name, member in (
        ("all.h5", "all.h5:x"), ("all3.zarr", "all3.zarr/x"), ("all2.zarr", "all2.zarr/x"),
    ):  # fmt: skip
        line = refused(run(f"solve {name} {SIZE}"), f"{member}: cannot be read (")
        assert line.endswith("; copy or write it again\n")


def metadata(**changes):
    """What changes the metadata of the array x."""

    def change(folder):
        path = folder / "all3.zarr/x/zarr.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


CHUNKS = {"name": "regular", "configuration": {"chunk_shape": [2**40, 2]}}
ZARR = {
    "words": (
        metadata(data_type="string", fill_value="", codecs=[{"name": "vlen-utf8"}]),
        "is of dtype StringDType(), not plain numbers; save it as x.astype(float)",
    ),
    "codec": (metadata(codecs=[{"name": "pickle"}]), "'pickle'"),
    "shape": (metadata(shape="long"), "cannot be read (Expected an iterable of integers"),
    "huge": (
        metadata(shape=[2**40, 2], chunk_grid=CHUNKS),
        "a chunk holds 17592186044416 bytes of data, more than the 4294967296 allowed",
    ),
    "no json": (lambda f: (f / "all3.zarr/x/zarr.json").write_text("{"), "cannot be read (Expecti"),
    "a list": (lambda f: (f / "all3.zarr/x/zarr.json").write_text("[]"), "cannot be read ("),
    "nothing": (
        lambda f: (f / "all3.zarr/x/zarr.json").unlink(),
        "is no zarr array or group; it has none of zarr.json, .zarray, .zgroup",
    ),
    "group": (
        lambda f: shutil.copy(f / "all3.zarr/zarr.json", f / "all3.zarr/x"),
        "is a group, not an array",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ZARR)
def test_zarr_that_is_refused(data, run, kind):
    change, words = ZARR[kind]
    change(data)
    assert words in refused(run(f"identify all3.zarr {SIZE}"), "all3.zarr/")


def test_a_directory_that_is_no_zarr(data, run):
    os.mkdir("none.zarr")
    (data / "file.zarr").write_text("")
    for name, words in (
        ("none.zarr", "is no zarr array or group"),
        ("file.zarr", "is a file, and a zarr array or group is a directory"),
        ("gone.zarr", "No such file or directory"),
        ("all3.zarr/gone", "No such file or directory"),
    ):
        assert words in refused(run(f"identify {name} {SIZE}"), f"{name}: ")
    line = refused(run(f"identify all3.zarr/run {SIZE}"), "all3.zarr/run: ")
    assert "has no member 'x'; it has 'in'" in line


def test_zarr_is_never_unpickled(folder, run):
    planted = folder / "planted"
    array = zarr.create_array(
        "a.zarr", shape=(9,), dtype="f8", chunks=(9,), zarr_format=2, compressors=None
    )
    array[:] = np.arange(9.0)
    (folder / "a.zarr/0").write_bytes(pickle.dumps(Planter(planted)))
    stated = folder / "a.zarr/.zarray"
    plain = json.loads(stated.read_text())
    for change in (
        {"filters": [{"id": "pickle"}]}, {"compressor": {"id": "pickle"}},
        {"filters": [{"id": "pickle"}], "dtype": "|O", "fill_value": 0},
    ):  # fmt: skip
        stated.write_text(json.dumps(plain | change))
        assert "cannot be read (" in refused(run(f"identify a.zarr {SIZE}"), "a.zarr: ")
    assert not planted.exists()


@pytest.mark.parametrize(
    ("names", "out"),
    [("all.h5", "all.h5"), ("all.h5:x all.h5:y", "all.h5"), ("all3.zarr", "all3.zarr/fit.npz")],
)
def test_what_is_read_is_not_written(data, run, names, out):
    line = refused(run(f"solve {names} {SIZE} --out {out} --overwrite"), f"--out {out}")
    assert "is one of the inputs" in line


# Checkpoints


def stopped(monkeypatch, after):
    """The command is stopped once the checkpoint was written so many times."""
    from convsolve.checkpoint import Checkpoint

    write, times = Checkpoint._write, iter(range(after))

    def stop(self, now):
        write(self, now=True)
        if next(times, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "_write", stop)


def test_a_command_goes_on_from_its_checkpoint(data, run, little_memory, monkeypatch):
    line = f"solve all.h5 {SIZE} --json --checkpoint sums"
    whole = kernel(run(f"solve all.h5 {SIZE} --json"))
    with monkeypatch.context() as patch:
        stopped(patch, after=1)
        assert run(line)[0] == 130
    assert (data / "sums").exists()
    other = refused(run("solve all.h5 --kernel-size 3 --bias --checkpoint sums"), "sums: ")
    assert "is a checkpoint of another problem" in other
    np.testing.assert_array_equal(kernel(run(line)), whole)
    assert not (data / "sums").exists()


def test_a_checkpoint_of_outputs_with_masks_of_their_own(data, run):
    np.save("mask.npy", RNG.random((398, 2)) > 0.1)
    status, _, _ = run(f"solve all.h5 {SIZE} --mask mask.npy --checkpoint sums")
    assert status == 0


@pytest.mark.parametrize("name", ["rows.h5:mask", "rows.zarr/mask"])
def test_a_mask_may_be_in_any_kind_of_file(data, run, name):
    mask = RNG.integers(0, 2, len(Y))
    np.save("mask.npy", mask)
    with h5py.File("rows.h5", "w") as file:
        file["mask"] = mask
    zarr.open_group("rows.zarr", mode="w").create_array("mask", data=mask)
    line = f"solve all.npz {SIZE} --json --mask"
    np.testing.assert_array_equal(kernel(run(f"{line} {name}")), kernel(run(f"{line} mask.npy")))
    np.testing.assert_array_equal(kernel(run(f"{line} rows.h5")), kernel(run(f"{line} mask.npy")))
    with h5py.File("rows.h5", "a") as file:
        file["other"] = mask
    assert "rows.h5: has several arrays; " in run(f"{line} rows.h5")[2]


def test_confounds_may_be_in_hdf5(data, run):
    columns = RNG.standard_normal((len(Y), 1))
    np.save("confounds.npy", columns)
    with h5py.File("confounds.h5", "w") as file:
        file["m/columns"] = columns
    line = f"solve all.npz {SIZE} --json --confounds"
    found, wanted = (
        kernel(run(f"{line} {name}")) for name in ("confounds.h5:m/columns", "confounds.npy")
    )
    np.testing.assert_array_equal(found, wanted)
