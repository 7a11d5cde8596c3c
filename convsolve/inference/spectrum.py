"""Penalized least squares for every strength of a penalty, from one eigendecomposition."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple, Self

import numpy as np

from ..linalg.lapack import Eigenvectors
from ..linalg.rank import EPS
from ..linalg.threads import blas_threads
from .sums import Normal

# A residual sum of squares of less than this share of Σy² is rounding of the sums.
ROUNDING = 100 * EPS
# The smallest strength of a search, as a share of the largest eigenvalue, and the largest one, at
# which the kernel vanishes. A search has two strengths per decade.
SMALLEST, LARGEST, A_DECADE = 1e-16, 1e5, 2
# Largest number of steps of a search.
MOST_STEPS = 10**9
# Numbers of an array in which several strengths are handled at once.
BLOCK = 2**20


class Fit(NamedTuple):
    """Quantities of fits that criteria use, for n strengths λ and Q outputs, (n, Q).

    Attributes:
        rss: residual sums of squares.
        size: Σ precision·z², the penalty: λ·Σ z² of a ridge.
        freedom: degrees of freedom of the kernel, with coordinates that are not penalized.
        spare: degrees of freedom of the residuals. It is not computed as a difference, which would
            cancel if the kernel fits all rows.
        logdet: −Σ log(1 − φ) over the eigenvalues, Σ log(1 + d/λ) of a ridge.
        rows: number of rows of the problem.
        nuisance: number of nuisance columns.
        left: number of rows minus the number of unknowns with a flat prior.
    """

    rss: np.ndarray
    size: np.ndarray
    freedom: np.ndarray
    spare: np.ndarray
    logdet: np.ndarray
    rows: int
    nuisance: int
    left: int


class Filter(NamedTuple):
    """A linear estimate at each eigenvalue d, as shares of the least-squares solution c/d.

    Attributes:
        gain: φ/d, so that z = gain·c. It has a limit at d = 0.
        left: 1 − φ, the share that is missing. It is not computed as a difference.
    """

    gain: np.ndarray
    left: np.ndarray


class Spectrum:
    """Minimize ‖y − A v‖² + λ·Σ v² of one group for every λ, where free coordinates add nothing.

    Free coordinates are eliminated as nuisance columns are. With V the eigenvectors of the Gram
    matrix of the others, v = begin + K z and z = c φ/d, where φ = d/(d + λ) is the spectral filter.
    Subclasses have other filters, which are functions of another strength.

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
        #: The smallest strength of a search, and the largest eigenvalue.
        self.least, self.largest = least or 1.0, largest or 1.0
        self.squares = squares - np.square(fitted).sum(0)
        self._rounding = ROUNDING * squares

    @classmethod
    def of_groups(
        cls, normals: Sequence[Normal], free: Sequence[np.ndarray], rows: int, nuisance: int
    ) -> list[Self]:
        """Return the spectrum of every group, for the normal equations of the same rows."""
        pairs = zip(normals, free, strict=True)
        return [cls(normal, flags, rows, nuisance) for normal, flags in pairs]

    # --- the filter, and the search of its strength

    def filter(self, strengths: np.ndarray, d: np.ndarray, least: float = 0.0) -> Filter:
        """Return the filter at strengths and eigenvalues of broadcastable shapes.

        Kernels are computed with strengths of at ``least`` the resolution of the Gram matrix.
        """
        shifted = d + np.maximum(strengths, least)
        return Filter(1 / shifted, strengths / shifted)

    def log_determinant(self, strengths: np.ndarray) -> np.ndarray:
        """Return −Σ log(1 − φ) (n, Q or 1), at strengths (n, Q or 1)."""
        return np.asarray(np.log1p(self._counted / strengths[..., None]).sum(-1))

    @property
    def flat(self) -> int:
        """The number of directions that a strength never shrinks, except free coordinates."""
        return 0

    def search_grid(self) -> np.ndarray:
        """Return strengths (n, 1), from the resolution of the sums to a vanishing kernel."""
        ends = [self.least, max(LARGEST * self.largest, 1e3 * self.least)]
        low, high = np.log10(ends)
        return np.logspace(low, high, int(A_DECADE * (high - low)) + 2)[:, None]

    def allowed(self, strengths: np.ndarray) -> np.ndarray:
        """Return the strengths (n, Q) to choose from at the end of a search, near some (Q,)."""
        return strengths[None]

    # --- kernels and their fits

    def directions(self) -> np.ndarray:
        """Return the eigenvectors (R', r) in the coordinates of kernels. No coordinate is free."""
        return self._outer(np.eye(len(self._d)))

    def gain(self, strength: float) -> np.ndarray:
        """Return φ/d (r,), the variances of `directions` for noise of variance one."""
        return self.filter(np.array(strength), self._d, self._resolution).gain

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
        counts = self._rows, self._nuisance, self._left - self.flat
        return Fit._make([*np.concatenate(several, axis=1), *counts])

    def _sums(self, strengths: np.ndarray) -> np.ndarray:
        """Return the first five values of `Fit` for a few strengths."""
        wide, squares = strengths[..., None], np.square(self._c).T
        every = self.filter(wide, self._d, self._resolution)
        counted = self.filter(wide, self._counted)

        # RSS + size is Σ y² less Σ c²·gain, and a missing share of each fit adds to the RSS.
        fitted = np.einsum("nqr,qr->nq", every.gain * (1 + every.left), squares)
        size = np.einsum("nqr,qr->nq", every.gain * every.left, squares)
        rss = np.maximum(self.squares - fitted, self._rounding)

        freedom = self._independent + (self._counted * counted.gain).sum(-1)
        spare = self._left - len(self._counted) + counted.left.sum(-1)
        logdet = self.log_determinant(strengths)
        return np.stack(np.broadcast_arrays(rss, size, freedom, spare, logdet))

    def _z(self, right: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        """Return right·φ/d (r, Q) at strengths (Q,) or (1,)."""
        found = self.filter(strengths, self._d[:, None], self._resolution)
        return np.asarray(right * found.gain)


class StoppedDescent(Spectrum):
    """Least squares by gradient descent from zero, stopped after t steps of size 1/d_max.

    The step decreases half the sum of squares. The filter is φ = 1 − (1 − d/d_max)ᵗ. The strength
    is t, which is a real number here until the end of a search. No coordinate is free.

    Source: Y. Yao, L. Rosasco and A. Caponnetto, Constr. Approx. 26 (2007) 289.
    """

    @classmethod
    def of_groups(
        cls, normals: Sequence[Normal], free: Sequence[np.ndarray], rows: int, nuisance: int
    ) -> list[Self]:
        """Return the spectrum of every group. All groups have the same size of a step."""
        spectra = super().of_groups(normals, free, rows, nuisance)
        largest = max(float(spectrum._d.max(initial=0.0)) for spectrum in spectra)
        for spectrum in spectra:
            spectrum.largest = largest or 1.0
        return spectra

    def filter(self, strengths: np.ndarray, d: np.ndarray, least: float = 0.0) -> Filter:
        """Return the filter after so many steps.

        Kernels are computed with so few steps that directions of zero eigenvalues, which are
        rounding of the Gram matrix, are not larger than with a ridge of its resolution.
        """
        steps = np.minimum(strengths, self.largest / least) if least > 0 else strengths
        log_left = steps * self._log_share(d)
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = np.where(d > 0, -np.expm1(log_left) / d, steps / self.largest)
        return Filter(gain, np.exp(log_left))

    def log_determinant(self, strengths: np.ndarray) -> np.ndarray:
        """Return −Σ log(1 − φ) (n, Q or 1), without the directions that have a flat prior."""
        proper = self._counted[: len(self._counted) - self.flat]
        return np.asarray(-strengths * self._log_share(proper).sum())

    def _log_share(self, d: np.ndarray) -> np.ndarray:
        """Return log(1 − d/d_max), the logarithm of what one step leaves."""
        with np.errstate(divide="ignore"):
            return np.log1p(-np.minimum(d / self.largest, 1.0))

    @property
    def flat(self) -> int:
        """The number of eigenvalues that are d_max up to rounding, which one step fits."""
        return int(np.sum(self._counted >= self.largest - self._resolution))

    def search_grid(self) -> np.ndarray:
        """Return numbers of steps (n, 1), from one to the resolution of the sums."""
        most = self.largest / self.least
        if len(self._counted):
            # After these steps, the smallest eigenvalue is fitted up to rounding. If the kernel can
            # fit all rows, their residuals are rounding before.
            fits_all = len(self._counted) == self._left
            share = float(np.sqrt(ROUNDING)) if fits_all else EPS
            most = min(most, -np.log(share) * self.largest / self._counted.min())
        high = np.log10(np.clip(most, 10.0, MOST_STEPS))
        steps = np.logspace(0.0, high, int(A_DECADE * high) + 2)
        return np.unique(np.round(steps))[:, None]

    def allowed(self, strengths: np.ndarray) -> np.ndarray:
        """Return the two whole numbers (2, Q) of steps next to some (Q,)."""
        below = np.maximum(np.floor(strengths), 1.0)
        return np.stack([below, np.ceil(strengths)])


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
