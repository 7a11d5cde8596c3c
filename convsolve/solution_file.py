"""Solutions in files: npz without pickle."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .files import read_npz, write_npz
from .leastsquares.certificate import Certificate
from .problem.spec import ConvSpec
from .solvers.base import SolverResult, Trace

VERSION = 1


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
        "certificate": fit._certificate and list(fit._certificate),
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
        if about["version"] != VERSION:
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
            from .inference.errors import NoiseEstimate

            model = arrays.get("noise_order"), arrays.get("noise_ar")
            noise = NoiseEstimate(about["noise"], arrays["noise"], arrays["dof"], *model)
            errors = arrays["standard_error"], noise
        bound = about["certificate"]
        estimate = SolverResult(
            kernel,
            arrays["bias"],
            status=about["status"],
            stats=about["stats"],
            certificate=bound and Certificate(*bound),
            trace=trace,
            regularization=chosen,
        )
        return {
            "estimate": estimate,
            "recipe": about["recipe"],
            "spec": ConvSpec(**about["spec"]),
            "tap_lags": tuple(arrays[f"lags{i}"] for i in range(kernel.ndim - 2)),
            "y_channel_axis": about["y_channel_axis"],
            "saved_errors": errors,
            "saved_coefficient_error": arrays.get("coefficient_error"),
        }
    except KeyError as error:
        raise ValueError(f"{path}: incomplete solution file, {error} is missing") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as a solution: {error}") from error
