"""Signals of files: what `convsolve.io.read` reads, and what it refuses before it reads."""

from __future__ import annotations

import dataclasses
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
from convsolve.formats.sliced import Sliced
from convsolve.io import Signal, read

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = RNG.normal(size=60)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """X and Y in every format."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.save("ints.npy", np.arange(6, dtype=">i2").reshape(3, 2))
    np.savez("both.npz", x=X, y=Y)
    np.savez("only.npz", x=X)
    np.savetxt("table.csv", np.c_[X, Y], delimiter=",", header="left,right,y", comments="")
    np.savetxt("plain.txt", np.c_[X, Y], delimiter=",")
    np.savetxt("one.csv", Y, header="y", comments="")
    wavfile.write("sound.wav", 8000, Y.astype(np.float32))
    scipy.io.savemat("both.mat", {"x": X, "y": Y})
    scipy.io.savemat("only.mat", {"z": Y})
    with h5py.File("both.h5", "w") as file:
        file.create_dataset("run/x", data=X, chunks=(20, 2))
        file["y"] = Y
    with h5py.File("only.h5", "w") as file:
        file["x"] = X
    group = zarr.open_group("both.zarr", mode="w")
    group.create_array("x", data=X, chunks=(20, 2))
    group.create_array("y", data=Y)
    zarr.open_group("only.zarr", mode="w").create_array("y", data=Y)
    zarr.create_array("alone.zarr", data=X)
    return tmp_path


READ: dict[str, tuple[str, Any, np.ndarray, tuple[str, ...] | None]] = {
    "npy": ("x.npy", None, X, None),
    "member": ("both.npz", "y", Y, None),
    "members": ("both.npz", ["x"], X, None),
    "only member": ("only.npz", None, X, None),
    "table": ("table.csv", None, np.c_[X, Y], ("left", "right", "y")),
    "column": ("table.csv", "y", Y, ("y",)),
    "number": ("table.csv", 1, X[:, 1], ("right",)),
    "columns": ("table.csv", ["right", "left"], X[:, ::-1], ("right", "left")),
    "columns of one": ("table.csv", ("y",), Y[:, None], ("y",)),
    "no header": ("plain.txt", [0, 1], X, None),
    "one column": ("one.csv", None, Y, ("y",)),
    "variable": ("both.mat:y", None, Y, None),
    "only variable": ("only.mat", None, Y, None),
    "dataset": ("both.h5:run/x", None, X, None),
    "only dataset": ("only.h5", None, X, None),
    "zarr": ("both.zarr/x", None, X, None),
    "only zarr": ("only.zarr", None, Y, None),
    "zarr alone": ("alone.zarr", None, X, None),
}


@pytest.mark.parametrize("name", READ)
def test_values_and_names(data: Path, name: str) -> None:
    path, columns, values, names = READ[name]
    found = read(path, columns=columns)
    assert isinstance(found, Signal)
    np.testing.assert_array_equal(np.asarray(found.values), values)
    assert found.values.shape == values.shape
    assert (found.fs, found.names) == (None, names)
    same = read(data / path, columns=columns)
    np.testing.assert_array_equal(np.asarray(same.values), values)


def test_sound_has_a_rate(data: Path) -> None:
    sound = read("sound.wav")
    assert (sound.fs, sound.names) == (8000.0, None)
    np.testing.assert_array_equal(sound.values, Y.astype(np.float32))
    assert repr(sound) == "<Signal of shape (60,), float32, 8000 Hz>"


def test_a_signal_is_frozen_and_shows_what_it_has(data: Path) -> None:
    table = read("table.csv")
    assert repr(table) == "<Signal of shape (60, 3), float64: left, right, y>"
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.fs = 2.0  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"'value'; did you mean values\?"):
        _ = table.value
    assert repr(Signal([1.0])) == "<Signal of shape unknown, unknown>"


def test_large_formats_are_read_when_used(data: Path) -> None:
    assert isinstance(read("x.npy").values, np.memmap)
    assert not read("x.npy").values.flags.writeable
    for path in ("ints.npy", "both.h5:run/x", "both.zarr/x"):
        values = read(path).values
        assert isinstance(values, Sliced)
        assert (values.ndim, len(values)) == (2, values.shape[0])
        assert "read when used" in repr(values)
        assert path in repr(values)
        np.testing.assert_array_equal(values[1:3], np.asarray(values)[1:3])
        assert np.asarray(values, np.float32).dtype == np.float32
    # An array that is read when it is used may be larger than max_bytes, but a chunk may not.
    assert read("both.h5:run/x", max_bytes=400).values.shape == X.shape
    with pytest.raises(ValueError, match=r"both.h5:run/x: a chunk holds 320 .* raise max_bytes if"):
        read("both.h5:run/x", max_bytes=300)


@pytest.mark.parametrize("path", ["x.npy", "only.npz", "only.h5", "both.zarr/x", "both.mat:x"])
def test_a_problem_takes_the_values(data: Path, path: str) -> None:
    wanted = cs.solve(cs.Problem(X, Y, lags=(0, 2))).kernel
    found = cs.solve(cs.Problem(read(path).values, read("one.csv").values, lags=(0, 2))).kernel
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


def test_a_problem_takes_names_and_the_rate(data: Path) -> None:
    x, y = read("table.csv", columns=["left", "right"]), read("table.csv", columns="y")
    problem = cs.Problem(
        x.values, y.values, lags=(0, 2), channels=x.names, outputs=y.names, fs=x.fs
    )
    assert [*problem.channels] == ["left", "right"]
    assert [*problem.outputs] == ["y"]
    sound = read("sound.wav")
    assert cs.Problem(sound.values, tmin=0, tmax=0.001, fs=sound.fs).lags.tolist() == [*range(9)]


REFUSED: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "suffix": ("x.xls", {}, ValueError, "x.xls: is of no known kind; give an array in a .npy, "),
    "missing": ("gone.csv", {}, FileNotFoundError, "gone.csv"),
    "missing npz": ("gone.npz", {}, FileNotFoundError, "gone.npz"),
    "missing h5": ("gone.h5:x", {}, FileNotFoundError, "gone.h5"),
    "empty": ("table.csv", {"columns": []}, ValueError, "columns is empty; leave it out"),
    "type": ("table.csv", {"columns": 1.5}, TypeError, "columns takes names or numbers, got 1.5"),
    "several": ("both.npz", {}, ValueError, "has 2 members; it has 'x', 'y'; name one, as in col"),
    "member": ("both.npz", {"columns": "z"}, ValueError, "has no member 'z'; it has 'x', 'y'"),
    "two members": ("both.npz", {"columns": ["x", "y"]}, ValueError, "the name of one member"),
    "columns of npy": ("x.npy", {"columns": 0}, ValueError, "x.npy: columns= selects columns of"),
    "columns of h5": ("both.h5:y", {"columns": "y"}, ValueError, "as in FILE.h5:x"),
    "several h5": ("both.h5", {}, ValueError, "both.h5: has several arrays; name one: both.h5:r"),
    "several zarr": ("both.zarr/", {}, ValueError, "has several arrays; name one: both.zarr/x"),
    "several mat": ("both.mat", {}, ValueError, "has several arrays; name one: both.mat:x"),
    "variable": ("both.mat:z", {}, ValueError, "has no variable 'z'; it has 'x', 'y'"),
    "dataset": ("both.h5:z", {}, ValueError, "both.h5:z: has no member 'z'; it has 'run', 'y'"),
    "npz size": ("both.npz", {"columns": "x", "max_bytes": 99}, ValueError, "raise max_bytes if"),
    "mat size": ("both.mat:x", {"max_bytes": 99}, ValueError, "raise max_bytes"),
    "no limit": ("x.npy", {"max_bytes": 0}, ValueError, "max_bytes must be at least 1, got 0"),
    "argument": ("x.npy", {"column": 0}, TypeError, "no argument 'column'; did you mean columns?"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(data: Path, name: str) -> None:
    path, given, kind, words = REFUSED[name]
    with pytest.raises(kind) as raised:
        read(path, **given)
    assert words in str(raised.value)
    assert "--" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_path_is_a_name() -> None:
    with pytest.raises(TypeError, match="path must be the name of a file, got a int"):
        read(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="max_bytes must be an integer"):
        read("x.npy", max_bytes=1e9)  # type: ignore[arg-type]


@pytest.mark.parametrize(("path", "package"), [("both.h5:y", "h5py"), ("both.zarr/y", "zarr")])
def test_a_missing_package_is_named(
    data: Path, path: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"needs {package}: pip install 'convsolve"):
        read(path)


def test_the_command_line_reads_with_it(data: Path, run: Any, monkeypatch: Any) -> None:
    asked = []

    def noted(path: str, **options: Any) -> Signal:
        asked.append(path)
        return read(path, **options)

    monkeypatch.setattr("convsolve.io.read", noted)
    assert run("identify only.h5 --lags 0 2")[::2] == (0, "")
    assert run("solve only.h5 both.zarr/y --lags 0 2")[::2] == (0, "")
    table = np.c_[X, Y]  # another name than those of the files of `run`
    np.savetxt("own.csv", table, delimiter=",", header="left,right,y", comments="")
    assert run("solve own.csv --x-columns left,right --y-columns y --lags 0 2")[0] == 0
    assert asked == ["only.h5", "both.zarr/y", "own.csv"]
    # The options have other names than the arguments.
    assert "raise --max-bytes" in run("identify own.csv --lags 0 2 --max-bytes 9")[2]
    several = run("solve x.npy both.zarr --lags 0 2")[2]
    assert "has several arrays; give one file alone, or name one: both.zarr/x" in several
