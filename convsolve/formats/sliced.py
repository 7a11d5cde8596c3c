"""Arrays of files that may exceed memory: .npy is mapped, HDF5 and zarr are read slice by slice.

Links of an HDF5 file to other files, and data stored in other files, are refused.
"""

from __future__ import annotations

import lzma
import math
import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import ReadError
from ..files import check_dtype, check_size, opened
from ..text import worded

# Names of the arrays to read from a file with several. It must have the first of them. None stands
# for its only array.
Names = Sequence[str] | None

# Longest chain of links, as in HDF5 itself.
MOST_LINKS = 16
# Largest number of member names in an error.
MOST_NAMED = 9
# Files of zarr arrays and groups. Every one has at least one of them.
ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
# Exceptions that the libraries and their codecs raise for damaged files.
_DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError,
    ValueError, lzma.LZMAError, zlib.error,
)  # fmt: skip


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Report exceptions in the block as a damaged file."""
    try:
        yield
    except ReadError:
        raise
    except _DAMAGE as error:
        # A KeyError shows its text in quotes.
        quoted = isinstance(error, KeyError) and error.args
        reason = str(error.args[0] if quoted else error) or type(error).__name__
        raise ReadError(f"{name}: cannot be read ({reason}); copy or write it again") from error


@contextmanager
def _opening(name: str, package: str, extra: str) -> Iterator[None]:
    """Do the same for a file opened by a package, which may not be installed."""
    try:
        # Warnings of the packages concern other members, or their own formats.
        with _reading(name), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise ImportError(f"{name}: needs {package}: pip install 'convsolve[{extra}]'") from error


class Sliced:
    """An array in a file, of which slices are read. `Problem` accepts it as stored data.

    `numpy.asarray` reads all of it. Errors begin with ``name``. ``chunks`` is the shape of parts
    that are read as a whole, or None.
    """

    def __init__(self, source: Any, name: str, chunks: tuple[int, ...] | None = None) -> None:
        if source.shape is None:
            raise ReadError(f"{name}: is empty; give an array of numbers")
        self.shape, self.dtype = tuple(source.shape), source.dtype
        self.name, self._source, self.chunks = name, source, chunks
        try:
            check_dtype(self.dtype)
        except ValueError as error:
            raise ReadError(f"{name}: {error}") from error

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __repr__(self) -> str:
        return f"<{self.name}: array of shape {self.shape}, {self.dtype}, read when used>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)

    def check(self, whole: bool, max_bytes: int) -> None:
        """Raise a ReadError if the ``whole`` array, or one chunk, exceeds the memory limit."""
        numbers = self.size if whole else math.prod(self.chunks or ())
        try:
            check_size(numbers * self.dtype.itemsize, max_bytes)
        except ValueError as error:
            raise ReadError(f"{self.name}:{'' if whole else ' a chunk'} {error}") from error

    def __getitem__(self, key: Any) -> np.ndarray:
        with _reading(self.name):
            return np.asarray(self._source[key])

    def in_blocks(self, others: Sequence[Any]) -> Any:
        """Return an array that is read in blocks together with ``others``.

        A mapped array of floats is returned itself. Others are read by slices, since they would be
        converted as a whole.
        """
        array = self._source
        mapped = isinstance(array, np.memmap) and array.flags.c_contiguous
        floats = self.dtype in (np.float32, np.float64)
        return array if mapped and floats and all(a.dtype == self.dtype for a in others) else self


def whole(array: Any, max_bytes: int) -> np.ndarray:
    """Return an array in memory, if it is not larger than allowed."""
    if not isinstance(array, Sliced):
        return np.asarray(array)
    array.check(True, max_bytes)
    return np.array(array[...])


def _of_members(
    name: str, members: Sequence[str], one: Callable[[str], Sliced], separator: str, names: Names
) -> list[Sliced]:
    """Return the members with these names, or the only member."""
    if names is None:
        if len(members) != 1:
            raise several_arrays(name, members, separator)
        names = members
    if names[0] not in members:
        raise ReadError(f"{name}: has no member {names[0]!r}{named(members)}")
    return [one(member) for member in names if member in members]


def several_arrays(name: str, members: Sequence[str], separator: str) -> ReadError:
    """Return the error for a file with another number of arrays than one."""
    if not members:
        return ReadError(f"{name}: has no arrays")
    example = f"{name.rstrip(separator)}{separator}{'x' if 'x' in members else members[0]}"
    alone = worded("", "give one file alone, or ")
    return ReadError(f"{name}: has several arrays; {alone}name one: {example}")


def named(members: Sequence[str]) -> str:
    """Return the members of a file as the end of an error message."""
    if not members:
        return "; it has none"
    return f"; it has {', '.join(map(repr, members[:MOST_NAMED]))}" + ", …" * (
        len(members) > MOST_NAMED
    )


def hdf5(file: str, path: str | None, names: Names = None) -> list[Sliced]:
    """Return the dataset of a path. Without a path, return those with some names, or the only one.

    The file must have the first of the ``names``.
    """
    with opened(file):
        pass  # it exists and is a regular file
    with _opening(file, "h5py", "hdf5"):
        import h5py

        root = h5py.File(file, "r")["/"]
        if path is not None:
            return [_dataset(root, file, path)]
        members = [member for member in root if not member.startswith("#")]  # MATLAB's own
        return _of_members(file, members, lambda m: _dataset(root, file, m), ":", names)


def _dataset(root: Any, file: str, path: str) -> Sliced:
    """Return a dataset with all of its data in this file."""
    name = f"{file}:{path}"
    with _opening(name, "h5py", "hdf5"):
        found = _followed(root, path, name, iter(range(MOST_LINKS)))
        if hasattr(found, "keys"):
            raise ReadError(f"{name}: is a group, not a dataset{named([*found])}")
        if not hasattr(found, "virtual_sources"):
            raise ReadError(f"{name}: is a type, not a dataset")
        others = [outside for outside, _, _ in found.external or ()]
        others += [part.file_name for part in (found.virtual_sources() if found.is_virtual else ())]
        if others:
            raise ReadError(
                f"{name}: keeps its numbers elsewhere ({others[0]}), which is not followed; copy "
                "them into a dataset of its own"
            )
        if "MATLAB_empty" in found.attrs or found.attrs.get("MATLAB_class") == b"char":
            raise ReadError(f"{name}: is empty, or text; give an array of numbers")
        return Sliced(found, name, found.chunks)


def _followed(node: Any, path: str, name: str, links: Iterator[int]) -> Any:
    """Follow a path from a group link by link, because h5py would open other files."""
    import h5py

    root = node.file["/"]
    node = root if path.startswith("/") else node
    for part in path.split("/"):
        if part in ("", "."):
            continue
        key = part.encode("utf-8", "surrogateescape")
        if not isinstance(node, h5py.Group) or not node.id.links.exists(key):
            members = [*node] if isinstance(node, h5py.Group) else []
            raise ReadError(f"{name}: has no member {part!r}{named(members)}")
        kind = node.id.links.get_info(key).type
        if kind == h5py.h5l.TYPE_HARD:
            node = node[part]
        elif kind != h5py.h5l.TYPE_SOFT:
            where = os.fsdecode(node.id.links.get_val(key)[0])
            raise ReadError(f"{name}: {part!r} leads to another file ({where}); give that one")
        elif next(links, None) is None:
            raise ReadError(f"{name}: {part!r} leads from link to link; name the dataset itself")
        else:
            target = node.id.links.get_val(key).decode("utf-8", "surrogateescape")
            node = _followed(node, target, name, links)
    return node


def zarr(name: str, names: Names = None) -> list[Sliced]:
    """Return the array of a directory, or arrays of a group as `hdf5` does."""
    node = _node(name)
    if hasattr(node, "chunks"):
        return [_array(node, name)]
    members = sorted(entry.name for entry in os.scandir(name) if entry.is_dir())

    def member(m: str) -> Sliced:
        path = os.path.join(name, m)
        return _array(_node(path), path)

    return _of_members(name, members, member, os.sep, names)


def _node(path: str) -> Any:
    """Return the zarr array or group of a directory."""
    if not os.path.isdir(path):
        with opened(path):
            pass  # it exists
        raise ReadError(f"{path}: is a file, and a zarr array or group is a directory")
    if not any(os.path.isfile(os.path.join(path, file)) for file in ZARR_FILES):
        raise ReadError(
            f"{path}: is no zarr array or group; it has none of {', '.join(ZARR_FILES)}"
        )
    with _opening(path, "zarr", "zarr"):
        import zarr

        return zarr.open(path, mode="r")


def _array(node: Any, name: str) -> Sliced:
    if not hasattr(node, "chunks"):
        raise ReadError(f"{name}: is a group, not an array")
    with _opening(name, "zarr", "zarr"):
        return Sliced(node, name, node.chunks)
