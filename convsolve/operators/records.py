"""The records of a problem in normal form, those of one shape together, and their outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..cached import cached_property
from ..problem.channels import by_channel
from ..problem.nuisance import Nuisance
from ..problem.rows import Rows
from ..problem.spec import ConvSpec
from .windows import normal_form, silenced


def channel_exponents(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Power of two per channel that brings the largest magnitude into [1/2, 1).

    A silent channel has none of its own: it takes the smallest of the others.
    """
    over = [by_channel(np.maximum, a, np.abs) for a in arrays if a.size]
    largest = np.maximum.reduce(over)
    # Stray denormals alone would ask for a power beyond float64.
    exponents = np.maximum(np.frexp(largest.astype(float))[1], -1020)
    if largest.all():
        return exponents
    least = exponents.min(where=largest > 0, initial=exponents.max())
    return np.where(largest > 0, exponents, least)


class Inputs:
    """Records x in normal form: ``stacks`` of (N, *E, Cin), all records of one shape in one.

    Each channel is read times ``scale`` = ``2**-exponents``, which brings its largest sample into
    [1/2, 1); ``members`` says which records a stack holds. Samples that no window reads are zero:
    they must not set a scale, nor enter an FFT.
    """

    def __init__(self, x: Sequence[np.ndarray], spec: ConvSpec) -> None:
        self.spec, self.records = spec, x
        self.kept = Rows.of(spec, (record.shape[:-1] for record in x))
        self.rows = self.kept.count
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i in self.kept.used:
            by_shape.setdefault(x[i].shape[:-1], []).append(i)
        self.members = list(by_shape.values())
        self.stacks = [silenced(normal_form(stacked(x, m), spec), spec) for m in self.members]
        self.exponents = channel_exponents(self.stacks)
        self.scale = np.ldexp(1.0, -self.exponents)

    @cached_property
    def column_exponents(self) -> np.ndarray:
        """Those of the columns (groups, P)."""
        spec = self.spec
        per_group = self.exponents.reshape(spec.groups, -1)
        return per_group[:, [*range(per_group.shape[1])] * math.prod(spec.kernel_size)]

    def places(self, spans: Iterable[tuple[int, int, int]]) -> np.ndarray:
        """Which rows of the design matrix are those from a first to a last, along the first axis,
        of some records.
        """
        order = [i for members in self.members for i in members]
        sizes = {i: math.prod(self.kept.shapes[i]) for i in order}
        before = dict(zip(order, np.cumsum([0, *sizes.values()]), strict=False))
        found = []
        for i, first, last in spans:
            slab = sizes[i] // self.kept.shapes[i][0]
            found.append(before[i] + np.arange(first * slab, last * slab))
        return np.concatenate(found)

    def by_record(self, values: np.ndarray) -> list[np.ndarray]:
        """What was computed row by row (groups, n) as ``(*T, groups)`` of each record."""
        return self.kept.by_record(values, [i for members in self.members for i in members])


class Targets:
    """Outputs y beside `Inputs`: ``stacks`` of (N, *T, Cout), read as ``scale * y - shift``.

    ``exponents`` (Cout,) bring the largest magnitude into [1/2, 1); ``shift`` (Cout,) is about the
    mean where the nuisance columns hold a constant.
    """

    def __init__(self, y: Sequence[np.ndarray], inputs: Inputs, nuisance: Nuisance) -> None:
        self.groups, self.records = inputs.spec.groups, y
        self.stacks = [stacked(y, members) for members in inputs.members]
        self.exponents = channel_exponents(self.stacks)
        self.scale = np.ldexp(1.0, -self.exponents)
        self.shift = np.zeros(self.exponents.size)
        if nuisance.constant:
            totals = [by_channel(np.add, a, lambda part: part * self.scale) for a in self.stacks]
            self.shift = np.sum(totals, axis=0) / inputs.rows

    @property
    def outputs(self) -> int:
        """Q of each group."""
        return self.exponents.size // self.groups

    @cached_property
    def sums(self) -> np.ndarray:
        """Σ(y − shift) (G, Q)."""
        return self._summed(None)

    @cached_property
    def squares(self) -> np.ndarray:
        """Σ(y − shift)² (G, Q)."""
        return self._summed(np.square)

    def _summed(self, of: np.ufunc | None) -> np.ndarray:
        def read(part: np.ndarray) -> np.ndarray:
            found = part * self.scale - self.shift
            return found if of is None else of(found, out=found)

        return self.grouped(np.sum([by_channel(np.add, a, read) for a in self.stacks], axis=0))

    def block(self, stack: int, part: tuple[slice, slice]) -> np.ndarray:
        """Some rows of a stack (groups, k, Q), scaled, nothing taken off."""
        found = (self.stacks[stack][part] * self.scale).reshape(-1, self.groups, self.outputs)
        return found.transpose(1, 0, 2)

    def rows(self, group: int) -> np.ndarray:
        """y (n, Q) of one group, row by row as an operator has them, scaled, nothing taken off."""
        whole = slice(None), slice(None)
        return np.concatenate([self.block(i, whole)[group] for i in range(len(self.stacks))])

    def grouped(self, values: np.ndarray) -> np.ndarray:
        """Values (Cout,) by group (G, Q)."""
        return values.reshape(self.groups, -1)


def stacked(records: Sequence[np.ndarray], members: Sequence[int]) -> Any:
    """(N, …) of some records; a view where there is but one."""
    if len(members) == 1:
        return records[members[0]][None]
    return np.stack([records[i] for i in members])
