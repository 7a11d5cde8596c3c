"""The benchmarks run; what time they measure is no business of a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def quick(name: str, out: Path) -> dict[str, Any]:
    root = Path(__file__).parents[2]
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


def test_rows(tmp_path: Path) -> None:
    result = quick("rows", tmp_path / "result.json")
    assert {row["status"] for row in result["problems"]} == {"solved"}
    assert result["digits"]["convsolve"] < 1e-9 < result["digits"]["lstsq of all columns"]


def test_round_trips(tmp_path: Path) -> None:
    result = quick("round_trips", tmp_path / "result.json")
    found = {name for name, row in result["libraries"].items() if row is not None}
    assert {"pandas", "xarray", "MNE"} <= found  # the others may not be there
    assert [check["promise"] for check in result["checks"] if not check["passed"]] == []
    assert len(result["checks"]) == len(found)


def test_sums(tmp_path: Path) -> None:
    result = quick("sums", tmp_path / "result.json")
    assert [row["convsolve"]["status"] for row in result["rows"]] == ["solved"] * 4
    assert all(row["least_cpu_ratio"] > 0 for row in result["rows"])
    assert all(check["passed"] for check in result["checks"] if "30 eps" in check["promise"])


def test_epochs(tmp_path: Path) -> None:
    result = quick("epochs", tmp_path / "result.json")
    for row in result["rows"]:
        assert row["times_of_plain"]["nothing"] == 1
        assert row["off_lstsq"] < 1e-14


def test_small_problems(tmp_path: Path) -> None:
    result = quick("small", tmp_path / "result.json")
    assert len(result["groups"]) == 5
    for row in result["groups"]:
        found = row["convsolve"]
        assert found["status"] == "solved"
        assert found["certificate_eps"] <= 30
        assert found["off_lstsq"] < 1e-12
    for row in result["vmap"]:
        assert max(row["convsolve"]["off_lstsq"].values()) < 1e-10
    assert result["short"]["convsolve"]["off_exact"] < 1e-10


def test_the_choice_of_solver(tmp_path: Path) -> None:
    result = quick("choice", tmp_path / "result.json")
    assert len(result["rows"]) == 12
    for row in result["rows"]:
        assert row["both_solved"]
        assert row["ratio"] > 0
        assert row["chosen"] == "NormalEquations"


def test_robust_fits(tmp_path: Path) -> None:
    result = quick("robust", tmp_path / "result.json")
    assert [row["channels"] for row in result["rows"]] == [4, 1]
    for row in result["rows"]:
        absolute, huber = row["LeastAbsolute"], row["Huber"]
        assert absolute["gap"] <= 1e-8
        assert max(map(abs, absolute["loss_above_ours"].values())) <= 1e-8
        assert huber["gap"] <= 1e-8
        assert huber.get("off_RLM", 0.0) <= 1e-10  # statsmodels may not be there
        assert {"convsolve", "HiGHS, dual simplex"} <= set(absolute["seconds"])
    assert len(result["checks"]) in (6, 12)


def test_devices(tmp_path: Path) -> None:
    result = quick("devices", tmp_path / "result.json")
    assert len(result["workloads"]) == 3
    for row in result["workloads"].values():
        assert row["devices"].startswith(result["devices"])
        assert row["kernel_error"] < 1e-12
        assert max(row["certificate_eps"].values()) <= 30
        assert row["seconds"]["host"]["median"] > 0
    for row in result["descents"].values():
        for device in row.values():
            assert device["steps"] == 20
            assert device["kernel_error"] < 1e-9


def test_coverage(tmp_path: Path) -> None:
    result = quick("coverage", tmp_path / "result.json")
    sizes = [(row["samples"], row["taps"]) for row in result["rows"]]
    assert sizes == [(300, 20)] * 4 + [(2000, 40)] * 4
    for row in result["rows"]:
        for method in ("white", "ar", "hac"):
            assert row[method]["taps"]["coverage"] > 0.6
    others = {"r2 intervals": 45, "cluster bands": 8, "permutation tests": 7, "short sums": 16}
    others |= {"several sums": 8, "unequal records": 3}
    assert {name: len(result[name]) for name in others} == others
    assert len(result["checks"]) == 12 + 45 + 8 + 9 + 18 + 16 + 8
    assert set(result["costs"]) == {"white", "ar", "hac", "cluster"}


def test_peers(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    result = quick("peers", out)
    assert len(result["workloads"]) == 4
    for workload in result["workloads"].values():
        rows = workload["methods"]
        assert all(row is None or row["status"] == "ok" for row in rows.values())
        ours = [row for name, row in rows.items() if name.startswith("convsolve")]
        assert ours
        for row in ours:
            assert row["exact"]
            assert row["cold"] > row["warm"]["median"] > 0
            assert row["peak_mb"] >= row["before_mb"] > 0
        if rows.get("convsolve"):
            assert {"the solver", "the rest"} <= set(rows["convsolve"]["parts"])
        assert workload["times_the_fft"] > 0
        assert rows[workload["fastest_exact_peer"]]["exact"]  # SciPy is always there
    one_channel = result["workloads"]["1 000 samples, 1 → 1, 30 taps"]["methods"]
    assert not one_channel["solve_toeplitz"]["exact"]
    assert {goal["passed"] for goal in result["goals"]} <= {True, False}
    assert set(result["growth"]["samples"]) == {"1000", "2000"}

    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benchmarks.peers", "--table", "--picture", "--out", str(out)]
    told = subprocess.run(command, check=True, capture_output=True, cwd=root, encoding="utf-8")
    assert len(told.stdout.splitlines()) == 2 + len(result["workloads"])
    assert out.with_suffix(".png").stat().st_size > 10_000
