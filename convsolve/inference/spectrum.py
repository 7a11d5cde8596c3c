"""Penalized least squares for every strength of a penalty, from one eigendecomposition."""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import numpy as np

from ..cached import cached_property
from ..linalg.rank import EPS
from ..linalg.threads import blas_threads
from .sums import Normal

# A residual sum of squares of less than this share of Σy² is rounding of the sums.
ROUNDING = 100 * EPS
# The smallest strength of a search, as a share of the largest eigenvalue.
SMALLEST = 1e-16


class Fit(NamedTuple):
    """Quantities of fits that criteria use, for n strengths λ and Q outputs, (n, Q).

    Attributes:
        rss: residual sums of squares.
        size: λ·Σ z², the penalty.
        freedom: degrees of freedom of the kernel, with coordinates that are not penalized.
        spare: degrees of freedom of the residuals. It is not computed as a difference, which would
            cancel if the kernel fits all rows.
        logdet: Σ log(1 + d/λ) over the eigenvalues d.
        rows: number of rows of the problem.
        nuisance: number of nuisance columns.
        left: number of rows minus the number of unknowns without a penalty.
    """

    rss: np.ndarray
    size: np.ndarray
    freedom: np.ndarray
    spare: np.ndarray
    logdet: np.ndarray
    rows: int
    nuisance: int
    left: int


class Spectrum:
    """Minimize ‖y − A v‖² + λ·Σ weights·v² of one group for every λ.

    Coordinates of weight 0 are free. They are eliminated as nuisance columns are. With V the
    eigenvectors of what is left, v = begin + K z and z = c / (d + λ).

    Args:
        normal: AᵀA (R, R), Aᵀy (R, Q) and Σy² (Q,), with nuisance columns projected out.
        weights: weights (R,) of the coordinates in the penalty.
        rows: number of rows.
        nuisance: number of nuisance columns.
    """

    def __init__(self, normal: Normal, weights: np.ndarray, rows: int, nuisance: int) -> None:
        from scipy.linalg import eigh

        (gram, cross, squares), self.rows, self.nuisance = normal, rows, nuisance
        free = weights == 0
        held = np.flatnonzero(~free)
        root = 1 / np.sqrt(weights[held])
        half = inverse_root(gram[np.ix_(free, free)])
        off, fitted = half.T @ gram[np.ix_(free, held)] * root, half.T @ cross[free]
        #: Number of free columns that are independent, and whether all are.
        self.free, self.unique = half.shape[1], half.shape[1] == int(free.sum())
        self.squares = np.maximum(squares - np.square(fitted).sum(0), 0.0)
        whole = (
            gram[np.ix_(held, held)] * root * root[:, None]
            if free.any() or (root != 1).any()
            else gram
        )
        scale = float(np.diagonal(whole).max(initial=0.0)) if free.any() else 0.0
        with blas_threads(len(held)):
            d, v = eigh(
                whole - off.T @ off if free.any() else whole, driver="evd", check_finite=False
            )
            self.largest = float(d.max(initial=0.0))
            #: Strengths below this are rounding of the Gram matrix.
            self.resolution = max(
                4 * len(d) * EPS * max(self.largest, scale), -2 * float(d.min(initial=0.0))
            )
            self._c = v.T @ (cross[held] * root[:, None] - off.T @ fitted)
            kernel = root[:, None] * v
            self._kernel, self._begin = kernel, np.zeros(cross.shape)
            if free.any():
                self._kernel = np.empty((len(gram), len(d)))
                self._kernel[held], self._kernel[free] = kernel, -half @ (off @ v)
                self._begin[free] = half @ fitted
        self._d, self._half, self._free = np.maximum(d, 0.0), half, free
        # There are not more eigenvalues above rounding than rows.
        most = max(rows - nuisance - self.free, 0)
        counted = d[d > self.resolution]
        self._counted = counted[len(counted) - min(most, len(counted)) :]
        z = self._z(np.array([self.least]))
        inner = np.einsum("pq,pq->q", z, 2 * self._c - self._d[:, None] * z)
        #: The residual sums of squares (Q,) of the least strength.
        self.rest = np.maximum(self.squares - inner, ROUNDING * squares)

    @cached_property
    def least(self) -> float:
        """The smallest strength whose fit is larger than the rounding of the sums.

        If the kernel can fit all rows, residuals are proportional to the square of the strength,
        and this limit is larger.
        """
        found, values = max(SMALLEST * self.largest, self.resolution), self._counted
        if len(values) == self.rows - self.nuisance - self.free:
            smallest = float(values.min(initial=self.largest))
            found = max(found, float(np.sqrt(100 * EPS * self.largest * smallest)))
        return found or 1.0

    def only(self, outputs: np.ndarray) -> Spectrum:
        """Return the same spectrum for some of the outputs."""
        found = copy(self)
        found._c, found._begin = self._c[:, outputs], self._begin[:, outputs]
        found.squares, found.rest = self.squares[outputs], self.rest[outputs]
        return found

    def kernel(self, strengths: np.ndarray) -> np.ndarray:
        """Return v (n, R, Q) at strengths (n, Q) or (n, 1)."""
        with blas_threads(len(self._d)):
            return np.stack([self._begin + self._kernel @ self._z(s) for s in strengths])

    def solve(self, gradient: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        """Return (AᵀA + λ·weights)⁻¹ gradient (R, Q), for λ (Q,)."""
        z = self._kernel.T @ gradient / self._shifted(strengths)
        found = self._kernel @ z
        if self._free.any():
            found[self._free] += self._half @ (self._half.T @ gradient[self._free])
        return found

    def fit(self, strengths: np.ndarray) -> Fit:
        """Return the fits at strengths (n, Q) or (n, 1)."""
        rss, size, first = [], [], self.least
        for at in strengths:
            # The residual of the least strength, and what it grows by, without cancellation.
            shifted, shifted0 = self._shifted(at), self._shifted(np.array([first]))
            both = at / shifted + first / shifted0
            more = np.square(self._c) * both / (shifted * shifted0)
            rss.append(
                np.maximum(self.rest + (at - first) * more.sum(0), ROUNDING**2 * self.squares)
            )
            size.append(at * np.square(self._c / shifted).sum(0))
        left = self.rows - self.nuisance - self.free
        lam, d = strengths[..., None], self._counted
        spare = left - len(d) + (lam / (d + lam)).sum(-1)
        with np.errstate(over="ignore"):
            sums = self.freedom(strengths), spare, np.log1p(d / lam).sum(-1)
        tall = len(strengths), len(self.squares)
        freedom, spare, logdet = (np.broadcast_to(a, tall) for a in sums)
        given = freedom, spare, logdet, self.rows, self.nuisance, left
        return Fit(np.array(rss), np.array(size), *given)

    def freedom(self, strengths: np.ndarray) -> np.ndarray:
        """Return the degrees of freedom of the kernel, in the shape of ``strengths``."""
        d = self._counted
        return np.asarray(self.free + (d / (d + strengths[..., None])).sum(-1))

    def _shifted(self, strengths: np.ndarray) -> np.ndarray:
        return np.asarray(self._d[:, None] + np.maximum(strengths, self.resolution))

    def _z(self, strengths: np.ndarray) -> np.ndarray:
        """Return the coordinates (r, Q) at strengths (Q,) or (1,)."""
        return np.asarray(self._c / self._shifted(strengths))


def inverse_root(gram: np.ndarray) -> np.ndarray:
    """Return H (R, r) with G⁺ = H Hᵀ for a small G of rank r.

    Columns may be zero or equal. The rank is that of columns scaled to norm one.
    """
    if not gram.size:
        return gram
    norms = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    scale = 1 / np.where(norms > 0, norms, 1.0)
    values, vectors = np.linalg.eigh(gram * scale * scale[:, None])
    # Smaller eigenvalues may be rounding of the sums in G.
    kept = values > 10 * len(gram) * EPS * max(values[-1], 0.0)
    return np.asarray(vectors[:, kept] * scale[:, None] / np.sqrt(values[kept]))
