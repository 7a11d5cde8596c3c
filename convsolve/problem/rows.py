"""Which samples of y are rows of the design matrix: counted, found in y, put back into records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..cached import cached_property
from .spec import ConvSpec


@dataclass(frozen=True)
class Rows:
    """All outputs (*T) of every record, one record after the other, each in C order.

    ``shapes`` holds (*T) of every record, with a 0 in it where that is too short for a window, and
    ``starts`` which sample of the user's y is the first along each axis.
    """

    shapes: tuple[tuple[int, ...], ...]
    starts: tuple[int, ...]

    @classmethod
    def of(
        cls, spec: ConvSpec, lengths: Iterable[tuple[int, ...]], starts: tuple[int, ...] = ()
    ) -> Rows:
        """Those of records of some ``lengths`` (*W)."""
        lengths = tuple(lengths)
        known = {length: spec.output_shape(length) for length in set(lengths)}
        return cls(tuple(known[length] for length in lengths), starts or (0,) * spec.ndim)

    @cached_property
    def count(self) -> int:
        """How many there are: the equations of an output channel."""
        return sum(map(math.prod, self.shapes))

    @cached_property
    def used(self) -> list[int]:
        """The records that have any."""
        return [i for i, shape in enumerate(self.shapes) if math.prod(shape)]

    @property
    def lengths(self) -> list[int]:
        """How many there are along the first axis of every record."""
        return [shape[0] if math.prod(shape) else 0 for shape in self.shapes]

    @property
    def in_y(self) -> list[tuple[np.ndarray, ...]]:
        """For every record their indices in the user's y along each axis."""
        return [
            tuple(start + np.arange(n) for start, n in zip(self.starts, shape, strict=True))
            for shape in self.shapes
        ]

    def by_record(self, values: np.ndarray, order: Sequence[int]) -> list[np.ndarray]:
        """Values (k, count), whose columns run over the records in ``order``, as an array (*T, k)
        for each record.
        """
        found = [np.empty((*shape, len(values))) for shape in self.shapes]
        start = 0
        for i in order:
            stop = start + math.prod(self.shapes[i])
            found[i][...] = values[:, start:stop].T.reshape(found[i].shape)
            start = stop
        return found
