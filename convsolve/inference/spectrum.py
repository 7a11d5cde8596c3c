"""Penalized least squares for every strength of a penalty, from one eigendecomposition."""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import numpy as np

from ..linalg.lapack import Eigenvectors
from ..linalg.rank import EPS
from ..linalg.threads import blas_threads
from .sums import Normal

# A residual sum of squares of less than this share of Σy² is rounding of the sums.
ROUNDING = 100 * EPS
# The smallest strength of a search, as a share of the largest eigenvalue.
SMALLEST = 1e-16
# Numbers of an array in which several strengths are handled at once.
BLOCK = 2**20


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
    """Minimize ‖y − A v‖² + λ·Σ v² of one group for every λ, where free coordinates add nothing.

    Free coordinates are eliminated as nuisance columns are. With V the eigenvectors of the Gram
    matrix of the others, v = begin + K z and z = c / (d + λ).

    Args:
        normal: AᵀA (R, R), Aᵀy (R, Q) and Σy² (Q,), with nuisance columns projected out.
        free: flags (R,) of the free coordinates.
        rows: number of rows.
        nuisance: number of nuisance columns.
    """

    def __init__(self, normal: Normal, free: np.ndarray, rows: int, nuisance: int) -> None:
        (gram, cross, squares), held = normal, ~free
        self._free, self._half = free, inverse_root(gram[np.ix_(free, free)])
        self._off = self._half.T @ gram[np.ix_(free, held)]
        fitted, whole = self._half.T @ cross[free], gram[np.ix_(held, held)]
        with blas_threads(len(whole)):
            self._eigen = Eigenvectors(whole - self._off.T @ self._off)
            self._c = self._eigen.adjoint(cross[held] - self._off.T @ fitted)
        d, self._independent = self._eigen.values, self._half.shape[1]
        self._rows, self._nuisance, self._lift = rows, nuisance, np.ones(len(gram))
        self._begin = np.zeros(cross.shape)
        self._begin[free] = self._half @ fitted
        #: Whether all free columns are independent.
        self.unique = self._independent == int(free.sum())
        self._left = rows - nuisance - self._independent
        largest = float(d.max(initial=0.0))
        scale = max(largest, float(np.diagonal(whole).max(initial=0.0)))
        #: Strengths below this are rounding of the Gram matrix.
        self._resolution = max(4 * len(d) * EPS * scale, -2 * float(d.min(initial=0.0)))
        self._d, counted = np.maximum(d, 0.0), d[d > self._resolution]
        self._counted = counted[len(counted) - min(max(self._left, 0), len(counted)) :]
        # The smallest strength whose fit is larger than rounding. If the kernel can fit all rows,
        # residuals are proportional to the square of the strength, and this limit is larger.
        least = max(SMALLEST * largest, self._resolution)
        if len(self._counted) == self._left:
            smallest = float(self._counted.min(initial=largest))
            least = max(least, float(np.sqrt(ROUNDING * largest * smallest)))
        #: The range of a search of strengths.
        self.least, self.largest = least or 1.0, largest or 1.0
        self.squares = squares - np.square(fitted).sum(0)
        self._rounding = ROUNDING * squares

    def lifted(self, lift: np.ndarray) -> Spectrum:
        """Return the same spectrum for kernels in other coordinates, see `lifted`."""
        found = copy(self)
        found._lift, found._begin = lift, lifted(lift, self._begin)
        return found

    def kernel(self, strengths: np.ndarray) -> np.ndarray:
        """Return v (n, R, Q) at strengths (n, Q) or (n, 1)."""
        z = np.concatenate([self._z(self._c, at) for at in strengths], axis=1)
        found = self._outer(z).reshape(len(self._begin), len(strengths), -1)
        return np.add(found.transpose(1, 0, 2), self._begin, order="C")

    def solve(self, gradient: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        """Return (AᵀA + λ·penalty)⁻¹ gradient (R, Q), for λ (Q,)."""
        inner = lifted(self._lift.T, gradient)
        free, held = self._half.T @ inner[self._free], inner[~self._free]
        inner[~self._free], inner[self._free] = 0.0, self._half @ free
        z = self._z(self._eigen.adjoint(held - self._off.T @ free), strengths)
        return self._outer(z) + lifted(self._lift, inner)

    def _outer(self, z: np.ndarray) -> np.ndarray:
        """Return the kernels (R, k) of coordinates z (r, k), without the free part of y."""
        found = np.empty((len(self._free), z.shape[1]))
        with blas_threads(len(z)):
            found[~self._free] = self._eigen.forward(z)
            found[self._free] = -self._half @ (self._off @ found[~self._free])
            return lifted(self._lift, found)

    def fit(self, strengths: np.ndarray) -> Fit:
        """Return the fits at strengths (n, Q) or (n, 1)."""
        step = max(1, BLOCK // max(1, strengths.shape[1] * len(self._d)))
        several = [self._sums(strengths[i : i + step]) for i in range(0, len(strengths), step)]
        counts = self._rows, self._nuisance, self._left
        return Fit._make([*np.concatenate(several, axis=1), *counts])

    def _sums(self, strengths: np.ndarray) -> np.ndarray:
        """Return the first five values of `Fit` for a few strengths."""
        lam, d, squares = strengths[..., None], self._counted, np.square(self._c).T
        shifted = self._d + np.maximum(lam, self._resolution)
        fitted = np.einsum("nqr,qr->nq", (1 + lam / shifted) / shifted, squares)
        size = np.einsum("nqr,qr->nq", lam / shifted**2, squares)
        rss = np.maximum(self.squares - fitted, self._rounding)
        freedom = self._independent + (d / (d + lam)).sum(-1)
        spare = self._left - len(d) + (lam / (d + lam)).sum(-1)
        logdet = np.log1p(d / lam).sum(-1)
        return np.stack(np.broadcast_arrays(rss, size, freedom, spare, logdet))

    def _z(self, right: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        """Return right / (d + λ) (r, Q) for λ (Q,) or (1,)."""
        return np.asarray(right / (self._d[:, None] + np.maximum(strengths, self._resolution)))


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


def lifted(lift: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Return a matrix, or factors (R,) of the rows, times an array (R, k)."""
    return lift[:, None] * a if lift.ndim == 1 else np.asarray(lift @ a)


# --- criteria that select a strength


def gcv(fit: Fit) -> np.ndarray:
    """Return the log of generalized cross-validation, m·RSS/(m − df)².

    m is the number of rows minus the number of nuisance columns.

    Source: G. H. Golub, M. Heath and G. Wahba, Technometrics 21 (1979) 215.
    """
    return np.asarray(np.log((fit.rows - fit.nuisance) * fit.rss) - 2 * np.log(fit.spare))


def evidence(fit: Fit) -> np.ndarray:
    """Return −2 log of the marginal likelihood of y, with the most likely noise variance S/m.

    Kernels are a priori normal with variance noise/λ, so that S = RSS + λ·Σz². Coordinates that are
    not penalized are integrated out with a flat prior (restricted maximum likelihood).

    Source: T. Chen, H. Ohlsson and L. Ljung, Automatica 48 (2012) 1525, equation 52.
    """
    m = fit.left
    return m * np.log(2 * np.pi * (fit.rss + fit.size) / m) + m + fit.logdet


def aicc(fit: Fit) -> np.ndarray:
    """Return Akaike's criterion, corrected for few rows; infinite with as many parameters.

    Source: C. M. Hurvich and C.-L. Tsai, Biometrika 76 (1989) 297.
    """
    k, n = fit.freedom + fit.nuisance + 1, fit.rows
    found = n * np.log(fit.rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    return np.where(n - k - 1 > 0, found, np.inf)


def bic(fit: Fit) -> np.ndarray:
    """Return Schwarz's criterion.

    For a plain ridge it shrinks too much, because effective parameters are not a count.

    Source: G. Schwarz, Ann. Statist. 6 (1978) 461.
    """
    n = fit.rows
    return n * np.log(fit.rss / n) + (fit.freedom + fit.nuisance + 1) * np.log(n)


CRITERIA = {"gcv": gcv, "evidence": evidence, "aicc": aicc, "bic": bic}


def criterion(name: str, fit: Fit) -> np.ndarray:
    """Return a criterion of fits, NaN or infinite where it has no value."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return CRITERIA[name](fit)


def in_user_units(scores: np.ndarray, select: str, fit: Fit, exponents: np.ndarray) -> np.ndarray:
    """Return scores (..., n, Q) in the user's units, for outputs in units of 2**exponents (Q,).

    For gcv, return the criterion itself instead of its logarithm.
    """
    if select in ("gcv", "mse"):
        return np.ldexp(np.exp(scores) if select == "gcv" else scores, 2 * exponents)
    # The others are -2 log likelihoods, which are sums over rows, or do not depend on units.
    rows = {"evidence": fit.left, "aicc": fit.rows, "bic": fit.rows}.get(select, 0)
    return scores + 2 * rows * exponents * np.log(2)


def noise_variance(fit: Fit, select: str) -> np.ndarray:
    """Return the noise variance (n, Q) of y: RSS over spare rows, or S/m for the evidence."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if select == "evidence":
            return np.asarray((fit.rss + fit.size) / fit.left)
        return np.where(fit.spare > 0, fit.rss / fit.spare, np.nan)
