"""The command line: help, completion, files that it writes, warnings, progress and Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jax
import numpy as np
import pytest

import convsolve as cs
from convsolve.cli import demo, doctor
from convsolve.cli.main import COMMANDS, main
from convsolve.components import CLASSES
from support.command_files import X, Y

ROOT = Path(cs.__file__).parents[1]
# The tests run in other folders, where a source tree that is not installed would not be found.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
FULL = "solve full.npz --kernel-size 3"
USED = """lags tmin tmax fs kernel-size bias basis x-columns y-columns penalty ridge noise out plot
json""".split()  # noqa: SIM905


def python(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, encoding="utf-8", env=ENVIRONMENT, **settings,
    )  # fmt: skip


def help_of(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_shows_the_most_used_options_and_help_all_shows_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert {*COMMANDS} <= {*re.findall(r"^    ([a-z-]+)(?: |$)", help_of("--help", capsys), re.M)}
    found = re.findall(r"^  --([a-z-]+)", help_of("solve --help", capsys), re.M)
    assert sorted(found) == sorted([*USED, "help-all"])
    text = help_of("solve --help-all", capsys)
    for name in "mask confounds select limits loss strict test html config overwrite".split():  # noqa: SIM905
        assert re.search(rf"^  --{name}\b", text, re.M)
    for name in COMMANDS:
        assert "exit status: 0 success" in help_of(f"{name} --help", capsys)


def test_help_is_quick() -> None:
    """It imports no jax, and nothing for figures or other files."""
    script = """
import sys
from convsolve.cli.main import main
try:
    main(["solve", "--help"])
except SystemExit:
    heavy = {"jax", "optax", "matplotlib", "h5py", "zarr", "pandas"}
    print(sorted(heavy.intersection(sys.modules)))
"""
    done = python("-c", script)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("convsolve solve --penalty s", ["smooth", "squared-exponential", "ss"]),
        ("convsolve solve --conf", ["--config", "--confounds"]),
        ("convsolve solve speech.npy --config spar", ["spare.toml"]),
    ],
)
def test_a_shell_completes_options_names_and_files(
    tmp_path: Path, line: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spare.toml").write_text("")
    out, point = tmp_path / "offered", str(len(line))
    for name, value in {
        "": "1", "_IFS": "\n", "_STDOUT_FILENAME": str(out),
    }.items():  # fmt: skip
        monkeypatch.setitem(ENVIRONMENT, f"_ARGCOMPLETE{name}", value)
    for name, value in {"LINE": line, "POINT": point, "TYPE": "9"}.items():
        monkeypatch.setitem(ENVIRONMENT, f"COMP_{name}", value)
    done = python("-m", "convsolve", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("", "")
    assert sorted(out.read_text().split()) == words
    assert "PYTHON_ARGCOMPLETE_OK" in (ROOT / "convsolve" / "__main__.py").read_text()[:1024]


def test_every_name_of_a_component_is_accepted(run: Any) -> None:
    for kind in ("penalty", "loss", "noise", "solver"):
        for name in CLASSES[kind]:
            status, _, err = run(f"solve trials.npz --lags 0,2 --{kind} {name.replace('_', '-')}")
            assert status in (0, 1) or "Tikhonov" in err, (name, err)


def test_a_kernel_that_is_not_unique_is_a_warning_and_is_written(run: Any) -> None:
    status, out, err = run("solve short.npz --kernel-size 3 --out fit.npz")
    assert (status, err.count("\n")) == (3, 1)
    assert err.startswith("convsolve: warning: underdetermined: rank 5 of 6 unknowns; ")
    assert "NOT UNIQUE" in out
    fit = cs.load("fit.npz")
    found = cs.convolve(X[:7], fit.kernel, cs.ConvSpec(3))[:, 0]
    np.testing.assert_allclose(found, Y[:5], rtol=0, atol=1e-12)
    status, out, err = run("solve short.npz --kernel-size 3 --strict")
    assert (status, out, err.count("\n")) == (3, "", 1)


def test_files_are_overwritten_only_on_request(run: Any, folder: Path) -> None:
    files = {
        f"{FULL} --out fit.npz": b"PK",
        "identify full.npz --kernel-size 3 --plot a.png": b"\x89PNG",
        "compare full.npz --kernel-size 3 --methods svd --plot c.svg": b"<?xml",
        f"{FULL} --html fit.html": b"<!doctype html>",
        "show fit.npz --html shown.html": b"<!doctype html>",
    }
    for line, start in files.items():
        name = line.split()[-1]
        (folder / name).write_text("before")
        assert run(line)[::2] == (2, f"convsolve: --{line.split()[-2][2:]} {name}: exists; "
                                  "--overwrite overwrites it\n")  # fmt: skip
        assert (folder / name).read_text() == "before"
        assert run(f"{line} --overwrite")[::2] == (0, "")
        assert (folder / name).read_bytes().startswith(start)
    page = (folder / "fit.html").read_text(encoding="utf-8")
    assert f"convsolve {FULL} --html fit.html --overwrite" in page


def test_errors_of_the_machine_are_one_line(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Mock(side_effect=OSError(28, "No space left on device", "fit.npz"))
    monkeypatch.setattr(cs.Solution, "save", full)
    assert "No space left on device" in run(f"{FULL} --out fit.npz")[2]
    for error in (MemoryError("too large"), RuntimeError("no device"), ImportError("no reader")):
        monkeypatch.setattr(cs.Solution, "save", Mock(side_effect=error))
        assert run(f"{FULL} --out fit.npz") == (2, "", f"convsolve: {error}\n")


def test_the_program_is_quiet_if_its_output_is_closed_and_says_if_it_is_full(folder: Path) -> None:
    line = f"{sys.executable} -m convsolve identify full.npz --kernel-size 3"
    for command, words in ((f"{line} | true", ""), (f"{line} > /dev/full", "No space left")):
        done = subprocess.run(command, shell=True, capture_output=True, text=True, env=ENVIRONMENT)
        assert words in done.stderr
        assert done.stderr.count("\n") == bool(words)


def test_progress_is_shown_on_a_terminal(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    given, solve = [], cs.solve

    @wraps(solve)
    def noted(problem: cs.Problem, **options: Any) -> cs.Solution:
        given.append(options.get("progress", False))
        return solve(problem, **options)

    monkeypatch.setattr(cs, "solve", noted)
    run(FULL)
    monkeypatch.setattr(sys, "stderr", Terminal())
    run(FULL)
    assert given == [False, True]


def test_verbose_logs_to_standard_error(folder: Path) -> None:
    done = python("-m", "convsolve", *FULL.split(), "--verbose")
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("convsolve: solve by ")
    assert ": QR: solved, certificate " in last


@pytest.mark.slow
def test_ctrl_c_gives_the_kernel_of_the_steps_made(folder: Path) -> None:
    script = """
import os, signal, sys, threading
from convsolve.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(8, os.kill, (os.getpid(), signal.SIGINT)).start()
sys.exit(main(sys.argv[1:]))
"""
    line = f"{FULL} --solver adam(steps=1000000000) --loss absolute --json --out fit.npz"
    done = python("-c", script, *line.split())
    assert done.returncode == 130, done.stderr
    found = json.loads(done.stdout)
    assert found["status"] == "interrupted"
    np.testing.assert_array_equal(cs.load("fit.npz").kernel, found["kernel"])


def test_the_doctor_reports_versions_devices_and_a_certificate(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    assert f"jax {version('jax')}" in out
    found = json.loads(run("doctor --json")[1])
    assert found["ok"]
    assert len(found["devices"]) == len(jax.devices())
    assert 0 <= found["certificate_eps"] <= 30
    monkeypatch.setattr(doctor, "_certificate", lambda: 31.0)
    assert run("doctor")[0] == 1
    monkeypatch.setattr(jax, "devices", Mock(side_effect=RuntimeError("no backend")))
    code, out, _ = run("doctor")
    assert (code, "no backend" in out) == (1, True)


@pytest.mark.slow
def test_the_demo_solves_three_problems_and_a_recording(run: Any, folder: Path) -> None:
    lines: list[str] = []
    numbers, _ = demo.run(lines.append)
    text, fmri = "\n".join(lines), numbers["fmri"]
    assert lines[-1].strip() == numbers["descent"]["conclusion"]
    assert "reaches the statistical error in" in lines[-1]
    for words in ("least squares  [1. 2.]", "underdetermined: ", "R² is 0.266225"):
        assert words in text
    assert numbers["short"]["verdict"] == "underdetermined"
    np.testing.assert_allclose(fmri["responses"], cs.datasets.nitime_fir(), rtol=0, atol=1e-12)
    found = json.loads(run("demo --json --plot demo.png")[1])
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert found["fmri"] == fmri
