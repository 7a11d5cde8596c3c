"""Least squares with one penalty of one strength: scaled columns and factors, computed once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from ..cached import cached_property
from ..linalg.factor import Cholesky, Factor, Truncated, cholesky_factor, factor_of
from ..linalg.factors import (
    FEW_COLUMNS,
    Factors,
    cholesky_factors,
    diagonals,
    stacked_qr,
    triangular_factors,
)
from ..linalg.lapack import graded_singular_values, svd
from ..linalg.qr import tree_qr, without_dust
from ..linalg.rank import EPS
from ..linalg.ridge_dual import RidgeDual
from ..linalg.threads import on_blas_threads
from ..operators.design_matrix import Targets
from ..operators.moments import Moments
from ..operators.transformed import Matrix, TapBasis, TransformedMatrix
from .design import Design
from .penalty import Coordinates, Penalty
from .scaling import Scaling

# Up to this condition number a Gram gives it to ten digits. Larger ones are corrected by the data.
MAX_GRAM_CONDITION = 500.0
# Number of the last singular vectors of a Gram that are corrected by the data.
CORRECTED_VECTORS = 32
# Rows of a Gram that are scaled at a time. Scaling all at once would need a second Gram.
GRAM_ROWS = 256

# All groups.
EVERY = slice(None)


class Rest(NamedTuple):
    """Groups whose full rank the Gram does not certify, among many small groups.

    Attributes:
        groups: (n,), indices of these groups.
        factors: their factors by QR.
        z: Qᵀy (n, q, Q) of the y given with x.
        joined: the factors of all groups: by QR for these groups, from the Gram for the others.
    """

    groups: np.ndarray
    factors: Factors
    z: np.ndarray
    joined: Factors


class System:
    """The problem min ‖M(Y − A T z)‖² + strength·‖z‖² over kernels w = T z, for every group.

    M projects the nuisance columns out. T are the coordinates of the penalty, the identity for a
    ridge. Columns are scaled to a norm of about one. A system depends on x only. y enters a
    `Regression`.
    """

    def __init__(
        self,
        design: Design,
        penalty: Penalty,
        strength: float,
        unpenalized: System | None = None,
    ) -> None:
        """Set up the system. ``unpenalized`` is the system of strength 0 in equal coordinates."""
        self.design, self.penalty, self.strength = design, penalty, strength
        self.unpenalized = unpenalized
        self.clock = design.clock
        self._choleskys: dict[tuple[str, int], Factor | None] = {}
        self._joints: dict[int, tuple[Factor, np.ndarray]] = {}

    @cached_property
    def coordinates(self) -> Coordinates:
        """T and the weights of its columns."""
        return self.design.coordinates(self.penalty)

    @property
    def basis(self) -> TapBasis | None:
        """T on the taps of a channel; None for the identity."""
        return self.coordinates.basis

    @property
    def blas_columns(self) -> int:
        """The smaller dimension of A."""
        return self.design.blas_columns

    @cached_property
    def operator(self) -> Matrix:
        """The operator A T."""
        if self.unpenalized is not None:
            return self.unpenalized.operator
        operator = self.design.matrix
        if self.basis is None:
            return operator
        known = self.design.moments if self.design.sizes.gram_fits else None
        return TransformedMatrix(operator, self.basis, known)

    @cached_property
    @on_blas_threads
    def scaling(self) -> Scaling:
        """The units of the columns."""
        operator = self.operator
        with self.clock.timing("scaling"):
            return Scaling.of(operator, self.strength * self.coordinates.weights)

    @cached_property
    @on_blas_threads
    def moments(self) -> Moments:
        """Sums over the rows of A T, and of y if it was given with x."""
        if self.basis is None:
            return self.design.moments
        with self.clock.timing("moments"):
            return self.operator.moments(self.design.targets)

    @property
    def coordinate_shape(self) -> tuple[int, ...]:
        """Number of coordinates along each axis of a kernel."""
        if self.basis is None:
            return self.design.spec.kernel_size
        return tuple(m.shape[1] for m in self.basis.matrices)

    @cached_property
    def ridge_certifies(self) -> bool:
        """Whether the ridge alone ensures the full numerical rank of [A; √ridge I]."""
        scaling = self.scaling
        margin = 10 * scaling.relative.shape[1] * EPS * scaling.a_norm[:, None] ** 2
        return self.strength > 0 and bool((scaling.root_ridge**2 >= margin).all())

    @property
    def single_precision(self) -> bool:
        """Whether a float32 factor is worthwhile: many unknowns, and a ridge above rounding."""
        return self.ridge_certifies and self._many_columns

    @property
    def _tree(self) -> int:
        return self.design.sizes.limits.tree_rows

    @property
    def _many_columns(self) -> bool:
        return self.operator.columns > self.design.sizes.limits.spectrum_columns

    @property
    def _many_groups(self) -> bool:
        """Whether there are several small groups, so that all are factored at once."""
        several = self.operator.groups > 1 and self.design.sizes.by_rows
        return several and self.operator.columns <= FEW_COLUMNS

    def gram_factor(self, group: int, single: bool = False) -> Factor | None:
        """Return the Cholesky factor of the moments if full rank can be certified, else None.

        With ``single``, the factor is in float32 if there are many unknowns and the ridge ensures
        full rank. It takes half the time and memory, and refinement restores the accuracy.
        """
        if not self._gram_worthwhile:
            return None
        if self._many_groups:
            return self._all_choleskys.get(group)
        single = single and self.single_precision
        key = "single" if single else "double", group
        if key not in self._choleskys:
            self._choleskys[key] = self._cholesky(group, single)
        return self._choleskys[key]

    def gram_factors(self, single: bool = False) -> Factors | None:
        """Return the Cholesky factors of all groups; None unless all can be computed."""
        if self._many_groups:
            found = self._all_choleskys if self._gram_worthwhile else None
            return found if found is not None and found.complete else None
        return _all_of(self.gram_factor(g, single) for g in range(self.operator.groups))

    @property
    def _gram_worthwhile(self) -> bool:
        """Whether the Gram matrix is worth factoring.

        With fewer rows than columns it is singular. With a ridge, the dual is cheaper if there are
        at most a quarter as many rows as columns. P² numbers must also fit in memory. If columns
        cancel in the coordinates of a penalty, only a QR keeps the digits of its factor.
        """
        sizes, rows, columns = self.design.sizes, self.operator.rows, self.operator.columns
        operator = self.operator
        if operator.cancels and sizes.factor_fits:
            return False
        ridged = self.strength > 0 and (4 * rows > columns or not sizes.factor_fits)
        return sizes.gram_fits and (rows >= columns or ridged)

    @on_blas_threads
    def _cholesky(self, group: int, single: bool) -> Factor | None:
        exponents, rows = self.scaling.exponents[group], self.operator.rows
        certain = self.ridge_certifies
        with self.clock.timing("Cholesky"):
            gram, large = self.gram(group, single), self._many_columns
            loss = float(self._gram_loss[group])
            factor = cholesky_factor(gram, exponents, rows, certain, keep_proof=large, loss=loss)
            if factor is not None and factor.lacks_much:
                factor = cholesky_factor(self.gram(group, single), exponents, rows, certain=True)
            return factor

    @cached_property
    @on_blas_threads
    def _all_choleskys(self) -> Factors:
        """The Cholesky factors of the groups for which full rank can be certified."""
        moments, scaling = self.moments, self.scaling
        with self.clock.timing("Cholesky"):
            scale = np.ldexp(1.0, -scaling.relative)
            grams = moments.inner(slice(None), slice(None)) * scale[:, None]
            grams *= scale[:, :, None]
            diagonals(grams)[...] += scaling.root_ridge**2
            certain = self.ridge_certifies
            rows, loss = self.operator.rows, self._gram_loss
            return cholesky_factors(grams, scaling.exponents, rows, certain, loss)

    def independent(self, group: int, some: np.ndarray) -> bool:
        """Return whether the Gram matrix proves that some of the scaled columns are independent."""
        gram, rows = self.gram(group)[np.ix_(some, some)], self.operator.rows
        exponents, loss = self.scaling.exponents[group][some], float(self._gram_loss[group])
        return cholesky_factor(gram, exponents, rows, loss=loss) is not None

    @property
    def _gram_loss(self) -> np.ndarray:
        """Square (G,) of the largest norm of the terms of a scaled column, at least one.

        The Gram matrix in the coordinates of a penalty has the rounding error of these terms.
        """
        live = self.operator.column_norms > 0
        terms = np.ldexp(self.operator.terms * live, -self.scaling.relative)
        return np.maximum(1.0, np.square(terms).max(1, initial=0.0))

    def gram(self, group: int, single: bool = False) -> np.ndarray:
        """Return AᵀMA + ridge (P, P) of the scaled columns."""
        columns = self.operator.columns
        moments = self.moments
        scale = np.ldexp(1.0, -self.scaling.relative[group])
        gram = np.empty((columns, columns), np.float32 if single else np.float64)
        for first in range(0, columns, GRAM_ROWS):
            rows = slice(first, first + GRAM_ROWS)
            part = moments.inner(group, rows)
            gram[rows] = part * scale * scale[rows, None]
        gram.flat[:: columns + 1] += self.scaling.root_ridge[group] ** 2
        return gram

    def qr_factor(self, group: int) -> Factor | None:
        """Return the QR of the design matrix by row blocks; None if R would not fit in memory."""
        if not self.design.sizes.factor_fits:
            return None
        return self._all_joints[0][group] if self._many_groups else self._joint(group)[0]

    def qr_factors(self) -> Factors | None:
        """Return the QR factors of all groups; None if they would need too much memory."""
        if not self.design.sizes.factor_fits:
            return None
        if self._many_groups:
            return self._all_joints[0]
        return Factors.each([self._joint(g)[0] for g in range(self.operator.groups)])

    def rotated(self, targets: Targets) -> np.ndarray:
        """Return Qᵀy (G, q, Q) of the QR; another QR is computed for targets not given with x."""
        given = targets is self.design.targets
        if self._many_groups:
            return (self._all_joints if given else self._qrs(targets))[1]
        groups = range(self.operator.groups)
        return np.stack([(self._joint(g) if given else self._qr(g, targets))[1] for g in groups])

    @cached_property
    def _all_joints(self) -> tuple[Factors, np.ndarray]:
        """The QR of [A Y] of every group, where Y are the targets given with x."""
        return self._qrs(self.design.targets)

    @on_blas_threads
    def _qrs(
        self, targets: Targets | None, groups: np.ndarray | slice = EVERY
    ) -> tuple[Factors, np.ndarray]:
        """Return the same as `_qr`, for several groups at once."""
        scaling, rows, columns = self.scaling, self.operator.rows, self.operator.columns
        if self.unpenalized is not None:
            given = targets is self.design.targets
            plain, every = self.unpenalized, groups is EVERY
            found, z = plain._all_joints if given and every else plain._qrs(targets, groups)
            with self.clock.timing("QR"):
                return self._all_with_penalty(found, z, np.arange(self.operator.groups)[groups])
        with self.clock.timing("QR"):
            scale = np.ldexp(1.0, -scaling.relative[groups])[:, None]
            blocks = (
                np.concatenate([a[groups] * scale, *([] if y is None else [y[groups]])], axis=2)
                for a, y in self.operator.row_blocks(targets)
            )
            wide = rows < columns
            both = np.concatenate([*blocks], axis=1) if wide else stacked_qr(blocks)
            r, z = np.split(both[:, :columns], [columns], axis=2)
            exponents = scaling.exponents[groups]
            return triangular_factors(r if wide else without_dust(r), exponents, rows), z

    def _joint(self, group: int) -> tuple[Factor, np.ndarray]:
        """Return the QR of [A Y], where Y are the targets given with x."""
        if group not in self._joints:
            self._joints[group] = self._qr(group, self.design.targets)
        return self._joints[group]

    @on_blas_threads
    def _qr(self, group: int, targets: Targets | None) -> tuple[Factor, np.ndarray]:
        """Return R of [A; √ridge I] and Qᵀ[y; 0]. Q is never formed."""
        exponents, columns = self.scaling.exponents[group], self.operator.columns
        if self.unpenalized is not None:
            given = targets is self.design.targets
            plain, z = (
                self.unpenalized._joint(group) if given else self.unpenalized._qr(group, targets)
            )
            with self.clock.timing("QR"):
                return self._with_penalty(group, plain, z)
        with self.clock.timing("QR"):
            blocks = self._scaled_rows(group, targets)
            rows = self.operator.rows
            # A wide A is not reduced: its rows are used directly.
            both = np.concatenate([*blocks]) if rows < columns else tree_qr(blocks, self._tree)
            r, z = np.hsplit(both[: min(rows, columns)], [columns])
            return factor_of(r if rows < columns else without_dust(r), exponents, rows), z

    def _with_penalty(self, group: int, plain: Factor, z: np.ndarray) -> tuple[Factor, np.ndarray]:
        exponents, root_ridge = self.scaling.exponents[group], self.scaling.root_ridge[group]
        if isinstance(plain, Truncated) and self.coordinates.uniform:
            # A ridge below the rounding error of a rank-deficient A would have no effect.
            drowned = not self.ridge_certifies and plain.has_gap
            if plain.wide or drowned:
                return RidgeDual(plain, root_ridge, exponents), z
        columns = self.operator.columns
        joined = np.zeros((len(plain.r) + columns, columns + z.shape[1]))
        joined[: len(plain.r)] = np.hstack([np.ldexp(plain.r, plain.exponents - exponents), z])
        joined[len(plain.r) :, :columns] = np.diag(root_ridge)
        top = tree_qr([joined], self._tree)[:columns]
        rows = self.operator.rows + columns
        return factor_of(top[:, :columns], exponents, rows), top[:, columns:]

    def _all_with_penalty(
        self, plain: Factors, z: np.ndarray, groups: np.ndarray
    ) -> tuple[Factors, np.ndarray]:
        """Add the penalty to the factors of some groups.

        Groups in ``plain.apart`` are processed separately, the others at once.
        """
        several = {g: self._with_penalty(groups[g], f, z[g]) for g, f in plain.apart.items()}
        apart = {g: factor for g, (factor, _) in several.items()}
        assert self.unpenalized is not None
        if plain.r is None:
            return Factors.each([*apart.values()]), np.stack([z for _, z in several.values()])
        columns, exponents = self.operator.columns, self.scaling.exponents[groups]
        relative = self.unpenalized.scaling.exponents[groups] - exponents
        upper = np.concatenate([np.ldexp(plain.r, relative[:, None]), z], axis=2)
        lower = np.zeros((len(z), columns, upper.shape[2]))
        lower[:, :, :columns] = self.scaling.root_ridge[groups, :, None] * np.eye(columns)
        top = stacked_qr([np.concatenate([upper, lower], axis=1)])[:, :columns]
        found = triangular_factors(top[:, :, :columns], exponents, self.operator.rows + columns)
        turned = top[:, :, columns:]
        for g, (_, of_group) in several.items():
            turned[g] = of_group
        return found.with_alone(apart), turned

    def _scaled_rows(self, group: int, targets: Targets | None) -> Iterator[np.ndarray]:
        """Yield row blocks of the scaled [A Y]."""
        for a, y in self.operator.row_blocks(targets):
            scaled = np.ldexp(a[group], -self.scaling.relative[group])
            yield scaled if y is None else np.concatenate([scaled, y[group]], axis=1)

    def factor(self, group: int) -> Factor | None:
        """Return the factor by the cheapest route that decides the rank; None without memory."""
        if self._many_groups:
            return self._all_factors.get(group)
        factor = self.gram_factor(group) if self._gram_first else None
        return self.qr_factor(group) if factor is None else factor

    def factors(self) -> Factors:
        """Return the factors of all groups for which memory allows one."""
        if self._many_groups:
            return self._all_factors
        return Factors.each([self.factor(g) for g in range(self.operator.groups)])

    @cached_property
    def _all_factors(self) -> Factors:
        if self._gram_first and self._gram_worthwhile:
            return self._all_choleskys if self._rest is None else self._rest.joined
        return self.qr_factors() or Factors(self.operator.groups, {})

    @property
    def rest(self) -> Rest | None:
        """Among many small groups, the groups whose rank the Gram does not certify.

        None if there are no such groups, or if a QR exceeds the memory limit.
        """
        return self._rest if self._many_groups and self._gram_worthwhile else None

    @cached_property
    def _rest(self) -> Rest | None:
        by_gram = self._all_choleskys
        if by_gram.complete or not self.design.sizes.factor_fits:
            return None
        groups = np.flatnonzero(~by_gram.has)
        by_qr, z = self._qrs(self.design.targets, groups)
        return Rest(groups, by_qr, z, by_gram.or_else(by_qr, groups))

    @property
    def _gram_first(self) -> bool:
        sizes = self.design.sizes
        return not sizes.small or not sizes.factor_fits

    @on_blas_threads
    def resolution(self, group: int, factor: Factor) -> np.ndarray:
        """Return the diagonal (P,) of (AᵀA + ridge·K)⁻¹AᵀA in taps, given a factor of full rank."""
        if self.basis is None:
            return self._freedoms(group, factor)
        # T H⁻¹ TᵀAᵀA, where H are the normal equations in the coordinates of the penalty.
        design, scale = self.design, np.ldexp(1.0, -self.scaling.relative[group])[:, None]
        gram = design.moments.inner(group, slice(None))
        restricted = scale * self.basis.restrict(gram[None])[0]
        kept = self.basis.expand((scale * factor.solve_normal(restricted))[None])[0]
        return np.diagonal(kept).copy()

    def freedom(self, group: int, factor: Factor) -> float:
        """Return the degrees of freedom of the kernel, the sum of `resolution`.

        It is a sum over the coordinates of the penalty, and needs no Gram matrix.
        """
        return float(self._freedoms(group, factor).sum())

    def _freedoms(self, group: int, factor: Factor) -> np.ndarray:
        """Return the share (P,) of each coordinate that its estimate keeps."""
        return np.asarray(1 - (self.scaling.root_ridge[group] * factor.noise_gain) ** 2)

    @cached_property
    def column_rounding(self) -> np.ndarray:
        """Norms (G, P) of the rounding error of the data's own type in the scaled columns.

        The columns are not centred for this purpose, because the rounding error of an offset
        remains after a bias is subtracted.
        """
        operator = self.operator
        offset = math.sqrt(operator.rows) * operator.offsets
        whole = np.hypot(operator.column_norms, offset)
        return self.design.data_eps * np.ldexp(whole, -self.scaling.relative)

    def bias_row(self, group: int) -> np.ndarray:
        """Return the column means (P,) of the scaled A, scaled to a norm of at most one.

        The share of a unit null vector that the bias takes up is its product with these means.
        """
        scaled = np.ldexp(self.operator.offsets[group], -self.scaling.relative[group])
        return scaled / max(float(np.linalg.norm(scaled)), 1.0)

    def leverages(self, factors: Factors) -> Iterator[np.ndarray]:
        """Yield the squared norms (groups, n) of the rows of A R⁻¹, block by block."""
        for a, _ in self.operator.row_blocks():
            scaled = np.ldexp(a, -self.scaling.relative[:, None])
            whitened = [f.whiten(rows) for f, rows in zip(factors, scaled, strict=True)]
            yield np.stack([np.einsum("np,np->n", rows, rows) for rows in whitened])

    @on_blas_threads
    def extremes(self, group: int, factor: Factor) -> tuple[float, float]:
        """Return the extreme singular values of A itself, times ``2**-unit``.

        A Gram factor is corrected to the accuracy of a QR. A Gram determines σ_P to eps·κ² only.
        Its last right singular vectors V have an error of this size. The smallest singular value of
        A V, computed from the data, has the square of this error. If units differ much, a QR is
        used instead. If V would take minutes, no correction is made.
        """
        most = self.design.sizes.limits.spectrum_columns
        largest, smallest = factor.extremes(most)
        if not isinstance(factor, Cholesky) or (not factor.graded and self._many_columns):
            return largest, smallest
        values = factor.singular_values
        if values[0] <= MAX_GRAM_CONDITION * values[-1]:
            return largest, smallest
        if factor.graded:
            exact = self.qr_factor(group)
            return (factor if exact is None else exact).extremes(most)
        scale = np.ldexp(1.0, factor.exponents - factor.unit)
        last = scale[:, None] * svd(factor.r * scale)[2][-CORRECTED_VECTORS:].T
        last = np.ldexp(last, -self.scaling.relative[group][:, None])
        gram = self.operator.product_gram(group, last)
        # The columns are nearly orthogonal, so their Gram loses no digits once they have norm one.
        norms = np.sqrt(np.diagonal(gram))
        r = np.linalg.cholesky(gram / np.outer(norms, norms)).T * norms
        return largest, float(graded_singular_values(r)[-1])


def _all_of(several: Iterable[Factor | None]) -> Factors | None:
    """Return the factors of every group; None, without computing more, if one is missing."""
    found: list[Factor] = []
    for one in several:
        if one is None:
            return None
        found.append(one)
    return Factors.each(found)
