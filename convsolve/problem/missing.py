"""Which outputs a mask and missing samples leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..text import shown
from .records import Records, by_rows
from .rows import rows_reading
from .spec import ConvSpec


def read_mask(mask: Any, like: Sequence[tuple[int, ...]], outputs: int | None) -> list[np.ndarray]:
    """A mask as flags (*T, 1 or Cout) of every record, for records of y of shapes ``like`` (*T).

    Raises:
        TypeError, ValueError: it is not boolean, or not shaped as y is.
    """
    found = []
    for i, (flags, shape) in enumerate(zip(by_rows(mask, "mask", like), like, strict=True)):
        name = f"mask[{i}]" if len(like) > 1 else "mask"
        if flags.dtype != bool:
            raise TypeError(
                f"{name} must be boolean, True where a row counts, got {shown(flags)} of type "
                f"{flags.dtype}"
            )
        wide = [(*shape, 1), *([] if outputs is None else [(*shape, outputs)])]
        given = flags.shape
        flags = flags[..., None] if given == shape else flags
        if flags.shape not in wide:
            raise ValueError(
                f"{name} has shape {given}, expected that of y, "
                f"{' or '.join(str(w) for w in dict.fromkeys([shape, *wide[1:]]))}"
            )
        found.append(flags)
    return found


def rows_left(
    spec: ConvSpec,
    x: Records,
    y: Records | None,
    mask: Sequence[np.ndarray] | None,
    shapes: Sequence[tuple[int, ...]],
) -> tuple[np.ndarray, ...] | None:
    """Flags (*T, 1 or Cout) of the outputs of every record that no mask drops, that read no missing
    sample of x, and are not missing in y; None where all are left.
    """
    if x.missing is None and (y is None or y.missing is None) and mask is None:
        return None
    found = []
    for i, shape in enumerate(shapes):
        flags = np.ones((*shape, 1), bool)
        if mask is not None:
            flags = flags & mask[i]
        if x.missing is not None and x.missing[i].any():
            gaps = np.asarray(x.missing[i].any(-1))
            flags = flags & ~rows_reading(gaps, spec)[..., None]
        if y is not None and y.missing is not None:
            flags = flags & ~y.missing[i]
        found.append(flags)
    return tuple(found)
