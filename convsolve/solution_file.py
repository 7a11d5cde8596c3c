"""Solutions in files: npz without pickle."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .files import read_npz, write_npz
from .problem.lags import LagWindow
from .problem.spec import ConvSpec
from .solvers.base import Trace

# Version 1 lacks the settings, the penalty and the version of convsolve. Before version 3, the
# order of an autoregression is in brackets, and "loss" is the loss after the last step.
VERSION, READ = 3, (1, 2, 3)
# Arguments of `Problem` that had another name in earlier files.
_RENAMED = {"out_channels": "n_outputs"}


def write_solution(fit: Any, path: str | Path, overwrite: bool) -> None:
    """Write kernel, bias, geometry and stats of a `Solution` to a file.

    Raises:
        FileExistsError: If the file exists and ``overwrite`` is False.
    """
    report, chosen = fit.identifiability, fit.regularization
    stats = dict(fit.stats)
    if report is not None:
        stats["identifiability"] = report.to_dict()
    about = {
        "version": VERSION,
        "recipe": fit._recipe,
        "spec": asdict(fit._spec),
        "y_channel_axis": fit._channel_axis,
        "status": fit.status,
        "certificate": fit._certificate,
        "stats": stats,
        "regularization": None if chosen is None else chosen.to_dict(),
    }
    arrays: dict[str, Any] = {"kernel": np.asarray(fit.kernel), "bias": np.asarray(fit.bias)}
    arrays |= {f"lags{i}": lags for i, lags in enumerate(fit._tap_lags)}
    errors = fit._affordable_errors()
    if errors is not None:
        error, noise = errors
        about["noise"] = noise.kind
        arrays |= {"standard_error": error, "dof": noise.dof, "noise": noise.variance}
        if noise.order is not None and noise.coefficients is not None:
            arrays |= {"noise_order": noise.order, "noise_ar": noise.coefficients}
    if "coefficient_error" in (entries := fit._coefficient_entries()):
        arrays["coefficient_error"] = entries["coefficient_error"]
    if fit.trace is not None:
        arrays |= {"trace_steps": fit.trace.steps, "trace_losses": fit.trace.losses}
    encoded = np.frombuffer(json.dumps(about).encode(), np.uint8)
    write_npz(path, arrays | {"about": encoded}, overwrite=overwrite)


def read_solution(path: str | Path) -> dict[str, Any]:
    """Return the arguments of the `Solution` in a file.

    Raises:
        ValueError: If the file is damaged, has no solution, or has an unknown version.
    """
    arrays = read_npz(path)
    if "about" not in arrays:
        raise ValueError(
            f"{path}: no solution that was saved by Solution.save (it has {', '.join(arrays)})"
        )
    try:
        about = json.loads(arrays["about"].tobytes().decode())
        if about["version"] not in READ:
            raise ValueError(f"version {about['version']} is not known; update convsolve")
        kernel = arrays["kernel"]
        if kernel.dtype.kind != "f" or not 3 <= kernel.ndim <= 5:
            raise ValueError(f"its kernel has shape {kernel.shape} and dtype {kernel.dtype}")
        trace = None
        if "trace_steps" in arrays:
            trace = Trace(arrays["trace_steps"], arrays["trace_losses"], {})
        chosen = about.get("regularization")
        if chosen is not None:
            from .inference.regularization import Regularization

            chosen = Regularization.from_dict(chosen)
        errors = None
        if "noise" in about:
            from .inference.uncertainty import NoiseEstimate

            model = arrays.get("noise_order"), arrays.get("noise_ar")
            noise = NoiseEstimate(about["noise"], arrays["noise"], arrays["dof"], *model)
            errors = arrays["standard_error"], noise
        return {
            "kernel": kernel,
            "bias": arrays["bias"],
            "recipe": {_RENAMED.get(key, key): value for key, value in about["recipe"].items()},
            "spec": _spec(about),
            "tap_lags": tuple(arrays[f"lags{i}"] for i in range(kernel.ndim - 2)),
            "y_channel_axis": about["y_channel_axis"],
            "status": about["status"],
            "stats": _stats(about["stats"]),
            "certificate": about["certificate"],
            "trace": trace,
            "regularization": chosen,
            "saved_errors": errors,
            "saved_coefficient_error": arrays.get("coefficient_error"),
        }
    except KeyError as error:
        raise ValueError(f"{path}: incomplete solution file, {error} is missing") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as a solution: {error}") from error


def _stats(stats: dict[str, Any]) -> dict[str, Any]:
    """Return the stats under their present names."""
    noise = str(stats.get("noise", "white")).replace("(", "").replace(")", "")
    if isinstance(stats.get("loss"), (int, float)):
        stats["final_loss"] = stats.pop("loss")
    return stats | {"noise": noise}


def _spec(about: dict[str, Any]) -> ConvSpec:
    """Return the geometry. Earlier files lack the offset of circular lags."""
    recipe = about["recipe"]
    if "lags" not in recipe:
        return ConvSpec(**about["spec"])
    return LagWindow.of(recipe["lags"], recipe["edges"]).geometry(recipe["groups"])[0]
