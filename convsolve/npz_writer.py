"""Writing arrays to an uncompressed ZIP archive without objects that have finalizers.

If an exception interrupts `zipfile.ZipFile`, its finalizer writes to a stream that may already be
closed. Python prints the resulting error and ignores it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

# A size, offset or count of the classic format with all bits set stands in the ZIP64 fields.
_IN_ZIP64 = 2**32 - 1
_MANY_MEMBERS = 2**16 - 1
_VERSION = 45  # of the format: the first one with ZIP64
_DATE = (1 << 5) | 1  # 1 January 1980, so that equal arrays give equal bytes
_UNIX, _PERMISSIONS = 3, 0o600 << 16
_UTF_8 = 0x800


class _Member:
    """Stream to one member: counts its bytes and computes their checksum."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = self.checksum = 0

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        self._stream.write(data)
        self.size += len(data)
        self.checksum = zlib.crc32(data, self.checksum)


def write_archive(
    stream: BinaryIO, arrays: Mapping[str, np.ndarray], zip64_from: int = _IN_ZIP64
) -> None:
    """Write named arrays as an uncompressed .npz archive to a seekable stream.

    Args:
        stream: an empty file, open for writing.
        arrays: numbers or text by name.
        zip64_from: smallest size or offset that is stored in the ZIP64 fields. The default is the
            limit of the classic format, 4 GiB.
    """
    members = [_write_member(stream, name, array, zip64_from) for name, array in arrays.items()]
    start = stream.tell()
    stream.write(b"".join(members))
    size = stream.tell() - start
    if max(start, size) >= zip64_from or len(members) >= _MANY_MEMBERS:
        _write_zip64_end(stream, len(members), size, start)
        start, size = _IN_ZIP64, min(size, _IN_ZIP64)
    count = min(len(members), _MANY_MEMBERS)
    stream.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, start, 0))


def _write_member(stream: BinaryIO, name: str, array: np.ndarray, zip64_from: int) -> bytes:
    """Write an array as a member and return its entry of the central directory."""
    encoded, start, member = f"{name}.npy".encode(), stream.tell(), _Member(stream)
    stream.write(_local_header(encoded, member))
    np.lib.format.write_array(member, array, allow_pickle=False)
    end = stream.tell()
    stream.seek(start)
    stream.write(_local_header(encoded, member))
    stream.seek(end)
    return _central_header(encoded, member, start, zip64_from)


def _common(encoded: bytes, member: _Member) -> tuple[int, ...]:
    """Return version, flags, method, time, date and checksum."""
    return _VERSION, 0 if encoded.isascii() else _UTF_8, 0, 0, _DATE, member.checksum


def _local_header(encoded: bytes, member: _Member) -> bytes:
    """Return the header before a member. It has the same length whatever the size of the member."""
    extra = struct.pack("<2H2Q", 1, 16, member.size, member.size)
    fields = *_common(encoded, member), _IN_ZIP64, _IN_ZIP64, len(encoded), len(extra)
    return struct.pack("<4s5H3L2H", b"PK\3\4", *fields) + encoded + extra


def _central_header(encoded: bytes, member: _Member, start: int, zip64_from: int) -> bytes:
    values = member.size, member.size, start
    large = [value for value in values if value >= zip64_from]
    size, packed, offset = (_IN_ZIP64 if value >= zip64_from else value for value in values)
    extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    made_by = _UNIX << 8 | _VERSION
    lengths = len(encoded), len(extra), 0
    fields = made_by, *_common(encoded, member), packed, size, *lengths, 0, 0, _PERMISSIONS, offset
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields) + encoded + extra


def _write_zip64_end(stream: BinaryIO, count: int, size: int, start: int) -> None:
    here = stream.tell()
    fields = 44, _VERSION, _VERSION, 0, 0, count, count, size, start
    stream.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", *fields))
    stream.write(struct.pack("<4sLQL", b"PK\6\7", 0, here, 1))
