"""Which outputs a mask and missing samples leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..text import count, shown
from .records import Records
from .rows import rows_reading
from .spec import ConvSpec


def read_mask(mask: Any, like: Sequence[tuple[int, ...]], outputs: int | None) -> list[np.ndarray]:
    """A mask as flags (*T, 1 or Cout) of every record, for records of y of shapes ``like`` (*T).

    Raises:
        TypeError, ValueError: it is not boolean, or not shaped as y is.
    """
    listed = isinstance(mask, (list, tuple)) and any(np.ndim(m) for m in mask)
    several = [*mask] if listed else None
    if several is None:
        whole = np.asarray(mask)
        d = len(like[0])
        batch = whole.ndim > d and whole.shape[: d + 1] == (len(like), *like[0])
        several = [*whole] if batch else [whole]
    if len(several) != len(like):
        raise ValueError(
            f"mask has {count(len(several), 'record')}, y {count(len(like), 'record')}"
        )
    found = []
    for i, (one, shape) in enumerate(zip(several, like, strict=True)):
        flags, name = np.asarray(one), f"mask[{i}]" if len(like) > 1 else "mask"
        if flags.dtype != bool:
            raise TypeError(
                f"{name} must be boolean, True where a row counts, got {shown(one)} of type "
                f"{flags.dtype}"
            )
        wide = [(*shape, 1), *([] if outputs is None else [(*shape, outputs)])]
        flags = flags[..., None] if flags.shape == shape else flags
        if flags.shape not in wide:
            raise ValueError(
                f"{name} has shape {np.shape(one)}, expected that of y, "
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
