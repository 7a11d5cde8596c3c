"""The row space of a design matrix in the user's units, and least squares within it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .lapack import solve_triangular
from .qr import tall_qr
from .threads import one_blas_thread

# Units that differ by fewer powers of two than this are treated as one.
CLUSTER = 8
# Further apart than this power of two, a channel is nothing beside another in any norm.
FARTHEST = 900
# What an orthonormal complement may take.
MAX_BASIS_BYTES = 2**31
# A unit vector whose projection has a square above this may be all within.
NEARLY = 0.99


def exponents_of(norms: np.ndarray) -> np.ndarray:
    """Powers of two that bring column norms into [1/2, 1); 0 for a column of zeros."""
    return np.where(norms > 0, np.frexp(norms)[1], 0)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b, for a (P, k), by sums of √k terms at a time: rounding grows like √√k, not √k."""
    found = np.zeros((len(a), *b.shape[1:]))
    step = 1 + math.isqrt(len(b))
    for first in range(0, len(b), step):
        found += a[:, first : first + step] @ b[first : first + step]
    return found


def outside(basis: np.ndarray, v: np.ndarray) -> np.ndarray:
    """v (P, Q) less its part in the span of an orthonormal ``basis`` (P, k), to eps·‖v‖."""
    return v - product(basis, product(basis.T, v))


def beyond(basis: np.ndarray, v: np.ndarray) -> np.ndarray:
    """`outside`, good to its own digits where v is all but within: what the first rounding leaves
    in the span goes at the second time.
    """
    return outside(basis, outside(basis, v))


def distances(basis: np.ndarray) -> np.ndarray:
    """Distance (P,) of every unit vector from the span of an orthonormal ``basis`` (P, k).

    1 − ‖row‖² cancels where the distance is small; e − B Bᵀe does not. Of the latter there are no
    more than k or so, since the squares of B add up to k.
    """
    squares = np.einsum("pk,pk->p", basis, basis)
    found = np.sqrt(np.maximum(1 - squares, 0.0))
    near = np.flatnonzero(squares > NEARLY)
    units = np.zeros((len(basis), near.size))
    units[near, np.arange(near.size)] = 1.0
    found[near] = np.linalg.norm(beyond(basis, units), axis=0)
    return found


def afford_complement(columns: int) -> None:
    """Raise a ValueError where P² numbers would not fit in memory."""
    need = 8 * columns**2
    if need > MAX_BASIS_BYTES:
        raise ValueError(
            f"a basis of the null space of {columns} unknowns takes {need / 2**30:.1f} GiB, more "
            f"than the {MAX_BASIS_BYTES / 2**30:.0f} GiB allowed; identifiable, resolution() and "
            "null_part(kernel) tell of it without one"
        )


@dataclass(frozen=True)
class RowSpace:
    """q (P, k), orthonormal, spans the rows of A in the user's units, where A = seen qᵀ.

    ``exponents`` (P, 1) are the powers of two, 0 at most, of these units; q is that of the QR of
    2^exponents·``spanning``, its rows sorted by ``order``.
    """

    q: np.ndarray
    seen: np.ndarray
    exponents: np.ndarray
    spanning: np.ndarray
    order: np.ndarray

    @classmethod
    def of(
        cls,
        r: np.ndarray,
        exponents: np.ndarray,
        basis: np.ndarray | None = None,
        rounding: float = 0.0,
    ) -> RowSpace:
        """From r (m, P), columns multiplied by ``2**-exponents``: of all its rows, or of their part
        in the span of an orthonormal ``basis`` (P, k), in which ``rounding`` counts as zero.

        Where channels differ much in unit, taking a null part off an answer of another norm would
        cancel; solving within the row space does not.

        Source: A. J. Cox and N. J. Higham, Stability of Householder QR factorization for weighted
        least squares problems, 1998: rows of such different size need to be sorted, and columns
        pivoted.
        """
        relative = np.maximum(exponents - exponents.max(), -FARTHEST)[:, None]
        # What no row of A reads stays exactly zero: its rows come last, where nothing pivots.
        live = np.count_nonzero(r, axis=0) > 0
        spanning = r.T if basis is None else np.where(live[:, None], basis, 0.0)
        order, pivots = np.argsort(~live, kind="stable"), np.arange(spanning.shape[1])
        if basis is not None and not relative.any():  # orthonormal as it is
            return cls(spanning, r @ spanning, relative, spanning, order)
        if np.ptp(relative) < CLUSTER:
            sorted_q, t = tall_qr(np.ldexp(spanning, relative)[order])
        else:
            from scipy.linalg import qr

            with one_blas_thread():
                if basis is None:
                    order = np.lexsort((-relative[:, 0], ~live))
                else:
                    spanning, order = _by_unit(spanning, relative[:, 0], rounding)
                graded = np.ldexp(spanning, relative)[order]
                sorted_q, t, pivots = qr(graded, mode="economic", pivoting=True, check_finite=False)
        q = np.empty_like(sorted_q)
        q[order] = sorted_q
        if basis is None:
            seen = np.empty((len(r), len(t)))
            seen[pivots] = t.T
        else:
            seen = r @ spanning[:, pivots] @ t.T
        return cls(q, seen, relative, spanning, order)

    @property
    def null_basis(self) -> np.ndarray:
        """Orthonormal complement (P, P − k) of q, which takes P² numbers."""
        from scipy.linalg import qr

        afford_complement(len(self.q))
        graded = np.ldexp(self.spanning, self.exponents)[self.order]
        whole = qr(graded, pivoting=True, check_finite=False)[0]
        null = np.empty((len(whole), len(whole) - self.q.shape[1]))
        null[self.order] = whole[:, self.q.shape[1] :]
        return null


class Within:
    """min ‖A w − y‖² + ridge·‖w‖² over w = 2^exponents·q u: of P unknowns, k are left.

    A 2^exponents q is ``seen`` (m, k). [seen; √ridge I], its columns multiplied by ``2**-scale``,
    is Q R, of which ``top`` are the first m rows of Q.
    """

    def __init__(
        self, q: np.ndarray, exponents: np.ndarray, seen: np.ndarray, root: float = 0.0
    ) -> None:
        """``root`` is √ridge in the units of ``seen``."""
        self.q, self.exponents = q, exponents
        self._scale = exponents_of(np.maximum(np.abs(seen).max(axis=0, initial=0.0), root))[:, None]
        joined = np.ldexp(seen, -self._scale[:, 0])
        if root:
            joined = np.concatenate([joined, np.diag(np.ldexp(root, -self._scale[:, 0]))])
        whole, self.r = tall_qr(joined)
        self._top = whole[: len(seen)]

    @classmethod
    def of(cls, space: RowSpace) -> Within:
        """Within a row space, without a ridge."""
        return cls(space.q, space.exponents, space.seen)

    def restrict(self, g: np.ndarray) -> np.ndarray:
        """A gradient (P, Q) in these unknowns (k, Q)."""
        return np.ldexp(product(self.q.T, np.ldexp(g, self.exponents)), -self._scale)

    def _lift(self, u: np.ndarray) -> np.ndarray:
        return np.ldexp(product(self.q, np.ldexp(u, -self._scale)), self.exponents)

    def whiten(self, g: np.ndarray) -> np.ndarray:
        """Coordinates (k, Q) of a gradient (P, Q) in which [A; √ridge I] is the identity here."""
        return solve_triangular(self.r, self.restrict(g), transposed=True)

    def noise_gain(self) -> np.ndarray:
        """√diag((AᵀA + ridge I)⁻¹) of w within (P,)."""
        half = solve_triangular(self.r, np.ldexp(self.q.T, -self._scale), transposed=True)
        return np.ldexp(np.linalg.norm(half, axis=0), self.exponents[:, 0])

    def solve(self, z: np.ndarray) -> np.ndarray:
        """The answer (P, Q) for y in the coordinates of the rows of ``seen`` (m, Q)."""
        return self._lift(solve_triangular(self.r, self._top.T @ z))

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """(AᵀA + ridge I)⁻¹ g within, the step of a refinement."""
        return self._lift(solve_triangular(self.r, self.whiten(g)))


def _by_unit(
    basis: np.ndarray, exponents: np.ndarray, rounding: float
) -> tuple[np.ndarray, np.ndarray]:
    """The row basis (P, k) turned so that columns begin at the largest unit they touch, and an
    order of its rows in which those that a unit adds come before those that it does not.

    What a unit adds to the span of the larger ones is told from ``rounding``, and what it does not
    add is exactly zero there: 2^exponents would make the rounding outgrow the smaller units.
    """
    from scipy.linalg import qr

    basis, first = basis.copy(), []
    done, k = 0, basis.shape[1]
    # Within a cluster units are so alike that rounding stays what it is.
    clusters = exponents // -CLUSTER
    for cluster in np.unique(clusters):
        within = np.flatnonzero(clusters == cluster)
        # All of vt is needed, but no more of u than there are values.
        few = len(within) < k - done
        _, s, vt = np.linalg.svd(basis[within, done:], full_matrices=few)
        basis[:, done:] = basis[:, done:] @ vt.T
        last = cluster == clusters.max()
        stop = k if last else done + int((s > rounding).sum())
        basis[within, stop:] = 0.0
        chosen = qr(basis[within, done:stop].T, mode="r", pivoting=True)[1][: stop - done]
        first.append(within[chosen])
        done = stop
    front = np.concatenate(first)
    by_size = np.lexsort((-exponents, ~basis.any(axis=1)))
    rest = np.setdiff1d(by_size, front, assume_unique=True)
    return basis, np.concatenate([front, rest])
