"""Read signals from files: arrays, tables, sound, MATLAB, HDF5 and zarr.

The command line reads its data with the same functions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .files import (
    MAX_BYTES,
    column_names,
    map_array,
    member_names,
    read_array,
    read_arrays,
    read_columns,
)
from .formats import mat, sliced, wav
from .formats.addresses import HDF5, KNOWN, kind_of
from .near_misses import similar
from .problem.checks import integer
from .text import shown, some

__all__ = ["Signal", "read"]

Columns = str | int | Sequence[str | int] | None


@dataclass(frozen=True, eq=False)
class Signal:
    """An array of a file, with what the file states about it.

    Attributes:
        values: The array. Channels come last. It is in memory, or read when it is used: `Problem`
            reads it in blocks, and `numpy.asarray` reads all of it.
        fs: Sampling rate in Hz, of a WAV file; None for other files.
        names: Names of the columns of a table with a header line; None without names.

    Examples:
        >>> import convsolve as cs
        >>> signal = cs.io.Signal([0.0, 3.0, 4.0], fs=8000.0)
        >>> signal.fs, signal.names
        (8000.0, None)

    See Also:
        `read`, which returns it.
    """

    values: Any
    fs: float | None = None
    names: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        shape, dtype = (getattr(self.values, name, "unknown") for name in ("shape", "dtype"))
        more = "" if self.fs is None else f", {self.fs:g} Hz"
        more += "" if self.names is None else f": {some(self.names)}"
        return f"<Signal of shape {shape}, {dtype}{more}>"


def read(
    path: str | os.PathLike[str], *, columns: Columns = None, max_bytes: int = MAX_BYTES
) -> Signal:
    """Read an array from a file.

    Args:
        path: Name of the file. Its suffix determines the format:

            - .npy. Arrays of floats in C order are mapped, others are read when they are used.
            - .npz: one member, see ``columns``.
            - .csv or .txt: a table of numbers with commas between, and at most one header line.
            - .wav: samples in units of full scale, ``(n,)`` or ``(n, channels)``.
            - ``"FILE.mat:variable"``, for a MAT file of any version. A row or a column becomes
              ``(n,)``.
            - ``"FILE.h5:path/in/file"`` and ``"FILE.zarr/path"``. These arrays are read when they
              are used. They need h5py or zarr.

            If the file has only one array, its name can be left out.
        columns: For tables, a name from the header line or a number from 0, for values of shape
            ``(n,)``, or a list of these, for ``(n, len(columns))``. For .npz, the name of a member.
            None, the default, reads all columns, or the only member.
        max_bytes: Largest number of bytes that is read into memory. Default 4 GiB. An array that is
            read when it is used may be larger, but its chunks may not.

    Returns:
        A `Signal` with ``values``, ``fs`` and ``names``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the suffix is unknown, the file is damaged, too large or not numbers, there
            is no such column or array, or several arrays and none is named.
        OSError: If the file is missing or cannot be read.
        ImportError: If h5py or zarr is needed and not installed.

    Nothing is unpickled. Sizes in headers are compared with the size of the file before memory is
    allocated.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path, header = f"{folder}/speech.csv", "envelope,Fz,Cz"
        ...     np.savetxt(path, np.eye(3), delimiter=",", header=header, comments="")
        ...     eeg = cs.io.read(path, columns=["Fz", "Cz"])
        >>> eeg.names, eeg.values.shape
        (('Fz', 'Cz'), (3, 2))

    See Also:
        `Signal`, and `Problem`, which accepts the values.
    """
    name, max_bytes = _name(path), integer(max_bytes, "max_bytes")
    kind = _kind(name)
    if columns is not None:
        _check_columns(name, kind, columns)
    if kind == "table":
        return _table(name, columns, max_bytes)
    if kind == "npz":
        return Signal(_member(name, columns, max_bytes))
    (found,) = _arrays(name, kind, None, max_bytes)
    return found


def read_members(name: str, names: Sequence[str], max_bytes: int) -> list[Signal]:
    """Return the arrays of a file that has several, by name; otherwise its only array.

    The file must have the first of the ``names``.
    """
    kind = _kind(name)
    if kind == "npz":
        found = read_arrays(name, names=names, max_bytes=max_bytes)
        first = names[0]
        if first not in found:
            raise ValueError(
                f"{name}: has no member {first!r}{_named(member_names(name))}; "
                f"numpy.savez(path, {first}={first}, ...) makes it"
            )
        return [Signal(found[member]) for member in names if member in found]
    if kind == "table":
        return [_table(name, None, max_bytes)]
    return _arrays(name, kind, names, max_bytes)


def _name(path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be the name of a file, got a {type(path).__name__}")
    return os.fsdecode(path)


def _kind(name: str) -> str:
    """Return the kind of a file."""
    found = kind_of(name)
    if not found:
        raise ValueError(f"{name}: is of no known kind; give an array in a {KNOWN} file")
    return found


def _check_columns(name: str, kind: str, columns: Any) -> None:
    """Raise an error if ``columns`` does not suit the kind of file."""
    if kind not in ("table", "npz"):
        raise ValueError(
            f"{name}: columns= selects columns of .csv and .txt tables, and members of .npz; "
            "an array in another file is named in its path, as in FILE.h5:x"
        )
    listed = columns if isinstance(columns, (list, tuple)) else [columns]
    if not listed:
        raise ValueError("columns is empty; leave it out for all columns")
    for column in listed:
        if isinstance(column, bool) or not isinstance(column, (str, int)):
            raise TypeError(f"columns takes names or numbers, got {shown(column)}")
    if kind == "npz" and not (len(listed) == 1 and isinstance(listed[0], str)):
        raise ValueError(
            f"{name}: columns= takes the name of one member of .npz, got {shown(columns)}"
        )


def _table(name: str, columns: Columns, max_bytes: int) -> Signal:
    single = isinstance(columns, (str, int))
    listed: Any = [columns] if single else columns
    if listed is None:
        values, names = read_array(name, max_bytes=max_bytes), column_names(name)
    else:
        # The header names the columns before the numbers are read.
        names = column_names(name, listed)
        values = read_columns(name, listed, max_bytes=max_bytes)
        values = values[:, 0] if single else values
    return Signal(values, names=tuple(names) or None)


def _member(name: str, columns: Columns, max_bytes: int) -> Any:
    """Return a member of a .npz file, or its only member."""
    members = member_names(name)
    wanted: Any = columns[0] if isinstance(columns, (list, tuple)) else columns
    if wanted is None:
        if len(members) != 1:
            raise ValueError(
                f"{name}: has {len(members)} members{_named(members)}; name one, as in columns='x'"
            )
        wanted = members[0]
    if wanted not in members:
        near = similar(wanted, members)
        hint = f"; did you mean {near[0]!r}?" if near else _named(members)
        raise ValueError(f"{name}: has no member {wanted!r}{hint}")
    return read_arrays(name, names=[wanted], max_bytes=max_bytes)[wanted]


def _named(members: Sequence[str]) -> str:
    return sliced.named(members)


def _arrays(name: str, kind: str, names: sliced.Names, max_bytes: int) -> list[Signal]:
    """Return arrays of a file that is not a table or an archive."""
    if kind == "wav":
        return [Signal(wav.array(name, max_bytes), fs=float(wav.rate(name)))]
    if kind == "mat":
        return [Signal(array) for array in mat.arrays(name, max_bytes, names)]
    if kind == "npy":
        found = [sliced.Sliced(map_array(name), name)]
    elif kind == "hdf5":
        address = HDF5.fullmatch(name)
        assert address is not None
        found = sliced.hdf5(address[1], address[2], names)
    else:
        found = sliced.zarr(name, names)
    for array in found:
        array.check(False, max_bytes)
    return [Signal(array.in_blocks([])) for array in found]
