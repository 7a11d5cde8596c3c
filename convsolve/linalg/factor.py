"""The factor R of an equilibrated design matrix: its rank, its spectrum, and solves through it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from .lapack import (
    MAX_SPECTRUM,
    cholesky,
    extreme_singular_values,
    graded_singular_values,
    inverse_row_norms,
    solve_triangular,
)
from .minimum_norm import CLUSTER, RowSpace, Within, afford_complement, distances, outside
from .qr import tall_svd, tree_qr
from .rank import EPS, Band, band_of, tolerance_of
from .threads import blas_threads


@dataclass(frozen=True)
class Factor:
    """R with RᵀR = AᵀA for one group, where column j of A was multiplied by ``2**-exponents[j]``.

    ``r`` is (min(m, P), P), ``z`` = Qᵀ y (min(m, P), Q) or None, ``rows`` the true m. ``source`` is
    "qr" (good to 10 eps·s₁), or "gram" for a Cholesky factor whose full rank has been certified;
    RᵀR may then lack ``shift`` on its diagonal.
    Where m < P, A and y themselves are such: what is asked of them takes O(m²P) time and O(mP)
    memory, bases of the null space excepted, which take P² numbers.
    """

    r: np.ndarray
    z: np.ndarray | None
    exponents: np.ndarray
    rows: int
    source: str
    shift: float = field(default=0.0, kw_only=True)

    @classmethod
    def from_rows(
        cls, blocks: Iterable[np.ndarray], columns: int, exponents: np.ndarray, rows: int
    ) -> Factor:
        """QR of [A Y] (m, P + Q), in row blocks; the first ``columns`` are A. Q is never formed.

        Where rows are fewer than ``columns``, [A Y] itself.
        """
        triangle = np.concatenate([*blocks]) if rows < columns else tree_qr(blocks)
        top = triangle[: min(rows, columns)]
        z = top[:, columns:] if triangle.shape[1] > columns else None
        return cls(top[:, :columns], z, exponents, rows, "qr")

    @classmethod
    def from_gram(
        cls,
        gram: np.ndarray,
        rhs: np.ndarray,
        exponents: np.ndarray,
        rows: int,
        sure: bool = False,
    ) -> Factor | None:
        """Cholesky of an equilibrated Gram (P, P), or None unless its full rank is certain.

        A Cholesky that succeeds proves nothing by itself. Full rank is certified if the matrix
        stays positive definite when 10·P·eps·s₁² is taken off its diagonal, which holds to κ of
        about 1e6; and the square of the upper end of the `Band`, where rows are so many that it is
        more, or the singular values of A could tell another story. Beyond 1 500 unknowns the factor
        that proves this is the one that is kept. A ridge may have made ``sure`` of it before.
        ``gram`` is overwritten.
        """
        columns = gram.shape[0]
        if sure:
            return cls._of(cholesky(gram), rhs, exponents, rows)
        share = max(10 * columns * EPS, (10 * tolerance_of(rows, columns)) ** 2)
        parts = np.array_split(gram, 1 + columns // 256)
        most = max(float(np.abs(part).sum(1).max()) for part in parts)
        margin = share * min(float(np.linalg.norm(gram)), most)
        less = gram.copy() if columns <= MAX_SPECTRUM else gram
        less.flat[:: columns + 1] -= margin
        r = cholesky(less)
        if r is not None and less is not gram:
            r, margin = cholesky(gram), 0.0
        return cls._of(r, rhs, exponents, rows, margin)

    @classmethod
    def _of(
        cls,
        r: np.ndarray | None,
        rhs: np.ndarray,
        exponents: np.ndarray,
        rows: int,
        shift: float = 0.0,
    ) -> Factor | None:
        if r is None:
            return None
        z = solve_triangular(r, rhs, transposed=True)
        return cls(r, z, exponents, rows, "gram", shift=shift)

    def with_ridge(self, diagonal: np.ndarray, exponents: np.ndarray) -> Factor:
        """R of [A; √ridge I] in new ``exponents``, in which ``diagonal`` is √ridge."""
        turn = self.exponents - exponents
        columns = self.r.shape[1]
        outputs = np.zeros((self.r.shape[0], 0)) if self.z is None else self.z
        joined = np.zeros((self.r.shape[0] + columns, columns + outputs.shape[1]))
        joined[: self.r.shape[0]] = np.hstack([np.ldexp(self.r, turn), outputs])
        joined[self.r.shape[0] :, :columns] = np.diag(diagonal)
        rows = self.rows + columns
        made = Factor.from_rows([joined], columns, exponents, rows)
        return replace(made, source=self.source)

    @cached_property
    def svd(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Economical: u (q, q), s (q,) descending, vt (q, P)."""
        if self.wide:
            v, s, ut = tall_svd(self.r.T)
            return ut.T, s, v.T
        u, s, vt = np.linalg.svd(self.r)
        return u, s, vt

    @cached_property
    def singular_values(self) -> np.ndarray:
        """Of the equilibrated matrix, descending."""
        if "svd" in self.__dict__:
            return self.svd[1]
        with blas_threads(len(self.r)):
            return np.linalg.svd(tree_qr([self.r.T]) if self.wide else self.r, compute_uv=False)

    @cached_property
    def band(self) -> Band:
        """Numerical rank, its tolerance and the band around it."""
        return band_of(self.singular_values, self.rows, self.r.shape[1])

    @property
    def rank(self) -> int:
        """Numerical rank at the tolerance."""
        return self.r.shape[1] if self.source == "gram" else self.band.rank

    @property
    def cliff(self) -> bool:
        """Whether what does not count towards the rank is rounding, far below all that does."""
        values, rank = self.singular_values, self.rank
        if not 0 < rank < values.size:
            return True
        return bool(values[rank] <= min(self.band.low, values[rank - 1] / 100))

    @cached_property
    def full_rank(self) -> bool:
        """Whether every column counts."""
        # σ_P is at most the least of the diagonal of R: if that is rounding, no spectrum is needed.
        least, most = np.abs(np.diagonal(self.r)).min(), np.abs(self.r).max()
        seen = 2 * least > tolerance_of(self.rows, self.r.shape[1]) * most
        return (seen or self.source == "gram") and self.rank == self.r.shape[1]

    @property
    def wide(self) -> bool:
        """Whether rows are fewer than columns."""
        return self.r.shape[0] < self.r.shape[1]

    @property
    def square(self) -> bool:
        """Whether R is triangular and of full rank, so that it can be solved with."""
        return self.r.shape[0] == self.r.shape[1] and self.full_rank

    @property
    def unit(self) -> int:
        """Power of two in which the singular values of A itself stay within float64."""
        return int(self.exponents.max())

    @cached_property
    def user_singular_values(self) -> np.ndarray:
        """Singular values of A itself, in the user's units, times ``2**-unit``."""
        if not np.ptp(self.exponents):
            values = self.singular_values
            return np.where(np.arange(values.size) < self.rank, values, 0.0)
        # Within the row space, or the rounding of the null space could stand above the rest.
        r = np.ldexp(self.r, self.exponents - self.unit) if self.full_rank else self.row_space.seen
        if r.size and self.graded:
            values = graded_singular_values(r)
        else:
            values = np.linalg.svd(r, compute_uv=False)
        return np.concatenate([values, np.zeros(self.r.shape[0] - values.size)])

    @property
    def graded(self) -> bool:
        """Whether columns differ so much in unit that a plain SVD would lose the small ones."""
        return bool(np.ptp(self.exponents) > 16)

    @property
    def large(self) -> bool:
        """Whether the ends of the spectrum by Lanczos spare the time of all of it."""
        return self.square and not self.graded and self.r.shape[1] > MAX_SPECTRUM

    @cached_property
    def extremes(self) -> tuple[float, float]:
        """Largest and smallest singular value of A itself, times ``2**-unit``; 0 if deficient."""
        if "user_singular_values" in self.__dict__ or not self.large:
            values = self.user_singular_values
            return float(values[0]), float(values[-1]) if self.full_rank else 0.0
        turn = self.exponents - self.unit
        return extreme_singular_values(np.ldexp(self.r, turn), np.ldexp(self.shift, 2 * turn))

    @cached_property
    def noise_gain(self) -> np.ndarray:
        """√diag((AᵀA)⁻¹) of the equilibrated A (P,), inf where the null space reaches."""
        if self.square:
            return inverse_row_norms(self.r)
        _, s, vt = self.svd
        gains = np.linalg.norm(vt[: self.rank] / s[: self.rank, None], axis=0)
        return np.where(self.determined, gains, np.inf)

    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """Coordinates (n, rank) of equilibrated rows (n, P) in which AᵀA is the identity."""
        if self.square:
            return solve_triangular(self.r, rows.T, transposed=True).T
        _, s, vt = self.svd
        return rows @ (vt[: self.rank] / s[: self.rank, None]).T

    def damped(
        self, g: np.ndarray, w_norm: np.ndarray, r_norm: np.ndarray
    ) -> tuple[np.ndarray, str]:
        """‖(‖w‖²AᵀA + ‖r‖²I)^(−1/2) g‖ (Q,), for g (P, Q) and norms (Q,), and its kind."""
        _, s, vt = self.svd
        weights = np.sqrt((w_norm * s[:, None]) ** 2 + r_norm**2)
        found = np.linalg.norm((vt @ g) / weights, axis=0)
        if self.wide:  # what no row sees has no singular value
            found = np.hypot(found, np.linalg.norm(outside(vt.T, g), axis=0) / r_norm)
        return found, "value"

    @property
    def null_threshold(self) -> float:
        """Null-space rows below clip(10√P·eps·s₁/σ_r, 1e-12, 1e-3) in norm are rounding."""
        if self.full_rank or not self.rank:
            return 1e-12
        values = self.singular_values
        noise = 10 * math.sqrt(self.r.shape[1]) * EPS * values[0] / values[self.rank - 1]
        return float(np.clip(noise, 1e-12, 1e-3))

    @cached_property
    def determined(self) -> np.ndarray:
        """Which taps (P,) the null space leaves alone."""
        if self.full_rank:
            return np.ones(self.r.shape[1], bool)
        rows, rank = self.svd[2], self.rank
        away = distances(rows[:rank].T) if self.wide else np.linalg.norm(rows[rank:], axis=0)
        return away <= self.null_threshold

    @cached_property
    def row_basis(self) -> np.ndarray:
        """Orthonormal basis (P, rank) of the rows of the equilibrated matrix.

        Unit vectors at the determined taps, at which all others are exactly zero, where this holds
        to rounding: in other units what the rounding leaves there could be anything.
        """
        rows, known = self.svd[2][: self.rank].T, self.determined
        apart = int(known.sum())
        if not apart:
            return rows
        clean = np.zeros_like(rows)
        clean[known, :apart] = np.eye(apart)
        clean[~known, apart:] = tall_svd(rows[~known])[0][:, : self.rank - apart]
        rounding = 10 * math.sqrt(rows.shape[0]) * EPS * self.singular_values[0]
        unseen = np.linalg.norm(outside(clean, self.r.T), axis=1)
        return clean if unseen.max(initial=0.0) <= rounding else rows

    def sees(self, row: np.ndarray) -> bool:
        """Whether a row (P,) of norm one at most lies in the span of those of A, to rounding."""
        if self.full_rank:
            return True
        return bool(np.linalg.norm(outside(self.row_basis, row)) <= self.null_threshold)

    @cached_property
    def null_basis(self) -> np.ndarray:
        """Orthonormal null vectors of the equilibrated matrix, as columns (P, nullity)."""
        if self.full_rank:
            return np.zeros((self.r.shape[1], 0))
        afford_complement(self.r.shape[1])
        return np.linalg.qr(self.row_basis, mode="complete")[0][:, self.rank :]

    @cached_property
    def all_rows(self) -> RowSpace:
        """The span of all rows in the user's units, whatever the rank."""
        return RowSpace.of(self.r, self.exponents)

    @cached_property
    def row_space(self) -> RowSpace:
        """The numerical row space in the user's units."""
        if self.rank == self.r.shape[0] and np.ptp(self.exponents) < CLUSTER:
            return self.all_rows
        return RowSpace.of(self.r, self.exponents, self.row_basis, self.null_threshold)

    @cached_property
    def user_null_basis(self) -> np.ndarray:
        """Null space in the user's units, orthonormal there, (P, nullity)."""
        return self.null_basis if self.full_rank else self.row_space.null_basis

    @property
    def resolution(self) -> np.ndarray:
        """Diagonal (P,) of the projector on the row space in the user's units."""
        if self.full_rank:
            return np.ones(self.r.shape[1])
        return np.einsum("pk,pk->p", self.row_space.q, self.row_space.q)

    def null_part(self, v: np.ndarray) -> np.ndarray:
        """N Nᵀv (P, Q), N the null space and v (P, Q) a kernel in the user's units."""
        return np.zeros_like(v) if self.full_rank else outside(self.row_space.q, v)

    def null_share(self, w: np.ndarray, y_norm: np.ndarray) -> float:
        """‖N Nᵀw‖/‖w‖ in the user's units, the largest over w (P, Q): 0 for a minimum norm.

        Where y is not explained, ‖y‖/‖A‖ stands for the norm of a w that is but rounding.
        """
        if self.full_rank:
            return 0.0
        v = np.ldexp(w, -self.row_space.turn)
        size = np.abs(v).max(axis=0)
        v = v / np.where(size > 0, size, 1.0)
        least = y_norm / np.linalg.norm(self.row_space.seen) if self.rank else 1.0
        norms = np.maximum(np.linalg.norm(v, axis=0), least / np.where(size > 0, size, 1.0))
        parts = np.linalg.norm(self.null_part(v), axis=0)
        return float(np.max(parts / np.where(norms > 0, norms, 1.0)))

    @cached_property
    def _within(self) -> Within:
        assert self.z is not None
        space = self.row_space
        return Within.of(space.q, space.turn, space.seen, self.z)

    def solve(self) -> np.ndarray:
        """argmin ‖A w − y‖ (P, Q) from R and z, of minimum norm in the user's units."""
        if self.square:
            assert self.z is not None
            return solve_triangular(self.r, self.z)
        return self.solve_svd()

    def solve_svd(self) -> np.ndarray:
        """V Σ⁺ Uᵀ z, truncated at the tolerance, of minimum norm in the user's units."""
        found = None if self.wide else self.svd  # before the rank, which it tells as well
        if found is None or not self.full_rank:
            return self._within.solve()
        u, s, vt = found
        return vt.T @ ((u.T @ self.z) / s[:, None])

    def solve_gram(self, g: np.ndarray) -> np.ndarray:
        """(AᵀA)⁺ g, the step of a refinement."""
        if self.square:
            return solve_triangular(self.r, solve_triangular(self.r, g, transposed=True))
        return self._within.solve_gram(g)
