"""MAT files and WAV in the command line, beside what SciPy, h5py and MATLAB itself write."""

from __future__ import annotations

import itertools
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
from convsolve.io import read, read_members
from support.slow import some

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = cs.convolve(X, RNG.normal(size=(3, 2, 1)), cs.ConvSpec(3))[:, 0]
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


@pytest.mark.parametrize("packed", some([True, False], True))
def test_numbers_come_back_in_their_kind(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "a.mat"
    arrays = {f"x{i}": array for i, array in enumerate(NUMBERS)}
    cell = np.array([1, "a"], object)
    scipy.io.savemat(path, {"text": "words", "cell": cell, **arrays}, do_compression=packed)
    for signal, array in zip(read_members(str(path), [*arrays]), NUMBERS, strict=True):
        found = signal.values
        np.testing.assert_array_equal(found, array)
        assert found.dtype == (np.uint8 if array.dtype == bool else array.dtype)


@pytest.mark.parametrize("save", some(VERSIONS.values(), VERSIONS["7"]), ids=VERSIONS)
def test_every_version_gives_the_same_solution(folder: Path, run: Any, save: Any) -> None:
    np.savez("all.npz", x=X, y=Y)
    save(folder / "ALL.MAT", x=X, y=Y[:, None], z=X)
    np.save("y.npy", Y)
    documents = []
    for names in ("all.npz", "ALL.MAT", "ALL.MAT:z y.npy"):
        status, out, err = run(f"solve {names} --kernel-size 3 --json")
        assert (status, err) == (0, "")
        documents.append(json.loads(out) | {"stats": None})  # which have the run time
    assert documents[0] == documents[1] == documents[2]
    save(folder / "a.mat", y=X[:, :1], z=X[:, :1].T)
    for found in read_members("a.mat", ("y", "z")):  # a row or a column is one channel
        np.testing.assert_array_equal(found.values, X[:, 0])


# --- sound

DEPTHS = [
    (2**-8, lambda a: np.round(a * 128 + 128).astype(np.uint8)),
    (2**-16, lambda a: np.round(a * 2**15).astype(np.int16)),
    (2**-32, lambda a: np.round(a * 2**31).astype(np.int32)),
    (1e-7, lambda a: a.astype(np.float32)),
    (0, lambda a: a),
]


def test_sound_is_in_units_of_full_scale(tmp_path: Path) -> None:
    path = str(tmp_path / "a.wav")
    for (step, convert), channels in itertools.product(DEPTHS, (1, 2)):
        sound = RNG.uniform(-0.9, 0.9, (50, channels)).squeeze()
        wavfile.write(path, 8000, convert(sound))
        found = read(path).values
        assert found.shape == sound.shape
        assert found.dtype == ("f4" if step == 1e-7 else "f8")
        np.testing.assert_allclose(found, sound, atol=step, rtol=0)
        assert read(path).fs == 8000


def test_the_rate_of_sound_gives_lags_in_seconds(folder: Path, run: Any) -> None:
    """A room returns a sound 3 and 5 samples later. A prediction needs the rate of the kernel."""
    noise = RNG.uniform(-0.3, 0.3, 400)
    heard = 0.5 * np.roll(noise, 3) - 0.25 * np.roll(noise, 5)
    sounds = {"noise": (8000, noise), "heard": (8000, heard), "slow": (4000, heard)}
    for name, (rate, sound) in (sounds | {"fast": (16000, noise)}).items():
        wavfile.write(f"{name}.wav", rate, sound)
    np.save("heard.npy", heard)
    for y in ("heard.wav", "heard.npy"):
        status, out, err = run(f"solve noise.wav {y} --tmin 0 --tmax 0.001 --json")
        assert (status, err) == (0, "")
        found = json.loads(out)
        assert found["fs"] == 8000
        np.testing.assert_allclose(np.array(found["times"]), np.arange(9) / 8000)
        response = [0, 0, 0, 0.5, 0, -0.25, 0, 0, 0]
        np.testing.assert_allclose(np.array(found["impulse_response"]), response, atol=1e-12)
        assert "0 to 1 ms at 8000 Hz" in run(f"choose-lags noise.wav {y} --lags 0 8")[1]
    text = run("solve noise.wav heard.wav --lags 0 8 --out fit.npz")[1]
    assert "400 samples: 9 lags × 1 channel → 1 output" in text
    assert "9 lags from 0 to 1 ms" in text
    assert run("predict fit.npz noise.wav heard.wav")[0] == 0
    words = "fast.wav: has 16000 samples a second, the kernel takes 8000; resample it"
    assert run("predict fit.npz fast.wav --out z.npy") == (2, "", f"convsolve: {words}\n")
    assert "two sampling rates" in run("predict fit.npz noise.wav slow.wav")[2]
