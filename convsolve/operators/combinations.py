"""Linear combinations of outputs, which replace many outputs in a pass over the data.

Outputs are combined with their neighbours, so that a combination costs as much for thousands of
outputs as for a hundred.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from ..linalg.channels import PART_NUMBERS, ROW_NUMBERS
from ..linalg.threads import one_blas_thread
from ..parallel import in_order
from .overlap_save import Series

# Number of outputs that are combined with each other.
TOGETHER = 128


class Combinations(NamedTuple):
    """Linear combinations of the outputs of every group, which replace the outputs.

    Attributes:
        weights: (G, Q, s), of the outputs as ``2**-exponents * y - shift``. Every `TOGETHER`
            consecutive outputs have s combinations.
        exponents, shift: (G, Q).
    """

    weights: np.ndarray
    exponents: np.ndarray
    shift: np.ndarray


def blocks(outputs: int) -> list[slice]:
    """Return slices of the outputs that are combined with each other."""
    starts = range(0, outputs, TOGETHER)
    return [slice(start, min(start + TOGETHER, outputs)) for start in starts]


def combined(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return combinations (..., B·s) of values (..., Q), for B blocks and weights (..., Q, s)."""
    several = [values[..., some] @ weights[..., some, :] for some in blocks(values.shape[-1])]
    return several[0] if len(several) == 1 else np.concatenate(several, axis=-1)


def combined_series(y: Series, weights: np.ndarray) -> np.ndarray:
    """Return combinations (N, *T, G·B·s) of outputs (N, *T, G·Q), for weights (G, Q, s).

    Some rows and outputs are combined at a time on all cores.
    """
    groups, outputs, count = weights.shape
    width = min(outputs, max(1, ROW_NUMBERS // TOGETHER) * TOGETHER)
    rows = y.data.reshape(-1, y.data.shape[-1])
    height, of_group = max(1, PART_NUMBERS // width), len(blocks(outputs)) * count
    found = np.empty((len(rows), groups, of_group))

    def fill(tile: tuple[int, int, int]) -> None:
        group, start, first = tile
        some = slice(start, min(start + width, outputs))
        mine = slice(group * outputs + some.start, group * outputs + some.stop)
        part = rows[first : first + height, mine]
        scaled = np.empty(part.shape)
        y.channels(mine).scaled(part, scaled)
        into = start // TOGETHER * count
        of_part = combined(scaled, weights[group, some])
        found[first : first + height, group, into : into + of_part.shape[1]] = of_part

    starts = range(groups), range(0, outputs, width), range(0, len(rows), height)
    with one_blas_thread():
        for _ in in_order(fill, [*itertools.product(*starts)]):
            pass
    return found.reshape(*y.data.shape[:-1], groups * of_group)
