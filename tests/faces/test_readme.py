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
    layouts = set(re.findall(r"`((?:to|from)_\w+)`", TEXT)) - {"from_lags"}
    assert len(layouts) == 12
    assert all(hasattr(interop, name) or hasattr(mtrf, name) for name in layouts)
    for path in re.findall(r"\]\(([\w/.]+)\)", TEXT):
        assert (ROOT / path).is_file(), path


def test_kernels_elsewhere_agree_as_told() -> None:
    found = json.loads((ROOT / "benchmarks/results/round_trips.json").read_text(encoding="utf-8"))
    assert {*found["libraries"]} == {"pandas", "xarray", "MNE", "mTRFpy", "Keras", "PyTorch"}
    for library in found["libraries"].values():
        assert max(library["kernel"], library["prediction"]) < 1e-15


def test_figures_come_from_the_result_file() -> None:
    """Row by row: the median, warm and cold, and the error of the kernel, at the digits shown."""
    match = re.search(r"<!-- figures: (\S+) -->\n(.*?)\n## ", TEXT, re.DOTALL)
    assert match is not None
    result = json.loads((ROOT / match[1]).read_text(encoding="utf-8"))
    names = {
        "convsolve, Adam": "convsolve Adam",
        "Keras, a fit per step": "Keras, a fit per step",
        "Keras, one fit": "Keras, one fit",
        "convsolve, the default": "convsolve default",
    }
    rows = [line.strip("|").split("|") for line in match[2].splitlines() if line.startswith("|")][
        2:
    ]
    assert {row[0].strip() for row in rows} == set(names)
    for label, warm, cold, error in ([cell.strip() for cell in row] for row in rows):
        told, process = (result[k]["two channels"][names[label]] for k in ("warm", "cold"))
        assert warm == f"{told['seconds']['median'] * 1000:.1f} ms"
        assert cold == f"{process['seconds']['median']:.2f} s"
        assert error == f"{told['kernel_error']:.4f}"
    checks = {check["promise"]: check for check in result["checks"]}
    assert all(check["passed"] for check in checks.values())
    shown = [int(n) for n in re.findall(r"(\d+) times faster", match[2])]
    small = [int(n) for n in re.findall(r"\((\d+) and (\d+) times", match[2])[0]]
    for i, which in enumerate(("a fit per step", "one fit")):
        figures = checks[f"warm, 1000 steps 100 times faster than Keras, {which}"]["figures"]
        assert shown[i] == int(figures["two channels"])
        assert small[i] == int(figures["one filter"])


def test_the_table_of_peers_is_that_of_the_result_file() -> None:
    from benchmarks.peers import table

    match = re.search(r"<!-- peers: (\S+) -->\n(.*?)\n\n", TEXT, re.DOTALL)
    assert match is not None
    assert match[2] == table(json.loads((ROOT / match[1]).read_text(encoding="utf-8")))


def test_regularization_is_that_of_the_result_file() -> None:
    from benchmarks.regularization import sentence, table

    match = re.search(r"<!-- regularization: (\S+) -->\n(.*?)\n\nA strength here", TEXT, re.DOTALL)
    assert match is not None
    result = json.loads((ROOT / match[1]).read_text(encoding="utf-8"))
    assert match[2] == f"{table(result)}\n\n{sentence(result)}"


def test_gaps_and_drifts_are_those_of_the_result_file() -> None:
    from benchmarks.rows import sentence

    match = re.search(r"<!-- rows: (\S+) -->\n(.*?)\n\n", TEXT, re.DOTALL)
    assert match is not None
    result = json.loads((ROOT / match[1]).read_text(encoding="utf-8"))
    assert match[2] == sentence(result)
    assert all(check["passed"] for check in result["checks"])


def test_recordings_beyond_memory_are_those_of_the_result_file() -> None:
    from benchmarks.beyond_memory import checks, sentence, table

    match = re.search(r"<!-- beyond: (\S+) -->\n(.*?)\n\n`examples/12", TEXT, re.DOTALL)
    assert match is not None
    result = json.loads((ROOT / match[1]).read_text(encoding="utf-8"))
    assert match[2] == f"{table(result)}\n\n{sentence(result)}"
    assert result["checks"] == checks(result["sources"])
    assert all(check["passed"] for check in result["checks"])
    assert all(row["kernel_off"] < 1e-13 for row in result["sources"])


def test_small_problems_are_those_of_the_result_file() -> None:
    from benchmarks.small import sentence

    match = re.search(r"<!-- small: (\S+) -->\n(.*?)\n\n", TEXT, re.DOTALL)
    assert match is not None
    result = json.loads((ROOT / match[1]).read_text(encoding="utf-8"))
    assert match[2] == sentence(result)


def test_robust_fits_are_those_of_the_result_file() -> None:
    from benchmarks.robust import table

    match = re.search(r"<!-- robust: (\S+) -->\n(.*?)\n\n", TEXT, re.DOTALL)
    assert match is not None
    result = json.loads((ROOT / match[1]).read_text(encoding="utf-8"))
    assert match[2] == table(result)
    assert all(check["passed"] for check in result["checks"])


def test_coverage_is_that_of_the_result_file() -> None:
    from benchmarks.coverage import sentence, table

    match = re.search(r"<!-- coverage: (\S+) -->\n(.*?)\n\n## ", TEXT, re.DOTALL)
    assert match is not None
    result = json.loads((ROOT / match[1]).read_text(encoding="utf-8"))
    assert match[2] == f"{table(result)}\n\n{sentence(result)}"


def test_smooth_inputs_come_from_the_result_file() -> None:
    match = re.search(r"<!-- smooth: (\S+) -->\n(.*?)\n## ", TEXT, re.DOTALL)
    assert match is not None
    result = json.loads((ROOT / match[1]).read_text(encoding="utf-8"))
    assert all(check["passed"] for check in result["checks"])
    names = {
        "the kernel itself": "truth",
        "convsolve, `ridge=report.ridge_for(1e3)`": "convsolve, ridge_for(1e3)",
        "`numpy.linalg.lstsq`": "numpy lstsq",
        "scikit-learn `Ridge(0)`": "scikit-learn Ridge(0)",
    }
    rows = [line.strip("|").split("|") for line in match[2].splitlines() if line.startswith("|")][
        2:
    ]
    assert {row[0].strip() for row in rows} == set(names)
    parts = [result["smooth"][which] for which in ("band-limited", "low-passed")]
    for label, *cells in ([cell.strip() for cell in row] for row in rows):
        for cell, part in zip(cells, parts, strict=True):
            value = part["largest_tap"][names[label]]
            assert cell == (f"{value:.1f}" if value < 100 else f"{value:.0e}")
    limited, gentle = parts
    long = result["sizes"]["long"]
    for told in (
        f'"{limited["verdict"]}", rank {limited["rank"]} of 40 with no gap',
        f"a condition of {limited['condition_of_the_matrix']:.0e}",
        f'"{gentle["verdict"]}", condition {gentle["condition_of_the_matrix"]:.0e}, '
        f"all {gentle['weakly_determined']} taps",
        f"condition take {long['identify']['seconds']['median']:.1f} s and "
        f"{long['identify']['peak_mb']} MB, {long['ratio']:.2f} of the time of the solve",
        f"noise gain of up to {gentle['noise_gain'][1]:.0e}",
    ):
        assert told in " ".join(match[2].split())


def test_the_doctest_of_the_package() -> None:
    assert doctest.testmod(convsolve).failed == 0
    assert doctest.testmod(convsolve).attempted == 4
