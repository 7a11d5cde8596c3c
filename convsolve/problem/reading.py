"""Reading of the arguments of a `Problem`: every check of bad input is made here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .checks import integer
from .confounds import read_confounds
from .lags import LagWindow
from .masks import ByMask, by_group, check_known, known_rows, present, read_mask, used_rows
from .records import Records, read
from .rows import Rows
from .shapes import check_lengths, check_output, check_windows
from .spec import ConvSpec
from .weights import Weights, read_weights


def read_geometry(
    spec: Any, size: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> tuple[ConvSpec, LagWindow | None, tuple[int, ...]]:
    """Return the geometry, the window of lags that states it or None, and the shift of the lags.

    Raises:
        TypeError, ValueError: If the geometry is given twice or not at all, or is not valid.
    """
    if isinstance(spec, LagWindow):
        made, shift = spec.geometry(groups)
        return made, spec, shift
    if spec is None:
        if size is None:
            raise TypeError("Problem needs kernel_size=..., or a ConvSpec as spec=...")
        spec = ConvSpec(size, stride, padding, dilation, groups)
    elif not isinstance(spec, ConvSpec):
        raise TypeError(f"spec must be a ConvSpec, got {type(spec).__name__}")
    elif any(
        not isinstance(given, (int, str, type(None))) or given != default
        for given, default in (
            (size, None), (stride, 1), (padding, "valid"), (dilation, 1), (groups, 1)
        )
    ):  # fmt: skip
        raise TypeError("give either spec= or kernel_size, stride, padding, dilation and groups")
    return spec, None, (0,) * spec.ndim


def read_data(
    x: Any, y: Any, spec: ConvSpec, window: LagWindow | None, shift: Sequence[int], missing: bool
) -> tuple[Records, Records | None, Rows]:
    """Return the records of x and y, and the rows of the design matrix.

    With a window, y is cut to the rows. NaN is allowed if values may be ``missing``.
    """
    inputs = read(x, "x", spec, missing)
    spec.check_channels(inputs.channels)
    output = None if y is None else read(y, "y", spec, missing)
    if window is not None and output is not None:
        check_lengths(inputs, output)
        output = output.each(window.rows) if window.edges == "drop" else output
    # Lags are shifted where y is trimmed.
    rows = Rows.of(spec, [a.shape[:-1] for a in inputs.arrays], tuple(shift))
    check_windows(spec, window, inputs, rows)
    if output is not None:
        check_output(spec, inputs, output, rows)
    return inputs, output, rows


def read_outputs(given: Any, y: Records | None, names: Any, spec: ConvSpec) -> int:
    """Return the number of outputs, as given, of y, or of a list of names."""
    if y is None and given is None and isinstance(names, (list, tuple)):
        given = len(names)
    found = None if given is None else integer(given, "out_channels")
    if y is not None:
        if found not in (None, y.channels):
            raise ValueError(f"out_channels={found}, but y has {y.channels} channels")
        found = y.channels
    found = spec.groups if found is None else found
    if found % spec.groups:
        raise ValueError(f"groups={spec.groups} does not divide the {found} output channels")
    return found


def read_rows(
    x: Records,
    y: Records | None,
    rows: Rows,
    spec: ConvSpec,
    mask: Any,
    weights: Any,
    window: LagWindow | None,
    missing: str,
    outputs: int,
) -> tuple[ByMask, Weights | None]:
    """Return groups of outputs that use the same rows, with their rows, and the weights.

    Rows that the mask excludes, that have zero weight or that read missing samples are excluded.

    Raises:
        TypeError, ValueError: If the mask or the weights are not valid. If a row that they include
            has a missing sample, unless ``missing`` is "drop".
    """
    like, stated, roots = _shapes_of_y(x, rows, window), [], None
    if mask is not None:
        stated.append(_in_rows(read_mask(mask, like, outputs), window))
    if weights is not None:
        values = _in_rows(read_weights(weights, like), window)
        positive = [
            np.broadcast_to(w > 0, shape)[..., None]
            for w, shape in zip(values, rows.shapes, strict=True)
        ]
        stated += [] if all(f.all() for f in positive) else [positive]
        roots = None if all((w == 1).all() for w in values) else Weights.of_squares(values)
    known = [flags for flags in (known_rows(x, spec, rows.shapes), present(y)) if flags is not None]
    if missing == "raise":
        check_known(stated, known)
    found = used_rows(rows, [*stated, *known], outputs)
    if len(found) > 1 and spec.groups > 1:
        found = by_group(found, outputs // spec.groups)
    return found, roots


def read_columns(
    confounds: Any, spec: ConvSpec, x: Records, by_mask: ByMask, window: LagWindow | None
) -> int | Records | None:
    """Return the degree of a drift, or confounds of the rows.

    Raises:
        TypeError, ValueError: If confounds are not laid out as y, or are missing in rows used in
            the fit.
    """
    if confounds is None:
        return None
    found = read_confounds(confounds, spec)
    if not isinstance(found, Records):
        return found
    got, like = [a.shape[:-1] for a in found.arrays], _shapes_of_y(x, by_mask[0][1], window)
    if got != like:
        raise ValueError(
            f"confounds has records of {', '.join(map(str, got))} samples, y of "
            f"{', '.join(map(str, like))}; they are laid out as y, (*T, J) each"
        )
    found = found if window is None else found.each(window.rows)
    for i, gaps in enumerate(found.missing or ()):
        if any(gaps[rows.flags_of(i)].any() for _, rows in by_mask):
            raise ValueError(
                "confounds has NaN in rows that count; fill them, or leave these rows out by mask="
            )
    return found


def _shapes_of_y(x: Records, rows: Rows, window: LagWindow | None) -> list[tuple[int, ...]]:
    """Return (*T) of the records of y as given, which with a window are as long as x."""
    return [*rows.shapes] if window is None else [a.shape[:-1] for a in x.arrays]


def _in_rows(values: list[np.ndarray], window: LagWindow | None) -> list[np.ndarray]:
    return values if window is None else [*map(window.rows, values)]
