"""`convsolve doctor`: what it runs on, and whether a problem is solved."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any
from unittest.mock import Mock

import jax
import numpy as np
import pytest

from convsolve.cli import doctor


def test_it_names_versions_devices_and_the_certificate(run: Any) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    for package in ("numpy", "jax", "zarr", "scikit-learn", "pandas", "xarray"):
        assert f"{package} {version(package)}" in out
    code, out, _ = run("doctor --json")
    found = json.loads(out)
    assert (code, found["ok"]) == (0, True)
    assert f"numpy {np.__version__}" in found["packages"]
    assert len(found["devices"]) == len(jax.devices())
    assert 0 <= found["certificate_eps"] <= 30


def test_a_fault_is_reported_and_ends_with_status_one(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_certificate", lambda: 31.0)
    assert run("doctor")[0] == 1
    monkeypatch.setattr(jax, "devices", Mock(side_effect=RuntimeError("no backend")))
    code, out, _ = run("doctor")
    assert (code, "no backend" in out) == (1, True)
