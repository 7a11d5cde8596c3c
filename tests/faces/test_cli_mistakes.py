"""Every mistake on the command line is answered by one line that names it, and by exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

import convsolve

MISTAKES = [
    ("", "required: COMMAND"),
    ("mend full.npz", "invalid choice: 'mend'"),
    ("identify full.npz", "either --kernel-size or --lags"),
    ("identify full.npz --kernel-size 2 --lags 0 1", "either --kernel-size or --lags"),
    ("identify full.npz --kernel-size 2 --tmin 0 --tmax 1", "either --kernel-size or --lags"),
    ("identify full.npz --lags 0 1 --tmin 0", "either --lags in samples, or --tmin and --tmax in"),
    ("identify full.npz --tmin 0 --tmax 1", "--tmin and --tmax go together, in seconds, and with"),
    ("identify full.npz --tmin 0 --fs 10", "--tmin and --tmax go together, in seconds, and with"),
    ("identify x.npy --tmin 2 --tmax 1 --fs 1", "x.npy: tmin=2 must not exceed tmax=1"),
    ("identify x.npy --tmin 0 --tmax 1 --fs 1 --stride 2", "--stride does not go with --tmin"),
    ("identify x.npy --lags 0 1 --fs 0", "x.npy: fs must be positive and finite"),
    ("identify x.npy --lags 0 1 --channels a,b,c", "x.npy: channels has 3 names, there are"),
    ("identify full.npz --kernel-size two", "--kernel-size: invalid int value: 'two'"),
    ("identify full.npz --kernel-size 0", "kernel_size must be at least 1, got 0"),
    (
        "identify full.npz --kernel-size 2 --padding odd",
        "--padding: 'odd' is not one of valid, same,",
    ),
    (
        "identify full.npz --kernel-size 2 --padding 1,2,3",
        "--padding: '1,2,3' is not one of valid,",
    ),
    ("identify full.npz --kernel-size 2 --padding 1,x", "--padding: '1,x' is not one of valid,"),
    ("identify full.npz --kernel-size 2 --edges zeros", "--edges goes with --lags"),
    ("identify full.npz --lags 0 1 --stride 2", "--stride does not go with --lags"),
    ("identify full.npz --lags 1", "--lags takes FIRST LAST"),
    ("identify full.npz --lags 3 1", "--lags takes FIRST LAST"),
    ("identify full.npz --kernel-size 9", "longer records or --padding full"),
    ("identify full.npz --kernel-size 2 --groups 3", "full.npz: groups=3"),
    ("solve full.npz --lags 0 1", "kernel_size (--kernel-size) in place of lags takes y"),
    ("solve x.npy y.npy --kernel-size 4", "give lags in place of kernel_size (from_lags, --lags)"),
    ("solve x.npy x.npy --lags 0 9", "x.npy and x.npy: no window fits: lags [(0, 9)] take (10,)"),
    ("identify x.npy --lags 0 9", "longer records or --edges zeros"),
    ("identify x.npy --lags 0 99999999999999999999", "lags=(0, 99999999999999999999) overflows"),
    ("solve gone.npz --kernel-size 2", "gone.npz: No such file or directory"),
    ("solve . --kernel-size 2", ".: is of no known kind"),
    ("solve cut.npz --kernel-size 2", "cut.npz: is damaged"),
    ("solve other.npz --kernel-size 2", "other.npz: has no member 'x'"),
    ("solve full.npz y.npy --kernel-size 2", "y.npy: one file is enough"),
    ("solve x.npy y.npy x.npy --kernel-size 2", "two files at most, not 3"),
    ("solve x.npy --kernel-size 2", "x.npy: there is no y"),
    ("solve full.npz --kernel-size 2 --x-columns a", "full.npz: columns are for tables, such as"),
    ("solve x.npy --kernel-size 2 --x-columns 0", "x.npy: columns are for tables, such as .csv"),
    ("solve table.csv --kernel-size 2 --y-columns out", "--y-columns needs --x-columns"),
    ("solve table.csv --lags 0 1 --x-columns up --y-columns out", "no column 'up'; the header"),
    ("solve table.csv --lags 0 1 --x-columns 0 --y-columns 3", "table.csv: has no column 3"),
    ("solve nan.csv --lags 0 0 --x-columns a --y-columns b", "nan.csv: x has 1 value that is not"),
    ("solve word.csv --lags 0 0 --x-columns a --y-columns b", "'soft' for a number in line 3"),
    ("solve full.npz --kernel-size 3 --max-bytes 10", "full.npz: holds"),
    ("solve full.npz --kernel-size 3 --max-bytes 0", "--max-bytes must be at least 1, got 0"),
    ("solve full.npz --kernel-size 3 --ridge -1", "ridge must be finite and not negative"),
    ("solve full.npz --kernel-size 3 --steps 9", "--steps is for the solvers cg, adam, lbfgs"),
    ("solve full.npz --kernel-size 3 --solver cg --steps 0", "steps must be at least 1"),
    ("solve full.npz --kernel-size 3 --stepz 9", "--stepz 9; see convsolve solve --help"),
    ("identify full.npz --kernel-size 3 --strict", "--strict; see convsolve identify --help"),
    ("solve full.npz --kernel-size 3 --solver huber --ridge 1", "--ridge is for the solvers auto"),
    ("solve full.npz --kernel-size 3 --solver adam --rate 0", "--rate must be positive"),
    ("solve full.npz --kernel-size 3 --solver adam --steps -1", "steps must be at least 0"),
    ("solve full.npz --kernel-size 3 --solver lucky", "invalid choice: 'lucky'"),
    ("solve full.npz --kernel-size 3 --bias --solver fft", "solver fft: it has no bias"),
    ("solve full.npz --kernel-size 3 --out gone/fit.npz", "--out gone/fit.npz: its directory"),
    ("solve full.npz --kernel-size 3 --out .", "--out .: is a directory"),
    ("solve full.npz --kernel-size 3 --plot fit.txt", "--plot fit.txt: must end in .png"),
    ("solve full.npz --kernel-size 3 --report fit.pdf", "--report fit.pdf: must end in .html"),
    ("compare full.npz --kernel-size 3 --solvers svd,lucky", "solver 'lucky' is unknown"),
    ("compare full.npz --kernel-size 3 --bias --solvers fft", "solver fft: it has no bias"),
    ("compare full.npz --kernel-size 3 --key 1", "--key is for the solvers adam, lbfgs"),
    ("solve full.npz --kernel-size 3 --via moments", "--via is for the solvers adam, lbfgs"),
    ("compare full.npz --kernel-size 3 --solvers adam --loss mae --via moments", "squares only"),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES)
def test_a_mistake_is_answered_by_one_line(run, line, message):
    status, out, err = run(line)
    assert (status, out) == (2, "")
    assert err.startswith("convsolve: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize(
    ("name", "message"), [("pipe", "is not a regular file"), ("full.npz", "is one of the inputs")]
)
def test_force_does_not_write_where_it_must_not(folder, run, name, message):
    os.mkfifo("pipe")
    before = (folder / "full.npz").read_bytes()
    status, _, err = run(f"solve full.npz --kernel-size 3 --out {name} --force")
    assert status == 2
    assert message in err
    assert (folder / "full.npz").read_bytes() == before
    assert os.path.exists("pipe")
    assert not os.path.isfile("pipe")


@pytest.mark.parametrize("command", ["solve full.npz --solver adam", "compare full.npz", "demo"])
def test_a_device_that_is_not_there(run, monkeypatch, command):
    """What jax raises where CUDA sees no card has no words."""
    monkeypatch.setattr("jax.devices", Mock(side_effect=AssertionError))
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    size = "" if command == "demo" else " --kernel-size 3"
    status, out, err = run(command + size)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "jax has no device to descend on (JAX_PLATFORMS=cuda); try JAX_PLATFORMS=cpu" in err


@pytest.mark.slow
def test_a_platform_that_jax_does_not_know(folder):
    """Only where it is needed."""
    command = [sys.executable, "-m", "convsolve", "solve", "full.npz", "--kernel-size", "3"]
    environment = os.environ | {
        "PYTHONPATH": str(Path(convsolve.__file__).parents[1]),
        "JAX_PLATFORMS": "abacus",
    }
    exact, descent = (
        subprocess.run([*command, *more], env=environment, capture_output=True, text=True)
        for more in ((), ("--solver", "adam"))
    )
    assert (exact.returncode, exact.stderr) == (0, "")
    assert (descent.returncode, descent.stdout) == (2, "")
    assert descent.stderr.count("\n") == 1
    assert "Unable to initialize backend 'abacus'" in descent.stderr


def test_an_answer_that_cannot_be_written_is_no_traceback(folder):
    """A full device at the end of standard output."""
    environment = os.environ | {"PYTHONPATH": str(Path(convsolve.__file__).parents[1])}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "convsolve", "identify", "full.npz", "--kernel-size", "3"],
            stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "the answer cannot be written: No space left" in done.stderr


def test_conjugate_gradients_take_steps(run):
    status, out, _ = run("solve full.npz --kernel-size 3 --solver cg --steps 1 --json")
    assert status == 1
    assert '"status": "max steps"' in out
