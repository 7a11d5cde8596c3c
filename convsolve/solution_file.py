"""Solutions in files: npz without pickle."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .components import parse
from .facts import plain
from .io import write_new
from .leastsquares.certificate import Certificate
from .model import Model
from .noise import NoiseModel
from .problem.kernel_space import kernel_space
from .problem.names import Names
from .problem.spec import ConvSpec
from .solution_facts import coefficient_entries
from .solvers.base import SolverResult, Trace

# Begins the names of arrays of a `NoiseEstimate`.
NOISE = "noise_"


def write_solution(fit: Any, path: str | Path, overwrite: bool) -> None:
    """Write kernel, bias, errors, geometry and stats of a `Solution` to a file.

    Raises:
        FileExistsError: If the file exists and ``overwrite`` is False.
    """
    model, report, errors = fit._model, fit.identifiability, fit._affordable_errors()
    entries = {
        "recipe": model.recipe,
        "spec": asdict(model.spec),
        "channel_axis": model.channel_axis,
        "status": fit.status,
        "certificate": fit._certificate,
        "stats": fit.stats | ({} if report is None else {"identifiability": report.to_dict()}),
        "regularization": fit.regularization,
        "kernel": np.asarray(fit.kernel),
        "bias": np.asarray(fit.bias),
    }
    entries |= {f"lags{i}": lags for i, lags in enumerate(model.lags)}
    if errors is not None:
        entries |= {"standard_error": errors[0]} | coefficient_entries(fit)
        entries |= {NOISE + name: value for name, value in vars(errors[1]).items()}
    if fit.trace is not None:
        entries |= {"trace_steps": fit.trace.steps, "trace_losses": fit.trace.losses}
    arrays = {k: value for k, value in entries.items() if isinstance(value, np.ndarray)}
    about = json.dumps({k: plain(value) for k, value in entries.items() if k not in arrays})
    arrays["about"] = np.frombuffer(about.encode(), np.uint8)
    write_new(path, lambda file: np.savez(file, allow_pickle=False, **arrays), overwrite)


def read_solution(path: str | Path) -> tuple[Model, SolverResult, NoiseModel, Any]:
    """Return the model, the estimate, the noise model and the errors of the `Solution` in a file.

    Raises:
        ValueError: If the file has no solution.
    """
    from .inference.errors import NoiseEstimate
    from .inference.regularization import Regularization

    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                entries: dict[str, Any] = dict(archive)
            entries |= json.loads(entries.pop("about").tobytes())
            saved, chosen, steps = None, entries["regularization"], entries.get("trace_steps")
            if "standard_error" in entries:
                kept = {k[len(NOISE) :]: v for k, v in entries.items() if k.startswith(NOISE)}
                errors = entries["standard_error"], NoiseEstimate(**kept)
                saved = *errors, entries.get("coefficient_error")
            found = SolverResult(
                **{name: entries[name] for name in ("kernel", "bias", "status", "stats")},
                trace=None if steps is None else Trace(steps, entries["trace_losses"], {}),
                certificate=entries["certificate"] and Certificate(**entries["certificate"]),
                regularization=chosen and Regularization.from_dict(chosen),
            )
            return _model(entries), found, parse("noise", found.stats["noise"]), saved
        except Exception as error:
            why = f"no solution that Solution.save wrote ({error or type(error).__name__})"
            raise ValueError(f"{path}: {why}") from error


def _model(entries: dict[str, Any]) -> Model:
    """Return the model of a file."""
    kernel, spec, recipe = entries["kernel"], ConvSpec(**entries["spec"]), entries["recipe"]
    lags = tuple(entries[f"lags{i}"] for i in range(spec.ndim))
    windows = recipe.get("windows") and dict(enumerate(map(tuple, recipe["windows"])))
    given = lags, Names.from_dict(recipe), kernel.shape[-2] * spec.groups, spec.groups
    space = kernel_space(recipe.get("basis"), windows, *given)
    return Model(kernel, entries["bias"], recipe, spec, lags, space, entries["channel_axis"])
