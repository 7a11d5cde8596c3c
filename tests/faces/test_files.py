"""Archives, files that are damaged, objects, and files that are written as a whole."""

import pathlib

import h5py
import numpy as np
import pytest
import scipy.io
from scipy.io import wavfile

from convsolve import files
from convsolve.io import ReadError, read

RNG = np.random.default_rng(0)
ARRAYS = [
    RNG.normal(size=(5, 2, 3)),
    RNG.normal(size=(4, 3)).astype(np.float32)[:, ::2],
    np.arange(6, dtype=">i4"),
    np.array([True, False]),
    np.zeros((0, 5)),
    np.float64(3.5),
    np.array([1 + 2j]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_come_back_as_they_were(tmp_path, array):
    np.savez_compressed(tmp_path / "packed.npz", a=array)
    files.write_npz(tmp_path / "ours.npz", {"a": array, "word": "κ = 51.6", "tol": 1e-6})
    for name in ("packed", "ours"):
        found = files.read_npz(tmp_path / f"{name}.npz")
        assert found["a"].dtype == array.dtype
        np.testing.assert_array_equal(found["a"], array)
    assert (str(found["word"]), found["tol"]) == ("κ = 51.6", 1e-6)


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path, link = tmp_path / "a.npz", tmp_path / "link.npz"
    files.write_npz(path, {"a": 1})
    with pytest.raises(FileExistsError, match=r"a\.npz: exists; overwrite=True overwrites it"):
        files.write_npz(path, {"a": 2})

    def fail():
        with files.replacing(path, True) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert files.read_npz(path)["a"] == 1
    link.symlink_to(path)
    files.write_npz(link, {"a": 2}, overwrite=True)
    assert files.read_npz(path)["a"] == 2
    assert sorted(tmp_path.iterdir()) == [path, link]


def test_a_damaged_file_ends_with_one_sentence(folder, run):
    x = RNG.normal(size=(40, 2))
    np.save("a.npy", x)
    np.savez("a.npz", x=x, y=x)
    scipy.io.savemat("b.mat", {"x": x})
    scipy.io.savemat("cell.mat", {"x": np.array([x, x[1:]], object)})
    wavfile.write("a.wav", 100, x)
    with h5py.File("a.h5", "w") as file:
        file["x"] = x
    for name in ("a.npy", "a.npz", "b.mat", "a.wav", "a.h5"):
        assert run(f"identify {name} --lags 0 2")[0] == 0
        content = (folder / name).read_bytes()
        for damaged in (content[: len(content) // 2], content[:30], b"", b"not numbers"):
            (folder / name).write_bytes(damaged)
            status, out, err = run(f"identify {name} --lags 0 2")
            assert (status, out, err.count("\n")) == (2, "", 1)
            assert err.startswith(f"convsolve: {name}: ")
    assert "cell.mat:x: is no array of numbers" in run("identify cell.mat --lags 0 2")[2]
    for name in ("x.npy/y.npy", "gone.npy"):
        assert run(f"identify {name} --lags 0 2")[0] == 2


class Planter:
    """An object that is unpickled by making a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_objects_are_refused_and_never_unpickled(tmp_path):
    planted = tmp_path / "planted"
    objects = np.array([Planter(planted)], dtype=object)
    np.save(tmp_path / "a.npy", objects)
    np.savez(tmp_path / "a.npz", x=objects)
    for call, name in ((read, "a.npy"), (read, "a.npz"), (files.read_npz, "a.npz")):
        with pytest.raises(ReadError, match=f"{name}: "):
            call(tmp_path / name)
    assert not planted.exists()
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert planted.exists(), "the trap works"
