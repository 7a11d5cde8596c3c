"""Files that are damaged, hostile or simply wrong, each put to the program itself."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

import convsolve
from convsolve.cli import main as cli
from support.planted import lying_npy, npy
from support.slow import some

ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(Path(convsolve.__file__).parents[1]),
    "PYTHONIOENCODING": "utf-8",
}
X = np.random.default_rng(0).normal(size=(20, 2))
MEGABYTE = 2**20


def changed(at, value, dtype=float):
    """X with one value in place of its own."""
    x = X.astype(dtype)
    x[at] = value
    return x


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def archive(*members, **claims):
    """A zip of (name, content), its directory changed afterwards: ``file_size``, ``flag_bits`` …"""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as writer:
        for name, content in members:
            writer.writestr(name, content)
        for name, value in claims.items():
            setattr(writer.filelist[0], name, value)
    return stream.getvalue()


def deflated(start, filling, megabytes):
    """``start`` and so many megabytes of one byte, deflated: 1 kB for each; and how many bytes."""
    packer = zlib.compressobj(9, wbits=-15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(filling * MEGABYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * megabytes + packer.flush(), len(start) + megabytes * MEGABYTE


def bomb(start, filling=b"\0", megabytes=1500):
    packed, size = deflated(start, filling, megabytes)
    return archive(("x.npy", packed), compress_type=zipfile.ZIP_DEFLATED, file_size=size)


def mat(**variables):
    """A MAT file, compressed from version 7 on."""
    form = variables.pop("format", "5")
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables, format=form, do_compression=form == "5")
    return stream.getvalue()


def mat_bomb(megabytes, rows=3, named=False):
    """Level 5: a variable x of so many rows, and as its numbers, or its name, zeros, deflated."""
    zeros = megabytes * MEGABYTE
    name = struct.pack("<2I", 1, zeros) if named else struct.pack("<HH4s", 1, 1, b"x")
    inner = struct.pack("<2I2I2I2I2i", 14, zeros + 64, 6, 8, 6, 0, 5, 8, rows, 1) + name
    inner += b"" if named else struct.pack("<2I", 9, zeros)
    packer = zlib.compressobj(9)
    body = packer.compress(inner)
    body += b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(megabytes)) + packer.flush()
    return mat(x=X)[:128] + struct.pack("<2I", 15, len(body)) + body


def wav(form=1, channels=1, size=80):
    """Forty samples of 16 bits."""
    about = struct.pack("<HHIIHH", form, channels, 100, 200, 2, 16)
    sound = np.arange(40, dtype="<i2").tobytes()
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + about + b"data" + struct.pack("<I", size) + sound
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


GIBIBYTES = lying_npy((5 * 2**27,), b"")  # of zeros behind it
HEADER = b"\x93NUMPY\x02\x00" + (1500 * MEGABYTE - 12).to_bytes(4, "little")  # of spaces behind it

# A file, its content (with the folder it lies in, to plant things), and what is said of it.
REFUSED: list[tuple[str, Callable[[Path], bytes], str]] = [
    ("bomb.npz", lambda f: bomb(GIBIBYTES, megabytes=5 * 1024), "more than the 4294967296 allowed"),
    ("header.npz", lambda f: bomb(HEADER, b" "), "member 'x' has no .npy header"),
    (
        "directory.npz",
        lambda f: archive(("x.npy", lying_npy((2**28,), b"")), file_size=128 + 2**31),
        "member 'x' claims 2147483776 bytes, more than the 128 of the file can hold; copy or write",
    ),
    ("other.npz", lambda f: npz(X=X), "no member 'x'; it has 'X'; numpy.savez(path, x=x, "),
    ("nan.npz", lambda f: npz(x=changed((7, 1), np.nan)), "(NaN) at index (7, 1); cut the record"),
    ("cut.mat", lambda f: mat(x=X)[:-9], "damaged or cut short; copy or"),
    ("complex.mat", lambda f: mat(x=X * 1j), "real and imaginary parts as two channels"),
    ("claim.mat", lambda f: mat_bomb(1, 2**31 - 1), "4294967296 allowed; raise --max-bytes"),
    ("noise.wav", lambda f: npy(X), "is no WAV file; it does not begin with RIFF"),
    ("cut.wav", lambda f: wav()[:-9], "tells of 80 bytes of sound and holds 71; copy it again"),
    ("silent.wav", lambda f: wav()[:36], "has no sound, or no sampling rate before it; write it"),
    ("lying.wav", lambda f: wav(size=2**31), "tells of 2147483648 bytes of sound and holds 80"),
    ("short.wav", lambda f: wav()[:4] + b"\x1c\0\0\0" + wav()[8:], "(its header is damaged)"),
]  # fmt: skip


def contents(folder):
    """Every file of the folder and what it holds; only the kind of what is no file."""
    return {
        path.name: path.read_bytes() if path.is_file() else path.lstat().st_mode
        for path in folder.iterdir()
    }


@pytest.fixture
def program(tmp_path, monkeypatch, capsys):
    """Run the program in ``tmp_path``: exit code, and its one line on standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        before = contents(tmp_path)
        status = cli.main(list(arguments))
        out, err = capsys.readouterr()
        assert contents(tmp_path) == before
        assert (out, err.count("\n"), err[-1]) == ("", 1, "\n")
        return status, err

    return run


@pytest.mark.parametrize(
    ("name", "content", "words"),
    some(REFUSED, *(row for row in REFUSED if not row[0].endswith(".mat") or row[0] == "cut.mat")),
    ids=[row[0] for row in REFUSED],
)
def test_a_file_that_is_refused(tmp_path, program, name, content, words):
    (tmp_path / name).write_bytes(content(tmp_path))
    status, line = program("identify", name, "--kernel-size", "3")
    assert (status, words in line) == (2, True), line
    assert line.startswith(f"convsolve: {name}: ")


NO_FILES = [
    ("gone.npz", lambda path: None, "No such file or directory"),
    ("link.npz", lambda path: path.symlink_to("gone.npz"), "No such file or directory"),
    ("loop.npz", lambda path: path.symlink_to("loop.npz"), "Too many levels of symbolic links"),
    ("folder.npz", os.mkdir, "is a directory; give a file in it"),
    ("pipe.npy", os.mkfifo, "is not a regular file; copy its contents to one"),
    ("zeros.npy", lambda path: path.symlink_to("/dev/zero"), "is not a regular file; copy its"),
    ("x" * 300 + ".npy", lambda path: None, "File name too long"),
]
PLACES = [
    (lambda path: path.symlink_to("data.npz"), "is a symbolic link; give the file"),
    (lambda path: path.symlink_to("nowhere"), "is a symbolic link; give the file"),
    (os.mkfifo, "is not a regular file; give another name"),
    (os.mkdir, "is a directory; give a file in it"),
    (lambda path: path.hardlink_to(path.parent / "data.npz"), "one of the inputs"),
]


def test_places_that_are_not_read_or_written(tmp_path, program):
    for name, make, words in NO_FILES:
        make(tmp_path / name)
        status, line = program("identify", name, "--kernel-size", "3")
        assert status == 2
        assert line.startswith(f"convsolve: {name}: {words}")
    np.savez(tmp_path / "data.npz", x=X, y=X[2:])
    for i, (make, words) in enumerate(PLACES):
        make(tmp_path / f"{i}.png")
        for option in ("--out", "--plot"):
            command = ("solve", "data.npz", "--kernel-size", "3", option, f"{i}.png", "--overwrite")
            status, line = program(*command)
            assert (status, words in line) == (2, True)
            assert line.startswith(f"convsolve: {option} {i}.png: ")


# VmHWM is the most memory that the process has held since it began. ru_maxrss would begin with the
# memory of this very process.
PEAK = """
import sys
from convsolve.cli.main import main
status = main(["identify", *sys.argv[1:], "--kernel-size", "3"])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(status, peak.split()[1])
"""
LARGE = {
    "bomb.npz": lambda: bomb(GIBIBYTES, megabytes=5 * 1024),
    "limit.npz": lambda: bomb(lying_npy((200 * 2**17,), b""), megabytes=200),
    "header.npz": lambda: bomb(HEADER, b" "),
    "header.npy": lambda: HEADER + b" " * 99,
    "lying.npy": lambda: lying_npy((2**40,), bytes(80)),
    "directory.npz": lambda: archive(("x.npy", lying_npy((2**28,), b"")), file_size=128 + 2**31),
    "stored.npz": lambda: archive(("x.npy", npy(X)), file_size=2**31, compress_size=2**31),
    "bomb.mat": lambda: mat_bomb(200),
    "name.mat": lambda: mat_bomb(200, named=True),
    "claim.mat": lambda: mat_bomb(1, 2**29),
    "lying.wav": lambda: wav(size=2**31),
}


def peak(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *arguments],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    status, kilobytes = map(int, done.stdout.split())
    assert status == 2
    return kilobytes / 1024


@pytest.mark.parametrize("names", some([(("bomb.npz",),), ([*LARGE][1:],)], (("bomb.npz",),)))
def test_a_refusal_takes_no_memory(tmp_path, names):
    """Compared with archives that are read to their end, and refused for want of an x."""
    np.savez(tmp_path / "small.npz", y=X)
    np.savez(tmp_path / "big.npz", y=np.zeros(8 * MEGABYTE))
    small = peak(tmp_path, "small.npz")
    assert peak(tmp_path, "big.npz") > small + 60
    for name in names:
        (tmp_path / name).write_bytes(LARGE[name]())
        limit = ("--max-bytes", str(100 * MEGABYTE)) if name == "limit.npz" else ()
        assert peak(tmp_path, name, *limit) < small + 50, name


def test_a_picture_does_not_overwrite_a_file_made_meanwhile(folder, run, monkeypatch):
    def meanwhile(*_):
        (folder / "p.png").write_text("precious")

    monkeypatch.setattr("convsolve.cli.methods.check_settings", meanwhile)
    monkeypatch.setattr("convsolve.cli.main.check_settings", meanwhile)
    status, _, err = run("solve full.npz --kernel-size 3 --plot p.png")
    assert (status, err.count("\n")) == (2, 1)
    assert "p.png: exists; --overwrite overwrites it" in err
    assert (folder / "p.png").read_text() == "precious"
