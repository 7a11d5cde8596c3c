"""The design matrix of a problem: a sum over chunks of rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any
from weakref import ref

import numpy as np

from ..cached import cached_property
from ..problem.adjustments import Adjustments
from ..problem.confounds import Confounds
from ..problem.nuisance import Nuisance
from ..problem.rows import Span
from ..problem.sizes import DEFAULT_TUNING
from ..problem.spec import ConvSpec
from . import by_events, by_fft, by_rows
from .by_rows import Block
from .chunk import NO_FITS, Fits, LoadedChunk
from .chunk_sums import adjoint, backend, misfit, product, totals
from .chunks import Chunks, Plan
from .combinations import Combinations
from .first_pass import Columns, FirstPass, OutputSums, Pass, cancels, flat, in_user_units, units_of
from .moments import Moments, Projection, ResidualSums, per_column, scaled_columns
from .nuisance import NuisanceColumns, orthonormal_columns
from .tap_basis import IDENTITY, TapBasis
from .trends import Trends

# Number of chunks that represent all of them.
SAMPLED = 8


class Targets:
    """Outputs y of a design matrix, read as ``scale * y - shift``."""

    def __init__(self, y: Sequence[Any], matrix: DesignMatrix, given: bool = False) -> None:
        """``given`` outputs were given with x, and are summed in the same pass."""
        # Not in a circle of references, so that the memory is freed with the last user.
        self.records, self._matrix, self.groups, self.given = y, ref(matrix), matrix.groups, given

    @property
    def matrix(self) -> DesignMatrix:
        """The design matrix, which the user of the targets holds."""
        found = self._matrix()
        assert found is not None
        return found

    @property
    def in_memory(self) -> list[np.ndarray]:
        """The outputs of every record as arrays."""
        return [*map(np.asarray, self.records)]

    @cached_property
    def found(self) -> OutputSums:
        """Sums over all rows."""
        return self.matrix.sums_of(self)

    @cached_property
    def trends(self) -> tuple[Trends, ...]:
        """Polynomials that are subtracted from y."""
        return self.matrix.chunks.trends_of(self)

    @cached_property
    def loaded(self) -> LoadedChunk:
        """All rows in memory, if they are one chunk."""
        return self.matrix.chunks.loaded(self)

    @property
    def exponents(self) -> np.ndarray:
        """Exponents (Cout,): the largest magnitude is about one in their units."""
        return self.found.exponents.reshape(-1)

    @property
    def shift(self) -> np.ndarray:
        """Shift (Cout,), approximately the mean if the nuisance columns contain a constant."""
        return self.found.shift.reshape(-1)

    @property
    def outputs(self) -> int:
        """Number Q of outputs of each group."""
        return int(self.records[0].shape[-1]) // self.groups

    def rows(self, group: int) -> np.ndarray:
        """Return y (n, Q) of one group in the order of the rows, scaled but not shifted.

        Confounds are projected out.
        """
        return self.matrix.output_rows(self)[:, self.grouped(np.arange(self.exponents.size))[group]]

    def grouped(self, values: np.ndarray) -> np.ndarray:
        """Return values (Cout,) by group (G, Q)."""
        return values.reshape(self.groups, -1)


class DesignMatrix:
    """The design matrix A of every group, with nuisance columns N projected out.

    Column j is ``2**-exponents[j]`` times the column of the user's x, minus ``shift[j]``. The shift
    is a constant that N spans, so a large offset of A is never summed. Arrays have the shape (G, P)
    for columns, (G, Q) for outputs and (G, P, Q) for kernels. Outputs Y are `Targets`. M A is A
    with N projected out. A is a sum over `Chunks` of rows.

    Attributes:
        groups, rows, columns: G, n and P.
        nuisance: the nuisance columns N.
        chunks: the rows.
        targets: the outputs that are summed in the same pass as A, or None. Other outputs take a
            separate pass.
    """

    def __init__(self, chunks: Chunks) -> None:
        self.chunks, self.nuisance = chunks, chunks.nuisance
        self.groups, self.rows, self.columns = chunks.groups, chunks.rows, chunks.columns
        self.targets = None if chunks.y is None else Targets(chunks.y, self, given=True)
        chunks.given = self.targets

    def with_outputs(self, y: Sequence[Any]) -> Targets:
        """Return targets for other outputs of the same x."""
        return Targets(y, self)

    # --- the first pass

    @cached_property
    def _first(self) -> Pass:
        """The pass over x, and over the given outputs unless the columns come first."""
        first = FirstPass(self.chunks)
        if self.chunks.plan.columns_first:
            return first.of(None, columns_only=True)
        return first.of(self.targets)

    @property
    def _known(self) -> Columns:
        return self._first.columns

    def sums_of(self, targets: Targets) -> OutputSums:
        """Return sums over the rows of outputs."""
        if targets.given and self._first.outputs is not None:
            return self._first.outputs
        return FirstPass(self.chunks).of_outputs(targets)

    @cached_property
    def by_fft(self) -> bool:
        """Whether FFTs lose no digits, for rows in memory."""
        plan, flags = self.chunks.plan, self._known.by_rows
        # Sums by events lose no digits where FFTs may.
        sparse = plan.whole and backend(self.chunks.of(None, flags)[0]) is by_events
        if not (plan.by_rows or sparse):
            return not any(flags)
        chunk = self.chunks.loaded(None)
        return chunk.structured and by_fft.norms(chunk) is not None

    def moments_of(self, spans: Sequence[Span], y: Sequence[Any], basis: TapBasis) -> Moments:
        """Return sums over some of the rows of A T, if there are no confounds."""
        found: Moments = self.chunks.sum_some(totals, spans, y, False, None, basis)
        return found

    def _sum(
        self,
        task: Callable[..., Any],
        targets: Targets | None,
        *others: Any,
        fits: Fits = NO_FITS,
        combinations: Combinations | None = None,
    ) -> Any:
        """Return the sum of a task over the chunks, by FFTs or by rows as in the first pass."""
        by_rows = self._known.by_rows
        return self.chunks.sum(
            task, targets, *others, by_rows=by_rows, fits=fits, combinations=combinations
        )

    def _read(self, fits: Fits) -> Generator[LoadedChunk]:
        """Yield the chunks of x in memory."""
        return self.chunks.read(None, self._known.by_rows, fits)

    def sample(self) -> list[LoadedChunk]:
        """Return some chunks in memory, evenly spaced. Data in memory are one chunk."""
        return self.chunks.sample(self._known.by_rows, SAMPLED)

    def _fits(self, found: OutputSums | None) -> Fits:
        """Return everything that the confounds fit of the columns, and of outputs."""
        if self.nuisance.confounds is None:
            return NO_FITS
        x = tuple(in_user_units(fit, self.exponents) for fit in self._known.fits)
        return Fits(x, None if found is None else in_user_units(found.whole_fit, found.exponents))

    def _product_fit(self, group: int, w: np.ndarray) -> tuple[Fits, np.ndarray | None]:
        """Return how the confounds are projected out of A w.

        Returns:
            Fits that are subtracted from A, and coefficients (q, Q) of N to subtract from A w. The
            first are used if the second would cancel too many digits.
        """
        if self.nuisance.confounds is None:
            return NO_FITS, None
        if self._known.fit is not None:
            return self._fits(None), None
        return NO_FITS, self.products[group] @ w

    # --- the columns

    @cached_property
    def exponents(self) -> np.ndarray:
        """Exponents (G, P), integers."""
        return per_column(self._known.exponents, self.columns)

    @property
    def shift(self) -> np.ndarray:
        """Shift (G, P), zeros unless N contains a constant."""
        return self._known.shift

    @property
    def means(self) -> np.ndarray:
        """Column means (G, P) of A, or of M A if there are confounds."""
        return self.shift + self._known.means

    @property
    def products(self) -> np.ndarray:
        """Products NᵀA (G, q, P)."""
        return self._known.products

    @property
    def column_norms(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A."""
        return self._known.norms

    @cached_property
    def projection(self) -> Projection:
        """The projection of N, applied to sums over rows."""
        return Projection(self.products, float(self.rows) if self.nuisance.constant else 1.0)

    @cached_property
    def spreads(self) -> np.ndarray:
        """Norms (G, P) of the columns of M A about their means."""
        if self.nuisance.constant:
            return self.column_norms
        squares = self.column_norms**2
        centred = squares - self.rows * self._known.means**2
        if self.nuisance.confounds is None and cancels(centred, squares):
            return self._spreads_by_data
        return np.sqrt(np.maximum(centred, 0.0))

    @property
    def _spreads_by_data(self) -> np.ndarray:
        """The same, from another pass over the data in which means are subtracted."""
        first = FirstPass(self.chunks.centred)
        centred = first.of(None, columns_only=True).columns
        return np.ldexp(centred.norms, centred.column_exponents - self.exponents)

    @property
    def offsets(self) -> np.ndarray:
        """Column means (G, P) that N subtracts; with confounds, the size of all subtracted."""
        if self.nuisance.confounds is None:
            return self.means if self.nuisance.constant else np.zeros(self.exponents.shape)
        found = np.sqrt(sum(np.square(fit).sum(1) for fit in self._known.fits) / self.rows)
        if self.chunks.x_trends:
            size = self.chunks.x_trends[0].subtracted().size
            found = np.hypot(found, scaled_columns(size, self.exponents))
        return np.asarray(found)

    # --- outputs

    def output_sums(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Return NᵀY (G, q, Q) and Σy² (G, Q), where Y is shifted."""
        return targets.found.products, targets.found.squares

    def output_norms(self, targets: Targets) -> np.ndarray:
        """Return the norms (G, Q) of M y."""
        products, squares = self.output_sums(targets)
        return np.sqrt(self.projection.output_squares(squares, products))

    def output_rows(self, targets: Targets) -> np.ndarray:
        """Return y (n, Cout) in the order of the rows, in the units of the targets, not shifted.

        Confounds are projected out.
        """
        found, several = targets.found, []
        fit = None if self.nuisance.confounds is None else flat(found.whole_fit)
        for loaded in self.chunks.read(targets):
            finer = loaded.out_exponents - targets.exponents
            rows = loaded.output_rows()
            rows = np.ldexp(rows, finer) if finer.any() else rows
            if fit is not None:
                rows = rows - loaded.nuisance_columns.fit(fit[loaded.places], 0, len(rows))
            several.append(rows.astype(float, copy=False))
        whole = several[0] if len(several) == 1 else np.concatenate(several)
        return whole if found.live.all() else whole * found.live.reshape(-1)

    def constant_beside(
        self, targets: Targets, w: np.ndarray, level: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return the constant (G, Q) of the fit with A w, in the units of the targets.

        It corresponds to a constant ``level`` in addition to M A w; by default it is the
        least-squares solution. With confounds, the level is in addition to that solution. None if
        there is no bias.
        """
        confounds, found = self.nuisance.confounds, targets.found
        if confounds is not None:
            if not confounds.shared:
                return None
            best = self._constant_of_confounds(targets, w)
            return best if level is None else best + level
        if not self.nuisance.constant:
            return None
        rest = -self.projection.means @ w
        if level is None:
            rest = self.projection.coefficients(found.products, w)
            level = found.shift
        return np.asarray(level - np.einsum("gp,gpq->gq", self.shift, w) + rest[:, 0])

    def _constant_of_confounds(self, targets: Targets, w: np.ndarray) -> np.ndarray:
        """Return the constant of the fit if it is the last column of the confounds."""
        confounds = self.nuisance.confounds
        assert confounds is not None
        of_x, of_y = self._shared_constants(targets)
        rest = targets.found.products[:, -1] - np.einsum("gp,gpq->gq", self.products[:, -1], w)
        return np.asarray(rest / confounds.size + of_y - np.einsum("gp,gpq->gq", of_x, w))

    # --- sums and products

    def moments(self, targets: Targets | None, basis: TapBasis = IDENTITY) -> Moments:
        """Return sums over the rows of A T and Y, each minus its shift, for a ``basis`` T."""
        if targets is self.targets and not self.chunks.plan.columns_first:
            assert self._first.moments is not None
            return basis.of_moments(self._first.moments)
        return basis.of_moments(self._summed(targets))

    def _summed(self, targets: Targets | None, basis: TapBasis = IDENTITY) -> Moments:
        """Return `moments` from a pass over the data, without sums of A itself."""
        known, found, fits = self._known, None if targets is None else targets.found, NO_FITS
        if known.fit is not None:
            fits = Fits(x=(in_user_units(known.fit, self.exponents),))
        if found is not None and found.fit is not None:
            fits = fits._replace(y=in_user_units(found.fit, found.exponents))
        units = basis.of_units(units_of(known, found))
        m: Moments = self._sum(totals, targets, False, units, basis, fits=fits)
        m = m.with_zero_columns(known.live)
        return m if found is None else m.with_zero_outputs(found.live)

    def summable(
        self, targets: Targets | None, basis: TapBasis = IDENTITY, m: Moments | None = None
    ) -> Moments:
        """Return moments of A T that can be added to those of rows with other nuisance columns.

        A bias is a constant that is fitted to the sum of them, also for rows with weights. ``m``
        are the `moments` of the targets, if they are known.
        """
        confounds = self.nuisance.confounds
        m = self.moments(targets, basis) if m is None else m
        if confounds is None or not confounds.shared:
            return m.projected
        found = m.with_last_as_constant(confounds.size)
        of_x, of_y = self._shared_constants(targets)
        of_x = basis.restrict(of_x[:, :, None])[:, :, 0]
        shift, out_shift = found.units.shift + of_x, found.units.out_shift + of_y
        return replace(found, units=found.units._replace(shift=shift, out_shift=out_shift))

    def _shared_constants(self, targets: Targets | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the constant of all records that was subtracted from columns and outputs."""
        confounds, known, first = (
            self.nuisance.confounds,
            self._known,
            self.chunks.order.kept.used[:1],
        )
        assert confounds is not None
        nothing = np.zeros(self.groups * self.chunks.channels)
        of_x = sum((each.of_records(first)[0, 0] for each in self.chunks.x_trends), nothing)
        found = scaled_columns(of_x, self.exponents)
        if known.fit is not None:
            found = found + known.fit[:, -1] / confounds.size
        if targets is None:
            return found, np.zeros((self.groups, 0))
        of_y = sum(each.of_records(first)[0, 0] for each in targets.trends)
        of_outputs = targets.grouped(np.ldexp(of_y, -targets.exponents))
        if targets.found.fit is not None:
            of_outputs = of_outputs + targets.found.fit[:, -1] / confounds.size
        return found, of_outputs

    def residual(
        self, w: np.ndarray, targets: Targets, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖r‖² (G, Q) and AᵀM r (G, P, Q) for r = M(y − A w).

        If ``weights`` (G, Q, s) are given, y are `Combinations` of the outputs, and w are their
        kernels. This takes a pass over the data, and another one if the rounding error of r
        in the span of N is large.
        """
        known, found, fits, combined = self._known, targets.found, NO_FITS, None
        if weights is not None:
            weights = weights * found.live[:, :, None]
            combined = Combinations(weights, found.exponents, found.shift)
            found = found.combined(weights)
        w = w * known.live[:, :, None]
        given = w, np.zeros((len(w), w.shape[2]))
        if self.nuisance.constant:
            given = w, self.projection.coefficients(found.products, w)[:, 0]
        elif known.fit is not None:
            fits = self._fits(found)
        elif self.nuisance.confounds is not None:
            fit = found.whole_fit - self.products @ w
            fits = Fits(y=in_user_units(fit, found.exponents))
        units = units_of(known, found)
        left: ResidualSums = self._sum(
            misfit, targets, units, *given, fits=fits, combinations=combined
        )
        exact = fits.y is None or fits.x
        if not exact and self._rounding_counts(found, w, left.squares):
            left = self._sum(misfit, targets, units, *given, True, fits=fits, combinations=combined)
        gradient = left.gradient
        if self.nuisance.constant:
            gradient = self.projection.cross(gradient, left.sums[:, None])
        elif left.products.size:
            gradient = self.projection.cross(gradient, left.products)
        # A column that is constant is zero without its mean, and so is its product.
        gradient = gradient * (self.column_norms > 0)[:, :, None]
        return left.squares * found.live, gradient * found.live[:, None]

    def _rounding_counts(self, found: OutputSums, w: np.ndarray, squares: np.ndarray) -> bool:
        """Return whether the rounding error of residuals in the span of N would be seen in AᵀM r.

        It is relative to the terms of the residual, and multiplied by the share of N in A. It is
        compared with the residual, whose sums are ``squares`` (G, Q).
        """
        of_nuisance = np.square(self.products).sum(1)
        norms = np.sqrt(np.square(self.column_norms) + of_nuisance)
        share = np.sqrt(of_nuisance) / np.where(norms > 0, norms, 1.0)
        terms = np.sqrt(found.squares) + np.einsum("gp,gpq->gq", norms, np.abs(w))
        return bool((share.max(1, initial=0.0)[:, None] * terms > np.sqrt(squares)).any())

    def by_record(
        self, group: int, w: np.ndarray, targets: Targets, outputs: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Yield AᵀM r (P, q) over the rows of each record that has rows.

        Args:
            group: index of the group.
            w: kernels (P, q) of some of its outputs.
            targets: y of all outputs.
            outputs: indices (q,) of these outputs in the group.
        """
        order, first = self.chunks.order, 0
        ends, left = np.cumsum(order.counts), [*order.kept.sizes]
        sums: dict[int, np.ndarray] = {}
        for a, y in self.row_blocks(targets):
            assert y is not None
            r = y[group][:, outputs] - a[group] @ w
            inner = ends[(ends > first) & (ends < first + len(r))] - first
            for start, stop in pairwise([0, *inner, len(r)]):
                record = order.spans[int(np.searchsorted(ends, first + start, "right"))][0]
                gradient = a[group, start:stop].T @ r[start:stop]
                sums[record] = sums[record] + gradient if record in sums else gradient
                left[record] -= stop - start
                if not left[record]:
                    yield sums.pop(record)
            first += len(r)

    def forward(self, group: int, w: np.ndarray) -> np.ndarray:
        """Return M A w (n, Q) of one group, for w (P, Q), in the order of the rows."""
        return np.concatenate([*self.products_with(group, w)])

    def products_with(self, group: int, w: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the rows of `forward` chunk by chunk."""
        w = w * self._known.live[group][:, None]
        fits, fit = self._product_fit(group, w)
        level = self.projection.means[group, 0] @ w if self.nuisance.constant else 0.0
        units = units_of(self._known, None)
        for chunk in self._read(fits):
            yield product(chunk, units, group, w, fit) - level

    def adjoint(self, group: int, r: np.ndarray) -> np.ndarray:
        """Return AᵀM r (P, Q) of one group, for r (n, Q) in the order of the rows."""
        known, fits, first = self._known, NO_FITS, 0
        if self.nuisance.constant:
            r = r - r.mean(0)
        elif known.fit is not None:
            fits = self._fits(None)
        elif self.nuisance.confounds is not None and self.nuisance.confounds.count:
            columns = self.nuisance_columns
            r = r - columns.fit(columns.products(r), 0, len(r)).astype(float, copy=False)
        total, units = np.zeros((self.columns, r.shape[1])), units_of(known, None)
        for chunk in self._read(fits):
            last = first + chunk.rows
            total += adjoint(chunk, units, group, r[first:last])
            first = last
        return total * known.live[group][:, None]

    @property
    def nuisance_columns(self) -> NuisanceColumns:
        """N in all rows, orthonormal, and a constant of all rows as its last column."""
        return orthonormal_columns(self.nuisance, self.chunks.order.spans, self.rows)

    def row_blocks(self, targets: Targets | None = None) -> Iterator[Block]:
        """Yield blocks of rows of M A (G, k, P) and of M y (G, k, Q), by default of ``targets``."""
        yield from self._blocks(self.targets if targets is None else targets)

    def _blocks(self, targets: Targets | None) -> Iterator[Block]:
        known, found = self._known, None if targets is None else targets.found
        units = units_of(known, found)
        for chunk in self.chunks.read(targets, known.by_rows, self._fits(found)):
            for a, y in by_rows.rows(chunk, units):
                if self.nuisance.constant:
                    a = a - known.means[:, None]
                if not known.live.all():
                    a = a * known.live[:, None]
                if found is not None and y is not None:
                    if self.nuisance.constant:
                        y = y - (found.sums / self.rows)[:, None]
                    y = y if found.live.all() else y * found.live[:, None]
                yield a, y


def without_confounds(
    confounds: Confounds, values: Sequence[np.ndarray], fit: np.ndarray | None = None
) -> np.ndarray:
    """Project N out of the values (*T, Q) of every record, in the rows used in the fit.

    Args:
        confounds: the columns N.
        values: values of every record.
        fit: further coefficients (q, Q), whose N c is subtracted afterwards. Coefficients beyond
            the columns of N, of a shared constant, are not used.

    Returns:
        Rows (n, Q) in the order of the records, times the roots of the weights. An output is zero
        if only rounding is left of it.
    """
    kept = confounds.kept
    none = [np.empty((*shape, 0)) for shape in kept.shapes]
    given = Adjustments(kept, confounds.weights), Nuisance(confounds=confounds), DEFAULT_TUNING
    spec, plan = ConvSpec((1,) * len(kept.starts)), Plan(in_time=True)
    matrix = DesignMatrix(Chunks(none, None, spec, *given, plan))
    targets = matrix.with_outputs(values)
    # Multiplying twice by half of the power takes less time than ldexp, and does not overflow.
    half = targets.exponents // 2
    rows = matrix.output_rows(targets) * np.ldexp(1.0, half)
    rows *= np.ldexp(1.0, targets.exponents - half)
    if fit is not None:
        columns = matrix.nuisance_columns
        left = rows - columns.fit(fit[: columns.count], 0, len(rows))
        rows = left.astype(float, copy=False)
    return rows
