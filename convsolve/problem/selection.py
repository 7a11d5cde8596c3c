"""Which channels, outputs and records of a problem a part of it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Selection(NamedTuple):
    """Channels, outputs and records of a part, by their numbers in the whole problem.

    Penalties are given for the channels of the whole problem. Settings of outputs, and folds of
    records, are given for the problem that the part was taken from. A part takes its share of them.

    Attributes:
        channels: input channels of the part, in the whole problem.
        outputs: outputs of the part, in the problem that it was taken from.
        in_channels: number of input channels of the whole problem.
        out_channels: number of outputs of the problem that the part was taken from.
        records: records of the part, in the problem that it was taken from; None for all.
    """

    channels: tuple[int, ...]
    outputs: tuple[int, ...]
    in_channels: int
    out_channels: int
    records: tuple[int, ...] | None = None

    @classmethod
    def everything(cls, in_channels: int, out_channels: int) -> Selection:
        """Return the selection of a whole problem."""
        every = tuple(range(in_channels)), tuple(range(out_channels))
        return cls(*every, in_channels, out_channels)

    def part(
        self,
        channels: Sequence[int],
        outputs: tuple[int, ...],
        out_channels: int,
        records: tuple[int, ...] | None = None,
    ) -> Selection:
        """Return the selection of some channels, outputs and records of this part."""
        chosen = tuple(self.channels[c] for c in channels)
        return Selection(chosen, outputs, self.in_channels, out_channels, records)

    def of_outputs(self, values: np.ndarray) -> np.ndarray:
        """Return values (..., Cout) of the outputs of the part; other shapes are returned whole."""
        each = values.ndim > 0 and values.shape[-1] == self.out_channels
        return values[..., [*self.outputs]] if each else values
