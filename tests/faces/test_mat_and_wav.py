"""MAT files and WAV in the command line, beside what SciPy, h5py and MATLAB itself write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from scipy.io import wavfile

import convsolve as cs
from convsolve.formats import mat, wav
from support.slow import some

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = cs.convolve(X, RNG.normal(size=(3, 2, 1)), cs.ConvSpec(3))[:, 0]
ENOUGH = 2**20
NUMBERS = [
    RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3, 2)), np.arange(12.0).reshape(4, 3),
    RNG.normal(size=(4, 3)).astype(np.float32), np.arange(-6, 6, dtype=np.int8).reshape(4, 3),
    np.arange(12, dtype=np.uint16).reshape(4, 3), np.arange(12, dtype=np.int64).reshape(4, 3),
    RNG.normal(size=(4, 3)) > 0, RNG.normal(size=(4, 3)) + 1j,
]  # fmt: skip


def save_7_3(path: Path, **variables: Any) -> None:
    """As MATLAB does: the axes in reverse, its class beside them, and a text before HDF5."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            file[name] = np.asarray(value).T
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with open(path, "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


def saving(**settings: Any) -> Callable[..., None]:
    return lambda path, **variables: scipy.io.savemat(path, variables, **settings)


VERSIONS = {
    "4": saving(format="4"), "6": saving(do_compression=False),
    "7": saving(do_compression=True), "7.3": save_7_3,
}  # fmt: skip
each_version = pytest.mark.parametrize("save", some(VERSIONS.values(), VERSIONS["7"]), ids=VERSIONS)


@pytest.mark.parametrize(
    "array",
    [pytest.param(a, marks=pytest.mark.slow if i % 3 else ()) for i, a in enumerate(NUMBERS)],
    ids=[f"{a.dtype}{a.shape}" for a in NUMBERS],
)
@pytest.mark.parametrize("packed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_numbers_come_back_in_their_kind(tmp_path: Path, array: np.ndarray, packed: bool) -> None:
    path = tmp_path / "a.mat"
    cell = np.array([1, "a"], object)
    scipy.io.savemat(path, {"text": "words", "cell": cell, "x": array}, do_compression=packed)
    (found,) = mat.arrays(f"{path}:x", ENOUGH)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == (np.uint8 if array.dtype == bool else array.dtype)


@each_version
def test_every_version_gives_the_same_answer(folder: Path, run: Any, save: Any) -> None:
    np.savez("all.npz", x=X, y=Y)
    save(folder / "all.mat", x=X, y=Y[:, None], z=X)
    (folder / "ALL.MAT").write_bytes((folder / "all.mat").read_bytes())
    np.save("y.npy", Y)
    whole = json.loads(run("solve all.npz --kernel-size 3 --json")[1])
    for names in ("all.mat", "ALL.MAT", "all.mat:x all.mat:y", "all.mat:z y.npy"):
        status, out, err = run(f"solve {names} --kernel-size 3 --json")
        assert (status, err) == (0, "")
        found = json.loads(out)
        whole["stats"] = found["stats"] = None  # how long it took
        assert found == whole


@each_version
def test_a_row_or_a_column_is_one_channel(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "a.mat"
    save(path, x=X[:, :1], y=X[:, :1].T)
    for found in mat.arrays(str(path), ENOUGH, ("x", "y")):
        np.testing.assert_array_equal(found, X[:, 0])


@each_version
def test_what_is_larger_than_allowed_is_not_read(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "a.mat"
    save(path, x=np.zeros((10**5, 2)), y=np.zeros((2, 1)))
    (y,) = mat.arrays(f"{path}:y", 2 * 10**6)
    assert y.shape == (2,)
    with pytest.raises(ValueError, match="raise max_bytes"):
        mat.arrays(f"{path}:x", 10**6)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("b.mat", "b.mat: has no member 'x'; it has 'z'"),
        ("b.mat:y", "b.mat:y: has no member 'y'; it has 'z'"),
        ("c.mat", "c.mat:x: is empty, or text; give an array of numbers"),
        ("twice.mat", "twice.mat: variable 'x' is there twice; write each once"),
    ],
)
def test_variables_that_are_not_there(folder: Path, run: Any, line: str, words: str) -> None:
    scipy.io.savemat("a.mat", {"x": X, "y": Y})
    save_7_3(folder / "b.mat", z=X)
    save_7_3(folder / "c.mat", x=np.frombuffer(b"words", np.uint8).astype("u2"))
    with h5py.File("c.mat", "r+") as file:
        file["x"].attrs["MATLAB_class"] = np.bytes_("char")
    content = (folder / "a.mat").read_bytes()
    (folder / "twice.mat").write_bytes(content + content[128:])
    status, out, err = run(f"identify {line} --lags 0 2")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


@pytest.mark.parametrize("byte", some([128, 159, 240], 240))
def test_damage_that_ends_scipy_is_refused(folder: Path, run: Any, byte: int) -> None:
    """At byte 240 its reader has died with the process."""
    scipy.io.savemat("a.mat", {"note": "words", "x": X, "y": Y})
    content = bytearray((folder / "a.mat").read_bytes())
    content[byte] = 190
    (folder / "a.mat").write_bytes(content)
    status, out, err = run("identify a.mat --lags 0 2")
    words = "convsolve: a.mat: is no MAT file, or damaged or cut short; copy or save it again\n"
    assert (status, out, err) == (2, "", words)


# Sound

DEPTHS = {
    "u1": lambda a: np.round(a * 128 + 128).astype(np.uint8),
    "i2": lambda a: np.round(a * 2**15).astype(np.int16),
    "i4": lambda a: np.round(a * 2**31).astype(np.int32),
    "f4": lambda a: a.astype(np.float32),
    "f8": lambda a: a,
}


@pytest.mark.parametrize(("kind", "step"), [*zip(DEPTHS, (2**-8, 2**-16, 2**-32, 1e-7, 0))])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_in_units_of_full_scale(
    tmp_path: Path, kind: str, step: float, channels: int
) -> None:
    sound = RNG.uniform(-0.9, 0.9, (50, channels)).squeeze()
    wavfile.write(tmp_path / "a.wav", 8000, DEPTHS[kind](sound))
    found = wav.array(str(tmp_path / "a.wav"), ENOUGH)
    assert found.shape == sound.shape
    assert found.dtype == ("f4" if kind == "f4" else "f8")
    np.testing.assert_allclose(found, sound, atol=step, rtol=0)
    assert wav.rate(str(tmp_path / "a.wav")) == 8000


@pytest.fixture
def room(folder: Path) -> Path:
    """A noise, and what of it a room sends back 3 and 5 samples later."""
    noise = RNG.uniform(-0.3, 0.3, 400)
    heard = 0.5 * np.roll(noise, 3) - 0.25 * np.roll(noise, 5)
    wavfile.write("noise.wav", 8000, noise)
    wavfile.write("heard.wav", 8000, heard)
    wavfile.write("slow.wav", 4000, heard)
    np.save("heard.npy", heard)
    return folder


@pytest.mark.parametrize("heard", ["heard.wav", "heard.npy"])
def test_the_rate_of_sound_turns_lags_into_times(room: Path, run: Any, heard: str) -> None:
    status, out, err = run(f"solve noise.wav {heard} --tmin 0 --tmax 0.001 --json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["fs"] == 8000
    np.testing.assert_allclose(np.array(found["times"]), np.arange(9) / 8000)
    np.testing.assert_allclose(
        np.array(found["impulse_response"]), [0, 0, 0, 0.5, 0, -0.25, 0, 0, 0], atol=1e-12
    )
    text = run(f"solve noise.wav {heard} --lags 0 8")[1]
    assert "float64, 8000 Hz, --edges drop" in text
    assert "9 lags from 0 to 1 ms" in text
    assert "0 to 1 ms at 8000 Hz" in run(f"choose-lags noise.wav {heard} --lags 0 8")[1]


def test_a_reader_that_is_killed_says_nothing_of_damage(
    folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scipy.io.savemat("a.mat", {"x": X, "y": Y})
    killed = folder / "killed.py"
    killed.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(mat, "READER", killed)
    words = "convsolve: a.mat: takes more memory than there is: its reader was killed\n"
    assert run("identify a.mat --lags 0 2") == (2, "", words)


def test_a_prediction_takes_sound_of_the_rate_of_the_kernel(room: Path, run: Any) -> None:
    assert run("solve noise.wav heard.wav --lags 0 8 --out fit.npz")[0] == 0
    assert run("predict fit.npz noise.wav heard.wav")[0] == 0
    wavfile.write("fast.wav", 16000, RNG.uniform(-0.3, 0.3, 800))
    status, out, err = run("predict fit.npz fast.wav --out z.npy")
    words = "fast.wav: has 16000 samples a second, the kernel takes 8000; resample it"
    assert (status, out, err) == (2, "", f"convsolve: {words}\n")
    assert "two sampling rates" in run("predict fit.npz noise.wav slow.wav")[2]
