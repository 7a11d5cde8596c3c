"""Reading arrays from files that may be damaged or hostile, and writing complete files.

Every reader checks a file before it allocates memory for it. Nothing is unpickled. The sizes in a
header are compared with the size of the file. An archive is decompressed after all its headers have
been read, and up to ``max_bytes``. A damaged file raises a ValueError of one line that begins with
its name. A file that is missing or unreadable raises Python's OSError.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import secrets
import stat
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from .errors import ReadError
from .interrupts import Guarded
from .npz_writer import write_archive
from .text import worded

MAX_BYTES = 4 * 2**30

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# No header of numbers is longer; one of gigabytes would be read whole before it is refused.
_HEADER_BYTES = 2**16
# NumPy evaluates a header as a Python literal, so a damaged one can end in any of these.
_HEADER_ERRORS = (
    ValueError, TypeError, LookupError, AttributeError, SyntaxError, tokenize.TokenError,
    RecursionError, MemoryError,
)  # fmt: skip
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OverflowError, UnicodeError,
    NotImplementedError,
)  # fmt: skip
# Bits 0 and 6 of the flags of a zip member.
_ENCRYPTED = 0x41
# NumPy uses these compression methods only, and only these are decompressed in steps. The values
# are the most bytes that one byte expands to: two bits of deflate copy at most 258 bytes.
_MOST = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}


@contextmanager
def _about(subject: str) -> Iterator[None]:
    """Begin the messages of errors with ``subject``, and put each on one line."""
    try:
        yield
    except ReadError:  # its message begins with the file
        raise
    except (*_DAMAGE, OSError) as error:
        # zipfile follows a damaged archive to offsets that no file has.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        reason = " ".join(str(error).split())
        reason = reason.replace("File is not a zip file", "it is no NPZ archive")
        raise ValueError(
            f"{subject} is damaged or cut short ({reason}); copy or write it again"
        ) from error
    except ValueError as error:
        raise ValueError(f"{subject} {' '.join(str(error).split())}") from error


def _name(path: str | os.PathLike[str]) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be the name of a file, got a {type(path).__name__}")
    return os.fsdecode(path)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """``path`` for reading and its size in bytes; errors inside begin with its name.

    Raises:
        ValueError: a pipe or a device.
        OSError: the file is missing, is a directory or cannot be read.
    """
    name = _name(path)
    with _about(f"{name}:"):
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(f"{name}: is a directory; give a file in it")
        # Opening a pipe waits for its writer, and neither a pipe nor a device has a size.
        if not stat.S_ISREG(mode):
            raise ValueError("is not a regular file; copy its contents to one")
        with open(name, "rb") as stream:
            yield stream, os.fstat(stream.fileno()).st_size


def check_size(size: int, max_bytes: int) -> None:
    """Refuse more bytes than are allowed."""
    if size > max_bytes:
        raise ValueError(
            f"holds {size} bytes of data, more than the {max_bytes} allowed; "
            f"raise {worded('max_bytes', '--max-bytes')} if you trust it"
        )


def check_dtype(dtype: np.dtype) -> None:
    """Raise a ValueError unless the dtype is of plain numbers, dates or text."""
    if dtype.kind not in "biufcmMUS" or not dtype.itemsize:
        raise ValueError(f"is of dtype {dtype}, not plain numbers; save it as x.astype(float)")


def _check_name(name: str) -> None:
    if not name.isprintable() or not name.strip(". ") or "/" in name or "\\" in name:
        raise ValueError(f"member {name!r} is named like a path; give arrays plain names")


@contextmanager
def _silence() -> Iterator[None]:
    """No warnings of NumPy on headers of Python 2, nor of Python on how a damaged one reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_npy(stream: IO[bytes], size: int) -> None:
    """Refuse a .npy ``stream`` of ``size`` bytes whose header does not agree with that size."""
    head = io.BytesIO(stream.read(_HEADER_BYTES))
    try:
        with _silence():
            shape, _, dtype = _HEADERS[np.lib.format.read_magic(head)](head)
    except _HEADER_ERRORS as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"has no .npy header ({reason}); write it with numpy.save") from error
    check_dtype(dtype)
    claimed = dtype.itemsize
    for extent in shape:
        claimed *= extent
    held = size - head.tell()
    if claimed != held or min(shape, default=0) < 0:
        raise ValueError(
            f"has a header for shape {shape} of {dtype}, {claimed} bytes, but holds {held}; "
            "copy or write it again"
        )


def _read_npy(stream: IO[bytes]) -> np.ndarray:
    with _silence():
        return np.lib.format.read_array(stream, allow_pickle=False)


def _check_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> None:
    """Raise a ValueError if a member of an archive of ``size`` bytes has wrong sizes or header."""
    if info.flag_bits & _ENCRYPTED:
        raise ValueError("is encrypted; write it without a password")
    if info.compress_type not in _MOST:
        raise ValueError("is packed in an unusual way; write it with numpy.savez")
    packed = min(info.compress_size, size)
    if info.file_size > _MOST[info.compress_type] * packed:
        raise ValueError(
            f"claims {info.file_size} bytes, more than the {packed} of the file can hold; "
            "copy or write it again"
        )
    with archive.open(info) as member:
        _check_npy(member, info.file_size)


def read_arrays(
    path: str | os.PathLike[str],
    *,
    names: Collection[str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file by name, each in the shape and dtype of the file.

    Args:
        path: a file that `write_npz`, `numpy.savez` or `numpy.savez_compressed` wrote.
        names: read only these, as far as the file has them, and leave all others untouched.
        max_bytes: the most that the arrays read may take together, uncompressed.

    Raises:
        ValueError: the file is damaged, needs unpickling, has two members of one name or one named
            like a path, or is larger than ``max_bytes``. Text is returned as NumPy strings; whether
            an array suits a problem is for `Problem` to say.
        OSError: the file is missing or cannot be read.

    For a single array use `read_array`.
    """
    with opened(path) as (stream, size), zipfile.ZipFile(stream) as archive:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            name = info.orig_filename.removesuffix(".npy")
            _check_name(name)
            if name in members:
                raise ValueError(f"member {name!r} is there twice; write each array once")
            members[name] = info
        if names is not None:
            members = {name: info for name, info in members.items() if name in names}
        check_size(sum(info.file_size for info in members.values()), max_bytes)
        for name, info in members.items():
            with _about(f"member {name!r}"):
                _check_member(archive, info, size)
        arrays = {}
        for name, info in members.items():
            with _about(f"member {name!r}"), archive.open(info) as member:
                arrays[name] = _read_npy(member)
        return arrays


def member_names(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the arrays of a .npz file.

    Raises:
        ValueError: If the file is damaged.
        OSError: If the file is missing or cannot be read.
    """
    with opened(path) as (stream, _), zipfile.ZipFile(stream) as archive:
        names = [info.orig_filename.removesuffix(".npy") for info in archive.infolist()]
        for name in names:
            _check_name(name)
        return names


def read_array(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Return the array of a .npy file, or the table of a .csv or .txt file.

    A table holds numbers with commas between, under at most one header line, and comes back as
    float64: ``(n,)`` if it has one column, ``(n, c)`` otherwise. Its first line is a header if it
    begins with # or no field of it is a number.

    Args:
        path: the file; its suffix determines its format.
        max_bytes: the largest file that is read.

    Raises:
        ValueError: another suffix, or a file that is damaged, too large or not all numbers, or two
            columns of one name.
        OSError: the file is missing or cannot be read.

    For some columns of a table use `read_columns`, for .npz `read_arrays`.
    """
    suffix = Path(_name(path)).suffix.lower()
    if suffix == ".npy":
        with opened(path) as (stream, size):
            check_size(size, max_bytes)
            _check_npy(stream, size)
            stream.seek(0)
            return _read_npy(stream)
    if suffix not in (".csv", ".txt"):
        raise ValueError(
            f"{os.fspath(path)}: is of no known kind; give an array in a .npy, .csv, .txt, .h5, "
            ".zarr, .mat or .wav file"
        )
    _, table = _read_table(path, max_bytes)
    return table[:, 0] if table.shape[1] == 1 else table


def map_array(path: str | os.PathLike[str]) -> np.memmap:
    """Map the array of a .npy file, read-only. Its values are read when they are used.

    Raises:
        ValueError: the file is damaged, or not plain numbers, text or dates.
        OSError: the file is missing or cannot be read.

    For a small one use `read_array`.
    """
    with opened(path) as (stream, size):
        _check_npy(stream, size)
        with _silence():
            return np.lib.format.open_memmap(path, mode="r")


def read_columns(
    path: str | os.PathLike[str], columns: Sequence[str | int], *, max_bytes: int = MAX_BYTES
) -> np.ndarray:
    """Chosen columns of a table, ``(n, len(columns))`` float64, in the order asked for.

    Args:
        path: a text file as for `read_array`, whatever its suffix.
        columns: names from the header line, or numbers counted from 0. Digits in a string are a
            number where the header has no such name.
        max_bytes: the largest file that is read.

    Raises:
        ValueError: as for `read_array`, or no such column.
        OSError: the file is missing or cannot be read.
    """
    header, table = _read_table(path, max_bytes)
    with _about(f"{os.fspath(path)}:"):
        return table[:, [_column(column, header, table.shape[1]) for column in columns]]


def column_names(
    path: str | os.PathLike[str], columns: Sequence[str | int] | None = None
) -> list[str]:
    """Return the names of columns from the header line of a table, of all columns or of some.

    The list is empty if one of them has no name.

    Raises:
        ValueError: the file is no text, or has no such column.
        OSError: the file is missing or cannot be read.
    """
    with (
        opened(path) as (stream, _),
        io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text,
    ):
        first = next(csv.reader(text), [])
        header = _header(first)
        if columns is not None:
            numbers = [_column(column, header, len(first)) for column in columns]
            header = [header[i] for i in numbers] if header else []
    return header if all(header) else []


def _header(first: list[str]) -> list[str]:
    """Return the names in the first line of a table; none if it is not a header."""
    named = any(first) and all(map(_is_name, first))
    return [field.strip(" #") for field in first] if named or "".join(first)[:1] == "#" else []


def _column(column: str | int, header: list[str], width: int) -> int:
    if isinstance(column, str):
        if column in header:
            return header.index(column)
        if not column.isdecimal():
            names = ", ".join(map(repr, header[:9])) + (", …" if len(header) > 9 else "")
            known = f"the header names {names}" if header else "there is no header line"
            if width == 1 and header and re.search("[;\t]", header[0]):
                known += ", and columns must be separated by commas"
            raise ValueError(f"has no column {column!r}; {known}; numbers count from 0")
    if not 0 <= int(column) < width:
        raise ValueError(f"has no column {column}; there are {width}, counted from 0")
    return int(column)


def _read_table(path: str | os.PathLike[str], max_bytes: int) -> tuple[list[str], np.ndarray]:
    """Header (empty if there is none) and numbers ``(n, c)`` of a comma-separated text file."""
    with (
        opened(path) as (stream, size),
        io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text,
    ):
        check_size(size, max_bytes)
        reader = csv.reader(text)
        rows = ((reader.line_num, row) for row in reader)
        try:
            line, first = next(rows, (1, []))
            header = _header(first)
            if header:
                names = sorted(filter(None, header))
                for name, following in pairwise(names):
                    if name == following:
                        raise ValueError(f"has two columns named {name!r}; rename one")
                line, first = next(rows, (2, []))
            if not first:
                raise ValueError(f"has no numbers in line {line}; a table has some, commas between")
            width = len(header or first)
            numbers = np.fromiter(_numbers(chain([(line, first)], rows), width), np.float64)
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"is not UTF-8 text ({error}); save it as comma-separated") from error
    return header, numbers.reshape(-1, width)


def _numbers(rows: Iterable[tuple[int, list[str]]], width: int) -> Iterator[float]:
    blank = False
    for line, row in rows:
        # A blank line at the end is usual; one inside may be a lost sample of a single column.
        if blank and row:
            raise ValueError(f"has a blank line above line {line}; fill the gap or cut there")
        blank = not row
        if row and len(row) != width:
            raise ValueError(f"has {len(row)} columns in line {line}, {width} above; fill the gap")
        try:
            if not _is_plain("".join(row)):
                raise ValueError
            yield from map(float, row)
        except ValueError:
            wrong = next(field for field in row if not _is_number(field))
            raise ValueError(
                f"has {wrong!r} for a number in line {line}; correct it or cut the table there "
                "(commas separate columns, points decimals, nothing thousands)"
            ) from None


def _is_name(field: str) -> bool:
    """Whether a field of the first line names a column: no number, nor the mark of a lost one."""
    word = field.strip()
    marks = {"na", "n/a", "null", "none", "nil", "missing", "undefined"}
    return not (
        _is_number(word) or word.lower() in marks or word[:1] in (*"+-.?",)
        or word[:1].isdecimal() or (word and not word.isprintable())
    )  # fmt: skip


def _is_plain(text: str) -> bool:
    """Not what `float` reads beyond the numbers of tables: 1_000, and digits of other scripts."""
    return text.isascii() and "_" not in text


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return _is_plain(field)


class _Replacing(Guarded):
    """Context manager with a ``stream`` to a new file that replaces ``path`` at its end.

    After an exception ``path`` is unchanged and the new file is removed.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool) -> None:
        target = Path(_name(path))
        if target.is_symlink():
            raise ValueError(f"{target}: is a symbolic link; give the file that it points to")
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise ValueError(f"{target}: is not a regular file; give another name")
        if target.exists() and not overwrite:
            raise FileExistsError(
                f"{target}: exists; {worded('overwrite=True', '--overwrite')} overwrites it"
            )
        self._target = target
        self._temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
        self._finished = False
        self.stream: BinaryIO | None = None

    def _enter(self) -> None:
        try:
            self.stream = open(self._temporary, "xb")  # noqa: SIM115
        except OSError as error:
            raise self._named(error) from error

    def _leave(self, error: BaseException | None) -> None:
        if self._finished:
            return
        if error is None:
            self._replace()
        with suppress(OSError):
            if self.stream is not None:
                self.stream.close()
        with suppress(FileNotFoundError, NotADirectoryError):
            self._temporary.unlink()
        self._finished = True
        if isinstance(error, OSError):
            raise self._named(error) from error

    def _replace(self) -> None:
        assert self.stream is not None
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        self._temporary.replace(self._target)

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror, str(self._target))


def write_npz(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray | str | int | float],
    *,
    overwrite: bool = False,
) -> None:
    """Write named arrays as an uncompressed .npz that `read_arrays` and ``numpy.load`` read.

    The arrays are written to a temporary file in the same folder, which then replaces ``path``. A
    crash or an exception leaves the old file or the new one. Equal arrays give equal bytes: no
    time is recorded.

    Args:
        path: name of the file. No suffix is added.
        arrays: numbers or text. A Python scalar is stored as an array without dimensions.
        overwrite: replace a file that exists. Default: False.

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is False.
        ValueError: ``path`` is a symbolic link or a device, or `read_arrays` would refuse a name
            or a dtype.
        OSError: The file cannot be written.
    """
    with _Replacing(path, overwrite) as file:
        members = {}
        for name, value in arrays.items():
            array = np.asarray(value)
            with _about(f"{os.fspath(path)}:"):
                _check_name(name)
            with _about(f"{os.fspath(path)}: member {name!r}"):
                check_dtype(array.dtype)
            members[name] = array
        assert file.stream is not None
        write_archive(file.stream, members)


def write_bytes(path: str | os.PathLike[str], content: bytes, *, overwrite: bool = False) -> None:
    """Write ``content`` to a file. Arguments and errors are those of `write_npz`."""
    with _Replacing(path, overwrite) as file:
        assert file.stream is not None
        file.stream.write(content)
