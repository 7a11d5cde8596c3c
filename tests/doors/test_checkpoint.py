"""Checkpoints: sums from before a crash are not computed again; the solution is the same."""

from __future__ import annotations

import errno
import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest

import convsolve as cs
from convsolve import checkpoint
from convsolve.leastsquares.analysis import analyse
from convsolve.operators import design_matrix, first_pass
from convsolve.operators.map_reduce import one_by_one
from support.injected import raised_at
from support.stored import SMALL, Failing, Slices

RNG = np.random.default_rng(3)
W = RNG.standard_normal((5, 2, 2))
X = RNG.standard_normal((700, 2))
Y = cs.convolve(X, W, cs.ConvSpec(5)) + 0.3 * RNG.standard_normal((696, 2))
ERROR = OSError(errno.EIO, "Input/output error")
# Readings of x by a solve: one check, seven chunks for the sums, seven for the residuals.
ALL = 15


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sums"


@pytest.fixture(autouse=True)
def _after_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a checkpoint after every chunk, also on a slow disk."""
    monkeypatch.setattr(checkpoint, "MOST_SHARE", float("inf"))


@pytest.fixture
def sums(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fills with one entry for every chunk that is summed."""
    made: list[str] = []
    for module, name in ((first_pass, "totals"), (design_matrix, "misfit")):
        monkeypatch.setattr(module, name, counted(getattr(module, name), made))
    return made


def counted(task: Callable[..., Any], made: list[str]) -> Callable[..., Any]:
    @functools.wraps(task)
    def call(*given: Any) -> Any:
        made.append(task.__name__)
        return task(*given)

    return call


def stated(x: Any = X, y: Any = Y, **options: Any) -> cs.Problem:
    # Chunks of an array in memory would be longer.
    x = Slices(x) if isinstance(x, np.ndarray) else x
    return cs.Problem(x, y, **{"kernel_size": 5, "bias": True, **options})


def solved(x: Any = X, y: Any = Y, at: Path | None = None, **options: Any) -> cs.Solution:
    return cs.solve(stated(x, y, **options), checkpoint=at, limits=SMALL)


def broken(path: Path, nth: int = 5, x: Any = X, **options: Any) -> None:
    """A run that ends at the n-th reading of the first record of x."""
    first, *others = x if isinstance(x, list) else [x]
    failing = Failing(first, nth, ERROR)
    with pytest.raises(OSError, match="Input/output error"):
        solved([failing, *others] if others else failing, at=path, **options)
    assert path.exists()


def same_afterwards(path: Path, **options: Any) -> None:
    """The resumed run has the solution of a run without a checkpoint, and removes the file."""
    assert_same(solved(at=path, **options), solved(**options))
    assert not path.exists()


def assert_same(one: cs.Solution, other: cs.Solution) -> None:
    """The solutions are equal bit for bit."""
    for name in ("kernel", "bias"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert one._certificate == other._certificate
    assert one.identifiability.verdict == other.identifiability.verdict


# --- resumed runs


@pytest.mark.parametrize("nth", [3, 5, 9, ALL])
def test_no_chunk_is_summed_twice(path: Path, sums: list[str], nth: int) -> None:
    """Except the chunk that is summed while the next one is read."""
    source = Slices(X)
    whole = solved(source)
    assert source.readings == ALL
    every = len(sums)
    sums.clear()
    broken(path, nth)
    assert len(sums) >= nth - 3
    assert_same(solved(at=path), whole)
    assert len(sums) == every
    assert not path.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), SystemExit(1)])
def test_every_exception_leaves_the_checkpoint(path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        solved(Failing(X, 6, error), at=path)
    assert path.exists()
    same_afterwards(path)


def test_an_exception_at_any_point_of_the_block_ends_the_checkpoint(path: Path) -> None:
    """Also an exception at the first bytecode of the exit of the block."""
    problem = stated()
    design = analyse(problem, SMALL).design

    def work() -> None:
        with checkpoint.kept_in(path, problem, design):
            pass

    def check() -> None:
        assert design.matrix.chunks.total is one_by_one  # type: ignore[union-attr]

    points = 0
    while raised_at(points + 1, work, check):
        points += 5
    assert points > 20


ROWS = np.arange(696)
SINGLE = {"x": X.astype(np.float32), "y": Y.astype(np.float32)}
OPTIONS: dict[str, dict[str, Any]] = {
    "bias": {},
    "drifts": {"confounds": 2, "bias": False},
    "weights": {"weights": np.linspace(1, 2, 696)},
    "mask": {"mask": ROWS % 5 > 0},
    "masks": {"mask": np.stack([ROWS >= 0, ROWS != 7], 1)},
    "confounds": {"confounds": np.cos(ROWS)[:, None]},
    "circular": {"padding": "circular", "y": np.vstack([Y, Y[:4]])},
    "records": {"x": [X, X[:300] + 1], "y": [Y, Y[:296]]},
    "float32": SINGLE,
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_kind_of_problem_is_resumed(path: Path, name: str) -> None:
    """Outputs of different masks have a checkpoint each; none is left behind."""
    options = OPTIONS[name]
    broken(path, 12 if name == "masks" else 6, **options)
    if name == "records":
        options = options | {"x": [Slices(a) for a in options["x"]]}
    same_afterwards(path, **options)
    assert not any(path.parent.iterdir())


METHODS: dict[str, dict[str, Any]] = {
    "ridge": {"solver": "normal", "ridge": 2.0},
    "qr": {"solver": "qr"},
    "gcv": {"penalty": "ridge"},
    "folds": {"penalty": "ridge", "select": cs.CrossValidation(4)},
    "evidence": {"penalty": "tc", "select": "evidence"},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_resumed(path: Path, name: str, sums: list[str]) -> None:
    def run(x: Any, at: Path | None) -> cs.Solution:
        return cs.solve(stated(x), **METHODS[name], checkpoint=at, limits=SMALL)

    whole, every = run(X, None), len(sums)
    sums.clear()
    with pytest.raises(OSError, match="Input/output error"):
        run(Failing(X, 8, ERROR), path)
    assert sums
    assert_same(run(X, path), whole)
    assert len(sums) <= every
    assert not path.exists()


# --- refused checkpoints


def other_value() -> np.ndarray:
    x = X.copy()
    x[3, 1] += 1e-9
    return x


OTHER = "other data, geometry or limits"
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "x": ({"x": other_value()}, "the data have changed since"),
    "y": ({"y": Y + 1}, "the data have changed since"),
    "kernel": ({"kernel_size": 4, "y": np.vstack([Y, Y[:1]])}, OTHER),
    "bias": ({"bias": False}, OTHER),
    "length": ({"x": X[:600], "y": Y[:596]}, OTHER),
    "precision": (SINGLE, OTHER),
    "padding": ({"padding": "causal", "y": np.vstack([Y, Y[:4]])}, OTHER),
    "mask": ({"mask": ROWS != 3}, f"{OTHER}|data have changed"),
    "weights": ({"weights": np.linspace(2, 1, 696)}, OTHER),
    "confounds": ({"confounds": np.sin(ROWS)[:, None]}, OTHER),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_problem_is_refused(path: Path, name: str) -> None:
    """The checkpoint is not changed, and its own problem can still be resumed."""
    given, why = CHANGES[name]
    own = OPTIONS[name] if name in ("weights", "confounds") else {}
    broken(path, 6, **own)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"sums: is a checkpoint of another problem .*({why})"):
        solved(**given, at=path)
    assert path.read_bytes() == before
    same_afterwards(path, **own)


@pytest.mark.parametrize(("of", "nth"), [("y", 2), ("x", 5), ("x", 21)])
def test_changed_data_are_noticed_in_every_pass_of_a_drift(path: Path, of: str, nth: int) -> None:
    """The passes read y, x, and both."""
    options: dict[str, Any] = {"confounds": 1, "bias": False}
    broken(path, nth, **options)
    x, y = (other_value(), Y) if of == "x" else (X, Y + 1)
    with pytest.raises(ValueError, match="the data have changed since"):
        solved(x, y, at=path, **options)
    same_afterwards(path, **options)


def test_another_version_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(path)
    monkeypatch.setattr(checkpoint, "__version__", "999.0")
    with pytest.raises(ValueError, match=r"of convsolve \S+, this is 999\.0"):
        solved(at=path)


def test_dask_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="dask keeps its own results"):
        solved(dask.array.from_array(X, chunks=(100, 2)), at=path)
    assert not path.exists()


def test_small_problems_write_no_checkpoint(path: Path) -> None:
    path.write_text("precious")
    fit = cs.solve(stated(), checkpoint=str(path))
    np.testing.assert_allclose(fit.kernel, solved().kernel, rtol=1e-10)
    assert path.read_text() == "precious"


# --- damage


def test_a_flipped_byte_is_noticed_or_changes_nothing(path: Path) -> None:
    broken(path)
    whole, answer = path.read_bytes(), solved()
    noticed = 0
    for place in np.random.default_rng(0).integers(0, len(whole), 30):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(bytes(damaged))
        try:
            fit = solved(at=path)
        except ValueError as error:
            assert str(error).startswith(f"{path}")  # noqa: PT017
            noticed += 1
        else:
            assert_same(fit, answer)
    assert noticed > 20


def test_other_files_and_links_are_refused(path: Path, tmp_path: Path) -> None:
    path.write_text("precious")
    np.savez(tmp_path / "other.npz", x=X)
    link = tmp_path / "link"
    link.symlink_to(path)
    for name, error, words in (
        ("sums", ValueError, "sums: is damaged or cut short"),
        ("other.npz", ValueError, r"other\.npz: is not a checkpoint of convsolve"),
        (".", IsADirectoryError, "is a directory"),
        ("link", ValueError, "link: is a symbolic link; give the file"),
    ):
        with pytest.raises(error, match=words):
            solved(at=tmp_path / name)
    assert path.read_text() == "precious"
    path.unlink()
    with pytest.raises(ValueError, match="link: is a symbolic link; give the file"):
        solved(at=link)
    with pytest.raises(TypeError, match="checkpoint must be the name of a file, got"):
        solved(at=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
def test_a_disk_that_refuses_to_write_or_remove_does_not_end_a_run(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """There is one warning, and the earlier checkpoint is kept for the next run."""
    broken(path)
    before, unlink = path.read_bytes(), Path.unlink

    def refuse(name: Any, *given: Any, **options: Any) -> None:
        if call == "unlink" and name != path:
            return unlink(name, *given, **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    words = "cannot be removed .*No space" if call == "unlink" else "the run continues without"
    with monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, refuse)
        if call != "unlink":
            with (
                pytest.warns(UserWarning, match=r"cannot be written .*No space") as warned,
                pytest.raises(OSError, match="Input/output error"),
            ):
                solved(Failing(X, 9, ERROR), at=path)
            assert len(warned) == 1
            assert path.read_bytes() == before
            assert [*path.parent.iterdir()] == [path]
        with pytest.warns(UserWarning, match=words):
            fit = solved(at=path)
    assert_same(fit, solved())
    if call == "unlink":
        same_afterwards(path)
    assert not path.exists()


def test_writing_has_a_share_of_the_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the share is used up, checkpoints are written at the end of a pass only."""
    monkeypatch.setattr(checkpoint, "MOST_SHARE", 1e-9)
    written: list[Path] = []
    write = checkpoint.write_npz

    def note(name: Path, *given: Any, **options: Any) -> None:
        written.append(name)
        write(name, *given, **options)

    monkeypatch.setattr(checkpoint, "write_npz", note)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solved(at=path)
    assert len(written) == 3  # after the first chunk, and of two passes at the end
