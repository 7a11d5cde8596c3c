"""The README is true: its code prints what it shows, its figures are those of result files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
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

    names = set(re.findall(r"`cs\.(\w+)", TEXT))
    assert names <= set(cs.__all__)
    assert {"compare", "plot", "fit_kernel"} <= names
    layouts = set(re.findall(r"`((?:to|from)_\w+)`", TEXT)) - {"from_lags"}
    assert len(layouts) == 10
    assert all(hasattr(interop, name) for name in layouts)
    for path in re.findall(r"\]\(([\w/.]+)\)", TEXT):
        assert (ROOT / path).is_file(), path


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def test_figures_come_from_the_result_file() -> None:
    """Every number of the table of figures is one of the result file, at the digits shown."""
    match = re.search(r"<!-- figures: (\S+) -->\n(.*?)\n## ", TEXT, re.DOTALL)
    assert match is not None
    known = numbers(json.loads((ROOT / match[1]).read_text(encoding="utf-8")))
    rows = [line for line in match[2].splitlines() if line.startswith("|")][2:]
    cells = [cell.strip() for row in rows for cell in row.strip("|").split("|")[1:]]
    assert len(cells) == 12
    ratios = [float(n) for n in re.findall(r"(\d+) times", match[2])]
    assert len(ratios) == 2
    assert set(ratios) <= {round(n) for n in known}
    for cell in cells:
        shown = re.fullmatch(r"([\d.]+) ?(ms|s|×|)", cell)
        assert shown is not None, cell
        digits = len(shown[1].partition(".")[2])
        scale = 1000 if shown[2] == "ms" else 1
        assert any(f"{n * scale:.{digits}f}" == shown[1] for n in known), cell
