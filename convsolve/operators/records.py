"""The records of a problem in normal form, grouped by shape, and their outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

import numpy as np

from ..cached import cached_property
from ..errors import SolveError
from ..problem.adjustments import Adjustments
from ..problem.channels import largest, on_cores
from ..problem.confounds import Confounds
from ..problem.nuisance import Nuisance
from ..problem.records import stacked
from ..problem.rows import Rows, Span, samples_read
from ..problem.sizes import DEFAULT_LIMITS, Limits
from ..problem.spec import ConvSpec
from ..problem.trends import beyond_rounding, kept_samples, scaled_back, without_trends
from .windows import normal_form, recorded_samples, silenced


def channel_exponents(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Return the power of two per channel that brings the largest magnitude into [1/2, 1).

    A channel of zeros has no such power. It takes the smallest power of the other channels.
    """
    return exponents_of(np.maximum.reduce([largest(a) for a in arrays if a.size]))


def exponents_of(sizes: np.ndarray) -> np.ndarray:
    """Return the powers of two for channels (C,) with the largest magnitudes ``sizes``."""
    # Channels with only denormal numbers would need a power beyond float64.
    exponents = np.maximum(np.frexp(sizes.astype(float))[1], -1020)
    if sizes.all():
        return exponents
    least = exponents.min(where=sizes > 0, initial=exponents.max())
    return np.where(sizes > 0, exponents, least)


class DetrendedRecords:
    """Records (*E, Cin) in normal form without the polynomials in time that confounds span.

    Polynomials in a channel are polynomials in every column of the design matrix. Samples that no
    row reads are zero.

    Attributes:
        records: array of every record; None for records without rows.
        constant: (Cin,), subtracted from all records.
        size: (Cin,), root mean square of everything subtracted. The rounding error of the records
            is relative to it.
        trend_size: (Cin,), root mean square of the polynomials about their means.
    """

    def __init__(self, x: Sequence[np.ndarray], spec: ConvSpec, confounds: Confounds) -> None:
        kept = confounds.kept
        # Records of different lengths may have the same rows.
        alike = [
            records[[x[i].shape == shape for i in records]]
            for records in confounds.alike
            for shape in dict.fromkeys(x[i].shape for i in records)
        ]
        read = [samples_read(kept.flags_of(int(records[0])), spec) for records in alike]
        samples = [
            kept_samples(normal_form(stacked([x[i] for i in records]), spec), r)
            for records, r in zip(alike, read, strict=True)
        ]
        exponents = channel_exponents(samples)
        recorded = [
            recorded_samples(x[records[0]].shape[:-1], spec, kept.turn)[r]
            for records, r in zip(alike, read, strict=True)
        ]
        given = np.ldexp(1.0, -exponents), confounds.degree, confounds.shared, recorded
        found = without_trends(samples, read, *given)
        # A channel is zero if only rounding is left of it. Scaling would amplify the rounding.
        whole, counted = found.left, sum(a.shape[0] * a.shape[1] for a in samples)
        real = beyond_rounding(whole, whole, found.subtracted, kept.count, counted)
        self.records: list[Any] = [None] * len(x)
        for records, r, values in zip(alike, read, found.values, strict=True):
            whole = scaled_back(values, real, exponents).reshape(len(records), -1, len(real))
            if not r.all():
                several, whole = whole, np.zeros((len(records), r.size, len(real)))
                whole[:, r.reshape(-1)] = several
            for i, record in zip(records, whole, strict=True):
                self.records[i] = record.reshape(*r.shape, len(real))
        sizes = found.constant, found.subtracted.size, found.subtracted.trend
        self.constant, self.size, self.trend_size = (np.ldexp(each, exponents) for each in sizes)


class Inputs:
    """Records x in normal form, cut into pieces at long runs of excluded rows.

    Each channel is multiplied by ``scale`` = ``2**-exponents``, which brings its largest sample
    into [1/2, 1). Samples that no row reads must not affect the scale or enter an FFT. They are
    set to zero, or to the mean of their channel if the nuisance columns contain a ``constant``.

    Attributes:
        stacks: (N, *E, Cin), with all pieces of one shape in one stack.
        members: indices of the pieces of each stack.
        flags: (N, *T) of each stack, True for rows used in the fit; None if all are used.
    """

    def __init__(
        self,
        x: Sequence[np.ndarray],
        spec: ConvSpec,
        adjustments: Adjustments | None = None,
        nuisance: Nuisance | None = None,
        limits: Limits = DEFAULT_LIMITS,
        sizes: np.ndarray | None = None,
    ) -> None:
        """Cut and scale the records.

        By default all rows are used with equal weight, and only the kernel is fitted. ``sizes``
        (Cin,) are the largest magnitudes in x, if they are known.
        """
        nuisance = Nuisance() if nuisance is None else nuisance
        if adjustments is None:
            adjustments = Adjustments(Rows.of(spec, (record.shape[:-1] for record in x)))
        kept, self.weights = adjustments.kept, adjustments.weights
        self.spec, self.records, self.kept, self.rows = spec, x, kept, kept.count
        self.pieces = kept.pieces(0 if kept.flags is None else self._gap_worth_a_cut(limits))
        plain = kept.flags is None and nuisance.confounds is None
        cut, form = [x[i] for i, _, _ in self.pieces], spec
        #: Constant of every channel that was subtracted from x, and size of everything subtracted.
        self.constant_off = self.size_off = self.trend_size = np.zeros(x[0].shape[-1])
        if nuisance.confounds is not None:
            detrended = DetrendedRecords(x, spec, nuisance.confounds)
            self.constant_off, self.size_off = detrended.constant, detrended.size
            self.trend_size = detrended.trend_size
            whole = detrended.records
        elif not plain:
            whole = [normal_form(a[None], spec)[0] for a in x]
        if not plain:
            cut, form = [self._cut(whole, span) for span in self.pieces], spec.normal
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, piece in enumerate(cut):
            by_shape.setdefault(piece.shape, []).append(i)
        self.members = list(by_shape.values())
        self.stacks = [
            silenced(normal_form(stacked([cut[i] for i in m]), form), spec) for m in self.members
        ]
        self.flags = [self._flags(members) for members in self.members]
        if self.masked and nuisance.confounds is None:
            self._fill(nuisance.constant)
        if not (plain and all(map(spec.reads_all, {a.shape[:-1] for a in x}))):
            sizes = None
        self.exponents = channel_exponents(self.stacks) if sizes is None else exponents_of(sizes)
        self.scale = np.ldexp(1.0, -self.exponents)

    def _gap_worth_a_cut(self, limits: Limits) -> int:
        """Return the number of excluded rows from which on a cut costs less than their products."""
        columns = self.spec.unknowns(self.records[0].shape[-1])
        slab = max(math.prod(shape[1:]) for shape in self.kept.shapes)
        return max(self.spec.kernel_size[0], limits.gap_products // (slab * columns**2))

    def _cut(self, whole: Sequence[np.ndarray], span: Span) -> np.ndarray:
        """Return the samples that a span of rows reads in normal form, times the weight's root.

        The root of the weight is applied only if the weight is constant within the record.
        """
        i, start, stop = span
        stride, reach = self.spec.stride[0], self.spec.span[0]
        piece = whole[i][start * stride : (stop - 1) * stride + reach]
        if self.weights is None or self.weights.roots[i].ndim:
            return piece
        with np.errstate(over="ignore"):
            weighted: np.ndarray = piece * self.weights.roots[i]
        if not np.isfinite(weighted).all():
            raise SolveError(
                "x times the root of a weight leaves the range of float64; divide all weights, or "
                "x, by one number"
            )
        return weighted

    @cached_property
    def roots(self) -> list[np.ndarray | None]:
        """Roots (N, *T) of the weights of the rows of every stack, if they differ in a record.

        Otherwise None per stack, because x includes the weights.
        """
        if self.weights is None or self.weights.by_record:
            return [None] * len(self.stacks)
        found: list[np.ndarray | None] = []
        for members in self.members:
            spans = [self.pieces[i] for i in members]
            of_rows = [(self.weights.roots[i], (i, a, b)) for i, a, b in spans]
            shapes = [(b - a, *self.kept.shapes[i][1:]) for i, a, b in spans]
            parts = zip(of_rows, shapes, strict=True)
            found.append(
                np.stack([r[a:b] if r.ndim else np.ones(n) for (r, (_, a, b)), n in parts])
            )
        return found

    def _flags(self, members: Sequence[int]) -> np.ndarray | None:
        found = self.kept.some([self.pieces[i] for i in members])
        return None if found is None or all(f.all() for f in found) else np.stack(found)

    def _fill(self, constant: bool) -> None:
        """Set samples that no row reads to zero, or to the mean of the samples that are read."""
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
        """Return flags (N, *E) of the samples of a stack that are read."""
        if flags is None:
            return np.ones(x.shape[:-1], bool)
        return np.stack([samples_read(f, self.spec) for f in flags])

    @property
    def windows(self) -> int:
        """Number of outputs of all pieces, including excluded ones."""
        return sum(len(x) * self.spec.normal.rows(x.shape[1:-1]) for x in self.stacks)

    @property
    def masked(self) -> bool:
        """Whether rows are excluded within the pieces."""
        return any(flags is not None for flags in self.flags)

    @property
    def structured(self) -> bool:
        """Whether at least half of the rows are used, with equal weights within each record."""
        alike = self.weights is None or self.weights.by_record
        return alike and 2 * self.rows >= self.windows

    @cached_property
    def column_exponents(self) -> np.ndarray:
        """Exponents (groups, P) of the columns."""
        spec = self.spec
        per_group = self.exponents.reshape(spec.groups, -1)
        return per_group[:, [*range(per_group.shape[1])] * math.prod(spec.kernel_size)]

    @cached_property
    def positions(self) -> list[np.ndarray]:
        """Row of the design matrix for each output (*T) of every record; -1 if it has no row."""
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
    def counts(self) -> list[int]:
        """Number of rows of each piece of `in_order`."""
        flags = [self.kept.flags_of(i)[start:stop] for i, start, stop in self.in_order]
        return [int(np.count_nonzero(f)) for f in flags]

    @property
    def in_order(self) -> list[Span]:
        """The pieces in the order of the rows of the design matrix."""
        return [self.pieces[i] for members in self.members for i in members]

    def places(self, spans: Iterable[Span]) -> np.ndarray:
        """Return the indices in the design matrix of the rows of some spans."""
        found = [self.positions[i][first:last].reshape(-1) for i, first, last in spans]
        places = np.concatenate(found)
        return places[places >= 0]

    def by_record(self, values: np.ndarray) -> list[np.ndarray]:
        """Return row-wise values (groups, n) as ``(*T, groups)`` of each record.

        Outputs without a row are NaN.
        """
        found = []
        for places in self.positions:
            of_record = np.moveaxis(values[:, places], 0, -1)
            found.append(np.where(places[..., None] >= 0, of_record, np.nan))
        return found


class Targets:
    """Outputs y for `Inputs`: ``stacks`` of (N, *T, Cout), read as ``scale * y - shift``.

    ``exponents`` (Cout,) bring the largest magnitude into [1/2, 1). ``shift`` (Cout,) is
    approximately the mean if the nuisance columns contain a constant.
    """

    def __init__(
        self,
        y: Sequence[np.ndarray],
        inputs: Inputs,
        nuisance: Nuisance,
        sizes: np.ndarray | None = None,
    ) -> None:
        """Cut and scale the outputs; ``sizes`` (Cout,) are the largest magnitudes, if known."""
        self.groups, self.records, self.flags = inputs.spec.groups, y, inputs.flags
        #: NᵀY (q, Cout) of the confounds N, and a constant (Cout,) subtracted before, in y's units.
        self.confounded = np.zeros((0, y[0].shape[-1]))
        self.constant_off = np.zeros(y[0].shape[-1])
        if nuisance.confounds is not None:
            y = self._without(nuisance.confounds, y, inputs.kept)
        cut = [y[i][start:stop] for i, start, stop in inputs.pieces]
        self.stacks = [stacked([cut[i] for i in members]) for members in inputs.members]
        if inputs.kept.flags is not None or nuisance.confounds is not None:
            sizes = None
        self.exponents = channel_exponents(self._kept) if sizes is None else exponents_of(sizes)
        self.scale = np.ldexp(1.0, -self.exponents)
        self.shift = np.zeros(self.exponents.size)
        if nuisance.constant:
            totals = [on_cores(np.add, a, lambda part: part * self.scale) for a in self._kept]
            self.shift = np.sum(totals, axis=0) / inputs.rows
        # Excluded rows are exactly zero after scaling and shifting.
        nothing = np.ldexp(self.shift, self.exponents)
        for i, flags in enumerate(self.flags):
            if flags is not None:
                self.stacks[i] = np.where(flags[..., None], self.stacks[i], nothing)

    def _without(
        self, confounds: Confounds, y: Sequence[np.ndarray], kept: Rows
    ) -> list[np.ndarray]:
        """Return y (*T, Cout) times the roots of weights, with the confounds projected out.

        It is zero in rows that are not used.
        """
        found = confounds.without(y)
        self.confounded, self.constant_off = found.products, found.constant
        if kept.flags is None:
            return [rows.reshape(b.shape) for rows, b in zip(found.rows, y, strict=True)]
        whole = [np.zeros(b.shape) for b in y]
        for i, rows in enumerate(found.rows):
            whole[i][kept.flags_of(i)] = rows
        return whole

    def in_units(self, exponents: np.ndarray) -> Targets:
        """Return the targets in other units (Cout,). Sums are computed again."""
        found = copy(self)
        for name in ("sums", "squares"):
            vars(found).pop(name, None)
        found.exponents, found.scale = exponents, np.ldexp(1.0, -exponents)
        found.shift = np.ldexp(self.shift, self.exponents - exponents)
        return found

    @property
    def _kept(self) -> list[np.ndarray]:
        """The rows of every stack that are used in the fit."""
        return [a if f is None else a[f] for a, f in zip(self.stacks, self.flags, strict=True)]

    @property
    def outputs(self) -> int:
        """Number Q of outputs of each group."""
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

        return self.grouped(np.sum([on_cores(np.add, a, read) for a in self._kept], axis=0))

    def block(
        self, stack: int, part: tuple[slice, slice], rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Return rows (groups, k, Q) of a part of a stack, scaled but not shifted.

        All rows of the part are returned, or only the rows flagged in ``rows``.
        """
        a = self.stacks[stack][part]
        found = ((a if rows is None else a[rows]) * self.scale).reshape(
            -1, self.groups, self.outputs
        )
        return found.transpose(1, 0, 2)

    def rows(self, group: int) -> np.ndarray:
        """Return y (n, Q) of one group in the row order of an operator, scaled but not shifted."""
        whole = slice(None), slice(None)
        parts = [self.block(i, whole, flags)[group] for i, flags in enumerate(self.flags)]
        return np.concatenate(parts)

    def grouped(self, values: np.ndarray) -> np.ndarray:
        """Return values (Cout,) by group (G, Q)."""
        return values.reshape(self.groups, -1)
