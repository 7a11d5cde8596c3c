"""What convsolve runs on: versions, BLAS, cores, devices, precision, and one problem solved."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from .. import __version__
from ..parallel import cores
from .methods import without_device

NEEDED = ("numpy", "scipy", "jax", "jaxlib", "optax", "threadpoolctl")
# The packages that each extra is there for.
EXTRAS: dict[str, tuple[str, ...]] = {
    "plot": ("matplotlib",), "cli": ("tqdm", "argcomplete"), "hdf5": ("h5py",), "zarr": ("zarr",),
    "dask": ("dask", "distributed"), "frames": ("pandas", "xarray"), "sklearn": ("scikit-learn",),
    "mne": ("mne",),
}  # fmt: skip
KERNEL = (0.5, -2.0, 1.0, 3.0)
# Units of rounding that a certificate of the default solver keeps below.
MOST_EPS = 30


def examined() -> dict[str, Any]:
    """Return the report as plain data; ``trouble`` has the error of a check that failed."""
    devices, eps, off, x64, blas, trouble = [], np.nan, np.nan, False, [], ""
    try:
        import jax
        from threadpoolctl import threadpool_info

        blas = [
            f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads"
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        ]
        devices = [f"{device.platform} {device.device_kind}" for device in jax.devices()]
        x64 = jax.numpy.result_type(float) == np.float64
        eps, off = _solved()
    except (ImportError, RuntimeError, AssertionError) as error:
        trouble = " ".join(str(error).split()) or without_device() or type(error).__name__
    return {
        "convsolve": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in NEEDED},
        "extras": {
            extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()
        },
        "blas": blas,
        "cores": cores(),
        "devices": devices,
        "x64": x64,
        "certificate_eps": eps,
        "kernel_error": off,
        "trouble": trouble,
        "ok": not trouble and eps <= MOST_EPS and off < 1e-12,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _solved() -> tuple[float, float]:
    """Solve a known problem: its certificate in units of rounding, and the error of its kernel."""
    from ..api import solve
    from ..problem.problem import Problem

    x = np.random.default_rng(0).standard_normal(2000)
    y = np.convolve(x, KERNEL)[: len(x)]
    fit = solve(Problem(x, y, lags=(0, len(KERNEL) - 1), edges="zeros"))
    assert fit.backward_error is not None  # least squares has one
    off = np.abs(fit.impulse_response - KERNEL).max()
    return fit.backward_error / float(np.finfo(float).eps), float(off)


def text(found: dict[str, Any]) -> str:
    """Return the report as lines of text."""

    def listed(several: Sequence[str]) -> str:
        return "; ".join(dict.fromkeys(several)) or "none"

    installed, absent = [], []
    for extra, packages in found["extras"].items():
        installed += [f"{name} {number}" for name, number in packages.items() if number]
        absent += [extra] * (not all(packages.values()))
    precision = "on" if found["x64"] else "off: convsolve solves in float64 all the same"
    worked = "solved and certified" if found["ok"] else "NOT SOLVED AS IT SHOULD BE"
    eps, off = found["certificate_eps"], found["kernel_error"]
    how = found["trouble"] or f"certificate {eps:.1f} eps, kernel off by {off:.0e}"
    lines = [
        f"convsolve {found['convsolve']}, Python {found['python']}, {found['system']}",
        "needed    " + ", ".join(f"{k} {v or 'MISSING'}" for k, v in found["packages"].items()),
        "extras    " + (", ".join(installed) or "none"),
    ]
    if absent:
        lines.append(f"absent    {', '.join(absent)}: pip install 'convsolve[{','.join(absent)}]'")
    return "\n".join(
        [
            *lines,
            f"BLAS      {listed(found['blas'])}",
            f"cores     {found['cores']} used",
            f"JAX on    {listed(found['devices'])} ({len(found['devices'])})",
            f"float64   of JAX {precision}",
            f"a problem {worked}: {how}",
        ]
    )
