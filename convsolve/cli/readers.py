"""Arrays of files by their names, for the data and for options."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .arguments import reported

if TYPE_CHECKING:
    import numpy as np


def beside(args: argparse.Namespace, path: str) -> np.ndarray:
    """Return the whole array of a file in addition to the data."""
    import numpy as np

    from ..io import read

    with reported(ValueError, OSError, ImportError):
        return np.array(read(path).values)
