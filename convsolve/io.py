"""Read signals from files, and write files as a whole.

NumPy, SciPy, pandas, h5py and zarr read the formats. The command line uses the same functions.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .text import some

__all__ = ["Signal", "read", "write"]

# The file of an address, its suffix, and the array in it: FILE:ARRAY or FILE.zarr/ARRAY.
PARTS = re.compile(r"(?i)(.+?\.(np[yz]|csv|txt|tsv|wav|mat|h5|hdf5|zarr))(?:(?::|(?<=zarr)/)(.*))?")
TABLES = {"csv": ",", "txt": ",", "tsv": "\t"}
# The first line of a table is a header if no field of it is a number or the mark of a missing one.
NUMBER = re.compile(r"[\d+\-.?]|(nan|inf|na|n/a|null|none)$", re.I)


@dataclass(frozen=True, eq=False)
class Signal:
    """An array of a file, with what the file states about it.

    Attributes:
        values: The array. Channels come last. It is in memory, or stored: `Problem` reads stored
            arrays in blocks, and `numpy.asarray` reads all of it.
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


def kind_of(address: str) -> str:
    """Return the suffix of the file of an address, such as "npy"; "" if there is none."""
    found = PARTS.fullmatch(address)
    return found[2].lower() if found else ""


def read(address: str | Path, *, columns: Any = None) -> Signal:
    """Read an array from a file.

    Args:
        address: Name of the file. Its suffix determines the format:

            - .npy. The file is mapped, and read when it is used.
            - .csv, .txt or .tsv: a table of numbers with commas (in .tsv tabs) between, and at most
              one header line. Empty fields are NaN. It needs pandas.
            - .wav: samples in units of full scale, ``(n,)`` or ``(n, channels)``.
            - ``"FILE.npz:member"``.
            - ``"FILE.mat:variable"``, for a MAT file of any version, without axes of length one.
            - ``"FILE.h5:path/in/file"`` and ``"FILE.zarr/path"``. These arrays are read when they
              are used. They need h5py or zarr.

            If the file has only one array, its name can be left out.
        columns: For tables, a name from the header line or a number from 0, for values of shape
            ``(n,)``, or a list of these, for ``(n, len(columns))``. For .npz, the name of a member.
            None, the default, reads all columns, or the only member.

    Returns:
        A `Signal` with ``values``, ``fs`` and ``names``.

    Raises:
        ValueError: If the suffix is unknown, the file is damaged or not numbers, there is no such
            column or array, or several arrays and none is named.
        OSError: If the file is missing.
        ImportError: If pandas, h5py or zarr is needed and not installed.

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
        `write`, and `Problem`, which accepts the values.
    """
    return read_members(address, (), columns)[0]


def read_members(address: str | Path, members: Sequence[str], columns: Any = None) -> list[Signal]:
    """Return those of these arrays that a file has, or the only array of the file.

    A file of several arrays must have the first of them. Other arguments are those of `read`.
    """
    found = PARTS.fullmatch(str(address))
    if found is None:
        raise ValueError(
            f"{address}: no array file; use .npy, .npz, .csv, .wav, .mat, .h5 or .zarr"
        )
    path, kind, member = found[1], found[2].lower(), found[3]
    Path(path).stat()
    if columns is not None and kind not in ("npz", *TABLES):
        raise ValueError(f"{address}: has no columns, got columns={columns!r}")
    try:
        if kind in TABLES:
            return [_table(path, TABLES[kind], columns)]
        if kind == "wav":
            return [_sound(path)]
        return [Signal(a) for a in _chosen(_opened(path, kind), path, member or columns, members)]
    except ImportError as error:
        raise ImportError(f"{address}: needs {error.name}: pip install {error.name}") from error
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{address}: cannot be read: {words}") from error


def _opened(path: str, kind: str) -> Any:
    """Return the arrays of a file by name, or its only array."""
    if kind in ("npy", "npz"):
        return np.load(path, mmap_mode="r", allow_pickle=False)
    if kind == "zarr":
        import zarr

        return zarr.open(path, mode="r")
    if kind == "mat":
        from scipy.io import loadmat

        with suppress(NotImplementedError):  # of version 7.3, which is HDF5
            return loadmat(path, squeeze_me=True)
    import h5py

    file = h5py.File(path, "r")
    if kind == "mat":  # MATLAB writes the axes in reverse order
        return {n: np.asarray(a).T.squeeze() for n, a in file.items() if hasattr(a, "shape")}
    return file


def _chosen(found: Any, path: str, member: str | None, members: Sequence[str]) -> list[Any]:
    """Return the arrays with these names, or the only array."""
    if member:
        if member not in found:
            raise ValueError(f"there is no array {member!r}; there are {some([*found])}")
        found = found[member]
    if hasattr(found, "shape"):
        return [found]
    known = [name for name in found if not name.startswith(("__", "#"))]
    wanted = [name for name in members if name in known] if {*members[:1]} & {*known} else known
    if wanted is known and len(known) != 1:
        raise ValueError(f"there are the arrays {some(known)}; name one, as {path}:{known[0]}")
    return [found[name] for name in wanted]


def _sound(path: str) -> Signal:
    """Return the samples of a WAV file in units of full scale, and their rate."""
    from scipy.io import wavfile

    rate, samples = wavfile.read(path)
    if samples.dtype.kind != "f":
        middle = 128.0 if samples.dtype.kind == "u" else 0.0  # only 8 bits have no sign
        samples = (samples - middle) / 2.0 ** (8 * samples.dtype.itemsize - 1)
    return Signal(samples, fs=float(rate))


def _table(path: str, separator: str, columns: Any) -> Signal:
    """Return columns of a table of numbers, and their names if there is a header."""
    import pandas as pd

    # A blank line is a row of missing values. Without it, later rows would be at another time.
    shared = {"sep": separator, "skipinitialspace": True, "skip_blank_lines": False}
    first = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, **shared)
    fields = first.iloc[0]
    header = fields[0].startswith("#") or not any(map(NUMBER.match, fields))
    shared |= {"header": 0 if header else None, "index_col": False}
    frame = pd.read_csv(path, **shared)
    frame = frame.rename(columns=lambda name: str(name).strip(" #"))
    places = dict(zip(map(str, range(len(fields))), frame, strict=True)) | {n: n for n in frame}
    listed = [columns] if isinstance(columns, (str, int)) else columns or [*frame]
    if unknown := [column for column in listed if str(column) not in places]:
        raise ValueError(f"there is no column {unknown[0]!r}; there are {some([*frame])}")
    chosen = frame[[places[str(column)] for column in listed]]
    values, single = chosen.to_numpy(float), len(listed) == 1 and columns is not listed
    return Signal(values[:, 0] if single else values, names=tuple(chosen) if header else None)


def write(
    path: str | Path, values: Any, fs: float | None = None, *, overwrite: bool = False
) -> None:
    """Write an array, such as a kernel or a prediction, to a file.

    Args:
        path: FILE.npy, or FILE.wav for sound in 32-bit floats.
        values: the array. For sound, the first axis is time, and the others are channels.
        fs: sampling rate of the sound in Hz, a whole number. Default None.
        overwrite: whether an existing file is overwritten. Default False.

    Raises:
        ValueError: If the suffix is unknown, or sound has no whole sampling rate.
        FileExistsError: If the file exists and ``overwrite`` is False.
        OSError: If the file cannot be written.

    Examples:
        >>> import convsolve as cs
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     cs.io.write(f"{folder}/response.wav", [1.0, 0.5, 0.25], fs=8000)
        ...     sound = cs.io.read(f"{folder}/response.wav")
        >>> sound.fs, sound.values
        (8000.0, array([1.  , 0.5 , 0.25], dtype=float32))

    See Also:
        `read`.
    """
    kind = kind_of(str(path))
    if kind == "npy":
        write_new(path, lambda file: np.save(file, values, allow_pickle=False), overwrite)
    elif kind == "wav":
        from scipy.io import wavfile

        if fs is None or fs != round(fs):
            raise ValueError(f"{path}: sound needs a whole sampling rate in Hz, got fs={fs}")
        sound = np.asarray(values, np.float32).reshape(len(values), -1)
        write_new(path, lambda file: wavfile.write(file, round(fs), sound), overwrite)
    else:
        raise ValueError(f"{path}: arrays are written to FILE.npy or FILE.wav")


def write_new(path: str | Path, write: Callable[[Any], Any], overwrite: bool = False) -> None:
    """Call ``write`` with a temporary file, which then replaces ``path``.

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
            write(stream)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
