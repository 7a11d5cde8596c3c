"""The README is true: its code prints what it shows, its figures are those of result files."""

from __future__ import annotations

import doctest
import json
import re
import subprocess
import sys
from pathlib import Path

import convsolve

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_four_lines_print_what_is_shown() -> None:
    ((code, shown),) = re.findall(
        r"^```python\n(.*?)^```\n\nprints\n\n```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL
    )
    assert len(code.split("\n\n")) == 2  # the import, and what the formatter keeps apart from it
    assert len([line for line in code.splitlines() if line]) == 4
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == shown
    assert run.stderr == ""


def test_everything_named_exists() -> None:
    import convsolve as cs
    from convsolve import interop
    from convsolve.interop import mtrf

    names = set(re.findall(r"`cs\.(\w+)", TEXT))
    assert names <= set(cs.__all__)
    assert {"compare", "plot", "fit_kernel"} <= names
    layouts = set(re.findall(r"`((?:to|from)_\w+)`", TEXT))
    assert len(layouts) == 12
    assert all(hasattr(interop, name) or hasattr(mtrf, name) for name in layouts)
    for path in re.findall(r"\]\(([\w/.]+)\)", TEXT):
        assert (ROOT / path).is_file(), path


def test_kernels_elsewhere_agree_as_told() -> None:
    found = json.loads((ROOT / "benchmarks/results/round_trips.json").read_text(encoding="utf-8"))
    assert {*found["libraries"]} == {"pandas", "xarray", "MNE", "mTRFpy", "Keras", "PyTorch"}
    for library in found["libraries"].values():
        assert max(library["kernel"], library["prediction"]) < 1e-15


def test_the_table_of_peers_is_that_of_the_result_file() -> None:
    from benchmarks.peers import table

    match = re.search(r"<!-- peers: (\S+) -->\n(.*?)\n\n", TEXT, re.DOTALL)
    assert match is not None
    assert match[2] == table(json.loads((ROOT / match[1]).read_text(encoding="utf-8")))


def test_the_doctest_of_the_package() -> None:
    assert doctest.testmod(convsolve).failed == 0
    assert doctest.testmod(convsolve).attempted == 4
