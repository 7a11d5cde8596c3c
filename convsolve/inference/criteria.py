"""Criteria that select a strength: functions of a `Fit`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .spectrum import Fit

Criterion = Callable[[Fit], np.ndarray]


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


CRITERIA: dict[str, Criterion] = {"gcv": gcv, "evidence": evidence, "aicc": aicc, "bic": bic}
# Criteria on the scale of −2 log likelihood, a sum over rows.
LIKELIHOODS = ("evidence", "aicc", "bic")


def criterion(name: str, fit: Fit) -> np.ndarray:
    """Return a criterion of fits, NaN or infinite where it has no value."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return CRITERIA[name](fit)


def in_user_units(scores: np.ndarray, select: str, fit: Fit, exponents: np.ndarray) -> np.ndarray:
    """Return scores (..., n, Q) in the user's units, for outputs in units of 2**exponents (Q,).

    For gcv, return the criterion itself instead of its logarithm.
    """
    with np.errstate(over="ignore", under="ignore"):
        if select in ("gcv", "mse"):
            return np.asarray(
                np.ldexp(np.exp(scores) if select == "gcv" else scores, 2 * exponents)
            )
    if select in LIKELIHOODS:
        rows = fit.left if select == "evidence" else fit.rows
        return scores + 2 * rows * exponents * np.log(2)
    return scores


def noise_variance(fit: Fit, select: str) -> np.ndarray:
    """Return the noise variance (n, Q) of y: RSS over spare rows, or S/m for the evidence."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if select == "evidence":
            return np.asarray((fit.rss + fit.size) / fit.left)
        return np.where(fit.spare > 0, fit.rss / fit.spare, np.nan)
