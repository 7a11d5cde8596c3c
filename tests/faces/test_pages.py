"""The pages of the documentation are true: figures are those of result files, lines are counted."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import convsolve as cs
from convsolve import interop, registry
from convsolve.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("guides/*.md")])
FIGURES = re.compile(r"^From `(benchmarks/results/(\w+)\.json)`, by `(.*?)`:\n\n", re.MULTILINE)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def smooth_table(result: dict) -> str:
    """The largest tap of two smooth inputs, by method."""
    names = {
        "truth": "the kernel itself",
        "convsolve, ridge_for(1e3)": "convsolve, `ridge=report.ridge_for(1e3)`",
        "numpy lstsq": "`numpy.linalg.lstsq`",
        "scikit-learn Ridge(0)": "scikit-learn `Ridge(0)`",
    }
    inputs = ("band-limited", "low-passed")
    assert result["smooth"]["low-passed"]["weakly_determined"] == 40  # as the page says
    lines = ["| largest tap | band-limited | low-passed |", "| --- | ---: | ---: |"]
    for name, label in names.items():
        taps = [result["smooth"][kind]["largest_tap"][name] for kind in inputs]
        cells = [f"{tap:.1f}" if tap < 100 else f"{tap:.0e}" for tap in taps]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    verdicts = [result["smooth"][kind]["verdict"] for kind in inputs]
    return "\n".join([*lines, f"| verdict of `identify` | {' | '.join(verdicts)} |"])


def descent_table(result: dict) -> str:
    """A thousand steps of Adam, warm and cold, and the closed form."""
    names = {
        "convsolve Adam": "convsolve, Adam",
        "Keras, a fit per step": "Keras, a fit per step",
        "Keras, one fit": "Keras, one fit",
        "convsolve default": "convsolve, the default",
    }
    lines = ["| | warm | cold | largest error of a tap |", "| --- | ---: | ---: | ---: |"]
    for name, label in names.items():
        warm, cold = (result[kind]["two channels"][name] for kind in ("warm", "cold"))
        milliseconds, seconds = 1000 * warm["seconds"]["median"], cold["seconds"]["median"]
        lines.append(
            f"| {label} | {milliseconds:.1f} ms | {seconds:.2f} s | {warm['kernel_error']:.4f} |"
        )
    return "\n".join(lines)


def round_trips_table(result: dict) -> str:
    """How far kernels and predictions are off in other libraries."""
    lines = ["| library | kernel off by | prediction off by |", "| --- | ---: | ---: |"]
    for name, found in result["libraries"].items():
        cells = [f"{found[what]:.0e}" if found[what] else "0" for what in ("kernel", "prediction")]
        lines.append(f"| {name} {found['version']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown_of(name: str) -> Callable[[dict], str]:
    """What a page shows of a result file: the table, the sentence, or both."""
    if name in OF_PAGES:
        return OF_PAGES[name]
    module = import_module(f"benchmarks.{name}")
    makers = [getattr(module, part) for part in ("table", "sentence") if hasattr(module, part)]
    return lambda result: "\n\n".join(make(result) for make in makers)


OF_PAGES = {
    "identifiability": smooth_table,
    "notebook": descent_table,
    "round_trips": round_trips_table,
}


def result_of(name: str) -> dict:
    path = ROOT / f"benchmarks/results/{name}.json"
    found: dict = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(("name", "files"), [("limits.md", 9), ("coming_from.md", 1)])
def test_figures_of_a_page_are_those_of_their_files(name: str, files: int) -> None:
    text = page(name)
    found = list(FIGURES.finditer(text))
    assert len(found) == files
    for match in found:
        assert match[3] == f"python -m benchmarks.{match[2]}"
        shown = shown_of(match[2])(result_of(match[2]))
        assert text[match.end() :].startswith(shown + "\n"), match[1]


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
    table = shown_of("peers")(result_of("peers"))
    rows = re.findall(r"^\| (.*?) \| .*? \| .*? \| ([\d.]+) \|", table, re.MULTILINE)
    slower = [name for name, times in rows if float(times) < 1]
    count = {1: "one row", 2: "two rows", 3: "three rows"}[len(slower)]
    sentences.append(f"is not the fastest in {count}: {'; and '.join(slower)}.")
    assert [sentence for sentence in sentences if sentence not in text] == []


def test_lines_of_code_are_counted_without_imports() -> None:
    _, rest = page("coming_from.md").split("## Four lines to bands and a picture\n")
    part = rest.split("\n## ")[0]
    header, _, counts = re.findall(r"^\|.*\|$", part, re.MULTILINE)
    names, lines = (re.findall(r"[^|]+", row) for row in (header, counts))
    tabs = re.findall(r"\{tab-item\} (.*?)\n\n```\{testcode\}\n(.*?)^```$", part, re.M | re.S)
    assert [name for name, _ in tabs] == [name.strip() for name in names[1:]]
    for (_, code), number in zip(tabs, lines[1:], strict=True):
        counted = re.findall(r"^(?!from |import ).+$", code, re.MULTILINE)
        assert max(map(len, counted)) <= 100
        assert len(counted) == int(number)


def test_extras_commands_and_exit_statuses_are_in_tables() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = re.findall(r"^\| (`.*?) \|", page("install.md"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(project["optional-dependencies"])
    rows = re.findall(r"^\| (.+?) \|", page("command_line.md"), re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", " ".join(rows))) == set(main.COMMANDS)
    statuses = {main.OK, main.NOT_OK, main.BAD_INPUT, main.NOT_UNIQUE, main.INTERRUPTED}
    assert {int(row) for row in rows if row.isdecimal()} == statuses


def test_names_components_and_pictures_on_pages_exist() -> None:
    given = {"cs": cs, "np": np, "D": np.eye(4), "rows": 100, "alpha": 1.0}
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"\bcs\.([A-Za-z]\w*)", text)) <= set(cs.__all__)
        for name in re.findall(r"`((?:to|from)_(?:keras|torch|trf|mne|impulse_response))`", text):
            assert hasattr(interop, name)
        for module, name in re.findall(r"`(mne|mtrf|events)\.(\w+)`", text):
            source = (ROOT / f"convsolve/interop/{module}.py").read_text(encoding="utf-8")
            assert f"\ndef {name}(" in source
        for call in re.findall(r"(?:`|=)(cs\.[A-Z]\w*\([^`]*\))`", text):
            if not re.search(r"\.\.\.|…|\(sharp", call):
                assert eval(call, given) is not None, call
        for argument, word in re.findall(r'\b(solver|penalty|loss|noise|select)="(\w+)"', text):
            found = registry.found(word)
            assert found is not None, word
            assert registry.ARGUMENTS[found[0].kind] == argument, word
        drawn = {f"{path.stem}_{name}" for name in re.findall(r'savefig\("(.*?)"\)', text)}
        assert set(re.findall(r"!\[.+\]\((?:\.\./)?pictures/(.*?)\)", text)) <= drawn
