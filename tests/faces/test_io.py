"""Signals of files: what `convsolve.io.read` reads, and what it refuses before it reads."""

from __future__ import annotations

import dataclasses
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
from convsolve.io import Signal, Sliced, read

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


READ: list[tuple[str, Any, np.ndarray, tuple[str, ...] | None]] = [
    ("x.npy", None, X, None),
    ("table.csv", None, np.c_[X, Y], ("left", "right", "y")),
    ("table.csv", "y", Y, ("y",)),
    ("table.csv", ["right", "left"], X[:, ::-1], ("right", "left")),
    ("both.mat:y", None, Y, None),
    ("both.h5:run/x", None, X, None),
    ("both.zarr/x", None, X, None),
    ("only.zarr", None, Y, None),
    ("alone.zarr", None, X, None),
]


@pytest.mark.parametrize(("path", "columns", "values", "names"), READ, ids=str)
def test_values_and_names(
    data: Path, path: str, columns: Any, values: np.ndarray, names: tuple[str, ...] | None
) -> None:
    found = read(path if columns else data / path, columns=columns)
    assert isinstance(found, Signal)
    np.testing.assert_array_equal(np.asarray(found.values), values)
    assert found.values.shape == values.shape
    assert (found.fs, found.names) == (None, names)


def test_a_problem_takes_values_names_and_the_rate(data: Path) -> None:
    y, sound = read("table.csv", columns="y"), read("sound.wav")
    wanted = cs.solve(cs.Problem(X, Y, lags=(0, 2))).kernel
    for path in ("x.npy", "only.npz", "only.h5", "both.zarr/x", "both.mat:x", "table.csv"):
        x = read(path, columns=["left", "right"] if path == "table.csv" else None)
        problem = cs.Problem(
            x.values, y.values, lags=(0, 2), channels=x.names, outputs=y.names, fs=x.fs
        )
        np.testing.assert_allclose(cs.solve(problem).kernel, wanted, rtol=1e-12, atol=1e-14)
    assert ([*problem.channels], [*problem.outputs]) == (["left", "right"], ["y"])
    assert cs.Problem(sound.values, tmin=0, tmax=0.001, fs=sound.fs).lags.tolist() == [*range(9)]
    np.testing.assert_array_equal(sound.values, Y.astype(np.float32))


def test_a_signal_is_frozen_and_shows_its_contents(data: Path) -> None:
    table = read("table.csv")
    assert repr(table) == "<Signal of shape (60, 3), float64: left, right, y>"
    assert repr(read("sound.wav")) == "<Signal of shape (60,), float32, 8000 Hz>"
    assert repr(Signal([1.0])) == "<Signal of shape unknown, unknown>"
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.fs = 2.0  # type: ignore[misc]


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


REFUSED: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ("x.xls", {}, ValueError, "x.xls: is of no known kind; give an array in a .npy, "),
    ("gone.csv", {}, FileNotFoundError, "gone.csv"),
    ("table.csv", {"columns": []}, ValueError, "columns= takes columns of .csv and .txt"),
    ("both.npz", {}, ValueError, "both.npz: has the arrays x, y; name one: columns='x'"),
    ("both.npz", {"columns": "z"}, ValueError, "has no member 'z'; it has x, y"),
    ("both.h5:z", {}, ValueError, "both.h5: has no member 'z'; it has run, y"),
    ("both.h5", {}, ValueError, "both.h5: has the arrays run, y; name one: both.h5:r"),
    ("both.mat:z", {}, ValueError, "both.mat: has no member 'z'; it has x, y"),
    (3, {}, TypeError, "path must be the name of a file, got a int"),
]


def test_mistakes_are_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, given, kind, words in REFUSED:
        with pytest.raises(kind) as raised:
            read(path, **given)
        assert words in str(raised.value)
        assert "--" not in str(raised.value)
        assert "\n" not in str(raised.value)
    for path, package in (("both.h5:y", "h5py"), ("both.zarr/y", "zarr")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=f"needs {package}: pip install 'convsolve"):
            read(path)


def test_columns_of_a_table_in_the_command_line(data: Path, run: Any) -> None:
    np.savetxt("own.csv", np.c_[X, Y], delimiter=",", header="left,right,y", comments="")
    assert run("solve own.csv --x-columns left,right --y-columns y --lags 0 2")[0] == 0


# --- tables

TABLES = [
    ("1\n2\n3\n", [1, 2, 3]),
    ("a,b\n1, 2\r\n3 ,4e-1\r\n", [[1, 2], [3, 0.4]]),
    ('"a b","c"\n"1","2"\n', [[1, 2]]),
    (",,c\n1,2,3\n", [[1, 2, 3]]),
    ("\ufeff# bold\n-1\n\n\n", [-1]),
    ("nan,inf\n", [[np.nan, np.inf]]),
]
WRONG = [
    ("1,2\n3,\n", "could not convert string ''"),
    ("a\n1\n2 # no\n", "could not convert string '2 # no'"),
    ("a,b,a\n1,2,3\n", "has two columns of one name; rename one"),
    ("1,2\n3,4,5\n", "line 2 has another number of columns than line 1"),
    ("1\n2\n\n4\n", "has a blank line 3"),
    ("a,b\n", "has no numbers"),
]
COLUMNS = [
    ("a,b\n", "c", "has no column 'c'; the header names a, b; numbers count from 0"),
    ("", "a", "has no column 'a'; there is no header line; numbers count from 0"),
    ("a,b\n", 2, "has no column 2; the header names a, b"),
    ("a,b\n", -1, "has no column -1; the header names a, b"),
]


def test_tables_and_their_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.TXT"
    for text, expected in TABLES:
        path.write_bytes(text.encode())
        np.testing.assert_array_equal(read(path).values, np.array(expected, dtype=float))
    for text, words in WRONG:
        path.write_text(text)
        with pytest.raises(ValueError, match=f"^{path}: .*{re.escape(words)}"):
            read(path)
    for header, column, words in COLUMNS:
        path.write_text(f"{header}1,2\n")
        with pytest.raises(ValueError, match=words):
            read(path, columns=column)
    path.write_text('"a, b",c,d\n1,2,3\n4,5,6\n')
    np.testing.assert_array_equal(read(path, columns=["a, b", "d"]).values, [[1, 3], [4, 6]])
    path.write_text("a,b,c\n1,2,3\n4,6\n")
    with pytest.raises(ValueError, match="line 3 has another number of columns"):
        read(path, columns=["a", "b"])
