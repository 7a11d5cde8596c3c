"""Read signals from files: arrays, tables, sound, MATLAB, HDF5 and zarr.

The command line reads its data with the same functions.
"""

from __future__ import annotations

import csv
import math
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import ReadError
from .files import kind_of, npz_archive, parts_of, reading
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


def read(path: str | os.PathLike[str], *, columns: Columns = None) -> Signal:
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

    Returns:
        A `Signal` with ``values``, ``fs`` and ``names``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the suffix is unknown, the file is damaged or not numbers, there is no such
            column or array, or several arrays and none is named.
        OSError: If the file is missing.
        ImportError: If h5py or zarr is needed and not installed.

    Nothing is unpickled. Links of HDF5 are followed. Read only files whose source you trust.

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
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be the name of a file, got a {type(path).__name__}")
    name = os.fsdecode(path)
    if columns is None:
        return read_members(name, ())[0]
    several = isinstance(columns, (list, tuple))
    listed: Any = columns if several else [columns]
    for column in listed:
        if isinstance(column, bool) or not isinstance(column, (str, int)):
            raise TypeError(f"columns takes names or numbers, got {shown(column)}")
    kind = kind_of(name)
    if kind == "npz" and len(listed) == 1 and isinstance(listed[0], str):
        return read_members(name, listed)[0]
    if kind != "table" or not listed:
        raise ValueError(
            f"{name}: columns= takes columns of .csv and .txt tables, or one member of .npz, got "
            f"{shown(columns)}"
        )
    os.stat(name)
    with reading(name):
        found = _table(name, listed)
    return found if several else _single(found)


class Sliced:
    """An array in a file, of which slices are read. `Problem` accepts it as stored data.

    `numpy.asarray` reads all of it. Errors begin with ``name``.
    """

    def __init__(self, source: Any, name: str) -> None:
        self.shape, self.dtype = tuple(source.shape), source.dtype
        self.ndim, self.size = len(self.shape), math.prod(self.shape)
        self.name, self._source = name, source

    @property
    def chunks(self) -> Any:
        """Shape of the parts that the file stores, or None."""
        return getattr(self._source, "chunks", None)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __repr__(self) -> str:
        return f"<{self.name}: array of shape {self.shape}, {self.dtype}, read when used>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)

    def __getitem__(self, key: Any) -> np.ndarray:
        with reading(self.name):
            return np.asarray(self._source[key])


def read_members(name: str, names: Sequence[str]) -> list[Signal]:
    """Return the arrays of a file with these names, of which it must have the first.

    If there are no names, or if the file has no names of arrays, return its only array.
    """
    kind, file = kind_of(name), parts_of(name)[0]
    if not kind:
        raise ValueError(
            f"{name}: is of no known kind; give an array in a .npy, .npz, .csv, .txt, .h5, .zarr, "
            ".mat or .wav file"
        )
    os.stat(file)
    with reading(name):
        if kind == "table":
            found = _table(name, None)
            return [_single(found) if found.values.shape[1] == 1 else found]
        if kind == "wav":
            return [_sound(name)]
        if kind == "npz":
            with npz_archive(file) as archive:
                return _chosen(archive, name, names)
        arrays = _arrays(file, kind)
        if hasattr(arrays, "shape"):
            return [Signal(_values(arrays, name, kind))]
        return _chosen(arrays, name, names)


def _chosen(arrays: Any, name: str, names: Sequence[str]) -> list[Signal]:
    """Return arrays of a file of several."""
    kind, (file, member) = kind_of(name), parts_of(name)
    known = [one for one in arrays if not one.startswith(("__", "#"))]
    separator = {"npz": " member ", "zarr": "/"}.get(kind, ":")
    if not known:
        raise ReadError(f"{name}: has no arrays")
    if not member and not names and len(known) != 1:
        example = f"columns={known[0]!r}" if kind == "npz" else f"{name}{separator}{known[0]}"
        raise ReadError(f"{name}: has the arrays {some(known)}; name one: {example}")
    wanted = [member] if member else names or known
    if wanted[0] not in arrays:
        raise ReadError(f"{file}: has no member {wanted[0]!r}; it has {some(known)}")
    return [
        Signal(_values(arrays[one], f"{file}{separator}{one}", kind))
        for one in wanted
        if one in arrays
    ]


def _arrays(file: str, kind: str) -> Any:
    """Return the arrays of a file by name, or its only array."""
    if kind == "npy":
        return np.lib.format.open_memmap(file, mode="r")
    if kind == "zarr":
        import zarr

        return zarr.open(file, mode="r")
    if kind == "mat":
        from scipy.io import loadmat

        try:
            return loadmat(file)
        except NotImplementedError:  # version 7.3 is HDF5
            pass
    import h5py

    return h5py.File(file, "r")


def _values(found: Any, name: str, kind: str) -> Any:
    """Return an array in memory, or one that is read when it is used."""
    numbers = getattr(found, "dtype", np.dtype(object)).kind in "biufc"
    if not numbers or not getattr(found, "shape", ()):
        raise ReadError(f"{name}: is no array of numbers")
    if kind == "mat":  # HDF5 has the axes in reverse order
        array = found if isinstance(found, np.ndarray) else found[...].T
        return array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array
    if kind == "npz":
        return found
    # Other mapped arrays would be converted as a whole.
    mapped = kind == "npy" and found.dtype in (np.float32, np.float64) and found.flags.c_contiguous
    return found if mapped else Sliced(found, name)


def _sound(name: str) -> Signal:
    """Return the samples of a WAV file in units of full scale, and their rate."""
    from scipy.io import wavfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about other content, such as a title
        warnings.filterwarnings("error", "Reached EOF")
        rate, samples = wavfile.read(name)
    if samples.dtype.kind != "f":
        middle = 128.0 if samples.dtype.kind == "u" else 0.0  # only 8 bits have no sign
        samples = (samples - middle) / 2.0 ** (8 * samples.dtype.itemsize - 1)
    return Signal(samples, fs=float(rate))


def _single(found: Signal) -> Signal:
    """Return a table of one column as (n,)."""
    return Signal(found.values[:, 0], names=found.names)


def _table(name: str, columns: Sequence[str | int] | None) -> Signal:
    """Return columns of a table of numbers (n, columns), and their names if there is a header."""
    with open(name, encoding="utf-8-sig") as stream:
        lines = stream.read().rstrip().split("\n")
    blank = next((i for i, line in enumerate(lines, 1) if not line.strip()), None)
    if blank is not None:
        raise ReadError(f"{name}: has a blank line {blank}; fill the gap, or cut the table there")
    rows = csv.reader(lines, skipinitialspace=True)
    first = [field.strip() for field in next(rows)]
    odd = next((i for i, row in enumerate(rows, 2) if len(row) != len(first)), None)
    if odd is not None:
        raise ReadError(f"{name}: line {odd} has another number of columns than line 1")
    header = lines[0].startswith("#") or not any(map(_is_number, first))
    names = [field.strip(" #") for field in first] if header else []
    if len(lines) == header:
        raise ReadError(f"{name}: has no numbers")
    chosen = None
    if columns is not None:
        width = len(first)
        chosen = [_index(column, names, width, name) for column in columns]
        names = [names[i] for i in chosen] if names else []
    if len(set(filter(None, names))) < len([*filter(None, names)]):
        raise ReadError(f"{name}: has two columns of one name; rename one")
    settings: dict[str, Any] = {"delimiter": ",", "quotechar": '"', "comments": None, "ndmin": 2}
    values = np.loadtxt(lines[header:], usecols=chosen, **settings)
    return Signal(values, names=tuple(names) if names and all(names) else None)


def _is_number(field: str) -> bool:
    """Return whether a field of the first line is a number, or the mark of a missing one."""
    return re.match(r"[\d+\-.?]|(nan|inf|na|n/a|null|none)$", field, re.IGNORECASE) is not None


def _index(column: str | int, names: Sequence[str], width: int, file: str) -> int:
    """Return the number of a column."""
    if column in names:
        return names.index(str(column))
    if not str(column).isdecimal() or int(column) >= width:
        there = f"the header names {some(names)}" if names else "there is no header line"
        raise ReadError(f"{file}: has no column {column!r}; {there}; numbers count from 0")
    return int(column)
