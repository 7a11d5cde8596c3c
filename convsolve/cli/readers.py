"""Arrays of files by their names, for the data and for options."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..formats.addresses import kind_of
from .arguments import reported

if TYPE_CHECKING:
    import numpy as np


def names_file(text: str) -> bool:
    """Return whether a text names a file, or an array in a file, of a known kind."""
    return bool(kind_of(text))


def stored(values: Any, name: str) -> Any:
    """Return an array, or a `Sliced` of an array that is mapped."""
    import numpy as np

    from ..formats.sliced import Sliced

    return Sliced(values, name) if isinstance(values, np.memmap) else values


def beside(args: argparse.Namespace, path: str) -> np.ndarray:
    """Return the whole array of a file in addition to the data."""
    from ..files import MAX_BYTES
    from ..formats.sliced import whole
    from ..io import read

    limit = args.max_bytes or MAX_BYTES
    with reported(ValueError, OSError, ImportError):
        return whole(stored(read(path, max_bytes=limit).values, path), limit)
