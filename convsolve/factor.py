"""The factor R of an equilibrated design matrix: its rank, its spectrum, and solves through it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .triangle import (
    MAX_SPECTRUM,
    extreme_singular_values,
    graded_singular_values,
    inverse_row_norms,
    solve_triangular,
    tree_qr,
)

EPS = float(np.finfo(np.float64).eps)
# Units within so many powers of two of each other are alike.
CLUSTER = 8


def exponents_of(norms: np.ndarray) -> np.ndarray:
    """Powers of two that bring column norms into [1/2, 1); 0 for a column of zeros."""
    return np.where(norms > 0, np.frexp(norms)[1], 0)


@dataclass(frozen=True)
class Band:
    """Numerical rank of a spectrum: the tolerance, the band around it, and the rank at each.

    With m rows, P columns and s₁ the largest singular value of the equilibrated matrix,
    ``tolerance = max(m, P, 10√P)·eps·s₁`` and the band is ``[min(tol/2, 10√P·eps·s₁), 10·tol]``:
    exact dependencies leave 0.4 to 3 eps whatever m, while computed phases leave up to m·eps.
    """

    tolerance: float
    low: float
    high: float
    rank: int
    rank_at_low: int
    rank_at_high: int
    columns: int

    @property
    def verdict(self) -> str:
        """Whether the smallest value is above the band ("full"), in it ("ambiguous") or below."""
        if self.rank_at_high == self.columns:
            return "full"
        return "deficient" if self.rank_at_low < self.columns else "ambiguous"


def tolerance_of(rows: int, columns: int) -> float:
    """The tolerance of `Band` in units of s₁."""
    return max(rows, columns, 10 * math.sqrt(columns)) * EPS


def least_certified(columns: int) -> float:
    """What the smallest singular value exceeds where a Gram of columns of norm 1/2 to 1 decided."""
    return math.sqrt(10 * columns * EPS) / 2


def band_of(values: np.ndarray, rows: int, columns: int) -> Band:
    """Judge descending singular ``values`` (fewer than ``columns`` where rows are too few)."""
    largest = float(values[0]) if values.size else 0.0
    tolerance = tolerance_of(rows, columns) * largest
    low, high = min(tolerance / 2, 10 * math.sqrt(columns) * EPS * largest), 10 * tolerance

    def rank(threshold: float) -> int:
        return int((values > threshold).sum())

    return Band(tolerance, low, high, rank(tolerance), rank(low), rank(high), columns)


@dataclass(frozen=True)
class Factor:
    """R with RᵀR = AᵀA for one group, where column j of A was multiplied by ``2**-exponents[j]``.

    ``r`` is (min(m, P), P), ``z`` = Qᵀ y (min(m, P), Q) or None, ``rows`` the true m. ``source`` is
    "qr" (good to 10 eps·s₁), or "gram" for a Cholesky factor whose full rank has been certified.
    """

    r: np.ndarray
    z: np.ndarray | None
    exponents: np.ndarray
    rows: int
    source: str

    @classmethod
    def from_rows(
        cls, blocks: Iterable[np.ndarray], columns: int, exponents: np.ndarray, rows: int
    ) -> Factor:
        """QR of [A Y] (m, P + Q), in row blocks; the first ``columns`` are A. Q is never formed."""
        triangle = tree_qr(blocks)
        top = triangle[: min(rows, columns)]
        z = top[:, columns:] if triangle.shape[1] > columns else None
        return cls(top[:, :columns], z, exponents, rows, "qr")

    @classmethod
    def from_gram(
        cls, gram: np.ndarray, rhs: np.ndarray, exponents: np.ndarray, rows: int
    ) -> Factor | None:
        """Cholesky of an equilibrated Gram (P, P), or None unless its full rank is certain.

        A Cholesky that succeeds proves nothing by itself. Full rank is certified if the matrix
        stays positive definite when 10·P·eps·s₁² is taken off its diagonal, which holds to κ of
        about 1e6; and the square of the upper end of the `Band`, where rows are so many that it is
        more, or the singular values of A could tell another story.
        """
        columns = gram.shape[0]
        share = max(10 * columns * EPS, (10 * tolerance_of(rows, columns)) ** 2)
        margin = share * min(np.linalg.norm(gram), np.linalg.norm(gram, 1))
        try:
            less = gram.copy()
            less.flat[:: columns + 1] -= margin
            np.linalg.cholesky(less)
            # In C order, or every triangular solve would copy it.
            r = np.ascontiguousarray(np.linalg.cholesky(gram).T)
        except np.linalg.LinAlgError:
            return None
        z = solve_triangular(r, rhs, transposed=True)
        return cls(r, z, exponents, rows, "gram")

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
        """Full right singular basis: u (q, q), s (q,) descending, vt (P, P)."""
        u, s, vt = np.linalg.svd(self.r)
        return u, s, vt

    @cached_property
    def singular_values(self) -> np.ndarray:
        """Of the equilibrated matrix, descending."""
        if "svd" in self.__dict__:
            return self.svd[1]
        return np.linalg.svd(self.r, compute_uv=False)

    @cached_property
    def band(self) -> Band:
        """Numerical rank, its tolerance and the band around it."""
        return band_of(self.singular_values, self.rows, self.r.shape[1])

    @property
    def rank(self) -> int:
        """Numerical rank at the tolerance."""
        return self.r.shape[1] if self.source == "gram" else self.band.rank

    @property
    def full_rank(self) -> bool:
        """Whether every column counts."""
        return self.rank == self.r.shape[1]

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
        r = np.ldexp(self.r, self.exponents - self.unit)
        if not self.full_rank:
            # Within the row space, or the rounding of the null space could stand above the rest.
            rows, _, t, _ = self._row_space
            r = self.r @ rows @ t.T
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
        if not self.full_rank and not self.graded and np.ptp(self.exponents):
            r = np.ldexp(self.r, self.exponents - self.unit)
            return float(np.linalg.norm(r, 2)), 0.0
        if "user_singular_values" in self.__dict__ or not self.large:
            values = self.user_singular_values
            return float(values[0]), float(values[-1]) if self.full_rank else 0.0
        return extreme_singular_values(np.ldexp(self.r, self.exponents - self.unit))

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

    @property
    def null_threshold(self) -> float:
        """Null-space rows below clip(10√P·eps·s₁/σ_r, 1e-12, 1e-3) in norm are rounding."""
        values = self.singular_values
        if not self.rank:
            return 1e-12
        noise = 10 * math.sqrt(self.r.shape[1]) * EPS * values[0] / values[self.rank - 1]
        return float(np.clip(noise, 1e-12, 1e-3))

    @cached_property
    def determined(self) -> np.ndarray:
        """Which taps (P,) the null space leaves alone."""
        if self.full_rank:
            return np.ones(self.r.shape[1], bool)
        rows = np.linalg.norm(self.svd[2][self.rank :], axis=0)
        return rows <= self.null_threshold

    @cached_property
    def _bases(self) -> tuple[np.ndarray, np.ndarray]:
        """Orthonormal bases (P, rank) of the rows and (P, nullity) of what they do not see.

        The latter exactly zero at the determined taps where it stays null without them, to
        rounding: in other units what the rounding leaves there could be anything.
        """
        vt = self.svd[2]
        rows, null = vt[: self.rank].T, vt[self.rank :].T
        if not self.determined.any():
            return rows, null
        whole = np.linalg.qr(np.where(self.determined[:, None], 0.0, null), mode="complete")[0]
        clean, rest = whole[:, : null.shape[1]], whole[:, null.shape[1] :]
        rounding = 10 * math.sqrt(null.shape[0]) * EPS * self.singular_values[0]
        stays = np.linalg.norm(self.r @ clean, axis=0).max(initial=0.0) <= rounding
        return (rest, clean) if stays else (rows, null)

    @cached_property
    def null_basis(self) -> np.ndarray:
        """Orthonormal null vectors of the equilibrated matrix, as columns (P, nullity)."""
        return np.zeros((self.r.shape[1], 0)) if self.full_rank else self._bases[1]

    @cached_property
    def _row_space(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """B (P, k), Q (P, P), T (k, k) and powers of two t with 2^t B = Q T.

        B spans the rows of the equilibrated A, the first k columns of Q those of A in the user's
        units, and its other columns the null space, orthonormal in those units.
        Where channels differ much in unit, taking a null part off an answer of another norm would
        cancel; solving within the row space does not.
        """
        # Further apart than this, a channel is nothing beside another in any norm.
        turn = np.maximum(self.exponents - self.exponents.max(), -900)[:, None]
        if not self.rank:
            return self._bases[0], np.eye(turn.size), np.zeros((0, 0)), turn
        from scipy.linalg import qr

        # Rows of such different size need to be sorted, and columns pivoted: Cox and Higham,
        # Stability of Householder QR factorization for weighted least squares, 1998.
        rows, order = _by_unit(self._bases[0], turn[:, 0], self.null_threshold)
        sorted_q, t, pivots = qr(np.ldexp(rows, turn)[order], pivoting=True, check_finite=False)
        q = np.empty_like(sorted_q)
        q[order] = sorted_q
        return rows[:, pivots], q, t[: self.rank], turn

    @cached_property
    def user_null_basis(self) -> np.ndarray:
        """Null space in the user's units, orthonormal there, (P, nullity)."""
        return self.null_basis if self.full_rank else self._row_space[1][:, self.rank :]

    def null_share(self, w: np.ndarray, y_norm: np.ndarray) -> float:
        """‖N Nᵀw‖/‖w‖ in the user's units, the largest over w (P, Q): 0 for a minimum norm.

        Where y is not explained, ‖y‖/‖A‖ stands for the norm of a w that is but rounding.
        """
        if self.full_rank:
            return 0.0
        _, q, _, turn = self._row_space
        v = np.ldexp(w, -turn)
        size = np.abs(v).max(axis=0)
        v = v / np.where(size > 0, size, 1.0)
        least = y_norm / np.linalg.norm(np.ldexp(self.r, turn.T)) if self.rank else 1.0
        norms = np.maximum(np.linalg.norm(v, axis=0), least / np.where(size > 0, size, 1.0))
        parts = np.linalg.norm(q[:, self.rank :].T @ v, axis=0)
        return float(np.max(parts / np.where(norms > 0, norms, 1.0)))

    def _shortest(self, w: np.ndarray) -> np.ndarray:
        """What differs from w by a null vector and is shortest in the user's units."""
        rows, q, t, turn = self._row_space
        c = solve_triangular(t, rows.T @ w, transposed=True)
        return np.ldexp(q[:, : self.rank] @ c, turn)

    def solve(self) -> np.ndarray:
        """argmin ‖A w − y‖ (P, Q) from R and z, of minimum norm in the user's units."""
        if self.square:
            assert self.z is not None
            return solve_triangular(self.r, self.z)
        return self.solve_svd()

    def solve_svd(self) -> np.ndarray:
        """V Σ⁺ Uᵀ z, truncated at the tolerance, of minimum norm in the user's units."""
        u, s, vt = self.svd
        k = self.rank
        w = vt[:k].T @ ((u[:, :k].T @ self.z) / s[:k, None])
        return w if self.full_rank else self._shortest(w)

    def solve_gram(self, g: np.ndarray) -> np.ndarray:
        """(AᵀA)⁺ g, the step of a refinement."""
        if self.square:
            return solve_triangular(self.r, solve_triangular(self.r, g, transposed=True))
        _, s, vt = self.svd
        k = self.rank
        return self._shortest(vt[:k].T @ ((vt[:k] @ g) / s[:k, None] ** 2))


def _by_unit(basis: np.ndarray, turn: np.ndarray, rounding: float) -> tuple[np.ndarray, np.ndarray]:
    """The row basis (P, k) turned so that columns begin at the largest unit they touch, and an
    order of its rows in which those that a unit adds come before those that it does not.

    What a unit adds to the span of the larger ones is told from ``rounding``, and what it does not
    add is exactly zero there: 2^turn would make the rounding outgrow the smaller units.
    """
    from scipy.linalg import qr

    basis, first = basis.copy(), []
    done, k = 0, basis.shape[1]
    # Within a cluster units are so alike that rounding stays what it is.
    clusters = turn // -CLUSTER
    for cluster in np.unique(clusters):
        within = np.flatnonzero(clusters == cluster)
        _, s, vt = np.linalg.svd(basis[within, done:])
        basis[:, done:] = basis[:, done:] @ vt.T
        last = cluster == clusters.max()
        stop = k if last else done + int((s > rounding).sum())
        basis[within, stop:] = 0.0
        chosen = qr(basis[within, done:stop].T, mode="r", pivoting=True)[1][: stop - done]
        first.append(within[chosen])
        done = stop
    front = np.concatenate(first)
    rest = np.setdiff1d(np.argsort(-turn, kind="stable"), front, assume_unique=True)
    return basis, np.concatenate([front, rest])
