"""The records of a problem in normal form, those of one shape together, and their outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..cached import cached_property
from ..problem.channels import by_channel
from ..problem.nuisance import Nuisance
from ..problem.rows import Rows, Span, samples_read
from ..problem.spec import ConvSpec
from .windows import normal_form, silenced

# What a piece more of a record costs, as arithmetic: about a millisecond.
FLOPS_OF_A_PIECE = 2**25


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
    """Records x in normal form, cut into pieces where many rows are left out: ``stacks`` of
    (N, *E, Cin), all pieces of one shape in one.

    Each channel is read times ``scale`` = ``2**-exponents``, which brings its largest sample into
    [1/2, 1); ``members`` says which pieces a stack holds, and ``flags`` (N, *T) which of its rows
    count, None where all do. Samples that no row reads must not set a scale, nor enter an FFT: they
    are zero, and where the nuisance columns hold a ``constant`` the mean of their channel.
    """

    def __init__(
        self,
        x: Sequence[np.ndarray],
        spec: ConvSpec,
        kept: Rows | None = None,
        constant: bool = False,
    ) -> None:
        """``kept`` are the rows that count, by default all."""
        kept = Rows.of(spec, (record.shape[:-1] for record in x)) if kept is None else kept
        self.spec, self.records, self.kept = spec, x, kept
        self.rows = kept.count
        self.pieces = kept.pieces(self._gap_worth_a_cut())
        cut, form = [x[i] for i, _, _ in self.pieces], spec
        if kept.flags is not None:
            cut, form = [self._normal(span) for span in self.pieces], spec.normal
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, piece in enumerate(cut):
            by_shape.setdefault(piece.shape, []).append(i)
        self.members = list(by_shape.values())
        self.stacks = [silenced(normal_form(stacked(cut, m), form), spec) for m in self.members]
        self.flags = [self._flags(members) for members in self.members]
        if self.masked:
            self._fill(constant)
        self.exponents = channel_exponents(self.stacks)
        self.scale = np.ldexp(1.0, -self.exponents)

    def _gap_worth_a_cut(self) -> int:
        """Rows left out, of which a piece more costs less than their products."""
        columns = self.spec.unknowns(self.records[0].shape[-1])
        slab = max(math.prod(shape[1:]) for shape in self.kept.shapes)
        return max(self.spec.kernel_size[0], FLOPS_OF_A_PIECE // (slab * columns**2))

    def _normal(self, span: Span) -> np.ndarray:
        """The normal form (*E, Cin) of some rows of a record; a view where nothing is padded."""
        i, start, stop = span
        stride, reach = self.spec.stride[0], self.spec.span[0]
        whole = normal_form(self.records[i][None], self.spec)[0]
        return np.asarray(whole[start * stride : (stop - 1) * stride + reach])

    def _flags(self, members: Sequence[int]) -> np.ndarray | None:
        found = self.kept.some([self.pieces[i] for i in members])
        return None if found is None or all(f.all() for f in found) else np.stack(found)

    def _fill(self, constant: bool) -> None:
        """What no row reads with zeros, or the mean of what others do."""
        read = [self._read(x, flags) for x, flags in zip(self.stacks, self.flags, strict=True)]
        fill = np.zeros(self.stacks[0].shape[-1])
        if constant:
            kept = [x[r] for x, r in zip(self.stacks, read, strict=True)]
            scale = np.ldexp(1.0, -channel_exponents(kept))
            fill = np.sum([(a * scale).sum(0) for a in kept], axis=0) / sum(map(len, kept)) / scale
        for i, (x, r) in enumerate(zip(self.stacks, read, strict=True)):
            if self.flags[i] is not None:
                self.stacks[i] = np.where(r[..., None], x, fill.astype(x.dtype))

    def _read(self, x: np.ndarray, flags: np.ndarray | None) -> np.ndarray:
        """Which samples (N, *E) of a stack are read."""
        if flags is None:
            return np.ones(x.shape[:-1], bool)
        return np.stack([samples_read(f, self.spec) for f in flags])

    @property
    def windows(self) -> int:
        """Outputs of all pieces, those that do not count included."""
        return sum(len(x) * self.spec.normal.rows(x.shape[1:-1]) for x in self.stacks)

    @property
    def masked(self) -> bool:
        """Whether rows are left out within its pieces."""
        return any(flags is not None for flags in self.flags)

    @property
    def mostly_kept(self) -> bool:
        """Whether these are less than half."""
        return 2 * self.rows >= self.windows

    @cached_property
    def column_exponents(self) -> np.ndarray:
        """Those of the columns (groups, P)."""
        spec = self.spec
        per_group = self.exponents.reshape(spec.groups, -1)
        return per_group[:, [*range(per_group.shape[1])] * math.prod(spec.kernel_size)]

    @cached_property
    def positions(self) -> list[np.ndarray]:
        """For every record which row of the design matrix is each of its outputs (*T); -1 of those
        that are none.
        """
        found = [np.full(shape, -1) for shape in self.kept.shapes]
        start = 0
        for i, first, stop in self.in_order:
            flags = self.kept.of_span((i, first, stop))
            part = found[i][first:stop]
            count = part.size if flags is None else int(np.count_nonzero(flags))
            part[... if flags is None else flags] = np.arange(start, start + count).reshape(
                part.shape if flags is None else -1
            )
            start += count
        return found

    @property
    def in_order(self) -> list[Span]:
        """The pieces in the order of the rows of the design matrix."""
        return [self.pieces[i] for members in self.members for i in members]

    def places(self, spans: Iterable[Span]) -> np.ndarray:
        """Which rows of the design matrix are those of some spans."""
        found = [self.positions[i][first:last].reshape(-1) for i, first, last in spans]
        places = np.concatenate(found)
        return places[places >= 0]

    def by_record(self, values: np.ndarray) -> list[np.ndarray]:
        """What was computed row by row (groups, n) as ``(*T, groups)`` of each record; NaN where
        there is no row.
        """
        found = []
        for places in self.positions:
            of_record = np.moveaxis(values[:, places], 0, -1)
            found.append(np.where(places[..., None] >= 0, of_record, np.nan))
        return found


class Targets:
    """Outputs y beside `Inputs`: ``stacks`` of (N, *T, Cout), read as ``scale * y - shift``.

    ``exponents`` (Cout,) bring the largest magnitude into [1/2, 1); ``shift`` (Cout,) is about the
    mean where the nuisance columns hold a constant.
    """

    def __init__(self, y: Sequence[np.ndarray], inputs: Inputs, nuisance: Nuisance) -> None:
        self.groups, self.records, self.flags = inputs.spec.groups, y, inputs.flags
        cut = [y[i][start:stop] for i, start, stop in inputs.pieces]
        self.stacks = [stacked(cut, members) for members in inputs.members]
        self.exponents = channel_exponents(self._kept)
        self.scale = np.ldexp(1.0, -self.exponents)
        self.shift = np.zeros(self.exponents.size)
        if nuisance.constant:
            totals = [by_channel(np.add, a, lambda part: part * self.scale) for a in self._kept]
            self.shift = np.sum(totals, axis=0) / inputs.rows
        # Rows that are left out are read as zero, to the last digit.
        nothing = np.ldexp(self.shift, self.exponents)
        for i, flags in enumerate(self.flags):
            if flags is not None:
                self.stacks[i] = np.where(flags[..., None], self.stacks[i], nothing)

    @property
    def _kept(self) -> list[np.ndarray]:
        """The rows of every stack that count."""
        return [a if f is None else a[f] for a, f in zip(self.stacks, self.flags, strict=True)]

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

        return self.grouped(np.sum([by_channel(np.add, a, read) for a in self._kept], axis=0))

    def block(
        self, stack: int, part: tuple[slice, slice], rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Some rows of a stack (groups, k, Q), scaled, nothing taken off: all of a part, or those
        that are True.
        """
        a = self.stacks[stack][part]
        found = ((a if rows is None else a[rows]) * self.scale).reshape(
            -1, self.groups, self.outputs
        )
        return found.transpose(1, 0, 2)

    def rows(self, group: int) -> np.ndarray:
        """y less its shift (n, Q) of one group, row by row as an operator has them."""
        whole = slice(None), slice(None)
        parts = [self.block(i, whole, flags)[group] for i, flags in enumerate(self.flags)]
        return np.concatenate(parts) - self.grouped(self.shift)[group]

    def grouped(self, values: np.ndarray) -> np.ndarray:
        """Values (Cout,) by group (G, Q)."""
        return values.reshape(self.groups, -1)


def stacked(records: Sequence[np.ndarray], members: Sequence[int]) -> Any:
    """(N, …) of some records; a view where there is but one."""
    if len(members) == 1:
        return records[members[0]][None]
    return np.stack([records[i] for i in members])
