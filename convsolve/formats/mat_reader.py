"""A program of its own: some variables of a MAT file, read by SciPy and written as npz.

SciPy trusts a MAT file: one damaged byte can end the process that reads it, and a few can have it
take all memory. Let it be this one, which may not take much.

Usage: mat_reader.py FILE NPZ MAX_BYTES NAME…, of which all but the first may be missing. Without a
name, the only variable is read.
"""

import math
import sys
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

REFUSED = 3
# The argument in the message about files that are too large, and the beginning of the message about
# files with several variables.
LIMIT, SEVERAL = "max_bytes", "has several variables: "
# Bytes for Python, its libraries and the headers of a file; numbers are held so many times over.
BESIDE, TIMES = 2**30, 4
# Classes of MATLAB that are arrays of numbers, and the bytes of one.
NUMBERS = {
    "double": 8, "single": 4, "logical": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2,
    "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
}  # fmt: skip


class Refused(Exception):
    """Why a file, which may be sound, is not read."""


def main(path: str, target: str, max_bytes: int, names: Sequence[str]) -> int:
    """Return the exit status: 0, or `REFUSED`, with the reason on stderr."""
    try:
        _copy(path, target, max_bytes, names)
    except Refused as refusal:
        sys.stderr.write(str(refusal))
        return REFUSED
    return 0


def _copy(path: str, target: str, max_bytes: int, names: Sequence[str]) -> None:
    from scipy.io import loadmat, whosmat

    _allow(BESIDE)
    with open(path, "rb") as stream:
        wanted, size = _chosen(whosmat(stream), names, max_bytes)
        _allow(BESIDE + TIMES * size)
        stream.seek(0)
        found = loadmat(stream, variable_names=wanted)
    np.savez(target, *(found[name] for name in wanted))


def _chosen(
    listed: Sequence[tuple[str, tuple[int, ...], str]], names: Sequence[str], max_bytes: int
) -> tuple[list[str], int]:
    """Those of some variables that are there, and how many bytes their numbers take."""
    known = {name: (shape, kind) for name, shape, kind in listed}
    if not names:
        if len(known) != 1:
            raise Refused(SEVERAL + " ".join(known))
        names = [*known]
    wanted = [name for name in names if name in known]
    if names[0] not in known:
        there = ", ".join(map(repr, known)) or "none"
        hint = f"; give another as FILE.mat:{next(iter(known))}" if known else ""
        raise Refused(f"has no variable {names[0]!r}; it has {there}{hint}")
    total = 0
    for name in wanted:
        shape, kind = known[name]
        if sum(other == name for other, *_ in listed) > 1:
            raise Refused(f"variable {name!r} is there twice; write each once")
        if kind not in NUMBERS:
            way = f"in MATLAB, full(double({name})) may be one"
            if kind == "cell":
                way = f"in Python, [*scipy.io.loadmat(path)[{name!r}].flat] lists its records"
            raise Refused(
                f"variable {name!r} is of class {kind}, not a plain array of numbers; {way}"
            )
        total += math.prod(shape) * NUMBERS[kind]
    if total > max_bytes:
        raise Refused(
            f"holds {total} bytes of data, more than the {max_bytes} allowed; "
            f"raise {LIMIT} if you trust it"
        )
    return wanted, total


def _allow(size: int) -> None:
    """Refuse memory beyond these bytes, if the system supports such a limit."""
    with suppress(ImportError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        least = size if most == resource.RLIM_INFINITY else min(size, most)
        resource.setrlimit(resource.RLIMIT_DATA, (least, most))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
