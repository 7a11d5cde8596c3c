"""Partial sums over chunks of records in a file, from which an interrupted run continues.

Every pass that sums over rows processes the chunks in a fixed order. From time to time the partial
sums are written to a temporary file, which then replaces the checkpoint. The same call continues
from the checkpoint. Its sums are bit for bit equal to the sums of an uninterrupted run.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .errors import warn
from .files import read_arrays, write_npz
from .interrupts import Guarded
from .leastsquares.design import Design
from .operators.chunk import Chunk
from .operators.chunks import Chunks
from .operators.map_reduce import PASS, one_by_one, read_ahead
from .operators.moments import Moments, NuisanceSums, ResidualSums, Units
from .operators.trends import Trends
from .problem.problem import Problem
from .problem.records import Records
from .progress import stage

# Largest share of the run time that is spent on writing.
MOST_SHARE = 0.05
# The types of sums over chunks.
SUMS: tuple[Any, ...] = (Trends, Moments, NuisanceSums, Units, ResidualSums)
# Length of the digest of a chunk in bytes.
DIGEST_BYTES = 16


class kept_in(Guarded):
    """Context manager that stores the sums over the chunks of a problem in a file.

    The sums are continued from the file if it exists. The file is removed at the end, unless an
    exception is raised. Without a path, or for records that are not read in chunks, nothing is
    written.
    """

    def __init__(self, path: str | Path | None, problem: Problem, design: Design) -> None:
        self._chunks = design.matrix.chunks if path is not None and design.sizes.chunked else None
        if self._chunks is None:
            return
        if self._chunks.total is not one_by_one:
            raise ValueError(
                "checkpoint= is for records that this process reads; dask keeps its own results "
                "(x.persist())"
            )
        self._keeper = Checkpoint(Path(path or ""), _fingerprint(problem, self._chunks))

    def _enter(self) -> None:
        if self._chunks is not None:
            self._chunks.total = self._keeper.total

    def _leave(self, error: BaseException | None) -> None:
        if self._chunks is None:
            return
        self._chunks.total = one_by_one
        if error is None:
            self._keeper.remove()


class Checkpoint:
    """Partial sums in a file.

    For every pass the file contains the sum over the first ``done`` chunks. It also contains a
    digest of the data of every chunk, so that changed data are detected.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self._fingerprint = path, fingerprint
        self._passes: dict[str, tuple[int, Any]] = {}
        self._digests: dict[str, str] = {}
        self._checked: set[str] = set()
        self._writes, self._last, self._took = True, time.monotonic(), 0.0
        if path.is_symlink():
            raise ValueError(f"{path}: is a symbolic link; give the file that it points to")
        if path.exists():
            self._read()

    def total(self, task: Callable[..., Any], chunks: Sequence[Chunk], *others: Any) -> Any:
        """Sum over the chunks as `one_by_one` does, but continue from the sums in the file."""
        name = _digest([task.__name__, *_leaves([others, [(c.spans, c.by_rows) for c in chunks]])])
        done, found = self._passes.get(name, (0, None))
        with stage(PASS, len(chunks)) as report, closing(read_ahead(chunks)) as ahead:
            for i, chunk in enumerate(ahead, start=1):
                assert isinstance(chunk, Chunk)
                self._check(chunk)
                if i <= done:
                    report(i, "checked")
                    continue
                part = task(chunk, *others)
                found = part if found is None else found + part
                self._passes[name] = i, found
                self._write(now=i == len(chunks))
                report(i)
        return found

    def remove(self) -> None:
        """Remove the file. Warn if this is impossible, since the solution is complete."""
        try:
            if self.path.exists():
                self.path.unlink(missing_ok=True)
        except OSError as error:
            warn(f"the checkpoint is no longer needed, but it cannot be removed ({error})")

    def _check(self, chunk: Chunk) -> None:
        """Raise a ValueError if the data of a chunk have changed."""
        # Some passes read only x or only y.
        name = repr((chunk.spans, bool(chunk.x), bool(chunk.y)))
        if name in self._checked:
            return
        self._checked.add(name)
        read = [getattr(a, "record", a) for a in (*chunk.x, *(chunk.y or ()))]
        found = _digest(_leaves([read, chunk.flags]))
        if self._digests.setdefault(name, found) != found:
            raise self._other("the data have changed since")

    def _other(self, why: str) -> ValueError:
        return ValueError(
            f"{self.path}: is a checkpoint of another problem ({why}); give another name, or "
            "delete it"
        )

    def _write(self, now: bool) -> None:
        """Write the file, unless writing would exceed its share of the run time."""
        due = time.monotonic() - self._last >= self._took / MOST_SHARE
        if not self._writes or not (due or now):
            return
        begun = time.monotonic()
        arrays: dict[str, Any] = {}
        about: dict[str, Any] = {
            "convsolve checkpoint": __version__,
            "fingerprint": self._fingerprint,
            "digests": self._digests,
            "passes": [],
        }
        for p, (name, (done, found)) in enumerate(self._passes.items()):
            mine: list[np.ndarray] = []
            about["passes"].append({"name": name, "done": done, "sum": _plain(found, mine)})
            arrays |= {f"{p}.{k}": array for k, array in enumerate(mine)}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        try:
            write_npz(self.path, arrays, overwrite=True)
        except OSError as error:
            self._writes = False
            warn(
                f"the checkpoint cannot be written ({error}); the run continues without "
                "it, and the file that was written before is kept"
            )
        self._last = time.monotonic()
        self._took = self._last - begun

    def _read(self) -> None:
        arrays = read_arrays(self.path, max_bytes=2**40)
        try:
            about = json.loads(arrays["about"].tobytes().decode())
            fingerprint = about["fingerprint"]
            version = about["convsolve checkpoint"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path}: is not a checkpoint of convsolve; give another name"
            ) from error
        if version != __version__:
            raise self._other(f"of convsolve {version}, this is {__version__}")
        if fingerprint != self._fingerprint:
            raise self._other("other data, geometry or limits")
        self._digests = about["digests"]
        for p, stored in enumerate(about["passes"]):
            found = _from_plain(stored["sum"], partial(_at, arrays, p))
            self._passes[stored["name"]] = stored["done"], found


def _fingerprint(problem: Problem, chunks: Chunks) -> str:
    """Return a digest of the problem without the values of x and y.

    Weights and confounds are included, because the sums depend on them.
    """
    y = problem.y or ()
    weights, confounds = problem._weights, problem._confounds
    stated = [
        asdict(problem.spec), problem.bias, str(problem._lags), chunks.spans,
        [(a.shape, str(a.dtype)) for a in (*problem.x, *y)],
    ]  # fmt: skip
    nuisance = confounds.arrays if isinstance(confounds, Records) else confounds
    return _digest([repr(stated), *_leaves([None if weights is None else weights.roots, nuisance])])


def _leaves(value: Any) -> Iterator[Any]:
    """Iterate over the numbers, strings and arrays of nested lists, tuples and dataclasses."""
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, Moments):
        for field in fields(value):
            yield getattr(value, field.name)
    else:
        yield value


def _digest(leaves: Any) -> str:
    found = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for leaf in leaves:
        if isinstance(leaf, np.ndarray) or hasattr(leaf, "__array__"):
            array = np.ascontiguousarray(leaf)
            found.update(f"{array.dtype} {array.shape}".encode())
            found.update(array.view(np.uint8).data if array.size else b"")
        else:
            found.update(repr(leaf).encode())
        found.update(b";")
    return found.hexdigest()


def _plain(value: Any, arrays: list[np.ndarray]) -> Any:
    """Convert a sum to JSON data. Append its arrays to ``arrays`` and refer to their index."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if type(value) in SUMS:
        given = value._asdict() if hasattr(value, "_asdict") else vars(value)
        named = {f: given[f] for f in _fields(type(value))}
        return {"sum": type(value).__name__, "of": {f: _plain(v, arrays) for f, v in named.items()}}
    if isinstance(value, dict):
        return {"dict": [[key, _plain(v, arrays)] for key, v in value.items()]}
    return [_plain(v, arrays) for v in value] if isinstance(value, tuple) else value


def _from_plain(value: Any, array: Callable[[int], np.ndarray]) -> Any:
    """Invert `_plain`."""
    if isinstance(value, list):
        return tuple(_from_plain(v, array) for v in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return array(value["array"])
    if "dict" in value:
        return {key: _from_plain(v, array) for key, v in value["dict"]}
    kind = next(kind for kind in SUMS if kind.__name__ == value["sum"])
    return kind(**{f: _from_plain(v, array) for f, v in value["of"].items()})


def _at(arrays: Mapping[str, np.ndarray], number: int, place: int) -> np.ndarray:
    return arrays[f"{number}.{place}"]


def _fields(kind: Any) -> tuple[str, ...]:
    return kind._fields if hasattr(kind, "_fields") else tuple(f.name for f in fields(kind))
