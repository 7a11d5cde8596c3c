"""The pages of the documentation are true: figures are those of result files, lines are counted."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsolve as cs
from convsolve import interop
from convsolve.cli import main
from convsolve.components import kind_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md"), *DOCS.glob("guides/*.md")])
FIGURES = re.compile(r"^From `(benchmarks/results/(\w+)\.json)`, by `(.*?)`:\n\n", re.MULTILINE)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def result_of(name: str) -> dict:
    path = ROOT / f"benchmarks/results/{name}.json"
    found: dict = json.loads(path.read_text(encoding="utf-8"))
    return found


def numbers(value: Any) -> Iterator[float]:
    """All numbers of a result file, also in thousandths."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield from (value, 1000 * value)


def check_cells(table: str, result: dict) -> None:
    """The numbers of a table, except in its first column, are rounded numbers of a result file."""
    found = [*numbers(result)]
    for row in table.splitlines()[2:]:
        for cell in re.findall(r"\d[\d.]*(?:e[+-]\d+)?", " ".join(row.split("|")[2:])):
            form = ".0e" if "e" in cell else f".{len(cell.partition('.')[2])}f"
            assert any(format(number, form) == cell for number in found), row


@pytest.mark.parametrize(("name", "files"), [("limits.md", 13), ("coming_from.md", 1)])
def test_figures_of_a_page_are_those_of_their_files(name: str, files: int) -> None:
    text = page(name)
    found = list(FIGURES.finditer(text))
    assert len(found) == files
    for match in found:
        assert match[3] == f"python -m benchmarks.{match[2]}"
        result, module = result_of(match[2]), import_module(f"benchmarks.{match[2]}")
        makers = [getattr(module, n) for n in ("table", "sentence") if hasattr(module, n)]
        if match[2] in ("identifiability", "notebook", "round_trips"):
            check_cells(text[match.end() :].split("\n\n")[0], result)
        else:
            shown = "\n\n".join(make(result) for make in makers)
            assert text[match.end() :].startswith(shown + "\n"), match[1]


def test_the_tables_of_gradient_descent_are_those_of_their_file() -> None:
    text, result = page("gradient_descent.md"), result_of("descent")
    module = import_module("benchmarks.descent")
    for name, make in {"table": module.table, "steps": module.steps_table}.items():
        found = re.search(rf"<!-- descent {name}: [^\n]* -->\n(.*?)\n\n", text, re.DOTALL)
        assert found is not None
        assert found[1] == make(result).strip()


def test_the_promises_of_benchmarks_are_kept() -> None:
    for name in ("notebook", "identifiability", "rows", "beyond_memory", "robust"):
        checks = result_of(name)["checks"]
        assert checks
        assert [check["promise"] for check in checks if not check["passed"]] == []
    assert all(row["kernel_off"] < 1e-13 for row in result_of("beyond_memory")["sources"])


def test_figures_in_sentences_are_those_of_their_files() -> None:
    result, text = result_of("identifiability"), " ".join(page("limits.md").split())
    limited, gentle = (result["smooth"][which] for which in ("band-limited", "low-passed"))
    long = result["sizes"]["long"]
    sentences = [
        f'"{limited["verdict"]}", with a rank of {limited["rank"]} of 40 and no gap',
        f'"{gentle["verdict"]}", a condition number of {gentle["condition_of_the_matrix"]:.0e}, '
        f"and {gentle['weakly_determined']} weakly determined taps",
        f"taps take {long['identify']['seconds']['median']:.1f} s and "
        f"{long['identify']['peak_mb']} MB, {long['ratio']:.2f} times the time of the solution",
    ]
    checks = {check["promise"]: check["figures"] for check in result_of("notebook")["checks"]}
    for which in ("a fit per step", "one fit"):
        times = checks[f"warm, 1000 steps 100 times faster than Keras, {which}"]["two channels"]
        sentences.append(f"{int(times)} times faster than Keras with {which}")
    table = import_module("benchmarks.peers").table(result_of("peers"))
    rows = re.findall(r"^\| (.*?) \| .*? \| .*? \| ([\d.]+) \|", table, re.MULTILINE)
    slower = [name for name, times in rows if float(times) < 1]
    count = {1: "one row", 2: "two rows", 3: "three rows"}[len(slower)]
    sentences.append(f"is not the fastest in {count}: {'; and '.join(slower)}.")
    assert [sentence for sentence in sentences if sentence not in text] == []


def test_extras_commands_and_exit_statuses_are_in_tables() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = re.findall(r"^\| (`.*?) \|", page("install.md"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(project["optional-dependencies"])
    rows = re.findall(r"^\| (.+?) \|", page("command_line.md"), re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", " ".join(rows))) == set(main.COMMANDS)
    statuses = {main.OK, main.NOT_OK, main.BAD_INPUT, main.NOT_UNIQUE, main.INTERRUPTED}
    assert {int(row) for row in rows if row.isdecimal()} == statuses


def test_names_components_and_pictures_on_pages_exist() -> None:
    given = {"cs": cs, "np": np, "D": np.eye(4), "matrix": np.eye(4), "rows": 100, "alpha": 1.0}
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"\bcs\.([A-Za-z]\w*)", text)) <= {*cs.__all__, "extend", "io"}
        for name in re.findall(r"`((?:to|from)_(?:torch|trf|mne|impulse_response))`", text):
            assert hasattr(interop, name)
        for module, name in re.findall(r"`(mne|events)\.(?!py`)(\w+)`", text):
            source = (ROOT / f"convsolve/interop/{module}.py").read_text(encoding="utf-8")
            assert f"\ndef {name}(" in source
        for call in re.findall(r"(?:`|=)(cs\.[A-Z]\w*\([^`]*\))`", text):
            if not re.search(r"\.\.\.|…|\(sharp", call):
                assert eval(call, given) is not None, call
        names = r'\b(solver|penalty|loss|noise|select|basis)="(\w+)"'
        for argument, word in re.findall(names, text):
            assert kind_of(word) == argument, word
        drawn = {f"{path.stem}_{name}" for name in re.findall(r'savefig\("(.*?)"\)', text)}
        assert set(re.findall(r"!\[.+\]\((?:\.\./)?pictures/(.*?)\)", text)) <= drawn
