"""The benchmarks run; what time they measure is no business of a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def quick(name: str, out: Path) -> dict[str, Any]:
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run(command, check=True, capture_output=True, cwd=root, env=environment)
    result = json.loads(out.read_text(encoding="utf-8"))
    assert {"cpu", "cores", "python", "packages"} <= set(result["machine"])
    return result


def test_the_notebook(tmp_path: Path) -> None:
    result = quick("notebook", tmp_path / "result.json")
    for part in ("warm", "cold"):
        rows = result[part]["two channels"]
        assert {"convsolve Adam", "convsolve default", "NormalEquations"} <= set(rows)
        assert all(row["seconds"]["median"] > 0 for row in rows.values())
        assert rows["convsolve default"]["kernel_error"] < 1e-12
        assert rows["convsolve Adam"]["kernel_error"] < 0.2
    assert result["start"]["import convsolve"]["imports_jax"] is False


def test_identifiability(tmp_path: Path) -> None:
    result = quick("identifiability", tmp_path / "result.json")
    assert set(result["sizes"]) == {"long", "steep"}
    for row in result["sizes"].values():
        assert row["identify"]["verdict"] == "overdetermined"
        assert row["solve"]["status"] == "solved"
    limited = result["smooth"]["band-limited"]
    assert limited["largest_tap"]["convsolve, ridge_for(1e3)"] < 10
    assert limited["largest_tap"]["numpy lstsq"] > 1e8
