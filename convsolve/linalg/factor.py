"""Factors R of an equilibrated design matrix A, RᵀR = AᵀA: solutions, noise and null space.

Column j of A was multiplied by ``2**-exponents[j]``; exponents are (P,), R is (q, P) and right-hand
sides (q, Q) are in the coordinates of Qᵀy. As in NumPy, several matrices of one kind and rank have
an axis of groups in front of all of these. A factor does not depend on y. The classes are:

- `FullRank`, from a Gram matrix that is certified to be of full rank, or from a QR;
- `Truncated`, from a QR, deficient or wide;
- `convsolve.linalg.ridge_dual.RidgeDual`, of one [A; √ridge I] with A deficient or wide.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ..cached import cached_property
from .lapack import (
    extreme_singular_values,
    graded_singular_values,
    inverse,
    singular_values,
    solve_triangular,
    svd,
)
from .minimum_norm import (
    CLUSTER,
    RowSpace,
    Within,
    afford_complement,
    distances,
    outside,
)
from .qr import tall_svd, tree_qr
from .rank import EPS, Band, band_of, null_threshold
from .threads import on_blas_threads, one_blas_thread


class Factor(ABC):
    """R of one group, or of several groups.

    Attributes:
        r, exponents, rows: R, the exponents of its columns, and the number of rows of A.
        source: matrix that was factored: "gram" for AᵀA, "qr" for A.
    """

    source = "qr"

    def __init__(self, r: np.ndarray, exponents: np.ndarray, rows: int) -> None:
        self.r, self.exponents, self.rows = r, exponents, rows

    @property
    def _blas_columns(self) -> int:
        """The smaller side of R."""
        return min(self.r.shape[-2:])

    @property
    def columns(self) -> int:
        """P."""
        return self.exponents.shape[-1]

    @property
    def stacked(self) -> bool:
        """Whether there are several groups."""
        return self.r.ndim > 2

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
        """Return argmin ‖A w − y‖ (P, Q) for z = Qᵀy, of minimum norm in the user's units."""

    def solve_by_svd(self, z: np.ndarray) -> np.ndarray:
        """Return the same solution, computed from the singular values if they exist."""
        return self.solve(z)

    @abstractmethod
    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """Return (AᵀA)⁺ g (P, Q), the step of a refinement."""

    @abstractmethod
    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """Return coordinates (n, rank) of equilibrated rows (n, P) in which AᵀA is the identity."""

    @property
    @abstractmethod
    def noise_gain(self) -> np.ndarray:
        """Standard error (P,) of every tap for white noise of variance one.

        It is √diag((AᵀA)⁻¹) of the equilibrated A, and inf for taps that are not determined.
        """

    # --- the spectrum

    @cached_property
    @on_blas_threads
    def singular_values(self) -> np.ndarray:
        """Singular values of the equilibrated matrix, descending."""
        return singular_values_of(self.r)

    @cached_property
    @on_blas_threads
    def svd(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Economical: u (q, q), s (q,) descending, vt (q, P)."""
        return svd(self.r)

    #: Lower bound of the singular values, above the `Band`; 0 if none is known without a spectrum.
    at_least: Any = 0.0

    @property
    def verdict(self) -> Any:
        """Verdict on the rank, see `Band`; a list for several groups."""
        if np.asarray(self.at_least).all():
            return ["full"] * len(self.r) if self.stacked else "full"
        return self.band.verdict

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
        """Return ‖(‖w‖²AᵀA + ‖r‖²I)^(−1/2) g‖ (Q,), for g (P, Q) and norms (Q,), and its kind."""
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
    def determined(self) -> np.ndarray:
        """Flags (P,) of the taps on which the null space has no component."""
        return np.ones(self.columns, bool)

    def sees(self, row: np.ndarray) -> bool:
        """Return whether a row (P,) of norm at most one is in the row space of A, to rounding."""
        return True

    @property
    def null_basis(self) -> np.ndarray:
        """Orthonormal null vectors of the equilibrated matrix, as columns (P, nullity)."""
        return np.zeros((self.columns, 0))

    @property
    def user_null_basis(self) -> np.ndarray:
        """Null space in the user's units, orthonormal there, (P, nullity)."""
        return self.null_basis

    @property
    def user_row_basis(self) -> np.ndarray | None:
        """Numerical row space in the user's units, orthonormal there, (P, rank); None for all."""
        return None

    def null_part(self, v: np.ndarray) -> np.ndarray:
        """Return N Nᵀv (P, Q), for the null space N and a kernel v (P, Q) in the user's units."""
        return np.zeros_like(v)

    def null_share(self, w: np.ndarray, y_norm: np.ndarray) -> float:
        """Return the largest ‖N Nᵀw‖/‖w‖ over w (P, Q) in the user's units, 0 for minimum norm.

        If y is not explained, ‖y‖/‖A‖ replaces the norm of a w that is only rounding.
        """
        return 0.0


class FullRank(Factor):
    """A triangle R (P, P) of full numerical rank."""

    def __init__(
        self,
        r: np.ndarray,
        exponents: np.ndarray,
        rows: int,
        at_least: Any = 0.0,
        source: str = "qr",
    ) -> None:
        super().__init__(r, exponents, rows)
        self.at_least, self.source = at_least, source

    def __getitem__(self, group: int) -> FullRank:
        """Return the factor of one of several groups."""
        r, exponents = self.r[group], self.exponents[group]
        return FullRank(r, exponents, self.rows, float(self.at_least[group]), self.source)

    @property
    def rank(self) -> int:
        """P."""
        return self.columns

    @cached_property
    def inverse(self) -> np.ndarray:
        """R⁻¹ (P, P)."""
        return inverse(self.r)

    def solve(self, z: np.ndarray) -> np.ndarray:
        """Return R⁻¹ z (P, Q)."""
        return solve_triangular(self.r, z)

    def solve_by_svd(self, z: np.ndarray) -> np.ndarray:
        """Return V Σ⁻¹ Uᵀ z (P, Q)."""
        u, s, vt = self.svd
        return vt.mT @ ((u.mT @ z) / s[..., None])

    def whitened(self, g: np.ndarray) -> np.ndarray:
        """Return R⁻ᵀ g (P, Q)."""
        if self.stacked:
            return self.inverse.mT @ g
        return solve_triangular(self.r, g, transposed=True)

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """Return R⁻¹ R⁻ᵀ g (P, Q)."""
        half = self.whitened(g)
        return self.inverse @ half if self.stacked else solve_triangular(self.r, half)

    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """Return rows (n, P) times R⁻¹."""
        return self.whitened(rows.mT).mT

    @cached_property
    @on_blas_threads
    def noise_gain(self) -> np.ndarray:
        """Norms (P,) of the rows of R⁻¹."""
        return np.linalg.norm(inverse(self.r), axis=-1)

    @on_blas_threads
    def extremes(self, spectrum_columns: int) -> tuple[float, float]:
        """Return the extreme singular values of A itself, times ``2**-unit``."""
        if self.graded or self.columns <= spectrum_columns:
            return super().extremes(spectrum_columns)
        return extreme_singular_values(np.ldexp(self.r, self.exponents - self.unit))

    @property
    @on_blas_threads
    def user_singular_values(self) -> np.ndarray:
        """Singular values of A itself, in the user's units, times ``2**-unit``."""
        return super().user_singular_values if np.ptp(self.exponents) else self.singular_values


class Truncated(Factor):
    """R (q, P) of a deficient QR, or a wide A itself. Solutions are of minimum norm.

    With fewer rows than columns, all methods take O(q²P) time and O(qP) memory, except bases of
    the null space, which take P² numbers.
    """

    def __init__(
        self, r: np.ndarray, exponents: np.ndarray, rows: int, singular_values: np.ndarray
    ) -> None:
        super().__init__(r, exponents, rows)
        # The rank depends on these values only. Another routine could round the last differently.
        self.singular_values = singular_values

    def __getitem__(self, group: int) -> Truncated:
        """Return the factor of one of several groups."""
        r, exponents = self.r[group], self.exponents[group]
        return Truncated(r, exponents, self.rows, self.singular_values[group])

    @property
    def rank(self) -> int:
        """Numerical rank at the tolerance, the same for all groups."""
        return int(np.max(self.band.rank))

    @property
    def wide(self) -> bool:
        """Whether rows are fewer than columns."""
        return self.r.shape[-2] < self.columns

    @cached_property
    @on_blas_threads
    def svd(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Economical: u (q, q), s (q,) descending, vt (q, P)."""
        if self.wide:
            v, s, ut = tall_svd(self.r.mT)
            return ut.mT, s, v.mT
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
        """Return coordinates (n, rank) of equilibrated rows (n, P), with AᵀA the identity."""
        _, s, vt = self.svd
        return rows @ (vt[..., : self.rank, :] / s[..., : self.rank, None]).mT

    @property
    def null_threshold(self) -> float:
        """Null-space rows below this in norm are rounding."""
        return null_threshold(self.singular_values, self.rank, self.columns)

    @cached_property
    @on_blas_threads
    def determined(self) -> np.ndarray:
        """Flags (P,) of the taps on which the null space has no component."""
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
        """Return whether a row (P,) of norm at most one is in the row space of A, to rounding."""
        return bool(np.linalg.norm(outside(self.row_basis, row[:, None])) <= self.null_threshold)

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
        near = np.ptp(self.exponents, axis=-1).max() < CLUSTER
        if self.rank == self.r.shape[-2] and near:
            return self.all_rows
        if self.stacked:
            return RowSpace.of(self.r, self.exponents, self.svd[2][:, : self.rank].mT)
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

    def null_part(self, v: np.ndarray) -> np.ndarray:
        """Return N Nᵀv (P, Q), for the null space N and a kernel v (P, Q) in the user's units."""
        return outside(self.row_space.q, v)

    def null_share(self, w: np.ndarray, y_norm: np.ndarray) -> float:
        """Return the largest ‖N Nᵀw‖/‖w‖ over w (P, Q) in the user's units, 0 for minimum norm.

        If y is not explained, ‖y‖/‖A‖ replaces the norm of a w that is only rounding.
        """
        space = self.row_space
        v = np.ldexp(w, -space.exponents)
        size = np.abs(v).max(axis=-2)
        size = np.where(size > 0, size, 1.0)
        v = v / size[..., None, :]
        whole = np.linalg.norm(space.seen, axis=(-2, -1))[..., None]
        least = y_norm / whole if self.rank else 1.0
        norms = np.maximum(np.linalg.norm(v, axis=-2), least / size)
        parts = np.linalg.norm(self.null_part(v), axis=-2)
        return float(np.max(parts / np.where(norms > 0, norms, 1.0)))

    @cached_property
    @on_blas_threads
    def _within(self) -> Within:
        space = self.row_space
        return Within(space.q, space.exponents, space.seen)

    def solve(self, z: np.ndarray) -> np.ndarray:
        """Return the w (P, Q) of minimum norm in the user's units that minimizes ‖A w − y‖.

        Singular values below the tolerance are truncated.
        """
        return self._within.solve(z)

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """Return (AᵀA)⁺ g (P, Q), the step of a refinement."""
        return self._within.solve_normal(g)


def singular_values_of(r: np.ndarray) -> np.ndarray:
    """Return the singular values (..., min(q, P)) of R (..., q, P), descending."""
    wide = r.shape[-2] < r.shape[-1]
    return singular_values(tree_qr([r.mT]) if wide else r)
