"""The machine of a measurement: its stamp, without its name; fresh processes on it; summaries."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def stamp(packages: Sequence[str]) -> dict[str, Any]:
    """Processor, memory, system, Python, and the version of each package (None: not installed)."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "os": _system(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
    }


def now() -> str:
    """The date and the time in UTC, to the minute."""
    return datetime.now(UTC).isoformat(timespec="minutes")


def load() -> float | None:
    """How many processes the system ran on average over the last minute, this one among them."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def process(code: str, **environment: str) -> tuple[float, str]:
    """Wall time of a fresh Python that runs ``code`` from the root of the tree, and its output."""
    # A compilation cache of the user's would hide what a fresh process costs.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMP", "JAX_PERS"))}
    command = [sys.executable, "-c", code]
    begun = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"a measured process failed:\n{code}\n{done.stderr}")
    return wall, done.stdout


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median, least and largest to four digits, and how many."""
    found = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
    return {name: float(f"{value:.4g}") for name, value in found.items()} | {"runs": len(seconds)}


def report(result: dict[str, Any], path: Path) -> None:
    """Write a result file, and print whether its ``checks`` passed."""
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for check in result["checks"]:
        print("PASS" if check["passed"] else "FAIL", check["promise"], check.get("figures", ""))


def _field(path: str, name: str) -> str | None:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(rf"^{name}\s*:(.*)$", text, re.MULTILINE)
    return None if found is None else found[1].strip()


def _memory_gib() -> float | None:
    total = _field("/proc/meminfo", "MemTotal")
    return None if total is None else round(int(total.split()[0]) / 2**20, 1)


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
