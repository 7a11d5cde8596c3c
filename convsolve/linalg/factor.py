"""Factors R of an equilibrated design matrix A, RᵀR = AᵀA: solutions, noise and null space.

Column j of A was multiplied by ``2**-exponents[j]``; exponents are (P,), R is (q, P) and right-hand
sides (q, Q) are in the coordinates of Qᵀy. A factor does not depend on y. There is one class for
each kind of factor:

- `Cholesky`, of a Gram matrix that is certified to be of full rank;
- `Triangle`, from a QR, of full numerical rank;
- `Truncated`, from a QR, deficient or wide;
- `convsolve.linalg.ridge_dual.RidgeDual`, of [A; √ridge I] with A deficient or wide.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ..cached import cached_property
from .lapack import (
    cholesky,
    extreme_singular_values,
    graded_singular_values,
    inverse_row_norms,
    least_square,
    singular_values,
    solve_triangular,
    svd,
)
from .minimum_norm import CLUSTER, RowSpace, Within, afford_complement, distances, outside
from .qr import tall_svd, tree_qr
from .rank import EPS, Band, band_of, least_certified, tolerance_of
from .threads import on_blas_threads, one_blas_thread

# Share of σ_P² whose loss does not change standard errors noticeably.
NEGLIGIBLE = 1e-6


class Factor(ABC):
    """R of one group."""

    #: Matrix that was factored: "gram" for AᵀA, "qr" for A.
    source: ClassVar[str]

    def __init__(self, r: np.ndarray, exponents: np.ndarray, rows: int) -> None:
        self.r, self.exponents, self.rows = r, exponents, rows

    @property
    def blas_columns(self) -> int:
        """The smaller side of R."""
        return min(self.r.shape)

    @property
    def columns(self) -> int:
        """P."""
        return len(self.exponents)

    @property
    @abstractmethod
    def rank(self) -> int:
        """Numerical rank at the tolerance."""

    @property
    def full_rank(self) -> bool:
        """Whether the rank is the number of columns."""
        return self.rank == self.columns

    @abstractmethod
    def solve(self, z: np.ndarray) -> np.ndarray:
        """argmin ‖A w − y‖ (P, Q) for z = Qᵀy, of minimum norm in the user's units."""

    def solve_by_svd(self, z: np.ndarray) -> np.ndarray:
        """Return the same solution, computed from the singular values if they exist."""
        return self.solve(z)

    @abstractmethod
    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """(AᵀA)⁺ g (P, Q), the step of a refinement."""

    @abstractmethod
    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """Coordinates (n, rank) of equilibrated rows (n, P) in which AᵀA is the identity."""

    @property
    @abstractmethod
    @on_blas_threads
    def noise_gain(self) -> np.ndarray:
        """Standard error (P,) of every tap for white noise of variance one.

        It is √diag((AᵀA)⁻¹) of the equilibrated A, and inf for taps that are not determined.
        """

    # --- the spectrum

    @cached_property
    @on_blas_threads
    def singular_values(self) -> np.ndarray:
        """Singular values of the equilibrated matrix, descending."""
        return _singular_values(self.r)

    @cached_property
    @on_blas_threads
    def svd(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Economical: u (q, q), s (q,) descending, vt (q, P)."""
        return svd(self.r)

    @property
    def at_least(self) -> float:
        """Lower bound of the singular values, known without a spectrum; 0 if it is not known.

        A bound is above the `Band`.
        """
        return 0.0

    @property
    def verdict(self) -> str:
        """Verdict on the rank, see `Band`."""
        return "full" if self.at_least else self.band.verdict

    @cached_property
    def band(self) -> Band:
        """Numerical rank, its tolerance and the band around it."""
        return band_of(self.singular_values, self.rows, self.columns)

    @property
    def unit(self) -> int:
        """Power of two in which the singular values of A itself stay within float64."""
        return int(self.exponents.max())

    @property
    def graded(self) -> bool:
        """Whether columns differ so much in unit that a plain SVD would lose the small ones."""
        return bool(np.ptp(self.exponents) > 16)

    @cached_property
    @on_blas_threads
    def user_singular_values(self) -> np.ndarray:
        """Singular values of A itself, in the user's units, times ``2**-unit``."""
        return self._user_values(np.ldexp(self.r, self.exponents - self.unit))

    def _user_values(self, r: np.ndarray) -> np.ndarray:
        if r.size and self.graded:
            return graded_singular_values(r)
        return singular_values(r)

    @on_blas_threads
    def extremes(self, spectrum_columns: int) -> tuple[float, float]:
        """Largest and smallest singular value of A itself, times ``2**-unit``; 0 if deficient.

        With more columns than ``spectrum_columns`` and full rank, the Lanczos method computes them
        without the whole spectrum.
        """
        values = self.user_singular_values
        return float(values[0]), float(values[-1]) if self.full_rank else 0.0

    def damped(
        self, g: np.ndarray, w_norm: np.ndarray, r_norm: np.ndarray
    ) -> tuple[np.ndarray, str]:
        """‖(‖w‖²AᵀA + ‖r‖²I)^(−1/2) g‖ (Q,), for g (P, Q) and norms (Q,), and its kind."""
        _, s, vt = self.svd
        weights = np.sqrt((w_norm * s[:, None]) ** 2 + r_norm**2)
        found = np.linalg.norm((vt @ g) / weights, axis=0)
        if len(s) < self.columns:  # the null space of a wide R has no singular value
            found = np.hypot(found, np.linalg.norm(outside(vt.T, g), axis=0) / r_norm)
        return found, "value"

    # --- the null space, which is empty unless a subclass overrides these

    @property
    def null_threshold(self) -> float:
        """Rows of an orthonormal null space below this in norm are rounding."""
        return 1e-12

    @property
    @on_blas_threads
    def determined(self) -> np.ndarray:
        """Which taps (P,) the null space leaves alone."""
        return np.ones(self.columns, bool)

    def sees(self, row: np.ndarray) -> bool:
        """Whether a row (P,) of norm one at most lies in the span of those of A, to rounding."""
        return True

    @property
    @on_blas_threads
    def null_basis(self) -> np.ndarray:
        """Orthonormal null vectors of the equilibrated matrix, as columns (P, nullity)."""
        return np.zeros((self.columns, 0))

    @property
    @on_blas_threads
    def user_null_basis(self) -> np.ndarray:
        """Null space in the user's units, orthonormal there, (P, nullity)."""
        return self.null_basis

    @property
    def user_row_basis(self) -> np.ndarray | None:
        """Numerical row space in the user's units, orthonormal there, (P, rank); None for all."""
        return None

    @property
    def resolution(self) -> np.ndarray:
        """Diagonal (P,) of the projector on the row space in the user's units."""
        return np.ones(self.columns)

    def null_part(self, v: np.ndarray) -> np.ndarray:
        """N Nᵀv (P, Q), N the null space and v (P, Q) a kernel in the user's units."""
        return np.zeros_like(v)

    def null_share(self, w: np.ndarray, y_norm: np.ndarray) -> float:
        """‖N Nᵀw‖/‖w‖ in the user's units, the largest over w (P, Q): 0 for a minimum norm.

        Where y is not explained, ‖y‖/‖A‖ stands for the norm of a w that is but rounding.
        """
        return 0.0


class FullRank(Factor):
    """A triangle R (P, P) that can be solved with."""

    @property
    def rank(self) -> int:
        """P."""
        return self.columns

    def solve(self, z: np.ndarray) -> np.ndarray:
        """R⁻¹ z (P, Q)."""
        return solve_triangular(self.r, z)

    def solve_by_svd(self, z: np.ndarray) -> np.ndarray:
        """V Σ⁻¹ Uᵀ z (P, Q)."""
        u, s, vt = self.svd
        return vt.T @ ((u.T @ z) / s[:, None])

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """R⁻¹ R⁻ᵀ g (P, Q)."""
        return solve_triangular(self.r, solve_triangular(self.r, g, transposed=True))

    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, P) times R⁻¹."""
        return solve_triangular(self.r, rows.T, transposed=True).T

    @cached_property
    @on_blas_threads
    def noise_gain(self) -> np.ndarray:
        """Norms (P,) of the rows of R⁻¹."""
        return inverse_row_norms(self.r)

    @on_blas_threads
    def extremes(self, spectrum_columns: int) -> tuple[float, float]:
        """Largest and smallest singular value of A itself, times ``2**-unit``."""
        if self.graded or self.columns <= spectrum_columns:
            return super().extremes(spectrum_columns)
        relative = self.exponents - self.unit
        r = np.ldexp(self.r, relative)
        return extreme_singular_values(r, np.ldexp(self.missing, 2 * relative))

    @property
    def missing(self) -> float:
        """Amount that was subtracted from the diagonal of RᵀR."""
        return 0.0

    @property
    @on_blas_threads
    def user_singular_values(self) -> np.ndarray:
        """Singular values of A itself, in the user's units, times ``2**-unit``."""
        return super().user_singular_values if np.ptp(self.exponents) else self.singular_values


class Cholesky(FullRank):
    """The Cholesky factor of a Gram matrix whose full rank is certified.

    ``missing`` is the amount that was subtracted from the diagonal of RᵀR to prove the rank.
    """

    source = "gram"

    def __init__(
        self, r: np.ndarray, exponents: np.ndarray, rows: int, missing: float = 0.0
    ) -> None:
        super().__init__(r, exponents, rows)
        self._missing = missing

    @property
    def at_least(self) -> float:
        """Lower bound of the singular values."""
        return least_certified(self.columns)

    @property
    def missing(self) -> float:
        """Amount that was subtracted from the diagonal of RᵀR."""
        return self._missing

    @property
    def lacks_much(self) -> bool:
        """Whether ``missing`` changes standard errors noticeably."""
        return self.missing > 0 and self.missing > NEGLIGIBLE * least_square(self.r)

    @property
    def single(self) -> bool:
        """Whether it is in float32. It then refines solutions but proves nothing."""
        return self.r.dtype == np.float32


class Triangle(FullRank):
    """R of a QR, of full numerical rank."""

    source = "qr"

    def __init__(
        self, r: np.ndarray, exponents: np.ndarray, rows: int, at_least: float = 0.0
    ) -> None:
        super().__init__(r, exponents, rows)
        self._at_least = at_least

    @property
    def at_least(self) -> float:
        """Lower bound of the singular values, or 0."""
        return self._at_least


class Truncated(Factor):
    """R (q, P) of a deficient QR, or a wide A itself. Solutions are of minimum norm.

    With fewer rows than columns, all methods take O(q²P) time and O(qP) memory, except bases of
    the null space, which take P² numbers.
    """

    source = "qr"

    def __init__(
        self, r: np.ndarray, exponents: np.ndarray, rows: int, singular_values: np.ndarray
    ) -> None:
        super().__init__(r, exponents, rows)
        # The rank depends on these values only. Another routine could round the last differently.
        self.singular_values = singular_values

    @property
    def rank(self) -> int:
        """Numerical rank at the tolerance."""
        return self.band.rank

    @property
    def wide(self) -> bool:
        """Whether rows are fewer than columns."""
        return len(self.r) < self.columns

    @cached_property
    @on_blas_threads
    def svd(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Economical: u (q, q), s (q,) descending, vt (q, P)."""
        if self.wide:
            v, s, ut = tall_svd(self.r.T)
            return ut.T, s, v.T
        return super().svd

    @property
    def has_gap(self) -> bool:
        """Whether the singular values beyond the rank are far below all others."""
        values, rank = self.singular_values, self.rank
        if not 0 < rank < values.size:
            return True
        return bool(values[rank] <= min(self.band.low, values[rank - 1] / 100))

    @cached_property
    @on_blas_threads
    def user_singular_values(self) -> np.ndarray:
        """Singular values of A itself, in the user's units, times ``2**-unit``."""
        if not np.ptp(self.exponents):
            values = self.singular_values
            return np.where(np.arange(values.size) < self.rank, values, 0.0)
        # Only in the row space: rounding errors of the null space could exceed small values.
        values = self._user_values(self.row_space.seen)
        return np.concatenate([values, np.zeros(len(self.r) - values.size)])

    @cached_property
    @on_blas_threads
    def noise_gain(self) -> np.ndarray:
        """Norms (P,) of the rows of the pseudo-inverse, inf for taps that are not determined."""
        _, s, vt = self.svd
        gains = np.linalg.norm(vt[: self.rank] / s[: self.rank, None], axis=0)
        return np.where(self.determined, gains, np.inf)

    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """Coordinates (n, rank) of equilibrated rows (n, P) in which AᵀA is the identity."""
        _, s, vt = self.svd
        return rows @ (vt[: self.rank] / s[: self.rank, None]).T

    @property
    def null_threshold(self) -> float:
        """Null-space rows below clip(10√P·eps·s₁/σ_r, 1e-12, 1e-3) in norm are rounding."""
        if not self.rank:
            return 1e-12
        values = self.singular_values
        noise = 10 * math.sqrt(self.columns) * EPS * values[0] / values[self.rank - 1]
        return float(np.clip(noise, 1e-12, 1e-3))

    @cached_property
    @on_blas_threads
    def determined(self) -> np.ndarray:
        """Which taps (P,) the null space leaves alone."""
        rows, rank = self.svd[2], self.rank
        away = distances(rows[:rank].T) if self.wide else np.linalg.norm(rows[rank:], axis=0)
        return away <= self.null_threshold

    @cached_property
    @on_blas_threads
    def row_basis(self) -> np.ndarray:
        """Orthonormal basis (P, rank) of the rows of the equilibrated matrix.

        Determined taps have unit vectors, and all other vectors are exactly zero there, if this
        holds to rounding. In other units, a rounding error there could be large.
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
        return bool(np.linalg.norm(outside(self.row_basis, row)) <= self.null_threshold)

    @cached_property
    @on_blas_threads
    def null_basis(self) -> np.ndarray:
        """Orthonormal null vectors of the equilibrated matrix, as columns (P, nullity)."""
        afford_complement(self.columns)
        with one_blas_thread():
            return np.linalg.qr(self.row_basis, mode="complete")[0][:, self.rank :]

    @cached_property
    @on_blas_threads
    def all_rows(self) -> RowSpace:
        """Span of all rows in the user's units, without truncation at the rank."""
        return RowSpace.of(self.r, self.exponents)

    @cached_property
    @on_blas_threads
    def row_space(self) -> RowSpace:
        """The numerical row space in the user's units."""
        if self.rank == len(self.r) and np.ptp(self.exponents) < CLUSTER:
            return self.all_rows
        return RowSpace.of(self.r, self.exponents, self.row_basis, self.null_threshold)

    @property
    def user_row_basis(self) -> np.ndarray:
        """Numerical row space in the user's units, orthonormal there, (P, rank)."""
        return self.row_space.q

    @cached_property
    @on_blas_threads
    def user_null_basis(self) -> np.ndarray:
        """Null space in the user's units, orthonormal there, (P, nullity)."""
        return self.row_space.null_basis

    @property
    def resolution(self) -> np.ndarray:
        """Diagonal (P,) of the projector on the row space in the user's units."""
        return np.einsum("pk,pk->p", self.row_space.q, self.row_space.q)

    def null_part(self, v: np.ndarray) -> np.ndarray:
        """N Nᵀv (P, Q), N the null space and v (P, Q) a kernel in the user's units."""
        return outside(self.row_space.q, v)

    def null_share(self, w: np.ndarray, y_norm: np.ndarray) -> float:
        """‖N Nᵀw‖/‖w‖ in the user's units, the largest over w (P, Q): 0 for a minimum norm.

        Where y is not explained, ‖y‖/‖A‖ stands for the norm of a w that is but rounding.
        """
        v = np.ldexp(w, -self.row_space.exponents)
        size = np.abs(v).max(axis=0)
        v = v / np.where(size > 0, size, 1.0)
        least = y_norm / np.linalg.norm(self.row_space.seen) if self.rank else 1.0
        norms = np.maximum(np.linalg.norm(v, axis=0), least / np.where(size > 0, size, 1.0))
        parts = np.linalg.norm(self.null_part(v), axis=0)
        return float(np.max(parts / np.where(norms > 0, norms, 1.0)))

    @cached_property
    @on_blas_threads
    def _within(self) -> Within:
        return Within.of(self.row_space)

    def solve(self, z: np.ndarray) -> np.ndarray:
        """Return the w (P, Q) of minimum norm in the user's units that minimizes ‖A w − y‖.

        Singular values below the tolerance are truncated.
        """
        return self._within.solve(z)

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """(AᵀA)⁺ g (P, Q), the step of a refinement."""
        return self._within.solve_normal(g)


def _singular_values(r: np.ndarray) -> np.ndarray:
    return singular_values(tree_qr([r.T]) if len(r) < r.shape[1] else r)


def factor_of(r: np.ndarray, exponents: np.ndarray, rows: int) -> Factor:
    """Return the factor of R (q, P) from a QR of ``rows`` rows, or of a wide A itself."""
    if r.shape[0] == r.shape[1] and (at_least := _lower_bound(r, rows)):
        return Triangle(r, exponents, rows, at_least)
    values = _singular_values(r)
    if r.shape[0] < r.shape[1] or band_of(values, rows, r.shape[1]).rank < r.shape[1]:
        return Truncated(r, exponents, rows, values)
    found = Triangle(r, exponents, rows)
    found.singular_values = values
    return found


def _lower_bound(r: np.ndarray, rows: int) -> float:
    """Return half of 1/‖R⁻¹‖ if all singular values of a square R are above the `Band`, else 0."""
    if not np.diagonal(r).all():
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        inverse = float(np.linalg.norm(inverse_row_norms(r)))
        # No singular value is more than ‖R‖.
        full = 10 * tolerance_of(rows, len(r)) * np.linalg.norm(r) * inverse < 1
    return 0.5 / inverse if full else 0.0


def cholesky_factor(
    gram: np.ndarray,
    exponents: np.ndarray,
    rows: int,
    certain: bool = False,
    keep_proof: bool = False,
    loss: float = 1.0,
) -> Cholesky | None:
    """Return the Cholesky factor of an equilibrated Gram matrix, or None if its rank is uncertain.

    A successful factorization alone does not prove full rank. Full rank is certified if the matrix
    stays positive definite after the subtraction of a margin from its diagonal. The margin is
    10·P·eps·loss·s₁², or the square of the upper end of the `Band` if that is larger, so that the
    singular values of A lead to the same verdict. It can be proved up to κ of about 1e6.

    Args:
        gram: equilibrated Gram matrix (P, P). It is overwritten.
        exponents: exponents (P,) of the columns.
        rows: number of rows of A.
        certain: whether full rank is known, for example because of a ridge.
        keep_proof: whether to return the factor that proves the rank, from whose diagonal the
            margin is missing. This saves a second factorization.
        loss: rounding error of the Gram matrix, in units of the rounding error of products of
            columns of norm one.
    """
    if certain:
        r = cholesky(gram)
        return None if r is None else Cholesky(r, exponents, rows)
    columns = len(gram)
    share = max(10 * columns * EPS * loss, (10 * tolerance_of(rows, columns)) ** 2)
    parts = np.array_split(gram, 1 + columns // 256)
    most = max(float(np.abs(part).sum(1).max()) for part in parts)
    margin = share * min(float(np.linalg.norm(gram)), most)
    less = gram if keep_proof else gram.copy()
    less.flat[:: columns + 1] -= margin
    r = cholesky(less)
    if r is None:
        return None
    if not keep_proof:
        r = cholesky(gram)
        return None if r is None else Cholesky(r, exponents, rows)
    return Cholesky(r, exponents, rows, margin)
