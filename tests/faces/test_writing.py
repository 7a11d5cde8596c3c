"""Writing: a file is complete, or it is not written."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from convsolve import files
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
def test_only_a_plain_file_is_overwritten_and_only_if_forced(tmp_path, write):
    path, target, link = tmp_path / "out", tmp_path / "target", tmp_path / "link"
    write(path)
    target.touch()
    assert path.stat().st_mode == target.stat().st_mode  # the usual permissions
    path.write_text("old")
    with pytest.raises(FileExistsError, match="out: exists; overwrite=True overwrites it"):
        write(path)
    assert path.read_text() == "old"
    write(path, overwrite=True)
    assert path.read_bytes() != b"old"
    for points_to in (target, tmp_path / "nowhere"):
        link.symlink_to(points_to)
        for force in (False, True):
            assert "is a symbolic link" in refusal(write, link, overwrite=force)
        link.unlink()
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        write(tmp_path / "folder", overwrite=True)
    with pytest.raises(FileNotFoundError, match="missing/out"):
        write(tmp_path / "missing" / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"out", "target", "folder"}
    assert target.read_bytes() == b""


def test_arrays_that_cannot_be_read_back_are_not_written(tmp_path):
    for arrays, words in (
        ({"x": np.ones(3), "y": np.array([{}])}, "member 'y' is of dtype object"),
        ({"x": np.ones(3), "../y": np.ones(3)}, "member '../y' is named like a path"),
    ):
        assert words in refusal(files.write_npz, tmp_path / "out", arrays)
        assert list(tmp_path.iterdir()) == []


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
