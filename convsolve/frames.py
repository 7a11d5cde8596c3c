"""A kernel as a table of pandas, or as labelled arrays of xarray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .problem.names import Names


@contextmanager
def _needing(package: str) -> Iterator[None]:
    """Raise an ImportError with the command that installs a missing package."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"this needs {package}: pip install 'convsolve[frames]'") from error


def table_of(rows: list[dict[str, Any]]) -> Any:
    """Return a data frame with a row per dict."""
    with _needing("pandas"):
        import pandas as pd
    return pd.DataFrame(rows)


def to_dataframe(
    kernel: np.ndarray,
    lags: tuple[np.ndarray, ...],
    groups: int,
    names: Names,
    others: dict[str, np.ndarray],
    modelled: np.ndarray | None = None,
) -> Any:
    """Return a data frame with a row per tap, ordered by output, channel and ascending lag.

    The kernel is ``(*K, Cin/groups, Cout)``. ``lags`` has the lags of every axis in kernel order,
    and ``others`` has further columns, kernel-shaped. ``modelled`` has flags of the taps that have
    a row, kernel-shaped, or is None for all of them.
    """
    with _needing("pandas"):
        import pandas as pd
    *taps, each, outputs = kernel.shape
    place = np.indices((outputs, each, *taps)).reshape(2 + len(taps), -1)
    output, within, *k = place
    channel = output // (outputs // groups) * each + within
    columns: dict[str, Any] = {
        "output": np.array(names.all("output", outputs))[output],
        "channel": np.array(names.all("channel", each * groups))[channel],
    }
    for axis, (index, values) in enumerate(zip(k, lags, strict=True)):
        name = "lag" if len(lags) == 1 else f"lag{axis}"
        columns[name] = values[::-1][index]
    if names.fs is not None:
        columns["time"] = columns["lag"] / names.fs

    def column(values: np.ndarray) -> np.ndarray:
        ascending = values[(slice(None, None, -1),) * len(taps)]
        return np.moveaxis(ascending, (-1, -2), (0, 1)).reshape(-1)

    for name, values in ({"weight": kernel} | others).items():
        columns[name] = column(values)
    found = pd.DataFrame(columns)
    return found if modelled is None else found[column(modelled)].reset_index(drop=True)


def to_xarray(
    kernel: np.ndarray,
    bias: np.ndarray,
    lags: tuple[np.ndarray, ...],
    groups: int,
    names: Names,
    others: dict[str, np.ndarray],
) -> Any:
    """Return a dataset of the ``weight`` per tap in ascending lags, ``others``, and the ``bias``.

    With several groups, ``channel`` is counted within a group, and ``first_channel`` is the first
    channel in the group of an output.
    """
    with _needing("xarray"):
        import xarray as xr
    *taps, each, outputs = kernel.shape
    axes = ["lag"] if len(taps) == 1 else [f"lag{axis}" for axis in range(len(taps))]
    channels = names.all("channel", each) if groups == 1 else list(range(each))
    coords: dict[str, Any] = {axis: values[::-1] for axis, values in zip(axes, lags, strict=True)}
    coords |= {"channel": channels, "output": names.all("output", outputs)}
    if names.fs is not None:
        coords["time"] = ("lag", coords["lag"] / names.fs)
    if groups > 1:
        first = np.arange(outputs) // (outputs // groups) * each
        coords["first_channel"] = ("output", np.array(names.all("channel", each * groups))[first])
    reverse = (slice(None, None, -1),) * len(taps)
    dims = (*axes, "channel", "output")
    arrays = {name: (dims, v[reverse]) for name, v in ({"weight": kernel} | others).items()}
    return xr.Dataset(arrays | {"bias": (("output",), bias)}, coords)
