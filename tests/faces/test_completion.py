"""A shell completes commands, options, choices and files, by argcomplete's own protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import convsolve as cs

ROOT = Path(cs.__file__).parents[1]
SCRIPT = """
import os, sys
from convsolve.cli.main import main
os._exit = lambda status: sys.exit(sorted({"jax", "numpy"} & {*sys.modules}) or "light")
main()
"""
OFFERED = {
    "convsolve solve --penalty s": ["smooth", "squared-exponential", "ss"],
    "convsolve solve --basis t": ["tents"],
    "convsolve compare --methods qr,l": ["qr,lasso", "qr,lbfgs"],
    "convsolve solve speech.npy --config spar": ["spare.toml"],
    "convsolve nonsense --so": [],
}


@pytest.mark.parametrize("line", OFFERED)
def test_commands_values_and_files_are_offered(tmp_path: Path, line: str) -> None:
    """Without an import of jax or numpy."""
    (tmp_path / "speech.npy").write_bytes(b"")
    (tmp_path / "spare.toml").write_text("")
    out = tmp_path / "offered"
    environment = {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "light\n")
    offered = out.read_text().split("\n") if out.exists() else []
    assert sorted(word.strip() for word in offered if word.strip()) == OFFERED[line]


def test_the_marker_is_where_shells_look_for_it() -> None:
    begin = (ROOT / "convsolve" / "__main__.py").read_text()[:1024]
    assert "PYTHON_ARGCOMPLETE_OK" in begin
