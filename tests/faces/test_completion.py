"""A shell completes commands, options, choices and files, by argcomplete's own protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import convsolve as cs

ROOT = Path(cs.__file__).parents[1]


def completed(folder: Path, line: str, script: tuple[str, ...] = ("-m", "convsolve")) -> list[str]:
    """What a shell would offer after ``line``."""
    out = folder / "offered"
    environment = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, *script],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
    offered = out.read_text().split("\n") if out.exists() else []
    return [word.strip() for word in offered if word.strip()]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "speech.npy", np.zeros(3))
    (tmp_path / "spare.toml").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("convsolve c", ["compare", "cross-validate", "choose-lags"]),
        ("convsolve solve --solver l", ["lbfgs"]),
        ("convsolve solve --penalty s", ["smooth", "squared-exponential", "ss"]),
        ("convsolve solve --loss a", ["absolute"]),
        ("convsolve solve --noise h", ["hac"]),
        ("convsolve solve --select b", ["bic"]),
        ("convsolve identify --padding c", ["causal", "circular"]),
        ("convsolve compare --methods auto,c", ["auto,cg"]),
        ("convsolve compare --methods qr,l", ["qr,lasso", "qr,lbfgs"]),
        ("convsolve solve sp", ["speech.npy", "spare.toml"]),
        ("convsolve solve speech.npy --config spar", ["spare.toml"]),
        ("convsolve nonsense --so", []),
    ],
)
def test_what_is_offered(files: Path, line: str, offered: list[str]) -> None:
    assert sorted(completed(files, line)) == sorted(offered)


def test_completion_imports_neither_jax_nor_numpy(files: Path) -> None:
    script = (
        "import os, sys\n"
        "def ended(status):\n"
        "    print({'jax', 'numpy'} & {*sys.modules}, file=sys.stderr)\n"
        "    sys.exit(bool({'jax', 'numpy'} & {*sys.modules}))\n"
        "os._exit = ended\n"
        "sys.argv = ['convsolve']\n"
        "from convsolve.cli.main import main\n"
        "main()\n"
    )
    with pytest.raises(AssertionError, match=r"set\(\)"):
        completed(files, "convsolve solve --solver ", ("-c", script))


def test_the_marker_is_where_shells_look_for_it() -> None:
    begin = (ROOT / "convsolve" / "__main__.py").read_text()[:1024]
    assert "PYTHON_ARGCOMPLETE_OK" in begin


def test_without_a_shell_that_asks_nothing_is_imported() -> None:
    script = (
        "import sys\n"
        "from convsolve.cli.arguments import parse\n"
        "parse(['identify', 'x.npy'])\n"
        "assert 'argcomplete' not in sys.modules\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "_ARGCOMPLETE"}
    environment["PYTHONPATH"] = str(ROOT)
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
