"""Checkpoints: what was summed before a crash is not summed again, and changes no digit."""

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
from support.stored import FILES, SMALL, Failing, Slices

RNG = np.random.default_rng(3)
W = RNG.standard_normal((5, 2, 2))
X = RNG.standard_normal((700, 2))
Y = cs.convolve(X, W, cs.ConvSpec(5)) + 0.3 * RNG.standard_normal((696, 2))
ERROR = OSError(errno.EIO, "Input/output error")
# Readings of x by a solve: one to check, seven chunks for the sums, seven for what is left.
ALL = 15


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sums"


@pytest.fixture(autouse=True)
def _after_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast the disk."""
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


def broken(path: Path, nth: int = 5, **options: Any) -> None:
    """A run that ends at the n-th reading of x."""
    with pytest.raises(OSError, match="Input/output error"):
        solved(Failing(options.pop("x", X), nth, ERROR), at=path, **options)
    assert path.exists()


def assert_same(one: cs.Solution, other: cs.Solution) -> None:
    """Bit for bit."""
    for name in ("kernel", "bias"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert one._certificate == other._certificate
    assert one.identifiability.verdict == other.identifiability.verdict


# --- going on


@pytest.mark.parametrize("nth", [3, 5, 8, 9, 11, ALL])
def test_no_chunk_is_summed_twice(path: Path, sums: list[str], nth: int) -> None:
    """But for the one that is in work as the next one is read."""
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
def test_whatever_ends_a_run_leaves_its_checkpoint(path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        solved(Failing(X, 6, error), at=path)
    assert path.exists()
    assert_same(solved(at=path), solved())


def test_an_exception_at_any_point_of_the_block_ends_the_checkpoint(path: Path) -> None:
    """Also at the first bytecode of its exit."""
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


def test_a_checkpoint_changes_no_digit_and_is_removed(path: Path) -> None:
    assert_same(solved(at=path), solved())
    assert not path.exists()
    assert_same(solved(at=str(path)), solved())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"confounds": 2, "bias": False},
        {"weights": np.linspace(1, 2, 696)},
        {"mask": np.arange(696) % 5 > 0},
        {"confounds": np.cos(np.arange(696.0))[:, None]},
        {"padding": "circular", "y": np.vstack([Y, Y[:4]])},
        {"x": [X, X[:300] + 1], "y": [Y, Y[:296]]},
        {"x": X.astype(np.float32), "y": Y.astype(np.float32)},
    ],
    ids=["drifts", "weights", "mask", "confounds", "circular", "records", "float32"],
)
def test_whatever_is_stated(path: Path, options: dict[str, Any]) -> None:
    given = {"x": X, "y": Y, **options}
    x = given.pop("x")
    first = x[0] if isinstance(x, list) else x
    failing = Failing(first, 6, ERROR)
    with pytest.raises(OSError, match="Input/output error"):
        solved([failing, *x[1:]] if isinstance(x, list) else failing, at=path, **given)
    assert path.exists()
    again = [Slices(a) for a in x] if isinstance(x, list) else Slices(x)
    assert_same(solved(again, at=path, **given), solved(again, **given))


METHODS: dict[str, dict[str, Any]] = {
    "ridge": {"solver": "normal", "ridge": 2.0},
    "qr": {"solver": "qr"},
    "gcv": {"penalty": "ridge"},
    "folds": {"penalty": "ridge", "select": cs.CrossValidation(4)},
    "evidence": {"penalty": "tc", "select": "evidence"},
}


@pytest.mark.parametrize("name", METHODS)
def test_whatever_solves(path: Path, name: str, sums: list[str]) -> None:
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


# --- what is refused


def other_value() -> np.ndarray:
    x = X.copy()
    x[3, 1] += 1e-9
    return x


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"x": other_value()}, "the data have changed since"),
        ({"y": Y + 1}, "the data have changed since"),
        ({"kernel_size": 4, "y": np.vstack([Y, Y[:1]])}, "other data, geometry or limits"),
        ({"bias": False}, "other data, geometry or limits"),
        ({"x": X[:600], "y": Y[:596]}, "other data, geometry or limits"),
        ({"x": X.astype(np.float32), "y": Y.astype(np.float32)}, "other data, geometry or limits"),
        ({"padding": "causal", "y": np.vstack([Y, Y[:4]])}, "other data, geometry or limits"),
        ({"mask": np.arange(696) != 3}, "other data, geometry or limits|data have changed"),
    ],
    ids=["x", "y", "kernel", "bias", "length", "precision", "padding", "mask"],
)
def test_another_problem_is_refused(path: Path, given: dict[str, Any], why: str) -> None:
    """And the checkpoint is left as it was, for the problem that it is of."""
    broken(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"sums: is a checkpoint of another problem .*({why})"):
        solved(**given, at=path)
    assert path.read_bytes() == before
    assert_same(solved(at=path), solved())


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"weights": np.linspace(1, 2, 696)}, {"weights": np.linspace(2, 1, 696)}),
        ({"confounds": 1, "bias": False}, {"confounds": 2, "bias": False}),
        ({"confounds": np.cos(np.arange(696.0))}, {"confounds": np.sin(np.arange(696.0))}),
    ],
    ids=["weights", "drifts", "confounds"],
)
def test_other_weights_and_confounds_are_refused(
    path: Path, first: dict[str, Any], then: dict[str, Any]
) -> None:
    broken(path, 6, **first)
    with pytest.raises(ValueError, match=r"of another problem .*other data, geometry or limits"):
        solved(Slices(X), at=path, **then)
    assert_same(solved(Slices(X), at=path, **first), solved(Slices(X), **first))


@pytest.mark.parametrize(("of", "nth"), [("y", 2), ("y", 11), ("x", 5), ("x", 11), ("x", 21)])
def test_data_that_change_beside_a_drift_are_noticed(path: Path, of: str, nth: int) -> None:
    """In whichever pass: over y alone, x alone, both."""
    options: dict[str, Any] = {"confounds": 1, "bias": False}
    broken(path, nth, **options)
    x, y = (other_value(), Y) if of == "x" else (X, Y + 1)
    with pytest.raises(ValueError, match="the data have changed since"):
        solved(Slices(x), y, at=path, **options)
    assert_same(solved(Slices(X), at=path, **options), solved(Slices(X), **options))


def test_another_version_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(path)
    monkeypatch.setattr(checkpoint, "__version__", "999.0")
    with pytest.raises(ValueError, match=r"of convsolve \S+, this is 999\.0"):
        solved(at=path)


def test_a_file_of_the_same_data_of_another_kind_goes_on(path: Path, tmp_path: Path) -> None:
    """What is read counts, not where from."""
    broken(path)
    store = FILES["HDF5"]
    assert_same(solved(store(X, tmp_path), store(Y, tmp_path), at=path), solved())


def test_outputs_with_different_masks_have_a_file_each(path: Path) -> None:
    two = np.ones((696, 2), bool)
    two[7, 1] = False
    with pytest.raises(OSError, match="Input/output error"):
        solved(Failing(X, 12, ERROR), mask=two, at=path)
    assert path.exists()
    assert_same(solved(mask=two, at=path), solved(mask=two))
    assert not any(path.parent.iterdir())


def test_dask_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="dask keeps its own results"):
        solved(dask.array.from_array(X, chunks=(100, 2)), at=path)
    assert not path.exists()


def test_small_problems_write_none(path: Path) -> None:
    """And leave alone what has the name."""
    path.write_text("precious")
    fit = cs.solve(stated(), checkpoint=path)
    np.testing.assert_allclose(fit.kernel, solved().kernel, rtol=1e-10)
    assert path.read_text() == "precious"


# --- damage


def test_a_flipped_byte_is_noticed_or_changes_nothing(path: Path) -> None:
    broken(path)
    whole, answer = path.read_bytes(), solved()
    noticed = 0
    for place in np.random.default_rng(0).integers(0, len(whole), 60):
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
    assert noticed > 40


def test_what_is_no_checkpoint(path: Path, tmp_path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ValueError, match=r"sums: is damaged or cut short"):
        solved(at=path)
    assert path.read_text() == "precious"
    other = tmp_path / "other.npz"
    np.savez(other, x=X)
    with pytest.raises(ValueError, match=r"other\.npz: is not a checkpoint of convsolve"):
        solved(at=other)
    with pytest.raises(IsADirectoryError, match="is a directory"):
        solved(at=tmp_path)
    path.unlink()
    broken(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"link: is a symbolic link; give the file"):
        solved(at=link)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"dangling: is a symbolic link; give the file"):
        solved(at=dangling)
    assert path.read_bytes() == before


@pytest.mark.parametrize("full", ["fsync", "replace"])
def test_a_full_disk_does_not_end_a_run(
    path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """One warning, the answer, and what was written before as it was, for the next run."""
    broken(path)
    before = path.read_bytes()

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if full == "fsync" else (Path, "replace")), refuse)
        with (
            pytest.warns(UserWarning, match=r"checkpoint cannot be written .*No space") as warned,
            pytest.raises(OSError, match="Input/output error"),
        ):
            solved(Failing(X, 9, ERROR), at=path)
        assert len(warned) == 1
        assert path.read_bytes() == before
        assert [*path.parent.iterdir()] == [path]
        with pytest.warns(UserWarning, match="the run continues without"):
            fit = solved(at=path)
    assert_same(fit, solved())
    assert not path.exists()


def test_a_checkpoint_that_cannot_be_removed_costs_no_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refuse(name: Path, missing_ok: bool = False) -> None:
        if name == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(name, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.warns(UserWarning, match=r"cannot be removed .*Permission denied"):
            fit = solved(at=path)
    assert_same(fit, solved())
    assert_same(solved(at=path), fit)
    assert not path.exists()


def test_no_name(path: Path) -> None:
    for name in (3, b"sums", ["sums"]):
        with pytest.raises(TypeError, match="checkpoint must be the name of a file, got"):
            solved(at=name)  # type: ignore[arg-type]


def test_writing_waits_for_its_share(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writing takes all the time that is allowed, it is done at the end of a pass alone."""
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
