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

# All bits set: the value stands in the ZIP64 fields, which are used for every archive.
_IN_ZIP64, _COUNT_IN_ZIP64 = 2**32 - 1, 2**16 - 1
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


def write_archive(stream: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as an uncompressed .npz archive to an empty, seekable stream.

    Args:
        stream: an empty file, open for writing.
        arrays: numbers or text by name.
    """
    members = [_write_member(stream, name, array) for name, array in arrays.items()]
    start = stream.tell()
    stream.write(b"".join(members))
    end = stream.tell()
    sizes = len(members), len(members), end - start, start
    stream.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, _VERSION, _VERSION, 0, 0, *sizes))
    stream.write(struct.pack("<4sLQL", b"PK\6\7", 0, end, 1))
    sizes = _COUNT_IN_ZIP64, _COUNT_IN_ZIP64, _IN_ZIP64, _IN_ZIP64
    stream.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *sizes, 0))


def _write_member(stream: BinaryIO, name: str, array: np.ndarray) -> bytes:
    """Write an array as a member and return its entry of the central directory."""
    encoded, start, member = f"{name}.npy".encode(), stream.tell(), _Member(stream)
    stream.write(_local_header(encoded, member))
    np.lib.format.write_array(member, array, allow_pickle=False)
    end = stream.tell()
    stream.seek(start)
    stream.write(_local_header(encoded, member))
    stream.seek(end)
    extra = struct.pack("<2H3Q", 1, 24, member.size, member.size, start)
    common, lengths = _common(encoded, member, extra), (0, 0, 0, _PERMISSIONS, _IN_ZIP64)
    head = struct.pack("<4s6H3L5H2L", b"PK\1\2", _UNIX << 8 | _VERSION, *common, *lengths)
    return head + encoded + extra


def _common(encoded: bytes, member: _Member, extra: bytes) -> tuple[int, ...]:
    """Return the fields that a member has in its own header and in the central directory."""
    flags, sizes = 0 if encoded.isascii() else _UTF_8, (_IN_ZIP64, _IN_ZIP64)
    return _VERSION, flags, 0, 0, _DATE, member.checksum, *sizes, len(encoded), len(extra)


def _local_header(encoded: bytes, member: _Member) -> bytes:
    """Return the header before a member. It has the same length whatever the size of the member."""
    extra = struct.pack("<2H2Q", 1, 16, member.size, member.size)
    return struct.pack("<4s5H3L2H", b"PK\3\4", *_common(encoded, member, extra)) + encoded + extra
