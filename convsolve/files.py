"""Addresses of arrays in files, archives of arrays, and files that are written as a whole."""

# numpy is imported when it is used: the command line reads addresses before it runs a command.
from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .errors import ReadError

if TYPE_CHECKING:
    import numpy as np

KINDS = {
    ".npy": "npy", ".npz": "npz", ".csv": "table", ".txt": "table", ".h5": "hdf5",
    ".hdf5": "hdf5", ".mat": "mat", ".wav": "wav",
}  # fmt: skip
_WITH_MEMBER = re.compile(r"(.+?\.(?:h5|hdf5|mat))(?::(.*))?", re.IGNORECASE | re.DOTALL)


def parts_of(name: str) -> tuple[str, str]:
    """Return the file of an address, and the array in it: FILE.h5:path or FILE.mat:variable."""
    found = _WITH_MEMBER.fullmatch(name)
    return (found[1], found[2] or "") if found else (name, "")


def kind_of(name: str) -> str:
    """Return "npy", "npz", "hdf5", "mat", "wav", "zarr" or "table"; "" for an unknown kind."""
    in_zarr = any(part.lower().endswith(".zarr") for part in Path(name).parts)
    return KINDS.get(Path(parts_of(name)[0]).suffix.lower(), "zarr" if in_zarr else "")


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Report errors in the block as a file that cannot be read, in one line with its name."""
    try:
        yield
    except ReadError:
        raise
    except ImportError as error:
        extra = {"h5py": "hdf5"}.get(error.name or "", error.name)
        raise ImportError(
            f"{name}: needs {error.name}: pip install 'convsolve[{extra}]'"
        ) from error
    except Exception as error:
        raise ReadError(f"{name}: cannot be read ({error or type(error).__name__})") from error


@contextmanager
def npz_archive(path: str | os.PathLike[str]) -> Iterator[Mapping[str, np.ndarray]]:
    """Open a .npz file for reading its arrays by name. Nothing is unpickled.

    Raises:
        OSError: If the file is missing.
        ReadError: If the file is damaged.
    """
    from numpy.lib.npyio import NpzFile

    path = Path(path)
    path.stat()
    with reading(str(path)), open(path, "rb") as stream, NpzFile(stream) as archive:
        yield archive


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return all arrays of a .npz file by name."""
    with npz_archive(path) as archive:
        return dict(archive)


def write_npz(
    path: str | os.PathLike[str], arrays: Mapping[str, Any], *, overwrite: bool = False
) -> None:
    """Write named arrays as a .npz file. Errors are those of `replacing`."""
    import numpy as np

    with replacing(path, overwrite) as stream:
        np.savez(stream, allow_pickle=False, **arrays)


@contextmanager
def replacing(path: str | os.PathLike[str], overwrite: bool) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces ``path`` at the end of the block.

    Raises:
        FileExistsError: If ``path`` exists and ``overwrite`` is False.
        OSError: If the file cannot be written.
    """
    target = Path(path).resolve()  # where a symbolic link leads
    if target.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists; overwrite=True overwrites it")
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            yield stream
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
