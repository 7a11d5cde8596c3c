"""Long sums over chunks of records, kept in a file: what was done before a crash is not done again.

Every pass over the data that sums over its rows is made chunk by chunk in a fixed order, and what
has been summed so far is written now and then: beside the file, brought to the disk, renamed. The
same call goes on from there, and the sums are those of an uninterrupted run, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .files import read_arrays, write_npz
from .leastsquares.design import Design
from .operators.chunks import ChunkedOperator, Misfit, Totals
from .operators.moments import Moments
from .operators.totals import Chunk, one_by_one
from .problem.problem import Problem

# Writing takes no more than this share of the time.
MOST_SHARE = 0.05
# Bytes of the digest of a chunk.
DIGEST_BYTES = 16


@contextmanager
def kept_in(path: str | Path | None, problem: Problem, design: Design) -> Iterator[None]:
    """Sums over the chunks of a problem go on from what a file has of them, and are written to it;
    it is removed once all is done. Without a path, or of records that are taken whole, nothing is
    written.
    """
    operator = None if path is None or not design.sizes.chunked else design.operator
    if not isinstance(operator, ChunkedOperator):
        yield
        return
    if operator.total is not one_by_one:
        raise ValueError(
            "checkpoint= is for records that this process reads; dask keeps its own results "
            "(x.persist())"
        )
    keeper = Checkpoint(Path(path or ""), _fingerprint(problem, operator))
    operator.total = keeper.total
    try:
        yield
    finally:
        operator.total = one_by_one
    keeper.remove()


class Checkpoint:
    """Sums so far, in a file.

    Of every pass it holds the sum over the first ``done`` chunks, and of every chunk a digest of
    what was read, so that data that have changed since are noticed.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self._fingerprint = path, fingerprint
        self._passes: dict[str, tuple[int, Any]] = {}
        self._digests: dict[str, str] = {}
        self._checked: set[str] = set()
        self._writes, self._last, self._took = True, time.monotonic(), 0.0
        if path.exists() or path.is_symlink():
            self._read()

    def total(self, task: Callable[..., Any], chunks: Sequence[Chunk], *others: Any) -> Any:
        """As `one_by_one`, beginning where the file ends."""
        if len(chunks) < 1 or task.__name__ not in ("totals", "misfit"):
            return one_by_one(task, chunks, *others)
        name = _digest([task.__name__, *_leaves([others, [(c.spans, c.by_rows) for c in chunks]])])
        done, found = self._passes.get(name, (0, None))
        for chunk in chunks[:done]:
            self._check(chunk)
        for i in range(done, len(chunks)):
            chunk = _loaded(chunks[i])
            self._check(chunk)
            part = task(chunk, *others)
            found = part if found is None else found + part
            self._passes[name] = i + 1, found
            self._write(now=i + 1 == len(chunks))
        return found

    def remove(self) -> None:
        """The file is no longer needed."""
        self.path.unlink(missing_ok=True)

    def _check(self, chunk: Chunk) -> None:
        """Raise a ValueError where a chunk is not what it was."""
        name = repr(chunk.spans)
        if name in self._checked:
            return
        self._checked.add(name)
        found = _digest(_leaves([chunk.x, chunk.y, chunk.flags]))
        if self._digests.setdefault(name, found) != found:
            raise self._other("the data have changed since")

    def _other(self, why: str) -> ValueError:
        return ValueError(
            f"{self.path}: is a checkpoint of another problem ({why}); give another name, or "
            "delete it"
        )

    def _write(self, now: bool) -> None:
        """Write the file, unless that would take more than its share of the time."""
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
            about["passes"].append({"name": name, "done": done, "kind": type(found).__name__})
            arrays |= {f"{p}.{key}": value for key, value in _arrays(found).items()}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        try:
            write_npz(self.path, arrays, force=True)
        except OSError as error:
            self._writes = False
            warnings.warn(
                f"the checkpoint cannot be written ({error}); the run goes on without, and what "
                "was written before is kept",
                UserWarning,
                stacklevel=2,
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
                f"{self.path}: is no checkpoint of convsolve; give another name"
            ) from error
        if version != __version__:
            raise self._other(f"of convsolve {version}, this is {__version__}")
        if fingerprint != self._fingerprint:
            raise self._other("other data, geometry or limits")
        self._digests = about["digests"]
        for p, told in enumerate(about["passes"]):
            start = f"{p}."
            mine = {k[len(start) :]: v for k, v in arrays.items() if k.startswith(start)}
            self._passes[told["name"]] = told["done"], _summand(told["kind"], mine)


def _fingerprint(problem: Problem, operator: ChunkedOperator) -> str:
    """Of what was asked, but for the values of x and y."""
    y = problem.y or ()
    asked = [
        asdict(problem.spec), problem.bias, str(problem.lags), operator.spans,
        [(a.shape, str(a.dtype)) for a in (*problem.x, *y)],
    ]  # fmt: skip
    return _digest([repr(asked)])


def _leaves(value: Any) -> Iterator[Any]:
    """Numbers, words and arrays of nested lists, tuples and dataclasses, in order."""
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


def _loaded(chunk: Chunk) -> Chunk:
    """A chunk with its arrays in memory, read once for its digest and its sums."""
    x, y = (None if a is None else tuple(map(np.asarray, a)) for a in (chunk.x, chunk.y))
    return chunk._replace(x=x or (), y=y)


def _arrays(found: Totals | Misfit) -> dict[str, np.ndarray]:
    """What a sum is made of, by name."""
    if isinstance(found, Misfit):
        return found._asdict()
    named = {f.name: np.asarray(getattr(found.moments, f.name)) for f in fields(Moments)}
    return named | {"by_rows": np.array(found.by_rows)}


def _summand(kind: str, arrays: dict[str, np.ndarray]) -> Totals | Misfit:
    """The inverse of `_arrays`."""
    if kind == "Misfit":
        return Misfit(**arrays)
    by_rows, n = arrays.pop("by_rows").tolist(), int(arrays.pop("n"))
    return Totals(Moments(n=n, **arrays), tuple(by_rows))
