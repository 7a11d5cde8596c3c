"""Arrays of numbers in MAT files: versions 4 to 7 by their published format, 7.3 as HDF5.

SciPy reads them too, but trusts them: one damaged byte can end its process.

Source: MAT-File Format, The MathWorks (levels 4 and 5).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from ..files import check_size, opened
from .arguments import MAT, Refusal
from .large import hdf5, named

# How numbers are stored, by their number in the format; and the classes of MATLAB.
STORED_4 = ("f8", "f4", "i4", "i2", "u2", "u1")
STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
# Those that are no arrays of numbers.
OTHERS_4 = {1: "text", 2: "sparse"}
OTHERS = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "sparse"}
MATRIX, COMPRESSED, OPAQUE = 14, 15, 17
COMPLEX = 0x800
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# What precedes the first variable of level 5, and the most that precedes the numbers of one.
HEADER, HEAD = 128, 4096


CUT = "is damaged or cut short; copy or save it again"

Buffer = bytes | memoryview


class _Part(NamedTuple):
    """Where numbers are, in bytes."""

    stored: np.dtype
    start: int
    size: int


class _Variable(NamedTuple):
    """A variable, what it is where it is no array of numbers, its size, and a way to its numbers.

    All of it is what the file claims, and it is read no further than that.
    """

    name: str
    otherwise: str | None
    nbytes: int
    read: Callable[[], np.ndarray]


def arrays(name: str, alone: bool, max_bytes: int) -> list[np.ndarray]:
    """The variable that a name says; or x and, if it is there, y of a file that is given alone.

    MATLAB has no arrays of one axis: a row or a column is taken as (n,), one channel.

    Raises:
        ValueError, OSError, Refusal: the file is damaged, missing, too large, or not what its name
            says.
    """
    found = MAT.fullmatch(name)
    assert found is not None
    file, variable = found[1], found[2] or None
    with opened(file) as (stream, size):
        start = stream.read(512 + len(HDF5_SIGNATURE))
        if HDF5_SIGNATURE in (start[:8], start[512:]):
            return _of_hdf5(file, variable, alone, max_bytes)
        if variable is None and not alone:
            raise Refusal(f"{file}: has several arrays; give one file alone, or name one: {file}:x")
        check_size(size, max_bytes)
        stream.seek(0)
        known = _variables(stream.read())
        wanted = ["x", "y"] if variable is None else [variable]
        chosen = [known[one] for one in wanted if one in known]
        if wanted[0] not in known:
            raise ValueError(f"has no variable {wanted[0]!r}{named([*known])}")
        for one in chosen:
            if one.otherwise is not None:
                raise ValueError(
                    f"variable {one.name!r} is {one.otherwise}, not a plain array of numbers; in "
                    f"MATLAB, full(double({one.name})) may be one"
                )
        check_size(sum(one.nbytes for one in chosen), max_bytes)
        return [_one_channel(one.read()) for one in chosen]


def _of_hdf5(file: str, variable: str | None, alone: bool, max_bytes: int) -> list[np.ndarray]:
    """Of version 7.3, which has the axes in reverse."""
    found = hdf5(file, variable, alone)
    for array in found:
        array.check(True, max_bytes)
    return [_one_channel(array.whole().T) for array in found]


def _one_channel(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array


def _variables(content: bytes) -> dict[str, _Variable]:
    """All variables of level 4 or 5 by name."""
    # The format tells them apart by this: level 5 begins with text.
    walk = _level_4 if 0 in content[:4] or len(content) < HEADER else _level_5
    known: dict[str, _Variable] = {}
    for variable in walk(content):
        if variable.name in known:
            raise ValueError(f"variable {variable.name!r} is there twice; write each once")
        known[variable.name] = variable
    return known


def _level_4(content: bytes) -> Iterator[_Variable]:
    at = 0
    while at < len(content):
        order = "<" if 0 <= struct.unpack_from("<i", content, at)[0] < 5000 else ">"
        code, rows, columns, imaginary, length = struct.unpack_from(f"{order}5i", content, at)
        machine, zero, stored, kind = (code // ten % 10 for ten in (1000, 100, 10, 1))
        known = 0 <= code < 2000 and not zero and stored < len(STORED_4)
        if not (known and rows >= 0 and columns >= 0 and 0 < length <= HEAD):
            raise ValueError(f"is no MAT file, or damaged (at byte {at}); copy or save it again")
        dtype = np.dtype("<>"[machine] + STORED_4[stored])
        start, size = at + 20 + length, rows * columns * dtype.itemsize
        places = [start, start + size] if imaginary else [start]
        at = places[-1] + size
        if at > len(content):
            raise ValueError(CUT)
        name = content[start - length : start].rstrip(b"\0").decode("latin-1")
        parts = [_Part(dtype, place, size) for place in places]
        # MATLAB of that time knew no other numbers.
        read = partial(_numbers, content, parts, (rows, columns), np.dtype(float))
        yield _Variable(name, OTHERS_4.get(kind), 8 * rows * columns * len(parts), read)


def _level_5(content: bytes) -> Iterator[_Variable]:
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise ValueError("is no MAT file, or damaged (at byte 126); copy or save it again")
    at = HEADER
    while at < len(content):
        kind, length = struct.unpack_from(f"{order}2I", content, at)
        element = memoryview(content)[at : at + 8 + length]
        at += 8 + length
        if at > len(content):
            raise ValueError(CUT)
        yield _matrix(element, order, kind == COMPRESSED)


def _matrix(element: memoryview, order: str, packed: bool) -> _Variable:
    """A variable of level 5, by what precedes its numbers."""
    head = zlib.decompressobj().decompress(element[8:], HEAD) if packed else element[:HEAD]
    (kind, length), (flags,) = (
        struct.unpack_from(order + form, head, at) for form, at in (("2I", 0), ("I", 16))
    )
    of_matlab, at, shape = flags & 0xFF, 24, (0,)
    if of_matlab != OPAQUE:  # which has no shape
        _, start, stop, at = _element(head, at, order)
        shape = struct.unpack_from(f"{order}{(stop - start) // 4}i", head, start)
    _, start, stop, at = _element(head, at, order)
    if kind != MATRIX or stop > len(head) or min(shape, default=-1) < 0:
        raise ValueError(CUT)
    name = bytes(head[start:stop]).decode("latin-1")
    if of_matlab not in CLASSES:
        return _Variable(name, OTHERS.get(of_matlab, "an object"), 0, partial(np.zeros, 0))
    dtype, parts = np.dtype(CLASSES[of_matlab]), 2 if flags & COMPLEX else 1
    size = math.prod(shape)

    def read() -> np.ndarray:
        data = _unpacked(element, 8 + length, at + parts * (8 * size + 16)) if packed else element
        return _numbers(data, _parts(data, at, order, parts), shape, dtype)

    return _Variable(name, None, size * dtype.itemsize * parts, read)


def _unpacked(element: memoryview, length: int, most: int) -> bytes:
    """What a compressed variable of ``length`` bytes holds, which can hold so many at most."""
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(element[8:], most + 8) if length <= most + 8 else b""
    if len(data) < length or not unpacker.eof:
        raise ValueError(CUT)
    return data


def _parts(data: Buffer, at: int, order: str, count: int) -> Iterator[_Part]:
    """Where the real, and the imaginary, numbers of a variable are."""
    for _ in range(count):
        kind, start, stop, at = _element(data, at, order)
        if kind not in STORED:
            raise ValueError(CUT)
        yield _Part(np.dtype(order + STORED[kind]), start, stop - start)


def _element(data: Buffer, at: int, order: str) -> tuple[int, int, int, int]:
    """Kind, start and stop of an element of level 5, and where the next one begins."""
    kind, length = struct.unpack_from(f"{order}2I", data, at)
    if kind >> 16:  # both in one word, and the content in the other
        return kind & 0xFFFF, at + 4, at + 4 + (kind >> 16), at + 8
    return kind, at + 8, at + 8 + length, at + 8 + -(-length // 8) * 8


def _numbers(
    data: Buffer, parts: Iterable[_Part], shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    """The array of real numbers, or real and imaginary ones, in a type of MATLAB."""
    found, count = [], math.prod(shape)
    for stored, start, size in parts:
        if size != count * stored.itemsize or start + size > len(data):
            raise ValueError(CUT)
        found.append(np.frombuffer(data[start : start + size], stored).astype(dtype))
    whole = found[0] if len(found) == 1 else found[0] + 1j * found[1]
    return whole.reshape(shape, order="F")
