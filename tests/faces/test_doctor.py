"""`convsolve doctor`: what it runs on, and whether a problem is solved."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any
from unittest.mock import Mock

import jax
import numpy as np
import pytest

import convsolve as cs
from convsolve.cli import doctor


def test_it_names_versions_devices_and_precision(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    for package in ("numpy", "jax", "zarr", "scikit-learn", "pandas", "xarray"):
        assert f"{package} {version(package)}" in out
    assert f"convsolve {cs.__version__}, Python 3." in out
    assert "absent" not in out
    assert "JAX on    cpu cpu (4)" in out
    assert "solves in float64 all the same" in out
    assert "a problem solved and certified" in out
    code, out, _ = run("doctor --json")
    found = json.loads(out)
    assert (code, found["ok"]) == (0, True)
    assert found["packages"]["numpy"] == np.__version__
    assert len(found["devices"]) == len(jax.devices())
    assert 0 <= found["certificate_eps"] <= 30
    monkeypatch.setitem(doctor.EXTRAS, "mne", ("mne", "no-such-package"))
    assert "absent    mne: pip install 'convsolve[mne]'" in run("doctor")[1]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, "certificate 31.0 eps"),
        (RuntimeError("Unable to initialize backend"), "Unable to initialize backend"),
        (AssertionError(), "JAX_PLATFORMS=cuda"),  # where CUDA sees no card jax says nothing
    ],
)
def test_a_fault_is_reported_and_ends_with_status_one(
    run: Any, monkeypatch: pytest.MonkeyPatch, error: Exception | None, words: str
) -> None:
    if error is None:
        monkeypatch.setattr(doctor, "_solved", lambda: (31.0, 1e-15))
    else:
        monkeypatch.setenv("JAX_PLATFORMS", "cuda")
        monkeypatch.setattr(jax, "devices", Mock(side_effect=error))
    code, out, _ = run("doctor")
    assert code == 1
    assert f"numpy {version('numpy')}" in out
    assert f"a problem NOT SOLVED AS IT SHOULD BE: {words}" in out
    code, out, _ = run("doctor --json")
    assert (code, json.loads(out)["certificate_eps"]) == (1, None if error else 31.0)
