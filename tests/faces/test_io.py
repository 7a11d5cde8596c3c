"""`convsolve.io`: signals of files, and files that are written as a whole."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import zarr
from scipy.io import wavfile

import convsolve as cs
from convsolve.io import read, read_members, write, write_new

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = cs.convolve(X, RNG.normal(size=(3, 2, 1)), cs.ConvSpec(3, padding="causal"))[:, 0]
INTS = np.arange(120, dtype=">i2").reshape(60, 2)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """X and Y in every format."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.save("ints.npy", INTS)
    np.savez("both.npz", x=X, y=Y)
    np.savez_compressed("only.npz", x=X)
    np.savez("objects.npz", x=np.array([{}]))
    for name, by in (("table.csv", ","), ("table.tsv", "\t")):
        np.savetxt(name, np.c_[X, Y], delimiter=by, header=by.join("lry"), comments="")
    np.savetxt("plain.TXT", Y)
    wavfile.write("sound.wav", 8000, Y.astype(np.float32))
    scipy.io.savemat("both.mat", {"x": X, "y": Y, "text": "words"})
    with h5py.File("both.h5", "w") as file:
        file.create_dataset("run/x", data=X, chunks=(20, 2), compression="gzip")
        file["y"], file["note"] = Y, "left alone"
        file["x"] = h5py.SoftLink("/run/x")
    for form in (2, 3):
        group = zarr.open_group(f"both{form}.zarr", mode="w", zarr_format=form)
        group.create_array("x", data=X, chunks=(20, 2))
        group.create_array("y", data=Y)
        group.create_group("run").create_array("in", data=X, chunks=(50, 1))
    zarr.create_array("alone.zarr", data=X)
    return tmp_path


READ: list[tuple[str, Any, np.ndarray, tuple[str, ...] | None]] = [
    ("x.npy", None, X, None),
    ("ints.npy", None, INTS, None),
    ("both.npz", "x", X, None),
    ("both.npz:y", None, Y, None),
    ("only.npz", None, X, None),
    ("table.csv", None, np.c_[X, Y], ("l", "r", "y")),
    ("table.csv", "y", Y, ("y",)),
    ("table.csv", ["r", 0], X[:, ::-1], ("r", "l")),
    ("table.tsv", ["y"], Y[:, None], ("y",)),
    ("plain.TXT", None, Y, None),
    ("both.mat:y", None, Y, None),
    ("both.h5:run/x", None, X, None),
    ("both2.zarr/x", None, X, None),
    ("both3.zarr/run/in", None, X, None),
    ("alone.zarr", None, X, None),
]


@pytest.mark.parametrize(("address", "columns", "values", "names"), READ)
def test_values_and_names(
    data: Path, address: str, columns: Any, values: np.ndarray, names: tuple[str, ...] | None
) -> None:
    found = read(address if columns else data / address, columns=columns)
    np.testing.assert_allclose(np.asarray(found.values), values, rtol=1e-15)
    assert found.values.shape == values.shape
    assert (found.fs, found.names) == (None, names)


def test_every_format_gives_the_same_solution(data: Path) -> None:
    """In memory, and in blocks if a file is larger than the limit."""
    wanted = cs.solve(cs.Problem(X, Y, lags=(0, 2))).kernel
    for name in ("both.npz", "both.mat", "both.h5", "both2.zarr", "both3.zarr/"):
        x, y = (signal.values for signal in read_members(name, ("x", "y")))
        for limits in (None, cs.Limits(data=400)):
            fit = cs.solve(cs.Problem(x, y, lags=(0, 2)), limits=limits)
            np.testing.assert_allclose(fit.kernel, wanted, rtol=1e-12, atol=1e-14)
    for name in ("x.npy", "ints.npy", "both.h5:x", "both2.zarr/x"):
        problem = cs.Problem(read(name).values, lags=(0, 2))
        assert not isinstance(problem.x[0], np.ndarray), "read when it is used"
    np.save("batch.npy", np.stack([X, X]))
    assert len(cs.Problem(read("batch.npy").values, lags=(0, 2)).x) == 2


REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("x.xls", {}, ValueError, "x.xls: no array file; use .npy, "),
    ("gone.csv", {}, FileNotFoundError, "gone.csv"),
    ("x.npy", {"columns": [0]}, ValueError, "x.npy: has no columns, got columns=[0]"),
    ("objects.npz", {}, ValueError, "when allow_pickle=False"),
    ("both.npz", {}, ValueError, "both.npz: cannot be read: there are the arrays x, y; name one"),
    ("both.h5:z", {}, ValueError, "there is no array 'z'; there are note, run, x, y"),
    ("table.csv", {"columns": "z"}, ValueError, "there is no column 'z'; there are l, r, y"),
]


@pytest.mark.parametrize(("address", "given", "kind", "words"), REFUSED)
def test_mistakes_are_named(data: Path, address: str, given: Any, kind: Any, words: str) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        read(address, **given)


@pytest.mark.parametrize("name", ["h5py both.h5:y", "zarr alone.zarr", "pandas plain.TXT"])
def test_packages_are_named(data: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    package, path = name.split()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"needs {package}: pip install {package}"):
        read(path)


TABLES = [
    ("1\n2\n3\n", [1, 2, 3]),
    ("a,b\n1, 2\r\n3 ,4e-1\r\n", [[1, 2], [3, 0.4]]),
    ('"a, b","c"\n"1","2"\n', [[1, 2]]),
    ("\ufeff# bold\n-1\n", [-1]),
    ("nan,inf\n3,\n", [[np.nan, np.inf], [3, np.nan]]),
    ("1\n2\n\n4\n", [1, 2, np.nan, 4]),  # a blank line is a missing sample
]
WRONG = [
    ("a\n1\n2 # no\n", "could not convert string to float: '2 # no'"),
    ("1,2\n3,4,5\n", "Expected 2 fields in line 2, saw 3"),
    ("", "No columns to parse"),
]


def test_tables_and_their_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.TXT"
    for text, expected in TABLES:
        path.write_bytes(text.encode())
        np.testing.assert_array_equal(read(path).values, np.array(expected, dtype=float))
    for text, words in WRONG:
        path.write_text(text)
        with pytest.raises(ValueError, match=f"^{path}: cannot be read: .*{re.escape(words)}"):
            read(path)


# NumPy leaves a damaged archive open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_files_are_refused_in_one_line(data: Path) -> None:
    for name in ("x.npy", "only.npz", "both.mat", "both.h5"):
        content = (data / name).read_bytes()
        for damaged in (content[: len(content) // 3], b"", b"not numbers"):
            (data / name).write_bytes(damaged)
            with pytest.raises(ValueError, match=f"^{name}: cannot be read: .") as raised:
                read_members(name, ("x",))
            assert "\n" not in str(raised.value)


# --- MATLAB and sound


def save_7_3(path: str, variables: dict[str, np.ndarray]) -> None:
    """As MATLAB does: the axes in reverse, and a text before HDF5."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            file[name] = value.T
    with open(path, "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


@pytest.mark.parametrize("save", [scipy.io.savemat, save_7_3])
def test_every_version_of_matlab(tmp_path: Path, save: Any) -> None:
    path = str(tmp_path / "a.mat")
    save(path, {"x": X, "y": Y[:, None], "z": Y[None, :]})
    for found, wanted in zip(read_members(path, ("x", "y", "z")), (X, Y, Y), strict=True):
        np.testing.assert_array_equal(found.values, wanted)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
def test_sound_is_in_units_of_full_scale(tmp_path: Path, kind: Any) -> None:
    sound = RNG.uniform(-0.9, 0.9, (50, 2))
    scale, middle = 2.0 ** (8 * kind(0).nbytes - 1), 128 * (kind is np.uint8)
    wavfile.write(tmp_path / "a.wav", 8000, np.round(sound * scale + middle).astype(kind))
    found = read(tmp_path / "a.wav")
    np.testing.assert_allclose(found.values, sound, atol=1 / scale, rtol=0)
    assert found.fs == 8000


def test_kernels_and_predictions_are_written(tmp_path: Path) -> None:
    path, kernel = tmp_path / "a.wav", RNG.normal(size=(9, 2, 1))
    write(path, kernel, fs=8000.0)
    found = read(path)
    np.testing.assert_array_equal(found.values, kernel[..., 0].astype(np.float32))
    assert (found.values.dtype, found.fs) == (np.float32, 8000)
    for name, fs, words in (
        ("b.wav", None, "sound needs a whole sampling rate in Hz, got fs=None"),
        ("b.csv", 1, "written to FILE.npy or FILE.wav"),
    ):
        with pytest.raises(ValueError, match=words):
            write(tmp_path / name, kernel, fs)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path, link = tmp_path / "a.npy", tmp_path / "link.npy"
    write(path, 1)
    with pytest.raises(FileExistsError, match=r"a\.npy: exists; overwrite=True overwrites it"):
        write(path, 2)

    def fail(stream: Any) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_new(path, fail, overwrite=True)
    assert np.load(path) == 1
    link.symlink_to(path)
    write(link, 2, overwrite=True)
    assert np.load(path) == 2
    assert sorted(tmp_path.iterdir()) == [path, link]
