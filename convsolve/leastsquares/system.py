"""Least squares with one penalty of one strength: scaled columns and factors, computed once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..cached import cached_property
from ..linalg.factor import GRADED, Factor, Ridged, Truncated
from ..linalg.factors import Factors, Part, cholesky_factors, triangular_factors
from ..linalg.lapack import diagonals
from ..linalg.qr import tree_qr, without_dust
from ..linalg.rank import EPS
from ..linalg.threads import on_blas_threads, one_blas_thread
from ..operators.design_matrix import Targets
from ..operators.tap_basis import TapBasis
from .design import Design
from .penalty import Bands, Coordinates, Penalty, Ridge
from .scaling import PenaltyColumns, Scaling

# Up to this condition number a Gram gives it to ten digits.
MAX_GRAM_CONDITION = 500.0
# Groups of more columns than this are factored separately: their arithmetic takes longer than the
# overhead of Python for each group.
FEW_COLUMNS = 64
# Rows of a Gram that are scaled at a time. Scaling all at once would need a second Gram.
GRAM_ROWS = 256


class System:
    """The problem min ‖M(Y − A T z)‖² + strength·‖z‖² over kernels w = T z, for every group.

    M projects the nuisance columns out. T are the coordinates of the penalty, the identity for a
    ridge. Columns are scaled to a norm of about one. A system depends on x only. y enters a
    `Regression`.
    """

    #: The system of strength 0 in equal coordinates; None for one of strength 0.
    unpenalized: System | None = None

    def __init__(self, design: Design, penalty: Penalty, strength: float) -> None:
        self.design, self.penalty, self.strength = design, penalty, strength
        self.matrix, self.clock = design.matrix, design.clock
        self._choleskys: dict[int, Factors] = {}
        self._joints: dict[int, tuple[Factors, np.ndarray]] = {}

    @cached_property
    def coordinates(self) -> Coordinates:
        """T and the weights of its columns."""
        return self.design.coordinates(self.penalty)

    @property
    def basis(self) -> TapBasis:
        """T on the taps of a channel."""
        return self.coordinates.basis

    @property
    def _blas_columns(self) -> int:
        """The smaller dimension of A."""
        return self.design._blas_columns

    @cached_property
    def columns(self) -> PenaltyColumns:
        """The columns of A T."""
        if self.unpenalized is not None:
            return self.unpenalized.columns
        return PenaltyColumns(self.design, self.basis)

    @cached_property
    @on_blas_threads
    def scaling(self) -> Scaling:
        """The units of the columns."""
        columns = self.columns
        with self.clock.timing("scaling"):
            return Scaling.of(columns, self.strength * self.coordinates.weights)

    @cached_property
    def ridge_certifies(self) -> bool:
        """Whether the ridge alone ensures the full numerical rank of [A; √ridge I]."""
        scaling = self.scaling
        margin = 10 * scaling.relative.shape[1] * EPS * scaling.a_norm[:, None] ** 2
        return self.strength > 0 and bool((scaling.root_ridge**2 >= margin).all())

    def ridge_of(self, share: float) -> float:
        """Return this share of the square of the power of two above the largest column of A."""
        used = self.columns.norms > 0
        exponent = self.scaling.exponents[used].max() if used.any() else 0
        with np.errstate(over="ignore", under="ignore"):
            return float(np.ldexp(share, 2 * exponent))

    @property
    def _tree(self) -> int:
        return self.design.sizes.limits.tree_rows

    @cached_property
    def _batches(self) -> list[slice]:
        """Groups that are factored at once: all if they are small, otherwise one at a time."""
        groups, few = self.matrix.groups, self.columns.count <= FEW_COLUMNS
        if groups > 1 and few and self.design.sizes.by_rows:
            return [slice(0, groups)]
        return [slice(g, g + 1) for g in range(groups)]

    def gram_factors(self) -> Factors | None:
        """Return the Cholesky factors of all groups; None unless full rank is certified for all."""
        found: list[Factors] = []
        for batch in range(len(self._batches) if self._gram_worthwhile else 0):
            found.append(self._cholesky(batch))
            if not found[-1].complete:
                return None
        return _joined(found) if found else None

    @property
    def _factor_fits(self) -> bool:
        """Whether a QR fits. The limit of operations is for no penalty and for a ridge."""
        sizes, limited = self.design.sizes, isinstance(self.penalty, Ridge | Bands)
        return sizes.factor_fits if limited or not self.strength else sizes.factor_in_memory

    @property
    def _gram_worthwhile(self) -> bool:
        """Whether the Gram matrix is worth factoring.

        With fewer rows than columns it is singular. With a ridge, the dual is cheaper if there are
        at most a quarter as many rows as columns. P² numbers must also fit in memory. If columns
        cancel in the coordinates of a penalty, only a QR keeps the digits of its factor.
        """
        sizes, rows, columns = self.design.sizes, self.matrix.rows, self.columns.count
        if self.columns.cancels and self._factor_fits:
            return False
        ridged = self.strength > 0 and (4 * rows > columns or not self._factor_fits)
        return sizes.gram_fits and (rows >= columns or ridged)

    @on_blas_threads
    def _cholesky(self, batch: int) -> Factors:
        """Return the Cholesky factors of the groups of a batch for which full rank is certified."""
        if batch not in self._choleskys:
            groups, certain = self._batches[batch], self.ridge_certifies
            with self.clock.timing("Cholesky"):
                loss = self._gram_loss[groups]
                found = cholesky_factors(self._grams(groups), self.matrix.rows, certain, loss)
            self._choleskys[batch] = found
        return self._choleskys[batch]

    def independent(self, group: int, some: np.ndarray) -> bool:
        """Return whether the Gram matrix proves that some of the scaled columns are independent."""
        grams, rows = self.gram(group)[None, some][:, :, some], self.matrix.rows
        return cholesky_factors(grams, rows, loss=self._gram_loss[group]).complete

    def determined(self, group: int, factor: Factor) -> np.ndarray:
        """Return flags (P,) of the taps that the data determine, and those that are always zero."""
        if self.basis.identity or factor.full_rank:
            return factor.determined if self.basis.identity else np.ones(self.matrix.columns, bool)
        rows = self.tap_rows(group)
        off = np.linalg.norm(rows @ factor.null_basis, axis=1)
        return np.asarray(off <= factor.null_threshold * np.linalg.norm(rows, axis=1))

    def noise_gains(self, group: int, factor: Factor) -> np.ndarray:
        """Return standard errors (P,) of the taps for unit noise, in the columns of the matrix.

        They are inf for taps that are not determined, and NaN for taps outside of their window.
        """
        if self.basis.identity:
            return np.ldexp(factor.noise_gain, -self.scaling.relative[group])
        rows = self.tap_rows(group)
        with one_blas_thread():
            found = np.linalg.norm(factor.whitened(rows.T), axis=0)
        found = np.where(self.determined(group, factor), found, np.inf)
        return np.where(self.design.modelled, found, np.nan)

    def tap_rows(self, group: int) -> np.ndarray:
        """Return T (P, R) in units of the scaled columns."""
        rows = self.basis.expand(np.eye(self.columns.count)[None])[0]
        return np.asarray(np.ldexp(rows, -self.scaling.relative[group]))

    @property
    def _gram_loss(self) -> np.ndarray:
        """Square (G,) of the largest norm of the terms of a scaled column, at least one.

        The Gram matrix in the coordinates of a penalty has the rounding error of these terms.
        """
        terms = self.columns.terms * self.scaling.scale
        return np.maximum(1.0, np.square(terms).max(1, initial=0.0))

    def gram(self, group: int) -> np.ndarray:
        """Return AᵀMA + ridge (R, R) of the scaled columns."""
        return self._grams(slice(group, group + 1))[0]

    def _grams(self, groups: slice) -> np.ndarray:
        """Return AᵀMA + ridge (groups, R, R) of the scaled columns."""
        columns = self.columns.count
        grams = np.empty((groups.stop - groups.start, columns, columns))
        for first in range(0, columns, GRAM_ROWS):
            rows = slice(first, first + GRAM_ROWS)
            grams[:, rows] = self._gram_rows(groups, rows)
        diagonals(grams)[...] += self.scaling.root_ridge[groups] ** 2
        return grams

    def _gram_rows(self, groups: slice, rows: slice) -> np.ndarray:
        """Return some rows (groups, k, R) of AᵀMA of the scaled columns."""
        scale = self.scaling.scale[groups]
        found = self.columns.gram[groups, rows] * scale[:, None]
        found *= scale[:, rows, None]
        return found

    def qr_factors(self) -> Factors | None:
        """Return the QR factors of all groups; None if they exceed the limits."""
        if not self._factor_fits:
            return None
        return _joined([self._joint(batch)[0] for batch in range(len(self._batches))])

    def rotated(self, targets: Targets) -> np.ndarray:
        """Return Qᵀy (G, q, Q) of the QR; another QR is computed for targets not given with x."""
        if targets is self.design.targets:
            several = [self._joint(batch)[1] for batch in range(len(self._batches))]
        else:
            several = [self._qr(groups, targets)[1] for groups in self._batches]
        return several[0] if len(several) == 1 else np.concatenate(several)

    def _joint(self, batch: int) -> tuple[Factors, np.ndarray]:
        """Return the QR of [A Y] of a batch, where Y are the targets given with x."""
        if batch not in self._joints:
            plain = None if self.unpenalized is None else self.unpenalized._joint(batch)
            self._joints[batch] = self._qr(self._batches[batch], self.design.targets, plain)
        return self._joints[batch]

    @on_blas_threads
    def _qr(
        self,
        groups: np.ndarray | slice,
        targets: Targets | None,
        plain: tuple[Factors, np.ndarray] | None = None,
    ) -> tuple[Factors, np.ndarray]:
        """Return the factors of [A; √ridge I] and Qᵀ[y; 0] (groups, q, Q). Q is never formed.

        ``plain`` is the result without the penalty, if it is known.
        """
        if self.unpenalized is not None:
            plain = plain or self.unpenalized._qr(groups, targets)
            with self.clock.timing("QR"):
                return self._with_penalty(groups, *plain)
        rows, columns = self.matrix.rows, self.columns.count
        with self.clock.timing("QR"):
            blocks, wide = self._scaled_rows(groups, targets), rows < columns
            # A wide A is not reduced: its rows are used directly.
            both = np.concatenate([*blocks], axis=1) if wide else tree_qr(blocks, self._tree)
            both = both[:, : min(rows, columns)]
            r, z = both[:, :, :columns], both[:, :, columns:]
            r = r if wide else without_dust(r)
            return triangular_factors(r, self.scaling.exponents[groups], rows), z

    def _with_penalty(
        self, groups: np.ndarray | slice, plain: Factors, z: np.ndarray
    ) -> tuple[Factors, np.ndarray]:
        """Add the penalty to the factors of some groups, and to Qᵀy (groups, q, Q)."""
        exponents, roots = self.scaling.exponents[groups], self.scaling.root_ridge[groups]
        larger = exponents - self.unpenalized.scaling.exponents[groups]  # type: ignore[union-attr]
        columns, rows = self.columns.count, self.matrix.rows + self.columns.count
        parts: list[Part] = []
        turned: list[tuple[np.ndarray, np.ndarray]] = []
        for index, factor in self._pieces(plain):
            if isinstance(factor, Truncated) and self._needs_dual(factor):
                (g,) = index
                parts.append((index, Ridged(factor, roots[g], larger[g])))
                turned.append((index, z[index]))
                continue
            q = factor.r.shape[-2]
            joined = np.zeros((len(index), q + columns, columns + z.shape[2]))
            joined[:, :q, :columns] = np.ldexp(factor.r, -larger[index, None])
            joined[:, :q, columns:] = z[index]
            diagonals(joined[:, q:, :columns])[...] = roots[index]
            top = tree_qr([joined], self._tree)[:, :columns]
            found = triangular_factors(top[:, :, :columns], exponents[index], rows)
            parts += [(index[i], one) for i, one in found.parts]
            turned.append((index, top[:, :, columns:]))
        of_y = np.empty((len(z), *turned[0][1].shape[1:]))
        for index, part in turned:
            of_y[index] = part
        return Factors(len(z), parts), of_y

    def _pieces(self, plain: Factors) -> Iterator[Part]:
        """Yield the parts of factors, with groups that may need a dual one by one."""
        for index, factor in plain.parts:
            if isinstance(factor, Truncated) and self.coordinates.uniform:
                yield from ((np.array([g]), plain[g]) for g in index.tolist())
            else:
                yield index, factor

    def _needs_dual(self, plain: Truncated) -> bool:
        """Return whether a ridge is added to the row space of A instead of to its columns.

        This is cheaper for a wide A. A ridge below the rounding error of a deficient A would have
        no effect otherwise.
        """
        if not self.coordinates.uniform:
            return False
        return plain.r.shape[-2] < plain.columns or not self.ridge_certifies

    def _scaled_rows(
        self, groups: np.ndarray | slice, targets: Targets | None
    ) -> Iterator[np.ndarray]:
        """Yield blocks of rows (groups, n, R + Q) of the scaled [A T Y]."""
        scale = self.scaling.scale[groups, None]
        for a, y in self.matrix.row_blocks(targets):
            scaled = self.basis.rows(a[groups]) * scale
            yield scaled if y is None else np.concatenate([scaled, y[groups]], axis=2)

    def factor(self, group: int) -> Factor | None:
        """Return the factor of a group; None if memory does not allow one."""
        return self.factors.get(group)

    @cached_property
    def factors(self) -> Factors:
        """The factors of all groups, by the cheapest route that decides the rank.

        Groups for which memory does not allow a factor have none.
        """
        sizes, found = self.design.sizes, []
        by_gram = not (sizes.small and self._factor_fits) and self._gram_worthwhile
        for batch, groups in enumerate(self._batches):
            one = self._cholesky(batch) if by_gram else Factors(groups.stop - groups.start, [])
            if not one.complete and self._factor_fits:
                one = self._joint(batch)[0]
            found.append(one)
        return _joined(found)

    def freedom(self, group: int, factor: Factor) -> float:
        """Return the degrees of freedom of the kernel, given a factor of full rank.

        They are the trace of (AᵀA + ridge·K)⁻¹AᵀA, a sum over the coordinates of the penalty.
        """
        return float(np.sum(1 - (self.scaling.root_ridge[group] * factor.noise_gain) ** 2))

    @cached_property
    def column_rounding(self) -> np.ndarray:
        """Norms (G, P) of the rounding error of the data's own type in the scaled columns of A.

        The columns are not centred for this purpose, because the rounding error of an offset
        remains after a bias is subtracted.
        """
        matrix = self.matrix
        whole = np.hypot(matrix.column_norms, math.sqrt(matrix.rows) * matrix.offsets)
        whole = self.basis.largest_norms(whole)
        return self.design.data_eps * np.ldexp(whole, -self.scaling.relative)

    def bias_row(self, group: int) -> np.ndarray:
        """Return the column means (P,) of the scaled A, scaled to a norm of at most one.

        The share of a unit null vector that the bias takes up is its product with these means.
        """
        means = self.basis.restrict(self.matrix.offsets[group][None, :, None])[0, :, 0]
        scaled = np.ldexp(means, -self.scaling.relative[group])
        return scaled / max(float(np.linalg.norm(scaled)), 1.0)

    @on_blas_threads
    def extremes(self, group: int, factor: Factor) -> tuple[float, float]:
        """Return the extreme singular values of A itself, divided as in `Factor.spectrum`.

        A Gram determines σ_P to eps·κ² only. A QR is used if κ is large and units differ much.
        """
        powers, values = self.scaling.exponents[group], np.ones(1)
        if factor.source == "gram" and np.ptp(powers) > GRADED:
            values = factor.singular_values
        if values[0] > MAX_GRAM_CONDITION * values[-1] and (exact := self.qr_factors()) is not None:
            factor = exact[group]
        return factor.extremes(powers, self.design.sizes.limits.spectrum_columns)


def _joined(several: Sequence[Factors]) -> Factors:
    """Return the factors of the groups of all of them, in this order."""
    ends = np.cumsum([len(factors) for factors in several])
    pairs = zip(several, ends, strict=True)
    parts = [(index + end - len(each), f) for each, end in pairs for index, f in each.parts]
    return Factors(int(ends[-1]), parts)
