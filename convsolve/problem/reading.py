"""Reading of the arguments of a `Problem`: every check of bad input is made here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .checks import choice, integer
from .confounds import Terms
from .lags import EDGES, LagWindow, lags_of_times
from .masks import ByMask, by_group, check_known, known_rows, present, read_mask, used_rows
from .records import Records, read
from .rows import Rows
from .shapes import check_lengths, check_output, check_records, check_windows
from .spec import ConvSpec
from .weights import Weights, read_weights

# The ways to state the lags of a kernel.
STATED = (
    "one of lags=(first, last) in samples, tmin= and tmax= in seconds with fs=, kernel_size=, and "
    "spec="
)


def read_window(lags: Any, tmin: Any, tmax: Any, fs: Any, edges: Any) -> LagWindow | None:
    """Return the window of lags that were given in samples or in seconds, or None.

    Raises:
        TypeError, ValueError: If the lags are given twice or are not valid.
    """
    in_seconds = not (tmin is None and tmax is None)
    if lags is not None and in_seconds:
        raise TypeError("give either lags= in samples, or tmin= and tmax= in seconds")
    if in_seconds:
        lags = lags_of_times(tmin, tmax, fs)
    if lags is not None:
        return LagWindow.of(lags, edges)
    choice(edges, "edges", EDGES)
    if edges != "drop":
        raise TypeError("edges= is an argument for lags; with kernel_size= use padding=")
    return None


def check_lags_alone(spec: Any, size: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """Raise a TypeError if the geometry is stated by lags and in another way too."""
    if not (spec is None and size is None):
        raise TypeError(f"give {STATED}, not two of them")
    for name, given in (("stride", stride), ("padding", padding), ("dilation", dilation)):
        if not _is_default(name, given):
            raise TypeError(f"{name}= is an argument for kernel_size; with lags= use edges=")


def read_spec(
    spec: Any, size: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> tuple[ConvSpec, tuple[int, ...]]:
    """Return the geometry that is stated without lags, and the shift of the lags, which is 0.

    Raises:
        TypeError, ValueError: If the geometry is given twice or not at all, or is not valid.
    """
    if spec is None:
        if size is None:
            raise TypeError(f"the problem needs {STATED}")
        spec = ConvSpec(size, stride, padding, dilation, groups)
    elif not isinstance(spec, ConvSpec):
        raise TypeError(f"spec must be a ConvSpec, got {type(spec).__name__}")
    else:
        given = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        if size is not None or not all(_is_default(*pair) for pair in given.items()):
            raise TypeError(
                "give either spec= or kernel_size, stride, padding, dilation and groups"
            )
    return spec, (0,) * spec.ndim


def _is_default(name: str, given: Any) -> bool:
    default = "valid" if name == "padding" else 1
    return isinstance(given, (int, str)) and given == default


def read_data(
    x: Any, y: Any, spec: ConvSpec, window: LagWindow | None, shift: Sequence[int], missing: bool
) -> tuple[Records, Records | None, Rows]:
    """Return the records of x and y, and the rows of the design matrix.

    With a window, y is cut to the rows. NaN is allowed if values may be ``missing``.
    """
    inputs = read(x, "x", spec, missing)
    spec._check_channels(inputs.channels)
    output = None if y is None else read(y, "y", spec, missing)
    lengths = [a.shape[:-1] for a in inputs.arrays]
    # Lags are shifted where y is trimmed.
    rows = Rows.of(spec, lengths, tuple(shift))
    if output is not None:
        check_records(inputs, output)
    if window is not None and output is not None:
        check_lengths(inputs, output)
        output = output.each(window.rows) if window.edges == "drop" else output
    check_windows(spec, window, inputs, output, rows)
    if output is not None:
        check_output(spec, inputs, output, rows)
    return inputs, output, rows


def read_outputs(given: Any, y: Records | None, names: Any, spec: ConvSpec) -> int:
    """Return the number of outputs, as given, of y, or of a list of names."""
    if y is None and given is None and isinstance(names, (list, tuple)):
        given = len(names)
    found = None if given is None else integer(given, "n_outputs")
    if y is not None:
        if found not in (None, y.channels):
            raise ValueError(f"n_outputs={found!r}, but y has {y.channels} channels")
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


def read_terms(
    drift: Any,
    confounds: Any,
    spec: ConvSpec,
    x: Records,
    by_mask: ByMask,
    window: LagWindow | None,
) -> Terms:
    """Return the terms that are fitted to every record, with columns of the rows.

    Raises:
        TypeError, ValueError: If confounds are not laid out as y, or are missing in rows used in
            the fit.
    """
    terms = Terms.read(drift, confounds, spec)
    if terms.columns is None:
        return terms
    found = terms.columns
    got, like = [a.shape[:-1] for a in found.arrays], _shapes_of_y(x, by_mask[0][1], window)
    if got != like:
        raise ValueError(
            f"confounds has records of {', '.join(map(str, got))} samples, y of "
            f"{', '.join(map(str, like))}"
        )
    found = found if window is None else found.each(window.rows)
    for i, gaps in enumerate(found.missing or ()):
        if any(gaps[rows.flags_of(i)].any() for _, rows in by_mask):
            raise ValueError(
                "confounds has NaN in rows used in the fit; fill them, or exclude the rows by mask="
            )
    return Terms(terms.degree, found)


def _shapes_of_y(x: Records, rows: Rows, window: LagWindow | None) -> list[tuple[int, ...]]:
    """Return (*T) of the records of y as given, which with a window are as long as x."""
    return [*rows.shapes] if window is None else [a.shape[:-1] for a in x.arrays]


def _in_rows(values: list[np.ndarray], window: LagWindow | None) -> list[np.ndarray]:
    return values if window is None else [*map(window.rows, values)]
