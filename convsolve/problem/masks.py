"""Rows used in the fit, which a mask, weights of zero and missing samples determine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from ..text import count, shown
from .names import Names
from .records import Records, by_rows
from .rows import Rows, rows_reading
from .spec import ConvSpec

# Groups of outputs that use the same rows, each with its rows.
ByMask = tuple[tuple[tuple[int, ...], Rows], ...]
# Flags (*T, 1 or Cout) of every record.
Flags = Sequence[np.ndarray]


def read_mask(mask: Any, like: Sequence[tuple[int, ...]], outputs: int) -> list[np.ndarray]:
    """Return a mask as flags (*T, 1 or Cout) of every record, for records of y of shapes ``like``.

    Raises:
        TypeError, ValueError: If the mask is not boolean, or is not shaped as y.
    """
    found = []
    for name, flags, shape in by_rows(mask, "mask", like):
        if flags.dtype != bool:
            raise TypeError(
                f"{name} must be boolean, True where a row counts, got {shown(flags)} of type "
                f"{flags.dtype}"
            )
        if flags.shape not in (shape, (*shape, 1), (*shape, outputs)):
            raise ValueError(
                f"{name} has shape {flags.shape}, expected that of y, {shape} or "
                f"{(*shape, outputs)}"
            )
        found.append(flags[..., None] if flags.shape == shape else flags)
    return found


def known_rows(x: Records, spec: ConvSpec, shapes: Sequence[tuple[int, ...]]) -> Flags | None:
    """Return flags (*T, 1) of rows that read no missing sample of x; None if none is missing."""
    if x.missing is None:
        return None
    found = []
    for missing, shape in zip(x.missing, shapes, strict=True):
        gaps = np.asarray(missing.any(-1))
        # A record that is too short has no rows.
        reads = rows_reading(gaps, spec) if gaps.any() and all(shape) else np.zeros(shape, bool)
        found.append(~reads[..., None])
    return found


def present(y: Records | None) -> Flags | None:
    """Return flags (*T, Cout) of the samples that y has; None if none is missing."""
    return None if y is None or y.missing is None else [~missing for missing in y.missing]


def used_rows(rows: Rows, several: Sequence[Flags], outputs: int) -> ByMask:
    """Return groups of outputs that use the same rows, and their rows.

    Args:
        rows: all rows.
        several: several flags of the rows, all of which are True for rows used in the fit.
        outputs: number of outputs.
    """
    every = tuple(range(outputs))
    if not several:
        return ((every, rows),)
    left = _all(several)
    wide = max(f.shape[-1] for f in left)
    if wide == 1:
        return ((every, rows.flagged(tuple(f[..., 0] for f in left))),)
    left = [np.broadcast_to(f, (*f.shape[:-1], wide)) for f in left]
    found: dict[bytes, list[int]] = {}
    for q in every:
        found.setdefault(b"".join(f[..., q].tobytes() for f in left), []).append(q)
    return tuple(
        (tuple(alike), rows.flagged(tuple(f[..., alike[0]] for f in left)))
        for alike in found.values()
    )


def check_known(stated: Sequence[Flags], known: Sequence[Flags]) -> None:
    """Raise a ValueError if a row that the user selects has a missing sample."""
    if any((s & ~w).any() for s, w in zip(_all(stated), _all(known), strict=False)):
        raise ValueError(
            "x or y has NaN in rows that the mask keeps: mask these rows too, or exclude them "
            "by missing='drop'"
        )


def _all(several: Sequence[Flags]) -> list[np.ndarray]:
    """Return where all of several flags are True, for every record."""
    return [reduce(np.logical_and, flags) for flags in zip(*several, strict=True)]


def check_left(by_mask: ByMask, names: Names) -> None:
    """Raise a ValueError if no row of an output is left."""
    for outputs, rows in by_mask:
        if not rows.count:
            which = "" if len(by_mask) == 1 else f" of {names.output(outputs[0])}"
            raise ValueError(
                f"no row{which} is left: all {count(rows.dropped, 'row')} are masked, have "
                "weight 0, are missing in y, or need a missing sample of x"
            )


def by_group(by_mask: ByMask, outputs: int) -> ByMask:
    """Return the outputs of each group of channels separately, for groups of so many outputs."""
    return tuple(
        (tuple(o for o in some if o // outputs == group), rows)
        for some, rows in by_mask
        for group in sorted({o // outputs for o in some})
    )
