"""The row space of a design matrix in the user's units, and least squares in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..text import in_bytes
from .lapack import solve_triangular
from .qr import tall_qr
from .threads import one_blas_thread

# Units that differ by less than this power of two are treated as equal.
CLUSTER = 8
# If units differ by more than this power of two, the smaller channel does not change any norm.
FARTHEST = 900
# Largest memory of an orthonormal complement.
MAX_BASIS_BYTES = 2**31
# A unit vector may be in the span only if its squared projection is above this.
NEARLY = 0.99


def exponents_of(norms: np.ndarray) -> np.ndarray:
    """Powers of two that bring column norms into [1/2, 1); 0 for a column of zeros."""
    return np.where(norms > 0, np.frexp(norms)[1], 0)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a b (..., P, Q) for a (..., P, k) and b (..., k, Q), in blocks of √k terms.

    Rounding is then proportional to √√k, not √k.
    """
    count = a.shape[-1]
    step = 1 + math.isqrt(count)
    blocks = [slice(first, first + step) for first in range(0, count, step)] or [slice(0, 0)]
    found = a[..., blocks[0]] @ b[..., blocks[0], :]
    for block in blocks[1:]:
        found += a[..., block] @ b[..., block, :]
    return np.asarray(found)


def outside(basis: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Subtract from v (..., P, Q) its projection on an orthonormal ``basis`` (..., P, k)."""
    return v - product(basis, product(basis.mT, v))


def beyond(basis: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return `outside` applied twice, which is accurate even if v is almost in the span."""
    return outside(basis, outside(basis, v))


def distances(basis: np.ndarray) -> np.ndarray:
    """Return the distance (P,) of every unit vector from the span of a ``basis`` (P, k).

    For small distances, 1 − ‖row‖² cancels and e − B Bᵀe is computed instead. This is necessary for
    about k vectors at most, since the squares of B sum to k.
    """
    squares = np.einsum("pk,pk->p", basis, basis)
    found = np.sqrt(np.maximum(1 - squares, 0.0))
    near = np.flatnonzero(squares > NEARLY)
    units = np.zeros((len(basis), near.size))
    units[near, np.arange(near.size)] = 1.0
    found[near] = np.linalg.norm(beyond(basis, units), axis=0)
    return found


def afford_complement(columns: int) -> None:
    """Raise a ValueError if P² numbers do not fit into memory."""
    need = 8 * columns**2
    if need > MAX_BASIS_BYTES:
        raise ValueError(
            f"a basis of the null space of {columns} unknowns needs {in_bytes(need)}, more than "
            f"the {in_bytes(MAX_BASIS_BYTES)} allowed; identifiable needs no basis"
        )


@dataclass(frozen=True)
class RowSpace:
    """An orthonormal basis q (..., P, k) of the rows of A in the user's units, with A = seen qᵀ.

    The units are powers of two, with ``exponents`` (..., P, 1) of at most 0. q is from a QR of
    2^exponents·``spanning``. With rows sorted by ``order``, it has zero rows last.
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
        """Return the row space of r (..., m, P), with columns multiplied by ``2**-exponents``.

        With an orthonormal ``basis`` (..., P, k), the rows are projected on it, and singular values
        of its parts of at most ``rounding`` count as zero. The units of several matrices may differ
        by less than `CLUSTER` only. If the units of channels are very
        different, subtracting a null part from a solution of another norm cancels. Solving in the
        row space does not.

        Source: A. J. Cox and N. J. Higham, Stability of Householder QR factorization for weighted
        least squares problems, 1998: rows of very different size have to be sorted, and columns
        pivoted.
        """
        relative = np.maximum(exponents - exponents.max(-1, keepdims=True), -FARTHEST)[..., None]
        # Unknowns that no row of A contains stay exactly zero.
        live = np.asarray(r.any(-2))[..., None]
        spanning = r.mT if basis is None else np.where(live, basis, 0.0)
        order = np.argsort(~live[..., 0], kind="stable")
        if basis is not None and not relative.any():  # is orthonormal already
            return cls(spanning, r @ spanning, relative, spanning, order)
        if np.ptp(relative) < CLUSTER:
            rows = order[..., None]
            sorted_q, t = tall_qr(np.take_along_axis(np.ldexp(spanning, relative), rows, -2))
            seen = t.mT if basis is None else r @ spanning @ t.mT
            q = np.empty_like(sorted_q)
            np.put_along_axis(q, np.broadcast_to(rows, q.shape), sorted_q, -2)
            return cls(q, seen, relative, spanning, order)
        from scipy.linalg import qr

        with one_blas_thread():
            if basis is None:
                order = np.lexsort((-relative[:, 0], ~live[:, 0]))
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
        """Return an orthonormal complement (P, P − k) of q, which takes P² numbers."""
        from scipy.linalg import qr

        afford_complement(len(self.q))
        graded = np.ldexp(self.spanning, self.exponents)[self.order]
        whole = qr(graded, pivoting=True, check_finite=False)[0]
        null = np.empty((len(whole), len(whole) - self.q.shape[1]))
        null[self.order] = whole[:, self.q.shape[1] :]
        return null


class Within:
    """Minimize ‖A w − y‖² + ridge·‖w‖² over w = 2^exponents·q u, with k instead of P unknowns.

    A 2^exponents q is ``seen`` (..., m, k). [seen; √ridge I] is Q R if its columns are multiplied
    by ``2**-scale``. ``top`` are the first m rows of Q. Only one matrix may have a ridge.
    """

    def __init__(
        self, q: np.ndarray, exponents: np.ndarray, seen: np.ndarray, root: float = 0.0
    ) -> None:
        """Factorize with ``root``, which is √ridge in the units of ``seen``."""
        self.q, self.exponents = q, exponents
        size = np.maximum(np.abs(seen).max(axis=-2, initial=0.0), root)
        self._scale = exponents_of(size)[..., None]
        joined = np.ldexp(seen, -self._scale.mT)
        if root:
            joined = np.concatenate([joined, np.diag(np.ldexp(root, -self._scale[:, 0]))])
        whole, self.r = tall_qr(joined)
        self._top = whole[..., : seen.shape[-2], :]

    def restrict(self, g: np.ndarray) -> np.ndarray:
        """Return a gradient (..., P, Q) in these unknowns, (..., k, Q)."""
        return np.ldexp(product(self.q.mT, np.ldexp(g, self.exponents)), -self._scale)

    def _lift(self, u: np.ndarray) -> np.ndarray:
        return np.ldexp(product(self.q, np.ldexp(u, -self._scale)), self.exponents)

    def whiten(self, g: np.ndarray) -> np.ndarray:
        """Return R⁻ᵀ times a gradient (..., P, Q) in these unknowns, (..., k, Q)."""
        return solve_triangular(self.r, self.restrict(g), transposed=True)

    def noise_gain(self) -> np.ndarray:
        """Return √diag((AᵀA + ridge I)⁻¹) (P,) for w in the row space."""
        half = solve_triangular(self.r, np.ldexp(self.q.T, -self._scale), transposed=True)
        return np.ldexp(np.linalg.norm(half, axis=0), self.exponents[:, 0])

    def solve(self, z: np.ndarray) -> np.ndarray:
        """Return the solution (..., P, Q) for y in the coordinates of the rows of ``seen``."""
        return self._lift(solve_triangular(self.r, self._top.mT @ z))

    def solve_normal(self, g: np.ndarray) -> np.ndarray:
        """Return (AᵀA + ridge I)⁻¹ g in the row space, a refinement step."""
        return self._lift(solve_triangular(self.r, self.whiten(g)))


def _by_unit(
    basis: np.ndarray, exponents: np.ndarray, rounding: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the row basis (P, k), rotated so that every column starts at its largest unit.

    The second result is an order of the rows in which those that a unit adds to the span of larger
    units come first. A unit adds the directions with singular values above ``rounding``. In all
    others its rows are set to zero, because 2^exponents would make their rounding larger than the
    smaller units.
    """
    from scipy.linalg import qr

    basis, first = basis.copy(), []
    done, k = 0, basis.shape[1]
    # In a cluster, units are so similar that rounding is not amplified.
    clusters = exponents // -CLUSTER
    for cluster in np.unique(clusters):
        within = np.flatnonzero(clusters == cluster)
        # All rows of vt are needed, but only as many columns of u as there are values.
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
