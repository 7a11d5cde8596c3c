"""A kernel as labelled arrays of xarray, from which pandas makes a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from .solution_facts import coefficient_entries

NEEDED = "tables need pandas and xarray: pip install 'convsolve[frames]'"


def table_of(content: Any) -> Any:
    """Return a data frame of rows or columns."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(NEEDED) from error
    return pd.DataFrame(content)


def to_xarray(fit: Any) -> Any:
    """Return a dataset of values per tap in ascending lags, of the bias and of coefficients.

    With several groups, ``channel`` is counted within a group, and ``first_channel`` is the first
    channel in the group of an output.
    """
    try:
        import xarray as xr
    except ImportError as error:
        raise ImportError(NEEDED) from error
    (*taps, each, outputs), groups = fit.kernel.shape, fit._spec.groups
    axes = ["lag"] if len(taps) == 1 else [f"lag{axis}" for axis in range(len(taps))]
    coords: dict[str, Any] = {a: v[::-1] for a, v in zip(axes, fit._model.lags, strict=True)}
    coords |= {"channel": fit.channels if groups == 1 else [*range(each)], "output": fit.outputs}
    if fit._names.fs is not None:
        coords["time"] = ("lag", fit.times)
    if groups > 1:
        first = np.arange(outputs) // (outputs // groups) * each
        coords["first_channel"] = ("output", np.array(fit.channels)[first])
    per_tap = {"weight": fit.kernel, "standard_error": (fit._affordable_errors() or [None])[0]}
    arrays: dict[str, Any] = {
        name: ((*axes, "channel", "output"), np.flip(np.asarray(value), (*range(len(axes)),)))
        for name, value in per_tap.items()
        if value is not None
    }
    if found := coefficient_entries(fit):
        coords["coefficient"] = found.pop("coefficient_names")
        arrays |= {name: (("coefficient", "output"), value) for name, value in found.items()}
    arrays["bias"] = (("output",), np.asarray(fit.bias))
    return xr.Dataset(arrays, coords)


def to_dataframe(fit: Any) -> Any:
    """Return a row per tap in the window of its channel, by output, channel and ascending lag."""
    data, (each, outputs) = to_xarray(fit), fit.kernel.shape[-2:]
    axes = data["weight"].dims[:-2]
    columns = ["time"] * ("time" in data.coords)
    columns += [name for name in ("weight", "standard_error") if name in data]
    order = ["output", "channel", *axes]
    table = data[columns].to_dataframe(order).reset_index()[[*order, *columns]]
    if fit._spec.groups > 1:
        of = np.arange(outputs).repeat(each) // (outputs // fit._spec.groups) * each
        names = np.array(fit.channels)[of + np.tile(np.arange(each), outputs)]
        table["channel"] = names.repeat(len(table) // len(names))
    if fit._space is None:
        return table
    kept = fit._space.kept[::-1].T.ravel()
    return table[np.tile(kept, outputs)].reset_index(drop=True)
