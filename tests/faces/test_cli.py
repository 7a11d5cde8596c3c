"""The command line: what it reads, what it answers, and how it says what is wrong."""

import io
import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

import convsolve as cs
from convsolve import progress_bars

X = np.array([[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]])
Y = np.array([14, 20, 14, 15, 10, 4])
KERNEL = [[[1], [0]], [[0], [1]], [[2], [0]]]
# The tests run in other folders, where a source tree that is not installed would not be found.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(cs.__file__).parents[1])}


def strict_json(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        encoding="utf-8",
        env=ENVIRONMENT | {"PYTHONIOENCODING": "utf-8"},
    )


def test_help_imports_neither_jax_nor_numpy():
    script = """
import sys
from convsolve.cli.main import main
try:
    main(["solve", "--help"])
except SystemExit as end:
    heavy = {"jax", "numpy", "matplotlib", "h5py", "zarr"}
    print("exit", end.code, sorted(heavy.intersection(sys.modules)))
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    assert "--kernel-size" in done.stdout
    assert done.stdout.endswith("exit 0 []\n")


def test_the_program_ends_with_a_status_and_one_line(folder):
    """Also if the device of the standard output is full."""
    with open("/dev/full", "w") as full:
        for line, out, status, words in (
            ("solve short.npz --kernel-size 3", subprocess.DEVNULL, 3, "warning: underdetermined"),
            ("identify full.npz --kernel-size 3", full, 1, "the output cannot be written: No spa"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "convsolve", *line.split()],
                stdout=out, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr.count("\n")) == (status, 1)
            assert words in done.stderr


def words_of(text):
    return " ".join(text.split())


def test_a_kernel_that_is_not_unique_is_a_warning_and_is_written(run):
    status, out, err = run("solve short.npz --kernel-size 3 --out fit.npz")
    assert (status, err.count("\n")) == (3, 1)
    assert err.startswith("convsolve: warning: underdetermined: rank 5 of 6 unknowns; ")
    assert "this is the kernel of minimum norm. 1 more row of y is needed" in err
    text = words_of(out)
    assert "Data 1 record × 7 samples: 3 lags × 2 channels → 1 output Kernel 2 channels" in text
    assert "Status solved, NOT UNIQUE: the data determine 0 of 6 taps; the kernel of min" in text
    assert "Errors none: no row is left to estimate the noise (5 rows, rank 5)" in text
    # The notebook's kernel less its part along the null vector.
    fit = cs.load("fit.npz")
    found = cs.convolve(X[:7], fit.kernel, fit._spec)[:, 0]
    np.testing.assert_allclose(found, Y[:5], rtol=0, atol=1e-12)
    assert np.linalg.norm(fit.kernel) < np.linalg.norm(KERNEL)


def test_a_saved_solution_is_shown(run, folder):
    assert run("solve full.npz --kernel-size 3 --out fit.npz")[0] == 0
    fit = cs.load("fit.npz")
    assert run("show fit.npz --html fit.html --plot fit.svg") == (0, f"{fit}\n", "")
    assert json.loads(run("show fit.npz --json")[1])["kernel"] == fit.kernel.tolist()
    assert "fit = cs.solve(problem)" in Path("fit.html").read_text(encoding="utf-8")
    assert Path("fit.svg").stat().st_size > 1000


def test_nothing_is_overwritten_unless_forced(run, folder, monkeypatch):
    (folder / "link.npz").symlink_to(folder / "elsewhere.npz")
    files = {
        "solve full.npz --kernel-size 3 --solver qr --out fit.npz": b"PK",
        "identify full.npz --kernel-size 3 --plot a.png": b"\x89PNG",
        "solve full.npz --kernel-size 3 --solver qr --plot b.pdf": b"%PDF",
        "compare full.npz --kernel-size 3 --methods svd --plot c.svg": b"<?xml",
        "solve full.npz --kernel-size 3 --solver qr --html fit.html": b"<!doctype html>",
    }
    for line, start in files.items():
        *_, option, name = line.split()
        (folder / name).write_text("precious")
        with monkeypatch.context() as patch:
            # It is refused before anything is computed.
            patch.setattr("convsolve.api.solve", None)
            error = f"convsolve: {option} {name}: exists; --overwrite overwrites it\n"
            assert run(line) == (2, "", error)
        assert (folder / name).read_text() == "precious"
        assert run(f"{line} --overwrite")[::2] == (0, "")
        assert (folder / name).read_bytes().startswith(start)
    np.testing.assert_allclose(cs.load("fit.npz").kernel, KERNEL, atol=1e-12)
    page = (folder / "fit.html").read_text(encoding="utf-8")
    assert f"<pre>convsolve {line} --overwrite</pre>" in page
    assert "the data determine all 6 taps" in page
    status, _, err = run("solve full.npz --kernel-size 3 --out link.npz --overwrite")
    assert (status, "symbolic link" in err) == (2, True)
    assert not (folder / "elsewhere.npz").exists()


def test_errors_of_the_machine_are_one_line_and_those_of_the_library_a_traceback(run, monkeypatch):
    line = "solve full.npz --kernel-size 3 --out fit.npz"
    full = Mock(side_effect=OSError(28, "No space left on device", "fit.npz"))
    monkeypatch.setattr(cs.Solution, "save", full)
    assert run(line)[::2] == (2, "convsolve: fit.npz: No space left on device\n")
    monkeypatch.setattr("convsolve.api.solve", Mock(side_effect=ValueError("inside")))
    with pytest.raises(ValueError, match="inside"):
        run(line)
    # jax raises an error without words where CUDA sees no card.
    monkeypatch.setattr("jax.devices", Mock(side_effect=AssertionError))
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    words = "jax has no device to descend on (JAX_PLATFORMS=cuda); try JAX_PLATFORMS=cpu"
    for command in ("solve full.npz --kernel-size 3 --solver adam", "demo"):
        assert run(command)[::2] == (2, f"convsolve: {words}\n")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for option in ("plot p.png", "html p.html"):
        error = f"--{option.split()[0]} needs matplotlib: pip install 'convsolve[plot]'\n"
        assert run(f"solve full.npz --kernel-size 3 --{option}")[::2] == (2, f"convsolve: {error}")


def test_the_demo_prints_a_text_or_its_numbers(run, monkeypatch):
    def short(out, plot, overwrite):
        out("text")
        return {"plot": str(plot), "overwrite": overwrite, "spread": np.array([1.0, np.inf])}

    monkeypatch.setattr("convsolve.cli.demo.run", short)
    status, out, _ = run("demo --json --plot demo.png")
    wanted = {"plot": "demo.png", "overwrite": False, "spread": [1.0, None]}
    assert (status, strict_json(out)) == (0, wanted)
    assert run("demo")[:2] == (0, "text\n")


def test_progress_is_for_a_person_who_watches(run, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    line = "solve full.npz --kernel-size 3 --solver adam --loss absolute --steps 40 --json"
    monkeypatch.setattr(progress_bars, "SHOWN_SECONDS", 0.0)
    monkeypatch.setattr("tqdm.std.time", count().__next__)  # a second passes at every look
    assert run(line)[2] == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(line)
    assert "steps of gradient descent:" in terminal.getvalue()
    assert "/40 [" in terminal.getvalue()
    assert "loss " in terminal.getvalue()
    assert terminal.getvalue().endswith(("\r", " \x1b[A"))  # nothing is left
    drawn = len(terminal.getvalue())
    monkeypatch.setitem(sys.modules, "tqdm", None)
    run(line)
    assert len(terminal.getvalue()) == drawn


DESCENDING = """
import os, signal, sys
from convsolve.cli import main as cli
from convsolve.progress import listening

def press(stage, done, total, note):
    if stage == "steps of gradient descent" and 0 < done < total:
        os.kill(os.getpid(), signal.SIGINT)

cli._followed = lambda verbose: listening(press)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_ctrl_c_gives_the_kernel_of_the_steps_made(folder):
    line = "solve full.npz --kernel-size 3 --solver adam --loss absolute --steps 1000000000"
    done = python("-c", DESCENDING, *line.split(), "--json", "--out", "fit.npz")
    assert done.returncode == 130, done.stderr
    found = strict_json(done.stdout)
    assert found["status"] == "interrupted"
    assert 0 < found["stats"]["steps"] <= 1000
    np.testing.assert_array_equal(cs.load("fit.npz").kernel, found["kernel"])


def test_verbose_logs_to_standard_error(run):
    line = "solve full.npz --kernel-size 3"
    status, out, err = run(f"{line} --verbose")
    assert (status, out.split("\nComputed")[0]) == (0, run(line)[1].split("\nComputed")[0])
    first, *_, last = err.splitlines()
    assert first.startswith("convsolve: solve by AutoSolver: <Problem 1 record × 8 samples: 3 lags")
    assert last.startswith("convsolve: QR: solved, certificate ")
    assert last.endswith(" s; 6 rows × 6 unknowns × 1 output: QR")
    assert run(line)[2] == ""  # and nothing for the next command
