"""Every benchmark runs, and its solutions are exact. Times are not checked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
# Numbers of a result file below which a solution is exact.
LIMITS = {"certificate_eps": 30.0, "off_lstsq": 1e-12, "off_exact": 1e-10, "gap": 1e-8}
# What a promise says that is about solutions. Others are about times or memory, or are statistics.
EXACT = re.compile(r"30 eps|1e-\d|certified|determined|told|bounds the answer|imports no jax")
NAMES = (
    "identifiability", "rows", "round_trips", "sums", "epochs", "events", "bases", "choice",
    "audio", "robust", "devices", "coverage", "peers", "banded", "long_kernels",
    "early_stopping", "descent",
)  # fmt: skip


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, check=True, capture_output=True, cwd=ROOT, env=environment, encoding="utf-8"
    ).stdout


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a document with the last name above it."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers(part, key if key in LIMITS else name)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part, name)
    elif isinstance(value, (int, float)):
        yield name, value


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    few = ("--only", "2 × 500") if name == "peers" else ()
    run(name, "--quick", *few, "--out", str(out))
    result = json.loads(out.read_text(encoding="utf-8"))
    assert {"cpu", "cores", "python", "packages"} <= set(result["machine"])
    for kind, number in numbers(result):
        assert number <= LIMITS.get(kind, float("inf")), kind
    checks = [check for check in result.get("checks", []) if EXACT.search(check["promise"])]
    assert [check for check in checks if not check["passed"]] == []
    if name == "choice":
        assert all(row["both_solved"] for row in result["rows"])
    if name == "peers":
        for workload in result["workloads"].values():
            ours = [row for kind, row in workload["methods"].items() if kind.startswith("convs")]
            assert {row["exact"] for row in ours} == {True}


def test_the_benchmark_of_the_notebook_solves_its_problem() -> None:
    """Without its processes and Keras, which take minutes."""
    from benchmarks import notebook

    case = {"two channels": notebook.CASES["two channels"]}
    methods = ["convsolve default", notebook.ADAM]
    default, adam = notebook.measure_warm(case, methods, 1)["two channels"].values()
    assert default["kernel_error"] < 1e-12 < adam["kernel_error"] < 0.1
