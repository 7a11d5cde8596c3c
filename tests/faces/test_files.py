"""Reading files that are whole, damaged or hostile."""

import pickle
import zipfile
from unittest.mock import Mock

import numpy as np
import pytest

from convsolve import files
from support.planted import Planter, lying_npy, npy, refusal, write_zip

RNG = np.random.default_rng(0)


ARRAYS = [
    RNG.normal(size=(5, 2, 3)),
    RNG.normal(size=(4, 3)).astype(np.float32)[:, ::2],
    np.asfortranarray(RNG.normal(size=(4, 3))),
    np.arange(6, dtype=">i4"),
    np.array([True, False]),
    np.zeros((0, 5)),
    np.float64(3.5),
    np.array([1 + 2j]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_come_back_as_they_were(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "plain.npz", a=array)
    np.savez_compressed(tmp_path / "packed.npz", a=array)
    files.write_npz(tmp_path / "ours.npz", {"a": array, "word": "κ = 51.6", "tol": 1e-6})
    packed = [files.read_arrays(tmp_path / f"{n}.npz") for n in ("plain", "packed", "ours")]
    for back in [files.read_array(tmp_path / "a.npy"), *(found["a"] for found in packed)]:
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(np.load(tmp_path / "ours.npz")["a"], array)
    assert (str(packed[-1]["word"]), packed[-1]["tol"]) == ("κ = 51.6", 1e-6)


def test_objects_are_refused_and_never_unpickled(tmp_path):
    planted = tmp_path / "planted"
    content = npy(np.array([Planter(planted)], dtype=object))
    (tmp_path / "a.npy").write_bytes(content)
    write_zip(tmp_path / "a.npz", [("a.npy", content)])
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Planter(planted)))
    assert "is of dtype object" in refusal(files.read_array, tmp_path / "a.npy")
    assert "is of dtype object" in refusal(files.read_arrays, tmp_path / "a.npz")
    assert "has no .npy header" in refusal(files.read_array, tmp_path / "bare.npy")
    assert not planted.exists()
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert planted.exists(), "the trap works"


# --- headers and archives that claim what is not true

SIZES = [
    ((10**15,), b"12345678"),
    ((4,), b"1234567"),
    ((1,), bytes(16)),
    ((-1, -1), bytes(8)),
    ((2**32, 2**32), b""),
    ((10**30, 0, 3), bytes(8)),
]
HEADERS = [
    "",
    "7",
    "{" * 4000,
    "{'descr': '<f8'}",
    "{'descr': (), 'fortran_order': False, 'shape': (1,)}",
    "{'descr': 'no type', 'fortran_order': False, 'shape': (1,)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': 1}",
    "{[]: 1}",
    "__import__('os').mkdir('planted')",
]


def test_a_header_that_is_damaged_or_claims_another_size_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    for shape, payload in SIZES:
        path.write_bytes(lying_npy(shape, payload))
        write_zip(tmp_path / "a.npz", [("a.npy", path.read_bytes())])
        for call, name in ((files.read_array, "a.npy"), (files.read_arrays, "a.npz")):
            assert "copy or write it again" in refusal(call, tmp_path / name)
    for header in HEADERS:
        text = header.encode() + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8))
        assert "has no .npy header" in refusal(files.read_array, path)
    for dtype in ([("a", "f8"), ("b", "O")], [("a", "f8")], "V4", "U0"):
        path.write_bytes(lying_npy((0,), b"", np.lib.format.dtype_to_descr(np.dtype(dtype))))
        assert "not plain numbers; save it as x.astype(float)" in refusal(files.read_array, path)


def test_sizes_and_headers_are_checked_before_any_member_is_inflated(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, a=np.zeros(2_000_000), b=np.zeros(2_000_000), x=np.ones(3))
    assert path.stat().st_size < 100_000
    message = refusal(files.read_arrays, path, max_bytes=20_000_000)
    assert "more than the 20000000 allowed; raise max_bytes if you trust it" in message
    assert list(files.read_arrays(path, names=["z", "a", "x"], max_bytes=20_000_000)) == ["a", "x"]
    np.save(tmp_path / "a.npy", np.zeros(100))
    (tmp_path / "a.csv").write_text("0\n" * 100)
    for name in ("a.npy", "a.csv"):
        assert "raise max_bytes" in refusal(files.read_array, tmp_path / name, max_bytes=100)
    members = [("x.npy", npy(np.zeros(2_000))), ("y.npy", lying_npy((3,), bytes(16)))]
    path = write_zip(tmp_path / "a.npz", members, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    assert "member 'y' has a header for shape (3,)" in refusal(files.read_arrays, path)


# --- damage


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_a_file_that_is_cut_or_has_a_flipped_byte_is_refused(tmp_path, savez, rng):
    savez(tmp_path / "a.npz", x=rng.normal(size=20), y=rng.normal(size=3))
    np.save(tmp_path / "a.npy", rng.normal(size=20))
    for call, name in ((files.read_arrays, "a.npz"), (files.read_array, "a.npy")):
        content, cut = (tmp_path / name).read_bytes(), tmp_path / f"cut-{name}"
        for length in range(0, len(content), 3):
            cut.write_bytes(content[:length])
            assert "write it" in refusal(call, cut)
    savez(tmp_path / "a.npz", x=rng.normal(size=500))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(content)
    assert "is damaged or cut short" in refusal(files.read_arrays, tmp_path / "a.npz")


def test_a_directory_of_an_archive_that_is_changed_is_refused(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.npz", [("x.npy", npy([1.0]))])
    whole = path.read_bytes()
    for signature, offset, new, words in (
        (b"PK\x05\x06", 12, (2**31).to_bytes(4, "little"), "is damaged or cut short"),
        (b"PK\x01\x02", 8, b"\x01", "member 'x' is encrypted"),
    ):
        at = whole.rindex(signature) + offset
        path.write_bytes(whole[:at] + new + whole[at + len(new) :])
        assert words in refusal(files.read_arrays, path)
    write_zip(path, [("x.npy", npy([1.0]))], zipfile.ZIP_LZMA)
    assert "member 'x' is packed in an unusual way" in refusal(files.read_arrays, path)
    # A failing disk is no damage.
    monkeypatch.setattr(zipfile, "ZipFile", Mock(side_effect=OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        files.read_arrays(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_repeated_or_like_paths_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    for second in ("x.npy", "x"):
        write_zip(path, [("x.npy", npy([1.0])), (second, npy([1.0]))])
        assert "member 'x' is there twice" in refusal(files.read_arrays, path)
    for name in ("../x", "/x", "a/x", "a\\x", "..", "", ".", "x\n", "x\x00y"):
        placeholder = "n" * (len(name) + 4)
        write_zip(path, [(placeholder, npy([1.0]))])
        # zipfile itself would clean such a name, so it is put in after writing.
        content = path.read_bytes().replace(placeholder.encode(), f"{name}.npy".encode())
        path.write_bytes(content)
        message = refusal(files.read_arrays, path, names=["z"])
        assert f"member {name!r} is named like a path; give arrays plain names" in message


# --- tables

TABLES = [
    ("1\n2\n3\n", [1, 2, 3]),
    ("1,2\n3,4", [[1, 2], [3, 4]]),
    ("a,b\n1, 2\r\n3 ,4e-1\r\n", [[1, 2], [3, 0.4]]),
    ('"a b","c"\n"1","2"\n', [[1, 2]]),
    ("größe,x_1\n1,2\n", [[1, 2]]),
    (",,c\n1,2,3\n", [[1, 2, 3]]),
    ("\ufeff# bold\n-1\n\n\n", [-1]),
    ("5\n", [5]),
    ("nan,inf\n", [[np.nan, np.inf]]),
]
WRONG = [
    (b"", "has no numbers in line 1"),
    (b"1,2\n3,\n", "has '' for a number in line 2"),
    (b"1,x\n3,4\n", "has 'x' for a number in line 1"),
    (b"a\n1\n2 # no\n", "has '2 # no' for a number in line 3"),
    (b"NA\n1\n2\n", "has 'NA' for a number in line 1"),
    ("1\n１２\n".encode(), "has '１２' for a number in line 2"),
    (b"a,b,a\n1,2,3\n", "has two columns named 'a'; rename one"),
    (b"1,2\n3,4,5\n", "has 3 columns in line 2, 2 above"),
    (b"a,b,c\n3,4\n", "has 2 columns in line 2, 3 above"),
    (b"1\n2\n\n4\n", "has a blank line above line 4"),
    (b"1\n\xff\n", "is not UTF-8 text"),
    (b"1\n" + b"9" * 200_000, "is not UTF-8 text (field larger than field limit"),
    ("1\n2\n".encode("utf-16"), "is not UTF-8 text"),
]
COLUMNS = [
    ("a,b\n", "c", "has no column 'c'; the header names 'a', 'b'; numbers count from 0"),
    ("", "a", "has no column 'a'; there is no header line; numbers count from 0"),
    ("a,b\n", 2, "has no column 2; there are 2, counted from 0"),
    ("a,b\n", -1, "has no column -1; there are 2, counted from 0"),
    ("a,b\n", "7", "has no column 7; there are 2, counted from 0"),
    ("a,a\n", 0, "has two columns named 'a'; rename one"),
]


@pytest.mark.parametrize("suffix", [".csv", ".TXT"])
def test_tables(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for text, expected in TABLES:
        path.write_bytes(text.encode())
        table = files.read_array(path)
        assert table.dtype == np.float64
        np.testing.assert_array_equal(table, np.array(expected, dtype=float))


def test_tables_and_columns_with_errors(tmp_path):
    path = tmp_path / "a.csv"
    for content, words in WRONG:
        path.write_bytes(content)
        assert words in refusal(files.read_array, path)
    for header, column, words in COLUMNS:
        path.write_text(f"{header}1,2\n")
        assert words in refusal(files.read_columns, path, [column])
    path.write_text("a;b\n1,5;2,5\n")
    words = "'a;b', and columns must be separated by commas; numbers count from 0"
    assert words in refusal(files.column_names, path, ["a"])
