"""The benchmark runs; what it measures is no business of a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_the_quick_profile_writes_a_result(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.notebook", "--quick", "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run(command, check=True, capture_output=True, cwd=root, env=environment)
    result = json.loads(out.read_text(encoding="utf-8"))
    for part in ("warm", "cold"):
        rows = result[part]["two channels"]
        assert {"convsolve Adam", "convsolve default", "NormalEquations"} <= set(rows)
        assert all(row["seconds"]["median"] > 0 for row in rows.values())
        assert rows["convsolve default"]["kernel_error"] < 1e-12
        assert rows["convsolve Adam"]["kernel_error"] < 0.2
    assert result["start"]["import convsolve"]["imports_jax"] is False
    assert {"cpu", "cores", "python", "packages"} <= set(result["machine"])
