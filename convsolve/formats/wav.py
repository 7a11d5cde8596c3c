"""Sound of WAV files, and its rate."""

from __future__ import annotations

import io
import struct
import warnings
from typing import BinaryIO

import numpy as np

from ..files import check_size, opened

ORDERS = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">"}
# A size of a chunk that says: too large for these four bytes, see the chunk ds64.
ELSEWHERE = 2**32 - 1
# Errors of SciPy for a wrong header.
_DAMAGE = (ArithmeticError, LookupError, NameError, TypeError, ValueError, struct.error)


def rate(path: str) -> int:
    """How many samples a second a WAV file has.

    Raises:
        ValueError, OSError: the file is damaged, missing or of another kind.
    """
    with opened(path) as (stream, size):
        return _rate(stream, size)


def array(path: str, max_bytes: int) -> np.ndarray:
    """Its samples (n,) or, of several channels, (n, channels), in units of full scale.

    Whole numbers become float64 from -1 up to 1, whatever their depth, as audio software shows
    them. Samples stored as floats are not scaled.

    Raises:
        ValueError, OSError: the file is damaged, missing, too large or of another kind.
    """
    from scipy.io import wavfile

    with opened(path) as (stream, size):
        check_size(size, max_bytes)
        _rate(stream, size)
        stream.seek(0)
        content = io.BytesIO(stream.read())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about chunks of other kinds, such as a title
                _, samples = wavfile.read(content)
        except _DAMAGE as error:
            # Messages of other errors than ValueError refer to SciPy itself.
            why = str(error) if isinstance(error, ValueError) else "its header is damaged"
            raise ValueError(f"cannot be read ({why}); save it as plain PCM or float") from error
        if samples.dtype.kind == "f":
            return samples.astype(samples.dtype.newbyteorder("="))
        check_size(8 * samples.size, max_bytes)
        bits = 8 * samples.dtype.itemsize
        # Only 8 bits have no sign: silence is 128.
        middle = 128.0 if samples.dtype.kind == "u" else 0.0
        return (samples.astype(float) - middle) / 2.0 ** (bits - 1)


def _rate(stream: BinaryIO, size: int) -> int:
    """Return the sampling rate, if the file is as long as its header states."""
    order = ORDERS.get(stream.read(12)[:4])
    if order is None:
        raise ValueError("is no WAV file; it does not begin with RIFF")
    found, long = 0, 0
    while head := stream.read(8):
        name, length = struct.unpack(f"{order}4sI", head)
        start = stream.tell()
        if name == b"ds64":
            (long,) = struct.unpack("<8xQ", stream.read(16))
        if name == b"fmt ":
            (found,) = struct.unpack(f"{order}4xI", stream.read(8))
        if name == b"data":
            length = long if length == ELSEWHERE else length
            if start + length > size:
                raise ValueError(
                    f"tells of {length} bytes of sound and holds {size - start}; copy it again"
                )
            break
        stream.seek(start + length + length % 2)
    if not (head and found):
        raise ValueError("has no sound, or no sampling rate before it; write it again")
    return int(found)
