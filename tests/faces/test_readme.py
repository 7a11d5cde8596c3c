"""The README is short, its code prints what it shows, and its figures are in result files."""

from __future__ import annotations

import doctest
import json
import re
import subprocess
import sys
from pathlib import Path

import convsolve
from convsolve.components import CLASSES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
# Differs from run to run, or from version to version.
VARIES = re.compile(
    r"(?<=, )[\d.e-]+ s(?=, convsolve)|convsolve [\d.]+|(?<=backward error )(?:below )?[\d.e-]+"
)
# In a table of methods: seconds, and numbers at the level of rounding.
TIMES = re.compile(r"\b\d+\.\d{4}\b|[\d.]+ m?s\b|\b\d\.\d\d\b|[\d.]+e-(?:1[5-9]|2\d|3\d)\b")


def comparable(text: str) -> str:
    """A printed text without the parts that differ from run to run."""
    if "compile s" in text:
        # The widths of columns and the ends of lines depend on the times.
        return " ".join(TIMES.sub("…", text).split())
    return VARIES.sub("…", text)


def test_it_is_short_and_its_code_prints_the_output_that_it_shows() -> None:
    assert len(TEXT.splitlines()) <= 150
    assert doctest.testmod(convsolve) == (0, 4)
    blocks = re.findall(
        r"^```python\n(.*?)^```(?:\n\n```\n(.*?)^```)?$", TEXT, re.MULTILINE | re.DOTALL
    )
    assert [bool(shown) for _, shown in blocks] == [True, True]
    code = "print('---')\n".join(code for code, _ in blocks)
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stderr == ""
    printed = [comparable(text) for text in run.stdout.split("---\n")]
    assert printed == [comparable(shown) for _, shown in blocks]


def test_the_table_of_components_has_all_names() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (`.*) \|$", TEXT, re.MULTILINE))
    assert {name: re.findall(r"`(\w+)`", cell) for name, cell in rows.items()} == {
        kind: [*classes] for kind, classes in CLASSES.items()
    }


def test_the_rows_of_peers_are_those_of_the_result_file() -> None:
    from benchmarks.peers import table

    match = re.search(r"<!-- peers: (\S+) -->\n(.*?)\n\n", TEXT, re.DOTALL)
    assert match is not None
    head, rule, *rows = match[2].splitlines()
    lines = table(json.loads((ROOT / match[1]).read_text(encoding="utf-8"))).splitlines()
    assert [head, rule] == lines[:2]
    assert len(rows) == 4
    assert [line for line in lines if line in rows] == rows
    # The rows include one in which convsolve is slower.
    assert min(float(row.split(" | ")[3]) for row in rows) < 1
