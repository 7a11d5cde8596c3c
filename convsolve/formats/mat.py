"""Arrays of numbers in MAT files: versions 4 to 7 by SciPy, 7.3 as HDF5."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..files import check_size, opened
from ..text import worded
from .addresses import MAT
from .mat_reader import LIMIT, REFUSED, SEVERAL
from .sliced import Names, hdf5, several_arrays, whole

READER = Path(__file__).with_name("mat_reader.py")
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def arrays(name: str, max_bytes: int, names: Names = None) -> list[np.ndarray]:
    """Return the variable in a name. Without one, return those with some names, or the only one.

    MATLAB has no arrays with one axis. A row or a column is read as (n,), one channel.

    Raises:
        ValueError: If the file is damaged or too large, is not a MAT file, or does not have the
            variable.
        OSError: If the file is missing or cannot be read.
    """
    found = MAT.fullmatch(name)
    assert found is not None
    file, variable = found[1], found[2] or None
    with opened(file) as (stream, size):
        start = stream.read(512 + len(HDF5_SIGNATURE))
        if HDF5_SIGNATURE in (start[:8], start[512:]):
            return _of_hdf5(file, variable, names, max_bytes)
        check_size(size, max_bytes)
        wanted = [*(names or ())] if variable is None else [variable]
        return [_one_channel(array) for array in _by_scipy(file, max_bytes, wanted)]


def _by_scipy(file: str, max_bytes: int, names: list[str]) -> list[np.ndarray]:
    """Return those of these variables that the file has, in this order; the only one for none."""
    # Unlike that of this file, the folder of the program is not where Python looks for modules.
    program = [sys.executable, "-P", str(READER)]
    with TemporaryDirectory() as folder:
        target = str(Path(folder, "read.npz"))
        done = subprocess.run(
            [*program, str(Path(file).resolve()), target, str(max_bytes), *names],
            capture_output=True,
            # Threads of a library that multiplies nothing would take memory alone.
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
        if done.returncode == REFUSED:
            reason = done.stderr.decode(errors="replace").splitlines()[-1]
            if reason.startswith(SEVERAL):
                raise several_arrays(file, reason.removeprefix(SEVERAL).split(), ":")
            raise ValueError(reason.replace(LIMIT, worded(LIMIT, "--max-bytes")))
        if done.returncode == -signal.SIGKILL:
            raise ValueError("takes more memory than there is: its reader was killed")
        if done.returncode:
            raise ValueError("is no MAT file, or damaged or cut short; copy or save it again")
        with np.load(target, allow_pickle=False) as members:
            return [members[f"arr_{i}"] for i in range(len(members))]


def _of_hdf5(file: str, variable: str | None, names: Names, max_bytes: int) -> list[np.ndarray]:
    """Return the arrays of a file of version 7.3, which stores axes in reverse order."""
    found = hdf5(file, variable, names)
    return [_one_channel(whole(array, max_bytes).T) for array in found]


def _one_channel(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array
