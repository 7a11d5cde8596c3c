"""One answer, whatever holds the data: memory, files, chunks of dask, whole or piece by piece."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dask
import numpy as np
import pytest

import convsolve as cs
from convsolve.problem.sizes import Limits
from support.agreement import UNIQUE, assert_agree, solved
from support.geometry import PADDINGS, Geometry, random_geometry
from support.slow import few_seeds
from support.stored import DASK, FILES, stored

SIZES = {1: (70, 12, 3), 2: (12, 4, 2), 3: (7, 2, 2)}
# Always in chunks, of as few rows as a kernel reads, or more.
ALWAYS = [Limits(held_numbers=0, chunk_numbers=n) for n in (1, 60, 400)]


class Statement(NamedTuple):
    """A problem but for where its arrays are."""

    x: Any
    y: Any
    arguments: dict[str, Any]

    def problem(self, x: Any = None, y: Any = None) -> cs.Problem:
        door = cs.Problem.from_lags if "lags" in self.arguments else cs.Problem
        x, y = (self.x, self.y) if x is None else (x, y)
        return door(x, y, **self.arguments)

    def stored(self, store: Any, folder: Path) -> cs.Problem:
        return self.problem(stored(self.x, store, folder), stored(self.y, store, folder))


def _each(values: Any, of: Any) -> Any:
    return [of(v) for v in values] if isinstance(values, list) else of(values)


def _silent_at_first(values: np.ndarray) -> np.ndarray:
    """Nothing in the first samples."""
    found = values.copy()
    found[..., : len(values) // 3, :] = 0 if found.ndim == 2 else found[..., : len(values) // 3, :]
    return found


def _another_start(values: np.ndarray) -> np.ndarray:
    found = values.copy()
    found[: len(values) // 3] += 100
    return found


# What x and y are made of, beside white noise; and whether a bias has to take an offset up.
CONTENTS: dict[str, tuple[Any, Any, bool]] = {
    "noise": (np.asarray, np.asarray, False),
    "float32": (lambda a: a.astype(np.float32), lambda a: a.astype(np.float32), False),
    "integers": (lambda a: (9 * a).astype(np.int16), lambda a: (9 * a).astype(np.int64), False),
    "offset": (lambda a: a + 1e6, lambda a: a - 1e6, True),
    "large and small": (lambda a: 1e100 * a, lambda a: 1e-100 * a, False),
    "small and large": (lambda a: 1e-100 * a, lambda a: 1e100 * a, False),
    "silent at first": (_silent_at_first, _silent_at_first, False),
    "another start": (_another_start, _another_start, True),
}


def statement(seed: int) -> Statement:
    """A random geometry, or lags, some rows masked or missing."""
    rng = np.random.default_rng([17, seed])
    ndim, padding = 1 + seed % 3, PADDINGS[seed // 3 % len(PADDINGS)]
    content = [*CONTENTS][int(rng.integers(len(CONTENTS)))]
    of_x, of_y, offset = CONTENTS[content]
    while True:
        made = random_geometry(rng, ndim, padding, sizes=SIZES, ragged=True)
        if rng.random() < 0.1 or made.rows > made.unknowns + made.bias + 2:
            break
    arguments: dict[str, Any] = {"bias": made.bias or offset}
    x, y = made.noise()
    if rng.random() < 0.3:
        arguments |= _lags(rng, made)
        y = [rng.standard_normal((*shape, made.outputs)) for shape in made.shapes]
        y = y if isinstance(x, list) else np.stack(y)
    else:
        arguments |= {"spec": made.spec}
    x, y = _each(x, of_x), _each(y, of_y)
    return _with_gaps(rng, _adjusted(rng, Statement(x, y, arguments)), made)


def _lags(rng: np.random.Generator, made: Geometry) -> dict[str, Any]:
    """Lags about zero, or, in a circle, far from it."""
    edges = ["drop", "zeros", "circular"][int(rng.integers(3))]
    least = np.min(made.shapes, axis=0)
    pairs = []
    for taps, n in zip(made.spec.kernel_size, least):
        far = int(n) if edges == "circular" else min(taps, int(n) // 3)
        first = int(rng.integers(-far, far + 1))
        taps = min(taps, max(1, int(n) // 3))
        pairs.append((first, first + taps - 1))
    return {"lags": pairs, "edges": edges, "groups": made.spec.groups}


def _adjusted(rng: np.random.Generator, made: Statement) -> Statement:
    """Now and then with weights, or confounds, or both."""
    choice, given, shapes = rng.random(), dict(made.arguments), [b.shape[:-1] for b in made.y]
    if choice < 0.1:
        given["weights"] = list(rng.uniform(0.5, 2, len(shapes)))
    elif choice < 0.25:
        given["weights"] = [rng.uniform(0.5, 2, shape) for shape in shapes]
    choice = rng.random()
    if choice < 0.2:
        given |= {"confounds": int(rng.integers(3)), "bias": False}
    elif choice < 0.3:
        given["confounds"] = [rng.standard_normal((*shape, 2)) for shape in shapes]
    return made._replace(arguments=given)


def _with_gaps(rng: np.random.Generator, made: Statement, geometry: Geometry) -> Statement:
    """Now and then with a mask, or with samples of x missing."""
    choice = rng.random()
    if choice < 0.2:
        records = list(made.y)
        flags = [rng.random(b.shape[:-1]) < 0.9 for b in records]
        flags = flags if isinstance(made.y, list) else np.stack(flags)
        return made._replace(arguments=made.arguments | {"mask": flags})
    if choice < 0.4 and made.x[0].dtype.kind == "f":
        x = _each(made.x, np.copy)
        first = x[0]
        first[tuple(int(rng.integers(n)) for n in first.shape)] = np.nan
        return made._replace(x=x, arguments=made.arguments | {"missing": "drop"})
    return made


def sound(seed: int) -> tuple[Statement, cs.Problem]:
    """The first that has rows, from a seed on."""
    for n in itertools.count():
        try:
            made = statement(seed + 1000 * n)
            return made, made.problem()
        except ValueError:
            continue
    raise AssertionError


# Sums lose the digits of columns that confounds nearly span; of dask there is no QR, which takes
# what is deficient or too ill-conditioned for a Gram.
REFUSALS = {"confounds": "nearly all of a column", "dask": "a QR or products with them"}


def assert_same(seeds: range, store: Any, which: Sequence[Limits], folder: Path) -> None:
    """That the answer from memory is that of some limits, from what is stored; few of those that
    are determined are refused.
    """
    unique, refused, refusals = 0, 0, []
    for seed in seeds:
        made, problem = sound(seed)
        whole = solved(problem)
        unique += whole.identifiability.verdict in UNIQUE
        other = made.problem() if store is None else made.stored(store, folder)
        try:
            assert_agree(problem, whole, solved(other, limits=which[seed % len(which)]))
        except cs.SolveError as error:
            refusals.append(str(error))
            refused += whole.identifiability.verdict in UNIQUE
    known = list(REFUSALS.values())[: 1 + (store in DASK.values())]
    assert all(any(words in refusal for words in known) for refusal in refusals), refusals
    assert unique >= len(seeds) / 2
    assert refused <= max(1, 0.05 * len(seeds))


@pytest.mark.parametrize("limits", ALWAYS, ids=lambda limits: str(limits.chunk_numbers))
@few_seeds(6, 80)
def test_chunks_change_nothing(seeds: range, limits: Limits, tmp_path: Path) -> None:
    assert_same(seeds, None, [limits], tmp_path)


@pytest.mark.parametrize("kind", FILES)
@few_seeds(4, 60)
def test_files_change_nothing(seeds: range, kind: str, tmp_path: Path) -> None:
    assert_same(seeds, FILES[kind], ALWAYS, tmp_path)


@pytest.mark.parametrize("kind", DASK)
@few_seeds(3, 30)
def test_dask_changes_nothing(seeds: range, kind: str, tmp_path: Path) -> None:
    with dask.config.set(scheduler="synchronous"):
        assert_same(seeds, DASK[kind], ALWAYS, tmp_path)
