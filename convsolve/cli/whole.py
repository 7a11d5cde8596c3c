"""Arrays of files that are always read whole: .npy, tables, MAT and WAV."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import MAT, reported

if TYPE_CHECKING:
    import numpy as np


def in_memory(name: str, alone: bool, limit: int) -> list[np.ndarray]:
    """The array of a file; of a MAT file that is ``alone`` x and, if it is there, y.

    Raises:
        ValueError, OSError, Refusal: as the readers have it.
    """
    from ..files import read_array
    from . import mat, wav

    if MAT.fullmatch(name):
        return mat.arrays(name, alone, limit)
    return [wav.array(name, limit) if is_sound(name) else read_array(name, max_bytes=limit)]


def is_sound(name: str) -> bool:
    """Whether a file is WAV, by its name."""
    return Path(name).suffix.lower() == ".wav"


def beside(args: argparse.Namespace, path: str) -> np.ndarray:
    """The array of a file beside those of the data."""
    from ..files import MAX_BYTES

    with reported(ValueError, OSError):
        return in_memory(path, False, args.max_bytes or MAX_BYTES)[0]
