"""Factors R of a design matrix A, RᵀR = AᵀA: solutions, noise gains and null space.

The columns of A have norms of about one. R is (q, P) and right-hand sides z = Qᵀy are (q, Q). As in
NumPy, several matrices of full rank have an axis of groups in front of all of these. A factor does
not depend on y. The classes are:

- `Factor`, of full rank, from a Gram matrix that is certified to be so, or from a QR;
- `Truncated`, of one group, from a QR that is deficient or wide, also with a ridge. Its solutions
  have minimum norm in the user's units.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..parallel import cached_property
from ..text import in_bytes
from .lapack import (
    extreme_singular_values,
    frobenius,
    graded_singular_values,
    inverse,
    singular_values,
    solve_triangular,
)
from .rank import EPS, Band, band_of, null_threshold, tolerance_of
from .threads import on_blas_threads, one_blas_thread

# Columns whose sizes differ by more than this power of two need rotations for their values.
GRADED = 16
# In smaller units than this power of two, a channel does not change any norm.
FARTHEST = 900
# Largest memory of an orthonormal complement.
MAX_BYTES = 2**31


class Factor:
    """R (P, P) of full numerical rank, of one group or of several.

    Attributes:
        r, rows, columns: R, the number of rows of A, and of its columns.
        rank: numerical rank at the tolerance, the same for all groups.
        at_least: lower bound of the singular values, above the `Band`; 0 if none is known without a
            spectrum.
        source: matrix that was factored: "gram" for AᵀA, "qr" for A.
        null_threshold: rows of an orthonormal null basis below this in norm are rounding.
    """

    null_threshold = 1e-12

    def __init__(self, r: np.ndarray, rows: int, at_least: Any = 0.0, source: str = "qr") -> None:
        if r.ndim > 2 and len(r) == 1:
            r, at_least = r[0], float(at_least[0])
        self.r, self.rows, self.columns, self.rank = r, rows, r.shape[-1], r.shape[-1]
        self.at_least, self.source = at_least, source
        self.stacked, self._blas_columns = r.ndim > 2, min(r.shape[-2:])

    def __getitem__(self, group: int) -> Factor:
        """Return the factor of one of the groups."""
        if not self.stacked:
            return self
        return Factor(self.r[group], self.rows, float(self.at_least[group]), self.source)

    @property
    def full_rank(self) -> bool:
        """Whether the rank is the number of columns."""
        return self.rank == self.columns

    # --- solutions

    @cached_property
    def _inverse(self) -> np.ndarray:
        return inverse(self.r)

    def solve(self, z: np.ndarray, by_svd: bool = False) -> np.ndarray:
        """Return argmin ‖A w − y‖ (P, Q) for z = Qᵀy, of minimum norm in the user's units.

        It is computed from the singular values on request.
        """
        if not by_svd:
            return solve_triangular(self.r, z)
        u, s, vt = self.svd
        return vt.mT @ ((u.mT @ z) / s[..., None])

    def whitened(self, g: np.ndarray) -> np.ndarray:
        """Return coordinates (k, Q) of g (P, Q), whose inner products are those of (AᵀA)⁺."""
        return self._inverse.mT @ g if self.stacked else solve_triangular(self.r, g, True)

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """Return (AᵀA)⁺ g (P, Q), the step of a refinement."""
        half = self.whitened(g)
        return self._inverse @ half if self.stacked else solve_triangular(self.r, half)

    @cached_property
    @on_blas_threads
    def noise_gain(self) -> np.ndarray:
        """Standard error (P,) of every tap for white noise of variance one.

        It is √diag((AᵀA)⁺), and inf for taps that are not determined.
        """
        return np.linalg.norm(inverse(self.r), axis=-1)

    # --- the spectrum

    @cached_property
    @on_blas_threads
    def singular_values(self) -> np.ndarray:
        """Singular values of A, descending."""
        return singular_values(self.r)

    @cached_property
    def svd(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Economical: u (q, k), s (k,) descending, vt (k, P)."""
        with one_blas_thread():
            if self.r.shape[-2] >= self.columns:
                u, s, vt = np.linalg.svd(self.r, full_matrices=False)
                return u, s, vt
            q, r = np.linalg.qr(self.r.mT)  # LAPACK reads a wide matrix once more
            u, s, vt = np.linalg.svd(r.mT)
        return u, s, vt @ q.mT

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

    def spectrum(self, powers: np.ndarray) -> np.ndarray:
        """Return the singular values if column j is multiplied by ``2**(powers[j] − max)``."""
        if not np.ptp(powers):
            return self.singular_values
        return _values(self.r * _relative(powers), powers)

    @on_blas_threads
    def extremes(self, powers: np.ndarray, most: int) -> tuple[float, float]:
        """Return the largest and the smallest value of the `spectrum`; 0 if deficient.

        The Lanczos method computes them if R has full rank and more than ``most`` columns.
        """
        if self.full_rank and self.columns > most and np.ptp(powers) <= GRADED:
            return extreme_singular_values(self.r * _relative(powers))
        values = self.spectrum(powers)
        return float(values[0]), float(values[-1]) if self.full_rank else 0.0

    def damped(self, g: np.ndarray, w_norm: np.ndarray, r_norm: np.ndarray) -> np.ndarray:
        """Return ‖(‖w‖²AᵀA + ‖r‖²I)^(−1/2) g‖ (Q,), for g (P, Q) and norms (Q,).

        With a ridge, it is the value of A alone, an upper bound.
        """
        _, s, vt = self.svd
        found = np.linalg.norm((vt @ g) / np.hypot(w_norm * s[:, None], r_norm), axis=0)
        if len(s) < self.columns:  # the null space of a wide R has no singular value
            found = np.hypot(found, np.linalg.norm(outside(vt.T, g), axis=0) / r_norm)
        return np.asarray(found)

    # --- the rows and the null space, of which a full rank leaves nothing

    @property
    def row_space(self) -> np.ndarray:
        """Orthonormal basis (P, rank) of the rows of A."""
        return np.eye(self.columns)

    user_row_space = row_space  # in the user's units

    @property
    def null_space(self) -> np.ndarray:
        """Orthonormal null vectors of A, as columns (P, nullity)."""
        return np.zeros((self.columns, 0))

    user_null_space = null_space  # in the user's units


class Truncated(Factor):
    """R (q, P) of a deficient QR, or a wide A itself: solutions within the row space of A.

    Norms are in the user's units, where w is s·q u for the sizes s, with q (P, k) orthonormal. With
    fewer rows than columns, all methods take O(q²P) time and O(qP) memory, except bases of the null
    space, which take P² numbers.

    Source: A. J. Cox and N. J. Higham, Stability of Householder QR factorization for weighted least
    squares problems, 1998: rows of very different size have to be sorted, and columns pivoted.
    """

    _root = 0.0  # √ridge in the user's units

    def __init__(self, r: np.ndarray, rows: int, values: np.ndarray, powers: np.ndarray) -> None:
        """Store R, its singular values, and powers of two (P,): the sizes of the user's columns."""
        super().__init__(r, rows)
        # The rank depends on these values only. Another routine could round the last differently.
        self.singular_values, self._powers = values, powers
        self.rank = int(self.band.rank)
        self.null_threshold = null_threshold(values, self.rank, self.columns)
        relative = np.maximum(powers - powers.max(), -FARTHEST)
        self._sizes = 2.0 ** relative[:, None].astype(float)
        self._units_differ = bool(relative.any())

    def with_ridge(self, roots: np.ndarray, larger: np.ndarray) -> Truncated:
        """Return the factor of [A; √ridge I], for columns that are divided by ``2**larger`` (P,).

        Every ridge solution is Aᵀα in the user's units, so that q instead of P unknowns are enough.
        The product AAᵀ is never formed. A small ridge would be dominated by the rounding error of
        A. The kernels are then within the numerical row space. ``roots`` (P,) are √ridge.
        """
        r = np.ldexp(self.r, -larger)
        found = Truncated(r, self.rows, self.singular_values, self._powers + larger)
        one = int(np.argmax(roots))  # in the user's units, √ridge is the same for all columns
        found._root = float(roots[one] * found._sizes[one, 0])
        # s₁² is P at most, that of columns of norm one.
        certain = (roots**2 >= 10 * self.columns**2 * EPS).all()
        found._spanning = r.T if certain else np.ldexp(self.row_space, -larger[:, None])
        # A alone decides the rank of columns for which the ridge is too small.
        least = tolerance_of(self.rows + self.columns, self.columns)
        lost = roots <= least * max(float(self.singular_values[0]), 1.0)
        left = singular_values(self.r[:, lost]) if lost.any() else np.zeros(0)
        count = int(lost.sum())
        found.rank = self.columns - count + int(band_of(left, self.rows, count).rank)
        return found

    @cached_property
    def row_space(self) -> np.ndarray:
        """Orthonormal basis (P, rank) of the rows; unknowns that no row contains are zero."""
        return self.svd[2][: self.rank].T * self.r.any(0)[:, None]

    @cached_property
    def _spanning(self) -> np.ndarray:
        """Vectors (P, k) that span the kernels, before they are multiplied by the sizes.

        If all rows are independent, they do without an SVD.
        """
        return self.r.T if self.rank == len(self.r) else self.row_space

    @cached_property
    def _graded(self) -> tuple[np.ndarray, np.ndarray]:
        """The same span in the user's units, with sorted rows, and the order of these.

        The directions that a unit adds to those of larger units come first, and all others are zero
        in it: their rounding errors would be larger than smaller units.
        """
        from scipy.linalg import qr

        found, sizes, first, done = self._spanning.copy(), self._sizes[:, 0], list[int](), 0
        for size in np.unique(sizes)[::-1] if self._units_differ else ():
            own = np.flatnonzero(sizes == size)
            q, r, pivots = qr(found[own, done:].T, pivoting=True, check_finite=False)
            found[:, done:] = found[:, done:] @ q
            independent = np.abs(np.diagonal(r)) > 10 * self.columns**0.5 * EPS
            added = int(np.count_nonzero(independent))
            first, done = [*first, *own[pivots[:added]].tolist()], done + added
            found[own, done:] = 0.0
        rest = np.lexsort((-sizes, ~found.any(1)))
        order = np.array([*first, *rest[~np.isin(rest, first)].tolist()], int)
        return (found * self._sizes)[order], order

    @cached_property
    def user_row_space(self) -> np.ndarray:
        """Orthonormal basis q (P, k) of the kernels in the user's units."""
        from scipy.linalg import qr

        graded, order = self._graded
        found = np.empty((self.columns, min(graded.shape)))
        with one_blas_thread():
            found[order] = qr(graded, mode="economic", pivoting=self._units_differ)[0]
        return found

    @cached_property
    def _seen(self) -> np.ndarray:
        """A s·q (q, k)."""
        return (self.r * self._sizes.T) @ self.user_row_space

    @cached_property
    def _joined(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of A in the Q of a QR of [A s·q; √ridge I], and its R (k, k)."""
        rows, columns = self._seen.shape
        below = self._root * np.eye(columns if self._root else 0, columns)
        with one_blas_thread():
            whole, r = np.linalg.qr(np.concatenate([self._seen, below]))
        return whole[:rows], r

    def _raised(self, u: np.ndarray) -> np.ndarray:
        return self._sizes * (self.user_row_space @ solve_triangular(self._joined[1], u))

    def solve(self, z: np.ndarray, by_svd: bool = False) -> np.ndarray:
        """Return argmin ‖A w − y‖² + ridge·‖w‖² (P, Q) of minimum norm in the user's units."""
        return self._raised(self._joined[0].T @ z)

    def _restricted(self, g: np.ndarray) -> np.ndarray:
        own = self.user_row_space.T @ (g * self._sizes)
        return solve_triangular(self._joined[1], own, transposed=True)

    def whitened(self, g: np.ndarray) -> np.ndarray:
        """Return coordinates (k, Q) of g in the row space; with a ridge (k + P, Q) of all of g."""
        if not self._root:
            return self._restricted(g)
        free = outside(self.user_row_space, g * self._sizes) / self._root
        return np.concatenate([self._restricted(g), free])

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """Return (AᵀA + ridge I)⁺ g (P, Q), the step of a refinement."""
        return self._raised(self._restricted(g))

    @cached_property
    @on_blas_threads
    def noise_gain(self) -> np.ndarray:
        """√diag((AᵀA + ridge I)⁺) (P,), inf for taps that are not determined."""
        within = solve_triangular(self._joined[1], (self.user_row_space * self._sizes).T, True)
        free = np.where(self.determined, 0.0, np.inf)
        if self._root:
            free = distances(self.user_row_space) / self._root * self._sizes[:, 0]
        return np.hypot(np.linalg.norm(within, axis=0), free)

    def spectrum(self, powers: np.ndarray) -> np.ndarray:
        """Return singular values in the user's units.

        Those of the null space are 0, because its rounding errors could exceed small values.
        """
        values = self.singular_values[: self.rank]
        values = _values(self._seen, powers) if values.size and np.ptp(powers) else values
        return np.concatenate([values, np.zeros(min(self.r.shape) - values.size)])

    @cached_property
    def determined(self) -> np.ndarray:
        """Flags (P,) of the taps on which the null space has no component."""
        return distances(self.row_space) <= self.null_threshold

    @cached_property
    def null_space(self) -> np.ndarray:
        """Orthonormal null vectors of A, as columns (P, nullity)."""
        return complement(self.row_space)

    @cached_property
    def user_null_space(self) -> np.ndarray:
        """Null space in the user's units, orthonormal there, (P, nullity)."""
        graded, order = self._graded
        return complement(graded)[np.argsort(order)]

    def null_share(self, w: np.ndarray, y_norm: np.ndarray) -> float:
        """Return the largest ‖N Nᵀw‖/‖w‖ over w (P, Q) in the user's units.

        If y is not explained, ‖y‖/‖A‖ replaces the norm of a w that is only rounding.
        """
        v = w / self._sizes
        size = np.maximum(np.abs(v).max(0), np.finfo(float).tiny)
        with np.errstate(over="ignore"):
            least = y_norm / frobenius(self._seen) / size if self.rank else 1 / size
        parts = np.linalg.norm(outside(self.user_row_space, v / size), axis=0)
        norms = np.maximum(np.linalg.norm(v / size, axis=0), least)
        return float(np.max(parts / np.where(norms > 0, norms, 1.0)))


def outside(vectors: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Subtract from v (..., P, Q) its projection on orthonormal ``vectors`` (..., P, k).

    Twice, which is accurate even if v is almost in the span.
    """
    for _ in range(2):
        v = v - vectors @ (vectors.mT @ v)
    return v


def distances(vectors: np.ndarray) -> np.ndarray:
    """Return the distance (P,) of every unit vector from the span of orthonormal vectors (P, k).

    For small distances, 1 − ‖row‖² cancels and e − B Bᵀe is computed instead. This is necessary for
    about k vectors at most, since the squares of B sum to k.
    """
    squares = np.square(vectors).sum(1)
    found = np.sqrt(np.maximum(1 - squares, 0.0))
    near = np.flatnonzero(squares > 0.99)
    ones = np.zeros((len(vectors), near.size))
    ones[near, np.arange(near.size)] = 1.0
    found[near] = np.linalg.norm(outside(vectors, ones), axis=0)
    return found


def complement(vectors: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis (P, P − k) of the complement of independent vectors (P, k)."""
    from scipy.linalg import qr

    columns, rank = vectors.shape
    if 8 * columns**2 > MAX_BYTES:
        raise ValueError(f"the null space of {columns} unknowns needs {in_bytes(8 * columns**2)}")
    with one_blas_thread():
        return np.asarray(qr(vectors, pivoting=True, check_finite=False)[0][:, rank:])


def _relative(powers: np.ndarray) -> np.ndarray:
    return 2.0 ** (powers - powers.max()).astype(float)


def _values(a: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Return the singular values of a matrix whose columns have sizes of ``2**powers``."""
    return (graded_singular_values if np.ptp(powers) > GRADED else singular_values)(a)
