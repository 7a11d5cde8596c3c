"""Arrays of files by their names; the readers of each kind are imported once one is read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import HDF5, MAT, reported

if TYPE_CHECKING:
    import numpy as np


def arrays(name: str, alone: bool, limit: int) -> list[Any]:
    """Return the array of a file, or x and, if it exists, y of a file of several given ``alone``.

    Arrays of .npy, HDF5 and zarr files are `Sliced`, others are read within the ``limit``.

    Raises:
        ValueError, OSError, Refusal: If the file is damaged, missing or too large, or does not have
            the format of its suffix.
    """
    from ..files import map_array, read_array
    from . import large, mat, wav

    suffix = Path(name).suffix.lower()
    if suffix == ".npy":
        return [large.Sliced(map_array(name), name)]
    if found := HDF5.fullmatch(name):
        return large.hdf5(found[1], found[2], alone)
    if MAT.fullmatch(name):
        return mat.arrays(name, alone, limit)
    if is_sound(name):
        return [wav.array(name, limit)]
    in_zarr = any(part.lower().endswith(".zarr") for part in Path(name).parts)
    if in_zarr and suffix not in (".csv", ".txt"):
        return large.zarr(name, alone)
    return [read_array(name, max_bytes=limit)]


def names_file(text: str) -> bool:
    """Return whether a text names a file, or an array in a file, of a known kind."""
    known = {".npy", ".npz", ".csv", ".txt", ".wav", ".zarr"}
    parts = {Path(part).suffix.lower() for part in Path(text).parts}
    return bool(known & parts or HDF5.fullmatch(text) or MAT.fullmatch(text))


def is_sound(name: str) -> bool:
    """Return whether a file has the suffix .wav."""
    return Path(name).suffix.lower() == ".wav"


def beside(args: argparse.Namespace, path: str) -> np.ndarray:
    """Return the whole array of a file in addition to the data."""
    from ..files import MAX_BYTES
    from .large import whole

    limit = args.max_bytes or MAX_BYTES
    with reported(ValueError, OSError):
        return whole(arrays(path, False, limit)[0], limit)
