"""Criteria that select a strength: functions of the residuals and degrees of freedom of a fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .strength_path import Fits

Criterion = Callable[[Fits], np.ndarray]


def gcv(fits: Fits) -> np.ndarray:
    """Return the log of generalized cross-validation, m·RSS/(m − df)².

    m is the number of rows minus the number of nuisance columns.

    Source: G. H. Golub, M. Heath and G. Wahba, Technometrics 21 (1979) 215.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = (fits.rows - fits.nuisance) * fits.squares
        return np.asarray(np.log(squares) - 2 * np.log(fits.spare))


def evidence(fits: Fits) -> np.ndarray:
    """Return −2 log of the marginal likelihood of y, with the most likely noise variance S/m.

    Kernels are a priori normal with variance noise/λ, so that S = RSS + λ·Σz². Coordinates that are
    not penalized are integrated out with a flat prior (restricted maximum likelihood).

    Source: T. Chen, H. Ohlsson and L. Ljung, Automatica 48 (2012) 1525, equation 52.
    """
    m, s = fits.left, fits.penalized_squares
    with np.errstate(divide="ignore", invalid="ignore"):
        return m * np.log(2 * np.pi * s / m) + m + fits.log_determinant


def _parameters(fits: Fits) -> np.ndarray:
    """Return the effective parameters of kernel, nuisance columns and noise variance."""
    return fits.freedom + fits.free + fits.nuisance + 1


def aicc(fits: Fits) -> np.ndarray:
    """Return Akaike's criterion, corrected for few rows; infinite with as many parameters.

    Source: C. M. Hurvich and C.-L. Tsai, Biometrika 76 (1989) 297.
    """
    k, n = _parameters(fits), fits.rows
    with np.errstate(divide="ignore", invalid="ignore"):
        found = n * np.log(fits.squares / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    return np.where(n - k - 1 > 0, found, np.inf)


def bic(fits: Fits) -> np.ndarray:
    """Return Schwarz's criterion.

    For a plain ridge it shrinks too much, because effective parameters are not a count.

    Source: G. Schwarz, Ann. Statist. 6 (1978) 461.
    """
    with np.errstate(divide="ignore"):
        return fits.rows * np.log(fits.squares / fits.rows) + _parameters(fits) * np.log(fits.rows)


# Criteria on the scale of −2 log likelihood, a sum over rows.
LIKELIHOODS = ("evidence", "aicc", "bic")
CRITERIA: dict[str, Criterion] = {"gcv": gcv, "evidence": evidence, "aicc": aicc, "bic": bic}


def in_user_units(scores: np.ndarray, select: str, fits: Fits, exponents: np.ndarray) -> np.ndarray:
    """Return scores (..., n, Q) in the user's units, for outputs in units of 2**exponents (Q,).

    For gcv, return the criterion itself instead of its logarithm.
    """
    with np.errstate(over="ignore", under="ignore"):
        if select == "gcv":
            return np.asarray(np.ldexp(np.exp(scores), 2 * exponents))
        if select == "mse":
            return np.asarray(np.ldexp(scores, 2 * exponents))
    if select in LIKELIHOODS:
        rows = fits.left if select == "evidence" else fits.rows
        return scores + 2 * rows * exponents * np.log(2)
    return scores


def noise_variance(fits: Fits, criterion: str) -> np.ndarray:
    """Return the noise variance (n, Q) of y: RSS over spare rows, or S/m for the evidence."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if criterion == "evidence":
            return np.asarray(fits.penalized_squares / fits.left)
        return np.where(fits.spare > 0, fits.squares / fits.spare, np.nan)
