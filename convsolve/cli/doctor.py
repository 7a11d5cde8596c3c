"""Versions, BLAS, cores and devices, and one problem that is solved."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

import convsolve as cs

from ..parallel import cores

PACKAGES = (
    "convsolve numpy scipy jax jaxlib optax threadpoolctl matplotlib tqdm argcomplete h5py zarr "
    "dask pandas xarray scikit-learn mne"
)
# Units of rounding that a certificate of the default solver keeps below.
MOST_EPS = 30


def examined() -> dict[str, Any]:
    """Return the report as plain data; ``trouble`` has the error of a part that failed."""
    found: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    found |= {"packages": [], "cores": cores()}
    for name in PACKAGES.split():
        with suppress(PackageNotFoundError):
            found["packages"].append(f"{name} {version(name)}")
    try:
        import jax
        from threadpoolctl import threadpool_info

        found["blas"] = [f"{p['internal_api']} {p['version']}" for p in threadpool_info()]
        found["devices"] = [f"{d.platform} {d.device_kind}" for d in jax.devices()]
        found["certificate_eps"] = _certificate()
    except (ImportError, RuntimeError, AssertionError) as error:
        found["trouble"] = " ".join(str(error).split()) or type(error).__name__
    return found | {"ok": found.get("certificate_eps", np.inf) <= MOST_EPS}


def _certificate() -> float:
    """Return the backward error of a small problem in units of rounding."""
    x = np.random.default_rng(0).standard_normal(2000)
    y = np.convolve(x, [0.5, -2.0, 1.0])[:2000]
    fit = cs.solve(cs.Problem(x, y, lags=(0, 2), edges="zeros"))
    return float(fit.backward_error or 0.0) / float(np.finfo(float).eps)


def text(found: dict[str, Any]) -> str:
    """Return the report as lines of text."""
    words = ((k, ", ".join(v) if isinstance(v, list) else v) for k, v in found.items())
    return "\n".join(f"{key:16}{word}" for key, word in words)
