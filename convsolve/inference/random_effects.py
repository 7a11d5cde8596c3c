"""Kernels of several subjects as random effects about a common kernel, from their moments.

For one output, y_s = A_s w_s + noise of variance σ_s². The kernels are w_s = T z_s, where the z_s
are independent and normal about the common μ, with one variance τ² per block of coordinates. μ has
a flat prior. Variances maximize the restricted likelihood.

Source: N. M. Laird and J. H. Ware, Biometrics 38 (1982) 963.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import SolveError
from ..linalg.rank import EPS
from ..linalg.threads import blas_threads

# The search ends when the gradient of the log-likelihood is below `FLAT`, or after this many steps.
# It converged if the gradient is below `FLAT_ENOUGH`, so that 1e-4 of a log-likelihood is missing.
FLAT, FLAT_ENOUGH, MOST_STEPS = 1e-5, 1e-2, 500
# Smallest variance between subjects as a share of the first one, which stands for zero.
SMALLEST = 1e-14
# A residual sum of squares of less than this share of Σy² has too few digits in moments.
ROUNDING = 1e-10
# Smallest pivot of I + B, as a multiple of its rounding error.
LEAST_PIVOT = 100


class Subject(NamedTuple):
    """Moments of one subject in the coordinates z, with nuisance columns projected out.

    Attributes:
        gram: TᵀAᵀA T (R, R).
        cross: TᵀAᵀy (R,).
        squares: Σy².
        rows: number of rows minus the number of nuisance columns.
        origin: least squares z (R,). Residuals of other z are computed from the difference, so that
            their error is the same for all z.
        rest: TᵀAᵀ(y − A T z) (R,) at the origin.
        least: ‖y − A T z‖² at the origin.
    """

    gram: np.ndarray
    cross: np.ndarray
    squares: float
    rows: int
    origin: np.ndarray
    rest: np.ndarray
    least: float

    @classmethod
    def of(cls, gram: np.ndarray, cross: np.ndarray, squares: float, rows: int) -> Subject:
        """Return the moments with an origin, which is approximate if A T has dependent columns."""
        scale = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
        scale = 1 / np.where(scale > 0, scale, 1.0)
        scaled = with_factor(gram * scale * scale[:, None] + np.diag(np.diagonal(gram) <= 0))
        origin = scale * np.linalg.solve(scaled, scale * cross)
        rest = cross - gram @ origin
        least = squares - float(origin @ (cross + rest))
        return cls(gram, cross, squares, rows, origin, rest, max(least, ROUNDING * squares))

    def residual_squares(self, z: np.ndarray) -> float:
        """Return ‖y − A T z‖²."""
        off = z - self.origin
        return max(float(self.least + off @ (self.gram @ off - 2 * self.rest)), self.least / 2)


def with_factor(gram: np.ndarray) -> np.ndarray:
    """Return a Gram matrix that has a Cholesky factor, changed within its rounding error."""
    found = gram.copy()
    found.flat[:: len(gram) + 1] *= 1 + 4 * len(gram) * EPS
    return found


class GroupEstimate(NamedTuple):
    """Means of all z given the variances, and the quantities that update the variances.

    Attributes:
        mean: μ (R,).
        root: (R, R), whose product with its transpose is the covariance of μ.
        each: z_s (subjects, R).
        deviations: E(z_s − μ)² (subjects, R).
        residuals: E‖y_s − A_s w_s‖² (subjects,).
        log_likelihood: restricted log-likelihood, up to a constant.
        pivot: smallest squared pivot of all I + B, as a share of their diagonals. Their rounding
            error is relative to it.
    """

    mean: np.ndarray
    root: np.ndarray
    each: np.ndarray
    deviations: np.ndarray
    residuals: np.ndarray
    log_likelihood: float
    pivot: float


def estimate(
    subjects: Sequence[Subject], variances: np.ndarray, noise: np.ndarray
) -> GroupEstimate:
    """Return the means of μ and all z_s, given τ² (R,) of the coordinates and σ² (subjects,).

    In units of τ, with B = τ TᵀAᵀA T τ/σ², q = τ TᵀAᵀy/σ² and C = (I + B)⁻¹, y_s has the
    information B C about μ, and z_s = C(q + μ). No inverse of A or T is needed, and nothing is
    subtracted.

    Raises:
        SolveError: If the data of all subjects do not determine μ.
    """
    from scipy.linalg import solve_triangular
    from scipy.linalg.lapack import dpotri

    tau, size = np.sqrt(variances), len(variances)
    parts, information, right, log = [], np.zeros((size, size)), np.zeros(size), 0.0
    pivot = 1.0
    for subject, sigma2 in zip(subjects, noise.tolist(), strict=True):
        b = subject.gram * (tau / sigma2) * tau[:, None]
        q = subject.cross * tau / sigma2
        root = np.linalg.cholesky(with_factor(b) + np.eye(size))
        pivot = min(pivot, float((np.diagonal(root) ** 2 / (1 + np.diagonal(b))).min()))
        half_of_c = dpotri(root, lower=1)[0]
        c = half_of_c + np.tril(half_of_c, -1).T
        bc = c @ b
        information += (bc + bc.T) / 2
        right += c @ q
        log += 2 * np.log(np.diagonal(root)).sum() + subject.rows * np.log(sigma2)
        parts.append((b, q, c, bc))
    factor = _cholesky(information)
    half = solve_triangular(factor, np.eye(size), lower=True).T
    mu = half @ (half.T @ right)
    log += 2 * np.log(np.diagonal(factor)).sum() - np.log(variances).sum()
    each, deviations, residuals = [], [], []
    for subject, sigma2, (b, q, c, bc) in zip(subjects, noise.tolist(), parts, strict=True):
        u = c @ (q - b @ mu)
        left = bc @ half
        spread = half - left
        z = tau * (u + mu)
        squares = subject.residual_squares(z)
        log += squares / sigma2 + float(u @ u)
        deviations.append(variances * (u**2 + np.diagonal(c) + np.square(left).sum(1)))
        residuals.append(squares + sigma2 * (np.trace(bc) + float((spread * left).sum())))
        each.append(z)
    return GroupEstimate(
        tau * mu, tau[:, None] * half, np.array(each), np.array(deviations),
        np.array(residuals), -log / 2, pivot,
    )  # fmt: skip


def _cholesky(information: np.ndarray) -> np.ndarray:
    """Return the lower Cholesky factor of the information about μ.

    Raises:
        SolveError: If it is singular to rounding.
    """
    scale = np.sqrt(np.maximum(np.diagonal(information), 0.0))
    if scale.all():
        try:
            factor = np.linalg.cholesky(information / scale / scale[:, None])
        except np.linalg.LinAlgError:
            factor = np.zeros_like(information)
        if np.diagonal(factor).min() ** 2 > LEAST_PIVOT * len(scale) * EPS:
            return np.asarray(factor * scale[:, None])
    raise SolveError("the data of all subjects together do not determine the kernel of the group")


class FittedVariances(NamedTuple):
    """The variances of largest restricted likelihood, and the estimate they imply.

    Attributes:
        estimate: the `GroupEstimate`.
        variances: τ² of every coordinate (R,).
        noise: σ² (subjects,).
        log_likelihoods: of every step. They never decrease.
        converged: whether the gradient of the log-likelihood is zero to `FLAT`.
    """

    estimate: GroupEstimate
    variances: np.ndarray
    noise: np.ndarray
    log_likelihoods: np.ndarray
    converged: bool


class _Likelihood:
    """The restricted likelihood of τ² (blocks,) and σ² (subjects,).

    Variables are the logarithms of the variances, times roots of half their numbers of squares, so
    that the curvature is about one.
    """

    def __init__(
        self, subjects: Sequence[Subject], blocks: np.ndarray, names: Sequence[str]
    ) -> None:
        self._subjects, self._blocks, self._names = subjects, blocks, names
        self._split = [int(blocks.max()) + 1]
        rows = np.array([subject.rows for subject in subjects])
        squares = np.array([subject.squares for subject in subjects])
        if not squares.all():
            raise _no_noise(names[int(np.argmin(squares))])
        noise, sizes = squares / rows, np.bincount(blocks)
        power = np.mean([np.diagonal(s.gram) / v for s, v in zip(subjects, noise, strict=True)], 0)
        power = np.bincount(blocks, power) / sizes
        # At these τ², the group and the data of a subject have as much information about a kernel.
        tau2 = 1 / np.where(power > 0, power, 1.0)
        self._counts = np.concatenate([len(subjects) * sizes, rows])
        self._units = np.sqrt(self._counts / 2)
        self.start = self._units * np.log(np.concatenate([tau2, noise]))
        least = np.full(len(tau2), SMALLEST), np.full(len(noise), ROUNDING)
        reach = self._units * np.log(np.concatenate(least))
        self.bounds = [*zip(self.start + reach, self.start - reach, strict=True)]

    def variances(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return τ² of every coordinate, and σ²."""
        tau2, noise = np.split(np.exp(at / self._units), self._split)
        return tau2[self._blocks], noise

    def loss(self, at: np.ndarray) -> tuple[float, np.ndarray]:
        """Return minus the log-likelihood, and its gradient.

        The derivative by the logarithm of a variance is half the difference of the expected squares
        over the variance, as in the EM algorithm, and their number.
        """
        found = estimate(self._subjects, *self.variances(at))
        squares = np.bincount(self._blocks, found.deviations.sum(0))
        expected = np.concatenate([squares, found.residuals]) / np.exp(at / self._units)
        return -found.log_likelihood, (self._counts - expected) / 2 / self._units

    def check(self, at: np.ndarray) -> None:
        """Raise a SolveError if a subject has no noise at a point."""
        lowest = np.array(self.bounds)[:, 0]
        close = np.flatnonzero((at <= lowest + self._units)[self._split[0] :])
        if close.size:
            raise _no_noise(self._names[int(close[0])])


def _no_noise(name: str) -> SolveError:
    return SolveError(
        f"y of subject {name} has almost no noise: the kernel leaves less than 1e-10 of "
        "its power, which sums of squares do not resolve"
    )


def fit_variances(
    subjects: Sequence[Subject], blocks: np.ndarray, names: Sequence[str] = ()
) -> FittedVariances:
    """Return the variances of largest restricted likelihood.

    The expected squares of the EM algorithm are the gradient of a quasi-Newton search. EM itself
    would need thousands of steps if subjects hardly differ.

    Args:
        subjects: moments of two subjects or more.
        blocks: (R,), the number of the block of every coordinate, from 0.
        names: names of the subjects for errors. By default their numbers.

    Raises:
        SolveError: If the data do not determine μ, if a subject has no noise, or if the moments
            have too few digits.
    """
    from scipy.optimize import minimize

    likelihood = _Likelihood(subjects, blocks, names or [*map(str, range(len(subjects)))])
    with blas_threads(len(blocks)):
        found = [-likelihood.loss(likelihood.start)[0]]
        result = minimize(
            likelihood.loss,
            likelihood.start,
            jac=True,
            method="L-BFGS-B",
            bounds=likelihood.bounds,
            callback=lambda intermediate_result: found.append(-intermediate_result.fun),
            options={"maxiter": MOST_STEPS, "gtol": FLAT, "ftol": EPS},
        )
        likelihood.check(result.x)
        variances, noise = likelihood.variances(result.x)
        now = estimate(subjects, variances, noise)
    if now.pivot < LEAST_PIVOT * len(blocks) * EPS:
        raise SolveError(
            "the Gram matrices of the subjects have too few digits for their differences; fit a "
            "bias if x has an offset, drop channels that are copies of others, or use fewer lags"
        )
    low, high = np.array(likelihood.bounds).T
    slope = result.x - np.clip(result.x - result.jac, low, high)
    flat = bool(np.abs(slope).max() < FLAT_ENOUGH)
    return FittedVariances(now, variances, noise, np.array(found), flat)
