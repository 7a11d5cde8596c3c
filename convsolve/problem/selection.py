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
        n_channels: number of input channels of the whole problem.
        n_outputs: number of outputs of the problem that the part was taken from.
        records: records of the part, in the problem that it was taken from; None for all.
    """

    channels: tuple[int, ...]
    outputs: tuple[int, ...]
    n_channels: int
    n_outputs: int
    records: tuple[int, ...] | None = None

    @classmethod
    def everything(cls, n_channels: int, n_outputs: int) -> Selection:
        """Return the selection of a whole problem."""
        every = tuple(range(n_channels)), tuple(range(n_outputs))
        return cls(*every, n_channels, n_outputs)

    def part(self, channels: Sequence[int], outputs: tuple[int, ...], n_outputs: int) -> Selection:
        """Return the selection of some channels and outputs of this part."""
        chosen = tuple(self.channels[c] for c in channels)
        return Selection(chosen, outputs, self.n_channels, n_outputs)

    def of_outputs(self, values: np.ndarray) -> np.ndarray:
        """Return values (..., Cout) of the outputs of the part; other shapes are returned whole."""
        each = values.ndim > 0 and values.shape[-1] == self.n_outputs
        return values[..., [*self.outputs]] if each else values
