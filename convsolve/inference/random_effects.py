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
# Smallest squared pivot of the information about μ, as a multiple of its rounding error.
LEAST_PIVOT = 100


class Subject(NamedTuple):
    """Moments of one subject and output in the coordinates z, nuisance columns projected out.

    They are TᵀAᵀA T (R, R), TᵀAᵀy (R,), Σy², and the number of rows less nuisance columns.
    """

    gram: np.ndarray
    cross: np.ndarray
    squares: float
    rows: int


class GroupEstimate(NamedTuple):
    """Means of all z given the variances, and the quantities that update the variances.

    Attributes:
        mean: μ (R,).
        root: (R, R), whose product with its transpose is the covariance of μ.
        each: z_s (subjects, R).
        deviations: E(z_s − μ)² (subjects, R).
        residuals: E‖y_s − A_s w_s‖² (subjects,).
        log_likelihood: restricted log-likelihood, up to a constant.
    """

    mean: np.ndarray
    root: np.ndarray
    each: np.ndarray
    deviations: np.ndarray
    residuals: np.ndarray
    log_likelihood: float


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
    from scipy.linalg.lapack import dpotri

    tau, size = np.sqrt(variances), len(variances)
    parts, information, right = [], np.zeros((size, size)), np.zeros(size)
    log = -np.log(variances).sum()
    for subject, sigma2 in zip(subjects, noise.tolist(), strict=True):
        b = subject.gram * (tau / sigma2) * tau[:, None]
        q = subject.cross * tau / sigma2
        # The rounding error of B may exceed the identity.
        root = np.linalg.cholesky(b + np.diag(1 + 4 * size * EPS * np.diagonal(b)))
        half_of_c = dpotri(root, lower=1)[0]
        c = half_of_c + np.tril(half_of_c, -1).T
        bc = c @ b
        information += (bc + bc.T) / 2
        right += c @ q
        log += 2 * np.log(np.diagonal(root)).sum() + subject.rows * np.log(sigma2)
        parts.append((b, q, c, bc))
    half, of_mean = _inverse_root(information)
    mu = half @ (half.T @ right)
    log += of_mean
    found = []
    for subject, sigma2, (b, q, c, bc) in zip(subjects, noise.tolist(), parts, strict=True):
        u = c @ (q - b @ mu)
        z, left = tau * (u + mu), bc @ half
        squares = subject.squares - float(z @ (2 * subject.cross - subject.gram @ z))
        squares = max(squares, ROUNDING / 2 * subject.squares)
        log += squares / sigma2 + float(u @ u)
        deviations = variances * (u**2 + np.diagonal(c) + np.square(left).sum(1))
        trace = np.trace(bc) + float(((half - left) * left).sum())
        found.append((z, deviations, squares + sigma2 * trace))
    each, spread, residuals = map(np.array, zip(*found, strict=True))
    return GroupEstimate(tau * mu, tau[:, None] * half, each, spread, residuals, -log / 2)


def _inverse_root(information: np.ndarray) -> tuple[np.ndarray, float]:
    """Return H with H Hᵀ the inverse of the information about μ, and its log determinant.

    Raises:
        SolveError: If it is singular to rounding.
    """
    from scipy.linalg import solve_triangular

    scale = np.sqrt(np.maximum(np.diagonal(information), 0.0))
    scale = np.where(scale > 0, scale, 1.0)
    try:
        factor = np.linalg.cholesky(information / scale / scale[:, None])
        if np.diagonal(factor).min() ** 2 < LEAST_PIVOT * len(scale) * EPS:
            raise np.linalg.LinAlgError
    except np.linalg.LinAlgError:
        raise SolveError(
            "the data of all subjects together do not determine the kernel of the group"
        ) from None
    half = solve_triangular(factor * scale[:, None], np.eye(len(scale)), lower=True).T
    return half, 2 * float(np.log(np.diagonal(factor) * scale).sum())


class FittedVariances(NamedTuple):
    """The variances of largest restricted likelihood, and the estimate they imply.

    Attributes:
        estimate: the `GroupEstimate`.
        variances: τ² of every coordinate (R,).
        noise: σ² (subjects,).
        log_likelihoods: of every step. They never decrease.
        converged: whether the gradient of the log-likelihood is zero to `FLAT_ENOUGH`.
    """

    estimate: GroupEstimate
    variances: np.ndarray
    noise: np.ndarray
    log_likelihoods: np.ndarray
    converged: bool


def fit_variances(
    subjects: Sequence[Subject], blocks: np.ndarray, names: Sequence[str]
) -> FittedVariances:
    """Return the variances of largest restricted likelihood.

    The variables of a quasi-Newton search are the logarithms of the variances, times roots of half
    their numbers of squares, so that the curvature is about one. The expected squares of the EM
    algorithm are the gradient. EM itself would need thousands of steps if subjects hardly differ.

    Args:
        subjects: moments of two subjects or more.
        blocks: (R,), the label of the block of every coordinate.
        names: names of the subjects for errors.

    Raises:
        SolveError: If the data do not determine μ, or if a subject has no noise.
    """
    from scipy.optimize import minimize

    def check(exact: np.ndarray) -> None:
        for name in np.array(names)[exact]:
            raise SolveError(
                f"y of subject {name} has almost no noise: the kernel leaves less than 1e-10 of "
                "its power, which sums of squares do not resolve"
            )

    rows, squares = (np.array([s[i] for s in subjects]) for i in (3, 2))
    check(squares == 0)
    _, blocks = np.unique(blocks, return_inverse=True)
    sizes, noise = np.bincount(blocks), squares / rows
    power = np.mean([np.diagonal(s.gram) / v for s, v in zip(subjects, noise, strict=True)], 0)
    power = np.bincount(blocks, power) / sizes
    # At these τ², the group and the data of a subject have as much information about a kernel.
    start = np.concatenate([1 / np.where(power > 0, power, 1.0), noise])
    reach = np.repeat([1 / SMALLEST, 1 / ROUNDING], [len(sizes), len(rows)])
    counts = np.concatenate([len(subjects) * sizes, rows])
    units = np.sqrt(counts / 2)
    low, high = units * np.log([start / reach, start * reach])

    def variances(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tau2, noise = np.split(np.exp(at / units), [len(sizes)])
        return tau2[blocks], noise

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        """Return minus the log-likelihood, and its gradient.

        The derivative by the logarithm of a variance is half the difference of the expected squares
        over the variance and their number.
        """
        found = estimate(subjects, *variances(at))
        squares = np.bincount(blocks, found.deviations.sum(0)), found.residuals
        expected = np.concatenate(squares) / np.exp(at / units)
        return -found.log_likelihood, (counts - expected) / 2 / units

    with blas_threads(len(blocks)):
        first = units * np.log(start)
        steps = [-loss(first)[0]]
        result = minimize(
            loss, first, jac=True, method="L-BFGS-B", bounds=[*zip(low, high, strict=True)],
            callback=lambda intermediate_result: steps.append(-intermediate_result.fun),
            options={"maxiter": MOST_STEPS, "gtol": FLAT, "ftol": EPS},
        )  # fmt: skip
        tau2, noise = variances(result.x)
        check((result.x <= low + units)[len(sizes) :])
        now = estimate(subjects, tau2, noise)
    slope = result.x - np.clip(result.x - result.jac, low, high)
    flat = bool(np.abs(slope).max() < FLAT_ENOUGH)
    return FittedVariances(now, tau2, noise, np.array(steps), flat)
