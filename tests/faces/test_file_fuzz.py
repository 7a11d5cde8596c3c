"""Files with any bytes in them: arrays, or an error of one line that begins with their name."""

from __future__ import annotations

import io
import os
import pickle
import struct
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

import convsolve as cs
from convsolve import files
from convsolve.formats import mat, wav
from support.planted import Planter, npy

X = np.random.default_rng(0).normal(size=(9, 2))
Y = np.random.default_rng(1).normal(size=7)
PLANTED = "planted"  # a directory that unpickling one of the seeds would make


def npz(save=np.savez, **arrays):
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


OBJECTS = np.array([Planter(PLANTED)], dtype=object)
ARCHIVES = [npz(x=X, y=Y), npz(np.savez_compressed, x=X, y=Y), npz(x=OBJECTS, y=Y)]
ARRAYS = [npy(X), npy(np.arange(9, dtype=">i2")), npy(np.array(["a"])), npy(OBJECTS)]
ARRAYS.append(pickle.dumps(Planter(PLANTED)))
TABLES = [
    b"a,b\n1,2\n3,4\n5,5\n7,-1\n", b"1\n2\n3\n", b'\xef\xbb\xbf# "a" ,b\r\n1e3,nan\r\n2,3\r\n',
]  # fmt: skip


def mat_file(**settings):
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"note": "words", "x": X, "y": Y}, **settings)
    return stream.getvalue()


def wav_file(samples):
    stream = io.BytesIO()
    wavfile.write(stream, 100, samples)
    return stream.getvalue()


MATS = [mat_file(), mat_file(do_compression=True), mat_file(format="4")]
WAVES = [wav_file(X), wav_file((X * 1000).astype(np.int16)), wav_file(np.zeros(9, np.uint8))]

# What a damaged file might say, and what a hostile one would.
WORDS = [
    b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"\x93NUMPY\x02\x00",
    b"'descr'", b"'shape': (-1,)", b"|O", b"V8", b"<U9", b"c8", b"10L", b"(", b"{", b"[", b"1if",
    b"lambda: 0", b"x.npy", b"../", b"\x00", b"\n", b"\r", b'"', b",", b"nan", b"1e999",
    b"\xff\xfe", b"9" * 30, "\N{SUPERSCRIPT TWO}".encode(), b"\x1b[2J",
]  # fmt: skip
NEW = st.sampled_from(WORDS) | st.binary(max_size=4)
NUMBERS = [0, 1, 2, 8, 12, 14, 99, 0xFF, 0x7FFF, 0xFFFF, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
SIGNATURES = (
    b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY", b"\x0e\0\0\0", b"fmt ", b"data",
)  # fmt: skip


@st.composite
def damaged(draw, seeds):
    """A file in which bytes are cut out, inserted or exchanged, or a field of a header changed."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 6))):
        at, new = int(draw(st.floats(0, 1)) * len(content)), draw(NEW)
        end = at + draw(st.sampled_from([0, 1, len(new), len(content)]))
        if draw(st.booleans()):
            at = content.find(draw(st.sampled_from(SIGNATURES)), draw(st.integers(0, at)))
            at += draw(st.integers(4, 46))
            form, number = draw(st.sampled_from(["<H", "<I", "<Q"])), draw(st.sampled_from(NUMBERS))
            new = struct.pack(form, number % 2 ** (8 * struct.calcsize(form)))
            end = at + len(new)
        content = content[:at] + new + content[end:]
    return content


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to stand in, in which nothing appears but the one file under test."""
    before, folder = os.getcwd(), tmp_path_factory.mktemp("fuzz")
    os.chdir(folder)
    yield folder
    os.chdir(before)


def put(folder, name, content):
    """The one file of the folder."""
    for path in folder.iterdir():
        path.unlink()
    (folder / name).write_bytes(content)


def check(place, name, content, *calls):
    """Readers give plain arrays, or raise the documented error, and make and change no file."""
    put(place, name, content)
    for call in calls:
        try:
            found = call(name)
        except ValueError as error:
            message = str(error)
            assert message.startswith(f"{name}: ")
            assert message.isprintable()
        else:
            arrays = found.values() if isinstance(found, dict) else found
            for array in arrays if isinstance(arrays, list) else [arrays]:
                assert not isinstance(array, np.ndarray) or array.dtype.kind in "biufcmMUS"
                assert getattr(array, "nbytes", 0) <= 10**6
    assert [path.name for path in place.iterdir()] == [name]
    assert (place / name).read_bytes() == content


@given(content=damaged(ARCHIVES) | st.binary(max_size=200))
def test_archives(place, content):
    def few(name):
        arrays = files.read_arrays(name, names=("x", "y"), max_bytes=400)
        assert sum(array.nbytes for array in arrays.values()) <= 400
        return arrays

    check(place, "a.npz", content, files.read_arrays, few)


@given(content=damaged(ARRAYS) | st.binary(max_size=200).map(b"\x93NUMPY\x01\x00".__add__))
def test_arrays(place, content):
    check(place, "a.npy", content, lambda n: files.read_array(n, max_bytes=10**6))


@given(content=damaged(TABLES) | st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_tables(place, content):
    def columns_of(name, columns):
        table = files.read_columns(name, columns)
        assert (table.shape[1], table.dtype) == (len(columns), np.float64)
        return table

    calls = [partial(columns_of, columns=columns) for columns in ([0], ["b", "a"], ["1"])]
    check(place, "a.csv", content, files.read_array, *calls)


# Every file takes a process of its own.
@pytest.mark.slow
@settings(max_examples=8)
@given(content=damaged(MATS) | st.binary(max_size=200) | st.binary(max_size=99).map(b"\0".__add__))
def test_mat_files(place, content):
    check(place, "a.mat", content, lambda n: mat.arrays(n, 10**6, ("x", "y")))


@given(content=damaged(WAVES) | st.binary(max_size=60).map(b"RIFF\0\0\0\0WAVE".__add__))
def test_sound(place, content):
    check(place, "a.wav", content, lambda n: wav.array(n, 10**6), wav.rate)


@cache
def saved():
    with TemporaryDirectory() as folder:
        cs.solve(cs.Problem(X, Y, kernel_size=3)).save(f"{folder}/fit.npz")
        return Path(folder, "fit.npz").read_bytes()


@given(data=st.data())
def test_saved_solutions(place, data):
    check(place, "a.npz", data.draw(damaged([saved()])), cs.load)


def test_the_trap_works(place):
    """What the seeds would do if anything were unpickled."""
    put(place, "a.npy", npy(OBJECTS))
    np.load("a.npy", allow_pickle=True)
    assert (place / PLANTED).is_dir()
    (place / PLANTED).rmdir()
