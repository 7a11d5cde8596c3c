"""Least squares with one penalty of one strength: scaled columns and factors, computed once."""

from __future__ import annotations

import math

import numpy as np

from ..linalg.factor import GRADED, Factor, Truncated
from ..linalg.factors import Factors, Part, cholesky_factors, triangular_factors
from ..linalg.lapack import diagonals
from ..linalg.qr import tree_qr, without_dust
from ..linalg.rank import EPS
from ..linalg.threads import on_blas_threads, one_blas_thread
from ..operators.design_matrix import Targets
from ..operators.layout import TapBasis
from ..parallel import cached_property
from .design import Design
from .penalty import Coordinates, Penalty, Ridge
from .scaling import PenaltyColumns, Scaling

# Up to this condition number a Gram gives it to ten digits.
MAX_GRAM_CONDITION = 500.0
# Groups of more columns than this are factored separately: their arithmetic takes longer than the
# overhead of Python for each group.
FEW_COLUMNS = 64


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
        self._blas_columns = design._blas_columns

    @cached_property
    def coordinates(self) -> Coordinates:
        """T and the weights of its columns."""
        return self.design.coordinates(self.penalty)

    @property
    def basis(self) -> TapBasis:
        """T on the taps of a channel."""
        return self.coordinates.basis

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

    # --- ridges

    @cached_property
    def ridge_certifies(self) -> bool:
        """Whether the ridge alone ensures the full numerical rank of [A; √ridge I]."""
        margin = 10 * self.columns.count * EPS * self.scaling.a_norm**2
        return self.strength > 0 and bool((self.scaling.root_ridge**2 >= margin).all())

    def ridge_of(self, share: float) -> float:
        """Return this share of the square of the power of two above the largest column of A."""
        used = self.columns.norms > 0
        largest = self.scaling.exponents[used].max() if used.any() else 0
        with np.errstate(over="ignore", under="ignore"):
            return float(np.ldexp(share, 2 * largest))

    # --- factors of the Gram matrix

    def gram(self, groups: slice) -> np.ndarray:
        """Return AᵀMA + ridge (n, R, R) of the scaled columns of some groups."""
        scale = self.scaling.scale[groups]
        found = self.columns.gram[groups] * scale[:, None]
        found *= scale[:, :, None]
        diagonals(found)[...] += self.scaling.root_ridge[groups] ** 2
        return found

    @property
    def _gram_loss(self) -> np.ndarray:
        """Square (G,) of the largest norm of the terms of a scaled column, at least one.

        The Gram matrix in the coordinates of a penalty has the rounding error of these terms.
        """
        return np.square(self.columns.terms * self.scaling.scale).max(1, initial=1.0)

    @property
    def qr_fits(self) -> bool:
        """Whether a QR fits. The limit of operations is for no penalty and for a ridge."""
        sizes, limited = self.design.sizes, isinstance(self.penalty, Ridge)
        return sizes.factor_fits if limited or not self.strength else sizes.factor_in_memory

    @property
    def _gram_worthwhile(self) -> bool:
        """Whether the Gram matrix fits in memory and is worth factoring.

        With fewer rows than columns it is singular. With a ridge, the dual is cheaper if there are
        at most a quarter as many rows as columns. If columns cancel in the coordinates of a
        penalty, only a QR keeps the digits of its factor.
        """
        rows, columns, fits = self.matrix.rows, self.columns.count, self.qr_fits
        if not self.design.sizes.gram_fits or (self.columns.cancels and fits):
            return False
        return rows >= columns or (self.strength > 0 and (4 * rows > columns or not fits))

    @cached_property
    @on_blas_threads
    def by_gram(self) -> Factors:
        """The Cholesky factors of the groups for which full rank is certified."""
        groups, parts = self.matrix.groups, list[Part]()
        step = groups if self.columns.count <= FEW_COLUMNS else 1
        for first in range(0, groups if self._gram_worthwhile else 0, step):
            some = slice(first, first + step)
            given = self.matrix.rows, self.ridge_certifies, self._gram_loss[some]
            with self.clock.timing("Cholesky"):
                found = cholesky_factors(self.gram(some), *given)
            parts += [(index + first, factor) for index, factor in found.parts]
        return Factors(groups, parts)

    def independent(self, group: int, some: np.ndarray) -> bool:
        """Return whether the Gram matrix proves that some of the scaled columns are independent."""
        grams, loss = self.gram(slice(group, group + 1)), self._gram_loss[group]
        own = grams[:, some][:, :, some]
        return cholesky_factors(own, self.matrix.rows, loss=loss).complete

    # --- factors of the rows

    @cached_property
    def _by_qr(self) -> tuple[Factors, np.ndarray]:
        return self.qr(slice(None), self.design.targets)

    def qr_factors(self) -> Factors | None:
        """Return the QR factors of all groups; None if they exceed the limits."""
        return self._by_qr[0] if self.qr_fits else None

    def rotated(self, targets: Targets) -> np.ndarray:
        """Return Qᵀy (G, q, Q) of the QR; another QR is computed for targets not given with x."""
        same = targets is self.design.targets
        return self._by_qr[1] if same else self.qr(slice(None), targets)[1]

    @on_blas_threads
    def qr(self, groups: slice | np.ndarray, targets: Targets | None) -> tuple[Factors, np.ndarray]:
        """Return the factors of [A; √ridge I] and Qᵀ[y; 0] (n, q, Q) of groups, without Q."""
        scaling, count, rows = self.scaling, self.columns.count, self.matrix.rows
        if self.unpenalized is not None:
            known = isinstance(groups, slice) and targets is self.design.targets
            plain = self.unpenalized._by_qr if known else self.unpenalized.qr(groups, targets)
            with self.clock.timing("QR"):
                return self._with_penalty(groups, *plain)
        with self.clock.timing("QR"):
            scale = scaling.scale[groups, None]
            blocks = (
                np.concatenate([self.columns.t.rows(a[groups]) * scale, y[groups]], axis=2)
                for a, y in self.matrix.row_blocks(targets)
            )
            # A wide A is not reduced: its rows are used directly.
            wide, tree = rows < count, self.design.sizes.limits.tree_rows
            both = np.concatenate([*blocks], axis=1) if wide else tree_qr(blocks, tree)[:, :count]
            r, z = both[:, :, :count], both[:, :, count:]
            r = r if wide else without_dust(r)
            return triangular_factors(r, scaling.exponents[groups], rows), z

    def _with_penalty(
        self, groups: slice | np.ndarray, plain: Factors, z: np.ndarray
    ) -> tuple[Factors, np.ndarray]:
        """Add the penalty to the factors of some groups, and to Qᵀy (n, q, Q)."""
        scaling, count, rows = self.scaling, self.columns.count, self.matrix.rows
        exponents, roots = scaling.exponents[groups], scaling.root_ridge[groups]
        assert self.unpenalized is not None
        larger = exponents - self.unpenalized.scaling.exponents[groups]
        # A ridge is added to the row space of a deficient A instead of to its columns, which is
        # cheaper for a wide A. Below the rounding error of A it would have no effect otherwise.
        dual = self.coordinates.uniform and (rows < count or not self.ridge_certifies)
        parts, of_y = list[Part](), z[:, :count].copy()
        for index, factor in plain.parts:
            if dual and isinstance(factor, Truncated):
                parts.append((index, factor.with_ridge(roots[index[0]], larger[index[0]])))
                continue
            q = factor.r.shape[-2]
            joined = np.zeros((len(index), q + count, count + z.shape[2]))
            joined[:, :q, :count] = np.ldexp(factor.r, -larger[index, None])
            joined[:, :q, count:] = z[index]
            diagonals(joined[:, q:, :count])[...] = roots[index]
            top = tree_qr([joined], self.design.sizes.limits.tree_rows)[:, :count]
            found = triangular_factors(top[:, :, :count], exponents[index], rows + count)
            parts += [(index[i], one) for i, one in found.parts]
            if of_y.shape[1] < count:
                of_y = np.zeros((len(z), count, z.shape[2]))
            of_y[index] = top[:, :, count:]
        return Factors(len(z), parts), of_y

    # --- the factors of all groups

    def unproven(self, targets: Targets | None) -> tuple[np.ndarray, Factors, np.ndarray]:
        """Return the groups that `by_gram` lacks, and their QR and Qᵀy."""
        rest = np.flatnonzero(~self.by_gram.each(lambda f: True, False))
        return rest, *self.qr(rest, targets)

    @cached_property
    def factors(self) -> Factors:
        """The factors of all groups, by the cheapest route that decides the rank.

        Groups for which memory does not allow a factor have none.
        """
        if self.qr_fits and (self.design.sizes.small or not self.by_gram.parts):
            return self._by_qr[0]
        if self.by_gram.complete or not self.qr_fits:
            return self.by_gram
        return self.by_gram.joined(*self.unproven(self.design.targets)[:2])

    def factor(self, group: int) -> Factor | None:
        """Return the factor of a group; None if memory does not allow one."""
        return self.factors.get(group)

    @property
    def factored(self) -> bool:
        """Whether factors exist, so that they cost nothing more."""
        return not {"by_gram", "_by_qr"}.isdisjoint(vars(self))

    # --- what data and penalty determine

    def tap_rows(self, group: int) -> np.ndarray:
        """Return T (P, R) in units of the scaled columns."""
        rows = self.columns.t.expand(np.eye(self.columns.count)[None])[0]
        return rows * self.scaling.factor[group]

    def determined(self, group: int, factor: Factor) -> np.ndarray:
        """Return flags (P,) of the taps that the data determine, and those that are always zero."""
        if not isinstance(factor, Truncated) or factor.full_rank:
            return np.ones(self.matrix.columns, bool)
        if self.columns.t.identity:
            return factor.determined
        rows = self.tap_rows(group)
        off = np.linalg.norm(rows @ factor.null_space, axis=1)
        return np.asarray(off <= factor.null_threshold * np.linalg.norm(rows, axis=1))

    def noise_gains(self, group: int, factor: Factor) -> np.ndarray:
        """Return standard errors (P,) of the taps for unit noise, in the columns of the matrix.

        They are inf for taps that are not determined, and NaN for taps outside of their window.
        """
        if self.columns.t.identity:
            return factor.noise_gain * self.scaling.factor[group]
        with one_blas_thread():
            found = np.linalg.norm(factor.whitened(self.tap_rows(group).T), axis=0)
        found = np.where(self.determined(group, factor), found, np.inf)
        return np.where(self.design.modelled, found, np.nan)

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
        return self.design.data_eps * self.columns.t.largest_norms(whole) * self.scaling.factor

    def bias_row(self, group: int) -> np.ndarray:
        """Return the column means (P,) of the scaled A, scaled to a norm of at most one.

        The share of a unit null vector that the bias takes up is its product with these means.
        """
        means = self.columns.t.restrict(self.matrix.offsets[group][None, :, None])[0, :, 0]
        scaled = means * self.scaling.factor[group]
        return scaled / max(float(np.linalg.norm(scaled)), 1.0)

    @on_blas_threads
    def extremes(self, group: int, factor: Factor) -> tuple[float, float]:
        """Return the extreme singular values of A itself, divided as in `Factor.spectrum`.

        A Gram determines σ_P to eps·κ² only. A QR is used if κ is large and units differ much.
        """
        powers = self.scaling.exponents[group]
        if factor.source == "gram" and np.ptp(powers) > GRADED:
            values = factor.singular_values
            if values[0] > MAX_GRAM_CONDITION * values[-1] and (exact := self.qr_factors()):
                factor = exact[group]
        return factor.extremes(powers, self.design.sizes.limits.spectrum_columns)
