"""Writing: a file is complete, or it is not written."""

import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from convsolve import files
from convsolve.npz_writer import write_archive
from support.injected import raised_at
from support.planted import refusal

each_writer = pytest.mark.parametrize(
    "write",
    [
        lambda path, **force: files.write_npz(path, {"x": np.ones(2)}, **force),
        lambda path, **force: files.write_bytes(path, b"a picture", **force),
    ],
    ids=["npz", "bytes"],
)


@each_writer
def test_nothing_is_overwritten_without_force(tmp_path, write):
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(FileExistsError, match="out: exists; overwrite=True overwrites it"):
        write(path)
    assert path.read_text() == "old"
    write(path, overwrite=True)
    assert path.read_bytes() != b"old"
    assert list(tmp_path.iterdir()) == [path]


@each_writer
def test_links_are_not_followed(tmp_path, write):
    target = tmp_path / "target"
    target.write_text("old")
    for name, points_to in (("link", target), ("dangling", tmp_path / "nowhere")):
        link = tmp_path / name
        link.symlink_to(points_to)
        for force in (False, True):
            assert "is a symbolic link" in refusal(write, link, overwrite=force)
    assert target.read_text() == "old"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "the disk is full", "somewhere"), "the disk is full: '.*/out'"),
        (KeyboardInterrupt("stop"), "stop"),
    ],
)
@each_writer
def test_a_failed_write_leaves_nothing(tmp_path, write, error, words, monkeypatch):
    path = tmp_path / "out"
    path.write_text("old")

    def failing(_):
        raise error

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(type(error), match=words):
        write(path, overwrite=True)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.ones(3), "y": np.array([{}])}, "member 'y' is of dtype object"),
        ({"x": np.ones(3), "../y": np.ones(3)}, "member '../y' is named like a path"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(tmp_path, arrays, words):
    assert words in refusal(files.write_npz, tmp_path / "out", arrays)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing/out"):
        files.write_bytes(tmp_path / "missing" / "out", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        files.write_bytes(tmp_path / "folder", b"", overwrite=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


@each_writer
def test_a_new_file_has_the_usual_permissions(tmp_path, write):
    write(tmp_path / "out")
    (tmp_path / "usual").touch()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_an_exception_at_any_point_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python ignores none in a finalizer, and the temporary file is removed."""
    path, ignored = tmp_path / "sums.npz", []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    files.write_npz(path, {"a": np.zeros(1)})

    def work() -> None:
        files.write_npz(path, {"a": np.zeros(2), "b": np.ones(3)}, overwrite=True)

    def check() -> None:
        assert list(tmp_path.iterdir()) == [path]
        assert len(files.read_arrays(path)["a"]) in (1, 2)

    points = 0
    while raised_at(points + 1, work, check):
        points += 3
    assert points > 200
    assert ignored == []


def test_any_reader_of_zip_reads_an_archive() -> None:
    arrays = {"a": np.arange(50.0), "é": np.ones((2, 3), np.float32), "word": np.array("κ")}
    stream = io.BytesIO()
    write_archive(stream, arrays)
    with zipfile.ZipFile(stream) as archive:
        assert archive.testzip() is None
    stream.seek(0)
    with np.load(stream) as found:
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
