"""Arrays that are not in memory: in files of several kinds, by dask, and fakes that keep count."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import h5py
import numpy as np
import zarr

from convsolve.problem.sizes import Tuning

# As if the memory held a hundred numbers, and a chunk some four hundred.
SMALL = Tuning(held_numbers=100, chunk_numbers=400)

Store = Callable[[np.ndarray, Path], Any]


class Slices:
    """An array of which slices are read, and how: ``largest`` is the largest number of values of
    one reading, ``times`` how often each value was read, ``readings`` how many there were.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.largest, self.readings = 0, 0
        self.times = np.zeros(array.shape, int)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        return self._array.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        found = self._array[key]
        self.times[key] += 1
        self.largest, self.readings = max(self.largest, found.size), self.readings + 1
        return found

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise AssertionError("read whole")


class Failing(Slices):
    """One whose ``nth`` reading raises an error, and no other."""

    def __init__(self, array: np.ndarray, nth: int, error: BaseException) -> None:
        super().__init__(array)
        self._nth, self._error = nth, error

    def __getitem__(self, key: Any) -> np.ndarray:
        if self.readings + 1 == self._nth:
            self.readings += 1
            raise self._error
        return super().__getitem__(key)


def _named(folder: Path, suffix: str) -> Path:
    """A name that no file of a folder has."""
    names = (folder / f"{i}{suffix}" for i in itertools.count())
    return next(name for name in names if not name.exists())


def mapped(array: np.ndarray, folder: Path) -> np.ndarray:
    found = np.memmap(_named(folder, ".raw"), array.dtype, "w+", shape=array.shape)
    found[...] = array
    return found


def in_hdf5(array: np.ndarray, folder: Path) -> Any:
    """Chunks that no chunk of rows agrees with."""
    chunks = tuple(min(n, 7) for n in array.shape) if array.size else None
    file = h5py.File(_named(folder, ".h5"), "w")
    return file.create_dataset("a", data=array, chunks=chunks)


def in_zarr(array: np.ndarray, folder: Path) -> Any:
    chunks = tuple(min(max(n, 1), 9) for n in array.shape)
    found = zarr.create_array(
        _named(folder, ".zarr"), shape=array.shape, dtype=array.dtype, chunks=chunks
    )
    found[...] = array
    return found


def by_dask(chunks: Callable[[tuple[int, ...]], Any]) -> Store:
    def made(array: np.ndarray, folder: Path) -> Any:
        return dask.array.from_array(array, chunks=chunks(array.shape))

    return made


# Along every axis, whole, and one channel (one sample, without channels) at a time.
DASK = {
    "dask, small chunks": by_dask(lambda shape: tuple(min(n, 11) for n in shape)),
    "dask, one chunk": by_dask(lambda shape: shape),
    "dask, chunks of channels": by_dask(lambda shape: (*shape[:-1], max(1, shape[-1] // 2))),
}
FILES: dict[str, Store] = {
    "memory map": mapped,
    "HDF5": in_hdf5,
    "zarr": in_zarr,
    "slices": lambda array, _: Slices(array),
}
STORES = FILES | DASK


def stored(value: Any, store: Store, folder: Path) -> Any:
    """An array, or a list of arrays, stored."""
    if isinstance(value, list):
        return [store(each, folder) for each in value]
    return store(value, folder)
